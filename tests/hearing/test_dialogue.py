"""What is said and done next, given what was heard: as tables."""

from itertools import cycle

import pytest

from duostory.hearing.dialogue import OFFERS, Answer, Dialogue, turned
from duostory.hearing.grammar import Heard, lacking
from tests.conftest import ROOT

meaning = Heard(ROOT / "models" / "heard.txt").meaning

NOTHING = Answer(None, voice=False)  # nobody says anything
DEAF = Answer(None, voice=False, level="silent")  # and nobody could be heard
MUMBLE, SHOUT = Answer(None), Answer(None, level="clipped")


def heard(text):
    """What somebody says: "dragon | cat" may have been a cat, if it was no dragon, and "dragon?" is not certain."""
    text, _, other = text.partition(" | ")
    return Answer(meaning(text.rstrip("?")), confident=not text.endswith("?"), otherwise=lambda without: heard(other))


def talk(*answers, confirm=True):
    """Everything that is said when somebody answers so, and the command that is to be carried out."""
    offers = cycle(["a dragon", "a robot", "a bear", "the moon"])
    dialogue = Dialogue(offers, "I am {} now.".format, confirm=confirm).talk()
    ask, said = next(dialogue), []
    for number, answer in enumerate(answers, 1):
        said.append(ask.text)
        if isinstance(answer, str):
            answer = heard(answer)
        try:
            ask = dialogue.send(answer)
        except StopIteration as end:
            assert number == len(answers)
            text, command = end.value
            return [*said, text], command and (command.kind, *command.subjects)
    raise AssertionError(f"still asked {ask}")


DRAGON, STORY = "tell me a story about a dragon", "A story about a dragon. Yes?"
WISH, NOBODY = "What is the story about?", "Is anybody there? Please come closer."
NOT_UNDERSTOOD = f"I did not understand. {WISH}"
OFFER = "I know stories about a dragon, a robot and a bear. Which one?"
OTHERS = "I know stories about a robot, a bear and the moon. Which one?"  # than a dragon
FROG, DOG = "A story about a frog. Yes?", "A story about a dog, then. Yes?"


