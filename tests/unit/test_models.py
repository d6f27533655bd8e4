"""Models that are fetched, verified, and converted on the fly, against a real server that behaves badly."""

import errno
import hashlib
import http.client
import http.server
import os
import resource
import shutil
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from duostory import StoryError, download, models
from tests.teller import ROOT, run

CONTENT = bytes(range(256)) * 4000  # about 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; each request takes the next of the server's `moods`, and then it behaves well."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        mood = server.moods.pop(0) if server.moods else "well"
        content, etag = server.content, f'"{hashlib.md5(server.content).hexdigest()}"'
        if isinstance(mood, int):
            self.send_error(mood)
            return
        start, asked = 0, self.headers.get("Range")
        if asked and mood != "no ranges" and self.headers.get("If-Range") in (None, etag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        if start:
            first = 0 if mood == "wrong range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", etag)
        body = content[start:]
        if mood == "wrong length":
            self.send_header("Content-Length", str(len(body) + 5))
        elif mood == "too much":  # until the connection closes
            body += b"more"
            self.send_header("Connection", "close")
        elif mood == "chunked, broken":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"10000\r\n" + body[:0x10000] + b"\r\n20000\r\n" + body[0x10000:0x10100]
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if mood == "break off":
            body = body[:len(body) // 2]
        if mood == "stall":
            self.wfile.write(body[:300_000])
            server.awake.wait(20)
            body = b""
        self.wfile.write(body)
        if mood in ("break off", "too much", "stall", "chunked, broken"):
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *args: None  # clients that hang up are part of the tests
        server.moods, server.requests, server.content, server.awake = [], [], CONTENT, threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/tale.bin"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.awake.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setattr(download, "STALL", 0.5)


def fetch(server, target: Path, expected: str | None = SHA256) -> str:
    return download.download(server.url, target, len(CONTENT), expected)


# ------------------------------------------------------------------------------------------------ download


@pytest.mark.parametrize("moods", [
    [],
    ["break off"],
    ["break off", "break off", "break off"],
    ["break off", "no ranges"],
    ["break off", "wrong range"],
    ["break off", 500, 503],
    ["stall"],
    ["chunked, broken"],
    [500, "break off", "stall", 429],
], ids=lambda moods: ", ".join(map(str, moods)) or "well")
def test_a_bad_connection_is_overcome(server, tmp_path, moods):
    server.moods = list(moods)
    assert fetch(server, tmp_path / "deep" / "tale.bin") == SHA256
    assert (tmp_path / "deep" / "tale.bin").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["tale.bin"]


@pytest.mark.parametrize("moods, sentence, requests, left", [
    ([404], "answers 404 Not Found", 1, 0),
    ([403], "answers 403 Forbidden", 1, 0),
    (["wrong length"], f"offers {len(CONTENT) + 5} bytes where {len(CONTENT)} are expected", 1, 0),
    (["too much"], "sends more than", 1, 0),
    ([500] * 9, "broke off 5 times, the last time because the server answers 500", 5, 0),
    (["break off"] * 9, "broke off 5 times, the last time because it ended after", 5, None),
    (["stall"] + ["break off"] * 9, "broke off 5 times", 5, None),
], ids=["404", "403", "wrong length", "too much", "500 for ever", "breaks off for ever", "stalls"])
def test_a_server_that_cannot_be_helped(server, tmp_path, moods, sentence, requests, left):
    server.moods = list(moods)
    with pytest.raises(StoryError, match=sentence):
        fetch(server, tmp_path / "tale.bin")
    assert not (tmp_path / "tale.bin").exists()
    assert len(server.requests) == requests
    kept = (tmp_path / "tale.bin.part").stat().st_size
    assert kept == left if left is not None else 0 < kept < len(CONTENT)


@pytest.mark.parametrize("error", [
    OSError(errno.EHOSTUNREACH, "No route to host"), OSError(errno.ENETUNREACH, "Network is unreachable"),
    ssl.SSLError(1, "decryption failed"), TimeoutError("timed out"),
], ids=lambda error: type(error).__name__ + str(error.errno or ""))
def test_a_network_that_goes_away_is_tried_again(server, tmp_path, monkeypatch, capsys, error):
    read1, calls = http.client.HTTPResponse.read1, []

    def failing(answer, n):  # no server can make these happen on the loopback interface
        calls.append(n)
        if len(calls) == 3:
            raise error
        return read1(answer, n)
    monkeypatch.setattr(http.client.HTTPResponse, "read1", failing)
    fetch(server, tmp_path / "tale.bin")
    assert (tmp_path / "tale.bin").read_bytes() == CONTENT
    assert len(server.requests) == 2 and server.requests[1][1]
    assert "trying again" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["x", "http://[", "http://localhost:port/", "http://localhost/t ale",
                                 "http://localhost/\u00e4"])
