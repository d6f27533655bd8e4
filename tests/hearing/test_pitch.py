"""How high a voice is taken to be, and that children's and women's wishes are heard for it."""

import math
import random
from array import array

import pytest

from duostory.hearing import RATE
from duostory.hearing.pitch import pitch_of, warp_of


def pcm(samples) -> bytes:
    return array("h", (round(sample) for sample in samples)).tobytes()


def buzz(hertz: float, seconds: float = 1.0, loud: float = 8000) -> list[float]:
    """As vocal folds make it: all harmonics below 3 kHz, the higher the softer."""
    orders = range(1, int(3000 / hertz) + 1)
    return [loud * sum(math.sin(2 * math.pi * n * hertz * i / RATE) / n for n in orders) / 2 for i in range(int(seconds * RATE))]


def hiss(loud: float, seconds: float = 1.0) -> list[float]:
    draw = random.Random(1).gauss
    return [draw(0, loud) for _ in range(int(seconds * RATE))]


@pytest.mark.parametrize("hertz", [75, 100, 130, 180, 220, 260, 330, 400])
def test_the_pitch_of_a_buzz(hertz):
    silent = [0.0] * RATE
    noisy = [a + b for a, b in zip(buzz(hertz), hiss(300))]
    for samples in (buzz(hertz), silent + buzz(hertz) + silent, noisy, [sample / 100 for sample in buzz(hertz)]):
        assert pitch_of(pcm(samples)) == pytest.approx(hertz, rel=0.06)  # a step is 5 % at 220 Hz, and half of one is left


@pytest.mark.parametrize("samples", [[], [0] * RATE, [3000] * RATE, buzz(120, 0.05), hiss(1000), [32767] * 9])
def test_what_has_no_pitch(samples):
    assert pitch_of(pcm(samples)) == 0
    assert warp_of(pcm(samples)) == 1.1


def test_the_higher_the_shorter():
    """Within what throats can be."""
    found = [warp_of(pcm(buzz(hertz))) for hertz in (80, 120, 180, 260, 330, 400)]
    assert found == sorted(found) and found[0] == 1.0 and found[-1] <= 1.6
