/* SPDX-License-Identifier: Apache-2.0
 *
 * Validation of a replica: once in a validation interval everything that a restore does is done, except that no
 * database is written: of each page only a hash is kept (8 bytes a page, nothing on disk). The same is made of
 * the database itself while it is pinned where it is exact, and the two are compared.
 *
 * Happy path (snap.c goes through its phases): the database is pinned and hashed (a read lock, as for a
 * snapshot), the replica gets everything up to that position, the drill runs, all pages are equal: counted,
 * said at info.
 *
 * Failure modes: pages differ or the replica is damaged: counted, said as an error, and a new generation
 * begins, for a backup that cannot be restored is none; the replica cannot be reached, or something else comes
 * in between: tried again soon. Only encrypted for others (recipients without identities): it cannot be read
 * here, which is said once. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/managed.h"
#include "restore/restore.h"
#include "store/crypt.h"

enum { AGAIN_US = 5000000, DRILL_MEMORY_BYTES = 16 << 20 };

struct drill {
	struct shipper *to;
	struct page_hashes database, replica;
	struct restore_result result;
	int64_t since_us;
	struct err e; /* NONE: good so far */
	bool drilled, compared;
	size_t differ;
	uint32_t first_differs;
};

static int64_t sooner(int64_t a, int64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

static bool readable(struct shipper *s)
{
	if (!s->r.blind)
		return true;
	if (!s->validate_refused)
		log_warn("the replica cannot be validated: it is encrypted, and no identity is configured that "
			 "reads it",
			 L_S("db", s->m->conf->path), L_S("replica", s->r.name));
	s->validate_refused = true;
	return false;
}

struct shipper *validate_wanted(struct managed *m, int64_t now_us, int64_t *ret_next_us)
{
	*ret_next_us = 0;
	for (size_t i = 0; i < m->ships_n && !m->en->stopping; i++) {
		struct shipper *s = &m->ships[i];
		int64_t every_us = s->conf->validation_interval_us;
		if (every_us <= 0 || !readable(s))
			continue;
		if (!s->validate_us) /* spread, so that many databases do not come at once */
			s->validate_us = now_us + every_us / 2 + (int64_t)(drand48() * (double)every_us / 2);
		bool ready = s->attached && !s->held && s->job == SHIP_NONE && !s->r.wants_snapshot &&
			     !s->misses && generation_equal(&s->r.generation, &m->generation);
		if (now_us >= s->validate_us && ready && !m->en->drill_out)
			return s;
		*ret_next_us =
			sooner(*ret_next_us, now_us >= s->validate_us ? now_us + AGAIN_US : s->validate_us);
	}
	return NULL;
}

struct drill *validate_new(struct shipper *to)
{
	struct drill *d = calloc(1, sizeof *d);
	if (!d)
		return NULL;
	d->to = to;
	d->since_us = mono_us();
	to->m->en->drill_out = true;
	return d;
}

void validate_free(struct drill *d)
{
	if (!d)
		return;
	d->to->m->en->drill_out = false;
	page_hashes_free(&d->database);
	page_hashes_free(&d->replica);
	free(d);
}

bool validate_goes_on(const struct drill *d)
{
	return d->e.kind == ERR_NONE;
}

void validate_interrupt(void)
{
	restore_interrupt();
}

void validate_database(struct drill *d, struct snapshot *s)
{
	if (!s->exact)
		err_set(&d->e, ERR_BUSY, "the database cannot be pinned now");
	else
		snapshot_hash_pages(s, &d->database, &d->e);
}

static int open_more(void *arg, struct store **ret, struct err *e)
{
	struct shipper *s = arg;
	return store_open_keyed(s->r.url, true, NULL, &s->r.keys, ret, e);
}

static int run_drill(struct drill *d, const struct snapshot *s, struct err *e)
{
	char spill[PATH_BYTES];
	struct shipper *to = d->to;
	struct restore_source source = { .name = to->r.name, .open_more = open_more, .arg = to };
	struct restore_wish w = { .output = spill,
				  .generation = s->generation,
				  .by_position = true,
				  .position = s->at,
				  .parallelism = 1,
				  .memory_bytes = DRILL_MEMORY_BYTES,
				  .owner = OWNER_PRIVATE,
				  .hashes = &d->replica };
	if (path_join(spill, to->m->meta_dir, "walbrook/drill") < 0)
		return err_set(e, ERR_CONFIG, "%s: path is too long", to->m->meta_dir);
	if (open_more(to, &source.store, e) < 0)
		return -1;
	source.how_to_name = source.store->label;
	int rc = restore_run(&source, 1, &w, &d->result, e);
	store_close(source.store);
	return rc;
}

void validate_replica(struct drill *d, const struct snapshot *s)
{
	d->drilled = true;
	d->replica.limit = d->database.n;
	if (run_drill(d, s, &d->e) < 0)
		return;
	d->compared = true;
	d->differ = page_hashes_differ(&d->database, &d->replica, &d->first_differs);
}

static void good(struct drill *d, const char *position, int64_t now_us)
{
	struct shipper *s = d->to;
	s->validation.result = VALIDATION_OK;
	s->validation.ok++;
	log_info("replica validated: a restore gives the database, page by page", L_S("db", s->m->conf->path),
		 L_S("replica", s->r.name), L_S("position", position), L_I("pages", d->database.n),
		 L_I("fetched_bytes", d->result.fetched_bytes), L_MS("elapsed", (now_us - d->since_us) / 1000));
}

static void bad(struct drill *d, const char *position)
{
	struct shipper *s = d->to;
	char text[ERR_TEXT_BYTES];
	if (d->compared)
		snprintf(text, sizeof text, "%zu of %zu pages differ, the first is page %" PRIu32, d->differ,
			 d->database.n, d->first_differs);
	else
		snprintf(text, sizeof text, "%s", d->e.text);
	s->validation.result = VALIDATION_ERROR;
	s->validation.failed++;
	log_error(
		"replica is not what the database is; a new generation follows, and walbrook verify tells more",
		L_S("db", s->m->conf->path), L_S("replica", s->r.name), L_S("position", position),
		L_S("error", text));
	s->m->begin = "validation found that a replica does not restore to the database";
}

void validate_done(struct drill *d, const struct snapshot *s, int64_t now_us)
{
	char position[POSITION_TEXT_BYTES];
	struct shipper *to = d->to;
	bool damaged = d->drilled && (d->e.kind == ERR_DAMAGED || d->e.kind == ERR_NOTHING);
	position_format(position, &s->generation, s->at);
	to->validate_us = now_us + to->conf->validation_interval_us;
	if (d->compared && d->differ == 0) {
		good(d, position, now_us);
	} else if (d->compared || damaged) {
		bad(d, position);
	} else {
		to->validate_us = now_us + AGAIN_US;
		log_debug("validation could not be finished; trying again", L_S("db", to->m->conf->path),
			  L_S("replica", to->r.name), L_S("error", d->e.text));
		return;
	}
	to->validation.wall_us = wall_us();
}
