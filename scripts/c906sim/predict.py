"""Predicts tokens per second on a T-Head C906 (Milk-V Duo): runs the engine under QEMU with the plugin c906sim.

Two runs of different length are subtracted, so that starting up cancels out.
"""

import argparse
import bisect
import os
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EMULATOR = ["qemu-riscv64", "-cpu", "rv64,v=true,vlen=128,elen=64,vext_spec=v1.0"]
CROSS = "riscv64-linux-gnu-"
# The Duo as shipped, its memory as far as it is known (MODEL.md).
BOARD = {"mhz": 850.0, "mem_gbs": 1.95, "stream_pen": 20.0}
MACS_PER_CYCLE = 4  # 8-bit products into 16-bit sums, two cycles a 128-bit register of sums


def takes_plugins() -> bool:
    """Whether the emulator is one that c906sim.c is written for: built with plugins, and before QEMU 9 changed them."""
    said = [subprocess.run([EMULATOR[0], option], capture_output=True, text=True).stdout for option in ("--version", "-h")]
    version = re.search(r"version (\d+)", said[0])
    return version is not None and int(version[1]) < 9 and "-plugin" in said[1]


def build_plugin(folder: Path) -> Path:
    plugin = folder / "c906sim.so"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-fPIC", "-shared", HERE / "c906sim.c", "-o", plugin], check=True)
    return plugin


def build_program(folder: Path, *sources: Path) -> Path:
    """The engine and `sources` as a static riscv64 program, compiled as ext/build.py does."""
    program = folder / "program"
    subprocess.run([CROSS + "gcc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O3", "-ffp-contract=off", "-static",
                    "-I", ROOT / "ext", *sources, *(ROOT / "ext").glob("*.[cS]"), "-o", program, "-lm"], check=True)
    return program


