"""The microphone, through libasound."""

import time
from errno import EAGAIN, ENODEV, EPIPE

from duostory._alsa import ffi
from duostory.hearing.sources import BLOCK, RATE, DeviceGone, NoMicrophone, stalled
from duostory.speech import alsa

_LEAST_S = 0.005  # that is worth sleeping for


class AlsaSource(alsa.Pcm):
    """Records from an ALSA device. Raises NoMicrophone where it does not open, and StoryError where it stalls."""

    KIND, INSTEAD, NAMES = "microphone", "give a recording with --mic-file", '"arecord -L" for the names of microphones'
    UNOPENED = NoMicrophone
    STREAM = 1  # SND_PCM_STREAM_CAPTURE
    PERIOD_US = BLOCK * 1_000_000 // RATE
    BUFFER_US = 4_000_000  # the recogniser makes up its mind between two reads

    live = True

    def __init__(self, device: str) -> None:
        super().__init__(device, RATE)
        self._block = ffi.new("int16_t[]", BLOCK)

    @property
    def overruns(self) -> int:
        return self.xruns

    def read(self) -> bytes:
        self._need()
        lib, position, alive = self._lib, 0, time.monotonic()
        while position < BLOCK:
            taken = lib.snd_pcm_readi(self._pcm, self._block + position, BLOCK - position)
            if taken >= 0:
                position += taken
                alive = time.monotonic()
            elif taken != -EAGAIN:
                self._recover(taken)
                self.xruns += taken == -EPIPE
            elif lib.snd_pcm_state(self._pcm) == lib.SND_PCM_STATE_DISCONNECTED:  # plugins may be silent about that
                self._recover(-ENODEV)
            elif time.monotonic() - alive > alsa.STALL_S:
                raise stalled(self.device)
            if position < BLOCK:
                time.sleep(max(_LEAST_S, (BLOCK - position) / RATE))
        return bytes(ffi.buffer(self._block))

    def flush(self) -> None:
        self._need()
        self._lib.snd_pcm_drop(self._pcm)
        if (result := self._lib.snd_pcm_prepare(self._pcm)) < 0:
            self._recover(result)

    def _need(self) -> None:
        if not self._pcm:
            raise DeviceGone(self.device, self._reason(-ENODEV), self.KIND)
