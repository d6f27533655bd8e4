"""What the voice is given to read."""

import re

from duostory.sentences import QUOTE, opens


class _ReadAs(dict):
    """For str.translate. The halves of surrogate pairs, which cannot be written as UTF-8, would fill 0.2 MB of a table."""

    def __missing__(self, code: int) -> str:
        return " " if 0xD800 <= code < 0xE000 else chr(code)


# espeak-ng reads these aloud by name ("asterisk", "tilde"), which no story means.
_READ_AS = _ReadAs((ord(c), " ") for c in "*_~#^|\\<>[]{}`")
# A NUL would end the text.
_READ_AS |= {code: " " for code in (*range(0x20), *range(0x7F, 0xA0), 0xFFFD)}
# A word behind a curly quote would get no word event.
_READ_AS |= {ord(c): '"' for c in "“”„«»"}

# What is told and shown as one word: "don't", "twenty-one" and "3:30", but "happy—it" is two.
WORD = re.compile(r"[^\W_]+(?:(?:['.-]|’|[,:](?=\d))[^\W_]+)*")


def spoken(text: str) -> str:
    """`text` with what is not meant to be heard as spaces; every position in it stays true."""
    return text.translate(_READ_AS)


class Reader:
    """Spells a sentence so that espeak-ng says what people would, with another pitch where somebody speaks."""

    def __init__(self, pitch: int, quoted_pitch: int) -> None:
        # espeak-ng's commands in a text; they hold from the next word on.
        self._raise, self._lower = f"\x01{quoted_pitch}P", f"\x01{pitch}P"

    def read(self, text: str, quoted: bool = False) -> tuple[str, list[int]]:
        """What to give to espeak-ng, and for each character of it, and its end, the place in `text` it stands for.

        `quoted` says whether the text begins in a quotation.
        """
        self._quoted = quoted
        text = spoken(text)
        read, places, done = "", [], 0
        for odd in _ODD.finditer(text):
            new = (_RULES[odd.lastgroup][1] or self._quote)(odd)
            read += text[done : odd.start()] + new
            places += [*range(done, odd.start()), *[odd.start()] * len(new)]
            done = odd.end()
        return read + text[done:], [*places, *range(done, len(text) + 1)]

    def _quote(self, mark: re.Match) -> str:
        """A quotation mark, with the marks and spaces behind it."""
        was, self._quoted = self._quoted, opens(mark, self._quoted)
        if self._quoted:
            return mark[0] + self._raise
        return mark[0] + self._lower if was and mark.end() < len(mark.string) else mark[0]


# Names that espeak-ng spells, or ends a sentence after.
_TITLES = {"Mr": "Mr", "Mrs": "Mrs", "Ms": "Miz", "Dr": "Dr", "St": "St", "Mt": "Mount", "Prof": "Professor",
           "Capt": "Captain", "Sgt": "Sergeant", "Jr": "Junior", "Sr": "Senior", "vs": "versus", "MR": "Mr", "MRS": "Mrs",
           "MS": "Miz", "DR": "Dr"}
_COINS = {"$": ("dollar", "cent", "cents"), "£": ("pound", "penny", "pence")}
# Noises, each letter once. Without a vowel they would be spelled.
_NOISES = {"sh": "shush", "gr": "gurr", "br": "burr", "r": "urr", "z": "zuzz", "bz": "buzz", "m": "hmm", "hm": "hmm"}
# A letter that is drawn out, and where it stands for one ("sooo", "pleeease") and not for two ("mooo", "freee").
_DRAWN = re.compile(r"(?!I)(?P<letter>[^\W\d_])(?i:(?P=letter){2,})")
_ONE = (  # compiled when there is one
    r"(?i:[aiuyhw]|o+(?:[auw]|ng)|(?:(?<=\b[nsgy])|(?<=\bhell))o+\b"
    r"|e+[ay]|(?:(?<=\b[hvy])|(?<=\b[bt][yh]))e|(?<=\bye)s+\b)"
)


def _title(text: re.Match) -> str:
    return _TITLES[text[0].rstrip(".")]


def _price(text: re.Match) -> str:
    whole, _, part = text[0][1:].partition(".")
    coin, small, smalls = _COINS[text[0][0]]
    said = []
    if whole != "0" or not part.strip("0"):
        said.append(f"{whole} {coin}{'' if whole == '1' else 's'}")
    if part.strip("0"):
        said.append(f"{int(part)} {small if part == '01' else smalls}")
    return " and ".join(said)


def _clock(text: re.Match) -> str:
    hour, minute = text[0].split(":")
    return f"{hour} o'clock" if minute == "00" else f"{hour} oh {minute[1]}"


def _drawn(text: re.Match) -> str:
    return text[0][: 1 if re.compile(_ONE).match(text.string, text.start()) else 2]


def _shout(text: re.Match) -> str:
    return _DRAWN.sub(_drawn, text[0].lower()).capitalize()  # or no sentence would begin


def _noise(text: re.Match) -> str:
    word = _NOISES[re.sub(r"(.)\1+", r"\1", text[0].lower())]
    return word.capitalize() if text[0][0].isupper() else word


# What espeak-ng says otherwise than people do, and what to make of it.
_RULES = {
    "title": (rf"\b(?:{'|'.join(_TITLES)})\b(?:\.(?!\w))?", _title),
    "initial": (r"(?<![\w.])[A-HJ-Z]\.(?=\s+[A-Z])", lambda text: text[0][0]),  # the sentence would end
    "price": (r"[$£]\d[\d,]*(?:\.\d\d)?\b", _price),  # "dollar five"
    "clock": (r"\b\d\d?:0\d\b(?!:)", _clock),  # "ten zero zero"
    "dash": (r"\s*(?:--+|—)\s*", lambda text: ", "),  # no pause
    "slash": (r"(?<!\d)/|/(?!\d)", lambda text: " "),
    "shout": (r"\b(?<!\d )(?![IVX]+\b)(?=[A-Z]*[AEIOUY])[A-Z]{2,}\b", _shout),  # "GIVE I T BACK!"
    "noise": (r"\b(?i:s+h+|[bg]?r{2,}|b?z{2,}|hm+|m{2,})\b", _noise),  # "ess aitch"
    "drawn": (_DRAWN.pattern, _drawn),  # "noo-oh"
    "stutter": (r"\b(?P<again>[^\W\d_AEIOUXaeioux])-(?=(?i:(?P=again)))", lambda text: text[0][0] + "uh-"),  # "B B but"
    "quote": (QUOTE.pattern, None),  # for the Reader, which knows who speaks
}
_ODD = re.compile("|".join(f"(?P<{name}>{pattern})" for name, (pattern, _) in _RULES.items()))
