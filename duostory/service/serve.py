"""`python -m duostory serve`: a robot that is always there, and tells a story whenever it is asked to.

The exit status is 0 after SIGTERM and SIGHUP, 130 after Ctrl-C, 78 when starting again would not help (a damaged model,
settings that make no sense), 1 for anything else that a new start may cure.
"""

import argparse
import contextlib
import os
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from .. import StoryError, cli, config
from ..config import Settings
from ..gate import open_gate
from ..page import ERROR, WARNING, say
from . import clock, orders
from .ear import Ear
from .notify import Notifier
from .orders import NOTICE, Client, Order
from .robot import Robot, Sound
from .turn import Turn

READY = "Hello! I am ready."
YES = "All right."  # before the next story, when one has been stopped, and after stopping
LOUDER, LOUDEST, SOFTER, SOFTEST = "Louder.", "This is as loud as I can.", "Softer.", "This is as soft as I can."
DAMAGED = "Oh no. My story model does not work. Please copy it onto my card again."
WRONG = "Oh no. My settings are not right. Please look at what I have written."

STEP = 10  # percent of volume, louder and softer
TICK = 1.0  # seconds between two looks at how the turn gets on
LOOK = 3.0  # seconds between two looks for a sound card
PATIENCE = 10.0  # seconds in which a turn must get on; a sound card that stands still is given up after 6
LEAVE = 0.5  # seconds for a turn to end when the service does


def register(subparsers: argparse._SubParsersAction) -> None:
    cli.add_command(subparsers, "serve", "be there, and tell a story whenever asked to", run, mic="hear spoken wishes, too")


def run(given: dict[str, str | bool], mic: bool) -> int:
    """Serves until a signal ends it; returns the exit status."""
    status = 0
    with contextlib.suppress(cli.Terminated):  # before it was ready
        listener = _listen()
        with contextlib.closing(listener) if listener else contextlib.nullcontext():
            _set_clock()
            config.sweep()
            for problem in config.damaged():
                say(f"duostory: {problem}", WARNING)
            status = _serve(given, mic, [orders.Lines(), *filter(None, [listener])])
    if threading.active_count() > 1:  # an ear in the middle of a word: libraries may not be taken away under it
        os._exit(status)
    return status


def _serve(given: dict[str, str | bool], mic: bool, sources: list) -> int:
    sound, trouble = Sound(Settings()), WRONG
    try:
        settings, _ = config.load(given)
        sound = Sound(settings)
        sound.voice()
        gate = open_gate(settings.gate)
        trouble = DAMAGED
        model = cli.open_model(settings)
    except StoryError as error:
        say(f"duostory: {error}", ERROR)
        with contextlib.suppress(StoryError):
            sound.speak(trouble)
        return os.EX_CONFIG
    with model, contextlib.closing(Notifier()) as notifier:
        robot = Robot(settings, sound, model, gate)
        return Loop(robot, notifier).run([*sources, Ear(robot, mic)])


def _listen() -> orders.Listener | None:
    """Raises StoryError where a service listens already."""
    path, other = orders.socket_paths()[0], None
    with contextlib.suppress(StoryError):  # what the listener will meet, too
        other = orders.connect(path)
    if other:
        other.close()
        raise StoryError(f"a service listens at {path} already; there can be one")
    try:
        return orders.Listener(path)
    except OSError as error:
        say(f'duostory: "duostory tell" cannot reach this service, for it cannot listen at {path}: {error.strerror or error}',
            WARNING)
        return None


def _set_clock() -> None:
    try:
        if seconds := clock.restore():
            say(f"duostory: the clock was behind the last time kept, and went forward by {seconds} seconds")
    except OSError:
        say("duostory: the clock is behind the last time kept; only root, or CAP_SYS_TIME, may set it", WARNING)


