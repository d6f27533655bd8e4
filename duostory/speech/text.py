"""What the voice is given to read."""

# espeak-ng reads these aloud by name ("asterisk", "tilde"), which no story means.
_READ_AS = {ord(c): " " for c in "*_~#^|\\<>[]{}`"}
# A NUL would end the text, and half a surrogate pair cannot be written as UTF-8.
_READ_AS |= {code: " " for code in (*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000), 0xFFFD)}
# A word behind a curly quote would get no word event.
_READ_AS |= {ord(c): '"' for c in "“”„«»"}


def spoken(text: str) -> str:
    """`text` with what is not meant to be heard as spaces; every position in it stays true."""
    return text.translate(_READ_AS)
