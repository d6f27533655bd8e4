"""The acoustic model's mdef, with those of its 137,000 triphones only that a board's words can ask for.

A triphone is a phone between two others, and an mdef says what it sounds like: its senones. The format is in pocketsphinx's
bin_mdef.c, and what is asked for in its dict2pid.c.
"""

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from duostory import StoryError

POSITIONS = INTERNAL, BEGIN, END, SINGLE = range(4)  # of a phone in its word

Triphone = tuple[int, int, int, int]  # position, phone, the one before, the one behind


class Mdef:
    """Raises StoryError where the file is no mdef in the binary format, or damaged."""

    def __init__(self, path: Path) -> None:
        self._data = data = path.read_bytes()
        try:
            magic, version, size = struct.unpack_from("<4sii", data)
            self._counts_at = at = 12 + size
            count, phones, states, _, senones, _, sequences, _, nodes, _ = self._counts = struct.unpack_from("<10i", data, at)
            names = data[at + 40 :].split(b"\0", count)[:count]
            self._tree_at = at + (40 + sum(len(name) + 1 for name in names) + 3) // 4 * 4
            phones_at = self._tree_at + 8 * nodes
            self._sequences_at = phones_at + 12 * phones
            if (magic, version) != (b"BMDF", 1) or len(data) != self._sequences_at + 4 + 2 * states * sequences:
                raise ValueError
            self.names = [name.decode() for name in names]
            self._silence = self.names.index("SIL")
            self._phones = list(struct.iter_unpack("<ii4B", data[phones_at : self._sequences_at]))
            sequence = list(struct.iter_unpack(f"<{states}H", data[self._sequences_at + 4 :]))
            self._senones = [sequence[number] for number, *_ in self._phones]
            if max(map(max, sequence)) >= senones or any(min(phone) < 0 or max(phone[2:]) >= count for phone in self._phones):
                raise ValueError
        except (struct.error, ValueError, IndexError):
            raise StoryError(f"{path} is no binary mdef of pocketsphinx 5, or damaged") from None
        self._triphones = {tuple(triphone): number for number, (_, _, *triphone) in enumerate(self._phones) if number >= count}

    def asked(self, spoken: Iterable[list[str]]) -> Iterator[Triphone]:
        """What pocketsphinx asks for when words are `spoken` with these phones, and anything before and behind them."""
        every = range(len(self.names))
        for way in spoken:
            try:
                phones = [self.names.index(name) for name in way]
            except ValueError:
                raise StoryError(f'the acoustic model does not know all phones of "{" ".join(way)}"') from None
            if len(phones) == 1:
                yield from ((SINGLE, *phones, before, behind) for before in every for behind in every)
                continue
            yield from ((BEGIN, phones[0], before, phones[1]) for before in every)
            yield from ((INTERNAL, phone, before, behind) for before, phone, behind in zip(phones, phones[1:], phones[2:]))
            yield from ((END, phones[-1], phones[-2], behind) for behind in every)

    def found(self, triphone: Triphone) -> int:
        """The number of the phone that is taken for it, as by bin_mdef_phone_id_nearest()."""
        position, phone, *around = triphone
        before, behind = (self._silence if self._phones[other][2] else other for other in around)  # in place of fillers
        outer = self._silence if position in (BEGIN, SINGLE) else before, self._silence if position in (END, SINGLE) else behind
        for context in (before, behind), outer:
            for where in position, *POSITIONS:
                if number := self._triphones.get((where, phone, *context)):
                    return number
        return phone

    def trimmed(self, asked: Iterable[Triphone]) -> bytes:
        """An mdef with those triphones that are found for what is `asked`. Just these are found there, too: one asks for several in
        turn, and those that were missing before are missing still."""
        first = len(self.names)  # of the triphones
        kept = {*range(first), *map(self.found, set(asked))}
        # And a phone for each senone, whose codebook is known by it: some are computed that no word asks for (acmod_flags2list).
        known = {senone for number in kept for senone in self._senones[number]}
        for number, senones in enumerate(self._senones):
            if not known.issuperset(senones):
                kept.add(number)
                known.update(senones)
        phones = [self._phones[number] for number in sorted(kept)]
        numbers = {tuple(triphone): number for number, (_, _, *triphone) in enumerate(phones) if number >= first}
        # Level by level: positions, phones, phones before, phones behind.
        nodes = [(position,) for position in POSITIONS]
        for level in 2, 3, 4:
            nodes += sorted({triphone[:level] for triphone in numbers})
        below, next_below = Counter(node[:-1] for node in nodes), len(POSITIONS)
        tree = bytearray()
        for node in nodes:
            tree += struct.pack("<hhi", node[-1], below[node], next_below if below[node] else numbers.get(node, -1))
            next_below += below[node]
        counts = self._counts[0], len(phones), *self._counts[2:8], len(nodes), self._counts[9]
        return b"".join((
            self._data[: self._counts_at], struct.pack("<10i", *counts), self._data[self._counts_at + 40 : self._tree_at],
            tree, *(struct.pack("<ii4B", *phone) for phone in phones), self._data[self._sequences_at :]))
