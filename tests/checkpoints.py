"""Random models for tests, made on the spot."""

import hashlib
import struct
from pathlib import Path

import numpy as np

GOLDEN_SHA256 = "ef0f4eeb2f1d54ad94ae9b2351f66db1635c1167c9b9445a5abf37fb3dd94c62"


def golden_q80(path: Path) -> None:
    """The int8 checkpoint of stories15M's shape, llama2.c version 2, that the goldens random15M_q80 were made with.

    The order of the draws and numpy's generator make it what it is; the hash says so if either changes.
    """
    dim, hidden, layers, heads, vocab, seq, group = 288, 768, 6, 6, 32000, 256, 32
    rng = np.random.default_rng(1)

    def quantized(rows, cols, std):
        w = rng.standard_normal((rows, cols), dtype=np.float32) * np.float32(std)
        groups = w.reshape(-1, group)
        scale = np.abs(groups).max(axis=1) / np.float32(127)
        return np.rint(groups / scale[:, None]).astype(np.int8).tobytes() + scale.tobytes()

    shapes = [(dim, dim)] * 4 + [(hidden, dim), (dim, hidden), (hidden, dim)]
    header = struct.pack("<Ii7iBi", 0x616B3432, 2, dim, hidden, layers, heads, heads, vocab, seq, 1, group)
    data = [header.ljust(256, b"\0"), np.ones((2 * layers + 1) * dim, np.float32).tobytes(),
            quantized(vocab, dim, 1 / np.sqrt(dim))]
    data += [quantized(rows, cols, 0.5 / np.sqrt(cols)) for rows, cols in shapes for _ in range(layers)]
    assert hashlib.sha256(b"".join(data)).hexdigest() == GOLDEN_SHA256, "numpy draws other numbers than it did"
    path.write_bytes(b"".join(data))


def random_duo(path: Path, shape: tuple[int, ...], type: str, seed: int = 0, tied: bool = True) -> Path:
    """A random .duo model: shape is (dim, hidden, layers, heads, kv heads, vocabulary, positions, group size).

    Some weights are far larger than the rest, some rows are zero, so that sums cancel and groups vanish.
    """
    from duostory.formats import duo
    from duostory.formats.checkpoint import Checkpoint, Tokenizer, quantize, quantize4
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
        return {"f32": lambda w, _: w, "q8": quantize, "q4": quantize4}[type](w, group)

    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % i for i in range(256)), b" "]
    pieces += [b"piece%d" % i for i in range(config.vocab_size - len(pieces))]
    tokenizer = Tokenizer(pieces, np.zeros(config.vocab_size, np.float32))
    duo.write(Checkpoint(config, {key: tensor(key[0]) for key in config.keys()}, tokenizer), path)
    return path
