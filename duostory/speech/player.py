"""The thread that speaks: sentences in, sound out, while the story is still being written."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from duostory import StoryError
from duostory.sentences import SENTENCE
from duostory.speech.sinks import DeviceGone, NoSoundDevice, Sink
from duostory.speech.volume import gain, scaled

# While the next sentence is not there yet, the device is kept running on silence, so that every xrun it
# reports is a real fault. These two bound how much later than at once a new sentence can sound.
LOW_WATER = 0.1  # seconds of sound in the device below which silence is added
POLL = 0.05  # seconds between two looks
BYTES = 2  # a sample

# A sound device that has gone is looked for every RETRY seconds, for AWAY seconds: time to find it and plug it in.
RETRY, AWAY = 0.5, 300.0


class Voice(Protocol):
    rate: int  # samples a second
    version: str  # what it is, for people

    def speak(
        self,
        text: str,
        write: Callable[[bytes], bool],
        on_word: Callable[[str, float], None] | None = None,
    ) -> None:
        """Give the sound of `text` to `write` a little at a time until it returns False: see Espeak.speak."""


@dataclass
class PlayerStats:
    """How the speaking went; read it while it goes on or after finish()."""

    first_sound: float | None = None  # time.monotonic() when the first samples had been written
    synthesis: float = 0.0  # seconds of processor time in the voice, without the sink
    audio: float = 0.0  # seconds of sound written, pauses included
    gap: float = 0.0  # seconds of silence beyond the intended pauses: no sentence was ready
    xruns: int = 0  # how often the device ran dry in the middle of sound


@dataclass
class _Line:
    """A sentence to speak."""

    text: str
    pause: float  # seconds of silence after it
    index: int  # in the story
    end: float = math.inf  # frame of all sound written at which its sound ends, once it has been written


class Player:
    """Speaks sentences in order, on a thread that owns `voice` and `sink` from here on.

    At most `ahead` sentences wait; then say() does. `on_word(word, at, index)` is called on that thread when
    the sound is written, which is up to a second before it is heard. `at` is the position in all sound
    written, in seconds; `index` counts the sentences from 0.

    `volume` is in percent of the voice's own loudness, 0 to 100. It may be set at any time and from any
    thread, and holds for all sound that is not written yet.

    When the sound device has gone, the player waits for it. Then it begins again with the first sentence that
    may not have been heard to its end, for nobody remembers half a sentence; its words are told again, too. Loss
    and return are told to `notice`.

        with Player(voice, sink) as player:
            for sentence in story:
                player.say(sentence)
            player.finish()
    """

    def __init__(
        self,
        voice: Voice,
        sink: Sink,
        *,
        ahead: int = 4,
        on_word: Callable[[str, float, int], None] | None = None,
        volume: int = 100,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.stats = PlayerStats()
        self.volume = volume
        self._voice, self._sink = voice, sink
        self._on_word, self._notice = on_word, notice
        self._gain = gain(volume)  # of the last sound written
        self._frames = 0  # written
        self._lines: list[_Line] = []  # those that may not have been heard to their end, in order
        self._next = 0  # of _lines; those before it have been written
        self._index = 0  # of the next line in the story
        self._over = False  # no more lines come
        self._away: float | None = None  # time.monotonic() when the device went, until it takes sound again
        self._sink_time = 0.0  # seconds of processor time
        self._stopped = False
        self._error: Exception | None = None
        # Two SimpleQueues, because these may be fed from a signal handler that interrupted say() itself.
        self._work: SimpleQueue[tuple[str, float] | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()  # one entry for each sentence that may be queued
        for _ in range(ahead):
            self._room.put(None)
        self._thread = Thread(target=self._run, name="duostory-player", daemon=True)
        self._thread.start()

    def say(self, sentence: str, pause: float = SENTENCE) -> None:
        """Queue a sentence; `pause` seconds of silence come between it and the next one.

        Waits while `ahead` sentences are queued. Does nothing after stop().
        Raises what ended the player (StoryError for a lost sound card or a full disk).
        """
        self._room.get()
        if self._stopped or not self._thread.is_alive():
            self._room.put(None)  # the next one may not wait either
            self._raise_error()
            return
        self._work.put((sentence, pause))

    def finish(self) -> None:
        """Wait until all is spoken and has sounded. Raises what ended the player, like say()."""
        self._work.put(None)
        self._thread.join()
        self._raise_error()

    def stop(self) -> None:
        """Fall silent within 0.2 s and forget what is queued.

        Returns at once, from any thread and from a signal handler; close() waits until it is so.
        """
        self._stopped = True
        self._sink.stop()
        self._work.put(None)
        self._room.put(None)

    def close(self) -> None:
        """Stop, unless all is spoken, and wait until the device is free again."""
        self.stop()
        self._thread.join()

    def __enter__(self) -> "Player":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    # The rest runs on the player's thread.

    def _run(self) -> None:
        try:
            try:
                self._speak_all()
            finally:
                self.stats.xruns = self._sink.xruns
                self._sink.close()
        except Exception as error:
            self._error = error
        finally:
            self._stopped = self._stopped or self._error is not None
            self._room.put(None)  # wakes a waiting say()

    def _speak_all(self) -> None:
        pause = 0.0
        while not self._stopped:
            try:
                line, waited = self._take()
                if self._stopped:
                    return
                if not line:
                    self._sink.drain()
                    return
                self.stats.gap += max(0.0, waited - pause)
                self._silence(pause - waited)
                self._speak(line)
                pause = line.pause
            except DeviceGone as gone:
                self._rewind()
                self._await_device(gone)
                pause = 0.0

    def _take(self) -> tuple[_Line | None, float]:
        """The next line (None: there is none), and the seconds of silence written until it came."""
        waited, idle = 0.0, False
        while self._next == len(self._lines) and not self._over:
            try:
                item = self._work.get(timeout=POLL)
            except Empty:
                idle = True
                if self._frames and self._sink.queued() < LOW_WATER:
                    self._silence(LOW_WATER)
                    waited += LOW_WATER
                continue
            if item is None:
                self._over = True
                break
            self._room.put(None)
            self._forget_heard()
            self._lines.append(_Line(*item, self._index))
            self._index += 1
        if idle:
            self._sink.queued()  # whether it ran dry since the last look does not matter
        if self._next == len(self._lines):
            return None, waited
        self._next += 1
        return self._lines[self._next - 1], waited

    def _forget_heard(self) -> None:
        heard = self._frames - self._sink.buffer * self._voice.rate
        while self._lines and self._lines[0].end <= heard:
            del self._lines[0]
            self._next -= 1

    def _rewind(self) -> None:
        self._forget_heard()
        self._next = 0
        for line in self._lines:
            line.end = math.inf

    def _await_device(self, gone: DeviceGone) -> None:
        """Return when the device is open again, or at stop(). Raises StoryError when it takes too long."""
        if self._away is None:
            self._away = time.monotonic()
            self._notice(f"{gone}; the story waits until it is back")
        while not self._stopped:
            look = time.monotonic() + RETRY
            while time.monotonic() < look and not self._stopped:
                time.sleep(POLL)
            if time.monotonic() - self._away > AWAY:
                raise StoryError(f"{gone} and was not back within {AWAY / 60:g} minutes")
            with contextlib.suppress(NoSoundDevice):
                self._sink.reopen()
                return

    def _speak(self, line: _Line) -> None:
        start = self._frames / self._voice.rate

        def word(text: str, at: float) -> None:
            if self._on_word:
                self._on_word(text, start + at, line.index)

        began = time.thread_time() - self._sink_time
        try:
            self._voice.speak(line.text, self._write, word)
        finally:
            self.stats.synthesis += time.thread_time() - self._sink_time - began
        line.end = self._frames

    def _silence(self, seconds: float) -> None:
        if seconds > 0:
            self._write(bytes(BYTES * round(seconds * self._voice.rate)))

    def _write(self, pcm: bytes) -> bool:
        """Write sound; False when it is time to stop."""
        if self._stopped:
            return False
        before, self._gain = self._gain, gain(self.volume)
        pcm = scaled(pcm, before, self._gain)
        began = time.thread_time()
        self._sink.write(pcm)
        self._sink_time += time.thread_time() - began
        if self._away is not None:
            self._away = None
            self._notice("the sound device is back; the story goes on")
        self._frames += len(pcm) // BYTES
        self.stats.audio = self._frames / self._voice.rate
        if self.stats.first_sound is None:
            self.stats.first_sound = time.monotonic()
        self.stats.xruns = self._sink.xruns
        return not self._stopped
