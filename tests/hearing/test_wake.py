"""The phrase that wakes the robot. How often it is missed, and heard where nobody said it, stands in wake.py."""

import random
import wave
from array import array

import pytest

from duostory.hearing import WavSource
from duostory.hearing.grammar import WAKE
from duostory.hearing.listening import Listener
from duostory.hearing.pocketsphinx import Endpointer, NoPocketsphinx
from duostory.hearing.wake import WakePhrase


@pytest.fixture(scope="module")
def phrase():
    try:
        phrase = WakePhrase()
    except NoPocketsphinx as missing:
        pytest.skip(str(missing))
    yield phrase
    phrase.close()


def said(voice, folder, *sentences: str) -> str:
    """A WAV file: the sentences in a room with a little noise, without which the phrase is often missed."""
    pcm, noise = array("h"), random.Random(1).gauss
    for sentence in sentences:
        pcm.frombytes(bytes(2 * voice.rate))
        voice.speak(sentence, lambda sound: pcm.frombytes(sound) or True)
    with wave.open(path := str(folder / "said.wav"), "wb") as file:
        file.setparams((1, 2, voice.rate, 0, "NONE", ""))
        file.writeframes(array("h", (max(-32768, min(32767, x + round(noise(0, 200)))) for x in pcm)).tobytes())
    return path


def test_only_the_phrase_wakes_it(phrase, voice, tmp_path):
    asleep = "Once upon a time there was a little girl. She had a red ball, and her mother read a story to her."
    listener = Listener(WavSource(said(voice, tmp_path, asleep, WAKE, asleep)), Endpointer())
    assert listener.wait(phrase)
    assert not listener.wait(phrase)  # until the end
