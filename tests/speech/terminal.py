"""A terminal without a screen: what is where, and what of it is lit. It knows what duostory sends and nothing more."""

import re
import unicodedata

_SENT = re.compile(r"\x1b\[(\d*)([Dm])|(.)", re.DOTALL)


class Terminal:
    """Like xterm, it only wraps when a character comes behind its last column."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._rows: list[list[tuple[str, bool]]] = [[]]  # cells: a character and whether it is lit
        self._column = 0
        self._lit = False

    def send(self, text: str) -> None:
        for number, command, char in _SENT.findall(text):
            if command == "D":
                # Behind the last column xterm goes back from the last one, others from behind it.
                assert self._column < self.width
                self._column = max(0, self._column - int(number))
            elif command == "m":
                assert number in ("", "7")
                self._lit = number == "7"
            elif char == "\n":
                self._rows.append([])
                self._column = 0
            elif char == "\r":
                self._column = 0
            else:
                assert char.isprintable()
                self._put(char)

    def _put(self, char: str) -> None:
        row = self._rows[-1]
        if unicodedata.combining(char):
            row[self._column - 1] = row[self._column - 1][0] + char, row[self._column - 1][1]
            return
        cells = 2 if unicodedata.east_asian_width(char) in "FW" else 1
        if self._column + cells > self.width:
            self._rows.append(row := [])
            self._column = 0
        row[self._column : self._column + cells] = [(char, self._lit), ("", self._lit)][:cells]
        self._column += cells

    def lines(self) -> list[str]:
        return ["".join(char for char, _ in row) for row in self._rows]

    def lit(self) -> str:
        return "".join(char for row in self._rows for char, lit in row if lit)
