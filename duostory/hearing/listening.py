"""Listening to one who speaks: from when to when, and what the recogniser makes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duostory.hearing.level import Level, Meter
from duostory.hearing.sources import SECONDS, Source

if TYPE_CHECKING:
    from duostory.hearing.buttons import Button
    from duostory.hearing.light import Light
    from duostory.hearing.pocketsphinx import Endpointer, Hypothesis, Recogniser
    from duostory.hearing.wake import WakePhrase

BEGIN_S = 8.0  # a child may think for so long before it begins,
PAUSE_S = 0.5  # be silent for so long between two words, besides the 0.4 s after which the endpointer says so,
LONGEST_S = 10.0  # and speak for so long
_LEAD_S = 0.6  # that the endpointer takes, after digital silence, to be sure, and a little more: no first consonant is lost


@dataclass(frozen=True)
class Heard:
    """What came of listening.

    ended is why it ended:
        "speech"   one spoke, and has finished
        "silence"  nobody began in time
        "full"     one spoke for too long; what was said until then counts
        "button"   it was pressed again; what was said until then counts
        "end"      the file is over, with or without somebody speaking
    """

    hypothesis: Hypothesis | None  # None: nobody spoke
    level: Level
    ended: str
    seconds: float  # of sound that were listened to
    pcm: bytes  # what the recogniser was given, if that was to be kept


class Listener:
    """Listens on `source`, which it flushes first: what was captured while the robot spoke is not heard.

    Times are in seconds of sound, so that a file is heard as a microphone is. The recogniser catches up as soon as one ceases,
    and makes up its mind when one has not gone on within the pause. With `keep` the sound of each Heard is in its pcm;
    otherwise nothing is kept. `meter` is shown meanwhile; `button` ends the listening.
    """

    def __init__(self, source: Source, endpointer: Endpointer, *, meter: Meter | None = None,
                 keep: bool = False) -> None:
        self.source, self._endpointer, self._meter, self._keep = source, endpointer, meter, keep

    def listen(self, recogniser: Recogniser, timeout: float = BEGIN_S, *, longest: float = LONGEST_S,
               pause: float = PAUSE_S, button: Button | None = None, light: Light | None = None) -> Heard:
        """Wait at most `timeout` for one to begin, and hear at most `longest` of it. Raises DeviceGone, StoryError.

        `light` is on meanwhile, and blinks once the recogniser catches up.
        """
        if light:
            light.on()
        level, given, ended = Level(), bytearray(), ""
        lead = _lead()
        at, begun, ceased = 0.0, 0.0, 0.0  # now, since when one speaks, and has been silent; 0: not
        for block, speaks in self._blocks(level, button):
            at += SECONDS
            lead.append(block)
            if speaks:
                if not begun:
                    recogniser.start()
                elif ceased and light:  # one goes on after all
                    light.on()
                sound = b"".join(lead)
                lead.clear()
                recogniser.feed(sound)
                if self._keep:
                    given += sound
                begun, ceased = begun or at, 0.0
            elif begun and not ceased:
                if light:
                    light.blink()
                ceased = at
                recogniser.catch_up()  # while one may still go on: it takes its time
            if not begun:
                ended = "silence" if at >= timeout else ""
            elif ceased and at - ceased >= pause:
                ended = "speech"
            elif at - begun >= longest:
                ended = "full"
            if ended:
                break
        if light:
            light.blink()
        return Heard(recogniser.finish() if begun else None, level, ended or self._stopped, at, bytes(given))

    def wait(self, phrase: WakePhrase, button: Button | None = None) -> bool:
        """Return True once `phrase` is said or `button` is pressed, and False at the end of a file. Raises as listen()."""
        lead, spoke = _lead(), False
        for block, speaks in self._blocks(Level(), button):
            lead.append(block)
            if speaks:
                if not spoke:
                    phrase.start()
                if phrase.feed(b"".join(lead)):
                    return True
                lead.clear()
            spoke = speaks
        return self._stopped == "button"

    def _blocks(self, level: Level, button: Button | None) -> Iterator[tuple[bytes, bool]]:
        """Each block that is heard from now on, and whether somebody speaks. At the end `_stopped` says what it was."""
        self.source.flush()
        self._endpointer.start()
        try:
            while not (pressed := bool(button and button.pressed())) and (block := self.source.read()):
                level.add(block)
                if self._meter:
                    self._meter.show(level.rms, level.verdict == "clipped")
                yield block, self._endpointer.feed(block) == "speech"
            self._stopped = "button" if pressed else "end"
        finally:
            if self._meter:
                self._meter.clear()


def _lead() -> deque[bytes]:
    """The last blocks that are not yet, or perhaps not any more, speech."""
    return deque(maxlen=round(_LEAD_S / SECONDS))