@pytest.mark.parametrize("answers, said, command", [
    ([DRAGON, "yes"], ["", STORY, ""], ("story", "dragon")),
    (["tell me a story about a dragon and a cat", "yes"], ["", "A story about a dragon and a cat. Yes?", ""],
     ("story", "dragon", "cat")),
    (["again", "yes"], ["", "The last story again. Yes?", ""], ("again",)),
    (["good night", "yes"], ["", "Shall I go to sleep? Yes?", "Good night."], ("good night",)),
    # no, and another wish; a wish right away; both wishes wrong
    ([DRAGON, "no", "tell me a story about a cat", "yes"], ["", STORY, WISH, "A story about a cat. Yes?", ""], ("story", "cat")),
    ([DRAGON, "a cat", "yes"], ["", STORY, "A story about a cat. Yes?", ""], ("story", "cat")),
    ([DRAGON, "no", "a cat", "no", "a robot", "yes"],
     ["", STORY, WISH, "A story about a cat. Yes?", OTHERS, "A story about a robot. Yes?", ""], ("story", "robot")),
    # no, but perhaps it was another wish: once for each time that one wishes
    (["a frog | a dog", "no", "yes"], ["", FROG, DOG, ""], ("story", "dog")),
    (["a frog | a dog", "no", "no", "a cat | a duck", "no", "no", "a bear | a horse", "no", "no"],
     ["", FROG, DOG, WISH, "A story about a cat. Yes?", "A story about a duck, then. Yes?", OFFER, "A story about a bear. Yes?",
      "A story about a horse, then. Yes?", "Then I have a surprise for you."], ("surprise",)),
    (["a frog | a dog", "no", MUMBLE, "again", "yes"], ["", FROG, DOG, f"Please say yes or no. {DOG}", DOG, ""], ("story", "dog")),
    (["a frog | a dog", MUMBLE, MUMBLE, "a cat", "yes"],
     ["", FROG, f"Please say yes or no. {FROG}", WISH, "A story about a cat. Yes?", ""], ("story", "cat")),
    (["a frog | a dog", "no", "a cat | a duck", "no", "yes"],
     ["", FROG, DOG, "A story about a cat. Yes?", "A story about a duck, then. Yes?", ""], ("story", "duck")),
    (["good night | a dog", "no", "a cat", "yes"], ["", "Shall I go to sleep? Yes?", WISH, "A story about a cat. Yes?", ""],
     ("story", "cat")),
    (["a frog | nothing", "no", "a cat", "yes"], ["", FROG, WISH, "A story about a cat. Yes?", ""], ("story", "cat")),
    # the question again; an answer that is not understood, or not for certain, once and twice
    ([DRAGON, "again", "yes"], ["", STORY, STORY, ""], ("story", "dragon")),
    ([DRAGON, MUMBLE, "yes"], ["", STORY, f"Please say yes or no. {STORY}", ""], ("story", "dragon")),
    ([DRAGON, "yes?", "yes"], ["", STORY, f"Please say yes or no. {STORY}", ""], ("story", "dragon")),
    ([DRAGON, MUMBLE, "yes?", "a cat", "yes"],
     ["", STORY, f"Please say yes or no. {STORY}", WISH, "A story about a cat. Yes?", ""], ("story", "cat")),
    ([DRAGON, MUMBLE, "a cat", MUMBLE, "yes"],
     ["", STORY, f"Please say yes or no. {STORY}", "A story about a cat. Yes?", "Please say yes or no. A story about a cat. Yes?", ""],
     ("story", "cat")),
    # not understood: asked again, three offered, and then a surprise
    ([MUMBLE, DRAGON, "yes"], ["", NOT_UNDERSTOOD, STORY, ""], ("story", "dragon")),
    ([SHOUT, DRAGON, "yes"], ["", f"That was too loud for me. Please step back a little. {WISH}", STORY, ""], ("story", "dragon")),
    ([MUMBLE, MUMBLE, MUMBLE], ["", NOT_UNDERSTOOD, f"I did not understand. {OFFER}",
                                "I did not understand. Then I have a surprise for you."], ("surprise",)),
    ([MUMBLE, "yes", DRAGON, "no"], ["", NOT_UNDERSTOOD, f"I did not understand. {OFFER}", STORY,
                                     "Then I have a surprise for you."], ("surprise",)),
    # for somebody who says nothing there is no story
    ([NOTHING, NOTHING], ["", f"{NOBODY} {WISH}", "Then I wait."], None),
    ([NOTHING, DRAGON, NOTHING, NOTHING],
     ["", f"{NOBODY} {WISH}", STORY, f"{NOBODY} {STORY}", "Then I wait."], None),
    ([MUMBLE, MUMBLE, NOTHING, NOTHING], ["", NOT_UNDERSTOOD, f"I did not understand. {OFFER}", f"{NOBODY} {OFFER}",
                                          "Then I wait."], None),
    ([DEAF], ["", "I can't hear you. Is the microphone on?"], None),
    ([DRAGON, DEAF], ["", STORY, "I can't hear you. Is the microphone on?"], None),
    # at any time
    (["stop"], ["", "All right."], None),
    ([DRAGON, "stop"], ["", STORY, "All right."], None),
    (["louder"], ["", "I am louder now."], None),
    ([DRAGON, "softer", "yes"], ["", STORY, f"I am softer now. {STORY}", ""], ("story", "dragon")),
])  # fmt: skip
def test_dialogues(answers, said, command):
    assert talk(*answers) == (said, command)


@pytest.mark.parametrize("answers, said, command", [
    ([DRAGON], ["", ""], ("story", "dragon")),
    (["good night"], ["", "Good night."], ("good night",)),
    ([f"{DRAGON}?", "yes"], ["", STORY, ""], ("story", "dragon")),  # not heard for certain
    ([MUMBLE, DRAGON], ["", NOT_UNDERSTOOD, ""], ("story", "dragon")),
    ([NOTHING, NOTHING], ["", f"{NOBODY} {WISH}", "Then I wait."], None),
])  # fmt: skip
def test_dialogues_of_the_impatient(answers, said, command):
    assert talk(*answers, confirm=False) == (said, command)


def test_three_others_are_offered_the_next_time():
    offers = cycle(["a dragon", "a robot", "a bear", "the moon", "a cat", "an owl"])
    dialogue = Dialogue(offers, str.format)
    seen = []
    for _ in range(2):
        talk = dialogue.talk()
        next(talk), talk.send(MUMBLE)
        seen.append(talk.send(MUMBLE).text.partition("about ")[2])
    assert seen == ["a dragon, a robot and a bear. Which one?", "the moon, a cat and an owl. Which one?"]


