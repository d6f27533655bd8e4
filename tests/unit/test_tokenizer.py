"""The tokenizer against the sentencepiece library, and against llama2.c where the two differ."""

import lzma
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duostory import StoryError
from duostory.engine import Model


@pytest.fixture(scope="module")
def model(stories260k):
    with Model(stories260k) as model:
        yield model


@pytest.fixture(scope="module")
def oracle(shared):
    """llama2.c's way of using SentencePiece: the text as it is, pieces joined as they are."""
    sentencepiece = pytest.importorskip("sentencepiece")
    return sentencepiece.SentencePieceProcessor(model_file=str(shared / "checkpoints" / "tok512.model"))


def decode(model, ids):
    pieces, prev = [], ids[0]
    for token in ids[1:]:
        pieces.append(model.decode(prev, token))
        prev = token
    return b"".join(pieces)


def story_strings(shared, count):
    """`count` different strings of story text: half sentences, half windows that start and end anywhere."""
    text = lzma.open(shared / "data" / "tinystories.txt.xz", "rt", encoding="utf-8").read()
    sentences = dict.fromkeys(re.split(r"(?<=[.!?])\s+", text))
    windows = dict.fromkeys(squeezed(text[i : i + i % 97 + 1]) for i in range(0, len(text), 113))
    return [*list(sentences)[: count // 2], *[w for w in windows if w not in sentences][: count // 2]]


def squeezed(text):
    """Without the spaces that sentencepiece's normaliser takes away and llama2.c keeps."""
    return re.sub(" +", " ", text).strip(" ")


def test_20000_strings_of_story_text(shared, model, oracle):
    strings = story_strings(shared, 20_000)
    assert len(strings) == 20_000
    for text in strings:
        assert model.encode(text) == [1, *oracle.encode(text)], text


@settings(max_examples=500, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_characters="\0▁", exclude_categories=["Cs"])))
def test_any_text_comes_back(model, oracle, text):
    """Any Unicode gives sentencepiece's tokens, and the same text back."""
    assert model.encode(squeezed(text)) == [1, *oracle.encode(squeezed(text))]
    assert decode(model, model.encode(text)).decode() == text


@settings(max_examples=500, deadline=None)
@given(data=st.binary().map(lambda b: b.replace(b"\0", b"?")))
def test_any_bytes_come_back(model, data):
    """Broken UTF-8 falls back to bytes and comes back as it was."""
    assert decode(model, model.encode(data)) == data


# ids by llama2.c's own encode with tok512.bin; only the empty prompt has no space in front
@pytest.mark.parametrize("text, ids", [
    (b"", [1]),
    (b" ", [1, 410, 410]),
    (b"  ", [1, 410, 410, 410]),
    (b"Once upon a time", [1, 403, 407, 261, 378]),
    ("é你😀".encode(), [1, 410, 485, 231, 192, 163, 243, 162, 155, 131]),
    (b"\n\n", [1, 410, 13, 13]),
    (b"\xc3(", [1, 410, 198, 489]),
    (b"\x80\x80\x80\x80\x80", [1, 410, 131, 131, 131, 131, 131]),
    (b"a\x80b", [1, 410, 100, 131, 430]),
])
def test_reference_tokens(model, text, ids):
    assert model.encode(text) == ids


def test_a_nul_is_refused(model):
    with pytest.raises(StoryError, match="NUL"):
        model.encode("once\0upon")
