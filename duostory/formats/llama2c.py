"""llama2.c's files: checkpoints v0, v1 and v2, and `tokenizer.bin`."""

import struct
from functools import partial
from pathlib import Path

import numpy as np

from duostory import StoryError
from duostory.formats.checkpoint import Checkpoint, Quantized, Tensor, Tensors, Tokenizer
from duostory.formats.files import atomic, need, progress
from duostory.formats.llama2c_layout import (
    HEADER_SIZE,
    find_tokenizer,
    layout,
    pack_header,
    parse_header,
    sizes,
)
from duostory.formats.shape import LLAMA2C_EPS, LLAMA2C_THETA, Config, label, single

# --------------------------------------------------------------------------------------------- checkpoints


def read(path: Path, tokenizer: Path | None) -> Checkpoint:
    """Opens a checkpoint of any version that `sniff` has accepted; looks for the tokenizer when it is None.

    Raises StoryError when there is no tokenizer that fits.
    """
    data = memoryview(np.memmap(path, np.uint8, "r"))
    version, config, group_size, at = parse_header(bytes(data[:HEADER_SIZE]))
    makers = {}
    for key, size in sizes(version, config, group_size):
        if key is not None:
            makers[key] = partial(unpack, data[at:at + size], config.shape(key[0]), group_size)
        at += size
    vocabulary = read_tokenizer(tokenizer or find_tokenizer(path), config.vocab_size)
    return Checkpoint(config, Tensors(makers), vocabulary)


def unpack(data: memoryview, shape: tuple[int, ...], group_size: int) -> Tensor:
    if len(shape) == 1 or not group_size:
        return np.frombuffer(data, "<f4").reshape(shape)
    rows, cols = shape
    q = np.frombuffer(data[:rows * cols], np.int8).reshape(shape)
    scale = np.frombuffer(data[rows * cols:], "<f4").reshape(rows, cols // group_size)
    return Quantized(q, scale)


def write(checkpoint: Checkpoint, path: Path, version: int) -> None:
    """Writes v0 (matrices as float32) or v2 (all matrices must be q8 already), and tokenizer.bin beside it.

    Raises StoryError when llama2.c could not run this model, or when another tokenizer.bin would be lost.
    """
    config = checkpoint.config
    check_constants(config)
    group_size = common_group_size(checkpoint) if version == 2 else 0
    tokenizer, beside = pack_tokenizer(checkpoint.tokenizer), path.parent / "tokenizer.bin"
    if path == beside:
        raise StoryError("that is the name of the tokenizer beside it: choose another")
    if beside.exists() and beside.read_bytes() != tokenizer:
        raise StoryError(f"{beside} is the tokenizer of another model and would be lost: use another folder")
    with atomic(beside) as temporary_tokenizer, atomic(path) as temporary, open(temporary, "wb") as f:
        temporary_tokenizer.write_bytes(tokenizer)
        f.write(pack_header(version, config, group_size))
        keys = layout(version, config)
        for key in progress(keys, len(keys), path.name):
            if key is None:
                f.write(rope_table(config))
                continue
            tensor = checkpoint.tensor(key)
            if isinstance(tensor, Quantized) and version == 2:
                f.write(tensor.q.tobytes())
                f.write(tensor.scale.astype("<f4").tobytes())
            else:
                floats = tensor.floats() if isinstance(tensor, Quantized) else tensor
                f.write(floats.astype("<f4").tobytes())


def check_constants(config: Config) -> None:
    """llama2.c's files have no room for these numbers: its programs take them for granted."""
    fixed = {"norm_eps": single(LLAMA2C_EPS), "rope_theta": LLAMA2C_THETA, "bos": 1, "eos": 2}
    for name, value in fixed.items():
        if (mine := getattr(config, name)) != value:
            raise StoryError(f"llama2.c always takes {name} {value:g}, and this model has {mine:g}: "
                             "use --to gguf-f32")


def common_group_size(checkpoint: Checkpoint) -> int:
    """The group size of a model all of whose matrices are q8; StoryError for any other."""
    size = 0
    for key in checkpoint.config.keys():
        if len(checkpoint.config.shape(key[0])) == 2:
            tensor = checkpoint.tensors[key]
            if not isinstance(tensor, Quantized):
                raise StoryError(f"{label(key)} is f32, and this form needs q8: run convert --type q8 first")
            size = tensor.group_size
    return size


def rope_table(config: Config) -> bytes:
    """Cosines, then sines, of every position and frequency: early versions of run.c read them."""
    half = np.arange(0, config.head_size, 2, dtype=np.float32)
    frequency = np.float32(1) / np.float32(LLAMA2C_THETA) ** (half / np.float32(config.head_size))
    angle = np.outer(np.arange(config.seq_len, dtype=np.float32), frequency)
    return np.cos(angle).astype("<f4").tobytes() + np.sin(angle).astype("<f4").tobytes()


# ---------------------------------------------------------------------------------------------- tokenizers


def read_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    """Reads `tokenizer.bin`, or SentencePiece's `tokenizer.model`, for a model of `vocab_size` pieces.

    Raises StoryError when the file is damaged or holds another number of pieces.
    """
    data = path.read_bytes()
    # Both may begin with a 10: as a protocol buffer's first field, or as the longest piece in four bytes.
    sentencepiece = data[:1] == b"\n" and data[:4] != b"\n\0\0\0"
    return (read_sentencepiece if sentencepiece else read_bin)(data, path).check(vocab_size, path.name)


def read_bin(data: bytes, path: Path) -> Tokenizer:
    pieces, scores, at = [], [], 4
    while at < len(data):
        if at + 8 > len(data):
            raise StoryError(f"{path} is cut short or is not a tokenizer")
        score, size = struct.unpack_from("<fI", data, at)
        at += 8 + size
        if at > len(data):
            raise StoryError(f"{path} is cut short or is not a tokenizer")
        scores.append(score)
        pieces.append(data[at - size:at])
    return Tokenizer(pieces, np.array(scores, np.float32))


def read_sentencepiece(data: bytes, path: Path) -> Tokenizer:
    """The vocabulary as llama2.c's tokenizer.py exports it."""
    sp = need("sentencepiece").SentencePieceProcessor()
    try:
        sp.LoadFromSerializedProto(data)
    except (RuntimeError, ValueError) as e:
        raise StoryError(f"{path} is cut short or is not a SentencePiece model") from e
    ids = range(sp.GetPieceSize())
    pieces = llama2c_spelling([sp.IdToPiece(i).encode() for i in ids], sp.bos_id(), sp.eos_id())
    return Tokenizer(pieces, np.array([sp.GetScore(i) for i in ids], np.float32))


def llama2c_spelling(pieces: list[bytes], bos: int, eos: int) -> list[bytes]:
    """A vocabulary in SentencePiece's spelling, turned into llama2.c's: BOS and EOS on lines of their own."""
    special = {bos: b"\n<s>\n", eos: b"\n</s>\n"}
    return [special.get(i, piece).replace("\u2581".encode(), b" ") for i, piece in enumerate(pieces)]


def pack_tokenizer(tokenizer: Tokenizer) -> bytes:
    """The content of `tokenizer.bin`."""
    data = [struct.pack("<I", tokenizer.max_piece_len)]
    for piece, score in zip(tokenizer.pieces, tokenizer.scores, strict=True):
        data += [struct.pack("<fI", score, len(piece)), piece]
    return b"".join(data)
