/* kernels_scalar.c - the oracle: what every kernel must return, in the order of llama2.c. */
#include "kernels.h"
#include "mathf.h"

#include <float.h>

static int supported(void) { return 1; }

static void gemv_f32(float *y, const float *w, const float *x, size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows; r++) {
        const float *lane = w + r / DUO_LANES * DUO_LANES * cols + r % DUO_LANES;
        float sum = 0.0f;
        for (size_t j = 0; j < cols; j++) sum += lane[j * DUO_LANES] * x[j];
        y[r] = sum;
    }
}

static void gemv_q8(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group)
{
    for (size_t row = 0; row < rows; row += DUO_LANES) {
        float sum[DUO_LANES] = {0};
        for (size_t j = 0; j < cols; j += group) {
            const float *scale = (const float *)w;
            const int8_t *q = (const int8_t *)(w + sizeof(float) * DUO_LANES);
            int32_t dot[DUO_LANES] = {0};
            for (size_t i = 0; i < group; i++)
                for (int lane = 0; lane < DUO_LANES; lane++) dot[lane] += x[j + i] * q[i * DUO_LANES + lane];
            for (int lane = 0; lane < DUO_LANES; lane++) sum[lane] += (float)dot[lane] * scale[lane] * xs[j / group];
            w += DUO_LANES * (sizeof(float) + group);
        }
        memcpy(y + row, sum, sizeof sum);
    }
}

static void gemv_q4(float *y, const uint8_t *w, const int8_t *x, const float *xs, size_t rows, size_t cols, size_t group)
{
    for (size_t row = 0; row < rows; row += DUO_LANES) {
        float sum[DUO_LANES] = {0};
        for (size_t j = 0; j < cols; j += group) {
            const float *scale = (const float *)w;
            const uint8_t *q = w + sizeof(float) * DUO_LANES;
            int32_t dot[DUO_LANES] = {0};
            for (size_t i = 0; i < group; i += 2, q += DUO_LANES)
                for (int lane = 0; lane < DUO_LANES; lane++)
                    dot[lane] += x[j + i] * ((q[lane] & 15) - 8) + x[j + i + 1] * ((q[lane] >> 4) - 8);
            for (int lane = 0; lane < DUO_LANES; lane++) sum[lane] += (float)dot[lane] * scale[lane] * xs[j / group];
            w += DUO_LANES * (sizeof(float) + group / 2);
        }
        memcpy(y + row, sum, sizeof sum);
    }
}

static void quantize(int8_t *q, float *scale, const float *x, size_t n, size_t group)
{
    for (size_t g = 0; g < n / group; g++, x += group, q += group) {
        float max = 0.0f;
        for (size_t i = 0; i < group; i++)
            if (fabsf(x[i]) > max) max = fabsf(x[i]);
        scale[g] = max / 127.0f;
        for (size_t i = 0; i < group; i++) {
            float v = x[i] / scale[g];
            q[i] = scale[g] >= FLT_MIN && v == v ? (int8_t)roundf(v) : 0;
        }
    }
}

static void scores(float *score, const float *q, const float *k, size_t head, size_t n, float root)
{
    for (size_t t = 0; t < n; t++) {
        const float *lane = k + t / DUO_LANES * DUO_LANES * head + t % DUO_LANES;
        float sum = 0.0f;
        for (size_t i = 0; i < head; i++) sum += q[i] * lane[i * DUO_LANES];
        score[t] = sum / root;
    }
}

static void mix(float *out, const float *a, const float *v, size_t head, size_t n)
{
    for (size_t i = 0; i < head; i++) out[i] = 0.0f;
    for (size_t t = 0; t < n; t++, v += head)
        for (size_t i = 0; i < head; i++) out[i] += a[t] * v[i];
}

static void mix_q8(float *out, const int8_t *a, const float *as, const int8_t *v, size_t head, size_t n)
{
    for (size_t i = 0; i < head; i++) {
        out[i] = 0.0f;
        for (size_t start = 0; start < n; start += DUO_LANES) {
            int32_t dot = 0;
            for (size_t t = start; t < n && t < start + DUO_LANES; t++) dot += a[t] * v[t * head + i];
            out[i] += (float)dot * as[start / DUO_LANES];
        }
    }
}

static void exp_shifted(float *x, size_t n, float shift)
{
    for (size_t i = 0; i < n; i++) x[i] = duo_expf(x[i] - shift);
}

static void swiglu(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) gate[i] = gate[i] * (1.0f / (1.0f + duo_expf(-gate[i]))) * up[i];
}

static void block_max(float *max, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (i % DUO_LANES == 0 || x[i] > max[i / DUO_LANES]) max[i / DUO_LANES] = x[i];
}

const duo_kernel duo_kernel_scalar = {
    "scalar", supported, gemv_f32, gemv_q8, gemv_q4, quantize, scores, mix, mix_q8, exp_shifted, swiglu, block_max,
};
