/* kernels_avx512.c - x86-64 with AVX-512 VNNI and VBMI (Ice Lake, Zen 4 and later). */
#if defined(__x86_64__)

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")

#include "kernels.h"
#include "mathf.h"

#include <float.h>
#include <immintrin.h>

static int supported(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
}

/* Those of the lanes i .. i+15 that lie below n. */
static inline __mmask16 below(size_t i, size_t n)
{
    return i >= n ? 0 : n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
}

/* sum[32] = one 32-row block of f32 weights times x. */
static inline void block_f32(float *y, const float *w, const float *x, size_t n)
{
    __m512 a = _mm512_setzero_ps(), b = a;
    for (size_t j = 0; j < n; j++, w += DUO_LANES) {
        __m512 xj = _mm512_set1_ps(x[j]);
        a = _mm512_add_ps(a, _mm512_mul_ps(_mm512_loadu_ps(w), xj));
        b = _mm512_add_ps(b, _mm512_mul_ps(_mm512_loadu_ps(w + 16), xj));
    }
    _mm512_storeu_ps(y, a);
    _mm512_storeu_ps(y + 16, b);
}

static void gemv_f32(float *y, const float *w, const float *x, size_t rows, size_t cols)
{
    size_t row = 0;
    /* Two blocks at a time: an addition takes four cycles, and each lane waits for its own last one. */
    for (; row + DUO_LANES < rows; row += 2 * DUO_LANES, w += 2 * DUO_LANES * cols) {
        const float *w2 = w + DUO_LANES * cols;
        __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
        for (size_t j = 0; j < cols; j++) {
            __m512 xj = _mm512_set1_ps(x[j]);
            a = _mm512_add_ps(a, _mm512_mul_ps(_mm512_loadu_ps(w + j * DUO_LANES), xj));
            b = _mm512_add_ps(b, _mm512_mul_ps(_mm512_loadu_ps(w + j * DUO_LANES + 16), xj));
            c = _mm512_add_ps(c, _mm512_mul_ps(_mm512_loadu_ps(w2 + j * DUO_LANES), xj));
            d = _mm512_add_ps(d, _mm512_mul_ps(_mm512_loadu_ps(w2 + j * DUO_LANES + 16), xj));
        }
        _mm512_storeu_ps(y + row, a);
        _mm512_storeu_ps(y + row + 16, b);
        _mm512_storeu_ps(y + row + 32, c);
        _mm512_storeu_ps(y + row + 48, d);
    }
    if (row < rows) block_f32(y + row, w, x, cols);
}

/* vpdpbusd wants four inputs of one row side by side: these indices gather them from four 32-row columns, which begin at the
 * bytes of `columns`. */
static inline __m512i interleave(int first_row, int columns)
{
    const __m512i rows = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_add_epi32(_mm512_mullo_epi32(_mm512_add_epi32(rows, _mm512_set1_epi32(first_row)),
                                               _mm512_set1_epi32(0x01010101)),
                            _mm512_set1_epi32(columns));
}

static inline __m512i four_inputs(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm512_set1_epi32(four);
}

/* sum += (float(dot) * scale) * x scale */
static inline __m512 add_group(__m512 sum, __m512i dot, const float *scale, __m512 xs)
{
    return _mm512_add_ps(sum, _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_loadu_ps(scale)), xs));
}

