"""One turn of the robot: what it says and tells after one order, on a thread of its own."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable
from threading import Thread

from .. import StoryError
from ..page import ERROR, INFO, WARNING, Page, say
from ..story import Piece, Stopped, Story
from ..teller import Teller
from .orders import NOTICE, STORY, Client, Order
from .robot import Robot

POLL = 0.1  # seconds between two looks, while somebody else speaks, whether this turn shall still be
FAILED = "I cannot do that. Ask me for something else."


class Audience(Page):
    """Who reads a story of the service: its own stdout, and the client who asked. Neither can hold it up by not reading: who
    does not, as on a terminal after Ctrl-S, misses a part of it."""

    def __init__(self, client: Client | None) -> None:
        self._client, self._ended = client, True

    def write(self, text: str) -> None:
        if sys.stdout and select.select([], [1], [], 0)[1]:
            with contextlib.suppress(StoryError, BrokenPipeError):
                sys.stdout.write(text)
        if self._client:
            self._client.send(STORY, text)

    def notice(self, message: str, level: int = WARNING) -> None:
        say(f"duostory: {message}", level)
        if self._client:
            self._client.send(NOTICE, message)


def report(error: Exception) -> None:
    """Say that something is wrong with duostory itself, which goes on."""
    say(f"duostory: {type(error).__name__}: {error}: this is a mistake in duostory; please report it, "
        "with what DUOSTORY_DEBUG=1 shows", ERROR)
    if os.environ.get("DUOSTORY_DEBUG"):
        import traceback

        traceback.print_exception(error)


class Turn(Thread):
    """Says `words`, after the sound `earcon`; then tells what `order` asks for. `done` is called on this thread at the end.

    status -- the exit status that the program would have had, once the turn is over
    """

    def __init__(self, robot: Robot, done: Callable[[], None], *, order: Order | None = None, words: str = "",
                 earcon: str = "") -> None:
        super().__init__(name="duostory-turn", daemon=True)
        self.order, self.status, self.stopped = order, 0, False
        self._robot, self._done, self._words, self._earcon = robot, done, words, earcon
        self._begun = time.monotonic()
        self.client = order and order.client
        self._page = Audience(self.client)
        self._stories: list[Story] = []
        self._player = None
        self._looks = 0  # at who else speaks

    def stop(self) -> None:
        """Fall silent within 0.2 s, and soon be over. From any thread."""
        self.stopped = True
        for story in self._stories:
            story.stop()
        if self._player:
            self._player.stop()

    def progress(self) -> tuple[float, ...]:
        """Changes while the turn gets on: with each token made up and each bit of sound, and while somebody else speaks."""
        return self._looks, sum(story.positions for story in self._stories), self._player.alive if self._player else 0.0

    @property
    def telling(self) -> bool:
        return bool(self.order) and not self.stopped

    def set_volume(self, percent: int) -> None:
        """Be so loud from now on."""
        if self._player:
            self._player.volume = percent

    def run(self) -> None:
        try:
            self._perform()
        except Stopped:
            pass
        except StoryError as error:
            self.status = 1
            self._page.notice(str(error))
        except Exception as error:  # the next story may be better
            self.status = 1
            report(error)
        finally:
            self._done()

    def _perform(self) -> None:
        while not self._robot.sound.floor.acquire(timeout=POLL):
            self._looks += 1
            if self.stopped:
                return
        try:
            self._play()
        finally:
            self._robot.sound.floor.release()

    def _play(self) -> None:
        self._player = player = self._robot.sound.open(self._robot.settings.volume, self._page.notice)
        try:
            if self.stopped:  # before there was a player to stop
                return
            self._speak(self._words, self._earcon)
            if self.order:
                self._tell(self.order)
            elif player:
                player.finish()
        finally:
            if player:
                player.close()

    def _speak(self, words: str, earcon: str = "") -> None:
        if self._player and earcon and self._robot.settings.earcons:
            from ..speech import earcons

            self._player.play(earcons.samples(earcon, self._player.voice.rate))
        if self._player and words:
            self._player.say(words)

    def _tell(self, order: Order) -> None:
        try:
            self._stories = self._robot.stories(order)
        except StoryError as error:
            self.status = 1
            self._page.notice(str(error), INFO)  # a wish is in it
            self._speak(FAILED, "error")
            if self._player:
                self._player.finish()
            return
        teller = Teller(self._page, self._player, self._robot.settings, self._begun)
        try:
            for story in self._stories:
                if self.stopped:
                    return
                teller.summary()
                self._robot.begun(story)
                teller.tell(story, last=story is self._stories[-1])
        finally:
            teller.close()
            teller.summary()
