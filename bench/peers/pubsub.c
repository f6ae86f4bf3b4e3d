// µWebSockets' own publish/subscribe, driven from inside its process: what a broadcast costs there
// when no program has to be read. `pubsub LINES SIZE BURST` says its port on stdout, subscribes
// whoever comes, and publishes numbered lines once a client has said anything.
//
// Nothing may be lost, and µWebSockets drops or buffers without limit what a socket does not take.
// So lines are published in bursts, the next one when every client's socket has taken the last.
// The library's batching does the rest: a burst leaves with few writes per client.
//
// The declarations are those of the C interface that the PyPI package `socketify` ships compiled.

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 1, DIGITS = 12, MOST_CLIENTS = 16384, MOST_SIZE = 4096 };

struct us_loop_t;
struct us_listen_socket_t;
typedef struct uws_app uws_app_t;
typedef struct uws_websocket uws_websocket_t;

struct tls_options {
    const char *names[6];
    int low_memory;
};

struct listen_config {
    int port;
    const char *host;
    int options;
};

typedef void (*handler)(uws_websocket_t *ws, void *user);
typedef void (*message_handler)(uws_websocket_t *ws, const char *message, size_t length, int opcode, void *user);

struct behavior {
    int compression;
    unsigned int max_payload;
    unsigned short idle_timeout;
    unsigned int max_backpressure;
    bool close_on_backpressure;
    bool reset_idle_on_send;
    bool send_pings;
    unsigned short max_lifetime;
    void *upgrade;
    handler open;
    message_handler message;
    handler drain;
    void *ping, *pong, *close, *subscription;
};

uws_app_t *uws_create_app(int tls, struct tls_options options);
void uws_ws(int tls, uws_app_t *app, const char *pattern, struct behavior behavior, void *user);
void uws_app_listen_with_config(
    int tls, uws_app_t *app, struct listen_config config,
    void (*done)(struct us_listen_socket_t *, struct listen_config, void *), void *user);
void uws_app_run(int tls, uws_app_t *app);
bool uws_ws_subscribe(int tls, uws_websocket_t *ws, const char *topic, size_t length);
bool uws_publish(
    int tls, uws_app_t *app, const char *topic, size_t topic_length, const char *message,
    size_t length, int opcode, bool compress);
int uws_ws_get_buffered_amount(int tls, uws_websocket_t *ws);
struct us_loop_t *uws_get_loop(void);
void uws_loop_defer(struct us_loop_t *loop, void (*call)(void *), void *user);
int us_socket_local_port(int tls, struct us_listen_socket_t *socket);

static uws_app_t *app;
static uws_websocket_t *clients[MOST_CLIENTS];
static int client_count;
static long next, lines, burst;
static int size;
static bool deferred;

static void publish_burst(void *user);

static void later(void) {
    if (!deferred) {
        deferred = true;
        uws_loop_defer(uws_get_loop(), publish_burst, NULL);
    }
}

static void publish_burst(void *user) {
    (void)user;
    deferred = false;
    for (int i = 0; i < client_count; i++)
        if (uws_ws_get_buffered_amount(0, clients[i]) > 0)
            return; // its drain comes
    char line[MOST_SIZE];
    memset(line, '.', sizeof line);
    long end = next + burst < lines ? next + burst : lines;
    for (; next < end; next++) {
        long rest = next;
        for (int place = DIGITS - 1; place >= 0; place--, rest /= 10)
            line[place] = (char)('0' + rest % 10);
        uws_publish(0, app, "t", 1, line, (size_t)size, TEXT, false);
    }
    if (next < lines)
        later();
}

static void opened(uws_websocket_t *ws, void *user) {
    (void)user;
    if (client_count < MOST_CLIENTS) {
        clients[client_count++] = ws;
        uws_ws_subscribe(0, ws, "t", 1);
    }
}

static void said(uws_websocket_t *ws, const char *message, size_t length, int opcode, void *user) {
    (void)ws, (void)message, (void)length, (void)opcode, (void)user;
    if (next == 0)
        later();
}

static void drained(uws_websocket_t *ws, void *user) {
    (void)ws, (void)user;
    if (next > 0 && next < lines)
        later();
}

static void listening(struct us_listen_socket_t *socket, struct listen_config config, void *user) {
    (void)config, (void)user;
    if (!socket)
        exit(1);
    printf("%d\n", us_socket_local_port(0, socket));
    fflush(stdout);
}

int main(int count, char **words) {
    if (count < 4)
        return 2;
    lines = atol(words[1]);
    size = atoi(words[2]);
    burst = atol(words[3]);
    if (size < DIGITS || size > MOST_SIZE || burst < 1)
        return 2;
    struct tls_options none;
    memset(&none, 0, sizeof none);
    app = uws_create_app(0, none);
    struct behavior behavior;
    memset(&behavior, 0, sizeof behavior);
    behavior.max_payload = 16 << 10;
    behavior.open = opened;
    behavior.message = said;
    behavior.drain = drained;
    uws_ws(0, app, "/*", behavior, NULL);
    struct listen_config config = {0, "127.0.0.1", 0};
    uws_app_listen_with_config(0, app, config, listening, NULL);
    uws_app_run(0, app);
}
