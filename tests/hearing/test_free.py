"""Free wishes: what is taken from a sentence, and a few sentences by the real recogniser."""

import pytest

from duostory.gate import open_gate
from duostory.hearing.free import FreeWords
from duostory.hearing.grammar import Heard
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def free():
    return FreeWords(ROOT / "models" / "free.txt", Heard(ROOT / "models" / "heard.txt"))


@pytest.mark.parametrize("text, wish", [
    ("a story about a dragon in the cave with apples", "a dragon, the cave and apples"),
    ("the owl who found an apple", "the owl and an apple"),
    ("tell me a story about lily", "Lily"),
    ("an old elephant", "an elephant"),
    ("a very little elephant and his balloon", "an elephant and his balloon"),
    ("a cat and a dog and a cat", "a cat and a dog"),
    ("a bear a horse a lion a pig and a duck", "a bear, a horse, a lion and a pig"),
])  # fmt: skip
def test_what_is_taken(free, text, wish):
    command = free.meaning(text)
    assert (command.kind, command.text) == ("story", wish)
    assert all(subject in wish for subject in command.subjects)


def test_commands_are_no_wishes(free):
    assert free.meaning("good night robot").kind == "good night"
    assert free.meaning("who was so very") is None


def test_unwanted_words_cannot_be_heard(free):
    gate = open_gate("")
    assert len(free.words) > 2000 and not [word for word in free.words if gate.unwanted(word)]


def test_sentences():
    pytest.importorskip("pocketsphinx", reason="needs the package pocketsphinx")
    pytest.importorskip("numpy")
    from duostory.hearing.pocketsphinx import Recogniser
    from tests.hearing import sounds
    from tests.hearing.table import hear

    recogniser = Recogniser(free=True)
    recogniser.use("free")
    for text, subjects in (("a truck that was stuck in the mud", ("truck", "mud")), ("the teacher and the apple", ("teacher", "apple")),
                           ("a swing in the park", ("swing", "park"))):
        assert hear(recogniser, sounds.say(text))[1].subjects == subjects
    assert hear(recogniser, sounds.say("good night robot"))[1].kind == "good night"
    recogniser.use("yes-no")
    assert hear(recogniser, sounds.say("yes"))[1].kind == "yes"
    recogniser.close()
