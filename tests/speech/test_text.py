"""How a story is read: what espeak-ng would say otherwise, who is speaking, and every word told once."""

import re

import numpy as np
import pytest

from duostory.speech.text import WORD, Reader

COMMAND = re.compile("\x01(\\d+)P")


def read(text: str) -> str:
    return COMMAND.sub("", Reader(50, 62).read(text)[0])


@pytest.mark.parametrize("text, expected", [
    ("Mr. Fox met Mrs. Hen, Dr. Owl and MR. BEAR.", "Mr Fox met Mrs Hen, Dr Owl and Mr Bear."),
    ("Ms. Mole and Capt. Hook vs. Prof. Owl Jr.", "Miz Mole and Captain Hook versus Professor Owl Junior"),
    ("It was J. Bear of the U.S.A. So do I.", "It was J Bear of the U.S.A. So do I."),
    ("It cost $5, not $1, $2.50 or $0.99!", "It cost 5 dollars, not 1 dollar, 2 dollars and 50 cents or 99 cents!"),
    ("He had £1.01 and £1,000.00.", "He had 1 pound and 1 penny and 1,000 pounds."),
    ("at 10:00, 7:05 or 3:30", "at 10 o'clock, 7 oh 5 or 3:30"),
    ("He ran -- fast—home — now.", "He ran, fast, home, now."),
    ("and/or 1/2", "and or 1/2"),
    ("B-b-but I-I c-can't. An x-ray.", "Buh-buh-but I-I cuh-can't. An x-ray."),
    ("GIVE IT TO US, TIM! I am OK. TV, 8 AM, Henry VIII.", "Give It To Us, Tim! I am Ok. TV, 8 AM, Henry VIII."),
    ("Nooooo! SOOO big. Helllooo!", "No! So big. Helloo!"),
    ("Looook, a mooo! Heeelp! Pleeease! Yesss! Yaaay! Loooong. Ooooh! Freeee.",
     "Look, a moo! Help! Please! Yes! Yay! Long. Ooh! Free."),
    ("Shhh! Brrr, grrr. Zzz... Mmm, hmmm.", "Shush! Burr, gurr. Zuzz... Hmm, hmm."),
    # and what is read as it is
    ("A happy little egg, 25 cakes, the 1st of 3,000 trees. Miss Lee's book... 3-year-old.", None),
    ('He said, "Hello!"', None),
    ("'Hello,' she said. It’s Tom’s.", None),
])
def test_what_is_read(text, expected):
    assert read(text) == (text if expected is None else expected)


@pytest.mark.parametrize("text", [
    'He said, "Mr. Fox, $5 for NOOO--really?" and "ran".', "—", '"', "", "a--", '""" "', "Mmm", "$1 £2", "é—ü",
])
def test_places_stay_true(text):
    reading, places = Reader(50, 62).read(text)
    assert len(places) == len(reading) + 1 and places[-1] == len(text)
    assert places == sorted(places)
    for word in re.finditer(r"\w{3,}", text):
        if (at := COMMAND.sub(lambda command: "." * len(command[0]), reading).find(word[0])) >= 0:
            assert places[at] == word.start()


@pytest.mark.parametrize("sentences, expected", [  # <what is spoken in the higher pitch>
    (['"Hello," said Tom.'], ['"<Hello," >said Tom.']),
    (['Tom said, "Hello."', "He ran."], ['Tom said, "<Hello."', "He ran."]),
    (['"I am big.', "I am blue.", 'I am here!" he said.'], ['"<I am big.', "I am blue.", 'I am here!" >he said.']),
    (['He said, "Go!', '"I am here," said Tom.'], ['He said, "<Go!', '"<I am here," >said Tom.']),
    (['The "big" dog ("Spot") ran.'], ['The "<big" >dog ("<Spot") >ran.']),
    (['" Hello ," he said. "Go" .'], ['" <Hello ," >he said. "<Go" .']),
    (["“Hello,” said Tom."], ['"<Hello," >said Tom.']),
    (['No one said "'], ['No one said "']),
])
def test_direct_speech_goes_on_until_it_is_closed(sentences, expected):
    reader = Reader(50, 62)
    texts = [reader.read(sentence)[0] for sentence in sentences]
    assert [text.replace("\x0162P", "<").replace("\x0150P", ">") for text in texts] == expected


def frequency(voice, text: str) -> float:
    """The median frequency of the voiced parts, from the autocorrelation."""
    pcm = bytearray()
    voice.speak(text, lambda chunk: pcm.extend(chunk) or True)
    found, samples = [], np.frombuffer(bytes(pcm), "<i2").astype(float)
    for start in range(0, len(samples) - 1024, 512):
        frame = samples[start : start + 1024]
        correlation = np.correlate(frame, frame, "full")[1023:]
        low, high = voice.rate // 250, voice.rate // 60
        best = low + int(correlation[low:high].argmax())
        if correlation[best] > 0.5 * correlation[0] > 0 and abs(frame).max() > 1500:
            found.append(voice.rate / best)
    return float(np.median(found))


def test_direct_speech_is_higher(voice):
    """Observed: 1.12 to 1.13 times as high."""
    plain = frequency(voice, "I am a big bear.")
    assert 1.05 < frequency(voice, '"I am a big bear."') / plain < 1.2
    voice.speak('He said, "I am.', lambda _: True)
    assert 1.05 < frequency(voice, "I am a big bear.") / plain < 1.2
    voice.speak('And now," he said.', lambda _: True)
    assert 0.97 < frequency(voice, "I am a big bear.") / plain < 1.03


@pytest.mark.parametrize("text", [
    "One of the cats in the hat was at the end of the road.",  # "of the", "in the", "was at the" are one event each
    'He had 25 of $1,000 and ran—fast, at 10:00, to "Mr. Fox".',
    "Nooo! B-b-but it was DARK -- so dark... and/or cold.",
    "A dragon 🐉 said: “Wow”!",
    "שלום dragon 日本",
    "of the",
])
def test_every_word_is_told_once_and_in_order(voice, text):
    told: list[tuple[str, float]] = []
    frames = 0

    def write(pcm: bytes) -> bool:
        nonlocal frames
        frames += len(pcm) // 2
        return True

    voice.speak(text, write, lambda word, at: told.append((word, at)))
    assert [word for word, _ in told] == WORD.findall(text)
    times = [at for _, at in told]
    assert times == sorted(times) and 0 <= times[0] and times[-1] < frames / voice.rate
    assert len(set(times)) == len(times)


def test_a_sentence_without_a_word_is_silent(voice):
    voice.speak("?! ...", lambda _: pytest.fail("it was spoken"))
