"""The service as its users and the service manager see it: a process, sockets, signals, and a sound card in real time."""

import contextlib
import ctypes
import fcntl
import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from duostory import config
from duostory.service import clock
from tests.teller import ROOT, command, environment, run, until

UNHEARD = {"DUOSTORY_SILENT": "1"}
PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000  # of sys/ptrace.h and sys/wait.h
PRESSED = struct.pack("@llHHi", 0, 0, 1, 28, 1)  # the struct input_event of a key that goes down
READY = ["READY=1", "STATUS=Waiting for a wish"]


class Service:
    """A running `duostory serve` in the folder `home`, which holds its socket and its state as well."""

    def __init__(self, home, *args, **env) -> None:
        self.home = home
        self.env = environment(home, **{"XDG_RUNTIME_DIR": str(home), "STATE_DIRECTORY": str(home / "state")} | env)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.settimeout(30)
        self.manager.bind(self.env.setdefault("NOTIFY_SOCKET", str(home / "notify")).replace("@", "\0"))
        self.process = subprocess.Popen(command("serve", *args), env=self.env, cwd=home, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def told(self) -> list[str]:
        """The next message to the service manager."""
        return self.manager.recv(4096).decode().splitlines()

    def wait(self, wanted: str) -> None:
        """Return when the service manager is told `wanted`."""
        until(lambda: wanted in self.told())

    def ask(self, line: str) -> None:
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def asker(self, *words: str) -> subprocess.Popen:
        return subprocess.Popen(command("tell", *words), env=self.env, cwd=self.home, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def tell(self, *words: str) -> subprocess.CompletedProcess:
        return run(self.home, "tell", *words, env=self.env)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, bytes, bytes]:
        """The exit status after a signal, and what was printed."""
        self.process.send_signal(number)
        story, said = self.process.communicate(timeout=30)
        return self.process.returncode, story, said

    def state(self, name: str) -> bytes:
        return (self.home / "state" / name).read_bytes()


@pytest.fixture
def serve(tmp_path, story_model):
    """Starts a service; `serve(*args, **env)` returns it at once."""
    with contextlib.ExitStack() as stack:
        def start(*args, **env) -> Service:
            service = Service(tmp_path, "--model", story_model, *args, **env)
            stack.callback(service.manager.close)
            stack.callback(service.process.communicate)
            stack.callback(service.process.kill)
            return service
        yield start


@pytest.fixture
def unheard(serve):
    """A service without a voice that is ready."""
    service = serve(**UNHEARD)
    service.wait(READY[0])
    return service


# --- Wishes ---------------------------------------------------------------------------------------


def test_a_story_by_the_socket_is_the_story_that_the_program_tells(unheard, tmp_path, story_model):
    first = unheard.tell("a", "dragon")
    assert first.returncode == 0 and first.stderr == b"" and b"dragon" in first.stdout and first.stdout.endswith(b"\n")
    _, printed, said = unheard.end()
    seed = said.split(b"seed ")[1].split()[0].decode()
    alone = run(tmp_path, "--model", story_model, "--silent", "-s", seed, "a dragon")
    assert printed == first.stdout == alone.stdout


def test_wishes_on_stdin(unheard):
    unheard.ask("a kitten")
    unheard.wait("STATUS=Telling a story")
    unheard.wait("STATUS=Waiting for a wish")
    unheard.ask("")  # the button
    unheard.wait("STATUS=Telling a story")
    unheard.wait("STATUS=Waiting for a wish")
    unheard.process.stdin.close()  # which leaves the socket
    unheard.process.stdin = None
    assert unheard.tell("again").returncode == 0
    status, told, said = unheard.end()
    kitten, *others = told.decode().split("Once upon a time")[1:]
    assert status == 0 and "kitten" in kitten and len(others) == 2 and others[0] == others[1]
    assert said.count(b"achieved tok/s") == 3


def test_two_surprises_are_two_stories(unheard):
    assert unheard.tell().stdout != unheard.tell().stdout


@pytest.mark.parametrize("words, says", [
    (["a", "dead", "gun"], b"no story here may have the word 'dead'"),
    (["again"], b"no last story to tell again"),
    (["long " * 3000], b"leaves no room for a story"),
])
def test_what_cannot_be_told_is_said_and_the_service_goes_on(unheard, words, says):
    refused = unheard.tell(*words)
    assert refused.returncode == 1 and refused.stdout == b"" and says in refused.stderr and refused.stderr.count(b"\n") == 1
    assert unheard.tell("a", "cat").returncode == 0


def test_without_a_service_there_is_nobody_to_tell(tmp_path):
    asked = run(tmp_path, "tell", "a cat", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert (asked.returncode, asked.stderr) == (
        1, b'duostory: no duostory service runs here; start one with "duostory serve"\n')


def test_a_service_that_ends_before_it_has_read_the_wish(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "duostory.sock"))
        listener.listen()
        listener.settimeout(60)
        asker = subprocess.Popen(command("tell", "a", "cat"), env=environment(tmp_path, XDG_RUNTIME_DIR=str(tmp_path)),
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        connection, _ = listener.accept()
        with connection:
            assert select.select([connection], [], [], 60)[0]
    _, said = asker.communicate(timeout=60)
    assert asker.returncode == 1 and said == b"duostory: the service has ended before the story did\n"


def test_where_there_can_be_no_socket_the_rest_works(serve, tmp_path):
    service = serve(**UNHEARD, XDG_RUNTIME_DIR=str(tmp_path / ("long" * 30)))
    service.wait(READY[0])
    service.ask("a cat")
    service.wait("STATUS=Telling a story")
    service.wait("STATUS=Waiting for a wish")
    status, told, said = service.end()
    assert status == 0 and b"cat" in told and b"cannot reach this service" in said


def test_there_is_one_service(unheard, tmp_path, story_model):
    second = run(tmp_path, "serve", "--model", story_model, "--silent", env=unheard.env)
    assert second.returncode == 1 and b"a service listens at" in second.stderr
    assert unheard.tell("a", "cat").returncode == 0  # by the first one


def test_a_service_that_was_killed_does_not_stand_in_the_way_of_the_next(unheard, serve):
    unheard.process.kill()
    unheard.process.wait()
    os.unlink(unheard.env["NOTIFY_SOCKET"])
    following = serve(**UNHEARD)
    following.wait(READY[0])
    assert following.tell("a", "cat").returncode == 0


def test_who_does_not_read_does_not_hold_up_the_stories(unheard):
    fcntl.fcntl(unheard.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    assert sum(len(unheard.tell("a", "cat").stdout) for _ in range(16)) > 4096
    status, told, _ = unheard.end()
    assert status == 0 and 0 < len(told) <= 4096


# --- With a voice ---------------------------------------------------------------------------------


def heard_story(service, card, *words: str) -> subprocess.Popen:
    """Who asked for a story of which a second has been heard."""
    asker = service.asker(*words)
    before = card.played()
    card.play(before + 1.0)
    return asker


@pytest.fixture
def spoken(serve, voice, card):
    """A service that has said that it is ready."""
    service = serve()
    assert service.told() == READY[:1] and service.told() == READY[1:]
    card.play(1.0)
    return service


def test_a_new_wish_stops_the_old_story_at_once(spoken, card):
    old = heard_story(spoken, card, "a", "dragon")
    new = spoken.asker("a", "robot")
    told, said = old.communicate(timeout=10)  # its queue alone would take longer than that
    assert old.returncode == 0 and b"dragon" in told and told.endswith(b"\n") and said == b"duostory: the story was stopped\n"
    stopped = spoken.asker("stop")
    told, _ = new.communicate(timeout=10)
    assert new.returncode == 0 and (told in (b"", b"\n") or b"robot" in told)
    assert stopped.wait(10) == 0
    assert spoken.process.poll() is None


def test_a_story_that_is_stopped_is_not_played_to_the_end_of_what_the_card_holds(spoken, card):
    old = heard_story(spoken, card, "a", "dragon")
    before = card.played()
    spoken.ask("stop")
    old.communicate(timeout=10)
    spoken.end()
    print(f"fell silent after {card.played() - before:.2f} s")  # the card holds a second; seen: 0.11


def test_who_hangs_up_has_heard_enough(spoken, card):
    asker = heard_story(spoken, card, "a", "dragon")
    asker.send_signal(signal.SIGINT)
    assert asker.wait(10) == 130
    asker.communicate()
    spoken.wait("STATUS=Telling a story")
    spoken.wait("STATUS=Waiting for a wish")
    assert spoken.tell("stop").returncode == 0


def test_the_button_asks_for_any_story_and_stops_it(serve, voice, card, tmp_path):
    os.mkfifo(tmp_path / "button")  # instead of an input device, which needs a kernel that lets us make one
    button = os.open(tmp_path / "button", os.O_RDWR)
    service = serve(DUOSTORY_BUTTON=f"key:{tmp_path}/button")
    service.wait(READY[0])
    card.play(1.0)
    os.write(button, PRESSED)
    service.wait("STATUS=Telling a story")
    card.play(card.played() + 2.0)
    os.write(button, PRESSED)
    service.wait("STATUS=Waiting for a wish")
    os.close(button)
    assert b"Once upon a time" in service.end()[1]


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)])
def test_a_signal_in_the_middle_of_a_story_ends_all(spoken, card, number, status):
    asker = heard_story(spoken, card, "a", "dragon")
    spoken.process.send_signal(number)
    spoken.wait("STOPPING=1")
    assert spoken.end(number)[0] == status
    _, said = asker.communicate()
    assert asker.returncode == 1 and said == b"duostory: the service has ended before the story did\n"
    assert not (spoken.home / "duostory.sock").exists()


