"""The whole program on emulated RISC-V: our package as setup.py builds it there, in Debian's Python, with Debian's espeak-ng."""

import re
import shutil
import subprocess
import wave
from array import array
from pathlib import Path

import pytest

from tests import teller
from tests.emulated.test_engine_elsewhere import HERE, MACHINES, compiler
from tests.riscv import DEBIAN
from tests.unit.test_engine import goldens
from tests.unit.test_reference import flags

# Tells a story, and reports on stderr the version of the voice and the packages that all this loaded.
PROBE = """
import sys
before = set(sys.modules)
from duostory.cli import main
status = main(sys.argv[1:])
from duostory.speech import espeak
packages = {name.partition(".")[0] for name in set(sys.modules) - before}
print(espeak._library.version, *packages - sys.stdlib_module_names, file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(scope="module", params=["rv64gc", "rv64gcv", "rvv 0.7.1"])
def machine(request, tmp_path_factory):
    """(what runs Python there, the kernel that must be found)."""
    target, emulator, processor, told, kernels = MACHINES[request.param]
    if not shutil.which(emulator) or not shutil.which(compiler(target)):
        pytest.skip(f"needs {compiler(target)} and {emulator}; run scripts/cross-tools all")
    command = [shutil.which(emulator), "-cpu", processor, "-L", DEBIAN]
    if told:
        vector = tmp_path_factory.mktemp("vector") / "vector.so"
        subprocess.run([compiler(target), "-shared", "-fPIC", HERE / "vector.c", "-o", vector], check=True)
        command += ["-E", f"LD_PRELOAD={vector}"]
    return [*command, DEBIAN / "usr" / "bin" / "python3"], kernels[0]


def run(machine, package: Path, home: Path, *args) -> subprocess.CompletedProcess:
    """Run Python with `args` there; it keeps compiled modules, as the next start is much quicker with them."""
    env = teller.environment(home, PYTHONPATH=str(package), PYTHONDONTWRITEBYTECODE="", DUOSTORY_ESPEAK="")
    result = subprocess.run([*machine[0], *args], capture_output=True, cwd=home, env=env, stdin=subprocess.DEVNULL, timeout=300)
    assert result.returncode == 0, result.stderr
    return result


def test_what_runs_there(machine, riscv_package, tmp_path):
    here = teller.run(tmp_path, "--version").stdout
    there = run(machine, riscv_package, tmp_path, "-m", "duostory", "--version").stdout
    assert there == re.sub(rb"kernel \w+", b"kernel " + machine[1].encode(), here) != b""


@pytest.mark.parametrize("machine", ["rv64gc"], indirect=True)
def test_settings(machine, riscv_package, tmp_path):
    told = run(machine, riscv_package, tmp_path, "-m", "duostory", "--show-config", "--rate", "100").stdout
    assert told == teller.run(tmp_path, "--show-config", "--rate", "100").stdout != b""


# One that is drawn, and one with a prompt beyond ASCII; emulation is slow, and all of them are told in test_reference.py.
@pytest.mark.parametrize("number", [2, 8])
def test_reference(machine, riscv_package, tmp_path, shared, stories260k, number):
    row = goldens(shared, "stories260K_f32")[number]
    told = run(machine, riscv_package, tmp_path, "-m", "duostory", stories260k, "--reference", *flags(row)).stdout
    assert told == row["text"].encode() + b"\n"


def sound(path: Path) -> tuple[int, array]:
    with wave.open(str(path)) as wav:
        assert wav.getparams()[:2] == (1, 2)
        return wav.getframerate(), array("h", wav.readframes(wav.getnframes()))


def test_a_spoken_story(machine, riscv_package, tmp_path):
    """Our own model's story is this machine's, word for word, and so is the sound where this has the same espeak-ng."""
    from duostory import StoryError
    from duostory.speech import espeak

    story = ["-s", "3", "-n", "60", "a dragon"]
    told = run(machine, riscv_package, tmp_path, "-c", PROBE, "--wav", "there.wav", *story)
    here = teller.run(tmp_path, "--silent", "--the-end", *story).stdout
    assert told.stdout == here and here.count(b". ") > 1  # several sentences

    # observed: a peak of 26682; 166 words a minute for the 155 asked for, and pauses differ with the story
    rate, samples = sound(tmp_path / "there.wav")
    assert max(samples) > 5000 and 60 * len(here.split()) / (len(samples) / rate) == pytest.approx(155, rel=0.35)
    version, *packages = told.stderr.decode().splitlines()[-1].split()
    assert set(packages) == {"duostory", "_cffi_backend"}
    try:
        same = espeak.Espeak().version == f"espeak-ng {version}"
    except StoryError:
        same = False
    if same:
        teller.run(tmp_path, "--wav", "here.wav", *story)
        assert sound(tmp_path / "here.wav") == (rate, samples)
