"""A mouth: says a sentence now and then, and lets go of the sound device in between, so that a microphone can have it."""

import contextlib
import time
from collections.abc import Callable

from duostory.speech import earcons
from duostory.speech.player import AWAY, RETRY, Player, Voice
from duostory.speech.sinks import NoSoundDevice, NullSink, Sink


class Mouth:
    """Speaks with `voice`, at `volume` percent, on what `open_sink` opens: a device each time anew, a file once.

    With `signs` there are earcons on a device. Raises NoSoundDevice where the first one does not open. A device that has
    gone since is waited for, which is told to `notice`.
    """

    def __init__(self, voice: Voice, open_sink: Callable[[], Sink], volume: int, *, signs: bool = True,
                 notice: Callable[[str], None] = lambda _: None) -> None:
        self.volume = volume  # of what is said from now on
        self._voice, self._open, self._signs, self._notice = voice, open_sink, signs, notice
        self._next: Sink | None = open_sink()
        self._file = None if self._next.buffer else self._next

    def player(self, **options) -> Player:
        """A player for a story, with the `options` of Player, to be closed by whoever asks for it."""
        return Player(self._voice, self._sink(), volume=self.volume, notice=self._notice, **options)

    def say(self, text: str = "", earcon: str = "") -> None:
        """Say `text`, then play `earcon`, one of EARCONS. Returns when both have been heard. Raises StoryError."""
        earcon = earcon if self._signs and not self._file else ""
        if not (text or earcon):
            return
        with self.player() as player:
            if text:
                player.say(text)
            if earcon:
                player.play(earcons.samples(earcon, self._voice.rate))
            player.finish()

    def _sink(self) -> Sink:
        if self._file:
            return _Turn(self._file)
        sink, self._next = self._next or self._opened(), None
        return sink

    def _opened(self) -> Sink:
        with contextlib.suppress(NoSoundDevice):
            return self._open()
        self._notice("the sound device has gone; I wait until it is back")
        until = time.monotonic() + AWAY
        while time.monotonic() < until:
            time.sleep(RETRY)
            with contextlib.suppress(NoSoundDevice):
                return self._open()
        return self._open()

    def close(self) -> None:
        """Complete the file."""
        for sink in filter(None, (self._file, self._next)):
            sink.close()


class _Turn(NullSink):
    """A part of what a file holds: after it the file stays open."""

    def __init__(self, file: Sink) -> None:
        super().__init__(file.rate)
        self.write = file.write
