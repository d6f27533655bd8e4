"""Cut a stream of text into sentences for the voice, as early as possible and without losing a character."""

import re
from typing import NamedTuple

LIMIT = 200  # characters; a longer sentence is handed on in parts, or the voice would have to wait for it

# Silence after a part, in seconds.
CLAUSE, SENTENCE, LINE, PARAGRAPH = 0.0, 0.35, 0.5, 0.8

# A possible end: marks, quotes and brackets that close with it, white space; or a new line after anything.
# The next character must be in sight, for it decides.
_END = re.compile(r"""(?P<mark>[.!?\u2026]+)(?P<close>["'\u201d\u2019)\]*]*)(?P<space>\s+)(?=\S)"""
                  r"""|(?<=\S)(?P<line>\s*\n\s*)(?=\S)""")
_FINISHED = re.compile(r"""[.!?\u2026]["'\u201d\u2019)\]*]*\s*$""")

# A full stop after one of these belongs to the word.
_TITLE = re.compile(r"\b(?:mr|mrs|ms|dr|st|mt|prof|capt|sgt|jr|sr|vs)$", re.IGNORECASE)
# "J. Bear", "10 a.m. today"; but "So do I." is an end.
_INITIALS = re.compile(r"(?:\b[A-HJ-Z]|\b[A-Za-z](?:\.[A-Za-z])+)$")

# Where a long sentence may be cut, best first.
_CUTS = (re.compile(r"""[,;:\u2014]["'\u201d\u2019)]*\s+(?=\S)|\s-\s+(?=\S)"""),
         re.compile(r"\s+(?=(?:and|but|or|because|so|then)\b)"),
         re.compile(r"\s+(?=\S)"))
_SHORTEST = 40  # characters; a shorter first part would sound chopped off


# A quotation mark, with the marks and spaces behind it.
QUOTE = re.compile(r"""["\u201c\u201d\u201e\u00ab\u00bb](?P<more>[\s.,;:!?)]+|\u2026)*""")


class Sentence(NamedTuple):
    text: str  # with the white space that follows it
    pause: float  # seconds of silence after it
    whole: bool  # False for a part of a long sentence that goes on
    quoted: bool = False  # whether it begins in the middle of what somebody says


class Sentences:
    """Feed text in pieces of any size; the sentences do not depend on how it was cut.

    The texts of all sentences, one after the other, are the text that went in.
    """

    def __init__(self) -> None:
        self.rest = ""  # text of the unfinished sentence

    def feed(self, text: str) -> list[Sentence]:
        """Take more text and return the sentences that it finishes."""
        self.rest += text
        found = []
        while sentence := self._next():
            self.rest = self.rest[len(sentence.text):]
            found.append(sentence)
        return found

    def flush(self) -> list[Sentence]:
        """Return what is left when the text is over. It is `whole` if it ends as a sentence does."""
        rest, self.rest = self.rest, ""
        return [Sentence(rest, SENTENCE, bool(_FINISHED.search(rest)))] if rest else []

    def _next(self) -> Sentence | None:
        for end in _END.finditer(self.rest):
            if end.end() > LIMIT:
                break
            if self._ends(end):
                return Sentence(self.rest[:end.end()], _pause(end["space"] or end["line"]), True)
        if len(self.rest) <= LIMIT:
            return None
        return Sentence(self.rest[:_cut(self.rest)], CLAUSE, False)

    def _ends(self, end: re.Match) -> bool:
        if end["line"] or "\n" in end["space"]:
            return True
        before, mark, after = self.rest[:end.start()], end["mark"], self.rest[end.end()]
        if mark == "." and not end["close"]:
            return not (_TITLE.search(before) or _INITIALS.search(before))
        # '"Stop!" said the owl' and 'he waited... and waited' go on.
        goes_on = end["close"] or mark[-2:] == ".." or "\u2026" in mark
        return not (goes_on and after.islower())


def opens(mark: re.Match, quoted: bool) -> bool:
    """Whether what is behind `mark`, a match of QUOTE, is a quotation; `quoted` says whether what is before it is one."""
    before, after = mark.string[:mark.start()], mark.string[mark.end():]
    begins = not before or before[-1].isspace() or before[-1] in "(-\u2014"
    return begins and after != "" and not (mark["more"] and quoted)


def still_quoted(sentence: Sentence) -> bool:
    """Whether the next sentence begins in a quotation. None goes on in another paragraph."""
    quoted = sentence.quoted
    for mark in QUOTE.finditer(sentence.text.rstrip()):
        quoted = opens(mark, quoted)
    return quoted and sentence.pause < LINE


def _pause(space: str) -> float:
    return (SENTENCE, LINE, PARAGRAPH)[min(space.count("\n"), 2)]


def _cut(text: str) -> int:
    for pattern in _CUTS:
        ends = [cut.end() for cut in pattern.finditer(text, 0, LIMIT + 1) if _SHORTEST <= cut.end() <= LIMIT]
        if ends:
            return ends[-1]
    return LIMIT
