#!/usr/bin/env python3
"""Make the language model of free wishes, models/free.bin, and its list of words, models/free.txt, from story text.

    python scripts/language.py stories.txt.xz more.txt --flagged flagged.tsv \
        --dictionary "$(scripts/pocketsphinx)/cmudict-en-us.dict"

The text is cleaned as prepare.py does it. The steps, in the order of this file:

1. words     nouns, names, adjectives and verbs of the stories, and how often each may be wished for
2. wishes    made of these words by the rules below, and of what is done in the stories: "a boy who lost his ball"
3. trigrams  interpolated Kneser-Ney; those are kept that tell most against what is known without them
4. write     ARPA, and of it what pocketsphinx reads fastest

The same text and options always give the same files.
"""

import argparse
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import accumulate
from pathlib import Path

import numpy as np
import prepare
from prepare import Subjects, clean, flagged_words, read_stories, split_of

from duostory.gate import Gate, open_gate
from duostory.hearing.grammar import KINDS, Heard, takes_an
from duostory.models import data_dir

START, END = 0, 1  # the ids of <s> and </s>


@dataclass(frozen=True)
class Config:
    words: int = 3000  # in the vocabulary
    wishes: int = 500_000  # made by rules
    told: int = 250_000  # made of what is done in the stories, at most
    story_share: float = 0.5  # of the stories' own clauses
    lead_share: float = 0.5  # of wishes begin with "tell me a story about" or the like
    command_share: float = 0.05  # as many commands ("once more") as that of the wishes
    flatness: float = 0.75  # a word that is so often in the stories is wished for so often to this power
    bigrams: int = 30_000  # to keep at most, besides those that trigrams need
    trigrams: int = 50_000
    seed: int = 6


# ---------------------------------------------------------------------------------------------
# 1. Words

WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
VAGUE = set("one other day time way lot side top bit end idea thing things kind name ones story".split())
# Who does this is somebody.
SPEAKS = re.compile(r"\b(?:a|the|his|her|little|old|big) ([a-z]+) (?:said|asked|replied|smiled|looked|felt|wanted|ran|loved|"
                    r"liked|thought|laughed|cried|was so happy|was very)\b")
QUALITY = re.compile(r"(?=\b(?:a|an|the|his|her) ([a-z]+) ([a-z]+)\b)")
CAN_BE_DONE = re.compile(r"\b(?:wanted|loved|liked|learned|tried|could|could not|couldn't|started|began) (?:to )?([a-z]{2,})\b")
WAS_DONE = re.compile(r"\b(?:he|she|they|it|who) ([a-z]{3,}) (?:a|an|the|his|her|some|many)\b")
NO_VERB = set("not be to the his her have do it him them never always also still only even just was and for with into all were "
              "said".split())
BOTH = set("play help talk dance sleep walk swim cook paint drink dream hug smile jump climb fly sing".split())  # nouns, too


