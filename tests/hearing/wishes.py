"""Wishes to speak, drawn from the list of what duostory understands."""

import random

from duostory.hearing.grammar import WISH, Heard, Subject, takes_an


def drawn(heard: Heard, seed: int) -> list[tuple[str, tuple[str, ...]]]:
    """(what is said, its subjects) once for each subject of the list, in the list's phrasings; every fourth names two."""
    draw = random.Random(seed)
    leads = [phrase.removesuffix(WISH).strip() for phrase in heard.phrases["story"]]
    wishes = []
    for number, subject in enumerate(heard.subjects):
        subjects = [subject, draw.choice(heard.subjects)] if number % 4 == 3 else [subject]
        wish = " and ".join(_named(each, draw) for each in subjects)
        wishes.append((f"{draw.choice(leads)} {wish}".strip(), tuple(each.name for each in subjects)))
    return wishes


def _named(subject: Subject, draw: random.Random) -> str:
    name = subject.name
    if name[0].isupper():
        return name
    kind = draw.random()
    if kind < 0.25:
        return f"{draw.choice(['the', 'a little', 'a big', 'a funny', 'my'])} {name}"
    if kind < 0.35 and subject.plural:
        return f"two {subject.plural}"
    return f"{'an' if takes_an(name) else 'a'} {name}"
