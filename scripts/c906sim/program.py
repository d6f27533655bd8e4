"""The whole program as it runs on the board, under the timing model: our package in Debian's Python for riscv64.

It is started by a probe, Python that begins with PROBE, and has `mark` note the moments that count.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEBIAN = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "duostory" / "riscv64-root"
# A device that takes everything at once.
ALSA = "pcm.!default { type null }\n"

# A moment is marked by a system call, which the plugin sees.
PROBE = """
import os, sys
marks, file = [], sys.argv.pop(1)
def mark(*what):
    marks.append(what)
    os.sched_yield()
def end():
    import json
    with open(file, "w") as out:
        json.dump(marks, out)
    os._exit(0)
mark("python")
"""
# The timing model has one processor and no threads: who says something speaks it.
SPEAKER = """
from duostory.speech import mouth, player
class Thread:
    def __init__(self, target, **_):
        self.join = target
    def start(self):
        pass
    def is_alive(self):
        return True
class Player(player.Player):
    def _queue(self, sound, pause=0.0):
        sound()
    def _write(self, pcm):
        going_on = super()._write(pcm)
        mark("sound")
        return going_on and go_on()
player.Thread, speech.Player, mouth.Player = Thread, Player, Player
"""


def build_package(folder: Path) -> Path:
    """Our package as setup.py builds it for Debian's Python, with its settings and headers."""
    settings = next((DEBIAN / "usr" / "lib").glob("python3.*/_sysconfigdata_*.py"))
    (folder / "debians_settings.py").symlink_to(settings)
    include = DEBIAN / "usr" / "include"
    environment = {"_PYTHON_SYSCONFIGDATA_NAME": "debians_settings", "PYTHONPATH": str(folder),
                   "CFLAGS": f"-I{include} -I{include / settings.parent.name}"}
    subprocess.run([sys.executable, "setup.py", "-q", "egg_info", "--egg-base", folder, "build", "--build-base", folder / "build",
                    "--build-lib", folder / "package"], cwd=ROOT, env=os.environ | environment, check=True, capture_output=True)
    return folder / "package"


class Program:
    """`simulate(command, environment)` is predict's, at `mhz`; `folder` is where all is built, and the program's home."""

    def __init__(self, simulate, folder: Path, mhz: float, **environment: str) -> None:
        if not DEBIAN.exists():
            sys.exit("predict: needs Debian's Python for RISC-V; run scripts/riscv-root")
        (folder / "asound.conf").write_text(ALSA)
        ours = {key: value for key, value in os.environ.items()
                if not re.match("DUOSTORY_|XDG_|STATE_|PYTHONDONTWRITEBYTECODE", key)}
        self._environment = ours | environment | {"PYTHONPATH": str(build_package(folder)), "HOME": str(folder),
                                                  "ALSA_CONFIG_PATH": str(folder / "asound.conf")}
        self._simulate, self._folder, self._mhz = simulate, folder, mhz

    def run(self, probe: str, *args: str, name: str = "marks") -> list[tuple]:
        """What was marked, each behind the seconds from the start until then. `name` tells runs at the same time apart."""
        marks = self._folder / name
        command = ["-L", DEBIAN, DEBIAN / "usr" / "bin" / "python3", "-P", "-c", PROBE + probe, marks, *args]
        cycles = self._simulate(command, self._environment)["marks"]
        return [(at / self._mhz / 1e6, *what) for at, what in zip(cycles, json.loads(marks.read_text()), strict=True)]
