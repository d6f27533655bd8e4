"""The microphone through PortAudio, for desktops where ALSA is not the way (PyAudio is an extra)."""

import time

from duostory import StoryError
from duostory.hearing.sources import BLOCK, RATE, NoMicrophone
from duostory.speech import portaudio


class PyAudioSource(portaudio.PortAudio):
    """Records from an input device. It does not count overruns, of which PyAudio tells nothing that leaves the stream open.

    Raises NoMicrophone where it does not open, DeviceGone where it fails later, StoryError where it stalls.
    """

    KIND, DIRECTION, PERIOD_S, UNOPENED = "microphone", "input", 0.1, NoMicrophone

    live = True
    overruns = 0

    def __init__(self, device: str) -> None:
        super().__init__(device, RATE)

    def reopen(self) -> None:
        super().reopen()
        self.buffer = self._stream.get_input_latency()

    def read(self) -> bytes:
        begun = time.monotonic()
        try:
            if self._stream.is_stopped():
                self._stream.start_stream()
            # A read that waits can't be interrupted.
            while (missing := BLOCK - self._stream.get_read_available()) > 0:
                if time.monotonic() - begun > portaudio.STALL_S:
                    raise StoryError(
                        f'the microphone "{self.device}" gives no sound any more; pull it out and plug it in again')
                time.sleep(missing / RATE)
            return self._stream.read(BLOCK, exception_on_overflow=False)
        except OSError as error:
            raise self._gone(error) from None

    def flush(self) -> None:
        try:
            if not self._stream.is_stopped():
                self._stream.stop_stream()
        except OSError as error:
            raise self._gone(error) from None
