"""The fallback voice on desktops: pyttsx3, which drives whatever the system speaks with.

It can only save a whole utterance to a file, so a sentence sounds later than with espeak-ng in process,
and there are no word events.
"""

import os
import sys
import tempfile
import wave
from collections.abc import Callable

from duostory import StoryError
from duostory.speech.text import spoken

_CHUNK_S = 0.06


class Pyttsx:
    """A voice of pyttsx3, with the settings of Espeak as far as the system's engine has them.

    Raises StoryError where pyttsx3 or its engine is missing.
    """

    tells_words = False

    def __init__(self, voice: str, rate_wpm: int, pitch: int) -> None:
        try:
            import pyttsx3
        except ImportError:
            raise StoryError(
                'the voice pyttsx3 is not installed: use the voice espeak, or "pip install duostory[desktop]"'
            ) from None
        try:
            self._engine = pyttsx3.init()
        except Exception as error:  # it has no error class of its own
            raise StoryError(f"the voice pyttsx3 finds no speech engine on this system ({error})") from None
        # Its Linux driver prints a line to stdout for each file, and stdout is the story. Redirecting stdout
        # would swallow the story that another thread prints, so only that module gets a print of its own.
        if driver := sys.modules.get("pyttsx3.drivers.espeak"):
            driver.print = lambda *_: None
        for name, value in (("voice", voice), ("pitch", pitch)):
            self._engine.setProperty(name, value)
        self.rate_wpm = rate_wpm
        self.version = "pyttsx3"
        self.rate = self._render("Hello.")[0]

    def _render(self, text: str) -> tuple[int, bytes]:
        """Samples a second, and the samples."""
        handle, path = tempfile.mkstemp(suffix=".wav", prefix="duostory-")
        os.close(handle)
        try:
            self._engine.setProperty("rate", self.rate_wpm)
            self._engine.save_to_file(text, path)
            self._engine.runAndWait()
            with wave.open(path) as wav:
                if (wav.getnchannels(), wav.getsampwidth()) != (1, 2):
                    raise StoryError(
                        "the voice pyttsx3 does not make 16 bit mono sound here: use the voice espeak"
                    )
                return wav.getframerate(), wav.readframes(wav.getnframes())
        except (OSError, EOFError, wave.Error, RuntimeError, ValueError) as error:
            raise StoryError(f"the voice pyttsx3 could not speak ({error})") from None
        finally:
            os.unlink(path)

    def speak(
        self,
        text: str,
        write: Callable[[bytes], bool],
        on_word: Callable[[str, float], None] | None = None,
        quoted: bool = False,
    ) -> None:
        """Like Espeak.speak, but on_word is never called, and all is in one pitch."""
        if not (text := spoken(text)).strip():
            return
        pcm = self._render(text)[1]
        step = 2 * int(self.rate * _CHUNK_S)
        for start in range(0, len(pcm), step):
            if not write(pcm[start : start + step]):
                return
