"""The service with a microphone: somebody in the room says the same wish again and again, until it is told."""

import signal
import subprocess
import threading
from array import array
from random import Random

import pytest

from duostory.hearing import RATE, WavSource
from tests.hearing.conftest import NOISE
from tests.teller import command, environment, run

pytest.importorskip("pocketsphinx", reason="needs the package pocketsphinx")

EVERY = 5  # seconds from wish to wish
TIMES = 20


@pytest.fixture
def insistent(card, speaker):
    """Somebody who insists."""
    wav = WavSource(speaker("tell me a story about a dragon"))
    wish = array("h", b"".join(iter(wav.read, b"")))
    noise = Random(1).randint
    pause = array("h", (noise(-NOISE, NOISE) for _ in range(EVERY * RATE - len(wish))))
    card.says((pause + wish) * TIMES)


@pytest.fixture
def service(tmp_path, card, insistent):
    card.holds(0.5)
    env = environment(tmp_path, XDG_RUNTIME_DIR=str(tmp_path))
    process = subprocess.Popen(command("serve", "--mic", "--no-confirm", "-s", "1"), cwd=tmp_path, env=env, bufsize=0,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    watch = threading.Timer(120, process.kill)  # instead of waiting for ever for a story
    watch.start()
    yield process
    watch.cancel()
    process.kill()
    process.communicate()


def test_a_story_is_told_after_a_spoken_wish_and_after_others(service, tmp_path):
    assert b"dragon" in service.stdout.readline()
    # While it is told, nothing is heard; but another wish by the socket is heard at once, and then the microphone again.
    env = environment(tmp_path, XDG_RUNTIME_DIR=str(tmp_path))
    told = subprocess.Popen(command("tell", "a", "robot"), env=env, cwd=tmp_path, stdout=subprocess.PIPE)
    assert b"robot" in told.stdout.readline()
    assert run(tmp_path, "tell", "stop", env={"XDG_RUNTIME_DIR": str(tmp_path)}).returncode == 0
    told.communicate()
    for subject in (b"robot", b"dragon"):  # a new one, after what is left of the first
        while subject not in (line := service.stdout.readline()):
            assert line
    service.send_signal(signal.SIGTERM)
    assert service.wait(10) == 0
