/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers over HTTP: see answers.h.
 *
 * Happy path: the page and a position that is known are answered at once; the status in pieces, as fast as the
 * peer takes them; a position that is not known or reached yet when it is (daemon/reach).
 *
 * Failure modes: a parameter that is missing or none (400), a database that there is not (404) or that has no
 * position (503), a position of another generation (409), the time is over (504; of a position: 503), a peer
 * that leaves (forgotten), no memory (500). */
#include "daemon/answers.h"

#include <stdlib.h>
#include <string.h>

#include "conf/options.h"
#include "daemon/page.h"
#include "daemon/reach.h"
#include "daemon/show.h"

enum { BODY_BYTES_MAX = 64 << 20, PIECE_BYTES_MAX = 16 << 20 };

static void no_memory(struct httpd_answer *ret)
{
	dyn_free(&ret->body);
	http_say(ret, 500, "no memory for the answer");
}

void answers_page(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret)
{
	(void)q;
	ret->type = "text/html; charset=utf-8";
	httpd_add_header(ret, "Content-Security-Policy", "%s", page_csp());
	httpd_add_header(ret, "Content-Security-Policy",
			 "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
	httpd_add_header(ret, "Referrer-Policy", "no-referrer");
	ret->body.max = BODY_BYTES_MAX;
	if (page_write(d, &ret->body) < 0)
		no_memory(ret);
}

/* ---- the status, in pieces ---- */

struct status_stream {
	struct httpd_body body;
	struct daemon *d;
	struct request request;
	struct show show;
	struct dyn out;
	size_t sent; /* of out */
	bool last;
};

static ssize_t status_read(struct httpd_body *b, void *buf, size_t n)
{
	struct status_stream *s = OWNER_OF(b, struct status_stream, body);
	if (s->sent == s->out.len) {
		s->out.len = s->sent = 0;
		if (s->last)
			return HTTPD_END;
		int made = show_status_some(&s->show, s->d);
		if (made < 0)
			return HTTPD_END;
		s->last = made > 0;
	}
	size_t part = s->out.len - s->sent < n ? s->out.len - s->sent : n;
	memcpy(buf, s->out.p + s->sent, part);
	s->sent += part;
	return (ssize_t)part;
}

static void status_free(struct status_stream *s)
{
	request_free(&s->request);
	dyn_free(&s->out);
	free(s);
}

static void status_closed(struct httpd_body *b, const char *why)
{
	(void)why;
	status_free(OWNER_OF(b, struct status_stream, body));
}

/* One database instead of all, as if a client of the socket had asked for it. */
static bool take_path(struct request *r, const char *path)
{
	if (!path)
		return true;
	r->text = strdup(path);
	r->dbs = calloc(1, sizeof *r->dbs);
	if (!r->text || !r->dbs)
		return false;
	r->dbs[0] = r->text;
	r->dbs_n = 1;
	return true;
}

void answers_status(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret)
{
	struct status_stream *s = calloc(1, sizeof *s);
	struct err e;
	if (!s) {
		no_memory(ret);
		return;
	}
	*s = (struct status_stream){ .body = { .read = status_read, .closed = status_closed },
				     .d = d,
				     .request = { .verb = REQUEST_STATUS, .json = true },
				     .out = DYN_INIT(PIECE_BYTES_MAX) };
	if (!take_path(&s->request, httpd_query(q, "path"))) {
		status_free(s);
		no_memory(ret);
	} else if (show_status_begin(&s->show, d, &s->request, &s->out, &e) < 0) {
		status_free(s);
		http_say(ret, 404, "%s", e.text);
	} else {
		s->show.bare = true;
		ret->type = "application/json";
		ret->stream = &s->body;
	}
}

/* ---- positions ---- */

struct waiter {
	struct httpd_later later;
	struct httpd_conn *conn;
	struct reach reach;
	bool asks;
	enum reach_result result;
	char why[ERR_TEXT_BYTES];
};

static unsigned status_of(const struct waiter *w)
{
	switch (w->result) {
	case REACH_DONE:
		return 200;
	case REACH_OTHER:
		return 409;
	case REACH_LATE:
		return w->asks ? 503 : 504;
	case REACH_CANNOT:
	case REACH_NOT_YET:
	default:
		return 503;
	}
}

static void tell(const struct waiter *w, struct httpd_answer *ret)
{
	char buf[POSITION_TEXT_BYTES];
	unsigned status = status_of(w);
	if (w->result == REACH_DONE)
		http_say(ret, status, "%s", position_format(buf, &w->reach.generation, w->reach.at));
	else
		http_say(ret, status, "%s", w->why);
	if (status == 503)
		httpd_add_header(ret, "Retry-After", "1");
}

static void later_answer(struct httpd_later *l, struct httpd_answer *ret)
{
	struct waiter *w = OWNER_OF(l, struct waiter, later);
	tell(w, ret);
	free(w);
}

static void later_gone(struct httpd_later *l)
{
	struct waiter *w = OWNER_OF(l, struct waiter, later);
	reach_cancel(&w->reach);
	free(w);
}

static void reach_ended(struct reach *r, enum reach_result result, const struct err *e)
{
	struct waiter *w = OWNER_OF(r, struct waiter, reach);
	w->result = result;
	if (result != REACH_DONE)
		memcpy(w->why, e->text, sizeof w->why);
	httpd_wake(w->conn);
}

/* The parameters of both. NULL: something is wrong with them, and *ret says so. */
static const char *take_parameters(struct daemon *d, const struct httpd_request *q, int64_t *ret_us,
				   struct httpd_answer *ret)
{
	const char *path = httpd_query(q, "path"), *timeout = httpd_query(q, "timeout");
	struct err e;
	*ret_us = REQUEST_WAIT_S * 1000000LL;
	if (!path || !*path)
		http_say(ret, 400, "path=DATABASE is missing");
	else if (timeout && (duration_parse(timeout, ret_us, &e) < 0 || *ret_us < 1000 ||
			     *ret_us > REQUEST_TIMEOUT_MAX_S * 1000000LL))
		http_say(ret, 400, "timeout must be a duration from 1ms to 24h, for example 2s");
	else if (!set_find(d, path))
		http_say(ret, 404, "%s is not a database of this daemon", path);
	else
		return path;
	return NULL;
}

static void begin(struct waiter *w, struct daemon *d, const struct httpd_request *q, const char *path,
		  int64_t timeout_us, struct httpd_answer *ret)
{
	struct err e = ERR_INIT;
	w->conn = q->conn;
	w->later = (struct httpd_later){ .answer = later_answer, .gone = later_gone };
	w->result = w->asks ? reach_position(&w->reach, d, path, timeout_us, reach_ended, &e)
			    : reach_wait(&w->reach, d, path, timeout_us, reach_ended, &e);
	if (w->result == REACH_NOT_YET) {
		ret->later = &w->later;
		return;
	}
	memcpy(w->why, e.text, sizeof w->why);
	tell(w, ret);
	free(w);
}

void answers_position(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret)
{
	int64_t timeout_us;
	const char *path = take_parameters(d, q, &timeout_us, ret);
	struct waiter *w = path ? calloc(1, sizeof *w) : NULL;
	if (path && !w)
		no_memory(ret);
	if (!w)
		return;
	w->asks = true;
	begin(w, d, q, path, timeout_us, ret);
}

void answers_wait(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret)
{
	const char *position = httpd_query(q, "position");
	struct generation g;
	struct position at;
	int64_t timeout_us;
	const char *path = take_parameters(d, q, &timeout_us, ret);
	if (!path)
		return;
	if (!position || !position_parse(position, &g, &at)) {
		http_say(ret, 400, "position=GENERATION/INDEX:OFFSET is missing or none");
		return;
	}
	struct waiter *w = calloc(1, sizeof *w);
	if (!w) {
		no_memory(ret);
		return;
	}
	w->reach.generation = g;
	w->reach.at = at;
	begin(w, d, q, path, timeout_us, ret);
}
