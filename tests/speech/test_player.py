"""The player: order and pauses, its own thread, stop, errors, and nothing left behind."""

import gc
import os
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time
import wave
from array import array
from itertools import groupby
from threading import Event, Timer

import pytest

from duostory import StoryError
from duostory.sentences import PARAGRAPH, SENTENCE
from duostory.speech import NullSink, Player, WavSink, open_sink
from duostory.speech.player import LOW_WATER
from tests.teller import environment

STORY = [
    "Once upon a time there was a happy dragon.",
    "He lived in a big cave with Mr. Brown, the bear.",
    '"Hello!" said the bear.',
    "They played all day.",
]


class Memory(NullSink):
    """Keeps what it gets."""

    def __init__(self, rate: int) -> None:
        super().__init__(rate)
        self.pcm = bytearray()

    def write(self, pcm: bytes) -> None:
        self.pcm += pcm


class Tone:
    """A voice without espeak-ng's small variations: each letter is 10 ms of sound, in chunks of 60 ms."""

    rate, version = 22050, "tone"

    def speak(self, text, write, on_word=None, quoted=False) -> None:
        left = 441 * len(text) // 2
        while left > 0:
            if not write(array("h", [9000] * min(left, 1323)).tobytes()):
                return
            left -= 1323


def tell(player: Player, story: list[str]) -> None:
    for sentence in story:
        player.say(sentence)
    player.finish()


def silences(pcm: bytes, rate: int, least: float) -> list[float]:
    """Seconds of each stretch of at least `least` seconds in which nothing rises above 1 % of full scale."""
    found, run = [], 0
    for sample in array("h", pcm):
        if abs(sample) < 328:
            run += 1
            continue
        if run >= least * rate:
            found.append(run / rate)
        run = 0
    return found


def test_pauses_are_between_sentences_and_only_there():
    memory = Memory(Tone.rate)
    with Player(Tone(), memory) as player:
        player.say("a" * 50)
        player.say("b" * 50, PARAGRAPH)
        player.say("c" * 50)
        player.finish()
    assert silences(memory.pcm, Tone.rate, 0.01) == pytest.approx([SENTENCE, PARAGRAPH], abs=0.001)
    assert player.stats.audio == pytest.approx(1.5 + SENTENCE + PARAGRAPH, abs=0.001)
    assert player.stats.gap == 0.0


def test_a_spoken_story_has_its_gaps(voice):
    memory = Memory(voice.rate)
    starts: dict[int, float] = {}
    with Player(voice, memory, on_word=lambda word, at, index: starts.setdefault(index, at)) as player:
        tell(player, STORY)
    samples = array("h", memory.pcm)
    assert len(starts) == len(STORY)
    for start in [*starts.values()][1:]:  # of the first word
        assert not any(samples[int((start - SENTENCE) * voice.rate) : int(start * voice.rate)])
    # There is no other silence as long as that, but for the voice's own after "Hello!" (observed 0.56 s).
    assert len(silences(memory.pcm, voice.rate, SENTENCE)) == len(STORY)
    assert 6000 < max(map(abs, samples)) < 32767  # loud enough and not clipped; observed 24565


def test_alsa_gets_what_the_wav_file_gets(recording, tmp_path):
    for sink in (open_sink("wav", Tone.rate, wav=tmp_path / "story.wav"), open_sink("alsa", Tone.rate)):
        with Player(Tone(), sink) as player:
            tell(player, STORY)
    with wave.open(str(tmp_path / "story.wav")) as wav:
        assert wav.readframes(wav.getnframes()) == recording.read_bytes()


def test_a_story_in_a_fresh_process_is_the_same_through_alsa_and_wav(voice, recording, tmp_path):
    code = (
        "import sys; from pathlib import Path; from duostory.speech import *\n"
        "voice = open_voice('espeak')\n"
        "with Player(voice, open_sink(sys.argv[1], voice.rate, wav=Path(sys.argv[2])), ahead=9) as player:\n"
        "    for sentence in sys.argv[3:]: player.say(sentence)\n"
        "    player.finish()\n"
    )
    for sink in ("alsa", "wav"):
        subprocess.run([sys.executable, "-c", code, sink, str(tmp_path / "story.wav"), *STORY], check=True)
    with wave.open(str(tmp_path / "story.wav")) as wav:
        assert wav.getframerate() == voice.rate
        assert wav.readframes(wav.getnframes()) == recording.read_bytes()


