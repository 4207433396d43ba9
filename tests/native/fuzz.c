/* Fuzz: random and real bytes through the native reader, under sanitizers.
 *
 *     fuzz SEED SECONDS FILE…
 *
 * Feeds streams that are cut, changed and mixed anyhow, and checks what can be told of any bytes: what
 * is not counted comes back as it was, and what is counted had the template in it. */
#include "../../benchcore/client/native/reader.c"

#include <stdio.h>

static uint64_t state;

static uint64_t draw(uint64_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static void check(int true, const char *what) {
    if (!true) {
        fprintf(stderr, "fuzz: %s\n", what);
        abort();
    }
}

static const char *TEXTS[] = {"x", " the", "\\n", "\\u00e9", "\\ud83d\\ude00", "\xe8\xbf\x9b", "\xf0\x9f\x98\x80",
                              "", "\"", "\\", "\\ud800", "\xc0\x80", "\xff", "\x01", "\\u12"};
static const char *COUNTS[] = {"0", "1", "12", "999999999", "1000000000", "01", "-1", "1.5", ""};
enum { TEXT_KINDS = sizeof TEXTS / sizeof *TEXTS, COUNT_KINDS = sizeof COUNTS / sizeof *COUNTS };

static const char BEFORE[] = "data: {\"choices\":[{\"delta\":{\"content\":\"";
static const char BETWEEN[] = "\"}}],\"usage\":{\"total_tokens\":";
static const char SECOND[] = ",\"completion_tokens\":";
static const char BEHIND[] = "}}\n\n";

/* Write an event of the template, or nearly, as one chunk; returns its size. */
static size_t chunk(uint8_t *out) {
    char content[256];
    int size = 0;
    for (uint64_t i = draw(4) + 1; i--;)
        size += snprintf(content + size, sizeof content - (size_t)size, "%s",
                         TEXTS[draw(draw(3) ? 7 : TEXT_KINDS)]);
    char event[1024];
    int length = snprintf(event, sizeof event, "%s%s%s%s%s%s%s", BEFORE, content, BETWEEN,
                          COUNTS[draw(draw(3) ? 4 : COUNT_KINDS)], SECOND,
                          COUNTS[draw(draw(3) ? 4 : COUNT_KINDS)], BEHIND);
    return (size_t)sprintf((char *)out, draw(9) ? "%x\r\n%s\r\n" : "%X;a\r\n%s\r\n", length, event);
}

static int64_t learn(Reader *r, int64_t id) {
    const uint8_t kinds[] = {CONTENT, OTHER, SAID};
    const int64_t lengths[] = {sizeof BEFORE - 1, sizeof BETWEEN - 1, sizeof SECOND - 1, sizeof BEHIND - 1};
    char literals[256];
    snprintf(literals, sizeof literals, "%s%s%s%s", BEFORE, BETWEEN, SECOND, BEHIND);
    return bc_learn(r, id, 3, kinds, lengths, (const uint8_t *)literals);
}

int main(int count, char **given) {
    check(count >= 3, "fuzz SEED SECONDS FILE…");
    state = strtoull(given[1], NULL, 10) * 2654435761u + 88172645463325252u;
    int64_t end_ns = now(CLOCK_MONOTONIC) + atoll(given[2]) * NS;
    static uint8_t corpus[1 << 20];
    size_t corpus_size = 0;
    for (int i = 3; i < count; i++) {
        FILE *file = fopen(given[i], "rb");
        check(file != NULL, given[i]);
        corpus_size += fread(corpus + corpus_size, 1, sizeof corpus - corpus_size, file);
        fclose(file);
    }
    int64_t *shared = calloc(SHARED, sizeof *shared), *entries = malloc(ENTRIES * STRIDE * 8);
    size_t out_bytes = 2 * READ_BYTES;
    uint8_t *out = malloc(out_bytes), *data = malloc(READ_BYTES);
    int64_t columns[3 * 64];
    int pair[2];
    Reader *r = bc_open(shared, entries, out, out_bytes, 1);
    check(r != NULL, "open");
    shared[DUE] = INT64_MAX;
    check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), "socketpair");
    int64_t id = bc_add(r, -1), real = bc_add(r, pair[0]), stamp_ns = now(CLOCK_MONOTONIC);
    int64_t lags[1 << 14];
    uint64_t fed = 0, plain = 0;
    check(id >= 0 && real >= 0 && !learn(r, id) && !learn(r, real), "learn");
    while (fed % 256 || now(CLOCK_MONOTONIC) < end_ns) {
        size_t size = 0;
        for (uint64_t pieces = draw(4) + 1; pieces--;) {
            if (corpus_size && !draw(4)) {
                size_t begin = draw(corpus_size), length = draw(2000);
                if (length > corpus_size - begin)
                    length = corpus_size - begin;
                memcpy(data + size, corpus + begin, length);
                size += length;
            } else {
                size += chunk(data + size);
            }
        }
        for (uint64_t changes = draw(6) ? 0 : draw(4) + 1; changes-- && size;)
            data[draw(size)] = (uint8_t)draw(256);
        if (!draw(6))
            size = draw(size + 1);
        if (size == 0)
            size = 1;
        stamp_ns += (int64_t)draw(4000000);
        bc_arm(r, id);
        int64_t before = shared[PLAIN];
        bc_feed(r, id, data, size, stamp_ns);
        if (shared[PLAIN] == before) {
            check(shared[COUNT] == 1 && entries[1] == DATA && entries[4] == (int64_t)size, "told");
            check(!memcmp(out + entries[3], data, size), "handed on as it came");
        } else {
            check(shared[COUNT] == 0, "counted and told");
            plain++;
        }
        fed++;
        if (!draw(50))
            while (bc_take(r, id, columns, 64) == 64)
                ;
        if (!draw(200)) {
            bc_remove(r, id);
            check(bc_take(r, id, columns, 64) == 0, "removed");
            bc_feed(r, id, data, size, stamp_ns);
            id = bc_add(r, -1);
            learn(r, id);
        }
        if (!draw(20)) {
            bc_arm(r, real);
            if (write(pair[1], data, size) > 0)
                bc_poll(r);
            while (bc_read(r, real))
                ;
            bc_take(r, real, columns, 64);
        }
        bc_ended(r, (int64_t)draw(2000000000));
        if (!draw(100))
            check(!bc_pace(r, (int64_t)draw(2) * 1000000), "pace");
        if (shared[LAGS] > 1 << 13)
            bc_take_lags(r, lags);
    }
    bc_remove(r, real);
    bc_close(r);
    close(pair[0]);
    close(pair[1]);
    free(shared);
    free(entries);
    free(out);
    free(data);
    printf("%llu reads, %llu of them plain: nothing to report\n", (unsigned long long)fed,
           (unsigned long long)plain);
    return plain ? 0 : 1;
}
