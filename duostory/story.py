"""A story from a prompt: the loop that turns the model's tokens into pieces to show and sentences to speak.

Nothing here knows of terminals, files or sound.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Collection, Iterator
from functools import partial
from typing import NamedTuple

from . import StoryError
from .config import Settings
from .engine import Model
from .gate import Gate
from .sentences import SENTENCE, Sentence, Sentences, still_quoted
from .wish import Prompt

# With fewer positions left than this, a sentence is held back until it is whole: it may not end.
# Of 3000 children's stories, one sentence in a thousand has more than 25 words, which are about 36 tokens.
ROOM = 40

RETRIES = 2  # for a sentence that the gate refuses

THE_END = "The end."
TRAIL_OFF = "..."  # closes a sentence that ran out of positions

# A model may write any byte, but it shall not control the terminal.
_CONTROL = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\t"), ord("\n")})


class Unwanted(StoryError):
    """The gate refuses a prompt."""


class Stopped(Exception):
    """Somebody has called stop()."""


class Piece(NamedTuple):
    token: int | None  # None for words that are not the model's
    text: str  # "" while a character is incomplete
    prompt: bool  # given, not made up


class Story:
    """Iterate once to make the story up: yields every Piece as soon as it may be shown, and every Sentence as
    soon as it may be spoken.

    With a `gate` no sentence is told that has an unwanted word: it is made up anew, up to RETRIES times. Until it
    is whole, nothing of it is shown. Raises Unwanted if the prompt has such a word.

    The story ends where the model ends it or, when the positions or the retries run out, with the last whole
    sentence. It trails off in the middle of one if that has been begun already, or if the model has finished none.
    With `reference` every piece is what llama2.c prints for it, to the last step, and there are no sentences.
    Raises StoryError if the prompt leaves no room for a story.

    positions -- tokens so far, as llama2.c counts them: with the prompt and the token that ends the story;
                 those that were taken back count, too
    taken_back -- how many sentences the gate has refused
    started -- time.monotonic() after the first token, None before
    """

    _stopped = False

    def __init__(self, model: Model, prompt: Prompt, settings: Settings, *, gate: Gate | None = None,
                 reference: bool = False) -> None:
        self.seed, self.positions, self.taken_back = settings.seed, 0, 0
        self.started: float | None = None
        longest = model.info.seq_len
        self._limit = min(settings.steps or longest, longest)
        self._ids = model.encode(prompt.header + prompt.opening)  # the prompt, and then what has been shown
        self._given = len(self._ids)
        if self._given >= self._limit and not reference:
            raise StoryError(f"the prompt has {self._given} tokens, which leaves no room for a story in "
                             f"{self._limit} positions; say it in fewer words"
                             + (" or raise --steps" if self._limit < longest else ""))
        if gate and (word := gate.unwanted(prompt.opening.translate(_CONTROL))):
            raise Unwanted(f"no story here may have the word {word!r} in it; choose another wish")
        self._skip = len(prompt.header.encode())
        self._generate = partial(model.generate, steps=self._limit, temperature=settings.temperature,
                                 topp=settings.topp, repeats=settings.repeats, reference=reference)
        self._gate, self._reference, self._the_end = gate, reference, settings.the_end

    def stop(self) -> None:
        """Let the iteration raise Stopped before the next token. From any thread."""
        self._stopped = True

    def __iter__(self) -> Iterator[Piece | Sentence]:
        return self._pieces("surrogateescape") if self._reference else self._tell()

    def _pieces(self, errors: str, instead_of: Collection[int] = ()) -> Iterator[Piece]:
        """All tokens as text; with `instead_of` those that follow what has been shown, and begin otherwise.

        Bytes that are not UTF-8 are handled as `errors` says.
        """
        decode = codecs.getincrementaldecoder("utf-8")(errors).decode
        self._pos = len(self._ids) - 1 if instead_of else 0
        seed = 1 + (self.seed + self.taken_back - 1) % (2**64 - 1)  # the story's own at first, and never 0
        for token in self._generate(list(self._ids), seed=seed, instead_of=instead_of):
            if self._stopped:
                raise Stopped
            self.positions += 1
            self._pos = token.pos + 1
            data = b"" if self._reference and _unprintable(token.piece) else token.piece
            data, self._skip = data[self._skip:], max(0, self._skip - len(data))
            yield Piece(token.id, decode(data), token.prompt)
            self.started = self.started or time.monotonic()
        if rest := decode(b"", True):
            yield Piece(token.id, rest, False)
        if self._pos < self._limit:
            self.positions += 1  # the token that ended the story

    def _tell(self) -> Iterator[Piece | Sentence]:
        draft = _Draft()
        given = 0  # characters of the prompt
        last = ""  # whole sentence
        end = begun = 0  # the places where it ends, and where the next one begins
        refused: set[int] = set()  # the tokens that began what the gate has refused to follow it
        pieces = self._pieces("replace")
        while True:
            piece = next(pieces, None)
            found = draft.write(piece) if piece else draft.finish()
            # The prompt has been looked at as a whole; a part of it may end in the middle of a word.
            if self._gate and draft.made_up and any(self._gate.unwanted(part.text) for part in found):
                self.taken_back += 1
                refused.add(draft.take_back())
                pieces = self._pieces("replace", [*refused]) if len(refused) <= RETRIES else iter(())
                continue
            if not piece:
                break
            given = len(draft.text) if piece.prompt else given
            roomy = self._limit - max(self._pos, self._given) >= ROOM
            shown = ready = 0  # characters that may be shown, parts that may be spoken
            for part in found:
                place = draft.add(part)
                if part.whole:
                    last = part.text.rstrip()
                    end, begun = place - len(part.text) + len(last), place
                if part.whole or roomy:
                    shown, ready = place - len(part.text) + len(part.text.rstrip()), len(draft.parts)
            if roomy and (piece.prompt or not self._gate):
                shown, ready = len(draft.text) + 1, len(draft.parts)
            for piece in draft.show(shown):
                if not piece.prompt:
                    self._ids.append(piece.token)
                    refused.clear()
                yield piece
            yield from draft.say(ready)
        draft.parts += found
        gave_up = len(refused) > RETRIES
        unfinished = not draft.parts[-1].whole if draft.parts else draft.shown > begun
        if unfinished and (gave_up or self._pos >= self._limit):
            if end <= given or not draft.pieces or draft.shown > begun:
                yield from _trail_off(draft)
                return
        else:
            yield from draft.pieces
            last = draft.parts[-1].text if draft.parts else last
            yield from draft.say(len(draft.parts))
        if (self._the_end and draft.text or gave_up) and last.strip(" \n\"'").lower() != "the end.":
            yield Piece(None, "\n" + THE_END, False)
            yield Sentence(THE_END, SENTENCE, True)


class _Draft:
    """The text of a story, of which a part may have been told already."""

    def __init__(self) -> None:
        self.text = ""
        self.pieces: list[Piece] = []  # of it, not shown yet
        self.parts: list[Sentence] = []  # of it, not spoken yet
        self.shown = 0  # characters
        self._said = self._split = 0  # characters that have been spoken, and that have ever been in parts
        self.quoted = False  # whether what is spoken next begins in a quotation
        self._splitter = Sentences()

    def write(self, piece: Piece) -> list[Sentence]:
        """Take the next piece and return the parts that it finishes, to be added if they are good."""
        text = piece.text.translate(_CONTROL)
        piece = piece._replace(text=text if self.text else text.lstrip())
        self.pieces.append(piece)
        self.text += piece.text
        return self._splitter.feed(piece.text)

    def finish(self) -> list[Sentence]:
        """Return the last part."""
        return self._splitter.flush()

    def add(self, part: Sentence) -> int:
        """Take a part and return the place where it ends."""
        self.parts.append(part)
        self._split += len(part.text)
        return self._split

    def show(self, end: int) -> Iterator[Piece]:
        """Hand out the pieces that begin before `end`."""
        while self.pieces and self.shown < end:
            piece = self.pieces.pop(0)
            self.shown += len(piece.text)
            yield piece

    def say(self, count: int) -> Iterator[Sentence]:
        """Hand out the first `count` parts."""
        for _ in range(count):
            part = self.parts.pop(0)._replace(quoted=self.quoted)
            self._said += len(part.text)
            self.quoted = still_quoted(part)
            yield part

    @property
    def made_up(self) -> bool:
        """Whether anything can be taken back."""
        return any(not piece.prompt for piece in self.pieces)

    def take_back(self) -> int:
        """Forget what has been neither shown nor given, and return the first of its tokens."""
        kept = [piece for piece in self.pieces if piece.prompt]
        token = self.pieces[len(kept)].token
        self.pieces = kept
        self.text = self.text[:self.shown + sum(len(piece.text) for piece in kept)]
        # White space that showed a sentence to be over may have been spoken and forgotten.
        self._said = self._split = min(self._said, len(self.text))
        self.parts.clear()
        self._splitter.rest = self.text[self._said:]
        return token


def _trail_off(draft: _Draft) -> Iterator[Piece | Sentence]:
    """The last words of a sentence that ran out of positions, without the one that may be half a word."""
    shown, spoken = ("".join(each.text for each in them) for them in (draft.pieces, draft.parts))
    kept = shown.rpartition(" ")[0].rstrip(" ,;:\n") or shown
    left = len(kept)
    for piece in draft.pieces:
        yield piece._replace(text=piece.text[:left])
        left -= min(left, len(piece.text))
    yield Piece(None, TRAIL_OFF, False)
    yield Sentence(spoken[:len(spoken) - len(shown) + len(kept)] + TRAIL_OFF, SENTENCE, False, draft.quoted)


def _unprintable(piece: bytes) -> bool:
    """Pieces that llama2.c leaves out: one byte that is neither printable nor white space in the C locale."""
    return len(piece) == 1 and not (32 <= piece[0] < 127 or piece in b"\t\n\v\f\r")
