"""What may be wrong with a board, and what it does about that: it tells stories all the same."""

import subprocess

import pytest

from tests.system.conftest import make_state
from tests.system.guest import BUSYBOX, PATIENCE, SYSTEMD, tells_a_story


def test_a_state_that_makes_no_sense(boot, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    for name in "volume", "clock", "last-story":
        (files / name).write_bytes(b"\0\xff: \\x\n" * 3)
    make_state(tmp_path / "state", files)
    with boot(BUSYBOX, tmp_path / "state") as board:
        for _ in range(3):
            board.console.expect("damaged", PATIENCE)
        board.wait_for_sound(PATIENCE)
        tells_a_story(board)
        board.wait_for_shell()
        assert "opening: " in board.run("cat /var/lib/duostory/last-story")


@pytest.mark.parametrize("init", [BUSYBOX, SYSTEMD], ids=["busybox", "systemd"])
def test_a_state_partition_that_is_none(boot, tmp_path, init):
    state = tmp_path / "state"
    state.write_bytes(b"\xa5" * (8 << 20))
    with boot(init, state) as board:
        board.wait_for_sound(PATIENCE)
        tells_a_story(board)
        board.wait_for_shell()
        assert "opening: " in board.run("grep -q /var/lib/duostory /proc/mounts && cat /var/lib/duostory/last-story")


def test_a_state_partition_that_is_damaged(boot, tmp_path):
    """So that e2fsck wants to be told what to do: all that can be kept is."""
    files, commands = tmp_path / "files", tmp_path / "commands"
    files.mkdir()
    (files / "volume").write_text("30\n")
    (files / "other").write_text("which will be lost\n")
    make_state(tmp_path / "state", files)
    commands.write_text("set_inode_field /other block[0] 0\nset_super_value state 2\n")
    subprocess.run(["debugfs", "-w", "-f", commands, tmp_path / "state"], check=True, capture_output=True)
    with boot(BUSYBOX, tmp_path / "state") as board:
        board.wait_for_sound(PATIENCE)
        board.wait_for_shell()
        assert board.run("cat /var/lib/duostory/volume").strip() == "30"
        tells_a_story(board)
        assert "opening: " in board.run("cat /var/lib/duostory/last-story")


@pytest.mark.parametrize("init", [BUSYBOX, SYSTEMD], ids=["busybox", "systemd"])
def test_a_state_partition_that_is_worn_out(boot, tmp_path, init):
    """What it holds can be read, and what is kept is in memory."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "volume").write_text("30\n")
    make_state(tmp_path / "state", files)
    with boot(init, tmp_path / "state", worn_out=True) as board:
        board.wait_for_sound(PATIENCE)
        board.wait_for_shell()
        tells_a_story(board)
        assert "opening: " in board.run("cat /var/lib/duostory/last-story")
        assert board.run("cat /var/lib/duostory/volume").strip() == "30"
        assert b"lost with the power" in (board.folder / "console.log").read_bytes()


@pytest.mark.parametrize("init", [BUSYBOX, SYSTEMD], ids=["busybox", "systemd"])
def test_a_state_partition_that_cannot_be_made(boot, tmp_path, init):
    """It is too small for a file system."""
    state = tmp_path / "state"
    state.write_bytes(b"\xa5" * 4096)
    with boot(init, state) as board:
        board.wait_for_sound(PATIENCE)
        board.wait_for_shell()
        tells_a_story(board)
        assert "opening: " in board.run("cat /var/lib/duostory/last-story")
        assert b"lost with the power" in (board.folder / "console.log").read_bytes()


def test_a_full_state_partition(boot):
    with boot(BUSYBOX) as board:
        board.wait_for_sound(PATIENCE)
        board.wait_for_shell()
        # ext4 keeps a little back: the last blocks go to small files.
        board.run("cd /var/lib/duostory; cat /dev/zero >full; sync; while echo >$((++number)); do :; done; sync; rm $number; cd /")
        board.console.send("a kitten")
        board.console.expect(r"cannot keep .*No space left on device", PATIENCE)
        board.console.expect(r"Once upon a time[^.]+\.", PATIENCE)


def test_no_sound_card(boot):
    with boot(BUSYBOX, card=False) as board:
        board.console.expect("duostory: .*sound device", PATIENCE)
        tells_a_story(board)


def test_a_card_that_is_pulled_out(boot):
    """The story waits for it."""
    with boot(BUSYBOX) as board:
        board.wait_for_sound(PATIENCE)
        board.wait_for_silence(PATIENCE)
        tells_a_story(board)
        board.wait_for_sound(PATIENCE, after=len(board.sound()))
        board.control("device_del", id="card")
        board.console.expect("duostory: .*sound", PATIENCE)
        board.control("device_add", driver="usb-audio", id="card", audiodev="sound")
        board.wait_for_sound(PATIENCE, after=len(board.sound()))