def test_a_file_makes_nobody_wait(voice, tmp_path):
    start = time.monotonic()
    with Player(voice, open_sink("wav", voice.rate, wav=tmp_path / "story.wav")) as player:
        tell(player, STORY * 5)
    assert player.stats.audio > 40
    assert time.monotonic() - start < player.stats.audio / 10  # observed 1/670 on a PC
    assert 0 < player.stats.synthesis < time.monotonic() - start
    assert 0 < player.stats.first_sound - start < 1


def test_words_are_told_at_their_place(voice):
    told: list[tuple[int, float, str]] = []

    def on_word(word: str, at: float, index: int) -> None:
        told.append((index, at, word))

    with Player(voice, NullSink(voice.rate), on_word=on_word) as player:
        tell(player, STORY)
    assert all(word in STORY[index] for index, _, word in told)
    assert {"dragon", "Mr", "Hello", "played"} <= {word for _, _, word in told}
    assert [(index, at) for index, at, _ in told] == sorted((index, at) for index, at, _ in told)
    assert told[-1][1] < player.stats.audio


def test_say_does_not_wait_for_the_voice_until_so_many_sentences_are_ahead():
    begun, go_on = Event(), Event()

    class Gated(Tone):
        def speak(self, text, write, on_word=None, quoted=False) -> None:
            begun.set()
            assert go_on.wait(10)

    with Player(Gated(), NullSink(Tone.rate), ahead=2) as player:
        player.say("a")
        assert begun.wait(10)
        player.say("b")
        player.say("c")  # would not return before the voice goes on, if only one might wait
        fourth = threading.Thread(target=player.say, args=["d"])
        fourth.start()
        fourth.join(0.2)
        assert fourth.is_alive()
        go_on.set()
        fourth.join(10)
        assert not fourth.is_alive()
        player.finish()


def test_say_waits_for_a_slow_card(card):
    said: list[float] = []
    with Player(Tone(), card.sink(buffer=0.5), ahead=2) as player:
        start = time.monotonic()
        for _ in range(5):
            player.say("a" * 40, 0.0)  # 0.4 s
            said.append(time.monotonic() - start)
        player.finish()
        done = time.monotonic() - start
    # The card holds the first and 0.1 s of the second, which is being spoken; two wait. The fifth has to,
    # until the rest of the second is in the card. A busy machine makes all of it later, and never earlier.
    assert said[4] > 0.25
    assert done > 1.95


def test_waiting_for_the_model_is_silence_and_no_xrun(card):
    with Player(Tone(), card.sink(buffer=0.5)) as player:
        player.say("a" * 30, 0.2)
        time.sleep(1.3)  # 0.3 s of sound, the pause of 0.2 s, then 0.8 s of nothing to say
        before = player.stats.audio
        player.say("b" * 30)
        player.finish()
    # The late sentence sounds with little delay: one piece of silence at most may be on its way.
    assert player.stats.audio - before <= 0.3 + LOW_WATER + 0.001
    assert player.stats.xruns == 0
    assert player.stats.gap > 0.5  # less than 0.8, for the card may be ahead; a busy machine makes it more


def test_what_has_been_heard_is_told_in_time(card):
    """Though sound is on its way for a while when it has left the card's buffer, as in USB."""
    early: list[float] = []
    with Player(Tone(), card.sink(buffer=0.5, latency=0.4)) as player:
        player.say("a" * 250)
        card.play(0.2)
        while card.played() < 2.0:
            early.append(player.heard() - card.played())
            time.sleep(0.02)
        player.finish()
    # The file in which the card keeps what was heard is up to one wait of the sink behind, 50 ms. Observed 27 ms.
    assert -0.02 < statistics.median(early) < 0.1
    assert card.played() == pytest.approx(player.stats.audio, abs=0.001) and player.stats.xruns == 0


