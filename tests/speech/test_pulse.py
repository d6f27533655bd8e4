"""A sound device that really goes and comes back: a sink of PulseAudio, which alsa-lib reaches through its plugin."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from duostory.speech import Player, open_sink
from tests.speech.test_player import Tone


class Pulse:
    """A server of our own; its only device is called "usb"."""

    def __init__(self, program: str, folder: Path) -> None:
        self.address = f"unix:{folder}/native"
        modules = [f"-p{path}" for path in Path(program).parents[1].glob("lib/pulse-*/modules")]
        with (folder / "log").open("wb") as log:
            self._server = subprocess.Popen(
                [program, "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm=yes", *modules,
                 "-L", f"module-native-protocol-unix auth-anonymous=1 socket={folder}/native"], stdout=log, stderr=log,
            )
        while subprocess.run(["pactl", "-s", self.address, "info"], capture_output=True).returncode:
            assert self._server.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        self.plug_in()

    def _control(self, *command: str) -> str:
        return subprocess.run(["pactl", "-s", self.address, *command], check=True, capture_output=True, text=True).stdout

    def plug_in(self) -> None:
        self._module = self._control("load-module", "module-null-sink", "sink_name=usb").strip()

    def unplug(self) -> None:
        self._control("unload-module", self._module)

    def end(self) -> None:
        self._server.terminate()
        self._server.wait()


@pytest.fixture
def pulse(tmp_path, monkeypatch):
    program = shutil.which("pulseaudio")
    plugins = list(Path(program).parents[1].glob("lib/*/alsa-lib/libasound_module_pcm_pulse.so")) if program else []
    if not plugins or not shutil.which("pactl"):
        pytest.skip("needs pulseaudio, pulseaudio-utils and libasound2-plugins")
    for name in ("XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "PULSE_STATE_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PULSE_COOKIE", str(tmp_path / "cookie"))
    server = Pulse(program, tmp_path)
    (tmp_path / "asound.conf").write_text(
        f'pcm_type.pulse {{ lib "{plugins[0]}" }}\n'
        f'pcm.usb {{ type pulse  server "{server.address}"  device "usb" }}\n'
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
    yield server
    server.end()


@pytest.mark.parametrize("pull", [0.5, 2.1])  # while it is written, and when all is
def test_a_device_that_comes_back_plays_the_rest(pulse, pull):
    notices: list[str] = []
    with Player(Tone(), open_sink("alsa", Tone.rate, device="usb"), notice=notices.append) as player:
        player.say("a" * 250)
        while player.stats.first_sound is None or time.monotonic() < player.stats.first_sound + pull:
            time.sleep(0.01)
        pulse.unplug()
        while not notices:
            time.sleep(0.01)
        before = player.stats.audio
        pulse.plug_in()
        player.finish()
    assert "has gone" in notices[0] and notices[1:] == ["the sound device is back; the story goes on"]
    assert player.stats.audio - before == pytest.approx(2.5)  # once more, from its beginning
