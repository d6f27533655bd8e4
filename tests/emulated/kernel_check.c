/* kernel_check.c - compares every kernel of this build that the processor runs with the scalar one, bit for bit, over sizes
 * that fill no register and values at the ends of their ranges.
 * Prints `KERNEL CASES` for each but the scalar one; names the first difference and ends with status 1. */
#include "kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof array / sizeof *array))

enum { MAX = 1 << 17, GUARD = 64 };

static uint8_t *weights;
static float *a, *b, *expected, *got;
static int8_t *q, *q_expected, *q_got;
static const duo_kernel *kernel;
static int cases;

static uint32_t state = 1;
static uint32_t draw(void) { return state = state * 1664525u + 1013904223u; }
static float draw_float(void) { return (float)(int32_t)draw() * 0x1p-29f; }

/* Equal bits; which NaN it is does not count. */
static void compare(const char *what, const float *x, const float *y, size_t n, int m1, int m2, int m3)
{
    cases++;
    for (size_t i = 0; i < n; i++) {
        if (memcmp(x + i, y + i, sizeof *x) == 0 || (isnan(x[i]) && isnan(y[i]))) continue;
        printf("%s: %s(%d, %d, %d)[%zu] is %a, not %a\n", kernel->name, what, m1, m2, m3, i, y[i], x[i]);
        exit(1);
    }
}

/* Runs CALL for the scalar kernel into `expected` and for the other into `got`, both beginning as copies of a; n results, of
 * which the kernel may go on to the next multiple of DUO_LANES. */
#define BOTH(what, n, m1, m2, m3, CALL)                                                                                      \
    do {                                                                                                                     \
        size_t padded = ((n) + DUO_LANES - 1) / DUO_LANES * DUO_LANES;                                                       \
        memcpy(expected, a, (padded + GUARD) * sizeof *a);                                                                   \
        memcpy(got, a, (padded + GUARD) * sizeof *a);                                                                        \
        const duo_kernel *k = &duo_kernel_scalar;                                                                            \
        float *y = expected;                                                                                                 \
        CALL;                                                                                                                \
        k = kernel, y = got;                                                                                                 \
        CALL;                                                                                                                \
        compare(what, expected, got, n, m1, m2, m3);                                                                         \
        compare(what " beyond its end", a + padded, got + padded, GUARD, m1, m2, m3);                                        \
    } while (0)

/* Fills `weights` with blocks of groups, each 32 scales and `bytes` of weights: random, or all of one value. */
static void make_groups(int groups, int bytes, int pattern)
{
    uint8_t *w = weights;
    for (int g = 0; g < groups; g++) {
        for (int lane = 0; lane < DUO_LANES; lane++, w += sizeof(float)) {
            float scale = draw_float();
            memcpy(w, &scale, sizeof scale);
        }
        for (int i = 0; i < bytes; i++) *w++ = pattern == 0 ? 0x7f : pattern == 1 ? 0x81 : (uint8_t)((draw() >> 8) % 255 - 127);
    }
}

/* DUO_BATCH inputs at once, or one by one where the kernel has no better way */
static void gemm(const duo_kernel *k, int bits, float *y, size_t rows, size_t cols, size_t group)
{
    void (*at_once)(float *, const uint8_t *, const int8_t *, const float *, size_t, size_t, size_t) = bits == 8 ? k->gemm_q8 : k->gemm_q4;
    size_t padded = (rows + DUO_LANES - 1) / DUO_LANES * DUO_LANES;
    if (at_once) at_once(y, weights, q, b, rows, cols, group);
    else
        for (int t = 0; t < DUO_BATCH; t++)
            (bits == 8 ? k->gemv_q8 : k->gemv_q4)(y + t * padded, weights, q + t * cols, b + t * (cols / group), rows, cols, group);
}

