"""What can be said to the robot: from the list models/heard.txt to a grammar and a dictionary, and back to a meaning."""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from duostory import StoryError

WISH = "WISH"  # stands in the list for the subjects
KINDS = ("story", "surprise", "again", "stop", "louder", "softer", "good night", "yes", "no")
PLACES = ("first", "second", "third")  # of what is offered
# What is listened for, and how likely are commands there, and wishes for a story. One may answer a question with another wish:
# a grammar without any would take one in ten for a yes.
MODES = {"wishes": (0.1, 0.6), "yes-no": (0.7, 0.3)}

WAKE = "hey robot"  # the phrase that wakes the robot
WAKE_DICTIONARY = "hey HH EY\nrobot R OW B AA T\nrobot(2) R OW B AH T\n"

FREE = "free"  # the mode of free wishes, which has a language model in place of a grammar

_SIBILANTS = ("S", "Z", "SH", "ZH", "CH", "JH")
_VOICELESS = ("P", "T", "K", "F", "TH")
_WAYS = 4  # of saying a phrase, at most: more only cost time

Wish = tuple[str, ...]  # its subjects
_Arc = tuple[int, int, float, str]  # from state, to state, probability, word or nothing


class Command(NamedTuple):
    """What was meant. `text` is the wish as one would type it ("a dragon and a cat"), empty but for a story."""

    kind: str  # one of KINDS
    subjects: Wish = ()
    text: str = ""


class Subject(NamedTuple):
    name: str
    plural: str | None  # None for names, and for what has none of its own
    phones: str | None  # where the dictionary is not to be asked


class Heard:
    """The list: which phrases mean what, and what a story can be about. Raises StoryError where it makes no sense."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            sections = _sections(path)
        except OSError as error:
            raise StoryError(f"cannot read the list of what can be said, {path}: {error.strerror}") from error
        needed = (*KINDS, *PLACES, "articles", "subjects")
        if sections.keys() != set(needed) or not all(sections.values()):
            raise StoryError(f"{path} must have the sections {', '.join(needed)}")
        self.places = {phrase: place for place, name in enumerate(PLACES) for phrase in sections.pop(name)}
        self.articles = sections.pop("articles")
        self.subjects = [_subject(line) for line in sections.pop("subjects")]
        self.phrases = sections
        self.leads = [phrase.removesuffix(WISH).strip() for phrase in sections["story"]]
        self._kinds = {phrase: kind for kind, phrases in sections.items() for phrase in phrases}
        self._names = {form.lower(): subject.name for subject in self.subjects for form in _forms(subject)}
        # The longest first: a polar bear is not a bear.
        self._find = re.compile(rf"\b(?:{'|'.join(sorted(self._names, key=len, reverse=True))})\b")

    def meaning(self, text: str, offered: Sequence[str] = ()) -> Command | None:
        """What a recognised text means, as an answer to three wishes that were `offered`, if any; None where it is none of the
        list's phrases."""
        text = text.replace("_", " ")
        if offered and text in self.places:
            text = offered[self.places[text]]
        if kind := self._kinds.get(text):
            return Command(kind)
        lead = max((lead for lead in self.leads if f"{text} ".startswith(lead)), key=len)
        wish = text[len(lead):].removesuffix(" please").strip()
        subjects = tuple(self._names[found] for found in self._find.findall(wish))
        if not subjects:
            return None
        return Command("story", subjects, " ".join(self._typed(word) for word in wish.split()))

    def subject(self, word: str) -> str | None:
        """The subject that a word of a recognised text is, if it is one."""
        return self._names.get(word.replace("_", " "))

    def changed(self, grammar: Path, *, without: Collection[str] = (), offered: Sequence[str] = (),
                commands: bool = True) -> str:
        """The text of that grammar `without` the words for these subjects, and perhaps the commands; with what is `offered`."""
        *lines, end = grammar.read_text().splitlines()
        lines = [line for line in lines if self.subject(line.split(" ")[-1]) not in without
                 and (commands or not line.startswith(f"TRANSITION {_START} {_END} "))]
        return "\n".join([*lines, *map(_line, self._offers(offered, without)), end, ""])

    def _offers(self, offered: Sequence[str], without: Collection[str]) -> Iterator[_Arc]:
        for place, offer in enumerate(offered):
            article, _, name = offer.partition(" ")
            if name in without:
                continue
            for phrase in (phrase for phrase in self.places if self.places[phrase] == place):
                yield _START, _END, _OFFER / len(self.places), _one(phrase)
            for word in (article, "the"):
                yield _START, _OFFERED, _OFFER / 3, word
            yield _START, _NAMED, _OFFER / 3, _one(name)
            yield _OFFERED, _NAMED, 1 / 3, _one(name)

    def _typed(self, word: str) -> str:
        name = self._names.get(word, word)
        return name if name.lower() == word else word


