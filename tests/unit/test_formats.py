"""Models in and out: nothing is lost, other programs' conventions are met, bad files are refused."""

import json
import os
import resource
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from duostory import StoryError, formats
from duostory.engine import Model
from tests.checkpoints import random_duo
from tests.teller import ROOT, run

gguf_library = pytest.importorskip("gguf")
safetensors_numpy = pytest.importorskip("safetensors.numpy")
sentencepiece = pytest.importorskip("sentencepiece")

from duostory.formats import duo, gguf, huggingface, llama2c  # noqa: E402
from duostory.formats.checkpoint import Quantized, Tokenizer, bits, quantize, quantize4  # noqa: E402
from duostory.formats.shape import NORMS  # noqa: E402

# dim, hidden, layers, heads, kv heads, vocabulary, positions, group size; tied.
SHAPES = {
    "tied": ((64, 96, 2, 4, 4, 300, 32, 32), True),
    "untied": ((64, 160, 2, 4, 4, 320, 32, 32), False),
    "grouped-query": ((96, 64, 3, 6, 2, 333, 16, 32), True),
    "small-groups": ((40, 172, 1, 5, 1, 300, 16, 4), False),
    "one-hidden-row-block": ((64, 32, 1, 2, 1, 301, 8, 16), True),
}
IN_32 = [name for name, (shape, _) in SHAPES.items() if shape[-1] == 32]


def make(tmp_path: Path, shape: str, type: str) -> Path:
    sizes, tied = SHAPES[shape]
    return random_duo(tmp_path / "model.duo", sizes, type, tied=tied)


def assert_same(a: Path, b: Path) -> None:
    """Configuration, weights and vocabulary are the same to the last bit."""
    x, y = formats.read(a), formats.read(b)
    assert x.config == y.config
    assert x.tokenizer.pieces == y.tokenizer.pieces
    assert x.tokenizer.scores.tobytes() == y.tokenizer.scores.tobytes()
    for key in x.config.keys():
        s, t = x.tensor(key), y.tensor(key)
        assert isinstance(s, Quantized) == isinstance(t, Quantized), key
        if isinstance(s, Quantized):
            assert np.array_equal(s.q, t.q) and s.scale.tobytes() == t.scale.tobytes(), key
        else:
            assert s.tobytes() == t.tobytes(), key


# --------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("type", ["f32", "q8", "q4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_duo_file_is_read_and_written_byte_for_byte(tmp_path, shape, type):
    first, second = make(tmp_path, shape, type), tmp_path / "again.duo"
    checkpoint = replace(formats.read(first), metadata={"title": "Tom \\ Zoë\nand \\n", "wish_template": ""})
    duo.write(checkpoint, second)
    assert formats.read(second).metadata == checkpoint.metadata
    duo.write(replace(formats.read(second), metadata={}), second)
    assert second.read_bytes() == first.read_bytes()


def test_q4_is_as_near_as_four_bits_allow():
    """Searching the scale beats the plain one, -8 for the largest; zeros stay zeros and what fits exactly stays exact."""
    w = np.random.default_rng(1).standard_normal((64, 96)).astype(np.float32)
    w[3], w[4] = 0, np.tile(np.arange(-8, 8, dtype=np.float32) / 4, 6)
    q4 = quantize4(w, 32)
    groups = w.reshape(64, 3, 32)
    at = np.abs(groups).argmax(axis=2, keepdims=True)
    scale = np.take_along_axis(groups, at, axis=2) / -8
    plain = scale * np.clip(np.rint(groups / np.where(scale == 0, 1, scale)), -8, 7)
    assert q4.q.min() == -8 and q4.q.max() == 7 and q4.bits == 4
    error, plain_error = ((w - q4.floats()) ** 2).mean(), ((groups - plain) ** 2).mean()
    assert error < 0.9 * plain_error
    assert not q4.floats()[3].any() and np.array_equal(q4.floats()[4], w[4])


def test_q4_keeps_two_matrices_in_q8_there_and_back(tmp_path, story_model):
    """The loss on held-out stories would grow by more than 1 % without."""
    formats.convert(story_model, tmp_path / "q4.duo", type="q4")
    formats.export(tmp_path / "q4.duo", tmp_path / "q4.gguf")
    formats.convert(tmp_path / "q4.gguf", tmp_path / "back.duo")
    for path in (tmp_path / "q4.duo", tmp_path / "back.duo"):
        checkpoint = formats.read(path)
        kinds = {bits: {key[0] for key in checkpoint.config.keys() if formats.checkpoint.bits(checkpoint.tensor(key)) == bits}
                 for bits in (4, 8)}
        assert kinds == {4: {"embedding", "wq", "wk", "wo", "w1", "w3"}, 8: {"wv", "w2"}}


def test_q4_has_groups_of_at_most_32(tmp_path):
    model = random_duo(tmp_path / "model.duo", (64, 128, 1, 2, 2, 300, 16, 64), "f32")
    with pytest.raises(StoryError, match="q4 has groups of at most 32, not 64"):
        formats.convert(model, tmp_path / "q4.duo", type="q4", group_size=64)
    assert not (tmp_path / "q4.duo").exists()


@pytest.mark.parametrize("type, form", [("f32", "llama2c-v0"), ("q8", "llama2c-v2"), ("f32", "gguf-f32")])
@pytest.mark.parametrize("shape", SHAPES)
def test_export_and_convert_give_the_same_model(tmp_path, shape, type, form):
    model, there, back = make(tmp_path, shape, type), tmp_path / "there", tmp_path / "back.duo"
    formats.export(model, there, form)
    assert formats.sniff(there) == ("gguf" if form == "gguf-f32" else form)
    formats.convert(there, back)
    assert_same(model, back)


