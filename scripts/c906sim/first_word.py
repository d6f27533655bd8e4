"""Predicts how long the board takes from a wish to the first sound: the whole program, Debian's Python and espeak-ng for riscv64.

The program ends itself when it has come so far, and the cycles of such runs are subtracted. It speaks on the thread that makes up
the story: on one core that takes as long.
"""

import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEBIAN = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "duostory" / "riscv64-root"
PHASES = {"interpreter": "Python starts", "start": "modules, model, voice and sound device", "prompt": "prompt, and first token",
          "sentence": "first sentence", "sound": "its first 60 ms"}
WISHES = ["", "a dragon who is afraid of the dark", "tell me a story about a robot and a cat"]
SEEDS = [1, 2]
# A device that takes everything at once.
ALSA = "pcm.!default { type null }\n"

PROBE = """
import os, sys
until = sys.argv.pop(1)
def reached(phase):
    if phase == until:
        os._exit(0)
reached("interpreter")
from duostory import cli, speech, teller

class Player:  # speaks at once
    on_device = True
    def __init__(self, voice, sink, **_):
        self.voice, self.sink, self.stats = voice, sink, speech.PlayerStats()
    def say(self, text, pause, quoted):
        self.voice.speak(text, self.write, None, quoted)
    def write(self, pcm):
        self.sink.write(pcm)
        reached("sound")

class Model(cli.Model):
    def generate(self, *args, **options):
        for token in super().generate(*args, **options):
            if not token.prompt:
                reached("prompt")
            yield token

class Teller(teller.Teller):
    def tell(self, *args, **options):
        reached("start")
        super().tell(*args, **options)
    def _sentence(self, sentence):
        reached("sentence")
        super()._sentence(sentence)

speech.Player, cli.Model, cli.Teller = Player, Model, Teller
sys.exit(cli.main(sys.argv[1:]) or 1)
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


def measure(simulate, folder: Path, mhz: float) -> None:
    """Print the prediction; `simulate(command, environment)` returns the cycles of one run."""
    if not DEBIAN.exists():
        sys.exit("predict: needs Debian's Python for RISC-V; run scripts/riscv-root")
    (folder / "asound.conf").write_text(ALSA)
    ours = {key: value for key, value in os.environ.items()
            if not re.match("DUOSTORY_|XDG_|STATE_|PYTHONDONTWRITEBYTECODE", key)}
    environment = ours | {"PYTHONPATH": str(build_package(folder)), "HOME": str(folder), "ALSA_CONFIG_PATH": str(folder / "asound.conf")}

    def seconds(phase: str, *args: str) -> float:
        command = ["-L", DEBIAN, DEBIAN / "usr" / "bin" / "python3", "-P", "-c", PROBE, phase, "--no-earcons", *args]
        return simulate(command, environment) / mhz / 1e6

    seconds("sound", "-s", "1")  # Python keeps compiled modules
    ready = [seconds(phase, "-s", "1") for phase in ("interpreter", "start")]
    rows = []
    for wish in WISHES:
        for seed in SEEDS:
            told = [*ready, *(seconds(phase, "-s", str(seed), *wish.split()) for phase in ("prompt", "sentence", "sound"))]
            rows.append([b - a for a, b in zip([0.0, *told], told)])
            print(f"{wish or 'no wish'}, seed {seed}: {', '.join(f'{each:.3f}' for each in rows[-1])} s", flush=True)
    print(f"\nSeconds predicted at {mhz:g} MHz; median and worst of {len(rows)}:")
    for meaning, part in zip(PHASES.values(), zip(*rows)):
        print(f"  {meaning:<44}{statistics.median(part):7.3f}{max(part):7.3f}")
    for meaning, first in (("from the start of Python to the first sound", 0), ("from the wish, when all is ready", 2)):
        sums = [sum(row[first:]) for row in rows]
        print(f"  {meaning:<44}{statistics.median(sums):7.3f}{max(sums):7.3f}")