@pytest.mark.parametrize("kind, volume, low, high, turned_to, said", [
    ("louder", 50, 0, 100, 60, "I am louder now."),
    ("softer", 50, 0, 100, 40, "I am softer now."),
    ("louder", 95, 0, 100, 100, "I am louder now."),
    ("louder", 100, 0, 100, 100, "I can't be louder."),
    ("louder", 60, 0, 60, 60, "I can't be louder."),
    ("softer", 30, 25, 60, 25, "I am softer now."),
    ("softer", 25, 25, 60, 25, "I can't be softer."),
])  # fmt: skip
def test_the_volume_keeps_its_limits(kind, volume, low, high, turned_to, said):
    assert turned(kind, volume, low, high) == (turned_to, said)


def test_what_is_offered_is_listened_for():
    talk = Dialogue(cycle(OFFERS), str.format).talk()
    assert next(talk).offered == talk.send(MUMBLE).offered == ()
    assert talk.send(MUMBLE).offered == ("a dragon", "a robot", "a bear")
    assert talk.send(Answer(meaning("the last one", ("a dragon", "a robot", "a bear")))).text == "A story about a bear. Yes?"


def test_what_was_refused_is_neither_heard_nor_offered_again():
    looked_for = []

    def otherwise(without):
        looked_for.append(without)
        return Answer(meaning("a dog and a cat"))

    talk = Dialogue(cycle(["a dragon", "a robot", "a polar bear", "the moon", "a cat"]), str.format).talk()
    assert next(talk).without == ()
    ask = talk.send(Answer(meaning("a frog and a cat"), otherwise=otherwise))
    assert ask.without == () and not looked_for
    ask.meanwhile()  # while this is asked
    refused = ("frog", "cat"), ("dog", "cat")
    ask = talk.send(Answer(meaning("no")))
    assert ask.text == "A story about a dog and a cat, then. Yes?" and ask.without == refused[:1] and not ask.meanwhile
    assert talk.send(Answer(meaning("no"))).without == refused
    assert looked_for == [refused[:1]]  # once, for that takes time
    ask = talk.send(Answer(meaning("a polar bear")))
    assert ask.without == refused
    ask = talk.send(Answer(meaning("no")))
    assert ask.without == (*refused, ("polar bear",))
    assert ask.text == "I know stories about a dragon, a robot and the moon. Which one?"


def test_what_is_offered_can_be_heard():
    """Of "a cat and a bear" the bear may be right, but it is not listened for."""
    talk = Dialogue(cycle(OFFERS), str.format).talk()
    next(talk), talk.send(Answer(meaning("a cat and a bear"))), talk.send(Answer(meaning("no")))
    ask = talk.send(MUMBLE)
    assert len(ask.offered) == 3 and not {offer[2:] for offer in ask.offered} & {*next(lacking(ask.without))}


def test_nothing_is_looked_for_in_place_of_a_command():
    talk = Dialogue(cycle(OFFERS), str.format).talk()
    next(talk)
    assert not talk.send(Answer(meaning("good night"))).meanwhile


@pytest.mark.parametrize("wishes, ways", [
    ([], [()]),
    ([("bear",), ("pear",)], [("bear", "pear")]),
    ([("bee", "baby")], [("baby",), ("bee",)]),
    ([("bee", "baby"), ("tree", "bee")], [("bee",), ("baby", "tree")]),
    ([("bee", "baby"), ("bee",)], [("bee",)]),
])  # fmt: skip
def test_what_a_grammar_lacks(wishes, ways):
    assert [*lacking(wishes)] == ways


@pytest.mark.parametrize("offer", OFFERS)
def test_what_is_offered_can_be_said(offer):
    command = meaning(offer)
    assert command.kind == "story" and command.text == offer


def test_a_free_wish_that_is_heard_so_again():
    talk = Dialogue(cycle(OFFERS), str.format, free=True).talk()
    next(talk), talk.send(heard(DRAGON)), talk.send(heard("no"))
    assert talk.send(heard(f"{DRAGON} | a dog")).text == DOG


def test_free_wishes_are_always_asked_back_and_end_with_the_offer():
    talk = Dialogue(cycle(["a robot", "a bear", "the moon"]), str.format, confirm=False, free=True).talk()
    assert next(talk).listen_for == "free"
    assert talk.send(Answer(meaning(DRAGON)))[:2] == (STORY, "yes-no")
    assert talk.send(Answer(meaning("no"))).listen_for == "free"
    ask = talk.send(MUMBLE)
    assert ask.text == "I did not understand. I know stories about a robot, a bear and the moon. Which one?"
    assert ask.listen_for == "wishes"
