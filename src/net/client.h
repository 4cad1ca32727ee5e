/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP client for long answers, blocking on a thread of its own: one request at a time, whose body goes to a
 * sink as it comes. The library behind it (libcurl) is loaded at the first client_new, so that who does not
 * follow does not pay. */
#ifndef WB_NET_CLIENT_H
#define WB_NET_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct client;

/* Strings are copied. TLS certificates are verified always. */
struct client_options {
	const char *url;		  /* http or https, host, port; a path in it is ignored */
	const char *token;		  /* NULL: none. Never logged */
	const char *ca_file;		  /* of who signs the server's certificate; NULL: the system's */
	const char *cert_file, *key_file; /* our certificate; NULL: none */
	int64_t connect_us, answer_us;	  /* longest time for the connection, and until the headers come */
};

/* Receives the body of an answer with status 200. Non-zero ends the request with *e. */
typedef int client_sink(void *arg, struct span piece, struct err *e);

struct client_request {
	const char *target; /* "/stream?path=…", encoded (see client_encode) */
	bool lz4;	    /* Accept-Encoding: lz4 */
	const uint8_t *body;
	size_t body_bytes; /* not 0: POST; borrowed until the request ends */
};

struct client_answer {
	unsigned status;     /* 0: has not come */
	uint32_t page_bytes; /* Litestream-page-size; 0: not said */
	bool extended;	     /* Walbrook-Stream: 1 */
	char text[256];	     /* not 200: the first line of the body, printable */
};

/* ERR_CONFIG: not a URL for this, or a file that cannot be used; ERR_FAIL: no library. */
int client_new(const struct client_options *o, struct client **ret, struct err *e);
void client_free(struct client *c);

/* Begins a request; one that is under way is ended. */
int client_begin(struct client *c, const struct client_request *q, client_sink *sink, void *arg, struct err *e);
/* After so much time without a byte the request fails (ERR_DEADLINE). 0: never. Time in the sink does not
 * count. */
void client_silence(struct client *c, int64_t silence_us);

enum client_result {
	CLIENT_FAIL = -1, /* *e: ERR_UNREACHABLE, ERR_DEADLINE, or what the sink said */
	CLIENT_MORE = 0,
	CLIENT_END, /* the answer is complete */
};
/* Takes what has come, waiting no longer than this. Returns early when client_wake is called. */
enum client_result client_turn(struct client *c, int64_t max_wait_us, struct err *e);
const struct client_answer *client_answer(const struct client *c);
uint64_t client_bytes(const struct client *c); /* of bodies, received since client_new */
void client_stop(struct client *c);	       /* ends the request; the connection may be used again */
void client_wake(struct client *c);	       /* from any thread, while c is not being freed */

/* Percent-encodes a value for a query; -1: does not fit. */
int client_encode(const char *text, char *buf, size_t size);
/* Whether the host of the URL is this machine. */
bool client_is_loopback(const char *url);

#endif
