"""How tests run the program: as a user does, in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment for a run that neither sees nor changes the user's own files."""
    ours = {key: value for key, value in os.environ.items()
            if not key.startswith(("DUOSTORY_", "XDG_", "STATE_", "PYTHONUNBUFFERED"))
            or key in ("DUOSTORY_ESPEAK", "DUOSTORY_POCKETSPHINX")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return ours | {"HOME": str(home), "PYTHONPATH": path} | more


def command(*args: str | bytes | Path) -> list:
    return [sys.executable, "-m", "duostory", *args]


def run(home: Path, *args: str | bytes | Path, stdin: bytes = b"", timeout: float = 60,
        env: dict[str, str] | None = None, **more) -> subprocess.CompletedProcess:
    """Run `duostory ARGS` in the folder `home` and collect what it prints, as bytes."""
    return subprocess.run(command(*args), input=stdin, capture_output=True, cwd=home, timeout=timeout,
                          env=environment(home, **(env or {})), **more)


def until(condition: Callable, seconds: float = 120) -> None:
    """Wait until `condition()` holds; fails after so many seconds, far more than a busy machine needs."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain"
        time.sleep(0.01)
