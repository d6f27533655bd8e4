"""The recogniser: pocketsphinx 5 in this process, the C library where there is one, or else Python's wheel of it."""

import contextlib
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property, partial
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, Protocol

from duostory import StoryError, engine
from duostory.hearing.grammar import FREE, MODES, Heard, Wish, lacking
from duostory.hearing.pitch import warp_of
from duostory.hearing.sources import BLOCK, RATE

_HELP = (
    "install it with 'pip install \".[ear]\"' in a checkout, or use ./scripts/duostory --mic, "
    "or set DUOSTORY_POCKETSPHINX to a folder that holds libpocketsphinx.so and en-us, its acoustic model"
)
_SHIFT = 1024  # pocketsphinx keeps the logarithms of sounds divided by this
_LOG = _SHIFT * math.log(1.0001)  # and they are to this base
# The best path through the lattice of words may be one that the grammar does not have, so the search's own is taken.
# With pocketsphinx's own beams, 1e-48, the search for high voices loses its way, and with its 7e-29 for the ends of words many a
# right one is not left, so that nothing is heard or one subject of two. Six densities in place of its four, and likelier
# silences, hear more (figures: docs/hearing.md).
_SETTINGS = {"bestpath": 0, "allphone_ci": 1, "beam": 1e-50, "pbeam": 1e-50, "wbeam": 1e-36, "maxhmmpf": 800,
             "silprob": 0.1, "lw": 6.5, "warp_type": "piecewise_linear", "warp_params": "1 0", "pl_weight": 6.0}
# How much lower frequencies are taken, warp_params, is set for each voice. pocketsphinx ignores what it had last, though that
# was in another decoder, so each is opened with what is never set.
_BEND = 5000  # Hz; from there to the highest there is frequencies are spread, or the highest filters would hear nothing
_DENSITIES, _FREE_DENSITIES = 6, 5  # the latter where free wishes are heard as well, which take most of the time
# For free wishes in their place, chosen by other sentences and voices; with pocketsphinx's lponlybeam, 7e-29, more words are lost
# at their ends. Only their search looks at the next phones before a word goes on with one of them, but how much that counts,
# pl_weight, is read when the decoder is opened: 6 instead of 3 saves a fifth of the work.
_FREE = {"lw": 8.0, "bestpath": 1, "fwdflat": 0, "beam": 1e-48, "pbeam": 1e-48, "wbeam": 7e-29, "lponlybeam": 1e-34,
         "maxhmmpf": 550, "maxwpf": 10, "latsize": 1000}
_WEIGHT = 6.5  # of the grammar's probabilities against the sound
_HEAD = 2 * RATE * 31 // 10  # bytes, 3.1 s, of which the loudness, the room and the pitch are known
_SILENCE = 2 * RATE // 5  # bytes, 0.2 s, of the silence at the end that nobody has to search
# What twelve voices have as their mean, of espeak-ng and flite, but for the loudness; as if 0.5 s of it had been heard before.
_USUAL, _USUAL_S = (-2, -3, 11, -7, -1, -3, -10, -5, -3, 3, -1, -2), 0.5
_PIECE = 2 * RATE  # bytes that pocketsphinx is given at once: of more than 2.5 s it writes behind the end of a buffer
_PACE = 3  # how much faster than the sound the search is at least
_TRIES = 3  # searches for another wish in the same sound: two take about as long as the robot asks
_REST = "rest"  # the search for what is left after a refusal, or offered
_PHONES = "phones"  # the search that takes any phones for what was said

# A sentence may be so much less likely than mere phones; docs/hearing.md says how many are.
_CERTAIN = -2.1


class NoPocketsphinx(StoryError):
    """pocketsphinx or its acoustic model is not on this system."""


