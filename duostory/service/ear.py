"""Wishes by voice and by button: a conversation that goes on while no story is told, on a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from threading import Event, Thread

from .. import StoryError
from ..page import WARNING, say
from .orders import Order
from .robot import Robot
from .turn import Audience, report

READY = "I am ready. "  # as a greeting begins; the robot has said so
LOOK = 3.0  # seconds between two looks for a microphone that is not there
STORIES = {"story": "story", "surprise": "story", "again": "again"}  # orders, by the kind of a spoken command


class Mouth:
    """How a conversation speaks: as duostory.speech.mouth.Mouth, but with the robot's voice and volume."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot

    @property
    def volume(self) -> int:
        return self._robot.settings.volume

    @volume.setter
    def volume(self, percent: int) -> None:
        self._robot.settings = replace(self._robot.settings, volume=percent)

    def say(self, text: str = "", earcon: str = "", meanwhile: Callable[[], object] | None = None) -> None:
        self._robot.sound.speak(text, earcon if self._robot.settings.earcons else "", self.volume, meanwhile)


class Ear:
    """With `mic` it hears spoken wishes, where there is a microphone; else, the button alone asks for stories and stops them."""

    def __init__(self, robot: Robot, mic: bool) -> None:
        self._robot, self._mic = robot, mic
        self._settings = robot.settings
        if self._settings.button == "enter":  # stdin is for lines
            listen = "wake" if self._settings.listen == "wake" else "voice"
            self._settings = replace(self._settings, button="", listen=listen)
        self._idle = Event()  # whether nothing is told
        self._conversation = None
        self._troubles: set[str] = set()  # that have been said

    def attach(self, loop) -> None:
        self._loop = loop
        if self._mic or self._settings.button:
            loop.follow(self._follow)
            Thread(target=self._live, name="duostory-ear", daemon=True).start()

    def _follow(self, busy: bool) -> None:
        if not busy:
            self._idle.set()
            return
        self._idle.clear()
        if self._conversation:
            self._conversation.stop()

    def _live(self) -> None:
        self._idle.wait()  # or what is loaded here would hold up the first words of all
        while self._mic:
            from ..hearing.pocketsphinx import NoPocketsphinx

            try:
                self._converse()
            except StoryError as error:
                self._mic = not isinstance(error, NoPocketsphinx)  # which does not come with a plug
                self._say_once(error)
            except Exception as error:  # the next conversation may be better
                report(error)
            self._conversation = None
            if self._mic:
                self._wait_for_presses(LOOK)
        self._wait_for_presses(None)

    def _say_once(self, error: StoryError) -> None:
        if str(error) not in self._troubles:
            self._troubles.add(str(error))
            say(f"duostory: {error}", WARNING)

    def _converse(self) -> None:
        """Listen and answer, as long as there is a microphone."""
        from ..hearing.session import open_conversation

        with closing(open_conversation(self._settings, Mouth(self._robot), Audience(None))) as conversation:
            self._conversation = conversation
            self._idle.clear()
            self._loop.call(self._loop.greet, conversation.greeting.removeprefix(READY), "")
            while True:
                with conversation.telling(partial(self._loop.call, self._loop.take, Order("stop"))):
                    self._idle.wait()
                with self._robot.sound.floor:
                    command = conversation.next()  # None when a story begins that somebody else has asked for
                if command and command.kind in STORIES:
                    self._idle.clear()
                    self._loop.call(self._loop.take, Order(STORIES[command.kind], command.text))

    def _wait_for_presses(self, seconds: float | None) -> None:
        """Let the button do what it does without a microphone, for so many seconds, or for ever."""
        end = None if seconds is None else time.monotonic() + seconds
        try:
            if self._settings.button:
                from ..hearing.buttons import open_button

                with closing(open_button(self._settings.button)) as button:
                    while end is None or time.monotonic() < end:
                        if button.wait(None if end is None else max(0.0, end - time.monotonic())):
                            self._loop.call(self._loop.take, Order("button"))
        except StoryError as error:
            self._say_once(error)
        if end is not None:
            time.sleep(max(0.0, end - time.monotonic()))
