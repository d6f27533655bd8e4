"""The program as its users meet it: what it prints where, how it ends, how it is stopped."""

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
import wave

import pytest

from tests.checkpoints import random_duo
from tests.teller import ROOT, command, environment, run

SUMMARY = re.compile(r"\d+ tokens in \d+\.\d\d s, seed (\d+)"
                     r"(, first sound after \d+\.\d\d s, \d+\.\d\d s to synthesise \d+\.\d s)?\n"
                     r"achieved tok/s: \d+\.\d{6}\n")


# Seconds from a signal to the end of the process: far less than the rest of each story here would take. The
# sound has to stop in 0.2 s, which test_player.py measures; seen here: 0.03 to 0.1 s on an idle machine.
LATENCY = 3


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory):
    """A model of 25 million random weights: with the scalar kernel a story takes many seconds."""
    shape = (512, 1376, 8, 8, 8, 512, 1024, 32)
    return random_duo(tmp_path_factory.mktemp("slow") / "slow.duo", shape, "q8")


def start(home, *args, **more) -> subprocess.Popen:
    more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
            "preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)} | more
    return subprocess.Popen(command(*args), cwd=home, env=environment(home, DUOSTORY_KERNEL="scalar", DUOSTORY_SEED="1"), **more)


def wait_until(condition) -> None:
    """Wait for something to be seen; fails after a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- What is printed ------------------------------------------------------------------------------


def test_the_story_and_nothing_else_on_stdout(tmp_path, story_model):
    result = run(tmp_path, story_model, "--silent", "-s", "3", "once", "upon", "a", "time")
    assert result.returncode == 0
    assert result.stdout.startswith(b"Once upon a time, ") and result.stdout.endswith(b"\n")
    assert SUMMARY.fullmatch(result.stderr.decode())[1] == "3"


def test_the_same_seed_tells_the_same_story(tmp_path, story_model):
    told = [run(tmp_path, story_model, "--silent", "-s", seed, "a cat").stdout for seed in ("3", "3", "4")]
    assert told[0] == told[1] != told[2]


@pytest.mark.parametrize("args", [
    ["m.duo", "--silent", "-s", "3", "a", "cat"],
    ["--silent", "-s3", "a", "--model=m.duo", "cat"],
    ["-s", "3", "m.duo", "a cat", "--silent"],
    ["--seed=3", "--silent", "--model", "m.duo", "--", "a", "cat"],
    ["--silent", "-s", "3", "m.duo", "-i", "Once upon a time, there was a cat"],
    ["--temperature", "0.7", "--topp", ".95", "--steps", "0", "--silent", "--seed", "3", "m.duo", "a cat"],
])
def test_ways_to_say_the_same(tmp_path, stories260k, args):
    (tmp_path / "m.duo").symlink_to(stories260k)
    expected = run(tmp_path, stories260k, "--silent", "-s", "3", "a cat").stdout
    assert run(tmp_path, *args).stdout == expected != b""


def test_a_model_is_known_by_its_magic_and_other_files_are_words(tmp_path, stories260k):
    (tmp_path / "cat").symlink_to(stories260k)
    (tmp_path / "dog").write_text("not a model at all, though long enough for the header of one")
    assert run(tmp_path, "cat", "--silent", "dog").stdout.startswith(b"Once upon a time, there was a dog")
    told = run(tmp_path, "--model", stories260k, "--silent", "dog", "and", "cat").stdout
    assert told.startswith(b"Once upon a time, there was a dog and cat")


@pytest.mark.parametrize("stdin, begins", [
    (b"a cat\n", b"Once upon a time, there was a cat"),
    (b"The sea was blue.\n", b"The sea was blue."),
    (b"", b""),
    (b"\n", b""),
])
def test_the_wish_from_standard_input(tmp_path, stories260k, stdin, begins):
    result = run(tmp_path, stories260k, "--silent", stdin=stdin)
    assert result.returncode == 0 and result.stdout.startswith(begins) and len(result.stdout) > 20


def test_words_count_more_than_standard_input(tmp_path, story_model):
    told = [run(tmp_path, story_model, "--silent", "-s", "3", "a cat", stdin=stdin).stdout for stdin in (b"a dog", b"")]
    assert told[0] == told[1] != b""


def test_without_standard_input(tmp_path, story_model):
    result = run(tmp_path, story_model, "--silent", stdin=None, preexec_fn=lambda: os.close(0))
    assert result.returncode == 0 and result.stdout


@pytest.mark.parametrize("env", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_any_bytes_whatever_the_locale(tmp_path, story_model, env):
    result = run(tmp_path, story_model, "--silent", "-i", b"-caf\xc3\xa9 \xf0\x9f\x98\x80 \xff", env=env)
    assert result.stdout.startswith(b"-caf\xc3\xa9 \xf0\x9f\x98\x80 \xef\xbf\xbd")


def test_json_events(tmp_path, story_model, voice):
    plain = run(tmp_path, story_model, "--wav", "a.wav", "-s", "3", "a cat").stdout
    result = run(tmp_path, story_model, "--wav", "b.wav", "-s", "3", "--json", "a cat")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = {kind: [event for event in events if event["event"] == kind] for kind in
             ("token", "sentence", "word", "spoken", "summary")}
    assert len(events) == sum(map(len, kinds.values()))
    story = "".join(event["text"] for event in kinds["token"])
    assert story.encode() + b"\n" == plain
    assert " ".join(event["text"] for event in kinds["sentence"]) == " ".join(story.split())
    assert [event["index"] for event in kinds["sentence"]] == list(range(len(kinds["sentence"])))
    end = 0.0
    for sentence, spoken in zip(kinds["sentence"], kinds["spoken"], strict=True):
        assert sentence["index"] == spoken["sentence"] and end <= spoken["at"] < spoken["end"]
        end = spoken["end"]
        words = [event for event in kinds["word"] if event["sentence"] == sentence["index"]]
        assert [event["word"] for event in words] == re.findall(r"[\w'-]+", sentence["text"])
        times = [event["at"] for event in words]
        assert spoken["at"] <= times[0] and times == sorted(times) and times[-1] < end
    assert kinds["summary"][0]["audio"] - 1 < end <= kinds["summary"][0]["audio"]
    (summary,) = kinds["summary"]
    assert events[-1] is summary and summary["seed"] == 3 and 0 < summary["first_sound"] < 10
    assert 0 <= summary["gap"] < summary["audio"]
    assert kinds["token"][0]["prompt"] and not kinds["token"][-1]["prompt"]
    assert SUMMARY.fullmatch(result.stderr.decode())


def test_a_model_that_knows_wishes_is_told_and_does_not_tell(tmp_path, checkpoint260k):
    from duostory import formats

    formats.convert(checkpoint260k, tmp_path / "m.duo", tokenizer=checkpoint260k.with_name("tok512.bin"),
                    meta={"wish_template": "Wish: {subjects}\n"})
    result = run(tmp_path, "m.duo", "--silent", "--json", "-s", "3", "a dragon and a cat")
    tokens = [json.loads(line) for line in result.stdout.splitlines()[:-1]]
    tokens = [event for event in tokens if event["event"] == "token"]
    assert len([event for event in tokens if event["prompt"] and not event["text"]]) > 5
    story = "".join(event["text"] for event in tokens).strip()
    assert story.startswith("Once upon a time, there was a dragon and a cat")
    plain = run(tmp_path, "m.duo", "--silent", "-s", "3",
                "-i", "Wish: dragon, cat\nOnce upon a time, there was a dragon and a cat")
    assert plain.stdout.decode().strip() == "Wish: dragon, cat\n" + story


def test_help_fits_a_terminal_and_knows_every_option(tmp_path):
    from duostory import cli, config

    pages = [run(tmp_path, "--help"), run(tmp_path, "--mic", "--help")]
    for page in pages:
        lines = page.stdout.decode().splitlines()
        assert page.returncode == 0 and len(lines) <= 24 and max(map(len, lines)) < 80
    known = pages[0].stdout.decode() + pages[1].stdout.decode()
    for key in config.FIELDS:
        assert cli.SHORT.get(key, "") in known
        assert config.option(key).lstrip("-") in known
    assert run(tmp_path, "-h").stdout == pages[0].stdout


def test_version_names_engine_kernel_and_model(tmp_path, story_model):
    from duostory import __version__
    from duostory.engine import Model

    with Model(story_model, "scalar") as model:
        crc = model.info.crc32
    result = run(tmp_path, "--version", "--model", story_model, env={"DUOSTORY_KERNEL": "scalar"})
    assert result.stdout.decode() == f"duostory {__version__}, kernel scalar, model {crc:08x}\n"
    result = run(tmp_path, "--version", "--model", "none.duo")
    assert result.returncode == 0 and b"no model: " in result.stdout


def test_show_config(tmp_path):
    result = run(tmp_path, "--show-config", "-s", "3", env={"DUOSTORY_RATE": "120"})
    assert re.search(r"^seed = 3 +# command line$", result.stdout.decode(), re.MULTILINE)
    assert re.search(r"^rate = 120 +# environment$", result.stdout.decode(), re.MULTILINE)
    assert re.search(r'^voice = "en-us" +# default$', result.stdout.decode(), re.MULTILINE)


@pytest.mark.parametrize("name", ["convert", "export", "models", "eval", "bench"])
def test_commands_have_help(tmp_path, name):
    result = run(tmp_path, name, "--help")
    assert result.returncode == 0 and result.stdout.startswith(f"usage: duostory {name}".encode())


# --- The last story -------------------------------------------------------------------------------


def test_again_tells_the_very_same_story(tmp_path, story_model):
    first = run(tmp_path, story_model, "--silent", "-t", "0.9", b"a cat\xff")
    again = run(tmp_path, "--again", "--silent")
    assert again.stdout == first.stdout
    assert SUMMARY.fullmatch(again.stderr.decode())[1] == SUMMARY.fullmatch(first.stderr.decode())[1]
    assert run(tmp_path, "--again", "--silent").stdout == first.stdout


def test_again_needs_the_same_model(tmp_path, story_model):
    model = tmp_path / "m.duo"
    model.symlink_to(story_model)
    run(tmp_path, model, "--silent", "a cat")
    model.unlink()
    random_duo(model, (64, 96, 1, 2, 2, 300, 64, 32), "q8")
    result = run(tmp_path, "--again", "--silent")
    assert result.returncode == 1
    assert result.stderr.startswith(b"duostory: the model is not the one that told the last story")


def test_a_story_is_told_where_nothing_can_be_kept(tmp_path, story_model):
    (tmp_path / ".local").write_text("in the way")
    result = run(tmp_path, story_model, "--silent", "a cat")
    assert result.returncode == 0 and SUMMARY.fullmatch(result.stderr.decode())


# --- Sound ----------------------------------------------------------------------------------------


def test_a_spoken_story(tmp_path, story_model, voice):
    result = run(tmp_path, story_model, "--wav", "a.wav", "-s", "3", "a cat")
    with wave.open(str(tmp_path / "a.wav")) as wav:
        seconds = wav.getnframes() / wav.getframerate()
    words = len(result.stdout.split())
    assert 60 * words / 220 < seconds < 60 * words / 110  # 155 words a minute, and pauses
    assert result.stdout.endswith(b"The end.\n")
    assert SUMMARY.fullmatch(result.stderr.decode())[2]
    result = run(tmp_path, story_model, "--wav", "a.wav", "--no-the-end", "-s", "3", "a cat")
    assert not result.stdout.endswith(b"The end.\n")


def test_the_sound_device(tmp_path, story_model, voice):
    """Through ALSA's default device, which here records."""
    env = {"ALSA_CONFIG_PATH": str(ROOT / "tests/speech/asound.conf"),
           "DUOSTORY_TEST_SOUND": str(tmp_path / "raw")}
    result = run(tmp_path, story_model, "-s", "3", "a cat", env=env)
    run(tmp_path, story_model, "-s", "3", "a cat", "--wav", "a.wav")
    assert result.returncode == 0 and SUMMARY.fullmatch(result.stderr.decode()), result.stderr
    with wave.open(str(tmp_path / "a.wav")) as wav:
        assert abs((tmp_path / "raw").stat().st_size - 2 * wav.getnframes()) < 2 * wav.getframerate()


