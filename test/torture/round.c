/* SPDX-License-Identifier: Apache-2.0
 *
 * One round of the torture test, as the driver sees it.
 *
 *   1. Start walbrook and make the database (or the other way round), start the writers.
 *   2. Draw actions from a shuffled deck that holds every kind, again and again until the round's time is over:
 * kill walbrook (briefly, or long enough that the WAL restarts meanwhile), stop it with SIGTERM, kill a writer,
 * stop one with SIGSTOP, kill everything at once, restore and verify, ask for a completed sync. Writers that
 * die by themselves (inside fsync) are started again.
 *   3. Stop the writers, make one last commit, SIGTERM walbrook (it must exit 0), restore each replica and
 * compare every page with the source.
 *
 * A completed sync is one of: walbrook exited 0 after SIGTERM; writers were paused and a restore then held all
 * that was acknowledged (it must within SYNC_TIMEOUT_MS); a verified restore held it. What was in a completed
 * sync is the `floor` of that replica: no later restore may end before it. */
#include "torture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

enum { SYNC_TIMEOUT_MS = 60000, STOP_TIMEOUT_MS = 120000, NUMBER_BYTES = 24 };

enum action {
	ACT_KILL_WALBROOK,
	ACT_OUTAGE,
	ACT_STOP_WALBROOK,
	ACT_KILL_WRITER,
	ACT_STOP_WRITER,
	ACT_STORM,
	ACT_CHECK,
	ACT_CHECK_BY_TIME,
	ACT_SYNC,
};

static const enum action deck_cards[] = {
	ACT_CHECK,	 ACT_KILL_WRITER, ACT_KILL_WALBROOK, ACT_CHECK_BY_TIME, ACT_SYNC,
	ACT_CHECK,	 ACT_STOP_WRITER, ACT_KILL_WALBROOK, ACT_OUTAGE,	ACT_STOP_WALBROOK,
	ACT_KILL_WRITER, ACT_STORM,	  ACT_CHECK,
};
enum { DECK_N = sizeof deck_cards / sizeof *deck_cards };

struct round {
	struct driver *d;
	struct shared *sh;
	uint64_t rng;
	char dir[PATH_MAX_BYTES], shared_path[PATH_MAX_BYTES], yaml_path[PATH_MAX_BYTES];
	char log_path[PATH_MAX_BYTES]; /* of the walbrook that runs */
	pid_t walbrook;
	uint32_t walbrook_starts;
	struct {
		pid_t pid;
		int64_t start_ms; /* when to start again */
	} writer[WRITERS_MAX];
	bool writers_on;
	struct {
		pid_t pid;
		uint32_t replica;
		bool by_time;
	} check;
	uint32_t checks;
	uint64_t floor[REPLICAS_MAX];
	struct log_counts log; /* of this round */
};

static void number(char to[NUMBER_BYTES], uint64_t v)
{
	snprintf(to, NUMBER_BYTES, "%llu", (unsigned long long)v);
}

/* execv's array of char *: the strings are not changed by it. */
static pid_t start_role(struct round *r, const char *const words[], size_t n, const char *log_path)
{
	char *argv[16];
	for (size_t i = 0; i < n && i < 15; i++) {
		union {
			const char *in;
			char *out;
		} u = { .in = words[i] };
		argv[i] = u.out;
	}
	argv[n < 15 ? n : 15] = NULL;
	pid_t pid = proc_start(argv, log_path);
	if (pid < 0)
		note_failure(r->sh, "fork: %s", strerror(errno));
	return pid;
}

static pid_t start_self(struct round *r, const char *role, uint64_t id, uint64_t seed)
{
	char id_text[NUMBER_BYTES], seed_text[NUMBER_BYTES];
	number(id_text, id);
	number(seed_text, seed);
	const char *const words[] = { r->d->self, "-role", role,    "-shared", r->shared_path,
				      "-id",	  id_text, "-seed", seed_text };
	return start_role(r, words, sizeof words / sizeof *words, NULL);
}

static void start_walbrook(struct round *r)
{
	snprintf(r->log_path, sizeof r->log_path, "%.900s/walbrook-%02u.log", r->dir, ++r->walbrook_starts);
	const char *const words[] = { r->d->walbrook, "replicate", "-config", r->yaml_path };
	r->walbrook = start_role(r, words, 4, r->log_path);
}

