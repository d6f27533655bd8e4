"""Sound through PortAudio, for desktops where ALSA is not the way (PyAudio is an extra)."""

from duostory.speech.sinks import DeviceGone, NoSoundDevice

_CHUNK_S = 0.06  # one write at most, so that stop() is looked at often enough
_UNDERFLOW = -9980  # PortAudio's paOutputUnderflowed: the sound was taken, after a gap


class PortAudioSink:
    """Plays on the output device with `device` in its name ("default": the system's) at `rate` Hz.

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
                self.rate, 1, pyaudio.paInt16, output=True, output_device_index=self._index(self.device)
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
        step = 2 * int(self.rate * _CHUNK_S)
        for start in range(0, len(pcm), step):
            if self._stopped:
                return
            try:
                self._stream.write(pcm[start : start + step], exception_on_underflow=True)
            except OSError as error:
                if error.errno != _UNDERFLOW:
                    raise self._gone(error) from None
                self.xruns += 1

    def queued(self) -> float:
        try:
            return (self._frames - self._stream.get_write_available()) / self.rate
        except OSError as error:
            raise self._gone(error) from None

    def _gone(self, error: OSError) -> DeviceGone:
        self.close()
        return DeviceGone(self.device, error.args[-1])

    def drain(self) -> None:
        if not self._stopped:
            self._stream.stop_stream()  # waits for what is written; its buffer is a fraction of a second

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        if self._audio:
            if self._stream:
                self._stream.close()
            self._audio.terminate()
            self._audio = None
