/* SPDX-License-Identifier: Apache-2.0
 *
 * The lineage of a database: see lineage.h.
 *
 *     walbrook-lineage 1
 *     line 5f0c6d3b9f2e4a71
 *     plain
 *     promoted 2f77a0d41c9be503 37ba5b6d12c0a1f5/0000000a:4152 2026-11-21T10:00:00.000000Z
 *
 * Failure modes: a text that is not one, in the file or from a peer (ERR_DAMAGED, with the number of the line);
 * a version that is not known (the same, and says so); no memory. */
#include "live/lineage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

#define FIRST_LINE "walbrook-lineage 1"
#define FILE_NAME "walbrook/lineage"

_Static_assert((int)GENERATION_CHARS == (int)LINEAGE_ID_CHARS, "an id looks like a generation");

void lineage_free(struct lineage *l)
{
	free(l->promotions);
	*l = (struct lineage){ .n = 0 };
}

static int random_id(char buf[LINEAGE_ID_CHARS + 1], struct err *e)
{
	uint64_t bits;
	if (getrandom(&bits, sizeof bits, 0) != sizeof bits)
		return err_sys(e, errno, "no random numbers");
	memcpy(buf, generation_from(bits).name, LINEAGE_ID_CHARS + 1);
	return 0;
}

int lineage_make(struct lineage *ret, struct err *e)
{
	*ret = (struct lineage){ .n = 0 };
	return random_id(ret->line, e);
}

static int add(struct lineage *l, const struct lineage_promotion *p, struct err *e)
{
	if (l->n == LINEAGE_PROMOTIONS_MAX)
		return err_set(e, ERR_DAMAGED, "a lineage has at most %d promotions", LINEAGE_PROMOTIONS_MAX);
	struct lineage_promotion *more = realloc(l->promotions, (l->n + 1) * sizeof *more);
	if (!more)
		return err_set(e, ERR_FAIL, "no memory");
	l->promotions = more;
	l->promotions[l->n++] = *p;
	return 0;
}

int lineage_promote(struct lineage *l, const struct generation *g, struct position at, int64_t wall_us,
		    struct err *e)
{
	struct lineage_promotion p = { .generation = *g, .at = at, .wall_us = wall_us };
	return random_id(p.id, e) < 0 ? -1 : add(l, &p, e);
}

/* ---- text ---- */

/* The next word of a line; false: there is none, or it does not fit. */
static bool word(struct cur *c, char *buf, size_t size)
{
	size_t n = 0;
	while (c->n > 0 && *c->p != ' ') {
		if (n + 1 == size || *c->p == 0)
			return false;
		buf[n++] = (char)cur_u8(c);
	}
	if (c->n > 0)
		cur_u8(c);
	buf[n] = 0;
	return n > 0;
}

static bool position(const char *text, struct generation *g, struct position *ret)
{
	char name[GENERATION_CHARS + 1] = "", index[17] = "", again[POSITION_TEXT_BYTES];
	const char *colon = strchr(text, ':');
	if (strlen(text) < GENERATION_CHARS + 3 || text[GENERATION_CHARS] != '/' || !colon)
		return false;
	memcpy(name, text, GENERATION_CHARS);
	size_t n = (size_t)(colon - text) - GENERATION_CHARS - 1;
	if (!generation_valid(name) || n == 0 || n >= sizeof index)
		return false;
	memcpy(g->name, name, sizeof name);
	memcpy(index, text + GENERATION_CHARS + 1, n);
	if (!index_parse(index, &ret->index))
		return false;
	errno = 0;
	ret->offset = strtoull(colon + 1, NULL, 10);
	/* One way of writing it only. */
	return errno == 0 && strcmp(position_format(again, g, *ret), text) == 0;
}

static bool promotion(struct cur *c, struct lineage_promotion *ret)
{
	char at[POSITION_TEXT_BYTES], when[TIME_TEXT_BYTES];
	*ret = (struct lineage_promotion){ .wall_us = 0 };
	return word(c, ret->id, sizeof ret->id) && generation_valid(ret->id) && word(c, at, sizeof at) &&
	       position(at, &ret->generation, &ret->at) && word(c, when, sizeof when) &&
	       time_parse(when, &ret->wall_us) == 0 && c->n == 0;
}

