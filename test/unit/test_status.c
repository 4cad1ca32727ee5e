/* SPDX-License-Identifier: Apache-2.0
 *
 * What is shown, and what a sync waits for: ages, sums and states of databases put together by hand, without
 * files, threads or a clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/status.h"
#include "daemon/sync.h"

enum { S = 1000000 };

static const struct generation one = { "0000000000000001" }, two = { "0000000000000002" };
static const struct status_now now = { .mono_us = 500 * S, .wall_us = 1000 * S };

/* A database with two replicas, at index 1 offset 4152, all shipped. */
static struct {
	struct engine en;
	struct conf_db conf;
	struct conf_replica replicas[2];
	char path[16], names[2][8], type[8];
	struct managed m, *dbs[1];
	struct shipper ships[2];
	struct spool_segment segs[3];
	struct index_commit commits[3];
	struct daemon d;
	struct replica_snapshot snapshots[2][1];
} w;

static int world(void **state)
{
	(void)state;
	memset(&w, 0, sizeof w);
	strcpy(w.path, "/a.db");
	strcpy(w.names[0], "near");
	strcpy(w.names[1], "far");
	strcpy(w.type, "file");
	w.conf.path = w.path;
	w.m = (struct managed){
		.en = &w.en, .conf = &w.conf, .ready = true, .state = DB_IDLE, .ships = w.ships
	};
	w.m.ships_n = 2;
	w.m.generation = one;
	w.m.captured = (struct position){ 1, 4152 };
	w.m.seen.state_wall_us = 700 * S;
	w.m.seen.generation_wall_us = 600 * S;
	for (size_t i = 0; i < 2; i++) {
		w.replicas[i].name = w.names[i];
		w.replicas[i].type = w.type;
		struct shipper *s = &w.ships[i];
		*s = (struct shipper){
			.m = &w.m, .conf = &w.replicas[i], .attached = true, .looked_us = INT64_MAX
		};
		w.snapshots[i][0] = (struct replica_snapshot){ 1, 650 * S };
		s->r = (struct replica){ .name = w.names[i],
					 .generation = one,
					 .at = w.m.captured,
					 .snapshot_at = { 1, 32 },
					 .snapshots = w.snapshots[i],
					 .snapshots_n = 1 };
	}
	w.dbs[0] = &w.m;
	w.d = (struct daemon){ .dbs = w.dbs, .n = 1 };
	return 0;
}

/* Three segments wait for the second replica; the first of them holds no commit: it ends inside a transaction.
 */
static void fall_behind(void)
{
	for (size_t i = 0; i < 3; i++) {
		w.commits[i] = (struct index_commit){ 0, (900 + (int64_t)i * 10) * S };
		w.segs[i] = (struct spool_segment){ .generation = one,
						    .at = { 1, 4152 + i * 1000 },
						    .end = 5152 + i * 1000,
						    .next = i < 2 ? &w.segs[i + 1] : NULL,
						    .commits = &w.commits[i],
						    .commits_n = i > 0 };
	}
	w.m.segs = w.segs;
	w.m.captured.offset = 7152;
	w.ships[0].r.at = w.m.captured;
	w.ships[1].cursor = w.segs;
}

static struct status_db db(void)
{
	struct status_db s;
	status_of_db(&w.m, now, &s);
	return s;
}

static struct status_replica replica(size_t i)
{
	struct status_replica s;
	status_of_replica(&w.ships[i], now, &s);
	return s;
}

static void test_all_shipped(void **state)
{
	(void)state;
	assert_string_equal(db().path, "/a.db");
	assert_string_equal(db().state_name, "idle");
	assert_int_equal(db().since_wall_us, 700 * S);
	assert_int_equal(db().oldest_unshipped_age_us, 0);
	assert_int_equal(db().replicas_n, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(replica(i).lag_us, 0);
		assert_int_equal(replica(i).behind_bytes, 0);
		assert_true(replica(i).restorable);
		assert_int_equal(replica(i).snapshot_at.offset, 32);
		assert_int_equal(replica(i).snapshot_wall_us, 650 * S);
	}
}

