"""Captions: right files, every word once, at the time at which the WAV has its sound."""

import html
import os
import re
import time
import wave
from array import array

import pytest

from duostory import StoryError
from duostory.captions import FORMATS, ROW, Captions, cues
from duostory.speech import NullSink, Player, WavSink
from duostory.speech.text import WORD
from tests.teller import ROOT, run

TIME = r"(\d{2,}):([0-5]\d):([0-5]\d)[.,](\d{3})"


def seconds(stamp: str) -> float:
    hours, minutes, rest, milliseconds = map(int, re.fullmatch(TIME, stamp).groups())
    return 3600 * hours + 60 * minutes + rest + milliseconds / 1000


def read_srt(text: str) -> list[tuple[float, float, list[str]]]:
    """Start, end and rows of each cue."""
    found = []
    for number, block in enumerate(text.removesuffix("\n").split("\n\n"), 1):
        first, times, *rows = block.split("\n")
        start, end = times.split(" --> ")
        assert first == str(number) and "," in start and "," in end
        found.append((seconds(start), seconds(end), rows))
    return found


def read_vtt(text: str) -> list[tuple[float, float, list[str], list[tuple[float, str]]]]:
    """Start, end and rows of each cue, and its words with their times."""
    header, *blocks = text.removesuffix("\n").split("\n\n")
    assert header == "WEBVTT"
    found = []
    for block in blocks:
        times, *rows = block.split("\n")
        start, end = map(seconds, times.split(" --> "))
        at, words = start, []
        for stamp, word in re.findall(r"(?:<([\d:.]+)>)?([^<\s]+)", " ".join(rows)):
            if stamp:
                assert at < seconds(stamp) < end  # as the standard wants it
                at = seconds(stamp)
            words.append((at, html.unescape(word)))
        plain = [re.sub(f"<{TIME}>", "", row) for row in rows]
        assert not any(re.search(r"[<>]|&(?!amp;|lt;|gt;)", row) for row in plain)
        found.append((start, end, [html.unescape(row) for row in plain], words))
    return found


WISH = 'Mr. Fox & Lily <3 went, one day, to the --> big green park near the river, and "all the ducks" ran—fast! '


@pytest.fixture(scope="module")
def book(tmp_path_factory, story_model):
    """The folder of a WAV with its captions, and the story."""
    folder = tmp_path_factory.mktemp("book")
    result = run(folder, story_model, "-s", "3", "-i", WISH, "--wav", "b.wav", "--srt", "b.srt", "--vtt", "b.vtt")
    if b"no espeak-ng voice" in result.stderr:
        pytest.skip("needs espeak-ng")
    assert result.returncode == 0, result.stderr
    return folder, result.stdout.decode()


def test_both_files_hold_the_story_in_order(book):
    folder, story = book
    srt, vtt = (read((folder / name).read_text()) for read, name in ((read_srt, "b.srt"), (read_vtt, "b.vtt")))
    assert srt == [cue[:3] for cue in vtt] and len(srt) > 10
    assert " ".join(row for *_, rows in srt for row in rows).split() == story.split()
    end = 0.0
    for start, until, rows in srt:
        assert end <= start < until
        assert len(rows) <= 2 and all(len(row) <= ROW for row in rows)
        end = until
    assert sorted(os.listdir(folder)) == [".local", "b.srt", "b.vtt", "b.wav"]


def test_the_times_are_those_of_the_wav(book):
    folder, _ = book
    with wave.open(str(folder / "b.wav")) as wav:
        rate, samples = wav.getframerate(), array("h", wav.readframes(wav.getnframes()))
    vtt = read_vtt((folder / "b.vtt").read_text())

    def loudest(start: float, end: float) -> int:
        return max(map(abs, samples[int(start * rate) : int(end * rate)]), default=0)

    for cue, following in zip(vtt, vtt[1:]):
        if following[0] > cue[1]:  # a pause: pure silence, but for the rounding to milliseconds
            assert loudest(cue[1] + 0.001, following[0] - 0.001) == 0
        times = [at for at, _ in cue[3]] + [cue[1]]
        for at, word in cue[3]:
            if WORD.search(word):
                peak = loudest(at, min(until for until in times if until > at))
                assert peak > 5000, word  # observed: at least 9800
    assert loudest(vtt[-1][1] + 0.001, len(samples) / rate) == 0


def test_a_story_that_sounds_has_captions_too(tmp_path, story_model, voice):
    env = {"ALSA_CONFIG_PATH": str(ROOT / "tests/speech/asound.conf")}
    result = run(tmp_path, story_model, "-s", "3", "a cat", "--vtt", "s.vtt", env=env)
    vtt = read_vtt((tmp_path / "s.vtt").read_text())
    assert " ".join(row for cue in vtt for row in cue[2]).split() == result.stdout.decode().split()


class Paced(WavSink):
    def write(self, pcm: bytes) -> None:
        time.sleep(len(pcm) / 2 / self.rate)
        super().write(pcm)


def test_a_stopped_story_has_captions_for_what_was_spoken(tmp_path, voice):
    captions = Captions(tmp_path / "s.srt", "srt")
    text = "Once upon a time there was a very small dragon."
    with Player(voice, Paced(tmp_path / "s.wav", voice.rate), on_word=captions.word, on_spoken=captions.spoken) as player:
        player.say(text)
        time.sleep(1.0)
    captions.close()
    ((start, end, rows),) = read_srt((tmp_path / "s.srt").read_text())
    with wave.open(str(tmp_path / "s.wav")) as wav:
        assert end == pytest.approx(wav.getnframes() / voice.rate, abs=0.001)
    assert text.startswith(" ".join(rows)) and " ".join(rows) != text and start == 0.0