static void check_gemv_quantised(void)
{
    static const int rows[] = {1, 31, 32, 33, 96}, groups[] = {4, 8, 12, 20, 32, 48, 64, 100, 256, 1000}, counts[] = {1, 2, 5};
    for (int r = 0; r < COUNT(rows); r++)
        for (int g = 0; g < COUNT(groups); g++)
            for (int c = 0; c < COUNT(counts); c++)
                for (int pattern = 0; pattern < 5; pattern++) {
                    int group = groups[g], cols = group * counts[c];
                    int blocks = (rows[r] + DUO_LANES - 1) / DUO_LANES, all = blocks * counts[c];
                    size_t batch = (size_t)DUO_BATCH * blocks * DUO_LANES;
                    for (int i = 0; i < DUO_BATCH * cols; i++) {
                        int noise = (int)(draw() >> 8) % 255 - 127;
                        q[i] = (int8_t)(pattern <= 1 ? 127 : pattern == 2 ? (i % 3 ? 127 : -127) : pattern == 3 ? noise : noise / 16);
                    }
                    for (int i = 0; i < DUO_BATCH * counts[c]; i++) b[i] = draw_float();
                    make_groups(all, group * DUO_LANES, pattern);
                    BOTH("gemv_q8", (size_t)rows[r], rows[r], cols, group, k->gemv_q8(y, weights, q, b, rows[r], cols, group));
                    BOTH("gemm_q8", batch, rows[r], cols, group, gemm(k, 8, y, rows[r], cols, group));
                    if (group > DUO_Q4_GROUP) continue;
                    make_groups(all, group * DUO_LANES / 2, pattern);
                    BOTH("gemv_q4", (size_t)rows[r], rows[r], cols, group, k->gemv_q4(y, weights, q, b, rows[r], cols, group));
                    BOTH("gemm_q4", batch, rows[r], cols, group, gemm(k, 4, y, rows[r], cols, group));
                }
}

static void check_gemv_f32(void)
{
    static const int sizes[] = {1, 2, 3, 31, 32, 33, 97};
    float *w = (float *)weights;
    for (int i = 0; i < 128 * 97; i++) w[i] = draw_float();
    for (int r = 0; r < COUNT(sizes); r++)
        for (int c = 0; c < COUNT(sizes); c++)
            BOTH("gemv_f32", (size_t)sizes[r], sizes[r], sizes[c], 0, k->gemv_f32(y, w, b, sizes[r], sizes[c]));
}

static void check_quantize(void)
{
    static const int groups[] = {4, 8, 12, 20, 32, 36, 48, 64, 100, 256, 1000};
    static const float sizes[] = {1.0f, 0x1p-120f, 0x1p-126f, 0x1p-149f, 0.0f, 0x1p125f, INFINITY, NAN};
    for (int g = 0; g < COUNT(groups); g++)
        for (int s = 0; s < COUNT(sizes); s++)
            for (int halves = 0; halves < 2; halves++) {
                int n = groups[g] * 3;
                for (int i = 0; i < n; i++)   /* with 127 the largest, the scale is 1, and halves are ties */
                    b[i] = (halves ? i % groups[g] == 1 ? 127.0f : (float)((int)(draw() >> 8) % 255 - 127) / 2 : draw_float()) * (s < 6 || i % groups[g] == 2 ? sizes[s] : 1.0f);
                memset(q_expected, 99, n + GUARD);
                memset(q_got, 99, n + GUARD);
                BOTH("quantize scale", (size_t)3, groups[g], s, halves,
                     k->quantize(k == kernel ? q_got : q_expected, y, b, n, groups[g]));
                if (memcmp(q_expected, q_got, n + GUARD) != 0) {
                    printf("%s: quantize(%d, %d, %d) differs\n", kernel->name, groups[g], s, halves);
                    exit(1);
                }
            }
}

static void check_attention(void)
{
    static const int heads[] = {2, 4, 16, 18, 32, 46, 48, 50, 64, 96, 98, 130}, positions[] = {1, 2, 5, 31, 32, 33, 100};
    float *cache = (float *)weights;
    for (int i = 0; i < 128 * 130; i++) cache[i] = draw_float();
    for (int i = 0; i < 130; i++) b[i] = draw_float();
    for (int h = 0; h < COUNT(heads); h++)
        for (int p = 0; p < COUNT(positions); p++) {
            BOTH("scores", (size_t)positions[p], heads[h], positions[p], 0,
                 k->scores(y, b, cache, heads[h], positions[p], sqrtf((float)heads[h])));
            BOTH("mix", (size_t)heads[h], heads[h], positions[p], 0, k->mix(y, b, cache, heads[h], positions[p]));
        }
}

