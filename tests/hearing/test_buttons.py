"""Buttons: Enter on a real terminal, the events of a key through a FIFO, a GPIO line in a folder laid out as sysfs is.

No keyboard and no line of this machine is touched: the FIFO carries what the kernel would send, and the folder holds
the files that the kernel would show. The kernel itself is tested in the emulator.
"""

import os
import pty
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from threading import Thread, Timer

import pytest

from duostory import StoryError
from duostory.hearing import buttons
from duostory.hearing.buttons import AnyButton, ButtonGone, Gpio, Key, open_button
from tests.teller import ROOT, environment

LONG_S = 10.0  # which no test takes unless it fails

# Enter


@pytest.fixture
def terminal(tmp_path):
    """A program on a terminal of its own that says what it does with each line that it waits for."""
    program = ("from duostory.hearing.buttons import *\n"
               "button = open_button('enter')\n"
               "print('ready', button.pressed(), button.wait(0), flush=True)\n"
               "while button.wait(): print('pressed', button.pressed(), flush=True)\n")
    ours, theirs = pty.openpty()
    mode = termios.tcgetattr(theirs)
    process = subprocess.Popen([sys.executable, "-c", program], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=environment(tmp_path), preexec_fn=lambda: own_terminal(theirs))
    assert process.stdout.readline() == b"ready False False\n"
    assert termios.tcgetattr(theirs) == mode  # as it was
    os.close(theirs)
    yield process, ours
    process.kill()
    process.communicate()
    os.close(ours)


def own_terminal(descriptor: int) -> None:
    import fcntl

    os.setsid()
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def test_enter_is_a_button(terminal):
    process, keyboard = terminal
    for typed in (b"\n", b"now!\n"):
        os.write(keyboard, typed)
        assert process.stdout.readline() == b"pressed False\n"


def test_ctrl_c_does_what_it_always_does(terminal):
    process, keyboard = terminal
    os.write(keyboard, b"\x03")
    assert process.wait(LONG_S) == -2 or b"KeyboardInterrupt" in process.stderr.read()


def test_ctrl_d_ends_it(terminal):
    process, keyboard = terminal
    os.write(keyboard, b"\x04")
    assert process.wait(LONG_S) == 1 and b"ButtonGone: standard input has ended" in process.stderr.read()


def test_without_a_terminal_there_is_no_enter(tmp_path):
    told = subprocess.run([sys.executable, "-c", "from duostory.hearing.buttons import *\nopen_button('enter')"], cwd=ROOT,
                          stdin=subprocess.DEVNULL, env=environment(tmp_path), capture_output=True, text=True)
    assert "standard input is not a terminal; name another button" in told.stderr


# A key

ENTER, SPACE = 28, 57


def event(kind: int, code: int, value: int) -> bytes:
    """struct input_event of linux/input.h on a 64-bit machine: two 64-bit times, two 16-bit numbers, a 32-bit one."""
    return struct.pack("<qqHHi", 1_700_000_000, 123456, kind, code, value)


def press(code: int) -> bytes:
    """What the kernel sends for a key that is held for a moment: scan code, down, again, up, each with its report."""
    scan, report = event(4, 4, code), event(0, 0, 0)
    return scan + event(1, code, 1) + report + event(1, code, 2) + report + scan + event(1, code, 0) + report


@pytest.fixture
def keyboard(tmp_path):
    """A FIFO, its name and where one writes to it."""
    path = str(tmp_path / "event0")
    os.mkfifo(path)
    file = os.open(path, os.O_RDWR)
    yield path, file
    os.close(file)


@pytest.mark.parametrize("code, pressed", [(None, True), (SPACE, True), (ENTER, False)])
def test_a_key_counts_once_per_press(keyboard, code, pressed):
    path, kernel = keyboard
    key = Key(path, code)
    assert not key.pressed() and not key.wait(0.01)
    os.write(kernel, press(SPACE))
    assert key.wait(0) == pressed
    assert not key.pressed()  # neither its repetition nor its coming up
    os.write(kernel, 100 * press(SPACE))
    assert key.pressed() == pressed and not key.pressed()
    key.close()


def test_a_key_is_waited_for(keyboard):
    path, kernel = keyboard
    key = Key(path)
    Timer(0.2, os.write, [kernel, press(ENTER)]).start()
    begun = time.monotonic()
    assert key.wait(LONG_S) and time.monotonic() - begun < LONG_S / 2
    key.close()


def test_an_event_in_two_pieces_is_one(keyboard):
    path, kernel = keyboard
    key = Key(path)
    os.write(kernel, press(ENTER)[:35])
    assert not key.pressed()
    os.write(kernel, press(ENTER)[35:])
    assert key.pressed()
    key.close()


def test_a_keyboard_that_is_pulled_out_is_said(tmp_path):
    path = str(tmp_path / "event0")
    os.mkfifo(path)
    Thread(target=lambda: os.close(os.open(path, os.O_WRONLY)), daemon=True).start()
    key = Key(path)
    with pytest.raises(ButtonGone, match="event0 has gone"):
        key.wait(LONG_S)
    key.close()


