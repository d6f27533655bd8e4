"""How loud it is, and what a user is told about it."""

import io
import math
import random
from array import array

import pytest

from duostory._engine import ffi, lib
from duostory.hearing import BLOCK, RATE
from duostory.hearing.level import FLOOR, Level, Meter


def level(samples) -> Level:
    found, pcm = Level(), array("h", samples).tobytes()
    for start in range(0, len(pcm), 2 * BLOCK):
        found.add(pcm[start : start + 2 * BLOCK])
    return found


def sine(dbfs: float, offset: int = 0) -> list[int]:
    """One second of which the peak is `dbfs`."""
    height = 32767 * 10 ** (dbfs / 20)
    return [round(height * math.sin(2 * math.pi * 500 * i / RATE)) + offset for i in range(RATE)]


def noise(dbfs: float) -> list[int]:
    """One second of which the rms is `dbfs`."""
    draw = random.Random(1).gauss
    return [round(draw(0, 32768 * 10 ** (dbfs / 20))) for _ in range(RATE)]


@pytest.mark.parametrize("dbfs", [0, -6, -20, -40, -60])
@pytest.mark.parametrize("offset", [0, 3000, -3000])
def test_a_sine_has_its_level_whatever_its_offset(dbfs, offset):
    if dbfs == 0:
        offset = 0
    found = level(sine(dbfs, offset))
    assert found.peak == pytest.approx(dbfs, abs=0.1)
    # Rounding to whole units is a noise of its own, which counts at -60 dBFS.
    assert found.rms == found.loudest == pytest.approx(dbfs - 3.01, abs=0.1)


def test_the_extremes():
    assert level([]).rms == level([0] * RATE).peak == level([-32768] * RATE).rms == FLOOR
    square = level([32767, -32768] * RATE)
    assert (square.rms, square.peak) == (pytest.approx(0, abs=0.001), pytest.approx(0, abs=0.001))
    assert level([32767] * 100 + [-32768] * 100).verdict == "clipped"
    odd = Level()
    odd.add(b"\0" * 3)  # half a sample is none
    assert odd.peak == FLOOR


@pytest.mark.parametrize("samples, verdict", [
    ([0] * RATE, "silent"),  # a muted one
    ([12345] * RATE, "silent"),  # a dead one with an offset
    ([random.Random(1).randint(-3, 3) for _ in range(RATE)], "silent"),  # an open plug
    (noise(-62), "quiet"),  # a room, and nobody there
    (noise(-62) + sine(-42), "quiet"),
    (noise(-62) + sine(-20), "fine"),
    (noise(-62) + sine(-1), "fine"),
    (noise(-40) + sine(0), "clipped"),
    (noise(-62) + [max(-32768, min(32767, 4 * sample)) for sample in sine(0)] + 7 * noise(-62), "clipped"),
])
def test_what_is_said_about_a_level(samples, verdict):
    found = level(samples)
    assert found.verdict == verdict
    assert bool(found.hint) == (verdict != "fine") and "\n" not in found.hint


def test_one_click_is_not_clipping():
    assert level(noise(-40) + [32767] * 20 + sine(-12)).verdict == "fine"


def test_the_c_function_against_python():
    draw = random.Random(2)
    for n in (1, 2, 3, 15, 16, 17, BLOCK):
        samples = array("h", (draw.choice((-32768, 32767, draw.randint(-32768, 32767))) for _ in range(n)))
        found = lib.duo_level_of(ffi.from_buffer("int16_t[]", samples), n)
        assert (found.sum, found.squares) == (sum(samples), sum(x * x for x in samples))
        assert (found.low, found.high) == (min(samples), max(samples))
        assert found.full == sum(abs(x) > 32000 for x in samples)


# The bar


class Terminal(io.StringIO):
    def __init__(self, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


def shown(environ, *, tty=True, rms=-30.0, clipped=False) -> str:
    terminal = Terminal(tty)
    meter = Meter(terminal, environ)
    for _ in range(2 * Meter.EVERY):
        meter.show(rms, clipped)
    meter.clear()
    return terminal.getvalue()


@pytest.mark.parametrize("environ, tty", [({"TERM": "xterm"}, False), ({"TERM": "dumb"}, True), ({}, True)])
def test_without_a_terminal_that_can_go_back_there_is_no_bar(environ, tty):
    assert shown(environ, tty=tty) == ""


def test_the_bar_is_as_long_as_it_is_loud_and_is_taken_away():
    plain = {"TERM": "xterm", "NO_COLOR": "1"}
    bar = "\r[" + "#" * 12 + " " * 12 + "]"
    assert shown(plain, rms=-30) == bar + bar + "\r\x1b[K"
    assert shown(plain, rms=0).count("#") == 2 * Meter.CELLS
    assert shown(plain, rms=-96).count("#") == 0


def test_the_bar_warns_in_colour():
    xterm = {"TERM": "xterm"}
    assert "\x1b[32m" in shown(xterm) and "\x1b[33m" in shown(xterm, rms=-50) and "\x1b[31m" in shown(xterm, clipped=True)
