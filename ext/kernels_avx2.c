/* kernels_avx2.c - x86-64 with AVX2 (Haswell, Zen and later). */
#if defined(__x86_64__)

#pragma GCC target("avx2")

#include "kernels.h"
#include "mathf.h"

#include <float.h>
#include <immintrin.h>

static int supported(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2");
}

/* y[32] = one 32-row block of f32 weights times x. */
static inline void block_f32(float *y, const float *w, const float *x, size_t n)
{
    __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
    for (size_t j = 0; j < n; j++, w += DUO_LANES) {
        __m256 xj = _mm256_set1_ps(x[j]);
        a = _mm256_add_ps(a, _mm256_mul_ps(_mm256_loadu_ps(w), xj));
        b = _mm256_add_ps(b, _mm256_mul_ps(_mm256_loadu_ps(w + 8), xj));
        c = _mm256_add_ps(c, _mm256_mul_ps(_mm256_loadu_ps(w + 16), xj));
        d = _mm256_add_ps(d, _mm256_mul_ps(_mm256_loadu_ps(w + 24), xj));
    }
    _mm256_storeu_ps(y, a);
    _mm256_storeu_ps(y + 8, b);
    _mm256_storeu_ps(y + 16, c);
    _mm256_storeu_ps(y + 24, d);
}

static void gemv_f32(float *y, const float *w, const float *x, size_t rows, size_t cols)
{
    for (size_t row = 0; row < rows; row += DUO_LANES) block_f32(y + row, w + row * cols, x, cols);
}

/* dot += w . x for eight rows, four inputs of each row side by side. vpmaddubsw multiplies unsigned by signed, so the
 * sign of w moves over to x; two products of at most 128 x 127 fit its 16 bits. */
static inline __m256i dot4(__m256i dot, __m256i w, __m256i x)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* sum += (float(dot) * scale) * x scale */
static inline __m256 add_group(__m256 sum, __m256i dot, const float *scale, __m256 xs)
{
    return _mm256_add_ps(sum, _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(dot), _mm256_loadu_ps(scale)), xs));
}

/* y[n][rows] = W x for n inputs. The compiler makes one function of it for each n. */
static inline __attribute__((always_inline)) void
multiply_q8(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group, const int n)
{
    size_t groups = cols / group, stride = (rows + DUO_LANES - 1) / DUO_LANES * DUO_LANES;
    for (size_t row = 0; row < rows; row += DUO_LANES) {
        __m256 sum[DUO_BATCH][4];
        for (int t = 0; t < n; t++) sum[t][0] = sum[t][1] = sum[t][2] = sum[t][3] = _mm256_setzero_ps();
        for (size_t g = 0; g < groups; g++) {
            const float *scale = (const float *)w;
            const uint8_t *q = w + sizeof(float) * DUO_LANES;
            __m256i dot[DUO_BATCH][4];   /* rows 0-3 and 16-19, 4-7 and 20-23, 8-11 and 24-27, 12-15 and 28-31 */
            for (int t = 0; t < n; t++) dot[t][0] = dot[t][1] = dot[t][2] = dot[t][3] = _mm256_setzero_si256();
            for (size_t i = 0; i < group; i += 4, q += 4 * DUO_LANES) {
                __m256i a = _mm256_loadu_si256((const __m256i *)q);
                __m256i b = _mm256_loadu_si256((const __m256i *)(q + DUO_LANES));
                __m256i c = _mm256_loadu_si256((const __m256i *)(q + 2 * DUO_LANES));
                __m256i d = _mm256_loadu_si256((const __m256i *)(q + 3 * DUO_LANES));
                __m256i ab = _mm256_unpacklo_epi8(a, b), cd = _mm256_unpacklo_epi8(c, d);
                __m256i ab2 = _mm256_unpackhi_epi8(a, b), cd2 = _mm256_unpackhi_epi8(c, d);
                __m256i rows4[4] = {_mm256_unpacklo_epi16(ab, cd), _mm256_unpackhi_epi16(ab, cd),
                                    _mm256_unpacklo_epi16(ab2, cd2), _mm256_unpackhi_epi16(ab2, cd2)};
                for (int t = 0; t < n; t++) {
                    int32_t four;
                    memcpy(&four, x + t * cols + g * group + i, sizeof four);
                    for (int k = 0; k < 4; k++) dot[t][k] = dot4(dot[t][k], rows4[k], _mm256_set1_epi32(four));
                }
            }
            for (int t = 0; t < n; t++) {
                __m256 xscale = _mm256_set1_ps(xs[t * groups + g]);
                sum[t][0] = add_group(sum[t][0], _mm256_permute2x128_si256(dot[t][0], dot[t][1], 0x20), scale, xscale);
                sum[t][1] = add_group(sum[t][1], _mm256_permute2x128_si256(dot[t][2], dot[t][3], 0x20), scale + 8, xscale);
                sum[t][2] = add_group(sum[t][2], _mm256_permute2x128_si256(dot[t][0], dot[t][1], 0x31), scale + 16, xscale);
                sum[t][3] = add_group(sum[t][3], _mm256_permute2x128_si256(dot[t][2], dot[t][3], 0x31), scale + 24, xscale);
            }
            w += DUO_LANES * (sizeof(float) + group);
        }
        for (int t = 0; t < n; t++)
            for (int k = 0; k < 4; k++) _mm256_storeu_ps(y + t * stride + row + 8 * k, sum[t][k]);
    }
}

