/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP server: see httpd.h.
 *
 * Happy path: libmicrohttpd keeps its own epoll descriptor; that lies in our loop, and when it is ready, or the
 * library's own timeout is over, the library takes a turn on our thread. A request is one call of the handler.
 * A body without an end is asked for bytes whenever the socket takes some; when it has none the connection is
 * suspended, and httpd_wake resumes it. While it is suspended the library does not look at its socket, so we
 * do, to see the peer leave.
 *
 * Failure modes: too many connections (the library closes those beyond the limits, in all and for one address);
 * headers or a body that do not come whole within 30 s, or whose sender ends before (closed at once); headers
 * of more than 8 KiB (431), a body larger than what is wanted (413); a receiver that takes nothing for 30 s
 * (the library closes it). None of these reaches the rest of the daemon. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* EPOLLRDHUP, accept4 flags in headers of the library */
#endif
#include "net/httpd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "net/listen.h"
#include "net/mhd.h"

enum {
	CONNECTIONS_MAX = 4096,
	CONNECTIONS_PER_ADDRESS_MAX = 64,
	REQUEST_S = 30,
	UNACKNOWLEDGED_MS = 60000,
	HEADERS_BYTES = 8 << 10,
	CONNECTION_BYTES = 16 << 10,
	STREAM_BYTES = 8 << 10, /* a piece to a client of HTTP/1.0; the others have the connection's memory */
};

#define OWNER(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

/* A connection from its begin to its end: how long it has been asking. */
struct peer {
	struct peer *next, *before; /* of those whose request is not whole yet, oldest first */
	struct httpd *h;
	int64_t since_us;
	struct loop_fd watch; /* of the socket, while it waits; fd -1: not */
	int fd;
	bool waits, half; /* half: it sends nothing more */
};

struct httpd {
	struct loop *loop;
	struct MHD_Daemon *daemon;
	struct loop_fd fd;
	struct loop_timer timer, late;
	struct peer *first, *last; /* who is asking */
	size_t halves;		   /* of those */
	struct httpd_conn *open;   /* that are suspended, or may be */
	httpd_handler *handler;
	void *arg;
	unsigned port;
	bool is_public, closing, client_certs;
};

struct httpd_conn {
	struct httpd *h;
	struct MHD_Connection *c;
	struct httpd_conn *next, **at; /* in h->open; at is NULL: not there */
	struct httpd_body *stream;
	struct httpd_later *later;
	struct dyn upload;
	struct loop_fd watch; /* of the socket, so that the peer is seen to leave; fd -1: not yet */
	bool suspended, woken, cut, refused; /* woken: while it was not suspended */
};

/* ---- the library's turns ---- */

static void look_at_halves(struct httpd *h);

static void take_turn(struct httpd *h)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;
	mhd.MHD_run(h->daemon);
	if (h->halves > 0)
		look_at_halves(h);
	if (mhd.MHD_get_timeout(h->daemon, &wait_ms) == MHD_YES)
		loop_timer_set(h->loop, &h->timer, loop_now_us(h->loop) + (int64_t)wait_ms * 1000 + 1);
	else
		loop_timer_cancel(h->loop, &h->timer);
}

static void ready(struct loop_fd *f, uint32_t events)
{
	(void)events;
	take_turn(OWNER(f, struct httpd, fd));
}

static void timed_out(struct loop_timer *t)
{
	take_turn(OWNER(t, struct httpd, timer));
}

/* ---- how long somebody asks ---- */

static void peer_unwatch(struct peer *p)
{
	if (p->watch.fd >= 0)
		loop_fd_remove(p->h->loop, &p->watch);
	p->watch.fd = -1;
}

static void peer_leave(struct httpd *h, struct peer *p)
{
	if (!p->waits)
		return;
	peer_unwatch(p);
	h->halves -= p->half;
	p->half = false;
	*(p->before ? &p->before->next : &h->first) = p->next;
	*(p->next ? &p->next->before : &h->last) = p->before;
	p->waits = false;
	if (!h->first)
		loop_timer_cancel(h->loop, &h->late);
}

/* Whose request was whole before has left the list when the library has taken its turn. */
static void peer_sends_no_more(struct loop_fd *f, uint32_t events)
{
	struct peer *p = OWNER(f, struct peer, watch);
	struct httpd *h = p->h;
	(void)events;
	peer_unwatch(p);
	h->halves += !p->half;
	p->half = true;
	take_turn(h);
}