def test_without_a_sound_device_the_story_goes_into_a_file_of_its_own(tmp_path, story_model, voice):
    (tmp_path / "asound.conf").write_text("")  # no device at all
    env = {"ALSA_CONFIG_PATH": str(tmp_path / "asound.conf")}
    for name in ("story-3.wav", "story-3-2.wav"):
        result = run(tmp_path, story_model, "-s", "3", "-n", "60", "a cat", env=env)
        note, _, rest = result.stderr.decode().partition("\n")
        assert note == f"duostory: there is no sound device, so the story is spoken into {name}"
        assert SUMMARY.fullmatch(rest) and (tmp_path / name).stat().st_size > 44
    assert not list(tmp_path.glob(".story*"))
    result = run(tmp_path, story_model, "--device", "hw:9", "a cat", env=env)
    assert result.returncode == 1 and b"hw:9" in result.stderr and len(list(tmp_path.glob("*.wav"))) == 2


def test_two_tellers_in_one_folder_take_a_file_each(tmp_path, story_model, voice):
    (tmp_path / "asound.conf").write_text("")
    env = environment(tmp_path, ALSA_CONFIG_PATH=str(tmp_path / "asound.conf"))
    tellers = [subprocess.Popen(command(story_model, "-s", "3", "a cat"), cwd=tmp_path, env=env,
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
               for _ in range(2)]
    notes = {teller.communicate(timeout=60)[1].decode().splitlines()[0].split()[-1] for teller in tellers}
    assert notes == {path.name for path in tmp_path.glob("*.wav")} == {"story-3.wav", "story-3-2.wav"}
    assert (tmp_path / "story-3.wav").read_bytes() == (tmp_path / "story-3-2.wav").read_bytes()


# --- How it is stopped ----------------------------------------------------------------------------


@pytest.mark.parametrize("sound", [["--silent"], ["--wav", "a.wav"]])
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)])
def test_a_signal_stops_at_once(tmp_path, slow_model, request, sound, number, status):
    if "--wav" in sound:
        request.getfixturevalue("voice")
    process = start(tmp_path, slow_model, *sound, "-i", "A cat. It ran. It sat. ")
    told = process.stdout.read(30)
    assert process.poll() is None
    process.send_signal(number)
    began = time.monotonic()
    more, messages = process.communicate(timeout=10)
    took = time.monotonic() - began
    assert process.returncode == status
    assert (told + more).endswith(b"\n") and SUMMARY.fullmatch(messages.decode()), messages
    assert took < LATENCY
    if "--wav" in sound:
        with wave.open(str(tmp_path / "a.wav")) as wav:  # what was spoken until then, as a whole file
            assert wav.getnframes() > 0
    assert (tmp_path / ".local/state/duostory/last-story").exists()
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_stops_a_teller_that_waits_for_the_voice(tmp_path, story_model, voice, card, number, status):
    """The story is far ahead of the voice, or told to its end; the voice is in the middle of a sentence."""
    process = start(tmp_path, story_model, "-s", "3", "--json", "a cat")
    wait_until(lambda: b'"word"' in (line := process.stdout.readline()) and b'"sentence": 1' in line)
    process.send_signal(number)
    began = time.monotonic()
    _, messages = process.communicate(timeout=10)
    assert time.monotonic() - began < LATENCY
    assert process.returncode == status and SUMMARY.fullmatch(messages.decode()), messages


