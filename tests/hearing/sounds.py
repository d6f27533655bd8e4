"""Speech as a microphone would bring it, made here: espeak-ng's and flite's voices, noise, echo, bad levels.

Sound is float32 at 16 kHz, full scale 1; `pcm` makes samples of it. Everything is the same each time.
"""

import io
import shutil
import subprocess
import wave

import numpy as np

RATE = 16000
PEAK = 0.25  # of speech: -12 dBFS, a sensible gain
FLOOR = 5e-4  # of a quiet room and a microphone, rms: -66 dBFS, 50 dB below the speech's peaks

# (espeak-ng's voice, words a minute, pitch): five that the bars are set for, and more
FIVE = {
    "en-us 160": ("en-us", 160, 50),
    "en-us 130": ("en-us", 130, 50),
    "en-us 200": ("en-us", 200, 50),
    "en-us+f3 160": ("en-us+f3", 160, 50),
    "en-gb-x-rp 160": ("en-gb-x-rp", 160, 50),
}
MORE = {
    "en-us+f2 145": ("en-us+f2", 145, 60),
    "en-us+m3 150": ("en-us+m3", 150, 45),
    "en-us+klatt2 160": ("en-us+klatt2", 160, 50),
    "en-us+f4 150, high": ("en-us+f4", 150, 75),
    "en-gb-scotland 150": ("en-gb-scotland", 150, 50),
}
FLITE = ("kal16", "awb", "rms", "slt")


def say(text: str, voice: tuple[str, int, int] | str = FIVE["en-us 160"]) -> np.ndarray:
    """`text` spoken by a voice of espeak-ng, or by the flite voice of that name; 0.3 s of room before and after it."""
    sound, rate = _flite(text, voice) if isinstance(voice, str) else _espeak(text, voice)
    sound = resampled(sound, rate)
    sound *= PEAK / np.abs(sound).max()
    return roomy(sound, 0.3, 0.3)


def flite_voices() -> list[str]:
    """Those of FLITE that this machine's flite has."""
    if not shutil.which("flite"):
        return []
    told = subprocess.run(["flite", "-lv"], capture_output=True, text=True).stdout.split()
    return [voice for voice in FLITE if voice in told]


def _espeak(text: str, voice: tuple[str, int, int]) -> tuple[np.ndarray, int]:
    from duostory.speech.espeak import Espeak

    speaker, chunks = Espeak(*voice), []
    speaker.speak(text, lambda chunk: chunks.append(chunk) or True)
    return np.frombuffer(b"".join(chunks), "<i2").astype(np.float32) / 32768, speaker.rate


def _flite(text: str, voice: str) -> tuple[np.ndarray, int]:
    told = subprocess.run(["flite", "-voice", voice, "-t", text, "-o", "/dev/stdout"], capture_output=True, check=True)
    with wave.open(io.BytesIO(told.stdout)) as wav:
        return np.frombuffer(wav.readframes(wav.getnframes()), "<i2").astype(np.float32) / 32768, wav.getframerate()


def resampled(sound: np.ndarray, rate: int) -> np.ndarray:
    """`sound` at 16 kHz: its spectrum cut off, or continued with nothing."""
    size = round(len(sound) * RATE / rate)
    return (np.fft.irfft(np.fft.rfft(sound)[: size // 2 + 1], size) * (RATE / rate)).astype(np.float32)


def roomy(sound: np.ndarray, before: float, after: float) -> np.ndarray:
    """`sound` with so many seconds of a quiet room around it, and the room's noise below."""
    sound = np.concatenate([np.zeros(int(before * RATE)), sound, np.zeros(int(after * RATE))])
    return (sound + np.random.default_rng(1).normal(0, FLOOR, len(sound))).astype(np.float32)


# ------------------------------------------------------------------------------------------ what may happen to it


def pink(size: int, seed: int = 0) -> np.ndarray:
    """Pink noise: the same energy in every octave, from 20 Hz."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=size))
    frequencies = np.fft.rfftfreq(size, 1 / RATE)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies, 20)), size).astype(np.float32)


def babble(size: int) -> np.ndarray:
    """Four voices at once that tell something else."""
    texts = ["the children went to the garden and played with the red ball until it was time for dinner",
             "mother said that we can go to the market tomorrow if the weather is nice and sunny",
             "he opened the old wooden box and found a letter that nobody had ever read before",
             "please put your shoes away and wash your hands because your supper is on the table"]
    voices = [*FIVE.values()][:1] + [*MORE.values()][:3]
    together = np.zeros(size, np.float32)
    for text, voice in zip(texts, voices):
        together += np.resize(say(text, voice), size)
    return together


def mixed(sound: np.ndarray, noise: np.ndarray, decibels: float) -> np.ndarray:
    """`sound` with `noise` that is so many decibels below its speech (pauses are not counted)."""
    speech = sound[np.abs(sound) > 0.01 * np.abs(sound).max()]
    return sound + noise * np.sqrt(np.mean(speech**2) / np.mean(noise**2) / 10 ** (decibels / 10))


def echoing(sound: np.ndarray, seconds: float = 0.4) -> np.ndarray:
    """`sound` in a room whose echo takes so many seconds to fall by 60 dB; direct and reflected sound are equally loud."""
    times = np.arange(int(seconds * RATE)) / RATE
    tail = np.random.default_rng(2).normal(size=len(times)) * 10 ** (-3 * times / seconds)
    tail[: RATE // 200] = 0  # the first reflection comes after 5 ms
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] = 1
    size = len(sound) + len(tail)
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)[: len(sound)].astype(np.float32)


def clipped(sound: np.ndarray, decibels: float = 24) -> np.ndarray:
    """`sound` with so much more gain than its loudest sample has room for."""
    return np.clip(sound / np.abs(sound).max() * 10 ** (decibels / 20), -1, 1)


def quiet(sound: np.ndarray, decibels: float = 30) -> np.ndarray:
    return (sound * 10 ** (-decibels / 20)).astype(np.float32)


CONDITIONS = {
    "clean": lambda sound, seed: sound,
    "pink noise, 20 dB": lambda sound, seed: mixed(sound, pink(len(sound), seed), 20),
    "pink noise, 10 dB": lambda sound, seed: mixed(sound, pink(len(sound), seed), 10),
    "babble, 20 dB": lambda sound, seed: mixed(sound, babble(len(sound)), 20),
    "echo, 0.4 s": lambda sound, seed: echoing(sound),
    "clipped by 24 dB": lambda sound, seed: clipped(sound),
    "30 dB too quiet": lambda sound, seed: quiet(sound),
}


def pcm(sound: np.ndarray) -> bytes:
    """16 bit samples, little-endian, as sources give them."""
    return np.clip(np.rint(sound * 32767), -32768, 32767).astype("<i2").tobytes()
