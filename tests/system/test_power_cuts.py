"""The power goes at any moment: the board starts again and tells stories, and its state is what was kept before, or later."""

import random
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from duostory import config
from tests.system.conftest import make_state
from tests.system.guest import BUSYBOX, PATIENCE, SYSTEMD

CUTS = 10  # of each init's board; both go on at a time
LOUDEST = 100
SUBJECTS = ["kitten", "dragon", "rabbit", "bear", "robot", "frog", "duck"]


class Kept(NamedTuple):
    story: str  # how the last one begins; "" when there was none
    volume: int


def kept(state: Path, folder: Path) -> Kept:
    """What is in the state partition after its journal has been replayed, as a start does it, in a copy."""
    copy, files = folder / "copy.ext4", folder / "files"
    shutil.copy(state, copy)
    checked = subprocess.run(["e2fsck", "-fp", copy], capture_output=True, text=True)
    assert checked.returncode in (0, 1), checked.stdout  # sound, or repaired without a question
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {files}", copy], check=True, capture_output=True)
    environ = {"STATE_DIRECTORY": str(files)}
    assert config.damaged(environ) == []
    last = config.recall(environ) if (files / "last-story").exists() else None
    return Kept(last.header + last.opening if last else "", config.kept_number("volume", environ) or LOUDEST)


def cut_and_start_again(boot, folder: Path, init: str) -> None:
    folder.mkdir()
    state, chance, before = folder / "state.ext4", random.Random(init), Kept("", LOUDEST)
    make_state(state)
    for number in range(CUTS):
        subject, step = SUBJECTS[number % len(SUBJECTS)], -10 if number % 2 else 10
        with boot(init, state) as board:
            if wished := not number or chance.random() < 0.7:
                board.wait_for_sound(PATIENCE)
                board.console.send(f"{'softer' if step < 0 else 'louder'}\na {subject}")
                if not number:  # at least one story is kept, however slow the board
                    board.console.expect("Once upon a time", PATIENCE)
                time.sleep(chance.uniform(0, 3))
            else:
                time.sleep(chance.uniform(0, 4))
        after = kept(state, folder)
        assert after.volume == before.volume or wished and after.volume == min(before.volume + step, LOUDEST)
        assert after.story == before.story or wished and subject in after.story
        before = after
    assert before.story  # it was kept at least once
    with boot(init, state) as board:
        board.wait_for_sound(PATIENCE)
        board.console.send("a fox")
        board.console.expect(r"a fox\r\n", PATIENCE)
        board.console.expect(r"Once upon a time[^.]+\.", PATIENCE)


def test_power_cuts(boot, tmp_path):
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda init: cut_and_start_again(boot, tmp_path / Path(init).parent.name, init), [BUSYBOX, SYSTEMD]):
            pass
