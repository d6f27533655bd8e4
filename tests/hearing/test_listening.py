"""From when to when somebody speaks: a real endpointer on real speech, from files and from a card."""

import time
import wave
from array import array

import pytest

from duostory.hearing import BLOCK, RATE, DeviceGone, WavSource, open_source
from duostory.hearing.buttons import Button
from duostory.hearing.listening import BEGIN_S, LONGEST_S, PAUSE_S, Listener
from duostory.hearing.pocketsphinx import Endpointer, NoPocketsphinx

WISH = "Tell me a story about a dragon"


@pytest.fixture
def speech(voice, tmp_path):
    """speech("a cat", 0.5, "and a dog") is a WAV file in which that is said, numbers being seconds of silence."""
    made = iter(range(100))

    def say(*parts) -> str:
        path = str(tmp_path / f"said-{next(made)}.wav")
        with wave.open(path, "wb") as file:
            file.setparams((1, 2, voice.rate, 0, "NONE", ""))
            for part in parts:
                if isinstance(part, str):
                    voice.speak(part, lambda pcm: file.writeframesraw(pcm) or True)
                else:
                    file.writeframesraw(bytes(2 * round(part * voice.rate)))
        return path

    return say


@pytest.fixture
def endpointer():
    try:
        return Endpointer()
    except NoPocketsphinx as missing:
        pytest.skip(str(missing))


class Ear:
    """In place of a recogniser: its hypothesis is the sound that it was given."""

    begun = 0

    def start(self) -> None:
        self._given = b""
        self.begun += 1

    def feed(self, pcm: bytes) -> None:
        self._given += pcm

    def catch_up(self) -> None:
        pass

    def finish(self) -> bytes:
        return self._given


class Pressed(Button):
    """A button that is pressed at the n-th time of asking."""

    def __init__(self, n: int) -> None:
        self._left = n

    def pressed(self) -> bool:
        self._left -= 1
        return self._left == 0


def seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / RATE


def loud(pcm: bytes) -> bytes:
    """Without what is silent before and after."""
    samples = array("h", pcm)
    sounding = [n for n, sample in enumerate(samples) if abs(sample) > 300]
    return samples[sounding[0] : sounding[-1]].tobytes()


def everything(path: str) -> bytes:
    return b"".join(iter(WavSource(path).read, b""))


def test_a_wish_is_heard_whole_and_soon_over(speech, endpointer):
    path = speech(1.0, WISH, 3.0)
    heard = Listener(WavSource(path), endpointer).listen(Ear())
    said = everything(path)
    assert heard.ended == "speech" and heard.level.verdict == "fine" and heard.pcm == b""
    assert loud(heard.hypothesis) == loud(said)  # not a sample is missing
    last = said.index(loud(said)) / 2 / RATE + seconds(loud(said))
    # What the endpointer takes to notice, and the pause. Seen: 0.44 s for the former.
    assert 0.25 + PAUSE_S < heard.seconds - last < 0.6 + PAUSE_S
    assert seconds(heard.hypothesis) < seconds(loud(said)) + 1.2  # of the silence around it, little is decoded


def test_a_child_may_stop_between_two_words(speech, endpointer):
    path = speech(0.5, "A story about", 0.3, "a dragon", 0.3, "and a cat", 3.0)
    ear = Ear()
    heard = Listener(WavSource(path), endpointer).listen(ear)
    assert heard.ended == "speech" and loud(heard.hypothesis) == loud(everything(path))
    assert ear.begun == 1  # nothing is heard twice


def test_two_who_speak_one_after_the_other_are_heard_one_by_one(speech, endpointer):
    listener = Listener(WavSource(speech(0.5, WISH), speech(0.3, "Yes"), speech(0.3, "Stop")), endpointer, keep=True)
    heard = [listener.listen(Ear()) for _ in range(4)]
    assert [each.ended for each in heard] == ["speech", "speech", "speech", "end"]
    assert all(each.pcm == each.hypothesis for each in heard[:3])
    assert heard[3].hypothesis is None and heard[3].pcm == b""