static void start_writer(struct round *r, uint32_t i)
{
	for (uint32_t t = 0; t < CONNS_MAX; t++)
		atomic_store(&r->sh->parked[i][t], 0);
	r->writer[i].pid = start_self(r, "writer", i, rng_next(&r->rng));
	r->writer[i].start_ms = 0;
}

static void walbrook_gone(struct round *r)
{
	r->walbrook = 0;
	log_count(r->log_path, &r->log);
}

static void check_done(struct round *r, int status)
{
	uint64_t n = atomic_load(&r->sh->checked_seq);
	struct tally *t = &r->d->tally;
	r->check.pid = 0;
	if (status == CHECK_NOTHING) {
		t->nothing_yet++;
	} else if (status != CHECK_GOOD) {
		if (!atomic_load(&r->sh->failed))
			note_failure(r->sh, "the checker ended with %d", status);
	} else if (r->check.by_time) {
		t->restores_by_time++;
	} else {
		t->restores++;
		if (n > r->floor[r->check.replica])
			r->floor[r->check.replica] = n;
	}
}

/* Looks after the children once. False: a failure, or the time of the whole run is over. */
static bool look(struct round *r)
{
	int status;
	if (r->walbrook && proc_ended(r->walbrook, &status)) {
		note_failure(r->sh, "walbrook ended by itself with %d", status);
		print_tail(r->log_path, "walbrook's log");
		walbrook_gone(r);
	}
	if (r->check.pid && proc_ended(r->check.pid, &status))
		check_done(r, status);
	for (uint32_t i = 0; i < r->sh->config.writers; i++) {
		if (r->writer[i].pid && proc_ended(r->writer[i].pid, &status)) {
			r->writer[i].pid = 0;
			r->writer[i].start_ms = mono_ms() + rng_below(&r->rng, 200);
			if (status != 128 + SIGKILL && status != 0)
				note_failure(r->sh, "writer %u ended with %d", i, status);
		}
		if (r->writers_on && !r->writer[i].pid && mono_ms() >= r->writer[i].start_ms)
			start_writer(r, i);
	}
	return !atomic_load(&r->sh->failed) && mono_ms() < r->d->end_ms;
}

static bool look_for(struct round *r, int64_t ms)
{
	int64_t end_ms = mono_ms() + ms;
	bool good;
	while ((good = look(r)) && mono_ms() < end_ms)
		sleep_us(2000);
	return good;
}

static void start_check(struct round *r, uint32_t replica, int64_t ago_ms)
{
	char out[PATH_MAX_BYTES], replica_text[NUMBER_BYTES], floor[NUMBER_BYTES], when[NUMBER_BYTES];
	snprintf(out, sizeof out, "%.900s/check %u.db", r->dir, ++r->checks);
	number(replica_text, replica);
	number(floor, r->floor[replica]);
	number(when, ago_ms ? (uint64_t)(wall_us() - ago_ms * 1000) : 0);
	const char *const words[] = { r->d->self,  "-role",	   "check", "-shared",	  r->shared_path,
				      "-walbrook", r->d->walbrook, "-id",   replica_text, "-floor",
				      floor,	   "-when",	   when,    "-out",	  out };
	r->check.replica = replica;
	r->check.by_time = ago_ms != 0;
	r->check.pid = start_role(r, words, sizeof words / sizeof *words, NULL);
}

static bool wait_check(struct round *r)
{
	bool good = true;
	while (r->check.pid && (good = look(r)))
		sleep_us(1000);
	return good;
}

static void kill_walbrook(struct round *r)
{
	if (!r->walbrook)
		return;
	proc_kill(r->walbrook, SIGKILL);
	proc_wait(r->walbrook, STOP_TIMEOUT_MS);
	walbrook_gone(r);
	r->d->tally.killed_walbrook++;
}

