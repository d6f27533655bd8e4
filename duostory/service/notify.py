"""What the service manager is told: systemd's notification protocol, one datagram a message."""

import contextlib
import os
import socket


class Notifier:
    """Tells systemd how the service does; without one that listens, does nothing.

    watchdog -- seconds within which systemd wants a sign of life, None if it wants none
    """

    def __init__(self, environ=os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) if self._address else None
        if self._address.startswith("@"):  # a name that is no file
            self._address = "\0" + self._address[1:]
        self.watchdog = _watchdog(environ)

    def send(self, *lines: str) -> None:
        """One message, such as "READY=1"."""
        if self._socket:
            with contextlib.suppress(OSError):  # whoever started us is not listening
                self._socket.sendto("\n".join(lines).encode(), self._address)

    def close(self) -> None:
        if self._socket:
            self._socket.close()


def _watchdog(environ) -> float | None:
    try:
        meant = int(environ.get("WATCHDOG_PID") or os.getpid()) == os.getpid()
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if meant and microseconds > 0 else None
