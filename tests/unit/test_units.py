"""What starts the service at boot: the unit for systemd, the script for BusyBox init."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.teller import ROOT, environment, run, until

FOLDER = ROOT / "firmware" / "package" / "duostory"
SCRIPT = FOLDER / "S95duostory"


def need(program: str) -> str:
    return shutil.which(program) or pytest.skip(f"needs {program}")


@pytest.fixture
def unit(tmp_path) -> Path:
    """The unit, with a program that is there."""
    path = tmp_path / "duostory.service"
    path.write_text((FOLDER / "duostory.service").read_text().replace("/usr/bin/duostory", "/bin/true"))
    return path


def test_the_unit_is_one_that_systemd_understands(unit):
    """But for what systemd before 254 does not know: it starts a robot that fails again at a steady pace."""
    found = subprocess.run([need("systemd-analyze"), "verify", unit], capture_output=True, text=True)
    # It looks at other units of the machine, too.
    said = [line for line in found.stderr.splitlines() if unit.name in line]
    assert [line for line in said if not re.search("'Restart(Steps|MaxDelaySec)'", line)] == []


def test_the_unit_exposes_little(unit):
    found = subprocess.run([need("systemd-analyze"), "security", "--offline=true", "--threshold=30", unit],
                           capture_output=True, text=True)
    if "offline" in found.stderr:
        pytest.skip("needs systemd 250 or later")
    assert found.returncode == 0, found.stdout  # 3.0 at most; seen: 1.5


def test_the_script_is_for_any_shell():
    subprocess.run([need("shellcheck"), "--shell=sh", SCRIPT], check=True)


@pytest.fixture(params=["sh", "busybox sh"])
def init(request, tmp_path, story_model):
    """Runs the init script, whose service is a silent one in `tmp_path`."""
    shell = request.param.split()
    need(shell[0])
    need("setsid")
    script = tmp_path / "S95duostory"
    script.write_text(SCRIPT.read_text().replace("#!/bin/sh", f"#!/usr/bin/env -S {request.param}"))
    script.chmod(0o755)
    env = environment(tmp_path, COMMAND=f"{sys.executable} -m duostory serve", LOG=str(tmp_path / "log"),
                      PIDFILE=str(tmp_path / "pid"), RUNTIME_DIRECTORY=str(tmp_path / "run"),
                      STATE_DIRECTORY=str(tmp_path / "state"), DUOSTORY_SILENT="1", DUOSTORY_MODEL=str(story_model))

    def call(action: str) -> str:
        done = subprocess.run([script, action], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout
    call.env = env
    yield call
    call("stop")


def tells(init, home) -> bool:
    return run(home, "tell", "a", "cat", env=init.env).returncode == 0


def until_it_tells(init, home) -> None:
    until(lambda: tells(init, home))


def service_of(supervisor: int) -> int:
    """The process that the supervisor has started last."""
    return int(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()[-1])


def test_busybox_starts_it_again_when_it_is_killed_and_ends_it_when_told_to(init, tmp_path):
    assert init("start") == "Starting duostory: OK\n"
    until_it_tells(init, tmp_path)
    supervisor = int((tmp_path / "pid").read_text())
    os.kill(service_of(supervisor), 9)
    until(lambda: "ended with status 137" in (tmp_path / "log").read_text())
    until_it_tells(init, tmp_path)
    assert init("start") and int((tmp_path / "pid").read_text()) == supervisor  # not a second one
    assert init("stop") == "Stopping duostory: OK\n"
    assert not tells(init, tmp_path) and not (tmp_path / "pid").exists() and not (tmp_path / "run" / "duostory.sock").exists()


def test_busybox_does_not_try_for_ever_what_cannot_work(init, tmp_path):
    init.env["DUOSTORY_MODEL"] = "missing.duo"
    init("start")
    until(lambda: not (tmp_path / "pid").exists())
    log = (tmp_path / "log").read_text()
    assert log.count("missing.duo") == 1 and log.endswith("duostory: not started again, for that would not help\n")
