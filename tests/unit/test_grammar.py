"""The list of what can be said: it is sound, a grammar comes of it, and what is heard gets its meaning."""

import errno
import os
import re

import pytest

from duostory import StoryError
from duostory.hearing import grammar
from duostory.hearing.grammar import KINDS, PLACES, Command, Heard
from duostory.models import data_dir
from duostory.wish import prompt_for

LIST = data_dir() / "heard.txt"
SMALL = "".join(f"[{kind}]\n{kind} now\n" for kind in (*KINDS, *PLACES) if kind != "story") + """
[story]
a story about WISH
WISH

[articles]
a
two

[subjects]
dragon
mouse, mice
sandcastle = S AE N D K AE S AH L
snow, -
Lily
"""
DICTIONARY = "".join(f"{word} T\n" for word in sorted(set(re.findall(r"[a-z]+", SMALL.lower())) - {"sandcastle"})) + \
    "mice M AY S\nplease P\nand AE N D\nand(2) AH N D\ndragons D R\nlily L IH L IY\n"


@pytest.fixture
def heard(tmp_path) -> Heard:
    (tmp_path / "heard.txt").write_text(SMALL)
    (tmp_path / "dictionary").write_text(DICTIONARY)
    return Heard(tmp_path / "heard.txt")


def test_the_story_model_knows_every_subject_of_the_list():
    known = {line for line in (data_dir() / "words.txt").read_text().splitlines() if not line.startswith("#")}
    names = [subject.name for subject in Heard(LIST).subjects]
    assert 180 <= len(names) == len(set(names))
    assert [name for name in names if not known.issuperset(name.lower().split())] == []


@pytest.mark.parametrize("text, command", [
    ("tell_me_a_story_about a_little dragon and a polar_bear", Command("story", ("dragon", "polar bear"), "a little dragon and a polar bear")),
    ("once_upon_a_time_there_was a princess", Command("story", ("princess",), "a princess")),
    ("a dragon please", Command("story", ("dragon",), "a dragon")),
    ("two bunnies", Command("story", ("bunny",), "two bunnies")),
    ("lily and a cat", Command("story", ("Lily", "cat"), "Lily and a cat")),
    ("tell_me_a_story", Command("surprise")),
    ("good_night", Command("good night")),
    ("yes_please", Command("yes")),
    ("no", Command("no")),
    ("tell_me_a_story_about a", None),
    ("", None),
])
def test_meaning(text, command):
    assert Heard(LIST).meaning(text) == command


def test_a_wish_that_was_heard_is_one_that_can_be_typed():
    text = Heard(LIST).meaning("tell_me_a_story_about a dragon and lily").text
    assert prompt_for(text, {"wish_template": "Wish: {subjects}\n"}).header == "Wish: dragon, Lily\n"


def test_a_grammar_is_made_of_the_list(heard, tmp_path):
    grammar.write(heard, tmp_path / "dictionary", tmp_path)
    arcs = [line.split() for line in (tmp_path / "wishes.fsg").read_text().splitlines() if line.startswith("TRANSITION")]
    spoken = dict(line.split(" ", 1) for line in (tmp_path / "words.dict").read_text().splitlines())
    words = {arc[4] for arc in arcs if len(arc) > 4}
    assert {"a_story_about", "dragon", "dragons", "mice", "snow", "lily", "stop_now"} <= words <= set(spoken)
    assert "mouses" not in words and "snows" not in words and "lilies" not in words
    assert spoken["and(2)"] == "AH N D"
    assert spoken["sandcastle"] == "S AE N D K AE S AH L" and spoken["sandcastles"] == "S AE N D K AE S AH L Z"
    assert (tmp_path / "yes-no.fsg").read_text() != (tmp_path / "wishes.fsg").read_text()


def test_subjects_as_england_says_them_too(heard, tmp_path):
    heard.path.write_text(SMALL + "horse = HH AO R S\ntiger = T AY G ER\ncarrot = K EH R AH T\nferry = F EH R IY\n")
    grammar.write(Heard(heard.path), tmp_path / "dictionary", tmp_path)
    spoken = dict(line.split(" ", 1) for line in (tmp_path / "words.dict").read_text().splitlines())
    assert spoken["horse"] == "HH AO R S" and spoken["horse(2)"] == "HH AO S"
    assert spoken["tigers"] == "T AY G ER Z" and spoken["tigers(2)"] == "T AY G AH Z"
    assert "carrot(2)" not in spoken and "ferries(2)" not in spoken  # an R before a vowel stays


def test_a_grammar_without_what_was_refused(heard, tmp_path):
    grammar.write(heard, tmp_path / "dictionary", tmp_path)
    whole = (tmp_path / "wishes.fsg").read_text().split("\n")
    rest = heard.changed(tmp_path / "wishes.fsg", without={"mouse"}).split("\n")
    assert {line.split()[-1] for line in whole if line not in rest} == {"mouse", "mice"}


def test_a_grammar_with_what_is_offered(heard, tmp_path):
    grammar.write(heard, tmp_path / "dictionary", tmp_path)
    whole, words = (tmp_path / "wishes.fsg").read_text().split("\n"), (tmp_path / "words.dict").read_text()
    offered = ("a dragon", "a mouse", "a sandcastle")
    more = heard.changed(tmp_path / "wishes.fsg", without={"mouse"}, offered=offered, commands=False).split("\n")
    gone = {line.split()[-1] for line in whole if line not in more}
    assert gone == {"mouse", "mice", *(f"{kind.replace(' ', '_')}_now" for kind in KINDS if kind != "story")}
    added = {line.split()[-1] for line in more if line not in whole}
    assert added == {"first_now", "third_now", "a", "the", "dragon", "sandcastle"}
    assert added - {"the"} <= set(re.findall(r"^\S+", words, re.MULTILINE))  # the small list has no "the"
    assert heard.meaning("second_now", offered) == Command("story", ("mouse",), "a mouse")
    assert heard.meaning("second_now") is None


def test_made_once_and_again_when_the_list_changes(heard, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = grammar.made(heard, tmp_path / "dictionary")
    assert grammar.made(heard, tmp_path / "dictionary") == folder and (folder / "wishes.fsg").is_file()
    heard.path.write_text(SMALL.replace("dragon\n", ""))
    again = grammar.made(Heard(heard.path), tmp_path / "dictionary")
    assert again != folder and "dragon" not in (again / "wishes.fsg").read_text()


def test_a_full_disk_is_said_and_leaves_nothing_in_the_cache(heard, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoryError, match=f"cannot make the grammar: {tmp_path}/cache/duostory: No space left on device"):
        grammar.made(heard, tmp_path / "dictionary")
    assert not list((tmp_path / "cache" / "duostory" / "hearing").iterdir())


def test_a_word_that_nobody_can_speak(heard, tmp_path):
    (tmp_path / "dictionary").write_text(re.sub("mice .*\n", "", DICTIONARY))
    with pytest.raises(StoryError, match='"mice" is spoken'):
        grammar.write(heard, tmp_path / "dictionary", tmp_path)


@pytest.mark.parametrize("text", ["", "[yes]\nyes\n", SMALL + "[nonsense]\nx\n"])
def test_a_damaged_list(tmp_path, text):
    (tmp_path / "heard.txt").write_text(text)
    with pytest.raises(StoryError, match="must have the sections"):
        Heard(tmp_path / "heard.txt")
