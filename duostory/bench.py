"""`python -m duostory bench`: how fast this machine tells, measured on this machine.

A token's time does not depend on what the weights are, so speed can be measured on random ones of any shape. Only ratios
from one run mean anything on a machine that others use too: `--against` and `--llama-bench` run another program and ours in
turn.
"""

import argparse
import json
import os
import re
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from duostory import StoryError, UsageError, models
from duostory.config import KV_TYPES, Settings
from duostory.engine import Model, kernels

OPENING = "Once upon a time"
# dim, hidden, layers, heads, vocabulary, positions: llama2.c's model that the contest used, and the next larger
SHAPES = {"15M": (288, 768, 6, 6, 32000, 256), "42M": (512, 1376, 8, 8, 32000, 1024)}
GROUP_SIZE = 32
LOGIT_SPREAD = 7.0  # standard deviation
REPETITIONS = 8  # of each run against llama-bench


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
    parser.add_argument("--llama-bench", metavar="PROGRAM", help="also run this program, llama.cpp's llama-bench, on the same "
                        "weights as GGUF F32, Q8_0 or Q4_0, in turn with duostory, and compare speed")
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
        paths, refused = of_each_type(models.to_duo(source), Path(folder))
        report = {"model": args.shape and f"random {args.shape}" or str(source), "shape": shape(paths, args.kv),
                  "rows": [measure(path, kernel, args) for path in paths.values() for kernel in args.kernel or kernels()],
                  "refused": refused}
        if args.against:
            report["against"] = against(shlex.split(args.against), source, args)
        if args.llama_bench:
            report["llama_bench"] = [llama_bench(shlex.split(args.llama_bench), path, args) for path in paths.values()]
    print(json.dumps(report, indent=2) if args.json else table(report))
    return 0