def test_an_address_that_is_none(server, tmp_path, url):
    server.url = url
    with pytest.raises(StoryError, match="is not an address that can be fetched"):
        fetch(server, tmp_path / "tale.bin")


def test_nobody_there(server, tmp_path):
    server.url = "http://127.0.0.1:1/tale.bin"
    with pytest.raises(StoryError, match="cannot be reached .*refused"):
        fetch(server, tmp_path / "tale.bin")


def test_it_goes_on_where_an_earlier_run_stopped(server, tmp_path):
    (tmp_path / "tale.bin.part").write_bytes(CONTENT[:700_000])
    fetch(server, tmp_path / "tale.bin")
    assert server.requests == [("/tale.bin", "bytes=700000-", None)]


def test_it_asks_for_the_rest_of_the_same_version(server, tmp_path):
    server.moods = ["break off"]
    fetch(server, tmp_path / "tale.bin")
    _, asked, version = server.requests[1]
    assert asked == f"bytes={len(CONTENT) // 2}-" and version == f'"{hashlib.md5(CONTENT).hexdigest()}"'


def test_a_file_that_changes_midway_is_not_mixed(server, tmp_path, monkeypatch):
    server.moods = ["break off"]
    new = CONTENT[::-1]
    monkeypatch.setattr(download.time, "sleep", lambda _: setattr(server, "content", new))
    seen = fetch(server, tmp_path / "tale.bin", expected=None)
    assert seen == hashlib.sha256(new).hexdigest()
    assert (tmp_path / "tale.bin").read_bytes() == new


@pytest.mark.parametrize("already", [b"", b"something else", CONTENT[:-1] + b"?", CONTENT + b"too long"])
def test_wrong_bytes_are_refused_and_removed(server, tmp_path, already):
    server.content = CONTENT[:-4] + b"evil"
    (tmp_path / "tale.bin.part").write_bytes(already)
    with pytest.raises(StoryError, match="not the file the manifest names"):
        fetch(server, tmp_path / "tale.bin")
    assert list(tmp_path.iterdir()) == []


def test_without_a_hash_nothing_old_is_used(server, tmp_path):
    (tmp_path / "tale.bin.part").write_bytes(b"old")
    fetch(server, tmp_path / "tale.bin", expected=None)
    assert server.requests[0][1] is None
    assert (tmp_path / "tale.bin").read_bytes() == CONTENT


def test_one_download_at_a_time(server, tmp_path):
    server.moods = ["stall"]
    first = threading.Thread(target=fetch, args=(server, tmp_path / "tale.bin"))
    first.start()
    deadline = time.monotonic() + 10
    while not server.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(StoryError, match="another download of tale.bin is under way"):
        fetch(server, tmp_path / "tale.bin")
    first.join()
    assert (tmp_path / "tale.bin").read_bytes() == CONTENT


def test_no_room_is_said_before_the_transfer(server, tmp_path):
    with pytest.raises(StoryError, match="MB free"):
        download.download(server.url, tmp_path / "tale.bin", 1 << 60, SHA256)
    assert server.requests == []


# ------------------------------------------------------------------------------------------------ commands


@pytest.fixture
def home(server, tmp_path, monkeypatch) -> Path:
    """A home folder whose manifest has a model, its tokenizer, and a model without a hash."""
    entry = '[{name}]\nabout = "{name}"\nfile = "{name}.bin"\nurl = "{url}"\nsize = {size}\n{more}\n'
    text = "".join(entry.format(name=name, url=server.url, size=len(CONTENT), more=more) for name, more in (
        ("words", f'sha256 = "{SHA256}"'), ("tale", f'sha256 = "{SHA256}"\nneeds = "words"'), ("rumour", "")))
    (tmp_path / "manifest.toml").write_text(text)
    return tmp_path


def models_command(home: Path, *args: str):
    return run(home, "models", *args, env={"DUOSTORY_MANIFEST": str(home / "manifest.toml")})


def store(home: Path) -> Path:
    return home / ".local" / "share" / "duostory" / "models"


def test_get_list_and_verify(home):
    assert b"tale" in models_command(home, "list").stdout
    done = models_command(home, "get", "tale")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == str(store(home) / "tale.bin")
    assert sorted(p.name for p in store(home).iterdir()) == ["tale.bin", "words.bin"]
    listed = models_command(home, "list").stdout.decode().splitlines()
    assert [line.split()[3:5] for line in listed] == [["here", "words"], ["here", "tale"], ["not", "here"]]
    done = models_command(home, "verify", "tale")
    assert (done.returncode, done.stdout) == (0, b"tale: verified\n")
    assert b"here already" in models_command(home, "get", "tale").stderr


