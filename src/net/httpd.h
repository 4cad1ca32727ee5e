/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP server as a guest in the loop: no thread of its own. Requests come to one function on the loop's
 * thread, which answers from memory at once, later, or with a body that has no end. The library behind it
 * (libmicrohttpd) is loaded at the first httpd_open, so that who does not serve does not pay. */
#ifndef WB_NET_HTTPD_H
#define WB_NET_HTTPD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "rt/loop.h"

struct httpd;

/* One request from when its headers are there until it is answered whole, or its peer is gone. */
struct httpd_conn;

enum { HTTPD_PEER_BYTES = 64 };

struct httpd_request {
	const char *method;	   /* "GET", "HEAD", "POST" … */
	const char *path;	   /* "/metrics"; without the query */
	const char *authorization; /* header of that name, NULL: none. Never to be logged */
	bool loopback;		   /* the peer is on this machine */
	bool body_comes;  /* only the headers are here yet. Answer (the body is not read), or set body_most and
			     be called again */
	struct span body; /* of a POST; valid during the call */
	struct httpd_conn *conn; /* to find the request again when it is answered later */
};

/* Of a parameter of the query, decoded, or of a header. NULL: not there. Valid during the call. */
const char *httpd_query(const struct httpd_request *q, const char *name);
const char *httpd_header(const struct httpd_request *q, const char *name);
/* "192.0.2.7:5000", "[2001:db8::1]:5000". Returns buf. */
const char *httpd_peer(const struct httpd_conn *c, char buf[HTTPD_PEER_BYTES]);

/* A body whose end is not known. Embedded in a struct of whoever makes it; it has it back with `closed`, which
 * is called exactly once: read has said HTTPD_END, or the connection has ended (why: a sentence). */
enum { HTTPD_END = -1 };
struct httpd_body {
	/* Fills buf with up to n bytes. 0: nothing now; httpd_wake asks again. */
	ssize_t (*read)(struct httpd_body *b, void *buf, size_t n);
	void (*closed)(struct httpd_body *b, const char *why);
};

struct httpd_answer;

/* An answer that is not known yet. Exactly one of the two is called, and is the last that it hears: answer,
 * after httpd_wake; or gone, when the peer has left. */
struct httpd_later {
	void (*answer)(struct httpd_later *l, struct httpd_answer *ret);
	void (*gone)(struct httpd_later *l);
};

enum { HTTPD_HEADERS_MAX = 4, HTTPD_HEADER_BYTES = 200 };

/* Filled by the handler. Zero is 200, text/plain, empty. */
struct httpd_answer {
	unsigned status;
	const char *type; /* NULL: text/plain; charset=utf-8 */
	struct dyn body;
	struct httpd_body *stream; /* not NULL: the body comes from there */
	struct httpd_later *later; /* not NULL: all this is not known yet */
	size_t body_most;	   /* to body_comes: take up to so many bytes; more is answered with 413 */
	struct {
		const char *name;
		char value[HTTPD_HEADER_BYTES];
	} headers[HTTPD_HEADERS_MAX];
	size_t headers_n;
};

/* One more header of the answer; what does not fit is cut. */
void httpd_add_header(struct httpd_answer *a, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

typedef void httpd_handler(void *arg, const struct httpd_request *q, struct httpd_answer *ret);

/* Something can be sent, or the answer is known. From the loop's thread; fine at any time before `closed`,
 * `answer` or `gone`. */
void httpd_wake(struct httpd_conn *c);
/* Ends the connection now, whatever has not been sent; `closed` or `gone` follows in a later turn. */
void httpd_cut(struct httpd_conn *c);

struct httpd_options {
	const char *address; /* HOST:PORT, [IPV6]:PORT, or :PORT for all interfaces; port 0: any free one */
	const char *tls_cert_file, *tls_key_file; /* PEM; both or none */
	const char *tls_client_ca_file;		  /* clients need a certificate by one of these; NULL: not */
	unsigned connections_per_address;	  /* 0: 64 */
};

/* ERR_CONFIG: not an address, or no certificate or key there; ERR_BUSY: the port is taken; ERR_UNREACHABLE: not
 * permitted, or no such address here; ERR_FAIL: no library. */
int httpd_open(struct loop *l, const struct httpd_options *o, httpd_handler *handler, void *arg,
	       struct httpd **ret, struct err *e);
/* What is under way is cut, and each `closed` and `gone` called; NULL is fine. */
void httpd_close(struct httpd *h);
unsigned httpd_port(const struct httpd *h);
/* Whether the address is one that other machines reach. */
bool httpd_is_public(const struct httpd *h);

/* Splits an address. Writes host ("" for all) and port; false with *e (ERR_CONFIG) when it is none. */
enum { HTTPD_HOST_BYTES = 256 };
int httpd_address(const char *address, char host[HTTPD_HOST_BYTES], unsigned *ret_port, struct err *e);

#endif
