"""A light that shows what the robot does: on while it listens, blinking while it thinks."""

import contextlib
import os

from duostory import StoryError
from duostory.hearing import sysfs


class Light:
    """A LED of /sys/class/leds by its name, or the GPIO line "gpio:NUMBER", lit while that is high; dark when it is opened.

    Raises StoryError where there is no such light. One that fails later is no reason to stop: it stays as it is.
    """

    def __init__(self, name: str, *, root: str = "/sys/class") -> None:
        line = name.removeprefix("gpio:") if name.startswith("gpio:") else ""
        try:
            if line.isascii() and line.isdecimal():
                self._folder, self._file, self._bright = sysfs.gpio(int(line), root), "value", "1"
                sysfs.put(os.path.join(self._folder, "direction"), "low")  # an output, dark
            else:
                self._folder, self._file = os.path.join(root, "leds", name), "brightness"
                with open(os.path.join(self._folder, "max_brightness")) as file:
                    self._bright = file.read().strip()
                sysfs.put(os.path.join(self._folder, self._file), "0")
        except OSError as error:
            raise StoryError(f"cannot use the light {name} ({error.filename}: {error.strerror}); take a name that is in "
                             f"{root}/leds, or gpio:LINE") from None
        self._blinks = False

    def on(self) -> None:
        self._set(self._bright)

    def off(self) -> None:
        self._set("0")

    def blink(self) -> None:
        """Blink from now on, once a second; a light for which the kernel has no timer, as a GPIO line, is dark instead."""
        if self._blinks:
            return
        if self._put("trigger", "timer"):
            self._blinks = True
        else:
            self.off()

    def close(self) -> None:
        self.off()

    def _set(self, brightness: str) -> None:
        if self._blinks:
            self._put("trigger", "none")
        self._put(self._file, brightness)
        self._blinks = False

    def _put(self, name: str, text: str) -> bool:
        with contextlib.suppress(OSError):
            sysfs.put(os.path.join(self._folder, name), text)
            return True
        return False
