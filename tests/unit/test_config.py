"""Settings: which source wins, what is refused, and what is kept of the last story."""

import os
import tomllib
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duostory import StoryError, config


@pytest.fixture
def home(tmp_path):
    """An environment with a config and a state folder of its own."""
    (tmp_path / "duostory").mkdir()
    return {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}


def write(home, text):
    with open(os.path.join(home["XDG_CONFIG_HOME"], "duostory", "config.toml"), "w") as file:
        file.write(text)


def test_later_sources_win(home):
    write(home, "temperature = 0.1\ntopp = 0.2\nseed = 3\nsilent = true\n")
    settings, sources = config.load({"seed": "5"}, environ=home | {"DUOSTORY_TOPP": "0.4"})
    assert (settings.temperature, settings.topp, settings.seed, settings.silent) == (0.1, 0.4, 5, True)
    assert sources["temperature"].endswith("config.toml") and sources["topp"] == "environment"
    assert sources["seed"] == "command line" and sources["steps"] == "default"


def test_an_integer_is_a_number_too(home):
    write(home, "temperature = 1")
    assert config.load({}, environ=home)[0].temperature == 1.0


def test_duostory_config_takes_the_place_of_the_files(home, tmp_path):
    write(home, "seed = 3")
    other = tmp_path / "other.toml"
    other.write_text("steps = 7")
    settings, _ = config.load({}, environ=home | {"DUOSTORY_CONFIG": str(other)})
    assert (settings.seed, settings.steps) == (0, 7)


@pytest.mark.parametrize("text, value", [
    ("1", True), ("yes", True), ("TRUE", True), ("on", True),
    ("0", False), ("no", False), ("false", False), ("off", False),
])
def test_truth_in_the_environment(home, text, value):
    assert config.load({}, environ=home | {"DUOSTORY_SILENT": text})[0].silent is value


def test_an_empty_variable_is_none(home):
    assert config.load({}, environ=home | {"DUOSTORY_SEED": "", "DUOSTORY_CONFIG": ""})[0].seed == 0


def test_the_end_is_for_the_ear(home):
    assert config.load({}, environ=home)[0].the_end is True
    assert config.load({"silent": True}, environ=home)[0].the_end is False
    assert config.load({"silent": True, "the_end": True}, environ=home)[0].the_end is True
    assert config.load({}, reference=True, environ=home)[0].the_end is False


def test_settings_are_frozen(home):
    with pytest.raises(FrozenInstanceError):
        config.load({}, environ=home)[0].seed = 1


@pytest.mark.parametrize("text, says", [
    ("seed = ", "not a TOML file"),
    ("sead = 1", "unknown key 'sead'"),
    ("[voice]\nrate = 3", "must be text"),
    ("[speaker]\nrate = 3", "unknown key 'speaker'"),
    ("seed = '1.5'", "seed in .* must be a whole number"),
    ("seed = 1.0", "seed in .* must be a whole number"),
    ("seed = true", "seed in .* must be a whole number"),
    ("silent = 1", "silent in .* must be true or false"),
    ("model = 3", "model in .* must be text"),
    ("temperature = nan", "must be a number"),
    ("temperature = inf", "from 0.0 to 100.0"),
    ("topp = 1.5", "topp in .* must be from 0.0 to 1.0"),
    ("rate = 1000", "rate in .* must be from 80 to 450"),
    ("seed = -1", "seed in .* must be from 0"),
    ("sink = 'null'", "sink in .* must be alsa or pyaudio, not 'null'"),
    ("kv = 'q4'", "kv in .* must be f32 or q8, not 'q4'"),
    ("speech = 'loud'", "speech in .* must be auto, espeak or pyttsx3, not 'loud'"),
    ("model = 'a\\u0000b'".replace("'", '"'), "must be text"),
])
def test_a_file_is_refused_with_its_name_and_the_key(home, text, says):
    write(home, text)
    with pytest.raises(StoryError, match=says) as error:
        config.load({}, environ=home)
    assert "config.toml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("given, expected", [
    ({}, (1.0, 0.9, 0, 256)),
    ({"temperature": "-1"}, (0.0, 0.9, 0, 256)),
    ({"topp": "1.5"}, (1.0, 0.9, 0, 256)),
    ({"topp": "-0.1"}, (1.0, 0.9, 0, 256)),
    ({"steps": "-4"}, (1.0, 0.9, 0, 0)),
    ({"seed": "-1"}, (1.0, 0.9, 2**64 - 1, 256)),
    ({"temperature": "0.5", "topp": "0.5", "seed": "7", "steps": "9"}, (0.5, 0.5, 7, 9)),
])
def test_reference_has_llama2cs_defaults_and_rules(home, given, expected):
    write(home, "temperature = 0.3\nseed = 4")
    settings, _ = config.load(given, reference=True, environ=home | {"DUOSTORY_STEPS": "3"})
    assert (settings.temperature, settings.topp, settings.seed, settings.steps) == expected
    assert settings.silent


