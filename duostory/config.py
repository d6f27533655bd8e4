"""Settings: one frozen object, filled from defaults < files < the last --volume < environment < command line.

Files are TOML: `/etc/duostory.toml`, then `$XDG_CONFIG_HOME/duostory/config.toml` (`~/.config` where that is
not set). `DUOSTORY_CONFIG` names one file that is read instead of both. The keys are the fields of Settings.
In the environment a key is `DUOSTORY_` and its name in capitals, such as `DUOSTORY_THE_END`; as an option it
has dashes, `--the-end`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

from . import StoryError, UsageError
from .folders import user_folder


def _setting(default, meaning: str, low=None, high=None, choices: tuple[str, ...] = ()):
    return field(default=default, metadata={"meaning": meaning, "low": low, "high": high, "choices": choices})


KV_TYPES = ("f32", "q8")
LISTENING = ("auto", "push", "voice", "wake")


@dataclass(frozen=True)
class Settings:
    """How to tell a story. Empty text means: not given."""

    model: str = _setting("", "model file; without it the one that comes with duostory")
    tokenizer: str = _setting("", "tokenizer.bin, for a model file of llama2.c")
    temperature: float = _setting(0.7, "0 always takes the likeliest token, 1 draws as learned", 0.0, 100.0)
    topp: float = _setting(0.95, "draw from the likeliest tokens that make up this probability", 0.0, 1.0)
    repeats: int = _setting(2, "times that four words in a row may come; 0 is as often as the model likes", 0, 1000)
    seed: int = _setting(0, "the same seed tells the same story; 0 takes the time", 0, 2**64 - 1)
    steps: int = _setting(0, "longest story in tokens; 0 is as long as the model can", 0, 2**31 - 1)
    gate: str = _setting("", "file of words that no story may have, or off; without it the list that comes with duostory")
    kv: str = _setting("f32", "type of the KV cache; q8 takes about a quarter of the memory", choices=KV_TYPES)
    kernel: str = _setting("", "kernel of the engine; without it the fastest one")
    silent: bool = _setting(False, "do not speak")
    the_end: bool = _setting(None, "close with 'The end.'; without it only when speaking")
    stories: int = _setting(None, "stories to tell, one after another; without it 1, or 3 at bedtime", 1, 100)
    bedtime: bool = _setting(False, "each story slower and softer than the one before, and good night after the last")
    earcons: bool = _setting(True, "short sounds on a sound device: thinking, error")
    speech: str = _setting("auto", "speech engine; auto is the first that is there",
                           choices=("auto", "espeak", "pyttsx3"))
    voice: str = _setting("en-us", "voice of the speech engine, such as en-us+f3")
    rate: int = _setting(155, "words a minute", 80, 450)
    pitch: int = _setting(50, "pitch of the voice", 0, 99)
    volume: int = _setting(100, "loudness in percent of the voice's own", 0, 100)
    min_volume: int = _setting(0, "no volume is below this", 0, 100)
    max_volume: int = _setting(100, "no volume is above this", 0, 100)
    sink: str = _setting("alsa", "where sound goes", choices=("alsa", "pyaudio"))
    device: str = _setting("default", "sound device, as `aplay -L` lists them")
    mic_device: str = _setting("default", "microphone, as `arecord -L` lists them")
    listen: str = _setting("auto", "what begins the listening: a button to push, a voice, a phrase that wakes; auto is a "
                           "button if Enter on the terminal can be one, and else a voice", choices=LISTENING)
    confirm: bool = _setting(True, "ask back what was heard, even if it was heard for certain")
    free: bool = _setting(False, "hear wishes in any words of the stories, and not only the listed ones")
    button: str = _setting("enter", "button to push: enter, key:DEVICE[:CODE], gpio:LINE[:high]; several with commas between them")
    light: str = _setting("", "light that is on while the robot listens, as in /sys/class/leds; without it none")


GATE_OFF = "off"  # what the setting says where a file is meant by anything else

FIELDS = {f.name: f for f in fields(Settings)}

# llama2.c's own defaults. A reference run takes nothing but the command line to change them.
REFERENCE = {"temperature": 1.0, "topp": 0.9, "repeats": 0, "seed": 0, "steps": 256, "gate": GATE_OFF, "kv": "f32",
             "silent": True, "the_end": False, "stories": 1, "bedtime": False}


def load(command_line: dict[str, str | bool], *, again: dict[str, str] | None = None, reference: bool = False,
         environ: dict[str, str] = os.environ) -> tuple[Settings, dict[str, str]]:
    """Collect the settings, and for each key say where its value comes from.

    `again` holds the settings of the last story; they count more than the environment. With `reference`,
    numbers out of range follow llama2.c's rules instead of being refused. Raises StoryError.
    """
    values: dict[str, object] = {}
    sources = dict.fromkeys(FIELDS, "default")

    def layer(new: dict, source: str, name: Callable[[str], str]) -> None:
        for key, value in new.items():
            values[key] = _value(key, value, name(key), reference)
            sources[key] = source

    for path in _files(environ):
        layer(_read(path), path, lambda key: f"{key} in {path}")
    if (volume := kept_number("volume", environ)) is not None:
        layer({"volume": volume}, "last --volume", option)
    layer({key: environ[variable(key)] for key in FIELDS if environ.get(variable(key))}, "environment", variable)
    if again is not None:
        layer(again | {"stories": "1"}, "last story", lambda key: f"{key} of the last story")
    if reference:
        layer(REFERENCE, "llama2.c", str)
    layer(command_line, "command line", option)
    settings = Settings(**values)
    if settings.the_end is None:
        settings = replace(settings, the_end=not settings.silent)
    if settings.stories is None:
        settings = replace(settings, stories=3 if settings.bedtime else 1)
    if settings.min_volume > settings.max_volume:
        raise StoryError(f"min_volume is {settings.min_volume}, which is above max_volume, {settings.max_volume}")
    allowed = min(max(settings.volume, settings.min_volume), settings.max_volume)
    if allowed != settings.volume:
        sources["volume"] = "min_volume" if allowed > settings.volume else "max_volume"
    return replace(settings, volume=allowed), sources


def check(command_line: dict[str, str | bool], reference: bool = False) -> None:
    """Raises UsageError for an option with a value that load() would refuse."""
    for key, value in command_line.items():
        try:
            _value(key, value, option(key), reference)
        except StoryError as error:
            raise UsageError(str(error)) from None


def option(key: str) -> str:
    return "--" + key.replace("_", "-")


def variable(key: str) -> str:
    return "DUOSTORY_" + key.upper()


def show(settings: Settings, sources: dict[str, str]) -> str:
    """The settings as a TOML file, with the origin of each as a comment."""
    lines = []
    for key in FIELDS:
        value = getattr(settings, key)
        text = quoted(value) if isinstance(value, str) else str(value).lower()
        lines.append(f"{key} = {text}".ljust(32) + f"  # {sources[key]}")
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """A TOML string. Bytes that are not UTF-8 come out as U+FFFD."""
    text = os.fsencode(text).decode("utf-8", "replace").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text) + '"'


# --- The last story, for --again ------------------------------------------------------------------

# With the prompt, what makes a story.
RETOLD = ("model", "tokenizer", "temperature", "topp", "repeats", "seed", "steps", "gate", "kv")


# What it means that an older version's record lacks one of them.
BEFORE = {"repeats": "0", "gate": GATE_OFF, "kv": "f32"}


class Last(NamedTuple):
    settings: dict[str, str]  # the keys of RETOLD, as text
    header: str
    opening: str
    crc32: int  # of the model


def remember(settings: Settings, header: str, opening: str, crc32: int, environ=os.environ) -> str | None:
    """Keep what is needed to tell the story again. Why it could not be kept, as keep_number()."""
    record = {key: str(getattr(settings, key)) for key in RETOLD}
    for key in ("model", "tokenizer", "gate"):
        if record[key] not in ("", GATE_OFF):
            record[key] = os.path.abspath(os.path.expanduser(record[key]))
    record |= {"header": header, "opening": opening, "crc32": f"{crc32:08x}"}
    lines = [f"{key}: {value.encode('unicode_escape').decode()}\n" for key, value in record.items()]
    return _keep("last-story", "".join(lines), environ)


def recall(environ=os.environ) -> Last:
    """What remember() kept. Raises StoryError if there is nothing, or nothing that makes sense."""
    path = _state("last-story", environ)
    if not path:
        raise StoryError("there is no last story to tell again, for there is no home folder to keep it in")
    try:
        with open(path, "rb") as file:
            lines = [line.rstrip(b"\n").partition(b": ") for line in file]
        record = BEFORE | {key.decode(): value.decode("unicode_escape") for key, _, value in lines}
        crc32 = int(record.pop("crc32"), 16)  # written last
        prompt = record.pop("header"), record.pop("opening")
    except FileNotFoundError:
        raise StoryError("there is no last story to tell again; tell one first") from None
    except OSError as error:
        raise StoryError(f"cannot read the record of the last story in {path}: {error.strerror}") from None
    except (ValueError, KeyError):
        raise StoryError(f"the record of the last story in {path} is damaged; tell a new story") from None
    if set(record) != set(RETOLD):
        raise StoryError(f"the record of the last story in {path} is by another version of duostory; tell a new story")
    return Last(record, *prompt, crc32)


# --- The volume, until another one is asked for, and the time of day ------------------------------

LATEST = 4102444800  # 2100-01-01: a time after that is no time, but damage
NUMBERS = {"volume": 100, "clock": LATEST}  # and the highest that each may be


def keep_number(name: str, number: int, environ=os.environ) -> str | None:
    """Keep one of NUMBERS. Where it cannot be kept, do nothing and return why, in a few words."""
    return _keep(name, f"{number}\n", environ)


def kept_number(name: str, environ=os.environ) -> int | None:
    """What keep_number() kept; None if there is nothing that makes sense."""
    try:
        with open(_state(name, environ) or os.devnull, "rb") as file:
            number = int(file.read(24))
    except (OSError, ValueError):
        return None
    return number if 0 <= number <= NUMBERS[name] else None


# --- Files that duostory writes for itself --------------------------------------------------------


def state_folder(environ=os.environ) -> str | None:
    """Where they are; it need not exist. None when there is no home folder."""
    # systemd may name several folders; the first is the main one.
    return environ.get("STATE_DIRECTORY", "").partition(":")[0] or user_folder("XDG_STATE_HOME", ".local/state", environ)


def damaged(environ=os.environ) -> list[str]:
    """One sentence for each of the files that is there and makes no sense. They are taken for none."""
    paths = [_state(name, environ) or os.devnull for name in NUMBERS if kept_number(name, environ) is None]
    found = [f"{path} is damaged and is ignored" for path in paths if os.path.isfile(path)]
    if os.path.exists(_state("last-story", environ) or ""):
        try:
            recall(environ)
        except StoryError as error:
            found.append(str(error))
    return found


def sweep(environ=os.environ) -> None:
    """Remove what writers that were killed have left. Only for one who knows that nobody is writing."""
    folder = state_folder(environ) or ""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.endswith(".part"):
                os.unlink(os.path.join(folder, name))


def _state(name: str, environ) -> str | None:
    folder = state_folder(environ)
    return folder and os.path.join(folder, name)


def _keep(name: str, text: str, environ) -> str | None:
    """Write a state file; a power cut leaves the old one or the new one. Why it could not be written, in a few words."""
    if not (path := _state(name, environ)):
        return "there is no home folder"
    part = f"{path}.{os.getpid()}.part"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(part, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the new name, too, shall be there after a power cut
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        return f"{path}: {error.strerror}"
    return None


# --- Where settings come from ---------------------------------------------------------------------


def _files(environ) -> list[str]:
    if named := environ.get("DUOSTORY_CONFIG"):
        if not os.path.exists(named):
            raise StoryError(f"DUOSTORY_CONFIG names {named!r}, and there is no such file")
        return [named]
    paths = ["/etc/duostory.toml"]
    if folder := user_folder("XDG_CONFIG_HOME", ".config", environ):
        paths.append(os.path.join(folder, "config.toml"))
    return [path for path in paths if os.path.exists(path)]


def _read(path: str) -> dict[str, object]:
    import tomllib  # only when there is a file: it is large

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise StoryError(f"cannot read the settings in {path}: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise StoryError(f"{path} is not a TOML file: {error}") from None
    for key in table:
        if key not in FIELDS:
            raise StoryError(f"{path} has an unknown key {key!r}; the keys are {', '.join(FIELDS)}")
    return table


_TRUTH = {"1": True, "true": True, "yes": True, "on": True,
          "0": False, "false": False, "no": False, "off": False}


def _value(key: str, given: object, name: str, reference: bool) -> object:
    """Check one value; text from the environment or the command line is turned into its type."""
    kind, limits = FIELDS[key].type, FIELDS[key].metadata
    value = given
    try:
        if isinstance(given, str) and kind in ("int", "float"):
            value = {"int": int, "float": float}[kind](given)
        elif isinstance(given, str) and kind == "bool":
            value = _TRUTH[given.lower()]
        elif kind == "float" and type(given) is int:
            value = float(given)
    except (ValueError, KeyError, OverflowError):
        pass
    if type(value).__name__ != kind or value != value or (kind == "str" and "\0" in value):
        wanted = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}[kind]
        raise StoryError(f"{name} must be {wanted}, not {given!r}")
    if limits["choices"] and value not in limits["choices"]:
        *others, last = limits["choices"]
        raise StoryError(f"{name} must be {', '.join(others)} or {last}, not {given!r}")
    if limits["low"] is None or limits["low"] <= value <= limits["high"]:
        return value
    if reference and key in REFERENCE:
        return _as_llama2c(key, value)
    raise StoryError(f"{name} must be from {limits['low']} to {limits['high']}, not {given}")


def _as_llama2c(key: str, value):
    """What llama2.c makes of a number out of range."""
    if key == "topp":
        return 0.9
    if key == "seed":
        return value % 2**64  # its seed is unsigned
    return value if value > 0 else type(value)(0)
