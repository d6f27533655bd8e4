"""How well duostory hears: speaks all that it should understand and ninety sentences that are no wishes, and counts.

    scripts/hearing                 five voices of espeak-ng, each subject once by each
    scripts/hearing --every 4       with every fourth subject only
    scripts/hearing --free          free wishes instead
    scripts/hearing --more          and five other voices of espeak-ng, and flite's where it is installed
"""

import argparse
import datetime
import random
import re
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from duostory.hearing.dialogue import OFFERS, WISHES, YES_NO, Answer, Dialogue
from duostory.hearing.grammar import Command, Heard
from duostory.hearing.pocketsphinx import Hypothesis, Recogniser
from duostory.hearing.sources import BLOCK
from duostory.models import data_dir
from duostory.wish import _DULL
from tests.hearing import sounds
from tests.hearing.wishes import drawn

OTHERS = Path(__file__).with_name("others.txt")
FREE = Path(__file__).with_name("free.txt")
CONDITIONS = ("clean", "pink noise, 20 dB", "pink noise, 10 dB", "babble, 20 dB", "echo, 0.4 s", "clipped by 24 dB",
              "30 dB too quiet")
SEED = 6
Subjects = tuple[str, ...]


def hear(recogniser: Recogniser, sound) -> tuple[Hypothesis, Command | None]:
    recogniser.start()
    pcm = sounds.pcm(sound)
    for at in range(0, len(pcm), 2 * BLOCK):
        recogniser.feed(pcm[at : at + 2 * BLOCK])
    hypothesis = recogniser.finish()
    return hypothesis, recogniser.meaning(hypothesis.text)


def right(said: tuple[str, ...], heard: tuple[str, ...]) -> tuple[int, int]:
    """(subjects right in their places, of how many); one too many counts as one wrong."""
    return sum(a == b for a, b in zip(said, heard)), max(len(said), len(heard))


class Count:
    def __init__(self) -> None:
        self.right = self.slots = self.said = 0  # subjects
        self.wishes = self.once = self.told = self.told_right = 0
        self.confirmed = self.last_right = self.questions = 0

    def add(self, said: Subjects, first: tuple[Hypothesis, Command | None], asked: list[Subjects], questions: int) -> None:
        hypothesis, command = first
        heard = command.subjects if command else ()
        right_now, slots = right(said, heard)
        self.right, self.slots, self.said = self.right + right_now, self.slots + slots, self.said + len(said)
        self.wishes, self.once = self.wishes + 1, self.once + (heard == said)
        self.told += hypothesis.confident
        self.told_right += hypothesis.confident and heard == said
        last = asked[-1] if asked else ()
        self.confirmed += last == said
        self.last_right, self.questions = self.last_right + right(said, last)[0], self.questions + questions


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def understood(recogniser: Recogniser, hypothesis: Hypothesis) -> Answer:
    return Answer(recogniser.meaning(hypothesis.text),
                  otherwise=lambda without: understood(recogniser, recogniser.reconsider(hypothesis, without)))


def converse(recogniser: Recogniser, first: Hypothesis, again: Callable, said: Subjects) -> tuple[list[Subjects], int]:
    """The dialogue with one who says yes to a story about `said` and no to all else; the sound of a second try is again().

    The subjects that were asked back each time, and how many questions there were. At the offers it is over.
    """
    talk = Dialogue(cycle(OFFERS), str.format).talk()
    ask, answer = next(talk), understood(recogniser, first)
    asked, questions = [], 0
    try:
        while not (ask := talk.send(answer)).offered:
            questions += 1
            if ask.listen_for == WISHES:
                recogniser.use(WISHES, ask.without)
                answer = understood(recogniser, hear(recogniser, again())[0])
            else:
                story = re.fullmatch("A story about (.*?)(, then)?[.] Yes[?]", ask.text)
                asked.append(recogniser.meaning(f"about {story[1].lower()}").subjects if story else ())
                answer = Answer(Command("yes" if asked[-1] == said else "no"))
    except StopIteration:  # with this wish, or because a wish was taken for "stop" or "louder"
        pass
    recogniser.use(WISHES)
    return asked, questions


