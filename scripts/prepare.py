#!/usr/bin/env python3
"""Turn story text into everything that train.py needs.

    python scripts/prepare.py stories.txt.xz more.txt --flagged flagged.tsv --out build/data

A text file holds stories separated by a line `<|endoftext|>`, plain or compressed with xz.
The steps, in the order of this file:

1. clean     repair quotes and spaces, leave out what a parent would not read aloud
2. split     97 % train, 1.5 % validation, 1.5 % test, by a hash of the story's text
3. wishes    find the words a child might have asked for, and put some in a header line
4. tokenize  train a SentencePiece model that llama2.c encodes the same way
5. pack      fill windows of 512 tokens with whole stories

The same text and options always give the same files.
"""

import argparse
import bisect
import hashlib
import io
import json
import lzma
import random
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import sentencepiece

SEPARATOR = "<|endoftext|>"
UNK, BOS, EOS = 0, 1, 2  # the ids that Llama uses; UNK never occurs, so it also pads

# The line before a story that tells the model what the story is about. The teller must write
# exactly the same line, so train.py puts the template into the model's metadata.
WISH_TEMPLATE = "Wish: {subjects}\n"

# The first subject of a story that needs more than `short_tokens`. Without this mark the model
# learns to finish in time; with it the long stories still teach it words.
LONG_MARK = "long"


@dataclass(frozen=True)
class Config:
    vocabulary: int = 2048  # the classifier costs dim x vocabulary for each token on the board
    window: int = 512  # the longest story the model can tell, in tokens
    short_tokens: int = 256  # a story told without the word "long" fits into this many tokens
    passes: int = 4  # times that train.npy holds each story, with other wishes each time
    wish_share: float = 0.5  # share of stories that get a header
    max_subjects: int = 4
    min_characters: int = 300
    known_in: int = 5  # a word of so many training stories is one that children know
    seed: int = 20260


# ---------------------------------------------------------------------------------------------
# 1. Clean

CHARACTERS = {
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": " - ",
    "\u2026": "...", "\u00a0": " ", "\ufeff": "", "``": '"', "''": '"',
}  # fmt: skip

# A story that starts with one of these has lost its beginning.
CUT_START = re.compile(
    r"(He|She|It|They|We|His|Her|Their|This|That|And|But|So|Then|When|After|Suddenly)\b"
    r"(?! was (a|an|the|time|once)\b)"  # "It was a sunny day" is a fine beginning
)
STORY_END = re.compile(r"""[.!?]["']?$""")

# A bedtime story may be sad in its middle, but not in its last two sentences.
SAD = re.compile(r"\b(sad|sadly|cried|crying|scared|alone|lost|stuck|hurt|sick|gone|never)\b")
COMFORT = re.compile(
    r"\b(not|no longer|happ\w+|smil\w+|lov\w+|friends?|proud|fun|glad|laugh\w+|safe|hug\w*|better|"
    r"learn\w*|lesson|moral|play\w*|forg[eo]t|thank\w*|careful|good|great|enjoy\w*|sorry|promise\w*|"
    r"never (again|apart|lost|gave|stopped|let)|always|best|kind|found)\b",
    re.IGNORECASE,
)


def read_stories(path):
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return file.read().split(SEPARATOR)


def tidy(story):
    """Repair what can be repaired: mojibake, quotes, spaces, empty lines."""
    try:
        # UTF-8 that somebody read as Windows-1252, such as a-circumflex euro trademark for a quote.
        story = story.encode("cp1252").decode("utf-8")
    except UnicodeError:
        pass
    for strange, plain in CHARACTERS.items():
        story = story.replace(strange, plain)
    lines = (" ".join(line.split()) for line in story.splitlines())
    return "\n".join(line for line in lines if line)


def ends_sad(story):
    ending = " ".join(re.split(r'(?<=[.!?"])\s+', story)[-2:])
    return bool(SAD.search(ending)) and not COMFORT.search(ending)


def fault(story, config, flagged):
    """Why a story is left out, or None if it may stay."""
    if len(story) < config.min_characters:
        return "too short"
    if not story.isascii():
        return "not ASCII"
    if not re.match(r"""["']?[A-Z]""", story) or CUT_START.match(story):
        return "cut at the start"
    if not STORY_END.search(story) or story.count('"') % 2:
        return "cut at the end"
    if flagged and flagged.search(story):
        return "flagged word"
    if ends_sad(story):
        return "sad ending"
    return None


def flagged_words(path):
    """A pattern of all words in the second column of a file such as `86<TAB>knife,knives`."""
    rows = path.read_text().splitlines()
    words = sorted({word for row in rows for word in row.split("\t")[1].split(",")})
    return re.compile(r"\b(" + "|".join(words) + r")\b", re.IGNORECASE)