static void test_behind(void **state)
{
	(void)state;
	fall_behind();
	assert_int_equal(replica(0).lag_us, 0);
	assert_int_equal(replica(1).lag_us, 90 * S); /* the first commit, which is in the second segment */
	assert_int_equal(replica(1).oldest_unshipped_wall_us, 910 * S);
	assert_int_equal(replica(1).behind_bytes, 3000);
	assert_int_equal(replica(1).behind_segments, 3);
	assert_int_equal(db().oldest_unshipped_age_us, 90 * S);
	assert_int_equal(db().spool_segments, 3);
	w.ships[1].cursor = &w.segs[2];
	assert_int_equal(replica(1).lag_us, 80 * S);
	assert_int_equal(replica(1).behind_bytes, 1000);
}

static void test_clock_set_back(void **state)
{
	(void)state;
	fall_behind();
	w.commits[1].wall_us = 2000 * S;
	w.commits[2].wall_us = 2000 * S;
	assert_int_equal(replica(1).lag_us, 1); /* pending is never 0 */
}

static void test_job_out(void **state)
{
	(void)state;
	struct position before = w.ships[1].r.at;
	ship_saw(&w.ships[1]);
	w.ships[1].job = SHIP_OBJECT;
	w.ships[1].r.at.offset = 99; /* the worker's now */
	w.ships[1].r.objects = 7;
	assert_int_equal(replica(1).at.offset, before.offset);
	assert_int_equal(replica(1).objects, 0);
	w.ships[1].job = SHIP_NONE;
	assert_int_equal(replica(1).at.offset, 99);
	assert_int_equal(replica(1).objects, 7);
	ship_saw(&w.ships[1]);
	w.ships[1].held = true;
	w.ships[1].r.objects = 8;
	assert_int_equal(replica(1).objects, 7);
}

static void test_not_restorable(void **state)
{
	(void)state;
	w.ships[1].r.wants_snapshot = true;
	assert_false(replica(1).restorable);
	assert_int_equal(replica(1).lag_us, 400 * S); /* since the generation began */
	w.ships[1].r.wants_snapshot = false;
	w.ships[1].attached = false;
	assert_int_equal(replica(1).lag_us, 400 * S);
	w.ships[1].attached = true;
	w.ships[1].r.generation = two;
	assert_int_equal(replica(1).lag_us, 400 * S);
	w.ships[1].adrift_wall_us = 950 * S;
	assert_int_equal(replica(1).lag_us, 50 * S);
	assert_int_equal(replica(0).lag_us, 0);
	assert_int_equal(db().oldest_unshipped_age_us, 50 * S);
}

static void test_nothing_there_yet(void **state)
{
	(void)state;
	w.m.generation = (struct generation){ "" };
	w.m.ready = false;
	w.m.state = DB_WAITING;
	for (size_t i = 0; i < 2; i++) {
		w.ships[i].attached = false;
		w.ships[i].r.generation = w.m.generation;
		assert_int_equal(replica(i).lag_us, 0);
		assert_false(replica(i).restorable);
	}
	assert_string_equal(db().state_name, "waiting");
	assert_string_equal(db().reason, "not looked at yet");
}

static void test_states(void **state)
{
	(void)state;
	w.m.behind_wall_us = 990 * S;
	assert_string_equal(db().state_name, "dirty");
	assert_int_equal(db().since_wall_us, 990 * S);
	assert_int_equal(replica(0).lag_us, 10 * S); /* waits for capture, so no replica has it */
	w.m.out = true;
	w.m.step_us = 499 * S;
	assert_string_equal(db().state_name, "capturing");
	assert_int_equal(db().since_wall_us, 999 * S);
	struct snap snap = { .phase = SNAP_COPY, .since_us = 490 * S };
	w.m.snap = &snap;
	assert_string_equal(db().state_name, "snapshot");
	assert_int_equal(db().since_wall_us, 990 * S);
	w.m.state = DB_GAP;
	assert_string_equal(db().state_name, "gap");
	assert_int_equal(db().oldest_unshipped_age_us, 300 * S); /* since it began */
}

