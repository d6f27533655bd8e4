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
