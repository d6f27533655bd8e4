"""The splitter: what a listener hears as one sentence, and that no character is lost on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duostory.sentences import LIMIT, LINE, PARAGRAPH, SENTENCE, Sentences


def split(text, size=1):
    splitter = Sentences()
    parts = [part for i in range(0, len(text), size) for part in splitter.feed(text[i:i + size])]
    return parts + splitter.flush()


# "|" marks where the voice is to take a breath.
TABLE = [
    "Once upon a time, there was a cat. |It was red.",
    "Look! |A bird! |Is it blue? |Yes.",
    "What?! |No way!!! |Really...? |Yes.",
    '"I am a robot." |The cat ran.',
    '"Stop!" said the owl. |"Why?" asked Tom.',
    '"Can I play?" |Tom asked.',  # a breath costs less than knowing verbs
    'He said, "Hello." |Then he left.',
    "She said, 'Come here.' |He came.",
    "He said, \u201cHello.\u201d |Then he left.",
    "(He was shy.) |She was not.",
    "Mr. Bear and Mrs. Fox met Dr. Owl in St. Ives. |They sang.",
    "He met J. K. Mouse. |They ate.",
    "It was 10 a.m. and the sun was up. |All slept.",
    "So did I. |Then we slept.",
    "The cake was 3.5 feet tall. |It cost 2.50.",
    "He waited... and waited. |Nothing.",
    "He waited... |Then it rang.",
    "He waited\u2026 and waited\u2026 |Then it rang.",
    "once there was a cat. |it was red. |it ran.",
    "A line without an end\n|Another line\n\n|A paragraph.",
    "The end.\n\n|The end.",
    "See www.example.com for more. |Bye.",
    "No. |I will not.",
    "caf\u00e9 na\u00efve. |\u00c9t\u00e9 came. |\u4f60\u597d.",
    "no end at all",
]


@pytest.mark.parametrize("marked", TABLE)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_breaths(marked, size):
    assert [part.text for part in split(marked.replace("|", ""), size)] == marked.split("|")


def test_pauses_grow_from_sentence_to_paragraph():
    parts = split("One. Two.\nThree.\n\nFour.")
    assert [part.pause for part in parts] == [SENTENCE, LINE, PARAGRAPH, SENTENCE]


def test_a_sentence_is_told_as_soon_as_the_next_word_begins():
    splitter = Sentences()
    assert splitter.feed('"Come," he said. ') == []
    assert [part.text for part in splitter.feed("T")] == ['"Come," he said. ']
    assert splitter.rest == "T"


def test_a_long_sentence_is_cut_at_commas_then_words():
    commas = "The cat ran over the hill, " * 12 + "and slept."
    parts = split(commas)
    assert all(part.text.endswith("hill, ") for part in parts[:-1]) and len(parts) == 2
    assert [part.whole for part in parts] == [False, True]
    parts = split("the cat ran over the hill and " * 12)
    assert all(part.text.startswith("and ") for part in parts[1:])
    parts = split("cat " * 120)
    assert all(part.text.endswith("cat ") and len(part.text) <= LIMIT for part in parts)


def test_the_end_of_the_text_knows_whether_it_is_one():
    assert split("Bye.")[-1].whole and split('"Bye!" ')[-1].whole
    assert not split("And then the")[-1].whole


story_like = st.text(st.sampled_from(list("abI AM.!?,'\"\u2026\u201d\n\n  -)3\u00e9")) | st.characters())


@given(story_like, st.integers(1, 300))
def test_nothing_is_lost_and_chunks_do_not_matter(text, size):
    parts = split(text, size)
    assert "".join(part.text for part in parts) == text
    assert parts == split(text, max(1, len(text)))
    assert all(0 < len(part.text) <= LIMIT for part in parts)


@given(st.lists(st.sampled_from(["word", ",", ".", " ", "\n", '"', "Mr", "...", "and "]), max_size=300))
def test_long_texts_lose_nothing_either(words):
    text = "".join(words)
    assert "".join(part.text for part in split(text, 7)) == text
    assert split(text, 7) == split(text, max(1, len(text)))
