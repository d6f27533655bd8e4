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

/* The pitch is looked for at 4 kHz, which has all that matters of it. */
enum {
    DOWN = 4,                          /* samples to one */
    WINDOW = 160, STEP = 240,          /* 40 and 60 ms */
    SHORTEST = 9, LONGEST = 57,        /* periods, 440 and 70 Hz */
    FRAME = WINDOW + LONGEST + 1,      /* what a frame needs */
    LEAST = 3,                         /* voiced frames */
};

/* The next FRAME samples at 4 kHz, without their mean; returns their energy. */
static float frame_of(const int16_t *samples, float *x)
{
    float mean = 0, energy = 0;
    for (int i = 0; i < FRAME; i++) {
        const int16_t *from = samples + i * DOWN;
        x[i] = (float)(from[0] + from[1] + from[2] + from[3]);
        mean += x[i] / FRAME;
    }
    for (int i = 0; i < FRAME; i++) {
        x[i] -= mean;
        energy += x[i] * x[i];
    }
    return energy;
}

static float dot(const float *a, const float *b)
{
    float sum = 0;
    for (int i = 0; i < WINDOW; i++)
        sum += a[i] * b[i];
    return sum;
}

/* The period of a frame at 4 kHz, or 0 if it is not voiced: the shortest at which it is nearly as like itself as at any. */
static int period_of(const float *x)
{
    float squared[LONGEST + 2] = {0}; /* likeness for each period, squared; nothing where it is negative */
    float first = dot(x, x), best = 0;
    for (int period = SHORTEST - 1; period <= LONGEST + 1; period++) {
        float both = dot(x, x + period), second = dot(x + period, x + period);
        if (both > 0) squared[period] = both * both / (first * second);
    }
    int peaks[LONGEST], n = 0;
    for (int period = SHORTEST; period <= LONGEST; period++)
        if (squared[period] >= squared[period - 1] && squared[period] > squared[period + 1]) {
            peaks[n++] = period;
            if (squared[period] > best) best = squared[period];
        }
    if (best < 0.36f) return 0; /* a likeness of 0.6 */
    for (int i = 0; i < n; i++)
        if (squared[peaks[i]] >= 0.72f * best) return peaks[i];
    return 0;
}

float duo_pitch_of(const int16_t *samples, int n)
{
    float x[FRAME], loudest = 0;
    for (int at = 0; at + FRAME * DOWN <= n; at += STEP * DOWN) {
        float energy = frame_of(samples + at, x);
        if (energy > loudest) loudest = energy;
    }
    int found[LONGEST + 1] = {0}, voiced = 0;
    for (int at = 0; at + FRAME * DOWN <= n; at += STEP * DOWN) {
        if (frame_of(samples + at, x) < loudest / 100 || loudest == 0) continue;
        int period = period_of(x);
        found[period]++;
        voiced += period > 0;
    }
    if (voiced < LEAST) return 0;
    int period = SHORTEST;
    for (int below = found[period]; 2 * below < voiced; below += found[period])
        period++;
    return 16000.0f / DOWN / (float)period;
}
