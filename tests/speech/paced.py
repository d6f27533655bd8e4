"""A sink in real time that logs when each sample sounds, and the program with it and a log of the words it tells.

    python -m tests.speech.paced LOG FAILS ARGS...    # runs `duostory ARGS`; the sink fails after so many seconds
"""

import sys
import time

from duostory import StoryError, cli, readalong, speech

HOLDS = 1.0  # seconds, as the program's own ALSA sink


class Paced:
    xruns, buffer = 0, HOLDS

    def __init__(self, rate: int, fails: float, log) -> None:
        self.rate, self._fails, self._log = rate, fails, log
        self._position = 0.0  # seconds of sound taken
        self._end = 0.0  # time.monotonic() when the last of them has sounded
        self._stopped = False

    def write(self, pcm: bytes) -> None:
        seconds, now = len(pcm) / 2 / self.rate, time.monotonic()
        begin = max(now, self._end)
        self._log("sound", begin, self._position)
        self._position, self._end = self._position + seconds, begin + seconds
        self._wait(HOLDS)
        if self._position > self._fails:
            raise StoryError("the sound device has gone")

    def _wait(self, left: float) -> None:
        while not self._stopped and (more := self.queued() - left) > 0:
            time.sleep(min(more, 0.05))

    def queued(self) -> float:
        return max(0.0, self._end - time.monotonic())

    delay = queued

    def drain(self) -> None:
        self._wait(0.0)

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        pass


def main(path: str, fails: str, *args: str) -> int:
    with open(path, "w", buffering=1) as file:
        def log(*facts) -> None:
            print(*facts, file=file)

        def word(page, text, at, sentence, told=readalong.ReadAlong.word):
            log("word", at, text)
            told(page, text, at, sentence)

        readalong.ReadAlong.word = word
        speech.open_sink = lambda name, rate, **_: Paced(rate, float(fails), log)
        return cli.main(list(args))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
