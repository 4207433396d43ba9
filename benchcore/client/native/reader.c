/* The native reader: takes every ready socket of an epoll set with the kernel's stamp of what came,
 * and counts the plain token events of streams whose template is known.
 *
 * It never guesses. Bytes that are not one or several whole HTTP chunks, each of them an event of the
 * stream's template, are handed on as they are, in order and with their stamp, and nothing is counted
 * of that connection until it is armed again: llhttp and the readers in Python decide what they mean.
 *
 * A plain C ABI, driven by `reader.py`, which says what the arrays hold. Nothing here is reentrant:
 * one thread, the event loop's, calls it. Numbers are int64; times are ns of CLOCK_MONOTONIC.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

enum { ABI = 2 };
enum { READ_BYTES = 65536, READY = 256, ENTRIES = 512, STRIDE = 6, HOLES = 4, ROUNDS = 4 };

/* What an entry says came of a connection. */
enum { DATA, END, FAULT };

/* The holes of a template. */
enum { CONTENT, SAID, OTHER };

/* Places of the array that is shared with Python. */
enum {
    DUE,       /* when the schedule next has something to send: reading stops for it */
    OFFSET,    /* real - monotonic */
    USERSPACE, /* reads stamped by the clock at the read */
    STEPS,     /* of the wall clock */
    LAGS,      /* that wait to be taken */
    COUNT,     /* entries of the last call */
    MORE,      /* sockets were left for later */
    PACE,      /* of reading that fits what came of late; 0: by event */
    SHORTEST,  /* request of late, from its first byte sent to its end; 0: none has ended */
    PLAIN,     /* token events counted here */
    SHARED
};

static const int64_t STEP_NS = 50000, NOISE_NS = 5000, NS = 1000000000;
static const int64_t ADAPT_NS = 50000000, FORGET_NS = 2000000000;
/* Token events per second from which on reading goes by a pace, and below which it no more does. */
static const int64_t FAST = 2000, SLOW = 1500;
enum { PACES = 4 };
static const int64_t LONGEST_PACE_NS = 1000000;

typedef struct {
    int fd;
    int used, armed;
    uint32_t generation;
    int64_t stamp_ns;
    int64_t *arrivals; /* triples: stamp, events, said */
    size_t count, capacity;
    uint8_t *literals; /* holes + 1 of them, one behind the other */
    size_t lengths[HOLES + 1];
    uint8_t kinds[HOLES];
    int holes;
} Connection;

typedef struct {
    int epoll, timer, kernel;
    int64_t paced_ns;
    int64_t *shared, *entries;
    uint8_t *out;
    size_t out_bytes, out_used;
    Connection *connections;
    size_t size;
    int64_t *lags;
    size_t lag_capacity;
    /* Since the pace was last looked at. */
    int64_t adapted_ns, forgot_ns, tokens, unstamped, gaps, under[PACES], shortest_ns;
} Reader;

static int64_t now(clockid_t which) {
    struct timespec at;
    clock_gettime(which, &at);
    return at.tv_sec * NS + at.tv_nsec;
}

/* Stamps: the rules of `stamps.py`. */

static int64_t closest_offset(int tries) {
    int64_t best = INT64_MAX, offset = 0;
    while (tries--) {
        int64_t before = now(CLOCK_MONOTONIC), real = now(CLOCK_REALTIME);
        int64_t after = now(CLOCK_MONOTONIC);
        if (after - before < best) {
            best = after - before;
            offset = real - (before + after) / 2;
        }
    }
    return offset;
}

static void keep_lag(Reader *r, int64_t lag_ns) {
    size_t count = (size_t)r->shared[LAGS];
    if (count == r->lag_capacity) {
        size_t capacity = count ? 2 * count : 4096;
        int64_t *lags = realloc(r->lags, capacity * sizeof *lags);
        if (!lags)
            return;
        r->lags = lags;
        r->lag_capacity = capacity;
    }
    r->lags[count] = lag_ns;
    r->shared[LAGS] = (int64_t)count + 1;
}