def test_a_full_disk_is_not_the_networks_fault(home):
    done = run(home, "models", "get", "words", env={"DUOSTORY_MANIFEST": str(home / "manifest.toml")},
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)))
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1
    assert b"cannot write " in done.stderr and b"File too large" in done.stderr


def test_damage_is_found_and_mended(home):
    models_command(home, "get", "words")
    (store(home) / "words.bin").write_bytes(CONTENT[:-1] + b"?")
    done = models_command(home, "verify", "words")
    assert done.returncode == 1 and b"WRONG" in done.stdout
    assert models_command(home, "get", "words").returncode == 0
    assert models_command(home, "verify", "words").returncode == 0


def test_without_a_hash_it_says_that_nothing_is_verified(home):
    done = models_command(home, "get", "rumour")
    assert done.returncode == 0 and b"not verified" in done.stderr
    done = models_command(home, "verify", "rumour")
    assert done.returncode == 0 and b"cannot be verified" in done.stdout
    (store(home) / "rumour.bin").write_bytes(b"changed")
    done = models_command(home, "verify", "rumour")
    assert done.returncode == 1 and b"CHANGED" in done.stdout
    (store(home) / "rumour.bin.sha256").unlink()
    done = models_command(home, "verify", "rumour")
    assert done.returncode == 0 and b"cannot be verified" in done.stdout
    assert b"first fetched" not in done.stdout


def test_a_folder_where_a_model_should_be(home):
    (store(home) / "words.bin").mkdir(parents=True)
    for command in "get", "verify":
        done = models_command(home, command, "words")
        assert done.returncode == 1 and done.stderr.count(b"\n") == 1
        assert b"words.bin: Is a directory" in done.stderr


@pytest.mark.parametrize("args, status, sentence", [
    (["get", "nothing"], 1, "there is no model nothing: words, tale, rumour can be had"),
    (["verify", "tale"], 1, "tale is not here: run python -m duostory models get tale"),
    (["verify", "no/file"], 1, "neither a file nor one of"),
    (["verify", "manifest.toml"], 1, "is no model"),
    (["get"], 2, "required"),
    ([], 2, "required"),
])
def test_wrong_commands_say_so_in_one_sentence(home, args, status, sentence):
    done = models_command(home, *args)
    assert done.returncode == status
    assert sentence in done.stderr.decode() and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("text, sentence", [
    ("[", "is not a list of models"),
    ("[a]\nurl = 1", "is not a list of models"),
    ('[a]\nabout="a"\nfile="../a"\nurl="http://x"\nsize=1', "makes no sense"),
    ('[a]\nabout="a"\nfile="a"\nurl="http://x"\nsize=1\nneeds="b"', "the needs of a makes no sense: 'b'"),
    ('[a]\nabout="a"\nfile="a"\nurl="http://x"\nsize=1\nneeds=["b"]', "the needs of a makes no sense"),
    ('[a]\nabout="a"\nfile=1\nurl="http://x"\nsize=1', "the file of a makes no sense: 1"),
    ('[a]\nabout="a"\nfile=".."\nurl="http://x"\nsize=1', "the file of a makes no sense"),
    ('[a]\nabout="a"\nfile=""\nurl="http://x"\nsize=1', "the file of a makes no sense"),
    ('[a]\nabout="a"\nfile="a\\u0000"\nurl="http://x"\nsize=1', "the file of a makes no sense"),
    ('[a]\nabout="a"\nfile="a"\nurl="x"\nsize=1', "the url of a makes no sense: 'x'"),
    ('[a]\nabout="a"\nfile="a"\nurl="http://x"\nsize=-1', "the size of a makes no sense"),
    ('[a]\nabout="a"\nfile="a"\nurl="http://x"\nsize=1\nsha256="cafe"', "the sha256 of a makes no sense"),
    ("a = " + "[" * 100_000, "is not a list of models"),
    (None, "cannot read the list of models"),
])
def test_a_bad_manifest(home, text, sentence):
    (home / "manifest.toml").unlink() if text is None else (home / "manifest.toml").write_text(text)
    done = models_command(home, "list")
    assert done.returncode == 1 and sentence in done.stderr.decode() and done.stderr.count(b"\n") == 1


