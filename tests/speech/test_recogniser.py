"""The spoken story can be understood: by an independent recogniser, from the WAV file."""

import wave
from array import array

import pytest

from duostory.speech import Player, open_sink
from tests.speech.recogniser import Recogniser, words

pytest.importorskip("pocketsphinx", reason="needs the package pocketsphinx")

STORY = [
    "Once upon a time there was a little dragon.",
    "He lived in a big cave near the forest.",
    "One day the dragon found a shiny red ball.",
    "He wanted to play, but he had no friends.",
    "A small rabbit came out of the trees.",
    "“Hello”, said the rabbit, “can I play with you?”",
    "The dragon was very happy.",
    "They played together until the sun went down.",
    "Then they sat under a tree and shared an apple.",
    "From that day on they were best friends.",
]


TEXT = " ".join(STORY)
TOLERATED = 0.33  # of the words wrong; observed 0.18 to 0.21 with espeak-ng 1.52, en-us, 155 words a minute


@pytest.fixture(scope="module")
def spoken(voice, tmp_path_factory) -> array:
    """The samples of the WAV file of STORY."""
    path = tmp_path_factory.mktemp("spoken") / "story.wav"
    with Player(voice, open_sink("wav", voice.rate, wav=path)) as player:
        for sentence in STORY:
            player.say(sentence)
        player.finish()
    with wave.open(str(path)) as wav:
        return array("h", wav.readframes(wav.getnframes()))


@pytest.fixture(scope="module")
def recogniser(voice, tmp_path_factory) -> Recogniser:
    return Recogniser(TEXT, voice.rate, tmp_path_factory.mktemp("recogniser"))


def test_most_words_of_a_spoken_story_are_recognised(recogniser, spoken):
    assert recogniser.vocabulary == set(words(TEXT))  # 63 words to choose from
    assert recogniser.error_rate(TEXT, spoken.tobytes()) < TOLERATED


def test_the_recogniser_hears_and_does_not_guess(recogniser, spoken):
    other_way_round = " ".join(reversed(STORY))
    assert recogniser.error_rate(other_way_round, spoken.tobytes()) > 0.8  # observed 0.94


def test_dropouts_are_noticed(recogniser, spoken):
    broken = spoken[:]
    for start in range(0, len(broken) - 1323, 11025):  # 60 ms in each half second
        broken[start : start + 1323] = array("h", bytes(2 * 1323))
    assert recogniser.error_rate(TEXT, broken.tobytes()) > TOLERATED  # observed 0.40 to 0.49


def test_a_wrong_rate_is_noticed(recogniser, spoken):
    assert recogniser.error_rate(TEXT, spoken[::2].tobytes()) > 0.8  # twice as fast; observed 0.98
