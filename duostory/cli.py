"""The command line: parse, wire the rooms together, print.

stdout is the story alone; everything else goes to stderr. The exit status is 0 for a story that was told, or
stopped by SIGTERM, SIGHUP or a reader that closed the pipe, and for a conversation that a signal ended; 1 when
something failed, 2 for wrong usage, 130 after Ctrl-C. Outside of these SIGTERM and SIGHUP make it 143 and 129, as in
a shell: nothing was finished.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from . import StoryError, UsageError, __version__, config, models
from .config import FIELDS, Settings, option
from .engine import Model
from .gate import open_gate
from .page import ERROR, JsonPage, Page, go_on, say
from .story import Story, Unwanted
from .teller import Teller
from .wish import Prompt, prompt_for

HELP = """\
usage: duostory [CHECKPOINT] [options] [WISH ...]
       duostory --mic [options]               (a spoken wish; see --mic --help)
       duostory serve|tell|doctor|convert|export|models|eval|bench --help

Makes up a story about WISH, and tells it in print and aloud:
       duostory once upon a time
       duostory "a dragon who is afraid of the dark" --wav dragon.wav

  -t, --temperature T   0: always the likeliest token, 1: draw as learned (0.7)
  -p, --topp P          draw from the likeliest tokens that make up P (0.95)
  --repeats N           times that four words in a row may come; 0: any (2)
  -s, --seed N          the same seed tells the same story; 0 is the time (0)
  -n, --steps N         longest story in tokens; 0: all that the model can (0)
  -i, --prompt TEXT     begin with exactly this TEXT; else WISH, else stdin
  --model FILE, -z, --tokenizer FILE   the CHECKPOINT; llama2.c's tokenizer.bin
  --gate FILE           a list of words that no story may have, or off (ours)
  --silent, --wav FILE, --srt FILE, --vtt FILE   no voice; sound, and its text
  --speech, --voice, --rate, --pitch, --sink, --device, --[no-]earcons   sound
  --volume N            percent, kept; --min-volume, --max-volume are limits
  --[no-]the-end        close with "The end." (when speaking)
  --stories N, --bedtime   tell N in a row; each slower, and then "Good night."
  --again, --json       tell the last story again; print events, one a line
  --reference           llama2.c's output, byte for byte, with its defaults
  --kv f32|q8, --kernel NAME, --show-config, --version, --help
"""

MIC_HELP = """\
usage: duostory --mic [options]

Listens to a wish, asks back what it has heard, and tells the story. Then it
waits for the next wish, until it hears "good night". Press Enter, and say:
       tell me a story about a dragon
       yes

  --listen push         a button has to be pressed first (on a terminal)
  --listen voice        whoever says a wish is heard (elsewhere)
  --listen wake         "hey robot" comes before a wish
                        a button works with voice and wake, too
  --button NAME,...     enter, key:DEVICE[:CODE] or gpio:LINE[:high] (enter)
  --light NAME          of /sys/class/leds, or gpio:LINE: on while it listens
  --mic-device NAME     a microphone, as arecord -L lists them (default)
  --mic-file WAV        hear this file instead; may come more than once
  --free                hear any words of the stories, not listed subjects only
  --no-confirm          do not ask back what was heard for certain
  --save-audio FOLDER   keep what was heard; nothing is kept without it

All options of duostory --help but those for one wish hold as well.
Everything else is in docs/listening.md.
"""

SHORT = {"temperature": "-t", "topp": "-p", "seed": "-s", "steps": "-n", "prompt": "-i", "tokenizer": "-z"}
COMMANDS = {"convert": "formats.commands", "export": "formats.commands", "models": "models", "bench": "bench",
            "eval": "evaluate", "serve": "service.serve", "tell": "service.tell", "doctor": "doctor"}
SPOKEN = "wav", "srt", "vtt"  # files that only a voice can fill
MAGICS = b"\x89DUO", b"GGUF", b"24ka", b"PK\3\4"  # of .duo, GGUF, llama2.c, PyTorch
LONGEST_INPUT = 1 << 16  # bytes on stdin; no model has a position for each of so many


class Terminated(BaseException):
    """SIGTERM came, or SIGHUP, the end of the terminal. The argument is its number."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (without the program's name) and return the exit status."""
    begun = time.monotonic()
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _terminate)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup wants it
            signal.signal(signal.SIGHUP, _terminate)
        return _run(sys.argv[1:] if argv is None else argv, begun)
    except StoryError as error:
        say(f"duostory: {error}".rstrip("."), ERROR)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130
    except Terminated as end:
        return 128 + end.args[0]
    except BrokenPipeError:  # the reader has seen enough
        return 0
    except Exception as error:
        if os.environ.get("DUOSTORY_DEBUG"):
            raise
        say(f"duostory: {type(error).__name__}: {error}: this is a mistake in duostory; please report it, "
            "with what DUOSTORY_DEBUG=1 shows", ERROR)
        return 1


