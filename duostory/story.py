"""A story from a prompt: the loop that turns the model's tokens into pieces to show and sentences to speak.

Nothing here knows of terminals, files or sound.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator
from typing import NamedTuple

from . import StoryError
from .config import Settings
from .engine import Model
from .sentences import SENTENCE, Sentence, Sentences
from .wish import Prompt

# With fewer positions left than this, a sentence is held back until it is whole: it may not end.
# Of 3000 children's stories, one sentence in a thousand has more than 25 words, which are about 36 tokens.
ROOM = 40

THE_END = "The end."
TRAIL_OFF = "..."  # closes a sentence that ran out of positions

# A model may write any byte, but it shall not control the terminal.
_CONTROL = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\t"), ord("\n")})


class Piece(NamedTuple):
    token: int | None  # None for words that are not the model's
    text: str  # "" while a character is incomplete
    prompt: bool  # given, not made up


class Story:
    """Iterate once to make the story up: yields every Piece as soon as it may be shown, and every Sentence as
    soon as it may be spoken.

    The story ends where the model ends it or, when the positions run out, with the last whole sentence. It
    trails off in the middle of one if that has been begun already, or if the model has finished none.
    With `reference` every piece is what llama2.c prints for it, to the last step, and there are no sentences.
    Raises StoryError if the prompt leaves no room for a story.

    positions -- tokens so far, as llama2.c counts them: with the prompt and the token that ends the story
    started -- time.monotonic() after the first token, None before
    """

    def __init__(self, model: Model, prompt: Prompt, settings: Settings, *, reference: bool = False) -> None:
        self.positions = 0
        self.started: float | None = None
        longest = model.info.seq_len
        self._limit = min(settings.steps or longest, longest)
        ids = model.encode(prompt.header + prompt.opening)
        if len(ids) >= self._limit and not reference:
            raise StoryError(f"the prompt has {len(ids)} tokens, which leaves no room for a story in "
                             f"{self._limit} positions; say it in fewer words"
                             + (" or raise --steps" if self._limit < longest else ""))
        self._given = len(ids)
        self._skip = len(prompt.header.encode())
        self._tokens = model.generate(ids, self._limit, settings.temperature, settings.topp, settings.seed,
                                      repeats=settings.repeats, reference=reference)
        self._reference = reference
        self._the_end = settings.the_end

    def __iter__(self) -> Iterator[Piece | Sentence]:
        return self._recite() if self._reference else self._tell()

    def _pieces(self, errors: str) -> Iterator[Piece]:
        """All tokens as text. Bytes that are not UTF-8 are handled as `errors` says."""
        decode = codecs.getincrementaldecoder("utf-8")(errors).decode
        for token in self._tokens:
            self.positions += 1
            data = b"" if self._reference and _unprintable(token.piece) else token.piece
            data, self._skip = data[self._skip:], max(0, self._skip - len(data))
            yield Piece(token.id, decode(data), token.prompt)
            self.started = self.started or time.monotonic()
        if rest := decode(b"", True):
            yield Piece(token.id, rest, False)

    def _recite(self) -> Iterator[Piece]:
        yield from self._pieces("surrogateescape")
        self._count_end()

    def _tell(self) -> Iterator[Piece | Sentence]:
        splitter = Sentences()
        pieces: list[tuple[int, Piece]] = []  # not shown yet, each with the place in the text where it begins
        parts: list[Sentence] = []  # not spoken yet
        place = spoken = shown = 0  # characters that are in pieces, that are in parts, that may be shown
        given = 0  # characters of the prompt
        ready = 0  # parts that may be spoken
        last = ""  # whole sentence
        end = begun = 0  # the places where it ends, and where the next one begins
        for piece in self._pieces("replace"):
            text = piece.text.translate(_CONTROL)
            piece = piece._replace(text=text if place else text.lstrip())
            pieces.append((place, piece))
            place += len(piece.text)
            given = place if piece.prompt else given
            for part in splitter.feed(piece.text):
                parts.append(part)
                spoken += len(part.text)
                if part.whole:
                    last = part.text.rstrip()
                    end, begun = spoken - len(part.text) + len(last), spoken
                    shown, ready = end, len(parts)
            if self._limit - max(self.positions, self._given) >= ROOM:
                shown, ready = place + 1, len(parts)
            while pieces and pieces[0][0] < shown:
                yield pieces.pop(0)[1]
            yield from parts[:ready]
            del parts[:ready]
            ready = 0
        parts += splitter.flush()
        ran_out = self.positions >= self._limit
        self._count_end()
        if ran_out and parts and not parts[-1].whole:
            if end <= given or not pieces or pieces[0][0] > begun:
                yield from _trail_off([piece for _, piece in pieces], parts)
                return
        else:
            yield from (piece for _, piece in pieces)
            yield from parts
            last = parts[-1].text if parts else last
        if self._the_end and place and last.strip(" \n\"'").lower() != "the end.":
            yield Piece(None, "\n" + THE_END, False)
            yield Sentence(THE_END, SENTENCE, True)

    def _count_end(self) -> None:
        if self.positions < self._limit:
            self.positions += 1  # the token that ended the story


def _trail_off(pieces: list[Piece], parts: list[Sentence]) -> Iterator[Piece | Sentence]:
    """The last words of a sentence that ran out of positions, without the one that may be half a word."""
    shown, spoken = ("".join(each.text for each in them) for them in (pieces, parts))
    kept = shown.rpartition(" ")[0].rstrip(" ,;:\n") or shown
    left = len(kept)
    for piece in pieces:
        yield piece._replace(text=piece.text[:left])
        left -= min(left, len(piece.text))
    yield Piece(None, TRAIL_OFF, False)
    yield Sentence(spoken[:len(spoken) - len(shown) + len(kept)] + TRAIL_OFF, SENTENCE, False)


def _unprintable(piece: bytes) -> bool:
    """Pieces that llama2.c leaves out: one byte that is neither printable nor white space in the C locale."""
    return len(piece) == 1 and not (32 <= piece[0] < 127 or piece in b"\t\n\v\f\r")
