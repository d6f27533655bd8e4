"""The thread that speaks: sentences in, sound out, while the story is still being written."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread
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
    rate_wpm: int  # words a minute; a change counts from the next text on
    version: str  # what it is, for people
    tells_words: bool  # whether `on_word` is called

    def speak(
        self,
        text: str,
        write: Callable[[bytes], bool],
        on_word: Callable[[str, float], None] | None = None,
        quoted: bool = False,
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


@dataclass
class _Item:
    """A sentence, or another sound."""

    sound: Callable[[], object]  # writes it
    pause: float = 0.0  # seconds of silence after it
    end: float = math.inf  # frame of all sound written at which it ends, once it has been written


class Player:
    """Speaks sentences in order, on a thread that owns `voice` and `sink` from here on.

    At most `ahead` sentences wait; then say() does. `on_word(word, at, index)` is called on that thread when
    the sound is written, which is up to a second before it is heard. `at` is the position in all sound
    written, in seconds; `index` counts the sentences from 0. `on_spoken(text, at, end, index)` follows the last
    word of a sentence that has been written, or of as much of it as was spoken.

    `volume` is in percent of the voice's own loudness, 0 to 100. It may be set at any time and from any
    thread, and holds for all sound that is not written yet. So may `voice.rate_wpm`, for the next sentence.

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
        on_spoken: Callable[[str, float, float, int], None] | None = None,
        volume: int = 100,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.stats = PlayerStats()
        self.on_device = sink.buffer > 0  # not into a file
        self.volume = volume
        self.alive = 0.0  # time.monotonic() when it last began, went on with or ended a sound, or looked for the device
        self.voice, self._sink = voice, sink
        self._on_word, self._on_spoken, self._notice = on_word, on_spoken, notice
        self._gain = gain(volume)  # of the last sound written
        self._frames = 0  # written
        self._said = 0  # sentences that have been queued
        self._items: list[_Item] = []  # those that may not have been heard to their end, in order
        self._next = 0  # of _items; those before it have been written
        self._over = False  # no more items come
        self._away: float | None = None  # time.monotonic() when the device went, until it takes sound again
        self._sink_time = 0.0  # seconds of processor time
        self._clock: tuple[float, float] = -math.inf, 0.0  # seconds of sound heard, and time.monotonic() then
        self._stopped = False
        self._error: Exception | None = None
        # Two SimpleQueues, because these may be fed from a signal handler that interrupted say() itself.
        self._work: SimpleQueue[_Item | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()  # one entry for each item that may be queued
        for _ in range(ahead):
            self._room.put(None)
        self._thread = Thread(target=self._run, name="duostory-player", daemon=True)
        self._thread.start()

    def say(self, sentence: str, pause: float = SENTENCE, quoted: bool = False) -> None:
        """Queue a sentence; `pause` seconds of silence come between it and the next one. `quoted` is the voice's.

        Waits while `ahead` sentences are queued. Does nothing after stop().
        Raises what ended the player (StoryError for a lost sound card or a full disk).
        """
        self._queue(partial(self._speak, sentence, quoted, self._said), pause)
        self._said += 1

    def play(self, pcm: bytes) -> None:
        """Queue a sound that is no sentence, after the pause that is due. Waits and raises like say()."""
        self._queue(partial(self._write, pcm))

    def wait(self) -> None:
        """Wait until all that is queued has been spoken. Raises what ended the player, like say()."""
        spoken = Event()
        self._queue(spoken.set)
        while self._thread.is_alive() and not spoken.wait(POLL):
            pass
        self._raise_error()

    def wait_for_sound(self) -> None:
        """Wait until the first sentence begins to sound, or nothing of all that is queued did. Raises like wait()."""
        spoken = Event()
        self._queue(spoken.set)
        while self._thread.is_alive() and not self.stats.first_sound and not spoken.wait(POLL):
            pass
        self._raise_error()

    def _queue(self, sound: Callable[[], object], pause: float = 0.0) -> None:
        self._room.get()
        if self._stopped or not self._thread.is_alive():
            self._room.put(None)  # the next one may not wait either
            self._raise_error()
            return
        self._work.put(_Item(sound, pause))

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
        pause = 0.0
        while not self._stopped:
            try:
                item, waited = self._take()
                if self._stopped:
                    return
                if not item:
                    self._sink.drain()
                    return
                if self.stats.first_sound:
                    self.stats.gap += max(0.0, waited - pause)
                self._silence(pause - waited)
                self._live()
                item.sound()
                self._live()
                item.end, pause = self._frames, item.pause
            except DeviceGone as gone:
                self._rewind()
                self._await_device(gone)
                pause = 0.0

    def _take(self) -> tuple[_Item | None, float]:
        """The next item (None: there is none), and the seconds of silence written until it came."""
        waited, idle = 0.0, False
        while self._next == len(self._items) and not self._over:
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
            self._items.append(item)
        if idle:
            self._sink.queued()  # whether it ran dry since the last look does not matter
        if self._next == len(self._items):
            return None, waited
        self._next += 1
        return self._items[self._next - 1], waited

    def _forget_heard(self) -> None:
        heard = self._frames - self._sink.buffer * self.voice.rate
        if self.on_device:
            heard = min(heard, self._clock[0] * self.voice.rate)
        while self._items and self._items[0].end <= heard:
            del self._items[0]
            self._next -= 1

    def _rewind(self) -> None:
        self._forget_heard()
        self._next = 0
        for item in self._items:
            item.end = math.inf

    def _await_device(self, gone: DeviceGone) -> None:
        """Return when the device is open again, or at stop(). Raises StoryError when it takes too long."""
        if self._away is None:
            self._away = time.monotonic()
            self._notice(f"{gone}; the story waits until it is back")
        while not self._stopped:
            self._live()
            look = time.monotonic() + RETRY
            while time.monotonic() < look and not self._stopped:
                time.sleep(POLL)
            if time.monotonic() - self._away > AWAY:
                raise StoryError(f"{gone} and was not back within {AWAY / 60:g} minutes")
            with contextlib.suppress(NoSoundDevice):
                self._sink.reopen()
                return

    def _speak(self, sentence: str, quoted: bool, index: int) -> None:
        start = self._frames / self.voice.rate

        def word(text: str, at: float) -> None:
            if self._on_word:
                self._on_word(text, start + at, index)

        def write(pcm: bytes) -> bool:
            going_on = self._write(pcm)
            self._live()
            self.stats.first_sound = self.stats.first_sound or time.monotonic()
            return going_on

        began = time.thread_time() - self._sink_time
        try:
            self.voice.speak(sentence, write, word, quoted)
        finally:
            self.stats.synthesis += time.thread_time() - self._sink_time - began
            if self._on_spoken:
                self._on_spoken(sentence, start, self.stats.audio, index)

    def _live(self) -> None:
        self.alive = time.monotonic()

    def _silence(self, seconds: float) -> None:
        if seconds > 0:
            self._write(bytes(BYTES * round(seconds * self.voice.rate)))

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
        self.stats.audio = self._frames / self.voice.rate
        self._clock = self.stats.audio - self._sink.delay(), time.monotonic()
        self.stats.xruns = self._sink.xruns
        return not self._stopped
