"""What is loaded once for all stories: the model, the list of words, and the way to the loudspeaker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from threading import Lock

from .. import StoryError, config
from ..config import Settings
from ..engine import Model
from ..gate import Gate
from ..page import WARNING, say
from ..story import Story
from ..wish import Prompt, prompt_for
from .orders import Order


class Sound:
    """The way to the loudspeaker. It is opened for each turn, because a sound card may come and go.

    missing -- why there was no sound the last time; "" when there was, or none is wanted
    floor -- held by whoever speaks, or listens: a turn, or a conversation
    """

    def __init__(self, settings: Settings) -> None:
        self.floor = Lock()
        self._settings, self._mute = settings, settings.silent
        self.missing = ""

    def open(self, volume: int, notice: Callable[[str], None] = say):
        """A player, or None where there is no sound, which is said once. Raises StoryError for settings of no voice."""
        from .. import speech

        missing, self.missing = self.missing, ""
        if not (voice := self.voice()):
            return None
        try:
            sink = speech.open_sink(self._settings.sink, voice.rate, device=self._settings.device)
        except speech.NoSoundDevice as error:
            self.missing, self._rate = str(error), voice.rate
            if not missing:
                say(f"duostory: stories are only shown until there is a sound device: {error}", WARNING)
            return None
        if missing:
            say("duostory: there is a sound device now")
        return speech.Player(voice, sink, volume=volume, notice=notice)

    def is_back(self) -> bool:
        """Whether the sound device that was missing is there now. It opens no voice, so it may be asked while others speak."""
        from .. import speech

        try:
            speech.open_sink(self._settings.sink, self._rate, device=self._settings.device).close()
            return True
        except StoryError:
            return False

    def voice(self):
        """A voice that starts outside of quotes, at the rate that is set, or None where there is none; the library behind it
        is loaded once. Raises StoryError for settings of no voice."""
        if self._mute:
            return None
        from .. import speech
        from ..speech.espeak import NoEspeak

        settings = self._settings
        try:
            return speech.open_voice(settings.speech, voice=settings.voice, rate_wpm=settings.rate, pitch=settings.pitch)
        except NoEspeak as error:
            if settings.speech != "auto":
                raise
            self._mute = True
            say(f"duostory: stories are only shown: {error}", WARNING)
            return None

    def speak(self, words: str, earcon: str = "", volume: int | None = None,
              meanwhile: Callable[[], object] | None = None) -> None:
        """Say something, then play a sound; return when both have been heard. `meanwhile` may be called while words sound."""
        if player := self.open(self._settings.volume if volume is None else volume):
            from ..speech.mouth import utter

            utter(player, words, earcon, meanwhile)


class Robot:
    """Everything that a turn needs. `settings` may be replaced; a turn takes those that it finds when it begins."""

    def __init__(self, settings: Settings, sound: Sound, model: Model, gate: Gate | None) -> None:
        self.settings, self.sound, self.model, self.gate = settings, sound, model, gate
        self._last: tuple[Settings, Prompt] | None = None
        self._unkept: str | None = None  # why something could not be kept the last time

    def stories(self, order: Order) -> list[Story]:
        """The stories that `order` asks for. Raises StoryError where it cannot be fulfilled."""
        if order.kind == "again":
            self._settings, self._prompt = self._last or self._recalled()
        else:
            self._settings, self._prompt = self.settings, prompt_for(order.text, self.model.metadata)
        # Seeds are short, for people read them; two stories asked for in one microsecond are hardly ever missed.
        first = self._settings.seed or 1 + time.time_ns() // 1000 % 10**9
        seeds = [1 + (first + number - 1) % (2**64 - 1) for number in range(self._settings.stories)]  # never 0
        return [Story(self.model, self._prompt, replace(self._settings, seed=seed), gate=self.gate) for seed in seeds]

    def begun(self, story: Story) -> None:
        """Keep what is needed to tell this story again."""
        settings = replace(self._settings, seed=story.seed, stories=1)
        self._last = settings, self._prompt
        self.kept(config.remember(settings, *self._prompt, self.model.info.crc32))

    def kept(self, problem: str | None) -> None:
        """Say that something could not be kept, and nothing more until something could be."""
        if problem and not self._unkept:
            say(f"duostory: cannot keep {problem}; going on without", WARNING)
        self._unkept = problem

    def _recalled(self) -> tuple[Settings, Prompt]:
        last = config.recall()
        if last.crc32 != self.model.info.crc32:
            raise StoryError("the model is not the one that told the last story; tell a new story")
        settings, _ = config.load({}, again=last.settings)
        return settings, Prompt(last.header, last.opening)
