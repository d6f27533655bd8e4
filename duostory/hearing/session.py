"""What a conversation is made of, by the settings."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice

from duostory import StoryError, config
from duostory.config import Settings
from duostory.hearing import RATE, open_source
from duostory.hearing.conversation import Conversation
from duostory.hearing.dialogue import OFFERS, TEXTS, Dialogue, turned
from duostory.hearing.level import Meter
from duostory.hearing.listening import Listener
from duostory.page import Page
from duostory.speech.mouth import Mouth


def open_conversation(settings: Settings, mouth: Mouth | None, page: Page, *, files: Sequence[str] = (),
                      save: str | None = None) -> Conversation:
    """Listen to the microphone, or to `files` in its place; write what is heard into the folder `save`, if that is named.

    Raises StoryError for what cannot be had.
    """
    from duostory.hearing.pocketsphinx import Endpointer, Recogniser
    from duostory.hearing.wake import WakePhrase

    keep = _keeper(save) if save else None
    enter = settings.button == "enter" and sys.stdin is not None and sys.stdin.isatty()
    pushed = not files and (enter or settings.button not in ("", "enter"))
    begin = settings.listen
    if files and begin in ("auto", "push"):  # which nobody has to press anything for
        begin = ""
    elif begin == "auto":
        begin = "push" if pushed else "voice"
    with contextlib.ExitStack() as opened:
        button = light = None
        if pushed or begin == "push":
            from duostory.hearing.buttons import open_button

            button = opened.enter_context(contextlib.closing(open_button(settings.button)))
        if settings.light:
            from duostory.hearing.light import Light

            light = opened.enter_context(contextlib.closing(Light(settings.light)))
        source = opened.enter_context(contextlib.closing(
            open_source("wav" if files else settings.sink, device=settings.mic_device, wavs=tuple(files))))
        dialogue = Dialogue(islice(cycle(OFFERS), int(time.time()) % len(OFFERS), None), _turner(settings, mouth),
                            confirm=settings.confirm, free=settings.free)
        conversation = Conversation(
            Listener(source, Endpointer(), meter=Meter(), keep=bool(keep)), partial(Recogniser, free=settings.free), WakePhrase,
            dialogue, mouth, page, begin=begin, greeting=_greeting(settings, begin), button=button, light=light, keep=keep)
        opened.pop_all()
    return conversation


def _greeting(settings: Settings, begin: str) -> str:
    button = "Enter" if settings.button == "enter" else "the button"
    return TEXTS[f"ready {begin}"].format(button=button) if begin else ""


def _turner(settings: Settings, mouth: Mouth | None) -> Callable[[str], str]:
    """What turns the volume, and keeps it."""
    def turn(kind: str) -> str:
        before = mouth.volume if mouth else settings.volume
        volume, text = turned(kind, before, settings.min_volume, settings.max_volume)
        if mouth:
            mouth.volume = volume
            config.keep_number("volume", volume)
        return text

    return turn


def _keeper(folder: str) -> Callable[[bytes], None]:
    """What writes sound into `folder`, as a WAV file for each thing that was said."""
    import wave

    problem = f"cannot save what is heard in {folder}: "
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise StoryError(problem + error.strerror) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoryError(problem + "nothing may be written there")
    begun = time.strftime("%Y%m%d-%H%M%S")
    kept = 0

    def keep(pcm: bytes) -> None:
        nonlocal kept
        kept += 1
        try:
            with open(os.path.join(folder, f"heard-{begun}-{kept}.wav"), "wb") as file, wave.open(file, "wb") as wav:
                wav.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
                wav.writeframes(pcm)
        except OSError as error:
            raise StoryError(problem + error.strerror) from None

    return keep
