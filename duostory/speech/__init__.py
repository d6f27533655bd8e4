"""Speaking: voices (text to samples), sinks (samples to sound), and the player between them.

This room knows nothing of the model. Sound is signed 16 bit little-endian mono everywhere. Each backend is
imported when it is asked for, so that a silent story loads none.
"""

from os import PathLike

from duostory import StoryError
from duostory.speech.player import Player, PlayerStats, Voice
from duostory.speech.sinks import DeviceGone, NoSoundDevice, NullSink, Sink, WavSink

__all__ = [
    "DeviceGone",
    "NoSoundDevice",
    "Player",
    "PlayerStats",
    "Sink",
    "Voice",
    "WavSink",
    "open_sink",
    "open_voice",
]

VOICES = ("auto", "espeak", "pyttsx3")
SINKS = ("alsa", "wav", "null", "pyaudio")


def open_voice(name: str = "auto", *, voice: str = "en-us", rate_wpm: int = 155, pitch: int = 50) -> Voice:
    """Open the speech engine `name`, one of VOICES; "auto" is espeak, or else pyttsx3 where that works.

    `voice`, `rate_wpm` (80 to 450 words a minute) and `pitch` (0 to 99) are as in Espeak.
    Raises StoryError where there is no such engine or voice.
    """
    if name not in VOICES:
        raise StoryError(f'there is no speech engine "{name}": take one of {", ".join(VOICES)}')
    if name == "pyttsx3":
        from duostory.speech.pyttsx import Pyttsx

        return Pyttsx(voice, rate_wpm, pitch)
    from duostory.speech.espeak import Espeak, NoEspeak

    try:
        return Espeak(voice, rate_wpm, pitch)
    except NoEspeak:
        if name == "espeak":
            raise
        try:
            return open_voice("pyttsx3", voice=voice, rate_wpm=rate_wpm, pitch=pitch)
        except StoryError:
            pass  # what to install is in the first message
        raise


def open_sink(
    name: str, rate: int, *, device: str = "default", wav: str | PathLike[str] | None = None
) -> Sink:
    """Open the sink `name`, one of SINKS, for `rate` samples a second.

    `device` is for alsa (a name from `aplay -L`) and pyaudio (a part of a name); `wav` is the file for wav.
    Raises NoSoundDevice where a device does not open, StoryError where the file does not.
    """
    if name == "alsa":
        from duostory.speech.alsa import AlsaSink

        return AlsaSink(device, rate)
    if name == "pyaudio":
        from duostory.speech.portaudio import PortAudioSink

        return PortAudioSink(device, rate)
    if name == "wav" and wav:
        return WavSink(wav, rate)
    if name == "null":
        return NullSink(rate)
    raise StoryError(f'there is no sound output "{name}": take one of {", ".join(SINKS)}')
