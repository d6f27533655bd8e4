"""An independent listener: how many words of a text pocketsphinx hears in its sound.

It knows the words that may occur (a closed vocabulary, all equally likely) and nothing about their order, so
what it gets right comes from the sound. It was trained on people, not on formant voices: its word error rate
shows that something broke, not how good a voice is. It notices dropouts, gaps and a wrong rate; it does not
notice clipping or a tail cut off.
"""

import math
import random
import re
from array import array
from pathlib import Path


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower().replace("’", "'"))


def errors(reference: list[str], heard: list[str]) -> int:
    """Words wrong, missing or too many: the edit distance."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(reference, 1):
        above, row = row, [i]
        for j, other in enumerate(heard, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (word != other)))
    return row[-1]


def in_a_room(pcm: bytes) -> bytes:
    """`pcm` with the noise of a quiet room, 30 dB below the speech, the same each time.

    The recogniser has only ever heard microphones: digitally clean, twice as many words are wrong.
    """
    noise = random.Random(1).randint
    return array(
        "h", [max(-32768, min(32767, sample + noise(-200, 200))) for sample in array("h", pcm)]
    ).tobytes()


class Recogniser:
    """Hears 16 bit mono sound, `rate` samples a second, in the words of `text`; `folder` is for two files."""

    def __init__(self, text: str, rate: int, folder: Path) -> None:
        import pocketsphinx

        model = Path(pocketsphinx.__file__).parent / "model" / "en-us"
        wanted = set(words(text))
        with open(model / "cmudict-en-us.dict") as dictionary:
            # "word phones", and "word(2) phones" for another way of saying it
            entries = [line for line in dictionary if line.split(" ", 1)[0].split("(")[0] in wanted]
        self.vocabulary = {line.split(" ", 1)[0].split("(")[0] for line in entries}
        (folder / "words.dict").write_text("".join(entries))
        each = math.log10(1 / (len(self.vocabulary) + 1))
        (folder / "words.arpa").write_text(
            f"\\data\\\nngram 1={len(self.vocabulary) + 2}\n\n\\1-grams:\n-99 <s>\n{each:.4f} </s>\n"
            + "".join(f"{each:.4f} {word}\n" for word in sorted(self.vocabulary))
            + "\n\\end\\\n"
        )
        # lw and wip: how much the model of the words weighs against the sound, and the cost of a word.
        self._decoder = pocketsphinx.Decoder(
            hmm=str(model / "en-us"), dict=str(folder / "words.dict"), lm=str(folder / "words.arpa"),
            samprate=rate, nfft=1024, lw=4.0, wip=0.2, loglevel="FATAL",
        )

    def error_rate(self, text: str, pcm: bytes) -> float:
        """The share of words of `text` that were not heard in `pcm`, or wrongly, or besides."""
        return errors(words(text), self.hear(pcm)) / len(words(text))

    def hear(self, pcm: bytes) -> list[str]:
        self._decoder.start_utt()
        self._decoder.process_raw(in_a_room(pcm), False, True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return re.sub(r"\(\d+\)", "", found.hypstr if found else "").split()
