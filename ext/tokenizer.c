/* tokenizer.c - byte pair encoding with llama2.c's vocabulary and its very tokens, for any bytes. */
#include "model.h"

#include <string.h>

/* Orders bytes as strcmp does. */
static int compare(const char *a, size_t n, const char *b, size_t m)
{
    int order = memcmp(a, b, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

/* Orders the bytes of piece id against these. */
static int compare_piece(const duo_vocab *v, uint32_t id, const char *bytes, size_t n)
{
    return compare(v->text + v->start[id], v->start[id + 1] - v->start[id], bytes, n);
}

int duo_vocab_ordered(const duo_vocab *v, uint32_t a, uint32_t b)
{
    int order = compare_piece(v, a, v->text + v->start[b], v->start[b + 1] - v->start[b]);
    return order ? order < 0 : a < b;
}

int32_t duo_vocab_find(const duo_vocab *v, uint32_t size, const char *bytes, size_t n)
{
    uint32_t low = 0, high = size;   /* the first entry that is not less lies in [low, high] */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, id = v->sorted[middle];
        if (compare_piece(v, id, bytes, n) < 0) low = middle + 1;
        else high = middle;
    }
    if (low == size) return -1;
    uint32_t id = v->sorted[low];
    return compare_piece(v, id, bytes, n) == 0 ? (int32_t)id : -1;
}

/* The token that a followed by b merge into, or -1. */
static int32_t merged(const duo_model *m, int32_t a, int32_t b)
{
    const duo_vocab *v = &m->vocab;
    char both[2 * DUO_MAX_PIECE];
    size_t n = v->start[a + 1] - v->start[a], k = v->start[b + 1] - v->start[b];
    if (n + k > v->max_piece_len) return -1;
    memcpy(both, v->text + v->start[a], n);
    memcpy(both + n, v->text + v->start[b], k);
    return duo_vocab_find(v, m->info.vocab_size, both, n + k);
}

/* Length of the character at text[0 .. n): a leading byte and what continuation bytes follow, four at most. */
static size_t character(const char *text, size_t n)
{
    size_t length = 1;
    while (length < n && length < 4 && (text[length] & 0xC0) == 0x80) length++;
    return length;
}

/* BOS, a space before any text, then one token a character, or one a byte where the vocabulary lacks the character. */
static size_t split(const duo_model *m, const char *text, size_t n, int32_t *ids)
{
    size_t count = 0;
    ids[count++] = m->info.bos;
    if (n) ids[count++] = duo_vocab_find(&m->vocab, m->info.vocab_size, " ", 1);
    for (size_t length; n; text += length, n -= length) {
        length = character(text, n);
        int32_t id = duo_vocab_find(&m->vocab, m->info.vocab_size, text, length);
        if (id >= 0) ids[count++] = id;
        else
            for (size_t i = 0; i < length; i++) ids[count++] = (unsigned char)text[i] + DUO_FIRST_BYTE;
    }
    return count;
}

int duo_encode(const duo_model *m, const char *text, size_t n, int32_t *ids, size_t cap)
{
    if (n > INT32_MAX / 2 - 2 || memchr(text, 0, n)) return DUO_EARG;
    if (cap < 2 * (n + 2)) return DUO_ESPACE;
    size_t count = split(m, text, n, ids);

    /* Merge the best pair until there is none; pair[i] is what ids[i] and ids[i + 1] merge into. */
    int32_t *pair = ids + n + 2;
    for (size_t i = 0; i + 1 < count; i++) pair[i] = merged(m, ids[i], ids[i + 1]);
    for (;;) {
        float best_score = -1e10f;
        size_t best = count;
        for (size_t i = 0; i + 1 < count; i++)
            if (pair[i] >= 0 && m->vocab.score[pair[i]] > best_score) best_score = m->vocab.score[pair[i]], best = i;
        if (best == count) return (int)count;
        ids[best] = pair[best];
        memmove(ids + best + 1, ids + best + 2, (count - best - 2) * sizeof *ids);
        memmove(pair + best, pair + best + 1, (count - best - 2) * sizeof *pair);
        count--;
        if (best > 0) pair[best - 1] = merged(m, ids[best - 1], ids[best]);
        if (best + 1 < count) pair[best] = merged(m, ids[best], ids[best + 1]);
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that a piece like <0x0A> stands for, or -1. */
static int raw_byte(const char *piece, size_t n)
{
    if (n < 4 || memcmp(piece, "<0x", 3) != 0) return -1;
    int high = hex_digit(piece[3]), low = n > 4 ? hex_digit(piece[4]) : -1;
    return high < 0 ? -1 : low < 0 ? high : high * 16 + low;
}

int duo_decode(const duo_model *m, int prev, int token, char *out, size_t cap)
{
    if (token < 0 || token >= m->info.vocab_size) return DUO_EARG;
    const char *piece = m->vocab.text + m->vocab.start[token];
    size_t n = m->vocab.start[token + 1] - m->vocab.start[token];
    if (prev == m->info.bos && n && piece[0] == ' ') piece++, n--;
    int byte = raw_byte(piece, n);
    char single = (char)byte;
    if (byte >= 0) piece = &single, n = 1;
    if (n > cap) return DUO_ESPACE;
    memcpy(out, piece, n);
    return (int)n;
}