def wishes_table(recogniser: Recogniser, wishes, voices: dict, conditions) -> None:
    print("| | subject right (by voice) | wish right | subject after confirmation (by voice) | wish after confirmation "
          "| questions | certain | of these right |\n|---|---|---|---|---|---|---|---|")
    for condition in conditions:
        spoil, count = sounds.CONDITIONS[condition], Count()
        each = {}
        for name, voice in voices.items():
            mine = each[name] = Count()
            for number, (text, said) in enumerate(wishes):
                first = hear(recogniser, spoil(sounds.say(text, voice), number))
                first[0].confident  # has to be asked before anything else is heard
                # Whoever is asked again does not say it exactly so again.
                talked = converse(recogniser, first[0], lambda: spoil(sounds.say(text, slower(voice)), number + 1000), said)
                for one in (count, mine):
                    one.add(said, first, *talked)
        by_voice = (", ".join(percent(part(c), whole(c))[:-2] for c in each.values())
                    for part, whole in ((lambda c: c.right, lambda c: c.slots), (lambda c: c.last_right, lambda c: c.said)))
        print(f"| {condition} | {percent(count.right, count.slots)} ({next(by_voice)}) | {percent(count.once, count.wishes)} "
              f"| {percent(count.last_right, count.said)} ({next(by_voice)}) | {percent(count.confirmed, count.wishes)} "
              f"| {count.questions / count.wishes:.2f} | {percent(count.told, count.wishes)} "
              f"| {percent(count.told_right, count.told)} |", flush=True)


def slower(voice):
    return voice if isinstance(voice, str) else (voice[0], round(voice[1] * 0.9), voice[2])


def answers_table(recogniser: Recogniser, wishes, voices: dict, conditions) -> None:
    """What is said to "I know stories about a dragon, a robot and a bear. Which one?", to any three, and to "Yes?"."""
    threes = [OFFERS[at : at + 3] for at in range(0, len(OFFERS), 3)]
    subjects = [(three, offer.partition(" ")[2]) for three in threes for offer in three]
    # (what is said, what is offered, the right kind, the right subjects)
    columns = {
        "a dragon; the dragon; dragon": [(f"{article}{name}", three, "story", (name,)) for three, name in subjects
                                         for article in ("an " if name[0] in "aeiou" else "a ", "the ", "")],
        "the first one ...": [(phrase, three, "story", (three[place].partition(" ")[2],))
                              for three, (phrase, place) in zip(cycle(threes), recogniser.heard.places.items())],
        "another wish": [(text, three, "story", said) for three, (text, said) in zip(cycle(threes), wishes)],
        "yes": [(phrase, (), "yes", ()) for phrase in recogniser.heard.phrases["yes"]],
        "no": [(phrase, (), "no", ()) for phrase in recogniser.heard.phrases["no"]],
    }
    print("\n| |", " | ".join(columns), "|\n|---|" + "---|" * len(columns))
    for condition in conditions:
        shares = []
        for answers in columns.values():
            good = 0
            for number, (text, offered, *meant) in enumerate(answers):
                recogniser.use(WISHES if offered else YES_NO, offered=offered)
                for voice in voices.values():
                    sound = sounds.CONDITIONS[condition](sounds.say(text, voice), number)
                    command = recogniser.meaning(hear(recogniser, sound)[0].text, offered)
                    good += command is not None and [*command[:2]] == meant
            shares.append(percent(good, len(answers) * len(voices)))
        print(f"| {condition} |", " | ".join(shares), "|", flush=True)
    recogniser.use(WISHES)


def others_table(recogniser: Recogniser, texts: list[str], voices: dict, conditions) -> None:
    print("\n| | a story without confirmation | some other command | refused |\n|---|---|---|---|")
    for condition in conditions:
        stories = commands = 0
        for number, text in enumerate(texts):  # the voices in turn
            sound = sounds.say(text, [*voices.values()][number % len(voices)])
            hypothesis, command = hear(recogniser, sounds.CONDITIONS[condition](sound, number))
            told = hypothesis.confident and command is not None
            stories += told and command.kind in ("story", "surprise")
            commands += told and command.kind not in ("story", "surprise")
        print(f"| {condition} | {stories} | {commands} | {len(texts) - stories - commands} |", flush=True)


