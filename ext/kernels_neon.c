/* kernels_neon.c - 64-bit ARM. Products and sums in NEON; quantising and exp are the scalar ones. */
#if defined(__aarch64__)

#include "kernels.h"

#include <arm_neon.h>
#include <string.h>

static int supported(void) { return 1; }

/* y[32] = one 32-row block of f32 weights times x. */
static void block_f32(float *y, const float *w, const float *x, size_t n)
{
    float32x4_t sum[8];
    for (int i = 0; i < 8; i++) sum[i] = vdupq_n_f32(0);
    for (size_t j = 0; j < n; j++, w += DUO_LANES)
        for (int i = 0; i < 8; i++) sum[i] = vaddq_f32(sum[i], vmulq_n_f32(vld1q_f32(w + 4 * i), x[j]));
    for (int i = 0; i < 8; i++) vst1q_f32(y + 4 * i, sum[i]);
}

static void gemv_f32(float *y, const float *w, const float *x, size_t rows, size_t cols)
{
    for (size_t row = 0; row < rows; row += DUO_LANES) block_f32(y + row, w + row * cols, x, cols);
}

static void gemv_q8(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group)
{
    for (size_t row = 0; row < rows; row += DUO_LANES) {
        float32x4_t sum[8];
        for (int i = 0; i < 8; i++) sum[i] = vdupq_n_f32(0);
        for (size_t j = 0; j < cols; j += group) {
            const float *scale = (const float *)w;
            const int8_t *q = (const int8_t *)(w + sizeof(float) * DUO_LANES);
            int32x4_t dot[8];
            for (int i = 0; i < 8; i++) dot[i] = vdupq_n_s32(0);
            for (size_t k = 0; k < group; k += 2, q += 2 * DUO_LANES) {
                int8x8_t x0 = vdup_n_s8(x[j + k]), x1 = vdup_n_s8(x[j + k + 1]);
                for (int i = 0; i < 4; i++) {
                    /* two products of at most 128 x 127 fit 16 bits */
                    int16x8_t pair = vmull_s8(vld1_s8(q + 8 * i), x0);
                    pair = vmlal_s8(pair, vld1_s8(q + DUO_LANES + 8 * i), x1);
                    dot[2 * i] = vaddw_s16(dot[2 * i], vget_low_s16(pair));
                    dot[2 * i + 1] = vaddw_s16(dot[2 * i + 1], vget_high_s16(pair));
                }
            }
            for (int i = 0; i < 8; i++)
                sum[i] = vaddq_f32(sum[i], vmulq_n_f32(vmulq_f32(vcvtq_f32_s32(dot[i]), vld1q_f32(scale + 4 * i)), xs[j / group]));
            w += DUO_LANES * (sizeof(float) + group);
        }
        for (int i = 0; i < 8; i++) vst1q_f32(y + row + 4 * i, sum[i]);
    }
}

static void gemv_q4(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group)
{
    int16_t offset[cols / group];
    duo_q4_offsets(offset, x, cols, group);
    for (size_t row = 0; row < rows; row += DUO_LANES) {
        float32x4_t sum[8];
        for (int i = 0; i < 8; i++) sum[i] = vdupq_n_f32(0);
        for (size_t j = 0; j < cols; j += group) {
            const float *scale = (const float *)w;
            const uint8_t *q = w + sizeof(float) * DUO_LANES;
            int16x8_t dot[4];
            for (int i = 0; i < 4; i++) dot[i] = vdupq_n_s16(offset[j / group]);
            for (size_t k = 0; k < group; k += 2, q += DUO_LANES) {
                int8x8_t x0 = vdup_n_s8(x[j + k]), x1 = vdup_n_s8(x[j + k + 1]);
                for (int i = 0; i < 4; i++) {
                    uint8x8_t both = vld1_u8(q + 8 * i);
                    dot[i] = vmlal_s8(dot[i], vreinterpret_s8_u8(vand_u8(both, vdup_n_u8(15))), x0);
                    dot[i] = vmlal_s8(dot[i], vreinterpret_s8_u8(vshr_n_u8(both, 4)), x1);
                }
            }
            for (int i = 0; i < 8; i++) {
                int32x4_t wide = vmovl_s16(i % 2 ? vget_high_s16(dot[i / 2]) : vget_low_s16(dot[i / 2]));
                sum[i] = vaddq_f32(sum[i], vmulq_n_f32(vmulq_f32(vcvtq_f32_s32(wide), vld1q_f32(scale + 4 * i)), xs[j / group]));
            }
            w += DUO_LANES * (sizeof(float) + group / 2);
        }
        for (int i = 0; i < 8; i++) vst1q_f32(y + row + 4 * i, sum[i]);
    }
}

