"""The time of day on a board without a clock of its own: kept in a file, and taken from there at the next start."""

import os
import time

from .. import config

EVERY = 600.0  # seconds between two times kept


def restore(environ=os.environ) -> int:
    """Set a clock that is behind the last time kept forward to it, and return by how many seconds.

    Raises PermissionError where only others may set the clock.
    """
    kept = config.kept_number("clock", environ)
    behind = (kept or 0) - int(time.time())
    if behind <= 0:
        return 0
    time.clock_settime(time.CLOCK_REALTIME, kept)
    return behind


def keep(environ=os.environ) -> str | None:
    """Keep the time. Why it could not be kept, as config.keep_number()."""
    return config.keep_number("clock", int(time.time()), environ)
