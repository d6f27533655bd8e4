"""Draws the README's pictures: speed against what a model knows, the roofline, and speed along a story.

    scripts/pictures build/data/test.txt                     # the story model, and held-out text for it
    scripts/pictures build/data/test.txt stories260K.bin     # and others beside it
"""

import argparse
import sys
import tempfile
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from predict import BOARD, HERE, MACS_PER_CYCLE, ROOT, build_plugin, build_program, by_function, per_token, random_models, work

sys.path.insert(0, str(ROOT))
from duostory import evaluate, formats  # noqa: E402
from duostory.engine import Model  # noqa: E402

FOLDER = ROOT / "docs" / "pictures"
POSITION = 100
# Tokens a second on the board with stories15M in int8, and whether the story was runq.c's: the contest's verification.
CONTEST = [("llama2.c (with swap)", 6.15, True), ("PR5", 9.14, False), ("PR4, the winner", 24.30, False)]
COLOUR = {"f32": "tab:green", "q8": "tab:blue", "q4": "tab:orange"}
LABEL = {"f32": (-8, -14), "q8": (6, -12), "q4": (6, 6)}  # where it stands beside a point


class Board:
    """The engine on the emulated C906."""

    def __init__(self, folder: Path) -> None:
        self.plugin, self.program = build_plugin(folder), build_program(folder, HERE / "tokens.c")

    def cost(self, model: Path, position: int, kv: str = "f32") -> dict:
        return per_token(self.plugin, self.program, model, position, BOARD, kv=kv)

    def rate(self, model: Path, position: int, kv: str = "f32") -> float:
        """Tokens a second."""
        return BOARD["mhz"] * 1e6 / self.cost(model, position, kv)["cycles"]


def bits(model: Path, stories: list[str]) -> float:
    with Model(model) as m:
        return evaluate.foresee(m, stories)["bits_per_character"]


def knowledge(board: Board, random15m: dict[str, Path], named: dict[str, dict[str, Path]], stories: list[str]):
    """Tokens a second against bits a character, for every type of weights; the contest's entries are lines."""
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name, models in named.items():
        points = [(board.rate(path, POSITION), bits(path, stories)) for path in models.values()]
        axes.plot(*zip(*points), color="lightgrey", zorder=1)
        for type, point in zip(models, points):
            axes.plot(*point, "o", color=COLOUR[type])
            axes.annotate(f"{name} {type}", point, textcoords="offset points", xytext=LABEL[type], fontsize=8)
    lines = [(f"{name}, measured", rate, same) for name, rate, same in CONTEST]
    lines += [(f"duostory {type}, predicted", board.rate(path, POSITION), type == "q8") for type, path in random15m.items()]
    for i, (name, rate, same) in enumerate(lines):
        axes.axvline(rate, color="black" if same else "grey", linestyle="-" if same else ":", linewidth=1)
        axes.annotate(name, (rate, 0.3), xycoords=("data", "axes fraction"), rotation=90, fontsize=7,
                      xytext=(2 if i == len(lines) - 1 else -9, 0), textcoords="offset points")
    axes.set(xscale="log", xlim=(4, 3000), xlabel="tokens a second on the Milk-V Duo; lines: stories15M or its shape, solid: the reference's story",
             ylabel="bits a character, held-out stories")
    return figure


def roofline(board: Board, random15m: dict[str, Path]):
    """Multiply-adds a second against multiply-adds a byte from memory, for the matrices and for attention."""
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    peak = MACS_PER_CYCLE * BOARD["mhz"] / 1e3
    intensity = [0.1, peak / BOARD["mem_gbs"], 20]
    axes.plot(intensity, [min(peak, x * BOARD["mem_gbs"]) for x in intensity], color="black")
    for type, path in random15m.items():
        macs, size = work(path)
        with Model(path) as model:
            attended = model.info.n_layers * model.info.dim * POSITION
        cycles = {name: cycles for name, _, cycles in by_function(board.program, board.cost(path, POSITION)["at"])}
        parts = [(f"matrices {type}", macs, size, ("gemv_q8", "gemv_q4"))]
        if type == "q8":  # scores are a product with a matrix of keys
            parts += [("scores", attended, 4 * attended, ("gemv_f32",)), ("mix", attended, 4 * attended, ("mix",))]
        for name, count, size, functions in parts:
            spent = sum(c for function, c in cycles.items() if any(part in function for part in functions))
            point = count / size, count * BOARD["mhz"] / 1e3 / spent
            axes.plot(*point, "o", color=COLOUR[type])
            axes.annotate(name, point, textcoords="offset points", xytext=(6, -10), fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="multiply-adds for each byte from memory",
             ylabel="thousand million multiply-adds a second", title="C906 at 850 MHz, 1.95 GB/s (predicted)")
    return figure


def along(board: Board, random15m: dict[str, Path]):
    """Tokens a second at each position of a story."""
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    positions = [1, 50, 100, 150, 200, 250]
    for type, path in random15m.items():
        for kv, line in (("f32", "o-"), ("q8", "o:")):
            rates = [board.rate(path, position, kv) for position in positions]
            axes.plot(positions, rates, line, color=COLOUR[type], label=f"weights {type}, KV cache {kv}")
    axes.axhline(CONTEST[-1][1], color="grey", linestyle=":", linewidth=1)
    axes.annotate("the contest's winner, mean of a story", (0, CONTEST[-1][1] + 1), fontsize=8)
    axes.set(xlabel="position in the story", ylabel="tokens a second", ylim=(0, None),
             title="stories15M's shape on the Milk-V Duo (predicted)")
    axes.legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/pictures", description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="held-out stories")
    parser.add_argument("model", nargs="*", type=Path, help="models to draw beside the one in this repository")
    args = parser.parse_args()
    stories = evaluate.read_stories(args.text)
    matplotlib.rcParams |= {"svg.hashsalt": "duostory", "svg.fonttype": "none"}
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="c906sim-") as temporary:
        folder = Path(temporary)
        board = Board(folder)
        random15m = dict(zip(("q8", "q4"), random_models(folder)))
        named = {"story": {type: folder / f"story-{type}.duo" for type in COLOUR}}
        for type, path in named["story"].items():
            formats.convert(ROOT / "models" / "story.duo", path, type=type)
        for source in args.model:
            formats.convert(source, folder / f"{source.stem}.duo")
            with Model(folder / f"{source.stem}.duo") as model:
                named[source.stem] = {model.info.type: folder / f"{source.stem}.duo"}
        for name, figure in (("knowledge", knowledge(board, random15m, named, stories)),
                             ("roofline", roofline(board, random15m)), ("along", along(board, random15m))):
            figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
