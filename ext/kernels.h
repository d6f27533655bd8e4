/* kernels.h - the inner loops, one table of them for each instruction set.
 *
 * The scalar table is the oracle: every other kernel returns the same bits. That is possible without giving up speed
 * because rows lie in the lanes (docs/format.md): each lane adds up its own row in the scalar order.
 * A kernel may write up to the next multiple of DUO_LANES outputs, and read as far in `score`.
 */
#ifndef DUO_KERNELS_H
#define DUO_KERNELS_H

#include "duostory.h"  /* DUO_BATCH */

enum { DUO_LANES = 32, DUO_Q4_GROUP = 32 };

typedef struct {
    const char *name;

    /* Whether this processor (and its operating system) can run the kernel. */
    int (*supported)(void);

    /* y[rows] = W x: W f32 in blocks {w[cols][32]}. */
    duo_gemv *gemv_f32;

    /* y[rows] = W x: W q8 in blocks of groups {scale[32], w[group][32]}; x[cols] and xs[cols/group] from quantize.
     * A group adds (float(integer sum) * w scale) * x scale. */
    void (*gemv_q8)(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group);

    /* y[rows] = W x: W q4 in blocks of groups {scale[32], two inputs a byte [group / 2][32]}, the first in the low half, 8 more
     * than the weight. Groups of at most DUO_Q4_GROUP: then a group's sum fits 16 bits. Adds up as gemv_q8. */
    void (*gemv_q4)(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group);

    /* Per group: scale = largest magnitude / 127, q = x / scale rounded half away from zero. Where the scale is below
     * FLT_MIN the group counts as zero: dividing by it would not be exact, and for 0 llama2.c's cast is undefined.
     * What is not a number becomes 0. */
    void (*quantize)(int8_t *q, float *scale, const float *x, size_t n, size_t group);

    /* score[t] = (q . k_t) / root for t < n; keys in blocks of 32 positions {k[head][32]}. */
    void (*scores)(float *score, const float *q, const float *k, size_t head, size_t n, float root);

    /* out[head] = sum over t < n of a[t] * v[t][head]. */
    void (*mix)(float *out, const float *a, const float *v, size_t head, size_t n);

    /* out[head] = the sum of a quantised mix: blocks of 32 positions t add float(integer sum of a[t] * v[t][head]) * as.
     * a[n], as[n / 32] from quantize in groups of 32, of which the last block may be a part; head and n are multiples of 4.
     * Writes no further than head. */
    void (*mix_q8)(float *out, const int8_t *a, const float *as, const int8_t *v, size_t head, size_t n);

    /* x[i] = exp(x[i] - shift). */
    void (*exp_shifted)(float *x, size_t n, float shift);

    /* gate[i] = gate[i] * sigmoid(gate[i]) * up[i]. */
    void (*swiglu)(float *gate, const float *up, size_t n);

    /* max[b] = the largest of x[32 b] to x[32 b + 31], or as far as n goes. */
    void (*block_max)(float *max, const float *x, size_t n);

    /* What gemv_q8 and gemv_q4 do, for DUO_BATCH inputs at once: y[DUO_BATCH][rows to the next multiple of DUO_LANES],
     * x[DUO_BATCH][cols], xs[DUO_BATCH][cols / group]. NULL where that would not be faster. */
    void (*gemm_q8)(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group);
    void (*gemm_q4)(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group);
} duo_kernel;

extern const duo_kernel duo_kernel_scalar;
#if defined(__x86_64__)
extern const duo_kernel duo_kernel_avx2, duo_kernel_avx512;
#elif defined(__aarch64__)
extern const duo_kernel duo_kernel_neon;
#elif defined(__riscv) && __riscv_xlen == 64
extern const duo_kernel duo_kernel_rvv07, duo_kernel_rvv10;
#endif

/* offset[g] = -8 times the sum of group g of x: where a group's sum of unsigned halves begins, modulo 2^16. */
static inline void duo_q4_offsets(int16_t *offset, const int8_t *x, size_t cols, size_t group)
{
    for (size_t j = 0; j < cols; j += group) {
        int sum = 0;
        for (size_t i = 0; i < group; i++) sum += x[j + i];
        offset[j / group] = (int16_t)(-8 * sum);
    }
}

/* The i-th kernel that this processor can run, fastest first, scalar last; NULL beyond. */
const duo_kernel *duo_kernel_at(int i);

/* The kernel called `name`, or with NULL the fastest that agrees with scalar. NULL when there is none. */
const duo_kernel *duo_kernel_choose(const char *name);

/* x[n] becomes exp(x - its largest); returns the sum. */
float duo_exp_all(const duo_kernel *k, float *x, size_t n);

/* x[n] becomes a probability distribution. */
void duo_softmax(const duo_kernel *k, float *x, size_t n);

#endif