class Loop:
    """The main thread: waits for orders and signals, and has one turn at a time."""

    def __init__(self, robot: Robot, notifier: Notifier) -> None:
        self._robot, self._notifier = robot, notifier
        self._turn: Turn | None = None  # going on
        self._next: Turn | None = None  # to begin when that is over
        self._signal = 0
        self._progress: tuple | None = None  # of the turn
        self._got_on = self._ping = self._looked = self._kept = time.monotonic()
        self._stuck = False
        self._followers: list[Callable[[bool], None]] = []
        self._calls: deque[Callable] = deque()
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self._woken, self._wake)

    # --- For sources ------------------------------------------------------------------------------

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Let `callback` be called when `fd` can be read."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def unwatch(self, fd: int) -> None:
        self._selector.unregister(fd)

    def follow(self, callback: Callable[[bool], None]) -> None:
        """Let `callback` be told when a turn is about to begin (True), and when none follows it (False)."""
        self._followers.append(callback)

    def call(self, function: Callable, *args) -> None:
        """Let `function` be called on the main thread. From any thread."""
        self._calls.append(partial(function, *args))
        with contextlib.suppress(BlockingIOError):  # so many bytes will wake it anyway
            os.write(self._waker, b"\0")

    def take(self, order: Order) -> None:
        """Do as ordered."""
        telling = bool((self._next or self._turn) and (self._next or self._turn).telling)
        kind = order.kind if order.kind != "button" else "stop" if telling else "story"
        if kind in ("story", "again"):
            self._begin(self._new_turn(order=order._replace(kind=kind), words=YES if telling else ""))
            return
        if kind == "stop":
            if telling:
                self._begin(self._new_turn(words=YES))
            elif self._turn:  # it says something else
                self._turn.stop()
        else:
            self._set_volume(STEP if kind == "louder" else -STEP, telling)
        if order.client:
            order.client.finish(0)

    def greet(self, words: str = READY, earcon: str = "ready") -> None:
        """Say that the robot can be used now, unless it is being used."""
        if self._next or self._turn and self._turn.telling:
            return
        self._next = self._new_turn(words=words, earcon=earcon)
        if not self._turn:
            self._start()

    def hung_up(self, client: Client) -> None:
        """Called when `client` has gone: who hears the story that it asked for?"""
        if self._next and self._next.client is client:
            self._next = None
        elif self._turn and self._turn.client is client:
            self._turn.stop()

    # --- Turns ------------------------------------------------------------------------------------

    def _new_turn(self, **what) -> Turn:
        return Turn(self._robot, lambda: self.call(self._over), **what)

    def _begin(self, turn: Turn) -> None:
        """Let `turn` be the next one, at once."""
        if self._next:
            self._dismiss(self._next)
        self._next = turn
        if self._turn:
            self._turn.stop()
        else:
            self._start()

    def _start(self) -> None:
        self._turn, self._next = self._next, None
        self._got_on = time.monotonic()
        for follower in self._followers:
            follower(bool(self._turn))
        if self._turn:
            self._turn.start()
        self._notifier.send("STATUS=" + ("Telling a story" if self._turn and self._turn.telling else "Waiting for a wish"))

    def _over(self) -> None:
        turn = self._turn
        turn.join()
        if turn.order:
            self._keep_clock()
        self._dismiss(turn)
        self._start()

    def _dismiss(self, turn: Turn) -> None:
        if turn.client:
            if turn.stopped or turn is self._next:
                turn.client.send(NOTICE, "the story was stopped")
            turn.client.finish(turn.status)

    def _set_volume(self, step: int, telling: bool) -> None:
        settings = self._robot.settings
        volume = min(max(settings.volume + step, settings.min_volume), settings.max_volume)
        words = (LOUDER, LOUDEST) if step > 0 else (SOFTER, SOFTEST)
        self._robot.settings = replace(settings, volume=volume)
        self._robot.kept(config.keep_number("volume", volume))
        if telling:
            self._turn.set_volume(volume)
        else:
            self._begin(self._new_turn(words=words[volume == settings.volume]))

    # --- The main loop ----------------------------------------------------------------------------

    def run(self, sources: list) -> int:
        """Serve until a signal comes; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._notifier.send("READY=1")
        self.greet()
        for source in sources:
            source.attach(self)
        tick = min(TICK, (self._notifier.watchdog or TICK) / 4)
        while not self._signal:
            for key, _ in self._selector.select(tick):
                key.data()
            self._look_after(time.monotonic())
        return self._leave()

    def _on_signal(self, number: int, _) -> None:
        self._signal = self._signal or number

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)
        while self._calls:
            self._calls.popleft()()

    def _look_after(self, now: float) -> None:
        """What is to be done now and then."""
        progress = self._turn and self._turn.progress()
        if not progress or progress != self._progress:
            self._progress, self._got_on, self._stuck = progress, now, False
        if now - self._got_on > PATIENCE:
            self._despair()
        elif self._notifier.watchdog and now - self._ping >= self._notifier.watchdog / 2:
            self._ping = now
            self._notifier.send("WATCHDOG=1")
        if now - self._kept >= clock.EVERY:
            self._keep_clock()
        if self._robot.sound.missing and not self._turn and now - self._looked >= LOOK:
            self._looked = now
            if self._robot.sound.is_back():
                self.greet()

    def _despair(self) -> None:
        """A turn is stuck in the engine or in the sound card, and no thread can be freed from there: end, or let the service
        manager end us."""
        if not self._stuck:
            self._stuck = True
            say(f"duostory: a story has not got on for {PATIENCE:g} s; duostory has to be started anew", ERROR)
        if not self._notifier.watchdog:
            os._exit(1)

    def _keep_clock(self) -> None:
        self._kept = time.monotonic()
        self._robot.kept(clock.keep())

    def _leave(self) -> int:
        self._notifier.send("STOPPING=1", "STATUS=Leaving")
        if self._turn:
            self._turn.stop()
        for follower in self._followers:
            follower(True)  # so that nobody listens any more
        self._keep_clock()
        if self._turn:
            self._turn.join(LEAVE)
            if self._turn.is_alive():
                say("duostory: the story does not end, and is left behind", ERROR)
                os._exit(1)
        return 130 if self._signal == signal.SIGINT else 0
