"""What several test files share: models, reference data, a voice and a sound card."""

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Whoever starts the tests by nohup or in the background has them ignore these, and so would what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def pytest_configure():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans become children of the tests


def pytest_terminal_summary(terminalreporter):
    """End what a test has left running, and say so: it would keep waiting whoever reads what we print."""
    while left := [int(pid) for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, ChildProcessError, FileNotFoundError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if command:  # none: ended, and not waited for
                    terminalreporter.write_line(f"LEFT RUNNING {command}")
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Checkpoints, goldens and story text that are not part of the repository."""
    folder = Path(os.environ.get("DUOSTORY_SHARED", ROOT.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip("needs the shared reference data beside the checkout, or $DUOSTORY_SHARED")
    return folder


@pytest.fixture(scope="session")
def story_model() -> Path:
    """The model that ships in the repository."""
    return ROOT / "models" / "story.duo"


@pytest.fixture(scope="session")
def checkpoint260k(shared: Path) -> Path:
    return shared / "checkpoints" / "stories260K.bin"


@pytest.fixture(scope="session")
def stories260k(tmp_path_factory, shared: Path, checkpoint260k: Path) -> Path:
    """stories260K, a trained fp32 model of 1 MB that the goldens were made with, as .duo."""
    from duostory import formats

    path = tmp_path_factory.mktemp("models") / "stories260K.duo"
    formats.convert(checkpoint260k, path, tokenizer=shared / "checkpoints" / "tok512.bin")
    return path


@pytest.fixture(scope="session")
def riscv_package(tmp_path_factory) -> Path:
    """The folder that holds our package, built for Debian's Python for RISC-V."""
    from tests import riscv

    return riscv.build_package(tmp_path_factory.mktemp("riscv"))


@pytest.fixture(scope="session")
def voice():
    from duostory.speech.espeak import Espeak, NoEspeak

    try:
        return Espeak()
    except NoEspeak as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def card_library(tmp_path_factory) -> Path:
    from tests.speech import card as cards

    try:
        return cards.build(tmp_path_factory.mktemp("card"))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a C compiler and libasound2: {getattr(error, 'stderr', error)}")


@pytest.fixture
def card(card_library, tmp_path_factory, monkeypatch):
    """ALSA's "default" device: a card in real time, a tests.speech.card.Card."""
    from tests.speech import card as cards

    card = cards.Card(card_library, tmp_path_factory.mktemp("card"))
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(card.config))
    return card
