"""How high somebody speaks, and so about how short the way is from vocal folds to lips: the shorter, the higher all resonances."""

from duostory._engine import ffi, lib

# Chosen, as what follows, by voices of espeak-ng and flite: docs/hearing.md.
_MAN, _MAN_WARP = 110.0, 1.03
_HIGHER = 0.2  # for every 100 Hz more
_LEAST, _MOST = 1.0, 1.6
_UNKNOWN = 1.1


def pitch_of(pcm: bytes) -> float:
    """In Hz, 70 to 444, of samples of 16 bits at 16 kHz; 0 where nearly nothing is voiced."""
    return lib.duo_pitch_of(ffi.from_buffer("int16_t[]", pcm), len(pcm) // 2)


def warp_of(pcm: bytes) -> float:
    """How many times higher the resonances of who speaks there are than those of a recogniser's acoustic model: vocal tract
    length normalisation (Lee and Rose 1996), by the pitch."""
    hertz = pitch_of(pcm)
    return round(min(_MOST, max(_LEAST, _MAN_WARP + _HIGHER * (hertz - _MAN) / 100)), 2) if hertz else _UNKNOWN
