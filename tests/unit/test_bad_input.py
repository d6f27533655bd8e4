"""Whatever is wrong: one sentence on stderr, the right exit status, nothing told, nothing left behind."""

import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.teller import command, environment, run

USAGE = 2
FAILED = 1


@pytest.fixture(scope="module")
def good(story_model) -> bytes:
    return story_model.read_bytes()


@pytest.fixture
def home(tmp_path, story_model) -> Path:
    """A folder with a good model, m.duo, and nothing else."""
    os.link(story_model, tmp_path / "m.duo") if story_model.stat().st_dev == tmp_path.stat().st_dev else (
        shutil.copy(story_model, tmp_path / "m.duo"))
    return tmp_path


def everything(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


def refused(home, *args, status, says, env=None, stdin=b"", **more):
    before = everything(home)
    result = run(home, *args, env=env, stdin=stdin, **more)
    message = result.stderr.decode()
    assert result.returncode == status, message
    assert result.stdout == b""
    assert message.startswith("duostory: ") and message.count("\n") == 1 and message.endswith("\n"), message
    assert says in message, message
    assert everything(home) == before


# --- The command line, the environment, files -----------------------------------------------------

COMMAND_LINE = [  # arguments, exit status, part of the sentence
    (["--temperature"], USAGE, "expected one argument"),
    (["-t", "warm"], USAGE, "--temperature must be a number, not 'warm'"),
    (["-t", "-1"], USAGE, "--temperature must be from 0.0 to 100.0, not -1"),
    (["-t", "nan"], USAGE, "--temperature must be a number"),
    (["-t", "inf"], USAGE, "--temperature must be from 0.0"),
    (["-p", "1.01"], USAGE, "--topp must be from 0.0 to 1.0"),
    (["-p", ""], USAGE, "--topp must be a number"),
    (["-s", "1.5"], USAGE, "--seed must be a whole number"),
    (["-s", "-1"], USAGE, "--seed must be from 0"),
    (["-s", str(2**64)], USAGE, "--seed must be from 0"),
    (["-n", "-1"], USAGE, "--steps must be from 0"),
    (["-n", "9" * 5000], USAGE, "--steps must be a whole number"),
    (["--reference", "-t", "x"], USAGE, "--temperature must be a number"),
    (["--rate", "9999"], USAGE, "--rate must be from 80 to 450"),
    (["--louder"], USAGE, "no option --louder"),
    (["--speech", "loud"], USAGE, "--speech must be auto, espeak or pyttsx3, not 'loud'"),
    (["--sink", "wav"], USAGE, "--sink must be alsa or pyaudio, not 'wav'"),
    (["-m", "generate"], USAGE, "no option -m"),
    (["--sil"], USAGE, "no option --sil"),
    (["--silent=yes"], USAGE, "--silent"),
    (["--silent", "--wav", "a.wav"], USAGE, "exclude each other"),
    (["--reference", "--wav", "a.wav"], USAGE, "--wav is not for --reference"),
    (["--reference", "--the-end"], USAGE, "--the-end is not for --reference"),
    (["--again", "a dragon"], USAGE, "--again takes no wish"),
    (["-i", "A dragon", "a cat"], USAGE, "not both"),
    (["m.duo", "--model", "other.duo", "a cat"], USAGE, "two models are named"),
    (["convert"], USAGE, "required: IN, OUT.duo"),
    (["convert", "m.duo"], USAGE, "required: OUT.duo"),
    (["convert", "--to", "x", "m.duo", "b.duo"], USAGE, "--to"),
    (["models"], USAGE, "list|get|verify"),
    (["models", "of", "trains"], USAGE, "of"),
    (["models", "get"], USAGE, "NAME"),
    (["export", "m.duo"], USAGE, "OUT"),
    (["--again"], FAILED, "no last story"),
    (["none.duo", "a cat"], FAILED, "none.duo"),
    (["none.bin", "-i", "Once"], FAILED, "none.bin"),
    (["--model", "none"], FAILED, "none"),
    (["--model", "."], FAILED, "folder"),
    (["--model", "bad\nname\x1b.duo"], FAILED, r"bad\nname\x1b.duo"),
    (["--model", b"caf\xe9.duo"], FAILED, "caf"),
    (["--model", "m.duo", "-z", "tok.bin"], FAILED, "own tokenizer"),
    (["--kernel", "warp", "m.duo"], FAILED, "warp"),
    (["m.duo", "-i", "a cat " * 400], FAILED, "which leaves no room for a story in 512 positions"),
    (["m.duo", "-n", "4", "-i", "a cat and a dog"], FAILED, "in 4 positions"),
    (["convert", "none.bin", "b.duo"], FAILED, "none.bin"),
    (["convert", "m.duo", "none/b.duo"], FAILED, "none/b.duo"),
    (["export", "m.duo", "b.xyz"], FAILED, "b.xyz"),
    (["export", "none.duo", "b.bin"], FAILED, "none.duo"),
    (["models", "get", "stories1T"], FAILED, "stories1T"),
    (["models", "verify", "none"], FAILED, "none"),
    (["m.duo", "--wav", "a.wav", "--voice", b"caf\xe9", "a cat"], FAILED, "caf"),
]


@pytest.mark.parametrize("args, status, says", COMMAND_LINE)
def test_command_line(home, args, status, says):
    refused(home, *args, status=status, says=says)


@pytest.mark.parametrize("env, says", [
    ({"DUOSTORY_KERNEL": "warp"}, "warp"),
    ({"DUOSTORY_SEED": "many"}, "DUOSTORY_SEED must be a whole number, not 'many'"),
    ({"DUOSTORY_TOPP": "2"}, "DUOSTORY_TOPP must be from 0.0 to 1.0"),
    ({"DUOSTORY_SILENT": "maybe"}, "DUOSTORY_SILENT must be true or false"),
    ({"DUOSTORY_MODEL": "none.duo"}, "none.duo"),
    ({"DUOSTORY_CONFIG": "none.toml"}, "none.toml"),
    ({"DUOSTORY_CONFIG": "."}, "Is a directory"),
    ({"DUOSTORY_CONFIG": "m.duo"}, "not a TOML file"),
])
def test_environment(home, env, says):
    refused(home, "a cat", status=FAILED, says=says, env={"DUOSTORY_MODEL": "m.duo"} | env)


@pytest.mark.parametrize("text, says", [
    ("seed = ", "not a TOML file"),
    ("colour = 'red'", "unknown key 'colour'"),
    ("rate = 'fast'", "rate in"),
    ("[seed]", "seed in"),
])
def test_settings_file(home, text, says):
    (home / "my.toml").write_text(text)
    refused(home, "m.duo", "a cat", status=FAILED, says=says, env={"DUOSTORY_CONFIG": "my.toml"})


@pytest.mark.parametrize("stdin, says", [(b"a\0cat", "NUL"), (b"cat " * 20000, "longer than 65536 bytes"),
                                         (b"a little cat ran. " * 200, "leaves no room")])
def test_standard_input(home, stdin, says):
    refused(home, "m.duo", "--silent", status=FAILED, says=says, stdin=stdin)


@pytest.mark.parametrize("wav", ["none/a.wav", ".", "m.duo/a.wav"])
def test_wav_file(home, wav):
    refused(home, "m.duo", "--wav", wav, "a cat", status=FAILED, says=wav)


def test_forbidden_files(home):
    (home / "closed").mkdir()
    (home / "secret.duo").touch()
    os.chmod(home / "closed", 0o500)
    os.chmod(home / "secret.duo", 0)
    if os.access(home / "secret.duo", os.R_OK):
        pytest.skip("root may read and write everything")
    refused(home, "m.duo", "--wav", "closed/a.wav", "a cat", status=FAILED, says="Permission denied")
    refused(home, "secret.duo", "a cat", status=FAILED, says="Permission denied")


TELL = ["m.duo", "--silent", "a cat"]
PRINTING = [TELL, ["--help"], ["models", "list"], ["models", "--help"], ["models", "verify", "m.duo"],
            ["eval", "m.duo", "--stories", "1", "-n", "2"]]


@pytest.mark.parametrize("args", PRINTING, ids=" ".join)
def test_a_full_disk(home, args):
    with open("/dev/full", "wb") as full:
        result = run_to(home, full, *args)
    assert (result.returncode, result.stderr.decode()) == (
        FAILED, "duostory: cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize("args", PRINTING, ids=" ".join)
def test_a_reader_that_has_gone(home, args):
    read, write = os.pipe()
    os.close(read)
    result = run_to(home, write, *args)
    os.close(write)
    assert (result.returncode, result.stderr.decode()) == (0, "")


def test_standard_output_is_closed(home):
    result = run_to(home, None, *TELL)
    assert (result.returncode, result.stderr.decode()) == (
        FAILED, "duostory: standard output is closed, so nothing can be told\n")


def run_to(home, stdout, *args):
    return subprocess.run(command(*args), stdin=subprocess.DEVNULL, stdout=stdout,
                          stderr=subprocess.PIPE, cwd=home, env=environment(home), timeout=60,
                          preexec_fn=None if stdout else lambda: os.close(1))


def test_without_a_home_folder(home, checkpoint260k):
    """Where a user has none, only what has to be kept there is refused."""
    (home / "m.bin").write_bytes(checkpoint260k.read_bytes())
    (home / "tokenizer.bin").write_bytes(checkpoint260k.with_name("tok512.bin").read_bytes())
    program = ("import os, sys; os.getuid = lambda: 54321\n"  # of whom nobody knows a home
               "from duostory.cli import main; sys.exit(main(sys.argv[1:]))")
    env = environment(home)
    del env["HOME"]

    def told(*args):
        return subprocess.run([sys.executable, "-c", program, *args], cwd=home, env=env, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)

    before = everything(home)
    assert told(*TELL).returncode == 0
    for args in (["m.bin", "--silent", "a cat"], ["models", "list"]):
        assert told(*args).returncode == FAILED
        assert told(*args).stderr.startswith("duostory: there is no home folder to keep models in: set XDG_")
    assert everything(home) == before and not (home / "~").exists()


def test_a_mistake_of_ours_is_told_in_one_sentence_and_shown_on_request(home):
    program = "import sys; from duostory import cli; cli._run = lambda *_: 1 / 0; sys.exit(cli.main([]))"

    def failed(**env):
        return subprocess.run([sys.executable, "-c", program], cwd=home, env=environment(home, **env),
                              capture_output=True, text=True, timeout=60)

    result = failed()
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (FAILED, "", 1)
    assert "ZeroDivisionError" in result.stderr and "DUOSTORY_DEBUG=1" in result.stderr
    assert "Traceback" in failed(DUOSTORY_DEBUG="1").stderr


# --- Models ---------------------------------------------------------------------------------------

HEADER = {name: (place, kind) for name, place, kind in [
    ("version", 8, "<I"), ("file_size", 16, "<Q"), ("dim", 24, "<I"), ("hidden_dim", 28, "<I"),
    ("n_layers", 32, "<I"), ("n_heads", 36, "<I"), ("n_kv_heads", 40, "<I"), ("vocab_size", 44, "<I"),
    ("seq_len", 48, "<I"), ("group_size", 52, "<I"), ("bos", 64, "<I"), ("flags", 72, "<I"),
    ("n_tensors", 76, "<I"), ("tensors_offset", 80, "<Q"), ("tokenizer_offset", 88, "<Q"),
    ("tokenizer_size", 96, "<Q"), ("metadata_offset", 104, "<Q"), ("metadata_size", 112, "<Q"),
    ("reserved", 120, "<Q")]}


def field(data: bytes, name: str) -> int:
    place, kind = HEADER[name]
    return struct.unpack_from(kind, data, place)[0]


def patched(data: bytes, changes: dict[int, bytes]) -> bytes:
    """The file with other bytes at some places, and a checksum that is right again."""
    data = bytearray(data)
    for place, new in changes.items():
        data[place:place + len(new)] = new
    data[12:16] = struct.pack("<I", zlib.crc32(data[16:]))
    return bytes(data)


def damaged(good: bytes):
    """Names and bytes of files that are almost a model."""
    tensors, tokenizer = field(good, "tensors_offset"), field(good, "tokenizer_offset")
    metadata, vocab, layers = (field(good, name) for name in ("metadata_offset", "vocab_size", "n_layers"))
    starts = tokenizer + 8 + 4 * vocab
    text = starts + 4 * (vocab + 1) + 4 * vocab
    entries = range(tensors, tensors + 32 * field(good, "n_tensors"), 32)
    data_at = min(struct.unpack_from("<Q", good, entry + 16)[0] for entry in entries)
    yield "empty", b""
    yield "text", b"Once upon a time, there was a file that was no model.\n" * 9
    yield "other magic", b"\x89DUX" + good[4:]
    yield "text mode transfer", good.replace(b"\r\n", b"\n", 1)
    yield "wrong checksum", good[:-1] + bytes([good[-1] ^ 1])
    yield "checksum field", good[:12] + b"\0\0\0\0" + good[16:]
    yield "one byte more", good + b"\0"
    for name, length in [("magic", 6), ("header", 100), ("tensor directory", tensors + 40),
                         ("metadata", metadata + 3), ("tokenizer", tokenizer + 500),
                         ("tensors", data_at + 1000), ("last byte", len(good) - 1)]:
        yield f"cut in {name}", good[:length]
    for name, value in [
            ("version", 2), ("file_size", len(good) * 2), ("dim", 0), ("dim", 63), ("dim", 2**31),
            ("hidden_dim", 2**20), ("n_layers", 0), ("n_layers", layers + 1), ("n_heads", 7), ("n_kv_heads", 3),
            ("n_kv_heads", 0), ("vocab_size", vocab - 1), ("vocab_size", 2**32 - 1), ("seq_len", 0),
            ("seq_len", 2**30), ("group_size", 3), ("bos", vocab), ("flags", 6), ("n_tensors", 1),
            ("n_tensors", 2**32 - 1),
            ("tensors_offset", 2**63), ("tensors_offset", tensors + 4), ("tokenizer_offset", len(good)),
            ("tokenizer_size", 2**64 - 64), ("metadata_size", 2**64 - 1), ("reserved", 1)]:
        place, kind = HEADER[name]
        yield f"{name} {value}", patched(good, {place: struct.pack(kind, value)})
    yield "tensor twice", patched(good, {tensors + 32: good[tensors:tensors + 32]})
    yield "tensor kind", patched(good, {tensors: b"\x63"})
    yield "tensor type", patched(good, {tensors + 1: b"\x02"})
    yield "tensor shape", patched(good, {tensors + 4: struct.pack("<I", 1)})
    yield "tensor outside", patched(good, {tensors + 16: struct.pack("<Q", len(good) // 64 * 64)})
    yield "tensor far outside", patched(good, {tensors + 16: struct.pack("<Q", 2**64 - 64)})
    yield "tensor not aligned", patched(good, {tensors + 16: struct.pack("<Q", data_at + 4)})
    yield "tensor size", patched(good, {tensors + 24: struct.pack("<Q", 64)})
    yield "pieces fall", patched(good, {starts + 40: struct.pack("<I", 2**31)})
    yield "piece with NUL", patched(good, {text: b"\0"})


def test_models_that_are_not_quite(home, good):
    cases = list(damaged(good))
    for name, data in cases:
        (home / "bad.duo").write_bytes(data)
        try:
            refused(home, "bad.duo", "--silent", "a cat", status=FAILED, says="bad.duo")
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None
    assert len(cases) >= 40


@pytest.mark.parametrize("begins, says", [(b"PK\3\4", "dog is a PyTorch file"), (b"GGUF", "cannot read dog"),
                                          (b" " + bytes(7) + b'{"', "dog is one safetensors file"),
                                          (b"24ka\1", "cannot read dog")])
def test_a_first_word_that_is_a_model_which_cannot_be_read_is_no_wish(home, begins, says):
    (home / "dog").write_bytes(begins.ljust(300, b"\0"))
    refused(home, "dog", "--silent", status=FAILED, says=says)


def test_a_first_word_that_is_a_pipe_is_one(home):
    os.mkfifo(home / "dog")
    result = run(home, "dog", "--silent", "-n", "60", timeout=20, env={"DUOSTORY_MODEL": "m.duo"})
    assert result.returncode == 0


def test_other_programs_models(home, checkpoint260k):
    (home / "cut.bin").write_bytes(checkpoint260k.read_bytes()[:-4])
    refused(home, "cut.bin", "-i", "Once", status=FAILED, says="cut short")
    (home / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    refused(home, "bad.gguf", "a cat", status=FAILED, says="bad.gguf")
    (home / "alone.bin").write_bytes(checkpoint260k.read_bytes())
    refused(home, "alone.bin", "-i", "Once", status=FAILED, says="tokenizer")
    refused(home, "alone.bin", "-z", "none.bin", "-i", "Once", status=FAILED, says="none.bin")
