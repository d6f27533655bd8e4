"""A Llama checkpoint in memory, whichever file it comes from.

q and k are in llama2.c's order: the two numbers that RoPE rotates together are neighbours.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from duostory import StoryError
from duostory.formats.shape import MAX_PIECE, NORMS, Config, Key, check_group, label


class Quantized(NamedTuple):
    """A matrix in groups of 8- or 4-bit weights: weight = q x scale of its group."""

    q: np.ndarray      # int8 [rows, cols], -127 to 127, or -8 to 7 when bits is 4
    scale: np.ndarray  # float32 [rows, cols / group size]
    bits: int = 8

    @property
    def shape(self) -> tuple[int, int]:
        return self.q.shape

    @property
    def group_size(self) -> int:
        return self.q.shape[1] // self.scale.shape[1]

    def floats(self) -> np.ndarray:
        """float32 [rows, cols]: each weight rounded once, as llama2.c's runq.c dequantises."""
        rows, cols = self.q.shape
        grouped = self.q.reshape(rows, -1, self.group_size).astype(np.float32) * self.scale[:, :, None]
        return grouped.reshape(rows, cols)


Tensor = np.ndarray | Quantized
Q4_GROUP = 32  # a group's sum of 4-bit weights times 8-bit inputs fits 16 bits


def bits(t: Tensor) -> int:
    """Bits of a weight."""
    return t.bits if isinstance(t, Quantized) else 32


