/* card.c - a sound card in real time, for machines that have none: a plugin of alsa-lib, which finds it by asound.conf.
 *
 *     pcm.card { type card  folder "/tmp/x"  buffer 11025 }     buffer: the most frames that it holds
 *
 * What has been heard is appended to the file `heard` in the folder. How the card is doing stands in the file
 * `state`: "fine", "unplugged", "busy", "stalled", "asleep" or "stuck", in which no call returns.
 *
 * The declarations are in our own words, as in ext/alsa.cdef: tests shall need no header files of ALSA. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

typedef struct snd_pcm snd_pcm_t;
typedef struct snd_config snd_config_t;
typedef struct snd_config_iterator *snd_config_iterator_t;

typedef struct {
    void *addr;
    unsigned first, step; /* in bits */
} area_t;

typedef struct plug plug_t;

typedef struct {
    int (*start)(plug_t *);
    int (*stop)(plug_t *);
    long (*pointer)(plug_t *);
    long (*transfer)(plug_t *, const area_t *, unsigned long offset, unsigned long frames);
    int (*close)(plug_t *);
    int (*hw_params)(plug_t *, void *);
    int (*hw_free)(plug_t *);
    int (*sw_params)(plug_t *, void *);
    int (*prepare)(plug_t *);
    int (*drain)(plug_t *);
    int (*pause)(plug_t *, int);
    int (*resume)(plug_t *);
    int (*poll_count)(plug_t *);
    int (*poll_descriptors)(plug_t *, struct pollfd *, unsigned);
    int (*poll_revents)(plug_t *, struct pollfd *, unsigned, unsigned short *);
    void (*dump)(plug_t *, void *);
    int (*delay)(plug_t *, long *);
    void *(*query_chmaps)(plug_t *), *(*get_chmap)(plug_t *);
    int (*set_chmap)(plug_t *, const void *);
} callbacks_t;

struct plug { /* snd_pcm_ioplug_t, version 1.0.2 */
    unsigned version;
    const char *name;
    unsigned flags;
    int poll_fd;
    unsigned poll_events, mmap_rw;
    const callbacks_t *callback;
    void *private_data;
    snd_pcm_t *pcm;
    int stream, state;
    volatile unsigned long appl_ptr, hw_ptr;
    int nonblock, access, format;
    unsigned channels, rate;
    unsigned long period_size, buffer_size;
};

enum { RUNNING = 3, XRUN = 4, DRAINING = 5, SUSPENDED = 7, DISCONNECTED = 8 }; /* states */
enum { ACCESS, FORMAT, CHANNELS, RATE, PERIOD_BYTES, BUFFER_BYTES, PERIODS };  /* constraints */
enum { BOUNDARY = 1 << 2 }; /* a flag: pointer() counts on and on */

int snd_pcm_ioplug_create(plug_t *, const char *name, int stream, int mode);
int snd_pcm_ioplug_delete(plug_t *);
int snd_pcm_ioplug_set_param_list(plug_t *, int type, unsigned n, const unsigned *list);
int snd_pcm_ioplug_set_param_minmax(plug_t *, int type, unsigned min, unsigned max);
int snd_pcm_ioplug_set_state(plug_t *, int state);
snd_config_iterator_t snd_config_iterator_first(const snd_config_t *);
snd_config_iterator_t snd_config_iterator_next(snd_config_iterator_t);
snd_config_iterator_t snd_config_iterator_end(const snd_config_t *);
snd_config_t *snd_config_iterator_entry(snd_config_iterator_t);
int snd_config_get_id(const snd_config_t *, const char **);
int snd_config_get_string(const snd_config_t *, const char **);
int snd_config_get_integer(const snd_config_t *, long *);

typedef struct {
    plug_t plug;
    char folder[512];
    FILE *heard;
    int16_t *ring;               /* buffer_size frames of one channel */
    unsigned long written, done; /* frames taken, and heard, since prepare */
    double since;                /* when the clock last stood at `done` */
} card_t;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int is(const card_t *card, const char *state)
{
    char path[600], found[32] = "";
    snprintf(path, sizeof path, "%s/state", card->folder);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, found, sizeof found - 1) < 0) found[0] = 0;
        close(file);
    }
    return !strcmp(found, state);
}

/* Play what is due by now. A negative errno if it cannot go on. */
static int play(card_t *card)
{
    plug_t *plug = &card->plug;
    if (plug->state != RUNNING && plug->state != DRAINING) return 0;
    double time = now();
    while (is(card, "stuck")) usleep(10000);
    if (is(card, "unplugged")) {
        snd_pcm_ioplug_set_state(plug, DISCONNECTED);
        return -ENODEV;
    }
    if (is(card, "asleep")) {
        snd_pcm_ioplug_set_state(plug, SUSPENDED);
        return -ESTRPIPE;
    }
    unsigned long due = is(card, "stalled") ? 0 : (time - card->since) * plug->rate;
    unsigned long left = card->written - card->done;
    int dry = due > left;
    card->since = due && !dry ? card->since + (double)due / plug->rate : time;
    for (unsigned long n = dry ? left : due; n; n--) fwrite(&card->ring[card->done++ % plug->buffer_size], 2, 1, card->heard);
    fflush(card->heard);
    return dry && plug->state == RUNNING ? -EPIPE : 0;
}