def vocabulary(stories: list[str], subjects: Subjects, heard: Heard, gate: Gate) -> dict[str, Counter]:
    """For each kind of word, how often the stories have it, or in how many of them it is. What is listed counts for more."""
    text, known = "\n".join(stories).lower(), subjects.stories_with
    listed = {subject.name for subject in heard.subjects if " " not in subject.name}
    nouns = {word for word in subjects.nouns if known[word] >= 8 and len(word) > 1} - VAGUE
    uses = Counter(word for story in stories for word in subjects.words(story))
    speaks = Counter(SPEAKS.findall(text))
    quality = Counter(word for word, noun in QUALITY.findall(text) if noun in subjects.nouns and word not in subjects.nouns)
    one = {word for word in nouns if not (word[-1] == "s" and {word[:-1], word[:-2]} & nouns)}
    somebody = {word for word in one if speaks[word] >= max(3, 0.02 * uses[word])}
    names = {word for word in subjects.names if known[word] >= 40} - set("mr mrs tv god smith tuesday wednesday sunday".split())
    plurals = {subject.plural for subject in heard.subjects if subject.plural not in (None, subject.name)}
    small = {name for name in listed if name.islower()}
    kinds = {
        "somebody": Counter({word: (known[word] + 5) * (3 if word in small else 1) for word in somebody | small}),
        "something": Counter({word: (known[word] + 5) * (2 if word in small else 1) for word in one | small}),
        "many": Counter({word: known[word] + 5 for word in nouns - one | plurals if " " not in word}),
        "name": Counter({word: known[word] + 40 for word in names | {name.lower() for name in listed - small}}),
        "like": Counter({word: n for word, n in quality.items() if n >= max(10, 0.05 * uses[word])}),
        "do": Counter({word: n for word, n in Counter(CAN_BE_DONE.findall(text)).items()
                       if n >= 8 and word not in nouns - BOTH | NO_VERB}),
        "did": Counter({word: n for word, n in Counter(WAS_DONE.findall(text)).items()
                        if n >= 8 and word not in nouns | NO_VERB}),
        "compound": Counter(subject.name for subject in heard.subjects if " " in subject.name),
    }
    return {kind: Counter({word: n for word, n in words.items() if not gate.unwanted(word)}) for kind, words in kinds.items()}


# ---------------------------------------------------------------------------------------------
# 2. Wishes

# What a child may wish for: each way to say it, and how often of all ways. "a" becomes "an" by itself.
RULES = {
    "wish": {"{who}": 12, "{who} and {who}": 10, "{who} and {what}": 10, "{who} {where} {what}": 18, "{who} {that} {does}": 40,
             "{who} and {who} {that} {does}": 4, "{child} {named} {name}": 2, "{what}": 4},
    "who": {"{name}": 8, "a {compound}": 5, "{some} {many}": 7, "a {hero}": 58, "the {hero}": 13, "{whose} {hero}": 9},
    "hero": {"{somebody}": 55, "{something}": 10, "{like} {somebody}": 22, "{common} {somebody}": 10, "{like} {something}": 3},
    "what": {"{many}": 9, "{some} {many}": 6, "a {compound}": 5, "a {object}": 32, "the {object}": 24, "{whose} {object}": 20,
             "{object}": 4},
    "object": {"{something}": 70, "{like} {something}": 30},
    "common": {"little": 2, "big": 1, "funny": 1, "baby": 1, "old": 1},
    "some": {"two": 1, "three": 1, "some": 1, "the": 1, "many": 1},
    "whose": {"his": 3, "her": 3, "my": 2, "our": 0.5},
    "where": dict.fromkeys("on the with with at from of under to near about over and".split(), 1) | {"in": 3, "with": 2},
    "that": {"who": 3, "that": 2},
    "child": dict.fromkeys(("a girl", "a boy", "a cat", "a dog", "a bear", "a rabbit"), 1),
    "named": {"named": 1, "called": 1},
    "does": {"could not {do}": 2, "could {do}": 1, "can {do}": 1, "did not {do}": 1, "did not want to {do}": 1,
             "wanted to {do}": 1, "wanted to be {like}": 0.5, "wanted to be a {somebody}": 0.5, "loved to {do}": 1,
             "liked to {do}": 1, "likes to {do}": 1, "learned to {do}": 1, "loved {what}": 1, "liked {what}": 1,
             "likes {what}": 1, "wanted {what}": 1, "wants {what}": 1, "was {like}": 2, "was very {like}": 1, "is {like}": 1,
             "was afraid of {what}": 1, "is afraid of {what}": 1, "was scared of {what}": 1, "had {what}": 1,
             "had no {many}": 1, "lost {what}": 2, "found {what}": 1, "lived in {what}": 1, "{did} {what}": 3,
             "{did} too many {many}": 1, "{did} in {what}": 1, "{did} to {what}": 1, "{did} away": 1,
             "went to {what}": 1, "was stuck in {what}": 1,
             "was lost in {what}": 1, "made friends with {who}": 1},
}  # fmt: skip
LONGEST = 6  # words that are taken from a clause of a story