class Hypothesis:
    """What was heard. `text` is the recogniser's own, for Recogniser.meaning(); empty where it is no command. `likelihood` is that
    of the sound and these words together, a natural logarithm, to be compared with others of the same sound only. `pcm` is the
    sound itself, for Recogniser.reconsider().

    `score` says how well it fits: how much likelier the sound is as these words than as any phones at all, a natural logarithm
    for each 10 ms, about 0 to -10; None without text, and for free wishes. `confident` is whether that is enough to go by.
    These two take as long as the whole search did, the first time that one is asked for; that has to be before the recogniser
    hears anything else.
    """

    def __init__(self, text: str = "", likelihood: float = -math.inf, judge: Callable[[], float] | None = None,
                 pcm: bytes = b"") -> None:
        self.text, self.likelihood, self._judge, self.pcm = text, likelihood, judge, pcm

    @cached_property
    def score(self) -> float | None:
        return self._judge() if self._judge else None

    @property
    def confident(self) -> bool:
        return self.score is not None and self.score >= _CERTAIN


class Segment(NamedTuple):
    """A word, or a phone, and how it was heard."""

    word: str
    last: int  # frame, of 10 ms
    score: float  # of the sound alone, a natural logarithm,
    prior: float  # and of the word, by the grammar or the language model


def _bent(warp: float) -> dict[str, str]:
    """The setting that takes frequencies for so many times lower than they are, up to _BEND."""
    return {"warp_params": f"{1 / warp:.3f} {_BEND}"}


# ------------------------------------------------------------------------------------------ the library, in two guises


class _Decoder(Protocol):
    """A decoder with several searches over one dictionary. Raises StoryError where a file is missing or damaged."""

    def add(self, name: str, path: Path) -> None:
        """Take the grammar in that file as the search `name`, which may be one that there is. No utterance may have begun."""

    def add_language(self, name: str, path: Path) -> None:
        """Take the language model in that file as the search `name`."""

    def mean(self, pcm: bytes, warp: float) -> str:
        """The mean spectrum of `pcm`, which depends on the loudness and the room. From now on frequencies are taken for so many
        times lower than they are. No utterance may have begun."""

    def start(self, search: str, mean: str) -> None:
        """Begin an utterance, whose sounds are compared with that mean."""

    def feed(self, pcm: bytes) -> None: ...

    def finish(self) -> list[Segment]:
        """What was found, silences and all; nothing where no path ends with the sound."""

    def close(self) -> None: ...


class _Library:
    """libpocketsphinx through cffi."""

    def __init__(self, path: str) -> None:
        from duostory._pocketsphinx import ffi

        self.ffi, self.lib = ffi, ffi.dlopen(path)
        self.lib.err_set_loglevel(self.lib.ERR_FATAL)
        with contextlib.suppress(ffi.error):  # a library without our change
            self.lib.ps_set_gemv(ffi.cast("ps_gemv_t *", engine.gemv()))

    def decoder(self, model: Path, dictionary: Path, grammars: dict[str, Path], densities: int) -> _Decoder:
        return _LibraryDecoder(self, model, dictionary, grammars, densities)

    def endpointer(self) -> "_LibraryEndpointer":
        return _LibraryEndpointer(self)


