"""How loud it is: what a microphone gives, in decibels below the loudest that there is (dBFS), and what to say about it."""

from __future__ import annotations

import contextlib
import os
import sys
from math import log10

from duostory._engine import ffi, lib

FLOOR = -96.0  # dBFS; half a unit is the least that 16 bits can show
SILENT = -66.0  # peak, dBFS: a microphone that is alive is louder than this in the most silent room
QUIET = -40.0  # rms of the loudest block, dBFS: 5 dB below this the endpointer begins to miss words
CLIPPED = 0.002  # of the samples at the limit: more than one sharp consonant makes


def decibels(amplitude: float) -> float:
    """`amplitude` (0 to 32768) in dBFS, FLOOR or more."""
    return max(FLOOR, 20 * log10(amplitude / 32768)) if amplitude > 0 else FLOOR


class Level:
    """The level of all blocks that were added; a constant offset, as cheap converters have, does not count.

    peak     the farthest sample, dBFS
    rms      of the last block, dBFS, where a full square wave has 0 and a full sine -3
    loudest  rms of the loudest block, dBFS
    """

    def __init__(self) -> None:
        self.peak = self.rms = self.loudest = FLOOR
        self._samples = self._full = 0

    def add(self, block: bytes) -> None:
        n = len(block) // 2
        if not n:
            return
        level = lib.duo_level_of(ffi.from_buffer("int16_t[]", block), n)
        mean = level.sum / n
        self.rms = decibels(max(0.0, level.squares / n - mean * mean) ** 0.5)
        self.peak = max(self.peak, decibels(max(level.high - mean, mean - level.low)))
        self.loudest = max(self.loudest, self.rms)
        self._samples += n
        self._full += level.full

    @property
    def verdict(self) -> str:
        """"silent" (the microphone is dead or muted), "quiet", "clipped" or "fine"."""
        if self.peak < SILENT:
            return "silent"
        if self._full > CLIPPED * self._samples:
            return "clipped"
        return "quiet" if self.loudest < QUIET else "fine"

    @property
    def hint(self) -> str:
        """One sentence on what to do about it; none if all is well."""
        return _HINTS[self.verdict].format(self=self)


_HINTS = {
    "silent": "the microphone gives no sound: is it muted? (`alsamixer` shows and sets that, F4 for recording)",
    "quiet": "the microphone is too quiet ({self.loudest:.0f} dBFS): turn its gain up, or come closer",
    "clipped": "the microphone is overdriven: turn its gain down, or step back",
    "fine": "",
}


class Meter:
    """A bar on a terminal, for stderr, as long as it is loud. Where there is no such terminal it shows nothing."""

    CELLS = 24
    LEAST = -60.0  # dBFS of an empty bar
    EVERY = 4  # blocks

    def __init__(self, stream=None, environ=os.environ) -> None:
        self._stream = stream or sys.stderr
        self._shown = bool(self._stream and self._stream.isatty() and environ.get("TERM", "dumb") != "dumb")
        self._colours = not environ.get("NO_COLOR")
        self._blocks, self._most = 0, FLOOR

    def show(self, rms: float, clipped: bool = False) -> None:
        """After each block: its rms in dBFS."""
        if not self._shown:
            return
        self._most = max(self._most, rms)
        self._blocks += 1
        if self._blocks % self.EVERY == 0:
            full = min(self.CELLS, max(0, round((1 - self._most / self.LEAST) * self.CELLS)))
            bar = "#" * full
            if self._colours:
                bar = f"\x1b[{31 if clipped else 33 if self._most < QUIET else 32}m{bar}\x1b[m"
            self._write(f"\r[{bar}{' ' * (self.CELLS - full)}]")
            self._most = FLOOR

    def clear(self) -> None:
        """Take the bar away."""
        if self._shown and self._blocks:
            self._write("\r\x1b[K")
            self._blocks = 0

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()