def test_nobody_speaks(speech, endpointer):
    listener = Listener(WavSource(speech(12.0)), endpointer)
    heard = listener.listen(Ear())
    assert (heard.ended, heard.hypothesis, heard.level.verdict) == ("silence", None, "silent")
    assert heard.seconds == pytest.approx(BEGIN_S, abs=BLOCK / RATE)
    heard = listener.listen(Ear(), timeout=2.0)
    assert heard.ended == "silence" and heard.seconds == pytest.approx(2.0, abs=BLOCK / RATE)


def test_one_who_goes_on_and_on_is_cut(speech, endpointer):
    path = speech(0.5, *[WISH] * 12)
    heard = Listener(WavSource(path), endpointer).listen(Ear())
    assert heard.ended == "full" and seconds(heard.hypothesis) == pytest.approx(LONGEST_S, abs=0.7)  # and the lead
    assert heard.hypothesis in everything(path)


def test_a_file_that_ends_in_the_middle_counts(speech, endpointer, monkeypatch):
    monkeypatch.setattr(WavSource, "PAUSE_S", 0.0)
    heard = Listener(WavSource(speech(0.5, WISH)), endpointer).listen(Ear())
    assert heard.ended in ("speech", "end") and seconds(heard.hypothesis) > 1.0


@pytest.mark.parametrize("blocks, spoke", [(5, False), (60, True)])
def test_the_button_ends_it(speech, endpointer, blocks, spoke):
    heard = Listener(WavSource(speech(0.5, WISH, WISH)), endpointer).listen(Ear(), button=Pressed(blocks))
    assert heard.ended == "button" and heard.seconds == pytest.approx((blocks - 1) * BLOCK / RATE)
    assert (heard.hypothesis is not None) == spoke


def test_the_light_blinks_as_soon_as_one_ceases(speech, endpointer):
    """Before the recogniser catches up, and not while one speaks on."""
    seen = []

    class Lamp:
        def on(self) -> None:
            seen.append("on")

        def blink(self) -> None:
            seen.append("blink")

    class Thinker(Ear):
        def catch_up(self) -> None:
            seen.append("think")

    path = speech(0.5, "A story about", 0.3, "a dragon", 3.0)
    Listener(WavSource(path), endpointer).listen(Thinker(), light=Lamp())
    assert seen[:3] == ["on", "blink", "think"] and seen[-3:] == ["blink", "think", "blink"]
    assert seen[3:-3] in ([], ["on"])


# On a card in real time


def on_card(card, path: str):
    card.holds(1.0, rate=RATE)
    card.says(array("h", everything(path)))
    return open_source("alsa", device="card")


def test_from_a_microphone_one_hears_the_same(speech, endpointer, card):
    path = speech(0.5, "A dragon", 2.0)
    source = on_card(card, path)
    heard = Listener(source, endpointer).listen(Ear())
    source.close()
    assert heard.ended == "speech" and loud(heard.hypothesis) == loud(everything(path))
    assert source.overruns == 0


def test_it_does_not_hear_itself(speech, endpointer, card):
    """Sound that came in since the last time, such as what the robot said, is not listened to."""
    path = speech(0.2, "A dragon", 3.0)
    source = on_card(card, path)
    for _ in range(10):
        source.read()
    time.sleep(0.9)  # until the dragon is in the card's buffer
    heard = Listener(source, endpointer).listen(Ear(), timeout=0.6)
    source.close()
    assert (heard.ended, heard.hypothesis) == ("silence", None)


def test_a_microphone_that_is_pulled_out_meanwhile(speech, endpointer, card):
    source = on_card(card, speech(0.1, WISH, WISH))
    listener = Listener(source, endpointer)

    class Puller(Ear):
        def feed(self, pcm: bytes) -> None:
            super().feed(pcm)
            card.state = "unplugged"

    with pytest.raises(DeviceGone):
        listener.listen(Puller())
    card.state = "fine"
    source.reopen()
    heard = listener.listen(Ear(), longest=1.0)
    source.close()
    assert heard.ended == "full"