class _LibraryDecoder:
    def __init__(self, library: _Library, model: Path, dictionary: Path, grammars: dict[str, Path], densities: int) -> None:
        self._ffi, self._lib = ffi, lib = library.ffi, library.lib
        config = ffi.gc(lib.ps_config_init(ffi.NULL), lib.ps_config_free)
        lib.ps_config_set_str(config, b"hmm", os.fsencode(model))
        lib.ps_config_set_str(config, b"dict", os.fsencode(dictionary))
        lib.ps_config_set_str(config, b"lm", ffi.NULL)
        lib.ps_config_set_str(config, b"loglevel", b"FATAL")
        self._set(config, {**_SETTINGS, "topn": densities})
        self._decoder = lib.ps_init(config)
        if not self._decoder:
            raise StoryError(f"pocketsphinx cannot read {model} or {dictionary}")
        for name, path in grammars.items():
            self.add(name, path)
        lib.ps_add_allphone_file(self._decoder, _PHONES.encode(), ffi.NULL)

    def add(self, name: str, path: Path) -> None:
        lib = self._lib
        grammar = lib.fsg_model_readfile(os.fsencode(path), lib.ps_get_logmath(self._decoder), _WEIGHT)
        if not grammar or lib.ps_add_fsg(self._decoder, name.encode(), grammar) < 0:
            raise StoryError(f"pocketsphinx cannot read the grammar {path}")
        lib.fsg_model_free(grammar)

    def add_language(self, name: str, path: Path) -> None:
        config = self._lib.ps_get_config(self._decoder)
        self._set(config, _FREE)
        added = self._lib.ps_add_lm_file(self._decoder, name.encode(), os.fsencode(path))
        self._set(config, _SETTINGS)  # of all others
        if added < 0:
            raise StoryError(f"pocketsphinx cannot read the language model {path}")

    def _set(self, config, settings: dict[str, int | float | str]) -> None:
        lib = self._lib
        setters = {int: lib.ps_config_set_int, float: lib.ps_config_set_float, str: lib.ps_config_set_str}
        for name, value in settings.items():
            setters[type(value)](config, name.encode(), value.encode() if isinstance(value, str) else value)

    def mean(self, pcm: bytes, warp: float) -> str:
        self._lib.ps_activate_search(self._decoder, _PHONES.encode())  # which is there: add() may have replaced the last one
        self._set(self._lib.ps_get_config(self._decoder), _bent(warp))
        self._lib.ps_reinit_feat(self._decoder, self._ffi.NULL)  # as if nothing had been heard before
        self._lib.ps_start_utt(self._decoder)
        self._process(pcm, search=False, whole=True)
        mean = self._ffi.string(self._lib.ps_get_cmn(self._decoder, 0)).decode()
        self._process(pcm[: 4 * BLOCK], search=False, whole=True)  # in its place, so that nearly nothing is left to be searched
        self._lib.ps_end_utt(self._decoder)
        return mean

    def start(self, search: str, mean: str) -> None:
        self._lib.ps_activate_search(self._decoder, search.encode())
        self._lib.ps_set_cmn(self._decoder, mean.encode())
        self._lib.ps_start_utt(self._decoder)

    def feed(self, pcm: bytes) -> None:
        self._process(pcm, search=True, whole=False)

    def _process(self, pcm: bytes, *, search: bool, whole: bool) -> None:
        self._lib.ps_process_raw(self._decoder, self._ffi.from_buffer("short[]", pcm), len(pcm) // 2, not search, whole)

    def finish(self) -> list[Segment]:
        ffi, lib = self._ffi, self._lib
        lib.ps_end_utt(self._decoder)
        last, score, prior = (ffi.new("int *") for _ in range(3))
        found = []
        segment = lib.ps_seg_iter(self._decoder) if lib.ps_get_hyp(self._decoder, ffi.NULL) else ffi.NULL
        while segment:
            lib.ps_seg_frames(segment, ffi.NULL, last)
            lib.ps_seg_prob(segment, score, prior, ffi.NULL)
            word = ffi.string(lib.ps_seg_word(segment)).decode()
            found.append(Segment(word, last[0], score[0] * _LOG, prior[0] * _LOG))
            segment = lib.ps_seg_next(segment)  # frees itself behind the last
        return found

    def close(self) -> None:
        self._lib.ps_free(self._decoder)
        with contextlib.suppress(self._ffi.error):  # musl has no such function
            self._ffi.dlopen(None).malloc_trim(0)  # 6 MB, which a story needs now


class _LibraryEndpointer:
    def __init__(self, library: _Library) -> None:
        self._ffi, self._lib = library.ffi, library.lib
        made = self._lib.ps_endpointer_init(0, 0, self._lib.PS_VAD_LOOSE, RATE, 0)
        self._endpointer = self._ffi.gc(made, self._lib.ps_endpointer_free)

    def speaks(self, block: bytes) -> bool:
        self._lib.ps_endpointer_process(self._endpointer, self._ffi.from_buffer("short[]", block))
        return bool(self._lib.ps_endpointer_in_speech(self._endpointer))


class _Wheel:
    """The wheel: Cython on the same library. Raises ImportError where it is damaged."""

    def __init__(self) -> None:
        import pocketsphinx  # noqa: F401

    def decoder(self, model: Path, dictionary: Path, grammars: dict[str, Path], densities: int) -> _Decoder:
        return _WheelDecoder(model, dictionary, grammars, densities)

    def endpointer(self) -> "_WheelEndpointer":
        return _WheelEndpointer()


class _WheelDecoder:
    def __init__(self, model: Path, dictionary: Path, grammars: dict[str, Path], densities: int) -> None:
        from pocketsphinx import Decoder

        try:
            self._decoder = Decoder(hmm=str(model), dict=str(dictionary), lm=None, loglevel="FATAL", topn=densities, **_SETTINGS)
            for name, path in grammars.items():
                self.add(name, path)
            self._decoder.add_allphone_file(_PHONES, None)
        except (RuntimeError, ValueError) as error:
            raise StoryError(f"pocketsphinx cannot read {model}, {dictionary} or its grammars ({error})") from None

    def add(self, name: str, path: Path) -> None:
        from pocketsphinx import FsgModel

        self._decoder.add_fsg(name, FsgModel.readfile(str(path), self._decoder.logmath, _WEIGHT))

    def add_language(self, name: str, path: Path) -> None:
        self._set(_FREE)
        try:
            self._decoder.add_lm_file(name, str(path))
        except (RuntimeError, ValueError) as error:
            raise StoryError(f"pocketsphinx cannot read the language model {path} ({error})") from None
        self._set(_SETTINGS)  # of all others

    def _set(self, settings: dict[str, int | float | str]) -> None:
        for name, value in settings.items():
            self._decoder.config[name] = value

    def mean(self, pcm: bytes, warp: float) -> str:
        self._decoder.activate_search(_PHONES)
        self._set(_bent(warp))
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, True, True)
        mean = self._decoder.get_cmn()
        self._decoder.process_raw(pcm[: 4 * BLOCK], True, True)
        self._decoder.end_utt()
        return mean

    def start(self, search: str, mean: str) -> None:
        self._decoder.activate_search(search)
        self._decoder.set_cmn(mean)
        self._decoder.start_utt()

    def feed(self, pcm: bytes) -> None:
        self._decoder.process_raw(pcm, False, False)

    def finish(self) -> list[Segment]:
        self._decoder.end_utt()
        if not self._decoder.hyp():
            return []
        return [Segment(found.word, found.end_frame,
                        *(_SHIFT * math.log(score) if score else -math.inf for score in (found.ascore, found.lscore)))
                for found in self._decoder.seg()]

    def close(self) -> None:
        del self._decoder


