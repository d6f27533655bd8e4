"""Where sound comes from: WAV files of every kind, ALSA on a card in real time, and every way in which that fails."""

import math
import struct
import sys
import time
import tracemalloc
import wave
from array import array
from threading import Timer

import pytest

from duostory import StoryError
from duostory.hearing import BLOCK, RATE, DeviceGone, NoMicrophone, WavSource, open_source
from duostory.speech.alsa import library

SECOND = array("h", ((7919 * i) % 60000 - 30000 for i in range(RATE)))  # no two stretches are the same


def everything(source) -> array:
    """All blocks until the end."""
    blocks = list(iter(source.read, b""))
    assert {len(block) for block in blocks} <= {2 * BLOCK}
    assert source.read() == b""
    return array("h", b"".join(blocks))


def tone(pitch: float, rate: int, seconds: float = 1.0) -> list[float]:
    return [math.sin(2 * math.pi * pitch * i / rate) / 2 for i in range(round(seconds * rate))]


def wav(path, samples: list[float], rate: int, *, bits: int = 16, channels: int = 1, kind: int = 1, size=None) -> str:
    """A file as recorders write them; `samples` from -1 to 1, the same in each channel."""
    width = bits // 8
    frames = bytearray()
    for sample in samples:
        number = round(sample * (2 ** (bits - 1) - 1)) + (128 if bits == 8 else 0)
        frames += channels * number.to_bytes(width, "little", signed=bits > 8)
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, bits)
    if kind == 0xFFFE:
        form += struct.pack("<HHIH14s", 22, bits, 0, 1, b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71")
    listed = b"LIST" + struct.pack("<I", 5) + b"INFO!\0"  # an odd chunk is padded
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + listed + b"data"
    chunks += struct.pack("<I", len(frames) if size is None else size) + frames
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks) & 0xFFFFFFFF) + b"WAVE" + chunks)
    return str(path)


