"""The sound card, through libasound."""

import os
import time
from errno import EACCES, EAGAIN, EBUSY, EINTR, EINVAL, ENODEV, ENOENT, ENXIO, EPERM, EPIPE, ESTRPIPE

from duostory import StoryError
from duostory._alsa import ffi
from duostory.speech.sinks import DeviceGone, NoSoundDevice

POLL_S = 0.05  # how long a wait may go without looking for stop()
STALL_S = 5.0  # a card that takes or gives nothing for this long is broken
_LAST_S = 0.1  # what is left to snd_pcm_drain, which PulseAudio lets block after all
_BEYOND_S = 1.0  # more than that behind the buffer is no delay, but a plugin's mistake

_lib = None


def library():
    """libasound, loaded at first use, with its own messages on stderr turned off. Raises OSError where it is missing."""
    global _lib
    if _lib is None:
        _lib = ffi.dlopen("libasound.so.2")
        # alsa-lib wants a C function to hand its messages to, and a Python callback would be entered from
        # wherever C is. A function without arguments or effects does: every ABI that we run on lets a caller
        # pass more than is read.
        _lib.snd_lib_error_set_handler(ffi.cast("void *", ffi.addressof(_lib, "snd_asoundlib_version")))
    return _lib


def _why(code: int, reason: str) -> str:
    """Why a device does not open, from the errno of snd_pcm_open and its text."""
    if code == EBUSY:
        return "is in use by another program"
    if code in (EACCES, EPERM):
        return "may only be used by members of the group audio"
    if code in (ENOENT, ENODEV, ENXIO, EINVAL):
        return "does not exist"
    return f"does not open ({reason})"


class Pcm:
    """An open ALSA device ("default", or a name that `aplay -L` or `arecord -L` lists), 16 bit mono, `rate` samples a second.

    The device's own conversion makes that of whatever it has; "hw:" names are opened as "plughw:" for that.
    Raises `UNOPENED` where it does not open, later DeviceGone where it is lost.
    """

    KIND: str  # what the device is called in messages,
    INSTEAD: str  # what to do without one,
    NAMES: str  # where its names are listed,
    UNOPENED: type[StoryError]
    STREAM: int
    PERIOD_US: int
    BUFFER_US: int  # what the card holds at most: a busy core may make no gap

    def __init__(self, device: str, rate: int) -> None:
        self.rate, self.xruns, self.device = rate, 0, device
        self._stopped = False
        self._pcm = None
        try:
            self._lib = library()
        except OSError:
            raise self.UNOPENED("the sound library libasound.so.2 is missing: install it (Debian: libasound2), "
                                f"or {self.INSTEAD}") from None
        self.reopen()

    def reopen(self) -> None:
        self._pcm = self._open("plug" + self.device if self.device.startswith("hw:") else self.device)
        try:
            self._setup()
        except BaseException:
            self.close()
            raise

    def _unopened(self, why: str) -> StoryError:
        return self.UNOPENED(f'the {self.KIND} "{self.device}" {why}: {self.INSTEAD}, or see {self.NAMES}')

    def _open(self, name: str):
        lib, handle = self._lib, ffi.new("snd_pcm_t **")
        # "default" may be another card by now, and alsa-lib does not look again into all files that say so.
        lib.snd_config_update_free_global()
        # Not blocking: a busy device says so now, and no later call can hold up stop().
        result = lib.snd_pcm_open(handle, os.fsencode(name), self.STREAM, lib.SND_PCM_NONBLOCK)
        if result < 0:
            raise self._unopened(_why(-result, self._reason(result)))
        return handle[0]

    def _setup(self) -> None:
        lib, pcm = self._lib, self._pcm
        hw, sw = ffi.new("snd_pcm_hw_params_t **"), ffi.new("snd_pcm_sw_params_t **")
        lib.snd_pcm_hw_params_malloc(hw)
        lib.snd_pcm_sw_params_malloc(sw)
        try:
            self._check(lib.snd_pcm_hw_params_any(pcm, hw[0]))
            self._check(lib.snd_pcm_hw_params_set_access(pcm, hw[0], lib.SND_PCM_ACCESS_RW_INTERLEAVED))
            self._check(lib.snd_pcm_hw_params_set_format(pcm, hw[0], lib.SND_PCM_FORMAT_S16_LE))
            self._check(lib.snd_pcm_hw_params_set_channels(pcm, hw[0], 1))
            self._check(lib.snd_pcm_hw_params_set_rate(pcm, hw[0], self.rate, 0))
            time_us = ffi.new("unsigned int *", self.BUFFER_US)
            self._check(lib.snd_pcm_hw_params_set_buffer_time_near(pcm, hw[0], time_us, ffi.NULL))
            time_us[0] = self.PERIOD_US
            self._check(lib.snd_pcm_hw_params_set_period_time_near(pcm, hw[0], time_us, ffi.NULL))
            self._check(lib.snd_pcm_hw_params(pcm, hw[0]))
            # Sound starts with the first sample that is written or asked for, not when the buffer is full.
            self._check(lib.snd_pcm_sw_params_current(pcm, sw[0]))
            self._check(lib.snd_pcm_sw_params_set_start_threshold(pcm, sw[0], 1))
            self._check(lib.snd_pcm_sw_params(pcm, sw[0]))
            buffer, period = ffi.new("snd_pcm_uframes_t *"), ffi.new("snd_pcm_uframes_t *")
            self._check(lib.snd_pcm_get_params(pcm, buffer, period))
            self._frames: int = buffer[0]  # that fit in the device's buffer
            self.buffer = self._frames / self.rate
        finally:
            lib.snd_pcm_hw_params_free(hw[0])
            lib.snd_pcm_sw_params_free(sw[0])

    def _reason(self, result: int) -> str:
        return ffi.string(self._lib.snd_strerror(result)).decode(errors="replace")

    def _check(self, result: int) -> None:
        if result < 0:
            raise self._unopened(f"does not take {self.rate} Hz, 16 bit, one channel ({self._reason(result)})")

    def _recover(self, error: int) -> None:
        """Make the device ready again after it ran dry, or over, or slept; `error` is the negative errno that told.

        snd_pcm_recover would do the same, but wait whole seconds for a device that wakes up.
        """
        lib, pcm, result = self._lib, self._pcm, error
        if error == -EINTR:
            return
        if error == -EPIPE:
            result = lib.snd_pcm_prepare(pcm)
        elif error == -ESTRPIPE:
            while lib.snd_pcm_state(pcm) == lib.SND_PCM_STATE_SUSPENDED and not self._stopped:
                result = lib.snd_pcm_resume(pcm)
                if result not in (0, -EAGAIN):  # it cannot go on where it fell asleep, and has lost its sound
                    break
                time.sleep(POLL_S)
        if result < 0:
            self.close()  # at once, or a card that is plugged in again would get another number
            raise DeviceGone(self.device, self._reason(error), self.KIND)

    def close(self) -> None:
        if self._pcm:
            self._lib.snd_pcm_drop(self._pcm)
            self._lib.snd_pcm_close(self._pcm)
            self._pcm = None