def test_a_voice_too_slow_for_the_card_is_counted(card):
    class Slow(Tone):
        def speak(self, text, write, on_word=None, quoted=False) -> None:
            for _ in range(3):
                write(bytes(2 * 2205))
                time.sleep(0.2)

    with Player(Slow(), card.sink(buffer=0.5)) as player:
        tell(player, ["x"])
    assert player.stats.xruns == 2


@pytest.mark.parametrize("after", [0.0, 0.05, 0.7, 2.9])
def test_stop_is_silence_within_200_ms(voice, card, after):
    took: list[float] = []
    while not took or (took[-1] > 0.2 and len(took) < 5):  # again, for the machine itself may have been busy
        player = Player(voice, card.sink(buffer=1.0))
        for sentence in STORY:
            player.say(sentence)
        time.sleep(after)
        start = time.monotonic()
        player.stop()
        player.stop()
        player.close()
        took.append(time.monotonic() - start)
        player.say("Nothing more.")
        player.finish()
    assert took[-1] < 0.2, took  # observed 0.053 at most of 25: one poll of the card
    assert player.stats.audio < 9  # of 11


def test_stop_from_another_thread_frees_a_waiting_say(voice, card):
    player = Player(voice, card.sink(buffer=0.5), ahead=1)
    Timer(0.3, player.stop).start()
    for sentence in STORY * 10:
        player.say(sentence)
    player.finish()
    player.close()
    assert card.played() < 10  # of 110


@pytest.mark.parametrize("waiting_in", ["say", "finish"])
@pytest.mark.parametrize("card_is", ["fine", "unplugged", "asleep"])
def test_stop_from_a_signal_handler(voice, card, waiting_in, card_is):
    player = Player(voice, card.sink(buffer=0.5), ahead=1 if waiting_in == "say" else 9)
    card.state = card_is
    old = signal.signal(signal.SIGALRM, lambda *_: player.stop())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        tell(player, STORY)  # would last 11 seconds, or for ever
    finally:
        signal.signal(signal.SIGALRM, old)
        player.close()
    assert card.played() < 9


