/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP server as a guest in the loop: no thread of its own. Requests come to one function on the loop's
 * thread, which answers from memory. The library behind it (libmicrohttpd) is loaded at the first httpd_open,
 * so that who does not serve does not pay. */
#ifndef WB_NET_HTTPD_H
#define WB_NET_HTTPD_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "rt/loop.h"

struct httpd;

struct httpd_request {
	const char *path;	   /* "/metrics"; without the query */
	const char *authorization; /* header of that name, NULL: none. Never to be logged */
	bool loopback;		   /* the peer is on this machine */
};

/* Filled by the handler. Zero is 200, text/plain, empty. */
struct httpd_answer {
	unsigned status;
	const char *type; /* NULL: text/plain; charset=utf-8 */
	struct dyn body;
};

/* Only GET and HEAD come here; other methods are answered with 405. */
typedef void httpd_handler(void *arg, const struct httpd_request *q, struct httpd_answer *ret);

/* address: HOST:PORT, [IPV6]:PORT, or :PORT for all interfaces; port 0: any free one. ERR_CONFIG: not an
 * address; ERR_BUSY: the port is taken; ERR_UNREACHABLE: not permitted, or no such address here; ERR_FAIL: no
 * library. */
int httpd_open(struct loop *l, const char *address, httpd_handler *handler, void *arg, struct httpd **ret,
	       struct err *e);
void httpd_close(struct httpd *h); /* open requests are cut; NULL is fine */
unsigned httpd_port(const struct httpd *h);
/* Whether the address is one that other machines reach. */
bool httpd_is_public(const struct httpd *h);

/* Splits an address. Writes host ("" for all) and port; false with *e (ERR_CONFIG) when it is none. */
enum { HTTPD_HOST_BYTES = 256 };
int httpd_address(const char *address, char host[HTTPD_HOST_BYTES], unsigned *ret_port, struct err *e);

#endif
