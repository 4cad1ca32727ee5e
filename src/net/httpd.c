/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP server: see httpd.h.
 *
 * Happy path: the address is bound by ourselves (so that errors are ours to explain) and given to
 * libmicrohttpd, which keeps its own epoll descriptor; that lies in our loop, and when it is ready, or the
 * library's own timeout is over, the library takes a turn on our thread. A request is one call of the handler;
 * its body is handed over and freed by the library.
 *
 * Failure modes: library not installed; address not to be had; too many connections (the library closes those
 * beyond the limits, in all and for one address); slow requests (30 s); headers of more than 8 KiB (the library
 * answers 431). None of these reaches the rest of the daemon. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4 flags in headers of the library */
#endif
#include "net/httpd.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CONNECTIONS_MAX = 256,
	CONNECTIONS_PER_ADDRESS_MAX = 64,
	REQUEST_S = 30,
	CONNECTION_BYTES = 16 << 10,
	BACKLOG = 64,
};

/* ---- the library ---- */

#define LIBRARY "libmicrohttpd.so.12"

#define FUNCTIONS(X)                                                                                           \
	X(MHD_start_daemon)                                                                                    \
	X(MHD_stop_daemon)                                                                                     \
	X(MHD_get_daemon_info)                                                                                 \
	X(MHD_run)                                                                                             \
	X(MHD_get_timeout)                                                                                     \
	X(MHD_get_connection_info)                                                                             \
	X(MHD_lookup_connection_value)                                                                         \
	X(MHD_create_response_from_buffer)                                                                     \
	X(MHD_add_response_header)                                                                             \
	X(MHD_queue_response)                                                                                  \
	X(MHD_destroy_response)

static struct {
	void *handle;
#define X(name) __typeof__(name) *name;
	FUNCTIONS(X)
#undef X
} lib;

static int load(struct err *e)
{
	if (lib.handle)
		return 0;
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		err_set(e, ERR_FAIL, "the HTTP server needs %s, which cannot be loaded: %s", LIBRARY,
			dlerror());
		return err_hint(e, "On Debian and Ubuntu: apt install libmicrohttpd12");
	}
	bool all = true;
#define X(name) all = (lib.name = (__typeof__(lib.name))(uintptr_t)dlsym(handle, #name)) != NULL && all;
	FUNCTIONS(X)
#undef X
	if (!all) {
		dlclose(handle);
		return err_set(e, ERR_FAIL, "%s is not the library that the HTTP server needs", LIBRARY);
	}
	lib.handle = handle;
	return 0;
}

/* ---- the address ---- */

int httpd_address(const char *address, char host[HTTPD_HOST_BYTES], unsigned *ret_port, struct err *e)
{
	const char *colon = strrchr(address, ':');
	const char *from = address, *to = colon;
	if (!colon || (address[0] != '[' && memchr(address, ':', (size_t)(colon - address))))
		return err_set(e, ERR_CONFIG,
			       "must specify port for bind address: \"%.100s\"; for example :9090 or "
			       "127.0.0.1:9090",
			       address);
	if (address[0] == '[') {
		if (colon == address || colon[-1] != ']')
			return err_set(e, ERR_CONFIG,
				       "must specify port for bind address: \"%.100s\"; for example "
				       "[::1]:9090",
				       address);
		from++;
		to--;
	}
	size_t port_chars = strlen(colon + 1), host_chars = (size_t)(to - from);
	if (port_chars == 0 || port_chars > 5 || strspn(colon + 1, "0123456789") != port_chars ||
	    (*ret_port = (unsigned)strtoul(colon + 1, NULL, 10)) > 65535)
		return err_set(e, ERR_CONFIG, "\"%.20s\" is not a port number in the bind address \"%.100s\"",
			       colon + 1, address);
	if (host_chars >= HTTPD_HOST_BYTES)
		return err_set(e, ERR_CONFIG, "the bind address \"%.100s\" is too long", address);
	memcpy(host, from, host_chars);
	host[host_chars] = 0;
	return 0;
}

static bool is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24) == 127;
	if (a->sa_family != AF_INET6)
		return false;
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

static int bind_one(const struct addrinfo *a)
{
	int on = 1, off = 0;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	int sys = errno;
	close(fd);
	errno = sys;
	return -1;
}

/* Of several addresses of a name the first that can be had; for all interfaces IPv6 first, which takes IPv4
 * too. */
static int listen_on(const char *address, struct err *e)
{
	char host[HTTPD_HOST_BYTES], service[8];
	unsigned port;
	if (httpd_address(address, host, &port, e) < 0)
		return -1;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *list;
	snprintf(service, sizeof service, "%u", port);
	int gai = getaddrinfo(*host ? host : "::", service, &hints, &list);
	if (gai != 0)
		return err_set(e, ERR_CONFIG, "the bind address \"%.100s\" cannot be found: %s", address,
			       gai_strerror(gai));
	int fd = -1, sys = EADDRNOTAVAIL;
	for (const struct addrinfo *a = list; fd < 0 && a; a = a->ai_next)
		if ((fd = bind_one(a)) < 0)
			sys = errno;
	freeaddrinfo(list);
	if (fd < 0 && !*host && sys != EADDRINUSE) { /* a machine without IPv6 */
		struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
		struct addrinfo four = { .ai_family = AF_INET,
					 .ai_addr = (struct sockaddr *)(void *)&any,
					 .ai_addrlen = sizeof any };
		if ((fd = bind_one(&four)) < 0)
			sys = errno;
	}
	if (fd >= 0)
		return fd;
	if (sys == EADDRINUSE)
		return err_set(e, ERR_BUSY, "%s: another program listens there", address);
	return err_set(e, ERR_UNREACHABLE, "%s: cannot listen: %s", address, strerror(sys));
}

