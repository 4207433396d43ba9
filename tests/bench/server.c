/* An OpenAI-compatible streaming server for benchmarks of clients: one thread, epoll, no JSON
 * library. It answers
 *
 *   GET  /health, /v1/models
 *   POST /v1/chat/completions   a stream of one-token events at a steady pace, or a plain answer
 *
 * and nothing else (404). Head and role chunk leave when the request has come, the first token
 * after the TTFT, token k exactly k intervals later (absolute deadlines, never early), and the end
 * (finish_reason, usage, [DONE]) one interval after the last token. So every token has a segment
 * of its own; a request brings max_tokens + 2 segments.
 *
 * Before each send of a token event it notes CLOCK_MONOTONIC. With --stamps these are written as
 * each request ends: u32 length of the id, u32 number of tokens, i64 instant the request had come
 * (by the kernel's stamp), the id, i64 instants; all in the machine's byte order.
 *
 *   server [--port 0] [--ttft-ms 50[:60]] [--interval-ms 10] [--tokens 100] [--seed 1]
 *          [--stamps FILE]
 *
 * Prints {"port": N} once it listens, and a line of counts at SIGTERM or SIGINT.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/time_types.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_INPUT (4 << 20)
#define MAX_ID 200
#define MAX_FILES 65536
#define LATE_BUCKETS 24

typedef struct Connection {
    int fd;
    int heap_at; /* place in the heap, -1: not in it */
    int64_t deadline;
    char *input;
    size_t held, room;
    char id[MAX_ID + 1];
    uint64_t number;
    int64_t arrived, received;
    uint32_t tokens, sent, prompt_tokens;
    int64_t *stamps;
    uint32_t stamps_room;
} Connection;

static const char *const WORDS[16] = {
    " the",  " answer", " is", " a",    " model", " of",   " tokens", " that",
    " come", " one",    " by", " each", " with",  " time", " stream", " and",
};

static Connection *connections[MAX_FILES];
static Connection **heap;
static int heap_count, heap_room;
static int poller, listener;
static int64_t ttft_low, ttft_high, interval, tick = 1;
static uint32_t default_tokens = 100;
static uint64_t random_state;
static FILE *stamps_file;
static volatile sig_atomic_t stopping;
static uint64_t requests, tokens_sent, stalled, late_buckets[LATE_BUCKETS], streams, most_streams;
static int64_t late_most;