static int parse_line(struct lineage *l, unsigned number, struct cur c, struct err *e)
{
	char what[16];
	struct lineage_promotion p;
	if (number == 1) {
		if (c.n != strlen(FIRST_LINE) || memcmp(c.p, FIRST_LINE, c.n) != 0)
			return err_set(e, ERR_DAMAGED,
				       "is not a lineage, or one of a newer walbrook (the first line is not "
				       "\"%s\")",
				       FIRST_LINE);
		return 0;
	}
	bool good = word(&c, what, sizeof what);
	if (good && number == 2)
		good = strcmp(what, "line") == 0 && word(&c, l->line, sizeof l->line) &&
		       generation_valid(l->line) && c.n == 0;
	else if (good && number == 3 && c.n == 0 && strcmp(what, "plain") == 0)
		l->plain = true;
	else if (good && (good = strcmp(what, "promoted") == 0 && promotion(&c, &p)))
		return add(l, &p, e);
	return good ? 0 : err_set(e, ERR_DAMAGED, "line %u of the lineage is not one", number);
}

int lineage_parse(struct span text, struct lineage *ret, struct err *e)
{
	struct cur c = { text.p, text.n, false };
	unsigned number = 0;
	int rc = 0;
	*ret = (struct lineage){ .n = 0 };
	while (rc == 0 && c.n > 0) {
		const uint8_t *end = memchr(c.p, '\n', c.n);
		if (!end) {
			rc = err_set(e, ERR_DAMAGED, "the lineage ends inside a line");
			break;
		}
		struct span line = cur_take(&c, (size_t)(end - c.p));
		cur_u8(&c);
		rc = parse_line(ret, ++number, (struct cur){ line.p, line.n, false }, e);
	}
	if (rc == 0 && number < 2)
		rc = err_set(e, ERR_DAMAGED, "the lineage is empty");
	if (rc < 0)
		lineage_free(ret);
	return rc;
}

int lineage_text(const struct lineage *l, struct dyn *to)
{
	int rc = dyn_addf(to, "%s\nline %s\n%s", FIRST_LINE, l->line, l->plain ? "plain\n" : "");
	for (size_t i = 0; rc == 0 && i < l->n; i++) {
		const struct lineage_promotion *p = &l->promotions[i];
		char at[POSITION_TEXT_BYTES], when[TIME_TEXT_BYTES];
		rc = dyn_addf(to, "promoted %s %s %s\n", p->id, position_format(at, &p->generation, p->at),
			      time_format(when, p->wall_us, 6));
	}
	return rc;
}

/* ---- which of two ---- */

enum lineage_match lineage_compare(const struct lineage *ours, const struct lineage *other)
{
	if (strcmp(ours->line, other->line) != 0)
		return LINEAGE_OTHER;
	size_t n = ours->n < other->n ? ours->n : other->n;
	for (size_t i = 0; i < n; i++)
		if (strcmp(ours->promotions[i].id, other->promotions[i].id) != 0)
			return LINEAGE_BRANCH;
	return ours->n == other->n ? LINEAGE_SAME : ours->n < other->n ? LINEAGE_AHEAD : LINEAGE_BEHIND;
}

bool lineage_gives_way(const struct lineage *ours, const struct lineage *other)
{
	return ours->plain && ours->n == 0 && strcmp(ours->line, other->line) != 0;
}

/* ---- the file ---- */

int lineage_read(const char *meta_dir, struct lineage *ret, struct err *e)
{
	char path[PATH_BYTES];
	struct dyn text = DYN_INIT(LINEAGE_TEXT_BYTES_MAX);
	*ret = (struct lineage){ .n = 0 };
	if (path_join(path, meta_dir, FILE_NAME) < 0)
		return err_set(e, ERR_CONFIG, "%s: path is too long", meta_dir);
	int rc = file_read_all(path, &text, e);
	if (rc == 0 && lineage_parse((struct span){ text.p, text.len }, ret, e) < 0)
		rc = err_wrap(e, "%s", path);
	dyn_free(&text);
	return rc;
}

int lineage_write(const char *meta_dir, const struct owner *owner, const struct lineage *l, struct err *e)
{
	char path[PATH_BYTES];
	struct dyn text = DYN_INIT(LINEAGE_TEXT_BYTES_MAX);
	int rc = path_join(path, meta_dir, FILE_NAME) < 0
			 ? err_set(e, ERR_CONFIG, "%s: path is too long", meta_dir)
			 : 0;
	if (rc == 0 && lineage_text(l, &text) < 0)
		rc = err_set(e, ERR_FAIL, "no memory");
	if (rc == 0)
		rc = file_publish(path, text.p, text.len, owner, e);
	dyn_free(&text);
	return rc;
}

int lineage_read_or_make(const char *meta_dir, const struct owner *owner, struct lineage *ret, struct err *e)
{
	int rc = lineage_read(meta_dir, ret, e);
	if (rc == 0 || e->kind != ERR_NOTHING)
		return rc;
	*e = ERR_INIT;
	if (lineage_make(ret, e) < 0)
		return -1;
	return lineage_write(meta_dir, owner, ret, e);
}