static int card_start(plug_t *plug)
{
    ((card_t *)plug->private_data)->since = now();
    return 0;
}

static int card_stop(plug_t *plug)
{
    play(plug->private_data);
    return 0;
}

static long card_pointer(plug_t *plug)
{
    card_t *card = plug->private_data;
    int error = play(card);
    return error == -EPIPE ? error : (long)card->done;
}

static long card_transfer(plug_t *plug, const area_t *areas, unsigned long offset, unsigned long frames)
{
    card_t *card = plug->private_data;
    int error = play(card);
    if (error) return error;
    const char *from = (char *)areas->addr + areas->first / 8;
    for (unsigned long i = 0; i < frames; i++)
        memcpy(&card->ring[card->written++ % plug->buffer_size], from + (offset + i) * areas->step / 8, 2);
    return frames;
}

static int card_prepare(plug_t *plug)
{
    card_t *card = plug->private_data;
    if (is(card, "unplugged")) return -ENODEV;
    card->written = card->done = 0;
    free(card->ring);
    card->ring = calloc(plug->buffer_size, 2);
    return card->ring ? 0 : -ENOMEM;
}

static int card_resume(plug_t *plug)
{
    card_t *card = plug->private_data;
    if (is(card, "asleep")) return -EAGAIN; /* which alsa-lib does not hand on */
    card->since = now();
    return snd_pcm_ioplug_set_state(plug, RUNNING);
}

static int card_revents(plug_t *plug, struct pollfd *fd, unsigned n, unsigned short *revents)
{
    uint64_t ticks;
    if (read(fd->fd, &ticks, sizeof ticks) < 0 && errno != EAGAIN) return -errno;
    card_t *card = plug->private_data;
    int error = play(card);
    *revents = error ? POLLERR : card->written - card->done < plug->buffer_size ? POLLOUT : 0;
    return 0;
}

static int card_close(plug_t *plug)
{
    card_t *card = plug->private_data;
    close(plug->poll_fd);
    fclose(card->heard);
    free(card->ring);
    free(card);
    return 0;
}

static const callbacks_t CALLBACKS = {
    .start = card_start, .stop = card_stop, .pointer = card_pointer, .transfer = card_transfer, .close = card_close,
    .prepare = card_prepare, .resume = card_resume, .poll_revents = card_revents,
};

static int open_card(card_t *card, long buffer, const char *name, int stream, int mode)
{
    plug_t *plug = &card->plug;
    char path[600];
    if (is(card, "unplugged")) return -ENODEV;
    if (is(card, "busy")) return -EBUSY;
    snprintf(path, sizeof path, "%s/heard", card->folder);
    if (!(card->heard = fopen(path, "abe"))) return -errno;
    *plug = (plug_t){.version = 1 << 16 | 2, .name = "a card for tests", .flags = BOUNDARY,
                     .poll_events = POLLIN, .callback = &CALLBACKS, .private_data = card};
    plug->poll_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct itimerspec tick = {{0, 5000000}, {0, 5000000}};
    timerfd_settime(plug->poll_fd, 0, &tick, NULL);
    int error = snd_pcm_ioplug_create(plug, name, stream, mode);
    if (error < 0) {
        close(plug->poll_fd);
        fclose(card->heard);
        return error;
    }
    const unsigned access = 3, format = 2; /* RW_INTERLEAVED, S16_LE */
    snd_pcm_ioplug_set_param_list(plug, ACCESS, 1, &access);
    snd_pcm_ioplug_set_param_list(plug, FORMAT, 1, &format);
    snd_pcm_ioplug_set_param_minmax(plug, CHANNELS, 1, 1);
    snd_pcm_ioplug_set_param_minmax(plug, RATE, 8000, 48000);
    snd_pcm_ioplug_set_param_minmax(plug, PERIOD_BYTES, 64, buffer);
    snd_pcm_ioplug_set_param_minmax(plug, BUFFER_BYTES, 128, 2 * buffer);
    return 0;
}

/* What alsa-lib calls for "type card"; the second symbol says for which version of its interface. */
int _snd_pcm_card_open(snd_pcm_t **pcm, const char *name, snd_config_t *root, snd_config_t *conf, int stream, int mode)
{
    card_t *card = calloc(1, sizeof *card);
    long buffer = 0;
    if (!card) return -ENOMEM;
    for (snd_config_iterator_t i = snd_config_iterator_first(conf); i != snd_config_iterator_end(conf);
         i = snd_config_iterator_next(i)) {
        snd_config_t *entry = snd_config_iterator_entry(i);
        const char *id = "", *folder = "";
        snd_config_get_id(entry, &id);
        if (!strcmp(id, "folder") && !snd_config_get_string(entry, &folder))
            snprintf(card->folder, sizeof card->folder, "%s", folder);
        if (!strcmp(id, "buffer")) snd_config_get_integer(entry, &buffer);
    }
    int error = open_card(card, buffer, name, stream, mode);
    if (error < 0)
        free(card);
    else
        *pcm = card->plug.pcm;
    return error;
}

char __snd_pcm_card_open_dlsym_pcm_001;
