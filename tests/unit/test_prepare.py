"""scripts/prepare.py on a small text that is made here.

Needs numpy and sentencepiece, which only training needs; without them the file is skipped.
"""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("sentencepiece")

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
prepare = pytest.importorskip("prepare")

HEROES = ["dragon", "cat", "robot", "mouse", "owl", "bear", "fox", "frog", "duck", "goat"]
NAMES = ["Lily", "Tom", "Anna", "Ben", "Sue", "Max", "Mia", "Sam", "Amy", "Tim"]
PLACES = ["forest", "garden", "castle", "river", "mountain", "kitchen", "cave", "school"]
DEEDS = ["found a ball", "climbed a tree", "baked a cake", "drew a boat", "sang a song"]


def made_story(number):
    rng = random.Random(number)
    hero, other = rng.sample(HEROES, 2)
    name, place, deed = rng.choice(NAMES), rng.choice(PLACES), rng.choice(DEEDS)
    return (
        f"Once upon a time, there was a {hero} named {name}. The {hero} lived in a {place}.\n"
        f"One day, {name} saw the {other} and {deed}. The {other} said, \"May I help you, {name}?\"\n"
        f"The {hero} was happy, and {name} laughed. They did it {rng.randint(2, 99)} times that day. "
        f"{name} did it once more. "
        f"In the evening they sat by the {place} and looked at the sky. They were good friends."
    )