static void quantize(int8_t *q, float *scale, const float *x, size_t n, size_t group)
{
    duo_kernel_scalar.quantize(q, scale, x, n, group);
}

static void scores(float *score, const float *q, const float *k, size_t head, size_t n, float root)
{
    for (size_t t = 0; t < n; t += DUO_LANES) block_f32(score + t, k + t * head, q, head);
    for (size_t t = 0; t < n; t++) score[t] /= root;
}

static void mix(float *out, const float *a, const float *v, size_t head, size_t n)
{
    for (size_t i = 0; i < head; i += 2) {   /* a head's size is even */
        float32x2_t sum = vdup_n_f32(0);
        for (size_t t = 0; t < n; t++) sum = vadd_f32(sum, vmul_n_f32(vld1_f32(v + t * head + i), a[t]));
        vst1_f32(out + i, sum);
    }
}

static void mix_q8(float *out, const int8_t *a, const float *as, const int8_t *v, size_t head, size_t n)
{
    for (size_t i = 0; i < head; i += 8) {
        size_t count = head - i < 8 ? head - i : 8;
        float32x4_t low = vdupq_n_f32(0), high = low;
        for (size_t start = 0; start < n; start += DUO_LANES) {
            size_t end = n - start < DUO_LANES ? n : start + DUO_LANES;
            int32x4_t dot_low = vdupq_n_s32(0), dot_high = dot_low;
            for (size_t t = start; t < end; t += 2) {
                uint64_t first = 0, second = 0;
                memcpy(&first, v + t * head + i, count);
                memcpy(&second, v + (t + 1) * head + i, count);
                int16x8_t pair = vmull_s8(vreinterpret_s8_u64(vdup_n_u64(first)), vdup_n_s8(a[t]));
                pair = vmlal_s8(pair, vreinterpret_s8_u64(vdup_n_u64(second)), vdup_n_s8(a[t + 1]));
                dot_low = vaddw_s16(dot_low, vget_low_s16(pair));
                dot_high = vaddw_s16(dot_high, vget_high_s16(pair));
            }
            low = vaddq_f32(low, vmulq_n_f32(vcvtq_f32_s32(dot_low), as[start / DUO_LANES]));
            high = vaddq_f32(high, vmulq_n_f32(vcvtq_f32_s32(dot_high), as[start / DUO_LANES]));
        }
        vst1q_f32(out + i, low);
        if (count == 8) vst1q_f32(out + i + 4, high);
    }
}

static void exp_shifted(float *x, size_t n, float shift) { duo_kernel_scalar.exp_shifted(x, n, shift); }

static void swiglu(float *gate, const float *up, size_t n) { duo_kernel_scalar.swiglu(gate, up, n); }

static void block_max(float *max, const float *x, size_t n)
{
    for (; n >= DUO_LANES; n -= DUO_LANES, x += DUO_LANES) {
        float32x4_t largest = vld1q_f32(x);
        for (int i = 4; i < DUO_LANES; i += 4) largest = vmaxq_f32(largest, vld1q_f32(x + i));
        *max++ = vmaxvq_f32(largest);
    }
    duo_kernel_scalar.block_max(max, x, n);
}

const duo_kernel duo_kernel_neon = {
    "neon", supported, gemv_f32, gemv_q8, gemv_q4, quantize, scores, mix, mix_q8, exp_shifted, swiglu, block_max,
};

#endif
