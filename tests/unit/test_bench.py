"""The benchmark measures this package, wherever it is started, and what it compares with."""

import json
import os
import re
import sys

import pytest

from tests.teller import run

# A program with llama2.c's options that is slower than ours and tells another story.
RIVAL = """#!{python}
import sys
print("Once upon a time there was nothing.")
print("achieved tok/s: 10.5", file=sys.stderr)
sys.exit(len(sys.argv) != 14)
"""


def test_the_table(tmp_path, story_model):
    (tmp_path / "m.duo").symlink_to(story_model)
    memory = {}
    for kv in ("f32", "q8"):
        result = run(tmp_path, "bench", "m.duo", "--runs", "1", "-n", "30", "--kernel", "scalar", "--kv", kv,
                     env={"DUOSTORY_STEPS": "1", "DUOSTORY_SILENT": "nonsense", "DUOSTORY_KV": "nonsense"})
        assert result.returncode == 0, result.stderr
        assert b"scalar" in result.stdout and b"first token" in result.stdout and not result.stderr
        memory[kv] = float(re.search(rf"([\d.]+) MB {kv} KV cache", result.stdout.decode())[1])
    assert memory["q8"] < memory["f32"] / 2


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
    assert len(versus["ratios"]) == 2 and report["first_token_ms"] > 0 and report["resident_mb"] > 1


@pytest.mark.parametrize("program, says", [("./none", "cannot run ./none"), ("false", "reported no speed")])
def test_a_program_that_cannot_be_compared(tmp_path, checkpoint260k, program, says):
    (tmp_path / "m.bin").write_bytes(checkpoint260k.read_bytes())
    (tmp_path / "tokenizer.bin").write_bytes(checkpoint260k.with_name("tok512.bin").read_bytes())
    result = run(tmp_path, "bench", "m.bin", "--runs", "1", "-n", "4", "--kernel", "scalar", "--against", program)
    assert result.returncode == 1 and says in result.stderr.decode() and result.stderr.count(b"\n") == 1