/* y[n][rows] = W x for n inputs. The compiler makes one function of it for each n: sums stay in registers. */
static inline __attribute__((always_inline)) void
multiply_q8(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group, const int n)
{
    const __m512i low_rows = interleave(0, 0x60402000), high_rows = interleave(16, 0x60402000);
    const __m512i sign = _mm512_set1_epi8((char)0x80);
    size_t groups = cols / group, stride = (rows + DUO_LANES - 1) / DUO_LANES * DUO_LANES;
    /* vpdpbusd multiplies unsigned by signed: weights go in with 128 added, so sums begin at -128 x. */
    int32_t offset[n * groups];
    for (size_t g = 0; g < n * groups; g++) {
        offset[g] = 0;
        for (size_t i = 0; i < group; i++) offset[g] -= 128 * x[g * group + i];
    }
    for (size_t row = 0; row < rows; row += DUO_LANES) {
        __m512 sum_low[DUO_BATCH], sum_high[DUO_BATCH];
        for (int t = 0; t < n; t++) sum_low[t] = sum_high[t] = _mm512_setzero_ps();
        for (size_t g = 0; g < groups; g++) {
            const float *scale = (const float *)w;
            const uint8_t *q = w + sizeof(float) * DUO_LANES;
            __m512i low[DUO_BATCH], high[DUO_BATCH];
            for (int t = 0; t < n; t++) low[t] = high[t] = _mm512_set1_epi32(offset[t * groups + g]);
            for (size_t i = 0; i < group; i += 4, q += 4 * DUO_LANES) {
                __m512i a = _mm512_loadu_si512(q), b = _mm512_loadu_si512(q + 2 * DUO_LANES);
                __m512i w_low = _mm512_xor_si512(_mm512_permutex2var_epi8(a, low_rows, b), sign);
                __m512i w_high = _mm512_xor_si512(_mm512_permutex2var_epi8(a, high_rows, b), sign);
                for (int t = 0; t < n; t++) {
                    __m512i x4 = four_inputs(x + t * cols + g * group + i);
                    low[t] = _mm512_dpbusd_epi32(low[t], w_low, x4);
                    high[t] = _mm512_dpbusd_epi32(high[t], w_high, x4);
                }
            }
            for (int t = 0; t < n; t++) {
                __m512 xscale = _mm512_set1_ps(xs[t * groups + g]);
                sum_low[t] = add_group(sum_low[t], low[t], scale, xscale);
                sum_high[t] = add_group(sum_high[t], high[t], scale + 16, xscale);
            }
            w += DUO_LANES * (sizeof(float) + group);
        }
        for (int t = 0; t < n; t++) {
            _mm512_storeu_ps(y + t * stride + row, sum_low[t]);
            _mm512_storeu_ps(y + t * stride + row + 16, sum_high[t]);
        }
    }
}

static inline __attribute__((always_inline)) void
multiply_q4(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group, const int n)
{
    /* the low halves of 64 bytes are inputs 0 and 2, the high halves 1 and 3 */
    const __m512i low_rows = interleave(0, 0x60204000), high_rows = interleave(16, 0x60204000);
    const __m512i low_half = _mm512_set1_epi8(15);
    size_t groups = cols / group, stride = (rows + DUO_LANES - 1) / DUO_LANES * DUO_LANES;
    int16_t offset[n * groups];
    duo_q4_offsets(offset, x, n * cols, group);
    for (size_t row = 0; row < rows; row += DUO_LANES) {
        __m512 sum_low[DUO_BATCH], sum_high[DUO_BATCH];
        for (int t = 0; t < n; t++) sum_low[t] = sum_high[t] = _mm512_setzero_ps();
        for (size_t g = 0; g < groups; g++) {
            const float *scale = (const float *)w;
            const uint8_t *q = w + sizeof(float) * DUO_LANES;
            __m512i low[DUO_BATCH], high[DUO_BATCH];
            for (int t = 0; t < n; t++) low[t] = high[t] = _mm512_set1_epi32(offset[t * groups + g]);
            for (size_t i = 0; i < group; i += 4, q += 2 * DUO_LANES) {
                __m512i both = _mm512_loadu_si512(q);
                __m512i a = _mm512_and_si512(both, low_half), b = _mm512_and_si512(_mm512_srli_epi16(both, 4), low_half);
                __m512i w_low = _mm512_permutex2var_epi8(a, low_rows, b), w_high = _mm512_permutex2var_epi8(a, high_rows, b);
                for (int t = 0; t < n; t++) {
                    __m512i x4 = four_inputs(x + t * cols + g * group + i);
                    low[t] = _mm512_dpbusd_epi32(low[t], w_low, x4);
                    high[t] = _mm512_dpbusd_epi32(high[t], w_high, x4);
                }
            }
            for (int t = 0; t < n; t++) {
                __m512 xscale = _mm512_set1_ps(xs[t * groups + g]);
                sum_low[t] = add_group(sum_low[t], low[t], scale, xscale);
                sum_high[t] = add_group(sum_high[t], high[t], scale + 16, xscale);
            }
            w += DUO_LANES * (sizeof(float) + group / 2);
        }
        for (int t = 0; t < n; t++) {
            _mm512_storeu_ps(y + t * stride + row, sum_low[t]);
            _mm512_storeu_ps(y + t * stride + row + 16, sum_high[t]);
        }
    }
}