def _terminate(number: int, _) -> NoReturn:
    for again in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal says so more than once
        signal.signal(again, signal.SIG_IGN)
    go_on()
    raise Terminated(number)


def _run(argv: list[str], begun: float) -> int:
    if argv and argv[0] in COMMANDS:
        return _command(argv)
    given, words = _parse(argv)
    if "mic_file" in given:
        given["mic"] = True
    if "help" in given:
        Page().write(MIC_HELP if "mic" in given else HELP)
        return 0
    _contradictions(given)
    checkpoint = words.pop(0) if words and _is_checkpoint(words[0]) else None
    if checkpoint and given.setdefault("model", checkpoint) != checkpoint:
        raise UsageError(f"two models are named, {checkpoint!r} and {given['model']!r}; leave one out")
    if "prompt" in given and words:
        raise UsageError("the story can begin with --prompt or be about a wish, not both; leave one out")
    if "again" in given and ("prompt" in given or words):
        raise UsageError("--again takes no wish; the last story has its own")
    if "mic" in given and words:
        raise UsageError("with --mic the wish is spoken; leave out the words")
    again = config.recall() if "again" in given else None
    settings, sources = _settings(given, again)
    if "show_config" in given:
        Page().write(config.show(settings, sources))
        return 0
    if "version" in given:
        return _version(settings)
    for name in SPOKEN:
        if name in given and settings.silent:
            raise UsageError(f"--silent and {option(name)} exclude each other" if "silent" in given else
                             f"{option(name)} needs the voice, and silent is set ({sources['silent']})")
    if "volume" in given and "reference" not in given:
        config.keep_number("volume", settings.volume)
    if "mic" in given:
        return _converse(settings, sources, given)
    return _tell(settings, sources, given, words, again, begun)


def _command(argv: list[str]) -> int:
    module = importlib.import_module("." + COMMANDS[argv[0]], __package__)
    parser = _Parser(prog="duostory")
    module.register(parser.add_subparsers(required=True))
    with contextlib.redirect_stdout(sys.stdout and Page()):
        try:
            args = parser.parse_args(argv)
        except SystemExit:  # after --help
            return 0
        return args.run(args)