def lacking(wishes: Collection[Sequence[str]]) -> Iterator[Wish]:
    """Which subjects a grammar has to lack, so that nothing in it names all that one of the `wishes` names: the fewest first, and
    then each other way. All other wishes are in the grammar of one way at least."""
    ways = {frozenset(way) for way in product(*wishes)}
    fewest = [tuple(sorted(way)) for way in ways if not any(other < way for other in ways)]
    yield from sorted(fewest, key=lambda way: (len(way), way))


def _sections(path: Path) -> dict[str, list[str]]:
    sections, lines = {}, []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[] "), [])
        elif line.strip() and not line.startswith("#"):
            lines.append(line.strip())
    return sections


def _subject(line: str) -> Subject:
    forms, _, phones = line.partition("=")
    name, _, plural = forms.strip().partition(", ")
    if not plural and not name[0].isupper():
        plural = _plural(name)
    return Subject(name, plural if plural not in ("", "-") else None, phones.strip() or None)


def _plural(name: str) -> str:
    if re.search(r"[^aeiou]y$", name):
        return f"{name[:-1]}ies"
    return f"{name}es" if re.search(r"(?:s|x|z|ch|sh)$", name) else f"{name}s"


def _forms(subject: Subject) -> Iterator[str]:
    yield subject.name
    if subject.plural:
        yield subject.plural


# ------------------------------------------------------------------------------------------ files for the recogniser


def write(heard: Heard, dictionary: Path, folder: Path) -> None:
    """Write for each mode MODE.fsg, and words.dict for all, into `folder`; `dictionary` is in CMUdict's format. In free.dict
    are the words of free wishes as well.

    A phrase is one word to the recogniser ("tell_me_a_story_about"): that halves its memory and its work.
    Raises StoryError where neither the list nor the dictionary says how a word is spoken.
    """
    words = {_one(phrase) for phrase in heard.places}
    for mode, shares in MODES.items():
        arcs = list(_arcs(heard, shares))
        words.update(word for *_, word in arcs if word)
        states = f"NUM_STATES {_STATES}\nSTART_STATE {_START}\nFINAL_STATE {_END}"
        (folder / f"{mode}.fsg").write_text("\n".join([f"FSG_BEGIN {mode}", states, *map(_line, arcs), "FSG_END", ""]))
    spoken = _Spoken(heard, dictionary)
    lines = "".join(spoken.lines(word) for word in sorted(words))
    (folder / "words.dict").write_text(lines)
    free = "".join(spoken.lines(word) for word in sorted(free_words(heard) - words))
    (folder / "free.dict").write_text(lines + free)


def free_words(heard: Heard) -> set[str]:
    """The words of free wishes, a word a line of free.txt beside the list; none if there is no such file."""
    path = _free(heard)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {line.partition(" ")[0].lower() for line in lines}


def _free(heard: Heard) -> Path:
    return heard.path.with_name("free.txt")


def _line(arc: _Arc) -> str:
    start, end, weight, word = arc
    return f"TRANSITION {start} {end} {weight:.6f} {word}".rstrip()


_STATES = 9
_START, _ASKED, _NAMING_A, _NAMING_AN, _NAMING_ANY, _NAMING_MANY, _NAMED, _OFFERED, _END = range(_STATES)
_AFTER = {"a": _NAMING_A, "an": _NAMING_AN, "two": _NAMING_MANY}  # articles that not every word can follow

# Probabilities, found by trying on spoken wishes. A wish that nothing leads to, and a second subject, must be clearly spoken:
# a few short words fit to nearly everything.
_BARE, _ARTICLE, _NO_ARTICLE, _AND, _PLEASE = 0.003, 0.9, 0.1, 0.03, 0.05
_OFFER = 0.3  # of each way to take one of three; more than is left for it, so that all else must be clearly spoken


