/* forward.c - the transformer: Llama (Touvron et al., arXiv 2302.13971) in the order of llama2.c. */
#include "mathf.h"
#include "model.h"

/* RMSNorm (Zhang and Sennrich, arXiv 1910.07467): out = x / rms(x) * weight; all [n] */
static void rmsnorm(float *restrict out, const float *restrict x, const float *restrict weight, size_t n, float eps)
{
    float sum = 0.0f;
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    sum /= n;
    sum += eps;
    float inverse = 1.0f / sqrtf(sum);
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) out[i] = weight[i] * (inverse * x[i]);
}

/* Quantises x [count][n] for the quantised matrices among those that follow. */
static void quantize(duo_model *m, const float *x, size_t n, int count)
{
    size_t group = m->info.group_size;
    if (!group) return;
    for (int t = 0; t < count; t++, x += duo_padded(n))
        m->kernel->quantize(m->state.quant + t * n, m->state.quant_scale + t * (n / group), x, n, group);
}

/* y [count][rows] = w x, where x [count][cols] has just been given to quantize */
static void multiply(duo_model *m, float *y, const duo_matrix *w, const float *x, int count)
{
    const duo_state *s = &m->state;
    const duo_kernel *k = m->kernel;
    size_t group = m->info.group_size, rows = w->rows, cols = w->cols;
    void (*gemm)(float *, const uint8_t *, const int8_t *, const float *, size_t, size_t, size_t) =
        w->type == DUO_Q8 ? k->gemm_q8 : k->gemm_q4;
    if (w->type != DUO_F32 && gemm && count == DUO_BATCH) {
        gemm(y, w->data, s->quant, s->quant_scale, rows, cols, group);
        return;
    }
    for (int t = 0; t < count; t++, y += duo_padded(rows))
        if (w->type == DUO_F32)
            k->gemv_f32(y, (const float *)w->data, x + t * duo_padded(cols), rows, cols);
        else
            (w->type == DUO_Q8 ? k->gemv_q8 : k->gemv_q4)
                (y, w->data, s->quant + t * cols, s->quant_scale + t * (cols / group), rows, cols, group);
}

/* x [dim] = row `token` of the embedding */
static void embed(const duo_model *m, float *x, int token)
{
    const duo_matrix *e = &m->embedding;
    size_t block = token / DUO_LANES, lane = token % DUO_LANES, group = m->info.group_size;
    if (e->type == DUO_F32) {
        const float *w = (const float *)e->data + block * DUO_LANES * e->cols + lane;
        for (size_t i = 0; i < e->cols; i++) x[i] = w[i * DUO_LANES];
        return;
    }
    size_t per_byte = e->type == DUO_Q4 ? 2 : 1, group_bytes = DUO_LANES * (sizeof(float) + group / per_byte);
    const uint8_t *w = e->data + block * (e->cols / group) * group_bytes;
    for (size_t i = 0; i < e->cols; i += group, w += group_bytes) {
        float scale = ((const float *)w)[lane];
        const uint8_t *q = w + sizeof(float) * DUO_LANES + lane;
        for (size_t j = 0; j < group; j++) {
            int byte = q[j / per_byte * DUO_LANES];
            int weight = e->type == DUO_Q8 ? (int8_t)byte : (j % 2 ? byte >> 4 : byte & 15) - 8;
            x[i + j] = weight * scale;
        }
    }
}

/* RoPE (Su et al., arXiv 2104.09864): rotates neighbouring pairs of each head of v [n] to position pos */
static void rope(const duo_model *m, float *restrict v, size_t n, size_t pos)
{
    size_t half = m->head_size / 2;
    const float *restrict cosine = m->state.cosine + pos * half, *restrict sine = m->state.sine + pos * half;
    for (; n > 0; n -= 2 * half)
#pragma GCC unroll 2
        for (size_t i = 0; i < half; i++, v += 2) {
            float v0 = v[0], v1 = v[1];
            v[0] = v0 * cosine[i] - v1 * sine[i];
            v[1] = v0 * sine[i] + v1 * cosine[i];
        }
}

