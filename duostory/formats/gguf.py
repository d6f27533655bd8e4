"""Reads and writes GGUF (llama.cpp): llama architecture, SentencePiece vocabulary.

GGUF's q and k are in llama2.c's order: llama.cpp undoes Hugging Face's permutation when it makes a file.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from duostory import StoryError
from duostory.formats.checkpoint import Checkpoint, Quantized, Tensor, Tensors, Tokenizer, bits
from duostory.formats.files import atomic, need, progress
from duostory.formats.llama2c import common_group_size, llama2c_spelling
from duostory.formats.shape import Config, Key

LAYER = {
    "attention_norm": "attn_norm", "wq": "attn_q", "wk": "attn_k", "wv": "attn_v", "wo": "attn_output",
    "ffn_norm": "ffn_norm", "w1": "ffn_gate", "w2": "ffn_down", "w3": "ffn_up",
}
OUTSIDE = {
    "embedding": "token_embd.weight", "final_norm": "output_norm.weight", "classifier": "output.weight",
}
GROUP = 32  # weights of a block of Q8_0 and Q4_0
Q8_BLOCK = np.dtype([("scale", "<f2"), ("q", "i1", GROUP)])
Q4_BLOCK = np.dtype([("scale", "<f2"), ("q", "u1", GROUP // 2)])
OURS = "duostory."  # our metadata lives under this prefix


def gguf_name(key: Key) -> str:
    name, layer = key
    return OUTSIDE.get(name) or f"blk.{layer}.{LAYER[name]}.weight"


# ------------------------------------------------------------------------------------------------- reading


def open_reader(path: Path) -> tuple[Any, dict[str, Any]]:
    """The gguf library's reader, made to refuse what lies outside the file, and the facts but the vocabulary.

    By itself the reader would take such an array as empty, and go on for as many elements as the file claims.
    """
    gguf = need("gguf")

    class Reader(gguf.GGUFReader):
        def _get(self, offset, dtype, count=1, override_order=None):
            if offset + int(count) * np.dtype(dtype).itemsize > len(self.data):
                raise ValueError("it is cut short")
            return super()._get(offset, dtype, count, override_order)

    try:
        reader = Reader(path)
        facts = {name: f.contents() for name, f in reader.fields.items() if not name.startswith("tokenizer.")}
        return reader, facts
    except (ValueError, KeyError, IndexError, OverflowError, RecursionError, TypeError) as e:
        reason = str(e).strip("'\"") or type(e).__name__
        raise StoryError(f"it is damaged ({reason})") from e


def read(path: Path) -> Checkpoint:
    """Opens a GGUF file. Q8_0 and Q4_0 become q8 and q4 in groups of 32 without loss, F32, F16 and BF16 become f32.

    Raises StoryError for another architecture, vocabulary or type, and for tensors that a plain Llama lacks.
    """
    reader, facts = open_reader(path)
    if (architecture := facts.get("general.architecture")) != "llama":
        raise StoryError(f"its architecture is {architecture}, and only llama is known here")
    tensors = {t.name: t for t in reader.tensors}
    tokenizer, bos, eos = read_tokenizer(reader)
    config = read_config(facts, len(tokenizer.pieces), bos, eos, "output.weight" not in tensors)
    makers = {}
    for key in config.keys():
        if (name := gguf_name(key)) not in tensors:
            raise StoryError(f"tensor {name} is missing")
        makers[key] = partial(unpack, tensors.pop(name), config.shape(key[0]))
    if tensors:
        raise StoryError(f"tensor {next(iter(tensors))} is not part of a plain Llama")
    metadata = {name.removeprefix(OURS): str(value) for name, value in facts.items() if name.startswith(OURS)}
    if not metadata and "general.name" in facts:
        metadata = {"title": str(facts["general.name"])}
    return Checkpoint(config, Tensors(makers), tokenizer, metadata)


def read_config(facts: dict[str, Any], vocab_size: int, bos: int, eos: int, tied: bool) -> Config:
    def number(name: str, default: float | None = None, kind: type = int) -> Any:
        value = facts.get(f"llama.{name}", default)
        if not isinstance(value, (int, kind)):
            raise StoryError(f"it does not say llama.{name} as one number")
        return value

    if facts.get("llama.rope.scaling.type", "none") != "none" or number("rope.scaling.factor", 1, float) != 1:
        raise StoryError("it asks for RoPE scaling, which this engine does not do")
    heads = number("attention.head_count")
    config = Config(
        dim=number("embedding_length"), hidden_dim=number("feed_forward_length"),
        n_layers=number("block_count"), n_heads=heads, n_kv_heads=number("attention.head_count_kv", heads),
        vocab_size=vocab_size, seq_len=number("context_length"),
        norm_eps=number("attention.layer_norm_rms_epsilon", kind=float),
        rope_theta=number("rope.freq_base", 10000.0, float), bos=bos, eos=eos, tied=tied).check()
    for name in ("rope.dimension_count", "attention.key_length", "attention.value_length"):
        if (size := number(name, config.head_size)) != config.head_size:
            raise StoryError(f"llama.{name} is {size}, but must be the head size {config.head_size} here")
    return config


def read_tokenizer(reader: Any) -> tuple[Tokenizer, int, int]:
    """The vocabulary in llama2.c's spelling, with the ids of BOS and EOS."""
    def field(name: str) -> Any:
        if (f := reader.get_field(f"tokenizer.ggml.{name}")) is None:
            raise StoryError(f"it does not say tokenizer.ggml.{name}")
        return f

    if (model := field("model").contents()) != "llama":
        raise StoryError(f"its vocabulary is of kind {model}, and only SentencePiece (llama) is known here")
    bos, eos = field("bos_token_id").contents(), field("eos_token_id").contents()
    if not (isinstance(bos, int) and isinstance(eos, int)):
        raise StoryError("its ids of BOS and EOS are not numbers")
    tokens, scores = field("tokens"), field("scores")
    pieces = llama2c_spelling([tokens.parts[i].tobytes() for i in tokens.data], bos, eos)
    tokenizer = Tokenizer(pieces, np.array([scores.parts[i][0] for i in scores.data], np.float32))
    if len(tokenizer.scores) != len(pieces):
        raise StoryError(f"it has {len(pieces)} pieces but {len(tokenizer.scores)} scores")
    return tokenizer.check(len(pieces), "its vocabulary"), bos, eos


