"""A story-telling robot: a small Llama writes, a formant voice reads aloud."""

__version__ = "0.1.0"


class StoryError(Exception):
    """Anything the user can do something about. The message is one sentence for that user."""


class UsageError(StoryError):
    """The command line makes no sense."""
