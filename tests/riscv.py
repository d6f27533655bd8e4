"""Our package for RISC-V, as setup.py builds it there, for Debian's Python of scripts/riscv-root."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.teller import ROOT

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "duostory"
DEBIAN = CACHE / "riscv64-root"
POCKETSPHINX = CACHE / "pocketsphinx-riscv64-linux-gnu"
COMPILER = "riscv64-linux-gnu-gcc"


def build_package(folder: Path) -> Path:
    """Build in `folder` and return the folder that holds the package; skips the test where that is impossible."""
    if not DEBIAN.exists() or not shutil.which(COMPILER):
        pytest.skip(f"needs {COMPILER} and Debian's Python for RISC-V; run scripts/cross-tools and scripts/riscv-root")
    # Debian's settings and headers, in a Python of ours.
    settings = next((DEBIAN / "usr" / "lib").glob("python3.*/_sysconfigdata_*.py"))
    (folder / "debians_settings.py").symlink_to(settings)
    include = DEBIAN / "usr" / "include"
    environment = {"_PYTHON_SYSCONFIGDATA_NAME": "debians_settings", "PYTHONPATH": str(folder),
                   "CFLAGS": f"-I{include} -I{include / settings.parent.name}"}
    subprocess.run([sys.executable, "setup.py", "-q", "egg_info", "--egg-base", folder,
                    "build", "--build-base", folder / "build", "--build-lib", folder / "package"],
                   cwd=ROOT, env=os.environ | environment, check=True)
    return folder / "package"
