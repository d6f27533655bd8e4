"""No story in circles, and no word broken to prevent one."""

import re
from collections import Counter

import pytest

from duostory.engine import Model
from duostory.repetition import SPAN, Repetition


def runs(text):
    """How often each SPAN words in a row come."""
    words = re.findall(r"[a-z']+", text.lower())
    return Counter(zip(*(words[i:] for i in range(SPAN))))


def read(limit, *pieces):
    """A Repetition that has read pieces, each with its length as token."""
    repetition = Repetition(limit)
    for piece in pieces:
        repetition.read(len(piece), piece)
    return repetition


@pytest.fixture(scope="module")
def model(stories260k):
    with Model(stories260k) as model:
        yield model


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_four_words_come_only_so_often(model, limit):
    """At temperature 0 this model goes round in circles."""
    def told(repeats):
        tokens = model.generate(model.encode("Once upon a time"), 400, 0.0, repeats=repeats)
        return b"".join(token.piece for token in tokens).decode()

    assert max(runs(told(0)).values()) > 3
    assert max(runs(told(limit)).values()) <= limit


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_story_without_circles_stays_as_it_is(model, seed):
    """And a story with them is the same up to where it would have repeated itself."""
    def told(repeats):
        tokens = model.generate([model.info.bos], 0, 1.0, 0.9, seed, repeats=repeats)
        return b"".join(token.piece for token in tokens).decode()

    free, kept = told(0), told(2)
    same = next((i for i, (a, b) in enumerate(zip(free, kept)) if a != b), min(len(free), len(kept)))
    assert (free == kept) == (max(runs(free).values()) <= 2)
    assert same == len(free) or max(runs(free[:same + 20]).values()) > 2  # 20 characters hold the word that was refused


def test_the_word_that_would_close_the_circle_is_refused():
    again = [b" the", b" big", b" old", b" catfish", b"."]
    assert read(2, *again, *again[:3]).refused() == []
    assert read(2, *again, *again, *again[:3]).refused() == [len(b" catfish")]
    assert read(2, *again, *again, *again[:2]).refused() == []


def test_punctuation_and_capitals_do_not_hide_it():
    pieces = [b"The", b" big", b" old", b" catfish", b".\n", b"the", b" BIG", b',"', b" old"]
    assert read(1, *pieces).refused() == [len(b" catfish")]


def test_counting_may_go_in_circles_too():
    again = [b" 1", b",", b" 22", b",", b" 333", b",", b" 4444"]
    assert read(1, *again, b".", *again[:6]).refused() == [len(b" 4444")]


def test_only_the_beginning_of_a_word_is_refused():
    """After "Tom saw Ab" the rest of Abigail may come, though "Tom saw Abigail run" came before."""
    once = [b"To", b"m", b" saw", b" Abiga", b"il", b" running"]
    repetition = read(1, *once, b".", *once[:4])
    assert repetition.refused() == []  # "tom saw abiga" is not how it began the last time
    repetition.read(len(b"il"), b"il")
    assert repetition.refused() == [len(b" running")]


def test_a_piece_that_may_go_on_a_word_is_not_refused():
    """"an" began a word after a quotation mark; after "se" it may also end one."""
    once = [b"I", b" do", b" not", b' "', b"an", b" "]
    assert read(1, *once, b"i", b" do", b" not").refused() == []
    assert read(1, *once, b"i", b" do", b" not", b' "').refused() == [len(b"an")]
