"""Buttons to push before talking: Enter on a terminal, a key of an input device, a GPIO line; any of them at once."""

from __future__ import annotations

import errno
import os
import select
import struct
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from duostory import StoryError
from duostory.hearing import sysfs

POLL_S = 0.02  # how often a line without interrupts is looked at,
SETTLED_S = 0.03  # and how long it has to stay before it counts: contacts bounce


class ButtonGone(StoryError):
    """A button that did work cannot be pressed any more: its keyboard is pulled out, or standard input has ended."""


class Button(ABC):
    """Something to press. What was pressed before it was opened does not count. Raises ButtonGone once it has gone."""

    def descriptors(self) -> list[int]:
        """Files that become readable when there is something to look at."""
        return []

    polled = False  # whether there is something to look at without that

    @abstractmethod
    def pressed(self) -> bool:
        """Whether it was pressed since it was last asked or waited for. Never waits."""

    def wait(self, timeout: float | None = None) -> bool:
        """Return True once it is pressed, or was since it was last asked; False after `timeout` seconds (None: never)."""
        end = None if timeout is None else time.monotonic() + timeout
        poller = select.poll()
        for descriptor in self.descriptors():
            poller.register(descriptor, select.POLLIN)
        while not self.pressed():
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            step = left if not self.polled else POLL_S if left is None else min(left, POLL_S)
            poller.poll(None if step is None else 1000 * step)
        return True

    def close(self) -> None:
        """Let it go."""


class AnyButton(Button):
    """Several buttons, of which any does; as long as one is there, the others may go."""

    def __init__(self, buttons: Sequence[Button]) -> None:
        self._buttons = list(buttons)

    def descriptors(self) -> list[int]:
        return [descriptor for button in self._buttons for descriptor in button.descriptors()]

    @property
    def polled(self) -> bool:
        return any(button.polled for button in self._buttons)

    def pressed(self) -> bool:
        found = False
        for button in list(self._buttons):
            try:
                found |= button.pressed()
            except ButtonGone:
                if len(self._buttons) == 1:
                    raise
                self._buttons.remove(button)
                button.close()
        return found

    def close(self) -> None:
        for button in self._buttons:
            button.close()


class Enter(Button):
    """The Enter key of the terminal that is standard input, which stays as it is: Ctrl-C, too, does what it always does."""

    def __init__(self) -> None:
        if not (sys.stdin and sys.stdin.isatty()):
            raise StoryError("nobody can press Enter, for standard input is not a terminal; name another button")
        self._file = sys.stdin.fileno()
        self.pressed()

    def descriptors(self) -> list[int]:
        return [self._file]

    def pressed(self) -> bool:
        found = False
        while select.select([self._file], [], [], 0)[0]:
            try:
                data = os.read(self._file, 4096)
            except OSError:  # EIO: the terminal is closed
                data = b""
            if not data:
                raise ButtonGone("standard input has ended, so nobody can press Enter any more")
            found |= b"\n" in data
        return found


# --- Keys -----------------------------------------------------------------------------------------

_EVENT = struct.Struct("@llHHi")  # seconds, microseconds, type, code, value: struct input_event of linux/input.h
_EV_KEY, _DOWN = 1, 1  # 0 is up, and 2 comes again and again while the key is held


class Key(Button):
    """The key `code` (of linux/input-event-codes.h; None: any) of an input device, a path as /dev/input/event0 or its name.

    The device is not grabbed: others see the key as well, a console for example. Should another program have grabbed it,
    nothing is ever pressed.
    """

    def __init__(self, device: str, code: int | None = None) -> None:
        self._device, self._code, self._rest = device, code, b""
        self._file = None
        path = device if "/" in device else _path_of(device)
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            help = "; be a member of the group input" if error.errno == errno.EACCES else ""
            raise StoryError(f"cannot use the button {path}: {error.strerror}{help}") from None

    def descriptors(self) -> list[int]:
        return [self._file]

    def pressed(self) -> bool:
        found = False
        while True:
            try:
                data = os.read(self._file, 64 * _EVENT.size)
            except BlockingIOError:
                return found
            except OSError:
                data = b""
            if not data:
                raise ButtonGone(f"the button {self._device} has gone; plug it in again and start anew")
            data = self._rest + data
            whole = len(data) // _EVENT.size * _EVENT.size
            self._rest = data[whole:]
            for *_, kind, code, value in _EVENT.iter_unpack(data[:whole]):
                found |= kind == _EV_KEY and value == _DOWN and self._code in (None, code)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _path_of(name: str, folder: str = "/sys/class/input") -> str:
    """The path of the first input device with `name` in its own."""
    known = []
    for event in sorted(entry for entry in _listed(folder) if entry.startswith("event")):
        known.append(_text(os.path.join(folder, event, "device", "name")))
        if name in known[-1]:
            return f"/dev/input/{event}"
    there = f"; there are {', '.join(known)}" if known else ", nor any other"
    raise StoryError(f'there is no input device with "{name}" in its name{there}')


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()


# --- GPIO -----------------------------------------------------------------------------------------


class Gpio(Button):
    """The GPIO line `number` of the kernel's sysfs, pressed while it is low, as with a pull-up resistor, or `high`.

    It is looked at every POLL_S while somebody waits or asks, for interrupts are not to be had for each line.
    """

    polled = True

    def __init__(self, number: int, *, high: bool = False, root: str = "/sys/class") -> None:
        self._number, self._file = number, None
        try:
            folder = sysfs.gpio(number, root)
            sysfs.put(os.path.join(folder, "direction"), "in")
            sysfs.put(os.path.join(folder, "active_low"), "0" if high else "1")
            self._file = os.open(os.path.join(folder, "value"), os.O_RDONLY | os.O_CLOEXEC)
            self._down = self._look()  # settled
        except OSError as error:
            raise StoryError(f"cannot use the GPIO line {number} ({error.filename}: {error.strerror}): it needs a "
                             "kernel with GPIO in sysfs, the right number and rights, and nobody else on it") from None
        self._since: float | None = None  # when it last left the settled state

    def _look(self) -> bool:
        return os.pread(self._file, 1, 0) == b"1"

    def pressed(self) -> bool:
        try:
            down = self._look()
        except OSError as error:
            raise ButtonGone(f"the GPIO line {self._number} has gone: {error.strerror}") from None
        if down == self._down:
            self._since = None
            return False
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since < SETTLED_S:
            return False
        self._down, self._since = down, None
        return down

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


# --- By name --------------------------------------------------------------------------------------

BUTTONS = "enter, key:DEVICE, key:DEVICE:CODE, gpio:LINE or gpio:LINE:high"


def open_button(names: str) -> Button:
    """The buttons of `names`, separated by commas, each as in BUTTONS. Raises StoryError for one that there is not."""
    buttons: list[Button] = []
    try:
        for name in names.split(","):
            buttons.append(_open(name.strip()))
    except BaseException:
        AnyButton(buttons).close()
        raise
    return buttons[0] if len(buttons) == 1 else AnyButton(buttons)


def _open(name: str) -> Button:
    kind, _, rest = name.partition(":")
    if name == "enter":
        return Enter()
    if kind == "key" and rest:
        device, _, code = rest.rpartition(":")
        return Key(device, int(code)) if device and code.isascii() and code.isdecimal() else Key(rest)
    line, _, level = rest.partition(":")
    if kind == "gpio" and line.isascii() and line.isdecimal() and level in ("", "high", "low"):
        return Gpio(int(line), high=level == "high")
    raise StoryError(f'there is no button "{name}": take {BUTTONS}')
