"""`python -m duostory eval`: how well a model tells, in numbers, and in ten stories to read.

Three questions. How well does it foresee stories that it has never read? Bits per character answer that,
whatever the tokenizer. How does it tell when nobody asks for anything? And does it tell what was wished for?

The held-out stories stand in the last column of the table: no measure of style means much without them.
"""

import argparse
import itertools
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from duostory import StoryError, UsageError, config, models
from duostory.config import Settings
from duostory.engine import Model
from duostory.wish import Prompt, prompt_for

SEPARATOR = "<|endoftext|>"
LONGEST = 256  # tokens in which a story should come to its end
PRINTED = 10  # stories
DISTINCT_SAMPLE = 10_000  # n-grams; the more one reads, the fewer are new
LOOP = 4, 3  # a story with a sequence of 4 words 3 times repeats itself


def register(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command; the parser's `run` takes the parsed arguments and returns the exit status."""
    parser = subparsers.add_parser("eval", help="measure how well a model tells")
    parser.add_argument("model", nargs="?", type=Path,
                        help="model to measure (default: the one that tells stories)")
    parser.add_argument("--text", type=Path, metavar="FILE",
                        help="also measure how well it foresees these stories, on which it has not been trained; "
                             f"{SEPARATOR} stands between them")
    parser.add_argument("--stories", type=int, default=100, metavar="N",
                        help="stories without a wish, seeds 1 to N (100)")
    parser.add_argument("-t", "--temperature", type=float, default=Settings.temperature, metavar="T",
                        help=f"as when telling ({Settings.temperature})")
    parser.add_argument("-p", "--topp", type=float, default=Settings.topp, metavar="P",
                        help=f"as when telling ({Settings.topp})")
    parser.add_argument("--repeats", type=int, default=Settings.repeats, metavar="N",
                        help=f"as when telling ({Settings.repeats})")
    parser.add_argument("-n", "--steps", type=int, default=LONGEST, metavar="N",
                        help=f"tokens in which a story should end ({LONGEST}); 0: all that the model can")
    parser.add_argument("--kv", choices=config.KV_TYPES, default=Settings.kv, help=f"type of the KV cache ({Settings.kv})")
    parser.add_argument("--json", action="store_true", help="print JSON, with all stories, instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measures and prints; returns 0."""
    chosen = {key: getattr(args, key) for key in ("temperature", "topp", "repeats", "steps", "kv")}
    config.check(chosen)
    if args.stories < 1:
        raise UsageError("an evaluation needs at least --stories 1")
    texts = read_stories(args.text) if args.text else []
    known = set(read_list("words.txt"))
    wishes = [parse_wish(line) for line in read_list("wishes.txt")]
    source = args.model or models.default_model()
    with Model(models.to_duo(source), kv=args.kv) as model:
        report = {"model": {"file": str(source), **asdict(model.info)}, "settings": chosen}
        if texts:
            report["text"] = {"file": str(args.text), **foresee(model, texts)}
        free = [tell(model, prompt_for("", model.metadata), Settings(**chosen, seed=seed))
                for seed in watched(range(1, args.stories + 1), "stories")]
        wished = [tell(model, prompt_for(wish, model.metadata), Settings(**chosen, seed=seed), wish, subjects)
                  for seed, (wish, subjects) in enumerate(watched(wishes, "wishes"), 1)]
    report["style"] = {name: {**endings(stories), **style([told.whole_words for told in stories], known)}
                       for name, stories in (("no wish", free), ("wishes", wished))}
    if texts:
        report["style"]["text"] = style(texts, known)
    report["wishes"] = {"fulfilled": sum(not told.missing for told in wished), "of": len(wished)}
    report["stories"] = [asdict(told) for told in free + wished]
    print(json.dumps(report, indent=2) if args.json else table(report))
    return 0


# --- What is read -----------------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StoryError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StoryError(f"{path} is not UTF-8 text; save it as UTF-8") from None


def read_stories(path: Path) -> list[str]:
    """The stories of a text file, without the white space around them. Raises StoryError when there is none."""
    stories = [story.strip() for story in read_text(path).split(SEPARATOR)]
    if not any(stories):
        raise StoryError(f"{path} holds no story; give text with {SEPARATOR} between stories")
    return [story for story in stories if story]


def read_list(name: str) -> list[str]:
    """The lines of a file that comes with duostory."""
    return [line for line in read_text(models.data_dir() / name).splitlines() if not line.startswith("#")]


def parse_wish(line: str) -> tuple[str, list[str]]:
    """Splits "a [robot] and a [cat]" into the wish and the words that its story must mention."""
    return re.sub(r"[\[\]]", "", line), [word.lower() for word in re.findall(r"\[(\w+)\]", line)]


def watched(items: Sequence, what: str) -> Iterator:
    """The items; a person at a terminal sees how many are done."""
    if not (sys.stderr and sys.stderr.isatty()):
        yield from items
        return
    try:
        for done, item in enumerate(items):
            print(f"\r{what}: {done} of {len(items)}", end="", file=sys.stderr, flush=True)
            yield item
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# --- How well it foresees ---------------------------------------------------------------------------------------


def foresee(model: Model, stories: list[str]) -> dict:
    """Bits per character: what the model's surprise at each token of the stories and at each end sums up to.

    Every character of every story counts, whatever the tokenizer and however far the model can look back, so
    figures of different models on one text can be compared. The bits of the token that ends a story are part of
    the sum.
    """
    bits, tokens, steps, began = 0.0, 0, 0, time.perf_counter()
    for story in watched(stories, "held-out stories"):
        ids = [*model.encode(story), model.info.bos]
        tokens += len(ids) - 1
        for window, first in windows(ids, model.info.seq_len):
            bits += surprise(model, window, first)
            steps += len(window) - 1
    seconds = time.perf_counter() - began
    characters = sum(map(len, stories))
    return {"stories": len(stories), "characters": characters, "bits_per_character": bits / characters,
            "tokens_per_character": tokens / characters, "tokens_per_second": steps / seconds}


def windows(ids: list[int], positions: int) -> Iterator[tuple[list[int], int]]:
    """Cuts a story, BOS at both ends, into windows that a model with so many positions can go through.

    Yields windows and the index of the first token in each that has not been foreseen yet. What does not fit the
    first window goes on in another, which begins with BOS and repeats half a window, so that no token lacks its
    context.
    """
    yield ids[:positions + 1], 1
    kept = max(1, positions // 2)
    for done in range(positions + 1, len(ids), positions + 1 - kept):
        yield [ids[0], *ids[done - kept + 1:done], *ids[done:done + positions + 1 - kept]], kept


def surprise(model: Model, window: list[int], first: int) -> float:
    """Bits of the tokens from index `first` on, each after all that stands before it in the window."""
    nats = 0.0
    for pos, (token, following) in enumerate(itertools.pairwise(window)):
        counts = pos + 1 >= first
        model.forward(token, pos, logits=counts)
        if counts:
            nats -= model.logprob(following)
    return nats / math.log(2)


# --- How it tells -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """A story: `tokens` include the prompt's, `missing` are subjects of the wish that it does not mention."""

    seed: int
    wish: str
    text: str
    tokens: int
    ended: bool
    missing: list[str]

    @property
    def whole_words(self) -> str:
        """The text without the word in which the limit may have cut it."""
        return self.text if self.ended else self.text.rpartition(" ")[0]


def tell(model: Model, prompt: Prompt, settings: Settings, wish: str = "", subjects: Sequence[str] = ()) -> Told:
    """One story. A subject counts when the model mentions it, and not when only the prompt does."""
    ids = model.encode(prompt.header + prompt.opening)
    limit = min(settings.steps or model.info.seq_len, model.info.seq_len)
    tokens = list(model.generate(ids, limit, settings.temperature, settings.topp, settings.seed,
                                 repeats=settings.repeats))
    given = b"".join(token.piece for token in tokens if token.prompt)
    made_up = b"".join(token.piece for token in tokens if not token.prompt)
    text = (given + made_up)[len(prompt.header.encode()):].decode("utf-8", "replace").strip()
    mentioned = set(words(made_up.decode("utf-8", "replace")))
    missing = [subject for subject in subjects if mentioned.isdisjoint(forms(subject))]
    return Told(settings.seed, wish, text, len(tokens), len(tokens) < limit, missing)


def words(text: str) -> list[str]:
    """Words and numbers in small letters, a possessive without its 's."""
    return [word.removesuffix("'s") for word in re.findall(r"[^\W_]+(?:'[^\W\d_]+)?", text.lower())]


NUMBERS = [("", "s"), ("", "es"), ("y", "ies"), ("f", "ves"), ("fe", "ves"), ("man", "men"), ("mouse", "mice"),
           ("goose", "geese"), ("tooth", "teeth"), ("foot", "feet"), ("child", "children")]


def forms(word: str) -> set[str]:
    """The word in the singular and in the plural, along with some forms that do not exist."""
    pairs = NUMBERS + [(many, one) for one, many in NUMBERS]
    return {word} | {word.removesuffix(old) + new for old, new in pairs if word.endswith(old)}


def endings(stories: list[Told]) -> dict:
    return {"ended": sum(told.ended for told in stories) / len(stories),
            "tokens_per_story": sum(told.tokens for told in stories) / len(stories)}


def style(texts: list[str], known: set[str]) -> dict:
    """Shares from 0 to 1: distinct n-grams, stories that repeat themselves, words that are not known."""
    stories = [words(text) for text in texts]
    total = sum(map(len, stories))
    unknown = Counter(word for story in stories for word in story if word not in known and not word.isdigit())
    return {"stories": len(stories), "words_per_story": total / len(stories),
            "distinct": [distinct(stories, n) for n in (1, 2, 3)],
            "repetitive": sum(map(is_repetitive, stories)) / len(stories),
            "unknown": unknown.total() / max(total, 1),
            "unknown_words": [word for word, _ in unknown.most_common(10)]}


def ngrams(story: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(story[i:] for i in range(n)))


def distinct(stories: list[list[str]], n: int) -> float:
    """Distinct-n (Li et al., arXiv 1510.03055), of the first DISTINCT_SAMPLE n-grams."""
    sample = list(itertools.islice((gram for story in stories for gram in ngrams(story, n)), DISTINCT_SAMPLE))
    return len(set(sample)) / max(len(sample), 1)


def is_repetitive(story: list[str]) -> bool:
    length, times = LOOP
    return any(count >= times for count in Counter(ngrams(story, length)).values())


# --- What is printed --------------------------------------------------------------------------------------------


def table(report: dict) -> str:
    model, settings, columns = report["model"], report["settings"], report["style"]
    lines = ["model     {file}: {type}, {dim} x {n_layers}, {vocab_size} pieces, {seq_len} positions, {kv} KV cache"
             .format(**model)]
    if text := report.get("text"):
        lines += ["text      {file}: {stories} stories, {characters} characters".format(**text),
                  "foreseen  {bits_per_character:.4f} bits/character, {tokens_per_character:.3f} tokens/character, "
                  "{tokens_per_second:.0f} tokens/s".format(**text)]
    lines += [f"told      temperature {settings['temperature']:g}, top-p {settings['topp']:g}, "
              f"four words in a row {settings['repeats'] or 'any'} times, at most {settings['steps'] or model['seq_len']} tokens", ""]

    def row(name: str, cell) -> None:
        lines.append((f"{name:36}" + "".join(f"{cell(column):>10}" for column in columns.values())).rstrip())

    lines.append(" " * 36 + "".join(f"{name:>10}" for name in columns))
    row("stories", lambda c: c["stories"])
    row("words in a story", lambda c: f"{c['words_per_story']:.0f}")
    row("end by themselves", lambda c: f"{c['ended']:.1%}" if "ended" in c else "")
    row("repeat {} words {} times".format(*LOOP), lambda c: f"{c['repetitive']:.1%}")
    for n in (1, 2, 3):
        row(f"distinct-{n}", lambda c: f"{c['distinct'][n - 1]:.3f}")
    row("words not on the children's list", lambda c: f"{c['unknown']:.2%}")
    for name, column in columns.items():
        lines.append(f"  {name}: {', '.join(column['unknown_words'])}")

    free = [told for told in report["stories"] if not told["wish"]]
    lines += ["", "wishes    {fulfilled} of {of} stories mention their subject, apart from the prompt"
              .format(**report["wishes"])]
    lines += [f"  no {', '.join(told['missing'])}: {told['wish']}" for told in report["stories"] if told["missing"]]
    for told in free[:PRINTED]:
        end = "ends by itself" if told["ended"] else "cut"
        lines += ["", f"--- seed {told['seed']}, {told['tokens']} tokens, {end}", told["text"]]
    return "\n".join(lines)