STORIES = [made_story(number) for number in range(400)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the command writes for the made text."""
    tmp = tmp_path_factory.mktemp("prepare")
    text = tmp / "made.txt"
    text.write_text(f"\n{prepare.SEPARATOR}\n".join(STORIES))
    (tmp / "flagged.tsv").write_text("0\tcave\n7\tcave,school\n")
    command = [sys.executable, SCRIPTS / "prepare.py", text, "--out"]
    for out in (tmp / "data", tmp / "again"):
        options = ["--flagged", tmp / "flagged.tsv", "--vocabulary", "420", "--passes", "2"]
        subprocess.run([*command, out, *options], check=True, stdout=subprocess.DEVNULL)
    return tmp


@pytest.fixture(scope="module")
def tokenizer(folder):
    return prepare.sentencepiece.SentencePieceProcessor(model_file=str(folder / "data" / "tokenizer.model"))


# --- clean


@pytest.mark.parametrize(
    "before, after",
    [
        ("\u201cHi,\u201d she said. It\u2019s late\u2026", '"Hi," she said. It\'s late...'),
        ("\u00e2\u20ac\u0153Hi\u00e2\u20ac\u02dc".replace("\u02dc", "\u2122"), "\"Hi'"),
        ("  one \t two\r\n\r\n three ", "one two\nthree"),
    ],
)
def test_tidy(before, after):
    assert prepare.tidy(before) == after


LONG = "Lily and Tom went to the park and played with a ball. " * 7


@pytest.mark.parametrize(
    "story, reason",
    [
        (LONG + "They were happy.", None),
        (LONG + 'Tom said, "Good night!"', None),
        ("It was a sunny day. " + LONG + "They were happy.", None),
        ("Lily was happy.", "too short"),
        (LONG + "They ate cr\u00eapes.", "not ASCII"),
        ("and then " + LONG + "They were happy.", "cut at the start"),
        ("It fell down. " + LONG + "They were happy.", "cut at the start"),
        (LONG + "They were", "cut at the end"),
        (LONG + 'Tom said, "Good night!', "cut at the end"),
        (LONG + "The goat was happy.", "flagged word"),
        (LONG + "Tom was stuck in the pit. No one came and he cried.", "sad ending"),
        (LONG + "Tom cried. Then mom hugged him and he was happy.", None),
    ],
)
def test_fault(story, reason, tmp_path):
    (tmp_path / "flagged.tsv").write_text("3\tgoat,goats\n")
    flagged = prepare.flagged_words(tmp_path / "flagged.tsv")
    assert prepare.fault(story.strip(), prepare.Config(), flagged) == reason


def test_a_story_is_kept_once():
    kept, reasons = prepare.clean([STORIES[0], "", STORIES[0] + " The end."], prepare.Config())
    assert kept == [STORIES[0]] and reasons == {"told before": 1}


# --- split


def test_split_depends_on_the_text_alone():
    parts = [prepare.split_of(f"story {number}") for number in range(10_000)]
    assert parts == [prepare.split_of(f"story {number}") for number in range(10_000)]
    # 1.5 % of 10,000 is 150, with a standard deviation of 12.
    assert 110 < parts.count("test") < 190 and 110 < parts.count("val") < 190


# --- wishes


def test_subjects_are_what_the_story_is_about():
    subjects = prepare.Subjects(STORIES)
    assert set(HEROES) <= subjects.nouns
    assert {name.lower() for name in NAMES} <= subjects.names
    for story in STORIES[:50]:
        chosen = subjects.choose(story, random.Random(1), limit=4)
        assert 1 <= len(chosen) <= 4 and len(set(chosen)) == len(chosen)
        assert all(word in story for word in chosen)
        hero = story.split("there was a ")[1].split()[0]
        assert hero in subjects.rank(story)[:3]


def test_wish_line():
    assert prepare.wish_line(["dragon", "Lily"]) == "Wish: dragon, Lily\n"


# --- recast


def test_a_recast_story_is_the_same_with_other_actors():
    cast = prepare.Cast(["Girls: a girl named Lily, a girl named Sue.", "Boys: a boy named Tom, a boy called Ben."])
    assert list(cast.girls) == ["Lily", "Sue"] and list(cast.boys) == ["Ben", "Tom"]
    story = "Lily saw an owl. Two owls saw Tom, a teddy bear and a table."
    pattern = r"(\w+) saw (an?) (\w+)\. Two (\w+) saw (\w+), a teddy bear and a table\."
    for seed in range(50):
        told = cast.recast(story, random.Random(seed))
        girl, article, animal, animals, boy = re.fullmatch(pattern, told).groups()
        assert (girl, boy) == ("Sue", "Ben")
        assert animal != "owl" and animals == prepare.PLURAL_OF[animal]
        assert (article == "an") == (animal[0] in "aeio")


@pytest.mark.parametrize("plural", ["dogs", "foxes", "bunnies", "monkeys", "octopuses", "ponies"])
def test_plurals(plural):
    assert plural in prepare.PLURAL_OF.values()


def test_a_word_that_is_mostly_no_name_is_no_name():
    assert prepare.Cast(["A boy named Will. He will come, will he?"]).boys == {}


# --- tokenize


def llama2c_encode(text, tokenizer):
    """The encoder of llama2.c's run.c: bytes or characters, then always the best-scored merge."""
    pieces = [tokenizer.id_to_piece(i).replace("\u2581", " ") for i in range(len(tokenizer))]
    number = {piece: i for i, piece in enumerate(pieces)}
    ids = [number[" "]]
    for character in text:
        ids += [number[character]] if character in number else [byte + 3 for byte in character.encode()]
    while True:
        merges = [number.get(pieces[a] + pieces[b]) for a, b in zip(ids, ids[1:])]
        scored = [(tokenizer.get_score(i), -place) for place, i in enumerate(merges) if i is not None]
        if not scored:
            return ids
        place = -max(scored)[1]
        ids[place : place + 2] = [merges[place]]


def test_special_ids_are_those_of_llama(tokenizer):
    assert [tokenizer.id_to_piece(i) for i in (0, 1, 2, 3, 258)] == ["<unk>", "<s>", "</s>", "<0x00>", "<0xFF>"]


TEXTS = STORIES[:20] + [
    prepare.wish_line(["dragon", "Lily"]) + STORIES[3],
    "Two  spaces, 3 digits 427\n\nand an empty line.\n",
    "Caf\u00e9 and \u4f60\u597d",
    "\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_llama2c_encodes_the_same_way(text, tokenizer):
    assert llama2c_encode(text, tokenizer) == tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


# --- pack


def made_pair(length, rng, header=0):
    tokens = [1] + [rng.randint(3, 99) for _ in range(length)]
    return tokens, tokens[:1] + [0] * header + tokens[1 + header :]


def test_pack_keeps_every_token_of_what_fits():
    rng = random.Random(3)
    pairs = [made_pair(rng.randint(5, 30), rng, header=number % 4) for number in range(200)]
    packed = prepare.pack(pairs, window=40)
    assert packed.shape[1:] == (2, 40)
    found = []
    for seen, foreseen in packed.tolist():
        assert seen[0] == 1  # every window starts with a story
        # Shifted by one, what is foreseen is what is seen, but for headers and the closing BOS.
        targets = [1, *foreseen]
        ends = [place for place, token in enumerate(targets) if token == 1]
        found += [(seen[start:end], targets[start:end]) for start, end in zip(ends, ends[1:])]
        assert set(targets[ends[-1] + 1 :]) <= {0}
    assert sorted(found) == sorted(pairs)


def test_pack_cuts_only_what_is_longer_than_a_window():
    pairs = [([1] + [5] * 9, [1] + [5] * 9), ([1, 6, 7, 8], [1, 0, 7, 8])]
    assert prepare.pack(pairs, window=8).tolist() == [
        [[1, 5, 5, 5, 5, 5, 5, 5], [5, 5, 5, 5, 5, 5, 5, 5]],
        [[1, 6, 7, 8, 0, 0, 0, 0], [0, 7, 8, 1, 0, 0, 0, 0]],
    ]


def test_a_long_story_is_marked(tokenizer):
    subjects = prepare.Subjects(STORIES)
    config = prepare.Config(wish_share=0.0, short_tokens=256)
    tokens, targets = prepare.with_wish(STORIES[0], subjects, tokenizer, random.Random(0), config)
    assert tokens == targets == [1] + tokenizer.encode(STORIES[0])
    tokens, targets = prepare.with_wish(STORIES[0] * 6, subjects, tokenizer, random.Random(0), config)
    assert tokenizer.decode(tokens[1:]).startswith("Wish: long\nOnce upon a time")


def test_the_model_need_not_foresee_a_header(tokenizer):
    subjects = prepare.Subjects(STORIES)
    config = prepare.Config(wish_share=1.0, short_tokens=1000)
    tokens, targets = prepare.with_wish(STORIES[0], subjects, tokenizer, random.Random(0), config)
    assert tokenizer.decode(tokens[1:]).startswith("Wish: ")
    assert tokenizer.decode([token for token in targets[1:] if token != prepare.UNK]) == STORIES[0]


# --- the command


def test_the_same_text_gives_the_same_files(folder):
    names = sorted(path.name for path in (folder / "data").iterdir())
    assert {"train.npy", "val.npy", "test.npy", "val.txt", "test.txt", "stats.json", "tokenizer.model"} <= set(names)
    for name in names:
        assert (folder / "data" / name).read_bytes() == (folder / "again" / name).read_bytes(), name


def test_nobody_trains_on_the_test(folder, tokenizer):
    data = folder / "data"
    held_out = (data / "test.txt").read_text().split(f"\n{prepare.SEPARATOR}\n")
    seen = np.load(data / "train.npy")[:, 0].flatten()
    train = tokenizer.decode([int(token) for token in seen if token != prepare.UNK])
    stats = json.loads((data / "stats.json").read_text())
    assert len(held_out) == stats["test"]["stories"] > 0
    assert all(story.strip() not in train for story in held_out)
    assert "cave" not in train and "school" not in train
