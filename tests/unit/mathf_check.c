/* Prints how many results of the engine's float functions differ from the C library's, and by how much at most.
 * usage: mathf_check */
#include "mathf.h"

#include <stdio.h>
#include <stdlib.h>

static long count, wrong;
static int furthest;   /* in units in the last place */

static void compare(float got, float expected)
{
    int32_t a, b;
    memcpy(&a, &got, sizeof a);
    memcpy(&b, &expected, sizeof b);
    count++;
    if (a == b || (isnan(got) && isnan(expected))) return;
    wrong++;
    if (abs(a - b) > furthest) furthest = abs(a - b);
}

static void report(const char *name)
{
    printf("%s %ld %ld %d\n", name, count, wrong, furthest);
    count = wrong = furthest = 0;
}

int main(void)
{
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 61) {   /* every exponent, both signs, infinities, NaN */
        uint32_t b = (uint32_t)bits;
        float x;
        memcpy(&x, &b, sizeof x);
        compare(duo_expf(x), expf(x));
    }
    report("exp");
    for (int head = 2; head <= 128; head += 2)
        for (int i = 0; i < head; i += 2) compare(duo_powf(10000.0f, i / (float)head), powf(10000.0f, i / (float)head));
    report("pow");
    for (int head = 2; head <= 256; head += 2)   /* would another C library's pow, two units off, round to another float? */
        for (int i = 0; i < head; i += 2) {
            double exact = pow(10000.0f, i / (float)head), off = exact, low = exact;
            for (int units = 0; units < 2; units++) off = nextafter(off, INFINITY), low = nextafter(low, 0);
            compare((float)off, (float)exact);
            compare((float)low, (float)exact);
        }
    report("pow_margin");
    for (int head = 2; head <= 128; head += 6)
        for (int i = 0; i < head; i += 2)
            for (int pos = 0; pos < 4096; pos++) {
                float x = pos * (1.0f / powf(10000.0f, i / (float)head)), sine, cosine;
                duo_sincosf(x, &sine, &cosine);
                compare(sine, sinf(x));
                compare(cosine, cosf(x));
            }
    report("sincos");
    return 0;
}
