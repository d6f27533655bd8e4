"""Sound through PortAudio, for desktops where ALSA is not the way (PyAudio is an extra)."""

import time

from duostory import StoryError
from duostory.speech.sinks import DeviceGone, NoSoundDevice

POLL_S = 0.05  # how long a wait may go without looking for stop()
STALL_S = 5.0  # a device that takes or gives nothing for this long is broken
BYTES = 2  # a sample


class PortAudio:
    """An open device of PortAudio with `device` in its name ("default": the system's), 16 bit mono, `rate` samples a second.

    Raises `UNOPENED` where PyAudio or the device is missing.
    """

    KIND: str  # what the device is called in messages,
    DIRECTION: str  # "input" or "output",
    PERIOD_S: float
    UNOPENED: type[StoryError]

    def __init__(self, device: str, rate: int) -> None:
        self.rate, self.device = rate, device
        self._audio = None
        self.reopen()

    def reopen(self) -> None:
        try:
            import pyaudio
        except ImportError:
            raise self.UNOPENED('PyAudio is not installed: "pip install duostory[desktop]", or use alsa') from None
        self._audio = pyaudio.PyAudio()  # a new one, for it lists the devices once
        self._stream = None
        try:
            which = {self.DIRECTION: True, f"{self.DIRECTION}_device_index": self._index(self.device)}
            self._stream = self._audio.open(self.rate, 1, pyaudio.paInt16, start=self.DIRECTION == "output",
                                            frames_per_buffer=int(self.rate * self.PERIOD_S), **which)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | ValueError):
                raise self.UNOPENED(f'the {self.KIND} "{self.device}" does not open ({error.args[0]})') from None
            raise

    def _index(self, device: str) -> int | None:
        if device == "default":
            return None
        for index in range(self._audio.get_device_count()):
            info = self._audio.get_device_info_by_index(index)
            if device in info["name"] and info[f"max{self.DIRECTION.title()}Channels"] > 0:
                return index
        raise self.UNOPENED(f'PortAudio has no {self.DIRECTION} device with "{device}" in its name')

    def _gone(self, error: OSError) -> DeviceGone:
        self.close()
        return DeviceGone(self.device, error.args[-1], self.KIND)

    def close(self) -> None:
        if self._audio:
            if self._stream:
                self._stream.close()
            self._audio.terminate()
            self._audio = None


class PortAudioSink(PortAudio):
    """Plays on an output device. It does not count xruns: PyAudio closes the stream when it reports one.

    Raises NoSoundDevice where it does not open, DeviceGone where it fails later, StoryError where it stalls.
    """

    KIND, DIRECTION, PERIOD_S, UNOPENED = "sound device", "output", 0.25, NoSoundDevice  # PortAudio's buffer: 3 periods

    def __init__(self, device: str, rate: int) -> None:
        self.xruns, self._stopped = 0, False
        super().__init__(device, rate)

    def reopen(self) -> None:
        super().reopen()
        self._frames = self._stream.get_write_available()  # it is empty now
        self.buffer = self._frames / self.rate

    def write(self, pcm: bytes) -> None:
        position, alive = 0, time.monotonic()
        while position < len(pcm) and not self._stopped:
            if not (free := BYTES * self._free()):
                if time.monotonic() - alive > STALL_S:
                    raise StoryError(f'the sound device "{self.device}" has stopped taking sound')
                time.sleep(POLL_S)
                continue
            try:
                self._stream.write(pcm[position : position + free])
            except OSError as error:
                raise self._gone(error) from None
            position, alive = position + free, time.monotonic()

    def _free(self) -> int:
        try:
            return self._stream.get_write_available()
        except OSError as error:
            raise self._gone(error) from None

    def queued(self) -> float:
        return (self._frames - self._free()) / self.rate

    def drain(self) -> None:
        end = time.monotonic() + self.buffer + STALL_S
        while not self._stopped and self.queued() > 0 and time.monotonic() < end:
            time.sleep(POLL_S)

    def stop(self) -> None:
        self._stopped = True