static void add(float *restrict x, const float *restrict y, size_t n)
{
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) x[i] += y[i];
}

/* The transformer on `count` tokens, at most DUO_BATCH, from position pos on; logits of the last one if they are wanted.
 * Each token's numbers are those it would have alone. */
static int pass(duo_model *m, const int32_t *tokens, int count, int pos, int want_logits)
{
    const duo_info *p = &m->info;
    if (pos < 0 || count > p->seq_len - pos) return DUO_EARG;
    for (int t = 0; t < count; t++)
        if (tokens[t] < 0 || tokens[t] >= p->vocab_size) return DUO_EARG;

    duo_state *s = &m->state;
    size_t dim = p->dim, hidden = p->hidden_dim;
    size_t dim_step = duo_padded(dim), kv_step = duo_padded(m->kv_dim), hidden_step = duo_padded(hidden);   /* token to token */
    float *x = s->x;

    for (int t = 0; t < count; t++) embed(m, x + t * dim_step, tokens[t]);
    for (int l = 0; l < p->n_layers; l++) {
        const duo_layer *w = &m->layers[l];

        for (int t = 0; t < count; t++) rmsnorm(s->xb + t * dim_step, x + t * dim_step, w->attention_norm, dim, m->norm_eps);
        quantize(m, s->xb, dim, count);
        multiply(m, s->q, &w->wq, s->xb, count);
        multiply(m, s->k, &w->wk, s->xb, count);
        multiply(m, s->xb2, &w->wv, s->xb, count);
        for (int t = 0; t < count; t++) {
            float *q = s->q + t * dim_step, *k = s->k + t * kv_step;
            rope(m, q, dim, pos + t);
            rope(m, k, m->kv_dim, pos + t);
            duo_remember(m, l, k, s->xb2 + t * kv_step, pos + t);
            duo_attend(m, s->xb + t * dim_step, q, l, pos + t);
        }
        quantize(m, s->xb, dim, count);
        multiply(m, s->xb2, &w->wo, s->xb, count);
        for (int t = 0; t < count; t++) add(x + t * dim_step, s->xb2 + t * dim_step, dim);

        /* feed-forward: w2 (silu(w1 x) * w3 x), SwiGLU (Shazeer, arXiv 2002.05202) */
        for (int t = 0; t < count; t++) rmsnorm(s->xb + t * dim_step, x + t * dim_step, w->ffn_norm, dim, m->norm_eps);
        quantize(m, s->xb, dim, count);
        multiply(m, s->hb, &w->w1, s->xb, count);
        multiply(m, s->hb2, &w->w3, s->xb, count);
        for (int t = 0; t < count; t++) m->kernel->swiglu(s->hb + t * hidden_step, s->hb2 + t * hidden_step, hidden);
        quantize(m, s->hb, hidden, count);
        multiply(m, s->xb, &w->w2, s->hb, count);
        for (int t = 0; t < count; t++) add(x + t * dim_step, s->xb + t * dim_step, dim);
    }
    if (want_logits) {
        rmsnorm(s->xb, x + (count - 1) * dim_step, m->final_norm, dim, m->norm_eps);
        quantize(m, s->xb, dim, 1);
        multiply(m, s->logits, &m->classifier, s->xb, 1);
    }
    return DUO_OK;
}

int duo_forward(duo_model *m, int token, int pos, int want_logits)
{
    int32_t one = token;
    return pass(m, &one, 1, pos, want_logits);
}

int duo_prefill(duo_model *m, const int32_t *tokens, int n, int pos)
{
    int code = n < 0 ? DUO_EARG : DUO_OK;
    for (int count; code == DUO_OK && n > 0; tokens += count, n -= count) {
        count = n < DUO_BATCH ? n : DUO_BATCH;
        code = pass(m, tokens, count, pos, 0);
        if (code == DUO_OK) pos += count;
    }
    return code;
}

const float *duo_logits(const duo_model *m) { return m->state.logits; }