static inline __attribute__((always_inline)) void
multiply_q4(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group, const int n)
{
    const __m256i low_half = _mm256_set1_epi8(15);
    size_t groups = cols / group, stride = (rows + DUO_LANES - 1) / DUO_LANES * DUO_LANES;
    int16_t offset[n * groups];
    duo_q4_offsets(offset, x, n * cols, group);
    for (size_t row = 0; row < rows; row += DUO_LANES) {
        __m256 sum[DUO_BATCH][4];
        for (int t = 0; t < n; t++) sum[t][0] = sum[t][1] = sum[t][2] = sum[t][3] = _mm256_setzero_ps();
        for (size_t g = 0; g < groups; g++) {
            const float *scale = (const float *)w;
            const uint8_t *q = w + sizeof(float) * DUO_LANES;
            __m256i low[DUO_BATCH], high[DUO_BATCH];   /* rows 0-7 and 16-23, 8-15 and 24-31 */
            for (int t = 0; t < n; t++) low[t] = high[t] = _mm256_set1_epi16(offset[t * groups + g]);
            for (size_t i = 0; i < group; i += 2, q += DUO_LANES) {
                __m256i both = _mm256_loadu_si256((const __m256i *)q);
                __m256i a = _mm256_and_si256(both, low_half), b = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_half);
                __m256i w_low = _mm256_unpacklo_epi8(a, b), w_high = _mm256_unpackhi_epi8(a, b);
                for (int t = 0; t < n; t++) {
                    int16_t two;
                    memcpy(&two, x + t * cols + g * group + i, sizeof two);
                    __m256i x2 = _mm256_set1_epi16(two);
                    low[t] = _mm256_add_epi16(low[t], _mm256_maddubs_epi16(w_low, x2));
                    high[t] = _mm256_add_epi16(high[t], _mm256_maddubs_epi16(w_high, x2));
                }
            }
            for (int t = 0; t < n; t++) {
                __m256 xscale = _mm256_set1_ps(xs[t * groups + g]);
                __m128i eight[4] = {_mm256_castsi256_si128(low[t]), _mm256_castsi256_si128(high[t]),
                                    _mm256_extracti128_si256(low[t], 1), _mm256_extracti128_si256(high[t], 1)};
                for (int k = 0; k < 4; k++)
                    sum[t][k] = add_group(sum[t][k], _mm256_cvtepi16_epi32(eight[k]), scale + 8 * k, xscale);
            }
            w += DUO_LANES * (sizeof(float) + group / 2);
        }
        for (int t = 0; t < n; t++)
            for (int k = 0; k < 4; k++) _mm256_storeu_ps(y + t * stride + row + 8 * k, sum[t][k]);
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
    const __m128 half = _mm_set1_ps(0x1.fffffep-2f), sign = _mm_set1_ps(-0.0f);
    const __m128i low_bytes = _mm_set1_epi32(0x0c080400);
    for (size_t g = 0; g < n / group; g++, x += group, q += group) {
        __m128 max = _mm_setzero_ps();
        for (size_t i = 0; i < group; i += 4) max = _mm_max_ps(_mm_andnot_ps(sign, _mm_loadu_ps(x + i)), max);   /* max if x is NaN */
        max = _mm_max_ps(max, _mm_movehl_ps(max, max));
        max = _mm_max_ss(max, _mm_movehdup_ps(max));
        scale[g] = _mm_cvtss_f32(max) / 127.0f;
        __m128 divisor = _mm_set1_ps(scale[g]);
        for (size_t i = 0; i < group; i += 4) {
            __m128 v = _mm_div_ps(_mm_loadu_ps(x + i), divisor);
            v = _mm_add_ps(v, _mm_or_ps(_mm_and_ps(v, sign), half));
            __m128i whole = scale[g] >= FLT_MIN ? _mm_cvttps_epi32(v) : _mm_setzero_si128();
            int32_t four = _mm_cvtsi128_si32(_mm_shuffle_epi8(whole, low_bytes));
            memcpy(q + i, &four, sizeof four);
        }
    }
}

