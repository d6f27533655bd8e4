"""Where sound comes from: the one interface of all sources, and the one that needs no device."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from math import cos, gcd, pi, sin
from operator import mul
from typing import BinaryIO, Protocol

from duostory import StoryError
from duostory.speech.sinks import DeviceGone

__all__ = ["BLOCK", "RATE", "SECONDS", "DeviceGone", "NoMicrophone", "Source", "WavSource"]

RATE = 16000  # samples a second
BLOCK = 480  # samples that are read at once, 30 ms
SECONDS = BLOCK / RATE
_BYTES = 2 * BLOCK


class NoMicrophone(StoryError):
    """A microphone cannot be opened; a file would still work."""


def stalled(device: str) -> StoryError:
    return StoryError(f'the microphone "{device}" gives no sound any more; pull it out and plug it in again')


class Source(Protocol):
    """Gives signed 16 bit little-endian mono samples, RATE a second.

    A microphone listens from the first read() after it is opened or flushed, and what is not fetched within `buffer`
    seconds is lost. After a DeviceGone read() and flush() raise it again until reopen() has succeeded.
    """

    live: bool  # a microphone, whose time is ours; a file is read as fast as it is asked for
    overruns: int  # how often sound was lost because nobody fetched it
    buffer: float  # seconds of sound that the device keeps at most; infinite for a file

    def read(self) -> bytes:
        """The next BLOCK samples, waiting for them. b"" at the end of a file, and only there."""

    def flush(self) -> None:
        """Forget what was captured, as while the robot spoke, and stop capturing until the next read(). A file loses
        nothing."""

    def reopen(self) -> None:
        """Try once to open a device that has gone. Raises NoMicrophone while it is not back."""

    def close(self) -> None:
        """Let the device go."""


class WavSource:
    """What WAV files hold, one after another, each followed by PAUSE_S of silence, in which one notices that it is over.

    PCM of 8, 16, 24 or 32 bits, any number of channels, which are mixed, any rate of RATES, which is converted.
    Raises StoryError for a file that is something else.
    """

    PAUSE_S = 1.2

    live = False
    overruns = 0
    buffer = float("inf")

    def __init__(self, *paths: str | os.PathLike[str]) -> None:
        self._wavs = [_Wav(path) for path in paths]  # all at once, so that a bad one is said now
        self._blocks = self._cut()

    def _cut(self) -> Iterator[bytes]:
        silence = bytes(_BYTES)
        for wav in self._wavs:
            left = b""
            for pcm in wav.samples():
                left += pcm
                while len(left) >= _BYTES:
                    yield left[:_BYTES]
                    left = left[_BYTES:]
            if left:
                yield left.ljust(_BYTES, b"\0")
            for _ in range(round(self.PAUSE_S / SECONDS)):
                yield silence

    def read(self) -> bytes:
        return next(self._blocks, b"")

    def flush(self) -> None:
        pass

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        self._blocks = iter(())
        for wav in self._wavs:
            wav.close()


# --- WAV files ------------------------------------------------------------------------------------

RATES = range(4000, 192001)
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_FORM = 40  # bytes, of which the longest description of the samples consists
_PIECE = 4096  # frames that are read at once
_FLIP = bytes(byte ^ 0x80 for byte in range(256))  # samples of 8 bits are the only ones without a sign


class _Wav:
    """One open file. The module wave does not read the header of 24 bits that many recorders write."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        try:
            self._file: BinaryIO = open(path, "rb")
            try:
                self._parse()
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise StoryError(f"cannot read the recording {self._path}: {error.strerror}") from None

    def _bad(self, why: str) -> StoryError:
        return StoryError(f"the recording {self._path} {why}")

    def _parse(self) -> None:
        """Read up to the samples, and set channels, width (bytes a sample), rate and left (bytes of samples)."""
        file = self._file
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            raise self._bad("is not a WAV file; most players can save it as one")
        form = b""
        while len(chunk := file.read(8)) == 8:
            name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
            if name == b"data":
                break
            left = size + size % 2
            if name == b"fmt ":
                form = file.read(min(left, _FORM))
                left -= len(form)
            while left and (skipped := file.read(min(left, _PIECE))):
                left -= len(skipped)
        else:
            raise self._bad("holds no sound; record it again")
        if len(form) < 16:
            raise self._bad("does not say what kind of sound it holds; record it again")
        kind, self._channels = (int.from_bytes(form[at : at + 2], "little") for at in (0, 2))
        self._rate, bits = int.from_bytes(form[4:8], "little"), int.from_bytes(form[14:16], "little")
        if kind == _EXTENSIBLE:
            kind = int.from_bytes(form[24:26], "little")
        self._width = bits // 8
        if kind != _PCM or bits not in (8, 16, 24, 32):
            held = "floating point" if kind == _FLOAT else f"PCM of {bits} bits" if kind == _PCM else "compressed"
            raise self._bad(f"holds {held} sound; save it as PCM of 16 bits")
        if self._rate not in RATES or not self._channels:
            raise self._bad(f"has {self._channels} channels and {self._rate} samples a second; it takes at least one "
                            f"channel, and {RATES[0]} to {RATES[-1]} samples")
        self._left = size  # of a stream, which did not know its length, a number too large

    def samples(self) -> Iterator[bytes]:
        """All of it in pieces, with RATE samples a second."""
        convert = _Resampler(self._rate) if self._rate != RATE else None
        while piece := self._piece():
            yield convert(piece).tobytes() if convert else piece.tobytes()
        if convert:
            yield convert(array("h", bytes(2 * convert.delay))).tobytes()

    def _piece(self) -> array:
        """Some samples of one channel; none at the end."""
        frame = self._width * self._channels
        try:
            data = self._file.read(min(self._left, _PIECE * frame))
        except OSError as error:
            raise StoryError(f"cannot read the recording {self._path}: {error.strerror}") from None
        self._left -= len(data)
        data = data[: len(data) // frame * frame]
        # The upper 16 bits of each sample are all that is wanted.
        upper = bytearray(2 * (len(data) // self._width))
        upper[1::2] = data[self._width - 1 :: self._width].translate(_FLIP if self._width == 1 else None)
        if self._width > 1:
            upper[0::2] = data[self._width - 2 :: self._width]
        mixed = array("h", bytes(upper))
        if self._channels > 1:
            each = (mixed[channel :: self._channels] for channel in range(self._channels))
            mixed = array("h", (sum(frame) // self._channels for frame in zip(*each)))
        return mixed

    def close(self) -> None:
        self._file.close()


class _Resampler:
    """To RATE samples a second from `rate`: a band-limited interpolation with a Hann-windowed sinc.

    Of the half of the lower rate, the first 0.85 pass (-0.3 dB), and what is above 1.025 is damped by 40 dB and more.
    """

    CROSSINGS = 16  # zeros of the sinc on either side

    def __init__(self, rate: int) -> None:
        common = gcd(rate, RATE)
        self._step, self._phases = rate // common, RATE // common  # of one sample of ours, in 1/phases of one of theirs
        self._band = 0.925 * min(1.0, RATE / rate)  # that passes, of theirs
        self.delay = int(self.CROSSINGS / self._band) + 1  # theirs
        self._taps: dict[int, array] = {}  # by phase
        self._kept = array("h", bytes(2 * (self.delay - 1)))
        self._at = 0  # where our next sample lies behind the first whole window, in 1/phases

    def _filter(self, phase: int) -> array:
        """Weights of the 2 * delay samples around one that lies phase/phases behind the middle."""
        taps = array("d")
        for place in range(1 - self.delay, self.delay + 1):
            away = (place - phase / self._phases) * self._band
            inside = abs(away) < self.CROSSINGS
            height = (sin(pi * away) / (pi * away) if away else 1.0) if inside else 0.0
            taps.append(height * self._band * (0.5 + 0.5 * cos(pi * away / self.CROSSINGS)))
        total = sum(taps)
        return array("d", (tap / total for tap in taps))

    def __call__(self, samples: array) -> array:
        """Ours, as far as what has come reaches; they come `delay` of theirs later."""
        kept, out, width = self._kept + samples, array("h"), 2 * self.delay
        while (first := self._at // self._phases) + width <= len(kept):
            phase = self._at % self._phases
            taps = self._taps.get(phase) or self._taps.setdefault(phase, self._filter(phase))
            value = round(sum(map(mul, taps, kept[first : first + width])))
            out.append(min(max(value, -32768), 32767))
            self._at += self._step
        self._kept, self._at = kept[first:], self._at - first * self._phases
        return out
