"""Predicts what listening costs the board: the whole program hears wishes and answers from a file, as with --mic-file.

The file is not heard at a microphone's pace. What is taken from it is the work that each block of sound causes; a block comes
every 30 ms, and is worked on when it is there and the work before it is done. The answer sounds when the work on the block that
ends the listening is done, and so much later as the program takes from there to the voice's first samples.
"""

import itertools
import statistics
import subprocess
import sys
import wave
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from program import ROOT, SPEAKER, Program

# Spoken by the five voices in turn, with an answer to the question; heard in PARTS at the same time, in each of which a story
# is told after the last yes.
WISHES = [("tell me a story about a dragon", "yes"), ("a story about a little bear", "no"), ("a robot and a cat", "yes"),
          ("i want a story about a rabbit", "yes"), ("once upon a time there was a frog", "yes"),
          ("a story about a princess", "yes"), ("tell me about a train", "no"), ("a pirate", "yes"),
          ("another story about an owl", "yes"), ("tell me a story about a monkey", "yes")]
FREE_WISHES = [("tell me a story about a dragon who lost his apple", "yes"), ("a rabbit who ate too many carrots", "yes"),
               ("a story about a pirate who was afraid of water", "yes"), ("an old man and his donkey", "no"),
               ("tell me a story about a kitten that was stuck in a tree", "yes"), ("a queen with a golden crown", "yes"),
               ("once upon a time there was a star that fell from the sky", "yes"), ("a monster under the bed", "yes"),
               ("i want a story about a turtle who won a race", "no"), ("a girl who talked to flowers", "yes")]
PARTS = 2
RATE, BLOCK_S = 16000, 0.03
ROOM_S = 1.2  # between two sentences, besides 0.6 s that belong to them
BEGINS = 0.01  # of the loudest sample: speech, not the room

PROBE = "from duostory import cli, speech\ngo_on = lambda: False  # the first samples of an answer are enough\n" + SPEAKER + """
from duostory.hearing import conversation, listening, pocketsphinx, sources

def watched(owner, name, what, told=lambda args, result: ()):
    method = getattr(owner, name)
    def call(*args, **options):
        mark(what)
        result = method(*args, **options)
        mark("/" + what, *told(args, result))
        return result
    setattr(owner, name, call)

watched(sources.WavSource, "read", "block")
watched(pocketsphinx.Endpointer, "feed", "endpointer", lambda _, state: [state])
watched(pocketsphinx.Recogniser, "__init__", "open")
watched(pocketsphinx.Recogniser, "start", "start")
watched(pocketsphinx.Recogniser, "feed", "feed", lambda args, _: [len(args[1])])
watched(listening.Listener, "listen", "listen", lambda _, heard: [heard.hypothesis.text if heard.hypothesis else ""])

# Until the last answer the recogniser stays open, and no story is told.
last = int(sys.argv.pop(1))
tell, forget = cli._tell_heard, conversation.Conversation._forget
def over():
    return sum(what[0] == "block" for what in marks) > last
def begin(*args):
    global go_on
    mark("told")
    if over():
        go_on = end
        return tell(*args)
    return True
cli._tell_heard = begin
conversation.Conversation._forget = lambda self: forget(self) if over() else None

cli.main(sys.argv[1:])
end()
"""


class Said(NamedTuple):
    text: str
    answer: bool
    end: float  # s of the file: its last sound


@dataclass
class Block:
    """What 30 ms of sound cause."""

    begun: float  # s of the processor
    work: float = 0.0
    starts: bool = False  # to give the recogniser sound, perhaps anew
    given: float = 0.0  # s of sound, to the recogniser
    state: str = ""  # the endpointer's


@dataclass
class Listening:
    """From a listener's beginning to the next one's."""

    first: int  # block of the file
    blocks: list[Block]
    heard: str = ""
    ended: float = 0.0  # s of the processor
    answered: float = 0.0  # when an answer had begun to sound, or a story could begin,
    sounded: float = 0.0  # and when that story sounded

    def __contains__(self, said: Said) -> bool:
        return self.first * BLOCK_S <= said.end < (self.first + len(self.blocks)) * BLOCK_S


def listenings(marks: list[tuple]) -> list[Listening]:
    found, read, telling = [], 0, False
    for at, what, *told in marks:
        now = found[-1] if found else None
        block = now.blocks[-1] if now and now.blocks and not now.ended else None
        if what == "listen":
            found.append(Listening(read, []))
        elif what == "/block":
            now.blocks.append(Block(at))
            read += 1
        elif what in ("sound", "told"):
            telling = telling or what == "told"
            if not now.answered:
                now.answered = at
            elif telling:
                now.sounded = now.sounded or at
        elif not block:  # what is done between two listenings
            continue
        elif what in ("block", "/listen"):
            block.work = at - block.begun
            if what == "/listen":
                now.heard, now.ended = told[0].replace("_", " "), at
        elif what == "/start":
            block.starts = True
        elif what == "/feed":
            block.given += told[0] / 2 / RATE
        elif what == "/endpointer":
            [block.state] = told
    return found


@dataclass
class Turn:
    """A sentence, and what became of it, in seconds."""

    said: Said
    heard: str
    sound: float  # that the recogniser was given
    work: float  # of the processor from the first block of that sound on, until the listening ends
    noticed: float  # from the last sound until the endpointer says so, or would with more time,
    known: float  # until that is known, and that nobody goes on,
    answered: float  # and until the first sound of the answer, or until a story can begin
    behind: float  # of sound that waits to be heard, at most

    @property
    def answer(self) -> float:
        return self.noticed + self.known + self.answered