def of_each_type(model: Path, folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The model as it is, as q8 and as q4, by type; and why a type cannot be made."""
    from duostory import formats

    with Model(model) as m:
        paths, refused, group_size = {m.info.type: model}, {}, m.info.group_size or None
    for type in ("q8", "q4"):
        if type not in paths:
            try:
                formats.convert(model, folder / f"{type}.duo", type=type, group_size=group_size)
                paths[type] = folder / f"{type}.duo"
            except StoryError as e:
                refused[type] = str(e)
    return paths, refused


def shape(paths: dict[str, Path], kv: str) -> str:
    with Model(next(iter(paths.values())), kv=kv) as model:
        i = model.info
    return (f"{i.dim} x {i.n_layers}, {i.vocab_size} pieces, {i.seq_len} positions, "
            f"{mega(i.memory):.1f} MB {i.kv} KV cache and buffers")


def measure(path: Path, kernel: str, args: argparse.Namespace) -> dict:
    """Medians for one model and kernel, on one thread: reading a prompt, telling a story, starting up."""
    began = time.perf_counter()
    with Model(path, kernel, kv=args.kv) as model:
        opened = time.perf_counter() - began
        steps = min(args.steps, model.info.seq_len)
        story = [tell(model, steps, seed + 1) for seed in range(args.runs)]
        prompt = [read(model, steps) for _ in range(args.runs)]
        row = {"type": model.info.type, "kernel": kernel, "file_mb": mega(model.info.file_size), "open_ms": 1000 * opened,
               "prompt_tok_s": statistics.median(prompt), "story_tok_s": statistics.median(story)}
    return row | start_up(path, kernel, args)


def tell(model: Model, steps: int, seed: int) -> float:
    """Tokens a second over stories of at least `steps` tokens together (the model may end one early)."""
    told, began = 0, time.perf_counter()
    while told < steps:
        told += 1 + sum(1 for _ in model.generate(model.encode(OPENING), steps, 1.0, 0.9, seed))
        seed += 1000
    return told / (time.perf_counter() - began)


def read(model: Model, steps: int) -> float:
    """Tokens a second over a prompt of `steps` tokens."""
    tokens = [pos % model.info.vocab_size for pos in range(steps)]
    began = time.perf_counter()
    model.prefill(tokens[:-1], 0)
    model.forward(tokens[-1], steps - 1)
    return steps / (time.perf_counter() - began)


def go_on(model: Model, steps: int) -> float:
    """Tokens a second over `steps` tokens that are not known beforehand, without drawing them, as llama-bench counts."""
    began = time.perf_counter()
    for pos in range(steps):
        model.forward(pos % model.info.vocab_size, pos)
    return steps / (time.perf_counter() - began)


def start_up(path: Path, kernel: str, args: argparse.Namespace) -> dict[str, float]:
    """From starting the program to its first printed character, ms; resident and private memory then, MB."""
    times, memory = [], (0.0, 0.0)
    command = duostory(path, "--silent", "-s", "1", "-i", OPENING, "--kernel", kernel, "--kv", args.kv)
    for _ in range(args.runs):
        began = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              env=environment()) as process:
            if not process.stdout.read(1):
                raise StoryError(f"{shlex.join(command)} told nothing; run it to see why")
            times.append(1000 * (time.perf_counter() - began))
            memory = max(memory, resident(process.pid))
            process.terminate()
    return {"first_token_ms": statistics.median(times), "resident_mb": memory[0], "private_mb": memory[1]}


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
    return {"program": shlex.join(program), "same_story": story == their_story,
            **compared([(ours, theirs) for (_, ours), (_, theirs) in pairs])}


def achieved(command: list[str]) -> tuple[bytes, float]:
    """The story that a llama2.c-like program prints, and the speed it reports."""
    done = output(command)
    rates = re.findall(rb"achieved tok/s: ([\d.]+)", done.stderr)
    if not rates:
        raise StoryError(f"{command[0]} reported no speed{last_line(done)}")
    return done.stdout, float(rates[-1])


def output(command: list[str]) -> subprocess.CompletedProcess:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment())
    except OSError as e:
        raise StoryError(f"cannot run {command[0]}: {e.strerror}") from e
    if done.returncode:
        raise StoryError(f"{command[0]} reported no speed{last_line(done)}")
    return done


def last_line(done: subprocess.CompletedProcess) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it printed nothing"]
    return f" (exit status {done.returncode}): {lines[-1]}"


def llama_bench(program: list[str], path: Path, args: argparse.Namespace) -> dict:
    """Runs llama-bench and our forward passes in turn, on one thread; ratios of each pair for prompt ("pp") and story ("tg").

    Both are told from their processor time, which other programs on the machine disturb less than the clock.
    """
    from duostory import formats

    program = [shutil.which(program[0]) or program[0], *program[1:]]
    with tempfile.TemporaryDirectory(prefix="duostory-bench-") as folder, Model(path, kv=args.kv) as model:
        gguf = Path(folder) / "model.gguf"
        formats.export(path, gguf, {"f32": "gguf-f32", "q8": "gguf-q8_0", "q4": "gguf-q4_0"}[model.info.type])
        steps = min(args.steps, model.info.seq_len)
        command = [*program, "-m", str(gguf), "-t", "1", "-ngl", "0", "-o", "json"]
        report = {"program": shlex.join(program), "type": model.info.type}
        for test, ours, lengths in (("pp", read, (steps, 0)), ("tg", go_on, (0, steps))):
            theirs = [*command, "-p", str(lengths[0]), "-n", str(lengths[1])]
            report[test] = compared([(our_rate(ours, model, steps), their_rate(theirs, steps)) for _ in range(args.runs)])
    return report


def our_rate(work: Callable[[Model, int], float], model: Model, steps: int) -> float:
    """Tokens a second of processor time."""
    began = time.process_time()
    for _ in range(REPETITIONS):
        work(model, steps)
    return REPETITIONS * steps / (time.process_time() - began)


def their_rate(command: list[str], steps: int) -> float:
    """The same of llama-bench: a long run less a short one, so that loading and warming up cancel out."""
    used = []
    for repetitions in (1, 1 + REPETITIONS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        output([*command, "-r", str(repetitions)])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    if used[1] < 1.1 * used[0]:
        raise StoryError(f"{command[0]} takes no longer for {REPETITIONS} repetitions more, so it is not llama-bench")
    return REPETITIONS * steps / (used[1] - used[0])


def compared(pairs: list[tuple[float, float]]) -> dict:
    """Medians of our and their speed, and the ratio of each pair in order of size."""
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    return {"ours_tok_s": statistics.median(ours for ours, _ in pairs),
            "theirs_tok_s": statistics.median(theirs for _, theirs in pairs),
            "ratio": statistics.median(ratios), "ratios": ratios}


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
    lines = [f"{report['model']}: {report['shape']}; one thread of {os.cpu_count()}", "",
             f"{'weights':<9}{'kernel':<8}{'file MB':>9}{'private MB':>12}{'open ms':>9}{'first token ms':>16}"
             f"{'prompt tok/s':>14}{'story tok/s':>13}"]
    lines += [f"{r['type']:<9}{r['kernel']:<8}{r['file_mb']:>9.1f}{r['private_mb']:>12.1f}{r['open_ms']:>9.1f}"
              f"{r['first_token_ms']:>16.0f}{r['prompt_tok_s']:>14.0f}{r['story_tok_s']:>13.0f}" for r in report["rows"]]
    lines += [f"{type}: {why}" for type, why in report["refused"].items()]
    if versus := report.get("against"):
        same = "the same story" if versus["same_story"] else "ANOTHER STORY"
        lines += ["", f"against {versus['program']}: {ratio(versus)}, {same}"]
    for versus in report.get("llama_bench", []):
        lines += ["", f"against {versus['program']}, {versus['type']}", f"  prompt: {ratio(versus['pp'])}",
                  f"  story: {ratio(versus['tg'])}"]
    return "\n".join(lines)


def ratio(versus: dict) -> str:
    return (f"{versus['ours_tok_s']:.0f} and {versus['theirs_tok_s']:.0f} tok/s, ratio {versus['ratio']:.2f} "
            f"(pairs {versus['ratios'][0]:.2f} to {versus['ratios'][-1]:.2f})")


def mega(n: int) -> float:
    return n / 2**20
