/* listen.c - has pocketsphinx hear a file of samples as duostory does, to be timed by the emulator's plugin.
 *
 * usage: listen DATA GRAMMARS MODE SAMPLES TIMES [SETTING VALUE]...
 * DATA holds en-us; GRAMMARS holds MODE.fsg and words.dict; SAMPLES are 16 bit, 16 kHz. What was heard goes to stdout, and the
 * most memory that the process ever had. MODE "silence" only looks for speech in it. */

#include <pocketsphinx.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int16 samples[30 * 16000];

static void endpoints(size_t count)
{
    ps_endpointer_t *endpointer = ps_endpointer_init(0, 0, PS_VAD_LOOSE, 16000, 0);
    for (size_t at = 0; at + 480 <= count; at += 480)
        ps_endpointer_process(endpointer, samples + at);
    ps_endpointer_free(endpointer);
}

static ps_decoder_t *open_decoder(const char *data, const char *grammars, const char *mode, char **settings)
{
    char path[4096];
    ps_config_t *config = ps_config_init(NULL);
    snprintf(path, sizeof path, "%s/en-us", data);
    ps_config_set_str(config, "hmm", path);
    snprintf(path, sizeof path, "%s/words.dict", grammars);
    ps_config_set_str(config, "dict", path);
    snprintf(path, sizeof path, "%s/%s.fsg", grammars, mode);
    ps_config_set_str(config, "loglevel", "FATAL");
    ps_config_set_int(config, "bestpath", 0);
    ps_config_set_int(config, "compallsen", 1);
    ps_config_set_int(config, "allphone_ci", 1);
    for (; *settings; settings += 2)
        ps_config_set_int(config, settings[0], atoi(settings[1]));
    ps_decoder_t *decoder = ps_init(config);
    ps_config_free(config);
    if (decoder) {
        fsg_model_t *grammar = fsg_model_readfile(path, ps_get_logmath(decoder), 6.5);
        ps_add_fsg(decoder, "grammar", grammar);
        fsg_model_free(grammar);
        ps_add_allphone_file(decoder, "phones", NULL);
    }
    return decoder;
}

static void hear(ps_decoder_t *decoder, const char *search, size_t count)
{
    ps_activate_search(decoder, search);
    ps_start_utt(decoder);
    ps_process_raw(decoder, samples, count, 0, 1);
    ps_end_utt(decoder);
    const char *heard = ps_get_hyp(decoder, NULL);
    printf("%s\n", heard ? heard : "");
}

int main(int argc, char **argv)
{
    FILE *file = argc >= 6 ? fopen(argv[4], "rb") : NULL;
    if (!file)
        return 2;
    size_t count = fread(samples, 2, sizeof samples / 2, file);
    fclose(file);
    int speech = strcmp(argv[3], "silence") != 0;
    ps_decoder_t *decoder = speech ? open_decoder(argv[1], argv[2], argv[3], argv + 6) : NULL;
    if (speech && !decoder)
        return 1;
    for (int times = atoi(argv[5]); times > 0; times--) {
        if (!speech) {
            endpoints(count);
            continue;
        }
        hear(decoder, "grammar", count);
        hear(decoder, "phones", count);
    }
    char line[256];
    for (FILE *status = fopen("/proc/self/status", "r"); fgets(line, sizeof line, status);)
        if (!strncmp(line, "VmHWM", 5) || !strncmp(line, "RssAnon", 7))
            fputs(line, stdout);
    return 0;
}
