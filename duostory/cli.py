"""The command line: parse, wire the rooms together, print.

stdout is the story alone; everything else goes to stderr. The exit status is 0 for a story that was told, or
stopped by SIGTERM, SIGHUP or a reader that closed the pipe; 1 when something failed, 2 for wrong usage, 130
after Ctrl-C. Outside a story SIGTERM and SIGHUP make it 143 and 129, as in a shell: nothing was finished.
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
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from . import StoryError, UsageError, __version__, config, models
from .config import FIELDS, Settings, option
from .engine import Model
from .sentences import Sentence
from .story import Piece, Story
from .wish import Prompt, prompt_for

HELP = """\
usage: duostory [CHECKPOINT] [options] [WISH ...]
       duostory convert | export | models | eval | bench   (see --help of each)

Makes up a story about WISH, and tells it in print and aloud:
       duostory once upon a time
       duostory "a dragon who is afraid of the dark" --wav dragon.wav

  -t, --temperature T   0: always the likeliest token, 1: draw as learned (0.8)
  -p, --topp P          draw from the likeliest tokens that make up P (0.9)
  --repeats N           times that four words in a row may come; 0: any (2)
  -s, --seed N          the same seed tells the same story; 0 is the time (0)
  -n, --steps N         longest story in tokens; 0: all that the model can (0)
  -i, --prompt TEXT     begin with exactly this TEXT; else WISH, else stdin
  -z, --tokenizer FILE  tokenizer.bin for a CHECKPOINT of llama2.c
  --model FILE          another way to name the CHECKPOINT
  --silent, --wav FILE  do not speak; speak into a WAV file
  --volume N            percent, kept; --min-volume, --max-volume are limits
  --speech, --voice, --rate, --pitch, --sink, --device   how and where to speak
  --[no-]the-end        close with "The end." (when speaking)
  --again               tell the last story again
  --json                print one event a line: token, sentence, word, summary
  --reference           llama2.c's output, byte for byte, with its defaults
  --kv f32|q8           q8: a KV cache of about a quarter of the memory (f32)
  --kernel NAME, --show-config, --version, --help
"""

SHORT = {"temperature": "-t", "topp": "-p", "seed": "-s", "steps": "-n", "prompt": "-i", "tokenizer": "-z"}
COMMANDS = {"convert": "formats.commands", "export": "formats.commands", "models": "models", "bench": "bench",
            "eval": "evaluate"}
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
        _say(f"duostory: {error}".rstrip("."))
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
        _say(f"duostory: {type(error).__name__}: {error}: this is a mistake in duostory; please report it, "
             "with what DUOSTORY_DEBUG=1 shows")
        return 1


def _terminate(number: int, _) -> NoReturn:
    for again in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal says so more than once
        signal.signal(again, signal.SIG_IGN)
    raise Terminated(number)


def _say(message: str) -> None:
    """One line for the user. A file name may hold anything, but it can't break the line or the terminal."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    if sys.stderr:
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def _run(argv: list[str], begun: float) -> int:
    if argv and argv[0] in COMMANDS:
        return _command(argv)
    given, words = _parse(argv)
    if "help" in given:
        _Page().write(HELP)
        return 0
    _contradictions(given)
    checkpoint = words.pop(0) if words and _is_checkpoint(words[0]) else None
    if checkpoint and given.setdefault("model", checkpoint) != checkpoint:
        raise UsageError(f"two models are named, {checkpoint!r} and {given['model']!r}; leave one out")
    if "prompt" in given and words:
        raise UsageError("the story can begin with --prompt or be about a wish, not both; leave one out")
    if "again" in given and ("prompt" in given or words):
        raise UsageError("--again takes no wish; the last story has its own")
    again = config.recall() if "again" in given else None
    settings, sources = _settings(given, again)
    if "show_config" in given:
        _Page().write(config.show(settings, sources))
        return 0
    if "version" in given:
        return _version(settings)
    if "volume" in given and "reference" not in given:
        config.keep_volume(settings.volume)
    return _tell(settings, sources, given, words, again, begun)


def _command(argv: list[str]) -> int:
    module = importlib.import_module("." + COMMANDS[argv[0]], __package__)
    parser = _Parser(prog="duostory")
    module.register(parser.add_subparsers(required=True))
    with contextlib.redirect_stdout(sys.stdout and _Page()):
        try:
            args = parser.parse_args(argv)
        except SystemExit:  # after --help
            return 0
        return args.run(args)


