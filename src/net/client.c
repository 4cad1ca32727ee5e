/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP client: see client.h.
 *
 * Happy path: the first client_new opens libcurl.so.4 and finds every function of the list FUNCTIONS. A request
 * is a transfer in a multi handle, so that waiting for bytes can be ended from another thread
 * (curl_multi_wakeup). What arrives goes to the sink from inside the library's call, without another copy.
 *
 * A redirect is not followed: the token would go to somebody who was not named. Proxies of the environment are
 * not used, since a stream without an end does not go well through them.
 *
 * Failure modes: the library is not there (ERR_FAIL, names the package); no connection, a certificate that is
 * not trusted (ERR_UNREACHABLE, with the library's own words); silence (ERR_DEADLINE); a status other than 200
 * is an answer, with the first line of its body, which is not waited for longer than for an answer. */
#define CURL_DISABLE_TYPECHECK /* the functions are called through pointers */
#include "net/client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/library.h"

enum { BUFFER_BYTES = 256 << 10, URL_BYTES = 16 << 10, KEEPALIVE_S = 15, WAIT_MOST_US = 60000000 };

/* ---- the library ---- */

#ifndef CURL_LIBRARY /* a test names one that there is not */
#define CURL_LIBRARY "libcurl.so.4"
#endif

#define FUNCTIONS(X)                                                                                           \
	X(curl_global_init)                                                                                    \
	X(curl_easy_init)                                                                                      \
	X(curl_easy_cleanup)                                                                                   \
	X(curl_easy_reset)                                                                                     \
	X(curl_easy_setopt)                                                                                    \
	X(curl_easy_getinfo)                                                                                   \
	X(curl_easy_strerror)                                                                                  \
	X(curl_slist_append)                                                                                   \
	X(curl_slist_free_all)                                                                                 \
	X(curl_multi_init)                                                                                     \
	X(curl_multi_cleanup)                                                                                  \
	X(curl_multi_add_handle)                                                                               \
	X(curl_multi_remove_handle)                                                                            \
	X(curl_multi_perform)                                                                                  \
	X(curl_multi_poll)                                                                                     \
	X(curl_multi_wakeup)                                                                                   \
	X(curl_multi_info_read)                                                                                \
	X(curl_multi_strerror)

static struct {
#define X(name) __typeof__(&name) name##_;
	FUNCTIONS(X)
#undef X
} lib;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct err load_error; /* kind NONE: it is loaded */

static void load(void)
{
	static const struct library_function functions[] = {
#define X(name) { #name, offsetof(__typeof__(lib), name##_) },
		FUNCTIONS(X)
#undef X
	};
	static const struct library curl = { .file = CURL_LIBRARY,
					     .title = CURL_LIBRARY,
					     .user = "following",
					     .package = "libcurl4 or libcurl4t64" };
	if (library_load(&curl, functions, sizeof functions / sizeof *functions, &lib, &load_error) < 0)
		return;
	if (lib.curl_global_init_(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		err_set(&load_error, ERR_FAIL, "the library %s cannot be initialised", CURL_LIBRARY);
}

/* ---- one client ---- */

struct client {
	CURLM *multi;
	CURL *easy;
	struct curl_slist *headers;
	char *base, *token, *ca_file, *cert_file, *key_file;
	int64_t connect_us, answer_us, silence_us, silent_us;
	client_sink *sink;
	void *arg;
	struct err *e; /* of the turn: for the sink */
	bool under_way, sink_failed, line_ended;
	struct client_answer answer;
	uint64_t bytes;
	char why[CURL_ERROR_SIZE];
};

static bool is_url(const char *url)
{
	bool known = strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
	const char *host = known ? strstr(url, "://") + 3 : "";
	return *host && *host != '/' && strcspn(url, " \t\r\n") == strlen(url);
}

/* Scheme, host and port, without what could be behind. */
static char *base_of(const char *url)
{
	const char *host = strstr(url, "://") + 3;
	return strndup(url, (size_t)(host - url) + strcspn(host, "/?#"));
}

bool client_is_loopback(const char *url)
{
	static const char *const names[] = { "localhost", "127.", "[::1]" };
	const char *host = strstr(url, "://");
	host = host ? host + 3 : url;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strncasecmp(host, names[i], strlen(names[i])) == 0)
			return i != 0 || strchr(":/", host[strlen(names[i])]);
	return false;
}

static int keep(char **to, const char *text, struct err *e)
{
	*to = text ? strdup(text) : NULL;
	return !text || *to ? 0 : err_set(e, ERR_FAIL, "no memory");
}

int client_new(const struct client_options *o, struct client **ret, struct err *e)
{
	pthread_once(&once, load);
	if (load_error.kind != ERR_NONE) {
		*e = load_error;
		return -1;
	}
	if (!is_url(o->url))
		return err_set(e, ERR_CONFIG,
			       "\"%.200s\" is no URL to follow; write http://HOST:PORT or https://…", o->url);
	struct client *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(e, ERR_FAIL, "no memory");
	c->connect_us = o->connect_us;
	c->answer_us = o->answer_us;
	c->multi = lib.curl_multi_init_();
	c->easy = lib.curl_easy_init_();
	c->base = base_of(o->url);
	if (keep(&c->token, o->token, e) < 0 || keep(&c->ca_file, o->ca_file, e) < 0 ||
	    keep(&c->cert_file, o->cert_file, e) < 0 || keep(&c->key_file, o->key_file, e) < 0 || !c->multi ||
	    !c->easy || !c->base) {
		client_free(c);
		return err_set(e, ERR_FAIL, "no memory for a connection");
	}
	*ret = c;
	return 0;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	if (c->multi && c->easy)
		client_stop(c);
	if (c->easy)
		lib.curl_easy_cleanup_(c->easy);
	if (c->multi)
		lib.curl_multi_cleanup_(c->multi);
	lib.curl_slist_free_all_(c->headers);
	if (c->token)
		explicit_bzero(c->token, strlen(c->token));
	free(c->token);
	free(c->base);
	free(c->ca_file);
	free(c->cert_file);
	free(c->key_file);
	free(c);
}

/* ---- an answer ---- */

/* "Name: value" with this name: where the value begins, else NULL. */
static const char *value_of(const char *line, size_t n, const char *name)
{
	size_t k = strlen(name);
	if (n <= k || strncasecmp(line, name, k) != 0 || line[k] != ':')
		return NULL;
	return line + k + 1;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct client *c = arg;
	char line[128];
	size_t bytes = size * n, most = bytes < sizeof line - 1 ? bytes : sizeof line - 1;
	const char *v;
	memcpy(line, p, most);
	line[most] = 0;
	if (strncmp(line, "HTTP/", 5) == 0) { /* also after an interim answer */
		c->answer = (struct client_answer){ .status = 0 };
		c->line_ended = false;
	}
	if ((v = value_of(line, most, "Litestream-page-size")))
		c->answer.page_bytes = (uint32_t)strtoul(v, NULL, 10);
	if ((v = value_of(line, most, "Walbrook-Stream")))
		c->answer.extended = strtoul(v, NULL, 10) == 1;
	c->silent_us = 0;
	return bytes;
}

static void see_status(struct client *c)
{
	long status = 0;
	if (c->answer.status == 0 &&
	    lib.curl_easy_getinfo_(c->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status >= 200)
		c->answer.status = (unsigned)status;
}

static void keep_line(struct client *c, const char *p, size_t n)
{
	size_t at = strlen(c->answer.text);
	for (size_t i = 0; i < n && !c->line_ended; i++) {
		if (p[i] == '\n' || at + 1 >= sizeof c->answer.text)
			c->line_ended = true;
		else if (p[i] != '\r')
			c->answer.text[at++] = (unsigned char)p[i] < ' ' || p[i] == 0x7f ? '?' : p[i];
	}
	c->answer.text[at] = 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct client *c = arg;
	size_t bytes = size * n;
	see_status(c);
	c->bytes += bytes;
	if (c->answer.status != 200) {
		keep_line(c, p, bytes);
		return bytes;
	}
	c->silent_us = 0;
	if (c->sink(c->arg, (struct span){ (const uint8_t *)p, bytes }, c->e) == 0)
		return bytes;
	c->sink_failed = true;
	return bytes + 1; /* the library ends the transfer */
}

/* ---- a request ---- */

static int add_header(struct client *c, const char *text)
{
	struct curl_slist *more = lib.curl_slist_append_(c->headers, text);
	if (!more)
		return -1;
	c->headers = more;
	return 0;
}

static int set_headers(struct client *c, const struct client_request *q, struct err *e)
{
	char *bearer = NULL;
	lib.curl_slist_free_all_(c->headers);
	c->headers = NULL;
	int rc = add_header(c, "User-Agent: walbrook/" WALBROOK_VERSION);
	if (rc == 0 && q->lz4)
		rc = add_header(c, "Accept-Encoding: lz4");
	if (rc == 0 && q->body_bytes > 0)
		rc = add_header(c, "Expect:") | add_header(c, "Content-Type: application/octet-stream");
	if (rc == 0 && c->token) {
		rc = asprintf(&bearer, "Authorization: Bearer %s", c->token) < 0 ? -1 : add_header(c, bearer);
		if (rc == 0)
			explicit_bzero(bearer, strlen(bearer));
		free(bearer);
	}
	return rc == 0 ? 0 : err_set(e, ERR_FAIL, "no memory for a request");
}

#define SET(option, value) lib.curl_easy_setopt_(c->easy, CURLOPT_##option, value)

static void set_options(struct client *c, const struct client_request *q, const char *url)
{
	lib.curl_easy_reset_(c->easy);
	SET(URL, url);
	SET(PROTOCOLS_STR, "http,https");
	SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(FOLLOWLOCATION, 0L);
	SET(PROXY, "");
	SET(NOSIGNAL, 1L);
	SET(BUFFERSIZE, (long)BUFFER_BYTES);
	SET(CONNECTTIMEOUT_MS, (long)(c->connect_us / 1000));
	SET(TCP_KEEPALIVE, 1L);
	SET(TCP_KEEPIDLE, (long)KEEPALIVE_S);
	SET(TCP_KEEPINTVL, (long)KEEPALIVE_S);
	SET(HTTPHEADER, c->headers);
	SET(ERRORBUFFER, c->why);
	SET(HEADERFUNCTION, on_header);
	SET(HEADERDATA, c);
	SET(WRITEFUNCTION, on_body);
	SET(WRITEDATA, c);
	SET(SSL_VERIFYPEER, 1L);
	SET(SSL_VERIFYHOST, 2L);
	if (c->ca_file)
		SET(CAINFO, c->ca_file);
	if (c->cert_file)
		SET(SSLCERT, c->cert_file);
	if (c->key_file)
		SET(SSLKEY, c->key_file);
	if (q->body_bytes > 0) {
		SET(POST, 1L);
		SET(POSTFIELDSIZE_LARGE, (curl_off_t)q->body_bytes);
		SET(POSTFIELDS, q->body);
	}
}

int client_begin(struct client *c, const struct client_request *q, client_sink *sink, void *arg, struct err *e)
{
	char *url = NULL;
	client_stop(c);
	c->answer = (struct client_answer){ .status = 0 };
	c->sink = sink;
	c->arg = arg;
	c->silence_us = c->silent_us = 0;
	c->sink_failed = c->line_ended = false;
	c->why[0] = 0;
	if (set_headers(c, q, e) < 0)
		return -1;
	if (asprintf(&url, "%s%s", c->base, q->target) < 0)
		return err_set(e, ERR_FAIL, "no memory for a request");
	set_options(c, q, url);
	free(url); /* the library has a copy */
	CURLMcode rc = lib.curl_multi_add_handle_(c->multi, c->easy);
	if (rc != CURLM_OK)
		return err_set(e, ERR_FAIL, "%s: %s", c->base, lib.curl_multi_strerror_(rc));
	c->under_way = true;
	return 0;
}

void client_silence(struct client *c, int64_t silence_us)
{
	c->silence_us = silence_us;
	c->silent_us = 0;
}

void client_stop(struct client *c)
{
	if (c->under_way)
		lib.curl_multi_remove_handle_(c->multi, c->easy);
	c->under_way = false;
}

static enum client_result ended(struct client *c, CURLcode code, struct err *e)
{
	client_stop(c);
	see_status(c);
	if (c->sink_failed)
		return CLIENT_FAIL;
	if (code == CURLE_OK)
		return CLIENT_END;
	const char *why = c->why[0] ? c->why : lib.curl_easy_strerror_(code);
	enum err_kind kind = code == CURLE_OPERATION_TIMEDOUT ? ERR_DEADLINE : ERR_UNREACHABLE;
	err_set(e, kind, "%s: %s", c->base, why);
	if (code == CURLE_PEER_FAILED_VERIFICATION && (strstr(why, "issuer") || strstr(why, "self")))
		err_hint(e, "If the certificate is yours, name it, or that of who signed it, with ca-file");
	if (code == CURLE_GOT_NOTHING && strncmp(c->base, "http:", 5) == 0)
		err_hint(e, "Perhaps it speaks HTTPS");
	return CLIENT_FAIL;
}

/* Of an answer that is no content one line is enough, and it does not go on for ever: what follows a status
 * that was damaged on its way may be a stream. */
static bool refused(const struct client *c)
{
	return c->answer.status != 0 && c->answer.status != 200 &&
	       (c->line_ended || (c->answer_us > 0 && c->silent_us >= c->answer_us));
}

static enum client_result silent(struct client *c, struct err *e)
{
	int64_t most_us = c->answer.status == 0 ? c->answer_us : c->silence_us;
	if (most_us == 0 || c->silent_us < most_us)
		return CLIENT_MORE;
	client_stop(c);
	return err_set(e, ERR_DEADLINE, "%s: %s for %lld s", c->base,
		       c->answer.status == 0 ? "no answer" : "nothing has come",
		       (long long)(most_us / 1000000));
}

enum client_result client_turn(struct client *c, int64_t max_wait_us, struct err *e)
{
	int running = 0, left = 0;
	int64_t wait_us = max_wait_us < WAIT_MOST_US ? max_wait_us : WAIT_MOST_US;
	if (!c->under_way)
		return err_set(e, ERR_FAIL, "%s: no request is under way", c->base);
	c->e = e;
	int64_t from_us = mono_us();
	uint64_t before = c->bytes;
	CURLMcode rc = lib.curl_multi_perform_(c->multi, &running);
	if (rc == CURLM_OK && running && c->bytes == before && wait_us > 0) {
		from_us = mono_us();
		rc = lib.curl_multi_poll_(c->multi, NULL, 0, (int)((wait_us + 999) / 1000), NULL);
		c->silent_us += mono_us() - from_us;
		if (rc == CURLM_OK)
			rc = lib.curl_multi_perform_(c->multi, &running);
	}
	if (rc != CURLM_OK) {
		client_stop(c);
		return err_set(e, ERR_FAIL, "%s: %s", c->base, lib.curl_multi_strerror_(rc));
	}
	for (CURLMsg *m; (m = lib.curl_multi_info_read_(c->multi, &left));)
		if (m->msg == CURLMSG_DONE)
			return ended(c, m->data.result, e);
	if (c->sink_failed) {
		client_stop(c);
		return CLIENT_FAIL;
	}
	see_status(c);
	if (refused(c)) {
		client_stop(c);
		return CLIENT_END;
	}
	return silent(c, e);
}

const struct client_answer *client_answer(const struct client *c)
{
	return &c->answer;
}

uint64_t client_bytes(const struct client *c)
{
	return c->bytes;
}

void client_wake(struct client *c)
{
	lib.curl_multi_wakeup_(c->multi);
}

int client_encode(const char *text, char *buf, size_t size)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
	size_t n = 0;
	for (; *text; text++) {
		bool as_is = strchr(plain, *text) != NULL;
		if (n + (as_is ? 1 : 3) >= size)
			return -1;
		n += (size_t)snprintf(buf + n, size - n, as_is ? "%c" : "%%%02X", (unsigned char)*text);
	}
	buf[n] = 0;
	return 0;
}
