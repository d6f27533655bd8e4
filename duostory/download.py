"""Fetches one file over HTTP: goes on where a broken transfer stopped, and trusts nothing but a hash."""

import contextlib
import errno
import fcntl
import http.client
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from duostory import StoryError, __version__
from duostory.formats.files import sha256, sync_folder

STALL = 30.0  # seconds without a byte after which a transfer counts as broken
TRIES = 5     # transfers before giving up
PAUSE = 1.0   # seconds before the second transfer, doubled before each further one
CHUNK = 1 << 16


class Broken(Exception):
    """A transfer failed in a way that another one may not."""


def download(url: str, target: Path, size: int, expected: str | None) -> str:
    """Fetches `url`, `size` bytes long, into `target`; returns the SHA-256 of what came.

    The bytes gather in `target`.part, which an interrupted download leaves for the next one to go on with.
    They become `target` only when their hash is `expected`. Without an expected hash nothing could prove that
    two halves belong together, so each call starts anew. Raises StoryError; a wrong hash removes the bytes.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab") as f:
            lock(f, target)
            if expected is None:
                f.truncate(0)
            check_space(target.parent, size - f.seek(0, os.SEEK_END))
            Transfer(url, f, size, target.name).run()
            f.flush()
            os.fsync(f.fileno())
            seen = sha256(part)
            if expected and seen != expected:
                part.unlink()
                raise StoryError(f"what came from {url} is not the file the manifest names (SHA-256 {seen}): "
                                 "it was thrown away, try again or ask whoever runs the server")
            os.replace(part, target)
        sync_folder(target.parent)
    except OSError as e:
        raise StoryError(f"cannot write {e.filename or part}: {e.strerror or e}") from e
    return seen


def lock(f: BinaryIO, target: Path) -> None:
    """Keeps two downloads from writing into one file; the system lets go when the file is closed."""
    try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        raise StoryError(f"another download of {target.name} is under way") from e


def check_space(folder: Path, size: int) -> None:
    fs = os.statvfs(folder)
    if (free := fs.f_bavail * fs.f_frsize) < size:
        raise StoryError(f"{folder} has {free / 1e6:.1f} MB free, and {size / 1e6:.1f} MB are to come")


class Transfer:
    """The attempts to fill one file."""

    def __init__(self, url: str, file: BinaryIO, size: int, name: str):
        self.url, self.file, self.size = url, file, size
        self.bar = Bar(name, size)
        self.etag: str | None = None  # names the version of which the bytes in `file` are the beginning

    def run(self) -> None:
        """Returns when all bytes are there; StoryError when the server refuses, lies or fails TRIES times."""
        reason = None
        for attempt in range(TRIES):
            if reason:
                print(f"{self.bar.name}: {reason}; trying again", file=sys.stderr)
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                return self.attempt()
            except Broken as e:
                reason = e
            finally:
                self.bar.clear()
        have = self.file.seek(0, os.SEEK_END)
        raise StoryError(f"{self.url} broke off {TRIES} times, the last time because {reason}: "
                         f"{have / 1e6:.1f} of {self.size / 1e6:.1f} MB are here, try again later")

    def attempt(self) -> None:
        at = self.file.seek(0, os.SEEK_END)
        if at > self.size:
            at = self.restart()
        if at == self.size:
            return
        headers = {"User-Agent": f"duostory/{__version__}", "Accept-Encoding": "identity"}
        if at:
            headers["Range"] = f"bytes={at}-"
            if self.etag:
                headers["If-Range"] = self.etag
        try:
            request = urllib.request.Request(self.url, headers=headers)
            with urllib.request.urlopen(request, timeout=STALL) as answer:
                self.receive(answer, self.accept(answer, at))
        except urllib.error.HTTPError as e:
            self.refused(e)
        except urllib.error.URLError as e:
            if isinstance(e.reason, ssl.SSLCertVerificationError):
                raise StoryError(f"{self.url}: the server's certificate is not valid "
                                 f"({e.reason.verify_message}); is the clock of this machine right?") from e
            raise Broken(f"it cannot be reached ({e.reason})") from e
        except TimeoutError as e:
            raise Broken(f"no byte came for {STALL:g} seconds") from e
        except (ValueError, http.client.InvalidURL) as e:
            raise StoryError(f"{self.url} is not an address that can be fetched ({e})") from e
        except (OSError, http.client.HTTPException) as e:  # of the network: the file's own are StoryErrors
            raise Broken(f"the connection was lost ({e})") from e

    def accept(self, answer: http.client.HTTPResponse, at: int) -> int:
        """The position at which the answer's bytes go, after checking that they are the ones asked for."""
        if answer.status == 206:
            if answer.headers.get("Content-Range") != f"bytes {at}-{self.size - 1}/{self.size}":
                self.restart()
                raise Broken("the server sent another part of the file than asked for")
        else:
            # A server that does not resume sends everything again; so does one whose file has changed.
            at = self.restart()
            length = answer.headers.get("Content-Length")
            if length is not None and length != str(self.size):
                raise StoryError(f"{self.url} offers {length} bytes where {self.size} are expected: "
                                 "it is another file, or a page of the network you are in")
        etag = answer.headers.get("ETag")
        self.etag = etag if etag and not etag.startswith("W/") else None
        return at

    def receive(self, answer: http.client.HTTPResponse, at: int) -> None:
        while chunk := answer.read1(CHUNK):
            at += len(chunk)
            if at > self.size:
                self.restart()
                raise StoryError(f"{self.url} sends more than the {self.size} bytes that are expected")
            with self.writing():
                self.file.write(chunk)
                self.file.flush()
            self.bar.show(at)
        if at < self.size:
            raise Broken(f"it ended after {at} of {self.size} bytes")

    def refused(self, e: urllib.error.HTTPError) -> None:
        if e.code == 416:  # what is here is not the beginning of what the server has
            self.restart()
        elif e.code < 500 and e.code not in (408, 429):
            raise StoryError(f"{self.url}: the server answers {e.code} {e.reason}") from e
        raise Broken(f"the server answers {e.code} {e.reason}") from e

    def restart(self) -> int:
        with self.writing():
            self.file.truncate(0)
        return 0

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keeps the disk's errors apart from the network's, which another try may overcome."""
        try:
            yield
        except OSError as e:
            full = " (the disk is full)" if e.errno == errno.ENOSPC else ""
            raise StoryError(f"cannot write {self.file.name}: {e.strerror}{full}") from e


class Bar:
    """A progress line on stderr, for people only."""

    def __init__(self, name: str, size: int):
        self.name, self.size, self.next = name, size, 0.0
        self.wanted = sys.stderr.isatty()

    def show(self, at: int) -> None:
        if self.wanted and time.monotonic() >= self.next:
            self.next = time.monotonic() + 0.2
            percent = 100 * at // self.size
            sys.stderr.write(f"\r{self.name}  {at / 1e6:.1f} of {self.size / 1e6:.1f} MB  {percent} %")
            sys.stderr.flush()

    def clear(self) -> None:
        if self.wanted:
            sys.stderr.write("\r\033[K")