def turn(said: Said, listening: Listening) -> Turn:
    free = behind = ceased = sound = work = 0.0
    begun = False
    for number, block in enumerate(listening.blocks, 1):
        came = number * BLOCK_S
        behind = max(behind, free - came)
        free = max(free, came) + block.work
        if block.starts:
            begun, sound = True, 0.0
        if begun:
            sound += block.given
            work += block.work
        if block.state == "end":
            ceased = came
    spoken = said.end - listening.first * BLOCK_S
    answered = listening.answered - listening.ended
    return Turn(said, listening.heard, sound, work, ceased - spoken, free - ceased, answered, behind)


def speak(file: Path, wishes: Iterable, voices: Iterable) -> list[Said]:
    """Write what is to be heard, with a quiet room in between."""
    import numpy as np

    from tests.hearing import sounds

    said, at = [], 0
    with wave.open(str(file), "wb") as wav:
        wav.setparams((1, 2, RATE, 0, "NONE", ""))
        for wish, voice in zip(wishes, voices):
            for number, text in enumerate(wish):
                sound = sounds.say(text, voice)
                end = np.flatnonzero(np.abs(sound) > BEGINS * np.abs(sound).max())[-1]
                said.append(Said(text, number > 0, float(at + end) / RATE))
                sound = np.concatenate([sound, sounds.roomy(sound[:0], ROOM_S, 0)])
                wav.writeframes(sounds.pcm(sound))
                at += len(sound)
    return said


def ear(folder: Path) -> Path:
    """pocketsphinx for riscv64, with what a board has beside it."""
    built = subprocess.run([ROOT / "scripts" / "pocketsphinx", "--host", "riscv64-linux-gnu"], capture_output=True, text=True)
    if built.returncode:
        sys.exit(built.stderr.strip())
    library, made = built.stdout.strip(), folder / "ear"
    made.mkdir()
    (made / "libpocketsphinx.so").symlink_to(f"{library}/libpocketsphinx.so")
    subprocess.run([ROOT / "scripts" / "grammar", f"{library}/en-us", f"{library}/cmudict-en-us.dict", made], check=True)
    return made


def measure(simulate, folder: Path, mhz: float, *, free: bool = False) -> None:
    """Print the prediction, of `free` or of listed wishes; `simulate(command, environment)` reports one run."""
    from tests.hearing import sounds

    program = Program(simulate, folder, mhz, DUOSTORY_POCKETSPHINX=str(ear(folder)))

    def hear(part: int) -> list[tuple]:
        file = folder / f"said-{part}.wav"
        voices = itertools.islice(itertools.cycle(sounds.FIVE.values()), part, None, PARTS)
        said = speak(file, (FREE_WISHES if free else WISHES)[part::PARTS], voices)
        last = str(int(said[-1].end / BLOCK_S))
        options = ["--no-earcons", "-s", "1", *(["--free"] if free else []), "--mic-file", str(file)]
        return said, program.run(PROBE, last, *options, name=f"marks-{part}")

    program.run("from duostory import cli, teller\nfrom duostory.hearing import pocketsphinx, session, wake\nend()")  # compiles
    turns, silent, opened, stories = [], [], [], []
    with ThreadPoolExecutor(PARTS) as runs:
        for said, marks in runs.map(hear, range(PARTS)):
            found = listenings(marks)
            turns += [turn(each, listening) for each in said for listening in found if each in listening]
            for each in found:
                silent += [block.work for block in itertools.takewhile(lambda block: not block.starts, each.blocks)]
            stories += [each.sounded - each.answered for each in found if each.sounded]
            at = {what: at for at, what, *_ in reversed(marks)}
            opened.append(at["/open"] - at["open"])
    wide = 1 + max(len(text) for each in turns for text in (each.said.text, each.heard))
    print(f"{'said':<{wide}}{'heard':<{wide}}  sound   work   rate  noticed  known  answer    sum")
    for each in turns:
        print(f"{each.said.text:<{wide}}{each.heard:<{wide}}{each.sound:7.2f}{each.work:7.2f}{rate([each]):7.3f}"
              f"{each.noticed:9.2f}{each.known:7.2f}{each.answered:8.2f}{each.answer:7.2f}")
    print(f"""
Seconds predicted at {mhz:g} MHz: sound that the recogniser was given; the processor's work on it, all and for a second; from
the last sound until the end is noticed, until it is known what was said, until the answer sounds or a story begins; and all.
""")
    for name, answers in ("wishes", False), ("answers", True):
        some = [each for each in turns if each.said.answer is answers]
        times, rates = [each.answer for each in some], [rate([each]) for each in some]
        behind = max(each.behind for each in some)
        print(f"{len(some)} {name}: {rate(some):.3f} s of work for a second of sound, at worst {max(rates):.3f}; answered "
              f"after {statistics.median(times):.2f} s, at worst {max(times):.2f}; {behind:.2f} s behind at worst")
    after = sum(each.answered for each in turns) / sum(each.sound for each in turns)
    print(f"with what is done after the listening: {rate(turns) + after:.3f} s of work for a second of sound; in silence "
          f"{statistics.mean(silent) / BLOCK_S:.4f}\nto open the recogniser {max(opened):.2f} s; from the beginning of a story "
          f"to its first sound {max(stories, default=0):.2f}")


def rate(turns: list[Turn]) -> float:
    """Seconds of the processor for a second of sound."""
    return sum(each.work for each in turns) / sum(each.sound for each in turns)
