"""Where llama2.c's checkpoints keep what: v0 (float32), v1 (float32, better header), v2 (int8)."""

import math
import struct
from collections.abc import Iterator
from pathlib import Path

from duostory import StoryError
from duostory.formats.shape import Config, Key, check_group

MAGIC = b"24ka"  # 0x616b3432, little-endian
V0_HEADER = struct.Struct("<7i")
HEADER = struct.Struct("<4si7iB")  # v1 and v2; v2 adds the group size; both are filled up to HEADER_SIZE
HEADER_SIZE = 256
MATRICES = ("wq", "wk", "wv", "wo", "w1", "w2", "w3")


def layout(version: int, config: Config) -> list[Key | None]:
    """The tensors in the order of the file. None is v0's table of sines and cosines, read by nobody."""
    def layers(*names: str) -> list[Key]:
        return [(name, layer) for name in names for layer in range(config.n_layers)]

    norms = layers("attention_norm"), layers("ffn_norm")
    embedding, final_norm, classifier = [("embedding", 0)], [("final_norm", 0)], [("classifier", 0)]
    tail = [] if config.tied else classifier
    if version == 0:
        return [*embedding, *norms[0], *layers(*MATRICES[:4]), *norms[1], *layers(*MATRICES[4:]), *final_norm,
                None, *tail]
    return [*norms[0], *norms[1], *final_norm, *embedding, *layers(*MATRICES), *tail]


def sizes(version: int, config: Config, group_size: int) -> Iterator[tuple[Key | None, int]]:
    """Each tensor of the file with its length in bytes."""
    for key in layout(version, config):
        shape = (config.seq_len * config.head_size,) if key is None else config.shape(key[0])
        n = math.prod(shape)
        quantized = version == 2 and len(shape) == 2
        yield key, n + 4 * (n // group_size) if quantized else 4 * n


def parse_header(data: bytes) -> tuple[int, Config, int, int]:
    """Version, shape, group size (0: not quantised) and length of the header, from a file's first 256 bytes.

    Raises StoryError when the numbers are not those of a Llama.
    """
    if data[:4] != MAGIC:
        if len(data) < V0_HEADER.size:
            raise StoryError("it is too short for a checkpoint")
        *numbers, vocab, seq_len = V0_HEADER.unpack_from(data)
        # A negative vocabulary says that the classifier has weights of its own.
        return 0, Config(*numbers, abs(vocab), seq_len, tied=vocab > 0).check(), 0, V0_HEADER.size
    if len(data) < HEADER_SIZE:
        raise StoryError("it is too short for its header")
    _, version, *numbers, tied = HEADER.unpack_from(data)
    if version not in (1, 2) or tied not in (0, 1):
        raise StoryError(f"version {version} of llama2.c's format is not one of those known here (0, 1, 2)")
    config = Config(*numbers, tied=bool(tied)).check()
    group_size = struct.unpack_from("<i", data, HEADER.size)[0] if version == 2 else 0
    if version == 2:
        check_group(config, group_size)
    return version, config, group_size, HEADER_SIZE


def pack_header(version: int, config: Config, group_size: int) -> bytes:
    """The inverse of `parse_header`."""
    c = config
    shape = (c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads)
    if version == 0:
        return V0_HEADER.pack(*shape, c.vocab_size if c.tied else -c.vocab_size, c.seq_len)
    start = HEADER.pack(MAGIC, version, *shape, c.vocab_size, c.seq_len, c.tied)
    return (start + struct.pack("<i", group_size)).ljust(HEADER_SIZE, b"\0")


def find_tokenizer(checkpoint: Path) -> Path:
    """The file with the vocabulary of `checkpoint`, whose header has been checked.

    It lies in the checkpoint's folder, where a name with the size of the vocabulary comes first, or is
    tokenizer.bin in the current folder, where llama2.c looks. Raises StoryError when there is none.
    """
    with open(checkpoint, "rb") as f:
        _, config, _, _ = parse_header(f.read(HEADER_SIZE))
    stem = f"tok{config.vocab_size}"
    names = f"{stem}.bin", f"{stem}.model", "tokenizer.bin", "tokenizer.model"
    for path in (*map(checkpoint.with_name, names), Path("tokenizer.bin")):
        if path.is_file():
            return path
    raise StoryError("llama2.c keeps the tokenizer in a file of its own, and neither "
                     f"{', '.join(names[:-1])} nor {names[-1]} lies beside it, nor tokenizer.bin in the "
                     "current folder: give one with --tokenizer")
