/* model.c - opens a .duo file (docs/format.md): maps it, believes nothing, and lays out the memory of a forward pass. */
#include "model.h"
#include "crc32.h"
#include "mathf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "a .duo file is little-endian and is computed on in place"
#endif

static const uint8_t magic[8] = {0x89, 'D', 'U', 'O', '\r', '\n', 0x1a, '\n'};

enum { ALIGNMENT = 64, CRC_START = 16, FLAG_TIED = 1 };

typedef struct {
    uint8_t magic[8];
    uint32_t version, crc32;
    uint64_t file_size;
    uint32_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len, group_size;
    float norm_eps, rope_theta;
    uint32_t bos, eos, flags, n_tensors;
    uint64_t tensors_offset, tokenizer_offset, tokenizer_size, metadata_offset, metadata_size, reserved;
} header;

typedef struct {
    uint8_t kind, type;
    uint16_t layer;
    uint32_t rows, cols, reserved;
    uint64_t offset, size;
} entry;

_Static_assert(sizeof(header) == 128 && sizeof(entry) == 32, "as in docs/format.md");

enum kind { EMBEDDING, ATTENTION_NORM, WQ, WK, WV, WO, FFN_NORM, W1, W2, W3, FINAL_NORM, CLASSIFIER, KINDS };

static const char *const kind_name[KINDS] = {
    "embedding", "attention norm", "wq", "wk", "wv", "wo", "feed-forward norm", "w1", "w2", "w3", "final norm", "classifier",
};

static const char *const type_name[] = {[DUO_F32] = "f32", [DUO_Q8] = "q8", [DUO_Q4] = "q4"};

/* What opening needs at hand: the file, and where its one sentence of complaint goes. */
typedef struct {
    const char *path;
    char *why;
    const uint8_t *data;
    size_t size;
    const header *h;
} reader;

__attribute__((format(printf, 3, 4)))
static int fail(const reader *r, int code, const char *format, ...)
{
    /* A long path keeps its end, which tells more than its beginning. */
    size_t length = strlen(r->path);
    int n = snprintf(r->why, DUO_ERROR_SIZE, "%s%s: ", length > 120 ? "..." : "", r->path + (length > 120 ? length - 120 : 0));
    va_list args;
    va_start(args, format);
    vsnprintf(r->why + n, DUO_ERROR_SIZE - n, format, args);
    va_end(args);
    return code;
}

#define DAMAGED "; the file is damaged or was not made by duostory convert"

static int map_file(reader *r)
{
    int fd = open(r->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(r, DUO_EOPEN, "cannot be opened: %s", strerror(errno));
    struct stat st;
    int code = DUO_OK;
    if (fstat(fd, &st) < 0) code = fail(r, DUO_EOPEN, "cannot be read: %s", strerror(errno));
    else if (!S_ISREG(st.st_mode)) code = fail(r, DUO_EOPEN, "is not a file");
    else if (st.st_size < (off_t)sizeof(header)) code = fail(r, DUO_EFORMAT, "is too short to be a .duo model");
    else if ((uint64_t)st.st_size > SIZE_MAX) code = fail(r, DUO_EOPEN, "is too large for this machine");
    if (code == DUO_OK) {
        void *p = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) code = fail(r, DUO_EOPEN, "cannot be mapped: %s", strerror(errno));
        else r->data = p, r->size = st.st_size, r->h = p;
    }
    close(fd);
    return code;
}

/* ---------------------------------------------------------------------------- */
/* checks, in the order in which the file can be believed */

static int check_header(const reader *r)
{
    const header *h = r->h;
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return fail(r, DUO_EFORMAT, "is not a .duo model; make one with: duostory convert FILE OUT.duo");
    if (h->version != 1) return fail(r, DUO_EFORMAT, "has format version %u, this program reads version 1; update duostory", h->version);
    if (h->file_size != r->size)
        return fail(r, DUO_EFORMAT, "is %zu bytes long where its header says %llu; copy it again", r->size, (unsigned long long)h->file_size);
    if (duo_crc32(r->data + CRC_START, r->size - CRC_START) != h->crc32)
        return fail(r, DUO_EFORMAT, "does not match its checksum; copy it again");
    return DUO_OK;
}

