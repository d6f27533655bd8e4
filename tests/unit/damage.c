/* Opens thousands of damaged copies of a model whose checksum has been put right again, and uses those that open.
 * Built with sanitizers, so that any step outside the file or the buffers ends the program.
 * usage: damage MODEL.duo SCRATCH COUNT */
#include "crc32.h"
#include "duostory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 1;

static uint32_t draw(uint32_t n)
{
    state = state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)state * n >> 32);
}

/* Mostly in the first KB, where the header and the directory are; sometimes anywhere. */
static void damage(uint8_t *data, size_t size)
{
    static const uint32_t values[] = {0, 1, 2, 31, 33, 0x7fffffff, 0x80000000, 0xffffffff, 65536, 16384};
    for (uint32_t changes = 1 + draw(3); changes; changes--) {
        size_t at = 12 + draw(draw(4) ? 1024 : (uint32_t)size - 16) / 4 * 4;
        uint32_t value = draw(2) ? values[draw(10)] : draw(0xffffffff);
        memcpy(data + at, &value, draw(2) ? 4 : 1);
    }
    uint32_t crc = duo_crc32(data + 16, size - 16);
    memcpy(data + 12, &crc, sizeof crc);
}

static void use(duo_model *m)
{
    int32_t ids[128];
    char text[DUO_MAX_PIECE];
    duo_sampler sampler = {.temperature = 1.0f, .topp = 0.9f, .rng = 1};
    int n = duo_encode(m, "Once upon \xff a time", 18, ids, 128), token = duo_info_of(m)->bos;
    for (int pos = 0; pos < 6 && pos < duo_info_of(m)->seq_len; pos++) {
        int next = pos < n && pos < 3 ? ids[pos] : duo_sample(m, &sampler);
        if (duo_forward(m, next, pos, 1) != DUO_OK) break;
        duo_decode(m, token, next, text, sizeof text);
        token = next;
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    FILE *f = fopen(argv[1], "rb");
    fseek(f, 0, SEEK_END);
    size_t size = (size_t)ftell(f);
    uint8_t *whole = malloc(size), *copy = malloc(size);
    rewind(f);
    if (fread(whole, 1, size, f) != size) return 1;
    fclose(f);

    int opened = 0, refused = 0;
    for (int i = 0; i < atoi(argv[3]); i++) {
        memcpy(copy, whole, size);
        damage(copy, size);
        size_t kept = draw(8) ? size : draw((uint32_t)size);
        f = fopen(argv[2], "wb");
        fwrite(copy, 1, kept, f);
        fclose(f);

        duo_model *m;
        char why[DUO_ERROR_SIZE];
        duo_options options = {.kernel = "scalar", .kv = i % 2 ? "q8" : "f32"};
        if (duo_open(argv[2], &options, &m, why) == DUO_OK) {
            opened++;
            use(m);
            duo_close(m);
        } else {
            refused += strlen(why) > 20;
        }
    }
    printf("%d %d\n", opened, refused);
    free(whole);
    free(copy);
    return 0;
}
