"""Sound through PortAudio, for desktops where ALSA is not the way (PyAudio is an extra)."""

import time

from duostory import StoryError
from duostory.speech.sinks import DeviceGone, NoSoundDevice

PERIOD_S = 0.25  # PortAudio makes a buffer of three of these
POLL_S = 0.05  # how long a wait may go without looking for stop()
STALL_S = 5.0  # a device that takes nothing for this long is broken
BYTES = 2  # a sample


class PortAudioSink:
    """Plays on the output device with `device` in its name ("default": the system's) at `rate` Hz.

    It does not count xruns: PyAudio closes the stream when it reports one.
    Raises NoSoundDevice where PyAudio or the device is missing, DeviceGone where it fails later.
    """

    def __init__(self, device: str, rate: int) -> None:
        self.rate, self.xruns, self.device = rate, 0, device
        self._stopped = False
        self._audio = None
        self.reopen()

    def reopen(self) -> None:
        try:
            import pyaudio
        except ImportError:
            raise NoSoundDevice(
                'PyAudio is not installed: "pip install duostory[desktop]", or use alsa'
            ) from None
        self._audio = pyaudio.PyAudio()  # a new one, for it lists the devices once
        self._stream = None
        try:
            self._stream = self._audio.open(
                self.rate, 1, pyaudio.paInt16, output=True, output_device_index=self._index(self.device),
                frames_per_buffer=int(self.rate * PERIOD_S),
            )
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | ValueError):
                raise NoSoundDevice(
                    f'the sound device "{self.device}" does not open ({error.args[0]})'
                ) from None
            raise
        self._frames = self._stream.get_write_available()  # it is empty now
        self.buffer = self._frames / self.rate

    def _index(self, device: str) -> int | None:
        if device == "default":
            return None
        for index in range(self._audio.get_device_count()):
            info = self._audio.get_device_info_by_index(index)
            if device in info["name"] and info["maxOutputChannels"] > 0:
                return index
        raise NoSoundDevice(f'PortAudio has no output device with "{device}" in its name')

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

    def delay(self) -> float:
        return self.queued()  # it does not tell more

    def _gone(self, error: OSError) -> DeviceGone:
        self.close()
        return DeviceGone(self.device, error.args[-1])

    def drain(self) -> None:
        end = time.monotonic() + self.buffer + STALL_S
        while not self._stopped and self.queued() > 0 and time.monotonic() < end:
            time.sleep(POLL_S)

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        if self._audio:
            if self._stream:
                self._stream.close()
            self._audio.terminate()
            self._audio = None