#define GEMM(name, type, n)                                                                                            \
    static void name(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols,           \
                     size_t group)                                                                                     \
    {                                                                                                                  \
        multiply_##type(y, w, x, xs, rows, cols, group, n);                                                            \
    }
GEMM(gemv_q8, q8, 1)
GEMM(gemv_q4, q4, 1)
GEMM(gemm_q8, q8, DUO_BATCH)
GEMM(gemm_q4, q4, DUO_BATCH)

static void quantize(int8_t *q, float *scale, const float *x, size_t n, size_t group)
{
    /* The largest float below 1/2: adding it and truncating rounds half away from zero. */
    const __m512 half = _mm512_set1_ps(0x1.fffffep-2f), sign = _mm512_set1_ps(-0.0f);
    for (size_t g = 0; g < n / group; g++, x += group, q += group) {
        __m512 max = _mm512_setzero_ps();
        for (size_t i = 0; i < group; i += 16)
            max = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(below(i, group), x + i)), max);   /* max if x is NaN */
        scale[g] = _mm512_reduce_max_ps(max) / 127.0f;
        __m512 divisor = _mm512_set1_ps(scale[g]);
        for (size_t i = 0; i < group; i += 16) {
            __m512 v = _mm512_div_ps(_mm512_maskz_loadu_ps(below(i, group), x + i), divisor);
            v = _mm512_add_ps(v, _mm512_or_ps(_mm512_and_ps(v, sign), half));
            __m512i whole = scale[g] >= FLT_MIN ? _mm512_cvttps_epi32(v) : _mm512_setzero_si512();
            _mm512_mask_cvtepi32_storeu_epi8(q + i, below(i, group), whole);
        }
    }
}

static void scores(float *score, const float *q, const float *k, size_t head, size_t n, float root)
{
    __m512 divisor = _mm512_set1_ps(root);
    gemv_f32(score, k, q, n, head);
    for (size_t t = 0; t < n; t += 16)
        _mm512_storeu_ps(score + t, _mm512_div_ps(_mm512_loadu_ps(score + t), divisor));
}

static void mix(float *out, const float *a, const float *v, size_t head, size_t n)
{
    for (size_t i = 0; i < head; i += 64) {   /* 64 lanes in one pass over the positions */
        __m512 sum[4];
        __mmask16 lanes[4];
        for (int part = 0; part < 4; part++) sum[part] = _mm512_setzero_ps(), lanes[part] = below(i + 16 * part, head);
        for (size_t t = 0; t < n; t++) {
            __m512 at = _mm512_set1_ps(a[t]);
            for (int part = 0; part < 4; part++) {
                __m512 vt = _mm512_maskz_loadu_ps(lanes[part], v + t * head + i + 16 * part);
                sum[part] = _mm512_add_ps(sum[part], _mm512_mul_ps(at, vt));
            }
        }
        for (int part = 0; part < 4; part++) _mm512_mask_storeu_ps(out + i + 16 * part, lanes[part], sum[part]);
    }
}

static void mix_q8(float *out, const int8_t *a, const float *as, const int8_t *v, size_t head, size_t n)
{
    for (size_t i = 0; i < head; i += 16) {
        __mmask16 lanes = below(i, head);
        __m512 sum = _mm512_setzero_ps();
        for (size_t start = 0; start < n; start += DUO_LANES) {
            size_t end = n - start < DUO_LANES ? n : start + DUO_LANES;
            __m512i dot = _mm512_setzero_si512();
            for (size_t t = start; t < end; t += 2) {   /* two positions of each number side by side */
                __m128i first = _mm_maskz_loadu_epi8(lanes, v + t * head + i);
                __m128i second = _mm_maskz_loadu_epi8(lanes, v + (t + 1) * head + i);
                __m256i pairs = _mm256_set_m128i(_mm_unpackhi_epi8(first, second), _mm_unpacklo_epi8(first, second));
                __m512i weights = _mm512_set1_epi32((int32_t)((uint32_t)a[t + 1] << 16 | (uint16_t)a[t]));
                dot = _mm512_add_epi32(dot, _mm512_madd_epi16(_mm512_cvtepi8_epi16(pairs), weights));
            }
            sum = _mm512_add_ps(sum, _mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_set1_ps(as[start / DUO_LANES])));
        }
        _mm512_mask_storeu_ps(out + i, lanes, sum);
    }
}

