/* sampler.c - llama2.c's sampler: the same generator, the same sums in the same order. */
#include "model.h"

#include <math.h>
#include <string.h>

/* xorshift64* (Vigna, arXiv 1402.6246), as a float in [0, 1) of 24 bits */
static float random_float(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * 0x2545F4914F6CDD1Dull >> 32 >> 8) / 16777216.0f;
}

static int sample_greedy(const float *p, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (p[i] > p[best]) best = i;
    return best;
}

/* p = e / sum; draws from the whole distribution */
static int sample_all(const float *e, int n, float sum, float coin)
{
    float seen = 0.0f;
    for (int i = 0; i < n; i++) {
        seen += e[i] / sum;
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

/* x becomes exp(x / temperature - largest); returns the sum: llama2.c's softmax before its division.
 *
 * A term below half a unit in the last place of the sum so far cannot change it. Most of a vocabulary is that unlikely, so
 * unless `keep_all`, a block of 32 whose largest logit promises only such terms is skipped and becomes 0. The sum stays
 * the reference's to the bit, and what is skipped is below 2^-24 of it. */
static float exp_sum(const duo_kernel *k, float *x, int n, float temperature, int keep_all)
{
    float max = x[sample_greedy(x, n)] / temperature, sum = 0.0f, bound = -INFINITY;
    for (int start = 0; start < n; start += DUO_LANES) {
        int count = n - start < DUO_LANES ? n - start : DUO_LANES;
        float *block = x + start, largest = block[0];
        for (int i = 1; i < count; i++) largest = block[i] > largest ? block[i] : largest;
        if (largest / temperature - max < bound) {
            memset(block, 0, count * sizeof *block);
            continue;
        }
        for (int i = 0; i < count; i++) block[i] /= temperature;
        k->exp_shifted(block, count, max);
        for (int i = 0; i < count; i++) sum += block[i];
        /* sum >= 2^e: half a unit is at least 2^(e-24); one more bit covers the rounding of exp and of its argument */
        if (!keep_all && sum > 0.0f) bound = (ilogbf(sum) - 25) * 0x1.62e43p-1f;
    }
    return sum;
}

/* Nucleus sampling (Holtzman et al., arXiv 1904.09751). llama2.c sorts all candidates; a heap hands out the few that
 * matter in the same order. */
static int sample_topp(const float *e, int n, float sum, float topp, float cutoff, float coin, struct duo_candidate *heap)
{
    const float likely = cutoff * sum * 0.999f;   /* what is below needs no division to be known as below the cutoff */
    int count = 0;
    for (int i = 0; i < n; i++)
        if (e[i] >= likely && e[i] / sum >= cutoff) heap[count++] = (struct duo_candidate){e[i] / sum, i};
    if (count == 0) return sample_greedy(e, n);   /* only when the logits were not numbers */
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

int duo_sample(duo_model *m, duo_sampler *s)
{
    float *logits = m->state.logits;
    int n = m->info.vocab_size;
    if (!(s->temperature >= 0.0f) || !(s->topp >= 0.0f && s->topp <= 1.0f) || s->rng == 0) return DUO_EARG;
    if (s->temperature == 0.0f) return sample_greedy(logits, n);

    int nucleus = s->topp > 0.0f && s->topp < 1.0f;
    /* values smaller than this cannot be part of the nucleus */
    float cutoff = (1.0f - s->topp) / (n - 1);
    float sum = exp_sum(m->kernel, logits, n, s->temperature, !nucleus || cutoff < 0x1p-23f);
    float coin = random_float(&s->rng);
    if (!nucleus) return sample_all(logits, n, sum, coin);
    return sample_topp(logits, n, sum, s->topp, cutoff, coin, m->state.candidates);
}

double duo_logprob(const duo_model *m, int token)
{
    const float *logits = m->state.logits;
    if (token < 0 || token >= m->info.vocab_size) return NAN;
    float max = logits[sample_greedy(logits, m->info.vocab_size)];
    double sum = 0.0;
    for (int i = 0; i < m->info.vocab_size; i++) sum += exp((double)logits[i] - max);
    return (double)logits[token] - max - log(sum);
}
