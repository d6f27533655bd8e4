"""Somebody who speaks to the robot, and what it may hear with."""

import subprocess
import wave
from array import array
from pathlib import Path
from random import Random

import pytest

from tests.conftest import ROOT

NOISE = 30  # of 32767, of a quiet room; digitally clean sound is none that a microphone gives
SPEAKER = "en-us+klatt2"  # not the robot's own voice, and one that the recogniser understands


@pytest.fixture(scope="session")
def library() -> Path:
    """The folder with pocketsphinx's library, as on the board."""
    built = subprocess.run([ROOT / "scripts" / "pocketsphinx"], capture_output=True, text=True)
    if built.returncode:
        pytest.skip(built.stderr.strip())
    return Path(built.stdout.strip())


@pytest.fixture(scope="session")
def speaker(voice, tmp_path_factory):
    """Says sentences into a WAV file, each followed by a pause, and returns its path. A number is so many seconds of a silent
    room, which has a little noise."""
    from duostory.speech.espeak import Espeak

    folder, voice = tmp_path_factory.mktemp("speaker"), Espeak(SPEAKER, 150)
    rate, spoken = voice.rate, {}

    def speak(*sentences):
        path = folder / f"{len(spoken)}.wav"
        if (known := spoken.setdefault(sentences, path)) is not path:
            return known
        pcm, noise = array("h"), Random(1).randint
        for sentence in (0.5, *sentences):
            if isinstance(sentence, str):
                voice.speak(sentence, lambda sound: pcm.frombytes(sound) or True)
                sentence = 1.5
            pcm.frombytes(bytes(2 * round(sentence * rate)))
        pcm = array("h", (max(-32768, min(32767, sample + noise(-NOISE, NOISE))) for sample in pcm))
        with wave.open(str(path), "wb") as wav:
            wav.setparams((1, 2, rate, 0, "NONE", "not compressed"))
            wav.writeframes(pcm.tobytes())
        return path

    return speak
