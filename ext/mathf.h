/* mathf.h - the float functions of libm, fixed to the bit.
 *
 * llama2.c calls expf, cosf, sinf and powf, and their last bit differs between C libraries and processors. A story hangs
 * on that bit, so the engine brings its own: the algorithms that glibc uses on x86-64 (published by S. Nagy and
 * W. Dijkstra, ARM optimized routines), in plain double arithmetic without contraction, which every IEEE 754 machine
 * computes alike. tests/unit/test_mathf.py compares them with the C library of the machine.
 */
#ifndef DUO_MATHF_H
#define DUO_MATHF_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "float and double must be computed as such: on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif

/* exp(x) = 2^(k/32) * 2^(r/32) with k whole and |r| <= 1/2: a table for the first, a cubic for the second. */
#define DUO_EXP_N 32
#define DUO_EXP_SCALE (0x1.71547652b82fep+0 * DUO_EXP_N)  /* 32 / ln 2 */
#define DUO_EXP_ROUND 0x1.8p+52                           /* adding it rounds a double to a whole number */
#define DUO_EXP_C3 (0x1.c6af84b912394p-5 / DUO_EXP_N / DUO_EXP_N / DUO_EXP_N)
#define DUO_EXP_C2 (0x1.ebfce50fac4f3p-3 / DUO_EXP_N / DUO_EXP_N)
#define DUO_EXP_C1 (0x1.62e42ff0c52d6p-1 / DUO_EXP_N)
#define DUO_EXP_MAX 0x1.62e42ep6f    /* above it exp is infinite */
#define DUO_EXP_MIN (-0x1.9fe368p6f) /* below it exp is zero */

/* Entry i: the bits of 2^(i/32) less i << 47, so that adding k << 47 gives the bits of 2^(k/32). */
extern const uint64_t duo_exp_table[DUO_EXP_N];

/* e^x, as glibc's expf. */
static inline float duo_expf(float x)
{
    if (!(x <= DUO_EXP_MAX)) return x > 0 ? INFINITY : x; /* also a NaN */
    if (x < DUO_EXP_MIN) return 0.0f;
    double z = DUO_EXP_SCALE * (double)x;
    double shifted = z + DUO_EXP_ROUND;
    uint64_t k, bits;
    memcpy(&k, &shifted, sizeof k);
    double r = z - (shifted - DUO_EXP_ROUND);
    bits = duo_exp_table[k % DUO_EXP_N] + (k << 47);
    double s;
    memcpy(&s, &bits, sizeof s);
    double high = DUO_EXP_C3 * r + DUO_EXP_C2, low = DUO_EXP_C1 * r + 1;
    return (float)((high * (r * r) + low) * s);
}

/* Sine and cosine of 0 <= x < 2^20, as glibc's sinf and cosf. */
void duo_sincosf(float x, float *sine, float *cosine);

/* base^x as a float, as glibc's powf. The C library's double pow may be off by a unit or two in its last place; for base
 * 10000 and all head sizes up to 256 that never reaches the float, which the test shows as well. */
static inline float duo_powf(float base, float x) { return (float)pow(base, x); }

#endif
