"""Short sounds that say what the robot does when it is not speaking."""

from array import array
from math import pi, sin

# Notes: hertz, and seconds.
EARCONS = {
    "ready": ((392.0, 0.16), (523.3, 0.09), (659.3, 0.12)),  # a triad upwards: it can be used now
    "listening": ((659.3, 0.16),),  # one high note: your turn
    "thinking": ((392.0, 0.14), (523.3, 0.2)),  # rises by a fourth, like "hm-hm"
    "error": ((392.0, 0.16), (311.1, 0.22)),  # falls by a third, like "oh-oh"
}
PEAK = 3000  # of 32767; the loudest part of a sentence has about 24000
ATTACK = 0.15  # of a note; the rest of it dies away


def samples(name: str, rate: int) -> bytes:
    """The earcon, one of EARCONS, with `rate` samples a second."""
    sound = array("h")
    for pitch, seconds in EARCONS[name]:
        period = round(rate / pitch)
        wave = [sin(2 * pi * i / period) for i in range(period)]
        periods = round(seconds * pitch)
        # The loudness changes where the wave goes through zero, and so without a click.
        for number in range(periods):
            at = number / periods
            loudness = PEAK * (at / ATTACK if at < ATTACK else ((1 - at) / (1 - ATTACK)) ** 2)
            sound.extend(round(loudness * height) for height in wave)
    return sound.tobytes()
