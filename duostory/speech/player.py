"""The thread that speaks: sentences in, sound out, while the story is still being written."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Protocol

from duostory.sentences import SENTENCE
from duostory.speech.sinks import Sink

# While the next sentence is not there yet, the device is kept running on silence, so that every xrun it
# reports is a real fault. These two bound how much later than at once a new sentence can sound.
LOW_WATER = 0.1  # seconds of sound in the device below which silence is added
POLL = 0.05  # seconds between two looks
BYTES = 2  # a sample


class Voice(Protocol):
    rate: int  # samples a second
    rate_wpm: int  # words a minute; a change counts from the next text on
    version: str  # what it is, for people
    tells_words: bool  # whether `on_word` is called

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

    first_sound: float | None = None  # time.monotonic() when the first samples of a sentence had been written
    synthesis: float = 0.0  # seconds of processor time in the voice, without the sink
    audio: float = 0.0  # seconds of sound written, pauses included
    gap: float = 0.0  # seconds of silence beyond the intended pauses: no sentence was ready
    xruns: int = 0  # how often the device ran dry in the middle of sound


class Player:
    """Speaks sentences in order, on a thread that owns `voice` and `sink` from here on.

    At most `ahead` sentences wait; then say() does. `on_word(word, at, index)` is called on that thread when
    the sound is written, which is up to a second before it is heard. `at` is the position in all sound
    written, in seconds; `index` counts the sentences from 0. `on_spoken(text, at, end, index)` follows the last
    word of a sentence that has been written, or as much of it as was spoken until the end of the player.

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
        on_spoken: Callable[[str, float, float, int], None] | None = None,
    ) -> None:
        self.stats = PlayerStats()
        self.on_device = sink.queued() < math.inf  # rather than in a file
        self.voice, self._sink = voice, sink
        self._on_word, self._on_spoken = on_word, on_spoken
        self._frames = 0  # written
        self._sink_time = 0.0  # seconds of processor time
        self._clock: tuple[float, float] = -math.inf, 0.0  # seconds of sound heard, and time.monotonic() then
        self._stopped = False
        self._error: Exception | None = None
        # Two SimpleQueues, because these may be fed from a signal handler that interrupted say() itself.
        self._work: SimpleQueue[tuple[str, float] | Callable[[], object] | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()  # one entry for each item that may be queued
        for _ in range(ahead):
            self._room.put(None)
        self._thread = Thread(target=self._run, name="duostory-player", daemon=True)
        self._thread.start()

    def say(self, sentence: str, pause: float = SENTENCE) -> None:
        """Queue a sentence; `pause` seconds of silence come between it and the next one.

        Waits while `ahead` sentences are queued. Does nothing after stop().
        Raises what ended the player (StoryError for a lost sound card or a full disk).
        """
        self._queue((sentence, pause))

    def play(self, pcm: bytes) -> None:
        """Queue a sound that is no sentence, after the pause that is due. Waits and raises like say()."""
        self._queue(lambda: self._write(pcm))

    def wait(self) -> None:
        """Wait until all that is queued has been spoken. Raises what ended the player, like say()."""
        spoken = Event()
        self._queue(spoken.set)
        while self._thread.is_alive() and not spoken.wait(POLL):
            pass
        self._raise_error()

    def _queue(self, item: tuple[str, float] | Callable[[], object]) -> None:
        self._room.get()
        if self._stopped or not self._thread.is_alive():
            self._room.put(None)  # the next one may not wait either
            self._raise_error()
            return
        self._work.put(item)

    def heard(self) -> float:
        """How many seconds of all sound written have been heard: infinitely many when no more will be.

        For any thread. Where a sink never runs dry, nothing is heard before the end.
        """
        heard, then = self._clock
        return heard if math.isinf(heard) else min(heard + time.monotonic() - then, self.stats.audio)

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
            if not self._stopped:
                self._clock = math.inf, 0.0
            self._stopped = self._stopped or self._error is not None
            self._room.put(None)  # wakes a waiting say()

    def _speak_all(self) -> None:
        index, pause = 0, 0.0
        while not self._stopped:
            item, waited = self._next()
            if item is None or self._stopped:
                break
            if index:
                self.stats.gap += max(0.0, waited - pause)
                self._silence(pause - waited)
            if callable(item):
                item()
                pause = 0.0
                continue
            sentence, pause = item
            self._speak(sentence, index)
            index += 1
        if not self._stopped:
            self._sink.drain()

    def _next(self) -> tuple[tuple[str, float] | Callable[[], object] | None, float]:
        """The next item (None: there is none), and the seconds of silence written until it came."""
        waited, idle = 0.0, False
        while True:
            try:
                item = self._work.get(timeout=POLL)
            except Empty:
                idle = True
                if self._frames and self._sink.queued() < LOW_WATER:
                    self._silence(LOW_WATER)
                    waited += LOW_WATER
                continue
            if idle:
                self._sink.queued()  # whether it ran dry since the last look does not matter
            self._room.put(None)
            return item, waited

    def _speak(self, sentence: str, index: int) -> None:
        start = self._frames / self.voice.rate

        def word(text: str, at: float) -> None:
            if self._on_word:
                self._on_word(text, start + at, index)

        def write(pcm: bytes) -> bool:
            going_on = self._write(pcm)
            self.stats.first_sound = self.stats.first_sound or time.monotonic()
            return going_on

        began = time.thread_time() - self._sink_time
        try:
            self.voice.speak(sentence, write, word)
        finally:
            self.stats.synthesis += time.thread_time() - self._sink_time - began
            if self._on_spoken:
                self._on_spoken(sentence, start, self.stats.audio, index)

    def _silence(self, seconds: float) -> None:
        if seconds > 0:
            self._write(bytes(BYTES * round(seconds * self.voice.rate)))

    def _write(self, pcm: bytes) -> bool:
        """Write sound; False when it is time to stop."""
        if self._stopped:
            return False
        began = time.thread_time()
        self._sink.write(pcm)
        self._sink_time += time.thread_time() - began
        self._frames += len(pcm) // BYTES
        self.stats.audio = self._frames / self.voice.rate
        self._clock = self.stats.audio - self._sink.queued(), time.monotonic()
        self.stats.xruns = self._sink.xruns
        return not self._stopped
