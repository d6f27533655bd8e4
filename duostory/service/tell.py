"""`python -m duostory tell`: asks the service for a story, and prints it as it is told."""

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import Iterator

from .. import StoryError, UsageError
from ..page import say
from . import orders


def register(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command; the parser's `run` takes the parsed arguments and returns the exit status."""
    parser = subparsers.add_parser("tell", help="ask the service for a story")
    parser.add_argument("wish", nargs="*", help="what it shall be about, or one of: " + ", ".join(orders.COMMANDS))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Asks and prints; returns the status that a story of our own would have had."""
    wish = os.fsencode(" ".join(args.wish))
    if len(wish) > orders.LONGEST:
        raise UsageError(f"the wish is longer than {orders.LONGEST} bytes; use fewer words")
    for path in orders.socket_paths():
        if connection := orders.connect(path):
            break
    else:
        raise StoryError('no duostory service runs here; start one with "duostory serve"')
    with connection:
        for kind, text in _answers(connection, wish or b" "):  # an empty message would be the end
            if kind == orders.STORY:
                sys.stdout.write(text)
            elif kind == orders.NOTICE:
                say(f"duostory: {text}")
            else:
                return int(text)
    raise StoryError("the service has ended before the story did")


def _answers(connection: socket.socket, wish: bytes) -> Iterator[tuple[str, str]]:
    """Kind and text of each message, until the service hangs up."""
    with contextlib.suppress(ConnectionError):
        connection.send(wish)
        while message := connection.recv(orders.LONGEST).decode("utf-8", "surrogateescape"):
            yield message[0], message[1:]
