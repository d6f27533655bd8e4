"""The folder `firmware` against a tree of Buildroot: loaded, resolved and saved, nothing built (a minute)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def trees() -> list[Path]:
    """Trees to check against: what DUOSTORY_BUILDROOT names, colons between them, else those in the cache."""
    if named := os.environ.get("DUOSTORY_BUILDROOT"):
        return [Path(name) for name in named.split(":")]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "duostory")
    return sorted(path for path in cache.glob("buildroot*") if path.is_dir())


def test_buildroot():
    if not (found := trees()):
        pytest.skip("needs a tree of Buildroot: set DUOSTORY_BUILDROOT, or put one into ~/.cache/duostory/buildroot")
    for tree in found:
        done = subprocess.run([sys.executable, ROOT / "firmware" / "check", tree], capture_output=True, text=True)
        if done.returncode == 2:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stdout + done.stderr
