"""`python -m duostory bench`: how fast this machine tells, measured on this machine.

A token's time does not depend on what the weights are, so speed can be measured on random ones of any shape. Only ratios
from one run mean anything on a machine that others use too: `--against` runs another program and ours in turn.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from duostory import StoryError, UsageError, models
from duostory.config import KV_TYPES, Settings
from duostory.engine import Model, kernels

OPENING = "Once upon a time"
# dim, hidden, layers, heads, vocabulary, positions: llama2.c's model that the contest used, and the next larger
SHAPES = {"15M": (288, 768, 6, 6, 32000, 256), "42M": (512, 1376, 8, 8, 32000, 1024)}
GROUP_SIZE = 32
LOGIT_SPREAD = 7.0  # standard deviation


def register(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command; the parser's `run` takes the parsed arguments and returns the exit status."""
    parser = subparsers.add_parser("bench", help="measure speed and memory")
    parser.add_argument("model", nargs="?", type=Path, help="model to measure (default: the one that tells stories)")
    parser.add_argument("--shape", choices=SHAPES, help="measure random int8 weights of this shape instead")
    parser.add_argument("--kernel", action="append", choices=kernels(), help="only this kernel (may be repeated)")
    parser.add_argument("--kv", choices=KV_TYPES, default=Settings.kv, help=f"type of the KV cache ({Settings.kv})")
    parser.add_argument("-n", "--steps", type=int, default=256, metavar="N", help="tokens a story (256)")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="stories each, of which the median counts (5)")
    parser.add_argument("--against", metavar="PROGRAM", help="also run this program, which takes llama2.c's options, in turn "
                        "with duostory, and compare speed and story; MODEL must be in llama2.c's format")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measures and prints; returns 0."""
    if args.steps < 2 or args.runs < 1:
        raise UsageError("a measurement needs at least --steps 2 and --runs 1")
    with tempfile.TemporaryDirectory(prefix="duostory-bench-") as folder:
        source = (args.model or models.default_model()).absolute()
        if args.shape:
            source = Path(folder) / f"random{args.shape}.bin"
            write_random(source, args.shape)
        path = models.to_duo(source)
        report = {"model": args.shape and f"random {args.shape}" or str(source), **facts(path, args.kv),
                  "kernels": [measure(path, kernel, args) for kernel in args.kernel or kernels()]}
        report["first_token_ms"], report["resident_mb"], report["private_mb"] = start_up(path, args)
        if args.against:
            report["against"] = against(shlex.split(args.against), source, args)
    print(json.dumps(report, indent=2) if args.json else table(report))
    return 0


def facts(path: Path, kv: str) -> dict:
    with Model(path, kv=kv) as model:
        info = model.info
        return {"type": info.type, "kv": info.kv, "file_mb": mega(info.file_size), "memory_mb": mega(info.memory),
                "shape": f"{info.dim} x {info.n_layers}, {info.vocab_size} pieces, {info.seq_len} positions"}


def measure(path: Path, kernel: str, args: argparse.Namespace) -> dict:
    """Medians for one kernel in this process, on one thread: tokens a second reading a prompt and telling a story."""
    began = time.perf_counter()
    with Model(path, kernel, kv=args.kv) as model:
        opened = time.perf_counter() - began
        steps = min(args.steps, model.info.seq_len)
        rates = [tell(model, steps, seed + 1) for seed in range(args.runs)]
        prompt = []
        for _ in range(args.runs):
            began = time.perf_counter()
            for pos in range(steps):
                model.forward(pos % model.info.vocab_size, pos, logits=False)
            prompt.append(steps / (time.perf_counter() - began))
    return {"kernel": kernel, "open_ms": 1000 * opened, "prompt_tok_s": statistics.median(prompt),
            "story_tok_s": statistics.median(rates)}


def tell(model: Model, steps: int, seed: int) -> float:
    """Tokens a second over stories of at least `steps` tokens together (the model may end one early)."""
    told, began = 0, time.perf_counter()
    while told < steps:
        told += 1 + sum(1 for _ in model.generate(model.encode(OPENING), steps, 1.0, 0.9, seed))
        seed += 1000
    return told / (time.perf_counter() - began)


def start_up(path: Path, args: argparse.Namespace) -> tuple[float, float, float]:
    """From starting the program to its first printed character, ms; resident and private memory at the end, MB."""
    times, memory = [], (0.0, 0.0)
    command = duostory(path, "--silent", "-s", "1", "-i", OPENING, "--kv", args.kv)
    for _ in range(args.runs):
        began = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              env=environment()) as process:
            if not process.stdout.read(1):
                raise StoryError(f"{shlex.join(command)} told nothing; run it to see why")
            times.append(1000 * (time.perf_counter() - began))
            memory = max(memory, resident(process.pid))
            process.stdout.read()
    return statistics.median(times), *memory


def duostory(*args: str | Path) -> list[str]:
    """The command that runs this very package, wherever it is started."""
    return [sys.executable, "-P", "-m", "duostory", *map(str, args)]


def environment() -> dict[str, str]:
    """The environment without the user's settings, which would be measured too."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DUOSTORY_")}
    return kept | {"DUOSTORY_CONFIG": os.devnull, "PYTHONPATH": str(Path(__file__).parents[1])}