def clean(stories, config, flagged=None):
    """Return the stories that stay, and a count of the reasons why others did not."""
    kept, reasons, seen = [], Counter(), set()
    for story in map(tidy, stories):
        if not story:
            continue
        reason = fault(story, config, flagged)
        # Two stories that share 40 words in a row are one story told twice, and must not end up
        # one in the training and one in the test. (Stock openings share up to 30 words.)
        words = story.lower().split()
        runs = {hash(tuple(words[i : i + 40])) for i in range(len(words) - 39)}
        if reason is None and not runs.isdisjoint(seen):
            reason = "told before"
        if reason is None:
            seen |= runs
            kept.append(story)
        else:
            reasons[reason] += 1
    return kept, reasons


# ---------------------------------------------------------------------------------------------
# 2. Split


def split_of(story):
    """The split depends on the text alone: more text never moves a story into the training."""
    number = int.from_bytes(hashlib.sha256(story.encode()).digest()[:4], "big") % 1000
    return "test" if number < 15 else "val" if number < 30 else "train"


# ---------------------------------------------------------------------------------------------
# 3. Wishes

WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
DETERMINER = {"a", "an", "the", "his", "her", "their", "my", "your", "some"}
AFTER_NOUN = {"and", "was", "is", "who", "that", "in", "to", "on", "with", "had", "for", "of", "at"}


class Subjects:
    """Knows which words of a story a child could have wished for."""

    def __init__(self, stories):
        self.documents = len(stories)
        self.stories_with = Counter()  # in how many stories a word occurs
        uses, small_uses, noun_uses, name_uses = Counter(), Counter(), Counter(), Counter()
        for story in stories:
            self.stories_with.update(set(self.words(story)))
            uses.update(self.words(story))
            small_uses.update(re.findall(r"\b[a-z]+\b", story))
            # "the dog ran.": a noun stands between a determiner and a full stop or small word.
            for before, word, after in re.findall(r"(?=\b([a-z]+) ([a-z]+)([.!?]| [a-z]+))", story):
                if before in DETERMINER and (after in ".!?" or after[1:] in AFTER_NOUN):
                    noun_uses[word] += 1
            # A capital letter inside a sentence marks a name, if the word is never written small.
            name_uses.update(name.lower() for name in re.findall(r"(?<=[a-z] )[A-Z][a-z]+\b", story))
        self.nouns = {w for w, n in noun_uses.items() if n >= 3 and n > 0.15 * uses[w]}
        self.names = {w for w, n in name_uses.items() if n >= 2 and small_uses[w] < 0.05 * uses[w]}

    @staticmethod
    def words(story):
        return [word.lower() for word in WORD.findall(story)]

    def rank(self, story):
        """The words of a story, those that tell most about it first."""
        counts = Counter(self.words(story))
        scores = {}
        for word, count in counts.items():
            share = self.stories_with[word] / self.documents
            if share > 0.25 or self.stories_with[word] < 2 or len(word) < 3 or "'" in word:
                continue  # in so many stories that it says nothing, or a slip of the pen
            kind = 3 if word in self.nouns or word in self.names else 1
            scores[word] = kind * min(count, 4) * (1 - share)
        return sorted(scores, key=lambda word: (-scores[word], word))

    def choose(self, story, rng, limit):
        """A few subjects as a child would wish them: mostly what the story is about."""
        ranked = self.rank(story)
        wanted = rng.choice(range(1, limit + 1))
        chosen = rng.sample(ranked[: wanted + 2], min(wanted, len(ranked)))
        if wanted > 1 and len(ranked) > 12 and rng.random() < 0.5:
            chosen[-1] = rng.choice(ranked[wanted + 2 : 12])  # and something from its margin
        return [word.capitalize() if word in self.names else word for word in chosen]


def wish_line(subjects):
    return WISH_TEMPLATE.format(subjects=", ".join(subjects))


# ---------------------------------------------------------------------------------------------
# 4. Tokenize


def train_tokenizer(texts, vocabulary, path):
    """BPE with the special ids and byte pieces of Llama, so that llama2.c can encode with it.

    Normalisation is the identity and nothing is user-defined: llama2.c only merges the pair with
    the best score, and any other feature of SentencePiece would make the two disagree.
    """
    model = io.BytesIO()  # and not a file, because SentencePiece writes the file's path into it
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary,
        byte_fallback=True,
        character_coverage=1.0,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        max_sentence_length=100_000,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


# ---------------------------------------------------------------------------------------------
# 5. Pack