/* The library does not see an end that comes together with bytes. */
static void look_at_halves(struct httpd *h)
{
	char c;
	for (struct peer *p = h->first, *next; p && h->halves > 0; p = next) {
		next = p->next;
		if (!p->half || recv(p->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
			continue; /* it will be read */
		shutdown(p->fd, SHUT_RDWR);
		peer_leave(h, p);
	}
}

static void peer_wait(struct httpd *h, struct peer *p)
{
	struct err ignore;
	peer_leave(h, p);
	p->watch = (struct loop_fd){ .fd = p->fd, .ready = peer_sends_no_more };
	if (loop_fd_add(h->loop, &p->watch, EPOLLRDHUP, &ignore) < 0)
		p->watch.fd = -1;
	p->since_us = loop_now_us(h->loop);
	p->next = NULL;
	p->before = h->last;
	*(h->last ? &h->last->next : &h->first) = p;
	h->last = p;
	p->waits = true;
	if (h->first == p)
		loop_timer_set(h->loop, &h->late, p->since_us + REQUEST_S * 1000000LL);
}

/* A byte now and then keeps the library's own clock from ending it. */
static void too_late(struct loop_timer *t)
{
	struct httpd *h = OWNER(t, struct httpd, late);
	while (h->first && loop_now_us(h->loop) - h->first->since_us >= REQUEST_S * 1000000LL) {
		shutdown(h->first->fd, SHUT_RDWR); /* the library sees that, and frees it */
		peer_leave(h, h->first);
	}
	if (h->first)
		loop_timer_set(h->loop, &h->late, h->first->since_us + REQUEST_S * 1000000LL);
}

static void connection_changed(void *cls, struct MHD_Connection *c, void **context,
			       enum MHD_ConnectionNotificationCode what)
{
	struct httpd *h = cls;
	struct peer *p = *context;
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		int on = 1, ms = UNACKNOWLEDGED_MS;
		const union MHD_ConnectionInfo *i =
			mhd.MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
		if (!i || !(p = calloc(1, sizeof *p)))
			return;
		*p = (struct peer){ .h = h, .fd = i->connect_fd, .watch.fd = -1 };
		setsockopt(p->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
		setsockopt(p->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
		*context = p;
		peer_wait(h, p);
	} else if (p) {
		peer_leave(h, p);
		free(p);
		*context = NULL;
	}
}

static struct peer *peer_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *i = mhd.MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return i ? i->socket_context : NULL;
}

/* ---- suspending ---- */

static void peer_left(struct loop_fd *f, uint32_t events)
{
	(void)events;
	httpd_cut(OWNER(f, struct httpd_conn, watch));
}

/* While it is suspended nobody else would see the peer leave. */
static void watch_peer(struct httpd_conn *x)
{
	struct err ignore;
	struct peer *p = peer_of(x->c);
	if (x->watch.fd >= 0 || !p)
		return;
	peer_unwatch(p); /* a descriptor is in the loop once */
	x->watch = (struct loop_fd){ .fd = p->fd, .ready = peer_left };
	if (loop_fd_add(x->h->loop, &x->watch, EPOLLRDHUP, &ignore) < 0)
		x->watch.fd = -1;
}

static void unwatch_peer(struct httpd_conn *x)
{
	if (x->watch.fd >= 0)
		loop_fd_remove(x->h->loop, &x->watch);
	x->watch.fd = -1;
}

static void suspend(struct httpd_conn *x)
{
	watch_peer(x);
	mhd.MHD_suspend_connection(x->c);
	x->suspended = true;
}

static void resume(struct httpd_conn *x)
{
	if (!x->suspended)
		return;
	x->suspended = false;
	mhd.MHD_resume_connection(x->c);
	/* The library's descriptor does not tell. One turn is for all that are resumed. */
	loop_timer_set(x->h->loop, &x->h->timer, loop_now_us(x->h->loop));
}

void httpd_wake(struct httpd_conn *x)
{
	x->woken = !x->suspended;
	resume(x);
}

void httpd_cut(struct httpd_conn *x)
{
	const struct peer *p = peer_of(x->c);
	x->cut = true;
	unwatch_peer(x);
	if (p)
		shutdown(p->fd, SHUT_RDWR);
	resume(x);
}

/* ---- answers ---- */

void httpd_add_header(struct httpd_answer *a, const char *name, const char *fmt, ...)
{
	if (a->headers_n == HTTPD_HEADERS_MAX)
		return;
	va_list args;
	va_start(args, fmt);
	vsnprintf(a->headers[a->headers_n].value, HTTPD_HEADER_BYTES, fmt, args);
	va_end(args);
	a->headers[a->headers_n++].name = name;
}

static ssize_t read_stream(void *cls, uint64_t at, char *buf, size_t most)
{
	struct httpd_conn *x = cls;
	(void)at;
	if (x->h->closing || x->cut)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	ssize_t n;
	do {
		x->woken = false;
		n = x->stream->read(x->stream, buf, most);
	} while (n == 0 && x->woken);
	if (n > 0)
		return n;
	if (n < 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	suspend(x);
	return 0;
}

static struct MHD_Response *make_response(struct httpd_conn *x, struct httpd_answer *a)
{
	static char nothing[1];
	struct MHD_Response *r;
	if (a->stream) {
		r = mhd.MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BYTES, read_stream, x, NULL);
		if (r)
			x->stream = a->stream;
		else
			a->stream->closed(a->stream, "no memory");
		return r;
	}
	r = mhd.MHD_create_response_from_buffer(a->body.len, a->body.p ? (void *)a->body.p : nothing,
						a->body.p ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
	if (!r)
		dyn_free(&a->body);
	return r;
}

static enum MHD_Result send_answer(struct httpd_conn *x, struct httpd_answer *a)
{
	const char *type = a->type ? a->type : "text/plain; charset=utf-8";
	struct MHD_Response *r = make_response(x, a);
	if (!r)
		return MHD_NO;
	mhd.MHD_add_response_header(r, "Content-Type", type);
	mhd.MHD_add_response_header(r, "Cache-Control", "no-store");
	mhd.MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	for (size_t i = 0; i < a->headers_n; i++)
		mhd.MHD_add_response_header(r, a->headers[i].name, a->headers[i].value);
	enum MHD_Result rc = mhd.MHD_queue_response(x->c, a->status ? a->status : MHD_HTTP_OK, r);
	mhd.MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result refuse(struct httpd_conn *x, unsigned status, const char *text)
{
	struct httpd_answer a = { .status = status, .body = DYN_INIT(1000) };
	dyn_addf(&a.body, "%s\n", text);
	x->refused = true;
	return send_answer(x, &a);
}

/* ---- requests ---- */

const char *httpd_query(const struct httpd_request *q, const char *name)
{
	const char *value = NULL;
	size_t n = 0;
	/* One with a zero byte in it is no text. */
	if (mhd.MHD_lookup_connection_value_n(q->conn->c, MHD_GET_ARGUMENT_KIND, name, strlen(name), &value,
					      &n) != MHD_YES ||
	    !value || strlen(value) != n)
		return NULL;
	return value;
}

const char *httpd_header(const struct httpd_request *q, const char *name)
{
	return mhd.MHD_lookup_connection_value(q->conn->c, MHD_HEADER_KIND, name);
}

static const struct sockaddr *address_of(const struct httpd_conn *x)
{
	const union MHD_ConnectionInfo *i =
		mhd.MHD_get_connection_info(x->c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	return i ? i->client_addr : NULL;
}

const char *httpd_peer(const struct httpd_conn *x, char buf[HTTPD_PEER_BYTES])
{
	const struct sockaddr *a = address_of(x);
	char host[INET6_ADDRSTRLEN] = "";
	snprintf(buf, HTTPD_PEER_BYTES, "?");
	if (a && a->sa_family == AF_INET) {
		const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)a;
		inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
		snprintf(buf, HTTPD_PEER_BYTES, "%s:%u", host, ntohs(four->sin_port));
	} else if (a && a->sa_family == AF_INET6) {
		const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)a;
		if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
			inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, host, sizeof host);
		else
			inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
		bool colons = strchr(host, ':') != NULL;
		snprintf(buf, HTTPD_PEER_BYTES, "%s%s%s:%u", colons ? "[" : "", host, colons ? "]" : "",
			 ntohs(six->sin6_port));
	}
	return buf;
}

/* The library asks for a certificate, but does not insist. */
static bool certificate_is_good(const struct httpd_conn *x)
{
	unsigned status = 1;
	if (!x->h->client_certs)
		return true;
	const union MHD_ConnectionInfo *i =
		mhd.MHD_get_connection_info(x->c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	return i && i->tls_session && mhd.verify_peers(i->tls_session, &status) == 0 && status == 0;
}

static enum MHD_Result answer_later(struct httpd_conn *x)
{
	struct httpd_later *l = x->later;
	struct httpd_answer a = { .body = DYN_INIT(64 << 20) };
	x->later = NULL;
	l->answer(l, &a);
	return send_answer(x, &a);
}

static enum MHD_Result hand_over(struct httpd_conn *x, const char *url, const char *method, bool body_comes)
{
	struct httpd *h = x->h;
	const struct sockaddr *from = address_of(x);
	struct httpd_answer a = { .body = DYN_INIT(64 << 20) };
	struct httpd_request q = { .method = method,
				   .path = url,
				   .loopback = from && listen_is_loopback(from),
				   .body_comes = body_comes,
				   .body = { x->upload.p, x->upload.len },
				   .conn = x };
	q.authorization = httpd_header(&q, "Authorization");
	x->woken = false;
	h->handler(h->arg, &q, &a);
	if (body_comes && a.body_most > 0) {
		const char *length = httpd_header(&q, "Content-Length");
		if (length && strtoull(length, NULL, 10) > a.body_most)
			return refuse(x, MHD_HTTP_CONTENT_TOO_LARGE,
				      "the body is larger than what can be used");
		x->upload.max = a.body_most;
		return MHD_YES;
	}
	dyn_free(&x->upload);
	x->refused = body_comes;
	if (!a.later)
		return send_answer(x, &a);
	x->later = a.later;
	if (x->woken)
		return answer_later(x);
	suspend(x);
	return MHD_YES;
}

static enum MHD_Result begun(struct httpd *h, struct MHD_Connection *c, const char *url, const char *method,
			     void **state)
{
	struct httpd_conn *x = calloc(1, sizeof *x);
	if (!x)
		return MHD_NO;
	*x = (struct httpd_conn){ .h = h, .c = c, .watch.fd = -1, .next = h->open, .at = &h->open };
	if (x->next)
		x->next->at = &x->next;
	h->open = x;
	*state = x;
	const union MHD_ConnectionInfo *i =
		mhd.MHD_get_connection_info(c, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	if (i && i->header_size > HEADERS_BYTES)
		return refuse(x, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "headers may have 8 KiB");
	if (!certificate_is_good(x))
		return refuse(x, MHD_HTTP_FORBIDDEN, "a client certificate is needed here");
	bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
	return reads ? MHD_YES : hand_over(x, url, method, true);
}

/* The library calls when the headers are there, for each piece of the body, when all is there, and after a
 * suspension. */
static enum MHD_Result request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
			       const char *version, const char *data, size_t *data_bytes, void **state)
{
	struct httpd_conn *x = *state;
	(void)version;
	if (!x)
		return begun(cls, c, url, method, state);
	if (x->cut || x->h->closing)
		return MHD_NO;
	if (*data_bytes > 0) {
		size_t n = *data_bytes;
		*data_bytes = 0;
		if (x->refused)
			return MHD_YES;
		if (n > x->upload.max - x->upload.len)
			return MHD_NO; /* Content-Length was looked at; this one lied, or gave none */
		return dyn_add(&x->upload, data, n) < 0 ? MHD_NO : MHD_YES;
	}
	if (x->refused)
		return MHD_YES;
	struct peer *p = peer_of(c);
	if (p)
		peer_leave(x->h, p);
	if (x->later)
		return answer_later(x);
	return hand_over(x, url, method, false);
}

static const char *why_over(enum MHD_RequestTerminationCode code)
{
	if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		return "all was sent";
	if (code == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED)
		return "the receiver took nothing for 30 s";
	if (code == MHD_REQUEST_TERMINATED_DAEMON_SHUTDOWN)
		return "the server ends";
	return "the connection was closed";
}

static void completed(void *cls, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code)
{
	struct httpd *h = cls;
	struct httpd_conn *x = *state;
	struct peer *p = peer_of(c);
	*state = NULL;
	if (!x)
		return;
	unwatch_peer(x);
	if (x->next)
		x->next->at = x->at;
	*x->at = x->next;
	if (x->stream)
		x->stream->closed(x->stream, why_over(code));
	if (x->later)
		x->later->gone(x->later);
	dyn_free(&x->upload);
	free(x);
	if (p && !h->closing)
		peer_wait(h, p); /* it may ask again */
}

/* ---- beginning and ending ---- */

static int read_pem(const char *path, const char *key, struct dyn *to, struct err *e)
{
	if (!path)
		return 0;
	if (file_read_all(path, to, e) < 0)
		return err_wrap(e, "%s", key);
	if (dyn_add(to, "", 1) < 0)
		return err_set(e, ERR_FAIL, "no memory");
	if (!strstr((const char *)to->p, "-----BEGIN "))
		return err_set(e, ERR_CONFIG, "%s: %s is not in PEM form", key, path);
	return 0;
}

struct tls {
	struct dyn cert, key, ca;
};

static void tls_free(struct tls *t)
{
	if (t->key.p)
		explicit_bzero(t->key.p, t->key.len);
	dyn_free(&t->cert);
	dyn_free(&t->key);
	dyn_free(&t->ca);
}

static int tls_read(const struct httpd_options *o, struct tls *t, struct err *e)
{
	if (!o->tls_cert_file)
		return 0;
	if (mhd.MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES ||
	    (o->tls_client_ca_file && !mhd.verify_peers))
		return err_set(e, ERR_FAIL, "the libmicrohttpd of this machine cannot do TLS");
	if (read_pem(o->tls_cert_file, "tls-cert-file", &t->cert, e) < 0 ||
	    read_pem(o->tls_key_file, "tls-key-file", &t->key, e) < 0 ||
	    read_pem(o->tls_client_ca_file, "tls-client-ca-file", &t->ca, e) < 0)
		return -1;
	return 0;
}

static struct MHD_Daemon *start_daemon(struct httpd *h, int fd, const struct httpd_options *o,
				       const struct tls *t)
{
	unsigned each = o->connections_per_address ? o->connections_per_address : CONNECTIONS_PER_ADDRESS_MAX;
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (t->cert.p ? MHD_USE_TLS : 0u);
	struct MHD_OptionItem more[4] = { { MHD_OPTION_END, 0, NULL } };
	int n = 0;
	if (t->cert.p) {
		more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0, t->cert.p };
		more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0, t->key.p };
	}
	if (t->ca.p)
		more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_TRUST, 0, t->ca.p };
	more[n] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
	return mhd.MHD_start_daemon(
		flags, 0, NULL, NULL, request, h, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT, each,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)REQUEST_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_CONNECTION, connection_changed, h,
		MHD_OPTION_NOTIFY_COMPLETED, completed, h, MHD_OPTION_ARRAY, more, MHD_OPTION_END);
}