static void step_over(bool reached)
{
	w.m.steps_begun++;
	w.m.report = (struct db_report){ .reached = reached };
	w.m.took_us = 5;
	managed_saw(&w.m);
	w.m.state = w.m.db.state;
}

static void test_steps(void **state)
{
	(void)state;
	w.m.db.state = DB_IDLE;
	w.m.behind_wall_us = 5;
	step_over(false);
	assert_int_equal(w.m.seen.reached_step, 0);
	assert_int_equal(w.m.behind_wall_us, 5);
	step_over(true);
	assert_int_equal(w.m.seen.reached_step, 2);
	assert_int_equal(w.m.behind_wall_us, 0);
	assert_int_equal(db().since_wall_us, 700 * S); /* the same state all the time */
	w.m.db.state = DB_GAP;
	err_set(&w.m.db.why, ERR_SPACE, "full");
	step_over(false);
	step_over(false);
	assert_int_equal(db().gaps, 1);
	assert_int_equal(db().step_errors, 2);
	assert_string_equal(db().reason, "full");
	assert_int_not_equal(db().since_wall_us, 700 * S);
	w.m.db.state = DB_IDLE;
	w.m.db.why = ERR_INIT;
	w.m.db.page_bytes = 4096;
	w.m.db.mx_frame = 10;
	w.m.db.backfill = 4;
	step_over(true);
	assert_string_equal(db().reason, "");
	assert_int_equal(db().wal_bytes, 32 + 10 * (24 + 4096));
	assert_int_equal(db().wal_uncopied_frames, 6);
	assert_int_equal(db().steps, 5);
	assert_int_equal(db().steps_us, 25);
	free(w.m.seen.why);
}

static void test_errors(void **state)
{
	(void)state;
	assert_string_equal(replica(0).error, "");
	ship_saw_error(&w.ships[0], "first");
	ship_saw_error(&w.ships[0], "second");
	w.ships[0].misses = 2;
	w.ships[0].retry_us = 503 * S;
	assert_true(replica(0).failing);
	assert_int_equal(replica(0).errors, 2);
	assert_string_equal(replica(0).error, "second");
	assert_int_equal(replica(0).retry_in_us, 3 * S);
	free(w.ships[0].n.error);
}

/* ---- sync ---- */

static int answered;

static void on_done(struct sync *y, void *arg)
{
	(void)arg;
	assert_int_equal(y->left, 0);
	answered++;
}

static struct sync *wait_for_all(const char *replica_name)
{
	struct request r = { .verb = REQUEST_SYNC, .replica = replica_name };
	struct sync *y;
	struct err e;
	answered = 0;
	for (size_t i = 0; i < 2; i++)
		w.ships[i].looked_us = INT64_MAX; /* what is there was seen; test_sync_looks is about that */
	assert_int_equal(sync_begin(&w.d, &r, on_done, NULL, &y, &e), 0);
	return y;
}

