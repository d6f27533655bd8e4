"""The timing model against what is published of the C906 (scripts/c906sim/MODEL.md)."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT

# loop in loops.c: what it repeats, cycles
LOOPS = [
    ("vadd, 1 register", 4), ("vadd, 2 registers", 4), ("vadd, 4 registers", 8), ("vadd, 8 registers", 16),
    ("vwmacc, 2 to 4 registers", 8), ("vredsum of 8 registers", 17), ("two vfredmax of 8 registers", 74), ("vfdiv, 1 register", 36),
    ("vsetvli", 2), ("add", 1), ("load of its own address", 2), ("two fmadd, each waiting for the other", 8),
    ("cache line from memory", 64 / (1.95e9 / 850e6)),
]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
    """(predict.py as a module, the plugin, the program of loops)."""
    if not shutil.which("riscv64-linux-gnu-gcc") or not shutil.which("qemu-riscv64"):
        pytest.skip("needs riscv64-linux-gnu-gcc and qemu-riscv64; run scripts/cross-tools")
    spec = importlib.util.spec_from_file_location("predict", ROOT / "scripts" / "c906sim" / "predict.py")
    predict = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(predict)
    if not predict.takes_plugins():
        pytest.skip("needs QEMU 7.2 or 8 with plugins, as in Debian 12")
    folder = tmp_path_factory.mktemp("c906sim")
    return predict, predict.build_plugin(folder), predict.build_program(folder, Path(__file__).with_name("loops.c"))


@pytest.mark.parametrize("loop", range(len(LOOPS)), ids=lambda i: LOOPS[i][0])
def test_published_cycles(simulator, loop):
    predict, plugin, program = simulator
    short, long = (predict.simulate(plugin, [program, loop, n], predict.BOARD)["cycles"] for n in (1000, 5000))
    # the loop's own two instructions add up to 2 cycles to eight repetitions
    assert (long - short) / 4000 / 8 == pytest.approx(LOOPS[loop][1], abs=0.3)


def test_unknown_parameters_are_refused(simulator):
    predict, plugin, program = simulator
    with pytest.raises(SystemExit, match="no_such_number"):
        predict.simulate(plugin, [program, 0, 1], {"no_such_number": 1})


def test_sound_waits_for_work(simulator, monkeypatch):
    """A file is heard at any pace; what counts is when a microphone would have brought each block, and when there was time."""
    monkeypatch.syspath_prepend(ROOT / "scripts" / "c906sim")
    listening = importlib.import_module("listening")
    marks = [(0.0, "listen")]

    def block(work, *parts):
        at = marks[-1][0] + 5  # whatever the file takes to read counts for nothing
        marks.extend([(at - 5, "block"), (at, "/block")])
        for part, *told in parts:
            marks.extend([(at, part), (at, f"/{part}", *told)])
        marks.append((at + work, "worked"))

    block(0.01, ["endpointer", "silence"])
    block(0.10, ["endpointer", "speech"], ["start"], ["feed", 960])
    block(0.01, ["endpointer", "speech"], ["feed", 960])
    block(0.01, ["endpointer", "end"])
    block(0.01, ["endpointer", "silence"])
    at = marks[-1][0]
    marks.extend([(at, "/listen", "a_dragon"), (at + 0.5, "sound"), (at + 0.6, "sound")])
    [heard] = listening.listenings(marks)
    turn = listening.turn(listening.Said("a dragon", False, 0.08), heard)
    assert turn.heard == "a dragon"
    assert turn.sound == pytest.approx(0.06)
    assert turn.work == pytest.approx(0.13)
    assert turn.behind == pytest.approx(0.07)  # the second block, there after 0.06 s, was worked on until 0.16
    assert turn.noticed == pytest.approx(0.04)  # in the fourth, which was there after 0.12 s
    assert turn.known == pytest.approx(0.19 - 0.12)
    assert turn.answered == pytest.approx(0.5)
