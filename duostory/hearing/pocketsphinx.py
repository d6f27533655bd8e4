"""The recogniser: pocketsphinx 5 in this process, the C library where there is one, or else Python's wheel of it."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from duostory import StoryError
from duostory.hearing.grammar import MODES, Command, Heard
from duostory.hearing.sources import BLOCK, RATE

_HELP = (
    'install it with "pip install --no-deps pocketsphinx", '
    "or set DUOSTORY_POCKETSPHINX to a folder that holds libpocketsphinx.so and en-us, its acoustic model"
)
_LOG = math.log(1.0001)  # the base of pocketsphinx's logarithms
# The best path through the lattice of words may be one that the grammar does not have, so the search's own is taken.
_SETTINGS = {"bestpath": 0}


class NoPocketsphinx(StoryError):
    """pocketsphinx or its acoustic model is not on this system."""


class Hypothesis(NamedTuple):
    """What was heard. `text` is the recogniser's own, for Recogniser.meaning(); empty where it is no command."""

    text: str
    score: float | None
    confident: bool


# ------------------------------------------------------------------------------------------ the library, in two guises


class _Decoder(Protocol):
    """A decoder with several searches over one dictionary. Raises StoryError where a file is missing or damaged."""

    def use(self, search: str) -> None: ...

    def decode(self, pcm: bytes) -> tuple[str, float, int]:
        """What the search finds in `pcm`: the words, their logarithmic score, and the number of frames."""

    def close(self) -> None: ...


class _Library:
    """libpocketsphinx through cffi."""

    def __init__(self, path: str) -> None:
        from duostory._pocketsphinx import ffi

        self.ffi, self.lib = ffi, ffi.dlopen(path)
        self.lib.err_set_loglevel(self.lib.ERR_FATAL)

    def decoder(self, model: Path, dictionary: Path, grammars: dict[str, Path]) -> _Decoder:
        return _LibraryDecoder(self, model, dictionary, grammars)

    def endpointer(self) -> "_LibraryEndpointer":
        return _LibraryEndpointer(self)


