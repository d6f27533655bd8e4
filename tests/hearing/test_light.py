"""A light, in a folder laid out as sysfs is; the kernel's own is tested in the emulator."""

from pathlib import Path

import pytest

from duostory import StoryError
from duostory.hearing.light import Light


def files(folder: Path, **contents: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in contents.items():
        (folder / name).write_text(text)
    return folder


def test_a_led_that_the_kernel_lets_blink(tmp_path):
    led = files(tmp_path / "leds" / "blue", brightness="1", max_brightness="255\n", trigger="")
    lamp = Light("blue", root=str(tmp_path))
    assert (led / "brightness").read_text() == "0"
    lamp.on()
    assert (led / "brightness").read_text().startswith("255")
    lamp.blink()
    lamp.blink()
    assert (led / "trigger").read_text() == "timer"
    lamp.close()
    assert (led / "trigger").read_text().startswith("none") and (led / "brightness").read_text().startswith("0")


def test_a_line_which_the_kernel_cannot_let_blink_is_dark_while_the_robot_thinks(tmp_path):
    line = files(tmp_path / "gpio" / "gpio440", direction="in", value="0")
    lamp = Light("gpio:440", root=str(tmp_path))
    assert (line / "direction").read_text() == "low"
    lamp.on()
    assert (line / "value").read_text() == "1"
    for _ in range(2):
        lamp.blink()
        assert (line / "value").read_text() == "0"


def test_a_light_that_there_is_not_is_said(tmp_path):
    for name in ("blue", "gpio:7"):
        with pytest.raises(StoryError, match=f"cannot use the light {name} .*No such file or directory"):
            Light(name, root=str(tmp_path))


def test_a_light_that_fails_later_stops_nothing(tmp_path):
    led = files(tmp_path / "leds" / "blue", brightness="1", max_brightness="1")
    lamp = Light("blue", root=str(tmp_path))
    (led / "brightness").unlink()
    lamp.on()
    lamp.blink()
    lamp.close()
