"""Speech for microphones, and who listens to it."""

import wave

import pytest


@pytest.fixture
def speech(voice, tmp_path):
    """speech("a cat", 0.5, "and a dog") is a WAV file in which that is said, numbers being seconds of silence."""
    made = iter(range(100))

    def say(*parts) -> str:
        path = str(tmp_path / f"said-{next(made)}.wav")
        with wave.open(path, "wb") as file:
            file.setparams((1, 2, voice.rate, 0, "NONE", ""))
            for part in parts:
                if isinstance(part, str):
                    voice.speak(part, lambda pcm: file.writeframesraw(pcm) or True)
                else:
                    file.writeframesraw(bytes(2 * round(part * voice.rate)))
        return path

    return say


@pytest.fixture
def endpointer():
    pocketsphinx = pytest.importorskip("pocketsphinx")

    class Endpointer:
        def start(self) -> None:
            self._endpointer = pocketsphinx.Endpointer()

        def feed(self, block: bytes) -> str:
            self._endpointer.process(block)
            return "speech" if self._endpointer.in_speech else "silence"

    return Endpointer()
