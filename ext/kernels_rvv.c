/* kernels_rvv.c - RISC-V with a vector unit: RVV 1.0, or 0.7.1 (T-Head C906, as on the Milk-V Duo). Loops: loops_rvv.S */
#if defined(__riscv) && __riscv_xlen == 64

#define _GNU_SOURCE  /* syscall */

#include "kernels.h"
#include "mathf.h"

#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---------------------------------------------------------------------------- */
/* which vector unit */

int duo_rvv_version(void);

enum {
    HWPROBE = 258,                  /* system call, Linux 6.4 */
    HWPROBE_VENDOR_EXT_THEAD_0 = 11,
    HWPROBE_THEAD_XTHEADVECTOR = 1,
    HWCAP_V = 1 << ('V' - 'A'),
    GET_VECTOR_CONTROL = 70,        /* prctl, Linux 6.5 */
    VECTOR_OFF = 1,
};

/* 7 for RVV 0.7.1, 10 for RVV 1.0, 0 for none. A vector instruction without a vector unit, or with one that the operating
 * system has not switched on, would end the program: none is tried before the system has said that there is one. Linux before
 * 6.4 and the vendor's 5.10 say V of both versions. */
static int version(void)
{
    struct { int64_t key; uint64_t value; } probe = {.key = HWPROBE_VENDOR_EXT_THEAD_0};
    int control = prctl(GET_VECTOR_CONTROL);
    if (control >= 0 && (control & 3) == VECTOR_OFF) return 0;
    if (getauxval(AT_HWCAP) & HWCAP_V) return duo_rvv_version();
    if (syscall(HWPROBE, &probe, 1, 0, NULL, 0) == 0 && probe.key >= 0 && probe.value & HWPROBE_THEAD_XTHEADVECTOR)
        return duo_rvv_version();
    return 0;
}

static int supported07(void) { return version() == 7; }
static int supported10(void) { return version() == 10; }

/* ---------------------------------------------------------------------------- */

/* Finds where a sum of products has to leave its 16 bits: bit i of runs[j / 4] is set where the inputs j + 2 i and the next
 * begin a new run of products, because with them the last run's inputs would reach 256 (weights are at most 128). The
 * inputs are the same for all rows, so this is done once; large inputs are rare, and a run holds four or five on average
 * where the worst case is two. The first two inputs of a group are never marked. */
static void find_runs(uint8_t *runs, const int8_t *x, size_t cols, size_t group)
{
    for (size_t j = 0; j < cols; j += group) {
        unsigned reach = 0;
        for (size_t i = j; i < j + group && i < cols; i += 4) {
            uint32_t v, negative, begins = 0;
            memcpy(&v, __builtin_assume_aligned(x + i, 4), sizeof v);
            negative = v >> 7 & 0x01010101;
            v = (v ^ ((negative << 8) - negative)) + negative;   /* magnitudes, a byte each */
            v = (v & 0x00ff00ff) + (v >> 8 & 0x00ff00ff);        /* their sums in pairs */
            reach += v & 0xffff;
            if (reach > 255) begins = 1, reach = v & 0xffff;
            reach += v >> 16;
            if (reach > 255) begins |= 2, reach = v >> 16;
            runs[i / 4] = (uint8_t)begins;
        }
    }
}

/* y[i] = exp(x[i] * factor - shift), factor 1 or -1; y may be x. There are no vectors of doubles, so these are scalar; four
 * at a time, because each waits long for its own results. */
static void exp_all(float *y, const float *x, size_t n, float factor, float shift)
{
    for (; n >= 4; n -= 4, x += 4, y += 4) {
        float v[4];
        double z[4], r[4], s[4], high[4], low[4];
        long k[4];
        uint64_t bits[4];
        for (int i = 0; i < 4; i++) v[i] = __builtin_fmaf(x[i], factor, -shift);   /* rounds once, as the difference does */
        if (!(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3] < 87.0f * 87.0f)) {   /* out of range? a NaN? */
            for (int i = 0; i < 4; i++) y[i] = duo_expf(v[i]);
            continue;
        }
        for (int i = 0; i < 4; i++) z[i] = DUO_EXP_SCALE * (double)v[i];
        for (int i = 0; i < 4; i++) __asm__("fcvt.l.d %0, %1, rne" : "=r"(k[i]) : "f"(z[i]));   /* to nearest */
        for (int i = 0; i < 4; i++) r[i] = z[i] - (double)k[i];
        for (int i = 0; i < 4; i++) bits[i] = duo_exp_table[k[i] & (DUO_EXP_N - 1)] + ((uint64_t)k[i] << 47);
        for (int i = 0; i < 4; i++) memcpy(&s[i], &bits[i], sizeof s[i]);
        for (int i = 0; i < 4; i++) high[i] = DUO_EXP_C3 * r[i] + DUO_EXP_C2, low[i] = DUO_EXP_C1 * r[i] + 1;
        for (int i = 0; i < 4; i++) y[i] = (float)((high[i] * (r[i] * r[i]) + low[i]) * s[i]);
    }
    for (size_t i = 0; i < n; i++) y[i] = duo_expf(__builtin_fmaf(x[i], factor, -shift));
}