static void scores(float *score, const float *q, const float *k, size_t head, size_t n, float root)
{
    __m256 divisor = _mm256_set1_ps(root);
    gemv_f32(score, k, q, n, head);
    for (size_t t = 0; t < n; t += 8)
        _mm256_storeu_ps(score + t, _mm256_div_ps(_mm256_loadu_ps(score + t), divisor));
}

static void mix(float *out, const float *a, const float *v, size_t head, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= head; i += 16) {
        __m256 low = _mm256_setzero_ps(), high = low;
        for (size_t t = 0; t < n; t++) {
            __m256 at = _mm256_set1_ps(a[t]);
            low = _mm256_add_ps(low, _mm256_mul_ps(at, _mm256_loadu_ps(v + t * head + i)));
            high = _mm256_add_ps(high, _mm256_mul_ps(at, _mm256_loadu_ps(v + t * head + i + 8)));
        }
        _mm256_storeu_ps(out + i, low);
        _mm256_storeu_ps(out + i + 8, high);
    }
    for (; i < head; i++) {
        out[i] = 0.0f;
        for (size_t t = 0; t < n; t++) out[i] += a[t] * v[t * head + i];
    }
}

static void mix_q8(float *out, const int8_t *a, const float *as, const int8_t *v, size_t head, size_t n)
{
    for (size_t i = 0; i < head; i += 8) {
        size_t count = head - i < 8 ? head - i : 8;
        __m256 sum = _mm256_setzero_ps();
        for (size_t start = 0; start < n; start += DUO_LANES) {
            size_t end = n - start < DUO_LANES ? n : start + DUO_LANES;
            __m256i dot = _mm256_setzero_si256();
            for (size_t t = start; t < end; t += 2) {   /* two positions of each number side by side */
                int64_t first = 0, second = 0;
                memcpy(&first, v + t * head + i, count);
                memcpy(&second, v + (t + 1) * head + i, count);
                __m128i pairs = _mm_unpacklo_epi8(_mm_cvtsi64_si128(first), _mm_cvtsi64_si128(second));
                __m256i weights = _mm256_set1_epi32((int32_t)((uint32_t)a[t + 1] << 16 | (uint16_t)a[t]));
                dot = _mm256_add_epi32(dot, _mm256_madd_epi16(_mm256_cvtepi8_epi16(pairs), weights));
            }
            sum = _mm256_add_ps(sum, _mm256_mul_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(as[start / DUO_LANES])));
        }
        if (count == 8) _mm256_storeu_ps(out + i, sum);
        else _mm_storeu_ps(out + i, _mm256_castps256_ps128(sum));
    }
}