def test_the_volume_is_turned_and_kept_within_limits(serve, voice, card):
    service = serve(DUOSTORY_MAX_VOLUME="85", DUOSTORY_VOLUME="70")
    service.wait(READY[0])
    for kept in (b"80\n", b"85\n", b"85\n"):
        assert service.tell("louder").returncode == 0
        assert service.state("volume") == kept
    assert service.tell("softer!").returncode == 0
    assert service.state("volume") == b"75\n"


# --- The service manager --------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["{home}/notify", "@{home}/notify"])
def test_what_systemd_is_told(serve, tmp_path, address):
    service = serve(**UNHEARD, NOTIFY_SOCKET=address.format(home=tmp_path), WATCHDOG_USEC="400000")
    told = [service.told() for _ in range(2)]
    assert told == [READY[:1], READY[1:]]
    service.wait("WATCHDOG=1")
    service.wait("WATCHDOG=1")
    service.process.send_signal(signal.SIGTERM)
    service.wait("STOPPING=1")
    assert service.end()[0] == 0


def test_a_watchdog_that_is_for_another_process_gets_no_pings(serve):
    service = serve(**UNHEARD, WATCHDOG_USEC="200000", WATCHDOG_PID="1")
    service.wait(READY[0])
    time.sleep(1.0)
    service.process.send_signal(signal.SIGTERM)
    said = []
    until(lambda: said.extend(service.told()) or "STOPPING=1" in said)
    assert "WATCHDOG=1" not in said


