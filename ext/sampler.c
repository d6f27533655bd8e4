/* sampler.c - llama2.c's sampler: the same generator, the same sums in the same order. */
#include "mathf.h"
#include "model.h"

#include <math.h>

/* xorshift64* (Vigna, arXiv 1402.6246), as a float in [0, 1) of 24 bits */
static float random_float(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * 0x2545F4914F6CDD1Dull >> 32 >> 8) / 16777216.0f;
}

static int sample_greedy(const duo_model *m)
{
    const float *p = m->state.logits, *largest = m->state.largest;
    int n = m->info.vocab_size, block = 0;
    m->kernel->block_max(m->state.largest, p, n);
    for (int b = 1; b < (n + DUO_LANES - 1) / DUO_LANES; b++)
        if (largest[b] > largest[block]) block = b;
    int best = block * DUO_LANES;
    for (int i = best; i < n && i < (block + 1) * DUO_LANES; i++)
        if (p[i] > p[best]) best = i;
    return best;
}

/* Draws from the whole distribution; x becomes exp(x / temperature - max). */
static int sample_all(const duo_kernel *k, float *x, int n, float temperature, float max, float coin)
{
    float sum = 0.0f, seen = 0.0f;
    for (int i = 0; i < n; i++) x[i] /= temperature;
    k->exp_shifted(x, n, max);
    for (int i = 0; i < n; i++) sum += x[i];
    for (int i = 0; i < n; i++) {
        seen += x[i] / sum;
        if (coin < seen) return i;
    }
    return n - 1;
}

/* Likelier first; of equals the lower token, which is where a stable sort leaves them. */
static int before(struct duo_candidate a, struct duo_candidate b)
{
    return a.p > b.p || (a.p == b.p && a.token < b.token);
}

static void sift_down(struct duo_candidate *heap, int i, int n)
{
    struct duo_candidate item = heap[i];
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], item)) break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

/* Finds the tokens that count, p = exp(logit / temperature - max), and returns their sum: llama2.c's softmax before its
 * division.
 *
 * A term below half a unit in the last place of the sum so far cannot change it. Most of a vocabulary is that unlikely, and
 * is passed over, whole blocks at a time, if it is below the cutoff too. The sum stays the reference's to the bit. */
static float find_likely(const duo_model *m, float temperature, float max, float cutoff, int *count)
{
    const float *x = m->state.logits;
    struct duo_candidate *found = m->state.candidates;
    int n = m->info.vocab_size;
    float sum = 0.0f, low = -INFINITY;   /* the smallest logit that counts */
    *count = 0;
    for (int start = 0; start < n; start += DUO_LANES) {
        if (m->state.largest[start / DUO_LANES] < low) continue;
        for (int i = start; i < n && i < start + DUO_LANES; i++) {
            if (x[i] < low) continue;
            float e = duo_expf(x[i] / temperature - max);
            sum += e;
            found[(*count)++] = (struct duo_candidate){e, i};
        }
        /* sum >= 2^e: half a unit is at least 2^(e-24); one more bit and 2^-20 of max cover all rounding from x to e */
        if (sum > 0.0f && cutoff >= 0x1p-23f)
            low = (max + (ilogbf(sum) - 25) * 0x1.62e43p-1f - 0x1p-20f * fabsf(max)) * temperature;
    }
    return sum;
}

/* Nucleus sampling (Holtzman et al., arXiv 1904.09751). llama2.c sorts all candidates; a heap hands out the few that
 * matter in the same order. */
static int sample_topp(const duo_model *m, float temperature, float max, float topp, float cutoff, float coin)
{
    struct duo_candidate *heap = m->state.candidates;
    int found, count = 0;
    const float sum = find_likely(m, temperature, max, cutoff, &found);
    const float likely = cutoff * sum * 0.999f;   /* what is below needs no division to be known as below the cutoff */
    for (int i = 0; i < found; i++)
        if (heap[i].p >= likely && heap[i].p / sum >= cutoff)
            heap[count++] = (struct duo_candidate){heap[i].p / sum, heap[i].token};
    if (count == 0) return sample_greedy(m);      /* only when the logits were not numbers */
    for (int i = count / 2 - 1; i >= 0; i--) sift_down(heap, i, count);

    /* Taken candidates go to the end of the array: heap[count - 1] is the likeliest. */
    float mass = 0.0f;
    int left = count;
    while (left > 0 && !(mass > topp)) {
        struct duo_candidate top = heap[0];
        heap[0] = heap[--left];
        sift_down(heap, 0, left);
        heap[left] = top;
        mass += top.p;
    }
    float r = coin * mass, seen = 0.0f;
    for (int i = count - 1; i > left; i--) {
        seen += heap[i].p;
        if (r < seen) return heap[i].token;
    }
    return heap[left].token;
}

int duo_refuse(duo_model *m, int token)
{
    if (token < 0 || token >= m->info.vocab_size) return DUO_EARG;
    m->state.logits[token] = -INFINITY;
    return DUO_OK;
}

int duo_sample(duo_model *m, duo_sampler *s)
{
    float *logits = m->state.logits;
    int n = m->info.vocab_size;
    if (!(s->temperature >= 0.0f) || !(s->topp >= 0.0f && s->topp <= 1.0f) || s->rng == 0) return DUO_EARG;
    int best = sample_greedy(m);
    if (s->temperature == 0.0f) return best;

    float max = logits[best] / s->temperature, coin = random_float(&s->rng);
    if (!isfinite(max)) return best;   /* so small a temperature is none */
    /* values smaller than this cannot be part of the nucleus */
    float cutoff = (1.0f - s->topp) / (n - 1);
    if (s->topp > 0.0f && s->topp < 1.0f) return sample_topp(m, s->temperature, max, s->topp, cutoff, coin);
    return sample_all(m->kernel, logits, n, s->temperature, max, coin);
}

double duo_logprob(const duo_model *m, int token)
{
    const float *logits = m->state.logits;
    if (token < 0 || token >= m->info.vocab_size) return NAN;
    float max = logits[sample_greedy(m)];
    double sum = 0.0;
    for (int i = 0; i < m->info.vocab_size; i++) sum += exp((double)logits[i] - max);
    return (double)logits[token] - max - log(sum);
}