static void die(const char *what) {
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t random_u64(void) { /* xorshift64* */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 2685821657736338717ULL;
}

/* The heap of streams, by deadline; each knows its place so that it can leave. */

static void put(int at, Connection *c) {
    heap[at] = c;
    c->heap_at = at;
}

static void sift(int at) {
    Connection *c = heap[at];
    while (at > 0 && heap[(at - 1) / 2]->deadline > c->deadline) {
        put(at, heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        int child = 2 * at + 1;
        if (child >= heap_count) break;
        if (child + 1 < heap_count && heap[child + 1]->deadline < heap[child]->deadline) child++;
        if (heap[child]->deadline >= c->deadline) break;
        put(at, heap[child]);
        at = child;
    }
    put(at, c);
}

static void schedule(Connection *c, int64_t deadline) {
    c->deadline = (deadline + tick - 1) / tick * tick;
    if (c->heap_at < 0) {
        if (heap_count == heap_room) {
            heap_room = heap_room ? heap_room * 2 : 1024;
            heap = realloc(heap, sizeof *heap * heap_room);
            if (!heap) die("memory");
        }
        put(heap_count++, c);
        if (++streams > most_streams) most_streams = streams;
    }
    sift(c->heap_at);
}

static void unschedule(Connection *c) {
    int at = c->heap_at;
    if (at < 0) return;
    Connection *last = heap[--heap_count];
    c->heap_at = -1;
    streams--;
    if (last != c) {
        put(at, last);
        sift(at);
    }
}

static void write_stamps(Connection *c) {
    if (!stamps_file || !c->tokens) return;
    uint32_t lengths[2] = {(uint32_t)strlen(c->id), c->sent < c->tokens ? c->sent : c->tokens};
    fwrite(lengths, sizeof lengths, 1, stamps_file);
    fwrite(&c->received, sizeof c->received, 1, stamps_file);
    fwrite(c->id, lengths[0], 1, stamps_file);
    fwrite(c->stamps, sizeof *c->stamps, lengths[1], stamps_file);
}

static void drop(Connection *c) {
    if (c->heap_at >= 0) write_stamps(c);
    unschedule(c);
    connections[c->fd] = NULL;
    close(c->fd);
    free(c->input);
    free(c->stamps);
    free(c);
}

/* Returns 0 where the connection is gone. A client that lets its socket fill up is dropped: what
 * would be sent to it later would not be what the pace says. */
static int say(Connection *c, const char *data, size_t size) {
    ssize_t count = send(c->fd, data, size, MSG_NOSIGNAL);
    if (count == (ssize_t)size) return 1;
    if (count >= 0 || errno == EAGAIN) stalled++;
    drop(c);
    return 0;
}

static size_t append_chunk(char *out, const char *format, ...) {
    char event[2048];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(event, sizeof event, format, arguments);
    va_end(arguments);
    return (size_t)sprintf(out, "%x\r\n%s\r\n", size, event);
}

#define EVENT_BEGINS                                                                     \
    "data: {\"id\":\"chatcmpl-%032llx\",\"object\":\"chat.completion.chunk\","           \
    "\"created\":1700000000,\"model\":\"bench\",\"choices\":["
#define NUMBER(c) ((unsigned long long)(c)->number)

static int send_token(Connection *c, int64_t late) {
    char out[4096];
    size_t size = append_chunk(out,
                               EVENT_BEGINS "{\"index\":0,\"delta\":{\"content\":\"%s\"},"
                                            "\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                               NUMBER(c), WORDS[(c->number + c->sent) & 15]);
    int bucket = 0;
    for (int64_t us = late / 1000; us > 0 && bucket < LATE_BUCKETS - 1; us >>= 1) bucket++;
    late_buckets[bucket]++;
    if (late > late_most) late_most = late;
    tokens_sent++;
    c->stamps[c->sent++] = now_ns();
    return say(c, out, size);
}

static int send_end(Connection *c) {
    char out[4096];
    size_t size = append_chunk(out, EVENT_BEGINS
                               "{\"index\":0,\"delta\":{\"content\":\"\"},\"logprobs\":null,"
                               "\"finish_reason\":\"length\"}]}\n\n",
                               NUMBER(c));
    size += append_chunk(out + size,
                         EVENT_BEGINS "],\"usage\":{\"prompt_tokens\":%u,\"total_tokens\":%u,"
                                      "\"completion_tokens\":%u}}\n\n",
                         NUMBER(c), c->prompt_tokens, c->prompt_tokens + c->tokens, c->tokens);
    size += append_chunk(out + size, "data: [DONE]\n\n");
    size += (size_t)sprintf(out + size, "0\r\n\r\n");
    write_stamps(c);
    unschedule(c);
    c->tokens = 0;
    return say(c, out, size);
}

static void send_due(int64_t now) {
    /* As many as there are streams: then look whether requests have come. */
    for (int left = heap_count; left > 0 && heap_count && heap[0]->deadline <= now; left--) {
        Connection *c = heap[0];
        if (c->sent == c->tokens) {
            send_end(c);
        } else if (send_token(c, now - c->deadline)) {
            schedule(c, c->deadline + interval);
        }
        now = now_ns();
    }
}

static int reply(Connection *c, const char *status, const char *body) {
    char out[8192];
    int size = snprintf(out, sizeof out,
                        "HTTP/1.1 %s\r\ncontent-type: application/json\r\n"
                        "content-length: %zu\r\n\r\n%s",
                        status, strlen(body), body);
    return say(c, out, (size_t)size);
}

/* The number behind `"name":`, or `otherwise`. */
static long field(const char *body, const char *name, long otherwise) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", name);
    const char *at = strstr(body, quoted);
    if (!at) return otherwise;
    at += strlen(quoted);
    while (*at == ' ' || *at == ':') at++;
    char *end;
    long value = strtol(at, &end, 10);
    return end == at ? otherwise : value;
}

static int is_streamed(const char *body) {
    const char *at = strstr(body, "\"stream\"");
    if (!at) return 0;
    at += 8;
    while (*at == ' ' || *at == ':') at++;
    return !strncmp(at, "true", 4);
}

static int complete_chat(Connection *c, const char *body, size_t size, int64_t received) {
    char out[8192];
    long tokens = field(body, "max_tokens", field(body, "max_completion_tokens", default_tokens));
    if (tokens < 1 || tokens > 1 << 24) return reply(c, "400 Bad Request", "{\"error\":\"max_tokens\"}");
    c->number = ++requests;
    c->prompt_tokens = (uint32_t)(size / 5);
    c->received = c->arrived;
    c->sent = 0;
    if (!is_streamed(body)) {
        c->tokens = 0;
        snprintf(out, sizeof out,
                 "{\"id\":\"chatcmpl-%032llx\",\"object\":\"chat.completion\",\"created\":1700000000,"
                 "\"model\":\"bench\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                 "\"content\":\"the answer\"},\"finish_reason\":\"length\"}],\"usage\":{"
                 "\"prompt_tokens\":%u,\"total_tokens\":%lu,\"completion_tokens\":%ld}}",
                 NUMBER(c), c->prompt_tokens, c->prompt_tokens + tokens, tokens);
        return reply(c, "200 OK", out);
    }
    c->tokens = (uint32_t)tokens;
    if (c->tokens > c->stamps_room) {
        c->stamps_room = c->tokens;
        c->stamps = realloc(c->stamps, sizeof *c->stamps * c->stamps_room);
        if (!c->stamps) die("memory");
    }
    size_t length = (size_t)sprintf(out,
                                    "HTTP/1.1 200 OK\r\nserver: bench\r\n"
                                    "content-type: text/event-stream; charset=utf-8\r\n"
                                    "transfer-encoding: chunked\r\n\r\n");
    length += append_chunk(out + length,
                           EVENT_BEGINS "{\"index\":0,\"delta\":{\"role\":\"assistant\","
                                        "\"content\":\"\"},\"logprobs\":null,"
                                        "\"finish_reason\":null}]}\n\n",
                           NUMBER(c));
    int64_t spread = ttft_high - ttft_low;
    int64_t ttft = ttft_low + (spread > 0 ? (int64_t)(random_u64() % (uint64_t)spread) : 0);
    schedule(c, received + ttft);
    return say(c, out, length);
}

/* Takes one whole request from the front of the input. Returns 0 where the connection is gone or
 * no whole request is there. */
static int take_request(Connection *c, int64_t received) {
    c->input[c->held] = 0;
    char *head_end = c->held ? memmem(c->input, c->held, "\r\n\r\n", 4) : NULL;
    if (!head_end) return 0;
    size_t head_size = (size_t)(head_end - c->input) + 4, body_size = 0;
    char id[MAX_ID + 1] = "";
    for (char *line = strstr(c->input, "\r\n"); line && line < head_end; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, "content-length:", 15)) {
            body_size = strtoul(line + 15, NULL, 10);
        } else if (!strncasecmp(line, "x-request-id:", 13)) {
            char *value = line + 13;
            while (*value == ' ') value++;
            size_t size = strcspn(value, "\r\n");
            if (size > MAX_ID) size = MAX_ID;
            memcpy(id, value, size);
            id[size] = 0;
        }
    }
    if (body_size > MAX_INPUT) {
        drop(c);
        return 0;
    }
    if (c->held < head_size + body_size) return 0;
    if (c->heap_at >= 0) { /* a request before the last one's answer is over */
        drop(c);
        return 0;
    }
    char *body = c->input + head_size, kept = body[body_size];
    int alive;
    body[body_size] = 0;
    strcpy(c->id, id);
    if (!strncmp(c->input, "POST /v1/chat/completions ", 26)) {
        alive = complete_chat(c, body, body_size, received);
    } else if (!strncmp(c->input, "GET /v1/models ", 15)) {
        alive = reply(c, "200 OK",
                      "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\","
                      "\"created\":1700000000,\"owned_by\":\"bench\"}]}");
    } else if (!strncmp(c->input, "GET /health ", 12)) {
        alive = reply(c, "200 OK", "{}");
    } else {
        alive = reply(c, "404 Not Found", "{\"error\":{\"message\":\"not here\",\"code\":404}}");
    }
    if (!alive) return 0;
    body[body_size] = kept;
    c->held -= head_size + body_size;
    memmove(c->input, body + body_size, c->held);
    return 1;
}

