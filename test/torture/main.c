/* SPDX-License-Identifier: Apache-2.0
 *
 * torture -secs N -seed S -walbrook PATH [-dir DIR] [-round R]
 *
 * Rounds until the time is over, each with its own database, writers and configuration (plan.c, round.c); then
 * a table of what was met. It fails on the first broken promise, and, from 60 s on, when a kind of event never
 * happened. On a failure the directory of the round stays. It ends by itself within N + 60 s, whatever hangs.
 *
 * The seed fixes configurations and the order of actions; what the processes do in between is real, so the same
 * seed makes a failure likely again, not certain. -round R plays only that round. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include "torture.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

enum { GRACE_S = 55, NEEDS_ALL_KINDS_S = 60, ROUND_MS = 9000 };

struct options {
	uint64_t secs, seed, id, floor, when;
	int64_t round;
	bool has_seed;
	const char *walbrook, *dir, *role, *shared, *out;
};

static void on_alarm(int sig)
{
	(void)sig;
	static const char text[] = "torture: FAIL  the watchdog ended the run\n";
	proc_kill_all();
	if (write(1, text, sizeof text - 1) < 0)
		_exit(3);
	_exit(1);
}

static int usage(void)
{
	fprintf(stderr, "usage: torture -secs N [-seed S] -walbrook PATH [-dir DIR] [-round R]\n");
	return 2;
}

static int parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		const char *k = argv[i], *v = argv[i + 1];
		uint64_t n = strtoull(v, NULL, 10);
		if (strcmp(k, "-secs") == 0)
			o->secs = n;
		else if (strcmp(k, "-seed") == 0)
			o->seed = n, o->has_seed = true;
		else if (strcmp(k, "-round") == 0)
			o->round = (int64_t)n;
		else if (strcmp(k, "-walbrook") == 0)
			o->walbrook = v;
		else if (strcmp(k, "-dir") == 0)
			o->dir = v;
		else if (strcmp(k, "-role") == 0)
			o->role = v;
		else if (strcmp(k, "-shared") == 0)
			o->shared = v;
		else if (strcmp(k, "-out") == 0)
			o->out = v;
		else if (strcmp(k, "-id") == 0)
			o->id = n;
		else if (strcmp(k, "-floor") == 0)
			o->floor = n;
		else if (strcmp(k, "-when") == 0)
			o->when = n;
		else
			return -1;
	}
	return argc % 2 == 1 ? 0 : -1;
}

static int play_role(const struct options *o)
{
	struct shared *sh = o->shared ? shared_map(o->shared) : NULL;
	if (!sh)
		return 2;
	int rc = 2;
	if (strcmp(o->role, "writer") == 0) {
		rc = writer_main(sh, (uint32_t)o->id, o->seed);
	} else if (strcmp(o->role, "init") == 0) {
		rc = writer_init(sh);
	} else if (strcmp(o->role, "finish") == 0) {
		rc = writer_finish(sh);
	} else if (strcmp(o->role, "check") == 0 && o->walbrook && o->out) {
		struct check_wish w = { .walbrook = o->walbrook,
					.out = o->out,
					.replica = (uint32_t)o->id,
					.floor = o->floor,
					.not_after_us = (int64_t)o->when };
		rc = check_restore(sh, &w);
	}
	shared_unmap(sh);
	return rc;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* One line of the table; a kind that was never met is a failure of a run that is long enough. */
static void row(struct driver *d, const char *name, uint64_t n, bool needed)
{
	bool missing = needed && n == 0;
	printf("  %-44s %10llu%s\n", name, (unsigned long long)n, missing ? "   NEVER MET" : "");
	d->failures += missing;
}

