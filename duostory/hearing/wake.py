"""The phrase that wakes the robot, for those who can't reach its button: pocketsphinx's search for a keyphrase.

Measured with eight voices of espeak-ng, the same with which the threshold was chosen among four. Of 60 times that the phrase
was said, 48 were heard in pink noise 20 dB below it and 50 at 10 dB; in white noise of -65 dBFS 40, and in a silence that
no room has (-90 dBFS) 31. In 33.5 minutes of stories in which nobody said it, it was heard 3 times. A button is the better way.
"""

import os

from duostory import StoryError
from duostory.hearing.grammar import WAKE, WAKE_DICTIONARY
from duostory.hearing.pocketsphinx import _Library, _open

_THRESHOLD = 1e-40  # with 1e-30: 47, 44, 32 and 19 of 60, and, fed without a pause, one false alarm in the same time


class WakePhrase:
    """Hears WAKE, and nothing else, in what is fed to it since start(). Raises as Recogniser."""

    def __init__(self) -> None:
        library, data = _open()
        dictionary = os.memfd_create("wake.dict")  # pocketsphinx wants a file
        try:
            os.write(dictionary, WAKE_DICTIONARY.encode())
            settings = {"hmm": str(data / "en-us"), "dict": f"/proc/self/fd/{dictionary}", "keyphrase": WAKE}
            self._decoder = (_LibraryDecoder if isinstance(library, _Library) else _WheelDecoder)(library, settings)
        finally:
            os.close(dictionary)
        self._begun = False

    def start(self) -> None:
        """Begin anew, as when somebody begins to speak."""
        if self._begun:
            self._decoder.end()
        self._decoder.start()
        self._begun = True

    def feed(self, pcm: bytes) -> bool:
        """Whether the phrase has been said by now."""
        return self._decoder.feed(pcm)

    def close(self) -> None:
        self._decoder.close()


class _LibraryDecoder:
    def __init__(self, library: _Library, settings: dict[str, str]) -> None:
        self._ffi, self._lib = ffi, lib = library.ffi, library.lib
        config = ffi.gc(lib.ps_config_init(ffi.NULL), lib.ps_config_free)
        for name, value in settings.items():
            lib.ps_config_set_str(config, name.encode(), os.fsencode(value))
        lib.ps_config_set_str(config, b"lm", ffi.NULL)
        lib.ps_config_set_float(config, b"kws_threshold", _THRESHOLD)
        self._decoder = lib.ps_init(config)
        if not self._decoder:
            raise _unreadable(settings)

    def start(self) -> None:
        self._lib.ps_start_utt(self._decoder)

    def feed(self, pcm: bytes) -> bool:
        self._lib.ps_process_raw(self._decoder, self._ffi.from_buffer("short[]", pcm), len(pcm) // 2, 0, 0)
        return bool(self._lib.ps_get_hyp(self._decoder, self._ffi.new("int *")))

    def end(self) -> None:
        self._lib.ps_end_utt(self._decoder)

    def close(self) -> None:
        if self._decoder:
            self._lib.ps_free(self._decoder)
            self._decoder = None


class _WheelDecoder:
    def __init__(self, _, settings: dict[str, str]) -> None:
        from pocketsphinx import Decoder

        try:
            self._decoder = Decoder(**settings, kws_threshold=_THRESHOLD, lm=None, loglevel="FATAL")
        except (RuntimeError, ValueError):
            raise _unreadable(settings) from None

    def start(self) -> None:
        self._decoder.start_utt()

    def feed(self, pcm: bytes) -> bool:
        self._decoder.process_raw(pcm, False, False)
        return self._decoder.hyp() is not None

    def end(self) -> None:
        self._decoder.end_utt()

    def close(self) -> None:
        self._decoder = None


def _unreadable(settings: dict[str, str]) -> StoryError:
    return StoryError(f"pocketsphinx cannot read its acoustic model in {settings['hmm']}")