@pytest.mark.parametrize("form", ["llama2c-v0", "gguf-f32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_q8_survives_a_way_through_float32(tmp_path, shape, form):
    model, there, back = make(tmp_path, shape, "q8"), tmp_path / "there", tmp_path / "back.duo"
    formats.export(model, there, form)
    formats.convert(there, back, type="q8", group_size=SHAPES[shape][0][-1])
    assert_same(model, back)


@pytest.mark.parametrize("type", ["q8", "q4"])
@pytest.mark.parametrize("shape", IN_32)
def test_q8_0_and_q4_0_of_gguf_round_only_the_scales_and_only_once(tmp_path, shape, type):
    model, there = make(tmp_path, shape, type), tmp_path / "there.gguf"
    once, twice = tmp_path / "once.duo", tmp_path / "twice.duo"
    report = formats.export(model, there)
    assert f"gguf-{type}_0" in report and "scales rounded to half precision" in report
    assert "a story may turn out otherwise; --to gguf-f32 keeps every weight" in report
    formats.convert(there, once)
    before, after = formats.read(model), formats.read(once)
    for key in before.config.keys():
        if key[0] not in NORMS:
            s, t = before.tensor(key), after.tensor(key)
            assert np.array_equal(s.q, t.q) and s.bits == t.bits
            assert np.array_equal(t.scale, s.scale.astype(np.float16).astype(np.float32))
    assert "rounded" not in formats.export(once, tmp_path / "again.gguf")
    formats.convert(tmp_path / "again.gguf", twice)
    assert_same(once, twice)


def test_gguf_keeps_the_metadata(tmp_path):
    model = make(tmp_path, "tied", "q8")
    metadata = {"title": "Stories", "provenance": "two\nlines", "source": "trained here"}
    duo.write(replace(formats.read(model), metadata=metadata), model)
    formats.export(model, tmp_path / "there.gguf", "gguf-f32")
    formats.convert(tmp_path / "there.gguf", tmp_path / "back.duo", type="q8")
    assert (tmp_path / "back.duo").read_bytes() == model.read_bytes()


def test_metadata_from_a_file_and_the_source(tmp_path):
    model, back = make(tmp_path, "tied", "f32"), tmp_path / "back.duo"
    formats.export(model, tmp_path / "there.bin")
    (tmp_path / "facts").write_text("title: Tales\nprovenance: from \\\\ here\\nand there\n")
    formats.convert(tmp_path / "there.bin", back, meta=tmp_path / "facts")
    metadata = formats.read(back).metadata
    assert metadata["title"] == "Tales" and metadata["provenance"] == "from \\ here\nand there"
    assert metadata["source"].startswith("there.bin, sha256 ")


@pytest.mark.parametrize("shape", SHAPES)
def test_v1_of_llama2c(tmp_path, shape):
    model, there, back = make(tmp_path, shape, "f32"), tmp_path / "there.bin", tmp_path / "back.duo"
    checkpoint = formats.read(model)
    c, parts = checkpoint.config, []
    layers = range(c.n_layers)
    keys = [*[("attention_norm", i) for i in layers], *[("ffn_norm", i) for i in layers], ("final_norm", 0),
            ("embedding", 0), *[(w, i) for w in ("wq", "wk", "wv", "wo", "w1", "w2", "w3") for i in layers]]
    for key in keys + ([] if c.tied else [("classifier", 0)]):
        parts.append(checkpoint.tensor(key).tobytes())
    header = struct.pack("<Ii7iB", 0x616B3432, 1, c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads,
                         c.vocab_size, c.seq_len, c.tied)
    there.write_bytes(header.ljust(256, b"\0") + b"".join(parts))
    (tmp_path / "tokenizer.bin").write_bytes(llama2c.pack_tokenizer(checkpoint.tokenizer))
    formats.convert(there, back)
    assert_same(model, back)


# --------------------------------------------------------------------------------------------- quantising


@pytest.mark.parametrize("row, q, scale", [
    ([127, 0.5, 1.5, 2.5], [127, 0, 2, 2], 1),          # half goes to even
    ([-254, 1, 3, 5], [-127, 0, 2, 2], 2),
    ([0, 0, 0, 0], [0, 0, 0, 0], 0),                    # not 0 / 0
    ([1e-45, 0, 0, -1e-45], [0, 0, 0, 0], 0),           # too small for a scale
    ([3e-43, 0, 0, -3e-43], [107, 0, 0, -107], 2.8e-45),
])
def test_quantising_by_hand(row, q, scale):
    made = quantize(np.array([row], np.float32), 4)
    assert made.q.tolist() == [q]
    assert made.scale.tolist() == [[np.float32(scale)]]


@settings(deadline=None)
@given(npst.arrays(np.float32, (3, 8), elements=st.floats(-1e6, 1e6, width=32)))
def test_quantised_weights_quantise_to_themselves(w):
    # Holds for scales of full precision; below about 1e-38 float32 has fewer digits.
    w[np.abs(w) < 1e-30] = 0
    first = quantize(w, 4)
    second = quantize(first.floats(), 4)
    assert np.array_equal(first.q, second.q)
    assert first.scale.tobytes() == second.scale.tobytes()
    error = np.abs(first.floats() - w).reshape(3, 2, 4).max(axis=2)
    assert (error <= 0.5001 * first.scale).all()  # half a step, and a little for the rounding of w / scale


# -------------------------------------------------------------------------------------- llama2.c's own files


def test_stories260k_comes_back_as_it_was(tmp_path, shared, stories260k):
    original = (shared / "checkpoints" / "stories260K.bin").read_bytes()
    formats.export(stories260k, tmp_path / "out.bin")
    ours = (tmp_path / "out.bin").read_bytes()
    table = formats.read(stories260k).config.seq_len * 8 * 4  # sines and cosines, head size 8
    assert ours[:-table] == original[:-table]
    a, b = np.frombuffer(ours[-table:], "<f4"), np.frombuffer(original[-table:], "<f4")
    assert np.abs(a - b).max() <= 2 ** -23  # another libm's last bit; run.c does not read the table
    assert (tmp_path / "tokenizer.bin").read_bytes() == (shared / "checkpoints" / "tok512.bin").read_bytes()


@pytest.mark.parametrize("name, pieces", [("tok512", 512), ("tokenizer", 32000)])
def test_sentencepiece_models_give_llama2cs_tokenizer(shared, name, pieces):
    model = llama2c.read_tokenizer(shared / "checkpoints" / f"{name}.model", pieces)
    assert llama2c.pack_tokenizer(model) == (shared / "checkpoints" / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("form", ["llama2c-v0", "llama2c-v2", "gguf-f32"])  # Q8_0 has no groups of 4
def test_every_way_leads_to_a_model_that_tells_the_same_story(tmp_path, stories260k, form):
    def story(path):
        with Model(path) as model:
            return [t.id for t in model.generate(model.encode("Once upon a time"), steps=60, temperature=0.0)]

    model = tmp_path / "model.duo"
    formats.convert(stories260k, model, type="q8" if form == "llama2c-v2" else "f32", group_size=4)
    formats.export(model, tmp_path / "there", form)
    formats.convert(tmp_path / "there", tmp_path / "back.duo")
    assert story(tmp_path / "back.duo") == story(model)


@pytest.mark.parametrize("form", ["llama2c-v0", "llama2c-v2", "gguf-f32", "gguf-q8_0"])
def test_the_story_model_tells_the_same_stories_in_every_form(tmp_path, story_model, form):
    """Also in Q8_0, because its scales are numbers of half precision."""
    def stories(path):
        with Model(path) as model:
            return [[t.id for t in model.generate([model.info.bos], seed=seed)] for seed in range(1, 6)]

    formats.export(story_model, tmp_path / "there", form)
    formats.convert(tmp_path / "there", tmp_path / "back.duo", type="q8")
    assert stories(tmp_path / "back.duo") == stories(story_model)


# -------------------------------------------------------------------------------------------- Hugging Face


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory) -> Path:
    """A small tokenizer.model with byte fallback, trained on a page of text."""
    path = tmp_path_factory.mktemp("sp") / "tokenizer"
    words = ["tree", "bear", "moon", "little", "once upon a time", "honey", "was", "the", "a", "happy", "sad"]
    text = [" ".join(words[(i * j) % len(words)] for j in range(1, 9)) for i in range(1, 200)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_prefix=str(path), vocab_size=300, model_type="bpe",
        byte_fallback=True, hard_vocab_limit=False, minloglevel=2)
    return path.with_suffix(".model")


def save_huggingface(folder: Path, checkpoint, tokenizer: Path, dtype: str, shards=1, **config) -> None:
    """A model as transformers saves it, in F32, F16 or BF16; `config` changes what config.json says."""
    c = checkpoint.config
    folder.mkdir()
    tensors = {}
    for key in c.keys():
        w = checkpoint.tensor(key)
        if heads := {"wq": c.n_heads, "wk": c.n_kv_heads}.get(key[0]):
            w = w.reshape(heads, -1, 2, c.dim).swapaxes(1, 2).reshape(w.shape)
        tensors[huggingface.hf_name(key)] = np.ascontiguousarray(w)
    names = sorted(tensors)
    for i in range(shards):
        name = "model.safetensors" if shards == 1 else f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_safetensors(folder / name, {n: tensors[n] for n in names[i::shards]}, dtype)
    if shards > 1:
        where = {n: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, n in enumerate(names)}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    facts = {
        "model_type": "llama", "hidden_size": c.dim, "intermediate_size": c.hidden_dim,
        "vocab_size": c.vocab_size, "num_hidden_layers": c.n_layers, "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads,
        "max_position_embeddings": c.seq_len, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "bos_token_id": 1,
        "eos_token_id": 2, "tie_word_embeddings": c.tied, "hidden_act": "silu", "rope_scaling": None}
    (folder / "config.json").write_text(json.dumps(facts | config))
    (folder / "tokenizer.model").write_bytes(tokenizer.read_bytes())


def save_safetensors(path: Path, tensors: dict[str, np.ndarray], dtype: str) -> None:
    cast = {"F32": lambda w: w, "F16": lambda w: w.astype(np.float16), "BF16": bfloat16}[dtype]
    safetensors_numpy.save_file({name: cast(w) for name, w in tensors.items()}, path)
    if dtype == "BF16":  # numpy has no such type: saved as whole numbers, and renamed in the header
        data = path.read_bytes()
        size = struct.unpack_from("<Q", data)[0]
        header = data[8:8 + size].replace(b'"U16"', b'"BF16"')
        path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + size:])