def pings_stop(service) -> bool:
    """Wait until no ping has come for a while."""
    service.manager.settimeout(3)
    end = time.monotonic() + 60
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < end:
            service.told()
        return False
    return service.process.poll() is None


def test_when_the_sound_card_is_stuck_the_pings_stop(serve, voice, card):
    service = serve(WATCHDOG_USEC="1000000")
    service.wait(READY[0])
    heard_story(service, card, "a", "dragon")
    card.state = "stuck"
    assert pings_stop(service)
    card.state = "fine"
    service.manager.settimeout(30)
    service.wait("WATCHDOG=1")  # it was not the service that had ended


def test_without_a_watchdog_a_service_whose_engine_is_stuck_ends_itself(serve, voice, card):
    """The thread that makes the story up is held by its neck; what it has made up is still spoken, and then nothing more."""
    service = serve("--rate", "450")
    service.wait(READY[0])
    heard_story(service, card, "a", "dragon")
    _, turn, _player = sorted(int(thread) for thread in os.listdir(f"/proc/{service.process.pid}/task"))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    if libc.ptrace(PTRACE_SEIZE, turn, 0, 0):
        pytest.skip(f"needs the right to hold a thread: {os.strerror(ctypes.get_errno())}")
    watch = threading.Timer(60, service.process.kill)  # instead of waiting for ever
    watch.start()
    try:
        assert libc.ptrace(PTRACE_INTERRUPT, turn, 0, 0) == 0
        os.waitpid(turn, WALL)
        assert b"has to be started anew" in service.process.stderr.read()  # to its end
    finally:
        watch.cancel()
        service.process.kill()
        os.waitpid(turn, WALL)  # or its process would never be gone
    assert service.process.wait(10) == 1


def test_logs_for_the_journal_have_levels(tmp_path, story_model):
    with open(tmp_path / "journal", "w+b") as journal:
        there = os.fstat(journal.fileno())
        for stream, level in ((f"{there.st_dev}:{there.st_ino}", b"<3>"), ("1:2", b"")):
            journal.seek(0)
            journal.truncate()
            subprocess.run(command("--model", "missing.duo", "a"), env=environment(tmp_path, JOURNAL_STREAM=stream),
                           cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=journal)
            journal.seek(0)
            assert journal.read().startswith(level + b"duostory: ")


# --- The clock ------------------------------------------------------------------------------------


@pytest.fixture
def clock_state(tmp_path, monkeypatch):
    """A state folder; and what would be done to the clock of this machine, which has to stay as it is."""
    done = []
    monkeypatch.setattr(time, "clock_settime", lambda which, seconds: done.append((which, seconds)))
    return {"STATE_DIRECTORY": str(tmp_path)}, done


def test_a_clock_that_nobody_has_set_goes_on_where_it_was(clock_state, monkeypatch):
    environ, done = clock_state
    assert clock.keep(environ) is None
    kept = config.kept_number("clock", environ)
    monkeypatch.setattr(time, "time", lambda: 5.0)  # 1970, as after power on
    assert clock.restore(environ) == kept - 5 and done == [(time.CLOCK_REALTIME, kept)]


