"""The engine on emulated processors: RISC-V without vectors, with RVV 1.0 and with RVV 0.7.1, one program for all three; ARM."""

import shutil
import subprocess
from pathlib import Path

import pytest

from duostory.engine import Model
from tests.conftest import ROOT
from tests.riscv import CACHE
from tests.unit.test_engine import GOLDENS, goldens, random15m  # noqa: F401 (a fixture)

HERE = Path(__file__).parent
RISCV, ARM = "riscv64", "aarch64"
QEMU = "qemu-riscv64"
OLD_QEMU = CACHE / "qemu-riscv64-5.2"

# name: target, emulator, processor, what the emulator keeps from programs (see vector.c), kernels that must be found
MACHINES = {
    "rv64gc": (RISCV, QEMU, "rv64", False, ["scalar"]),
    "rv64gcv": (RISCV, QEMU, "rv64,v=true,vlen=128,elen=64,vext_spec=v1.0", False, ["rvv10", "scalar"]),
    "rv64gcv, 512 bits": (RISCV, QEMU, "rv64,v=true,vlen=512,elen=64,vext_spec=v1.0", False, ["rvv10", "scalar"]),
    "rvv 0.7.1": (RISCV, OLD_QEMU, "rv64,x-v=true,vlen=128,elen=64,vext_spec=v0.7.1", True, ["rvv07", "scalar"]),
    "rvv 0.7.1, not said": (RISCV, OLD_QEMU, "rv64,x-v=true,vlen=128,elen=64,vext_spec=v0.7.1", False, ["scalar"]),
    "arm": (ARM, "qemu-aarch64", "cortex-a53", False, ["neon", "scalar"]),
}
STORYTELLERS = ["rv64gc", "rv64gcv", "rvv 0.7.1", "arm"]


@pytest.fixture(scope="module", params=MACHINES)
def machine(request):
    """(what runs a program there, how to build it (see build), kernels)."""
    target, emulator, processor, told, kernels = MACHINES[request.param]
    if not shutil.which(compiler(target)) or not shutil.which(emulator):
        pytest.skip(f"needs {compiler(target)} and {emulator}; run scripts/cross-tools all")
    return [shutil.which(emulator), "-cpu", processor], (target, told), kernels


def compiler(target: str) -> str:
    return f"{target}-linux-gnu-gcc"


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """build(driver, (target, told)): the path of a static program from the engine and {driver}.c, built once; with `told`
    it believes that it has been told of the vectors."""
    folder = tmp_path_factory.mktemp("emulated")

    def build(driver: str, how: tuple[str, bool]) -> Path:
        target, told = how
        program = folder / f"{driver}-{target}-{told}"
        if not program.exists():
            sources = [*(ROOT / "ext").glob("*.[cS]"), HERE / f"{driver}.c"]
            extra = [HERE / "vector.c"] if told else []
            subprocess.run([compiler(target), "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O3", "-ffp-contract=off", "-Wall", "-Werror",
                            "-static", "-I", ROOT / "ext", *sources, *extra, "-o", program, "-lm"], check=True)
        return program
    return build


def run(machine, program: Path, *args) -> str:
    return subprocess.run([*machine[0], program, *map(str, args)], check=True, capture_output=True, text=True).stdout


def test_right_kernels_are_found(machine, build):
    """A vector unit is used where there is one, and nothing is tried where there is none."""
    assert run(machine, build("tell", machine[1])).split() == machine[2]


def test_kernels_agree_to_the_bit(machine, build):
    lines = run(machine, build("kernel_check", machine[1])).splitlines()
    assert [line.split()[0] for line in lines] == machine[2][:-1]
    assert all(int(line.split()[1]) > 2000 for line in lines)


# Emulation is slow: of each model a few stories, told by the fastest kernel of each machine.
@pytest.mark.parametrize("machine", STORYTELLERS, indirect=True)
@pytest.mark.parametrize("name, some", [("stories260K_f32", slice(None, None, 2)), ("random15M_q80", slice(2))])
def test_stories_equal_the_reference(request, machine, build, shared, name, some):
    model, rows = request.getfixturevalue(GOLDENS[name]), goldens(shared, name)[some]
    stories = [(row["temperature"], row["topp"], row["seed"], row["steps"], row["prompt"] or "") for row in rows]
    told = run(machine, build("tell", machine[1]), model, machine[2][0], "f32", *(x for story in stories for x in story))
    assert told.split("\0")[:-1] == [row["text"] for row in rows]


@pytest.mark.parametrize("machine", STORYTELLERS, indirect=True)
def test_a_q8_cache_tells_the_same_story_everywhere(machine, build, stories260k):
    with Model(stories260k, "scalar", kv="q8") as model:
        story = b"".join(token.piece for token in model.generate(model.encode("Once"), 200, 1.0, 0.9, 5, reference=True))
    told = run(machine, build("tell", machine[1]), stories260k, machine[2][0], "q8", 1.0, 0.9, 5, 200, "Once")
    assert told == story.decode() + "\0"
