/* card.c - a sound card in real time, for machines that have none: a plugin of alsa-lib, which finds it by asound.conf.
 *
 *     pcm.card { type card  folder "/tmp/x"  buffer 11025  rate 48000 }
 *
 * buffer is the most frames that it holds, rate the only one that it knows (without it, 8 to 48 kHz). What has been
 * heard is appended to the file `heard` in the folder. What can be recorded stands in the file `said`, at the card's
 * rate, from the moment in which it is opened; behind its end there is silence. How the card is doing stands in the
 * file `state`: "fine", "unplugged", "busy", "stalled", "asleep" or "stuck", in which no call returns.
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
enum { CAPTURE = 1 }; /* a stream */
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
    FILE *heard, *said;          /* one of them */
    int16_t *ring;               /* buffer_size frames of one channel */
    unsigned long written, done; /* frames taken, and heard or recorded, since prepare */
    double since;                /* when the clock last stood at `done` */
    double opened;
    long begun;                  /* where in `said` the recording began */
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

static void play(card_t *card, unsigned long n)
{
    while (n--) fwrite(&card->ring[card->done++ % card->plug.buffer_size], 2, 1, card->heard);
    fflush(card->heard);
}

static void record(card_t *card, unsigned long n)
{
    fseek(card->said, 2 * (card->begun + (long)card->done), SEEK_SET);
    while (n--) {
        int16_t *sample = &card->ring[card->done++ % card->plug.buffer_size];
        if (!fread(sample, 2, 1, card->said)) *sample = 0;
    }
}

/* Play or record what is due by now. A negative errno if it cannot go on. */
static int run(card_t *card)
{
    plug_t *plug = &card->plug;
    if (plug->state == DISCONNECTED) return -ENODEV;
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
    unsigned long left = card->said ? plug->buffer_size - (card->done - plug->appl_ptr) : card->written - card->done;
    int xrun = due > left;
    card->since = due && !xrun ? card->since + (double)due / plug->rate : time;
    (card->said ? record : play)(card, xrun ? left : due);
    return xrun && plug->state == RUNNING ? -EPIPE : 0;
}

static int card_start(plug_t *plug)
{
    card_t *card = plug->private_data;
    card->since = now();
    card->begun = (card->since - card->opened) * plug->rate;
    return 0;
}

static int card_stop(plug_t *plug)
{
    run(plug->private_data);
    return 0;
}

static long card_pointer(plug_t *plug)
{
    card_t *card = plug->private_data;
    int error = run(card);
    return error == -EPIPE ? error : (long)card->done;
}

static long card_transfer(plug_t *plug, const area_t *areas, unsigned long offset, unsigned long frames)
{
    card_t *card = plug->private_data;
    int error = run(card);
    if (error) return error;
    for (unsigned long i = 0; i < frames; i++) {
        int16_t *theirs = (int16_t *)((char *)areas->addr + areas->first / 8 + (offset + i) * areas->step / 8);
        if (card->said) /* alsa-lib may ask for the same again */
            *theirs = card->ring[(plug->appl_ptr + i) % plug->buffer_size];
        else
            card->ring[card->written++ % plug->buffer_size] = *theirs;
    }
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
    int error = run(card);
    if (card->said)
        *revents = error ? POLLERR : card->done > plug->appl_ptr ? POLLIN : 0;
    else
        *revents = error ? POLLERR : card->written - card->done < plug->buffer_size ? POLLOUT : 0;
    return 0;
}

static int card_close(plug_t *plug)
{
    card_t *card = plug->private_data;
    close(plug->poll_fd);
    fclose(card->said ? card->said : card->heard);
    free(card->ring);
    free(card);
    return 0;
}

static const callbacks_t CALLBACKS = {
    .start = card_start, .stop = card_stop, .pointer = card_pointer, .transfer = card_transfer, .close = card_close,
    .prepare = card_prepare, .resume = card_resume, .poll_revents = card_revents,
};

static int open_card(card_t *card, long buffer, long rate, const char *name, int stream, int mode)
{
    plug_t *plug = &card->plug;
    char path[600];
    if (is(card, "unplugged")) return -ENODEV;
    if (is(card, "busy")) return -EBUSY;
    snprintf(path, sizeof path, "%s/%s", card->folder, stream == CAPTURE ? "said" : "heard");
    FILE *file = fopen(path, stream == CAPTURE ? "rbe" : "abe");
    if (!file) return -errno;
    *(stream == CAPTURE ? &card->said : &card->heard) = file;
    card->opened = now();
    *plug = (plug_t){.version = 1 << 16 | 2, .name = "a card for tests", .flags = BOUNDARY,
                     .poll_events = POLLIN, .mmap_rw = rate != 0, .callback = &CALLBACKS, .private_data = card};
    plug->poll_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct itimerspec tick = {{0, 5000000}, {0, 5000000}};
    timerfd_settime(plug->poll_fd, 0, &tick, NULL);
    int error = snd_pcm_ioplug_create(plug, name, stream, mode);
    if (error < 0) {
        close(plug->poll_fd);
        fclose(file);
        return error;
    }
    const unsigned access[] = {3, 0}, format = 2; /* RW_INTERLEAVED, and MMAP_INTERLEAVED, which converters want; S16_LE */
    snd_pcm_ioplug_set_param_list(plug, ACCESS, rate ? 2 : 1, access);
    snd_pcm_ioplug_set_param_list(plug, FORMAT, 1, &format);
    snd_pcm_ioplug_set_param_minmax(plug, CHANNELS, 1, 1);
    snd_pcm_ioplug_set_param_minmax(plug, RATE, rate ? rate : 8000, rate ? rate : 48000);
    snd_pcm_ioplug_set_param_minmax(plug, PERIOD_BYTES, 64, buffer);
    snd_pcm_ioplug_set_param_minmax(plug, BUFFER_BYTES, 128, 2 * buffer);
    return 0;
}

/* What alsa-lib calls for "type card"; the second symbol says for which version of its interface. */
int _snd_pcm_card_open(snd_pcm_t **pcm, const char *name, snd_config_t *root, snd_config_t *conf, int stream, int mode)
{
    card_t *card = calloc(1, sizeof *card);
    long buffer = 0, rate = 0;
    if (!card) return -ENOMEM;
    for (snd_config_iterator_t i = snd_config_iterator_first(conf); i != snd_config_iterator_end(conf);
         i = snd_config_iterator_next(i)) {
        snd_config_t *entry = snd_config_iterator_entry(i);
        const char *id = "", *folder = "";
        snd_config_get_id(entry, &id);
        if (!strcmp(id, "folder") && !snd_config_get_string(entry, &folder))
            snprintf(card->folder, sizeof card->folder, "%s", folder);
        if (!strcmp(id, "buffer")) snd_config_get_integer(entry, &buffer);
        if (!strcmp(id, "rate")) snd_config_get_integer(entry, &rate);
    }
    int error = open_card(card, buffer, rate, name, stream, mode);
    if (error < 0)
        free(card);
    else
        *pcm = card->plug.pcm;
    return error;
}

char __snd_pcm_card_open_dlsym_pcm_001;
