"""A story on a terminal in step with the voice, as in a book that is read along."""

from __future__ import annotations

import contextlib
import math
import os
import re
from queue import SimpleQueue
from threading import Event, Lock, Thread

from . import StoryError
from .page import Page
from .speech import Player
from .speech.text import WORD
from .story import Piece

_MARKED = re.compile(rf"({WORD.pattern})[^\w\s]*")  # a word and the marks behind it
_CHUNK = re.compile(r"\s*\S+|\s+$")
UNKNOWN = 80  # columns of a serial line, which does not tell
NOW = -math.inf  # before anything is heard
LOOK = 0.05  # seconds between two looks at what has been heard: the device's clock may drift, or stand still


class ReadAlong(Page):
    """stdout, a terminal: each word appears when it is heard, and is lit until the next one.

    Nothing but whole rows is written in between: no cursor has to find its way back to a word that has scrolled or was wrapped.
    """

    def __init__(self) -> None:
        super().__init__()
        self._player: Player | None = None
        self._row = Row(self._stdout.fileno())
        self._text = ""  # of the story so far
        self._shown = 0  # characters of it
        # For each sentence, where in the text each of its words begins and ends, and where its marks end.
        self._words: list[list[tuple[int, int, int]]] = []
        self._place = 0  # in the text, behind the last sentence
        # What to do when it is heard: (seconds, method, its arguments).
        self._told: SimpleQueue[tuple] = SimpleQueue()
        self._number = 0
        self._writing = Lock()
        self._over = Event()
        self._error: Exception | None = None

    def follow(self, player: Player) -> None:
        self._player = player
        self._thread = Thread(target=self._run, name="duostory-page", daemon=True)
        self._thread.start()

    def piece(self, piece: Piece) -> None:
        if self._error:
            raise self._error
        if self._player:
            self._text += piece.text
            self._ended = False
        else:
            super().piece(piece)

    def sentence(self, text: str) -> None:
        if not self._player:
            return
        begin = self._text.index(text, self._place)
        self._place = begin + len(text)
        self._words.append([(begin + word.start(), begin + word.end(1), begin + word.end())
                            for word in _MARKED.finditer(text)])

    def word(self, word: str, at: float, sentence: int) -> None:
        self._told.put((at, self._light, sentence, self._number))
        self._number += 1

    def spoken(self, text: str, at: float, end: float, sentence: int) -> None:
        self._told.put((end, self._unlight, sentence, self._number))
        self._number = 0

    def notice(self, message: str) -> None:
        """In a row of its own."""
        with self._writing:
            self.write(self._row.unlit() + self._row.ended())
            super().notice(message)

    def end(self) -> None:
        if not self._player:
            super().end()
        elif not self._ended:
            self._ended = True
            self._text += "\n"

    def heard(self) -> None:
        if self._player:
            shown = Event()
            self._told.put((NOW, self._show_rest))
            self._told.put((NOW, shown.set))
            while self._thread.is_alive() and not shown.wait(LOOK):
                pass

    def close(self) -> None:
        """Show the rest, unless the story was stopped while it was spoken."""
        if not self._player:
            return
        self._over.set()
        self._told.put(())
        self._thread.join()
        if self._player.heard() < math.inf:  # stopped, perhaps because the terminal was closed
            with contextlib.suppress(StoryError):
                self.write(self._row.left())
        elif self._error:
            raise self._error
        else:
            self._show_rest()

    # The rest runs on the page's thread.

    def _run(self) -> None:
        try:
            while (told := self._told.get()) and self._is_heard(told[0]):
                with self._writing:
                    told[1](*told[2:])
        except Exception as error:  # for the next piece()
            self._error = error

    def _is_heard(self, at: float) -> bool:
        """Wait until it is; False when the story is over."""
        while at > (heard := self._player.heard()):
            if self._over.wait(min(at - heard, LOOK)):
                return False
        return not self._over.is_set()

    def _light(self, sentence: int, number: int) -> None:
        begin, end, marked = self._words[sentence][number]
        if end > self._shown:  # or it was told before
            text, self._shown = self._text[self._shown:marked], marked
            self.write(self._row.unlit() + self._row.lit(text, end - begin, marked - end))

    def _unlight(self, *_) -> None:
        self.write(self._row.unlit())

    def _show_rest(self) -> None:
        text, self._shown = self._text[self._shown:], len(self._text)
        self.write(self._row.unlit() + self._row.laid(text))


class Row:
    """The row of a terminal that is being written: what to send so that text goes on in it, whole words in a row.

    The last column stays empty: terminals do not agree where the cursor is behind it.
    """

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._plain = os.environ.get("TERM", "dumb") == "dumb" or bool(os.environ.get("NO_COLOR"))
        self._column = 0  # of the cursor
        self._line = ""  # what is written in it
        self._lit = ""  # what is left of the cursor and has to be written again

    def laid(self, text: str) -> str:
        width, out = self._width(), ""
        for found in _CHUNK.findall(text.replace("\t", " ")):
            chunk = found.lstrip()
            gap = found.removesuffix(chunk)
            if "\n" in gap or self._column and self._column + len(gap) + cells(chunk) >= width:
                gap, self._column = "\n" * max(1, gap.count("\n")), 0
            out += gap + chunk
            self._column += len(gap.strip("\n")) + cells(chunk)
            if self._column >= width:  # a word as long as that
                self._column %= width
        self._line = (self._line + out).rpartition("\n")[2]
        return out

    def lit(self, text: str, word: int, marks: int) -> str:
        """`text` with a word lit at its end, which is `word` characters before the last `marks`."""
        out = self.laid(text)
        lit = text[len(text) - word - marks:]
        if self._plain or cells(lit) > self._column:
            return out
        self._lit = lit
        return f"{out[:-len(lit)]}\x1b[7m{lit[:word]}\x1b[m{lit[word:]}"

    def unlit(self) -> str:
        """The lit word again, as other words are, if there is one."""
        lit, self._lit = self._lit, ""
        if not lit or self._column >= self._width():  # no longer, for the terminal has become smaller
            return ""
        return f"\x1b[{cells(lit)}D{lit}"

    def ended(self) -> str:
        """What makes another row begin, unless one does."""
        column, self._column, self._line = self._column, 0, ""
        return "\n" if column else ""

    def left(self) -> str:
        """No word is lit any more, wherever the cursor is: behind a ^C, perhaps. Another row begins."""
        again = self._lit and cells(self._line) < self._width()
        return f"\r{self._line}\n" if again else "\n"

    def _width(self) -> int:
        with contextlib.suppress(OSError):  # it was closed
            return os.get_terminal_size(self._terminal).columns or UNKNOWN
        return UNKNOWN


def cells(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(0 if category(c) in ("Mn", "Me", "Cf") else 1 + (east_asian_width(c) in "FW") for c in text)
