/* SPDX-License-Identifier: Apache-2.0
 *
 * One replica of the probe.
 *
 *   1. can this version use it at all?
 *   2. a small object of our own is written at its root, where listings of the original do not look
 *   3. it is listed with its size, read back and compared, deleted, and gone from the listing
 *   4. the clock of the store and ours; room for a snapshot
 *   5. directories that were made only for the probe go away again
 *
 * The object is deleted whatever happens in between; signals that end a program wait until it is. */
#include "daemon/check.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"
#include "store/crypt.h"
#include "store/store.h"

enum { PROBE_BYTES = 4096, CLOCK_APART_S = 120, ROOM_LEAST_BYTES = 1 << 20 };

struct probe {
	const struct check *k;
	const struct conf_db *d;
	const struct conf_replica *r;
	struct store *store;
	char key[64];
	uint8_t bytes[PROBE_BYTES];
	/* what the listing said */
	bool listed;
	uint64_t listed_bytes;
	int64_t listed_us;
};

static int find_probe(void *arg, const struct store_entry *entry, struct err *e)
{
	struct probe *p = arg;
	(void)e;
	if (strcmp(entry->name, p->key) == 0) {
		p->listed = true;
		p->listed_bytes = entry->bytes;
		p->listed_us = entry->created_us;
	}
	return 0;
}

static int look(struct probe *p, struct err *e)
{
	p->listed = false;
	if (p->store->ops->list(p->store, "", find_probe, p, e) < 0)
		return err_wrap(e, "it cannot be listed");
	return 0;
}

static int read_back(struct probe *p, struct err *e)
{
	struct dyn b = DYN_INIT(2 * PROBE_BYTES);
	int rc = store_get_bytes(p->store, p->key, &b, e);
	if (rc < 0)
		err_wrap(e, "it cannot be read");
	else if (b.len != PROBE_BYTES || memcmp(b.p, p->bytes, PROBE_BYTES) != 0)
		rc = err_set(e, ERR_DAMAGED, "what was written to %s is not what is read", p->store->label);
	dyn_free(&b);
	return rc;
}

static int come_and_go(struct probe *p, struct err *e)
{
	const char *keys[] = { p->key };
	struct err ignored = ERR_INIT;
	if (store_put_bytes(p->store, p->key, (struct span){ p->bytes, PROBE_BYTES }, e) < 0)
		return err_wrap(e, "it cannot be written");
	int rc = look(p, e);
	if (rc == 0 && (!p->listed || p->listed_bytes != PROBE_BYTES))
		rc = err_set(e, ERR_FAIL, "%s: an object that was written is not in the listing",
			     p->store->label);
	if (rc == 0)
		rc = read_back(p, e);
	if (p->store->ops->remove(p->store, keys, 1, rc == 0 ? e : &ignored) < 0)
		return rc < 0 ? -1 : err_wrap(e, "nothing can be deleted in it");
	int64_t listed_us = p->listed_us;
	if (rc == 0 && (rc = look(p, e)) == 0 && p->listed)
		rc = err_set(e, ERR_FAIL, "%s: an object that was deleted is still in the listing",
			     p->store->label);
	p->listed_us = listed_us;
	return rc;
}

/* The nearest directory above the root of a file replica that is there before the probe; "" for others. */
static void find_ground(const struct conf_replica *r, char *ground)
{
	ground[0] = 0;
	if (strcmp(r->type, "file") != 0)
		return;
	snprintf(ground, PATH_BYTES, "%s", r->path);
	while (access(ground, F_OK) < 0 && strcmp(ground, "/") != 0 && path_dir(ground, ground) == 0)
		;
}

static void remove_made(const struct conf_replica *r, const char *ground)
{
	char at[PATH_BYTES];
	snprintf(at, sizeof at, "%s", r->path ? r->path : "");
	while (*ground && strlen(at) > strlen(ground) && sys_rmdir(at) == 0 && path_dir(at, at) == 0)
		;
}

static const char *fix_for(enum err_kind kind)
{
	return kind == ERR_UNREACHABLE ? "give the user of walbrook the permission to write there, or mount it"
	       : kind == ERR_SPACE     ? "make room there"
	       : kind == ERR_CONFIG    ? NULL
				       : "look at the place with other tools";
}

static void judge(const struct probe *p, uint64_t database_bytes)
{
	char shown[PATH_BYTES];
	int64_t apart_s = (p->listed_us - wall_us()) / 1000000, room = -1;
	check_say(p->k, CHECK_OK, ERR_NONE, p->d->path, p->r->name, NULL,
		  "%s: written, listed, read and deleted", conf_replica_shown(p->r, shown));
	if (apart_s > CLOCK_APART_S || apart_s < -CLOCK_APART_S)
		check_say(p->k, CHECK_WARNING, ERR_NONE, p->d->path, p->r->name,
			  "set both clocks: restore by time and retention go by them",
			  "its clock and the one of this machine are %lld seconds apart",
			  (long long)(apart_s < 0 ? -apart_s : apart_s));
	if (strcmp(p->r->type, "file") == 0)
		room = check_free_bytes(p->r->path);
	if (room >= 0 && room < ROOM_LEAST_BYTES)
		check_say(p->k, CHECK_FAIL, ERR_SPACE, p->d->path, p->r->name, "make room there",
			  "its disk is full");
	else if (room >= 0 && (uint64_t)room < database_bytes)
		check_say(p->k, CHECK_WARNING, ERR_NONE, p->d->path, p->r->name, "make room there",
			  "its disk has %lld bytes left, fewer than the database has (%llu)", (long long)room,
			  (unsigned long long)database_bytes);
}

