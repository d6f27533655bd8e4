"""The teller: brings stories to a page and a player, one after another."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from . import StoryError
from .config import FIELDS, Settings
from .page import INFO, Page, say
from .sentences import SENTENCE, Sentence
from .story import Piece, Story

BETWEEN = 2.0  # seconds of silence between two stories; more than a sound device holds
THINKING = 0.5  # seconds without a sentence until an earcon says that one will come

# At bedtime, the rate and the volume of a story to those of the one before, and the least there is of each.
SLOWER, SLOWEST = 0.94, FIELDS["rate"].metadata["low"]
SOFTER, SOFTEST = 0.85, 0.3  # the latter to the first story
GOOD_NIGHT = "Good night."


class Teller:
    """Tells stories on `page` and, unless it is None, through `player`; `begun` is when the program was started."""

    def __init__(self, page: Page, player, settings: Settings, begun: float) -> None:
        self._page, self._player, self._settings, self._begun = page, player, settings, begun
        self._earcons = bool(settings.earcons and player and player.on_device)
        self._story: Story | None = None  # being told, or told and not summed up
        self._told = 0  # stories
        self._thinking = None  # the timer for that earcon
        self.stopped = False  # by stop()

    def tell(self, story: Story, last: bool) -> None:
        """Tell the story to its end. Raises StoryError, and whatever signals and a closed pipe raise; then it is
        silent."""
        self._story = story
        self._waited = 0.0  # seconds for the voice, which are not the model's
        self._before = self._player and replace(self._player.stats)
        self._start = self._ended = time.monotonic()
        try:
            self._begin()
            try:
                for event in story:
                    if self.stopped:
                        break
                    if isinstance(event, Piece):
                        self._page.piece(event)
                    elif event.text.strip():
                        self._sentence(event)
            finally:
                self._ended = time.monotonic()
            self._end(last)
            self._told += 1
        except BaseException as error:
            if isinstance(error, StoryError) and self._earcons:
                self._earcon("error")
                with contextlib.suppress(StoryError):
                    self._player.finish()
            self._fall_silent()
            raise

    def stop(self) -> None:
        """End the story: tell() falls silent within 0.2 s, and returns as from a story that is over. From any thread."""
        self.stopped = True
        if self._player:
            self._player.stop()

    def _begin(self) -> None:
        """What comes before the story."""
        if self._told:
            self._page.piece(Piece(None, "\n", False))
        if self._settings.bedtime and self._player:
            self._calm_down()
        if self._earcons and not self._told:
            from threading import Timer

            self._thinking = Timer(THINKING, self._earcon, ["thinking"])
            self._thinking.daemon = True
            self._thinking.start()

    def _calm_down(self) -> None:
        """Let the voice be the slower and softer the more stories it has told."""
        settings, player = self._settings, self._player
        player.voice.rate_wpm = max(SLOWEST, round(settings.rate * SLOWER ** self._told))
        player.volume = max(settings.min_volume, round(settings.volume * max(SOFTEST, SOFTER ** self._told)))

    def _sentence(self, sentence: Sentence) -> None:
        if self._thinking:
            self._thinking.cancel()
        self._page.sentence(sentence.text.strip())
        if self._player:
            began = time.monotonic()
            try:
                self._player.say(sentence.text.strip(), sentence.pause)
            finally:
                self._waited += time.monotonic() - began

    def _end(self, last: bool) -> None:
        """What comes after the story. Returns when it has been heard."""
        if last and self._settings.bedtime and not self.stopped:
            self._page.piece(Piece(None, "\n" + GOOD_NIGHT, False))
            self._sentence(Sentence(GOOD_NIGHT, SENTENCE, True))
        self._page.end()
        if self._player and last:
            self._player.finish()
        elif self._player:
            self._player.play(bytes(2 * round(BETWEEN * self._player.voice.rate)))
            self._player.wait()
            self._page.heard()

    def _earcon(self, name: str) -> None:
        from .speech import earcons

        with contextlib.suppress(StoryError):  # the next sentence will say that the sound device has gone
            self._player.play(earcons.samples(name, self._player.voice.rate))

    def _fall_silent(self) -> None:
        if self._thinking:
            self._thinking.cancel()
        if self._player:
            self._player.close()

    def close(self) -> None:
        """Fall silent, and leave a terminal at the start of a line."""
        self._fall_silent()
        self._page.end()
        self._page.close()

    def summary(self) -> None:
        """Say how the last story went, once."""
        if not (story := self._story):
            return
        self._story = None
        seconds = self._ended - self._start - self._waited
        # As llama2.c measures: neither the first token nor its time counts.
        pace = (story.positions - 1) / max(self._ended - story.started - self._waited, 1e-9) if story.started else 0.0
        facts = {"tokens": story.positions, "seconds": round(seconds, 3), "tokens_per_second": round(pace, 3),
                 "seed": story.seed, "taken_back": story.taken_back}
        line = f"{story.positions} tokens in {seconds:.2f} s, seed {story.seed}"
        if self._player and (stats := self._player.stats).first_sound:
            before, first = self._before, stats.first_sound - self._begun
            synthesis, audio = stats.synthesis - before.synthesis, stats.audio - before.audio
            facts |= {"first_sound": round(first, 3), "synthesis": round(synthesis, 3), "audio": round(audio, 3),
                      "gap": round(stats.gap - before.gap, 3), "xruns": stats.xruns - before.xruns}
            line += f", first sound after {first:.2f} s" if not before.first_sound else ""
            line += f", {synthesis:.2f} s to synthesise {audio:.1f} s"
        self._page.summary(facts)
        say(line, INFO)
        say(f"achieved tok/s: {pace:f}", INFO)
