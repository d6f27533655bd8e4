"""The voice: espeak-ng in this process, through its C interface."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

from duostory import StoryError
from duostory._espeak import ffi
from duostory.speech.text import WORD, Reader

CHUNK_MS = 60  # of sound at a time; espeak-ng takes no less
RATES = range(80, 451)  # words a minute
PITCHES = range(0, 100)
QUOTED = 12  # how much higher is what somebody says in the story, of those 100
_LONGEST_PATH = 140  # bytes; espeak-ng silently cuts the path of its data at about 144
_HELP = (
    'install it with "apt install espeak-ng" or "pip install espeakng-loader", '
    "or set DUOSTORY_ESPEAK to a folder that holds libespeak-ng.so.1 and espeak-ng-data"
)

# espeak-ng keeps global state, so there is one of each of these in a process, used only under the lock.
_lock = Lock()
_library: "_Library | None" = None


def _candidates() -> Iterator[tuple[str, Path | None]]:
    """Libraries to try, each with the folder of its espeak-ng-data (None: it knows itself)."""
    if folder := os.environ.get("DUOSTORY_ESPEAK"):
        for name in ("libespeak-ng.so.1", "libespeak-ng.so"):
            if (library := Path(folder, name)).exists():
                yield str(library.absolute()), Path(folder).absolute()
                return
        raise StoryError(f"DUOSTORY_ESPEAK is {folder}, and no libespeak-ng.so.1 is in that folder")
    yield "libespeak-ng.so.1", None
    from importlib.util import find_spec

    # The wheel is only located: importing it would load ctypes, and its own idea of the data folder is wrong.
    if wheel := find_spec("espeakng_loader"):
        folder = Path(wheel.submodule_search_locations[0])
        yield str(folder / "libespeak-ng.so"), folder


class NoEspeak(StoryError):
    """espeak-ng or its data is not on this system."""


class _Library:
    """The loaded library and whoever is speaking through it."""

    def __init__(self) -> None:
        self.lib, self.rate = self._open()
        path = ffi.new("char **")
        self.version = ffi.string(self.lib.espeak_Info(path)).decode()
        self.data = Path(os.fsdecode(ffi.string(path[0])))
        self.settings: tuple[Espeak, int] | None = None  # that are in force: whose, and the rate
        self._callback = ffi.callback("t_espeak_callback", self._on_sound, error=1)  # kept: C holds a pointer
        self.lib.espeak_SetSynthCallback(self._callback)

    @staticmethod
    def _open():
        tried = []
        for path, data in _candidates():
            folder = os.fsencode(data) if data else ffi.NULL
            if data and len(folder) > _LONGEST_PATH:
                tried.append(f"{data} is too long a path for espeak-ng: link to it from a shorter one")
                continue
            if data and not (data / "espeak-ng-data" / "phontab").is_file():
                tried.append(f"{data} holds no espeak-ng-data")
                continue
            try:
                lib = ffi.dlopen(path)
            except OSError as error:
                tried.append(str(error).removesuffix(".").removeprefix("cannot load library "))
                continue
            options = lib.espeakINITIALIZE_DONT_EXIT
            rate = lib.espeak_Initialize(lib.AUDIO_OUTPUT_SYNCHRONOUS, CHUNK_MS, folder, options)
            if rate > 0:
                return lib, rate
            tried.append(f"{path} finds no espeak-ng-data")
        raise NoEspeak(f"there is no espeak-ng voice ({'; '.join(tried)}): {_HELP}")

    def _on_sound(self, wav, samples: int, events) -> int:
        try:
            index = 0
            while (event := events[index]).type != self.lib.espeakEVENT_LIST_TERMINATED:
                if event.type == self.lib.espeakEVENT_WORD:
                    self._word(event.text_position - 1, event.sample / self.rate)
                index += 1
            if wav and samples and not self._write(bytes(ffi.buffer(wav, 2 * samples))):
                self._stopped = True
        except BaseException as error:  # must not cross C; raised again below
            self._error = error
            self._stopped = True
        return int(self._stopped)

    def speak(self, text: str, write, word) -> bool:
        """Whether `text` was spoken to its end."""
        self._write, self._word = write, word
        self._error, self._stopped = None, False
        utf8 = text.encode()
        result = self.lib.espeak_Synth(
            utf8, len(utf8) + 1, 0, self.lib.POS_CHARACTER, 0, self.lib.espeakCHARS_UTF8, ffi.NULL, ffi.NULL
        )
        self._write = self._word = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if result != self.lib.EE_OK and not self._stopped:
            raise StoryError(f"espeak-ng could not speak (its error {result})")
        return not self._stopped


class Espeak:
    """A voice of espeak-ng.

    `voice` is a language or voice name, with a variant behind a plus ("en-us", "en-us+klatt2", "en-us+f3");
    `rate_wpm` is 80 to 450 words a minute; `pitch` 0 to 99, 50 is the voice's own.
    Raises StoryError where there is no espeak-ng or no such voice, and for values out of range.

    `rate_wpm` may be changed. Several may exist; they speak one after another, because espeak-ng is one engine a process.
    """

    tells_words = True

    def __init__(self, voice: str = "en-us", rate_wpm: int = 155, pitch: int = 50) -> None:
        global _library
        if rate_wpm not in RATES:
            raise StoryError(f"the speech rate {rate_wpm} is out of range: take 80 to 450 words a minute")
        if pitch not in PITCHES:
            raise StoryError(f"the pitch {pitch} is out of range: take 0 to 99")
        self.voice, self.rate_wpm, self.pitch = voice, rate_wpm, pitch
        self._quoted_pitch = min(pitch + QUOTED, PITCHES[-1])
        self._reader = Reader(pitch, self._quoted_pitch)
        with _lock:
            _library = _library or _Library()
            self.rate: int = _library.rate  # samples a second
            self.version = f"espeak-ng {_library.version}"
            self._select(_library)

    def _select(self, library: _Library) -> None:
        lib, variant = library.lib, self.voice.partition("+")[2]
        # espeak-ng takes an unknown variant without a word, and speaks without it.
        known = not variant or (library.data / "voices" / "!v" / variant).is_file()
        if not known or "\0" in self.voice or lib.espeak_SetVoiceByName(os.fsencode(self.voice)) != lib.EE_OK:
            raise StoryError(
                f'espeak-ng has no voice "{self.voice}": take one like en-us, en-us+f3 or en-us+klatt2'
            )
        lib.espeak_SetParameter(lib.espeakRATE, self.rate_wpm, 0)
        library.settings = self, self.rate_wpm

    def speak(
        self,
        text: str,
        write: Callable[[bytes], bool],
        on_word: Callable[[str, float], None] | None = None,
        quoted: bool = False,
    ) -> None:
        """Synthesise `text`: `write(pcm)` gets up to 60 ms at a time and returns False to stop.

        `on_word(word, at)` is called for each word of `text` in order, before its sound is written; `at` is in
        seconds from the start of this text. espeak-ng says a few short words as one ("of the"). Those behind the
        first are told together with the next word, and where they begin is estimated.

        What somebody says in it is a little higher than the rest, and so is its beginning if it is `quoted`: if an
        earlier text has opened the quotation.
        """
        if not WORD.search(text):
            return
        words = _Words(text, on_word or (lambda word, at: None))
        frames = 0

        def sound(pcm: bytes) -> bool:
            nonlocal frames
            frames += len(pcm) // 2
            return write(pcm)

        with _lock:
            if _library.settings != (self, self.rate_wpm):
                self._select(_library)
            pitch = self._quoted_pitch if quoted else self.pitch
            _library.lib.espeak_SetParameter(_library.lib.espeakPITCH, pitch, 0)
            reading, places = self._reader.read(text, quoted)

            def event(place: int, at: float) -> None:
                words.event(places[min(place, len(reading))], at)

            if _library.speak(reading, sound, event):
                words.event(len(text), frames / self.rate)


class _Words:
    """Tells each word of `text` once and in order, from espeak-ng's events.

    Those are not one for one: "25" has two, and short words ("of the") may have one in common. Such words share
    the time until the next event.
    """

    def __init__(self, text: str, tell: Callable[[str, float], None]) -> None:
        found = list(WORD.finditer(text))
        self._words = [word[0] for word in found]
        self._ends = [word.end() for word in found]
        self._tell = tell
        self._told, self._at = 0, 0.0  # words, and when the last of them began

    def event(self, place: int, at: float) -> None:
        """What is at `place` in the text begins to sound `at` seconds."""
        first, told = self._told, bisect_right(self._ends, place)
        if told < first:  # in the middle of a word
            return
        for number in range(first, told):
            share = (number - first + 1) / (told - first + 1)
            self._tell(self._words[number], self._at + share * (at - self._at))
        if told < len(self._words):
            self._tell(self._words[told], at)
        self._told, self._at = told + 1, at
