/* sound.h - what is done to sound between the voice and the card. */
#ifndef DUO_SOUND_H
#define DUO_SOUND_H

#include <stdint.h>

/* Multiply n samples by a gain that goes evenly from `from` to `to`, both in 1/65536 and from 0 to 65536: as
 * nothing gets louder, nothing overflows. */
void duo_scale(int16_t *samples, int n, int from, int to);

#endif
