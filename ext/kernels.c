/* kernels.c - which kernel runs, and the proof that it may. */
#include "kernels.h"

#include <string.h>

static const duo_kernel *const all[] = {
#if defined(__x86_64__)
    &duo_kernel_avx512,
    &duo_kernel_avx2,
#elif defined(__aarch64__)
    &duo_kernel_neon,
#elif defined(__riscv) && __riscv_xlen == 64
    &duo_kernel_rvv10,
    &duo_kernel_rvv07,
#endif
    &duo_kernel_scalar,
};

const duo_kernel *duo_kernel_at(int i)
{
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        if (all[k]->supported() && i-- == 0) return all[k];
    return NULL;
}

/* ---------------------------------------------------------------------------- */
/* self-test: small, with ragged sizes and the extreme values of every type */

enum { ROWS = 96, COLS = 40, GROUP = 20, HEAD = 20, POSITIONS = 37, PADDED = 64 };

typedef struct {
    float f32[ROWS * COLS / 2];
    float q8[(ROWS * COLS + ROWS * COLS / GROUP * 4) / 4], q4[(ROWS * COLS / 2 + ROWS * COLS / GROUP * 4) / 4];
    float x[COLS], keys[PADDED * HEAD], values[POSITIONS * HEAD];
    float scale[DUO_BATCH * COLS / GROUP];
    int8_t q[DUO_BATCH * COLS];
} inputs;

typedef struct {
    float gemm_q8[DUO_BATCH][ROWS], gemm_q4[DUO_BATCH][ROWS];
    float gemv_f32[ROWS], gemv_q8[ROWS], gemv_q4[ROWS], scale[COLS / GROUP], scores[PADDED], mix[PADDED], mix_q8[HEAD];
    float exp[COLS], swiglu[COLS], block_max[2];
    int8_t q[COLS];
} outputs;

static float random_float(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-29f;
}

static void make_weights(uint8_t *w, int group_bytes, uint32_t *state)
{
    for (int group = 0; group < ROWS / DUO_LANES * COLS / GROUP; group++) {
        for (int lane = 0; lane < DUO_LANES; lane++, w += 4) {
            float scale = random_float(state);
            memcpy(w, &scale, 4);
        }
        for (int i = 0; i < group_bytes; i++) {
            int v = (int)(random_float(state) * 32.0f);
            *w++ = (uint8_t)(int8_t)(i % 7 == 0 ? 127 : i % 5 == 0 ? -127 : v);
        }
    }
}

static void make_inputs(inputs *in)
{
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof in->f32 / sizeof(float); i++) in->f32[i] = random_float(&state);
    for (size_t i = 0; i < COLS; i++) in->x[i] = random_float(&state) * (i < GROUP ? 1.0f : 30.0f);
    for (size_t i = 0; i < PADDED * HEAD; i++) in->keys[i] = random_float(&state);
    for (size_t i = 0; i < POSITIONS * HEAD; i++) in->values[i] = random_float(&state);
    make_weights((uint8_t *)in->q8, GROUP * DUO_LANES, &state);
    make_weights((uint8_t *)in->q4, GROUP * DUO_LANES / 2, &state);
    for (int i = 0; i < DUO_BATCH * COLS; i++) in->q[i] = (int8_t)(i % 3 ? 127 : -127);
    for (int i = 0; i < DUO_BATCH * COLS / GROUP; i++) in->scale[i] = random_float(&state);
}

static void run(const duo_kernel *k, const inputs *in, outputs *out)
{
    memset(out, 0, sizeof *out);
    k->gemv_f32(out->gemv_f32, in->f32, in->x, ROWS - 1, COLS / 2);
    k->gemv_q8(out->gemv_q8, (const uint8_t *)in->q8, in->q, in->scale, ROWS, COLS, GROUP);
    k->gemv_q4(out->gemv_q4, (const uint8_t *)in->q4, in->q, in->scale, ROWS, COLS, GROUP);
    for (int t = 0; t < DUO_BATCH; t++) {
        const int8_t *q = in->q + t * COLS;
        const float *scale = in->scale + t * (COLS / GROUP);
        k->gemv_q8(out->gemm_q8[t], (const uint8_t *)in->q8, q, scale, ROWS, COLS, GROUP);
        k->gemv_q4(out->gemm_q4[t], (const uint8_t *)in->q4, q, scale, ROWS, COLS, GROUP);
    }
    if (k->gemm_q8) k->gemm_q8(out->gemm_q8[0], (const uint8_t *)in->q8, in->q, in->scale, ROWS, COLS, GROUP);
    if (k->gemm_q4) k->gemm_q4(out->gemm_q4[0], (const uint8_t *)in->q4, in->q, in->scale, ROWS, COLS, GROUP);
    k->quantize(out->q, out->scale, in->x, COLS, GROUP);
    k->scores(out->scores, in->x, in->keys, HEAD, POSITIONS, 4.5f);
    k->mix(out->mix, in->x, in->values, HEAD, POSITIONS);
    k->mix_q8(out->mix_q8, in->q, in->scale, (const int8_t *)in->q8 + 128, HEAD, COLS);
    memcpy(out->exp, in->x, sizeof out->exp);
    k->exp_shifted(out->exp, COLS, 2.0f);
    memcpy(out->swiglu, in->x, sizeof out->swiglu);
    k->swiglu(out->swiglu, in->values, COLS);
    k->block_max(out->block_max, in->x, COLS);
    /* beyond what was asked for, a kernel may leave anything */
    out->gemv_f32[ROWS - 1] = 0;
    memset(out->scores + POSITIONS, 0, sizeof(float) * (PADDED - POSITIONS));
    memset(out->mix + HEAD, 0, sizeof(float) * (PADDED - HEAD));
}

static int agrees(const duo_kernel *k)
{
    inputs in;
    outputs expected, got;
    make_inputs(&in);
    run(&duo_kernel_scalar, &in, &expected);
    run(k, &in, &got);
    return memcmp(&expected, &got, sizeof got) == 0;
}

const duo_kernel *duo_kernel_choose(const char *name)
{
    const duo_kernel *k;
    for (int i = 0; (k = duo_kernel_at(i)); i++)
        if ((!name || strcmp(k->name, name) == 0) && agrees(k)) return k;
    return NULL;
}

/* ---------------------------------------------------------------------------- */

float duo_exp_all(const duo_kernel *k, float *x, size_t n)
{
    float max = x[0], sum = 0.0f, largest[DUO_LANES];
    for (size_t start = 0, count; start < n; start += count) {
        count = n - start < DUO_LANES * DUO_LANES ? n - start : DUO_LANES * DUO_LANES;
        k->block_max(largest, x + start, count);
        for (size_t i = 0; i * DUO_LANES < count; i++)
            if (largest[i] > max) max = largest[i];
    }
    k->exp_shifted(x, n, max);
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

void duo_softmax(const duo_kernel *k, float *x, size_t n)
{
    float sum = duo_exp_all(k, x, n);
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) x[i] /= sum;
}
