"""A sound card in real time, for machines that have none: card.c, which the real libasound takes for one.

It has a buffer that empties at the pace of the clock and runs dry, or when recording fills and runs over, and can be
unplugged, be busy, stand still and fall asleep. What alsa-lib then does is alsa-lib's own doing. PulseAudio's null sink
behaved the same by hand.
"""

import subprocess
from array import array
from pathlib import Path

from duostory.speech.alsa import AlsaSink
from tests.teller import until

RATE = 22050


def build(folder: Path) -> Path:
    """The plugin, compiled."""
    library = folder / "libcard.so"
    command = ["cc", "-std=gnu11", "-O1", "-shared", "-fPIC", "-o", library,
               Path(__file__).with_name("card.c"), "-l:libasound.so.2"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


class Card:
    """The device "card" of the asound.conf in `folder`; its `state` is one that card.c knows."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._library, self._folder = library, folder
        self.config, self._heard = folder / "asound.conf", folder / "heard"
        self._heard.touch()
        self.says(array("h"))
        self.state = "fine"
        self.holds(1.0)

    def holds(self, seconds: float, latency: float = 0.0, rate: int = RATE, only: bool = False) -> None:
        """What fits into its buffer at `rate`, perhaps the only one that it knows, and how long sound is on its way from
        there, for whoever opens it from now on."""
        self.config.write_text(
            f'pcm_type.card {{ lib "{self._library}" }}\n'
            f'pcm.card {{ type card  folder "{self._folder}"  buffer {round(seconds * rate)}'
            f"  latency {round(latency * rate)}{f'  rate {rate}' if only else ''} }}\n"
            "pcm.plugged { type plug  slave.pcm card }\n"
            "pcm.!default card\n"
        )

    def says(self, samples: array) -> None:
        """What can be recorded from the moment on in which the card is opened, at the rate at which it is."""
        part = self._folder / "said.part"
        part.write_bytes(samples.tobytes())
        part.replace(self._folder / "said")

    def sink(self, buffer: float, latency: float = 0.0) -> AlsaSink:
        """An AlsaSink that plays on this card, which holds `buffer` seconds."""
        self.holds(buffer, latency)
        return AlsaSink("card", RATE)

    @property
    def state(self) -> str:
        return (self._folder / "state").read_text()

    @state.setter
    def state(self, state: str) -> None:
        part = self._folder / "state.part"
        part.write_text(state)
        part.replace(self._folder / "state")

    def heard(self) -> array:
        """The samples that have sounded."""
        return array("h", self._heard.read_bytes())

    def play(self, seconds: float) -> None:
        """Return when so much has sounded."""
        until(lambda: self.played() >= seconds, seconds + 60)

    def played(self) -> float:
        """Seconds that have sounded."""
        return self._heard.stat().st_size / 2 / RATE