/* SIGTERM: drain, final sync, exit 0. All that was acknowledged before the signal is in every replica then. */
static bool stop_walbrook(struct round *r)
{
	uint64_t acked = atomic_load(&r->sh->acked);
	int64_t from_ms = mono_ms();
	int status = -1;
	bool ended = false;
	proc_kill(r->walbrook, SIGTERM);
	while (!(ended = proc_ended(r->walbrook, &status)) && mono_ms() - from_ms < STOP_TIMEOUT_MS)
		sleep_us(1000);
	if (!ended) {
		note_failure(r->sh, "walbrook did not stop within %d ms of SIGTERM", STOP_TIMEOUT_MS);
		proc_kill(r->walbrook, SIGKILL);
		proc_wait(r->walbrook, STOP_TIMEOUT_MS);
	} else if (status != 0) {
		note_failure(r->sh, "walbrook ended with %d after SIGTERM", status);
	}
	if (!ended || status != 0)
		print_tail(r->log_path, "walbrook's log");
	walbrook_gone(r);
	r->d->tally.stopped_walbrook++;
	if (!ended || status != 0)
		return false;
	for (uint32_t i = 0; i < r->sh->config.replicas; i++)
		r->floor[i] = acked > r->floor[i] ? acked : r->floor[i];
	r->d->tally.syncs++;
	return true;
}

static bool all_parked(struct round *r)
{
	for (uint32_t i = 0; i < r->sh->config.writers; i++)
		for (uint32_t t = 0; r->writer[i].pid && t < r->sh->config.conns; t++)
			if (!atomic_load(&r->sh->parked[i][t]))
				return false;
	return true;
}

static bool act_sync(struct round *r)
{
	uint32_t replica = rng_below(&r->rng, r->sh->config.replicas);
	int64_t limit_ms = mono_ms() + SYNC_TIMEOUT_MS;
	bool good = true;
	atomic_store(&r->sh->pause, 1);
	/* A checkpoint or a long read may hold a connection for some seconds; then the sync is asked for all
	 * the same, since only what was acknowledged now counts. */
	int64_t parked_ms = mono_ms() + 3000;
	while ((good = look(r)) && !all_parked(r) && mono_ms() < parked_ms)
		sleep_us(1000);
	uint64_t acked = atomic_load(&r->sh->acked);
	good = good && wait_check(r);
	while (good && r->floor[replica] < acked) {
		if (mono_ms() > limit_ms) {
			note_failure(r->sh, "replica %u still ends at %llu, %d ms after %llu was acknowledged",
				     replica, (unsigned long long)r->floor[replica], SYNC_TIMEOUT_MS,
				     (unsigned long long)acked);
			print_tail(r->log_path, "walbrook's log");
			good = false;
			break;
		}
		start_check(r, replica, 0);
		good = wait_check(r) && look_for(r, 20);
	}
	r->d->tally.syncs += good;
	atomic_store(&r->sh->pause, 0);
	return good;
}

/* Long enough away that the WAL restarts: a writer is asked to see to it. */
static bool act_outage(struct round *r)
{
	kill_walbrook(r);
	r->d->tally.outages++;
	atomic_store(&r->sh->want_restart, 1);
	int64_t end_ms = mono_ms() + 3000;
	bool good = true;
	while ((good = look(r)) && atomic_load(&r->sh->want_restart) && mono_ms() < end_ms)
		sleep_us(1000);
	atomic_store(&r->sh->want_restart, 0);
	/* The checkpoint only allows the restart; the next commit makes it. */
	good = good && look_for(r, 50 + rng_below(&r->rng, 500));
	if (good)
		start_walbrook(r);
	return good;
}

static bool act_on_writer(struct round *r, bool kill_it)
{
	uint32_t i = rng_below(&r->rng, r->sh->config.writers);
	pid_t pid = r->writer[i].pid;
	if (!pid)
		return true;
	proc_kill(pid, kill_it ? SIGKILL : SIGSTOP);
	if (kill_it) {
		r->d->tally.killed_writers++;
		return true;
	}
	r->d->tally.stopped_writers++;
	bool good = look_for(r, 50 + rng_below(&r->rng, 700));
	proc_kill(pid, SIGCONT);
	return good;
}

/* Everybody dies at once; whoever comes first afterwards recovers the WAL. */
static bool act_storm(struct round *r)
{
	r->d->tally.storms++;
	for (uint32_t i = 0; i < r->sh->config.writers; i++)
		if (r->writer[i].pid) {
			proc_kill(r->writer[i].pid, SIGKILL);
			r->d->tally.killed_writers++;
			r->writer[i].start_ms = 0;
		}
	kill_walbrook(r);
	bool good = look_for(r, rng_below(&r->rng, 100));
	start_walbrook(r);
	return good;
}