static void exp_shifted(float *x, size_t n, float shift) { exp_all(x, x, n, 1.0f, shift); }

typedef size_t quantize_finite(int8_t *q, float *scale, const float *x, size_t n, size_t group);

/* `finite` quantises up to the first group with an infinity or NaN and returns how many of n are left. */
static void quantize(quantize_finite *finite, int8_t *q, float *scale, const float *x, size_t n, size_t group)
{
    for (size_t left; n > 0; n = left) {
        left = finite(q, scale, x, n, group);
        if (left == 0) return;
        q += n - left, scale += (n - left) / group, x += n - left;
        duo_kernel_scalar.quantize(q, scale, x, group, group);
        q += group, scale++, x += group, left -= group;
    }
}

/* The table of one version. Arguments are those of kernels.h. */
#define KERNEL(ver)                                                                                                    \
    void duo_rvv##ver##_gemv_q8(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols,\
                              size_t group, const uint8_t *runs);                                                      \
    void duo_rvv##ver##_gemv_q4(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols,\
                                size_t group, const int16_t *offset);                                                  \
    void duo_rvv##ver##_offsets(int16_t *offset, const int8_t *x, size_t cols, size_t group);                          \
    void duo_rvv##ver##_gemv_f32(float *y, const float *w, const float *x, size_t rows, size_t cols);                  \
    size_t duo_rvv##ver##_quantize(int8_t *q, float *scale, const float *x, size_t n, size_t group);                   \
    void duo_rvv##ver##_mix(float *out, const float *a, const float *v, size_t head, size_t n);                        \
    void duo_rvv##ver##_mix_q8(float *out, const int8_t *a, const float *as, const int8_t *v, size_t head, size_t n,   \
                               const uint8_t *runs);                                                                   \
    void duo_rvv##ver##_divide(float *x, size_t n, float divisor);                                                     \
    void duo_rvv##ver##_silu(float *gate, const float *e, const float *up, size_t n);                                  \
    void duo_rvv##ver##_block_max(float *max, const float *x, size_t n);                                               \
    static void gemv_q8_##ver(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols,  \
                            size_t group)                                                                              \
    {                                                                                                                  \
        uint8_t runs[cols / 4];                                                                                        \
        find_runs(runs, x, cols, group);                                                                               \
        duo_rvv##ver##_gemv_q8(y, w, x, xs, rows, cols, group, runs);                                                  \
    }                                                                                                                  \
    static void gemv_q4_##ver(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols,  \
                              size_t group)                                                                            \
    {                                                                                                                  \
        int16_t offset[cols / group];                                                                                  \
        duo_rvv##ver##_offsets(offset, x, cols, group);                                                                \
        duo_rvv##ver##_gemv_q4(y, w, x, xs, rows, cols, group, offset);                                                \
    }                                                                                                                  \
    static void quantize_##ver(int8_t *q, float *scale, const float *x, size_t n, size_t group)                        \
    {                                                                                                                  \
        quantize(duo_rvv##ver##_quantize, q, scale, x, n, group);                                                      \
    }                                                                                                                  \
    static void scores_##ver(float *score, const float *q, const float *k, size_t head, size_t n, float root)          \
    {                                                                                                                  \
        duo_rvv##ver##_gemv_f32(score, k, q, n, head);                                                                 \
        duo_rvv##ver##_divide(score, n, root);                                                                         \
    }                                                                                                                  \
    static void mix_q8_##ver(float *out, const int8_t *a, const float *as, const int8_t *v, size_t head, size_t n)     \
    {                                                                                                                  \
        uint8_t runs[n / 4];                                                                                           \
        find_runs(runs, a, n, DUO_LANES);                                                                              \
        duo_rvv##ver##_mix_q8(out, a, as, v, head, n, runs);                                                           \
    }                                                                                                                  \
    static void swiglu_##ver(float *gate, const float *up, size_t n)                                                   \
    {                                                                                                                  \
        for (size_t i = 0; i < n; i += DUO_LANES) {                                                                    \
            float e[DUO_LANES];                                                                                        \
            size_t count = n - i < DUO_LANES ? n - i : DUO_LANES;                                                      \
            exp_all(e, gate + i, count, -1.0f, 0.0f);                                                                  \
            duo_rvv##ver##_silu(gate + i, e, up + i, count);                                                           \
        }                                                                                                              \
    }                                                                                                                  \
    const duo_kernel duo_kernel_rvv##ver = {                                                                           \
        "rvv" #ver, supported##ver, duo_rvv##ver##_gemv_f32, gemv_q8_##ver, gemv_q4_##ver, quantize_##ver,             \
        scores_##ver, duo_rvv##ver##_mix, mix_q8_##ver, exp_shifted, swiglu_##ver, duo_rvv##ver##_block_max,           \
    };

KERNEL(07)
KERNEL(10)

#endif