class _WheelEndpointer:
    def __init__(self) -> None:
        from pocketsphinx import Endpointer

        self._endpointer = Endpointer(sample_rate=RATE)

    def speaks(self, block: bytes) -> bool:
        self._endpointer.process(block)
        return self._endpointer.in_speech


def _candidates() -> Iterator[tuple[str | None, Path]]:
    """Libraries to try (None: the wheel), each with the folder that holds en-us, and a dictionary or ready grammars."""
    if folder := os.environ.get("DUOSTORY_POCKETSPHINX"):
        if not Path(folder, "libpocketsphinx.so").exists():
            raise StoryError(f"DUOSTORY_POCKETSPHINX is {folder}, and no libpocketsphinx.so is in that folder")
        yield str(Path(folder, "libpocketsphinx.so").absolute()), Path(folder).absolute()
        return
    from importlib.util import find_spec

    if (wheel := find_spec("pocketsphinx")) and wheel.submodule_search_locations:
        yield None, Path(wheel.submodule_search_locations[0], "model", "en-us")


_opened: "tuple[_Library | _Wheel, Path] | None" = None  # the one of this process, and its data


def _open() -> "tuple[_Library | _Wheel, Path]":
    global _opened
    if _opened is None:
        tried = []
        for path, data in _candidates():
            if not (data / "en-us" / "mdef").is_file():
                tried.append(f"{data} holds no en-us")
                continue
            try:
                _opened = _Library(path) if path else _Wheel(), data
                break
            except (OSError, ImportError) as error:
                tried.append(str(error).removesuffix(".").removeprefix("cannot load library "))
        else:
            why = f" ({'; '.join(tried)})" if tried else ""
            raise NoPocketsphinx(f"there is no pocketsphinx{why}: {_HELP}")
    return _opened