/* Reads what is there, and notes when it reached this machine, by the kernel's stamp: when this
 * thread comes round to it is another matter. */
static ssize_t receive(Connection *c) {
    char ancillary[64] __attribute__((aligned(8)));
    struct iovec piece = {c->input + c->held, c->room - c->held - 1};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = ancillary,
                             .msg_controllen = sizeof ancillary};
    ssize_t count = recvmsg(c->fd, &message, 0);
    struct cmsghdr *head = count > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    struct timespec real, at;
    int64_t now = now_ns();
    clock_gettime(CLOCK_REALTIME, &real);
    c->arrived = now;
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_len == CMSG_LEN(sizeof at)) {
        memcpy(&at, CMSG_DATA(head), sizeof at);
        c->arrived -= (real.tv_sec - at.tv_sec) * 1000000000 + real.tv_nsec - at.tv_nsec;
    }
    return count;
}

static void read_from(Connection *c) {
    if (c->held + 65536 >= c->room) {
        c->room = c->held + 131072;
        if (c->room > MAX_INPUT + 262144) {
            drop(c);
            return;
        }
        c->input = realloc(c->input, c->room);
        if (!c->input) die("memory");
    }
    ssize_t count = receive(c);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {
        drop(c);
        return;
    }
    c->held += (size_t)count;
    int64_t received = now_ns();
    while (take_request(c, received)) {}
}