static void check_mix_q8(void)
{
    static const int heads[] = {4, 8, 12, 16, 20, 28, 32, 36, 48, 64, 68, 132}, positions[] = {4, 8, 28, 32, 36, 64, 100};
    int8_t *values = (int8_t *)weights;
    for (int h = 0; h < COUNT(heads); h++)
        for (int p = 0; p < COUNT(positions); p++)
            for (int pattern = 0; pattern < 4; pattern++) {
                int head = heads[h], n = positions[p];
                for (int i = 0; i < head * n; i++)
                    values[i] = (int8_t)(pattern == 0 ? 127 : pattern == 1 ? -127 : (int)(draw() >> 8) % 255 - 127);
                for (int i = 0; i < n; i++) q[i] = (int8_t)(pattern <= 2 ? 127 : (int)(draw() >> 8) % 255 - 127);
                BOTH("mix_q8", (size_t)head, head, n, pattern, k->mix_q8(y, q, b, values, head, n));
                compare("mix_q8 beyond its head", a + head, got + head, GUARD, head, n, pattern);
            }
}

static void check_functions(void)
{
    static const float ends[] = {0.0f, -0.0f, 1.0f, -1.0f, 88.72283f, 88.72284f, -103.97208f, -103.97209f, -87.33655f, 1e-45f,
                                 -1e-38f, 1e30f, -1e30f, INFINITY, -INFINITY, NAN};
    static const int sizes[] = {1, 2, 3, 4, 5, 16, 31, 32, 33, 64, 100};
    float *up = (float *)weights;
    for (int i = 0; i < 128; i++) up[i] = draw_float();
    for (int s = 0; s < COUNT(sizes); s++)
        for (int shift = 0; shift < COUNT(ends); shift++) {
            for (int i = 0; i < 256; i++) a[i] = i % 3 ? draw_float() * 10.0f : ends[(i + shift) % COUNT(ends)];
            BOTH("exp_shifted", (size_t)sizes[s], sizes[s], shift, 0, k->exp_shifted(y, sizes[s], shift % 2 ? 3.5f : 0.0f));
            BOTH("swiglu", (size_t)sizes[s], sizes[s], shift, 0, k->swiglu(y, up, sizes[s]));
            for (int i = 0; i < 256; i++) b[i] = draw_float();
            BOTH("block_max", (size_t)(sizes[s] + DUO_LANES - 1) / DUO_LANES, sizes[s], 0, 0, k->block_max(y, b, sizes[s]));
        }
    for (uint32_t i = 0; i < MAX - 256; i++) {   /* every 65,521st float */
        uint32_t bits = i * 65521u;
        memcpy(a + i, &bits, sizeof bits);
    }
    BOTH("exp_shifted", (size_t)(MAX - 256) / DUO_LANES * DUO_LANES, MAX, 0, 0, k->exp_shifted(y, MAX - 256, 0.0f));
}

int main(void)
{
    weights = aligned_alloc(64, 1 << 20);
    a = calloc(MAX, sizeof *a), b = calloc(MAX, sizeof *b), expected = calloc(MAX, sizeof *a), got = calloc(MAX, sizeof *a);
    q = malloc(MAX), q_expected = malloc(MAX), q_got = malloc(MAX);
    for (int i = 0; i < MAX; i++) a[i] = b[i] = draw_float();
    for (int i = 0; (kernel = duo_kernel_at(i)) != &duo_kernel_scalar; i++) {
        cases = 0;
        check_gemv_quantised();
        check_gemv_f32();
        check_quantize();
        check_attention();
        check_mix_q8();
        check_functions();
        printf("%s %d\n", kernel->name, cases);
    }
    return 0;
}