/* duo_expf in eight lanes. */
static inline __m256 exp8(__m256 x)
{
    __m512d z = _mm512_mul_pd(_mm512_set1_pd(DUO_EXP_SCALE), _mm512_cvtps_pd(x));
    __m512d shifted = _mm512_add_pd(z, _mm512_set1_pd(DUO_EXP_ROUND));
    __m512i k = _mm512_castpd_si512(shifted);
    __m512d r = _mm512_sub_pd(z, _mm512_sub_pd(shifted, _mm512_set1_pd(DUO_EXP_ROUND)));
    __m512i entry = _mm512_i64gather_epi64(_mm512_and_si512(k, _mm512_set1_epi64(DUO_EXP_N - 1)), duo_exp_table, 8);
    __m512d s = _mm512_castsi512_pd(_mm512_add_epi64(entry, _mm512_slli_epi64(k, 47)));
    __m512d high = _mm512_add_pd(_mm512_mul_pd(_mm512_set1_pd(DUO_EXP_C3), r), _mm512_set1_pd(DUO_EXP_C2));
    __m512d low = _mm512_add_pd(_mm512_mul_pd(_mm512_set1_pd(DUO_EXP_C1), r), _mm512_set1_pd(1));
    __m256 y = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_add_pd(_mm512_mul_pd(high, _mm512_mul_pd(r, r)), low), s));
    y = _mm256_mask_mov_ps(y, _mm256_cmp_ps_mask(x, _mm256_set1_ps(DUO_EXP_MIN), _CMP_LT_OQ), _mm256_setzero_ps());
    y = _mm256_mask_mov_ps(y, _mm256_cmp_ps_mask(x, _mm256_set1_ps(DUO_EXP_MAX), _CMP_GT_OQ), _mm256_set1_ps(INFINITY));
    return _mm256_mask_mov_ps(y, _mm256_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}

static inline __mmask8 below8(size_t i, size_t n) { return n - i >= 8 ? 0xff : (__mmask8)((1u << (n - i)) - 1); }

static void exp_shifted(float *x, size_t n, float shift)
{
    for (size_t i = 0; i < n; i += 8) {
        __mmask8 lanes = below8(i, n);
        __m256 v = _mm256_sub_ps(_mm256_maskz_loadu_ps(lanes, x + i), _mm256_set1_ps(shift));
        _mm256_mask_storeu_ps(x + i, lanes, exp8(v));
    }
}

static void swiglu(float *gate, const float *up, size_t n)
{
    const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    for (size_t i = 0; i < n; i += 8) {
        __mmask8 lanes = below8(i, n);
        __m256 g = _mm256_maskz_loadu_ps(lanes, gate + i);
        __m256 sigmoid = _mm256_div_ps(one, _mm256_add_ps(one, exp8(_mm256_xor_ps(g, sign))));
        __m256 u = _mm256_maskz_loadu_ps(lanes, up + i);
        _mm256_mask_storeu_ps(gate + i, lanes, _mm256_mul_ps(_mm256_mul_ps(g, sigmoid), u));
    }
}

static void block_max(float *max, const float *x, size_t n)
{
    for (; n >= DUO_LANES; n -= DUO_LANES, x += DUO_LANES)
        *max++ = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16)));
    duo_kernel_scalar.block_max(max, x, n);
}

const duo_kernel duo_kernel_avx512 = {
    "avx512", supported, gemv_f32, gemv_q8, gemv_q4, quantize, scores, mix, mix_q8, exp_shifted, swiglu, block_max,
    .gemm_q8 = gemm_q8, .gemm_q4 = gemm_q4,
};

#endif
