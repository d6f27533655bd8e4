"""A mouth: says a sentence now and then, and lets go of the sound device in between, so that a microphone can have it."""

from collections.abc import Callable

from duostory.speech import earcons
from duostory.speech.player import Player, Voice
from duostory.speech.sinks import NullSink, Sink


class Mouth:
    """Speaks with `voice`, at `volume` percent, on what `open_sink` opens: a device each time anew, a file once.

    With `signs` there are earcons on a device.
    """

    def __init__(self, voice: Voice, open_sink: Callable[[], Sink], volume: int, *, signs: bool = True) -> None:
        self.volume = volume  # of what is said from now on
        self._voice, self._open, self._signs = voice, open_sink, signs
        self._file: Sink | None = None

    def player(self, **listeners) -> Player:
        """A player for a story of its own, which whoever asks for it closes. Raises NoSoundDevice; `listeners` are those
        of Player."""
        return Player(self._voice, self._sink(), volume=self.volume, **listeners)

    def say(self, text: str = "", earcon: str = "") -> None:
        """Say `text`, then play `earcon`, one of EARCONS. Returns when both have been heard. Raises StoryError.

        When a signal's exception ends it, it is silent within 0.2 s.
        """
        with self.player() as player:
            if text:
                player.say(text)
            if earcon and self._signs and player.on_device:
                player.play(earcons.samples(earcon, self._voice.rate))
            player.finish()

    def _sink(self) -> Sink:
        if self._file:
            return _Turn(self._file)
        sink = self._open()
        if sink.buffer:
            return sink
        self._file = sink
        return _Turn(sink)

    def close(self) -> None:
        """Complete the file."""
        if self._file:
            self._file.close()


class _Turn(NullSink):
    """A part of what a file holds: after it the file stays open."""

    def __init__(self, file: Sink) -> None:
        super().__init__(file.rate)
        self.write = file.write