def resident(pid: int) -> tuple[float, float]:
    """Resident and private memory of a running process, MB; zeros when it has just ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0, 0.0
    kilobytes = {name: int(n) for name, n in re.findall(r"(\w+): +(\d+) kB", rollup)}
    private = kilobytes.get("Private_Clean", 0) + kilobytes.get("Private_Dirty", 0)
    return kilobytes.get("Rss", 0) / 1024, private / 1024


def against(program: list[str], checkpoint: Path, args: argparse.Namespace) -> dict:
    """Runs both programs in turn on one command line; the ratio of each pair, and whether the stories are equal."""
    program = [shutil.which(program[0]) or program[0], *program[1:]]
    tokenizer = checkpoint.with_name("tokenizer.bin")
    options = [str(checkpoint), "-z", str(tokenizer), "-t", "1.0", "-p", "0.9", "-s", "123", "-n", str(args.steps),
               "-i", OPENING]
    ours = duostory(*options, "--reference", "--kv", args.kv)
    theirs = [*program, *options]
    pairs = []
    for _ in range(args.runs + 1):
        pairs.append((achieved(ours), achieved(theirs)))
    (story, _), (their_story, _) = pairs.pop(0)  # a warm-up, but its stories are as good as any
    rates = [(a[1], b[1]) for a, b in pairs]
    return {"program": shlex.join(program), "ours_tok_s": statistics.median(a for a, _ in rates),
            "theirs_tok_s": statistics.median(b for _, b in rates), "ratios": sorted(a / b for a, b in rates),
            "ratio": statistics.median(a / b for a, b in rates), "same_story": story == their_story}


def achieved(command: list[str]) -> tuple[bytes, float]:
    """The story that a llama2.c-like program prints, and the speed it reports."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment())
    except OSError as e:
        raise StoryError(f"cannot run {command[0]}: {e.strerror}") from e
    rates = re.findall(rb"achieved tok/s: ([\d.]+)", done.stderr)
    if done.returncode or not rates:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it printed nothing"])[-1]
        raise StoryError(f"{command[0]} reported no speed (exit status {done.returncode}): {last}")
    return done.stdout, float(rates[-1])


def write_random(path: Path, shape: str) -> None:
    """Writes random int8 weights as a llama2.c version 2 checkpoint, and a tokenizer.bin beside it.

    Flat logits would leave thousands of candidates to top-p and measure nothing but its sort: the embedding's spread
    makes a distribution as peaked as a trained model's.
    """
    from duostory.formats.files import need

    np = need("numpy")
    from duostory.formats import llama2c
    from duostory.formats.checkpoint import Checkpoint, Tokenizer, quantize
    from duostory.formats.shape import NORMS, Config

    dim, hidden, layers, heads, vocab, seq = SHAPES[shape]
    config = Config(dim, hidden, layers, heads, heads, vocab, seq)
    rng = np.random.default_rng(1)

    def tensor(name: str):
        rows, *cols = config.shape(name)
        if name in NORMS:
            return np.ones(rows, np.float32)
        spread = (LOGIT_SPREAD if name == "embedding" else 0.5) / cols[0] ** 0.5
        return quantize(rng.standard_normal((rows, *cols), dtype=np.float32) * np.float32(spread), GROUP_SIZE)

    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % i for i in range(256)), b" ",
              *(bytes([i]) for i in range(33, 127))]
    pieces += [b"w%d " % i for i in range(vocab - len(pieces))]
    tensors = {key: tensor(key[0]) for key in config.keys()}
    llama2c.write(Checkpoint(config, tensors, Tokenizer(pieces, np.zeros(vocab, np.float32))), path, version=2)


def table(report: dict) -> str:
    lines = [f"{report['model']}: {report['type']}, {report['shape']}, {report['file_mb']:.1f} MB file, "
             f"{report['memory_mb']:.1f} MB {report['kv']} KV cache and buffers; one thread of {os.cpu_count()}", "",
             f"{'kernel':<10}{'open ms':>10}{'prompt tok/s':>15}{'story tok/s':>14}"]
    lines += [f"{k['kernel']:<10}{k['open_ms']:>10.1f}{k['prompt_tok_s']:>15.0f}{k['story_tok_s']:>14.0f}"
              for k in report["kernels"]]
    lines += ["", f"start of the program to first token {report['first_token_ms']:.0f} ms, "
              f"resident {report['resident_mb']:.1f} MB, of them private {report['private_mb']:.1f} MB"]
    if versus := report.get("against"):
        lines.append(f"against {versus['program']}: {versus['ours_tok_s']:.0f} and {versus['theirs_tok_s']:.0f} tok/s, "
                     f"ratio {versus['ratio']:.2f} (pairs {versus['ratios'][0]:.2f} to {versus['ratios'][-1]:.2f}), "
                     f"{'the same story' if versus['same_story'] else 'ANOTHER STORY'}")
    return "\n".join(lines)


def mega(n: int) -> float:
    return n / 2**20