# --- The command line -----------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _parse(argv: list[str]) -> tuple[dict[str, str | bool], list[str]]:
    """Options by name, with their values as text, and the words between them."""
    # With a width given, argparse does not load half a megabyte to ask the terminal about its own help.
    parser = _Parser(prog="duostory", add_help=False, argument_default=argparse.SUPPRESS,
                     formatter_class=lambda prog: argparse.HelpFormatter(prog, width=80))
    for key in (*FIELDS, "prompt", "wav"):
        names = [SHORT[key], option(key)] if key in SHORT else [option(key)]
        if key == "the_end":
            parser.add_argument(*names, action=argparse.BooleanOptionalAction)
        elif key == "silent":
            parser.add_argument(*names, action="store_true")
        else:
            parser.add_argument(*names)
    for key in ("json", "again", "reference", "show_config", "version"):
        parser.add_argument(option(key), action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    options, last_words = _bind(parser, argv)
    given, words = parser.parse_known_args(options)
    for word in words:
        if word.startswith("-"):
            raise UsageError(f"there is no option {word}; see duostory --help, or put -- before such a wish")
    return vars(given), words + last_words


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
    told = [name for name in ("wav", "the_end", "again", "json") if given.get(name)]
    if "reference" in given and told:
        raise UsageError(f"{option(told[0])} is not for --reference, which does what llama2.c does")
    if "silent" in given and "wav" in given:
        raise UsageError("--silent and --wav exclude each other")


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


def _open_model(settings: Settings) -> Model:
    """The model, by way of the cache if it is another program's."""
    named = Path(os.path.expanduser(settings.model)) if settings.model else models.default_model()
    tokenizer = Path(os.path.expanduser(settings.tokenizer)) if settings.tokenizer else None
    return Model(models.to_duo(named, tokenizer), settings.kernel or None, kv=settings.kv)


def _version(settings: Settings) -> int:
    try:
        with _open_model(settings) as model:
            info = model.info
        facts = f"kernel {info.kernel}, model {info.crc32:08x}"
    except StoryError as error:
        facts = f"no model: {error}"
    _Page().write(f"duostory {__version__}, {facts}\n")
    return 0


def _tell(settings: Settings, sources: dict[str, str], given: dict, words: list[str],
          again: config.Last | None, begun: float) -> int:
    settings = replace(settings, seed=settings.seed or int(time.time()))
    with _open_model(settings) as model:
        prompt = _prompt(model, given, words, again)
        story = Story(model, prompt, settings, reference="reference" in given)
        page = _JsonPage() if "json" in given else _Page()
        player = None if settings.silent else _open_player(settings, sources, given.get("wav"), page)
        telling = _Telling(story, page, player, begun)
        try:
            try:
                telling.run()
            finally:
                telling.fall_silent()
                if "reference" not in given:
                    config.remember(settings, *prompt, model.info.crc32)
                page.end()  # leaves a terminal at the start of a line
        except KeyboardInterrupt:
            telling.summary(settings.seed)
            raise
        except Terminated:  # whoever stops a teller has heard enough
            pass
        telling.summary(settings.seed)
    return 0


def _prompt(model: Model, given: dict, words: list[str], again: config.Last | None) -> Prompt:
    if again:
        if model.info.crc32 != again.crc32 and "model" not in given:
            raise StoryError("the model is not the one that told the last story; tell a new story")
        return Prompt(again.header, again.opening)
    if "prompt" in given:
        return Prompt("", _text(given["prompt"]))
    wish = _wish(words)
    return Prompt("", wish) if "reference" in given else prompt_for(wish, model.metadata)


def _open_player(settings: Settings, sources: dict[str, str], wav: str | None, page: _Page):
    """The player, or None where there is no voice and nobody insists on one."""
    from . import speech
    from .speech.espeak import NoEspeak

    try:
        voice = speech.open_voice(settings.speech, voice=settings.voice, rate_wpm=settings.rate,
                                  pitch=settings.pitch)
    except NoEspeak as error:
        if wav or settings.speech != "auto":
            raise
        _say(f"duostory: the story is only printed: {error}")
        return None
    try:
        sink = speech.open_sink("wav" if wav else settings.sink, voice.rate, device=settings.device, wav=wav)
    except speech.NoSoundDevice:
        if sources["sink"] != "default" or sources["device"] != "default":
            raise
        sink = speech.WavSink(f"story-{settings.seed}.wav", voice.rate, new=True)
        _say(f"duostory: there is no sound device, so the story is spoken into {sink.path}")
    return speech.Player(voice, sink, on_word=page.word, volume=settings.volume,
                         notice=lambda message: _say(f"duostory: {message}"))


class _Telling:
    """One story on its way to a page and a player."""

    def __init__(self, story: Story, page: _Page, player, begun: float) -> None:
        self._story, self._page, self._player, self._begun = story, page, player, begun
        self._waited = 0.0  # seconds for the voice, which are not the model's
        self._start = self._ended = time.monotonic()

    def run(self) -> None:
        """Tell the story to its end. Raises StoryError, and whatever signals and a closed pipe raise."""
        try:
            for event in self._story:
                if isinstance(event, Piece):
                    self._page.piece(event)
                elif event.text.strip():
                    self._sentence(event)
        finally:
            self._ended = time.monotonic()
        self._page.end()
        if self._player:
            self._player.finish()

    def _sentence(self, sentence: Sentence) -> None:
        self._page.sentence(sentence.text.strip())
        if self._player:
            began = time.monotonic()
            self._player.say(sentence.text.strip(), sentence.pause)
            self._waited += time.monotonic() - began

    def fall_silent(self) -> None:
        if self._player:
            self._player.close()

    def summary(self, seed: int) -> None:
        tokens, started = self._story.positions, self._story.started
        seconds = self._ended - self._start - self._waited
        # As llama2.c measures: neither the first token nor its time counts.
        pace = (tokens - 1) / max(self._ended - started - self._waited, 1e-9) if started else 0.0
        facts = {"tokens": tokens, "seconds": round(seconds, 3), "tokens_per_second": round(pace, 3),
                 "seed": seed}
        line = f"{tokens} tokens in {seconds:.2f} s, seed {seed}"
        if self._player and (stats := self._player.stats).first_sound:
            first = stats.first_sound - self._begun
            facts |= {"first_sound": round(first, 3), "synthesis": round(stats.synthesis, 3),
                      "audio": round(stats.audio, 3), "gap": round(stats.gap, 3), "xruns": stats.xruns}
            line += f", first sound after {first:.2f} s"
            line += f", {stats.synthesis:.2f} s to synthesise {stats.audio:.1f} s"
        self._page.summary(facts)
        _say(line)
        _say(f"achieved tok/s: {pace:f}")


# --- What is printed ------------------------------------------------------------------------------


class _Page:
    """stdout: the story alone, each token as soon as it is there. Commands print on one, too."""

    word = None  # the player need not tell words

    def __init__(self) -> None:
        if sys.stdout is None:
            raise StoryError("standard output is closed, so nothing can be told")
        self._stdout = sys.stdout
        self._ended = False

    def write(self, text: str) -> None:
        """Raises StoryError for a full disk, BrokenPipeError when nobody reads."""
        try:
            self._stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
            self._stdout.buffer.flush()
        except OSError as error:
            self._ended = True
            # Or Python would try again when it exits, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stdout.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise StoryError(f"cannot write to standard output: {error.strerror}") from None

    def flush(self) -> None:
        """For print(): everything is out already."""

    def piece(self, piece: Piece) -> None:
        if piece.text:
            self.write(piece.text)

    def sentence(self, text: str) -> None:
        pass

    def end(self) -> None:
        """The last newline; once."""
        if not self._ended:
            self._ended = True
            self.write("\n")

    def summary(self, facts: dict) -> None:
        pass


class _JsonPage(_Page):
    """stdout: events, one JSON object a line."""

    def __init__(self) -> None:
        super().__init__()
        import json
        import threading

        self._dumps, self._lock = json.dumps, threading.Lock()
        self._sentences = 0

    def _event(self, event: str, **facts) -> None:
        with self._lock:  # words come from the player's thread
            self.write(self._dumps({"event": event, **facts}) + "\n")

    def piece(self, piece: Piece) -> None:
        self._event("token", id=piece.token, text=piece.text, prompt=piece.prompt)

    def sentence(self, text: str) -> None:
        self._event("sentence", index=self._sentences, text=text)
        self._sentences += 1

    def word(self, word: str, at: float, sentence: int) -> None:
        self._event("word", word=word, at=round(at, 3), sentence=sentence)

    def end(self) -> None:
        pass

    def summary(self, facts: dict) -> None:
        self._event("summary", **facts)
