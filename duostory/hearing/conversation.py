"""A conversation with one who wishes for stories: from the button, by way of the microphone and the voice, to a command.

    with closing(open_conversation(settings, mouth, page)) as conversation:
        conversation.greet()
        while command := conversation.next():  # waits, listens, asks back; None when it is over
            ...                                # carry it out

The robot is deaf while it speaks: it listens when everything has been heard that was said, and then forgets first what the
microphone has captured.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import TYPE_CHECKING

from duostory import StoryError
from duostory.hearing.buttons import Button, ButtonGone
from duostory.hearing.dialogue import WISHES, YES_NO, Answer, Ask, Dialogue, Done
from duostory.hearing.grammar import Command, Wish
from duostory.hearing.light import Light
from duostory.hearing.listening import BEGIN_S, PAUSE_S, Heard, Listener
from duostory.hearing.sources import DeviceGone, NoMicrophone
from duostory.page import INFO, Page, say
from duostory.speech.mouth import Mouth

if TYPE_CHECKING:
    from duostory.hearing.pocketsphinx import Recogniser
    from duostory.hearing.wake import WakePhrase

# An answer begins sooner than a wish, and is a word or two: whoever pauses has finished.
ANSWER_S, ANSWER_PAUSE_S = 6.0, 0.15
ROUND_S = 30.0  # of waiting for a voice; then it is looked whether the microphone is alive
AWAY_S, RETRY_S = 300.0, 0.5  # how long a microphone may be gone, and how often it is looked for
LOOK_S = 0.1  # seconds between two looks at stop(), and in a story at the button


class Conversation:
    """Listens with `listener` and what `open_recogniser` opens, which exists only while it waits and listens.

    `begin` is what begins a dialogue: "push", the `button`; "voice", a wish that is heard for certain, while other talk is
    passed over; "wake", the phrase of what `open_phrase` opens; "", whatever is heard next. The button begins one in any case
    and stops stories. Without a `mouth` everything is only printed. `keep` is given the sound of all that was heard.

    greeting -- what to say when it can be used
    understood -- how many sentences made sense
    unanswered -- whether the last question had no answer when it was over
    """

    def __init__(self, listener: Listener, open_recogniser: Callable[[], Recogniser], open_phrase: Callable[[], WakePhrase],
                 dialogue: Dialogue, mouth: Mouth | None, page: Page, *, begin: str = "", greeting: str = "",
                 button: Button | None = None, light: Light | None = None,
                 keep: Callable[[bytes], None] | None = None) -> None:
        self._listener, self._open, self._open_phrase, self._dialogue = listener, open_recogniser, open_phrase, dialogue
        self._mouth, self._page, self._begin, self.greeting = mouth, page, begin, greeting
        self._button, self._light, self._keep = button, light, keep
        self._recogniser: Recogniser | None = None
        self._stopped, self._hinted = False, ""
        self.understood, self.unanswered = 0, False

    def greet(self) -> None:
        """Say that it can be used now, and how."""
        if self.greeting:
            self.say("", "ready")
            self.say(self.greeting)

    def say(self, text: str, earcon: str = "", meanwhile: Callable[[], object] | None = None) -> None:
        """Print and speak `text`, then play the earcon; return when both have been heard. What is spoken gives time for what may
        be done `meanwhile`."""
        if self._light:
            self._light.off()
        if text:
            say(text, INFO)
        if self._mouth:
            self._mouth.say(text, earcon, meanwhile)

    def next(self) -> Command | None:
        """The next command that is not carried out here: for a story, or "good night". None at the end of a file, and
        after stop(). Raises StoryError; after whatever a signal raises the microphone is still open."""
        try:
            while True:
                if self._stopped:  # before anything is loaded
                    raise _Over
                done = self._talk()
                if done.command:
                    self._forget()
                self.say(done.text)
                if done.command:
                    return done.command
        except _Over:
            return None
        finally:
            self._stopped = False
            self._forget()
            if self._light:
                self._light.off()

    def stop(self) -> None:
        """Let next() return None within 0.2 s, but not before what is being said has been said, and what is searched meanwhile has
        been. From any thread."""
        self._stopped = True

    def close(self) -> None:
        """Let go of the microphone, the button and the light."""
        self._forget()
        for each in (self._listener.source, self._button, self._light):
            if each:
                each.close()

    @contextlib.contextmanager
    def telling(self, stop: Callable[[], None]) -> Iterator[None]:
        """While a story is told the button calls `stop`, on a thread of its own."""
        if not self._button:
            yield
            return
        over = Event()

        def watch() -> None:
            with contextlib.suppress(ButtonGone):  # which next() will meet, too
                while not over.wait(LOOK_S):
                    if self._button.pressed():
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
        answer = self._first(next(talk))
        try:
            while True:
                answer = self._answer(talk.send(answer))
        except StopIteration as end:
            return end.value

    def _first(self, ask: Ask) -> Answer:
        """Wait for what begins a dialogue, and return the first thing that is said in it."""
        if self._begin == "push":
            self._need_recogniser()  # or who has pressed the button would wait for it
            while not self._button.wait(LOOK_S):
                if self._stopped:
                    raise _Over
        elif self._begin == "wake":
            self._await_phrase()
        elif self._begin == "voice":
            listed = ask._replace(listen_for=WISHES)  # of a free wish one never knows how certain it is
            while (heard := self._listen(listed, ROUND_S)).ended != "button":
                answer = self._understood(heard, ask)
                if answer.command and answer.confident and answer.command.kind not in ("yes", "no"):
                    return answer
                heard = answer = None  # nor is their sound kept
        return self._answer(ask)

    def _await_phrase(self) -> None:
        self._forget()
        with contextlib.closing(self._open_phrase()) as phrase:
            while True:
                try:
                    said = self._listener.wait(phrase, button=self)
                    break
                except DeviceGone as gone:
                    self._await_microphone(gone)
        if self._stopped or not said:
            raise _Over

    def _answer(self, ask: Ask) -> Answer:
        self.unanswered = ask.listen_for == YES_NO
        if self.unanswered:
            self._page.event("confirm", text=ask.text)
        self.say(ask.text, "listening", ask.meanwhile)
        answer = self._understood(self._listen(ask, ANSWER_S if self.unanswered else BEGIN_S), ask)
        self.unanswered = False
        return answer

    def _listen(self, ask: Ask, timeout: float) -> Heard:
        recogniser = self._need_recogniser()
        recogniser.use(ask.listen_for, ask.without, ask.offered)
        pause = ANSWER_PAUSE_S if ask.listen_for == YES_NO else PAUSE_S
        if self._button:
            self._button.pressed()  # before, while the robot spoke: that is past
        while True:
            try:
                heard = self._listener.listen(recogniser, timeout, pause=pause, button=self, light=self._light)
                break
            except DeviceGone as gone:
                self._await_microphone(gone)
        if self._stopped or heard.ended == "end" and not heard.hypothesis:
            raise _Over
        return heard

    def pressed(self) -> bool:
        """For the listener, whether to stop: because of the button, or of stop()."""
        return self._stopped or bool(self._button and self._button.pressed())

    def _await_microphone(self, gone: DeviceGone) -> None:
        self._page.notice(f"{gone}; I wait until it is back")
        until = time.monotonic() + AWAY_S
        while time.monotonic() < until:
            time.sleep(RETRY_S)
            if self._stopped:
                raise _Over
            with contextlib.suppress(NoMicrophone):
                self._listener.source.reopen()
                self._page.notice("the microphone is back")
                return
        raise StoryError(f"{gone} and was not back within {AWAY_S / 60:g} minutes")

    def _understood(self, heard: Heard, ask: Ask) -> Answer:
        """What is meant."""
        hypothesis, level = heard.hypothesis, heard.level.verdict
        if not hypothesis and heard.ended == "button":
            return Answer(Command("stop"))
        command = self._recogniser.meaning(hypothesis.text, ask.offered) if hypothesis else None
        if hypothesis:
            text = hypothesis.text.replace("_", " ")
            self._page.event("heard", text=text, command=command and command.kind,
                             subjects=command.subjects if command else (), level=level)
            if self._keep:
                self._keep(heard.pcm)
        self.understood += command is not None
        hint = heard.level.hint if not command and (hypothesis or level == "silent") else ""
        if hint and hint != self._hinted:
            self._page.notice(hint)
        self._hinted = hint
        # What is so quiet and makes no sense may be the room alone.
        voice = bool(hypothesis) and (command is not None or level != "quiet")
        answer = _Answer(command, voice, level=level)
        answer.hypothesis, answer.recogniser, answer.offered = hypothesis, self._recogniser, ask.offered
        return answer

    def _need_recogniser(self) -> Recogniser:
        self._recogniser = self._recogniser or self._open()
        return self._recogniser

    def _forget(self) -> None:
        """Give the memory of the recogniser back: a story needs it."""
        if self._recogniser:
            self._recogniser.close()
            self._recogniser = None


class _Answer(Answer):
    """How certain it is takes time to find out, and most dialogues do not ask."""

    @property
    def confident(self) -> bool:
        return self.hypothesis.confident

    def otherwise(self, without: tuple[Wish, ...]) -> Answer:
        hypothesis = self.recogniser.reconsider(self.hypothesis, without, self.offered)
        answer = _Answer(self.recogniser.meaning(hypothesis.text, self.offered))
        answer.hypothesis = hypothesis
        return answer


class _Over(Exception):
    """The file has ended, or stop() was called."""
