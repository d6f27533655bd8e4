"""A mouth: says a sentence now and then, and lets go of the sound device in between, so that a microphone can have it."""

import time
from collections.abc import Callable

from duostory.speech import earcons
from duostory.speech.player import AWAY, RETRY, Player, Voice
from duostory.speech.sinks import NoSoundDevice, NullSink, Sink


class Mouth:
    """Speaks with `voice`, at `volume` percent, on `sink`: into a file, or on a device, which `reopen` opens for the next time.

    A device that has gone by then is waited for, which is told to `notice`. With `signs` there are earcons on a device.
    """

    def __init__(self, voice: Voice, sink: Sink, reopen: Callable[[], Sink], volume: int, *, signs: bool = True,
                 notice: Callable[[str], None] = lambda _: None) -> None:
        self.volume = volume  # of what is said from now on
        self._voice, self._reopen, self._signs, self._notice = voice, reopen, signs, notice
        self._file, self._next = (None, sink) if sink.buffer else (sink, None)

    def player(self, **options) -> Player:
        """A player for a story, with the `options` of Player, to be closed by whoever asks for it."""
        return Player(self._voice, self._sink(), volume=self.volume, notice=self._notice, **options)

    def say(self, text: str = "", earcon: str = "", meanwhile: Callable[[], object] | None = None) -> None:
        """Say `text`, then play `earcon`, one of EARCONS. Returns when both have been heard. Raises StoryError.

        What takes time may be done `meanwhile`: it is called when `text` has begun to sound, and the earcon waits for it.
        """
        earcon = earcon if self._signs and not self._file else ""
        if not (text or earcon):
            return
        utter(self.player(), text, earcon, meanwhile)

    def _sink(self) -> Sink:
        if self._file:
            return _Turn(self._file)
        sink, self._next = self._next, None
        until = None
        while not sink:
            try:
                sink = self._reopen()
            except NoSoundDevice as missing:
                if not until:
                    self._notice(f"{missing}; I wait until it is back")
                until = until or time.monotonic() + AWAY
                if time.monotonic() > until:
                    raise
                time.sleep(RETRY)
        return sink

    def close(self) -> None:
        """Complete the file."""
        if sink := self._file or self._next:
            sink.close()


def utter(player: Player, text: str, earcon: str, meanwhile: Callable[[], object] | None = None) -> None:
    """As Mouth.say(), with a player that is closed then."""
    with player:
        if text:
            player.say(text)
        if meanwhile:
            player.wait_for_sound()  # which would come later with two at work on one processor
            meanwhile()
        if earcon:
            player.play(earcons.samples(earcon, player.voice.rate))
        player.finish()


class _Turn(NullSink):
    """A part of what a file holds: after it the file stays open."""

    def __init__(self, file: Sink) -> None:
        super().__init__(file.rate)
        self.write = file.write