class Wishes:
    """What a child could wish for."""

    def __init__(self, words: dict[str, Counter], flatness: float, rng: random.Random) -> None:
        self._rng = rng
        drawn = {kind: {word: count**flatness for word, count in sorted(counts.items())} for kind, counts in words.items()}
        ways = RULES | drawn
        self._ways = {name: (list(each), list(accumulate(each.values()))) for name, each in ways.items()}

    def of(self, rule: str) -> str:
        """Something that is said by this rule, drawn by lot."""
        ways, weights = self._ways[rule]
        [way] = self._rng.choices(ways, cum_weights=weights)
        said = re.sub(r"{(\w+)}", lambda slot: self.of(slot[1]), way)
        return re.sub(r"\ba (?=(\w+))", lambda a: "an " if takes_an(a[1]) else "a ", said)

    def told(self, story: str) -> Iterator[str]:
        """From "she lost her ball" to "a girl who lost her ball", and from "he saw a frog in a tree" to "a frog in a tree"."""
        for words in clauses(story):
            words = words[words[0] in ("then", "but", "so", "and", "soon"):]
            if 2 <= len(words) <= LONGEST + 1 and words[0] in ("he", "she", "they", "it") \
                    and words[1] not in NO_VERB - {"was", "were"}:
                yield f"{self.of('who')} {self.of('that')} {' '.join(words[1:])}"
            for at, word in enumerate(words[1:-1], 1):
                if word in ("a", "an", "the", "two") and len(words) - at <= LONGEST:
                    yield " ".join(words[at:])


def clauses(story: str) -> list[list[str]]:
    return [words for part in re.split(r'[.!?",;:\n]+', story.lower()) if (words := WORD.findall(part))]


def texts(stories: list[str], wishes: Wishes, heard: Heard, config: Config, rng: random.Random) -> Iterator[list[str]]:
    """Lists of words: all that the model learns from. Only wishes and commands begin and end; stories are what is between.
    As in the grammar, a phrase of the list is one word."""
    told = [wish for story in stories for wish in wishes.told(story)]
    said = [wishes.of("wish") for _ in range(config.wishes)] + rng.sample(told, min(config.told, len(told)))
    leads = [lead.replace(" ", "_") for lead in heard.leads if lead]
    for wish in said:
        lead = [rng.choice(leads)] if rng.random() < config.lead_share else []
        yield ["<s>", *lead, *wish.split(), "</s>"]
    commands = phrases(heard)
    yield from (["<s>", rng.choice(commands), "</s>"] for _ in range(int(config.command_share * len(said))))
    yield from (words for story in stories for words in clauses(story) if rng.random() < config.story_share)


def phrases(heard: Heard) -> list[str]:
    return [phrase.replace(" ", "_") for kind in KINDS if kind != "story" for phrase in heard.phrases[kind]]


def chosen(text: list[list[str]], heard: Heard, can_say: set[str], gate: Gate, many: int) -> list[str]:
    """The words that the model knows, in the order of the alphabet behind <s> and </s>: those of the list, and of the text's
    the most frequent that CMUdict can say; what is between counts a tenth."""
    uses: Counter = Counter()
    for words in text:
        whole = words[0] == "<s>"
        for word in words:
            uses[word] += 10 if whole else 1
    listed = {*phrases(heard), *(lead.replace(" ", "_") for lead in heard.leads if lead)}
    for subject in heard.subjects:
        listed.update(f"{subject.name} {subject.plural or ''}".lower().split())
    listed = {word for word in listed if all(part in can_say for part in word.split("_"))}
    others = [word for word in sorted(uses, key=lambda word: (-uses[word], word))
              if word in can_say and word not in listed and not gate.unwanted(word)]
    return ["<s>", "</s>", *sorted([*listed, *others[: many - len(listed)]])]


def spoken(dictionary: Path) -> set[str]:
    """The words that CMUdict can say."""
    with open(dictionary, encoding="utf-8") as lines:
        return {line.partition(" ")[0] for line in lines}


