/* SPDX-License-Identifier: Apache-2.0
 *
 * What `addr` serves: see http.h.
 *
 * Happy path: the path is looked up in the table, the method is one of its row, the peer has access, and the
 * handler of the row answers.
 *
 * Who has access, to all that is not open: with a token-file who sends the token; else with open-to-all
 * everybody; else peers on this machine, who ask for it by a name that no stranger can have. A body is read
 * only from those.
 *
 * Failure modes: the address is not to be had (said once, tried again every 10 s); the token cannot be read
 * (said, and nobody has access until a reload finds it); no memory (500). */
#include "daemon/http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/answers.h"
#include "daemon/metrics.h"
#include "daemon/serve.h"

enum { AGAIN_US = 10000000 };

static const struct http_route routes[] = {
	{ "/", answers_page, HTTP_GET, .if_not = NULL },
	{ "/hashes", serve_hashes, HTTP_GET, .endless = true },
	{ "/healthz", metrics_answer_health, HTTP_GET, .open = true },
	{ "/metrics", metrics_answer, HTTP_GET, .open = true },
	{ "/position", answers_position, HTTP_GET, .if_not = NULL },
	{ "/status", answers_status, HTTP_GET, .if_not = NULL },
	{ "/stream", serve_stream, HTTP_GET | HTTP_POST, .endless = true, .body_most = serve_body_most,
	  .if_not = "Method not allowed" },
	{ "/wait", answers_wait, HTTP_GET, .if_not = NULL },
};

enum { STAMPS = 4 };

struct http {
	struct daemon *d;
	struct httpd *server;
	struct loop_timer again;
	bool said;
	bool open_to_all, wants_token, has_token;
	char token[CONF_TOKEN_BYTES];
	/* What was in force when it began. */
	char *addr, *cert, *key, *ca, *token_file;
	int64_t connections;
	struct {
		int64_t ns;
		ino_t ino;
	} stamps[STAMPS]; /* of the three files and the token */
};

void http_say(struct httpd_answer *ret, unsigned status, const char *fmt, ...)
{
	char text[500];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	ret->status = status;
	ret->type = NULL;
	ret->body.len = 0;
	dyn_addf(&ret->body, "%s\n", text);
}

bool http_serves(const struct daemon *d)
{
	return d->conf->addr && *d->conf->addr;
}

/* ---- access ---- */

/* Both are zeros behind their texts; takes the same time wherever they differ, and however long they are. */
static bool same_token(const char a[CONF_TOKEN_BYTES], const char b[CONF_TOKEN_BYTES])
{
	volatile unsigned char differs = 0;
	for (size_t i = 0; i < CONF_TOKEN_BYTES; i++)
		differs |= (unsigned char)(a[i] ^ b[i]);
	return differs == 0;
}

/* Base64, up to the first character that is none. Returns the bytes. */
static size_t decode(const char *text, char *out, size_t most)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	unsigned n_bits = 0;
	size_t n = 0;
	for (const char *at; *text && (at = strchr(letters, *text)) && n < most; text++) {
		bits = (bits << 6 | (uint32_t)(at - letters)) & 0xffff;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			out[n++] = (char)(bits >> n_bits);
		}
	}
	return n;
}

/* The token that was sent: Bearer TOKEN, or the password of Basic. */
static void sent_token(const char *authorization, char buf[CONF_TOKEN_BYTES])
{
	char pair[CONF_TOKEN_BYTES];
	memset(buf, 0, CONF_TOKEN_BYTES);
	if (strncasecmp(authorization, "Bearer ", 7) == 0) {
		const char *from = authorization + 7 + strspn(authorization + 7, " ");
		memcpy(buf, from, strnlen(from, CONF_TOKEN_BYTES - 1));
	} else if (strncasecmp(authorization, "Basic ", 6) == 0) {
		const char *from = authorization + 6 + strspn(authorization + 6, " ");
		size_t n = decode(from, pair, sizeof pair);
		const char *colon = memchr(pair, ':', n);
		if (colon)
			memcpy(buf, colon + 1, n - (size_t)(colon + 1 - pair));
		explicit_bzero(pair, sizeof pair);
	}
}