def test_the_manifest_of_the_repository(monkeypatch):
    monkeypatch.delenv("DUOSTORY_MANIFEST", raising=False)
    entries = models.manifest()
    assert entries["stories15M"].sha256 == "cd590644d963867a2b6e5a1107f51fad663c41d79c149fbecbbb1f95fa81f49a"
    for name, dim, hidden, layers, positions, heads in (  # as llama2.c's v0 lays them out, vocabulary 32000
            ("stories15M", 288, 768, 6, 256, 6), ("stories42M", 512, 1376, 8, 1024, 8),
            ("stories110M", 768, 2048, 12, 1024, 12)):
        weights = 32000 * dim + dim + layers * (2 * dim + 4 * dim * dim + 3 * dim * hidden)
        assert entries[name].size == 28 + 4 * (weights + positions * dim // heads)


def test_the_tokenizer_of_the_manifest_is_llama2cs(shared):
    known = hashlib.sha256((shared / "checkpoints" / "tokenizer.bin").read_bytes()).hexdigest()
    assert models.manifest()["llama2c-tokenizer"].sha256 == known


def test_verify_takes_a_duo_file(tmp_path, stories260k):
    shutil.copy(stories260k, tmp_path / "mine.duo")
    done = run(tmp_path, "models", "verify", "mine.duo")
    assert done.returncode == 0 and b"its own checksum" in done.stdout
    with open(tmp_path / "mine.duo", "r+b") as f:
        f.seek(9999)
        f.write(b"?")
    done = run(tmp_path, "models", "verify", "mine.duo")
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1


# ------------------------------------------------------------------------------------------------- foreign


@pytest.fixture
def foreign(tmp_path, shared, monkeypatch) -> Path:
    """stories260K and its tokenizer in a folder, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "models").mkdir()
    for name in ("stories260K.bin", "tok512.bin"):
        (tmp_path / "models" / name).write_bytes((shared / "checkpoints" / name).read_bytes())
    return tmp_path / "models" / "stories260K.bin"


def test_a_foreign_model_is_converted_once(foreign, stories260k):
    assert models.to_duo(stories260k) == stories260k
    made = models.to_duo(foreign)
    stamp = made.stat().st_mtime_ns
    assert models.to_duo(foreign) == made and made.stat().st_mtime_ns == stamp
    assert made.parent == models.cache_dir()
    from duostory.formats import read
    assert read(made).config == read(stories260k).config


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:5000], lambda data: data[:5000] + b"?" + data[5001:],
    lambda data: data[:8] + b"\x63" + data[9:],  # another version's format
], ids=["empty", "cut short", "one byte", "version"])
def test_a_damaged_file_in_the_cache_is_made_anew(foreign, damage):
    made = models.to_duo(foreign)
    sound = made.read_bytes()
    made.write_bytes(damage(sound))
    assert models.to_duo(foreign) == made and made.read_bytes() == sound


def test_a_changed_model_is_converted_again_and_the_old_one_removed(foreign):
    made = models.to_duo(foreign)
    os.utime(foreign, (1, 1))
    again = models.to_duo(foreign)
    assert again != made and list(models.cache_dir().iterdir()) == [again]


def test_a_tokenizer_elsewhere_can_be_given(foreign, tmp_path):
    tokenizer = foreign.with_name("tok512.bin").rename(tmp_path / "elsewhere")
    with pytest.raises(StoryError, match="give one with --tokenizer"):
        models.to_duo(foreign)
    assert models.to_duo(foreign, tokenizer).exists()


def test_llama2cs_place_for_the_tokenizer(foreign, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    foreign.with_name("tok512.bin").rename("tokenizer.bin")
    made = models.to_duo(foreign)
    os.utime("tokenizer.bin", (1, 1))
    assert models.to_duo(foreign) != made
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoryError, match="nor tokenizer.bin in the current folder: give one"):
        models.to_duo(foreign)


def test_without_numpy_it_names_the_command_but_uses_the_cache(foreign):
    program = ("import sys; sys.modules['numpy'] = None; from duostory import StoryError, models\n"
               "try: print(models.to_duo(sys.argv[1]))\nexcept StoryError as e: print(e)")

    def told():
        command = [sys.executable, "-c", program, foreign]
        return subprocess.run(command, text=True, capture_output=True, cwd=ROOT, check=True).stdout.strip()

    assert f"run python -m duostory convert {foreign} stories260K.duo" in told()
    made = models.to_duo(foreign)
    assert told() == str(made)


def test_a_cache_that_cannot_be_written(foreign, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    with pytest.raises(StoryError, match="cannot make /proc/nowhere"):
        models.to_duo(foreign)


def test_relative_xdg_folders_are_ignored(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "here")
    monkeypatch.setenv("HOME", "/home/kid")
    assert models.download_dir() == Path("/home/kid/.local/share/duostory/models")