def _arcs(heard: Heard, shares: tuple[float, float]) -> Iterator[_Arc]:
    commands, stories = shares
    phrases = [phrase for kind in KINDS if kind != "story" for phrase in heard.phrases[kind]]
    for phrase in phrases:
        yield _START, _END, commands / len(phrases), _one(phrase)
    for lead in heard.leads:
        yield _START, _ASKED, stories / len(heard.leads) if lead else _BARE, _one(lead)
    for article in heard.articles:
        yield _ASKED, _AFTER.get(article, _NAMING_ANY), _ARTICLE / len(heard.articles), _one(article)
    each = 1 / len(heard.subjects)
    for subject in heard.subjects:
        name = _one(subject.name)
        if not subject.plural:
            yield _ASKED, _NAMED, _NO_ARTICLE * each, name
        else:
            yield _ASKED, _NAMED, _NO_ARTICLE * each, _one(subject.plural)
            yield _NAMING_MANY, _NAMED, each, _one(subject.plural)
        if not subject.name[0].isupper():
            yield _NAMING_AN if takes_an(name) else _NAMING_A, _NAMED, each, name
            yield _NAMING_ANY, _NAMED, each, name
    yield _NAMED, _ASKED, _AND, "and"
    yield _NAMED, _END, 1 - _AND - _PLEASE, ""
    yield _NAMED, _END, _PLEASE, "please"


def _one(words: str) -> str:
    return words.lower().replace(" ", "_")


def takes_an(name: str) -> bool:
    return name[0] in "aeiou" and not name.startswith("uni")


class _Spoken:
    """How words are spoken, in the lines of a dictionary."""

    def __init__(self, heard: Heard, dictionary: Path) -> None:
        self._own = {subject.name.lower(): subject.phones for subject in heard.subjects if subject.phones}
        self._plurals = {subject.plural: subject.name for subject in heard.subjects if subject.plural}
        self._subjects = {_one(form) for subject in heard.subjects for form in _forms(subject)}
        self._ways: dict[str, list[str]] = {}
        with open(dictionary, encoding="utf-8") as lines:
            for line in lines:
                word, _, phones = line.rstrip("\n").partition(" ")
                self._ways.setdefault(word.partition("(")[0], []).append(phones.strip())
        self._ways["a"] = ["AH", "EY"]

    def lines(self, phrase: str) -> str:
        ways = [""]
        for word in phrase.split("_"):
            ways = [f"{way} {more}".strip() for way in ways for more in self._word(word)[:2]]
        ways = ways[:_WAYS]
        if phrase in self._subjects:
            ways = list(dict.fromkeys([*ways, *map(_without_r, ways)]))
        return "".join(f"{phrase}{f'({number})' if number > 1 else ''} {way}\n" for number, way in enumerate(ways, 1))

    def _word(self, word: str) -> list[str]:
        if word in self._own:
            return [self._own[word]]
        if word in self._ways:
            return self._ways[word]
        if word in self._plurals and word.startswith(self._plurals[word].rstrip("y")):
            return [f"{way} {_plural_phones(way)}" for way in self._word(self._plurals[word])]
        raise StoryError(f'nothing says how "{word}" is spoken: put "{word} = PHONES" into the list of what can be said')


def _without_r(way: str) -> str:
    """As most of England says it: no R but before a vowel ("horse", "tiger")."""
    way = re.sub(r" R(?= [^AEIOU]|$)", "", way)
    return re.sub(r"ER(?= [^AEIOU]|$)", "AH", way)


def _plural_phones(singular: str) -> str:
    last = singular.split()[-1]
    return "IH Z" if last in _SIBILANTS else "S" if last in _VOICELESS else "Z"


def made(heard: Heard, dictionary: Path) -> Path:
    """The folder in the cache with what write() makes of these; made again when the list, the dictionary or this changes."""
    import hashlib
    import os
    import shutil
    import tempfile

    from duostory.folders import user_folder

    cache = user_folder("XDG_CACHE_HOME", ".cache")
    if not cache:
        raise StoryError("there is no home folder to keep the grammar in: set XDG_CACHE_HOME to a folder")
    digest = hashlib.sha256()
    try:
        for path in (heard.path, *filter(Path.exists, [_free(heard)]), dictionary, Path(__file__)):
            digest.update(path.read_bytes())
        folder = Path(cache, "hearing", digest.hexdigest()[:16])
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            write(heard, dictionary, work)
            for path in (*work.iterdir(), work):  # a power cut leaves all of it or nothing
                _sync(path)
            try:
                os.rename(work, folder)
            except OSError:
                if not folder.is_dir():  # another process may have been as fast
                    raise
            _sync(folder.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)  # unless it is the folder by now
    except OSError as error:
        raise StoryError(f"cannot make the grammar: {error.filename or cache}: {error.strerror}") from error
    return folder


def _sync(path: Path) -> None:
    import os

    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
