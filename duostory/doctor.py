"""`python -m duostory doctor`: what is here, what is wrong, and what to do about it, on one screen and without a network."""

import argparse
import contextlib
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from . import StoryError, __version__, cli, config, models
from .config import Settings
from .engine import kernels
from .gate import open_gate
from .service import clock, orders
from .speech import earcons

PYTHON = 12e6  # bytes that Python and the voice take; seen: 11.3 MB on x86-64
LISTEN = 1.0  # seconds
BUSY = "end that program, perhaps duostory serve, and ask again"
TONE = "This is my voice."
SERVICE_STATE = "/var/lib/duostory"  # the service's, as unit and script name it


class Finding(NamedTuple):
    topic: str
    fact: str
    advice: str = ""  # what to do about it; none if all is well
    needed: bool = False  # no story is told, or heard, with this problem


def register(subparsers: argparse._SubParsersAction) -> None:
    cli.add_command(subparsers, "doctor", "what is here, what is wrong, and what to do about it", run, tone="also say something")


def run(given: dict[str, str | bool], tone: bool) -> int:
    """Prints the findings; returns 1 when something is wrong that a story needs."""
    print(f"duostory {__version__}, Python {platform.python_version()} on {os.uname().machine}: {_processor()}")
    failed = False
    for finding in _examine(given, tone):
        failed |= finding.needed and bool(finding.advice)
        print(f"{' ' if not finding.advice else '!' if finding.needed else '-'} {finding.topic:<10} {finding.fact}")
        if finding.advice:
            print(f"{'':12} > {finding.advice}")
    return int(failed)


def _examine(given: dict, tone: bool) -> Iterator[Finding]:
    settings = Settings()
    try:
        settings, _ = config.load(given)
        open_gate(settings.gate)
    except StoryError as error:
        yield Finding("settings", str(error), "correct that; what follows is about the defaults", needed=True)
    yield from _model(settings)
    if not settings.silent:
        yield (voice := _voice(settings))
        if not voice.advice:
            yield _speaker(settings, tone)
    yield _microphone(settings)
    yield from _button_and_light(settings)
    yield _watchdog()
    yield _clock()
    yield _state()
    yield _service()


# --- What a story needs ---------------------------------------------------------------------------


def _processor() -> str:
    """What the kernel says about the first processor: a name, or the instructions that it knows."""
    facts = _table("/proc/cpuinfo")
    return next((facts[key] for key in ("model name", "uarch", "isa", "Hardware") if key in facts), "unknown processor")


def _model(settings: Settings) -> Iterator[Finding]:
    """The engine, the model, and the memory for them."""
    try:
        with cli.open_model(settings) as model:
            info = model.info
    except StoryError as error:
        yield Finding("model", str(error), "copy the model again, or name another one with --model", needed=True)
        return
    failing = [name for name in kernels() if not _opens(settings, name)]
    advice = f"{', '.join(failing)} computes wrongly here: please report that; the others are used" if failing else ""
    yield Finding("engine", f"kernel {info.kernel}; of {', '.join(kernels())} "
                            f"{'all pass' if not failing else 'not all pass'} the self-test", advice)
    path = settings.model or models.default_model()
    yield Finding("model", f"{path}: {info.file_size / 1e6:.1f} MB {info.type}, checksum {info.crc32:08x} is right")
    need, free = info.file_size + info.memory + PYTHON, _kilobytes("MemAvailable") * 1024
    fact = f"{free / 1e6:.0f} MB of {_kilobytes('MemTotal') * 1024 / 1e6:.0f} available, {need / 1e6:.0f} needed for a story"
    yield Finding("memory", fact, "" if free > need else "end other programs, or take --kv q8 or a smaller model")


def _opens(settings: Settings, kernel: str) -> bool:
    try:
        cli.open_model(replace(settings, kernel=kernel)).close()
        return True
    except StoryError:
        return False


def _voice(settings: Settings) -> Finding:
    from . import speech

    try:
        voice = speech.open_voice(settings.speech, voice=settings.voice, rate_wpm=settings.rate, pitch=settings.pitch)
    except StoryError as error:
        return Finding("voice", str(error), "correct that, or have stories only shown: --silent", needed=True)
    return Finding("voice", f"{voice.version}, {settings.voice}, {settings.rate} words a minute, volume {settings.volume}")


def _speaker(settings: Settings, tone: bool) -> Finding:
    from . import speech

    here = _cards("p")
    cards = f"cards that play: {', '.join(here)}" if here else "no card here plays"
    try:
        voice = speech.open_voice(settings.speech, voice=settings.voice)
        with speech.Player(voice, speech.open_sink(settings.sink, voice.rate, device=settings.device),
                           volume=settings.volume) as player:
            if tone:
                player.play(earcons.samples("ready", voice.rate))
                player.say(TONE)
                player.finish()
    except StoryError as error:
        advice = (BUSY if "in use" in str(error) else f"name one of them: --device plughw:CARD={here[0]}" if here else
                  "plug in a USB sound card")
        return Finding("speaker", f"{error}; {cards}", advice, needed=True)
    heard = "a test tone was played; if you did not hear it, look at the cable and at alsamixer" if tone else "--tone plays one"
    return Finding("speaker", f'"{settings.device}" opens; {cards}; {heard}')