class _LibraryDecoder:
    def __init__(self, library: _Library, model: Path, dictionary: Path, grammars: dict[str, Path]) -> None:
        self._ffi, self._lib = ffi, lib = library.ffi, library.lib
        config = ffi.gc(lib.ps_config_init(ffi.NULL), lib.ps_config_free)
        lib.ps_config_set_str(config, b"hmm", os.fsencode(model))
        lib.ps_config_set_str(config, b"dict", os.fsencode(dictionary))
        lib.ps_config_set_str(config, b"lm", ffi.NULL)
        lib.ps_config_set_str(config, b"loglevel", b"FATAL")
        for name, value in _SETTINGS.items():
            setter = lib.ps_config_set_int if isinstance(value, int) else lib.ps_config_set_float
            setter(config, name.encode(), value)
        self._decoder = lib.ps_init(config)
        if not self._decoder:
            raise StoryError(f"pocketsphinx cannot read {model} or {dictionary}")
        for name, path in grammars.items():
            grammar = lib.fsg_model_readfile(os.fsencode(path), lib.ps_get_logmath(self._decoder), _WEIGHT)
            if not grammar or lib.ps_add_fsg(self._decoder, name.encode(), grammar) < 0:
                raise StoryError(f"pocketsphinx cannot read the grammar {path}")
            lib.fsg_model_free(grammar)

    def use(self, search: str) -> None:
        self._lib.ps_activate_search(self._decoder, search.encode())

    def decode(self, pcm: bytes) -> tuple[str, float, int]:
        ffi, lib = self._ffi, self._lib
        score = ffi.new("int *")
        lib.ps_start_utt(self._decoder)
        lib.ps_process_raw(self._decoder, ffi.from_buffer("short[]", pcm), len(pcm) // 2, 0, 1)
        lib.ps_end_utt(self._decoder)
        words = lib.ps_get_hyp(self._decoder, score)
        text = ffi.string(words).decode() if words else ""
        return text, score[0] * _LOG, lib.ps_get_n_frames(self._decoder)

    def close(self) -> None:
        self._lib.ps_free(self._decoder)


class _LibraryEndpointer:
    def __init__(self, library: _Library) -> None:
        self._ffi, self._lib = library.ffi, library.lib
        made = self._lib.ps_endpointer_init(0, 0, self._lib.PS_VAD_LOOSE, RATE, 0)
        self._endpointer = self._ffi.gc(made, self._lib.ps_endpointer_free)

    def speaks(self, block: bytes) -> bool:
        self._lib.ps_endpointer_process(self._endpointer, self._ffi.from_buffer("short[]", block))
        return bool(self._lib.ps_endpointer_in_speech(self._endpointer))


class _Wheel:
    """The wheel: Cython on the same library."""

    def decoder(self, model: Path, dictionary: Path, grammars: dict[str, Path]) -> _Decoder:
        return _WheelDecoder(model, dictionary, grammars)

    def endpointer(self) -> "_WheelEndpointer":
        return _WheelEndpointer()


class _WheelDecoder:
    def __init__(self, model: Path, dictionary: Path, grammars: dict[str, Path]) -> None:
        from pocketsphinx import Decoder, FsgModel

        try:
            self._decoder = Decoder(hmm=str(model), dict=str(dictionary), lm=None, loglevel="FATAL", **_SETTINGS)
            for name, path in grammars.items():
                self._decoder.add_fsg(name, FsgModel.readfile(str(path), self._decoder.logmath, _WEIGHT))
        except (RuntimeError, ValueError) as error:
            raise StoryError(f"pocketsphinx cannot read {model}, {dictionary} or its grammars ({error})") from None

    def use(self, search: str) -> None:
        self._decoder.activate_search(search)

    def decode(self, pcm: bytes) -> tuple[str, float, int]:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, False, True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        if not found:
            return "", -math.inf, self._decoder.n_frames()
        return found.hypstr, math.log(found.score), self._decoder.n_frames()

    def close(self) -> None:
        del self._decoder


class _WheelEndpointer:
    def __init__(self) -> None:
        from pocketsphinx import Endpointer

        self._endpointer = Endpointer(sample_rate=RATE)

    def speaks(self, block: bytes) -> bool:
        self._endpointer.process(block)
        return self._endpointer.in_speech


_WEIGHT = 6.5  # of the grammar's probabilities against the sound


def _candidates() -> Iterator[tuple[str | None, Path]]:
    """Libraries to try (None: the wheel), each with the folder that holds en-us, and a dictionary or ready grammars."""
    if folder := os.environ.get("DUOSTORY_POCKETSPHINX"):
        if not Path(folder, "libpocketsphinx.so").exists():
            raise StoryError(f"DUOSTORY_POCKETSPHINX is {folder}, and no libpocketsphinx.so is in that folder")
        yield str(Path(folder, "libpocketsphinx.so").absolute()), Path(folder).absolute()
        return
    from importlib.util import find_spec

    if wheel := find_spec("pocketsphinx"):
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
            except OSError as error:
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
    """Hears commands of one mode at a time, one of MODES, at first "wishes".

    An utterance is start(), feed() any number of times, and finish(). It is understood when it is over: its loudness and
    the room it is in are known only then, and to be without them costs as many errors as noise does.
    Raises NoPocketsphinx where there is none, StoryError where its data is damaged.
    """

    @staticmethod
    def check() -> None:
        """Raises what the constructor would raise where there is no pocketsphinx, without loading its model."""
        _open()

    def __init__(self) -> None:
        from duostory.models import data_dir

        library, data = _open()
        heard = Heard(data_dir() / "heard.txt")
        folder = _grammars(heard, data)
        self.meaning = heard.meaning
        self._decoder = library.decoder(data / "en-us", folder / "words.dict",
                                        {mode: folder / f"{mode}.fsg" for mode in MODES})
        self._pcm = bytearray()
        self.use("wishes")

    def use(self, mode: str) -> None:
        self._decoder.use(mode)

    def start(self) -> None:
        self._pcm.clear()

    def feed(self, pcm: bytes) -> None:
        self._pcm += pcm

    def finish(self) -> Hypothesis:
        if len(self._pcm) < 2 * BLOCK:
            return Hypothesis("", None, False)
        text, score, frames = self._decoder.decode(bytes(self._pcm))
        text = re.sub(r"\(\d+\)", "", text)
        return Hypothesis(text, score / max(frames, 1), bool(text))

    def close(self) -> None:
        self._decoder.close()


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
