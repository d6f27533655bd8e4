"""Where sound goes: the one interface of all sinks, and the two that need no device."""

import itertools
import math
import os
import wave
from pathlib import Path
from typing import Protocol

from duostory import StoryError


class NoSoundDevice(StoryError):
    """A sound device cannot be opened; a WAV file would still work."""


class DeviceGone(StoryError):
    """A sound device, or another `kind`, that did work is unplugged, or otherwise lost. What it still held is lost, too."""

    def __init__(self, device: str, reason: str, kind: str = "sound device") -> None:
        self.device = device
        super().__init__(f'the {kind} "{device}" has gone ({reason})')


class Sink(Protocol):
    """Takes signed 16 bit little-endian mono samples. Only `stop` may be called from another thread.

    After a DeviceGone, which all but `stop` and `close` may raise, nothing is allowed but these two and reopen().
    """

    rate: int  # samples a second
    xruns: int  # how often the device ran dry in the middle of sound
    buffer: float  # seconds of sound that the device holds at most

    def write(self, pcm: bytes) -> None:
        """Take all of `pcm`, waiting while the device's buffer is full. Returns at once after stop()."""

    def queued(self) -> float:
        """Seconds of sound that the device still holds; infinite where it never runs dry.

        0.0 also after it ran dry, which is then forgiven: whoever asks has nothing to say at the moment.
        """

    def drain(self) -> None:
        """Wait until the last sample has sounded, or stop()."""

    def reopen(self) -> None:
        """Try once to open a device that has gone. Raises NoSoundDevice while it is not back."""

    def stop(self) -> None:
        """Make a write or drain under way return within 0.1 s. Only sets a flag: safe in a signal handler."""

    def close(self) -> None:
        """Let the device go; after stop() or without drain() it falls silent at once."""


class NullSink:
    """Swallows sound."""

    xruns = 0
    buffer = 0.0

    def __init__(self, rate: int) -> None:
        self.rate = rate

    def write(self, pcm: bytes) -> None:
        pass

    def queued(self) -> float:
        return math.inf

    def drain(self) -> None:
        pass

    def reopen(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


class WavSink(NullSink):
    """Writes a WAV file, which appears under its name, complete, when the sink is closed.

    A story stopped in the middle leaves what was spoken until then; one that was never heard, or did not
    fit on the disk, leaves no file. With `new` no other file is replaced, not even one that is begun at the
    same moment: where there is a story.wav, this one is story-2.wav, as `path` says.
    """

    def __init__(self, path: str | os.PathLike[str], rate: int, *, new: bool = False) -> None:
        super().__init__(rate)
        self.path, self._empty = path, new  # whether the file there is only our empty one
        try:
            if new:
                self.path = _take_free_name(path)
            self._final = Path(os.path.realpath(self.path))  # a link keeps pointing to the file
            self._part = self._final.with_name(f".{self._final.name}.{os.getpid()}.part")
            if self._final.exists() and not self._final.is_file():
                raise StoryError(f"cannot write a WAV file to {path}: it is not a regular file")
            self._file = open(self._part, "wb")
        except OSError as error:
            raise self._failure(error) from None
        self._keep = False  # there is sound in it, all of it
        self._wav = wave.open(self._file, "wb")
        self._wav.setparams((1, 2, rate, 0, "NONE", "not compressed"))

    def _failure(self, error: OSError) -> StoryError:
        return StoryError(f"cannot write the WAV file {self.path}: {error.strerror}")

    def write(self, pcm: bytes) -> None:
        try:
            self._wav.writeframesraw(pcm)
            self._keep = True
        except OSError as error:
            self._keep = False
            raise self._failure(error) from None

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            with self._file:
                self._wav.close()  # completes the header
            if self._keep:
                os.replace(self._part, self._final)
                self._empty = False
        except OSError as error:
            raise self._failure(error) from None
        finally:
            self._part.unlink(missing_ok=True)
            if self._empty:
                self._final.unlink(missing_ok=True)


def _take_free_name(path: str | os.PathLike[str]) -> str:
    """Make an empty file under a free name: `path`, or else that with -2, -3 ... before its ending."""
    stem, ending = os.path.splitext(path)
    for number in itertools.count(1):
        name = f"{stem}{'' if number == 1 else f'-{number}'}{ending}"
        try:
            open(name, "xb").close()
            return name
        except FileExistsError:
            pass
