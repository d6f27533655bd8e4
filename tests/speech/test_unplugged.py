"""What a user sees and hears when the sound card is pulled out in the middle of a story."""

import signal
import subprocess

import pytest

from tests.teller import command, environment

GONE = b'duostory: the sound device "card" has gone (No such device); the story waits until it is back\n'
BACK = b"duostory: the sound device is back; the story goes on\n"


@pytest.fixture
def pulled(voice, card, tmp_path, story_model):
    """A story of which one second has been heard when the card goes."""
    teller = subprocess.Popen(
        command("--model", story_model, "-s", "1", "-n", "30", "--device", "card", "a cat"), cwd=tmp_path,
        env=environment(tmp_path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    card.play(1.0)
    card.state = "unplugged"
    assert teller.stderr.readline() == GONE
    yield teller
    teller.kill()
    teller.communicate()


def test_a_card_that_comes_back_plays_the_rest(pulled, card, tmp_path, story_model):
    before = card.played()
    card.state = "fine"
    printed, said = pulled.communicate()
    assert pulled.returncode == 0 and said.startswith(BACK) and b"achieved tok/s" in said
    assert printed.endswith(b"The end.\n")
    # The first sentence was cut, so that all was heard from the beginning. What one hears is what is in the file.
    args = command("--model", story_model, "-s", "1", "-n", "30", "--wav", "whole.wav", "a cat")
    subprocess.run(args, cwd=tmp_path, env=environment(tmp_path), stdin=subprocess.DEVNULL, check=True, capture_output=True)
    whole = ((tmp_path / "whole.wav").stat().st_size - 44) / 2 / 22050
    assert card.played() - before == pytest.approx(whole, abs=0.02)


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_waiting(pulled, number, status):
    pulled.send_signal(number)
    _, said = pulled.communicate(timeout=30)
    assert pulled.returncode == status and b"tok/s" in said and b"back" not in said


def test_a_busy_card_is_said_in_one_sentence(voice, card, tmp_path, story_model):
    card.state = "busy"
    args = command("--model", story_model, "--device", "card", "a cat")
    told = subprocess.run(args, cwd=tmp_path, env=environment(tmp_path), stdin=subprocess.DEVNULL, capture_output=True)
    assert told.returncode == 1 and told.stdout == b""
    assert told.stderr == (b'duostory: the sound device "card" is in use by another program: '
                           b'write to a file with --wav, or see "aplay -L" for the names of sound devices\n')
