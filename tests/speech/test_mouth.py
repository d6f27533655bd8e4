"""A sentence now and then, and what may be done while it sounds."""

import time

from duostory.speech.espeak import Espeak
from duostory.speech.mouth import Mouth
from tests.speech.paced import Paced


def test_what_is_done_meanwhile():
    """It begins when the first word sounds, and what is to be heard last waits for it."""
    sounds = []  # when each that is no silence begins

    class Listening(Paced):
        def write(self, pcm: bytes) -> None:
            if any(pcm):
                sounds.append(time.monotonic() + self.queued())
            super().write(pcm)

    sink = Listening(22050, 60.0, lambda *_: None)
    done = []

    def think():
        done.append(time.monotonic())
        assert sounds and sounds[0] <= done[0]
        time.sleep(2)  # the sentence is shorter
        done.append(time.monotonic())

    Mouth(Espeak(), sink, lambda: sink, 100).say("A cat. Yes?", "listening", think)
    assert done and done[0] < sounds[0] + 1
    assert sounds[-1] > done[1]
