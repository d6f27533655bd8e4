"""From a wish to a WAV file with the repository's own model: the whole way, as a user goes it."""

import wave

import pytest
from recogniser import Recogniser, words

from duostory.engine import Model
from tests.teller import run

pytest.importorskip("pocketsphinx", reason="needs the package pocketsphinx")

WISHES = ["a dragon who is afraid of the dark", "tell me a story about a robot and a cat", "a rabbit",
          "Once upon a time there was a bear"]
TOLERATED = 0.4  # of the words wrong, of about 90 to choose from; observed 0.24 to 0.28


@pytest.mark.parametrize("wish", WISHES)
def test_a_wish_becomes_sound_that_can_be_understood(voice, tmp_path, story_model, wish):
    result = run(tmp_path, "--model", story_model, "--wav", "story.wav", "-s", "1", wish)
    assert result.returncode == 0, result.stderr
    story = result.stdout.decode()
    assert story.endswith("The end.\n") and len(words(story)) > 50
    with wave.open(str(tmp_path / "story.wav")) as wav:
        rate, pcm = wav.getframerate(), wav.readframes(wav.getnframes())
    seconds = len(pcm) / 2 / rate
    assert 60 * len(words(story)) / seconds == pytest.approx(155, rel=0.35)   # the rate asked for, and pauses
    assert Recogniser(story, rate, tmp_path).error_rate(story, pcm) < TOLERATED


def test_the_model_says_where_it_comes_from(story_model):
    assert story_model.stat().st_size <= 9_000_000   # what the board can stream fast enough
    with Model(story_model) as model:
        assert model.info.type == "q8" and {"title", "provenance", "wish_template"} <= set(model.metadata)