def test_a_story_without_a_sound_leaves_no_file(tmp_path, voice):
    (tmp_path / "old.srt").write_text("an older story")
    captions = Captions(tmp_path / "old.srt", "srt")
    with Player(voice, NullSink(voice.rate), on_word=captions.word, on_spoken=captions.spoken) as player:
        player.say("?!")
        player.finish()
    captions.close()
    assert os.listdir(tmp_path) == ["old.srt"] and (tmp_path / "old.srt").read_text() == "an older story"


# From sentences to cues


def rows(text: str, times=None, end: float | None = None) -> list[str]:
    count = len(WORD.findall(text))
    told = list(cues(text, range(count) if times is None else times, 0.0, count if end is None else end))
    for format in FORMATS.values():
        format(told)
    assert [cue.start for cue in told[1:]] == [cue.end for cue in told[:-1]]
    return [" | ".join(" ".join(word for _, word in row) for row in cue.rows()) for cue in told]


@pytest.mark.parametrize("text, expected", [
    ("The end.", ["The end."]),
    ("It was one row of forty-two characters now.", ["It was one row of | forty-two characters now."]),
    ('Lily said, "Let us go to the park and play with the ball, because it is a very sunny day and we are free."',
     ['Lily said, "Let us go to the | park and play with the ball,', 'because it is a very sunny | day and we are free."']),
    ("She had a big red ball that she liked to play with in the garden and then in the house all day long",
     ["She had a big red ball that she | liked to play with in the garden", "and then in the house all day long"]),
    ("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen",
     ["one two three four five | six seven eight nine",
      "ten eleven twelve thirteen | fourteen fifteen sixteen seventeen"]),
    ("a" * 100 + " and " + "b" * 50, ["a" * 100, "and", "b" * 50]),
    ("- Oh ... and — so !", ["- Oh ... and — so !"]),
])
def test_cues_end_with_clauses(text, expected):
    assert rows(text) == expected
    assert " ".join(expected).replace(" | ", " ") == text


def test_only_the_words_that_were_begun():
    assert rows("One two-three ran—fast away.", times=[0.0, 1.0, 2.0], end=2.5) == ["One two-three ran—fast"]
    assert rows("One two.", times=[], end=0.0) == []


def test_a_voice_that_tells_no_words_has_estimates():
    text = "He ran and ran and ran and ran and ran, but she sat and sat and sat and sat and sat and sat in the sun."
    first, second = cues(text, [], 10.0, 20.0)
    assert (first.start, second.end) == (10.0, 20.0) and first.words[-1][1] == "ran,"
    assert first.end == second.start == pytest.approx(10 + 10 * text.index("but") / len(text))


def test_times_beyond_an_hour():
    (cue,) = cues("The end.", [3725.0004, 3725.9996], 3725.0, 3727.5)
    assert FORMATS["srt"]([cue]) == "1\n01:02:05,000 --> 01:02:07,500\nThe end.\n"
    assert FORMATS["vtt"]([cue]) == "WEBVTT\n\n01:02:05.000 --> 01:02:07.500\nThe <01:02:06.000>end.\n"


# What goes wrong


@pytest.mark.parametrize("path, says", [
    ("missing/s.srt", "No such file or directory"), (".", "not a regular file"), ("/dev/null", "not a regular file"),
    ("x" * 300, "File name too long"),
])
def test_a_file_that_cannot_be_is_refused_at_once(tmp_path, path, says):
    with pytest.raises(StoryError, match=f"captions.*{says}"):
        Captions(tmp_path / path, "srt")
    assert not os.listdir(tmp_path)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    captions = Captions(tmp_path / "s.srt", "srt")
    captions.spoken("The end.", 0.0, 1.0, 0)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, captions._file.fileno())
    os.close(full)
    with pytest.raises(StoryError, match="s.srt: No space left on device"):
        captions.close()
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("args, env, says", [
    (["--silent", "--vtt", "s.vtt"], {}, "--silent and --vtt exclude each other"),
    (["--srt", "s.srt"], {"DUOSTORY_SILENT": "1"}, "--srt needs the voice, and silent is set (environment)"),
    (["--reference", "--srt", "s.srt"], {}, "--srt is not for --reference"),
    (["--wav", "a", "--vtt", "a"], {}, "a file each"),
    (["--wav", "a", "--srt", "./a"], {}, "a file each"),
    (["--srt", ""], {}, "--srt needs the name of a file"),
])
def test_captions_need_a_voice(tmp_path, story_model, args, env, says):
    result = run(tmp_path, "--model", story_model, *args, env=env)
    assert result.returncode == 2 and says in result.stderr.decode() and result.stdout == b""
    assert not list(tmp_path.glob("*s.*"))


def test_a_file_that_cannot_be_ends_the_program_before_the_story(tmp_path, story_model, voice):
    result = run(tmp_path, story_model, "--wav", "a.wav", "--srt", "a.srt", "--vtt", "missing/a.vtt", "a cat")
    assert result.returncode == 1 and b"missing/a.vtt: No such file" in result.stderr and result.stdout == b""
    assert not list(tmp_path.glob("*a.*")) and not list(tmp_path.glob(".a*"))
