"""A sound card in real time, for machines that have none.

It stands where libasound stands in an AlsaSink: a buffer that empties at the pace of the clock, runs dry,
and fails when told to. An AlsaSink on a PulseAudio null sink, tried by hand, behaved the same.
"""

import errno
import time

from duostory.speech.alsa import AlsaSink, library


class Card:
    def __init__(self, make: type[AlsaSink]) -> None:
        self._make = make
        self._real = library()
        self._since: float | None = None  # when the sound that is in the buffer began to play
        self._queued = 0  # frames that were in the buffer at that time
        self.played = 0  # frames taken, which play or have played
        self.silent_at = 0.0  # time.monotonic() when the last taken frame ended, or was dropped
        self.speed = 1.0
        self.fail_next = 0  # an errno, for the next write
        self.recoverable = True
        self.recovered: list[int] = []
        self.dropped = False

    def sink(self, buffer: float, rate: int = 22050) -> AlsaSink:
        """An AlsaSink that plays on this card, which holds `buffer` seconds."""
        sink = self._make("null", rate)
        self.rate, self.size = rate, int(buffer * rate)
        sink._lib, sink._buffer = self, self.size
        return sink

    def __getattr__(self, name: str):  # snd_strerror and the constants
        return getattr(self._real, name)

    def _left(self) -> int:
        if self._since is None:
            return 0
        return self._queued - int((time.monotonic() - self._since) * self.rate * self.speed)

    def _dry(self) -> bool:
        return self._since is not None and self._left() < 0

    def snd_pcm_writei(self, pcm, samples, frames: int) -> int:
        if self.fail_next:
            code, self.fail_next = self.fail_next, 0
            return -code
        if self._dry():
            return -errno.EPIPE
        left = self._left()
        taken = min(frames, self.size - left)
        if taken == 0:
            return -errno.EAGAIN
        self._since, self._queued = time.monotonic(), left + taken
        self.played += taken
        self.silent_at = self._since + self._queued / self.rate
        return taken

    def snd_pcm_wait(self, pcm, milliseconds: int) -> int:
        time.sleep(milliseconds / 1000)
        return int(self._left() < self.size)

    def snd_pcm_avail(self, pcm) -> int:
        return -errno.EPIPE if self._dry() else self.size - self._left()

    def snd_pcm_recover(self, pcm, error: int, silent: int) -> int:
        self.recovered.append(error)
        if not self.recoverable:
            return error
        self._since = None
        return 0

    def snd_pcm_drain(self, pcm) -> int:
        return -errno.EAGAIN if self._left() > 0 else 0

    def snd_pcm_drop(self, pcm) -> int:
        self.dropped = True
        self.silent_at = min(self.silent_at, time.monotonic())
        self._since = None
        return 0