def bfloat16(w: np.ndarray) -> np.ndarray:
    return (w.view(np.uint32) >> 16).astype(np.uint16)


@pytest.fixture
def hf_checkpoint(tmp_path, sentencepiece_model):
    """A random grouped-query model with the vocabulary of `sentencepiece_model`."""
    vocab_size = sentencepiece.SentencePieceProcessor(str(sentencepiece_model)).vocab_size()
    model = random_duo(tmp_path / "random.duo", (64, 96, 2, 4, 2, vocab_size, 32, 32), "f32", tied=False)
    return replace(formats.read(model), tokenizer=llama2c.read_tokenizer(sentencepiece_model, vocab_size))


@pytest.mark.parametrize("dtype, keeps", [
    ("F32", lambda w: w),
    ("F16", lambda w: w.astype(np.float16).astype(np.float32)),
    ("BF16", lambda w: (w.view(np.uint32) & 0xFFFF0000).view(np.float32)),
])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_hugging_face_folder(tmp_path, hf_checkpoint, sentencepiece_model, dtype, keeps, shards):
    save_huggingface(tmp_path / "hf", hf_checkpoint, sentencepiece_model, dtype, shards)
    formats.convert(tmp_path / "hf", tmp_path / "back.duo")
    back = formats.read(tmp_path / "back.duo")
    assert back.config == hf_checkpoint.config
    assert back.tokenizer.pieces == hf_checkpoint.tokenizer.pieces
    for key in back.config.keys():
        assert np.array_equal(back.tensor(key), keeps(np.ascontiguousarray(hf_checkpoint.tensor(key)))), key