/* Through the encryption, with a store of its own: written, and read with the keys if they can read it. */
static int sealed_come_and_go(struct probe *p, const struct age_keys *keys, int readable, struct err *e)
{
	const char *names[] = { p->key };
	struct err ignored = ERR_INIT;
	struct owner o = owner_of(p->d->path);
	struct store *plain = p->store;
	if (store_open_keyed(conf_replica_target(p->r), true, &o, keys, &p->store, e) < 0) {
		p->store = plain;
		return -1;
	}
	int rc = store_put_bytes(p->store, p->key, (struct span){ p->bytes, PROBE_BYTES }, e);
	if (rc < 0)
		err_wrap(e, "it cannot be written encrypted");
	else if (readable)
		rc = read_back(p, e);
	if (p->store->ops->remove(p->store, names, 1, rc == 0 ? e : &ignored) < 0)
		rc = -1;
	store_close(p->store);
	p->store = plain;
	return rc;
}

/* 1: encrypted, and the keys fit; 0: it is not encrypted; 2: it is, for keys that are not here. -1: *e. */
static int probe_sealed(struct probe *p, struct err *e)
{
	struct age_keys keys;
	if (conf_replica_keys(p->r, &keys, NULL, e) < 0)
		return -1;
	int readable = keys.recipients_n > 0 ? age_keys_match(&keys, e) : 0, rc = readable < 0 ? -1 : 0;
	if (keys.recipients_n > 0 && rc == 0) {
		rc = sealed_come_and_go(p, &keys, readable, e);
		rc = rc < 0 ? -1 : readable ? 1 : 2;
	}
	age_keys_free(&keys);
	return rc;
}

static void judge_sealed(const struct probe *p, int sealed)
{
	if (sealed == 1)
		check_say(p->k, CHECK_OK, ERR_NONE, p->d->path, p->r->name, NULL,
			  "encrypted with the keys of the configuration, and read back");
	if (sealed == 2)
		check_say(p->k, CHECK_WARNING, ERR_NONE, p->d->path, p->r->name,
			  "keep the identity where a restore is made, and try it there",
			  "it is encrypted for keys that are not here: nothing that is written can be read "
			  "with this "
			  "configuration");
}

static void probe_store(struct probe *p, uint64_t database_bytes)
{
	char ground[PATH_BYTES];
	struct err e = ERR_INIT;
	sigset_t ends, before;
	uint64_t random = 0;
	if (getrandom(&random, sizeof random, 0) < 0)
		random = (uint64_t)wall_us();
	snprintf(p->key, sizeof p->key, "walbrook-check-%016llx", (unsigned long long)random);
	for (size_t i = 0; i < PROBE_BYTES; i++)
		p->bytes[i] = (uint8_t)(i ^ random >> i % 8 * 8);
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ends, &before);
	find_ground(p->r, ground);
	int rc = come_and_go(p, &e), sealed = 0;
	if (rc == 0 && (sealed = probe_sealed(p, &e)) < 0)
		rc = -1;
	remove_made(p->r, ground);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0) {
		judge(p, database_bytes);
		judge_sealed(p, sealed);
	} else {
		check_say(p->k, CHECK_FAIL, e.kind, p->d->path, p->r->name, fix_for(e.kind), "%s", e.text);
	}
}

int check_open_replica(const struct conf *c, const struct conf_replica *r, const struct owner *o,
		       struct store **ret, struct err *e)
{
	/* The first probe is about the place, so it is not encrypted: a replica may be written for keys that
	 * are not here. The keys and the library must be there all the same. */
	struct age_keys keys;
	(void)c;
	if (conf_replica_keys(r, &keys, NULL, e) < 0)
		return -1;
	int rc = keys.identities_n + keys.recipients_n > 0 ? crypto_load(e) : 0;
	age_keys_free(&keys);
	return rc < 0 ? -1 : store_open(conf_replica_target(r), true, o, ret, e);
}

void check_replica(const struct check *k, const struct conf_db *d, const struct conf_replica *r,
		   uint64_t database_bytes)
{
	struct probe p = { .k = k, .d = d, .r = r };
	struct owner o = owner_of(d->path);
	struct err e = ERR_INIT;
	if (check_open_replica(k->conf, r, &o, &p.store, &e) < 0) {
		check_say(k, CHECK_FAIL, e.kind, d->path, r->name, NULL, "%s", e.text);
		return;
	}
	probe_store(&p, database_bytes);
	store_close(p.store);
}
