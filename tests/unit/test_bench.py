"""The benchmark measures this package, wherever it is started, and what it compares with."""

import json
import os
import re
import sys

import pytest

from tests.checkpoints import random_duo
from tests.teller import run

# A program with llama2.c's options that is slower than ours and tells another story.
RIVAL = """#!{python}
import sys
print("Once upon a time there was nothing.")
print("achieved tok/s: 10.5", file=sys.stderr)
sys.exit(len(sys.argv) != 14)
"""

# Takes llama-bench's options, if it is given a GGUF file and one thread, and 20 ms of processor time a repetition.
LLAMA_BENCH = """#!{python}
import sys, time
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert options["-t"] == "1" and open(options["-m"], "rb").read(4) == b"GGUF"
assert sorted((options["-p"], options["-n"])) == ["0", "20"]
while time.process_time() < 0.02 * (5 + int(options["-r"])): pass
"""


def test_the_table(tmp_path, story_model):
    (tmp_path / "m.duo").symlink_to(story_model)
    memory = {}
    for kv in ("f32", "q8"):
        result = run(tmp_path, "bench", "m.duo", "--runs", "1", "-n", "30", "--kernel", "scalar", "--kv", kv,
                     env={"DUOSTORY_STEPS": "1", "DUOSTORY_SILENT": "nonsense", "DUOSTORY_KV": "nonsense"})
        assert result.returncode == 0, result.stderr
        rows = [line.split()[:2] for line in result.stdout.decode().splitlines()]
        assert ["q8", "scalar"] in rows and ["q4", "scalar"] in rows and b"first token" in result.stdout and not result.stderr
        memory[kv] = float(re.search(rf"([\d.]+) MB {kv} KV cache", result.stdout.decode())[1])
    assert memory["q8"] < memory["f32"] / 2


def test_a_type_that_cannot_be_made(tmp_path):
    random_duo(tmp_path / "m.duo", (64, 128, 1, 2, 2, 300, 64, 64), "q8")
    result = run(tmp_path, "bench", "m.duo", "--runs", "1", "-n", "4", "--kernel", "scalar")
    assert result.returncode == 0, result.stderr
    assert b"\nq8       scalar" in result.stdout and b"q4 has groups of at most 32, not 64" in result.stdout


def test_against_another_program(tmp_path, checkpoint260k):
    (tmp_path / "m.bin").write_bytes(checkpoint260k.read_bytes())
    (tmp_path / "tokenizer.bin").write_bytes(checkpoint260k.with_name("tok512.bin").read_bytes())
    (tmp_path / "rival").write_text(RIVAL.format(python=sys.executable))
    os.chmod(tmp_path / "rival", 0o755)
    result = run(tmp_path, "bench", "m.bin", "--runs", "2", "-n", "20", "--kernel", "scalar", "--against", "./rival", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    versus = report["against"]
    assert versus["theirs_tok_s"] == 10.5 and versus["ratio"] > 1 and versus["same_story"] is False
    assert len(versus["ratios"]) == 2
    assert [row["type"] for row in report["rows"]] == ["f32"] and "--group-size 4" in report["refused"]["q8"]
    assert all(row["first_token_ms"] > 0 and row["resident_mb"] > 1 for row in report["rows"])


def test_against_llama_bench(tmp_path, story_model):
    (tmp_path / "rival").write_text(LLAMA_BENCH.format(python=sys.executable))
    os.chmod(tmp_path / "rival", 0o755)
    result = run(tmp_path, "bench", story_model, "--runs", "1", "-n", "20", "--kernel", "scalar", "--llama-bench", "./rival", "--json")
    assert result.returncode == 0, result.stderr
    versus = json.loads(result.stdout)["llama_bench"]
    assert [v["type"] for v in versus] == ["q8", "q4"]
    for test in ("pp", "tg"):   # 20 tokens in 20 ms, and the repetitions take 160 ms: some for starting and ending do not count much
        assert all(v[test]["theirs_tok_s"] == pytest.approx(1000, rel=0.3) for v in versus)
        assert all(v[test]["ratio"] == pytest.approx(v[test]["ours_tok_s"] / 1000, rel=0.3) for v in versus)


@pytest.mark.parametrize("program, says", [("./none", "cannot run ./none"), ("false", "reported no speed")])
@pytest.mark.parametrize("option", ["--against", "--llama-bench"])
def test_a_program_that_cannot_be_compared(tmp_path, checkpoint260k, option, program, says):
    (tmp_path / "m.bin").write_bytes(checkpoint260k.read_bytes())
    (tmp_path / "tokenizer.bin").write_bytes(checkpoint260k.with_name("tok512.bin").read_bytes())
    result = run(tmp_path, "bench", "m.bin", "--runs", "1", "-n", "4", "--kernel", "scalar", option, program)
    assert result.returncode == 1 and says in result.stderr.decode() and result.stderr.count(b"\n") == 1
