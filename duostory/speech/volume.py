"""How loud: a volume in percent, and samples that are made so loud."""

from duostory._engine import ffi, lib

FULL = 1 << 16  # the gain that changes nothing

# Loudness, as people judge it, grows with the 0.6th power of the amplitude (Stevens): 50 sounds half as loud as
# 100 and is 10 dB less.
_AMPLITUDE = 1 / 0.6


def gain(volume: int) -> int:
    """The gain for `volume` percent; nothing is made louder than it is."""
    return round(FULL * (min(max(volume, 0), 100) / 100) ** _AMPLITUDE)


def scaled(pcm: bytes, before: int, after: int) -> bytes:
    """`pcm` with a gain that goes evenly from `before` to `after`, so that a change does not click."""
    if before == after == FULL:
        return pcm
    samples = bytearray(pcm)
    lib.duo_scale(ffi.from_buffer("int16_t[]", samples), len(samples) // 2, before, after)
    return bytes(samples)
