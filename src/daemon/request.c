/* SPDX-License-Identifier: Apache-2.0
 *
 * The line of a request:
 *
 *   walbrook/1 VERB [KEY=VALUE]…
 *   walbrook/1 sync format=json db=/var/lib/my%20app/app.db replica=s3 timeout-ms=5000
 *
 * Words are separated by one space or more. In a VALUE every byte below 0x21, `%` and 0x7f is written as % and
 * two hex digits; NUL cannot be said.
 *
 * Happy path: the version, the verb, then each key once (`db` as often as there are databases).
 *
 * Failure modes: another version (the answer says which one this is), a word that is not known, twice, or makes
 * no sense with the verb, a byte that must be encoded: all of them are an error that says so. */
#include "daemon/request.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/layout.h"

static const char *const verbs[] = {
	[REQUEST_STATUS] = "status",	 [REQUEST_SYNC] = "sync", [REQUEST_RELOAD] = "reload",
	[REQUEST_POSITION] = "position", [REQUEST_WAIT] = "wait", [REQUEST_PROMOTE] = "promote",
};
enum { VERBS = sizeof verbs / sizeof *verbs };

static bool same(struct span s, const char *text)
{
	return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

/* For messages: what fits and can be printed. Returns buf. */
static const char *shown(struct span s, char buf[64])
{
	size_t n = s.n < 60 ? s.n : 60;
	for (size_t i = 0; i < n; i++)
		buf[i] = s.p[i] > 0x20 && s.p[i] < 0x7f ? (char)s.p[i] : '?';
	buf[n] = 0;
	return buf;
}

/* The next word; n 0: there is none. */
static struct span next_word(struct cur *c)
{
	while (c->n > 0 && *c->p == ' ')
		cur_u8(c);
	size_t n = 0;
	while (n < c->n && c->p[n] != ' ')
		n++;
	return cur_take(c, n);
}

static int hex_digit(uint8_t c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* Decodes into *at and moves it behind the NUL. There is room: a value is never longer than its encoding. */
static const char *decode(struct span value, char **at)
{
	struct cur c = { value.p, value.n, false };
	char *begin = *at, *to = *at;
	while (c.n > 0) {
		uint8_t b = cur_u8(&c);
		if (b < 0x21 || b == 0x7f)
			return NULL;
		if (b == '%') {
			int high = hex_digit(cur_u8(&c)), low = hex_digit(cur_u8(&c));
			if (c.bad || high < 0 || low < 0 || (high | low) == 0)
				return NULL;
			b = (uint8_t)(high << 4 | low);
		}
		*to++ = (char)b;
	}
	*to++ = 0;
	*at = to;
	return begin;
}

static int add_db(struct request *r, const char *path, struct err *e)
{
	if (path[0] != '/')
		return err_set(e, ERR_USAGE, "the path of a database must be absolute");
	if ((r->dbs_n & (r->dbs_n - 1)) == 0) { /* full: grows at each power of two */
		const char **more = realloc(r->dbs, (r->dbs_n ? 2 * r->dbs_n : 1) * sizeof *more);
		if (!more)
			return err_set(e, ERR_FAIL, "no memory");
		r->dbs = more;
	}
	r->dbs[r->dbs_n++] = path;
	return 0;
}

static int timeout_of(const char *text, int64_t *ret_us, struct err *e)
{
	int64_t ms = 0;
	const char *p = text;
	for (; *p >= '0' && *p <= '9' && ms <= REQUEST_TIMEOUT_MAX_S * 1000LL; p++)
		ms = ms * 10 + (*p - '0');
	if (*p || p == text || ms == 0 || ms > REQUEST_TIMEOUT_MAX_S * 1000LL)
		return err_set(e, ERR_USAGE, "timeout-ms must be a number from 1 to %lld",
			       REQUEST_TIMEOUT_MAX_S * 1000LL);
	*ret_us = ms * 1000;
	return 0;
}

static int position_of(const char *text, const char **ret, struct err *e)
{
	struct generation g;
	struct position p;
	if (!position_parse(text, &g, &p))
		return err_set(e, ERR_USAGE,
			       "the position must be GENERATION/INDEX:OFFSET, as position told it");
	*ret = text;
	return 0;
}

enum { SEEN_FORMAT = 1, SEEN_REPLICA = 2, SEEN_TIMEOUT = 4, SEEN_POSITION = 8 };

static int once(unsigned *seen, unsigned bit, const char *key, struct err *e)
{
	if (*seen & bit)
		return err_set(e, ERR_USAGE, "%s is given twice", key);
	*seen |= bit;
	return 0;
}

static int take_pair(struct request *r, struct span key, const char *value, unsigned *seen, struct err *e)
{
	char buf[64];
	if (same(key, "format")) {
		if (once(seen, SEEN_FORMAT, "format", e) < 0)
			return -1;
		r->json = strcmp(value, "json") == 0;
		return r->json || strcmp(value, "text") == 0
			       ? 0
			       : err_set(e, ERR_USAGE, "format must be json or text");
	}
	if (r->verb != REQUEST_RELOAD && same(key, "db"))
		return add_db(r, value, e);
	if (r->verb == REQUEST_SYNC && same(key, "replica")) {
		r->replica = value;
		return once(seen, SEEN_REPLICA, "replica", e);
	}
	if (r->verb == REQUEST_WAIT && same(key, "position"))
		return once(seen, SEEN_POSITION, "position", e) < 0 ? -1 : position_of(value, &r->position, e);
	if (r->verb != REQUEST_STATUS && r->verb != REQUEST_RELOAD && same(key, "timeout-ms"))
		return once(seen, SEEN_TIMEOUT, "timeout-ms", e) < 0 ? -1
								     : timeout_of(value, &r->timeout_us, e);
	return err_set(e, ERR_USAGE, "%s has no key \"%s\"", verbs[r->verb], shown(key, buf));
}

static int take_word(struct request *r, struct span word, char **text, unsigned *seen, struct err *e)
{
	char buf[64];
	const uint8_t *eq = memchr(word.p, '=', word.n);
	if (!eq)
		return err_set(e, ERR_USAGE, "\"%s\" is not KEY=VALUE", shown(word, buf));
	struct span key = { word.p, (size_t)(eq - word.p) };
	struct span coded = { eq + 1, word.n - key.n - 1 };
	const char *value = decode(coded, text);
	if (!value || !*value)
		return err_set(
			e, ERR_USAGE,
			"the value of \"%s\" is empty or not encoded (%% and two hex digits for a space, a "
			"control character and %%)",
			shown(key, buf));
	return take_pair(r, key, value, seen, e);
}

static bool of_one(const struct request *r)
{
	return r->verb == REQUEST_POSITION || r->verb == REQUEST_WAIT;
}

int request_parse(struct span line, struct request *ret, struct err *e)
{
	char buf[64];
	struct cur c = { line.p, line.n, false };
	unsigned seen = 0;
	*ret = (struct request){ .timeout_us = REQUEST_TIMEOUT_S * 1000000LL };
	struct span word = next_word(&c);
	if (!same(word, REQUEST_VERSION))
		return err_set(e, ERR_USAGE,
			       "a request begins with %s, but this one with \"%s\"; this daemon is walbrook %s",
			       REQUEST_VERSION, shown(word, buf), WALBROOK_VERSION);
	word = next_word(&c);
	size_t verb = 0;
	while (verb < VERBS && !same(word, verbs[verb]))
		verb++;
	if (verb == VERBS)
		return err_set(e, ERR_USAGE,
			       "there is no request \"%s\"; there are status, sync, reload, position and wait",
			       shown(word, buf));
	ret->verb = (enum request_verb)verb;
	if (of_one(ret))
		ret->timeout_us = REQUEST_WAIT_S * 1000000LL;
	char *at = ret->text = malloc(line.n + 1);
	if (!at)
		return err_set(e, ERR_FAIL, "no memory");
	while ((word = next_word(&c)).n > 0)
		if (take_word(ret, word, &at, &seen, e) < 0)
			return -1;
	if (of_one(ret) && ret->dbs_n != 1)
		return err_set(e, ERR_USAGE, "%s takes exactly one db", verbs[verb]);
	if (ret->verb == REQUEST_WAIT && !ret->position)
		return err_set(e, ERR_USAGE, "wait takes a position");
	return 0;
}

void request_free(struct request *r)
{
	free(r->dbs);
	free(r->text);
	*r = (struct request){ .verb = REQUEST_STATUS };
}

static int write_pair(struct dyn *to, const char *key, const char *value)
{
	int rc = dyn_addf(to, " %s=", key);
	for (const char *p = value; rc == 0 && *p; p++) {
		unsigned char b = (unsigned char)*p;
		bool plain = b > 0x20 && b != '%' && b != 0x7f;
		rc = plain ? dyn_add(to, p, 1) : dyn_addf(to, "%%%02X", b);
	}
	return rc;
}

int request_write(const struct request *r, struct dyn *to)
{
	size_t from = to->len;
	int rc = dyn_addf(to, "%s %s", REQUEST_VERSION, verbs[r->verb]);
	if (rc == 0)
		rc = write_pair(to, "format", r->json ? "json" : "text");
	if (rc == 0 && (r->verb == REQUEST_SYNC || of_one(r)))
		rc = dyn_addf(to, " timeout-ms=%" PRId64, r->timeout_us / 1000);
	if (rc == 0 && r->replica)
		rc = write_pair(to, "replica", r->replica);
	if (rc == 0 && r->position)
		rc = write_pair(to, "position", r->position);
	for (size_t i = 0; rc == 0 && i < r->dbs_n; i++)
		rc = write_pair(to, "db", r->dbs[i]);
	if (rc == 0)
		rc = dyn_add(to, "\n", 1);
	return rc == 0 && to->len - from <= REQUEST_MAX_BYTES ? 0 : -1;
}

int answer_end(struct dyn *to, int code, const char *sentence)
{
	if (dyn_addf(to, "%s %d ", REQUEST_VERSION, code) < 0)
		return -1;
	size_t from = to->len;
	if (dyn_add(to, sentence, strlen(sentence)) < 0)
		return -1;
	for (size_t i = from; i < to->len; i++)
		if (to->p[i] < 0x20 || to->p[i] == 0x7f)
			to->p[i] = '?';
	return dyn_add(to, "\n", 1);
}

bool answer_end_parse(struct span line, int *ret_code, struct span *ret_sentence)
{
	struct cur c = { line.p, line.n, false };
	if (!same(next_word(&c), REQUEST_VERSION))
		return false;
	struct span code = next_word(&c);
	int n = 0;
	for (size_t i = 0; i < code.n; i++) {
		if (code.p[i] < '0' || code.p[i] > '9' || i > 2)
			return false;
		n = n * 10 + (code.p[i] - '0');
	}
	if (code.n == 0)
		return false;
	if (c.n > 0)
		cur_u8(&c); /* the space */
	*ret_code = n;
	*ret_sentence = (struct span){ c.p, c.n };
	return true;
}
