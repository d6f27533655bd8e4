"""Listening to one who speaks: from when to when, and what the recogniser makes of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duostory.hearing.level import Level, Meter
from duostory.hearing.sources import SECONDS, Source

if TYPE_CHECKING:
    from duostory.hearing.buttons import Button
    from duostory.hearing.pocketsphinx import Endpointer, Hypothesis, Recogniser

BEGIN_S = 8.0  # a child may think for so long before it begins,
PAUSE_S = 0.5  # be silent for so long between two words, besides the 0.4 s after which the endpointer says so,
LONGEST_S = 10.0  # and speak for so long
_LEAD_S = 0.45  # before the endpointer is sure, and a little more: no first consonant is lost


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

    Times are in seconds of sound, so that a file is heard as a microphone is. With `keep` the sound of each Heard is in
    its pcm; otherwise nothing is kept. `meter` is shown meanwhile; `button` ends the listening, and is best given where
    it began it.
    """

    def __init__(self, source: Source, endpointer: Endpointer, *, meter: Meter | None = None,
                 keep: bool = False) -> None:
        self.source, self._endpointer, self._meter, self._keep = source, endpointer, meter, keep

    def listen(self, recogniser: Recogniser, timeout: float = BEGIN_S, *, longest: float = LONGEST_S,
               pause: float = PAUSE_S, button: Button | None = None) -> Heard:
        """Wait at most `timeout` for one to begin, and hear at most `longest` of it. Raises DeviceGone, StoryError."""
        level, kept = Level(), bytearray()
        lead: deque[bytes] = deque(maxlen=round(_LEAD_S / SECONDS))
        at, begun, ceased = 0.0, None, None  # now; since when one speaks, and has been silent
        self.source.flush()
        self._endpointer.start()
        ended = ""
        try:
            while not ended:
                if button and button.pressed():
                    ended = "button"
                    break
                if not (block := self.source.read()):
                    ended = "end"
                    break
                at += SECONDS
                level.add(block)
                if self._meter:
                    self._meter.show(level.rms, level.verdict == "clipped")
                speaks = self._endpointer.feed(block) == "speech"
                if begun is None:
                    lead.append(block)
                    if not speaks:
                        ended = "silence" if at >= timeout else ""
                        continue
                    begun, block = at, b"".join(lead)
                    recogniser.start()
                recogniser.feed(block)
                if self._keep:
                    kept += block
                ceased = None if speaks else ceased or at
                if ceased and at - ceased >= pause:
                    ended = "speech"
                elif at - begun >= longest:
                    ended = "full"
        finally:
            if self._meter:
                self._meter.clear()
            hypothesis = recogniser.finish() if begun is not None else None
        return Heard(hypothesis, level, ended, at, bytes(kept))