static int check_shape(const reader *r)
{
    const header *h = r->h;
    struct { const char *name; uint32_t value, low, high; } limits[] = {
        {"dim", h->dim, 1, 16384}, {"hidden_dim", h->hidden_dim, 1, 16384},
        {"n_layers", h->n_layers, 1, 128}, {"n_heads", h->n_heads, 1, 256},
        {"n_kv_heads", h->n_kv_heads, 1, 256}, {"vocab_size", h->vocab_size, DUO_MIN_VOCAB, 1000000},
        {"seq_len", h->seq_len, 1, 65536}, {"group_size", h->group_size, 0, 256},
        {"bos", h->bos, 0, h->vocab_size - 1}, {"eos", h->eos, 0, h->vocab_size - 1},
        {"flags", h->flags, 0, FLAG_TIED},
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i].value < limits[i].low || limits[i].value > limits[i].high)
            return fail(r, DUO_EFORMAT, "%s is %u, not %u to %u" DAMAGED, limits[i].name, limits[i].value, limits[i].low, limits[i].high);
    if (h->dim % h->n_heads || h->dim / h->n_heads % 2)
        return fail(r, DUO_EFORMAT, "dim %u does not split into %u heads of even size" DAMAGED, h->dim, h->n_heads);
    if (h->n_heads % h->n_kv_heads)
        return fail(r, DUO_EFORMAT, "%u heads do not share %u KV heads evenly" DAMAGED, h->n_heads, h->n_kv_heads);
    if (h->group_size % 4 || (h->group_size && (h->dim % h->group_size || h->hidden_dim % h->group_size)))
        return fail(r, DUO_EFORMAT, "group size %u is no multiple of 4 that divides %u and %u" DAMAGED, h->group_size, h->dim, h->hidden_dim);
    if (!(h->norm_eps > 0 && h->norm_eps < 1) || !(h->rope_theta >= 1 && h->rope_theta <= 1e9f) || h->reserved)
        return fail(r, DUO_EFORMAT, "norm_eps, rope_theta or a reserved field is out of range" DAMAGED);
    return DUO_OK;
}

/* Whether size bytes from offset lie in the file, aligned, behind the header. */
static int inside(const reader *r, uint64_t offset, uint64_t size)
{
    return offset % ALIGNMENT == 0 && offset >= sizeof(header) && offset <= r->size && size <= r->size - offset;
}

static int check_sections(const reader *r)
{
    const header *h = r->h;
    if (!inside(r, h->tensors_offset, (uint64_t)h->n_tensors * sizeof(entry)) ||
        !inside(r, h->tokenizer_offset, h->tokenizer_size) || !inside(r, h->metadata_offset, h->metadata_size))
        return fail(r, DUO_EFORMAT, "a section lies outside the file" DAMAGED);
    return DUO_OK;
}

/* rows and cols that a kind of tensor must have; rows 1 for vectors. */
static void shape_of(const header *h, unsigned kind, uint32_t *rows, uint32_t *cols)
{
    uint32_t kv_dim = h->dim / h->n_heads * h->n_kv_heads;
    const uint32_t shape[KINDS][2] = {
        [EMBEDDING] = {h->vocab_size, h->dim}, [ATTENTION_NORM] = {1, h->dim},
        [WQ] = {h->dim, h->dim}, [WK] = {kv_dim, h->dim}, [WV] = {kv_dim, h->dim}, [WO] = {h->dim, h->dim},
        [FFN_NORM] = {1, h->dim}, [W1] = {h->hidden_dim, h->dim}, [W2] = {h->dim, h->hidden_dim},
        [W3] = {h->hidden_dim, h->dim}, [FINAL_NORM] = {1, h->dim}, [CLASSIFIER] = {h->vocab_size, h->dim},
    };
    *rows = shape[kind][0];
    *cols = shape[kind][1];
}

static int is_vector(unsigned kind) { return kind == ATTENTION_NORM || kind == FFN_NORM || kind == FINAL_NORM; }

static int in_layer(unsigned kind) { return kind >= ATTENTION_NORM && kind <= W3; }

/* Bytes of a tensor; the limits on the header keep this far below 2^64. */
static uint64_t size_of(const header *h, const entry *e)
{
    if (is_vector(e->kind)) return (uint64_t)e->cols * sizeof(float);
    uint64_t weights = (uint64_t)duo_padded(e->rows) * e->cols;
    if (e->type == DUO_F32) return weights * sizeof(float);
    return (e->type == DUO_Q4 ? weights / 2 : weights) + weights / h->group_size * sizeof(float);
}

