/* The least that reads answers: epoll, recv, and a look at the last bytes of each read, which say
 * that the answer has ended and the next request may leave. It stamps nothing and parses nothing,
 * so no client that does costs less.
 *
 *   reader PORT USERS REQUESTS TOKENS
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static char request[1024], buffer[65536];
static int request_size;
static long left;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void ask(int fd) {
    left--;
    if (send(fd, request, (size_t)request_size, 0) != request_size) die("send");
}

int main(int count, char **given) {
    static const char end[] = "0\r\n\r\n";
    if (count != 5) {
        fprintf(stderr, "reader PORT USERS REQUESTS TOKENS\n");
        return 2;
    }
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(given[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int users = atoi(given[2]), one = 1, epoll = epoll_create1(0);
    long running = left = atol(given[3]);
    char body[512];
    int size = snprintf(body, sizeof body,
                        "{\"model\":\"bench\",\"stream\":true,\"messages\":[{\"role\":\"user\","
                        "\"content\":\"Say something.\"}],\"max_tokens\":%s,"
                        "\"stream_options\":{\"include_usage\":true}}",
                        given[4]);
    request_size = snprintf(request, sizeof request,
                            "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\n"
                            "content-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
                            size, body);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int user = 0; user < users && left; user++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        struct epoll_event wanted = {.events = EPOLLIN, .data.fd = fd};
        if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server)) die("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted)) die("epoll_ctl");
        ask(fd);
    }
    while (running) {
        struct epoll_event ready[256];
        int found = epoll_wait(epoll, ready, 256, -1);
        for (int i = 0; i < found; i++) {
            int fd = ready[i].data.fd;
            ssize_t got = recv(fd, buffer, sizeof buffer, 0);
            if (got <= 0) die("recv");
            if (got >= 5 && !memcmp(buffer + got - 5, end, 5)) {
                running--;
                if (left) ask(fd);
            }
        }
    }
    return 0;
}
