/* sound.h - what is done to sound between the voice and the card, and between the microphone and the recogniser. */
#ifndef DUO_SOUND_H
#define DUO_SOUND_H

#include <stdint.h>

/* Multiply n samples by a gain that goes evenly from `from` to `to`, both in 1/65536 and from 0 to 65536: as
 * nothing gets louder, nothing overflows. */
void duo_scale(int16_t *samples, int n, int from, int to);

#define DUO_FULL 32000 /* 0.2 dB below the greatest sample: where converters that clip end up */

typedef struct {
    int64_t sum, squares; /* of the samples */
    int low, high;        /* the least and the greatest; INT16_MAX and INT16_MIN if there are none */
    int full;             /* how many are beyond DUO_FULL on either side */
} duo_level;

/* What there is to say about how loud n samples are. */
duo_level duo_level_of(const int16_t *samples, int n);

/* How high the voice in n samples of 16 kHz is, in Hz, from 70 to 444: the median of what is voiced there; 0 where less
 * than 0.2 s are: silence, noise, whispering. What is higher is taken for an octave lower. By autocorrelation, of 40 of
 * every 60 ms. */
float duo_pitch_of(const int16_t *samples, int n);

#endif
