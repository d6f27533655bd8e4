/* attention.c - the KV cache, and attention over it: Grouped-query attention (Ainslie et al., arXiv 2305.13245).
 *
 * Every head of keys or values has kv_size bytes in every layer. Keys lie with 32 positions in the lanes, as the rows of a
 * matrix do (docs/format.md), so that scores form 32 dot products in the scalar order:
 *
 *          keys                                                       values
 *     f32  block[seq_len / 32] { f32 k[head_size][32] }               f32 v[seq_len][head_size]
 *     q8   block[seq_len / 32] { f32 scale[32]; i8 k[head_size][32] } f32 scale[seq_len]; i8 v[seq_len][head_size]
 *
 * In f32 the numbers are llama2.c's. In q8 queries and attention are quantised as well, and all products are of whole numbers.
 */
#include "model.h"

#include <math.h>
#include <string.h>

static uint8_t *head_of(const duo_model *m, uint8_t *cache, int layer, int h)
{
    return cache + ((size_t)layer * m->info.n_kv_heads + h) * m->kv_size;
}

static void remember_f32(const duo_model *m, int layer, const float *k, const float *v, size_t pos)
{
    const duo_state *s = &m->state;
    size_t head = m->head_size;
    for (int h = 0; h < m->info.n_kv_heads; h++) {
        float *lane = (float *)head_of(m, s->keys, layer, h) + pos / DUO_LANES * DUO_LANES * head + pos % DUO_LANES;
        for (size_t i = 0; i < head; i++) lane[i * DUO_LANES] = k[h * head + i];
        memcpy((float *)head_of(m, s->values, layer, h) + pos * head, v + h * head, head * sizeof(float));
    }
}

static void remember_q8(const duo_model *m, int layer, const float *k, const float *v, size_t pos)
{
    const duo_state *s = &m->state;
    size_t head = m->head_size, positions = duo_padded(m->info.seq_len);
    m->kernel->quantize(s->quant, s->quant_scale, k, m->kv_dim, head);
    for (int h = 0; h < m->info.n_kv_heads; h++) {
        float *scale = (float *)(head_of(m, s->keys, layer, h) + pos / DUO_LANES * DUO_LANES * (sizeof(float) + head));
        int8_t *lane = (int8_t *)(scale + DUO_LANES) + pos % DUO_LANES;
        scale[pos % DUO_LANES] = s->quant_scale[h];
        for (size_t i = 0; i < head; i++) lane[i * DUO_LANES] = s->quant[h * head + i];
    }
    m->kernel->quantize(s->quant, s->quant_scale, v, m->kv_dim, head);
    for (int h = 0; h < m->info.n_kv_heads; h++) {
        float *scale = (float *)head_of(m, s->values, layer, h);
        scale[pos] = s->quant_scale[h];
        memcpy((int8_t *)(scale + positions) + pos * head, s->quant + h * head, head);
    }
}

void duo_remember(duo_model *m, int layer, const float *k, const float *v, size_t pos)
{
    (m->kv_type == DUO_F32 ? remember_f32 : remember_q8)(m, layer, k, v, pos);
}

static void attend_f32(const duo_model *m, float *out, const float *q, const uint8_t *keys, const uint8_t *values, size_t n)
{
    float *score = m->state.score;
    m->kernel->scores(score, q, (const float *)keys, m->head_size, n, sqrtf(m->head_size));
    duo_softmax(m->kernel, score, n);
    m->kernel->mix(out, score, (const float *)values, m->head_size, n);
}

static void attend_q8(const duo_model *m, float *out, const int8_t *q, float q_scale, const uint8_t *keys,
                      const uint8_t *values, size_t n)
{
    const duo_state *s = &m->state;
    const duo_kernel *k = m->kernel;
    const float *v_scale = (const float *)values;
    const int8_t *v = (const int8_t *)(v_scale + duo_padded(m->info.seq_len));
    size_t head = m->head_size, padded = duo_padded(n);
    float scale = q_scale / sqrtf(head);
    k->gemv_q8(s->score, keys, q, &scale, n, head, head);
    float sum = duo_exp_all(k, s->score, n);
    for (size_t t = 0; t < n; t++) s->score[t] *= v_scale[t];
    for (size_t t = n; t < padded; t++) s->score[t] = 0.0f;
    k->quantize(s->weight, s->weight_scale, s->score, padded, DUO_LANES);
    for (size_t i = 0; i < padded / DUO_LANES; i++) s->weight_scale[i] /= sum;
    k->mix_q8(out, s->weight, s->weight_scale, v, head, (n + 3) / 4 * 4);
}

void duo_attend(duo_model *m, float *out, const float *q, int layer, size_t pos)
{
    const duo_state *s = &m->state;
    size_t head = m->head_size;
    if (m->kv_type == DUO_Q8) m->kernel->quantize(s->quant, s->quant_scale, q, m->info.dim, head);
    for (int h = 0; h < m->info.n_heads; h++, out += head) {
        int shared = h / (m->info.n_heads / m->info.n_kv_heads);
        const uint8_t *keys = head_of(m, s->keys, layer, shared), *values = head_of(m, s->values, layer, shared);
        if (m->kv_type == DUO_F32) attend_f32(m, out, q + h * head, keys, values, pos + 1);
        else attend_q8(m, out, s->quant + h * head, s->quant_scale[h], keys, values, pos + 1);
    }
}
