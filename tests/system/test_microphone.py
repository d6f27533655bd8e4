"""A wish that is spoken into the board's microphone: a cable of snd-aloop, at whose other end aplay speaks."""

import wave

import pytest

from tests import riscv
from tests.system.conftest import make_state
from tests.system.guest import BUSYBOX, PATIENCE


def test_a_spoken_wish(boot, voice, tmp_path):
    sounds = pytest.importorskip("tests.hearing.sounds", reason="needs numpy")
    if not riscv.POCKETSPHINX.exists():
        pytest.skip("needs pocketsphinx for RISC-V; run scripts/pocketsphinx --host riscv64-linux-gnu")
    files = tmp_path / "files"
    files.mkdir()
    for name, text in {"wish": "tell me a story about a dragon", "yes": "yes"}.items():
        with wave.open(str(files / f"{name}.wav"), "wb") as wav:
            wav.setparams((1, 2, sounds.RATE, 0, "NONE", None))
            wav.writeframes(sounds.pcm(sounds.say(text)))
    make_state(tmp_path / "state", files)
    with boot(BUSYBOX, tmp_path / "state", microphone=True) as board:
        board.wait_for_shell()
        board.wait_for_sound(PATIENCE)
        board.wait_for_silence(PATIENCE)
        board.run("aplay -q -D plughw:CARD=Loopback,DEV=1 /var/lib/duostory/wish.wav")
        board.console.expect("A story about a dragon", PATIENCE)
        board.wait_for_silence(PATIENCE)
        board.run("aplay -q -D plughw:CARD=Loopback,DEV=1 /var/lib/duostory/yes.wav")
        board.console.expect(r"Once upon a time[^.]*dragon[^.]*\.", PATIENCE)
