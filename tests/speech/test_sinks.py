"""Where sound goes: the WAV file, ALSA without a card, and every way in which a card fails."""

import contextlib
import errno
import os
import time
import wave
from pathlib import Path
from threading import Timer

import pytest

from duostory import StoryError
from duostory.speech import DeviceGone, NoSoundDevice, WavSink, open_sink
from duostory.speech.alsa import STALL_S, _why, library

RATE = 22050
TONE = bytes(range(256)) * 40  # 5120 samples, all different


def read_wav(path: Path) -> bytes:
    with wave.open(str(path)) as wav:
        assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) == (1, 2, RATE)
        return wav.readframes(wav.getnframes())


# A WAV file


def test_a_wav_appears_complete_and_only_at_the_end(tmp_path):
    sink = open_sink("wav", RATE, wav=tmp_path / "story.wav")
    sink.write(TONE)
    sink.write(TONE)
    assert not (tmp_path / "story.wav").exists()
    sink.close()
    sink.close()
    assert read_wav(tmp_path / "story.wav") == TONE + TONE
    assert os.listdir(tmp_path) == ["story.wav"]


def test_a_wav_replaces_an_old_one_behind_a_link(tmp_path):
    (tmp_path / "real.wav").write_bytes(b"old")
    (tmp_path / "link.wav").symlink_to("real.wav")
    sink = open_sink("wav", RATE, wav=tmp_path / "link.wav")
    sink.write(TONE)
    sink.close()
    assert (tmp_path / "link.wav").is_symlink()
    assert read_wav(tmp_path / "real.wav") == TONE


def test_a_wav_without_a_sound_is_not_left(tmp_path):
    (tmp_path / "story.wav").write_bytes(b"an older story")
    open_sink("wav", RATE, wav=tmp_path / "story.wav").close()
    assert os.listdir(tmp_path) == ["story.wav"]
    assert (tmp_path / "story.wav").read_bytes() == b"an older story"


def test_two_wavs_of_one_name_at_once(tmp_path):
    (tmp_path / "story.wav").symlink_to("nowhere")
    sinks = [WavSink(tmp_path / "story.wav", RATE, new=True) for _ in range(3)]
    assert [os.path.basename(sink.path) for sink in sinks] == [f"story-{n}.wav" for n in (2, 3, 4)]
    for sink in sinks[:2]:
        sink.write(TONE)
    for sink in sinks:
        sink.close()
    assert read_wav(tmp_path / "story-2.wav") == read_wav(tmp_path / "story-3.wav") == TONE
    assert sorted(os.listdir(tmp_path)) == ["story-2.wav", "story-3.wav", "story.wav"]
    with pytest.raises(StoryError, match="No such file or directory"):
        WavSink(tmp_path / "missing" / "story.wav", RATE, new=True)


@pytest.mark.parametrize("path, says", [
    ("missing/story.wav", "No such file or directory"),
    (".", "not a regular file"),
    ("/dev/null", "not a regular file"),
    ("x" * 300, "File name too long"),
])
def test_a_wav_that_cannot_be_is_refused_at_once(tmp_path, path, says):
    with pytest.raises(StoryError, match=says):
        open_sink("wav", RATE, wav=tmp_path / path)
    assert not os.listdir(tmp_path)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    sink = open_sink("wav", RATE, wav=tmp_path / "story.wav")
    sink.write(TONE)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, sink._file.fileno())  # the file is on a full disk from here
    os.close(full)
    with pytest.raises(StoryError, match="story.wav: No space left on device"):
        for _ in range(10):
            sink.write(TONE)
    sink.close()
    assert not os.listdir(tmp_path)


def test_an_unknown_sink_is_refused():
    for name, wav in (("speaker", None), ("wav", None)):
        with pytest.raises(StoryError, match="take one of alsa, wav, null, pyaudio"):
            open_sink(name, RATE, wav=wav)


# ALSA, the real library on devices that need no card


def test_alsa_gets_every_sample_unchanged(recording):
    sink = open_sink("alsa", RATE)
    for start in range(0, len(TONE), 1000):
        sink.write(TONE[start : start + 1000])
    sink.drain()
    sink.close()
    assert recording.read_bytes() == TONE
    assert sink.xruns == 0


def test_alsa_converts_for_a_card_that_wants_something_else(recording):
    sink = open_sink("alsa", RATE, device="stereo48k")
    sink.write(bytes(2 * RATE))
    sink.drain()
    sink.close()
    assert len(recording.read_bytes()) / 4 / 48000 == pytest.approx(
        1.0, abs=0.06
    )  # padded to a period of 50 ms


@pytest.mark.parametrize("device, says", [
    ("nosuch", 'the sound device "nosuch" does not exist'),
    ("hw:77", 'the sound device "hw:77" does not exist'),
    ("plughw:CARD=Nosuch,DEV=0", 'the sound device "plughw:CARD=Nosuch,DEV=0" does not exist'),
    ("", "does not exist"),
    ("floats", "does not take 22050 Hz, 16 bit, one channel"),
])
def test_a_device_that_does_not_open_says_why(recording, capfd, device, says):
    with pytest.raises(NoSoundDevice) as refused:
        open_sink("alsa", RATE, device=device)
    assert says in str(refused.value) and "--wav" in str(refused.value)
    assert capfd.readouterr() == ("", "")  # alsa-lib's own chatter is off


@pytest.mark.parametrize("code, says", [
    (errno.EBUSY, "is in use by another program"),
    (errno.EACCES, "members of the group audio"),
    (errno.ENODEV, "does not exist"),
    (errno.ECONNREFUSED, "does not open (a reason)"),
])
def test_each_errno_of_opening_has_its_words(code, says):
    assert says in _why(code, "a reason")