def content(text: str) -> Counter:
    """The words that carry a wish, in the singular."""
    return Counter(singular(word) for word in re.findall(r"[a-z']+", text.lower()) if word not in _DULL)


def singular(word: str) -> str:
    word = {"mice": "mouse", "wolves": "wolf", "leaves": "leaf"}.get(word, word)
    return re.sub(r"(?<=[^aeiou])ie$", "y", re.sub(r"(?<=ch|sh)e$|(?<=x)e$", "", re.sub(r"(?<=[^su])s$", "", word)))


def free_wishes(recogniser: Recogniser, every: int = 1) -> dict[str, list[str]]:
    """The subjects of the file by themselves, and asked for in the list's phrases."""
    subjects = [line for line in FREE.read_text().splitlines() if not line.startswith("#")][::every]
    leads = [lead for lead in recogniser.heard.leads if lead]
    draw = random.Random(SEED)
    return {"the subject alone": subjects, "in a phrase": [f"{draw.choice(leads)} {subject}" for subject in subjects]}


def free_table(recogniser: Recogniser, voices: dict, conditions, every: int) -> None:
    """How many words that carry a wish are heard, and how many of the things said back had been said."""
    print("| | content words right (by voice) | things said back | of these right | not understood |\n|---|---|---|---|---|")
    recogniser.use("free")
    phrased = free_wishes(recogniser, every)
    for condition in conditions:
        spoil = sounds.CONDITIONS[condition]
        for way, texts in phrased.items():
            found, words, back, back_right, nothing = Counter(), Counter(), 0, 0, 0
            for name, voice in voices.items():
                for number, (text, subject) in enumerate(zip(texts, phrased["the subject alone"])):
                    hypothesis, command = hear(recogniser, spoil(sounds.say(text, voice), number))
                    said = content(subject)
                    found[name] += (said & content(hypothesis.text.replace("_", " "))).total()
                    words[name] += said.total()
                    nothing += command is None
                    things = content(" ".join(command.subjects)) if command else Counter()
                    back, back_right = back + things.total(), back_right + (said & things).total()
            each = ", ".join(percent(found[name], words[name])[:-2] for name in voices)
            print(f"| {condition}, {way} | {100 * found.total() / words.total():.1f} % of {words.total()} ({each}) "
                  f"| {back} | {percent(back_right, back)} | {nothing} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/hearing", description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="speak every Nth wish only (1)")
    parser.add_argument("--more", action="store_true", help="other voices too")
    parser.add_argument("--conditions", nargs="*", default=CONDITIONS, choices=CONDITIONS, metavar="CONDITION")
    parser.add_argument("--free", action="store_true", help="free wishes")
    args = parser.parse_args()
    if args.free:
        free_table(Recogniser(free=True), sounds.FIVE, args.conditions, args.every)
        return
    recogniser = Recogniser()
    wishes = drawn(Heard(data_dir() / "heard.txt"), SEED)[:: args.every]
    others = [line for line in OTHERS.read_text().splitlines() if not line.startswith("#")]
    from duostory.speech.espeak import Espeak

    print(f"{datetime.date.today()}, pocketsphinx 5.1.1, {Espeak().version}: {len(wishes)} wishes with "
          f"{sum(len(said) for _, said in wishes)} subjects by each voice of {', '.join(sounds.FIVE)}; {len(others)} other "
          f"sentences, by these voices in turn.\n")
    wishes_table(recogniser, wishes, sounds.FIVE, args.conditions)
    answers_table(recogniser, wishes[::4], sounds.FIVE, [c for c in args.conditions if c in CONDITIONS[:3]])
    others_table(recogniser, others, sounds.FIVE, [c for c in args.conditions if c in CONDITIONS[:3]])
    if args.more:
        voices = sounds.MORE | {f"flite {name}": name for name in sounds.flite_voices()}
        print(f"\nOther voices ({', '.join(voices)}):\n")
        wishes_table(recogniser, wishes, voices, args.conditions)


if __name__ == "__main__":
    main()
