"""Free wishes: not from a list of phrases, but in words of the stories, in any order that a language model finds likely.

So much of what is heard then is wrong in small words that only things are taken from it: "the dragon who wants an old coin"
is a wish for the dragon and a coin.
"""

from collections.abc import Sequence
from pathlib import Path

from duostory import StoryError
from duostory.hearing.grammar import Command, Heard, takes_an

MOST = 4  # things; the story model was trained with no more
_ARTICLES = frozenset("a an the two three his her their my".split())
_DULL = frozenset("story time day one thing way".split())  # which are in every other wish or story, and say nothing


class FreeWords:
    """What free wishes mean. Raises StoryError where their words can't be read.

    `path` is made by scripts/language.py: a word a line, a name with a capital letter, "n" behind a noun. Beside it is the
    `language` model.
    """

    def __init__(self, path: Path, heard: Heard) -> None:
        self.language, self._heard = path.with_suffix(".bin"), heard
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise StoryError(f"cannot read the words of free wishes, {path}: {error.strerror}") from error
        things = [word for line in lines if (word := line.removesuffix(" n")) != line or word[:1].isupper()]
        things += [form for subject in heard.subjects for form in (subject.name, subject.plural) if form]
        self._things = {thing.lower(): thing for thing in things if thing.lower() not in _DULL}

    def meaning(self, text: str, offered: Sequence[str] = ()) -> Command | None:
        """A command, or a wish for the first things that are named; None where there are none. For `offered` see
        Heard.meaning()."""
        if (command := self._heard.meaning(text, offered)) and command.kind != "story":
            return command
        wishes: dict[str, str] = {}
        words, article, between = text.replace("_", " ").split(), "", 0
        while words:
            size = next((n for n in (2, 1) if " ".join(words[:n]) in self._things), 0)  # a polar bear is not a bear
            if size:
                thing = self._things[" ".join(words[:size])]
                wishes.setdefault(thing, _phrase(article, thing))  # the first time counts
                article = ""
            elif words[0] in _ARTICLES:
                article, between = words[0], 0
            elif (between := between + 1) > 1:  # "an old coin": an article belongs to a thing behind one other word
                article = ""
            words = words[size or 1 :]
        *others, last = list(wishes.values())[:MOST] or [""]
        if not last:
            return None
        return Command("story", tuple(wishes)[:MOST], f"{', '.join(others)} and {last}" if others else last)


def _phrase(article: str, thing: str) -> str:
    """A thing with the article that was heard before it."""
    if not article or thing[0].isupper():
        return thing
    return f"{('an' if takes_an(thing) else 'a') if article in ('a', 'an') else article} {thing}"
