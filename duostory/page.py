"""What a story looks like on stdout: as text, or as one JSON event a line. Anything else is said on stderr."""

from __future__ import annotations

import contextlib
import os
import sys

from . import StoryError
from .story import Piece


ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # how much a line matters, in syslog's numbers


def say(message: str, level: int = NOTICE) -> None:
    """One line for the user. A file name may hold anything, but it can't break the line or the terminal."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    if sys.stderr:
        if _to_journal():
            line = f"<{level}>{line}"
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def go_on() -> None:
    """Let a terminal go on that somebody has stopped with Ctrl-S: no write may wait for Ctrl-Q any more."""
    import signal
    import termios

    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # or it would stop a program in the background
    for stream in 1, 2:
        with contextlib.suppress(termios.error):
            for action in (termios.TCOOFF, termios.TCOON):  # the latter undoes nothing but the former, and Ctrl-S with it
                termios.tcflow(stream, action)


def _to_journal() -> bool:
    """Whether stderr goes to systemd's journal, which takes a level in front of a line. Its variable alone does not say: a
    terminal started by a service has it, too."""
    stream = os.environ.get("JOURNAL_STREAM")
    with contextlib.suppress(OSError):
        return bool(stream) and stream == "{0.st_dev}:{0.st_ino}".format(os.fstat(2))
    return False


class Page:
    """stdout: the story alone, as soon as it may be shown. Commands print on one, too."""

    def __init__(self) -> None:
        if sys.stdout is None:
            raise StoryError("standard output is closed, so nothing can be told")
        self._stdout = sys.stdout
        self._ended = False

    def write(self, text: str) -> None:
        """Raises StoryError for a full disk, BrokenPipeError when nobody reads."""
        try:
            self._stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
            self._stdout.buffer.flush()
        except OSError as error:
            self._ended = True
            # Or Python would try again when it exits, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stdout.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise StoryError(f"cannot write to standard output: {error.strerror}") from None

    def flush(self) -> None:
        """For print(): everything is out already."""

    def piece(self, piece: Piece) -> None:
        if piece.text:
            self._ended = False
            self.write(piece.text)

    def sentence(self, text: str) -> None:
        pass

    def word(self, word: str, at: float, sentence: int) -> None:
        """From the player's thread, as `spoken`: see Player."""

    def spoken(self, text: str, at: float, end: float, sentence: int) -> None:
        pass

    def notice(self, message: str) -> None:
        """Something that the user should know at once, from the player's thread."""
        say(f"duostory: {message}")

    def end(self) -> None:
        """The last newline of a story; once."""
        if not self._ended:
            self._ended = True
            self.write("\n")

    def follow(self, player) -> None:
        """Called once if the words of the player's voice are told and can be heard."""

    def heard(self) -> None:
        """After all that a story's end() closed has been heard."""

    def close(self) -> None:
        """After the player has been closed."""

    def summary(self, facts: dict) -> None:
        pass

    def event(self, event: str, **facts) -> None:
        """What happened besides a story, for programs that follow."""


class JsonPage(Page):
    """stdout: events, one JSON object a line."""

    def __init__(self) -> None:
        super().__init__()
        import json
        import threading

        self._dumps, self._lock = json.dumps, threading.Lock()
        self._sentences = 0

    def event(self, event: str, **facts) -> None:
        with self._lock:  # words come from the player's thread
            self.write(self._dumps({"event": event, **facts}) + "\n")

    def piece(self, piece: Piece) -> None:
        self.event("token", id=piece.token, text=piece.text, prompt=piece.prompt)

    def sentence(self, text: str) -> None:
        self.event("sentence", index=self._sentences, text=text)
        self._sentences += 1

    def word(self, word: str, at: float, sentence: int) -> None:
        self.event("word", word=word, at=round(at, 3), sentence=sentence)

    def spoken(self, text: str, at: float, end: float, sentence: int) -> None:
        self.event("spoken", sentence=sentence, at=round(at, 3), end=round(end, 3))

    def end(self) -> None:
        pass

    def summary(self, facts: dict) -> None:
        self.event("summary", **facts)
