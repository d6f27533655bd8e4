#!/usr/bin/env python3
"""Turn story text into everything that train.py needs.

    python scripts/prepare.py stories.txt.xz more.txt --flagged flagged.tsv --out build/data

A text file holds stories separated by a line `<|endoftext|>`, plain or compressed with xz.
The steps, in the order of this file:

1. clean     repair quotes and spaces, leave out what a parent would not read aloud
2. split     97 % train, 1.5 % validation, 1.5 % test, by a hash of the story's text
3. wishes    find the words a child might have asked for, and put some in a header line
4. recast    give the parts in half of the training stories to other children and animals
5. tokenize  train a SentencePiece model that llama2.c encodes the same way
6. pack      fill windows of 512 tokens with whole stories

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
import shutil
from collections import Counter
from dataclasses import asdict, dataclass, fields
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
    wish_share: float = 0.75  # share of stories that get a header
    recast_share: float = 0.5  # share of training stories that get other names and animals
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
# What --flagged may have missed: words for which a parent stops reading.
UNWANTED = re.compile(
    r"\b(guns?|pistols?|rifles?|bullets?|bombs?|poison\w*|bloody?|kill\w*|murder\w*|drunk|beers?|wine|cigarettes?|"
    r"stupid|dumb|idiots?|whip\w*|slap\w*|dead|die[ds]?|corpse|grave|naked)\b",
    re.IGNORECASE,
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
    if UNWANTED.search(story) or flagged and flagged.search(story):
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
        chosen = rng.sample(ranked[: wanted + 1], min(wanted, len(ranked)))
        if wanted > 1 and len(ranked) > 12 and rng.random() < 0.5:
            chosen[-1] = rng.choice(ranked[wanted + 1 : 12])  # and something from its margin
        return [word.capitalize() if word in self.names else word for word in chosen]


def wish_line(subjects):
    return WISH_TEMPLATE.format(subjects=", ".join(subjects))


# ---------------------------------------------------------------------------------------------
# 4. Recast

# Only animals whose plural is regular, and not those whose name is often another word.
ANIMALS = """alligator ant bear beaver bee bird bug bunny camel cat caterpillar chick chicken cow crab
    crocodile dinosaur dog dolphin donkey dragon duck eagle elephant fox frog giraffe goat hamster hedgehog
    hen hippo horse kangaroo kitten koala lamb lion lizard lobster mole monkey octopus otter owl panda parrot
    penguin pig pigeon pony puppy rabbit raccoon rat robin rooster shark snail snake sparrow spider squirrel
    swan tiger turkey turtle unicorn whale worm zebra""".split()
PLURAL_OF = {animal: re.sub(r"(?<![aeo])y$", "ie", re.sub(r"(x|us)$", r"\1e", animal)) + "s" for animal in ANIMALS}


class Cast:
    """Gives the roles of a story to others.

    Two of five stories have a Lily, Tim or Tom, and most animals are dogs, cats or birds. A model
    that knows that need not read the header: a wish for a hedgehog ends with a dog. Once anybody
    can play a part, only the header tells who it is, and the model learns to look there.
    """

    def __init__(self, stories):
        counts, small = {"girl": Counter(), "boy": Counter()}, Counter()
        for story in stories:
            small.update(re.findall(r"\b[a-z]+\b", story))
            for child, name in re.findall(r"\b(girl|boy),? (?:named|called) ([A-Z][a-z]+)", story):
                counts[child][name] += 1
        # "May" and "Will" are names too, but more often words.
        girls, boys = ({n: c for n, c in counts[child].items() if c > small[n.lower()]} for child in counts)
        self.girls = {name: count for name, count in sorted(girls.items()) if count > 3 * boys.get(name, 0)}
        self.boys = {name: count for name, count in sorted(boys.items()) if count > 3 * girls.get(name, 0)}

    @staticmethod
    def draw(actors, number, rng):
        """Some actors, each as likely as the root of its count: the rare ones too rare to be learned stay rare."""
        # Efraimidis and Spirakis: the largest of u^(1/weight) are a weighted sample without replacement.
        keys = {actor: rng.random() ** (count**-0.5) for actor, count in actors.items()}
        return sorted(keys, key=keys.get)[len(keys) - number :]

    def recast(self, story, rng):
        words = set(WORD.findall(story))
        roles = {}
        for group in (self.girls, self.boys, dict.fromkeys(ANIMALS, 1)):
            played = [actor for actor in group if actor in words or PLURAL_OF.get(actor) in words]
            free = {actor: count for actor, count in group.items() if actor not in played}
            roles |= dict(zip(played, self.draw(free, len(played), rng)))
        roles |= {PLURAL_OF[old]: PLURAL_OF[new] for old, new in roles.items() if old in PLURAL_OF}
        roles |= {old.capitalize(): new.capitalize() for old, new in roles.items()}

        def replace(match):
            article, word = match.groups()
            new = roles.get(word, word)
            if article and new != word:
                article = article[0] + ("n " if new[0] in "aeio" else " ")  # but "a unicorn"
            return (article or "") + new

        return re.sub(r"\b([Aa]n? )?(?<!teddy )([A-Za-z]+)\b", replace, story)


# ---------------------------------------------------------------------------------------------
# 5. Tokenize


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


# ---------------------------------------------------------------------------------------------
# 6. Pack


def with_wish(story, subjects, tokenizer, rng, config):
    """One story as the model will see it: BOS, perhaps a header, the story; and what it must foresee.

    That is the story, but not the header: the child writes that. A model that learned to write
    headers would begin a story that nobody wished for with a wish of its own.
    """
    wished = subjects.choose(story, rng, config.max_subjects) if rng.random() < config.wish_share else []
    header = wish_line(wished) if wished else ""
    tokens = [BOS] + tokenizer.encode(header + story)
    if len(tokens) > config.short_tokens:
        header = wish_line([LONG_MARK, *wished])
        tokens = [BOS] + tokenizer.encode(header + story)
    written = len(tokenizer.encode(header)) if header else 0
    return tokens, tokens[:1] + [UNK] * written + tokens[1 + written :]


def pack(sequences, window):
    """Fill windows with whole stories, best fit first.

    The result has the shape (windows, 2, window): what the model sees, and at each place the token
    that it must foresee, or UNK where nothing is to be learned. Every window starts at the start of
    a story, as the teller will. Every story is followed by BOS, because llama2.c's teller stops when
    the model predicts BOS. Only a story that alone is longer than a window is cut.
    """
    windows = []  # pairs of lists: tokens, and the same without headers
    free = []  # (free tokens, window's number), sorted, so that bisection finds the tightest fit
    for tokens, targets in sorted(sequences, key=lambda pair: len(pair[0]), reverse=True):
        place = bisect.bisect_left(free, (len(tokens), -1))
        room, number = free.pop(place) if place < len(free) else (window, len(windows))
        if number == len(windows):
            windows.append(([], []))
        windows[number][0].extend(tokens)
        windows[number][1].extend(targets)
        bisect.insort(free, (room - len(tokens), number))
    array = np.full((len(windows), 2, window), UNK, dtype=np.uint16)
    for (seen, foreseen), (tokens, targets) in zip(array, windows):
        seen[: len(tokens)] = tokens[:window]
        foreseen[: len(tokens)] = (targets[1:] + [BOS])[:window]
    return array


def pack_passes(stories, subjects, cast, tokenizer, config, passes, rng):
    """Several passes over the stories, each in another order, with other wishes and another cast."""
    arrays = []
    for _ in range(passes):
        shuffled = rng.sample(stories, len(stories))
        if cast:
            shuffled = [cast.recast(s, rng) if rng.random() < config.recast_share else s for s in shuffled]
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
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="keep this one, to train a model further")
    for field in fields(Config):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=field.type, default=field.default, help=f"default {field.default}")
    args = parser.parse_args()
    config = Config(**{field.name: getattr(args, field.name) for field in fields(Config)})
    args.out.mkdir(parents=True, exist_ok=True)

    raw = [story for path in args.texts for story in read_stories(path)]
    stories, reasons = clean(raw, config, flagged_words(args.flagged) if args.flagged else None)
    splits = {"train": [], "val": [], "test": []}
    for story in stories:
        splits[split_of(story)].append(story)

    subjects = Subjects(splits["train"])
    rng = random.Random(config.seed)
    headed = [wish_line(subjects.choose(story, rng, config.max_subjects)) + story for story in splits["train"][::2]]
    tokenizer_file = args.out / "tokenizer.model"
    if args.tokenizer:
        shutil.copy(args.tokenizer, tokenizer_file)
    else:
        train_tokenizer(headed + splits["train"][1::2], config.vocabulary, tokenizer_file)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_file))

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
        cast = Cast(part) if name == "train" else None
        array = pack_passes(part, subjects, cast, tokenizer, config, passes, rng)
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
            "filled": round(float((array[:, 0] != UNK).mean()), 4),
        }
    (args.out / "stats.json").write_text(json.dumps(stats, indent=2) + "\n")
    print(json.dumps(stats, indent=2))


if __name__ == "__main__":
    main()