static int start(struct httpd *h, int fd, const struct httpd_options *o, struct err *e)
{
	struct sockaddr_storage at = { 0 };
	socklen_t at_bytes = sizeof at;
	struct tls t = { DYN_INIT(1 << 20), DYN_INIT(1 << 20), DYN_INIT(1 << 20) };
	getsockname(fd, (struct sockaddr *)(void *)&at, &at_bytes);
	h->is_public = !listen_is_loopback((struct sockaddr *)(void *)&at);
	h->port = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&at)->sin6_port
						 : ((struct sockaddr_in *)(void *)&at)->sin_port);
	h->client_certs = o->tls_client_ca_file != NULL;
	int rc = tls_read(o, &t, e);
	if (rc == 0 && !(h->daemon = start_daemon(h, fd, o, &t)))
		rc = t.cert.p ? err_set(e, ERR_CONFIG,
					"the HTTP server cannot be started; do the certificate %s and the key "
					"%s belong together?",
					o->tls_cert_file, o->tls_key_file)
			      : err_set(e, ERR_FAIL, "the HTTP server cannot be started");
	tls_free(&t);
	if (rc < 0) {
		close(fd);
		return -1;
	}
	const union MHD_DaemonInfo *i = mhd.MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	h->fd = (struct loop_fd){ .fd = i->epoll_fd, .ready = ready };
	h->timer = (struct loop_timer){ .fire = timed_out };
	h->late = (struct loop_timer){ .fire = too_late };
	if (loop_fd_add(h->loop, &h->fd, EPOLLIN, e) == 0)
		return 0;
	mhd.MHD_stop_daemon(h->daemon);
	return -1;
}

int httpd_open(struct loop *l, const struct httpd_options *o, httpd_handler *handler, void *arg,
	       struct httpd **ret, struct err *e)
{
	if (mhd_load(e) < 0)
		return -1;
	int fd = listen_on(o->address, e);
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
	if (start(h, fd, o, e) < 0) {
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
	h->closing = true;
	for (struct httpd_conn *x = h->open; x; x = x->next)
		resume(x); /* the library does not end with suspended ones */
	loop_fd_remove(h->loop, &h->fd);
	loop_timer_cancel(h->loop, &h->timer);
	mhd.MHD_run(h->daemon);
	mhd.MHD_stop_daemon(h->daemon);
	loop_timer_cancel(h->loop, &h->late);
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
