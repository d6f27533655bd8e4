"""Random models for tests, made on the spot."""

from pathlib import Path

import numpy as np


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