/* ---- the server ---- */

struct httpd {
	struct loop *loop;
	struct MHD_Daemon *daemon;
	struct loop_fd fd;
	struct loop_timer timer;
	httpd_handler *handler;
	void *arg;
	unsigned port;
	bool is_public;
};

static void take_turn(struct httpd *h)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;
	lib.MHD_run(h->daemon);
	if (lib.MHD_get_timeout(h->daemon, &wait_ms) == MHD_YES)
		loop_timer_set(h->loop, &h->timer, loop_now_us(h->loop) + (int64_t)wait_ms * 1000 + 1);
	else
		loop_timer_cancel(h->loop, &h->timer);
}

static void ready(struct loop_fd *f, uint32_t events)
{
	(void)events;
	take_turn((struct httpd *)(void *)((char *)f - offsetof(struct httpd, fd)));
}

static void timed_out(struct loop_timer *t)
{
	take_turn((struct httpd *)(void *)((char *)t - offsetof(struct httpd, timer)));
}

static enum MHD_Result send_body(struct MHD_Connection *c, struct httpd_answer *a, bool get_only)
{
	static char nothing[1];
	const char *type = a->type ? a->type : "text/plain; charset=utf-8";
	struct MHD_Response *r =
		lib.MHD_create_response_from_buffer(a->body.len, a->body.p ? (void *)a->body.p : nothing,
						    a->body.p ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
	if (!r) {
		dyn_free(&a->body);
		return MHD_NO;
	}
	lib.MHD_add_response_header(r, "Content-Type", type);
	lib.MHD_add_response_header(r, "Cache-Control", "no-store");
	lib.MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	if (get_only)
		lib.MHD_add_response_header(r, "Allow", "GET, HEAD");
	enum MHD_Result rc = lib.MHD_queue_response(c, a->status ? a->status : MHD_HTTP_OK, r);
	lib.MHD_destroy_response(r);
	return rc;
}

static bool peer_is_local(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *i = lib.MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	return i && i->client_addr && is_loopback(i->client_addr);
}

/* The library calls once when the headers are there, and again when the body (which nobody wants) is. */
static enum MHD_Result request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
			       const char *version, const char *data, size_t *data_bytes, void **seen)
{
	struct httpd *h = cls;
	static char once;
	struct httpd_answer a = { .body = DYN_INIT(64 << 20) };
	(void)version;
	(void)data;
	if (!*seen) {
		*seen = &once;
		return MHD_YES;
	}
	if (*data_bytes > 0) {
		*data_bytes = 0;
		return MHD_YES;
	}
	bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
	if (!reads) {
		a.status = MHD_HTTP_METHOD_NOT_ALLOWED;
		dyn_addf(&a.body, "only GET is served here\n");
		return send_body(c, &a, true);
	}
	struct httpd_request q = { .path = url,
				   .authorization =
					   lib.MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization"),
				   .loopback = peer_is_local(c) };
	h->handler(h->arg, &q, &a);
	return send_body(c, &a, false);
}

static int start(struct httpd *h, int fd, struct err *e)
{
	struct sockaddr_storage at = { 0 };
	socklen_t at_bytes = sizeof at;
	getsockname(fd, (struct sockaddr *)(void *)&at, &at_bytes);
	h->is_public = !is_loopback((struct sockaddr *)(void *)&at);
	h->port = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&at)->sin6_port
						 : ((struct sockaddr_in *)(void *)&at)->sin_port);
	h->daemon = lib.MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, request, h, MHD_OPTION_LISTEN_SOCKET,
		fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		(unsigned)CONNECTIONS_PER_ADDRESS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)REQUEST_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
	if (!h->daemon) {
		close(fd);
		return err_set(e, ERR_FAIL, "the HTTP server cannot be started");
	}
	const union MHD_DaemonInfo *i = lib.MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	h->fd = (struct loop_fd){ .fd = i->epoll_fd, .ready = ready };
	h->timer = (struct loop_timer){ .fire = timed_out };
	if (loop_fd_add(h->loop, &h->fd, EPOLLIN, e) == 0)
		return 0;
	lib.MHD_stop_daemon(h->daemon);
	return -1;
}

int httpd_open(struct loop *l, const char *address, httpd_handler *handler, void *arg, struct httpd **ret,
	       struct err *e)
{
	if (load(e) < 0)
		return -1;
	int fd = listen_on(address, e);
	if (fd < 0)
		return -1;
	struct httpd *h = calloc(1, sizeof *h);
	if (!h) {
		close(fd);
		return err_set(e, ERR_FAIL, "no memory for the HTTP server");
	}
	h->loop = l;
	h->handler = handler;
	h->arg = arg;
	if (start(h, fd, e) < 0) {
		free(h);
		return -1;
	}
	*ret = h;
	return 0;
}

void httpd_close(struct httpd *h)
{
	if (!h)
		return;
	loop_fd_remove(h->loop, &h->fd);
	loop_timer_cancel(h->loop, &h->timer);
	lib.MHD_stop_daemon(h->daemon);
	free(h);
}

unsigned httpd_port(const struct httpd *h)
{
	return h->port;
}

bool httpd_is_public(const struct httpd *h)
{
	return h->is_public;
}
