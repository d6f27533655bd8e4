"""Several stories in a row, and at bedtime ever slower."""

import json
import signal
import subprocess
import time
import wave
from array import array

import pytest

from tests.teller import command, environment, run


def events_of(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_stories_in_a_row_are_those_of_the_next_seeds(tmp_path, story_model):
    alone = [run(tmp_path, story_model, "--silent", "-s", seed, "a cat").stdout for seed in "567"]
    result = run(tmp_path, story_model, "--silent", "-s", "5", "--stories", "3", "a cat")
    assert result.returncode == 0 and result.stdout == b"\n".join(alone)
    assert [line for line in result.stderr.decode().splitlines() if "seed" in line][2].endswith("seed 7")
    assert run(tmp_path, "--again", "--silent", env={"DUOSTORY_STORIES": "2"}).stdout == alone[2]  # the last one, once


def test_the_seeds_go_round(tmp_path, stories260k):
    result = run(tmp_path, stories260k, "--silent", "-n", "30", "-s", str(2**64 - 1), "--stories", "2", "--json")
    assert [event["seed"] for event in events_of(result) if event["event"] == "summary"] == [2**64 - 1, 1]


def test_events_of_several_stories(tmp_path, story_model, voice):
    """A summary ends each story; sentences are counted through; joined, the tokens are what is printed."""
    args = story_model, "-s", "5", "--stories", "2", "--wav", "a.wav", "a cat"
    plain, events = run(tmp_path, *args), events_of(run(tmp_path, *args, "--json"))
    ends = [n for n, event in enumerate(events) if event["event"] == "summary"]
    assert len(ends) == 2 and ends[-1] == len(events) - 1
    stories = [events[:ends[0]], events[ends[0] + 1:ends[1]]]
    texts = ["".join(event["text"] for event in story if event["event"] == "token") for story in stories]
    assert "\n".join(texts) + "\n" == plain.stdout.decode()
    assert all(text.endswith("The end.") for text in texts)
    sentences = [event for event in events if event["event"] == "sentence"]
    assert [event["index"] for event in sentences] == list(range(len(sentences)))
    for story in stories:  # what is heard of a story is told before its end
        heard = {event["sentence"] for event in story if event["event"] == "word"}
        assert heard == {event["index"] for event in story if event["event"] == "sentence"}
    with wave.open(str(tmp_path / "a.wav")) as wav:
        seconds = wav.getnframes() / wav.getframerate()
    assert sum(events[end]["audio"] for end in ends) == pytest.approx(seconds, abs=0.01)
    starts = [min(event["at"] for event in story if event["event"] == "word") for story in stories]
    last = max(event["at"] for event in stories[0] if event["event"] == "word")
    assert starts[1] - last > 2  # a pause


def test_at_bedtime_each_story_is_slower_and_softer_and_then_it_is_good_night(tmp_path, story_model, voice):
    """At temperature 0 the three stories are one, and so they can be compared."""
    result = run(tmp_path, story_model, "--bedtime", "-t", "0", "--wav", "a.wav", "--json", "--rate", "200",
                 "--volume", "80", "--min-volume", "60", "a cat")
    events = events_of(result)
    with wave.open(str(tmp_path / "a.wav")) as wav:
        rate, pcm = wav.getframerate(), array("h", wav.readframes(wav.getnframes()))
    assert result.returncode == 0
    sentences = [event["text"] for event in events if event["event"] == "sentence"]
    assert sentences[-2:] == ["The end.", "Good night."] and sentences.count("Good night.") == 1
    assert sentences.count("The end.") == 3
    ends = [n for n, event in enumerate(events) if event["event"] == "summary"]
    durations, loudness = [], []
    for begin, end in zip([0, *ends], ends):
        words = [event["at"] for event in events[begin:end]
                 if event["event"] == "word" and event["word"] not in ("Good", "night")]
        durations.append(words[-1] - words[0])
        story = pcm[round(words[0] * rate):round(words[-1] * rate)]
        loudness.append((sum(sample ** 2 for sample in story) / len(story)) ** 0.5)
    # The voice is 0.94 times as fast each time, and the pauses stay; espeak-ng is coarse.
    assert all(1.02 < b / a < 1.09 for a, b in zip(durations, durations[1:])), durations
    assert len(durations) == 3
    # Volumes of 80, 68 (0.85 times that) and 60 (the least that is allowed, for it would be 58): amplitudes that are
    # 0.76 and 0.81 times those of the story before. A slower voice is a little louder or softer.
    assert [b / a for a, b in zip(loudness, loudness[1:])] == pytest.approx([0.76, 0.81], abs=0.02), loudness
    assert run(tmp_path, "--show-config").stdout.split(b"volume = ")[1].startswith(b"80 ")  # kept is what was asked for


def test_bedtime_in_print(tmp_path, story_model):
    told = run(tmp_path, story_model, "--silent", "--bedtime", "--stories", "2", "-s", "5", "a cat")
    alone = [run(tmp_path, story_model, "--silent", "-s", seed, "a cat").stdout for seed in "56"]
    assert told.stdout == b"\n".join(alone) + b"Good night.\n" and told.returncode == 0


def test_ctrl_c_ends_them_all(tmp_path, story_model):
    process = subprocess.Popen(command(story_model, "--silent", "--json", "-s", "5", "--stories", "100", "a cat"), cwd=tmp_path,
                               env=environment(tmp_path, DUOSTORY_KERNEL="scalar"), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while b'"summary"' not in process.stdout.readline():
        pass
    process.stdout.readline()  # of the second story
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    rest, _ = process.communicate(timeout=20)
    assert time.monotonic() - began < 3  # far less than what is left of a hundred stories; observed 0.1
    summary = json.loads(rest.splitlines()[-1])
    assert process.returncode == 130 and summary["event"] == "summary" and 6 <= summary["seed"] < 104
    again = run(tmp_path, "--again", "--silent", "--json")
    assert events_of(again)[-1]["seed"] == summary["seed"]


@pytest.mark.parametrize("args", [["--stories", "0"], ["--stories", "x"], ["--reference", "--stories", "2"],
                                  ["--reference", "--bedtime"]])
def test_wrong_usage(tmp_path, args):
    result = run(tmp_path, *args)
    assert result.returncode == 2 and result.stderr.count(b"\n") == 1
