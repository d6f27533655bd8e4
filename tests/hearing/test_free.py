"""Free wishes: what is taken from a sentence, and a few sentences by the real recogniser."""

import pytest

from duostory.gate import open_gate
from duostory.hearing.free import FreeWords
from duostory.hearing.grammar import Heard, free_words
from tests.conftest import ROOT

heard = Heard(ROOT / "models" / "heard.txt")


@pytest.fixture(scope="module")
def free():
    return FreeWords(ROOT / "models" / "free.txt", heard)


@pytest.mark.parametrize("text, wish", [
    ("a story about a dragon in the cave with apples", "a dragon, the cave and apples"),
    ("the owl who found an apple", "the owl and an apple"),
    ("tell_me_a_story_about lily", "Lily"),
    ("a polar bear and the magic wand", "a polar bear and the magic wand"),
    ("an old crocodile", "a crocodile"),
    ("a little elephant and his balloon", "an elephant and his balloon"),
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


def test_unwanted_words_cannot_be_heard():
    gate = open_gate("")
    words = {word for each in free_words(heard) for word in each.split("_")}
    assert len(words) > 2000 and not [word for word in words if gate.unwanted(word)]


@pytest.fixture(params=["wheel", "library"])
def recogniser(request, monkeypatch):
    pytest.importorskip("numpy")
    from duostory.hearing import pocketsphinx

    if request.param == "wheel":
        pytest.importorskip("pocketsphinx", reason="needs the package pocketsphinx")
        monkeypatch.setenv("DUOSTORY_POCKETSPHINX", "")
    else:
        monkeypatch.setenv("DUOSTORY_POCKETSPHINX", str(request.getfixturevalue("library")))
    monkeypatch.setattr(pocketsphinx, "_opened", None)
    recogniser = pocketsphinx.Recogniser(free=True)
    yield recogniser
    recogniser.close()


def test_sentences(recogniser):
    """Some of the file by two voices; scripts/hearing --free speaks them all by five."""
    from tests.hearing import sounds
    from tests.hearing.table import content, free_wishes, hear

    recogniser.use("free")
    found = words = 0
    phrased = free_wishes(recogniser, every=8)
    for text, subject in zip(phrased["in a phrase"], phrased["the subject alone"]):
        for voice in ("en-us 160", "en-us 130"):
            hypothesis, command = hear(recogniser, sounds.say(text, sounds.FIVE[voice]))
            assert not hypothesis.confident  # so that nothing is told that was not confirmed
            said = content(subject)
            found, words = found + (said & content(hypothesis.text.replace("_", " "))).total(), words + said.total()
    assert words > 40 and found >= 0.6 * words  # observed 0.75, of all sentences


def test_the_other_modes_are_as_ever(recogniser):
    from tests.hearing import sounds
    from tests.hearing.table import hear

    recogniser.use("free")
    for text, kind in (("good night robot", "good night"), ("stop", "stop"), ("once more", "again")):
        assert hear(recogniser, sounds.say(text))[1].kind == kind
    dragons, command = hear(recogniser, sounds.say("two dragons"))
    other = recogniser.reconsider(dragons, [command.subjects])  # a wish of the list
    assert command.subjects == ("dragons",)
    assert recogniser.meaning(other.text) == recogniser.heard.meaning(other.text)
    assert "dragon" not in recogniser.meaning(other.text).subjects
    recogniser.use("yes-no")
    hypothesis, command = hear(recogniser, sounds.say("yes"))
    assert command.kind == "yes" and hypothesis.confident
    recogniser.use("wishes", without=[("dragon",)])
    assert hear(recogniser, sounds.say("tell me a story about a kangaroo"))[1].subjects == ("kangaroo",)


@pytest.mark.parametrize("first", ["a dragon", "please tell me a story about a big cat and a friendly dragon"])
def test_one_goes_on(recogniser, first):
    """Behind a pause in which all before was searched: little, so that it is searched anew, or much."""
    from tests.hearing import sounds

    recogniser.use("free")
    recogniser.start()
    recogniser.feed(sounds.pcm(sounds.say(first)))
    recogniser.catch_up()
    recogniser.feed(sounds.pcm(sounds.say("who was afraid of the thunder")))
    text = recogniser.finish().text
    assert "dragon" in text and "thunder" in text
