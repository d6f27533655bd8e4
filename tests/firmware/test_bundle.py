"""The bundle for the stock image, in a root that has nothing but the bundle, under emulation: so nothing else is needed but the
kernel, and ALSA's library for sound. Not that image, and not its kernel."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests import teller
from tests.conftest import ROOT

TARBALL = Path(os.environ.get("DUOSTORY_BUNDLE") or ROOT / "build" / "duostory-duo.tar.gz")
PREFIX = "opt/duostory"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A root folder with the files of the bundle at their place."""
    if not TARBALL.exists():
        pytest.skip(f"needs {TARBALL}, which scripts/bundle makes in a quarter of an hour")
    if not shutil.which("qemu-riscv64"):
        pytest.skip("needs qemu-riscv64; run scripts/cross-tools")
    folder = tmp_path_factory.mktemp("bundle")
    with tarfile.open(TARBALL) as tarball:
        tarball.extractall(folder, filter="tar")
    (folder / "root" / "opt").mkdir(parents=True)
    (folder / "duostory" / "files").rename(folder / "root" / PREFIX)
    return folder / "root"


def run(root: Path, home: Path, *args) -> subprocess.CompletedProcess:
    """Run the bundle's duostory, as its own bin/duostory does."""
    environment = teller.environment(home, DUOSTORY_POCKETSPHINX="/" + PREFIX + "/hearing", DUOSTORY_ESPEAK="")
    return subprocess.run(["qemu-riscv64", "-L", root, root / PREFIX / "bin" / "python3", "-P", "-m", "duostory", *args],
                          capture_output=True, text=True, cwd=home, env=environment, stdin=subprocess.DEVNULL, timeout=300)


def test_tells_the_same_story_aloud(root, tmp_path):
    here = subprocess.run([sys.executable, "-m", "duostory", "-s", "1", "-n", "40", "--silent", "a", "cat"], cwd=tmp_path,
                          env=teller.environment(tmp_path), capture_output=True, text=True, check=True)
    there = run(root, tmp_path, "-s", "1", "-n", "40", "--wav", "cat.wav", "a", "cat")
    assert there.returncode == 0, there.stderr
    # When it speaks it closes with "The end."
    assert there.stdout.startswith(here.stdout.strip())
    import wave

    with wave.open(str(tmp_path / "cat.wav")) as sound:
        assert sound.getnframes() / sound.getframerate() > 3  # seconds


def test_has_its_voice_and_its_ear(root, tmp_path):
    done = run(root, tmp_path, "doctor")
    assert "espeak-ng 1.5" in done.stdout and "pocketsphinx" in done.stdout, done.stdout + done.stderr


def test_nothing_needs_glibc(root):
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF":
            text = subprocess.run(["readelf", "-dVW", path], capture_output=True, text=True, check=True).stdout
            assert "GLIBC" not in text, path
            assert set(re.findall(r"\(NEEDED\).*\[(.+)\]", text)) <= {"libc.so"}, path


def test_install_explains_what_is_wrong_here(root):
    done = subprocess.run(["sh", root.parent / "duostory" / "install.sh"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the files are not beside this script" in done.stderr
    (root.parent / "duostory" / "files").symlink_to(root / PREFIX)
    done = subprocess.run(["sh", root.parent / "duostory" / "install.sh"], capture_output=True, text=True)
    assert done.returncode == 1 and "are for RISC-V (riscv64): copy the tarball to the board" in done.stderr
