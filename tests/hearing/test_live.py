"""The robot in a room, in real time: it plays and records on a made-up card, and somebody presses Enter and speaks to it."""

import contextlib
import os
import signal
import subprocess
import time
from array import array
from pathlib import Path
from random import Random
from threading import Timer

import pytest

from duostory.hearing import RATE, WavSource
from tests.hearing.conftest import NOISE
from tests.teller import command, environment

pytest.importorskip("pocketsphinx", reason="needs the package pocketsphinx")

LASTS = 90  # seconds of room; no test is longer
PATIENCE = 120  # seconds until a robot that says nothing is ended, and with it the waiting
QUIET = 0.5  # seconds without sound, until the robot has said what it wanted: no pause in a sentence is so long


class Room:
    """A robot, run with `args`, and one who speaks to it."""

    def __init__(self, home, card, speaker, *args: str) -> None:
        noise = Random(1).randint
        second = array("h", (noise(-NOISE, NOISE) for _ in range(RATE)))
        card.says(second * LASTS)
        self._card, self._speaker, self._said = card, speaker, card.config.with_name("said")
        self.lines: list[str] = []
        self._terminal, terminal = os.openpty()
        env = environment(home, ALSA_CONFIG_PATH=str(card.config))
        self.process = subprocess.Popen(command("--mic", *args), cwd=home, env=env,
                                        stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(terminal)
        self._watch = Timer(PATIENCE, self.process.kill)
        self._watch.start()

    def await_microphone(self) -> None:
        """Return when it is open, which is when its time begins."""
        while str(self._said) not in self._open_files():
            assert self.process.poll() is None
            time.sleep(0.01)
        self._opened = time.monotonic()

    def _open_files(self) -> set[str]:
        files = set()
        for file in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                files.add(os.readlink(file))
        return files

    def line(self, notice: bool = False) -> str:
        """The next line of the dialogue, or the next notice."""
        for line in self.process.stderr:
            self.lines.append(line.decode().rstrip())
            if "tok" not in self.lines[-1] and self.lines[-1].startswith("duostory: ") == notice:
                return self.lines[-1]
        raise AssertionError(f"it ended: {self.lines}")

    def press_enter(self) -> None:
        os.write(self._terminal, b"\n")

    def say(self, text: str, *, at_once: bool = False) -> float:
        """Begin to speak, after half a second or at once, and return how many seconds that takes."""
        wav = WavSource(self._speaker(text))
        sound = b"".join(iter(wav.read, b""))[RATE if at_once else 0 :]
        with open(self._said, "r+b") as said:
            said.seek(2 * round((time.monotonic() - self._opened + 0.2) * RATE))
            said.write(sound)
        return len(sound) / 2 / RATE

    def listen(self) -> None:
        """Until the robot has begun to speak, and has finished."""
        played, since = self._card.played(), None
        while since is None or time.monotonic() - since < QUIET:
            assert self.process.poll() is None
            if (now := self._card.played()) > played:
                played, since = now, time.monotonic()
            time.sleep(0.02)

    def close(self) -> None:
        self._watch.cancel()
        self.process.kill()
        self.process.communicate()
        os.close(self._terminal)


@pytest.fixture
def room(tmp_path, card, speaker, request):
    card.holds(0.5)
    with contextlib.closing(Room(tmp_path, card, speaker, *request.param)) as room:
        room.await_microphone()
        yield room


STORY = "A story about a dragon. Yes?"


@pytest.mark.parametrize("room", [["-s", "1"]], indirect=True)
def test_an_evening(room, card, speaker):
    assert room.line() == "I am ready. Press Enter, and tell me what the story is about."
    room.listen()
    room.press_enter()
    room.listen()  # to the high note
    room.say("tell me a story about a dragon")
    speaker("yes")  # now, for it shall be said within two seconds
    assert room.line() == STORY
    room.say("yes", at_once=True)  # in the middle of the question, when the robot is deaf
    assert room.line() == f"Is anybody there? Please come closer. {STORY}"
    room.listen()
    room.say("yes")
    assert room.process.stdout.readline().startswith(b"Once upon a time, there was a dragon")
    before = card.played()
    card.play(before + 2)
    room.press_enter()  # which stops the story
    time.sleep(0.7)
    before = card.played()
    time.sleep(1)
    assert card.played() == before and room.process.poll() is None
    room.press_enter()
    room.listen()
    room.say("good night")
    assert room.line() == "Shall I go to sleep? Yes?"
    room.listen()
    room.say("yes")
    assert room.line() == "Good night."
    assert room.process.wait(10) == 0


@pytest.mark.parametrize("room", [["--listen", "voice"]], indirect=True)
def test_hands_free_with_a_microphone_that_is_unplugged(room, card):
    assert room.line() == "I am ready. Say: tell me a story about a dragon."
    room.listen()
    room.say("tell me a story about a dragon")
    assert room.line() == STORY
    room.listen()
    card.state = "unplugged"
    assert room.line(notice=True) == 'duostory: the microphone "default" has gone (No such device); I wait until it is back'
    card.state = "fine"
    room.await_microphone()
    room.say("yes")
    assert room.process.stdout.readline().startswith(b"Once upon a time, there was a dragon")
    room.process.send_signal(signal.SIGTERM)
    assert room.process.wait(10) == 0


@pytest.mark.parametrize("signal, status", [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
@pytest.mark.parametrize("room", [[]], indirect=True)
def test_signals(room, signal, status):
    room.line()  # in the middle of what it says
    room.process.send_signal(signal)
    assert room.process.wait(10) == status