static void test_sync(void **state)
{
	(void)state;
	w.m.db.state = DB_IDLE;
	w.m.steps_begun = 4;
	w.m.out = true; /* it may have looked before the commit: it does not count */
	struct sync *y = wait_for_all(NULL);
	assert_true(w.m.sweep);
	w.m.steps_begun--;
	step_over(true); /* number 4 */
	sync_turn(&w.m);
	assert_int_equal(answered, 0);
	step_over(false); /* number 5 did not get to the end */
	sync_turn(&w.m);
	assert_int_equal(answered, 0);
	fall_behind();
	step_over(true);				     /* number 6 */
	assert_int_equal(sync_wish(&w.ships[1]), SYNC_NONE); /* nobody knows how far yet */
	sync_turn(&w.m);
	assert_int_equal(answered, 0);
	assert_int_equal(sync_wish(&w.ships[0]), SYNC_NONE);
	assert_int_equal(sync_wish(&w.ships[1]), SYNC_SHIP);
	w.ships[1].r.at = w.m.captured;
	w.ships[1].r.doc_dirty = true;
	assert_int_equal(sync_wish(&w.ships[1]), SYNC_SETTLE);
	sync_turn(&w.m);
	assert_int_equal(answered, 0);
	/* What is durable counts, although newer things are under way again. */
	w.ships[1].settled_in = one;
	w.ships[1].settled = w.m.captured;
	ship_saw(&w.ships[1]);
	w.ships[1].job = SHIP_OBJECT;
	assert_int_equal(sync_wish(&w.ships[1]), SYNC_NONE);
	sync_turn(&w.m);
	assert_int_equal(answered, 1);
	assert_null(w.m.syncs);
	sync_free(y);
}

static void test_sync_one_replica(void **state)
{
	(void)state;
	fall_behind();
	struct sync *far = wait_for_all("far"), *near = wait_for_all("near");
	step_over(true);
	w.m.state = DB_IDLE;
	sync_turn(&w.m);
	assert_int_equal(answered, 1);
	assert_int_equal(near->left, 0);
	assert_int_equal(far->left, 1);
	sync_free(far); /* its client has gone */
	assert_null(w.m.syncs);
	sync_free(near);
}

static void test_sync_looks(void **state)
{
	(void)state;
	struct sync *y = wait_for_all("near");
	struct shipper *near = strcmp(w.ships[0].conf->name, "near") == 0 ? &w.ships[0] : &w.ships[1];
	near->looked_us = 0; /* long ago */
	w.m.db.state = DB_IDLE;
	step_over(true);
	sync_turn(&w.m);
	assert_int_equal(answered, 0);
	assert_int_equal(sync_wish(near), SYNC_LOOK);
	near->looked_us = INT64_MAX;
	sync_turn(&w.m);
	assert_int_equal(answered, 1);
	sync_free(y);
}

static void test_sync_needs_snapshot(void **state)
{
	(void)state;
	struct sync *y = wait_for_all(NULL);
	w.m.db.state = DB_IDLE;
	w.ships[1].r.wants_snapshot = true;
	step_over(true);
	sync_turn(&w.m);
	assert_int_equal(answered, 0);
	w.ships[1].r.wants_snapshot = false;
	sync_turn(&w.m);
	assert_int_equal(answered, 1);
	sync_free(y);
}

static void test_sync_new_generation(void **state)
{
	(void)state;
	fall_behind();
	struct sync *y = wait_for_all(NULL);
	w.m.db.state = DB_IDLE;
	step_over(true);
	sync_turn(&w.m);
	w.m.generation = two;
	w.m.captured = (struct position){ 0, 0 };
	step_over(false); /* the one that began it did not get to the end */
	sync_turn(&w.m);
	for (size_t i = 0; i < 2; i++) {
		w.ships[i].r.generation = two;
		w.ships[i].r.at = w.m.captured;
		w.ships[i].cursor = NULL;
	}
	sync_turn(&w.m);
	assert_int_equal(answered, 0);
	step_over(true);
	sync_turn(&w.m);
	assert_int_equal(answered, 1);
	sync_free(y);
}

static void test_sync_trouble(void **state)
{
	(void)state;
	struct sync *y = wait_for_all(NULL);
	w.m.db.state = DB_BROKEN;
	err_set(&w.m.db.why, ERR_DAMAGED, "not a database");
	step_over(false);
	sync_turn(&w.m);
	assert_int_equal(answered, 1);
	assert_int_equal(y->waits[0].kind, ERR_DAMAGED);
	sync_free(y);

	y = wait_for_all(NULL);
	w.m.db.state = DB_WAITING;
	w.m.generation = (struct generation){ "" };
	err_set(&w.m.db.why, ERR_BUSY, "locked for a moment");
	step_over(false);
	sync_turn(&w.m);
	assert_int_equal(answered, 0);
	err_set(&w.m.db.why, ERR_NOTHING, "it is not there");
	step_over(false);
	sync_turn(&w.m);
	assert_int_equal(answered, 1);
	sync_free(y);

	y = wait_for_all(NULL);
	sync_forget(&w.m);
	assert_int_equal(answered, 1);
	assert_int_equal(y->waits[0].kind, ERR_NOTHING);
	sync_free(y);
	free(w.m.seen.why);
}