def quantize(w: np.ndarray, group_size: int) -> Quantized:
    """float32 [rows, cols] to int8, to the bit as llama2.c's export: max / 127 in float32, half to even.

    A group of zeros gets scale 0 and zeros, where llama2.c divides 0 by 0. quantize(quantize(w).floats()) is
    quantize(w): for a scale s that is some float divided by 127, (s x 127) / 127 is s again, even rounded.
    """
    rows, cols = w.shape
    groups = w.reshape(rows, cols // group_size, group_size).astype(np.float32, copy=False)
    scale = np.abs(groups).max(axis=2) / np.float32(127)
    divisor = np.where(scale == 0, np.float32(1), scale)
    q = np.rint(groups / divisor[:, :, None])
    # Only a scale too small for full precision (below 1e-38) can overshoot 127.
    q = np.where(scale[:, :, None] == 0, 0, np.clip(q, -127, 127)).astype(np.int8)
    return Quantized(q.reshape(rows, cols), scale)


# Matrices that q4 keeps in q8, as llama.cpp's Q4_K_M keeps more bits in them. Measured with the story model: its held-out
# loss grows by 1.4 % when all are q4, by 0.9 % with these two, for a fifth more bytes.
KEPT_BY_Q4 = {"wv", "w2"}

# Where the number of largest magnitude of a group may come to lie among -8 to 7.
ENDS = [*np.arange(-9, -6.9, 0.2), *np.arange(6, 8.1, 0.2)]


def quantize4(w: np.ndarray, group_size: int) -> Quantized:
    """float32 [rows, cols] to 4 bits: for each group the scale, of many tried, that leaves the least square error."""
    rows, cols = w.shape
    groups = w.reshape(rows, cols // group_size, group_size).astype(np.float32, copy=False)
    at = np.abs(groups).argmax(axis=2, keepdims=True)
    largest = np.take_along_axis(groups, at, axis=2)
    per_unit = np.divide(1, largest, out=np.zeros_like(largest), where=np.abs(largest) > np.finfo(np.float32).tiny)
    best = np.full((rows, cols // group_size, 1), -1, np.float32)
    best_q, scale = np.zeros(groups.shape, np.int8), np.zeros(best.shape, np.float32)
    for end in ENDS:
        q = np.clip(np.rint(groups * (per_unit * np.float32(end))), -8, 7)
        # For given q the best scale is wq / qq, and the error is ww - wq^2 / qq.
        wq, qq = ((a * q).sum(axis=2, keepdims=True) for a in (groups, q))
        s = wq / np.maximum(qq, 1)
        better = s * wq > best
        best, scale = np.where(better, s * wq, best), np.where(better, s, scale)
        best_q = np.where(better, q.astype(np.int8), best_q)
    return Quantized(best_q.reshape(rows, cols), scale[:, :, 0], 4)


class Tensors(Mapping[Key, Tensor]):
    """Tensors made when they are asked for, so that a conversion holds one at a time and not the model."""

    def __init__(self, makers: Mapping[Key, Callable[[], Tensor]]):
        self._makers = dict(makers)

    def __getitem__(self, key: Key) -> Tensor:
        return self._makers[key]()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@dataclass(frozen=True)
class Tokenizer:
    """The vocabulary in llama2.c's spelling: real spaces, bytes as <0x0A>; the highest score merges first."""

    pieces: list[bytes]
    scores: np.ndarray  # float32 [vocab_size]

    @property
    def max_piece_len(self) -> int:
        """Length of the longest piece, in bytes."""
        return max(map(len, self.pieces), default=0)

    def check(self, vocab_size: int, name: str) -> "Tokenizer":
        """Returns itself, or raises StoryError when the engine cannot use it for `vocab_size` pieces."""
        if len(self.pieces) != vocab_size:
            raise StoryError(f"{name} holds {len(self.pieces)} pieces but the model has {vocab_size}: "
                             "give the tokenizer it was trained with by --tokenizer")
        for i, piece in enumerate(self.pieces):
            if b"\0" in piece:
                raise StoryError(f"piece {i} of {name} holds a NUL, which no tokenizer of llama2.c can")
            if len(piece) > MAX_PIECE:
                raise StoryError(f"piece {i} of {name} has {len(piece)} bytes, more than {MAX_PIECE}")
        if not np.isfinite(self.scores).all():
            raise StoryError(f"{name} holds a score that is not a number")
        first = {piece: i for i, piece in reversed(list(enumerate(self.pieces)))}
        if any(first.get(b"<0x%02X>" % i) != 3 + i for i in range(256)):
            raise StoryError(f"{name} does not have the 256 bytes as pieces 3 to 258: "
                             "it must be trained with byte fallback, as Llama's is")
        if b" " not in first:
            raise StoryError(f"{name} has no piece for a space, so it is not a SentencePiece BPE vocabulary")
        return self


@dataclass(frozen=True)
class Checkpoint:
    """A whole model: shape, weights, vocabulary, and facts for people (keys of a-z0-9_)."""

    config: Config
    tensors: Mapping[Key, Tensor]
    tokenizer: Tokenizer
    metadata: dict[str, str] = field(default_factory=dict)

    def tensor(self, key: Key) -> Tensor:
        """One tensor, checked: its shape, that every number is finite, and that -128 does not occur."""
        t = self.tensors[key]
        if isinstance(t, Quantized) and key[0] in NORMS:
            raise StoryError(f"{label(key)} is quantised, which only matrices may be")
        if t.shape != self.config.shape(key[0]):
            raise StoryError(f"{label(key)} is {t.shape} but the header asks for {self.config.shape(key[0])}")
        if not np.isfinite(t.scale if isinstance(t, Quantized) else t).all():
            raise StoryError(f"{label(key)} holds a number that is infinite or not a number")
        if isinstance(t, Quantized) and t.q.min() == -128:
            raise StoryError(f"{label(key)} holds a weight of -128, outside -127 to 127")
        return t

    def retyped(self, type: str | None, group_size: int | None) -> "Checkpoint":
        """The same model with matrices in "f32", "q8" or "q4" (but for KEPT_BY_Q4); None keeps each as it is.

        Matrices that are quantised already keep their numbers (a second rounding would only lose), unless q8 becomes q4.
        Raises StoryError when they have another `group_size` (32 when None), or when rows cannot be cut into such groups.
        """
        if type is None:
            return self
        if type == "f32":
            return self._mapped(lambda _, t: t.floats() if isinstance(t, Quantized) else t)
        size = group_size or 32
        try:
            check_group(self.config, size)
        except StoryError as e:
            rows = self.config.dim, self.config.hidden_dim
            usual = [n for n in range(4, 33, 4) if rows[0] % n == rows[1] % n == 0]
            advice = f"use --group-size {usual[-1]}" if usual else "use --type f32"
            raise StoryError(f"{e}: {advice}") from e

        if type == "q4" and size > Q4_GROUP:
            raise StoryError(f"q4 has groups of at most {Q4_GROUP}, not {size}")

        def quantized(key: Key, t: Tensor) -> Quantized:
            if isinstance(t, Quantized) and t.group_size != size:
                raise StoryError(f"the model is quantised in groups of {t.group_size}, not {size}: "
                                 f"use --group-size {t.group_size}, or convert the model it was made from")
            if type == "q4" and key[0] not in KEPT_BY_Q4:
                return quantize4(t.floats() if isinstance(t, Quantized) else t, size) if bits(t) != 4 else t
            if isinstance(t, Quantized):
                return t._replace(bits=8) if type == "q8" else t
            return quantize(t, size)
        return self._mapped(quantized)

    def _mapped(self, change: Callable[[Key, Tensor], Tensor]) -> "Checkpoint":
        def changed(key: Key) -> Tensor:
            return self.tensor(key) if key[0] in NORMS else change(key, self.tensor(key))
        return replace(self, tensors=Tensors({key: partial(changed, key) for key in self.config.keys()}))