# ------------------------------------------------------------------------------------------ what it is used for


def _grammars(heard: Heard, data: Path) -> Path:
    """The folder with the grammars and the dictionary: ready in `data`, or made once in the cache."""
    from duostory.hearing import grammar

    if (data / "wishes.fsg").is_file():
        return data
    return grammar.made(heard, data / "cmudict-en-us.dict")


class Recogniser:
    """Hears commands of one mode at a time, one of MODES, at first "wishes", or where it is opened for them "free" wishes.

    An utterance is start(), feed() any number of times, and finish(). It is understood while it is spoken, but not before the
    first _HEAD is over: the loudness, the room and the speaker's pitch are known only then, and to be without them costs as many
    errors as noise does. The search is faster than the sound and catches up, also when one ceases before; who goes on after all
    is searched anew.
    Raises NoPocketsphinx where there is none, StoryError where its data is damaged.
    """

    @staticmethod
    def check() -> None:
        """Raises what the constructor would raise where there is no pocketsphinx, without loading its model."""
        _open()

    def __init__(self, *, free: bool = False) -> None:
        from duostory.models import data_dir

        library, data = _open()
        self.heard = heard = Heard(data_dir() / "heard.txt")
        self.meaning = heard.meaning
        self._folder = folder = _grammars(heard, data)
        self._decoder = library.decoder(data / "en-us", folder / ("free.dict" if free else "words.dict"),
                                        {mode: folder / f"{mode}.fsg" for mode in MODES},
                                        _FREE_DENSITIES if free else _DENSITIES)
        if free:
            from duostory.hearing.free import FreeWords

            self._free = FreeWords(data_dir() / "free.txt", heard)
            self._decoder.add_language(FREE, self._free.language)
        self._pcm, self._searching = bytearray(), False
        self.use("wishes")

    def use(self, mode: str, without: Collection[Wish] = (), offered: Sequence[str] = ()) -> None:
        """Hear the commands of `mode`, but none of the wishes `without`, which have been refused, nor all others that name the
        same; and most likely one of the wishes that were `offered`. Free wishes may be any."""
        self.start()
        self._mode = mode
        self.meaning = self._free.meaning if mode == FREE else self.heard.meaning
        if mode != FREE and (without or offered):
            self._mode = self._rest(mode, without=next(self._lacking(without)), offered=offered)

    def _rest(self, mode: str, **changes) -> str:
        """The name of a search with the grammar of `mode`, changed as by Heard.changed()."""
        file = os.memfd_create(_REST)  # pocketsphinx wants a file
        try:
            os.write(file, self.heard.changed(self._folder / f"{mode}.fsg", **changes).encode())
            self._decoder.add(_REST, Path(f"/proc/self/fd/{file}"))
        finally:
            os.close(file)
        return _REST

    def reconsider(self, hypothesis: Hypothesis, without: Collection[Wish], offered: Sequence[str] = ()) -> Hypothesis:
        """What the same sound may have been if it was a wish for a story, and none of the wishes `without`. Each of up to
        _TRIES searches takes as long as the first one did.

        use() has to be called before the next utterance.
        """
        def search(subjects: Wish) -> Hypothesis:
            self.start()
            self._mode = self._rest("wishes", without=subjects, offered=offered, commands=False)
            self.feed(hypothesis.pcm)
            return self.finish()

        self.meaning = self.heard.meaning
        return max(map(search, islice(self._lacking(without), _TRIES)), key=attrgetter("likelihood"))

    def _lacking(self, wishes: Collection[Wish]) -> Iterator[Wish]:
        """As lacking(), of the list's subjects: free wishes may name them in the plural."""
        return lacking([[self.heard.subject(thing.lower()) or thing for thing in wish] for wish in wishes])

    def start(self) -> None:
        self._give_up()
        self._pcm.clear()

    def _give_up(self) -> None:
        """End the search, if there is one; the next begins with the first sound."""
        if self._searching:
            self._decoder.finish()
        self._searching, self._at = False, 0

    def feed(self, pcm: bytes) -> None:
        if self._searching and self._head < _HEAD:  # one goes on after a pause, before which too little was said: search anew
            self._give_up()
        self._pcm += pcm
        if len(self._pcm) >= _HEAD:
            self._search(_PACE * len(pcm))

    def catch_up(self) -> None:
        """Search in all that was fed, as one has ceased to speak, but for the end of the silence since."""
        del self._pcm[max(self._at, len(self._pcm) - _SILENCE) :]
        self._search_all()

    def finish(self) -> Hypothesis:
        self._search_all()
        if not self._searching:
            return Hypothesis()
        found, pcm = self._decoder.finish(), bytes(self._pcm)
        self._searching = False
        self._pcm.clear()
        # "wind(2)" is another way to say it
        words = [segment._replace(word=re.sub(r"\(\d+\)$", "", segment.word))
                 for segment in found if segment.word[0] not in "<(["]
        if not words:
            return Hypothesis()
        text = " ".join(word.word for word in words)
        if self._mode == FREE:  # whose words have no scores that could be compared
            return Hypothesis(text, pcm=pcm)
        likelihood = sum(segment.score + segment.prior for segment in found)
        return Hypothesis(text, likelihood, partial(self._judge, found, pcm, self._mean), pcm)

    def _search_all(self) -> None:
        if len(self._pcm) >= 2 * BLOCK:
            self._search(len(self._pcm))

    def _search(self, most: int) -> None:
        """Search on, in at most so many bytes."""
        piece = bytes(self._pcm[self._at : self._at + most])
        self._at += len(piece)
        if not self._searching:
            head, self._head = bytes(self._pcm), len(self._pcm)
            self._mean = _steadied(self._decoder.mean(head, warp_of(head)), len(head) / (2 * RATE))
            self._decoder.start(self._mode, self._mean)
            self._searching = True
        self._feed(piece)

    def _feed(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), _PIECE):
            self._decoder.feed(pcm[at : at + _PIECE])

    def _judge(self, found: list[Segment], pcm: bytes, mean: str) -> float:
        self._decoder.start(_PHONES, mean)
        self._feed(pcm)
        phones = self._decoder.finish()
        return (sum(word.score for word in found) - sum(phone.score for phone in phones)) / (found[-1].last + 1)

    def close(self) -> None:
        self._decoder.close()


def _steadied(mean: str, seconds: float) -> str:
    """The mean of so many seconds, and what is usual, together: the less was heard, the more hangs on the vowels in it."""
    loudness, *others = map(float, mean.strip(",").split(","))
    steady = ((seconds * each + _USUAL_S * usual) / (seconds + _USUAL_S) for each, usual in zip(others, _USUAL, strict=True))
    return ",".join(f"{value:.4f}" for value in (loudness, *steady))


class Endpointer:
    """Says of each block of sound whether somebody speaks, about 0.3 s late. Raises as Recogniser."""

    def __init__(self) -> None:
        self._library, _ = _open()
        self.start()

    def start(self) -> None:
        """Begin anew."""
        self._endpointer = self._library.endpointer()
        self._spoke = False

    def feed(self, block: bytes) -> str:
        """ "silence", "speech", or once after speech "end"; `block` has BLOCK samples, a shorter one is filled up."""
        before, self._spoke = self._spoke, self._endpointer.speaks(block.ljust(2 * BLOCK, b"\0"))
        return "speech" if self._spoke else "end" if before else "silence"