/* A stranger's page in a browser on this machine can ask here too, once its own name leads to 127.0.0.1 (unless
 * we need a certificate with that name). Such a name has dots; an address, localhost, this machine's own name
 * and one without a domain cannot be the stranger's. */
static bool host_is_near(const char *host)
{
	char own[256] = "";
	size_t n = host ? strcspn(host, ":") : 0;
	if (!host || host[0] == '[' || !memchr(host, '.', n) || strspn(host, "0123456789.") == n)
		return true;
	if (n > 10 && strncasecmp(host + n - 10, ".localhost", 10) == 0)
		return true;
	return gethostname(own, sizeof own - 1) == 0 && strlen(own) == n && strncasecmp(own, host, n) == 0;
}

static bool has_access(struct http *h, const struct httpd_request *q, struct httpd_answer *ret)
{
	if (h->wants_token) {
		char sent[CONF_TOKEN_BYTES];
		bool same = false;
		if (h->has_token && q->authorization) {
			sent_token(q->authorization, sent);
			same = same_token(sent, h->token);
			explicit_bzero(sent, sizeof sent);
		}
		if (same)
			return true;
		http_say(ret, 401, "a token is needed here (Authorization: Bearer TOKEN, or as the password)");
		httpd_add_header(ret, "WWW-Authenticate",
				 "Basic realm=\"walbrook\", charset=\"UTF-8\", Bearer");
		return false;
	}
	if (h->open_to_all || (q->loopback && (h->cert || host_is_near(httpd_header(q, "Host")))))
		return true;
	http_say(ret, 403,
		 q->loopback
			 ? "this is served without a token (key token-file) only to this machine, and by an "
			   "address or localhost, not by another name (or with open-to-all)"
			 : "this is served to other machines only with a token (key token-file)");
	return false;
}

/* ---- requests ---- */

static bool may(const struct http_route *r, const char *method)
{
	if (strcmp(method, "GET") == 0 || (strcmp(method, "HEAD") == 0 && !r->endless))
		return r->methods & HTTP_GET;
	return strcmp(method, "POST") == 0 && (r->methods & HTTP_POST);
}

static void refuse_method(const struct http_route *r, struct httpd_answer *ret)
{
	http_say(ret, 405, "%s", r->if_not ? r->if_not : "only GET is served here");
	httpd_add_header(ret, "Allow", "%s%s%s", r->methods & HTTP_GET ? "GET" : "",
			 r->methods & HTTP_GET && !r->endless ? ", HEAD" : "",
			 r->methods & HTTP_POST ? r->methods & HTTP_GET ? ", POST" : "POST" : "");
}

static void answer(void *arg, const struct httpd_request *q, struct httpd_answer *ret)
{
	struct http *h = arg;
	const struct http_route *r = NULL;
	for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
		if (strcmp(routes[i].path, q->path) == 0)
			r = &routes[i];
	if (!r)
		http_say(ret, 404, "404 page not found");
	else if (!may(r, q->method))
		refuse_method(r, ret);
	else if (!r->open && !has_access(h, q, ret))
		return;
	else if (q->body_comes && r->body_most)
		ret->body_most = r->body_most(h->d, q);
	else
		r->answer(h->d, q, ret);
}

/* ---- serving ---- */

static void read_token(struct http *h)
{
	struct err e = ERR_INIT;
	bool is_open = false;
	h->open_to_all = h->d->conf->open_to_all;
	h->wants_token = h->d->conf->token_file != NULL;
	memset(h->token, 0, sizeof h->token);
	h->has_token = h->wants_token && conf_token(h->d->conf, h->token, &is_open, &e) == 0;
	/* Nothing of what was read remains behind the text. */
	size_t n = strnlen(h->token, sizeof h->token);
	explicit_bzero(h->token + n, sizeof h->token - n);
	if (h->wants_token && !h->has_token)
		log_error("only /metrics and /healthz are served: the token cannot be read",
			  L_S("error", e.text));
	else if (is_open)
		log_warn("everybody on this machine may read the token",
			 L_S("token_file", h->d->conf->token_file));
}