static bool act(struct round *r, enum action what)
{
	switch (what) {
	case ACT_KILL_WALBROOK:
		kill_walbrook(r);
		if (!look_for(r, rng_below(&r->rng, 300)))
			return false;
		start_walbrook(r);
		return true;
	case ACT_OUTAGE:
		return act_outage(r);
	case ACT_STOP_WALBROOK:
		if (!stop_walbrook(r) || !look_for(r, rng_below(&r->rng, 200)))
			return false;
		start_walbrook(r);
		return true;
	case ACT_KILL_WRITER:
	case ACT_STOP_WRITER:
		return act_on_writer(r, what == ACT_KILL_WRITER);
	case ACT_STORM:
		return act_storm(r);
	case ACT_CHECK:
	case ACT_CHECK_BY_TIME:
		if (!wait_check(r))
			return false;
		start_check(r, rng_below(&r->rng, r->sh->config.replicas),
			    what == ACT_CHECK ? 0 : 1 + rng_below(&r->rng, 2500));
		return true;
	case ACT_SYNC:
		return act_sync(r);
	}
	return true;
}

static bool play(struct round *r)
{
	enum action deck[DECK_N];
	int64_t end_ms = mono_ms() + r->sh->config.round_ms;
	uint32_t left = 0;
	while (mono_ms() < end_ms) {
		if (left == 0) {
			memcpy(deck, deck_cards, sizeof deck);
			left = DECK_N;
		}
		uint32_t i = rng_below(&r->rng, left);
		enum action what = deck[i];
		deck[i] = deck[--left];
		if (!look_for(r, 100 + rng_below(&r->rng, 500)) || !act(r, what))
			return false;
	}
	return true;
}

/* Runs a role of this program to its end. */
static int run_self(struct round *r, const char *role, int64_t timeout_ms)
{
	pid_t pid = start_self(r, role, 0, 0);
	int status = pid > 0 ? proc_wait(pid, timeout_ms) : 255;
	if (status != 0 && !atomic_load(&r->sh->failed))
		note_failure(r->sh, "role %s ended with %d", role, status);
	return status;
}

static bool begin(struct round *r)
{
	if (r->sh->config.daemon_first) {
		start_walbrook(r);
		sleep_us(1000 * (int64_t)rng_below(&r->rng, 600));
	}
	if (run_self(r, "init", 20000) != 0)
		return false;
	r->writers_on = rng_percent(&r->rng, 50);
	if (!r->sh->config.daemon_first) {
		if (!look_for(r, rng_below(&r->rng, 300)))
			return false;
		start_walbrook(r);
	}
	r->writers_on = true;
	return look(r);
}

static void stop_writers(struct round *r)
{
	int64_t limit_ms = mono_ms() + 12000;
	bool hard = rng_percent(&r->rng, 30);
	r->writers_on = false;
	atomic_store(&r->sh->stop, 1);
	for (uint32_t i = 0; i < r->sh->config.writers; i++) {
		if (!r->writer[i].pid)
			continue;
		if (hard)
			proc_kill(r->writer[i].pid, SIGKILL);
		int64_t left_ms = limit_ms - mono_ms();
		proc_wait(r->writer[i].pid, left_ms > 0 ? left_ms : 0);
		r->writer[i].pid = 0;
	}
}

static bool end(struct round *r)
{
	if (!wait_check(r))
		return false;
	stop_writers(r);
	if (!look(r) || run_self(r, "finish", 20000) != 0 || !look(r) || !stop_walbrook(r))
		return false;
	for (uint32_t i = 0; i < r->sh->config.replicas; i++) {
		char out[PATH_MAX_BYTES], copy[PATH_MAX_BYTES];
		snprintf(out, sizeof out, "%.900s/last %u.db", r->dir, i);
		snprintf(copy, sizeof copy, "%.900s/source %u.db", r->dir, i);
		struct check_wish w = {
			.walbrook = r->d->walbrook, .out = out, .replica = i, .floor = r->floor[i]
		};
		if (check_final(r->sh, &w, copy) != CHECK_GOOD)
			return false;
		r->d->tally.final_compares++;
	}
	return true;
}

