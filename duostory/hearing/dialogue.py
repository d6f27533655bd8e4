"""What is said and done next, given what was heard. No sound and no clock: a dialogue is a generator.

    talk = Dialogue(offers, turn).talk()
    ask = next(talk)                    # say ask.text, then listen for ask.listen_for
    ask = talk.send(Answer(command))    # and so on, until StopIteration, whose value is a Done: what to do

No wish is told that was not understood and, unless the user is impatient, confirmed; only after three failures a surprise is.
And no story begins for somebody who says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import cache, partial
from itertools import islice
from typing import NamedTuple

from .grammar import FREE, Command, Wish, lacking

WISHES, YES_NO = "wishes", "yes-no"  # what can be listened for
FAILURES = 2  # until three subjects are offered; one more starts a surprise story
UNCLEAR = 2  # answers to a question, until they count as no
VOLUME_STEP = 10  # percent
# What is offered, three at a time: subjects of which the story model knows most.
OFFERS = ("a dragon", "a robot", "a bear", "a princess", "a rabbit", "a pirate", "a kitten", "a frog", "a fairy",
          "a train", "an owl", "a monkey")

# All that is said, in short sentences that a child understands.
TEXTS = {
    "ready push": "I am ready. Press {button}, and tell me what the story is about.",
    "ready voice": "I am ready. Say: tell me a story about a dragon.",
    "ready wake": "I am ready. Say: hey robot. Then tell me what the story is about.",
    "story?": "A story about {what}. Yes?",
    "instead?": "A story about {what}, then. Yes?",
    "surprise?": "A surprise story. Yes?",
    "again?": "The last story again. Yes?",
    "good night?": "Shall I go to sleep? Yes?",
    "yes or no": "Please say yes or no.",
    "not understood": "I did not understand.",
    "clipped": "That was too loud for me. Please step back a little.",
    "silent": "I can't hear you. Is the microphone on?",
    "wish": "What is the story about?",
    "offer": "I know stories about {what}. Which one?",
    "nobody": "Is anybody there? Please come closer.",
    "gone": "Then I wait.",
    "all right": "All right.",
    "louder": "I am louder now.",
    "loudest": "I can't be louder.",
    "softer": "I am softer now.",
    "softest": "I can't be softer.",
    "surprise": "Then I have a surprise for you.",
    "good night": "Good night.",
    "never told": "I have not told a story yet.",
    "unwanted": "I don't tell stories like that.",
}


class Answer(NamedTuple):
    """What came of listening."""

    command: Command | None  # None: nothing that was understood
    voice: bool = True  # whether anybody spoke, and loud enough
    confident: bool = True
    level: str = "fine"  # of the sound: "fine", "quiet", "clipped" or "silent"
    # What the same sound may be if it is a wish, and none of these. May take longer than to understand it did.
    otherwise: Callable[[tuple[Wish, ...]], Answer] = lambda without: Answer(None)


class Ask(NamedTuple):
    text: str  # to say first; perhaps nothing
    listen_for: str  # WISHES, YES_NO or FREE
    without: tuple[Wish, ...] = ()  # wishes that have been refused, and that nobody wants to hear of again
    offered: tuple[str, ...] = ()  # wishes that `text` names ("a dragon"), of which one is likely to be the answer
    meanwhile: Callable[[], object] | None = None  # if called while `text` is said, nobody has to wait for it later


class Done(NamedTuple):
    text: str  # to say first; perhaps nothing
    command: Command | None  # to carry out then; None: nothing


class _Over(Exception):
    """The dialogue ends without a story. The argument is what to say."""


class Dialogue:
    """Dialogues with one who wishes for stories.

    `offers` yields subjects without end ("a dragon"). `turn`, called with "louder" or "softer", turns the volume and
    returns what to say about it. Without `confirm`, what was heard for certain is not asked back. With
    `free`, wishes are free until subjects are offered, and always asked back.
    """

    def __init__(self, offers: Iterator[str], turn: Callable[[str], str], *, confirm: bool = True,
                 free: bool = False) -> None:
        self._offers, self._turn, self._confirm, self._free = offers, turn, confirm, free

    def talk(self) -> Generator[Ask, Answer, Done]:
        """From the moment when somebody is about to wish."""
        try:
            return (yield from self._wish())
        except _Over as over:
            return Done(over.args[0], None)

    def _wish(self) -> Generator[Ask, Answer, Done]:
        self._refused: tuple[Wish, ...] = ()
        offered: tuple[str, ...] = ()
        text, question = "", TEXTS["wish"]  # an earcon asks the first time
        for failures in range(1, FAILURES + 2):
            free = self._free and failures <= FAILURES
            answer = yield from self._ask(text, question, FREE if free else WISHES, offered)
            command, why = answer.command, ""
            if command is None or command.kind in ("yes", "no"):  # which are no wishes
                command, why = None, TEXTS["clipped" if answer.level == "clipped" else "not understood"]
            elif self._confirm or free or not answer.confident:
                command = yield from self._confirmed(answer)
            if command:
                return Done(TEXTS.get(command.kind, ""), command)
            if failures == FAILURES:
                offered = self._offer()
                question = TEXTS["offer"].format(what="{}, {} and {}".format(*offered))
            text = _join(why, question)
        return Done(_join(why, TEXTS["surprise"]), Command("surprise"))

    def _offer(self) -> tuple[str, ...]:
        refused = next(lacking(self._refused))  # and so are not listened for
        return tuple(islice((offer for offer in self._offers if not offer.endswith(refused)), 3))

    def _confirmed(self, answer: Answer) -> Generator[Ask, Answer, Command | None]:
        """The command, or the one that somebody wants instead; None for no.

        At the first no to a wish the same sound is understood anew, and at the second it is given up. What was refused is not
        heard again in this dialogue.
        """
        wished, instead, unclear, why = answer, False, 0, ""
        other = self._other(wished)
        if wished.command.subjects in self._refused:  # a free wish that was heard so again
            wished, instead = other(), True
        while wished.command and unclear < UNCLEAR:
            command = wished.command
            question = TEXTS["instead?" if instead else f"{command.kind}?"].format(what=command.text)
            answer = yield from self._ask(_join(why, question), question, YES_NO, meanwhile=None if instead else other)
            kind, why = answer.command and answer.command.kind, ""
            if kind == "no":
                self._refused += (command.subjects,) if command.subjects else ()
                if instead or not other:
                    return None
                wished, instead, unclear = other(), True, 0
            elif kind == "yes" and answer.confident:
                return command
            elif kind in ("yes", None):
                unclear, why = unclear + 1, TEXTS["yes or no"]
            elif kind != "again":  # say it again, that means here
                wished, instead, unclear = answer, False, 0
                other = self._other(wished)
        return None

    def _other(self, wished: Answer) -> Callable[[], Answer] | None:
        """What else the sound of this wish may be, found out once; None if it is no wish for a story."""
        if wished.command.kind != "story":
            return None
        return cache(partial(wished.otherwise, (*self._refused, wished.command.subjects)))

    def _ask(self, text: str, question: str, listen_for: str, offered: tuple[str, ...] = (),
             meanwhile: Callable[[], object] | None = None) -> Generator[Ask, Answer, Answer]:
        """Say `text` and return what is answered to it, if need be to `question` at the second time of asking."""
        asked_again = False
        while True:
            answer = yield Ask(text, listen_for, self._refused, offered, meanwhile)
            kind = answer.command and answer.command.kind
            if not answer.voice:
                if asked_again or answer.level == "silent":
                    raise _Over(TEXTS["silent" if answer.level == "silent" else "gone"])
                asked_again, text = True, _join(TEXTS["nobody"], question)
            elif kind == "stop":
                raise _Over(TEXTS["all right"])
            elif kind in ("louder", "softer"):
                if listen_for != YES_NO:
                    raise _Over(self._turn(kind))
                text = _join(self._turn(kind), question)
            else:
                return answer


def turned(kind: str, volume: int, low: int, high: int) -> tuple[int, str]:
    """The volume after "louder" or "softer", in percent and within its limits, and what to say about it."""
    step = VOLUME_STEP if kind == "louder" else -VOLUME_STEP
    new = min(max(volume + step, low), high)
    return new, TEXTS[kind if new != volume else {"louder": "loudest", "softer": "softest"}[kind]]


def _join(*parts: str) -> str:
    return " ".join(filter(None, parts))
