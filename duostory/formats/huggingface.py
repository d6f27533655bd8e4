"""Reads a Hugging Face Llama folder: config.json, *.safetensors and tokenizer.model."""

import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from duostory import StoryError
from duostory.formats.checkpoint import Checkpoint, Tensors
from duostory.formats.files import need
from duostory.formats.llama2c import read_tokenizer
from duostory.formats.shape import Config, Key

LAYER = {
    "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "wq": "self_attn.q_proj", "wk": "self_attn.k_proj", "wv": "self_attn.v_proj", "wo": "self_attn.o_proj",
    "w1": "mlp.gate_proj", "w2": "mlp.down_proj", "w3": "mlp.up_proj",
}
OUTSIDE = {
    "embedding": "model.embed_tokens.weight", "final_norm": "model.norm.weight",
    "classifier": "lm_head.weight",
}
DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}

Load = Callable[[], np.ndarray]


def read(folder: Path, tokenizer: Path | None) -> Checkpoint:
    """Opens the model in `folder`; `tokenizer` replaces the folder's tokenizer.model.

    Raises StoryError for missing files, and for what config.json asks of a model and llama2.c's does not do.
    """
    config = read_config(folder / "config.json")
    shards = open_shards(folder)
    makers = {}
    for key in config.keys():
        name = hf_name(key)
        if name not in shards:
            raise StoryError(f"tensor {name} is missing")
        heads = {"wq": config.n_heads, "wk": config.n_kv_heads}.get(key[0])
        makers[key] = partial(neighbours, shards[name], heads) if heads else shards[name]
    if biases := sorted(name for name in shards if name.endswith(".bias")):
        raise StoryError(f"tensor {biases[0]} is a bias, which this architecture does not have")
    if not (tokenizer or (folder / "tokenizer.model").is_file()):
        raise StoryError("tokenizer.model is not in the folder: give it with --tokenizer")
    vocabulary = read_tokenizer(tokenizer or folder / "tokenizer.model", config.vocab_size)
    return Checkpoint(config, Tensors(makers), vocabulary)


def read_config(path: Path) -> Config:
    """The shape in config.json, or StoryError naming what is not plain Llama."""
    try:
        c = json.loads(path.read_text(encoding="utf-8"))
        refuse_foreign(c)
        # transformers 5 moved rope_theta into rope_parameters.
        rope = c.get("rope_parameters") or {}
        heads = int(c["num_attention_heads"])
        return Config(
            dim=int(c["hidden_size"]), hidden_dim=int(c["intermediate_size"]),
            n_layers=int(c["num_hidden_layers"]), n_heads=heads,
            n_kv_heads=int(c.get("num_key_value_heads") or heads), vocab_size=int(c["vocab_size"]),
            seq_len=int(c["max_position_embeddings"]), norm_eps=float(c["rms_norm_eps"]),
            rope_theta=float(rope.get("rope_theta") or c.get("rope_theta") or 10000.0),
            bos=int(c["bos_token_id"]), eos=int(c["eos_token_id"]),
            tied=bool(c.get("tie_word_embeddings", False))).check()
    except KeyError as e:
        raise StoryError(f"config.json does not say {e.args[0]}") from e
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as e:
        raise StoryError(f"config.json is damaged or holds something unexpected ({e})") from e


def refuse_foreign(c: dict) -> None:
    if c.get("model_type") != "llama":
        raise StoryError(f"config.json says architecture {c.get('model_type')}, and only llama is known here")
    scaling = c.get("rope_scaling") or c.get("rope_parameters") or {}
    if scaling.get("rope_type", scaling.get("type", "default")) != "default":
        raise StoryError("config.json asks for rope_scaling, which this engine does not do")
    for name in ("attention_bias", "mlp_bias"):
        if c.get(name):
            raise StoryError(f"config.json asks for {name}, which this engine does not do")
    if c.get("hidden_act", "silu") != "silu":
        raise StoryError(f"config.json asks for activation {c['hidden_act']}, and only silu is known here")
    if (c.get("head_dim") or 0) * c["num_attention_heads"] not in (0, c["hidden_size"]):
        raise StoryError(f"config.json asks for heads of {c['head_dim']}, which is not hidden_size / "
                         "num_attention_heads, as this engine needs")


def hf_name(key: Key) -> str:
    name, layer = key
    return OUTSIDE.get(name) or f"model.layers.{layer}.{LAYER[name]}.weight"


def open_shards(folder: Path) -> dict[str, Load]:
    """Name of every tensor in the folder's safetensors files, with a function that loads it as float32."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise StoryError("no *.safetensors in the folder (save other weights with save_pretrained first)")
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            wanted = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            files = [folder / name for name in wanted]
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as e:
            raise StoryError(f"{index.name} is damaged") from e
    return {name: load for path in files for name, load in open_shard(path).items()}


def open_shard(path: Path) -> dict[str, Load]:
    if not path.is_file():
        raise StoryError(f"{path.name} is missing")
    safetensors = need("safetensors")
    try:
        safetensors.safe_open(path, "numpy")  # checks the header, its offsets and the length of the file
    except safetensors.SafetensorError as e:
        raise StoryError(f"{path.name} is damaged or cut short ({e})") from e
    # The library cannot hand out bfloat16 without PyTorch, so we take the numbers from the checked file.
    data = np.memmap(path, np.uint8, "r")
    start = 8 + struct.unpack("<Q", data[:8])[0]
    entries = json.loads(bytes(data[8:start]))
    entries.pop("__metadata__", None)
    return {name: partial(load, data, start, name, entry) for name, entry in entries.items()}


def load(data: np.ndarray, start: int, name: str, entry: dict) -> np.ndarray:
    if entry["dtype"] not in DTYPES:
        raise StoryError(f"tensor {name} is {entry['dtype']}, and only F32, F16 and BF16 are known here")
    first, last = entry["data_offsets"]
    numbers = data[start + first:start + last].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.float32, copy=False)


def neighbours(load: Load, heads: int) -> np.ndarray:
    """q or k with each head's pairs side by side; Hugging Face has first halves, then second halves."""
    w = load()
    if len(w) % (2 * heads):
        raise StoryError(f"a q or k tensor has {len(w)} rows, which {heads} heads cannot share")
    return w.reshape(heads, 2, -1, w.shape[-1]).swapaxes(1, 2).reshape(w.shape)