static void accept_all(void) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) return;
            die("accept");
        }
        if (fd >= MAX_FILES) {
            close(fd);
            continue;
        }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
        Connection *c = calloc(1, sizeof *c);
        if (!c) die("memory");
        c->fd = fd;
        c->heap_at = -1;
        connections[fd] = c;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
    }
}

static void stop(int signal_number) {
    (void)signal_number;
    stopping = 1;
}

static void report(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    uint64_t total = 0, within = 0;
    long late_p99_us = 0;
    for (int bucket = 0; bucket < LATE_BUCKETS; bucket++) total += late_buckets[bucket];
    for (int bucket = 0; bucket < LATE_BUCKETS && within * 100 < total * 99; bucket++) {
        within += late_buckets[bucket];
        late_p99_us = 1L << bucket;
    }
    printf("{\"requests\": %llu, \"tokens\": %llu, \"most_streams\": %llu, \"stalled\": %llu, "
           "\"cpu_seconds\": %.3f, \"late_p99_us_at_most\": %ld, \"late_max_us\": %lld}\n",
           (unsigned long long)requests, (unsigned long long)tokens_sent,
           (unsigned long long)most_streams, (unsigned long long)stalled, cpu, late_p99_us,
           (long long)(late_most / 1000));
}

static int64_t milliseconds(const char *text, char **end) {
    double value = strtod(text, end);
    if (*end == text || value < 0) {
        fprintf(stderr, "server: %s is not a time in ms\n", text);
        exit(2);
    }
    return (int64_t)(value * 1e6);
}

int main(int count, char **arguments) {
    int port = 0;
    const char *stamps_path = NULL, *ttft = "50:60", *pace = "10", *step = "0";
    random_state = 1;
    for (int at = 1; at + 1 < count; at += 2) {
        const char *name = arguments[at], *value = arguments[at + 1];
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--ttft-ms")) ttft = value;
        else if (!strcmp(name, "--interval-ms")) pace = value;
        else if (!strcmp(name, "--tick-ms")) step = value;
        else if (!strcmp(name, "--tokens")) default_tokens = (uint32_t)atoi(value);
        else if (!strcmp(name, "--seed")) random_state = strtoull(value, NULL, 10) | 1;
        else if (!strcmp(name, "--stamps")) stamps_path = value;
        else {
            fprintf(stderr, "server: no option %s\n", name);
            return 2;
        }
    }
    char *end;
    ttft_low = ttft_high = milliseconds(ttft, &end);
    if (*end == ':') ttft_high = milliseconds(end + 1, &end);
    interval = milliseconds(pace, &end);
    tick = milliseconds(step, &end);
    if (tick < 1) tick = 1;

    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1000); /* ns */
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (stamps_path) {
        stamps_file = fopen(stamps_path, "wb");
        if (!stamps_file) die(stamps_path);
        setvbuf(stamps_file, NULL, _IOFBF, 1 << 18);
    }

    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event)) die("epoll_ctl");
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);

    struct epoll_event ready[512];
    while (!stopping) {
        int64_t now = now_ns();
        send_due(now);
        struct __kernel_timespec wait = {0}, *until = NULL;
        if (heap_count) {
            int64_t left = heap[0]->deadline - now_ns();
            if (left > 0) {
                wait.tv_sec = left / 1000000000;
                wait.tv_nsec = left % 1000000000;
            }
            until = &wait;
        }
        /* epoll_pwait2 (Linux 5.11): the wait in ns, without a timer descriptor to arm. */
        int found = (int)syscall(SYS_epoll_pwait2, poller, ready, 512, until, NULL, 8);
        if (found < 0 && errno != EINTR) die("epoll_pwait2");
        for (int at = 0; at < found; at++) {
            int fd = ready[at].data.fd;
            if (fd == listener) accept_all();
            else if (connections[fd]) read_from(connections[fd]);
        }
    }
    for (int at = 0; at < heap_count; at++) write_stamps(heap[at]);
    if (stamps_file && fclose(stamps_file)) die(stamps_path);
    report();
    return 0;
}