def with_wish(story, subjects, tokenizer, rng, config):
    """Tokens of one story as the model will see it: BOS, perhaps a header, the story."""
    wished = subjects.choose(story, rng, config.max_subjects) if rng.random() < config.wish_share else []
    tokens = [BOS] + tokenizer.encode((wish_line(wished) if wished else "") + story)
    if len(tokens) > config.short_tokens:
        tokens = [BOS] + tokenizer.encode(wish_line([LONG_MARK, *wished]) + story)
    return tokens


def pack(sequences, window):
    """Fill rows of window + 1 tokens with whole stories, best fit first.

    Every row starts at the start of a story, as the teller will. A closing BOS follows the last
    story, because llama2.c's teller stops when the model predicts BOS. Padding is UNK. Only a
    story that is longer than a row is cut, and has a row of its own, without the closing BOS.
    """
    rows = []
    free = []  # (free tokens, row number), sorted, so that the tightest fit is found by bisection
    for tokens in sorted(sequences, key=len, reverse=True):
        if len(tokens) > window:
            rows.append(tokens[: window + 1])
            continue
        place = bisect.bisect_left(free, (len(tokens), -1))
        room, row = free.pop(place) if place < len(free) else (window, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row] += tokens
        bisect.insort(free, (room - len(tokens), row))
    array = np.full((len(rows), window + 1), UNK, dtype=np.uint16)
    for row, tokens in zip(array, rows):
        closed = (tokens + [BOS])[: window + 1]
        row[: len(closed)] = closed
    return array


def pack_passes(stories, subjects, tokenizer, config, passes, rng):
    """Several passes over the stories, each in another order and with other wishes."""
    arrays = []
    for _ in range(passes):
        shuffled = rng.sample(stories, len(stories))
        sequences = [with_wish(story, subjects, tokenizer, rng, config) for story in shuffled]
        # Packing in portions keeps some chance in which stories become neighbours.
        for start in range(0, len(sequences), 2000):
            arrays.append(pack(sequences[start : start + 2000], config.window))
    return np.concatenate(arrays)


# ---------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help=".txt or .txt.xz")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--flagged", type=Path, metavar="FILE", help="lines of index, tab, words to avoid")
    parser.add_argument("--vocabulary", type=int, default=Config.vocabulary)
    parser.add_argument("--passes", type=int, default=Config.passes)
    args = parser.parse_args()
    config = Config(vocabulary=args.vocabulary, passes=args.passes)
    args.out.mkdir(parents=True, exist_ok=True)

    raw = [story for path in args.texts for story in read_stories(path)]
    stories, reasons = clean(raw, config, flagged_words(args.flagged) if args.flagged else None)
    splits = {"train": [], "val": [], "test": []}
    for story in stories:
        splits[split_of(story)].append(story)

    subjects = Subjects(splits["train"])
    rng = random.Random(config.seed)
    headed = [wish_line(subjects.choose(story, rng, config.max_subjects)) + story for story in splits["train"][::2]]
    tokenizer = train_tokenizer(headed + splits["train"][1::2], config.vocabulary, args.out / "tokenizer.model")

    # `duostory eval` looks for words that are not among these; models/words.txt is a copy.
    known = sorted(w for w, n in subjects.stories_with.items() if n >= config.known_in and not w.endswith("'s"))
    heading = (f"# Words in at least {config.known_in} stories of the training text (TinyStories, CDLA-Sharing-1.0); "
               "see scripts/prepare.py.")
    (args.out / "words.txt").write_text("\n".join([heading, *known]) + "\n")

    stats = {"config": asdict(config), "wish_template": WISH_TEMPLATE, "long_mark": LONG_MARK}
    stats["texts"] = [path.name for path in args.texts]
    stats["left_out"] = dict(reasons)
    for name, part in splits.items():
        rng = random.Random(f"{config.seed} {name}")
        passes = config.passes if name == "train" else 1
        array = pack_passes(part, subjects, tokenizer, config, passes, rng)
        np.save(args.out / f"{name}.npy", array)
        if name != "train":
            (args.out / f"{name}.txt").write_text(f"\n{SEPARATOR}\n".join(part) + "\n")
        lengths = sorted(len(tokenizer.encode(story)) for story in part)
        stats[name] = {
            "stories": len(part),
            "characters": sum(map(len, part)),
            "tokens": sum(lengths),
            "tokens_quantiles": {q: lengths[int(q * (len(lengths) - 1))] for q in (0.05, 0.5, 0.75, 0.9, 0.95, 0.99)},
            "passes": passes,
            "windows": len(array),
            "filled": round(float((array != UNK).mean()), 4),
        }
    (args.out / "stats.json").write_text(json.dumps(stats, indent=2) + "\n")
    print(json.dumps(stats, indent=2))


if __name__ == "__main__":
    main()
