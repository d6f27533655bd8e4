"""Our package for RISC-V, as setup.py builds it there, for Debian's Python of scripts/riscv-root."""

import os
import shutil
from pathlib import Path

import pytest

from scripts.c906sim import program

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "duostory"
DEBIAN = program.DEBIAN
POCKETSPHINX = CACHE / "pocketsphinx-riscv64-linux-gnu"
COMPILER = "riscv64-linux-gnu-gcc"


def build_package(folder: Path) -> Path:
    """Build in `folder` and return the folder that holds the package; skips the test where that is impossible."""
    if not DEBIAN.exists() or not shutil.which(COMPILER):
        pytest.skip(f"needs {COMPILER} and Debian's Python for RISC-V; run scripts/cross-tools and scripts/riscv-root")
    return program.build_package(folder)