def test_the_default_device_may_become_another_one(tmp_path, monkeypatch):
    """As on a board where a USB card is found, and a file that the configuration includes says so."""
    (tmp_path / "asound.conf").write_text(
        f'pcm.!default {{ type hw card 99 }}\n@hooks [ {{ func load files [ "{tmp_path}/found.conf" ] errors false }} ]\n')
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
    with pytest.raises(NoSoundDevice):
        open_sink("alsa", RATE)
    (tmp_path / "found.conf").write_text("pcm.!default { type null }\n")
    open_sink("alsa", RATE).close()


def test_without_libasound_the_hint_is_to_install_it(monkeypatch):
    from duostory.speech import alsa

    class Missing:
        def dlopen(self, name):
            raise OSError(name)

    monkeypatch.setattr(alsa, "_lib", None)
    monkeypatch.setattr(alsa, "ffi", Missing())
    with pytest.raises(NoSoundDevice, match="install it"):
        open_sink("alsa", RATE)


def test_pyaudio_is_an_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyaudio", None)
    with pytest.raises(NoSoundDevice, match=r"duostory\[desktop\]"):
        open_sink("pyaudio", RATE)


# ALSA on a card in real time


def test_a_card_in_real_time_takes_its_time(card):
    sink = card.sink(buffer=0.3)
    start = time.monotonic()
    sink.write(bytes(2 * RATE))  # one second
    assert time.monotonic() - start >= 0.7  # all but the buffer
    sink.drain()
    assert time.monotonic() - start >= 1.0
    assert sink.xruns == 0 and card.played() == 1.0
    sink.close()


def test_underruns_are_recovered_and_counted(card):
    sink = card.sink(buffer=0.3)
    for _ in range(3):
        sink.write(TONE[:4410])
        time.sleep(0.15)
    assert sink.xruns == 2  # after the third write nobody looked
    sink.close()
    assert card.heard().tobytes() == 3 * TONE[:4410]


def test_running_dry_while_there_is_nothing_to_say_is_no_xrun(card):
    sink = card.sink(buffer=0.3)
    sink.write(bytes(RATE // 10 * 2))
    assert 0 < sink.queued() <= 0.1
    time.sleep(0.15)
    assert sink.queued() == 0.0
    sink.write(bytes(RATE // 10 * 2))
    assert sink.xruns == 0
    sink.close()


def test_a_suspended_card_goes_on_where_it_was(card):
    sink = card.sink(buffer=0.3)
    sink.write(TONE)
    card.state = "asleep"
    Timer(0.3, setattr, [card, "state", "fine"]).start()
    sink.write(TONE + TONE)  # more than the card holds
    sink.drain()
    sink.close()
    assert card.heard().tobytes() == 3 * TONE and sink.xruns == 0


def test_a_suspended_card_that_cannot_go_on_is_opened_again(card):
    class Forgetful:  # as most drivers are; alsa-lib's plugins cannot say so
        def __getattr__(self, name):
            return getattr(library(), name) if name != "snd_pcm_resume" else lambda pcm: -errno.ENOSYS

    sink = card.sink(buffer=0.3)
    sink._lib = Forgetful()
    sink.write(TONE)
    card.state = "asleep"
    with pytest.raises(DeviceGone):
        sink.write(2 * TONE)
    card.state = "fine"
    sink.reopen()
    sink.write(TONE)
    sink.drain()
    sink.close()
    assert card.heard().tobytes().endswith(TONE)


@pytest.mark.parametrize("doing", ["write", "queued", "drain"])
def test_a_card_that_is_unplugged_is_said_and_can_be_opened_again(card, doing):
    sink = card.sink(buffer=0.3)
    sink.write(TONE)
    card.state = "unplugged"
    with pytest.raises(DeviceGone, match=r'^the sound device "card" has gone \(No such device\)$'):
        sink.write(TONE) if doing == "write" else getattr(sink, doing)()
    for state, says in (("unplugged", "does not exist"), ("busy", "is in use by another program")):
        card.state = state
        with pytest.raises(NoSoundDevice, match=says):
            sink.reopen()
    card.state = "fine"
    sink.reopen()
    sink.write(TONE)
    sink.drain()
    sink.close()
    assert card.heard().tobytes().endswith(TONE)


def test_a_card_that_stands_still_is_given_up(card, monkeypatch):
    monkeypatch.setattr("duostory.speech.alsa.STALL_S", 0.3)
    assert STALL_S > 1
    sink = card.sink(buffer=0.3)
    card.state = "stalled"
    with pytest.raises(StoryError, match="has stopped taking sound"):
        sink.write(bytes(2 * RATE))
    sink.close()


@pytest.mark.parametrize("doing", ["write", "drain"])
def test_stop_ends_a_write_and_a_drain(card, doing):
    sink = card.sink(buffer=1.0)
    Timer(0.2, sink.stop).start()
    if doing == "drain":
        sink.write(bytes(2 * RATE))
        sink.drain()
    else:
        sink.write(bytes(2 * RATE * 5))
    sink.close()
    assert card.played() < 0.9  # observed 0.2


@pytest.mark.parametrize("doing", ["write", "queued", "drain"])
def test_stop_works_while_a_card_sleeps(card, doing):
    sink = card.sink(buffer=0.3)
    sink.write(TONE)
    card.state = "asleep"
    Timer(0.2, sink.stop).start()
    with contextlib.suppress(DeviceGone):
        sink.write(4 * TONE) if doing == "write" else getattr(sink, doing)()
    sink.close()