static void test_sync_unknown(void **state)
{
	const char *dbs[] = { "/a.db", "/b.db" };
	struct request r = { .verb = REQUEST_SYNC, .dbs = dbs, .dbs_n = 2 };
	struct sync *y;
	struct err e;
	(void)state;
	assert_int_equal(sync_begin(&w.d, &r, on_done, NULL, &y, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	r = (struct request){ .verb = REQUEST_SYNC, .replica = "nowhere" };
	assert_int_equal(sync_begin(&w.d, &r, on_done, NULL, &y, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_null(w.m.syncs);
	dbs[1] = dbs[0]; /* twice the same */
	r = (struct request){ .verb = REQUEST_SYNC, .dbs = dbs, .dbs_n = 2 };
	assert_int_equal(sync_begin(&w.d, &r, on_done, NULL, &y, &e), 0);
	assert_int_equal(y->left, 1);
	sync_free(y);
}

/* What an application writes while a fuzzy copy is made is in the WAL, and the copy is worth nothing without
 * it: only a step that began after the end of the copy, and captured everything, tells how far. */
static void test_fuzzy_copy_usable(void **state)
{
	(void)state;
	struct replica r = { .generation = one };
	struct snapshot_out out = { .replica = &r };
	struct shipper *to = &w.ships[0];
	struct snap p = { .m = &w.m,
			  .phase = SNAP_COPIED,
			  .generation = one,
			  .outs = &out,
			  .to = &to,
			  .n = 1,
			  .end_step = 8 };
	w.m.snap = &p;
	w.m.db.relay.holder = 0; /* holds */
	w.m.seen.done_step = w.m.seen.reached_step = 7;
	snap_step_done(&w.m, false); /* was out when the copy ended */
	assert_int_equal(p.phase, SNAP_COPIED);
	assert_true(w.m.sweep);
	w.m.seen.done_step = 8; /* captured only a part of what there is */
	w.m.captured.offset = 8272;
	w.m.sweep = false;
	snap_step_done(&w.m, false);
	assert_int_equal(p.phase, SNAP_COPIED);
	assert_true(w.m.sweep);
	w.m.seen.done_step = w.m.seen.reached_step = 9;
	w.m.captured.offset = 12392;
	snap_step_done(&w.m, false);
	assert_int_equal(p.phase, SNAP_SHIP);
	assert_int_equal(p.usable_from.offset, 12392);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_all_shipped, world),
		cmocka_unit_test_setup(test_behind, world),
		cmocka_unit_test_setup(test_clock_set_back, world),
		cmocka_unit_test_setup(test_job_out, world),
		cmocka_unit_test_setup(test_not_restorable, world),
		cmocka_unit_test_setup(test_nothing_there_yet, world),
		cmocka_unit_test_setup(test_states, world),
		cmocka_unit_test_setup(test_steps, world),
		cmocka_unit_test_setup(test_errors, world),
		cmocka_unit_test_setup(test_sync, world),
		cmocka_unit_test_setup(test_sync_one_replica, world),
		cmocka_unit_test_setup(test_sync_looks, world),
		cmocka_unit_test_setup(test_sync_needs_snapshot, world),
		cmocka_unit_test_setup(test_sync_new_generation, world),
		cmocka_unit_test_setup(test_sync_trouble, world),
		cmocka_unit_test_setup(test_sync_unknown, world),
		cmocka_unit_test_setup(test_fuzzy_copy_usable, world),
	};
	return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