@pytest.mark.parametrize("kept, goes_on", [(10**9, False), (4 * 10**9, True), (5 * 10**9, False), (None, False)])
def test_a_clock_that_is_right_or_has_a_battery_stays(clock_state, monkeypatch, kept, goes_on):
    environ, done = clock_state
    if kept:
        config.keep_number("clock", kept, environ)
    monkeypatch.setattr(clock, "goes_on", lambda: goes_on)
    assert clock.restore(environ) == 0 and done == []


def test_the_time_is_kept_at_the_end(unheard):
    unheard.end()
    assert abs(int(unheard.state("clock")) - time.time()) < 60


# --- Memory ---------------------------------------------------------------------------------------


def test_the_service_loads_only_what_it_needs(serve, voice):
    service = serve(PYTHONPROFILEIMPORTTIME="1", ALSA_CONFIG_PATH=str(ROOT / "tests" / "speech" / "asound.conf"))
    service.wait(READY[0])
    assert service.tell("a", "cat").returncode == 0
    rollup = Path(f"/proc/{service.process.pid}/smaps_rollup").read_text()
    modules = set(re.findall(r"^import time:.*\| +(\S+)$", service.end()[2].decode(), re.MULTILINE))
    assert "duostory.service.turn" in modules
    assert not {"asyncio", "json", "logging", "numpy", "shutil", "subprocess", "tomllib", "urllib.request"} & modules
    private = sum(1024 * int(kilobytes) for kilobytes in re.findall(r"^Private_\w+: +(\d+)", rollup, re.MULTILINE))
    # Twice of what was seen, 20.0 MB on x86-64 with CPython 3.11 and a voice (6.4 the engine's): libraries differ.
    assert private < 40e6


# --- What goes wrong ------------------------------------------------------------------------------


def test_a_state_that_was_killed_in_the_middle_is_whole(unheard, serve):
    """The story that was being told can be told again, though the service was killed in it."""
    told = unheard.tell("a", "dragon")
    part = unheard.home / "state" / "volume.1.part"
    part.write_text("6")
    unheard.process.kill()
    unheard.process.wait()
    os.unlink(unheard.env["NOTIFY_SOCKET"])
    following = serve(**UNHEARD)
    following.wait(READY[0])
    assert following.tell("again").stdout == told.stdout
    assert not part.exists() and following.end()[2].count(b"damaged") == 0


def test_a_damaged_state_is_ignored_with_a_notice(serve, tmp_path):
    (tmp_path / "state").mkdir()
    for name, damage in (("volume", b"\0\0"), ("clock", b"99999999999999"), ("last-story", b"seed")):
        (tmp_path / "state" / name).write_bytes(damage)
    service = serve(**UNHEARD)
    service.wait(READY[0])
    assert service.tell("again").returncode == 1
    assert service.tell("a", "cat").returncode == 0
    assert service.tell("again").returncode == 0
    _, _, said = service.end()
    # The last story is told of at the start, and again when it is asked for.
    assert [said.count(name + b" is damaged") for name in (b"volume", b"clock", b"last-story")] == [1, 1, 2]


def test_a_full_disk_does_not_end_the_stories(unheard):
    resource.prlimit(unheard.process.pid, resource.RLIMIT_FSIZE, (0, 0))
    first = unheard.tell("a", "cat")
    assert first.returncode == 0 and unheard.tell("again").stdout == first.stdout
    assert os.listdir(unheard.home / "state") == []
    assert unheard.end()[2].count(b"cannot keep") == 1


@pytest.mark.parametrize("damage, says", [
    ({"--model": "damaged.duo"}, b"damaged.duo"), ({"--gate": "nothing.txt"}, b"nothing.txt"),
    ({"--voice": "xx"}, b'no voice "xx"'),
])
def test_what_a_new_start_does_not_cure_is_said_and_spoken_once(voice, card, tmp_path, story_model, damage, says):
    model = bytearray(story_model.read_bytes())
    model[len(model) // 2] ^= 1
    (tmp_path / "damaged.duo").write_bytes(model)
    options = [part for option in ({"--model": str(story_model)} | damage).items() for part in option]
    ended = run(tmp_path, "serve", *options, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert ended.returncode == os.EX_CONFIG and says in ended.stderr and ended.stderr.count(b"\n") == 1
    assert (card.played() > 2.0) == ("--voice" not in damage)


def test_a_sound_card_that_comes_later_is_taken_up(serve, voice, card):
    card.state = "unplugged"
    service = serve()
    service.wait(READY[0])
    silent = service.tell("a", "cat")
    assert silent.returncode == 0 and b"cat" in silent.stdout and card.played() == 0
    card.state = "fine"
    card.play(0.5)  # "I am ready."
    asker = heard_story(service, card, "a", "dog")
    _, _, said = service.end()
    asker.communicate()
    assert said.count(b"only shown until there is a sound device") == said.count(b"there is a sound device now") == 1
