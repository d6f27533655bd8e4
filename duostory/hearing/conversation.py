"""A conversation with one who wishes for stories: from the button, by way of the microphone and the voice, to a command.

    conversation = open_conversation(settings, mouth, page)
    conversation.greet()
    while command := conversation.next():  # waits, listens, asks back; None when it is over
        ...                                # carry it out
    conversation.close()

The robot is deaf while it speaks: it listens when everything has been heard that was said, and then forgets first what the
microphone has captured.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread

from duostory import StoryError
from duostory.hearing.dialogue import TEXTS, WISHES, YES_NO, Answer, Ask, Dialogue, Done, turned
from duostory.hearing.grammar import Command
from duostory.hearing.listening import BEGIN_S, PAUSE_S, Heard, Listener
from duostory.hearing.sources import RATE, DeviceGone, NoMicrophone
from duostory.page import Page, say

# An answer begins sooner than a wish, and is one word: whoever stops has finished.
ANSWER_S, ANSWER_PAUSE_S = 6.0, 0.15
ROUND_S = 30.0  # seconds of waiting for a voice, until it is looked whether the microphone is alive
AWAY_S, RETRY_S = 300.0, 0.5  # how long a microphone may be gone, and how often it is looked for
POLL_S = 0.05  # seconds between two looks at the button


class Conversation:
    """Listens with `listener` and what `open_recogniser` opens, which is there only while it waits and listens.

    With a `button` one who wishes presses it first; with `hands_free` a wish that is understood for certain begins the
    conversation, and other talk is passed over; with neither, everything that is heard is a wish or an answer.
    `turn` turns the volume, as for Dialogue. `keep` is given the sound of all that was heard.
    """

    def __init__(self, listener: Listener, open_recogniser: Callable, dialogue: Dialogue, mouth, page: Page, *,
                 button=None, hands_free: bool = False, keep: Callable[[bytes], None] | None = None) -> None:
        self._listener, self._open, self._dialogue = listener, open_recogniser, dialogue
        self._mouth, self._page, self._button, self._hands_free, self._keep = mouth, page, button, hands_free, keep
        self._recogniser = None
        self._over = False
        self.understood = self.settled = 0  # things that were said; conversations that led to something

    def greet(self, text: str) -> None:
        self.say("", "ready")
        self.say(text)

    def next(self) -> Command | None:
        """What is wished for next: to be told, or "good night". None at the end of a file and after stop()."""
        while not self._over:
            try:
                done = self._talk()
            except _Over:
                break
            if done.command:
                self._forget()
            self.say(done.text)
            if done.command:
                self.settled += 1
                return done.command
        self._forget()
        return None

    def say(self, text: str, earcon: str = "") -> None:
        """Print and speak it; return when it has been heard."""
        if text:
            say(text)
        if self._mouth:
            self._mouth.say(text, earcon)

    def stop(self) -> None:
        """End the conversation: next() returns None soon. From any thread."""
        self._over = True

    def close(self) -> None:
        self._forget()
        self._listener.source.close()
        if self._button:
            self._button.close()

    @contextlib.contextmanager
    def interruptible(self, stop: Callable[[], None]) -> Iterator[None]:
        """Meanwhile the button calls `stop`, on a thread."""
        if not self._button:
            yield
            return
        over = Event()

        def watch() -> None:
            while not over.wait(POLL_S):
                if self._over or self._button.pressed():
                    stop()
                    return

        watcher = Thread(target=watch, name="duostory-button", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _talk(self) -> Done:
        talk = self._dialogue.talk()
        ask = next(talk)
        answer = self._first(ask)
        try:
            while True:
                ask = talk.send(answer)
                answer = self._ask(ask)
        except StopIteration as end:
            return end.value

    def _first(self, ask: Ask) -> Answer:
        """The first answer of a conversation, after what begins it."""
        if self._button:
            self._need_recogniser()  # now, so that it listens as soon as it is asked to
            while not self._button.wait(POLL_S):
                if self._over:
                    raise _Over
        elif self._hands_free:
            while True:
                heard = self._listen(ask, ROUND_S)
                answer = self._understood(heard)
                if answer.command and answer.confident and answer.command.kind not in ("yes", "no"):
                    return answer
        return self._ask(ask)

    def _ask(self, ask: Ask) -> Answer:
        if ask.listen_for == YES_NO:
            self._page.event("confirm", text=ask.text)
        self.say(ask.text, "listening")
        return self._understood(self._listen(ask, BEGIN_S if ask.listen_for == WISHES else ANSWER_S))

    def _listen(self, ask: Ask, timeout: float) -> Heard:
        recogniser = self._need_recogniser()
        recogniser.use(ask.listen_for)
        pause = PAUSE_S if ask.listen_for == WISHES else ANSWER_PAUSE_S
        while True:
            try:
                heard = self._listener.listen(recogniser, timeout, pause=pause, button=self)
                break
            except DeviceGone as gone:
                self._await_microphone(gone)
        if self._over or heard.ended == "end" and not heard.hypothesis:
            raise _Over
        return heard

    def pressed(self) -> bool:
        """For the listener: whether it shall hear what was said until now, and no more."""
        return self._over or bool(self._button and self._button.pressed())

    def _await_microphone(self, gone: DeviceGone) -> None:
        self._page.notice(f"{gone}; I wait until it is back")
        until = time.monotonic() + AWAY_S
        while not self._over:
            time.sleep(RETRY_S)
            with contextlib.suppress(NoMicrophone):
                self._listener.source.reopen()
                self._page.notice("the microphone is back")
                return
            if time.monotonic() > until:
                raise StoryError(f"{gone} and was not back within {AWAY_S / 60:g} minutes")

    def _understood(self, heard: Heard) -> Answer:
        hypothesis, verdict = heard.hypothesis, heard.level.verdict
        command = self._recogniser.meaning(hypothesis.text) if hypothesis else None
        if command:
            self.understood += 1
        elif heard.level.hint:
            self._page.notice(heard.level.hint)
        if hypothesis:
            self._page.event("heard", text=hypothesis.text, command=command and command.kind,
                             subjects=command.subjects if command else (), confident=hypothesis.confident, level=verdict)
            if self._keep:
                self._keep(heard.pcm)
        return Answer(command, bool(hypothesis), bool(hypothesis and hypothesis.confident), verdict)

    def _need_recogniser(self):
        self._recogniser = self._recogniser or self._open()
        return self._recogniser

    def _forget(self) -> None:
        """Let go of the recogniser, whose memory the story needs."""
        if self._recogniser:
            self._recogniser.close()
            self._recogniser = None


class _Over(Exception):
    """The file has ended, or stop() was called."""