@pytest.mark.parametrize("number, status", [
    (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129),
])
def test_a_signal_before_the_story_is_quiet(tmp_path, slow_model, number, status):
    process = start(tmp_path, slow_model, "--silent", stdin=subprocess.PIPE)
    os.write(process.stdin.fileno(), b"a")
    wait_until(lambda: not any(fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4))))  # it has read that
    process.send_signal(number)  # while it waits for the rest of the wish
    assert process.communicate(timeout=10) == (b"", b"") and process.returncode == status


def test_a_command_that_was_stopped_has_failed(tmp_path, slow_model):
    """Or `duostory convert IN OUT && use OUT` would go on."""
    process = start(tmp_path, "eval", slow_model)
    with open(f"/proc/{process.pid}/maps") as maps:
        wait_until(lambda: maps.seek(0) == 0 and str(slow_model) in maps.read())  # it has begun
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == (b"", b"") and process.returncode == 143


def test_nohup_is_respected(tmp_path, slow_model):
    process = start(tmp_path, slow_model, "--silent", "-i", "A cat",
                    preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.stdout.read(8)
    ignored = re.search(r"SigIgn:\s*(\w+)", open(f"/proc/{process.pid}/status").read())[1]
    assert int(ignored, 16) & 1 << signal.SIGHUP - 1
    process.terminate()
    process.communicate(timeout=10)


@pytest.mark.parametrize("option", ["--silent", "--json"])
def test_a_closed_pipe_is_quiet(tmp_path, slow_model, option):
    process = start(tmp_path, slow_model, "--silent", option, "-i", "A cat ran")
    process.stdout.read(8)
    process.stdout.close()
    assert process.wait(timeout=10) == 0
    assert process.stderr.read() == b""


def test_at_a_terminal(tmp_path, slow_model):
    """No wish is needed, and Ctrl-C leaves the terminal as it was, at the start of a line."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        env = environment(tmp_path, DUOSTORY_KERNEL="scalar")
        os.execve(sys.executable, command(slow_model, "--silent"), env)
    before = termios.tcgetattr(terminal)
    shown = os.read(terminal, 100)
    assert shown
    os.write(terminal, b"\x03")
    while True:
        try:
            shown += os.read(terminal, 1000)
        except OSError:  # how Linux says that the other side is closed
            break
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert termios.tcgetattr(terminal) == before
    *_, summary, pace, rest = shown.decode(errors="replace").split("\r\n")
    assert SUMMARY.fullmatch(f"{summary}\n{pace}\n") and rest == ""
