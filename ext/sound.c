/* sound.c - samples of 16 bits. */
#include "sound.h"

void duo_scale(int16_t *samples, int n, int from, int to)
{
    for (int i = 0; i < n; i++) {
        int gain = from == to ? to : from + (int)((int64_t)(to - from) * (i + 1) / n);
        samples[i] = (int16_t)((samples[i] * gain + 0x8000) >> 16);
    }
}
