"""A real voice, and a real ALSA without a card."""

import subprocess
from pathlib import Path

import pytest

from duostory.speech.espeak import Espeak, NoEspeak
from tests.speech import card as cards


@pytest.fixture(scope="session")
def voice() -> Espeak:
    try:
        return Espeak()
    except NoEspeak as missing:
        pytest.skip(str(missing))


@pytest.fixture
def recording(tmp_path, monkeypatch) -> Path:
    """The file into which ALSA's "default" device records: the samples alone, no header."""
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(Path(__file__).with_name("asound.conf")))
    monkeypatch.setenv("DUOSTORY_TEST_SOUND", str(tmp_path / "recording.raw"))
    return tmp_path / "recording.raw"


@pytest.fixture(scope="session")
def card_library(tmp_path_factory) -> Path:
    try:
        return cards.build(tmp_path_factory.mktemp("card"))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a C compiler and libasound2: {getattr(error, 'stderr', error)}")


@pytest.fixture
def card(card_library, tmp_path_factory, monkeypatch) -> cards.Card:
    """ALSA's "default" device: a card in real time."""
    card = cards.Card(card_library, tmp_path_factory.mktemp("card"))
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(card.config))
    return card
