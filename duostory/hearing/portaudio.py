"""The microphone through PortAudio, for desktops where ALSA is not the way (PyAudio is an extra)."""

import time

from duostory.hearing.sources import BLOCK, RATE, DeviceGone, NoMicrophone, stalled
from duostory.speech import portaudio

_STUCK_S = 0.5  # after an overrun PortAudio has nothing more until a read, which can't be interrupted, or a new start


class PyAudioSource(portaudio.PortAudio):
    """Records from an input device.

    Raises NoMicrophone where it does not open, DeviceGone where it fails later, StoryError where it stalls.
    """

    KIND, DIRECTION, PERIOD_S, UNOPENED = "microphone", "input", 0.1, NoMicrophone

    live = True

    def __init__(self, device: str) -> None:
        self.overruns = 0
        super().__init__(device, RATE)

    def reopen(self) -> None:
        super().reopen()
        self.buffer = self._stream.get_input_latency()

    def read(self) -> bytes:
        self._need()
        begun = started = time.monotonic()
        try:
            if self._stream.is_stopped():
                self._stream.start_stream()
            while (missing := BLOCK - self._stream.get_read_available()) > 0:
                now = time.monotonic()
                if now - begun > portaudio.STALL_S:
                    raise stalled(self.device)
                if now - started > _STUCK_S:
                    self._stream.stop_stream()
                    self._stream.start_stream()
                    self.overruns, started = self.overruns + 1, now
                time.sleep(min(missing / RATE, portaudio.POLL_S))
            return self._stream.read(BLOCK, exception_on_overflow=False)
        except OSError as error:
            raise self._gone(error) from None

    def flush(self) -> None:
        self._need()
        try:
            if not self._stream.is_stopped():
                self._stream.stop_stream()
        except OSError as error:
            raise self._gone(error) from None

    def _need(self) -> None:
        if not self._audio:
            raise DeviceGone(self.device, "it is not open", self.KIND)