@pytest.mark.parametrize("waiting_in", ["say", "finish"])
def test_ctrl_c_in_a_waiting_call_ends_the_sound(voice, card, waiting_in):
    def interrupt(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with (
            pytest.raises(KeyboardInterrupt),
            Player(voice, card.sink(buffer=0.5), ahead=1 if waiting_in == "say" else 9) as player,
        ):
            tell(player, STORY)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert card.played() < 9


def test_a_stopped_story_leaves_a_wav_of_what_was_spoken(voice, tmp_path):
    class Paced(WavSink):
        def write(self, pcm: bytes) -> None:
            time.sleep(len(pcm) / 2 / self.rate)
            super().write(pcm)

    with Player(voice, Paced(tmp_path / "story.wav", voice.rate)) as player:
        for sentence in STORY:
            player.say(sentence)
        time.sleep(0.5)
    with wave.open(str(tmp_path / "story.wav")) as wav:
        assert wav.getnframes() / voice.rate == pytest.approx(player.stats.audio)
        assert 0.3 < player.stats.audio < 1.0
    assert os.listdir(tmp_path) == ["story.wav"]


class Letters(Tone):
    """A voice in which each letter has a level of its own: a is 1000, b 2000 ..."""

    def speak(self, text, write, on_word=None, quoted=False) -> None:
        for letter in text:  # 0.1 s
            if not write(array("h", [1000 * (ord(letter) - 96)] * 2205).tobytes()):
                return


def told(samples: array) -> str:
    """What Letters has said, one letter for each stretch of sound that is long enough for one; "." is silence."""
    letters = ((chr(level // 1000 + 96), sum(1 for _ in run)) for level, run in groupby(samples))
    return "".join("." if letter == "`" else letter * round(frames / 2205) for letter, frames in letters)


@pytest.mark.parametrize("pull, repeated", [
    (0.6, "abcde"),  # in the middle of a sentence
    (0.9, "abcde"),  # the next one is being written, but this one sounds
    (2.4, "ghijklmn"),  # the first has been heard
    (2.6, "ghijklmn"),  # all is written
])
def test_a_story_goes_on_with_the_sentence_that_was_cut(card, pull, repeated):
    notices: list[str] = []
    with Player(Letters(), card.sink(buffer=0.5), notice=notices.append) as player:
        player.say("abcde" * 2)
        player.say("ghijklmn" * 2, 0.2)
        finishing = threading.Thread(target=player.finish)
        finishing.start()
        card.play(pull)
        card.state = "unplugged"
        while not notices and finishing.is_alive():
            time.sleep(0.01)
        before = told(card.heard())
        card.state = "fine"
        finishing.join()
    story = "abcdeabcde.ghijklmnghijklmn"
    assert story.startswith(before) and before[-1] in "abcdeghijklmn"
    assert told(card.heard()).removeprefix(before).endswith(story[story.index(repeated) :])
    assert notices == [
        'the sound device "card" has gone (No such device); the story waits until it is back',
        "the sound device is back; the story goes on",
    ]


def test_what_is_spoken_again_begins_in_the_same_quotation(card):
    spoken: list[tuple[str, bool]] = []

    class Noting(Tone):
        def speak(self, text, write, on_word=None, quoted=False) -> None:
            spoken.append((text, quoted))
            super().speak(text, write)

    notices: list[str] = []
    with Player(Noting(), card.sink(buffer=0.5), notice=notices.append) as player:
        player.say("a" * 50, 0.0, True)
        player.say("b" * 50)
        card.play(0.3)
        card.state = "unplugged"
        while not notices:
            time.sleep(0.01)
        card.state = "fine"
        player.finish()
    assert len(spoken) > 2 and spoken[-2:] == [("a" * 50, True), ("b" * 50, False)]
    assert set(spoken) == set(spoken[-2:])


@pytest.mark.parametrize("where", ["say", "finish"])
def test_a_card_that_stays_away_ends_the_story(card, where, monkeypatch):
    monkeypatch.setattr("duostory.speech.player.AWAY", 1.2)
    player = Player(Tone(), card.sink(buffer=0.5), ahead=2)
    card.state = "unplugged"
    with pytest.raises(StoryError, match="has gone .* and was not back within"):
        if where == "say":
            for _ in range(50):
                player.say("a" * 50)
        else:
            player.say("a" * 50)
            player.finish()
    player.close()


def test_a_sound_is_played_in_its_place():
    memory = Memory(Tone.rate)
    chime = array("h", [5000] * 2205).tobytes()
    with Player(Tone(), memory) as player:
        player.play(chime)
        player.wait()
        assert player.stats.first_sound is None  # of a sentence
        player.say("a" * 50)
        player.play(chime)
        player.say("b" * 50)
        player.finish()
    pcm = bytes(memory.pcm)
    assert pcm.startswith(chime) and pcm.count(chime) == 2
    # The second one has the sentence's pause before it, and the next sentence right behind it.
    assert silences(pcm, Tone.rate, 0.01) == pytest.approx([SENTENCE], abs=0.001)
    assert player.stats.audio == pytest.approx(1.2 + SENTENCE, abs=0.001)


def test_wait_until_all_is_spoken():
    memory = Memory(Tone.rate)
    with Player(Tone(), memory) as player:
        for count in (1, 2):
            for sentence in STORY:
                player.say(sentence, 0.0)
            player.wait()
            assert len(memory.pcm) > count * 440 * len("".join(STORY))  # bytes; see Tone
        player.finish()
    player.wait()


def test_wait_ends_with_the_player(card, monkeypatch):
    player = Player(Tone(), card.sink(buffer=0.5), ahead=9)
    for sentence in STORY:
        player.say(sentence)
    Timer(0.3, player.stop).start()
    start = time.monotonic()
    player.wait()
    assert time.monotonic() - start < 1.0
    player.close()
    monkeypatch.setattr("duostory.speech.player.AWAY", 0.6)
    failing = Player(Tone(), card.sink(buffer=0.5), ahead=9)
    card.state = "unplugged"
    failing.say("a" * 50)
    with pytest.raises(StoryError, match="has gone"):
        failing.wait()
    failing.close()


def test_waiting_includes_what_is_spoken_again(card):
    """The card goes when all of the sentence is written, but not heard."""
    notices: list[str] = []
    with Player(Letters(), card.sink(buffer=0.5), notice=notices.append) as player:
        player.say("abcde" * 2, 0.0)
        player.play(bytes(2 * Letters.rate))  # silence, longer than the card's buffer
        waiting = threading.Thread(target=player.wait)
        waiting.start()
        card.play(0.8)
        card.state = "unplugged"
        while not notices:
            time.sleep(0.01)
        before = told(card.heard())
        card.state = "fine"
        waiting.join()
        assert told(card.heard()).removeprefix(before).rstrip(".") == "abcdeabcde"


def test_the_rate_of_a_voice_can_be_changed(voice):
    """The next sentence is spoken at the new rate, and later ones at the old one again."""
    durations = []
    try:
        for rate in (155, 110, 155):
            voice.rate_wpm = rate
            memory = Memory(voice.rate)
            with Player(voice, memory) as player:
                player.say(STORY[1])
                player.finish()
            durations.append(player.stats.audio)
    finally:
        voice.rate_wpm = 155
    assert durations[1] > 1.2 * durations[0] and durations[2] == pytest.approx(durations[0], rel=0.05)


def test_an_error_in_a_callback_reaches_the_caller(voice):
    def broken(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Player(voice, NullSink(voice.rate), on_word=broken) as player:
        tell(player, STORY)


def test_no_sentences_are_no_sound(tmp_path):
    with Player(Tone(), open_sink("wav", Tone.rate, wav=tmp_path / "story.wav")) as player:
        player.finish()
    assert player.stats.first_sound is None and player.stats.audio == 0.0
    assert not os.listdir(tmp_path)


def test_fifty_stories_leave_no_memory_no_threads_and_no_files(voice, recording, tmp_path):
    def stories(count: int) -> None:
        for number in range(count):
            sink = open_sink(*[("alsa", voice.rate), ("null", voice.rate)][number % 2])
            with Player(voice, sink, on_word=lambda *_: None) as player:
                for sentence in STORY:
                    player.say(sentence)
                if number % 3:
                    player.finish()  # the others are stopped in the middle

    def used() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    def resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()

    stories(10)
    before, memory = used(), resident()
    stories(50)
    assert used() == before
    assert resident() - memory < 1_000_000  # observed 25 kB, and no more after that


# Tells what there is after each story but the last: threads, open files and bytes of memory.
COUNTING = """
import os, resource, sys, threading
from duostory import cli
class Teller(cli.Teller):
    def summary(self):
        if self._story:
            with open("/proc/self/statm") as statm:
                resident = int(statm.read().split()[1]) * resource.getpagesize()
            print("now", threading.active_count(), len(os.listdir("/proc/self/fd")), resident, file=sys.stderr)
        super().summary()
cli.Teller = Teller
sys.exit(cli.main(sys.argv[1:]))
"""


def test_fifty_stories_in_a_row_are_no_more_than_ten(voice, recording, story_model, tmp_path):
    """The whole program: model, gate, voice, ALSA."""
    args = str(story_model), "--stories", "51", "-n", "60", "-s", "1", "a cat"
    told = subprocess.run([sys.executable, "-c", COUNTING, *args], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True,
                          env=environment(tmp_path), text=True)
    counts = [[int(number) for number in line.split()[1:]] for line in told.stderr.splitlines() if line.startswith("now")][:50]
    assert told.returncode == 0 and told.stdout.count("The end.") == 51 and len(counts) == 50
    assert counts[9][:2] == counts[49][:2]
    assert counts[49][2] - counts[9][2] < 1_000_000  # observed 0.2 MB
