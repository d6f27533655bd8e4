"""The word gate: words that no story may have, because a parent would not want them heard.

A list of words understands nothing: it is no promise that a story is fit for a child.
"""

from __future__ import annotations

import os
import re

from . import StoryError
from .config import GATE_OFF
from .models import data_dir

_WORD = re.compile(r"[^\W\d_]+")  # "gun's" and "gun-shy" have the word gun


class Gate:
    """Knows unwanted words, in any case."""

    def __init__(self, words: list[str]) -> None:
        self._words = frozenset(word.casefold() for word in words)

    def unwanted(self, text: str) -> str | None:
        """The first word of `text` that is unwanted."""
        return next((word for word in _WORD.findall(text) if word.casefold() in self._words), None)


def open_gate(setting: str) -> Gate | None:
    """The gate that the setting asks for: a file of words, "" for the one that comes with duostory, or "off".

    Raises StoryError for a file that is no such list.
    """
    if setting == GATE_OFF:
        return None
    path = os.path.expanduser(setting) or data_dir() / "gate.txt"
    try:
        with open(path, encoding="utf-8-sig") as file:
            words = [word for line in file for word in line.partition("#")[0].split()]
    except OSError as error:
        raise StoryError(f"cannot read the unwanted words in {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StoryError(f"cannot read the unwanted words in {path}: it is not UTF-8 text") from None
    for word in words:
        if not _WORD.fullmatch(word):  # it would never be found
            raise StoryError(f"{path} lists {word!r}, which is not a word of letters alone")
    return Gate(words)