static void report(struct driver *d, bool all_kinds)
{
	const struct tally *t = &d->tally;
	printf("seed %llu\n", (unsigned long long)d->seed);
	row(d, "rounds", t->rounds, true);
	row(d, "commits of the application", t->commits, true);
	row(d, "rollbacks", t->rollbacks, all_kinds);
	row(d, "VACUUM and incremental_vacuum", t->vacuums, all_kinds);
	row(d, "long reads", t->reads, all_kinds);
	row(d, "own checkpoints", t->checkpoints, all_kinds);
	row(d, "  of these busy", t->checkpoints_busy, false);
	row(d, "other BUSY results", t->busy, false);
	row(d, "kill -9 of walbrook", t->killed_walbrook, all_kinds);
	row(d, "  long enough for a restart of the WAL", t->outages, all_kinds);
	row(d, "SIGTERM of walbrook, exit 0", t->stopped_walbrook, all_kinds);
	row(d, "kill -9 of a writer", t->killed_writers, all_kinds);
	row(d, "  all at once with walbrook", t->storms, all_kinds);
	row(d, "deaths inside the fsync of a commit", t->died_in_commit, all_kinds);
	row(d, "deaths inside an fsync of a checkpoint", t->died_in_checkpoint, false);
	row(d, "SIGSTOP of a writer", t->stopped_writers, all_kinds);
	row(d, "restarts of the WAL", t->log.wal_restarts, all_kinds);
	row(d, "gaps (new generations after the first)", t->gaps, all_kinds);
	for (int i = 0; i < REASONS_MAX && t->log.reasons[i].n; i++)
		printf("    %-42s %10llu\n", t->log.reasons[i].text, (unsigned long long)t->log.reasons[i].n);
	row(d, "forced holds", t->log.forced_holds, all_kinds);
	row(d, "hand-over-hand walks", t->log.walks, all_kinds);
	row(d, "lines of level ERROR in walbrook's log", t->log.errors, false);
	row(d, "completed syncs asked for", t->syncs, all_kinds);
	row(d, "restores at a random moment, verified", t->restores, all_kinds);
	row(d, "restores by time, verified", t->restores_by_time, all_kinds);
	row(d, "restores that found nothing yet", t->nothing_yet, false);
	row(d, "restores with every page equal to the source", t->final_compares, true);
}

static void play_rounds(struct driver *d, const struct options *o)
{
	int64_t begin_ms = mono_ms(), play_ms = (int64_t)o->secs * 1000;
	for (uint32_t n = o->round >= 0 ? (uint32_t)o->round : 0;; n++) {
		int64_t left_ms = play_ms - (mono_ms() - begin_ms);
		if (left_ms < 2000 && d->tally.rounds > 0)
			return;
		/* No crumb at the end: a last stretch that is short goes to this round. */
		int64_t ms = left_ms < ROUND_MS * 3 / 2 ? left_ms : ROUND_MS;
		if (round_run(d, n, (uint32_t)(ms < 1000 ? 1000 : ms)) < 0) {
			d->failures++;
			printf("round %u failed; its files are in %s/round-%03u\nto play it again: torture "
			       "-secs %llu "
			       "-seed %llu -round %u -walbrook %s\n",
			       n, d->dir, n, (unsigned long long)o->secs, (unsigned long long)d->seed, n,
			       d->walbrook);
			return;
		}
		char path[PATH_MAX_BYTES];
		snprintf(path, sizeof path, "%.900s/round-%03u", d->dir, n);
		remove_tree(path);
	}
}

int main(int argc, char **argv)
{
	struct options o = { .secs = 60, .round = -1 };
	char self[PATH_MAX_BYTES], made[] = "/tmp/walbrook-torture-XXXXXX", full[PATH_MAX_BYTES * 4];
	if (parse(argc, argv, &o) < 0)
		return usage();
	if (o.role)
		return play_role(&o);
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (!o.walbrook || n <= 0)
		return usage();
	self[n] = 0;
	if (access(o.walbrook, X_OK) != 0) {
		fprintf(stderr, "torture: %s: %s\n", o.walbrook, strerror(errno));
		return 2;
	}
	if (o.dir && mkdir(o.dir, 0700) < 0 && errno != EEXIST) {
		fprintf(stderr, "torture: %s: %s\n", o.dir, strerror(errno));
		return 2;
	}
	const char *dir = o.dir ? realpath(o.dir, full) : mkdtemp(made);
	if (!dir || strlen(dir) > 700) {
		fprintf(stderr, "torture: no directory to work in: %s\n", strerror(errno));
		return 2;
	}
	struct driver d = { .walbrook = o.walbrook,
			    .self = self,
			    .dir = dir,
			    .seed = o.has_seed ? o.seed : (uint64_t)wall_us() & 0xffffffffu };
	d.end_ms = mono_ms() + ((int64_t)o.secs + GRACE_S - 10) * 1000;
	signal(SIGALRM, on_alarm);
	alarm((unsigned)o.secs + GRACE_S);
	printf("torture: seed %llu, %llu s, in %s\n", (unsigned long long)d.seed, (unsigned long long)o.secs,
	       dir);
	play_rounds(&d, &o);
	report(&d, d.failures == 0 && o.round < 0 && o.secs >= NEEDS_ALL_KINDS_S);
	if (d.failures == 0 && !o.dir)
		rmdir(dir);
	uint64_t passed = d.tally.restores + d.tally.restores_by_time + d.tally.final_compares;
	printf("torture: %s  %llu passed, %llu failed\n", d.failures ? "FAIL" : "PASS",
	       (unsigned long long)passed, (unsigned long long)d.failures);
	return d.failures ? 1 : 0;
}
