"""The time of day on a board without a clock of its own: kept in a file, and taken from there at the next start."""

import os
import time

from .. import config

EVERY = 600.0  # seconds between two times kept
RELEASED = 1767225600  # 2026-01-01: a clock that shows less has not been set


def restore(environ=os.environ) -> int:
    """Set a clock that nobody has set, and that is behind the last time kept, forward to it. By how many seconds; or 0.

    A machine that has a clock of its own is believed, even when that went back. Raises PermissionError where only others may
    set the clock.
    """
    kept = config.kept_number("clock", environ)
    behind = (kept or 0) - int(time.time())
    if behind <= 0 or time.time() >= RELEASED and goes_on():
        return 0
    time.clock_settime(time.CLOCK_REALTIME, kept)
    return behind


def keep(environ=os.environ) -> str | None:
    """Keep the time. Why it could not be kept, as config.keep_number()."""
    return config.keep_number("clock", int(time.time()), environ)


def goes_on() -> bool:
    """Whether this machine has a clock that goes on without power."""
    return os.path.exists("/sys/class/rtc/rtc0")
