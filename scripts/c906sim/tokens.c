/* tokens.c - runs the engine for N tokens around a position, to be timed by the emulator's plugin.
 *
 * usage: tokens MODEL POSITION N [KV [KERNEL]]
 * The positions before are left out: an empty KV cache costs as much as a full one. */
#include "duostory.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    duo_model *m;
    char why[DUO_ERROR_SIZE];
    if (argc < 4) return 2;
    duo_options options = {.kv = argc > 4 ? argv[4] : NULL, .kernel = argc > 5 ? argv[5] : NULL};
    if (duo_open(argv[1], &options, &m, why) != DUO_OK) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    int pos = atoi(argv[2]), end = pos + atoi(argv[3]), token = duo_info_of(m)->bos;
    duo_sampler sampler = {.temperature = 1.0f, .topp = 0.9f, .rng = 1};
    for (; pos < end && token >= 0; pos++) {
        if (duo_forward(m, token, pos, 1) != DUO_OK) return 1;
        token = duo_sample(m, &sampler);
    }
    fprintf(stderr, "%s\n", duo_info_of(m)->kernel);
    duo_close(m);
    return 0;
}