def test_transformers_5_keeps_rope_theta_elsewhere(tmp_path, hf_checkpoint, sentencepiece_model):
    save_huggingface(tmp_path / "hf", hf_checkpoint, sentencepiece_model, "F32", rope_theta=None,
                     rope_parameters={"rope_theta": 5000.0, "rope_type": "default"})
    assert formats.read(tmp_path / "hf").config.rope_theta == 5000.0


def test_the_order_of_q_and_k_does_not_change_attention():
    """Hugging Face's rotation on its order scores as llama2.c's does on the order that we make of it."""
    rng = np.random.default_rng(3)
    heads, size, dim = 3, 8, 24
    wq, wk = rng.standard_normal((2, heads * size, dim))
    x, y = rng.standard_normal((2, dim))
    angle = np.outer([5, 2], 1 / 10000 ** (np.arange(0, size, 2) / size))

    def halves(v, angle):  # Hugging Face: element i turns with element i + size / 2
        a, b = v[:, :size // 2], v[:, size // 2:]
        return np.hstack((a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)))

    def pairs(v, angle):  # llama2.c: element i turns with element i + 1
        z = (v[:, ::2] + 1j * v[:, 1::2]) * np.exp(1j * angle)
        return np.stack((z.real, z.imag), axis=2).reshape(heads, size)

    def scores(wq, wk, turn):
        q, k = (w @ v for w, v in ((wq, x), (wk, y)))
        return (turn(q.reshape(heads, size), angle[0]) * turn(k.reshape(heads, size), angle[1])).sum(axis=1)

    ours = scores(*(huggingface.neighbours(lambda w=w: w, heads) for w in (wq, wk)), pairs)
    assert np.allclose(ours, scores(wq, wk, halves), rtol=1e-12)


# ---------------------------------------------------------------------------------------------------- GGUF


