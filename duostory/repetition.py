"""Keeps a small model from going round in circles: no four words in a row more often than a story bears."""

import re
from collections import Counter, defaultdict, deque

SPAN = 4  # words

_PART = re.compile(rb"[A-Za-z0-9'\x80-\xff]+")  # of a word or number


class Repetition:
    """Reads a story token by token and names the tokens that would tell SPAN words for the time after `limit`.

    As "no repeat n-gram" decoding does (Paulus et al., arXiv 1705.04304), but with words in the place of tokens:
    only the token that begins the last of the words is refused, and so a name is never broken in its middle.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._words: deque[bytes] = deque(maxlen=SPAN)
        self._word = b""  # that is being told; more of it may follow
        self._token = 0, False  # that began it, and whether with a space
        self._following: dict[tuple[bytes, ...], Counter[bytes]] = defaultdict(Counter)
        self._beginnings: dict[bytes, set[tuple[int, bool]]] = defaultdict(set)

    def read(self, token: int, piece: bytes) -> None:
        """Takes note of the next token of the story."""
        place = 0
        for run in _PART.finditer(piece):
            if run.start() > place or not self._word:
                self._close()
                self._token = token, run.start() > 0
            self._word += run[0].lower()
            place = run.end()
        if place < len(piece):
            self._close()

    def _close(self) -> None:
        if self._word:
            self._words.append(self._word)
            self._beginnings[self._word].add(self._token)
            *before, last = self._words
            self._following[tuple(before)][last] += 1
        self._word = b""

    def refused(self) -> list[int]:
        """The tokens that must not come next."""
        told = [*self._words, self._word] if self._word else self._words
        again = self._following.get(tuple(told)[1 - SPAN:])
        return [token for word, times in (again or {}).items() if times >= self._limit
                for token, spaced in self._beginnings[word] if spaced or not self._word]
