"""A real ALSA without a card."""

from pathlib import Path

import pytest


@pytest.fixture
def recording(tmp_path, monkeypatch) -> Path:
    """The file into which ALSA's "default" device records: the samples alone, no header."""
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(Path(__file__).with_name("asound.conf")))
    monkeypatch.setenv("DUOSTORY_TEST_SOUND", str(tmp_path / "recording.raw"))
    return tmp_path / "recording.raw"