def save_gguf(path: Path, checkpoint, quant: str, **facts) -> None:
    """A GGUF file made by the gguf library, with matrices of the type `quant`; `facts` change fields."""
    kind = gguf_library.GGMLQuantizationType[quant]
    writer = gguf_library.GGUFWriter(path, facts.pop("architecture", "llama"))
    model = facts.pop("tokenizer_model", "llama")
    gguf.add_facts(writer, checkpoint, 0)
    writer.kv_data[0]["tokenizer.ggml.model"].value = model
    for name, value in facts.items():
        key = f"llama.{name}"
        writer.kv_data[0].pop(key, None)
        if isinstance(value, str):
            writer.add_string(key, value)
        elif value is not None:
            (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(key, value)
    for key in checkpoint.config.keys():
        w = np.ascontiguousarray(checkpoint.tensor(key))
        if key[0] in NORMS:
            writer.add_tensor(gguf.gguf_name(key), w)
        else:
            writer.add_tensor(gguf.gguf_name(key), gguf_library.quantize(w, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("quant, type", [("F32", "f32"), ("F16", "f32"), ("BF16", "f32"), ("Q8_0", "q8"),
                                         ("Q4_0", "q4")])
@pytest.mark.parametrize("shape", IN_32)
def test_gguf_types_keep_their_values(tmp_path, shape, quant, type):
    checkpoint = formats.read(make(tmp_path, shape, "f32"))
    save_gguf(tmp_path / "there.gguf", checkpoint, quant)
    formats.convert(tmp_path / "there.gguf", tmp_path / "back.duo")
    back, kind = formats.read(tmp_path / "back.duo"), gguf_library.GGMLQuantizationType[quant]
    for key in back.config.keys():
        if key[0] not in NORMS:
            t = back.tensor(key)
            assert bits(t) == {"f32": 32, "q8": 8, "q4": 4}[type]
            theirs = gguf_library.dequantize(gguf_library.quantize(checkpoint.tensor(key), kind), kind)
            assert np.array_equal(t.floats() if isinstance(t, Quantized) else t, theirs.reshape(t.shape))


def test_a_mixed_file_becomes_one_type_on_demand(tmp_path):
    checkpoint = formats.read(make(tmp_path, "untied", "f32"))
    q8 = checkpoint.retyped("q8", 32)
    mixed = {key: (q8 if key[0] in ("wq", "w2") else checkpoint).tensor(key) for key in q8.config.keys()}
    duo.write(replace(checkpoint, tensors=mixed), tmp_path / "mixed.duo")
    formats.convert(tmp_path / "mixed.duo", tmp_path / "q8.duo", type="q8")
    duo.write(q8, tmp_path / "expected.duo")
    assert_same(tmp_path / "q8.duo", tmp_path / "expected.duo")


# ------------------------------------------------------------------------------------------------ refusals


def resealed(data: bytearray) -> bytes:
    """A .duo file with its checksum made right again."""
    struct.pack_into("<I", data, 12, zlib.crc32(data[16:]))
    return bytes(data)


def put(offset: int, form: str, value) -> callable:
    def change(data: bytearray) -> bytes:
        struct.pack_into(form, data, offset, value)
        return resealed(data)
    return change


DAMAGED_DUO = {  # what is done to a sound file: what the sentence says
    "empty": (lambda d: b"", "no model"),
    "cut short": (lambda d: d[:-1], "cut short"),
    "cut in the header": (lambda d: d[:100], "not a .duo file"),
    "longer": (lambda d: d + b"\0", "cut short or damaged"),
    "one bit": (lambda d: d[:5000] + bytes([d[5000] ^ 1]) + d[5001:], "checksum"),
    "text mode": (lambda d: d.replace(b"\r\n", b"\n", 1), "not a .duo file"),
    "version": (put(8, "<I", 2), "version 2"),
    "dim 0": (put(24, "<I", 0), "dim is 0"),
    "huge dim": (put(24, "<I", 2**31), "dim is 2147483648"),
    "heads": (put(36, "<I", 5), "5 heads"),
    "kv heads": (put(40, "<I", 3), "3 key heads"),
    "seq_len": (put(48, "<I", 1 << 20), "seq_len"),
    "group size": (put(52, "<I", 48), "groups of 48"),
    "no group size": (put(52, "<I", 0), "type that this version does not read"),
    "norm_eps": (put(56, "<f", float("nan")), "norm_eps"),
    "norm_eps 0": (put(56, "<f", 0.0), "norm_eps"),
    "rope_theta": (put(60, "<f", float("inf")), "rope_theta"),
    "bos": (put(64, "<I", 5000), "BOS 5000"),
    "flags": (put(72, "<I", 3), "reserved"),
    "not tied": (put(72, "<I", 0), "classifier is missing"),
    "too many tensors": (put(76, "<I", 1 << 31), "outside the file"),
    "directory": (put(80, "<Q", 1 << 63), "not aligned or lies outside"),
    "tokenizer offset": (put(88, "<Q", 65), "not aligned"),
    "tokenizer size": (put(96, "<Q", 10), "tokenizer is cut short"),
    "metadata": (put(112, "<Q", 1 << 40), "outside the file"),
    "reserved": (put(120, "<Q", 1), "reserved"),
    "kind": (put(128, "B", 12), "does not belong"),
    "twice": (put(128 + 3 * 32, "B", 2), "wq of layer 0 is there twice"),
    "another type": (put(129, "B", 3), "type that this version does not read"),
    "q8 called q4": (put(129, "B", 2), "not what its shape asks for"),
    "layer": (put(128 + 2 * 32 + 2, "<H", 9), "layer 9 does not belong"),
    "rows": (put(132, "<I", 299), "299 x 64"),
    "tensor offset": (put(144, "<Q", 96), "not aligned"),
    "tensor size": (put(152, "<Q", 64), "not what its shape asks for"),
}


@pytest.mark.parametrize("case", DAMAGED_DUO)
def test_a_damaged_duo_file_is_refused_here_and_by_the_engine(tmp_path, case):
    change, sentence = DAMAGED_DUO[case]
    path = make(tmp_path, "tied", "q8")
    path.write_bytes(change(bytearray(path.read_bytes())))
    with pytest.raises(StoryError, match=sentence):
        formats.read(path)
    with pytest.raises(StoryError):
        Model(path)


def v2(dim=64, hidden=96, layers=1, heads=4, kv=4, vocab=300, seq=16, tied=1, group=32, version=2) -> bytes:
    shape = dim, hidden, layers, heads, kv, vocab, seq
    header = struct.pack("<Ii7iBi", 0x616B3432, version, *shape, tied, group)
    return header.ljust(256, b"\0")


FOREIGN = {  # file content: what the sentence says
    "empty": (b"", "is no model"),
    "text": (b"Once upon a time there was a file. " * 9, "is no model"),
    "PyTorch": (b"PK\3\4" + bytes(500), "PyTorch file"),
    "safetensors": (struct.pack("<Q", 40) + b'{"a":1}', "give the folder"),
    "v0 of a wrong size": (struct.pack("<7i", 64, 96, 1, 4, 4, 300, 16) + bytes(99), "cut short or damaged"),
    "v0 with negative dim": (struct.pack("<7i", -64, 96, 1, 4, 4, 300, 16), "is no model"),
    "v0 with huge numbers": (struct.pack("<7i", *[2**31 - 1] * 7), "is no model"),
    "v2 header only": (v2(), "cut short or damaged"),
    "v2 without header": (v2()[:40], "too short for its header"),
    "v3": (v2(version=3), "version 3"),
    "v2 group 64": (v2(group=64), "groups of 64"),
    "v2 group 0": (v2(group=0), "groups of 0"),
    "v2 negative group": (v2(group=-32), "groups of -32"),
    "v2 heads": (v2(heads=7), "7 heads"),
    "v2 tied 7": (v2(tied=7), "version 2"),
    "GGUF magic only": (b"GGUF", "damaged"),
    "GGUF with an endless array": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 0, 1 << 60), "cut short"),
    "GGUF version": (b"GGUF" + struct.pack("<IQQ", 99, 0, 0), "version 99"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_no_model_is_refused(tmp_path, case):
    content, sentence = FOREIGN[case]
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(StoryError, match=sentence):
        formats.convert(tmp_path / "model", tmp_path / "out.duo")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def llama2c_model(tmp_path: Path, type: str = "f32") -> Path:
    """A sound llama2.c checkpoint with its tokenizer.bin, and nothing else, in a folder."""
    model = make(tmp_path, "tied", type)
    (tmp_path / "there").mkdir()
    formats.export(model, tmp_path / "there" / "model.bin")
    return tmp_path / "there" / "model.bin"


def poke(path: Path, offset: int, data: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[offset:offset + len(data)] = data
    path.write_bytes(whole)


def tokenizer_bin(pieces: list[bytes], score: float = 0.0) -> bytes:
    return struct.pack("<I", 8) + b"".join(struct.pack("<fI", score, len(p)) + p for p in pieces)


@pytest.mark.parametrize("content, sentence", [
    (None, "give one with --tokenizer"),
    (b"", "holds 0 pieces"),
    (b"\x08\0\0\0abc", "cut short"),
    (tokenizer_bin([b"a"] * 299), "holds 299 pieces but the model has 300"),
    (tokenizer_bin([b"a"] * 301), "holds 301 pieces but the model has 300"),
    (tokenizer_bin([b"a"] * 300)[:-1], "cut short"),
    (tokenizer_bin([b"a\0b"] * 300), "NUL"),
    (tokenizer_bin([b"a"] * 300, float("nan")), "score"),
    (struct.pack("<IfI", 8, 0.0, 1 << 31) + b"a", "cut short"),
    (b"\n\x0e\n\x05<unk>", "not a SentencePiece model"),
])
def test_tokenizers_that_do_not_fit(tmp_path, content, sentence):
    model = llama2c_model(tmp_path)
    beside = model.with_name("tokenizer.bin")
    beside.unlink() if content is None else beside.write_bytes(content)
    with pytest.raises(StoryError, match=sentence):
        formats.convert(model, tmp_path / "out.duo")
    assert not (tmp_path / "out.duo").exists()


def test_llama2cs_own_place_for_the_tokenizer_comes_last(tmp_path, monkeypatch):
    model = llama2c_model(tmp_path)
    sound = model.with_name("tokenizer.bin").read_bytes()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("tokenizer.bin").write_bytes(b"not this one")
    formats.convert(model, tmp_path / "out.duo")
    model.with_name("tokenizer.bin").unlink()
    with pytest.raises(StoryError, match="tokenizer.bin is cut short"):
        formats.convert(model, tmp_path / "out.duo")
    Path("tokenizer.bin").write_bytes(sound)
    formats.convert(model, tmp_path / "out2.duo")
    assert_same(tmp_path / "out.duo", tmp_path / "out2.duo")


def test_a_sentencepiece_model_without_bytes_is_refused(tmp_path):
    prefix = tmp_path / "plain"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c ab bc abc cab"] * 50), model_prefix=str(prefix), vocab_size=12,
        model_type="bpe", minloglevel=2)
    with pytest.raises(StoryError, match="byte fallback"):
        llama2c.read_tokenizer(prefix.with_suffix(".model"), 12)


@pytest.mark.parametrize("type, offset, data, sentence", [
    ("f32", 28, struct.pack("<f", float("nan")), "embedding holds a number that is infinite or not a number"),
    ("q8", 256 + 4 * 64 * 5, b"\x80", "embedding holds a weight of -128"),  # behind 5 norms of 64 floats
])
def test_numbers_no_model_has_are_refused(tmp_path, type, offset, data, sentence):
    model = llama2c_model(tmp_path, type)
    poke(model, offset, data)
    with pytest.raises(StoryError, match=sentence):
        formats.convert(model, tmp_path / "out.duo")
    assert not (tmp_path / "out.duo").exists()


@pytest.mark.parametrize("change, sentence", [
    ({"model_type": "mistral"}, "architecture mistral"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
    ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_scaling"),
    ({"attention_bias": True}, "attention_bias"),
    ({"mlp_bias": True}, "mlp_bias"),
    ({"hidden_act": "gelu"}, "gelu"),
    ({"head_dim": 32}, "heads of 32"),
    ({"hidden_size": "wide"}, "config.json is damaged"),
    ({"hidden_size": None}, "config.json is damaged"),
    ({"eos_token_id": [2, 3]}, "config.json is damaged"),
    ({"num_hidden_layers": 3}, "model.layers.2.input_layernorm.weight is missing"),
    ({"intermediate_size": 95}, "header asks for"),
    ({"vocab_size": 1000}, "pieces but the model has 1000"),
    ({"rms_norm_eps": 1e300}, "norm_eps"),
])
def test_hugging_face_models_that_are_no_plain_llama(tmp_path, hf_checkpoint, sentencepiece_model, change,
                                                     sentence):
    save_huggingface(tmp_path / "hf", hf_checkpoint, sentencepiece_model, "F32", **change)
    with pytest.raises(StoryError, match=sentence):
        formats.convert(tmp_path / "hf", tmp_path / "out.duo")
    assert not (tmp_path / "out.duo").exists()


@pytest.mark.parametrize("spoil, sentence", [
    (lambda f: (f / "config.json").unlink(), "without config.json"),
    (lambda f: (f / "config.json").write_text("{"), "config.json is damaged"),
    (lambda f: (f / "config.json").write_text("[]"), "config.json is damaged"),
    (lambda f: (f / "config.json").write_text('{"model_type": "llama"}'), "does not say"),
    (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json is damaged"),
    (lambda f: (f / "model.safetensors").unlink(), r"no \*.safetensors"),
    (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 99), "damaged or cut short"),
    (lambda f: poke(f / "model.safetensors", 0, b"\xff" * 8), "damaged or cut short"),
    (lambda f: (f / "model.safetensors.index.json").write_text("{}"), "index.json is damaged"),
    (lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": 1}}'),
     "index.json is damaged"),
    (lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b", "c": []}}'),
     "index.json is damaged"),
    (lambda f: (f / "model.safetensors.index.json").write_text("[" * 100_000), "index.json is damaged"),
    (lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}'),
     "b.safetensors is missing"),
    (lambda f: (f / "tokenizer.model").unlink(), "give it with --tokenizer"),
])
def test_spoilt_hugging_face_folders(tmp_path, hf_checkpoint, sentencepiece_model, spoil, sentence):
    save_huggingface(tmp_path / "hf", hf_checkpoint, sentencepiece_model, "F32")
    spoil(tmp_path / "hf")
    with pytest.raises(StoryError, match=sentence):
        formats.convert(tmp_path / "hf", tmp_path / "out.duo")


@pytest.mark.parametrize("quant, facts, sentence", [
    ("F32", {"architecture": "gpt2"}, "architecture is gpt2"),
    ("F32", {"tokenizer_model": "gpt2"}, "vocabulary is of kind gpt2"),
    ("Q5_0", {}, "is Q5_0; F32, F16"),
    ("F32", {"rope.scaling.type": "yarn"}, "RoPE scaling"),
    ("F32", {"rope.scaling.factor": 4.0}, "RoPE scaling"),
    ("F32", {"rope.dimension_count": 8}, "head size"),
    ("F32", {"block_count": None}, "does not say llama.block_count"),
    ("F32", {"block_count": 3}, "blk.2.attn_norm.weight is missing"),
    ("F32", {"block_count": 1}, "is not part of a plain Llama"),
    ("F32", {"embedding_length": 128}, "head size"),
    ("F32", {"feed_forward_length": "wide"}, "as one number"),
])
def test_gguf_files_that_are_no_plain_llama(tmp_path, quant, facts, sentence):
    checkpoint = formats.read(make(tmp_path, "tied", "f32"))
    save_gguf(tmp_path / "there.gguf", checkpoint, quant, **facts)
    with pytest.raises(StoryError, match=sentence):
        formats.convert(tmp_path / "there.gguf", tmp_path / "out.duo")
    assert not (tmp_path / "out.duo").exists()


@pytest.mark.parametrize("shape, type, change, form, sentence", [
    ("tied", "f32", {}, "llama2c-v2", "convert --type q8"),
    ("tied", "f32", {}, "gguf-q8_0", "convert --type q8"),
    ("small-groups", "q8", {}, "gguf-q8_0", "groups of 4"),
    ("tied", "q8", {}, "gguf-q4_0", "convert --type q4"),
    ("tied", "f32", {"rope_theta": 500000.0}, "llama2c-v0", "rope_theta 10000, and this model has 500000"),
    ("tied", "f32", {"norm_eps": 1e-6}, "llama2c-v0", "norm_eps"),
    ("tied", "f32", {"eos": 5}, "llama2c-v0", "eos"),
    ("tied", "f32", {"bos": 5}, "gguf-f32", "cannot spell"),
    ("tied", "f32", {}, None, "say what to write with --to"),
])
def test_exports_that_would_lose_something(tmp_path, shape, type, change, form, sentence):
    model = make(tmp_path, shape, type)
    checkpoint = formats.read(model)
    duo.write(replace(checkpoint, config=replace(checkpoint.config, **change)), model)
    with pytest.raises(StoryError, match=sentence):
        formats.export(model, tmp_path / "out", form)
    assert [p.name for p in tmp_path.iterdir()] == ["model.duo"]


def test_another_tokenizer_is_not_overwritten(tmp_path):
    model = make(tmp_path, "tied", "f32")
    (tmp_path / "tokenizer.bin").write_bytes(b"precious")
    with pytest.raises(StoryError, match="use another folder"):
        formats.export(model, tmp_path / "out.bin")
    assert (tmp_path / "tokenizer.bin").read_bytes() == b"precious"
    assert not (tmp_path / "out.bin").exists()


def test_the_model_cannot_take_the_tokenizers_name(tmp_path):
    with pytest.raises(StoryError, match="choose another"):
        formats.export(make(tmp_path, "tied", "f32"), tmp_path / "tokenizer.bin")
    assert not (tmp_path / "tokenizer.bin").exists()


def test_names_need_not_be_utf_8(tmp_path):
    model = make(tmp_path, "tied", "f32").rename(tmp_path / os.fsdecode(b"b\xe4r.duo"))
    formats.convert(model, tmp_path / "out.duo")
    assert formats.read(tmp_path / "out.duo").metadata["source"].startswith("b\ufffdr.duo, ")


def test_a_tokenizer_given_to_a_file_that_has_one(tmp_path):
    model = make(tmp_path, "tied", "f32")
    with pytest.raises(StoryError, match="carries its own tokenizer"):
        formats.convert(model, tmp_path / "out.duo", tokenizer=tmp_path / "tokenizer.bin")


@pytest.mark.parametrize("line, sentence", [
    (b"title", "is not `key: value`"), (b"Title: x", "must be made of"), (b"title: a\0b", "NUL"),
    (b"\xff: x", "not UTF-8"),
])
def test_metadata_that_is_no_metadata(tmp_path, line, sentence):
    (tmp_path / "facts").write_bytes(line)
    with pytest.raises(StoryError, match=sentence):
        formats.convert(make(tmp_path, "tied", "f32"), tmp_path / "out.duo", meta=tmp_path / "facts")


@pytest.mark.parametrize("at, pieces, sentence", [  # what takes the place of the piece `at`
    (0, [b"\0"], "NUL"),
    (0, [b"x"] * 2, "301 pieces"),
    (299, [b"x" * 513], "piece 299 of the tokenizer has 513 bytes"),
    (259, [b"_"], "no piece for a space"),
    (68, [b"A"], "256 bytes"),
    (0, [b"<0x41>"], "256 bytes"),
])
def test_a_vocabulary_that_the_engine_refuses_is_not_written(tmp_path, monkeypatch, at, pieces, sentence):
    checkpoint = formats.read(make(tmp_path, "tied", "f32"))
    changed = checkpoint.tokenizer.pieces[:at] + pieces + checkpoint.tokenizer.pieces[at + 1:]
    wrong = replace(checkpoint, tokenizer=Tokenizer(changed, np.zeros(len(changed), np.float32)))
    with pytest.raises(StoryError, match=sentence):
        duo.write(wrong, tmp_path / "out.duo")
    assert not (tmp_path / "out.duo").exists()
    monkeypatch.setattr(Tokenizer, "check", lambda self, *_: self)
    duo.write(wrong, tmp_path / "out.duo")
    with pytest.raises(StoryError):
        Model(tmp_path / "out.duo")


def test_the_longest_piece(tmp_path):
    checkpoint = formats.read(make(tmp_path, "tied", "f32"))
    pieces = checkpoint.tokenizer.pieces[:-1] + [b"x" * 512]
    tokenizer = replace(checkpoint.tokenizer, pieces=pieces)
    duo.write(replace(checkpoint, tokenizer=tokenizer), tmp_path / "out.duo")
    with Model(tmp_path / "out.duo") as model:
        assert model.decode(5, 299) == pieces[299]


@pytest.mark.parametrize("content, facts", [
    (b"title: a\rb\x0cc\xe2\x80\xa8d\n", {"title": "a\rb\x0cc\u2028d"}),
    (b"title: a\\nb \\\\n c\\\\\\n\nsource: \n", {"title": "a\nb \\n c\\\n", "source": ""}),
    (b"title\n", None),
])
def test_the_engine_reads_the_same_metadata(tmp_path, monkeypatch, content, facts):
    checkpoint = formats.read(make(tmp_path, "tied", "f32"))
    monkeypatch.setattr(duo, "pack_metadata", lambda _: content)
    duo.write(checkpoint, tmp_path / "out.duo")
    if facts is None:
        for opened in (Model, formats.read):
            with pytest.raises(StoryError, match="is not `key: value`"):
                opened(tmp_path / "out.duo")
        return
    with Model(tmp_path / "out.duo") as model:
        assert model.metadata == formats.read(tmp_path / "out.duo").metadata == facts


# ------------------------------------------------------------------------------- damage nobody thought of


def touch_everything(path: Path) -> None:
    """Reads a whole model; StoryError is the only error a damaged file may give."""
    try:
        checkpoint = formats.read(path)
        for key in checkpoint.config.keys():
            checkpoint.tensor(key)
    except StoryError:
        pass


@pytest.fixture(scope="module")
def victims(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("victims")
    model = make(folder, "tied", "q8")
    for name, form in (("v2", "llama2c-v2"), ("gguf", "gguf-q8_0")):
        formats.export(model, folder / name, form)
    names = {"duo": "model.duo", "v2": "v2", "gguf": "gguf", "tokenizer": "tokenizer.bin"}
    return {kind: (folder / name).read_bytes() for kind, name in names.items()}


@pytest.mark.parametrize("kind", ["duo", "v2", "gguf", "tokenizer"])
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_damage_is_a_sentence_or_no_harm(tmp_path_factory, victims, kind, data):
    folder = tmp_path_factory.mktemp("fuzz")
    whole = bytearray(victims[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(whole), 12_000) - 4))
        whole[at:at + 4] = data.draw(st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"])
                                     | st.binary(min_size=1, max_size=4))
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole))):]
    if kind == "duo" and len(whole) > 16:
        whole = resealed(whole)
    files = {"model": victims["v2"] if kind == "tokenizer" else whole,
             "tokenizer.bin": whole if kind == "tokenizer" else victims["tokenizer"]}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    touch_everything(folder / "model")


