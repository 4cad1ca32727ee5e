/* SPDX-License-Identifier: Apache-2.0
 *
 * The page for people: see page.h.
 *
 * Happy path: one look at all databases for the sums and for who needs somebody; then the rows: the database,
 * what it follows, its replicas, its followers. Each value is what status shows, in the same words, and every
 * text that is not ours goes through html_text. The frame around it (page/) is made into text at build time.
 *
 * Failure modes: no memory (the caller answers 500). */
#include "daemon/page.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/html.h"
#include "daemon/page/text.h"
#include "daemon/show.h"
#include "daemon/words.h"
#include "net/httpd.h"

static_assert(sizeof page_policy <= HTTPD_HEADER_BYTES, "the policy is a header");

/* What is said of all together. */
struct sums {
	size_t needs, replicas, followers, upstreams;
};

struct page {
	const struct daemon *d;
	struct dyn *to;
	bool failed;
	struct status_now now;
	struct sums n;
};

/* ---- pieces ---- */

static void put(struct page *p, const char *html)
{
	p->failed = p->failed || dyn_add(p->to, html, strlen(html)) < 0;
}

/* Only numbers and words of ours. */
static void putf(struct page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void putf(struct page *p, const char *fmt, ...)
{
	char buf[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(buf, sizeof buf, fmt, ap);
	va_end(ap);
	put(p, buf);
}

static void text(struct page *p, const char *s)
{
	p->failed = p->failed || html_text(p->to, s) < 0;
}

/* A number with its noun. */
static void count(struct page *p, size_t n, const char *one, const char *many)
{
	putf(p, "%zu %s", n, n == 1 ? one : many);
}

enum mood { OK, OFF, WARN, BAD };

static void word(struct page *p, enum mood mood, const char *s)
{
	static const char *const names[] = { [OK] = "ok", [OFF] = "off", [WARN] = "warn", [BAD] = "bad" };
	putf(p, "<b class=\"s %s\">", names[mood]);
	text(p, s);
	put(p, "</b>");
}

/* ---- the graph ---- */

enum { FAR_US = 3000000 }; /* a lag that stands out */
enum { SLOT_WIDE = 2, HIGH = 22, LEAST_HIGH = 2, MOST_LOG = 22 };

/* Height for a lag: each tenfold is the same step, 1 ms the least that is seen and an hour the top. */
static int height(uint32_t ms)
{
	if (ms == 0)
		return 0;
	int log = 31 - __builtin_clz(ms);
	int sixteenths = log * 16 + (int)((((uint64_t)ms << 4) >> log) & 15);
	int h = LEAST_HIGH + sixteenths * (HIGH - LEAST_HIGH) / (MOST_LOG * 16);
	return h < HIGH ? h : HIGH;
}

/* Steps along the slots; what is not known is left out. closed: down to the ground, to be filled. */
static void steps(struct page *p, const uint32_t ms[LAG_SLOTS])
{
	int at = -1; /* height of the step before; -1: none */
	put(p, "<path d=\"");
	for (int i = 0; i < LAG_SLOTS; i++) {
		int h = ms[i] == LAG_UNKNOWN ? -1 : height(ms[i]);
		if (h == at)
			continue;
		if (at >= 0)
			putf(p, "H%d", i * SLOT_WIDE);
		if (h < 0)
			putf(p, "V%dZ", HIGH);
		else if (at < 0)
			putf(p, "M%d %dV%d", i * SLOT_WIDE, HIGH, HIGH - h);
		else
			putf(p, "V%d", HIGH - h);
		at = h;
	}
	if (at >= 0)
		putf(p, "H%dV%dZ", LAG_SLOTS * SLOT_WIDE, HIGH);
	put(p, "\"/>");
}

static uint32_t most_of(const uint32_t ms[LAG_SLOTS])
{
	uint32_t most = 0;
	for (int i = 0; i < LAG_SLOTS; i++)
		if (ms[i] != LAG_UNKNOWN && ms[i] > most)
			most = ms[i];
	return most;
}

/* Filled: of the replicas, or of a copy; a line: of followers. */
static void graph(struct page *p, const struct managed *m)
{
	uint32_t ms[LAG_SLOTS], of_followers[LAG_SLOTS];
	char age[WORDS_BYTES];
	lag_read(&m->lag, p->now.mono_us, ms);
	lag_read(&m->followers_lag, p->now.mono_us, of_followers);
	uint32_t most = most_of(ms), line = most_of(of_followers);
	most = most > line ? most : line;
	words_age(age, (int64_t)most * 1000);
	putf(p,
	     "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Lag of the "
	     "last "
	     "5 minutes\">",
	     LAG_SLOTS * SLOT_WIDE, HIGH);
	steps(p, ms);
	if (line)
		steps(p, of_followers);
	put(p, "</svg>");
	if (most)
		putf(p, "<i>most %s</i>", age);
}

/* ---- rows ---- */

static void cell_position(struct page *p, const struct generation *g, struct position at)
{
	char buf[WORDS_BYTES];
	putf(p, "<td class=\"p\">%s</td>", generation_none(g) ? "" : words_position(buf, at));
}

static void cell_lag(struct page *p, const char *lag)
{
	putf(p, "<td class=\"n l%s\">%s</td>", strcmp(lag, "0s") == 0 ? " z" : "",
	     strcmp(lag, "-") == 0 ? "" : lag);
}

static void cell_behind(struct page *p, uint64_t bytes)
{
	char buf[WORDS_BYTES];
	putf(p, "<td class=\"n b%s\">%s</td>", bytes ? "" : " z", words_bytes(buf, bytes));
}

static enum mood upstream_mood(const struct status_upstream *u)
{
	if (words_upstream_needs(u))
		return u->seen.state == UPSTREAM_REFUSED ? BAD : WARN;
	return u->seen.known ? OK : OFF;
}

static enum mood db_mood(const struct status_db *db, const struct status_upstream *up)
{
	if (up)
		return upstream_mood(up);
	if (db->state == DB_BROKEN)
		return BAD;
	if (words_db_needs(db))
		return WARN;
	return db->state == DB_WAITING ? OFF : OK;
}

static void row_db(struct page *p, const struct managed *m, const struct status_db *db,
		   const struct status_upstream *up)
{
	char age[WORDS_BYTES];
	const char *lag = up				     ? words_upstream_lag(age, up)
			  : generation_none(&db->generation) ? ""
							     : words_age(age, db->oldest_unshipped_age_us);
	const char *slash = strrchr(db->path, '/');
	size_t dir = slash ? (size_t)(slash - db->path) + 1 : 0;
	char *parent = strndup(db->path, dir);
	put(p, "<tr class=\"d\"><th scope=\"rowgroup\"><span>");
	text(p, parent ? parent : "");
	put(p, "</span><b>");
	text(p, db->path + dir);
	put(p, "</b></th><td class=\"w\">");
	free(parent);
	word(p, db_mood(db, up), db->state_name);
	put(p, "</td>");
	cell_position(p, &db->generation, db->captured);
	cell_lag(p, lag);
	putf(p, "<td class=\"n b\"></td><td class=\"g\">");
	if (!generation_none(&db->generation))
		graph(p, m);
	put(p, "</td></tr>");
}

static void row_upstream(struct page *p, const struct status_upstream *u)
{
	const struct upstream_seen *s = &u->seen;
	char buf[WORDS_BYTES];
	put(p, "<tr class=\"r\"><th scope=\"row\">from <b>");
	text(p, u->url);
	put(p, "</b> ");
	text(p, u->path);
	put(p, "</th><td class=\"w\">");
	word(p, upstream_mood(u), words_upstream(u));
	put(p, "</td>");
	cell_position(p, &s->generation, s->applied);
	cell_lag(p, words_upstream_lag(buf, u));
	if (s->known)
		cell_behind(p, u->behind_bytes);
	else
		put(p, "<td class=\"n b\"></td>");
	putf(p, "<td class=\"g\">");
	if (s->state == UPSTREAM_COPYING && s->copy_total_bytes > 0)
		putf(p, "%s of ", words_bytes(buf, s->copy_bytes));
	if (s->state == UPSTREAM_COPYING)
		putf(p, "%s copied",
		     words_bytes(buf, s->copy_total_bytes ? s->copy_total_bytes : s->copy_bytes));
	else if (s->received_bytes > 0)
		putf(p, "%" PRIu64 " transactions, %s received", s->transactions,
		     words_bytes(buf, s->received_bytes));
	put(p, "</td></tr>");
}

static void row_replica(struct page *p, const struct status_db *db, const struct status_replica *r)
{
	char buf[WORDS_BYTES];
	const char *says = words_replica(buf, db, r);
	enum mood mood = words_replica_needs(r) ? BAD : !r->attached || !r->restorable ? OFF : OK;
	put(p, "<tr class=\"r\"><th scope=\"row\">replica <b>");
	text(p, r->name);
	put(p, "</b></th><td class=\"w\">");
	word(p, mood, strcmp(says, "-") == 0 ? "waits" : says);
	put(p, "</td>");
	cell_position(p, &r->generation, r->at);
	cell_lag(p, words_lag(buf, db, r));
	if (generation_none(&r->generation))
		put(p, "<td class=\"n b\"></td>");
	else
		cell_behind(p, r->behind_bytes);
	put(p, "<td class=\"g\">");
	if (r->snapshot_at.index != UINT64_MAX)
		putf(p, "snapshot %s old", words_age(buf, p->now.wall_us - r->snapshot_wall_us));
	if (r->stored_bytes > 0)
		putf(p, "%s%s shipped", r->snapshot_at.index != UINT64_MAX ? ", " : "",
		     words_bytes(buf, r->stored_bytes));
	put(p, "</td></tr>");
}

static void row_follower(struct page *p, const struct live_follower *f)
{
	char buf[WORDS_BYTES];
	bool far = f->lag_us > FAR_US;
	put(p, "<tr class=\"r\"><th scope=\"row\">to <b>");
	text(p, f->peer);
	put(p, f->extended ? "</b></th><td class=\"w\">" : "</b>, plain</th><td class=\"w\">");
	word(p, far ? WARN : f->phase == LIVE_FOLLOWS ? OK : OFF, words_follower(f));
	put(p, "</td>");
	cell_position(p, &f->generation, f->at);
	cell_lag(p, words_age(buf, f->lag_us));
	cell_behind(p, f->behind_bytes);
	putf(p, "<td class=\"g\">%s sent", words_bytes(buf, f->bytes));
	putf(p, " in %s</td></tr>", words_age(buf, p->now.wall_us - f->since_wall_us));
}

static void rows_followers(struct page *p, const struct managed *m)
{
	struct words_followers f;
	words_worst_followers(m, p->now, &f);
	for (size_t i = 0; i < f.n; i++) {
		put(p, "\n");
		row_follower(p, &f.worst[i]);
	}
	if (f.all > f.n)
		putf(p,
		     "\n<tr class=\"r\"><th scope=\"row\" colspan=\"6\">and %zu more followers, not further "
		     "behind</th></tr>",
		     f.all - f.n);
}

static void rows_of(struct page *p, const struct managed *m)
{
	struct status_db db;
	status_of_db(m, p->now, &db);
	struct status_upstream up;
	bool followed = status_of_upstream(m, p->now, &up);
	put(p, "<tbody>\n");
	row_db(p, m, &db, followed ? &up : NULL);
	if (followed) {
		put(p, "\n");
		row_upstream(p, &up);
	}
	for (size_t i = 0; i < db.replicas_n; i++) {
		struct status_replica r;
		status_of_replica(&m->ships[i], p->now, &r);
		put(p, "\n");
		row_replica(p, &db, &r);
	}
	rows_followers(p, m);
	put(p, "</tbody>\n");
}

/* ---- what is said of all ---- */

static bool needs(struct page *p, const struct managed *m, bool add)
{
	struct status_db db;
	status_of_db(m, p->now, &db);
	struct status_upstream up;
	bool followed = status_of_upstream(m, p->now, &up);
	bool bad = words_db_needs(&db) || (followed && words_upstream_needs(&up));
	for (size_t i = 0; i < db.replicas_n; i++) {
		struct status_replica r;
		status_of_replica(&m->ships[i], p->now, &r);
		bad = bad || words_replica_needs(&r);
	}
	if (add) {
		p->n.needs += bad;
		p->n.replicas += db.replicas_n;
		p->n.upstreams += followed;
		p->n.followers += m->live ? live_count(m->live) : 0;
	}
	return bad;
}

static void header(struct page *p)
{
	struct status_daemon me;
	char host[256] = "", at[TIME_TEXT_BYTES], age[WORDS_BYTES];
	status_of_daemon(p->d, &me);
	gethostname(host, sizeof host - 1);
	put(p, "<header><h1>walbrook<small>");
	text(p, host);
	put(p, "</small></h1><p>");
	if (me.stopping)
		word(p, WARN, "stopping");
	else if (p->n.needs == 0)
		word(p, OK, "all is well");
	else
		putf(p, "<b class=\"s bad\">%zu of %zu %s attention</b>", p->n.needs, me.databases,
		     p->n.needs == 1 ? "needs" : "need");
	put(p, " &nbsp; ");
	count(p, me.databases, "database", "databases");
	if (p->n.upstreams)
		putf(p, " (%zu followed)", p->n.upstreams);
	put(p, ", ");
	count(p, p->n.replicas, "replica", "replicas");
	if (p->n.followers) {
		put(p, ", ");
		count(p, p->n.followers, "follower", "followers");
	}
	putf(p, "</p><p>%s, up %s, as of %s</p></header>\n", me.version,
	     words_age(age, p->now.wall_us - me.started_wall_us), words_when(at, p->now.wall_us));
}

/* The sentences of status: what is wrong, and behind it what to do. */
static void sentences(struct page *p, const struct managed *m)
{
	struct dyn lines = DYN_INIT(1 << 20);
	bool open = false;
	show_trouble(m, p->now, &lines);
	p->failed = p->failed || dyn_add(&lines, "", 1) < 0;
	for (char *at = (char *)lines.p, *end; !p->failed && (end = strchr(at, '\n')); at = end + 1) {
		*end = 0;
		bool more = strncmp(at, "   ", 3) == 0; /* the first space is the kind of the line */
		if (!more)
			put(p, open ? "</li><li>" : "<li>");
		open = true;
		put(p, more ? "<span>" : "");
		text(p, at + (more ? 3 : 1));
		put(p, more ? "</span>" : "");
	}
	put(p, open ? "</li>\n" : "");
	dyn_free(&lines);
}

static void trouble(struct page *p)
{
	if (p->n.needs == 0)
		return;
	put(p, "<section><h2>What needs somebody</h2><ul>\n");
	size_t said = 0;
	for (size_t i = 0; i < p->d->n && said < PAGE_DATABASES_MOST; i++)
		if (needs(p, p->d->dbs[i], false)) {
			sentences(p, p->d->dbs[i]);
			said++;
		}
	put(p, "</ul></section>\n");
}

static void table(struct page *p)
{
	static const char titles[] =
		"<table><caption>Databases, what they follow, their replicas and their followers</caption>\n"
		"<thead><tr><th scope=\"col\">Database</th><th scope=\"col\">State</th>"
		"<th scope=\"col\">Position</th><th scope=\"col\" class=\"n\">Lag</th>"
		"<th scope=\"col\" class=\"n\">Behind</th><th scope=\"col\">Last 5 minutes</th></tr></thead>\n";
	const struct daemon *d = p->d;
	size_t shown = 0, fine = p->n.needs < PAGE_DATABASES_MOST ? PAGE_DATABASES_MOST - p->n.needs : 0;
	put(p, titles);
	for (size_t i = 0; i < d->n && shown < PAGE_DATABASES_MOST; i++) {
		bool bad = needs(p, d->dbs[i], false);
		if (!bad && fine == 0)
			continue;
		fine -= !bad;
		rows_of(p, d->dbs[i]);
		shown++;
	}
	put(p, "</table>\n");
	if (shown < d->n)
		putf(p,
		     "<p>And %zu more, %s. <a href=\"/status\">/status</a> and walbrook status show all.</p>\n",
		     d->n - shown, p->n.needs > shown ? "some of which need attention" : "which are well");
}

int page_write(const struct daemon *d, struct dyn *to)
{
	struct page p = { .d = d, .to = to, .now = status_now() };
	for (size_t i = 0; i < d->n; i++) {
		status_sample_followers(d->dbs[i], p.now);
		needs(&p, d->dbs[i], true);
	}
	put(&p, page_part[0]);
	if (p.n.needs)
		putf(&p, "%zu of %zu need attention - ", p.n.needs, d->n);
	put(&p, "walbrook");
	put(&p, page_part[1]);
	put(&p, "<main>\n");
	header(&p);
	trouble(&p);
	table(&p);
	put(&p, "<footer><p>The graphs show the lag of the last five minutes, from a millisecond to an hour in "
		"steps of ten times. A line: followers. <a href=\"/status\">JSON</a>, "
		"<a href=\"/metrics\">metrics</a></p></footer>\n</main>");
	put(&p, page_part[2]);
	return p.failed ? -1 : 0;
}

const char *page_csp(void)
{
	return page_policy;
}