def _cards(direction: str) -> list[str]:
    """Names of the cards that play ("p") or record ("c"), for CARD=; sysfs has them where /proc/asound is not built in."""
    devices = sorted(Path("/sys/class/sound").glob(f"pcmC*D*{direction}"))
    return list(dict.fromkeys((device / "device" / "id").read_text().strip() for device in devices))


# --- What a robot needs besides -------------------------------------------------------------------


def _microphone(settings: Settings) -> Finding:
    from .hearing import level, open_source, pocketsphinx
    from .hearing.sources import SECONDS

    cards = _cards("c")
    listed = f"cards that record: {', '.join(cards)}" if cards else "no card here records"
    try:
        pocketsphinx.Recogniser.check()
    except StoryError as error:
        return Finding("microphone", str(error), "without pocketsphinx, wishes cannot be spoken")
    try:
        heard = level.Level()
        with contextlib.closing(open_source(settings.sink, device=settings.mic_device)) as source:
            for _ in range(round(LISTEN / SECONDS)):
                heard.add(source.read())
    except StoryError as error:
        advice = (BUSY if "in use" in str(error) else f"name one of them: --mic-device plughw:CARD={cards[0]}" if cards else
                  "without one, wishes cannot be spoken")
        return Finding("microphone", f"{error}; {listed}", advice)
    fact = f'"{settings.mic_device}", {heard.loudest:.0f} dBFS in the last {LISTEN:g} s; {listed}'
    return Finding("microphone", fact, heard.hint if heard.verdict in ("silent", "clipped") else "")


def _button_and_light(settings: Settings) -> Iterator[Finding]:
    from .hearing.buttons import open_button
    from .hearing.light import Light

    for topic, name, open_it in (("button", "" if settings.button == "enter" else settings.button, open_button),
                                 ("light", settings.light, Light)):
        try:
            if name:
                open_it(name).close()
            yield Finding(topic, f"{name} is there" if name else f"none is set; see --{topic}")
        except StoryError as error:
            yield Finding(topic, str(error), f"correct the setting {topic}, or leave it out")


def _watchdog() -> Finding:
    name = _line("/sys/class/watchdog/watchdog0/identity")
    if name or os.path.exists("/dev/watchdog"):
        return Finding("watchdog", f"/dev/watchdog: {name or 'of an unknown kind'}")
    return Finding("watchdog", "no /dev/watchdog", "a kernel that hangs will stay so: load its driver (dw_wdt on the Duo)")


def _clock() -> Finding:
    now, kept = time.time(), config.kept_number("clock", _environ())
    source = "from a" if clock.goes_on() else "this machine has no"
    source += " clock that goes on without power"
    fact = f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(now))}, {source}"
    if now >= max(clock.RELEASED, kept or 0) or clock.goes_on() and now >= clock.RELEASED:
        return Finding("clock", fact)
    return Finding("clock", fact, "it has not been set: `date -s` sets it, and duostory serve keeps it over a power cut")


def _environ() -> dict[str, str]:
    """For root, who looks after the machine, the service's state is of interest, and not that of stories told at the prompt."""
    service = {"STATE_DIRECTORY": SERVICE_STATE} if os.geteuid() == 0 and os.path.isdir(SERVICE_STATE) else {}
    return service | os.environ


def _state() -> Finding:
    environ = _environ()
    folder, damaged = config.state_folder(environ), config.damaged(environ)
    if damaged:
        return Finding("state", damaged[0], "nothing, it is written anew")
    if not folder:
        return Finding("state", "there is no home folder", "set STATE_DIRECTORY, or nothing is kept over a power cut")
    if problem := config.keep_number("doctor", int(time.time()), environ):
        return Finding("state", f"cannot keep {problem}", "make room or mount it to be written, or nothing is kept")
    os.unlink(os.path.join(folder, "doctor"))
    return Finding("state", f"{folder} can be written")


def _service() -> Finding:
    for path in orders.socket_paths():
        with contextlib.suppress(StoryError):
            if connection := orders.connect(path):
                connection.close()
                return Finding("service", f"listens at {path}")
    return Finding("service", "none runs here; duostory serve starts one")


# --- What the kernel tells ------------------------------------------------------------------------


def _table(path: str) -> dict[str, str]:
    """`key: value` lines; of a key that comes again the first."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}


def _kilobytes(key: str) -> int:
    return int(_table("/proc/meminfo").get(key, "0 kB").split()[0])


def _line(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