def simulate(plugin: Path, command: list, parameters: dict[str, float], environment: dict[str, str] | None = None) -> dict:
    """One run: instructions, cycles, cache misses (numbers by name), and under "at" (count, cycles) by address, and under
    "marks" the cycles until each call of sched_yield()."""
    with tempfile.NamedTemporaryFile("r", prefix="c906sim-") as out:
        options = "".join(f",{name}={value}" for name, value in parameters.items())
        done = subprocess.run([*EMULATOR, "-plugin", f"{plugin},out={out.name}{options}", *map(str, command)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
        report: dict = {"at": {}, "marks": []}
        for line in out:
            key, *values = line.split()
            if key == "pc":
                report["at"][int(values[0], 16)] = (int(values[1]), float(values[2]))
            elif key == "mark":
                report["marks"].append(float(values[0]))
            elif key != "class":
                report[key] = float(values[0])
    if done.returncode or "cycles" not in report:
        sys.exit(f"{command[0]} failed under {EMULATOR[0]}: {(done.stderr or done.stdout).strip()[-400:]}")
    return report


def per_token(plugin: Path, program: Path, model: Path, position: int, parameters: dict[str, float], tokens: int = 2,
              kv: str = "f32") -> dict:
    """What simulate reports, for one token at about `position` (the mean of `tokens`)."""
    first = max(0, position - tokens // 2 - 1)
    short, long = (simulate(plugin, [program, model, first, n, kv], parameters) for n in (1, 1 + tokens))
    at = {pc: [(x - y) / tokens for x, y in zip(values, short["at"].get(pc, (0, 0)))] for pc, values in long["at"].items()}
    return {"at": at} | {key: (long[key] - short[key]) / tokens for key in long if key not in ("at", "marks")}


def by_function(program: Path, at: dict) -> list[tuple[str, float, float]]:
    """(function, instructions, cycles), most cycles first."""
    listing = subprocess.run([CROSS + "nm", "-n", program], check=True, capture_output=True, text=True).stdout
    symbols = [line.split() for line in listing.splitlines()]
    symbols = [(int(s[0], 16), s[2]) for s in symbols if len(s) == 3 and s[1] in "tTwW" and s[2][0] not in "$."]
    starts = [start for start, _ in symbols]
    total: dict[str, list[float]] = {}
    for pc, (count, cycles) in at.items():
        sums = total.setdefault(symbols[bisect.bisect_right(starts, pc) - 1][1], [0.0, 0.0])
        sums[0] += count
        sums[1] += cycles
    return sorted(((name, *sums) for name, sums in total.items()), key=lambda row: -row[2])


def work(model: Path) -> tuple[int, float]:
    """Multiply-adds in the matrices a token passes, and their bytes."""
    from duostory.engine import Model

    with Model(model) as m:
        i = m.info
    kv_dim = i.dim // i.n_heads * i.n_kv_heads
    macs = i.n_layers * (2 * i.dim * (i.dim + kv_dim) + 3 * i.dim * i.hidden_dim) + i.vocab_size * i.dim
    if i.type == "f32":
        return macs, 4 * macs
    halved = macs - i.n_layers * i.dim * (kv_dim + i.hidden_dim) if i.type == "q4" else 0  # all but wv and w2
    return macs, macs * (1 + 4 / i.group_size) - halved / 2


def random_models(folder: Path) -> list[Path]:
    """The shape of stories15M, in 8 and in 4 bits."""
    from duostory import bench, formats

    bench.write_random(folder / "random.bin", "15M")
    models = [folder / f"random15M-{type}.duo" for type in ("q8", "q4")]
    for model in models:
        formats.convert(folder / "random.bin", model, tokenizer=folder / "tokenizer.bin", type=model.stem[-2:])
    return models


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/predict", description="Predicted speed on a T-Head C906 (Milk-V Duo), "
                                     "from an emulator with an instruction timing model. Expect 15 % on the absolute "
                                     "numbers, and less on ratios between two builds.")
    parser.add_argument("model", nargs="*", type=Path, help=".duo files (default: random weights of stories15M's shape, "
                        "int8 and int4, and the story model)")
    parser.add_argument("--position", type=int, action="append", metavar="N", help="position in the story (100 and 250)")
    parser.add_argument("--kv", default="f32", metavar="TYPE", help="type of the KV cache, f32 or q8 (f32)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another machine: see MODEL.md")
    parser.add_argument("--functions", type=int, default=12, metavar="N", help="how many functions to list (12)")
    parser.add_argument("--first-word", action="store_true", help="instead, how long it takes from a wish to the first sound")
    parser.add_argument("--listen", action="store_true", help="instead, how long it takes to hear a wish, and to answer it")
    parser.add_argument("--free", action="store_true", help="--listen: to free wishes")
    args = parser.parse_args()
    if args.free and not args.listen:
        parser.error("--free goes with --listen")
    if not takes_plugins():
        sys.exit(f"predict: {EMULATOR[0]} takes no plugins of this kind; use QEMU 7.2 or 8, as in Debian 12")
    parameters = BOARD | {name: float(value) for name, _, value in (s.partition("=") for s in args.set)}
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory(prefix="c906sim-") as temporary:
        folder = Path(temporary)
        if args.first_word or args.listen:
            import first_word
            import listening

            plugin = build_plugin(folder)
            measure = partial(listening.measure, free=args.free) if args.listen else first_word.measure
            measure(lambda command, environment: simulate(plugin, command, parameters, environment), folder, parameters["mhz"])
            return
        plugin, program = build_plugin(folder), build_program(folder, HERE / "tokens.c")
        models = args.model
        if not models:
            story = ROOT / "models" / "story.duo"
            models = [*random_models(folder), *([story] if story.exists() else [])]
        for model in models:
            macs, weights = work(model)
            for position in args.position or [100, 250]:
                cost = per_token(plugin, program, model, position, parameters, kv=args.kv)
                rate = parameters["mhz"] * 1e6 / cost["cycles"]
                moved = 64 * (cost["miss_load"] + cost["miss_store"])
                print(f"{model.name}, {args.kv} KV cache, position {position}: {rate:.1f} tokens/s predicted at "
                      f"{parameters['mhz']:g} MHz\n"
                      f"  {cost['cycles'] / 1e6:.2f} M cycles, {cost['insns'] / 1e6:.2f} M instructions a token\n"
                      f"  {moved / 1e6:.2f} MB to and from memory, {moved / weights:.2f} times the weights' {weights / 1e6:.2f} MB; "
                      f"{rate * weights / parameters['mem_gbs'] / 1e7:.0f} % of what bandwidth allows for the weights alone\n"
                      f"  {macs / 1e6:.2f} M multiply-adds, {rate * macs / parameters['mhz'] / MACS_PER_CYCLE / 1e4:.0f} % of "
                      f"the arithmetic peak, {cost['mispredict']:.0f} mispredicted branches")
                for name, count, cycles in by_function(program, cost["at"])[:args.functions]:
                    print(f"    {name:<24}{count:>12.0f} instructions{cycles:>12.0f} cycles{100 * cycles / cost['cycles']:>7.1f} %")
                print(flush=True)


if __name__ == "__main__":
    main()