/* duo_expf in four lanes. */
static inline __m128 exp4(__m128 x)
{
    __m256d z = _mm256_mul_pd(_mm256_set1_pd(DUO_EXP_SCALE), _mm256_cvtps_pd(x));
    __m256d shifted = _mm256_add_pd(z, _mm256_set1_pd(DUO_EXP_ROUND));
    __m256i k = _mm256_castpd_si256(shifted);
    __m256d r = _mm256_sub_pd(z, _mm256_sub_pd(shifted, _mm256_set1_pd(DUO_EXP_ROUND)));
    __m256i index = _mm256_and_si256(k, _mm256_set1_epi64x(DUO_EXP_N - 1));
    __m256i entry = _mm256_i64gather_epi64((const long long *)duo_exp_table, index, 8);
    __m256d s = _mm256_castsi256_pd(_mm256_add_epi64(entry, _mm256_slli_epi64(k, 47)));
    __m256d high = _mm256_add_pd(_mm256_mul_pd(_mm256_set1_pd(DUO_EXP_C3), r), _mm256_set1_pd(DUO_EXP_C2));
    __m256d low = _mm256_add_pd(_mm256_mul_pd(_mm256_set1_pd(DUO_EXP_C1), r), _mm256_set1_pd(1));
    __m128 y = _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_add_pd(_mm256_mul_pd(high, _mm256_mul_pd(r, r)), low), s));
    y = _mm_andnot_ps(_mm_cmplt_ps(x, _mm_set1_ps(DUO_EXP_MIN)), y);
    y = _mm_blendv_ps(y, _mm_set1_ps(INFINITY), _mm_cmpgt_ps(x, _mm_set1_ps(DUO_EXP_MAX)));
    return _mm_blendv_ps(y, x, _mm_cmpunord_ps(x, x));
}

static void exp_shifted(float *x, size_t n, float shift)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        _mm_storeu_ps(x + i, exp4(_mm_sub_ps(_mm_loadu_ps(x + i), _mm_set1_ps(shift))));
    for (; i < n; i++) x[i] = duo_expf(x[i] - shift);
}

static void swiglu(float *gate, const float *up, size_t n)
{
    const __m128 one = _mm_set1_ps(1.0f), sign = _mm_set1_ps(-0.0f);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m128 g = _mm_loadu_ps(gate + i);
        __m128 sigmoid = _mm_div_ps(one, _mm_add_ps(one, exp4(_mm_xor_ps(g, sign))));
        _mm_storeu_ps(gate + i, _mm_mul_ps(_mm_mul_ps(g, sigmoid), _mm_loadu_ps(up + i)));
    }
    for (; i < n; i++) gate[i] = gate[i] * (1.0f / (1.0f + duo_expf(-gate[i]))) * up[i];
}

static void block_max(float *max, const float *x, size_t n)
{
    for (; n >= DUO_LANES; n -= DUO_LANES, x += DUO_LANES) {
        __m256 a = _mm256_max_ps(_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8));
        __m256 b = _mm256_max_ps(_mm256_loadu_ps(x + 16), _mm256_loadu_ps(x + 24));
        a = _mm256_max_ps(a, b);
        __m128 c = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        c = _mm_max_ps(c, _mm_movehl_ps(c, c));
        *max++ = _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
    }
    duo_kernel_scalar.block_max(max, x, n);
}

const duo_kernel duo_kernel_avx2 = {
    "avx2", supported, gemv_f32, gemv_q8, gemv_q4, quantize, scores, mix, mix_q8, exp_shifted, swiglu, block_max,
    .gemm_q8 = gemm_q8, .gemm_q4 = gemm_q4,
};

#endif
