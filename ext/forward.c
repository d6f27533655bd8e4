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

/* Quantises x [n] for the quantised matrices among those that follow. */
static void quantize(duo_model *m, const float *x, size_t n)
{
    if (m->info.group_size) m->kernel->quantize(m->state.quant, m->state.quant_scale, x, n, m->info.group_size);
}

/* y [rows] = w x, where x [cols] has just been given to quantize */
static void matvec(duo_model *m, float *y, const duo_matrix *w, const float *x)
{
    const duo_state *s = &m->state;
    if (w->type == DUO_F32)
        m->kernel->gemv_f32(y, (const float *)w->data, x, w->rows, w->cols);
    else
        (w->type == DUO_Q8 ? m->kernel->gemv_q8 : m->kernel->gemv_q4)
            (y, w->data, s->quant, s->quant_scale, w->rows, w->cols, m->info.group_size);
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

int duo_forward(duo_model *m, int token, int pos, int want_logits)
{
    const duo_info *p = &m->info;
    if (token < 0 || token >= p->vocab_size || pos < 0 || pos >= p->seq_len) return DUO_EARG;

    duo_state *s = &m->state;
    size_t dim = p->dim, hidden = p->hidden_dim;
    float *x = s->x;

    embed(m, x, token);
    for (int l = 0; l < p->n_layers; l++) {
        const duo_layer *w = &m->layers[l];

        rmsnorm(s->xb, x, w->attention_norm, dim, m->norm_eps);
        quantize(m, s->xb, dim);
        matvec(m, s->q, &w->wq, s->xb);
        matvec(m, s->k, &w->wk, s->xb);
        matvec(m, s->xb2, &w->wv, s->xb);
        rope(m, s->q, dim, pos);
        rope(m, s->k, m->kv_dim, pos);
        duo_remember(m, l, s->xb2, pos);
        duo_attend(m, s->xb, l, pos);

        quantize(m, s->xb, dim);
        matvec(m, s->xb2, &w->wo, s->xb);
        add(x, s->xb2, dim);

        /* feed-forward: w2 (silu(w1 x) * w3 x), SwiGLU (Shazeer, arXiv 2002.05202) */
        rmsnorm(s->xb, x, w->ffn_norm, dim, m->norm_eps);
        quantize(m, s->xb, dim);
        matvec(m, s->hb, &w->w1, s->xb);
        matvec(m, s->hb2, &w->w3, s->xb);
        m->kernel->swiglu(s->hb, s->hb2, hidden);
        quantize(m, s->hb, hidden);
        matvec(m, s->xb, &w->w2, s->hb);
        add(x, s->xb, dim);
    }
    if (want_logits) {
        rmsnorm(s->xb, x, m->final_norm, dim, m->norm_eps);
        quantize(m, s->xb, dim);
        matvec(m, s->logits, &m->classifier, s->xb);
    }
    return DUO_OK;
}

const float *duo_logits(const duo_model *m) { return m->state.logits; }
