"""Random models for tests, made on the spot."""

import struct
from pathlib import Path

import numpy as np


def random_q80(path: Path) -> None:
    """A random int8 checkpoint in llama2.c's version 2 format, of stories15M's shape and a given seed.

    The int8 goldens were made with exactly these weights: the order of draws must stay.
    """
    dim, hidden, layers, heads, vocab, seq, group = 288, 768, 6, 6, 32000, 256, 32
    rng = np.random.default_rng(1)

    def matrix(rows, cols, std):
        return rng.standard_normal((rows, cols), dtype=np.float32) * np.float32(std)

    def quantized(w):
        groups = w.reshape(-1, group)
        scale = np.maximum(np.abs(groups).max(axis=1), 1e-12) / 127.0
        return np.rint(groups / scale[:, None]).astype(np.int8).tobytes() + scale.astype(np.float32).tobytes()

    embedding = matrix(vocab, dim, 1.0 / np.sqrt(dim))
    shapes = [(dim, dim)] * 4 + [(hidden, dim), (dim, hidden), (hidden, dim)]
    weights = [matrix(rows, cols, 0.5 / np.sqrt(cols)) for rows, cols in shapes for _ in range(layers)]
    header = struct.pack("<Ii7iBi", 0x616B3432, 2, dim, hidden, layers, heads, heads, vocab, seq, 1, group)
    with path.open("wb") as f:
        f.write(header.ljust(256, b"\0"))
        f.write(np.ones((2 * layers + 1) * dim, np.float32).tobytes())
        for w in [embedding, *weights]:
            f.write(quantized(w))


def random_duo(path: Path, shape: tuple[int, ...], type: str, seed: int = 0, tied: bool = True) -> Path:
    """A random .duo model: shape is (dim, hidden, layers, heads, kv heads, vocabulary, positions, group size).

    Some weights are far larger than the rest, some rows are zero, so that sums cancel and groups vanish.
    """
    from duostory.formats import duo
    from duostory.formats.checkpoint import Checkpoint, Tokenizer, quantize
    from duostory.formats.shape import NORMS, Config

    *sizes, group = shape
    config = Config(*sizes, tied=tied).check()
    rng = np.random.default_rng(seed)

    def tensor(name):
        w = rng.standard_normal(config.shape(name)).astype(np.float32)
        if name in NORMS:
            return w
        w *= np.float32(1 / np.sqrt(w.shape[1]))
        w[rng.random(w.shape) < 0.01] *= 100
        w[rng.random(len(w)) < 0.02] = 0
        return quantize(w, group) if type == "q8" else w

    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % i for i in range(256)), b" "]
    pieces += [b"piece%d" % i for i in range(config.vocab_size - len(pieces))]
    tokenizer = Tokenizer(pieces, np.zeros(config.vocab_size, np.float32))
    duo.write(Checkpoint(config, {key: tensor(key[0]) for key in config.keys()}, tokenizer), path)
    return path
