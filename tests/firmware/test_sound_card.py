"""Which sound card ALSA is told to use, on made-up machines."""

import subprocess

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "firmware" / "package" / "duostory"
BOARD = [("cv182xaadc", "platform", "c"), ("cv182xadac", "platform", "p")]
# cards (name, bus, p plays and c captures), what plays, what captures
MACHINES = {
    "the board alone": (BOARD, "cv182xadac", "cv182xaadc"),
    "a USB card": ([*BOARD, ("Device", "usb1", "pc")], "Device", "Device"),
    "a USB loudspeaker": ([*BOARD, ("Audio", "usb1", "p")], "Audio", "cv182xaadc"),
    "a USB loudspeaker and a USB microphone": ([*BOARD, ("Mic", "usb1", "c"), ("Box", "usb1", "p")], "Box", "Mic"),
    "a USB card found first": ([("Device", "usb1", "pc"), *BOARD], "Device", "Device"),
    "nothing": ([], None, None),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_usb_first(machine, tmp_path):
    cards, playback, capture = MACHINES[machine]
    sound = tmp_path / "class" / "sound"
    sound.mkdir(parents=True)
    for number, (name, bus, directions) in enumerate(cards):
        card = tmp_path / "devices" / bus / f"card{number}"
        card.mkdir(parents=True)
        (card / "id").write_text(f"{name}\n")
        (sound / f"card{number}").symlink_to(card)
        for direction in directions:
            (sound / f"pcmC{number}D0{direction}").symlink_to(card)
    configuration = tmp_path / "asound.conf"
    subprocess.run([PACKAGE / "sound-card", tmp_path, configuration], check=True)

    text = configuration.read_text()
    for direction, card in ("playback", playback), ("capture", capture):
        if card:
            assert f'{direction}.pcm "plughw:CARD={card}"' in text
        else:
            assert direction not in text
