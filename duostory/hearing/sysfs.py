"""Lines and lights as files of the kernel. Each OSError names the file."""

import os
import time

RIGHTS_S = 3.0  # within which the system may give the rights to what somebody has asked for


def put(path: str, text: str) -> None:
    """Write `text` into a file that is there."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(file)


def gpio(number: int, root: str) -> str:
    """The folder of a GPIO line, which is asked for if nobody has yet."""
    folder = os.path.join(root, "gpio", f"gpio{number}")
    if not os.path.isdir(folder):
        put(os.path.join(root, "gpio", "export"), str(number))
        value, end = os.path.join(folder, "value"), time.monotonic() + RIGHTS_S
        while os.path.exists(value) and not os.access(value, os.W_OK) and time.monotonic() < end:
            time.sleep(0.02)
    return folder