# ---------------------------------------------------------------------------------------- the commands


def test_the_commands(tmp_path):
    model = make(tmp_path, "grouped-query", "f32")
    for args in (["convert", model, "q8.duo", "--type", "q8"], ["export", "q8.duo", "out.bin"],
                 ["convert", "out.bin", "back.duo"], ["export", "q8.duo", "out.gguf", "--to", "gguf-f32"]):
        done = run(tmp_path, *args)
        assert done.returncode == 0, done.stderr
        assert done.stdout == b"" and done.stderr.startswith(str(args[2]).encode())
    assert_same(tmp_path / "q8.duo", tmp_path / "back.duo")


@pytest.mark.parametrize("args, status, sentence", [
    (["convert"], 2, b"required"),
    (["convert", "nothing.bin", "out.duo"], 1, b"cannot open nothing.bin: No such file"),
    (["convert", "model.duo", "no/such/out.duo"], 1, b"cannot write no/such/out.duo: No such file"),
    (["convert", "model.duo", "."], 1, b"is a folder"),
    (["convert", "model.duo", "out.duo", "--type", "q3"], 2, b"q3"),
    (["convert", "model.duo", "out.duo", "--type", "q8", "--group-size", "7"], 1, b"use --group-size 32"),
    (["convert", "model.duo", "out.duo", "--meta", "nothing"], 1, b"cannot read nothing: No such file"),
    (["export", "model.duo", "out.txt"], 1, b"--to"),
    (["export", "facts", "out.bin"], 1, b"is no model"),
    (["convert", "model.duo", "facts/out.duo"], 1, b"cannot write facts/out.duo: Not a directory"),
    (["convert", "model.duo", "x" * 300], 1, b"x: File name too long"),
    (["convert", "model.duo", "x" * 250], 1, b"x: File name too long"),
    (["export", "model.duo", "d/out.bin"], 1, b"cannot read d/tokenizer.bin: Is a directory"),
    (["export", "model.duo", ".", "--to", "llama2c-v0"], 1, b". is a folder"),
    (["export", "model.duo", "x" * 300 + ".gguf"], 1, b"gguf: File name too long"),
])
def test_wrong_commands_say_so_in_one_sentence(tmp_path, args, status, sentence):
    make(tmp_path, "tied", "f32")
    (tmp_path / "facts").write_text("title: x")
    (tmp_path / "d" / "tokenizer.bin").mkdir(parents=True)
    done = run(tmp_path, *args)
    assert done.returncode == status
    assert sentence in done.stderr and done.stderr.count(b"\n") == 1, done.stderr
    assert b"cannot read x" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "facts", "model.duo"]


