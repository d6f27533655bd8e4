"""The engine as Python sees it: the only file that touches the compiled binding."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from . import StoryError
from ._engine import ffi, lib
from .metadata import parse_metadata
from .repetition import Repetition


@dataclass(frozen=True)
class Info:
    """Shape and facts of an open model; sizes in bytes. See duo_info in ext/duostory.h."""

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    seq_len: int
    group_size: int
    bos: int
    eos: int
    kernel: str
    type: str
    kv: str
    file_size: int
    memory: int
    crc32: int


class Token(NamedTuple):
    """One step of a story: the token at position `pos`, the bytes it adds, and whether it came from the prompt."""

    id: int
    piece: bytes
    pos: int
    prompt: bool


def kernels() -> list[str]:
    """Names of the kernels this processor can run, fastest first."""
    names = []
    while name := lib.duo_kernels(len(names)):
        names.append(_text(name))
    return names


def gemv() -> int:
    """The address of the fastest duo_gemv of ext/duostory.h, or of that of $DUOSTORY_KERNEL; 0 if that is the scalar kernel."""
    name = os.environ.get("DUOSTORY_KERNEL")
    return int(ffi.cast("uintptr_t", lib.duo_gemv_of(name.encode() if name else ffi.NULL)))


def _text(c_string) -> str:
    return ffi.string(c_string).decode("utf-8", "replace")


def _check(code: int) -> int:
    """Hands on a result that is not negative; turns an error code into a StoryError."""
    if code < 0:
        raise StoryError(_text(lib.duo_strerror(code)))
    return code


class Model:
    """An open `.duo` model. Use it from one thread at a time and close it, or use `with`.

    `kernel` names one of kernels(); None takes $DUOSTORY_KERNEL, or the fastest that passes its self-test. `kv` is the type of
    the KV cache, "f32" or "q8".
    Raises StoryError when the file cannot be used.
    """

    def __init__(self, path: str | Path, kernel: str | None = None, *, kv: str = "f32"):
        kernel = kernel or os.environ.get("DUOSTORY_KERNEL") or None
        texts = {key: ffi.new("char[]", os.fsencode(value)) for key, value in (("kernel", kernel), ("kv", kv)) if value}
        options = ffi.new("duo_options *", texts)
        out = ffi.new("duo_model **")
        why = ffi.new("char[]", lib.DUO_ERROR_SIZE)
        if lib.duo_open(os.fsencode(path), options, out, why) != lib.DUO_OK:
            raise StoryError(_text(why))
        self._model = ffi.gc(out[0], lib.duo_close)
        c = lib.duo_info_of(self._model)
        facts = {name: getattr(c, name) for name in Info.__dataclass_fields__}
        self.info = Info(**{name: fact if isinstance(fact, int) else _text(fact) for name, fact in facts.items()})
        self.metadata = parse_metadata(ffi.unpack(c.metadata, c.metadata_size).decode("utf-8", "replace"))
        self._piece = ffi.new("char[]", lib.DUO_MAX_PIECE)

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Unmaps the file and frees all memory; the model is not usable afterwards. Closing twice is fine."""
        if self._model is not None:
            ffi.release(self._model)
            self._model = None

    def _open(self):
        if self._model is None:
            raise StoryError("the model is closed")
        return self._model

    def encode(self, text: str | bytes) -> list[int]:
        """BOS and the tokens of `text`, as llama2.c's encode. Bytes need not be UTF-8; a NUL is refused."""
        if isinstance(text, str):
            text = text.encode("utf-8", "surrogateescape")
        cap = 2 * (len(text) + 2)
        ids = ffi.new("int32_t[]", cap)
        if b"\0" in text:
            raise StoryError("the text holds a NUL character; take it out")
        return ffi.unpack(ids, _check(lib.duo_encode(self._open(), text, len(text), ids, cap)))

    def decode(self, prev: int, token: int) -> bytes:
        """The bytes that `token` adds after `prev`: no leading space after BOS, one raw byte for <0xHH>."""
        n = _check(lib.duo_decode(self._open(), prev, token, self._piece, lib.DUO_MAX_PIECE))
        return ffi.unpack(self._piece, n)

    def forward(self, token: int, pos: int, logits: bool = True) -> None:
        """Runs the transformer on one token at position `pos`, after positions 0 to pos - 1."""
        _check(lib.duo_forward(self._open(), token, pos, logits))

    def prefill(self, tokens: list[int], pos: int) -> None:
        """Runs the transformer on tokens at positions from `pos` on, without logits: as forward on each, but faster."""
        _check(lib.duo_prefill(self._open(), tokens, len(tokens), pos))

    def logits(self) -> list[float]:
        """A copy of the vocab_size logits of the last forward pass."""
        return ffi.unpack(lib.duo_logits(self._open()), self.info.vocab_size)

    def logprob(self, token: int) -> float:
        """Natural logarithm of the probability of `token` as the next one."""
        if not 0 <= token < self.info.vocab_size:
            raise StoryError(f"token {token} is not in the vocabulary of {self.info.vocab_size}")
        return lib.duo_logprob(self._open(), token)

    def generate(self, prompt: list[int], steps: int = 0, temperature: float = 1.0, topp: float = 0.9,
                 seed: int = 1, *, repeats: int = 0, reference: bool = False,
                 instead_of: Collection[int] = ()) -> Iterator[Token]:
        """Yields the prompt's tokens after BOS and then what the model makes of them, in llama2.c's order.

        `steps` is the number of positions, 0 for all the model has. The story ends before BOS or EOS;
        with `reference` only BOS ends it, as in llama2.c. A seed must not be 0. `repeats` is how often the same
        four words may come in a row, 0 for as often as the model likes.

        With `instead_of` the prompt is the beginning of the story that was generated last, which goes on differently:
        the model still knows these tokens, which are not yielded again, and none of `instead_of` follows them.
        """
        steps = min(steps, self.info.seq_len) if steps > 0 else self.info.seq_len
        ends = {self.info.bos} if reference else {self.info.bos, self.info.eos}
        sampler = ffi.new("duo_sampler *", {"temperature": temperature, "topp": topp, "rng": seed & 2**64 - 1})
        told = Repetition(repeats) if repeats else None
        start = len(prompt) - 1 if instead_of else 0
        if told:
            for before, token in zip(prompt, prompt[1:start + 1]):
                told.read(token, self.decode(before, token))
        token = prompt[start]
        for pos in range(start, steps):
            given = pos + 1 < len(prompt)
            if not given:
                self.forward(token, pos)
            elif pos % lib.DUO_BATCH == 0:
                self.prefill(prompt[pos:min(pos + lib.DUO_BATCH, len(prompt) - 1, steps)], pos)
            refused = told.refused() if told and not given else []
            if pos == start:
                refused += instead_of
            for each in refused:
                _check(lib.duo_refuse(self._open(), each))
            following = prompt[pos + 1] if given else _check(lib.duo_sample(self._open(), sampler))
            if following in ends:
                return
            piece = self.decode(token, following)
            if told:
                told.read(following, piece)
            yield Token(following, piece, pos, given)
            token = following