def test_a_device_is_found_by_its_name(tmp_path):
    for number, name in ((0, "Power Button"), (10, "gpio-keys"), (2, "USB Keyboard")):
        folder = tmp_path / f"event{number}" / "device"
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
    (tmp_path / "mouse0").mkdir()
    assert buttons._path_of("gpio-keys", str(tmp_path)) == "/dev/input/event10"
    assert buttons._path_of("Keyboard", str(tmp_path)) == "/dev/input/event2"
    with pytest.raises(StoryError, match='no input device with "joystick" in its name; there are Power Button, gpio-keys, USB'):
        buttons._path_of("joystick", str(tmp_path))
    with pytest.raises(StoryError, match="nor any other"):
        buttons._path_of("joystick", str(tmp_path / "missing"))


# A GPIO line


class Line:
    """/sys/class of a kernel with GPIO line 494, already exported; a button to ground pulls it low."""

    def __init__(self, root: Path) -> None:
        self.root, self._folder = str(root), root / "gpio" / "gpio494"
        self._folder.mkdir(parents=True)
        (root / "gpio" / "export").touch()
        for name, text in (("direction", "out"), ("active_low", "0"), ("value", "0")):
            (self._folder / name).write_text(text + "\n")

    def file(self, name: str) -> str:
        return (self._folder / name).read_text().strip()

    def set(self, active: bool) -> None:
        """As `value` shows it: with active_low the kernel turns it round."""
        with open(self._folder / "value", "r+") as file:
            file.write(f"{active:d}\n")

    def press(self, seconds: float) -> None:
        self.set(True)
        time.sleep(seconds)
        self.set(False)


@pytest.fixture
def line(tmp_path) -> Line:
    return Line(tmp_path)


@pytest.mark.parametrize("high", [False, True])
def test_a_line_becomes_an_input(line, high):
    Gpio(494, high=high, root=line.root).close()
    assert line.file("direction").startswith("in") and line.file("active_low") == ("0" if high else "1")


def test_a_line_counts_once_per_press(line):
    button = Gpio(494, root=line.root)
    assert not button.wait(0.1)
    Timer(0.2, line.press, [0.3]).start()
    assert button.wait(LONG_S)
    assert not button.wait(0.5)  # while it is held, and let go
    Timer(0.1, line.press, [0.3]).start()
    assert button.wait(LONG_S)
    button.close()


def test_what_is_shorter_than_a_finger_does_not_count(line):
    button = Gpio(494, root=line.root)
    for active in (True, False) * 10:  # bounces, seen each time
        line.set(active)
        assert not button.pressed()
    line.set(True)
    assert not button.pressed()
    time.sleep(buttons.SETTLED_S)
    assert button.pressed()
    line.set(False)  # a contact that breaks for a moment while it is held
    assert not button.pressed()
    line.set(True)
    time.sleep(2 * buttons.SETTLED_S)
    assert not button.pressed()
    button.close()


def test_a_line_that_is_held_from_the_beginning_is_not_pressed(line):
    line.set(True)
    button = Gpio(494, root=line.root)
    assert not button.wait(0.1)
    button.close()


def test_a_line_that_cannot_be_had_is_said(tmp_path, line):
    with pytest.raises(StoryError, match=r"cannot use the GPIO line 494 \(.*/gpio/export: No such file or directory\)"):
        Gpio(494, root=str(tmp_path / "missing"))
    with pytest.raises(StoryError, match="GPIO line 7 .*gpio7/direction: No such file"):
        Gpio(7, root=line.root)
    assert (Path(line.root) / "gpio" / "export").read_text() == "7"


# Several


def test_any_of_several_does(keyboard, line):
    path, kernel = keyboard
    both = AnyButton([Key(path), Gpio(494, root=line.root)])
    assert not both.wait(0.1)
    os.write(kernel, press(ENTER))
    assert both.wait(LONG_S) and not both.pressed()
    Timer(0.1, line.press, [0.3]).start()
    assert both.wait(LONG_S)
    both.close()


def test_the_others_do_when_one_has_gone(tmp_path, keyboard):
    path, kernel = keyboard
    os.mkfifo(gone := str(tmp_path / "gone"))
    Thread(target=lambda: os.close(os.open(gone, os.O_WRONLY)), daemon=True).start()
    both = AnyButton([Key(gone), Key(path)])
    Timer(0.2, os.write, [kernel, press(ENTER)]).start()
    assert both.wait(LONG_S)
    both.close()


# By name


def test_buttons_by_name(keyboard, tmp_path):
    path, kernel = keyboard
    os.mkfifo(other := str(tmp_path / "other"))
    unpressed = os.open(other, os.O_RDWR)
    for name in (f"key:{path}", f"key:{path}:{ENTER}", f"key:{other}, key:{path}"):
        button = open_button(name)
        assert not button.pressed()
        os.write(kernel, press(ENTER))
        assert button.pressed()
        button.close()
    os.close(unpressed)


@pytest.mark.parametrize("name, says", [
    ("doorbell", 'no button "doorbell": take enter, key:DEVICE'),
    ("", 'no button ""'),
    ("gpio", 'no button "gpio"'),
    ("gpio:x", 'no button "gpio:x"'),
    ("gpio:494:up", 'no button "gpio:494:up"'),
    ("gpio:99999999", "cannot use the GPIO line 99999999"),
    ("key:", 'no button "key:"'),
    ("key:/dev/input/event999", "cannot use the button /dev/input/event999: No such file or directory"),
    ("key:No such keyboard", 'no input device with "No such keyboard" in its name'),
])
def test_a_button_that_there_is_not_is_said_in_one_sentence(name, says):
    with pytest.raises(StoryError, match=says) as refused:
        open_button(name)
    assert "\n" not in str(refused.value)