def test_the_help_of_export_names_the_form_that_rounds(tmp_path):
    told = b" ".join(run(tmp_path, "export", "--help").stdout.split())
    assert b"gguf-q8_0" in told and b"half precision" in told and b"gguf-f32 keeps every weight" in told


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    """The kernel refuses to let the file grow, as a full disk does."""
    model = make(tmp_path, "untied", "f32")
    (tmp_path / "out.duo").write_bytes(b"old")
    done = run(tmp_path, "convert", model, "out.duo",
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert done.returncode == 1
    assert b"cannot write out.duo: File too large" in done.stderr and done.stderr.count(b"\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.duo", "out.duo"]
    assert (tmp_path / "out.duo").read_bytes() == b"old"


def test_models_are_recognised_without_numpy(tmp_path):
    model = llama2c_model(tmp_path)
    program = ("import sys; sys.modules['numpy'] = None; from duostory import StoryError, formats\n"
               "print(formats.sniff(sys.argv[1]))\n"
               "try: formats.read(sys.argv[1])\n"
               "except StoryError as e: print(e)")
    done = subprocess.run([sys.executable, "-c", program, model], capture_output=True, text=True, cwd=ROOT,
                          check=True)
    kind, sentence = done.stdout.splitlines()
    assert kind == "llama2c-v0" and 'pip install "duostory[convert]"' in sentence
