"""From tokens to a story that ends like one."""

from dataclasses import replace

import pytest

from duostory import StoryError
from duostory.config import Settings
from duostory.engine import Model
from duostory.sentences import Sentence
from duostory.story import THE_END, TRAIL_OFF, Piece, Story
from duostory.wish import Prompt

@pytest.fixture(scope="module")
def model(stories260k):
    with Model(stories260k) as model:
        yield model


def tell(model, opening="Once upon a time", header="", **settings):
    """The text that is shown, the text that is spoken, and the Story."""
    settings = replace(Settings(seed=7, the_end=False), **settings)
    story = Story(model, Prompt(header, opening), settings)
    events = list(story)
    return ("".join(e.text for e in events if isinstance(e, Piece)),
            "".join(e.text for e in events if isinstance(e, Sentence)), story)


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_story_that_runs_out_of_positions_ends_with_a_sentence(model, seed):
    whole = tell(model, seed=seed)[0]
    for steps in (30, 60, 100, 101, 102, 103, 150):
        shown, spoken, story = tell(model, seed=seed, steps=steps)
        assert whole.startswith(shown) and shown.strip() == spoken.strip()
        assert shown.rstrip().endswith((".", "!", "?", '"')), shown
        assert story.positions == steps


LONG = "A cat and a dog and a bird and a fish and a bear and a frog and a duck and a pig and a cow"


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("opening, left", [
    ("Once upon a time", 8),
    ("The cat was sad. " * 8 + "It ran", 8),
    (LONG, 8),  # all of the sentence is the prompt's, but for its end
    (LONG, 42),  # it is shown up to its middle, before there are too few positions to finish it
])
def test_the_end_never_follows_half_a_sentence(model, opening, left, seed):
    steps = len(model.encode(opening)) + left
    shown, spoken, _ = tell(model, opening, seed=seed, steps=steps, the_end=True, temperature=1.5, topp=1.0)
    assert shown.split() == spoken.replace(THE_END, " " + THE_END).split()
    told = shown.removesuffix("\n" + THE_END)
    assert told.startswith(opening.rpartition(" ")[0])
    assert told.rstrip().endswith((".", "!", "?", '"'))
    assert told.endswith(TRAIL_OFF) == (told == shown)


def test_without_a_whole_sentence_there_is_at_least_its_beginning(model):
    assert tell(model, steps=8)[0].startswith("Once upon a time, there")


def test_sentences_come_as_soon_as_they_are_shown(model):
    """A sentence is spoken while the next one is being made up."""
    shown = spoken = ""
    for event in Story(model, Prompt("", "Once upon a time"), Settings(seed=7, the_end=False)):
        if isinstance(event, Piece):
            shown += event.text
        else:
            spoken += event.text
            assert len(shown) - len(spoken) < 12  # the word that showed the sentence to be over


def test_the_header_is_neither_shown_nor_spoken(model):
    shown, spoken, _ = tell(model, opening="The dog", header="Wish: caf\u00e9, dog\n")
    assert shown.startswith("The dog") and spoken.startswith("The dog") and "Wish" not in shown + spoken


def test_the_end_is_said_once(model):
    shown, spoken, _ = tell(model, the_end=True)
    assert shown.endswith("\n" + THE_END) and spoken.endswith(THE_END)
    shown, spoken, _ = tell(model, opening="A cat ran. The end.", temperature=0.0, steps=60, the_end=True)
    assert shown.rstrip().endswith(THE_END)


@pytest.mark.parametrize("opening, left, first, last", [
    ('Tom ran. He said, "I am sad. I am hot!" He sat.', 60, [False, False, True, False], (THE_END, False)),
    ('Tom ran. He said, "I am sad. I am', 60, [False, False, True], (THE_END, False)),
    ('"I am big.\n\nTom ran. He', 60, [False, False], (THE_END, False)),
    ('"I am big. I have a', 2, [False, True], (TRAIL_OFF, True)),
])
def test_each_sentence_says_whether_it_begins_in_a_quotation(model, opening, left, first, last):
    story = Story(model, Prompt("", opening), Settings(seed=7, steps=len(model.encode(opening)) + left, the_end=True))
    parts = [event for event in story if isinstance(event, Sentence)]
    assert [part.quoted for part in parts[:len(first)]] == first
    assert parts[-1].text.endswith(last[0]) and parts[-1].quoted is last[1]


def test_bytes_that_are_no_text_are_shown_as_such(model):
    shown = tell(model, opening=b"Hi \xff\xfe caf\xc3".decode("utf-8", "surrogateescape"), steps=60)[0]
    assert shown.startswith("Hi \ufffd\ufffd caf\ufffd")


@pytest.mark.parametrize("steps, says", [
    (0, r"\d+ tokens, which leaves no room for a story in 512 positions; say it in fewer words$"),
    (20, r"in 20 positions; say it in fewer words or raise --steps"),
])
def test_a_prompt_without_room_for_a_story_is_refused_with_numbers(model, steps, says):
    with pytest.raises(StoryError, match=says):
        Story(model, Prompt("", "a cat " * 400), Settings(steps=steps, seed=1))
