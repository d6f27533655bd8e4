"""Earcons: short, soft, told apart; heard when the teller is slow or fails, and in no WAV file."""

import subprocess
import sys
from array import array
from math import pi

import pytest

from duostory.speech.earcons import EARCONS, PEAK, samples
from tests.teller import ROOT, environment

RATES = 8000, 16000, 22050, 48000


def rms(pcm):
    return (sum(sample * sample for sample in pcm) / len(pcm)) ** 0.5


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", EARCONS)
def test_short_and_soft(name, rate):
    pcm = array("h", samples(name, rate))
    assert 0.1 < len(pcm) / rate < 0.4
    assert 0.5 * PEAK < max(map(abs, pcm)) <= PEAK
    assert max(abs(pcm[0]), abs(pcm[-1])) < PEAK / 50
    # No step is larger than the steepest wave would have it, and so none is a click.
    steepest = PEAK * 2 * pi * max(pitch for pitch, _ in EARCONS[name]) / rate
    assert max(abs(a - b) for a, b in zip(pcm, pcm[1:])) < 1.1 * steepest
    # It takes time to become loud, and is far from loud at its end.
    tenth = len(pcm) // 10
    assert rms(pcm[:tenth // 5]) < 0.3 * rms(pcm) and rms(pcm[-tenth:]) < 0.3 * rms(pcm)


def test_at_most_half_as_loud_as_the_voice(voice):
    spoken = bytearray()
    voice.speak("He lived in a big cave with Mr. Brown, the bear.", lambda pcm: spoken.extend(pcm) or True)
    loudest = max(rms(array("h", samples(name, voice.rate))) for name in EARCONS)
    assert loudest < 0.5 * rms(array("h", bytes(spoken)))  # observed 0.31


def test_each_has_a_melody_of_its_own():
    melodies = [tuple(pitch for pitch, _ in notes) for notes in EARCONS.values()]
    rises = [[a < b for a, b in zip(melody, melody[1:])] for melody in melodies]
    assert all(rises.count(rise) == 1 for rise in rises)


# A story whose first sentence takes a while, and one that fails after it.
SLOW = "time.sleep(2); yield from events"
FAILS = "yield from itertools.islice(events, 40); raise StoryError('it cannot go on')"
TELLER = """
import itertools, sys, time
from duostory import StoryError, cli
class Story(cli.Story):
    def __iter__(self):
        events = super().__iter__()
        {}
cli.Story = Story
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def heard(tmp_path, story_model, voice, recording):
    """What ALSA's default device plays, and the exit status."""
    def tell(story, *args):
        env = environment(tmp_path, ALSA_CONFIG_PATH=str(ROOT / "tests/speech/asound.conf"),
                          DUOSTORY_TEST_SOUND=str(recording))
        told = subprocess.run([sys.executable, "-c", TELLER.format(story), story_model, "-s", "3", *args, "a cat"],
                              cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        return recording.read_bytes() if recording.exists() else b"", told

    return tell


def test_a_slow_teller_says_that_it_thinks(heard, voice):
    thinking = samples("thinking", voice.rate)
    pcm, told = heard(SLOW)
    assert pcm.startswith(thinking) and pcm.count(thinking) == 1 and told.returncode == 0
    pcm, told = heard(SLOW, "--no-earcons")
    assert thinking not in pcm and len(pcm) > 10 * len(thinking) and told.returncode == 0


def test_a_failure_in_mid_story_is_heard_after_what_has_been_told(heard, voice):
    error = samples("error", voice.rate)
    pcm, told = heard(FAILS)
    assert error in pcm[len(error):] and told.returncode == 1  # not at the very beginning
    assert told.stderr == b"duostory: it cannot go on\n"
    pcm, told = heard(FAILS, "--no-earcons")
    assert error not in pcm and told.returncode == 1


def test_no_earcon_in_a_file(heard, tmp_path, voice):
    for story in (SLOW, FAILS):
        heard(story, "--wav", "a.wav")
        told = (tmp_path / "a.wav").read_bytes()
        assert len(told) > 10000 and not any(samples(name, voice.rate) in told for name in EARCONS)