def unpack(t: Any, shape: tuple[int, ...]) -> Tensor:
    """A tensor of the library's reader in our terms. Raises StoryError for another shape or type."""
    if (theirs := tuple(int(n) for n in reversed(t.shape))) != shape:
        raise StoryError(f"tensor {t.name} is {theirs} but the header asks for {shape}")
    if t.tensor_type.name in ("Q8_0", "Q4_0") and shape[-1] % GROUP:
        raise StoryError(f"tensor {t.name} has rows of {shape[-1]}, which cannot be in groups of {GROUP}")
    data = np.ascontiguousarray(t.data).reshape(-1).view(np.uint8)
    match t.tensor_type.name:
        case "F32":
            return data.view("<f4").reshape(shape)
        case "F16":
            return data.view("<f2").reshape(shape).astype(np.float32)
        case "BF16":  # the upper half of a float32
            return (data.view("<u2").reshape(shape).astype(np.uint32) << 16).view(np.float32)
        case "Q8_0":
            blocks = data.view(Q8_BLOCK).reshape(*shape[:-1], -1)
            return Quantized(blocks["q"].reshape(shape), blocks["scale"].astype(np.float32))
        case "Q4_0":  # weights 0 to 15 of a group in the low halves, 16 to 31 in the high ones, 8 more than they are
            blocks = data.view(Q4_BLOCK).reshape(*shape[:-1], -1)
            nibbles = np.concatenate((blocks["q"] & 15, blocks["q"] >> 4), axis=-1)
            levels = nibbles.astype(np.int8) - np.int8(8)
            return Quantized(levels.reshape(shape), blocks["scale"].astype(np.float32), 4)
        case other:
            raise StoryError(f"tensor {t.name} is {other}; F32, F16, BF16, Q8_0 and Q4_0 are known here")


# ------------------------------------------------------------------------------------------------- writing


