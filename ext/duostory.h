/* duostory.h - a Llama story-teller for small machines.
 *
 * Open a packed model file, feed it tokens, sample the next one:
 *
 *     duo_model *m;
 *     char why[DUO_ERROR_SIZE];
 *     if (duo_open("story.duo", NULL, &m, why) != DUO_OK) { puts(why); return 1; }
 *
 *     int32_t ids[256];
 *     int n = duo_encode(m, "Once upon a time", 16, ids, 256);     // BOS first
 *     char text[DUO_MAX_PIECE];
 *     duo_sampler s = { .temperature = 1.0f, .topp = 0.9f, .rng = 123 };
 *     duo_prefill(m, ids, n - 1, 0);
 *     int token = ids[n - 1];
 *     for (int pos = n - 1; pos < duo_info_of(m)->seq_len; pos++) {
 *         duo_forward(m, token, pos, 1);
 *         int next = duo_sample(m, &s);
 *         if (next == duo_info_of(m)->bos) break;
 *         fwrite(text, 1, duo_decode(m, token, next, text, sizeof text), stdout);
 *         token = next;
 *     }
 *     duo_close(m);
 *
 * The numbers are those of llama2.c (run.c and runq.c, built without floating-point contraction), to the last bit,
 * with every kernel; only with a KV cache in q8 they are others, and again the same with every kernel.
 *
 * Rules that hold for every function:
 *   - The library never prints, never exits and keeps no global state. All memory is taken in duo_open.
 *   - A duo_model belongs to one thread at a time; different models are independent, and models opened from one
 *     file share its pages.
 *   - Functions that can fail return a negative DUO_E* code; duo_strerror turns it into a sentence.
 *   - The file must not be cut or rewritten while it is open (replace it by renaming a new one over it).
 */
#ifndef DUOSTORY_H
#define DUOSTORY_H

#include <stddef.h>
#include <stdint.h>

enum {
    DUO_OK = 0,
    DUO_EOPEN = -1,    /* the file cannot be opened, mapped or read */
    DUO_EFORMAT = -2,  /* it is not a .duo file this library reads, or it is damaged */
    DUO_EMEMORY = -3,  /* not enough memory for the KV cache and buffers */
    DUO_EKERNEL = -4,  /* no such kernel, not on this processor, or its self-test failed */
    DUO_EARG = -5,     /* an argument is out of range: token, position, temperature, top-p, type of KV cache */
    DUO_ESPACE = -6,   /* the output array is too small */
};

enum {
    DUO_ERROR_SIZE = 256,  /* bytes of duo_open's message, with the final NUL */
    DUO_MAX_PIECE = 512,   /* bytes of the longest piece a vocabulary may have */
    DUO_BATCH = 4,         /* tokens for which duo_prefill reads the weights once */
};

typedef struct duo_model duo_model;

/* How to open a model. With all of it zero, the story is llama2.c's. */
typedef struct {
    const char *kernel;     /* a name from duo_kernels(); NULL: the fastest that this processor has */
    const char *kv;         /* type of the KV cache. "f32" or NULL: exact; "q8": about a quarter of the memory, for heads
                             * (dim / n_heads) of a multiple of 4 */
} duo_options;

/* Shape and facts of an open model; all pointers live until duo_close. */
typedef struct {
    int dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len, group_size;
    int bos, eos;
    const char *kernel;     /* name of the kernel in use */
    const char *type;       /* of the weights: "f32", "q8" or "q4" (of wq in the first layer) */
    const char *kv;         /* of the KV cache: "f32" or "q8" */
    const char *metadata;   /* `key: value` lines, UTF-8, not NUL-terminated */
    size_t metadata_size;   /* bytes */
    size_t file_size;       /* bytes, mapped read-only and shared */
    size_t memory;          /* bytes allocated: KV cache, RoPE table, buffers */
    uint32_t crc32;         /* the file's checksum, a short name for these exact weights */
} duo_info;

/* How duo_sample draws. `rng` is the state of xorshift64* and is advanced by one draw a token; it must not be 0.
 * temperature 0 takes the likeliest token; topp outside (0, 1) draws from the whole distribution. */
typedef struct {
    float temperature;  /* >= 0 */
    float topp;         /* 0 to 1 */
    uint64_t rng;
} duo_sampler;

/* Opens `path`, checks it whole (sizes, offsets, CRC-32) and allocates what forward passes need. `options` may be NULL.
 * The kernel must agree with the scalar one on a self-test. On success *out is the caller's, to be given to duo_close. On
 * failure *out is NULL and `why`, DUO_ERROR_SIZE bytes, holds one sentence about this file. */
int duo_open(const char *path, const duo_options *options, duo_model **out, char *why);

/* Frees everything; NULL is fine. */
void duo_close(duo_model *m);

/* Never fails; the struct lives until duo_close. */
const duo_info *duo_info_of(const duo_model *m);

/* Runs the transformer on one token (0 .. vocab_size-1) at position `pos` (0 .. seq_len-1), after 0 .. pos-1.
 * With `want_logits` 0 the classifier is skipped, as it can be for all prompt tokens but the last. */
int duo_forward(duo_model *m, int token, int pos, int want_logits);

/* Runs the transformer on n tokens at positions pos .. pos + n - 1 without logits, as for all prompt tokens but the last:
 * what n calls of duo_forward do, to the bit, and faster where a kernel can multiply DUO_BATCH inputs at once. */
int duo_prefill(duo_model *m, const int32_t *tokens, int n, int pos);

/* vocab_size floats, valid after a forward pass that wanted them; overwritten by duo_sample and duo_forward. */
const float *duo_logits(const duo_model *m);

/* Keeps the next duo_sample from drawing `token`. Returns DUO_OK or DUO_EARG. */
int duo_refuse(duo_model *m, int token);

/* Draws the next token from the logits, which it uses up. Returns the token or DUO_EARG. */
int duo_sample(duo_model *m, duo_sampler *s);

/* Turns n bytes of text (any bytes but NUL) into BOS and tokens, as llama2.c's encode does. `ids` has room for `cap`
 * numbers; 2 * (n + 2) are always enough, and what lies behind the result is used as working space.
 * Returns the number of tokens, DUO_EARG for a NUL, or DUO_ESPACE. */
int duo_encode(const duo_model *m, const char *text, size_t n, int32_t *ids, size_t cap);

/* Writes the bytes that `token` adds after `prev`: a raw byte for <0xHH>, no leading space after BOS.
 * Returns their number (0 is possible), DUO_EARG or DUO_ESPACE. No NUL is added. */
int duo_decode(const duo_model *m, int prev, int token, char *out, size_t cap);

/* Natural logarithm of the probability of `token` under the current logits (which stay as they are);
 * not a number when the token is out of range. For held-out loss. */
double duo_logprob(const duo_model *m, int token);

/* Names of the kernels in this build that the processor can run, fastest first; the last is "scalar".
 * Returns NULL for i beyond the end. */
const char *duo_kernels(int i);

/* y[rows] = W x in single precision, rows a multiple of 32, W in blocks of 32 rows {w[cols][32]}: all sums of products begin
 * with column 0. */
typedef void duo_gemv(float *y, const float *w, const float *x, size_t rows, size_t cols);

/* That of a kernel, NULL: of the fastest that this processor has. NULL for "scalar", whose is not faster than anybody's, and
 * when there is none of that name. */
duo_gemv *duo_gemv_of(const char *kernel);

/* One sentence for a code. Never NULL. */
const char *duo_strerror(int code);

#endif