static int64_t stamp(Reader *r, struct msghdr *message, int64_t mono, int64_t previous) {
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    struct timespec at;
    if (!r->kernel || !head || head->cmsg_len != CMSG_LEN(sizeof at) || sizeof at != 16 ||
        head->cmsg_level != SOL_SOCKET || (head->cmsg_type != 35 && head->cmsg_type != 64)) {
        r->shared[USERSPACE]++;
        r->unstamped++;
        return mono;
    }
    int64_t known = r->shared[OFFSET], offset = now(CLOCK_REALTIME) - mono;
    if (offset - known <= -STEP_NS || offset - known >= NOISE_NS) {
        /* The thread may have been taken off the processor between the two clocks: look closely. */
        offset = closest_offset(5);
        if (offset - known <= -STEP_NS || offset - known >= STEP_NS) {
            r->shared[STEPS]++;
            r->shared[OFFSET] = offset;
            r->shared[USERSPACE]++;
            return mono;
        }
    }
    r->shared[OFFSET] = offset;
    memcpy(&at, CMSG_DATA(head), sizeof at);
    int64_t stamped = at.tv_sec * NS + at.tv_nsec - offset;
    if (stamped > mono)
        stamped = mono;
    else if (stamped < previous)
        stamped = previous;
    keep_lag(r, mono - stamped);
    return stamped;
}

/* Plain events: what the argument of `EventTemplate` proves. */