def write(checkpoint: Checkpoint, path: Path, type: str) -> str:
    """Writes all matrices as type "q8_0" (they must be q8 or q4 in groups of 32 already), "q4_0" (where they are q4) or "f32".

    Returns a remark for the user, or "". Raises StoryError when the model does not fit the form.
    """
    gguf = need("gguf")
    quantized = type != "f32"
    if quantized and (size := common_group_size(checkpoint)) != GROUP:
        raise StoryError(f"its weights are in groups of {size}, and GGUF's {type.upper()} has groups of {GROUP}: "
                         "use --to gguf-f32")
    keys, config = checkpoint.config.keys(), checkpoint.config
    if type == "q4_0" and all(bits(checkpoint.tensor(key)) != 4 for key in keys):
        raise StoryError("Q4_0 has 4-bit weights: run python -m duostory convert --type q4 first")
    file_type = {"f32": gguf.LlamaFileType.ALL_F32, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
                 "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0}[type]

    def as_q4(key: Key) -> bool:
        return type == "q4_0" and bits(checkpoint.tensor(key)) == 4

    changed = scales = 0
    with atomic(path) as temporary:
        writer = gguf.GGUFWriter(temporary, "llama")
        try:
            add_facts(writer, checkpoint, file_type)
            for key in keys:
                shape = config.shape(key[0])
                if quantized and len(shape) == 2:
                    block, kind = (Q4_BLOCK, gguf.GGMLQuantizationType.Q4_0) if as_q4(key) else (
                        Q8_BLOCK, gguf.GGMLQuantizationType.Q8_0)
                    raw = (shape[0], shape[1] // GROUP * block.itemsize)
                    writer.add_tensor_info(gguf_name(key), raw, np.dtype(np.uint8), raw[0] * raw[1], kind)
                else:
                    size = 4 * int(np.prod(shape, dtype=np.int64))
                    writer.add_tensor_info(gguf_name(key), shape, np.dtype(np.float32), size)
            writer.write_header_to_file(temporary)
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for key in progress(keys, len(keys), path.name):
                tensor = checkpoint.tensor(key)
                if quantized and isinstance(tensor, Quantized):
                    blocks = (q4_blocks if as_q4(key) else q8_blocks)(tensor)
                    changed += int((blocks["scale"].astype(np.float32) != tensor.scale).sum())
                    scales += tensor.scale.size
                    writer.write_tensor_data(blocks.view(np.uint8))
                else:
                    floats = tensor.floats() if isinstance(tensor, Quantized) else tensor
                    writer.write_tensor_data(np.ascontiguousarray(floats, np.float32))
        finally:
            writer.close()
    if not changed:
        return ""
    return (f"{changed} of {scales} scales rounded to half precision, as {type.upper()} has them, so a story may turn "
            "out otherwise; --to gguf-f32 keeps every weight")


def q8_blocks(t: Quantized) -> np.ndarray:
    """Q8_BLOCK [rows, cols / 32]."""
    blocks = with_scales(t, Q8_BLOCK)
    blocks["q"] = t.q.reshape(*t.scale.shape, GROUP)
    return blocks


def q4_blocks(t: Quantized) -> np.ndarray:
    """Q4_BLOCK [rows, cols / 32]."""
    blocks = with_scales(t, Q4_BLOCK)
    nibbles = (t.q + np.int8(8)).view(np.uint8).reshape(*t.scale.shape, GROUP)
    blocks["q"] = nibbles[..., :GROUP // 2] | nibbles[..., GROUP // 2:] << 4
    return blocks


def with_scales(t: Quantized, block: np.dtype) -> np.ndarray:
    """Blocks without weights yet. Scales become half precision, at most 0.05 % away for usual weights."""
    blocks = np.empty(t.scale.shape, block)
    with np.errstate(over="ignore"):
        blocks["scale"] = t.scale
    if not np.isfinite(blocks["scale"]).all():
        raise StoryError("its weights are too large for scales in half precision: use --to gguf-f32")
    return blocks


def add_facts(writer: Any, checkpoint: Checkpoint, file_type: int) -> None:
    c = checkpoint.config
    writer.add_name(checkpoint.metadata.get("title", "duostory model"))
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)
    writer.add_context_length(c.seq_len)
    writer.add_embedding_length(c.dim)
    writer.add_block_count(c.n_layers)
    writer.add_feed_forward_length(c.hidden_dim)
    writer.add_head_count(c.n_heads)
    writer.add_head_count_kv(c.n_kv_heads)
    writer.add_rope_dimension_count(c.head_size)
    writer.add_rope_freq_base(c.rope_theta)
    writer.add_layer_norm_rms_eps(c.norm_eps)
    writer.add_vocab_size(c.vocab_size)
    for key, value in checkpoint.metadata.items():
        writer.add_string(OURS + key, value)
    add_tokenizer(writer, checkpoint)


def add_tokenizer(writer: Any, checkpoint: Checkpoint) -> None:
    """The vocabulary in SentencePiece's spelling. Raises StoryError when that would lose something."""
    c, pieces = checkpoint.config, checkpoint.tokenizer.pieces
    special = {c.bos: b"<s>", c.eos: b"</s>"}
    spelled = [special.get(i, piece).replace(b" ", "\u2581".encode()) for i, piece in enumerate(pieces)]
    if llama2c_spelling(spelled, c.bos, c.eos) != pieces:
        raise StoryError("its vocabulary has pieces that GGUF cannot spell: BOS and EOS must be named as in "
                         "llama2.c, and no piece may hold SentencePiece's sign for a space")
    normal, unknown, control, byte = 1, 2, 3, 6  # llama.cpp's kinds of piece
    types = [unknown, *[normal] * (len(pieces) - 1)]
    types[3:259] = [byte] * 256
    types[c.bos] = types[c.eos] = control
    writer.add_tokenizer_model("llama")
    writer.add_token_list(spelled)
    writer.add_token_scores(checkpoint.tokenizer.scores.tolist())
    writer.add_token_types(types)
    writer.add_bos_token_id(c.bos)
    writer.add_eos_token_id(c.eos)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)
