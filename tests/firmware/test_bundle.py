"""The bundle for the stock image, in a root that has nothing but the bundle, under emulation: so nothing else is needed but the
kernel, and ALSA's library for sound. Not that image, and not its kernel."""

import os
import re
import shutil
import subprocess
import wave
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
    made_of, wanted = (subprocess.run(command, cwd=ROOT, capture_output=True).stdout for command in (
        ["tar", "-x", "-O", "-f", TARBALL, "duostory/made-of"], ["scripts/bundle", "--made-of"]))
    if made_of != wanted:
        pytest.skip(f"{TARBALL} is of other sources; run scripts/bundle")
    folder = tmp_path_factory.mktemp("bundle")
    subprocess.run(["tar", "-x", "-f", TARBALL, "-C", folder], check=True)
    (folder / "root" / "opt").mkdir(parents=True)
    (folder / "duostory" / "files").rename(folder / "root" / PREFIX)
    return folder / "root"


def python(root: Path, home: Path, *args) -> subprocess.CompletedProcess:
    """Run the bundle's Python, with the environment that bin/duostory gives it."""
    environment = teller.environment(home, PYTHONPATH="", DUOSTORY_ESPEAK="", DUOSTORY_POCKETSPHINX=f"/{PREFIX}/hearing")
    return subprocess.run(["qemu-riscv64", "-L", root, root / PREFIX / "bin" / "python3", "-P", *args],
                          capture_output=True, text=True, cwd=home, env=environment, stdin=subprocess.DEVNULL, timeout=300)


def seconds(path: Path) -> float:
    with wave.open(str(path)) as sound:
        return sound.getnframes() / sound.getframerate()


def test_tells_the_same_story_aloud(root, tmp_path):
    here = teller.run(tmp_path, "-s", "1", "-n", "40", "--silent", "--the-end", "a", "cat")
    there = python(root, tmp_path, "-m", "duostory", "-s", "1", "-n", "40", "--wav", "cat.wav", "a", "cat")
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout.decode()
    assert seconds(tmp_path / "cat.wav") > 3


def test_hears_a_wish_and_tells_the_story(root, tmp_path):
    program = """if True:
        import wave
        from duostory.speech.espeak import Espeak
        voice, sound = Espeak("en-us", 150), bytearray()
        for sentence in "tell me a story about a dragon", "yes":
            sound += bytes(voice.rate)  # half a second, and then one and a half, for an answer
            voice.speak(sentence, lambda chunk: sound.extend(chunk) or True)
            sound += bytes(3 * voice.rate)
        with wave.open("wish.wav", "wb") as wav:
            wav.setparams((1, 2, voice.rate, 0, "NONE", "not compressed"))
            wav.writeframes(sound)
    """
    spoken = python(root, tmp_path, "-c", program)
    assert spoken.returncode == 0, spoken.stderr
    told = python(root, tmp_path, "-m", "duostory", "-s", "1", "-n", "40", "--mic-file", "wish.wav", "--wav", "dragon.wav")
    assert told.returncode == 0, told.stderr
    assert "A story about a dragon. Yes?" in told.stderr
    here = teller.run(tmp_path, "-s", "1", "-n", "40", "--silent", "--the-end", "a", "dragon")
    assert told.stdout == here.stdout.decode()
    # The questions are in it, too.
    assert seconds(tmp_path / "dragon.wav") > 5


def test_nothing_needs_glibc(root):
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF":
            text = subprocess.run(["readelf", "-dVW", path], capture_output=True, text=True, check=True).stdout
            assert "GLIBC" not in text, path
            assert set(re.findall(r"\(NEEDED\).*\[(.+)\]", text)) <= {"libc.so"}, path


@pytest.mark.skipif(os.uname().machine == "riscv64", reason="would install it here")
def test_install_explains_what_is_wrong_here(root):
    done = subprocess.run(["sh", root.parent / "duostory" / "install.sh"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the files are not beside this script" in done.stderr
    (root.parent / "duostory" / "files").symlink_to(root / PREFIX)
    done = subprocess.run(["sh", root.parent / "duostory" / "install.sh"], capture_output=True, text=True)
    assert done.returncode == 1 and "are for RISC-V (riscv64): copy the tarball to the board" in done.stderr