static void add_up(struct round *r)
{
	struct tally *t = &r->d->tally;
	struct shared *sh = r->sh;
	t->commits += atomic_load(&sh->commits);
	t->rollbacks += atomic_load(&sh->rollbacks);
	t->vacuums += atomic_load(&sh->vacuums);
	t->reads += atomic_load(&sh->reads);
	t->checkpoints += atomic_load(&sh->checkpoints);
	t->checkpoints_busy += atomic_load(&sh->checkpoints_busy);
	t->busy += atomic_load(&sh->busy);
	t->died_in_commit += atomic_load(&sh->died_in_commit);
	t->died_in_checkpoint += atomic_load(&sh->died_in_checkpoint);
	t->gaps += r->log.generations ? r->log.generations - 1 : 0;
	t->log.wal_restarts += r->log.wal_restarts;
	t->log.generations += r->log.generations;
	t->log.forced_holds += r->log.forced_holds;
	t->log.walks += r->log.walks;
	t->log.errors += r->log.errors;
	for (int i = 0; i < REASONS_MAX && r->log.reasons[i].n; i++)
		for (int j = 0; j < REASONS_MAX; j++) {
			if (t->log.reasons[j].n == 0)
				memcpy(t->log.reasons[j].text, r->log.reasons[i].text, REASON_BYTES);
			if (strcmp(t->log.reasons[j].text, r->log.reasons[i].text) == 0) {
				t->log.reasons[j].n += r->log.reasons[i].n;
				break;
			}
		}
	printf("  %llu commits, %llu restarts of the WAL, %llu generations, %llu forced holds, %llu walks, "
	       "%llu busy "
	       "checkpoints of %llu\n",
	       (unsigned long long)atomic_load(&sh->commits), (unsigned long long)r->log.wal_restarts,
	       (unsigned long long)r->log.generations, (unsigned long long)r->log.forced_holds,
	       (unsigned long long)r->log.walks, (unsigned long long)atomic_load(&sh->checkpoints_busy),
	       (unsigned long long)atomic_load(&sh->checkpoints));
	fflush(stdout);
}

static void kill_rest(struct round *r)
{
	r->writers_on = false;
	for (uint32_t i = 0; i < r->sh->config.writers; i++)
		if (r->writer[i].pid) {
			proc_kill(r->writer[i].pid, SIGKILL);
			proc_wait(r->writer[i].pid, STOP_TIMEOUT_MS);
		}
	if (r->check.pid) {
		proc_kill(r->check.pid, SIGKILL);
		proc_wait(r->check.pid, STOP_TIMEOUT_MS);
	}
	if (r->walbrook) {
		proc_kill(r->walbrook, SIGKILL);
		proc_wait(r->walbrook, STOP_TIMEOUT_MS);
		walbrook_gone(r);
	}
}

int round_run(struct driver *d, uint32_t number_of_round, uint32_t round_ms)
{
	struct round r = { .d = d };
	snprintf(r.dir, sizeof r.dir, "%.800s/round-%03u", d->dir, number_of_round);
	snprintf(r.shared_path, sizeof r.shared_path, "%.900s/shared", r.dir);
	snprintf(r.yaml_path, sizeof r.yaml_path, "%.900s/walbrook.yml", r.dir);
	if (mkdir(r.dir, 0700) < 0 || !(r.sh = shared_create(r.shared_path))) {
		fprintf(stderr, "torture: cannot make %s: %s\n", r.dir, strerror(errno));
		return -1;
	}
	plan_round(&r.sh->config, d->seed, number_of_round, round_ms, r.dir);
	plan_print(&r.sh->config);
	r.rng = r.sh->config.seed;
	bool good = true;
	if (plan_write_yaml(&r.sh->config, r.yaml_path) < 0) {
		note_failure(r.sh, "cannot write %s", r.yaml_path);
		good = false;
	}
	good = good && begin(&r) && play(&r) && end(&r);
	kill_rest(&r);
	if (!good && !atomic_load(&r.sh->failed))
		note_failure(r.sh, "the time of the whole run was over before this round's end");
	add_up(&r);
	d->tally.rounds++;
	bool failed = atomic_load(&r.sh->failed) != 0;
	shared_unmap(r.sh);
	return failed ? -1 : 0;
}
