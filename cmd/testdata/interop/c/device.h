/*
 * What the C devices share: how they are called, MQTT 3.1.1, and how they tell
 * what happened. Each device is this file and one TLS library.
 *
 *     DEVICE HOST PORT CA-ROOT.PEM TOKEN-FILE
 *     DEVICE HOST PORT CA-ROOT.PEM CERT.PEM KEY.PEM
 *
 * The first line that it prints is the library's name and version, the second
 * "ok", or "STEP: REASON" with exit code 1. STEP is root, credential, tcp, tls,
 * connect or publish.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct device {
    const char *host, *port, *root, *cert, *key; /* cert and key: NULL with a token */
    char token[128];                             /* "" with a certificate */
};

/* A library's two functions; they give the bytes moved, or less than 1. */
typedef int (*mover)(void *connection, unsigned char *data, int size);

static void failed(const char *step, const char *format, ...)
{
    va_list arguments;
    printf("%s: ", step);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    exit(1);
}

static struct device called(int argc, char **argv)
{
    struct device d = {0};
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: %s HOST PORT CA-ROOT.PEM TOKEN-FILE | CERT.PEM KEY.PEM\n", argv[0]);
        exit(2);
    }
    signal(SIGPIPE, SIG_IGN);
    d.host = argv[1], d.port = argv[2], d.root = argv[3];
    if (argc == 6) {
        d.cert = argv[4], d.key = argv[5];
        return d;
    }
    FILE *file = fopen(argv[4], "r");
    if (!file || !fgets(d.token, sizeof d.token, file))
        failed("credential", "%s cannot be read", argv[4]);
    fclose(file);
    d.token[strcspn(d.token, "\r\n")] = 0;
    return d;
}

static inline int is_address(const char *host)
{
    unsigned char address[16];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static int dialed(const struct device *d)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *one;
    struct timeval patience = {.tv_sec = 10};
    int fault = getaddrinfo(d->host, d->port, &hints, &list), fd = -1;
    if (fault)
        failed("tcp", "%s", gai_strerror(fault));
    for (one = list; one; one = one->ai_next) {
        fd = socket(one->ai_family, one->ai_socktype, one->ai_protocol);
        if (fd >= 0 && connect(fd, one->ai_addr, one->ai_addrlen) == 0)
            break;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd < 0)
        failed("tcp", "no connection to %s port %s", d->host, d->port);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static void send_all(const char *step, mover write, void *connection, unsigned char *data, int size)
{
    for (int n; size > 0; data += n, size -= n)
        if ((n = write(connection, data, size)) < 1)
            failed(step, "the connection broke (%d)", n);
}

/* answer wants these bytes. The broker sends nothing else to a device that subscribes to nothing. */
static void answer(const char *step, mover read, void *connection, const unsigned char *wanted)
{
    unsigned char got[4];
    for (int n, have = 0; have < 4; have += n)
        if ((n = read(connection, got + have, 4 - have)) < 1)
            failed(step, "the connection broke (%d)", n);
    if (memcmp(got, wanted, 4))
        failed(step, "the answer is %02x %02x %02x %02x", got[0], got[1], got[2], got[3]);
}

static unsigned char *put(unsigned char *at, const char *text)
{
    size_t size = strlen(text);
    *at++ = size >> 8, *at++ = size;
    memcpy(at, text, size);
    return at + size;
}

/* mqtt connects, publishes one value with QoS 1, waits for its PUBACK, and leaves. */
static void mqtt(const struct device *d, mover write, mover read, void *connection)
{
    unsigned char packet[256], *end;
    /* CONNECT: 3.1.1, clean session, the token as user name; an empty client identifier (MQTT 3.1.1, 3.1) */
    packet[0] = 0x10;
    end = put(packet + 2, "MQTT");
    *end++ = 4, *end++ = d->token[0] ? 0x82 : 0x02, *end++ = 0, *end++ = 60;
    end = put(end, "");
    if (d->token[0])
        end = put(end, d->token);
    packet[1] = end - packet - 2;
    if (packet[1] > 127)
        failed("credential", "the token is too long for one byte of length");
    send_all("connect", write, connection, packet, end - packet);
    answer("connect", read, connection, (const unsigned char[]){0x20, 2, 0, 0});
    /* PUBLISH with QoS 1 and packet identifier 1 */
    packet[0] = 0x32;
    end = put(packet + 2, "v1/devices/me/telemetry");
    *end++ = 0, *end++ = 1;
    end += sprintf((char *)end, "{\"temperature\":25}");
    packet[1] = end - packet - 2;
    send_all("publish", write, connection, packet, end - packet);
    answer("publish", read, connection, (const unsigned char[]){0x40, 2, 0, 1});
    write(connection, (unsigned char[]){0xe0, 0}, 2); /* DISCONNECT */
    printf("ok\n");
}
