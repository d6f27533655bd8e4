"""Listening: sources (a microphone or a file, to blocks of samples), what is heard in them, and buttons.

This room knows nothing of the model. Sound is signed 16 bit little-endian mono, RATE samples a second, in blocks of
30 ms. Each backend is imported when it is asked for. Nothing that is heard is kept or written unless the caller does.
"""

from os import PathLike

from duostory import StoryError
from duostory.hearing.sources import BLOCK, RATE, DeviceGone, NoMicrophone, Source, WavSource

__all__ = ["BLOCK", "RATE", "DeviceGone", "NoMicrophone", "Source", "WavSource", "open_source"]

SOURCES = ("alsa", "wav", "pyaudio")


def open_source(name: str, *, device: str = "default", wavs: tuple[str | PathLike[str], ...] = ()) -> Source:
    """Open the source `name`, one of SOURCES.

    `device` is for alsa (a name from `arecord -L`) and pyaudio (a part of a name); `wavs` are the files for wav.
    Raises NoMicrophone where a device does not open, StoryError where a file does not.
    """
    if name == "alsa":
        from duostory.hearing.alsa import AlsaSource

        return AlsaSource(device)
    if name == "pyaudio":
        from duostory.hearing.portaudio import PyAudioSource

        return PyAudioSource(device)
    if name == "wav" and wavs:
        return WavSource(*wavs)
    raise StoryError(f'there is no sound input "{name}": take one of {", ".join(SOURCES)}')
