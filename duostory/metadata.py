"""The facts for people that a model carries: `key: value` lines, as docs/format.md has them."""

from . import StoryError


def parse_metadata(text: str) -> dict[str, str]:
    r"""The facts by key; `\n` in a value is a newline, `\\` a backslash.

    Only a newline ends a line: a value may hold every other character that str.splitlines() would cut at.
    Raises StoryError for a line that is not `key: value`.
    """
    metadata = {}
    for line in filter(None, text.split("\n")):
        key, colon, value = line.partition(": ")
        if not colon:
            raise StoryError(f"metadata line {line!r} is not `key: value`")
        # Splitting at the escaped backslashes first keeps `\\n` (backslash, n) apart from `\n` (newline).
        metadata[key] = "\\".join(part.replace("\\n", "\n") for part in value.split("\\\\"))
    return metadata