static int check_entry(const reader *r, const entry *e)
{
    const header *h = r->h;
    uint32_t rows, cols;
    if (e->kind >= KINDS || e->layer >= (in_layer(e->kind) ? h->n_layers : 1) || e->reserved)
        return fail(r, DUO_EFORMAT, "has a tensor of unknown kind %u" DAMAGED, e->kind);
    if (e->type > DUO_Q4 || (e->type != DUO_F32 && (!h->group_size || is_vector(e->kind))) ||
        (e->type == DUO_Q4 && h->group_size > DUO_Q4_GROUP))
        return fail(r, DUO_EFORMAT, "%s has weight type %u, which this program does not know; update duostory", kind_name[e->kind], e->type);
    shape_of(h, e->kind, &rows, &cols);
    if (e->rows != rows || e->cols != cols)
        return fail(r, DUO_EFORMAT, "%s is %u x %u, not %u x %u" DAMAGED, kind_name[e->kind], e->rows, e->cols, rows, cols);
    if (e->size != size_of(h, e) || !inside(r, e->offset, e->size))
        return fail(r, DUO_EFORMAT, "%s lies about its size or lies outside the file" DAMAGED, kind_name[e->kind]);
    return DUO_OK;
}

/* Where the pointer or matrix of a directory entry belongs. */
static duo_matrix *matrix_slot(duo_model *m, const entry *e)
{
    duo_layer *l = &m->layers[e->layer];
    switch (e->kind) {
    case EMBEDDING: return &m->embedding;
    case CLASSIFIER: return &m->classifier;
    case WQ: return &l->wq;
    case WK: return &l->wk;
    case WV: return &l->wv;
    case WO: return &l->wo;
    case W1: return &l->w1;
    case W2: return &l->w2;
    default: return &l->w3;
    }
}

static const float **vector_slot(duo_model *m, const entry *e)
{
    duo_layer *l = &m->layers[e->layer];
    return e->kind == FINAL_NORM ? &m->final_norm : e->kind == FFN_NORM ? &l->ffn_norm : &l->attention_norm;
}

static int read_tensors(const reader *r, duo_model *m)
{
    const entry *e = (const entry *)(r->data + r->h->tensors_offset);
    int tied = r->h->flags & FLAG_TIED;
    size_t expected = 2 + !tied + (size_t)r->h->n_layers * (W3 - ATTENTION_NORM + 1);
    if (r->h->n_tensors != expected)
        return fail(r, DUO_EFORMAT, "has %u tensors, not %zu" DAMAGED, r->h->n_tensors, expected);
    for (size_t i = 0; i < expected; i++, e++) {
        int code = check_entry(r, e);
        if (code) return code;
        const uint8_t *data = r->data + e->offset;
        int repeated = is_vector(e->kind) ? *vector_slot(m, e) != NULL : matrix_slot(m, e)->data != NULL;
        if (repeated || (e->kind == CLASSIFIER && tied))
            return fail(r, DUO_EFORMAT, "has %s twice" DAMAGED, kind_name[e->kind]);
        if (is_vector(e->kind)) *vector_slot(m, e) = (const float *)data;
        else *matrix_slot(m, e) = (duo_matrix){data, e->rows, e->cols, e->type};
    }
    if (tied) m->classifier = m->embedding;
    return DUO_OK;
}

static int read_vocab(const reader *r, duo_vocab *v)
{
    uint64_t vocab = r->h->vocab_size, size = r->h->tokenizer_size;
    uint64_t fixed = 8 + 4 * vocab + 4 * (vocab + 1) + 4 * vocab;
    const uint32_t *words = (const uint32_t *)(r->data + r->h->tokenizer_offset);
    if (size < fixed || words[1] != size - fixed)
        return fail(r, DUO_EFORMAT, "its tokenizer lies about its size" DAMAGED);
    v->max_piece_len = words[0];
    v->score = (const float *)(words + 2);
    v->start = words + 2 + vocab;
    v->sorted = v->start + vocab + 1;
    v->text = (const char *)(v->sorted + vocab);

    if (v->max_piece_len < 1 || v->max_piece_len > DUO_MAX_PIECE || v->start[0] != 0 || v->start[vocab] != words[1])
        return fail(r, DUO_EFORMAT, "its tokenizer has a wrong table" DAMAGED);
    for (size_t i = 0; i < vocab; i++)
        if (v->start[i + 1] < v->start[i] || v->start[i + 1] - v->start[i] > v->max_piece_len || v->sorted[i] >= vocab)
            return fail(r, DUO_EFORMAT, "its tokenizer has a wrong table" DAMAGED);
    if (memchr(v->text, 0, words[1])) return fail(r, DUO_EFORMAT, "its tokenizer has a piece with a NUL" DAMAGED);
    for (size_t i = 1; i < vocab; i++)
        if (!duo_vocab_ordered(v, v->sorted[i - 1], v->sorted[i]))
            return fail(r, DUO_EFORMAT, "its tokenizer's pieces are not in order" DAMAGED);
    for (int byte = 0; byte < 256; byte++) {
        char piece[8];
        snprintf(piece, sizeof piece, "<0x%02X>", byte);
        if (duo_vocab_find(v, (uint32_t)vocab, piece, 6) != DUO_FIRST_BYTE + byte)
            return fail(r, DUO_EFORMAT, "its tokenizer's pieces 3 to 258 are not the 256 bytes, so it has no byte fallback");
    }
    if (duo_vocab_find(v, (uint32_t)vocab, " ", 1) < 0)
        return fail(r, DUO_EFORMAT, "its tokenizer has no piece for a space, so it is not a SentencePiece BPE vocabulary");
    return DUO_OK;
}

