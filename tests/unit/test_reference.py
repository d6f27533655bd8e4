"""`--reference` prints what llama2.c prints, and scripts/contest notices when it does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints import golden_q80
from tests.teller import ROOT, environment, run


@pytest.fixture(scope="module")
def rows(shared) -> list[dict]:
    lines = (shared / "golden" / "stories260K_f32.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def flags(row: dict) -> list[str]:
    """The options of llama2.c that made a golden text."""
    names = {"-t": "temperature", "-p": "topp", "-s": "seed", "-n": "steps", "-i": "prompt"}
    return [text for flag, name in names.items() if row[name] is not None for text in (flag, str(row[name]))]


def test_the_goldens(tmp_path, stories260k, rows):
    for row in rows:
        result = run(tmp_path, stories260k, "--reference", *flags(row))
        assert result.stdout == row["text"].encode() + b"\n", row
        assert result.stderr.splitlines()[-1].startswith(b"achieved tok/s: ")


def test_a_checkpoint_of_llama2c_as_it_is(tmp_path, checkpoint260k, rows):
    """The contest's command line on llama2.c's files; the second run finds a converted model in the cache."""
    row = next(row for row in rows if row["temperature"] == 1.0 and row["prompt"] == "Once upon a time")
    tokenizer = checkpoint260k.with_name("tok512.bin")
    for _ in range(2):
        result = run(tmp_path, checkpoint260k, "-z", tokenizer, "--reference", *flags(row))
        assert result.stdout == row["text"].encode() + b"\n", result.stderr
    assert len(list((tmp_path / ".cache" / "duostory" / "models").iterdir())) == 1


def test_an_int8_checkpoint_of_llama2c_as_it_is(tmp_path, shared):
    golden_q80(tmp_path / "random15M_q80.bin")
    row = json.loads((shared / "golden" / "random15M_q80.jsonl").read_text().splitlines()[-1])
    tokenizer = shared / "checkpoints" / "tokenizer.bin"
    result = run(tmp_path, "random15M_q80.bin", "-z", tokenizer, "--reference", *flags(row))
    assert result.stdout == row["text"].encode() + b"\n", result.stderr


def test_settings_do_not_reach_into_a_reference_run(tmp_path, stories260k, rows):
    (tmp_path / "my.toml").write_text("temperature = 0.1\nseed = 99\nsteps = 5\nkv = 'q8'\nthe_end = true")
    env = {"DUOSTORY_CONFIG": str(tmp_path / "my.toml"), "DUOSTORY_TOPP": "0.1"}
    row = next(row for row in rows if (row["temperature"], row["topp"], row["steps"]) == (1.0, 0.9, 256))
    more = ["-i", row["prompt"]] if row["prompt"] else []
    result = run(tmp_path, stories260k, "--reference", "-s", str(row["seed"]), *more, env=env)
    assert result.stdout == row["text"].encode() + b"\n"
    assert not (tmp_path / ".local").exists()  # nor is it the last story


def test_a_q8_cache_is_given_when_it_is_asked_for(tmp_path, stories260k, rows):
    row = next(row for row in rows if row["temperature"] == 1.0)
    exact, quantised = (run(tmp_path, stories260k, "--reference", *flags(row), "--kv", kv).stdout for kv in ("f32", "q8"))
    assert exact == row["text"].encode() + b"\n" != quantised and len(quantised) > 200


def test_llama2cs_rules_for_numbers_out_of_range(tmp_path, stories260k):
    base = ["--reference", "-i", "The dog", "-s", "5"]
    strange = run(tmp_path, stories260k, *base, "-t", "-3", "-p", "7", "-n", "-5").stdout
    assert strange == run(tmp_path, stories260k, *base, "-t", "0", "-p", "0.9", "-n", "0").stdout != b""


def test_a_prompt_longer_than_the_steps_is_cut_as_by_llama2c(tmp_path, stories260k):
    result = run(tmp_path, stories260k, "--reference", "-n", "2", "-i", "Once upon a time")
    assert result.stdout == b"Once upon\n"


def test_single_bytes_that_cannot_be_printed_are_left_out(tmp_path, stories260k):
    result = run(tmp_path, stories260k, "--reference", "-n", "8", "-i", b"a\x01\xff\tb\x7fc")
    assert result.stdout.startswith(b"a\tbc")


def contest(home: Path, *args) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "scripts" / "contest", *args], cwd=home,
                          capture_output=True, env=environment(home), timeout=60)


def test_the_contests_protocol(tmp_path, stories260k, rows):
    asked = (1.0, 123, "Once upon a time")
    row = next(row for row in rows if (row["temperature"], row["seed"], row["prompt"]) == asked)
    reference = tmp_path / "reference.txt"
    reference.write_text(row["text"] + "\n")
    result = contest(tmp_path, stories260k, "--runs", "3", "--against", reference)
    assert result.returncode == 0 and b"| 3 |" in result.stdout and b"equal to the reference" in result.stdout
    place = row["text"].index("Lily") + 3
    reference.write_text(row["text"].replace("Lily", "Lila", 1))
    result = contest(tmp_path, stories260k, "--runs", "1", "--against", reference)
    assert result.returncode == 1 and f"at byte {place} ".encode() in result.stdout
    command = f"{sys.executable} -m duostory --silent -s 0"
    result = contest(tmp_path, stories260k, "--runs", "1", "--command", command)
    assert result.returncode == 0, result.stderr
    result = contest(tmp_path, tmp_path / "none.duo", "--runs", "2")
    assert result.returncode == 1 and result.stderr.startswith(b"contest: a run failed with exit status 1")


def test_a_command_whose_stories_differ(tmp_path):
    teller = tmp_path / "teller"
    teller.write_text("#!/bin/sh\necho story $$\necho achieved tok/s: 12.5 >&2\n")
    teller.chmod(0o755)
    result = contest(tmp_path, "model.bin", "--runs", "3", "--command", str(teller))
    assert result.returncode == 1 and b"12.50" in result.stdout and b"3 different ones" in result.stdout