# --- The command line -----------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options) -> None:
        # With a width given, argparse does not load half a megabyte to ask the terminal about its own help.
        super().__init__(allow_abbrev=False, formatter_class=lambda prog: argparse.HelpFormatter(prog, width=80), **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _parse(argv: list[str]) -> tuple[dict[str, str | bool], list[str]]:
    """Options by name, with their values as text, and the words between them."""
    parser = _Parser(prog="duostory", add_help=False, argument_default=argparse.SUPPRESS)
    add_options(parser, (*FIELDS, "prompt", *SPOKEN))
    for key in ("json", "again", "reference", "mic", "show_config", "version"):
        parser.add_argument(option(key), action="store_true")
    parser.add_argument("--mic-file", action="append")
    parser.add_argument("--save-audio")
    parser.add_argument("-h", "--help", action="store_true")
    options, last_words = _bind(parser, argv)
    given, words = parser.parse_known_args(options)
    for word in words:
        if word.startswith("-"):
            raise UsageError(f"there is no option {word}; see duostory --help, or put -- before such a wish")
    return vars(given), words + last_words


def add_options(parser: argparse.ArgumentParser, keys: Iterable[str]) -> None:
    """Let `parser` take each of `keys`, which are settings or name something else with a value."""
    for key in keys:
        names = [SHORT[key], option(key)] if key in SHORT else [option(key)]
        help = FIELDS[key].metadata["meaning"] if key in FIELDS else None
        if key in ("the_end", "bedtime", "earcons", "confirm", "free"):
            parser.add_argument(*names, action=argparse.BooleanOptionalAction, help=help)
        elif key == "silent":
            parser.add_argument(*names, action="store_true", help=help)
        else:
            parser.add_argument(*names, metavar=key.rpartition("_")[2].upper(), help=help)


def add_command(subparsers: argparse._SubParsersAction, name: str, help: str, run: Callable[[dict[str, str | bool], bool], int],
                **flag: str) -> None:
    """Add a command that takes all settings and one `flag`, which is given with its meaning. `run` takes the settings that were
    given, after a check, and whether the flag was; it returns the exit status."""
    (key, meaning), = flag.items()
    parser = subparsers.add_parser(name, help=help, argument_default=argparse.SUPPRESS)
    parser.add_argument(option(key), action="store_true", help=meaning)
    add_options(parser, FIELDS)

    def checked(args: argparse.Namespace) -> int:
        given = {key: value for key, value in vars(args).items() if key in FIELDS}
        config.check(given)
        return run(given, hasattr(args, key))

    parser.set_defaults(run=checked)


def _bind(parser: argparse.ArgumentParser, argv: list[str]) -> tuple[list[str], list[str]]:
    """Join options and values, so that a prompt may begin with a dash as in llama2.c; split off words after "--".
    """
    takes_value = {name: action.option_strings[-1] for action in parser._actions if action.nargs is None
                   for name in action.option_strings}
    bound, rest = [], iter(argv)
    for word in rest:
        if word == "--":
            break
        if word in takes_value and (value := next(rest, None)) is not None:
            word = f"{takes_value[word]}={value}"
        bound.append(word)
    return bound, list(rest)


def _contradictions(given: dict) -> None:
    told = [name for name in (*SPOKEN, "the_end", "again", "json", "gate", "stories", "bedtime") if given.get(name)]
    if "reference" in given and told:
        raise UsageError(f"{option(told[0])} is not for --reference, which does what llama2.c does")
    if "mic" in given and (other := [name for name in ("prompt", "again", "reference", "srt", "vtt") if name in given]):
        raise UsageError(f"{option('mic_file' if 'mic_file' in given else 'mic')} and {option(other[0])} exclude each other")
    if "save_audio" in given and "mic" not in given:
        raise UsageError("--save-audio keeps what is heard with --mic")
    for name in (*SPOKEN, "save_audio"):
        if given.get(name) == "":
            raise UsageError(f"{option(name)} needs the name of a {'folder' if name == 'save_audio' else 'file'}")
    files = [os.path.realpath(given[name]) for name in SPOKEN if name in given]
    if len(set(files)) < len(files):
        raise UsageError("the sound and its captions need a file each; give them different names")


def _settings(given: dict, again: config.Last | None) -> tuple[Settings, dict[str, str]]:
    command_line = {key: value for key, value in given.items() if key in FIELDS}
    reference = "reference" in given
    config.check(command_line, reference)
    return config.load(command_line, again=again and again.settings, reference=reference)


def _is_checkpoint(word: str) -> bool:
    """Whether a first word names a model, perhaps one that cannot be read: by its ending, or because it is a
    file that begins as one."""
    if word.endswith((".duo", ".gguf", ".bin")) and " " not in word:
        return True
    try:
        if not stat.S_ISREG(os.stat(word).st_mode):  # opening a pipe might wait for ever
            return False
        with open(word, "rb") as file:
            head = file.read(10)
    except (OSError, ValueError):  # hardly any wish is a file
        return False
    if head.startswith(MAGICS) or head[8:] == b'{"':  # the latter is safetensors
        return True
    from . import formats

    try:
        return bool(formats.sniff(word))
    except StoryError:
        return False


# --- Telling --------------------------------------------------------------------------------------


def _text(argument: str) -> str:
    """An argument as UTF-8, whatever the locale; other bytes are lone surrogates, which the engine undoes."""
    return os.fsencode(argument).decode("utf-8", "surrogateescape")


def _wish(words: list[str]) -> str:
    """What the user asks for: words, or stdin when it is not a terminal, or nothing."""
    if words or sys.stdin is None or sys.stdin.isatty():
        return _text(" ".join(words))
    try:
        data = sys.stdin.buffer.read(LONGEST_INPUT + 1)
    except OSError as error:
        raise StoryError(f"cannot read the wish from standard input: {error.strerror}") from None
    if len(data) > LONGEST_INPUT:
        raise StoryError(f"the text on standard input is longer than {LONGEST_INPUT} bytes; use fewer words")
    if b"\0" in data:
        raise StoryError("the text on standard input holds a NUL byte; give it plain text")
    return data.removesuffix(b"\n").decode("utf-8", "surrogateescape")


def open_model(settings: Settings) -> Model:
    """The model, by way of the cache if it is another program's."""
    named = Path(os.path.expanduser(settings.model)) if settings.model else models.default_model()
    tokenizer = Path(os.path.expanduser(settings.tokenizer)) if settings.tokenizer else None
    return Model(models.to_duo(named, tokenizer), settings.kernel or None, kv=settings.kv)


def _version(settings: Settings) -> int:
    try:
        with open_model(settings) as model:
            info = model.info
        facts = f"kernel {info.kernel}, model {info.crc32:08x}"
    except StoryError as error:
        facts = f"no model: {error}"
    Page().write(f"duostory {__version__}, {facts}\n")
    return 0


def _tell(settings: Settings, sources: dict[str, str], given: dict, words: list[str],
          again: config.Last | None, begun: float) -> int:
    settings = replace(settings, seed=settings.seed or int(time.time()))
    with open_model(settings) as model, contextlib.ExitStack() as files:
        prompt = _prompt(model, given, words, again)
        stories = _stories(model, prompt, settings, reference="reference" in given)
        page = _open_page(settings, given)
        captions = [files.enter_context(contextlib.closing(each)) for each in _open_captions(given)]
        player = None if settings.silent else _open_player(settings, sources, given, page, captions)
        teller = Teller(page, player, settings, begun)
        try:
            _tell_all(stories, teller, settings, None if "reference" in given else prompt, model)
        except KeyboardInterrupt:
            teller.summary()
            raise
        except Terminated:  # whoever stops a teller has heard enough
            pass
        teller.summary()
    return 0


def _stories(model: Model, prompt: Prompt, settings: Settings, *, reference: bool = False) -> list[Story]:
    gate = open_gate(settings.gate)
    seeds = [1 + (settings.seed + number - 1) % (2**64 - 1) for number in range(settings.stories)]  # never 0
    return [Story(model, prompt, replace(settings, seed=seed), gate=gate, reference=reference) for seed in seeds]


def _tell_all(stories: list[Story], teller: Teller, settings: Settings, prompt: Prompt | None, model: Model) -> None:
    """Tell them one after another. With their prompt given, the last that was begun is remembered."""
    try:
        for story in stories:
            if story is not stories[0]:
                teller.summary()
            try:
                teller.tell(story, last=story is stories[-1])
            finally:
                if prompt:
                    config.remember(replace(settings, seed=story.seed), *prompt, model.info.crc32)
            if teller.stopped:
                break
    finally:
        teller.close()


def _prompt(model: Model, given: dict, words: list[str], again: config.Last | None) -> Prompt:
    if again:
        if model.info.crc32 != again.crc32 and "model" not in given:
            raise StoryError("the model is not the one that told the last story; tell a new story")
        return Prompt(again.header, again.opening)
    if "prompt" in given:
        return Prompt("", _text(given["prompt"]))
    wish = _wish(words)
    return Prompt("", wish) if "reference" in given else prompt_for(wish, model.metadata)


def _open_page(settings: Settings, given: dict) -> Page:
    if "json" in given:
        return JsonPage()
    if settings.silent or not sys.stdout or not sys.stdout.isatty():
        return Page()
    from .readalong import ReadAlong

    return ReadAlong()


def _open_captions(given: dict) -> Iterator:
    for format in ("srt", "vtt"):
        if format in given:
            from .captions import Captions

            yield Captions(given[format], format)


def _open_player(settings: Settings, sources: dict[str, str], given: dict, page: Page, captions: list):
    """Somebody who speaks; None where there is no espeak-ng, and nobody insists on one."""
    from .speech import Player

    if not (voice := _open_voice(settings, given)):
        return None
    player = Player(voice, _open_sink_or_file(settings, sources, given, voice.rate), volume=settings.volume, notice=page.notice,
                    **_listeners(page, *captions))
    _follow(page, player)
    return player


def _open_voice(settings: Settings, given: dict):
    from . import speech
    from .speech.espeak import NoEspeak

    try:
        return speech.open_voice(settings.speech, voice=settings.voice, rate_wpm=settings.rate, pitch=settings.pitch)
    except NoEspeak as error:
        if any(name in given for name in SPOKEN) or settings.speech != "auto":
            raise
        say(f"duostory: the story is only printed: {error}")
        return None


def _open_sink(settings: Settings, given: dict, rate: int):
    from .speech import open_sink

    wav = given.get("wav")
    return open_sink("wav" if wav else settings.sink, rate, device=settings.device, wav=wav)


def _open_sink_or_file(settings: Settings, sources: dict[str, str], given: dict, rate: int):
    """Where sound goes: into a file where there is no device, and nobody has named one."""
    from . import speech

    try:
        return _open_sink(settings, given, rate)
    except speech.NoSoundDevice:
        if sources["sink"] != "default" or sources["device"] != "default":
            raise
    sink = speech.WavSink(f"story-{settings.seed}.wav", rate, new=True)
    say(f"duostory: there is no sound device, so the story is spoken into {sink.path}")
    return sink


def _listeners(*pages) -> dict:
    """What a player tells, to all `pages`."""
    def word(*told) -> None:
        for page in pages:
            page.word(*told)

    def spoken(*told) -> None:
        for page in pages:
            page.spoken(*told)

    return {"on_word": word, "on_spoken": spoken}


def _follow(page: Page, player) -> None:
    if player.voice.tells_words and player.on_device:
        page.follow(player)


# --- Conversing -----------------------------------------------------------------------------------


def _converse(settings: Settings, sources: dict[str, str], given: dict) -> int:
    """Hear wishes and tell stories until it is good night, the end of the files, or a signal."""
    from .hearing.session import open_conversation

    with open_model(settings):
        open_gate(settings.gate)  # so that what is wrong with them is said now
    page, files = JsonPage() if "json" in given else Page(), given.get("mic_file", ())
    with contextlib.ExitStack() as opened, contextlib.suppress(Terminated):
        mouth = None if settings.silent else _open_mouth(settings, sources, given, page)
        if mouth:
            opened.enter_context(contextlib.closing(mouth))
        conversation = opened.enter_context(contextlib.closing(
            open_conversation(settings, mouth, page, files=files, save=given.get("save_audio"))))
        conversation.greet()
        while (command := conversation.next()) and command.kind != "good night":
            if not _tell_heard(command, conversation, settings, given, mouth):
                return 0
        if files and not conversation.understood:
            raise StoryError("nothing was understood in " + ", ".join(files))
        if files and conversation.unanswered:
            raise StoryError("the recording ends before the wish was confirmed; let it end with a yes, or use --no-confirm")
    return 0


def _open_mouth(settings: Settings, sources: dict[str, str], given: dict, page: Page):
    from .speech.mouth import Mouth

    if not (voice := _open_voice(settings, given)):
        return None
    settings = replace(settings, seed=settings.seed or int(time.time()))  # for the name of a file
    return Mouth(voice, _open_sink_or_file(settings, sources, given, voice.rate),
                 partial(_open_sink, settings, given, voice.rate), settings.volume, signs=settings.earcons, notice=page.notice)


def _tell_heard(command, conversation, settings: Settings, given: dict, mouth) -> bool:
    """Tell what was wished for, until the button stops it. Whether there may be more tonight."""
    from .hearing.dialogue import TEXTS

    began = time.monotonic()
    with contextlib.ExitStack() as opened:
        try:
            again = config.recall() if command.kind == "again" else None
            if again:
                settings, _ = _settings(given, again)
            settings = replace(settings, seed=settings.seed or int(time.time()))
            if mouth:
                settings = replace(settings, volume=mouth.volume)
            model = opened.enter_context(open_model(settings))
            prompt = _prompt(model, given, [], again) if again else prompt_for(command.text, model.metadata)
            stories = _stories(model, prompt, settings)
        except StoryError as error:
            unwanted = isinstance(error, Unwanted)
            if not unwanted and command.kind != "again":
                raise
            say(f"duostory: {error}")
            conversation.say(TEXTS["unwanted" if unwanted else "never told"])
            return True
        page = _open_page(settings, given)
        player = mouth and mouth.player(**_listeners(page))
        if player:
            _follow(page, player)
        teller = Teller(page, player, settings, began)
        try:
            with conversation.telling(teller.stop):
                _tell_all(stories, teller, settings, prompt, model)
        except (KeyboardInterrupt, Terminated):
            teller.summary()
            raise
        teller.summary()
    return teller.stopped or not settings.bedtime
