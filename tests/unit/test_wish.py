"""What the model is asked for a wish."""

import pytest

from duostory.wish import Prompt, prompt_for

TRAINED = {"wish_template": "Wish: {subjects}\n", "wish_long": "long"}

OPENINGS = [  # wish, opening for a model that knows no wishes
    ("once upon a time", "Once upon a time"),
    ("  once   upon a time,\nthere was  ", "Once upon a time, there was"),
    ("One day a robot", "One day a robot"),
    ("the cat sat in a box.", "The cat sat in a box."),
    ("a girl named Lily went to the park", "A girl named Lily went to the park"),
    ("\u00e9t\u00e9 was warm and long", "\u00c9t\u00e9 was warm and long"),
    ("Lily", "Lily"),
    ("Lily and Tom", "Lily and Tom"),
    ("an owl that can't sleep", "Once upon a time, there was an owl that couldn't sleep"),
    ("a dragon", "Once upon a time, there was a dragon"),
    ("dragon", "Once upon a time, there was a dragon"),
    ("owl", "Once upon a time, there was an owl"),
    ("dragons", "Once upon a time, there were dragons"),
    ("bus", "Once upon a time, there was a bus"),
    ("a princess and a frog", "Once upon a time, there was a princess and a frog"),
    ("two cats", "Once upon a time, there were two cats"),
    ("A dragon who is afraid of the dark", "Once upon a time, there was a dragon who was afraid of the dark"),
    ("tell me a story about a robot and a cat", "Once upon a time, there was a robot and a cat"),
    ("Please tell me a story about Lily!", "Lily"),
    ("tell me about a pony", "Once upon a time, there was a pony"),
    ("a long story about trains.", "Once upon a time, there were trains"),
    ("tell me a story", ""),
    ("", ""),
]

SUBJECTS = [  # wish, subjects that the story model is told
    ("a dragon who is afraid of the dark", "dragon, afraid, dark"),
    ("tell me a story about a robot and a cat", "robot, cat"),
    ("I would like a long story about Lily's big boat", "long, Lily, boat"),
    ("Jack and his new bike", "Jack, new, bike"),
    ("a very long story", "long"),
    ("cat, dog, bird, fish and frog", "cat, dog, bird, fish"),
    ("a cat and a cat", "cat"),
    ("an ox", "ox"),
    ("a pig we'll see on TV", "pig, see, TV"),
]


@pytest.mark.parametrize("wish, opening", OPENINGS)
def test_a_wish_becomes_an_opening(wish, opening):
    assert prompt_for(wish, {}) == Prompt("", opening)


@pytest.mark.parametrize("wish, subjects", SUBJECTS)
def test_a_wish_becomes_a_header_and_an_opening(wish, subjects):
    opening = prompt_for(wish, {}).opening or "Once upon a time"
    assert prompt_for(wish, TRAINED) == Prompt(f"Wish: {subjects}\n", opening)


@pytest.mark.parametrize("wish, opening", OPENINGS[:6])
def test_a_beginning_stays_one_for_a_model_that_knows_wishes(wish, opening):
    assert prompt_for(wish, TRAINED) == Prompt("", opening)


def test_a_wish_without_subjects_leaves_the_choice_to_the_model():
    """It gets the usual first words, or it would begin by making up a wish, and tell that."""
    for wish in ("tell me a story", "a story about it", ""):
        assert prompt_for(wish, TRAINED) == Prompt("", "Once upon a time")
