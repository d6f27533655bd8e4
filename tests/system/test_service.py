"""The board with its service, from power-on to power-off: what somebody who plugs it in hears and sees."""

import subprocess
import time
from array import array
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.speech.recogniser import Recogniser, words
from tests.system.guest import BUSYBOX, PATIENCE, RATE, SYSTEMD, Guest, tells_a_story, text_before

READY = "Hello! I am ready."
DAMAGED = "Oh no. My story model does not work. Please copy it onto my card again."
ENOUGH = 8192  # kB of the board's memory that must always be there

# Writes the least memory that there was, until the file is removed.
WATCH = "(least=99999; touch /run/watch; while [ -e /run/watch ]; do set -- $(grep MemAvailable /proc/meminfo); " \
        "[ $2 -lt $least ] && least=$2 && echo $least >/run/least; usleep 100000; done) >/dev/null 2>&1 &"


@pytest.fixture(scope="module", params=[BUSYBOX, SYSTEMD], ids=["busybox", "systemd"])
def board(boot, request) -> Iterator[Guest]:
    """One board for all tests here, which follow one another."""
    with boot(request.param) as board:
        yield board


class Told(NamedTuple):
    text: str
    sound: array
    least: int  # kB of memory that were there at any time


@pytest.fixture(scope="module")
def story(board) -> Told:
    """A wish on the serial line, and what came of it."""
    board.wait_for_sound(PATIENCE)  # nobody listens to the line before it is ready
    board.wait_for_silence(PATIENCE)
    board.wait_for_shell()
    board.run(WATCH)
    before = len(board.sound())
    board.console.send("a dragon")
    board.console.expect("a dragon\r\n", PATIENCE)
    text = text_before(board.console.expect(r"The end\.", PATIENCE)) + "The end."
    board.wait_for_sound(PATIENCE, after=before)
    sound = board.wait_for_silence(PATIENCE, after=before)
    return Told(text, sound, int(board.run("cat /run/least; rm /run/watch")))


def heard(text: str, sound: array, folder) -> float:
    """The share of words that are wrong."""
    return Recogniser(text, RATE, folder).error_rate(text, sound.tobytes())


def test_it_says_that_it_is_ready(board, tmp_path):
    pytest.importorskip("pocketsphinx", reason="needs the package pocketsphinx")
    print(f"{board.wait_for_sound(PATIENCE):.1f} s from power-on to the first sound")
    assert heard(READY, board.wait_for_silence(PATIENCE), tmp_path) <= 0.25  # one word of four; observed 0


def test_a_wish_on_the_serial_line(story, tmp_path):
    pytest.importorskip("pocketsphinx", reason="needs the package pocketsphinx")
    assert "dragon" in story.text and len(words(story.text)) > 40
    assert heard(story.text, story.sound, tmp_path) < 0.4  # as in tests/speech/test_whole_story.py
    assert 60 * len(words(story.text)) / (len(story.sound) / RATE) == pytest.approx(155, rel=0.35)  # the rate, and pauses


def test_memory(board, story):
    print(f"never less than {story.least} kB of memory were available")
    assert story.least >= ENOUGH
    assert not board.run("dmesg | grep -iE 'out of memory|oom-kill' || true").strip()
    assert board.run("grep SwapTotal /proc/meminfo").split() == ["SwapTotal:", "0", "kB"]


def test_the_root_cannot_be_written(board, story):
    for place in "/usr/lib", "/mnt":
        with pytest.raises(subprocess.CalledProcessError, match="status 1") as refused:
            board.run(f"touch {place}/file")
        assert "Read-only file system" in refused.value.output


def pid(board: Guest) -> str:
    return board.run("pidof duostory").strip()


def comes_back(board: Guest, signal: str) -> None:
    """It does, and says so, after it was sent that."""
    before, hit = len(board.sound()), pid(board)
    board.run(f"kill -{signal} {hit}")
    begun = time.monotonic()
    board.wait_for_sound(PATIENCE, after=before)
    print(f"heard again {time.monotonic() - begun:.1f} s after it got a SIG{signal}")
    assert pid(board) != hit
    board.wait_for_silence(PATIENCE, after=before)


def is_as_before(board: Guest) -> None:
    """It tells a story, and stops when told to."""
    before = len(board.sound())
    tells_a_story(board)
    board.wait_for_sound(PATIENCE, after=before)
    board.console.send("stop")
    board.wait_for_silence(PATIENCE, after=before)


def test_killed(board, story):
    comes_back(board, "KILL")


def test_stuck(board, story):
    """systemd starts it again when it has shown no sign of life for 20 s."""
    if board.init != SYSTEMD:
        pytest.skip("only systemd looks for signs of life")
    restarts = "systemctl show --property NRestarts --value duostory"
    before = int(board.run(restarts))
    comes_back(board, "STOP")
    assert int(board.run(restarts)) == before + 1
    is_as_before(board)


def test_nothing_runs_any_more(board, story):
    """The hardware resets the board, which is ready again after that."""
    before = len(board.sound())
    board.control("set-action", reboot="reset")
    # All programs freeze, the init and the one that goes on with this as well.
    board.run("""if ! [ -e /sys/fs/cgroup/init.scope ]; then
        mount -t cgroup2 none /sys/fs/cgroup; mkdir /sys/fs/cgroup/all
        for number in $(cat /sys/fs/cgroup/cgroup.procs); do echo $number >/sys/fs/cgroup/all/cgroup.procs; done 2>/dev/null
    fi
    { sleep 1; for group in /sys/fs/cgroup/*/cgroup.freeze; do echo 1 >$group; done; } >/dev/null 2>&1 &""")
    frozen = time.monotonic()
    board.wait_for_event("WATCHDOG")
    print(f"reset {time.monotonic() - frozen:.1f} s later")
    board.wait_for_sound(PATIENCE, after=before)
    board.wait_for_silence(PATIENCE, after=before)
    board.wait_for_shell()
    is_as_before(board)


def test_a_damaged_model(board, story, tmp_path):
    """It says so on the console and aloud, once."""
    pytest.importorskip("pocketsphinx", reason="needs the package pocketsphinx")
    board.run("dd if=/usr/lib/python3/dist-packages/duostory/data/story.duo of=/run/damaged.duo bs=64k count=3")
    before = len(board.sound())
    if board.init == SYSTEMD:
        board.run("systemctl set-environment DUOSTORY_MODEL=/run/damaged.duo; systemctl restart --no-block duostory")
    else:
        board.run("echo export DUOSTORY_MODEL=/run/damaged.duo >>/etc/default/duostory; /etc/init.d/S95duostory restart")
    board.console.expect(r"duostory: .*damaged\.duo", PATIENCE)
    board.wait_for_sound(PATIENCE, after=before)
    assert heard(DAMAGED, board.wait_for_silence(PATIENCE, after=before), tmp_path) <= 0.4
    with pytest.raises(subprocess.CalledProcessError):
        pid(board)


def test_off(board, story):
    print(f"{board.off():.1f} s to shut down")
    subprocess.run(["e2fsck", "-fn", board.state], check=True)
    log = (board.folder / "console.log").read_text(errors="replace")
    assert "Traceback" not in log