def height(samples, pitch: float) -> float:
    """Of the tone `pitch` in samples at RATE, away from their ends; 1 is full scale."""
    inner = samples[RATE // 10 : RATE * 9 // 10]
    parts = (sum(x * wave(2 * math.pi * pitch * i / RATE) for i, x in enumerate(inner)) for wave in (math.sin, math.cos))
    return math.hypot(*parts) * 2 / len(inner) / 32768


# A WAV file


def test_a_file_at_16_khz_is_heard_to_the_last_sample_and_then_a_pause(tmp_path):
    with wave.open(str(tmp_path / "said.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(SECOND.tobytes())
    source = open_source("wav", wavs=(tmp_path / "said.wav",))
    heard = everything(source)
    assert heard[: len(SECOND)] == SECOND
    assert not any(heard[len(SECOND) :]) and len(heard) - len(SECOND) >= WavSource.PAUSE_S * RATE
    assert (source.live, source.overruns) == (False, 0)


def test_files_follow_each_other_with_a_pause_between_them(tmp_path):
    paths = [wav(tmp_path / f"{n}.wav", [n / 4] * 1000, RATE) for n in (1, 2)]
    source = open_source("wav", wavs=paths)
    source.flush()  # loses nothing
    heard = everything(source)
    ends = [n for n in range(1, len(heard)) if (heard[n] == 0) != (heard[n - 1] == 0)]
    assert ends[0] == 1000 and ends[2] - ends[1] == 1000
    assert ends[1] - ends[0] >= WavSource.PAUSE_S * RATE


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 47999])
def test_every_rate_becomes_16_khz(tmp_path, rate):
    pitches = (440, 3000) if rate < RATE else (440, 3000, 6500)
    heights = {pitch: 0.3 for pitch in pitches}
    tones = [tone(pitch, rate) for pitch in pitches]
    heard = everything(WavSource(wav(tmp_path / "said.wav", [0.6 * sum(waves) for waves in zip(*tones)], rate)))
    assert {pitch: height(heard, pitch) for pitch in pitches} == pytest.approx(heights, rel=0.02)  # 0.17 dB; seen: 0.1
    assert len(heard) == pytest.approx((1 + WavSource.PAUSE_S) * RATE, abs=2 * BLOCK)
    sounding = [n for n, sample in enumerate(heard) if abs(sample) > 300]
    assert (sounding[0], sounding[-1]) == (pytest.approx(0, abs=20), pytest.approx(RATE, abs=20))  # neither late nor short


@pytest.mark.parametrize("pitch", [8300, 9000, 12000, 15500])
def test_what_16_khz_cannot_hold_does_not_come_out_as_something_else(tmp_path, pitch):
    heard = everything(WavSource(wav(tmp_path / "said.wav", tone(pitch, 48000), 48000)))
    loudest = max(map(abs, heard[RATE // 10 : RATE * 9 // 10]))
    assert loudest < 16384 / 10 ** (40 / 20)  # -40 dB; seen: -44 at 8300 Hz, then less


@pytest.mark.parametrize("bits, kind", [(8, 1), (16, 1), (24, 1), (32, 1), (24, 0xFFFE), (16, 0xFFFE)])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_width_and_both_channels(tmp_path, bits, kind, channels):
    samples = tone(440, RATE, 0.25)
    heard = everything(WavSource(wav(tmp_path / "said.wav", samples, RATE, bits=bits, kind=kind, channels=channels)))
    most = 256 if bits == 8 else 2  # what lies below 16 bits is cut off, not rounded
    assert all(abs(got - 32767 * meant) <= most for got, meant in zip(heard, samples))


def test_channels_are_mixed(tmp_path):
    path = tmp_path / "said.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(array("h", [1000, 3000, -1000, -2000]).tobytes())
    assert everything(WavSource(path))[:3].tolist() == [2000, -1500, 0]


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_stream_that_did_not_know_its_length_is_heard_to_the_end(tmp_path, size):
    heard = everything(WavSource(wav(tmp_path / "said.wav", [0.25] * 1000, RATE, size=size)))
    assert sum(sample != 0 for sample in heard) == 1000


def test_a_chunk_that_claims_four_gigabytes_takes_no_memory(tmp_path):
    path = tmp_path / "said.wav"
    for name in (b"LIST", b"fmt "):
        path.write_bytes(b"RIFF\0\0\0\0WAVE" + name + b"\xfe\xff\xff\xff" + bytes(100))
        tracemalloc.start()
        with pytest.raises(StoryError, match="holds no sound"):
            WavSource(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


@pytest.mark.parametrize("content, says", [
    (None, "cannot read the recording .*said.wav: No such file"),
    (b"", "is not a WAV file"),
    (b"ID3\3" + bytes(100), "is not a WAV file"),
    (b"RIFF\0\0\0\0WAVE", "holds no sound"),
    (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "does not say what kind"),
    ({"kind": 3, "bits": 32}, "holds floating point sound; save it as PCM of 16 bits"),
    ({"kind": 85}, "holds compressed sound"),
    ({"rate": 0}, "1 channels and 0 samples a second"),
    ({"rate": 10**6}, "1000000 samples a second"),
    ({"channels": 0}, "0 channels"),
])
def test_a_bad_file_is_said_at_once_in_one_sentence(tmp_path, content, says):
    path = tmp_path / "said.wav"
    if isinstance(content, dict):
        wav(path, [0.0] * 100, **{"rate": RATE} | content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(StoryError, match=says) as refused:
        open_source("wav", wavs=(path,))
    assert "\n" not in str(refused.value)


def test_a_folder_is_no_recording(tmp_path):
    with pytest.raises(StoryError, match="Is a directory"):
        WavSource(tmp_path)


def test_an_unknown_source_is_refused():
    for name in ("gramophone", "wav"):
        with pytest.raises(StoryError, match="take one of alsa, wav, pyaudio"):
            open_source(name)


# ALSA, the real library, on a card in real time


@pytest.fixture
def microphone(card):
    """An AlsaSource on the card, which can record SECOND and then more of the same."""
    card.holds(1.0, rate=RATE)
    card.says(5 * SECOND)
    source = open_source("alsa", device="card")
    yield source
    source.close()


def place(block: bytes) -> int:
    """Where in SECOND a block begins; all its samples are checked."""
    samples = array("h", block)
    twice = SECOND + SECOND
    begin = next(n for n in range(RATE) if twice[n : n + 4] == samples[:4])
    assert twice[begin : begin + BLOCK] == samples
    return begin


def test_a_microphone_gives_every_sample_at_its_own_pace(microphone):
    begun = time.monotonic()
    blocks = [microphone.read() for _ in range(20)]
    assert time.monotonic() - begun >= 20 * BLOCK / RATE
    first = place(blocks[0])
    assert [(place(block) - first) % RATE for block in blocks] == [n * BLOCK for n in range(20)]
    assert microphone.live and microphone.overruns == 0 and microphone.buffer == pytest.approx(1.0)


def test_a_recogniser_that_is_busy_loses_nothing_within_the_buffer(card):
    card.holds(10.0, rate=RATE)
    card.says(10 * SECOND)
    microphone = open_source("alsa", device="card")
    assert microphone.buffer == pytest.approx(4.0)  # of what the card could hold: the Duo's recogniser needs 1.5 s
    first = place(microphone.read())
    time.sleep(1.5)
    assert (place(microphone.read()) - first) % RATE == BLOCK
    assert microphone.overruns == 0
    microphone.close()


def test_an_overrun_is_recovered_and_counted(microphone):
    microphone.read()
    time.sleep(1.3)
    place(microphone.read())
    place(microphone.read())
    assert microphone.overruns == 1


def test_what_was_said_before_a_flush_is_not_heard(microphone):
    first = place(microphone.read())
    time.sleep(0.3)
    microphone.flush()
    assert (place(microphone.read()) - first) % RATE >= 0.3 * RATE
    microphone.flush()
    time.sleep(1.3)  # the robot speaks, and nobody records meanwhile
    place(microphone.read())
    assert microphone.overruns == 0


@pytest.mark.parametrize("rate", [44100, 48000])
def test_a_card_that_knows_another_rate_is_resampled(card, rate):
    card.holds(1.0, rate=rate, only=True)
    card.says(array("h", (round(32767 * x) for x in tone(440, rate, 3))))
    source = open_source("alsa", device="plugged")
    heard = array("h", b"".join(source.read() for _ in range(40)))
    source.close()
    assert height(heard, 440) == pytest.approx(0.5, rel=0.02)


def test_a_suspended_card_goes_on_when_it_wakes_up(microphone, card):
    microphone.read()
    card.state = "asleep"
    Timer(0.3, setattr, [card, "state", "fine"]).start()
    for _ in range(5):
        place(microphone.read())


def test_a_card_that_is_unplugged_is_said_and_can_be_opened_again(microphone, card):
    microphone.read()
    card.state = "unplugged"
    with pytest.raises(DeviceGone, match=r'^the microphone "card" has gone \(No such device\)$'):
        for _ in range(40):
            microphone.read()
    for state, says in (("unplugged", "does not exist"), ("busy", "is in use by another program")):
        card.state = state
        with pytest.raises(NoMicrophone, match=says):
            microphone.reopen()
    card.state = "fine"
    microphone.reopen()
    place(microphone.read())


def test_a_card_that_is_unplugged_while_nobody_listens_is_said_at_the_flush(microphone, card):
    microphone.read()
    card.state = "unplugged"
    with pytest.raises(DeviceGone):
        microphone.flush()
    with pytest.raises(NoMicrophone):
        microphone.reopen()
    for still in (microphone.flush, microphone.read):
        with pytest.raises(DeviceGone, match=r'^the microphone "card" has gone \(No such device\)$'):
            still()


def test_a_card_that_stands_still_is_given_up(microphone, card, monkeypatch):
    monkeypatch.setattr("duostory.speech.alsa.STALL_S", 0.3)
    microphone.read()
    card.state = "stalled"
    with pytest.raises(StoryError, match='the microphone "card" gives no sound any more'):
        for _ in range(40):
            microphone.read()


@pytest.mark.parametrize("device, says", [
    ("nosuch", 'the microphone "nosuch" does not exist'),
    ("hw:77", 'the microphone "hw:77" does not exist'),
    ("", "does not exist"),
])
def test_a_microphone_that_does_not_open_says_why_and_what_to_do(card, capfd, device, says):
    with pytest.raises(NoMicrophone) as refused:
        open_source("alsa", device=device)
    assert says in str(refused.value)
    assert str(refused.value).endswith(
        ': give a recording with --mic-file, or see "arecord -L" for the names of microphones')
    assert capfd.readouterr() == ("", "")


def test_a_card_that_cannot_do_what_is_needed_is_said(card):
    card.holds(1.0, rate=48000, only=True)  # and nothing before it that converts
    with pytest.raises(NoMicrophone, match='the microphone "card" does not take 16000 Hz, 16 bit, one channel'):
        open_source("alsa", device="card")


def test_without_libasound_the_hint_is_to_install_it(monkeypatch):
    from duostory.speech import alsa

    class Missing:
        def dlopen(self, name):
            raise OSError(name)

    assert library()
    monkeypatch.setattr(alsa, "_lib", None)
    monkeypatch.setattr(alsa, "ffi", Missing())
    with pytest.raises(NoMicrophone, match="install it .*--mic-file"):
        open_source("alsa")


# PortAudio, where PyAudio is installed


def test_pyaudio_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    with pytest.raises(NoMicrophone, match=r"duostory\[desktop\]"):
        open_source("pyaudio")


def test_pyaudio_records_flushes_and_loses_its_card(card, capfd):
    pytest.importorskip("pyaudio", exc_type=ImportError)
    card.holds(1.0, rate=RATE)
    card.says(10 * SECOND)
    with pytest.raises(NoMicrophone, match='no input device with "nosuch"'):
        open_source("pyaudio", device="nosuch")
    source = open_source("pyaudio", device="card")
    first = place(source.read())
    assert (place(source.read()) - first) % RATE == BLOCK
    time.sleep(0.3)
    source.flush()
    assert (place(source.read()) - first) % RATE >= 0.3 * RATE
    time.sleep(1.5)  # an overrun
    place(source.read())
    assert source.overruns == 1
    card.state = "unplugged"
    with pytest.raises(DeviceGone, match='the microphone "card" has gone'):
        for _ in range(40):
            source.read()
    card.state = "fine"
    source.reopen()
    place(source.read())
    source.close()