# ---------------------------------------------------------------------------------------------
# 3. Trigrams


class Grams:
    """n-grams of one order: ids in rows, in order, with how often they came."""

    def __init__(self, rows: np.ndarray, size: int, counts: np.ndarray | None = None) -> None:
        keys = self.key(rows, size)
        self.keys, first, each = np.unique(keys, return_index=True, return_inverse=True)
        self.rows = rows[first]
        self.counts = np.bincount(each, counts)
        self.size = size

    @staticmethod
    def key(rows: np.ndarray, size: int) -> np.ndarray:
        return np.ravel_multi_index(tuple(rows.T), (size,) * rows.shape[1])

    def find(self, rows: np.ndarray) -> np.ndarray:
        """The places of `rows`, -1 for those that are not there."""
        keys = self.key(rows, self.size)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)


def discounted(grams: Grams, histories: Grams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(probability before anything is added, what of each history is left for others, the histories' places)"""
    ones, twos = (np.count_nonzero(grams.counts == n) for n in (1, 2))
    discount = ones / (ones + 2 * twos)
    at = histories.find(grams.rows[:, :-1])
    total = np.bincount(at, grams.counts, len(histories.keys))
    kinds = np.bincount(at, minlength=len(histories.keys))
    left = np.where(total > 0, discount * kinds / np.maximum(total, 1), 1)
    return (grams.counts - discount) / total[at], left, at


class KneserNey:
    """A trigram model. `p` has the probabilities of each order, `back` the weights of histories where they are not followed."""

    def __init__(self, ids: np.ndarray, size: int) -> None:
        pairs, triples = (self._windows(ids, n) for n in (2, 3))
        three, two = Grams(triples, size), Grams(pairs, size)
        # An n-gram that is looked up only after a longer one was not found counts by what it came after.
        after = Grams(three.rows[:, 1:], size)
        at = after.find(two.rows)
        two.counts = np.where((two.rows[:, 0] == START) | (at < 0), two.counts, after.counts[at])
        one = Grams(np.arange(size)[:, None], size)
        one.counts = np.bincount(two.rows[:, 1], minlength=size).astype(float)
        one.counts[END + 1 :] += 1
        p1 = one.counts / one.counts.sum()
        p2, left1, at2 = discounted(two, one)
        p2 += left1[at2] * p1[two.rows[:, 1]]
        p3, left2, at3 = discounted(three, two)
        p3 += left2[at3] * p2[two.find(three.rows[:, 1:])]
        self.grams, self.p, self.left = [one, two, three], [p1, p2, p3], [left1, left2]

    @staticmethod
    def _windows(ids: np.ndarray, n: int) -> np.ndarray:
        """All n-grams of known words within a sentence; between sentences, and for other words, stands -1."""
        rows = np.lib.stride_tricks.sliding_window_view(ids, n)
        return rows[(rows >= 0).all(axis=1)]

    def pruned(self, bigrams: int, trigrams: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """(rows, probabilities, weights) of each order, with at most so many bigrams besides those that trigrams need."""
        (one, two, three), (p1, p2, p3) = self.grams, self.p
        plain3 = self.left[1][two.find(three.rows[:, :2])] * p2[two.find(three.rows[:, 1:])]
        keep3 = self._best(three.counts * np.log(p3 / plain3), trigrams)
        rows3 = three.rows[keep3]
        plain2 = self.left[0][two.rows[:, 0]] * p1[two.rows[:, 1]]
        keep2 = self._best(two.counts * np.log(p2 / plain2), bigrams)
        keep2[two.find(rows3[:, :2])] = keep2[two.find(rows3[:, 1:])] = True
        rows2 = two.rows[keep2]
        known = Grams(rows2, one.size)
        back1 = self._weights(rows2[:, 0], p2[keep2], p1[rows2[:, 1]], one.size)
        # Of the pairs that end a kept trigram all are kept, so that nothing has to be estimated anew.
        back2 = self._weights(known.find(rows3[:, :2]), p3[keep3], p2[two.find(rows3[:, 1:])], len(rows2))
        return [(one.rows, p1, back1), (rows2, p2[keep2], back2), (rows3, p3[keep3], None)]

    @staticmethod
    def _best(worth: np.ndarray, many: int) -> np.ndarray:
        return worth > max(0, np.partition(worth, -many)[-many] if many < len(worth) else 0)

    @staticmethod
    def _weights(histories: np.ndarray, p: np.ndarray, plain: np.ndarray, size: int) -> np.ndarray:
        """What makes the probabilities after each history add up to 1."""
        told, without = (np.bincount(histories, each, size) for each in (p, plain))
        return np.maximum(1 - told, 1e-6) / np.maximum(1 - without, 1e-6)


# ---------------------------------------------------------------------------------------------
# 4. Write


def arpa(orders, words: list[str]) -> str:
    lines = ["\\data\\", *(f"ngram {n}={len(rows)}" for n, (rows, *_) in enumerate(orders, 1))]
    for n, (rows, p, back) in enumerate(orders, 1):
        lines += ["", f"\\{n}-grams:"]
        logs = np.log10(np.maximum(p, 1e-99))
        weights = np.log10(back) if back is not None else [None] * len(rows)
        for row, log, weight in zip(rows, logs, weights):
            text = " ".join(words[word] for word in row)
            lines.append(f"{log:.4f}\t{text}" + ("" if weight is None else f"\t{weight:.4f}"))
    return "\n".join([*lines, "", "\\end\\", ""])


def write_binary(text: Path, binary: Path) -> None:
    from pocketsphinx import Config, LogMath, NGramModel

    NGramModel(Config(loglevel="ERROR"), LogMath(), str(text)).write(str(binary))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help=".txt or .txt.xz")
    parser.add_argument("--dictionary", type=Path, required=True, metavar="FILE", help="pocketsphinx's cmudict-en-us.dict")
    parser.add_argument("--flagged", type=Path, metavar="FILE", help="lines of index, tab, words to avoid")
    parser.add_argument("--out", type=Path, default=data_dir(), metavar="DIR", help="models/")
    for field in fields(Config):
        parser.add_argument("--" + field.name.replace("_", "-"), type=field.type, default=field.default,
                            help=f"default {field.default}")
    args = parser.parse_args()
    config = Config(**{field.name: getattr(args, field.name) for field in fields(Config)})
    rng, heard, gate = random.Random(config.seed), Heard(data_dir() / "heard.txt"), open_gate("")

    raw = [story for path in args.texts for story in read_stories(path)]
    stories, reasons = clean(raw, prepare.Config(), flagged_words(args.flagged) if args.flagged else None)
    stories = [story for story in stories if split_of(story) == "train"]
    subjects = Subjects(stories)
    kinds = vocabulary(stories, subjects, heard, gate)
    text = list(texts(stories, Wishes(kinds, config.flatness, rng), heard, config, rng))
    words = chosen(text, heard, spoken(args.dictionary), gate, config.words)
    number = {word: n for n, word in enumerate(words)}
    ids = [-1]
    for each in text:
        ids += [*(number.get(word, -1) for word in each), -1]
    orders = KneserNey(np.array(ids), len(words)).pruned(config.bigrams, config.trigrams)
    with tempfile.NamedTemporaryFile("w", suffix=".arpa") as file:
        file.write(arpa(orders, words))
        file.flush()
        write_binary(Path(file.name), args.out / "free.bin")
    nouns = kinds["somebody"].keys() | kinds["something"].keys() | kinds["many"].keys()
    (args.out / "free.txt").write_text("".join(
        f"{word.capitalize() if word in kinds['name'] else word}{' n' if word in nouns else ''}\n" for word in words[2:]))
    print(f"{len(stories)} stories, left out: {dict(reasons)}; {len(words)} words, "
          f"{', '.join(str(len(rows)) for rows, *_ in orders)} n-grams")


if __name__ == "__main__":
    main()
