"""Whoever stands before the board: speaks into its microphone, presses its button or a key, looks at its light.

The microphone is a cable of snd-aloop, at whose other end aplay speaks; the button is a line of gpio-sim, the light one of
uleds.
"""

import time
import wave

import pytest

from tests import riscv
from tests.system.conftest import make_state
from tests.system.guest import BUSYBOX, PATIENCE, SYSTEMD, Guest, Silence
from tests.system.test_service import ENOUGH, WATCH

TRIES = 6
SETTINGS = {"DUOSTORY_LIGHT": "robot", "DUOSTORY_BUTTON": "gpio:512,key:Keyboard"}
ZERO = r"\0"
# A light, as struct uleds_user_dev: its name, how bright it can be. And whether it is on (1) or off (0), and does not blink.
LIGHT = rf"""exec 9>/dev/uleds; printf 'robot{ZERO * 59}\1{ZERO * 3}' >&9
light_is() {{ grep -q '\[none\]' /sys/class/leds/robot/trigger && grep -q $1 /sys/class/leds/robot/brightness; }}"""
LIT, DARK = (f"until light_is {brightness}; do usleep 50000; done" for brightness in (1, 0))
# Line 512, which is high as with a resistor.
BUTTON = """mount -t configfs none /sys/kernel/config 2>/dev/null
lines=/sys/kernel/config/gpio-sim/robot; mkdir -p $lines/bank && echo 1 >$lines/live
cd /sys/devices/platform/gpio-sim.0/gpiochip0/sim_gpio0 && echo pull-up >pull; cd /"""
PRESS = "(cd /sys/devices/platform/gpio-sim.0/gpiochip0/sim_gpio0 && echo pull-down >pull && sleep 1 && echo pull-up >pull)"


@pytest.fixture
def recordings(voice, tmp_path):
    """A state partition with what is going to be said."""
    sounds = pytest.importorskip("tests.hearing.sounds", reason="needs numpy")
    files = tmp_path / "files"
    files.mkdir()
    for name, text in {"wish": "tell me a story about a dragon", "yes": "yes"}.items():
        with wave.open(str(files / f"{name}.wav"), "wb") as wav:
            wav.setparams((1, 2, sounds.RATE, 0, "NONE", None))
            wav.writeframes(sounds.pcm(sounds.say(text, sounds.FIVE["en-us 130"])))  # calmly
    make_state(tmp_path / "state", files)
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def ear():
    if not riscv.POCKETSPHINX.exists():
        pytest.skip("needs pocketsphinx for RISC-V; run scripts/pocketsphinx --host riscv64-linux-gnu")


def says(board: Guest, recording: str, answer: str) -> None:
    """Speak whenever the robot listens, until it answers."""
    for _ in range(TRIES):
        board.run(f"{LIT}; aplay -q -D plughw:CARD=Loopback,DEV=1 /var/lib/duostory/{recording}.wav")
        spoken = time.monotonic()
        try:
            board.console.expect(answer, PATIENCE / TRIES)
            print(f"an answer to {recording!r} after {time.monotonic() - spoken:.1f} s")
            return
        except Silence:
            pass
    raise Silence(f"no answer to {recording!r}; see {board.folder}")


def enough_memory(board: Guest) -> None:
    least = int(board.run("cat /run/least"))
    print(f"never less than {least} kB of memory were available")
    assert least >= ENOUGH


def test_a_spoken_wish(boot, recordings):
    with boot(BUSYBOX, recordings, microphone=True, settings={"DUOSTORY_LIGHT": "robot"}) as board:
        board.wait_for_shell()
        for command in LIGHT, WATCH:
            board.run(command)
        board.run(LIT)
        print(f"listens {time.monotonic() - board.powered_on:.1f} s after power-on")
        says(board, "wish", "A story about a dragon")
        says(board, "yes", r"Once upon a time[^.]*dragon[^.]*\.")
        board.wait_for_sound(PATIENCE, after=len(board.sound()))
        enough_memory(board)


def test_a_button_a_key_and_a_light(boot):
    """The service, which is not root, may use them."""
    with boot(SYSTEMD, microphone=True, settings=SETTINGS) as board:
        board.control("device_add", driver="usb-kbd", id="keyboard")
        board.wait_for_shell()
        for command in LIGHT, BUTTON, WATCH:
            board.run(command)
        # It is ready for that some time after it has said so.
        board.run(f"until light_is 1; do {PRESS}; sleep 5; done")
        assert board.run("stat -c %U /proc/$(pidof duostory)").strip() == "duostory"
        board.control("send-key", keys=[{"type": "qcode", "data": "spc"}])
        board.console.expect(r"All right\.", PATIENCE)
        board.run(DARK)
        board.wait_for_silence(PATIENCE)

        board.console.send("a kitten")
        board.console.expect(r"Once upon a time[^.]+\.", PATIENCE)
        board.run(PRESS)
        board.wait_for_silence(PATIENCE)
        assert b"The end." not in (board.folder / "console.log").read_bytes()
        enough_memory(board)