@given(model=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_what_is_shown_can_be_read_back(tmp_path_factory, model):
    settings, sources = config.load({"model": model}, environ={"DUOSTORY_CONFIG": os.devnull})
    text = config.show(settings, sources)
    assert tomllib.loads(text)["model"] == model
    assert set(tomllib.loads(text)) == set(config.FIELDS)
    assert text.count("\n") == len(config.FIELDS)


text_of_any_kind = st.text() | st.binary().map(lambda b: b.decode("utf-8", "surrogateescape"))


@given(header=text_of_any_kind, opening=text_of_any_kind, temperature=st.floats(0, 100),
       crc=st.integers(0, 2**32 - 1))
def test_the_last_story_is_kept_to_the_bit(tmp_path_factory, header, opening, temperature, crc):
    folder = str(tmp_path_factory.getbasetemp() / "state")
    home = {"STATE_DIRECTORY": folder + ":/nowhere", "DUOSTORY_CONFIG": os.devnull}
    settings, _ = config.load({"temperature": str(temperature), "seed": "9", "model": "/m.duo"}, environ=home)
    config.remember(settings, header, opening, crc, environ=home)
    last = config.recall(environ=home)
    assert (last.header, last.opening, last.crc32) == (header, opening, crc)
    again, sources = config.load({}, again=last.settings, environ=home)
    assert again == settings and sources["seed"] == "last story"
    assert len(os.listdir(folder)) == 1


@pytest.mark.parametrize("gate", ["", "off"])
def test_a_list_of_words_is_kept_with_the_story_by_its_whole_path(home, gate):
    for given, kept in ((gate, gate), ("mine.txt", os.path.abspath("mine.txt"))):
        settings, _ = config.load({"gate": given}, environ=home)
        config.remember(settings, "", "Once", 1, environ=home)
        assert config.recall(environ=home).settings["gate"] == kept


def test_bedtime_is_three_stories_unless_told_otherwise(home):
    assert config.load({}, environ=home)[0].stories == 1
    assert config.load({"bedtime": True}, environ=home)[0].stories == 3
    assert config.load({"bedtime": True, "stories": "2"}, environ=home)[0].stories == 2
    assert config.load({}, reference=True, environ=home | {"DUOSTORY_BEDTIME": "1"})[0].stories == 1


def test_nothing_to_tell_again(home):
    with pytest.raises(StoryError, match="no last story"):
        config.recall(environ=home)


@pytest.mark.parametrize("damage", [b"", b"\0\xff", b"seed: 1\n", b"crc32: zz\n"])
def test_a_damaged_record_says_so(home, damage):
    settings, _ = config.load({}, environ=home)
    config.remember(settings, "", "Once", 1, environ=home)
    path = os.path.join(home["XDG_STATE_HOME"], "duostory", "last-story")
    with open(path, "rb+") as file:
        file.truncate(40)
        file.seek(0, os.SEEK_END)
        file.write(damage)
    with pytest.raises(StoryError, match="damaged; tell a new story"):
        config.recall(environ=home)


@pytest.mark.parametrize("folder", ["", "here"])
def test_without_a_home_folder_nothing_is_kept(tmp_path, monkeypatch, folder):
    """Nor in a folder named "~", nor in one relative to where the user happens to be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # of whom nobody knows a home
    environ = {"XDG_STATE_HOME": folder, "XDG_CONFIG_HOME": folder}
    settings, _ = config.load({}, environ=environ)
    config.remember(settings, "", "Once", 1, environ=environ)
    with pytest.raises(StoryError, match="no home folder"):
        config.recall(environ=environ)
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_kept_nothing_is(tmp_path):
    (tmp_path / "file").write_text("")
    environ = {"XDG_STATE_HOME": str(tmp_path / "file"), "XDG_CONFIG_HOME": str(tmp_path)}
    settings, _ = config.load({}, environ=environ)
    config.remember(settings, "", "Once", 1, environ=environ)
    assert os.listdir(tmp_path) == ["file"]


def test_the_last_volume_counts_more_than_the_file_and_less_than_the_environment(home):
    write(home, "volume = 40\n")
    assert config.load({}, environ=home)[0].volume == 40
    config.keep_number("volume", 70, environ=home)
    settings, sources = config.load({}, environ=home)
    assert (settings.volume, sources["volume"]) == (70, "last --volume")
    assert config.load({}, environ=home | {"DUOSTORY_VOLUME": "20"})[0].volume == 20
    assert config.load({"volume": "10"}, environ=home | {"DUOSTORY_VOLUME": "20"})[0].volume == 10


@pytest.mark.parametrize("kept", [b"", b"loud\n", b"101\n", b"-1\n", b"\0\xff", b"50" * 9, None])
def test_a_damaged_volume_is_as_good_as_none(home, kept):
    config.keep_number("volume", 70, environ=home)
    path = os.path.join(home["XDG_STATE_HOME"], "duostory", "volume")
    if kept is None:
        os.unlink(path)
        os.mkdir(path)
        config.keep_number("volume", 60, environ=home)  # and that does no harm
    else:
        with open(path, "wb") as file:
            file.write(kept)
    assert config.load({}, environ=home)[0].volume == 100


@pytest.mark.parametrize("given, volume, source", [
    ("90", 60, "max_volume"), ("60", 60, "command line"), ("30", 30, "command line"), ("0", 15, "min_volume"),
])
def test_a_volume_stays_within_the_parents_limits(home, given, volume, source):
    limits = {"DUOSTORY_MAX_VOLUME": "60", "DUOSTORY_MIN_VOLUME": "15"}
    settings, sources = config.load({"volume": given}, environ=home | limits)
    assert (settings.volume, sources["volume"]) == (volume, source)


def test_limits_that_cross_are_refused(home):
    with pytest.raises(StoryError, match="min_volume is 50, which is above max_volume, 40"):
        config.load({}, environ=home | {"DUOSTORY_MAX_VOLUME": "40", "DUOSTORY_MIN_VOLUME": "50"})
