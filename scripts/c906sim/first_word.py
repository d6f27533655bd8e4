"""Predicts how long the board takes from a wish to the first sound: the whole program, Debian's Python and espeak-ng for riscv64.

It speaks on the thread that makes up the story: on one core that takes as long.
"""

import statistics
from pathlib import Path

from program import SPEAKER, Program

PHASES = {"python": "Python starts", "start": "modules, model, voice and sound device", "prompt": "prompt, and first token",
          "sentence": "first sentence", "sound": "its first 60 ms"}
WISHES = ["", "a dragon who is afraid of the dark", "tell me a story about a robot and a cat"]
SEEDS = [1, 2]

PROBE = "from duostory import cli, speech, teller\ngo_on = end\n" + SPEAKER + """
class Model(cli.Model):
    def generate(self, *args, **options):
        first = True
        for token in super().generate(*args, **options):
            if first and not token.prompt:
                mark("prompt")
                first = False
            yield token

class Teller(teller.Teller):
    def tell(self, *args, **options):
        mark("start")
        super().tell(*args, **options)
    def _sentence(self, sentence):
        mark("sentence")
        super()._sentence(sentence)

cli.Model, cli.Teller = Model, Teller
sys.exit(cli.main(sys.argv[1:]) or 1)
"""


def measure(simulate, folder: Path, mhz: float) -> None:
    """Print the prediction; `simulate(command, environment)` reports one run."""
    program = Program(simulate, folder, mhz)

    def phases(seed: int, wish: str) -> list[float]:
        told = {name: at for at, name in program.run(PROBE, "--no-earcons", "-s", str(seed), *wish.split())}
        at = [0.0, *(told[phase] for phase in PHASES)]
        return [b - a for a, b in zip(at, at[1:])]

    phases(1, "")  # Python keeps compiled modules
    rows = []
    for wish in WISHES:
        for seed in SEEDS:
            rows.append(phases(seed, wish))
            print(f"{wish or 'no wish'}, seed {seed}: {', '.join(f'{each:.3f}' for each in rows[-1])} s", flush=True)
    print(f"\nSeconds predicted at {mhz:g} MHz; median and worst of {len(rows)}:")
    for meaning, part in zip(PHASES.values(), zip(*rows)):
        print(f"  {meaning:<44}{statistics.median(part):7.3f}{max(part):7.3f}")
    for meaning, first in (("from the start of Python to the first sound", 0), ("from the wish, when all is ready", 2)):
        sums = [sum(row[first:]) for row in rows]
        print(f"  {meaning:<44}{statistics.median(sums):7.3f}{max(sums):7.3f}")
