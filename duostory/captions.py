"""The story with its times in the sound, as SubRip (.srt) and WebVTT (.vtt) files.

A cue is a sentence, or a clause of one that does not fit into two rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import ceil
from pathlib import Path
from typing import NamedTuple

from . import StoryError
from .speech.text import WORD

ROW = 42  # characters; as is usual, two rows of that are a cue's most

_CLAUSE = re.compile(r"[,;:—]\W*$")  # the last word of one
_CONNECTS = {"and", "but", "or", "because", "so", "then"}  # the first word of one


class Cue(NamedTuple):
    start: float  # seconds
    end: float
    words: list[tuple[float, str]]  # when each begins, and the word with its marks

    def rows(self) -> list[list[tuple[float, str]]]:
        cut = _middle([word for _, word in self.words])
        return [self.words[:cut], self.words[cut:]] if cut else [self.words]


class Captions:
    """Takes what a Player tells, and writes the file `path` when it is closed; `format` is one of FORMATS.

    The file appears complete; of a story that was stopped it holds what was spoken until then. A story of which
    nothing was spoken leaves none.
    """

    def __init__(self, path: str, format: str) -> None:
        self._path, self._format = path, FORMATS[format]
        self._times: list[float] = []  # of the words of the present sentence
        self._sentences: dict[int, list[Cue]] = {}
        self._final = Path(os.path.realpath(path))  # a link keeps pointing to the file
        self._part = self._final.with_name(f".{self._final.name}.{os.getpid()}.part")
        try:
            if self._final.exists() and not self._final.is_file():
                raise StoryError(f"cannot write captions to {path}: it is not a regular file")
            self._file = open(self._part, "w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise self._failure(error) from None

    def _failure(self, error: OSError) -> StoryError:
        return StoryError(f"cannot write the captions {self._path}: {error.strerror}")

    def word(self, word: str, at: float, sentence: int) -> None:
        self._times.append(at)

    def spoken(self, text: str, at: float, end: float, sentence: int) -> None:
        self._sentences[sentence] = list(cues(text, self._times, at, end))
        self._times = []

    def close(self) -> None:
        told = [cue for _, sentence in sorted(self._sentences.items()) for cue in sentence]
        try:
            with self._file:
                self._file.write(self._format(told))
            if told:
                os.replace(self._part, self._final)
        except OSError as error:
            raise self._failure(error) from None
        finally:
            self._part.unlink(missing_ok=True)


# --- From a sentence to cues ----------------------------------------------------------------------


def cues(text: str, times: Sequence[float], at: float, end: float) -> Iterator[Cue]:
    """The cues of a sentence that was spoken from `at` to `end`, its words at `times`.

    Of a sentence that was broken off only the words that were begun are in it. With a voice that tells no words,
    `times` is empty and they are estimated.
    """
    words = _timed(text, times, at, end)
    while words:
        cut = _cut([word for _, word in words])
        until = words[cut][0] if cut < len(words) else end
        if until > words[0][0]:
            yield Cue(words[0][0], until, words[:cut])
        words = words[cut:]


def _timed(text: str, times: Sequence[float], at: float, end: float) -> list[tuple[float, str]]:
    """The words of a sentence with their marks, and when they begin. Marks alone go with the word before."""
    words, told, before = [], iter(times), ""
    for chunk in re.finditer(r"\S+", text):
        count = len(WORD.findall(chunk[0]))
        if count:
            begins = list(islice(told, count)) if times else [at + (end - at) * chunk.start() / len(text)]
            if not begins:
                break
            words.append((begins[0], before + chunk[0]))
            before = ""
        elif words:
            words[-1] = words[-1][0], f"{words[-1][1]} {chunk[0]}"
        else:
            before += chunk[0] + " "
    return words


def _cut(words: list[str]) -> int:
    """How many of the words of a sentence, or of the rest of one, make the next cue."""
    fit = len(words)
    while fit > 1 and max(_lengths(words[:fit], _middle(words[:fit]))) > ROW:
        fit -= 1
    if fit == len(words):
        return fit
    cuts = range(fit, fit // 3, -1)
    clauses = [cut for cut in cuts if _CLAUSE.search(words[cut - 1])] or [
        cut for cut in cuts if words[cut] in _CONNECTS and words[cut - 1] not in _CONNECTS]
    return clauses[0] if clauses else ceil(len(words) / ceil(len(words) / fit))  # or else in equal parts


def _middle(words: list[str]) -> int:
    """How many of the words make the first of two rows that are as equal as can be; 0 if they fit in one."""
    if len(" ".join(words)) <= ROW:
        return 0
    return min(range(1, len(words)), key=lambda cut: max(_lengths(words, cut)), default=0)


def _lengths(words: list[str], cut: int) -> tuple[int, int]:
    return len(" ".join(words[:cut])), len(" ".join(words[cut:]))


# --- The formats ----------------------------------------------------------------------------------


def _subrip(cues: list[Cue]) -> str:
    blocks = []
    for number, cue in enumerate(cues, 1):
        rows = [" ".join(word for _, word in row) for row in cue.rows()]
        blocks.append("\n".join([str(number), f"{_stamp(cue.start, ',')} --> {_stamp(cue.end, ',')}", *rows]) + "\n")
    return "\n".join(blocks)


def _webvtt(cues: list[Cue]) -> str:
    """With the time of each word, by which a player can show which is spoken."""
    blocks = ["WEBVTT\n"]
    for cue in cues:
        last, rows = _stamp(cue.start), []
        for row in cue.rows():
            words = []
            for at, word in row:
                word = word.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
                # Only times that increase, and within the cue, are allowed.
                if last < (stamp := _stamp(at)) < _stamp(cue.end):
                    word, last = f"<{stamp}>{word}", stamp
                words.append(word)
            rows.append(" ".join(words))
        blocks.append("\n".join([f"{_stamp(cue.start)} --> {_stamp(cue.end)}", *rows]) + "\n")
    return "\n".join(blocks)


def _stamp(seconds: float, point: str = ".") -> str:
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


FORMATS: dict[str, Callable[[list[Cue]], str]] = {"srt": _subrip, "vtt": _webvtt}