static void say_where(const struct http *h)
{
	char url[HTTPD_HOST_BYTES + 64], host[HTTPD_HOST_BYTES];
	unsigned port;
	struct err ignore;
	httpd_address(h->addr, host, &port, &ignore);
	bool six = strchr(host, ':') != NULL;
	snprintf(url, sizeof url, "http%s://%s%s%s:%u/metrics", h->cert ? "s" : "", six ? "[" : "",
		 *host ? host : "localhost", six ? "]" : "", httpd_port(h->server));
	log_info("serving metrics on", L_S("url", url));
	if (h->open_to_all && httpd_is_public(h->server))
		log_warn("everybody who reaches this address can read the databases (open-to-all)",
			 L_S("addr", h->addr));
}

static void listen_or_wait(struct http *h)
{
	struct err e = ERR_INIT;
	struct httpd_options o = { .address = h->addr,
				   .tls_cert_file = h->cert,
				   .tls_key_file = h->key,
				   .tls_client_ca_file = h->ca,
				   .connections_per_address = (unsigned)h->connections };
	if (httpd_open(h->d->en.loop, &o, answer, h, &h->server, &e) == 0) {
		say_where(h);
		return;
	}
	if (!h->said)
		log_error("metrics are not served; trying again every 10 s", L_S("addr", h->addr),
			  L_S("error", e.text));
	h->said = true;
	loop_timer_set(h->d->en.loop, &h->again, mono_us() + AGAIN_US);
}

static void try_again(struct loop_timer *t)
{
	listen_or_wait(OWNER_OF(t, struct http, again));
}

static void take_stamps(const struct conf *c, struct http *h)
{
	const char *files[STAMPS] = { c->tls_cert_file, c->tls_key_file, c->tls_client_ca_file, c->token_file };
	for (int i = 0; i < STAMPS; i++) {
		struct stat st;
		if (!files[i] || stat(files[i], &st) < 0)
			continue;
		h->stamps[i].ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec;
		h->stamps[i].ino = st.st_ino;
	}
}

static bool keep(char **at, const char *text)
{
	return !text || (*at = strdup(text));
}

int http_open(struct daemon *d, struct http **ret, struct err *e)
{
	const struct conf *c = d->conf;
	*ret = NULL;
	if (!http_serves(d))
		return 0;
	struct http *h = calloc(1, sizeof *h);
	if (!h)
		return err_set(e, ERR_FAIL, "no memory");
	h->d = d;
	h->again = (struct loop_timer){ .fire = try_again };
	h->connections = c->connections_per_address;
	if (!keep(&h->addr, c->addr) || !keep(&h->cert, c->tls_cert_file) || !keep(&h->key, c->tls_key_file) ||
	    !keep(&h->ca, c->tls_client_ca_file) || !keep(&h->token_file, c->token_file)) {
		http_close(h);
		return err_set(e, ERR_FAIL, "no memory");
	}
	read_token(h);
	take_stamps(c, h);
	listen_or_wait(h);
	*ret = h;
	return 0;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool unchanged(const struct http *h, const struct conf *c)
{
	struct http now = { .d = NULL };
	take_stamps(c, &now);
	return same(h->addr, c->addr) && same(h->cert, c->tls_cert_file) && same(h->key, c->tls_key_file) &&
	       same(h->ca, c->tls_client_ca_file) && same(h->token_file, c->token_file) &&
	       h->connections == c->connections_per_address && h->open_to_all == c->open_to_all &&
	       (!h->wants_token || h->has_token) && memcmp(h->stamps, now.stamps, sizeof now.stamps) == 0;
}

void http_again(struct http **at, struct daemon *d)
{
	struct err e = ERR_INIT;
	if (*at ? unchanged(*at, d->conf) : !http_serves(d))
		return;
	http_close(*at);
	*at = NULL;
	if (http_open(d, at, &e) < 0)
		log_error("metrics are not served", L_S("error", e.text));
}

void http_close(struct http *h)
{
	if (!h)
		return;
	loop_timer_cancel(h->d->en.loop, &h->again);
	httpd_close(h->server);
	free(h->addr);
	free(h->cert);
	free(h->key);
	free(h->ca);
	free(h->token_file);
	explicit_bzero(h->token, sizeof h->token);
	free(h);
}