class AlsaSink(Pcm):
    """Plays on an ALSA device. Raises NoSoundDevice where it does not open, and StoryError where it stalls."""

    KIND, INSTEAD, NAMES = "sound device", "write to a file with --wav", '"aplay -L" for the names of sound devices'
    UNOPENED = NoSoundDevice
    STREAM = 0  # SND_PCM_STREAM_PLAYBACK
    PERIOD_US, BUFFER_US = 50_000, 1_000_000

    def write(self, pcm: bytes) -> None:
        lib, left, at = self._lib, len(pcm) // 2, ffi.from_buffer("char[]", pcm)
        position, alive = 0, time.monotonic()
        while left and not self._stopped:
            taken = lib.snd_pcm_writei(self._pcm, at + 2 * position, left)
            if taken == -EAGAIN:
                if time.monotonic() - alive > STALL_S:
                    raise StoryError(f'the sound device "{self.device}" has stopped taking sound')
                # Not snd_pcm_wait: it begins anew with its time at each event of the device, and may never return.
                time.sleep(min(POLL_S, self.buffer / 4))
            elif taken < 0:
                self._recover(taken)
                self.xruns += taken == -EPIPE
            else:
                position, left, alive = position + taken, left - taken, time.monotonic()

    def queued(self) -> float:
        lib = self._lib
        free = lib.snd_pcm_avail(self._pcm)
        if lib.snd_pcm_state(self._pcm) == lib.SND_PCM_STATE_DISCONNECTED:  # plugins may be silent about that
            free = -ENODEV
        if free < 0:
            self._recover(free)
            return 0.0
        return (self._frames - free) / self.rate

    def delay(self) -> float:
        queued, frames = self.queued(), ffi.new("snd_pcm_sframes_t *")
        if self._lib.snd_pcm_delay(self._pcm, frames) < 0:  # it runs dry at this moment, or a plugin does not know
            return queued
        return min(max(queued, frames[0] / self.rate), queued + _BEYOND_S)

    def drain(self) -> None:
        end = time.monotonic() + self.buffer + STALL_S
        while not self._stopped and self.queued() > _LAST_S and time.monotonic() < end:
            time.sleep(POLL_S)
        heard = time.monotonic() + (0.0 if self._stopped else self.delay())
        # Not blocking, snd_pcm_drain starts the draining and says EAGAIN until it is done: the buffer is empty then.
        while not self._stopped and self._lib.snd_pcm_drain(self._pcm) == -EAGAIN and time.monotonic() < end:
            time.sleep(POLL_S)
        while not self._stopped and (left := heard - time.monotonic()) > 0:
            time.sleep(min(left, POLL_S))

    def stop(self) -> None:
        self._stopped = True
