"""Reads and writes `.duo` files: docs/format.md in numpy."""

import itertools
import os
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from duostory import StoryError
from duostory.formats.checkpoint import Q4_GROUP, Checkpoint, Quantized, Tensor, Tensors, Tokenizer, bits
from duostory.formats.files import atomic, progress
from duostory.formats.shape import Config, Key, check_group, label
from duostory.metadata import parse_metadata

MAGIC = b"\x89DUO\r\n\x1a\n"
VERSION = 1
ALIGN = 64
LANES = 32  # rows that lie side by side
HEADER = struct.Struct("<8sIIQ 8I ff IIII 6Q")
ENTRY = struct.Struct("<BBHIIIQQ")
F32, Q8, Q4 = 0, 1, 2
TYPES = {32: F32, 8: Q8, 4: Q4}  # by the bits of a weight
TIED = 1
CRC_FROM = 16  # the checksum covers every byte from here on
KINDS = ("embedding", "attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3", "final_norm",
         "classifier")


# ------------------------------------------------------------------------------------------------ matrices


def group_type(size: int, type: int) -> np.dtype:
    """One group of a block: the scales of 32 rows, then their weights, input by input, or two inputs in a byte."""
    return np.dtype([("scale", "<f4", LANES), ("w", "i1", (size if type == Q8 else size // 2, LANES))])


def pack(t: Tensor) -> bytes:
    """A tensor as it lies in the file: norms plain, matrices in blocks of 32 rows, filled up with zeros."""
    if isinstance(t, Quantized):
        q, scale = padded(t.q), padded(t.scale)
        blocks, groups, size = len(q) // LANES, scale.shape[1], t.group_size
        packed = np.empty((blocks, groups), group_type(size, TYPES[t.bits]))
        packed["scale"] = scale.reshape(blocks, LANES, groups).transpose(0, 2, 1)
        w = q.reshape(blocks, LANES, groups, size).transpose(0, 2, 3, 1)
        packed["w"] = w if t.bits == 8 else w[:, :, ::2] + 8 | w[:, :, 1::2] + 8 << 4
        return packed.tobytes()
    if t.ndim == 1:
        return t.astype("<f4").tobytes()
    w = padded(t)
    return w.reshape(len(w) // LANES, LANES, -1).transpose(0, 2, 1).astype("<f4").tobytes()


def padded(w: np.ndarray) -> np.ndarray:
    return np.pad(w, ((0, -len(w) % LANES), (0, 0)))


def unpack(data: memoryview, type: int, shape: tuple[int, ...], group_size: int) -> Tensor:
    """The inverse of `pack`."""
    if len(shape) == 1:
        return np.frombuffer(data, "<f4")
    rows, cols = shape
    if type != F32:
        packed = np.frombuffer(data, group_type(group_size, type)).reshape(-1, cols // group_size)
        w = packed["w"]
        if type == Q4:
            halves = w.view(np.uint8)
            w = np.stack((halves & 15, halves >> 4), axis=3).reshape(*w.shape[:2], group_size, LANES).astype(np.int8) - 8
        q = w.transpose(0, 3, 1, 2).reshape(-1, cols)[:rows]
        scale = packed["scale"].transpose(0, 2, 1).reshape(-1, cols // group_size)[:rows]
        return Quantized(q, scale, 8 if type == Q8 else 4)
    return np.frombuffer(data, "<f4").reshape(-1, cols, LANES).transpose(0, 2, 1).reshape(-1, cols)[:rows]


def packed_size(type: int, shape: tuple[int, ...], group_size: int) -> int:
    """Bytes of a tensor in the file."""
    if len(shape) == 1:
        return 4 * shape[0]
    rows, cols = shape
    lanes = -(-rows // LANES) * LANES
    if type == F32:
        return 4 * lanes * cols
    return lanes * (cols // (1 if type == Q8 else 2) + 4 * (cols // group_size))


# ----------------------------------------------------------------------------------------------- tokenizer


def pack_tokenizer(t: Tokenizer) -> bytes:
    text = b"".join(t.pieces)
    starts = np.cumsum([0, *map(len, t.pieces)])
    by_bytes = sorted(range(len(t.pieces)), key=t.pieces.__getitem__)
    return b"".join((struct.pack("<II", t.max_piece_len, len(text)), t.scores.astype("<f4").tobytes(),
                     starts.astype("<u4").tobytes(), np.array(by_bytes, "<u4").tobytes(), text))


def unpack_tokenizer(data: memoryview, vocab_size: int) -> Tokenizer:
    """Raises StoryError when the section's parts do not add up."""
    fixed = 8 + 4 * (3 * vocab_size + 1)
    if len(data) < fixed:
        raise StoryError("the tokenizer is cut short")
    longest, size = struct.unpack_from("<II", data)
    scores, start, by_bytes = np.split(np.frombuffer(data[8:fixed], "<u4"), [vocab_size, 2 * vocab_size + 1])
    text = bytes(data[fixed:])
    if size != len(text) or start[0] != 0 or start[-1] != size or (np.diff(start.astype(np.int64)) < 0).any():
        raise StoryError("the tokenizer's offsets do not fit its text")
    pieces = [text[a:b] for a, b in itertools.pairwise(start)]
    tokenizer = Tokenizer(pieces, scores.view("<f4").copy()).check(vocab_size, "the tokenizer")
    order = sorted(range(vocab_size), key=pieces.__getitem__)
    if longest != tokenizer.max_piece_len or by_bytes.tolist() != order:
        raise StoryError("the tokenizer's order or longest piece is wrong")
    return tokenizer


# ------------------------------------------------------------------------------------------------ metadata


def pack_metadata(metadata: dict[str, str]) -> bytes:
    """Raises StoryError for a key that is not a-z0-9_."""
    lines = []
    for key, value in metadata.items():
        if not key or key.strip("abcdefghijklmnopqrstuvwxyz0123456789_"):
            raise StoryError(f"metadata key {key!r} must be made of a-z, 0-9 and _")
        escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
        if "\0" in value:
            raise StoryError(f"metadata {key} holds a NUL")
        lines.append(f"{key}: {escaped}\n")
    return "".join(lines).encode()


def unpack_metadata(data: bytes) -> dict[str, str]:
    """Raises StoryError for a line that is not `key: value`."""
    try:
        return parse_metadata(data.decode())
    except UnicodeDecodeError as e:
        raise StoryError("the metadata is not UTF-8") from e


# ------------------------------------------------------------------------------------------------- writing


def aligned(n: int) -> int:
    return -(-n // ALIGN) * ALIGN


def write(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a `.duo` file under a temporary name and renames it. On StoryError `path` is untouched."""
    config = checkpoint.config.check()
    keys = config.keys()
    tokenizer = pack_tokenizer(checkpoint.tokenizer.check(config.vocab_size, "the tokenizer"))
    metadata = pack_metadata(checkpoint.metadata)
    metadata_at = aligned(HEADER.size + len(keys) * ENTRY.size)
    tokenizer_at = aligned(metadata_at + len(metadata))
    directory, group_size = [], 0
    with atomic(path) as temporary, open(temporary, "wb+") as f:
        f.seek(metadata_at)
        f.write(metadata)
        f.seek(tokenizer_at)
        f.write(tokenizer)
        for key in progress(keys, len(keys), path.name):
            tensor = checkpoint.tensor(key)
            if isinstance(tensor, Quantized):
                check_group(config, tensor.group_size)
                if group_size not in (0, tensor.group_size):
                    raise StoryError(f"{label(key)} is in groups of {tensor.group_size}, not {group_size}")
                group_size = tensor.group_size
            offset = aligned(f.tell())
            f.seek(offset)
            f.write(data := pack(tensor))
            directory.append(entry(key, tensor, offset, len(data)))
        f.seek(HEADER.size)
        f.write(b"".join(directory))
        size = f.seek(0, os.SEEK_END)

        def header(crc: int) -> bytes:
            c = config
            return HEADER.pack(
                MAGIC, VERSION, crc, size,
                c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads, c.vocab_size, c.seq_len, group_size,
                c.norm_eps, c.rope_theta, c.bos, c.eos, TIED * c.tied, len(keys),
                HEADER.size, tokenizer_at, len(tokenizer), metadata_at, len(metadata), 0)
        f.seek(0)
        f.write(header(0))
        f.flush()
        crc = checksum(f)
        f.seek(0)
        f.write(header(crc))


def entry(key: Key, tensor: Tensor, offset: int, size: int) -> bytes:
    """One line of the tensor directory."""
    name, layer = key
    rows, cols = tensor.shape if len(tensor.shape) == 2 else (1, *tensor.shape)
    return ENTRY.pack(KINDS.index(name), TYPES[bits(tensor)], layer, rows, cols, 0, offset, size)


def checksum(f) -> int:
    """CRC-32 of an open file from CRC_FROM to its end."""
    f.seek(CRC_FROM)
    crc = 0
    while chunk := f.read(1 << 20):
        crc = zlib.crc32(chunk, crc)
    return crc


# ------------------------------------------------------------------------------------------------- reading


def read(path: Path) -> Checkpoint:
    """Opens a `.duo` file; its tensors are unpacked when asked for.

    Raises StoryError for everything that docs/format.md says a reader refuses.
    """
    with open(path, "rb") as f:
        data = np.memmap(f, np.uint8, "r") if os.fstat(f.fileno()).st_size else b""
        view = memoryview(data)
        if len(view) < HEADER.size or bytes(view[:8]) != MAGIC:
            raise StoryError("it is not a .duo file")
        (_, version, crc, size,
         dim, hidden, layers, heads, kv_heads, vocab, seq_len, group_size,
         eps, theta, bos, eos, flags, n_tensors,
         directory_at, tokenizer_at, tokenizer_size, metadata_at, metadata_size,
         reserved) = HEADER.unpack_from(view)
        if version != VERSION:
            raise StoryError(f"it has version {version} of the .duo format; this program reads {VERSION}")
        if size != len(view):
            raise StoryError(f"it is {len(view)} bytes long but was written with {size}: "
                             "it is cut short or damaged, copy it again")
        if checksum(f) != crc:
            raise StoryError("it is damaged (its checksum is wrong): copy it again")

    def section(at: int, size: int) -> memoryview:
        if at % ALIGN or at < HEADER.size or at + size > len(view):
            raise StoryError("a section is not aligned or lies outside the file")
        return view[at:at + size]

    if flags & ~TIED or reserved:
        raise StoryError("reserved bits are set")
    config = Config(dim, hidden, layers, heads, kv_heads, vocab, seq_len, eps, theta, bos, eos,
                    bool(flags & TIED)).check()
    if group_size:
        check_group(config, group_size)
    makers = {}
    for item in ENTRY.iter_unpack(section(directory_at, n_tensors * ENTRY.size)):
        key, type, at, size = check_entry(config, group_size, item)
        if key in makers:
            raise StoryError(f"{label(key)} is there twice")
        makers[key] = partial(unpack, section(at, size), type, config.shape(key[0]), group_size)
    if missing := [key for key in config.keys() if key not in makers]:
        raise StoryError(f"{label(missing[0])} is missing")
    return Checkpoint(config, Tensors(makers), unpack_tokenizer(section(tokenizer_at, tokenizer_size), vocab),
                      unpack_metadata(bytes(section(metadata_at, metadata_size))))


def check_entry(config: Config, group_size: int, item: tuple[int, ...]) -> tuple[Key, int, int, int]:
    """Key, type, offset and size of a directory entry; StoryError when the header implies something else."""
    kind, type, layer, rows, cols, reserved, at, size = item
    key = (KINDS[kind] if kind < len(KINDS) else f"kind {kind}", layer)
    if key not in config.keys():
        raise StoryError(f"{label(key)} does not belong to this model")
    shape = config.shape(key[0])
    if (rows, cols) != (shape if len(shape) == 2 else (1, *shape)):
        raise StoryError(f"{label(key)} is {rows} x {cols} but the header asks for {shape}")
    if (type not in TYPES.values() or (type != F32 and (len(shape) == 1 or not group_size)) or reserved
            or (type == Q4 and group_size > Q4_GROUP)):
        raise StoryError(f"{label(key)} has a type that this version does not read")
    if size != packed_size(type, shape, group_size):
        raise StoryError(f"{label(key)} is {size} bytes long, which is not what its shape asks for")
    return key, type, at, size
