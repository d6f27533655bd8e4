/* model.h - what the parts of the library know of an open model. */
#ifndef DUO_MODEL_H
#define DUO_MODEL_H

#include "duostory.h"
#include "kernels.h"

enum { DUO_F32 = 0, DUO_Q8 = 1, DUO_Q4 = 2 };

/* <0x00> is piece 3 in every SentencePiece vocabulary with byte fallback; all 256 bytes and a space are needed. */
enum { DUO_FIRST_BYTE = 3, DUO_MIN_VOCAB = DUO_FIRST_BYTE + 256 + 1 };

/* A weight matrix in the file, rows in the lanes. */
typedef struct {
    const uint8_t *data;
    uint32_t rows, cols;
    uint8_t type;
} duo_matrix;

typedef struct {
    const float *attention_norm, *ffn_norm;   /* [dim] */
    duo_matrix wq, wk, wv, wo, w1, w2, w3;
} duo_layer;

/* BPE vocabulary in the file (docs/format.md). */
typedef struct {
    uint32_t max_piece_len;
    const float *score;
    const uint32_t *start, *sorted;
    const char *text;
} duo_vocab;

/* Activations; every array has room for the next multiple of DUO_LANES, and what has a [DUO_BATCH] has it for each token. */
typedef struct {
    float *x, *xb, *xb2;     /* [DUO_BATCH][dim] residual stream, branch, branch */
    float *q, *k;            /* [DUO_BATCH][dim], [DUO_BATCH][kv_dim] */
    float *hb, *hb2;         /* [DUO_BATCH][hidden_dim] */
    float *score;            /* [seq_len] attention of one head */
    float *logits;           /* [vocab_size] */
    float *largest;          /* [vocab_size / 32] of each block of logits */
    int8_t *quant;           /* [DUO_BATCH][max(dim, hidden_dim)] without gaps: inputs of a matrix, or heads for the KV cache */
    float *quant_scale;      /* [DUO_BATCH][max(dim, hidden_dim) / group_size], [n_heads] */
    int8_t *weight;          /* [seq_len] quantised attention for a q8 cache */
    float *weight_scale;     /* [seq_len / 32] */
    uint8_t *keys, *values;  /* [n_layers][n_kv_heads] of kv_size bytes: attention.c */
    float *cosine, *sine;    /* [seq_len][head_size / 2] RoPE */
    struct duo_candidate { float p; int32_t token; } *candidates;   /* [vocab_size] */
} duo_state;

struct duo_model {
    duo_info info;
    const duo_kernel *kernel;
    const uint8_t *file;     /* mapped read-only */
    float norm_eps, rope_theta;
    int head_size, kv_dim;
    int kv_type;
    uint64_t kv_size;        /* bytes of the KV cache for the keys of one head in one layer, or for its values */
    duo_matrix embedding, classifier;
    const float *final_norm; /* [dim] */
    duo_vocab vocab;
    duo_state state;
    void *arena;             /* holds the state */
    duo_layer layers[];
};

static inline size_t duo_padded(size_t n) { return (n + DUO_LANES - 1) / DUO_LANES * DUO_LANES; }

/* Keeps key k and value v, both [kv_dim], of position pos in the KV cache. */
void duo_remember(duo_model *m, int layer, const float *k, const float *v, size_t pos);

/* out [dim] = attention of query q [dim] over positions 0 .. pos */
void duo_attend(duo_model *m, float *out, const float *q, int layer, size_t pos);

/* The token whose piece is these bytes, or -1. */
int32_t duo_vocab_find(const duo_vocab *v, uint32_t size, const char *bytes, size_t n);

/* Whether piece a comes before piece b: by its bytes, and equal pieces by id. */
int duo_vocab_ordered(const duo_vocab *v, uint32_t a, uint32_t b);

#endif