static int hex(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value of four hexadecimal digits, or -1. */
static int unit(const uint8_t *p) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex(p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* The length of the escape at `p`, a backslash; 0: it is none that stands for itself. */
static size_t escape(const uint8_t *p, size_t left) {
    if (left < 2)
        return 0;
    if (p[1] != 'u')
        return memchr("\"\\/bfnrt", p[1], 8) ? 2 : 0;
    int high = left < 6 ? -1 : unit(p + 2);
    if (high < 0 || (high >= 0xDC00 && high <= 0xDFFF))
        return 0;
    if (high < 0xD800 || high > 0xDBFF)
        return 6;
    if (left < 12 || p[6] != '\\' || p[7] != 'u')
        return 0;
    int low = unit(p + 8);
    return low >= 0xDC00 && low <= 0xDFFF ? 12 : 0;
}

/* The length of the character of several bytes at `p` (RFC 3629); 0: it is none. */
static size_t character(const uint8_t *p, size_t left) {
    size_t length = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || left < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return length;
}

/* Where the string in JSON that begins at `p` ends, its quote; NULL: it is empty or not well-formed. */
static const uint8_t *string(const uint8_t *p, const uint8_t *end) {
    const uint8_t *begin = p;
    while (p < end && *p != '"') {
        size_t length = *p < 0x20      ? 0
                        : *p == '\\'   ? escape(p, (size_t)(end - p))
                        : *p < 0x80    ? 1
                                       : character(p, (size_t)(end - p));
        if (!length)
            return NULL;
        p += length;
    }
    return p == begin || p == end ? NULL : p;
}

/* Where the count at `p` ends; NULL: it is none of at most nine digits. */
static const uint8_t *count(const uint8_t *p, const uint8_t *end, int64_t *value) {
    const uint8_t *begin = p;
    int64_t sum = 0;
    while (p < end && *p >= '0' && *p <= '9' && p - begin < 10)
        sum = sum * 10 + (*p++ - '0');
    if (p == begin || p - begin > 9 || (*begin == '0' && p - begin > 1))
        return NULL;
    *value = sum;
    return p;
}

/* Whether `size` bytes are an event of the template. */
static int event(const Connection *c, const uint8_t *p, size_t size, int64_t *said) {
    const uint8_t *end = p + size, *literal = c->literals;
    for (int i = 0;; i++) {
        int64_t value;
        size_t length = c->lengths[i];
        if ((size_t)(end - p) < length || memcmp(p, literal, length) != 0)
            return 0;
        p += length;
        literal += length;
        if (i == c->holes)
            return p == end;
        p = c->kinds[i] == CONTENT ? string(p, end) : count(p, end, &value);
        if (!p)
            return 0;
        if (c->kinds[i] == SAID)
            *said = value;
    }
}

/* How many events the bytes are, whole HTTP chunks of one event each (RFC 9112, 7.1); 0: something else. */
static int64_t events(const Connection *c, const uint8_t *p, size_t size, int64_t *said) {
    const uint8_t *end = p + size;
    int64_t found = 0;
    while (p < end) {
        size_t chunk = 0;
        int digits = 0, digit;
        for (; p < end && (digit = hex(*p)) >= 0; p++) {
            if (++digits > 5)
                return 0;
            chunk = chunk * 16 + (size_t)digit;
        }
        if (!chunk || (size_t)(end - p) < chunk + 4 || p[0] != '\r' || p[1] != '\n')
            return 0;
        p += 2;
        if (p[chunk] != '\r' || p[chunk + 1] != '\n' || !event(c, p, chunk, said))
            return 0;
        p += chunk + 2;
        found++;
    }
    return found;
}

/* The pace of reading: so that hardly any read holds two tokens of a stream, and no request that
 * follows another is held back by more than a thousandth of what one takes. */

static void note_gap(Reader *r, int64_t gap_ns, int64_t found) {
    r->tokens += found;
    r->gaps += found;
    for (int i = 0; i < PACES; i++)
        r->under[i] += found - 1 + (gap_ns < 8 * (LONGEST_PACE_NS >> i));
}

static void adapt(Reader *r, int64_t mono) {
    int64_t passed = mono - r->adapted_ns;
    if (passed < ADAPT_NS)
        return;
    int64_t rate = r->tokens * NS / passed, pace = 0;
    /* Without the kernel's stamps a late read would be a late token. */
    if (r->kernel && r->unstamped * 1000 <= r->tokens && r->shared[SHORTEST] &&
        rate >= (r->shared[PACE] ? SLOW : FAST))
        for (int i = 0; i < PACES && !pace; i++)
            if (r->under[i] * 1000 <= r->gaps &&
                (LONGEST_PACE_NS >> i) * 1000 <= r->shared[SHORTEST])
                pace = LONGEST_PACE_NS >> i;
    r->shared[PACE] = pace;
    r->adapted_ns = mono;
    r->tokens = r->unstamped = 0;
    /* Half of what is older: the share is of some tenths of a second. */
    r->gaps /= 2;
    for (int i = 0; i < PACES; i++)
        r->under[i] /= 2;
    if (mono - r->forgot_ns > FORGET_NS) {
        if (r->shortest_ns)
            r->shared[SHORTEST] = r->shortest_ns;
        r->shortest_ns = 0;
        r->forgot_ns = mono;
    }
}

/* A request has ended that took so long. */
API void bc_ended(Reader *r, int64_t took_ns) {
    if (!r->shortest_ns || took_ns < r->shortest_ns)
        r->shortest_ns = took_ns;
    if (!r->shared[SHORTEST] || took_ns < r->shared[SHORTEST])
        r->shared[SHORTEST] = took_ns;
}

/* Reading. */

static int keep_arrival(Connection *c, int64_t stamp_ns, int64_t found, int64_t said) {
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 128;
        int64_t *arrivals = realloc(c->arrivals, capacity * 3 * sizeof *arrivals);
        if (!arrivals)
            return 0;
        c->arrivals = arrivals;
        c->capacity = capacity;
    }
    int64_t *at = c->arrivals + 3 * c->count++;
    at[0] = stamp_ns;
    at[1] = found;
    at[2] = said;
    return 1;
}

static int64_t name(const Reader *r, const Connection *c) {
    return (int64_t)(c - r->connections) | (int64_t)c->generation << 32;
}

static void tell(Reader *r, const Connection *c, int kind, int64_t size) {
    int64_t *entry = r->entries + STRIDE * r->shared[COUNT]++;
    entry[0] = name(r, c);
    entry[1] = kind;
    entry[2] = c->stamp_ns;
    entry[3] = (int64_t)r->out_used;
    entry[4] = size; /* or the error's number */
    entry[5] = (int64_t)c->count;
    if (kind == DATA)
        r->out_used += (size_t)size;
}

/* Take what one read brought, at the free end of `out`. */
static void received(Reader *r, Connection *c, size_t size, int64_t stamp_ns) {
    int64_t previous = c->stamp_ns, said = -1, found = 0;
    c->stamp_ns = stamp_ns;
    if (c->armed)
        found = events(c, r->out + r->out_used, size, &said);
    if (found && keep_arrival(c, stamp_ns, found, said)) {
        r->shared[PLAIN] += found;
        note_gap(r, stamp_ns - previous, found);
        return;
    }
    c->armed = 0;
    tell(r, c, DATA, (int64_t)size);
}

/* Read once; returns whether anything was there. */
static int read_once(Reader *r, Connection *c) {
    char ancillary[64] __attribute__((aligned(8)));
    struct iovec piece = {r->out + r->out_used, READ_BYTES};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (r->kernel) {
        message.msg_control = ancillary;
        message.msg_controllen = sizeof ancillary;
    }
    ssize_t size = recvmsg(c->fd, &message, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return 0;
    int64_t mono = now(CLOCK_MONOTONIC);
    if (size <= 0) {
        int fault = size ? errno : 0;
        epoll_ctl(r->epoll, EPOLL_CTL_DEL, c->fd, NULL);
        tell(r, c, size ? FAULT : END, fault);
        return 1;
    }
    received(r, c, (size_t)size, stamp(r, &message, mono, c->stamp_ns));
    return 1;
}

static int full(const Reader *r) {
    return r->shared[COUNT] == ENTRIES || r->out_bytes - r->out_used < READ_BYTES;
}

static void begin(Reader *r) {
    r->shared[COUNT] = r->shared[MORE] = 0;
    r->out_used = 0;
}

static Connection *named(Reader *r, int64_t id) {
    size_t place = (size_t)(id & 0xFFFFFFFF);
    if (!r || place >= r->size)
        return NULL; /* the reader has been closed, or never knew it */
    Connection *c = r->connections + place;
    return c->used && c->generation == (uint32_t)(id >> 32) ? c : NULL;
}

/* Read every ready socket once, or until the schedule or the room for what came asks for Python. */
API void bc_poll(Reader *r) {
    struct epoll_event ready[READY];
    uint64_t ticks;
    int count, rounds = 0;
    begin(r);
    if (r->paced_ns && read(r->timer, &ticks, sizeof ticks) < 0)
        ticks = 0; /* it was called out of turn */
    do {
        count = epoll_wait(r->epoll, ready, READY, 0);
        for (int i = 0; i < count; i++) {
            Connection *c = named(r, (int64_t)ready[i].data.u64);
            if (c)
                read_once(r, c);
            if (full(r) || (i % 8 == 7 && now(CLOCK_MONOTONIC) >= r->shared[DUE])) {
                r->shared[MORE] = 1;
                return;
            }
        }
    } while (count == READY && ++rounds < ROUNDS);
    r->shared[MORE] = count == READY;
    adapt(r, now(CLOCK_MONOTONIC));
}

/* Read one connection once; returns whether anything was there. */
API int bc_read(Reader *r, int64_t id) {
    Connection *c = named(r, id);
    if (!c)
        return 0;
    begin(r);
    return read_once(r, c);
}

/* Take bytes as if a read had brought them, for tests. */
API void bc_feed(Reader *r, int64_t id, const uint8_t *data, size_t size, int64_t stamp_ns) {
    Connection *c = named(r, id);
    begin(r);
    if (!c || size > READ_BYTES)
        return;
    memcpy(r->out, data, size);
    received(r, c, size, stamp_ns);
    adapt(r, stamp_ns);
}

/* Hand over the arrivals of a connection, at most `most`, as three columns; returns how many. */
API int64_t bc_take(Reader *r, int64_t id, int64_t *columns, int64_t most) {
    Connection *c = named(r, id);
    if (!c)
        return 0;
    size_t taken = c->count < (size_t)most ? c->count : (size_t)most;
    for (size_t i = 0; i < taken; i++)
        for (int column = 0; column < 3; column++)
            columns[column * most + (int64_t)i] = c->arrivals[3 * i + (size_t)column];
    c->count -= taken;
    if (c->count)
        memmove(c->arrivals, c->arrivals + 3 * taken, 3 * c->count * sizeof *c->arrivals);
    return (int64_t)taken;
}

API void bc_take_lags(Reader *r, int64_t *lags) {
    memcpy(lags, r->lags, (size_t)r->shared[LAGS] * sizeof *lags);
    r->shared[LAGS] = 0;
}

/* Connections. */

API int64_t bc_add(Reader *r, int fd) {
    size_t place = 0;
    while (place < r->size && r->connections[place].used)
        place++;
    if (place == r->size) {
        size_t size = r->size ? 2 * r->size : 64;
        Connection *connections = realloc(r->connections, size * sizeof *connections);
        if (!connections)
            return -ENOMEM;
        memset(connections + r->size, 0, (size - r->size) * sizeof *connections);
        r->connections = connections;
        r->size = size;
    }
    Connection *c = r->connections + place;
    struct epoll_event wanted = {.events = EPOLLIN};
    uint32_t generation = (c->generation + 1) & 0x3FFFFFFF;
    memset(c, 0, sizeof *c);
    c->fd = fd;
    c->generation = generation;
    wanted.data.u64 = (uint64_t)name(r, c);
    if (fd >= 0 && epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &wanted) < 0)
        return -errno;
    c->used = 1;
    return name(r, c);
}

/* Leave what arrives where it is. */
API void bc_deafen(Reader *r, int64_t id) {
    Connection *c = named(r, id);
    if (c)
        epoll_ctl(r->epoll, EPOLL_CTL_DEL, c->fd, NULL);
}

API void bc_remove(Reader *r, int64_t id) {
    Connection *c = named(r, id);
    if (!c)
        return;
    bc_deafen(r, id);
    free(c->arrivals);
    free(c->literals);
    c->arrivals = NULL;
    c->literals = NULL;
    c->used = 0;
}

/* Learn a template: `holes` kinds of holes, `holes` + 1 lengths of literals, and these. */
API int bc_learn(Reader *r, int64_t id, int holes, const uint8_t *kinds, const int64_t *lengths,
                 const uint8_t *literals) {
    Connection *c = named(r, id);
    size_t size = 0;
    if (!c || holes < 1 || holes > HOLES)
        return -EINVAL;
    for (int i = 0; i <= holes; i++)
        size += (size_t)lengths[i];
    uint8_t *copy = realloc(c->literals, size ? size : 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, literals, size);
    c->literals = copy;
    c->holes = holes;
    memcpy(c->kinds, kinds, (size_t)holes);
    for (int i = 0; i <= holes; i++)
        c->lengths[i] = (size_t)lengths[i];
    return 0;
}

/* Count what is plain from now on: the connection stands at a chunk's boundary. */
API void bc_arm(Reader *r, int64_t id) {
    Connection *c = named(r, id);
    if (c)
        c->armed = c->literals != NULL;
}

API int64_t bc_stamp(Reader *r, int64_t id) {
    Connection *c = named(r, id);
    return c ? c->stamp_ns : 0;
}

/* The reader. */

/* Let the timer tick at a pace; 0: no more. */
API int bc_pace(Reader *r, int64_t pace_ns) {
    struct itimerspec every = {{0, pace_ns}, {0, pace_ns}};
    r->paced_ns = pace_ns;
    return timerfd_settime(r->timer, 0, &every, NULL) < 0 ? -errno : 0;
}

API int bc_abi(void) { return ABI; }
API int bc_epoll(const Reader *r) { return r->epoll; }
API int bc_timer(const Reader *r) { return r->timer; }

API void bc_close(Reader *r) {
    for (size_t i = 0; i < r->size; i++)
        if (r->connections[i].used)
            bc_remove(r, name(r, r->connections + i));
    if (r->epoll >= 0)
        close(r->epoll);
    if (r->timer >= 0)
        close(r->timer);
    free(r->connections);
    free(r->lags);
    free(r);
}

/* Open a reader on arrays that outlive it; NULL: `errno` says why not.
 *
 * shared: SHARED numbers; entries: ENTRIES * STRIDE; out: at least READ_BYTES bytes. */
API Reader *bc_open(int64_t *shared, int64_t *entries, uint8_t *out, size_t out_bytes, int kernel) {
    Reader *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->shared = shared;
    r->entries = entries;
    r->out = out;
    r->out_bytes = out_bytes;
    r->kernel = kernel;
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (r->epoll < 0 || r->timer < 0) {
        int fault = errno;
        bc_close(r);
        errno = fault;
        return NULL;
    }
    shared[OFFSET] = closest_offset(3);
    r->adapted_ns = r->forgot_ns = now(CLOCK_MONOTONIC);
    return r;
}
