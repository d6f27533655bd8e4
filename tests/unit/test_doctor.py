"""The doctor: one screen, and an exit status that says whether a story can be told and heard."""

import os

import pytest

from duostory import doctor as module
from tests.teller import run


def doctor(home, story_model, *args, **env):
    """The exit status, and what is said about each topic, by topic."""
    done = run(home, "doctor", "--model", story_model, *args, env=env)
    assert done.stderr == b""
    lines = done.stdout.decode().splitlines()
    assert len(lines) <= 24
    findings, topic = {}, None
    for line in lines[1:]:
        topic = line[2:12].strip() or topic
        findings[topic] = findings.get(topic, "") + line + "\n"
    return done.returncode, findings


def test_all_is_well_where_a_story_can_be_told_and_heard(voice, card, tmp_path, story_model):
    status, findings = doctor(tmp_path, story_model, STATE_DIRECTORY=str(tmp_path / "state"))
    assert status == 0 and not [text for text in findings.values() if text.startswith("!")]
    assert "self-test" in findings["engine"] and str(story_model) in findings["model"] and "MB" in findings["memory"]
    assert '"default" opens' in findings["speaker"] and str(tmp_path / "state") in findings["state"]
    assert list((tmp_path / "state").iterdir()) == [] and card.played() == 0


def test_a_tone_is_heard(voice, card, tmp_path, story_model):
    status, findings = doctor(tmp_path, story_model, "--tone")
    assert status == 0 and card.played() > 1.0


@pytest.mark.parametrize("args, env, topic, says", [
    (["--model", "missing.duo"], {}, "model", "copy the model again"),
    (["--gate", "missing.txt"], {}, "settings", "missing.txt"),
    ([], {"DUOSTORY_RATE": "7"}, "settings", "DUOSTORY_RATE must be from 80 to 450"),
    (["--device", "nowhere"], {}, "speaker", '"nowhere" does not exist'),
    (["--voice", "xx"], {}, "voice", 'no voice "xx"'),
])
def test_what_a_story_needs_makes_it_fail_with_advice(voice, card, tmp_path, story_model, args, env, topic, says):
    status, findings = doctor(tmp_path, story_model, *args, **env)
    assert status == 1 and findings[topic].startswith("! ")
    assert says in findings[topic] and "\n             > " in findings[topic]


def test_without_a_voice_a_story_can_be_told(tmp_path, story_model):
    status, findings = doctor(tmp_path, story_model, "--silent")
    assert status == 0 and "speaker" not in findings


def test_a_state_that_is_of_no_use_is_no_reason_to_fail(tmp_path, story_model):
    (tmp_path / "file").touch()
    for state, says in ((tmp_path / "file", "make room"), (tmp_path, "damaged")):
        (tmp_path / "volume").write_text("loud")
        status, findings = doctor(tmp_path, story_model, "--silent", STATE_DIRECTORY=str(state))
        assert status == 0 and findings["state"].startswith("- ") and says in findings["state"]


@pytest.mark.parametrize("user, environ, expected", [
    (0, {}, "service"), (1000, {}, "home"), (0, {"STATE_DIRECTORY": "named"}, "named"),
])
def test_root_is_told_about_the_state_of_the_service(tmp_path, monkeypatch, user, environ, expected):
    (tmp_path / "service").mkdir()
    monkeypatch.setattr(module, "SERVICE_STATE", str(tmp_path / "service"))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    for name, folder in environ.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    fact = module._state().fact
    assert fact.startswith(str(tmp_path / expected)) and fact.endswith("can be written")
    assert list((tmp_path / "service").iterdir()) == []