/* ---------------------------------------------------------------------------- */
/* memory */

/* Hands out aligned parts of the arena; with base NULL it only counts, in 64 bits, which the limits cannot overflow. */
typedef struct {
    uint8_t *base;
    uint64_t used;
} arena;

static void *take(arena *a, uint64_t count, size_t size)
{
    uint64_t start = a->used;
    a->used += (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return a->base ? a->base + start : NULL;
}

static void lay_out(duo_model *m, arena *a)
{
    const duo_info *p = &m->info;
    duo_state *s = &m->state;
    size_t dim = duo_padded(p->dim), hidden = duo_padded(p->hidden_dim), positions = duo_padded(p->seq_len);
    size_t widest = dim > hidden ? dim : hidden;
    int q8 = m->kv_type == DUO_Q8;
    uint64_t heads = (uint64_t)p->n_layers * p->n_kv_heads;
    s->x = take(a, DUO_BATCH * dim, sizeof(float));
    s->xb = take(a, DUO_BATCH * dim, sizeof(float));
    s->xb2 = take(a, DUO_BATCH * dim, sizeof(float));
    s->q = take(a, DUO_BATCH * dim, sizeof(float));
    s->k = take(a, DUO_BATCH * dim, sizeof(float));
    s->hb = take(a, DUO_BATCH * hidden, sizeof(float));
    s->hb2 = take(a, DUO_BATCH * hidden, sizeof(float));
    s->score = take(a, positions, sizeof(float));
    s->logits = take(a, duo_padded(p->vocab_size), sizeof(float));
    s->largest = take(a, duo_padded(p->vocab_size) / DUO_LANES, sizeof(float));
    s->quant = take(a, DUO_BATCH * widest, 1);
    s->quant_scale = take(a, (p->group_size ? DUO_BATCH * widest / p->group_size + 1 : 0) + (q8 ? p->n_heads : 0), sizeof(float));
    s->weight = take(a, q8 ? positions : 0, 1);
    s->weight_scale = take(a, q8 ? positions / DUO_LANES : 0, sizeof(float));
    s->candidates = take(a, p->vocab_size, sizeof *s->candidates);
    s->cosine = take(a, (size_t)p->seq_len * m->head_size / 2, sizeof(float));
    s->sine = take(a, (size_t)p->seq_len * m->head_size / 2, sizeof(float));
    s->keys = take(a, heads * m->kv_size, 1);
    s->values = take(a, heads * m->kv_size, 1);
}

/* RoPE angles as llama2.c forms them: float(position) * float frequency. */
static void fill_rope(duo_model *m)
{
    int half = m->head_size / 2;
    for (int i = 0; i < half; i++) {
        float frequency = 1.0f / duo_powf(m->rope_theta, 2 * i / (float)m->head_size);
        for (int pos = 0; pos < m->info.seq_len; pos++)
            duo_sincosf(pos * frequency, &m->state.sine[pos * half + i], &m->state.cosine[pos * half + i]);
    }
}

static int allocate(const reader *r, duo_model *m)
{
    arena count = {0};
    lay_out(m, &count);
    /* calloc: pages of the KV cache that no story reaches are never touched */
    if (count.used < SIZE_MAX / 2) m->arena = calloc(1, count.used + ALIGNMENT);
    if (!m->arena)
        return fail(r, DUO_EMEMORY, "needs %llu MB of memory, which this machine has not got", (unsigned long long)count.used >> 20);
    m->info.memory = count.used + sizeof *m + m->info.n_layers * sizeof(duo_layer);
    arena a = {(uint8_t *)(((uintptr_t)m->arena + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT), 0};
    lay_out(m, &a);
    fill_rope(m);
    return DUO_OK;
}

/* ---------------------------------------------------------------------------- */

static void describe(const reader *r, duo_model *m)
{
    const header *h = r->h;
    m->norm_eps = h->norm_eps;
    m->rope_theta = h->rope_theta;
    m->head_size = h->dim / h->n_heads;
    m->kv_dim = m->head_size * h->n_kv_heads;
    m->info = (duo_info){
        .dim = h->dim, .hidden_dim = h->hidden_dim, .n_layers = h->n_layers, .n_heads = h->n_heads,
        .n_kv_heads = h->n_kv_heads, .vocab_size = h->vocab_size, .seq_len = h->seq_len, .group_size = h->group_size,
        .bos = h->bos, .eos = h->eos,
        .metadata = (const char *)r->data + h->metadata_offset, .metadata_size = h->metadata_size,
        .file_size = r->size, .crc32 = h->crc32,
    };
}

static int choose_kernel(const reader *r, duo_model *m, const char *name)
{
    m->kernel = duo_kernel_choose(name);
    if (!m->kernel) {
        char names[64] = "";
        for (int i = 0; duo_kernels(i); i++) {
            if (strcmp(duo_kernels(i), name) == 0)
                return fail(r, DUO_EKERNEL, "kernel %s failed its self-test on this processor; leave it out", name);
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", duo_kernels(i));
        }
        return fail(r, DUO_EKERNEL, "kernel %.40s cannot run on this processor; it can run: %s", name, names);
    }
    m->info.kernel = m->kernel->name;
    m->info.type = type_name[m->layers[0].wq.type];
    return DUO_OK;
}

static int choose_cache(const reader *r, duo_model *m, const char *name)
{
    size_t positions = duo_padded(m->info.seq_len), head = m->head_size;
    if (!name || strcmp(name, type_name[DUO_F32]) == 0) m->kv_type = DUO_F32;
    else if (strcmp(name, type_name[DUO_Q8]) == 0) m->kv_type = DUO_Q8;
    else return fail(r, DUO_EARG, "cannot have a KV cache of type %.40s; it can be f32 or q8", name);
    if (m->kv_type == DUO_Q8 && head % 4)
        return fail(r, DUO_EARG, "has heads of %zu numbers, and a q8 KV cache takes a multiple of 4; take f32", head);
    m->info.kv = type_name[m->kv_type];
    m->kv_size = (uint64_t)positions * (m->kv_type == DUO_Q8 ? sizeof(float) + head : sizeof(float) * head);
    return DUO_OK;
}

int duo_open(const char *path, const duo_options *options, duo_model **out, char *why)
{
    reader r = {.path = path, .why = why};
    static const duo_options defaults = {0};
    if (!options) options = &defaults;
    int code;
    *out = NULL;
    why[0] = 0;
    if ((code = map_file(&r))) return code;

    duo_model *m = NULL;
    if ((code = check_header(&r)) || (code = check_shape(&r)) || (code = check_sections(&r))) goto failed;
    m = calloc(1, sizeof *m + r.h->n_layers * sizeof(duo_layer));
    if (!m) {
        code = fail(&r, DUO_EMEMORY, "needs more memory than this machine has");
        goto failed;
    }
    m->file = r.data;
    describe(&r, m);
    if ((code = read_tensors(&r, m)) || (code = read_vocab(&r, &m->vocab)) ||
        (code = choose_kernel(&r, m, options->kernel)) || (code = choose_cache(&r, m, options->kv)) || (code = allocate(&r, m)))
        goto failed;
    *out = m;
    return DUO_OK;

failed:
    if (m) free(m->arena);
    free(m);
    munmap((void *)r.data, r.size);
    return code;
}

void duo_close(duo_model *m)
{
    if (!m) return;
    munmap((void *)m->file, m->info.file_size);
    free(m->arena);
    free(m);
}

const duo_info *duo_info_of(const duo_model *m) { return &m->info; }

const char *duo_kernels(int i)
{
    const duo_kernel *k = duo_kernel_at(i);
    return k ? k->name : NULL;
}

duo_gemv *duo_gemv_of(const char *kernel)
{
    const duo_kernel *k = duo_kernel_choose(kernel);
    return k && k != &duo_kernel_scalar ? k->gemv_f32 : NULL;
}

const char *duo_strerror(int code)
{
    switch (code) {
    case DUO_OK: return "no error";
    case DUO_EOPEN: return "the model file cannot be opened";
    case DUO_EFORMAT: return "the file is not a .duo model or is damaged";
    case DUO_EMEMORY: return "there is not enough memory for the model's buffers";
    case DUO_EKERNEL: return "the kernel asked for cannot run on this processor";
    case DUO_EARG: return "an option, token, position, temperature, top-p or text is out of range";
    case DUO_ESPACE: return "the output array is too small";
    default: return "unknown error";
    }
}
