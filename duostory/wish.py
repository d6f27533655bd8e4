"""From a wish to a prompt: what the model is asked for "a dragon", or for the beginning of a story."""

import re
from typing import NamedTuple


class Prompt(NamedTuple):
    header: str  # tells the model what the story is about; not part of the story
    opening: str  # the story's first words


_ASKED = re.compile(r"(?P<lead>.*?)\b(?:(?:story|tale) (?:about|of|on|with)|about) (?P<what>.+)"
                    r"|(?P<only>.*)\b(?:story|tale)", re.IGNORECASE)
_PLEA = frozenset("""please can could would you i want like to hear tell read give write make up me us a an
    the another one new very long short little nice funny happy good bedtime""".split())
_OPENING = re.compile(r"(?:once|one \w+|there (?:was|were|is|are)|long ago|in an?|it was)\b", re.IGNORECASE)
_DETERMINER = re.compile(r"(?:an?|the|my|some|two|three|four|five|six|seven|eight|nine|ten|many) ",
                         re.IGNORECASE)
_MANY = re.compile(r"some |two |three |four |five |six |seven |eight |nine |ten |many |"
                   r"\w+[^ius ]s(?: and|,|$)", re.IGNORECASE)  # a bus, a dress and an iris are one
_RELATIVE = re.compile(r",? (?:who|that|which|whose)\b.*")
_TOLD = re.compile(r" (?:was|were|had|lived|went|loved|liked|wanted|saw|said)\b|[.!?]$")
_PAST = {"is": "was", "isn't": "wasn't", "are": "were", "has": "had", "can": "could", "can't": "couldn't",
         "lives": "lived", "wants": "wanted", "likes": "liked", "loves": "loved"}
_DULL = frozenset("""a an and the my your his her its their our some many any this that these those who
    whose which what where when while is are was were be been has have had can could will would do does
    did not no of in on at to for from with without by about into over under near very too so or but
    because if than then as up am go mr ms it he she they we you i me him them us there named called little
    small big one two three four five six seven eight nine ten likes wants loves lives goes gets
    makes story please""".split())
_ANY = "Once upon a time"  # left to itself, a model that knows wishes makes one up, and tells it too
_SUBJECTS = 4  # the story model was trained with at most so many


def prompt_for(wish: str, metadata: dict[str, str]) -> Prompt:
    """Turn "a dragon", "tell me a story about a dragon" or the beginning of a story into a prompt.

    The story's opening names the subject, and a model whose metadata has `wish_template` is told the subjects in a
    header as well: either alone is forgotten more often.
    """
    wish = " ".join(wish.split())
    what, long = _asked(wish)
    if what is None and not _is_subject(wish):
        opening = wish[:1].upper() + wish[1:]
        return Prompt("", opening or (_ANY if "wish_template" in metadata else ""))
    what = wish if what is None else what
    opening = _opening(what) if what else ""
    if "wish_template" not in metadata:
        return Prompt("", opening)
    subjects = _subjects(what)
    if long and "wish_long" in metadata:
        subjects.insert(0, metadata["wish_long"])
    if not subjects:
        return Prompt("", _ANY)
    return Prompt(metadata["wish_template"].replace("{subjects}", ", ".join(subjects)), opening or _ANY)


def _asked(wish: str) -> tuple[str | None, bool]:
    """What "tell me a long story about ..." is to be about, None if it is not asked like this; and whether it
    says "long"."""
    match = _ASKED.fullmatch(wish.rstrip(" .!?"))
    if not match:
        return None, False
    plea = re.findall(r"\w+", (match["lead"] or match["only"] or "").lower())
    return (match["what"] or "", "long" in plea) if _PLEA.issuperset(plea) else (None, False)


def _is_subject(wish: str) -> bool:
    """Whether the words name something, rather than begin to tell."""
    if not wish or _OPENING.match(wish) or _TOLD.search(_RELATIVE.sub("", wish)):
        return False
    if _DETERMINER.match(wish):
        return True
    return all(len(item.split()) <= 3 for item in re.split(r",| and ", wish))


def _subjects(what: str) -> list[str]:
    """The words that carry the wish, at most four, in their order."""
    words = [word for word in re.findall(r"\b(?<!['\u2019])[^\W\d_]{2,}", what) if word.lower() not in _DULL]
    return list(dict.fromkeys(words))[:_SUBJECTS]


def _opening(what: str) -> str:
    many = bool(_MANY.match(what))
    if _DETERMINER.match(what):
        what = what[0].lower() + what[1:]
    elif what != what.lower():  # a name is an opening itself
        return what
    elif not many:
        what = ("an " if what[0] in "aeiou" else "a ") + what
    what = re.sub(r"\b(who|that|which) ([\w']+)", lambda m: f"{m[1]} {_PAST.get(m[2], m[2])}", what)
    return f"Once upon a time, there {'were' if many else 'was'} {what}"
