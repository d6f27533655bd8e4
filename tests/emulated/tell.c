/* tell.c - tells stories as llama2.c prints them, for machines that are only there to be emulated.
 *
 * usage: tell MODEL KERNEL KV {TEMPERATURE TOPP SEED STEPS PROMPT}...
 * Each story is followed by a NUL. Without a story it prints the kernels' names. */
#include "duostory.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tell(duo_model *m, float temperature, float topp, uint64_t seed, int steps, const char *prompt)
{
    static int32_t ids[4096];
    int n = duo_encode(m, prompt, strlen(prompt), ids, 4096), token = ids[0];
    duo_sampler sampler = {.temperature = temperature, .topp = topp, .rng = seed};
    if (n < 0 || duo_prefill(m, ids, n - 1 < steps ? n - 1 : steps, 0) != DUO_OK) exit(1);
    for (int pos = 0; pos < steps; pos++) {
        int reading = pos + 1 < n;
        if (!reading && duo_forward(m, token, pos, 1) != DUO_OK) exit(1);
        int next = reading ? ids[pos + 1] : duo_sample(m, &sampler);
        if (next == 1) break;
        char piece[DUO_MAX_PIECE];
        int size = duo_decode(m, token, next, piece, sizeof piece);
        /* llama2.c keeps control characters to itself */
        if (size != 1 || isprint((unsigned char)*piece) || isspace((unsigned char)*piece)) fwrite(piece, 1, size, stdout);
        token = next;
    }
    putchar(0);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        for (int i = 0; duo_kernels(i); i++) puts(duo_kernels(i));
        return 0;
    }
    duo_model *m;
    char why[DUO_ERROR_SIZE];
    if (duo_open(argv[1], &(duo_options){.kernel = argv[2], .kv = argv[3]}, &m, why) != DUO_OK) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    for (char **a = argv + 4; a + 5 <= argv + argc; a += 5)
        tell(m, strtof(a[0], NULL), strtof(a[1], NULL), strtoull(a[2], NULL, 10), atoi(a[3]), a[4]);
    duo_close(m);
    return 0;
}
