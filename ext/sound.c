/* sound.c - samples of 16 bits. */
#include "sound.h"

void duo_scale(int16_t *samples, int n, int from, int to)
{
    for (int i = 0; i < n; i++) {
        int gain = from == to ? to : from + (int)((int64_t)(to - from) * (i + 1) / n);
        samples[i] = (int16_t)((samples[i] * gain + 0x8000) >> 16);
    }
}

duo_level duo_level_of(const int16_t *samples, int n)
{
    duo_level level = {.low = INT16_MAX, .high = INT16_MIN};
    for (int i = 0; i < n; i++) {
        int x = samples[i];
        level.sum += x;
        level.squares += x * x;
        if (x < level.low) level.low = x;
        if (x > level.high) level.high = x;
        level.full += x > DUO_FULL || x < -DUO_FULL;
    }
    return level;
}
