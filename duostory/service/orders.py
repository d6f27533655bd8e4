"""What can be asked of the robot, and from where: a line on stdin, a message on a socket, another thread.

A source has `attach(loop)`. It lets loop.watch(fd, callback) call it when a file can be read, and hands each wish to
loop.take(order); from a thread of its own with loop.call(loop.take, order).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import NamedTuple

from .. import StoryError

LONGEST = 1 << 16  # bytes of a wish

# One word says what to do; anything else is a wish.
COMMANDS = ("again", "stop", "louder", "softer")


class Order(NamedTuple):
    """kind -- one of COMMANDS; "story" with the wish as `text`, "" for any story; "button": stop, or else any story"""

    kind: str
    text: str = ""
    client: Client | None = None  # who wants to read the story, too


def order(text: str, client: Client | None = None) -> Order:
    """What a line asks for."""
    text = text.strip()
    command = text.lower().rstrip(".!")
    return Order(command, client=client) if command in COMMANDS else Order("story", text, client)


class Lines:
    """Wishes on stdin, one a line; an empty line is the button."""

    def __init__(self, fd: int = 0) -> None:
        self._fd, self._rest = fd, b""

    def attach(self, loop) -> None:
        try:
            mode = os.fstat(self._fd).st_mode
        except OSError:  # closed
            return
        if os.isatty(self._fd) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            self._loop = loop
            loop.watch(self._fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, LONGEST)
        except OSError:  # a serial line that has been unplugged
            data = b""
        if not data:
            self._loop.unwatch(self._fd)
            data = b"\n" if self._rest else b""  # the last line may have no end
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[:LONGEST]
        for line in lines:
            text = line.decode("utf-8", "surrogateescape")
            self._loop.take(order(text) if text.strip() else Order("button"))


# --- The socket -----------------------------------------------------------------------------------

# A client sends one message, the wish. It gets messages of one letter and a text, and the last one is a status.
STORY, NOTICE, STATUS = "s", "n", "x"


def socket_paths(environ=os.environ) -> list[str]:
    """Where a service may listen, best first."""
    folders = [environ.get("RUNTIME_DIRECTORY", "").partition(":")[0], environ.get("XDG_RUNTIME_DIR"), "/run/duostory"]
    return [os.path.join(folder, "duostory.sock") for folder in folders if folder]


def connect(path: str) -> socket.socket | None:
    """A connection to the service that listens at `path`; None if there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(path)
        return connection
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise StoryError(f"cannot reach the service at {path}: {error.strerror or error}") from None


class Listener:
    """Takes wishes from clients of the socket at `path`. Raises OSError where that cannot be made."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # of one that was killed
            self._socket.bind(path)
            os.chmod(path, 0o666)  # everybody in the house may wish
            self._socket.listen(8)
        except OSError:
            self._socket.close()
            raise

    def attach(self, loop) -> None:
        self._loop = loop
        loop.watch(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone again
            Client(self._socket.accept()[0], self._loop)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        self._socket.close()


class Client:
    """Somebody at the other end of the socket. One who does not read what is sent is forgotten."""

    def __init__(self, connection: socket.socket, loop) -> None:
        self._socket, self._loop, self._asked = connection, loop, False
        connection.setblocking(False)
        loop.watch(connection.fileno(), self._read)

    def _read(self) -> None:
        try:
            data = self._socket.recv(LONGEST)
        except OSError:
            data = b""
        if data and not self._asked:
            self._asked = True
            self._loop.take(order(data.decode("utf-8", "surrogateescape"), self))
        elif not data:
            self.close()
            self._loop.hung_up(self)

    def send(self, kind: str, text: str) -> None:
        """From any thread."""
        try:
            self._socket.send((kind + text).encode("utf-8", "surrogateescape"))
        except OSError:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # which the loop takes for hanging up

    def finish(self, status: int) -> None:
        """The exit status of the program that asked; the end. On the main thread, as close()."""
        self.send(STATUS, str(status))
        self.close()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
