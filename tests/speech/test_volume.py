"""Loudness: what a percentage means, in samples and in every sink; and that it stays as it was left."""

import wave
from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duostory.speech import Player, open_sink
from duostory.speech.volume import FULL, gain, scaled
from tests.speech.test_player import Memory, Tone, tell
from tests.teller import run


@pytest.mark.parametrize("volume, decibels", [(100, 0), (50, -10), (25, -20), (12.5, -30)])
def test_half_the_volume_is_heard_as_half_as_loud(volume, decibels):
    # Ten decibels less sound half as loud; the power law is near that: 50 is 10.03 dB less.
    assert gain(volume) / FULL == pytest.approx(10 ** (decibels / 20), rel=0.02)


def test_no_volume_makes_it_louder_or_turns_it_round():
    assert [gain(volume) for volume in (-5, 0, 100, 200)] == [0, 0, FULL, FULL]


@given(st.lists(st.integers(-32768, 32767)), st.integers(0, FULL), st.integers(0, FULL))
def test_samples_are_multiplied_and_rounded(samples, before, after):
    made = array("h", scaled(array("h", samples).tobytes(), before, after))
    for index, (sample, new) in enumerate(zip(samples, made, strict=True)):
        exact = sample * (before + (after - before) * (index + 1) / len(samples)) / FULL
        assert abs(new - exact) <= 1.01  # half a unit of rounding, and half for the gain, which is rounded, too
    if before == after == FULL:
        assert made.tolist() == samples


def test_a_change_holds_at_once_and_does_not_click():
    class Turned(Tone):
        """Turns the volume down after 0.6 s of 1.5."""

        def speak(self, text, write, on_word=None, quoted=False) -> None:
            super().speak("a" * 60, write)
            player.volume = 0
            super().speak("a" * 90, write)

    memory = Memory(Tone.rate)
    with Player(Turned(), memory, volume=80) as player:
        tell(player, ["x"])
    samples = array("h", memory.pcm)
    turned = int(0.6 * Tone.rate)
    assert set(samples[:turned]) == {round(9000 * gain(80) / FULL)}
    assert set(samples[turned + int(0.06 * Tone.rate) :]) == {0}
    assert max(abs(one - other) for one, other in pairwise(samples)) < 10  # 6211 down to 0 in 60 ms


def test_each_sink_gets_the_volume(recording, tmp_path):
    for sink in (open_sink("wav", Tone.rate, wav=tmp_path / "story.wav"), open_sink("alsa", Tone.rate)):
        with Player(Tone(), sink, volume=50) as player:
            tell(player, ["a" * 50])
    with wave.open(str(tmp_path / "story.wav")) as wav:
        frames = wav.readframes(wav.getnframes())
    assert frames == recording.read_bytes()
    assert set(array("h", frames)) == {round(9000 * gain(50) / FULL)}


def test_full_volume_costs_nothing():
    chunk = b"\1\2" * 100
    assert scaled(chunk, FULL, FULL) is chunk


def test_the_last_volume_holds_for_the_next_story(voice, tmp_path, stories260k):
    def spoken(*options: str) -> bytes:
        result = run(tmp_path, "--model", stories260k, "-s", "1", "-n", "60", "--wav", "story.wav", *options)
        assert result.returncode == 0, result.stderr
        return (tmp_path / "story.wav").read_bytes()

    full, half = spoken(), spoken("--volume", "50")
    assert spoken() == half != full
    peaks = [max(map(abs, array("h", sound[44:]))) for sound in (full, half)]
    assert peaks[1] / peaks[0] == pytest.approx(gain(50) / FULL, abs=0.001)
    assert spoken("--volume", "90", "--max-volume", "50") == half
    assert spoken("--volume", "100") == full
    run(tmp_path, "--model", stories260k, "--reference", "-n", "9", "--volume", "20")
    run(tmp_path, "--volume", "20", "--show-config")
    assert spoken() == full  # as it was left, for neither of those told a story aloud
