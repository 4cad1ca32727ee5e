/* SPDX-License-Identifier: Apache-2.0
 *
 * db/db: what a start makes of what it finds. After every interruption the generation goes on if, and only if,
 * the WAL proves that it continues what was captured; bad files end in a state with a reason; an application
 * that comes later, or whose files are replaced under us, is never disturbed. */
#include "dbrig.h"

#include <sys/file.h>

/* ---- the log, for the reasons ---- */

static int log_fd = -1;

static int group_setup(void **state)
{
	if (world_make(state) != 0)
		return -1;
	log_fd = open(at("log"), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	log_setup(LOG_INFO, false, log_fd);
	return log_fd < 0;
}

static int group_teardown(void **state)
{
	log_setup(LOG_ERROR, false, 2);
	close(log_fd);
	return world_drop(state);
}

static void forget_log(void)
{
	assert_int_equal(ftruncate(log_fd, 0), 0);
}

static bool logged(const char *text)
{
	struct dyn d = slurp(at("log"));
	bool found = d.len && memmem(d.p, d.len, text, strlen(text));
	dyn_free(&d);
	return found;
}

static void expect_logged(const char *text)
{
	if (logged(text))
		return;
	struct dyn d = slurp(at("log"));
	fail_msg("the log does not say \"%s\" but:\n%.*s", text, (int)d.len, (const char *)d.p);
}

/* ---- stop, change the files by hand, start ---- */

struct story {
	struct rig r;
	struct peer p;
	struct replay re; /* from the beginning of the generation */
};

/* A database with commits that are captured; before the last three of them its files are put away as "old". */
static void begin_story(struct story *t, const char *name)
{
	*t = (struct story){ .p = rig_make_db(at("%s", name), "PRAGMA page_size=1024") };
	rig_init(&t->r, at("%s", name));
	rig_park(&t->r);
	assert_int_equal(t->r.generations, 1);
	t->re = rig_image(&t->r);
	for (int i = 0; i < 6; i++) {
		if (i == 3)
			sh("cp %s old && cp %s-wal old-wal", name, name);
		peer_do(&t->p, "INSERT INTO t(v) VALUES('row %d' || hex(randomblob(600)))", i);
	}
	rig_step(&t->r);
}

/* Nobody has the database open after this, as after a power loss. */
static void end_it(struct story *t)
{
	rig_stop(&t->r);
	if (t->p.pid)
		peer_leave(&t->p);
	forget_log();
}

static void start_again(struct story *t)
{
	rig_again(&t->r);
	rig_until(&t->r, DB_IDLE);
}

/* It went on: everything since the beginning is one chain. Or it began a new generation, which alone is enough.
 */
static void expect_story(struct story *t, const char *reason)
{
	assert_int_equal(t->r.generations, reason ? 1 : 0);
	assert_int_equal(logged("generation continues"), !reason);
	expect_logged(reason ? "new generation" : "generation continues");
	if (reason)
		expect_logged(reason);
	if (reason) {
		dyn_free(&t->re.image);
		t->re = rig_image(&t->r);
	}
	t->p = peer_open(t->r.path);
	peer_do(&t->p, "INSERT INTO t(v) VALUES('after the start')");
	rig_step(&t->r);
	uint64_t restarts = t->r.d.cap.restarts;
	struct err e = ERR_INIT;
	if (relay_round(&t->r.d.relay, &t->r.d.cap, true, true, &e) != RELAY_OK)
		fail_msg("%s", e.text);
	peer_do(&t->p, "INSERT INTO t(v) VALUES('in a new WAL')");
	rig_step(&t->r);
	assert_int_equal(t->r.d.cap.restarts, restarts + 1);
	assert_int_equal(t->r.generations, reason ? 1 : 0);
	replay_segments(&t->re, &t->r.d.cap.spool, t->r.segs);
	rig_stop(&t->r);
	peer_leave(&t->p);
	replay_equals(&t->re, t->r.path);
	assert_int_equal(strncmp(sql_once(t->r.path, "PRAGMA integrity_check"), "ok", 2), 0);
	dyn_free(&t->re.image);
	rig_fini(&t->r);
}

static uint64_t file_bytes(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static struct wal_header wal_header_of(const char *wal)
{
	struct wal_header h;
	struct dyn d = slurp(wal);
	assert_int_equal(wal_header_parse((struct span){ d.p, d.len }, &h), WAL_OK);
	dyn_free(&d);
	return h;
}

static void test_untouched(void **state)
{
	(void)state;
	struct story t;
	begin_story(&t, "untouched");
	end_it(&t);
	start_again(&t);
	expect_story(&t, NULL);

	begin_story(&t, "untouched-parked");
	rig_park(&t.r);
	end_it(&t);
	start_again(&t);
	expect_story(&t, NULL);
}

/* Commits while nobody watched, in the same WAL: they are captured. */
static void test_appended(void **state)
{
	(void)state;
	struct story t;
	begin_story(&t, "appended");
	end_it(&t);
	sql_once(at("appended"), "INSERT INTO t(v) VALUES('unwatched')");
	start_again(&t);
	expect_story(&t, NULL);
}

/* Killed: the position was not saved, the spool tells. */
static void test_killed(void **state)
{
	(void)state;
	struct story t;
	begin_story(&t, "killed");
	uint64_t before = t.r.d.cap.at.chain.offset;
	peer_leave(&t.p);
	forget_log();
	start_again(&t);
	assert_int_equal(t.r.d.cap.at.chain.offset, before);
	expect_story(&t, NULL);
}

/* Killed, and the newest segment in the spool never got its name: captured again from the WAL. But if it is
 * there and damaged nobody knows what else is. */
static void test_killed_damaged(void **state)
{
	(void)state;
	struct story t;
	char path[PATH_BYTES];
	for (int gone = 0; gone < 2; gone++) {
		begin_story(&t, gone ? "killed-gone" : "killed-damaged");
		peer_do(&t.p, "INSERT INTO t(v) VALUES('one more segment')");
		rig_step(&t.r);
		const struct spool_segment *last = t.r.segs;
		while (last->next)
			last = last->next;
		spool_path(&t.r.d.cap.spool, &last->generation, last->at, path);
		assert_true(last->at.offset > 0);
		peer_leave(&t.p);
		rig_fini(&t.r);
		if (gone)
			assert_int_equal(unlink(path), 0);
		else
			assert_int_equal(truncate(path, 50), 0);
		forget_log();
		rig_init(&t.r, at("%s", gone ? "killed-gone" : "killed-damaged"));
		rig_until(&t.r, DB_IDLE);
		expect_story(&t, gone ? NULL : "damaged");
	}
}

static void test_shm_deleted(void **state)
{
	(void)state;
	struct story t;
	begin_story(&t, "shm");
	end_it(&t);
	assert_int_equal(unlink(at("shm-shm")), 0);
	start_again(&t);
	expect_story(&t, NULL);
}

static void test_tail_shorter(void **state)
{
	(void)state;
	struct story t;
	for (int whole = 0; whole < 2; whole++) {
		begin_story(&t, whole ? "shorter" : "shorter-torn");
		const char *wal = at("%s-wal", path_base(t.r.path));
		end_it(&t);
		/* The last frame cut inside; or the last commits gone altogether. */
		uint64_t bytes = whole ? file_bytes(at("old-wal")) : file_bytes(wal) - 100;
		assert_int_equal(truncate(wal, (off_t)bytes), 0);
		start_again(&t);
		expect_story(&t, "shorter");
	}
}

/* The WAL is put back to what it was some commits ago, and another writer appends to that: the same salts, a
 * valid chain, the same length or more, other content. */
static void test_tail_different(void **state)
{
	(void)state;
	struct story t;
	for (int rows = 3; rows < 6; rows++) {
		begin_story(&t, rows == 3 ? "different3" : rows == 4 ? "different4" : "different5");
		const char *path = at("%s", t.r.path + strlen(world) + 1), *wal = at("%s-wal", path_base(path));
		end_it(&t);
		uint64_t before = file_bytes(wal);
		struct wal_header h = wal_header_of(wal);
		sh("cp old-wal %s-wal", path_base(path));
		struct peer q = peer_open(path);
		peer_do(&q, "PRAGMA wal_autocheckpoint=0");
		for (int i = 0; i < rows; i++)
			peer_do(&q, "INSERT INTO t(v) VALUES('ROW %d' || hex(randomblob(600)))", i);
		peer_leave(&q);
		assert_true(file_bytes(wal) >= before);
		struct wal_header now = wal_header_of(wal);
		assert_memory_equal(now.salt, h.salt, 8);
		start_again(&t);
		expect_story(&t, "another one");
	}
}

/* A page of the WAL did not get to the disk before those behind it did. */
static void test_middle_missing(void **state)
{
	(void)state;
	struct story t;
	begin_story(&t, "middle");
	const char *wal = at("middle-wal");
	end_it(&t);
	uint64_t frame = wal_frame_bytes(1024), frames = wal_frames_in(1024, file_bytes(wal));
	assert_true(frames >= 6);
	uint8_t *zeros = calloc(1, (size_t)frame);
	int fd = open(wal, O_WRONLY | O_CLOEXEC);
	assert_true(zeros && fd >= 0);
	assert_int_equal(pwrite(fd, zeros, (size_t)frame, (off_t)wal_offset_of(1024, frames / 2)), frame);
	close(fd);
	free(zeros);
	start_again(&t);
	expect_story(&t, "shorter");
}

static void test_restarted(void **state)
{
	(void)state;
	static const struct {
		const char *name, *sql[4];
	} how[] = {
		{ "re-passive", { "PRAGMA wal_checkpoint(PASSIVE)", "INSERT INTO t(v) VALUES('x')" } },
		{ "re-restart", { "PRAGMA wal_checkpoint(RESTART)", "INSERT INTO t(v) VALUES('x')" } },
		{ "re-truncate", { "PRAGMA wal_checkpoint(TRUNCATE)" } },
		{ "re-truncate-twice",
		  { "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_checkpoint(TRUNCATE)" } },
		{ "re-truncate-write", { "PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t(v) VALUES('x')" } },
		{ "re-truncate-long",
		  { "PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t(v) VALUES(randomblob(90000))" } },
		{ "re-limit",
		  { "PRAGMA journal_size_limit=0", "PRAGMA wal_checkpoint(PASSIVE)",
		    "INSERT INTO t(v) VALUES('cuts the WAL')" } },
		{ "re-rollback",
		  { "PRAGMA journal_mode=delete", "INSERT INTO t(v) VALUES('x')", "PRAGMA journal_mode=wal" } },
	};
	for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
		struct story t;
		begin_story(&t, how[i].name);
		end_it(&t);
		struct peer q = peer_open(t.r.path);
		for (int k = 0; k < 4 && how[i].sql[k]; k++)
			peer_do(&q, "%s", how[i].sql[k]);
		peer_leave(&q);
		start_again(&t);
		expect_story(&t, "reason=");
	}
}

/* The last connection of the application closes: SQLite copies the WAL and removes it. */
static void test_wal_deleted(void **state)
{
	(void)state;
	struct story t;
	begin_story(&t, "deleted");
	rig_stop(&t.r);
	forget_log();
	peer_close(&t.p);
	assert_false(exists(at("deleted-wal")));
	start_again(&t);
	expect_story(&t, "reason=");

	begin_story(&t, "removed"); /* by hand, with commits in it */
	end_it(&t);
	sh("rm removed-wal removed-shm");
	start_again(&t);
	expect_story(&t, "reason=");
}

static void test_replaced_while_stopped(void **state)
{
	(void)state;
	struct story t;
	begin_story(&t, "another");
	end_it(&t);
	sh("rm another another-wal another-shm");
	struct peer q = rig_make_db(at("another"), "PRAGMA page_size=1024");
	for (int i = 0; i < 9; i++)
		peer_do(&q, "INSERT INTO t(v) VALUES(hex(randomblob(600)))");
	peer_leave(&q);
	start_again(&t);
	expect_story(&t, "reason=");

	begin_story(&t, "older"); /* with its WAL of that time */
	end_it(&t);
	sh("cp old older && cp old-wal older-wal && rm older-shm");
	start_again(&t);
	expect_story(&t, "shorter");

	begin_story(&t, "older-alone");
	end_it(&t);
	sh("cp old older-alone && rm older-alone-wal older-alone-shm");
	start_again(&t);
	expect_story(&t, "reason=");
}

static void test_position_file(void **state)
{
	(void)state;
	struct story t;
	begin_story(&t, "torn");
	end_it(&t); /* its newest record is torn: the one before and the spool lead to the same place */
	sh("f=torn-meta/walbrook/position; n=$(od -An -tu1 -j0 -N0 $f; grep -ao 'seq [0-9]*' $f | "
	   "awk '{print NR-1, $2}' | sort -k2n | tail -1 | cut -d' ' -f1); "
	   "printf X | dd of=$f bs=1 seek=$((n * 256 + 40)) conv=notrunc status=none");
	start_again(&t);
	expect_story(&t, NULL);

	begin_story(&t, "junk");
	end_it(&t);
	sh("head -c 512 /dev/zero >junk-meta/walbrook/position");
	start_again(&t);
	expect_story(&t, "no good record");

	begin_story(&t, "lost");
	end_it(&t);
	sh("rm lost-meta/walbrook/position");
	start_again(&t);
	expect_story(&t, "first start");

	begin_story(&t, "other-tool");
	end_it(&t);
	sh("echo 0123456789abcdef >other-tool-meta/generation");
	start_again(&t);
	expect_story(&t, "another tool");
}

/* ---- replaced, removed while running ---- */

static void test_removed_while_running(void **state)
{
	(void)state;
	struct rig r;
	struct peer p = rig_make_db(at("gone"), "SELECT 1");
	rig_init(&r, at("gone"));
	rig_park(&r);
	peer_leave(&p);
	forget_log();
	sh("rm gone gone-wal gone-shm");
	rig_step(&r); /* the sweep */
	rig_until(&r, DB_WAITING);
	assert_false(exists(at("gone")));
	assert_false(relay_holds(&r.d.relay));
	p = rig_make_db(at("gone"), "SELECT 1");
	peer_do(&p, "INSERT INTO t(v) VALUES('anew')");
	rig_until(&r, DB_IDLE);
	assert_int_equal(r.generations, 2);
	expect_logged("replaced");
	peer_leave(&p);
	rig_fini(&r);
}

static void test_replaced_while_running(void **state)
{
	(void)state;
	struct rig r;
	struct peer p = rig_make_db(at("here"), "SELECT 1"), q = rig_make_db(at("there"), "SELECT 1");
	rig_init(&r, at("here"));
	rig_park(&r);
	peer_leave(&p);
	peer_do(&q, "INSERT INTO t(v) VALUES('there')");
	peer_close(&q);
	forget_log();
	sh("rm here-wal here-shm; mv there here");
	p = peer_open(at("here"));
	peer_do(&p, "INSERT INTO t(v) VALUES('here')");
	rig_step(&r);
	rig_park(&r);
	assert_int_equal(r.generations, 2);
	expect_logged("replaced");
	struct replay re = rig_image(&r);
	replay_segments(&re, &r.d.cap.spool, r.segs);
	rig_stop(&r);
	peer_leave(&p);
	replay_equals(&re, r.path);
	dyn_free(&re.image);
	rig_fini(&r);
}

/* ---- an application that comes later ---- */

static void test_application_comes_later(void **state)
{
	(void)state;
	struct rig r;
	const char *path = at("later");
	rig_init(&r, path);
	rig_until(&r, DB_WAITING);
	assert_int_equal(r.d.why.kind, ERR_NOTHING);
	assert_false(exists(path));
	struct peer p = peer_open(path);
	rig_step(&r);
	peer_do(&p, "PRAGMA page_size=8192");
	peer_do(&p, "PRAGMA encoding='UTF-16le'");
	rig_step(&r);
	/* sqlite3_open has made an empty file, or none. */
	assert_int_equal(r.d.state, DB_WAITING);
	assert_int_equal(file_bytes(path), 0);
	assert_false(exists(at("later-wal")));
	assert_false(exists(at("later-shm")));
	peer_do(&p, "PRAGMA auto_vacuum=FULL"); /* writes the first page */
	rig_step(&r);
	assert_int_equal(r.d.state, DB_WAITING);
	peer_do(&p, "BEGIN");
	peer_do(&p, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
	rig_step(&r);
	assert_int_equal(r.d.state, DB_WAITING);
	peer_do(&p, "COMMIT");
	rig_step(&r); /* made this very moment, in rollback mode: left alone */
	assert_int_equal(r.d.state, DB_WAITING);
	assert_string_equal(peer_do(&p, "PRAGMA journal_mode=wal"), "wal");
	peer_do(&p, "INSERT INTO t(v) VALUES('first')");
	rig_park(&r);
	assert_int_equal(r.generations, 1);
	struct replay re = rig_image(&r);
	peer_do(&p, "INSERT INTO t(v) VALUES('second')");
	rig_park(&r);
	assert_string_equal(peer_do(&p,
				    "SELECT (SELECT page_size FROM pragma_page_size), (SELECT auto_vacuum FROM "
				    "pragma_auto_vacuum), (SELECT encoding FROM pragma_encoding)"),
			    "8192|1|UTF-16le");
	replay_segments(&re, &r.d.cap.spool, r.segs);
	rig_stop(&r);
	peer_leave(&p);
	replay_equals(&re, path);
	dyn_free(&re.image);
	rig_fini(&r);
}

static void test_empty_file(void **state)
{
	(void)state;
	struct rig r;
	spew(at("empty"), "", 0);
	rig_init(&r, at("empty"));
	rig_until(&r, DB_WAITING);
	assert_non_null(strstr(r.d.why.text, "empty"));
	rig_run(&r, 100);
	assert_int_equal(file_bytes(at("empty")), 0);
	assert_false(exists(at("empty-wal")));
	assert_false(exists(at("empty-journal")));
	rig_fini(&r);
}

/* A rollback journal is turned to WAL, but not while the application may still be at it. */
static void test_rollback_mode(void **state)
{
	(void)state;
	struct rig r;
	struct peer p = peer_open(at("rollback"));
	peer_do(&p, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
	peer_do(&p, "INSERT INTO t(v) VALUES('kept')");
	rig_init(&r, at("rollback"));
	int64_t from_us = mono_us();
	rig_step(&r);
	assert_int_equal(r.d.state, DB_WAITING);
	assert_string_equal(peer_do(&p, "PRAGMA journal_mode"), "delete");
	peer_do(&p, "BEGIN IMMEDIATE"); /* a transaction is open: it has to wait, without harm */
	sleep_us(1100000);
	rig_step(&r);
	assert_int_equal(r.d.state, DB_WAITING);
	peer_do(&p, "INSERT INTO t(v) VALUES('meanwhile')");
	peer_do(&p, "COMMIT");
	rig_until(&r, DB_IDLE);
	assert_true(mono_us() - from_us >= 1000000);
	assert_string_equal(peer_do(&p, "SELECT group_concat(v) FROM t"), "kept,meanwhile");
	assert_string_equal(peer_do(&p, "PRAGMA journal_mode"), "wal");
	peer_do(&p, "INSERT INTO t(v) VALUES('and on')");
	rig_park(&r);
	assert_true(r.d.cap.frames > 0);
	peer_leave(&p);
	rig_fini(&r);
}

/* ---- what is not a database, or not ours ---- */

static void expect_broken(const char *path, enum err_kind kind, const char *text)
{
	struct rig r;
	rig_init(&r, path);
	rig_step(&r);
	if (r.d.state != DB_BROKEN || r.d.why.kind != kind || !strstr(r.d.why.text, text) ||
	    !strstr(r.d.why.text, path_base(path)))
		fail_msg("%s: state %s, kind %d: %s", path, db_state_name(r.d.state), r.d.why.kind,
			 r.d.why.text);
	assert_true(r.due_us > mono_us()); /* it looks again later */
	assert_false(relay_holds(&r.d.relay));
	rig_fini(&r);
}

static void test_not_a_database(void **state)
{
	(void)state;
	sh("head -c 20000 /dev/urandom >random; touch -d '1 hour ago' random; printf 'some text\\n' >text;"
	   "touch -d '1 hour ago' text; mkdir directory");
	expect_broken(at("random"), ERR_DAMAGED, "encrypted");
	expect_broken(at("text"), ERR_DAMAGED, "not a SQLite database");
	expect_broken(at("directory"), ERR_DAMAGED, "not a file");
	assert_false(exists(at("random-wal")));
	/* A good header, and nothing good behind it. */
	struct peer p = rig_make_db(at("hollow"), "SELECT 1");
	peer_do(&p, "INSERT INTO t(v) VALUES(1)");
	peer_close(&p);
	sh("printf '\\377\\377' | dd of=hollow bs=1 seek=16 conv=notrunc status=none; touch -d '1 hour ago' "
	   "hollow");
	expect_broken(at("hollow"), ERR_DAMAGED, "not a database");
	/* A version of the future. */
	p = rig_make_db(at("future"), "SELECT 1");
	peer_close(&p);
	sh("printf '\\003\\003' | dd of=future bs=1 seek=18 conv=notrunc status=none; touch -d '1 hour ago' "
	   "future");
	expect_broken(at("future"), ERR_DAMAGED, "version");
}

static void test_missing(void **state)
{
	(void)state;
	struct rig r;
	rig_init(&r, at("no/such/dir/db"));
	rig_step(&r);
	assert_int_equal(r.d.state, DB_WAITING);
	assert_false(exists(at("no")));
	assert_int_equal(r.generations, 0);
	rig_fini(&r);
}

static void test_shm_unusable(void **state)
{
	(void)state;
	struct peer p = rig_make_db(at("shmdir"), "SELECT 1");
	peer_close(&p);
	sh("mkdir shmdir-shm");
	struct rig r;
	rig_init(&r, at("shmdir"));
	rig_step(&r);
	assert_int_equal(r.d.state, DB_BROKEN);
	assert_non_null(strstr(r.d.why.text, "shmdir"));
	sh("rmdir shmdir-shm"); /* and when it is mended it begins */
	rig_until(&r, DB_IDLE);
	rig_fini(&r);
}

/* Somebody who may read the database and its index, but not write them: the marks could not be raised. */
static void test_shm_read_only(void **state)
{
	(void)state;
	struct peer p = rig_make_db(at("ro"), "SELECT 1");
	sh("mkdir ro-meta; chmod 777 ro-meta; chmod 755 .; chmod 444 ro-shm; chmod 666 ro ro-wal");
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rig r;
		int status;
		if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
			_exit(3);
		rig_init(&r, at("ro"));
		rig_step(&r);
		status = r.d.state == DB_BROKEN && strstr(r.d.why.text, "ro") ? 0 : 4;
		if (status)
			dprintf(2, "# state %s: %s\n", db_state_name(r.d.state), r.d.why.text);
		if (status == 0 && r.d.why.kind != ERR_UNREACHABLE)
			status = 5;
		_exit(status);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	peer_do(&p, "INSERT INTO t(v) VALUES(1)");
	peer_leave(&p);
	sh("chmod 644 ro-shm");
}

static void test_exclusive_mode(void **state)
{
	(void)state;
	struct rig r;
	struct peer p = rig_make_db(at("exclusive"), "SELECT 1");
	peer_close(&p);
	p = peer_open(at("exclusive"));
	peer_do(&p, "PRAGMA locking_mode=EXCLUSIVE");
	peer_do(&p, "INSERT INTO t(v) VALUES(1)");
	rig_init(&r, at("exclusive"));
	rig_step(&r);
	assert_false(relay_holds(&r.d.relay));
	assert_true(r.d.state == DB_BROKEN || r.d.state == DB_WAITING);
	assert_int_not_equal(r.d.why.text[0], 0);
	peer_do(&p, "INSERT INTO t(v) VALUES(2)");
	rig_run(&r, 500);
	assert_true(r.steps < 10); /* it may be for long: after 20 ms, 40, 80 and so on */
	peer_close(&p);
	rig_until(&r, DB_IDLE); /* it begins when the application lets go */
	rig_fini(&r);
}

static void test_second_walbrook(void **state)
{
	(void)state;
	struct rig b;
	struct peer p = rig_make_db(at("locked"), "SELECT 1");
	rig_init(&b, at("locked"));
	/* The lock of another process' run, as this one sees it. */
	char lock[PATH_BYTES];
	snprintf(lock, sizeof lock, "%s/walbrook", b.d.o.meta_dir);
	sh("mkdir -p %s", lock);
	strcat(lock, "/lock");
	int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	rig_step(&b);
	assert_int_equal(b.d.state, DB_BROKEN);
	assert_int_equal(b.d.why.kind, ERR_BUSY);
	assert_non_null(strstr(b.d.why.text, "another walbrook"));
	close(fd);
	rig_until(&b, DB_IDLE);
	peer_leave(&p);
	rig_fini(&b);
}

/* One file under two names: the second must not be opened, since closing it would drop the locks of the first.
 */
static void test_same_file_twice(void **state)
{
	(void)state;
	struct rig a, b;
	struct peer p = rig_make_db(at("one"), "SELECT 1");
	sh("ln one two; ln -s one three");
	rig_init(&a, at("one"));
	rig_park(&a);
	for (int i = 0; i < 2; i++) {
		rig_init(&b, at("%s", i ? "two" : "three"));
		rig_step(&b);
		assert_int_equal(b.d.state, DB_WAITING); /* it may have been moved here just now */
		rig_until(&b, DB_BROKEN);
		assert_int_equal(b.d.why.kind, ERR_CONFIG);
		assert_non_null(strstr(b.d.why.text, "same file"));
		rig_fini(&b);
	}
	/* Our lock is still there: a TRUNCATE of a busy WAL has to wait for us. */
	peer_do(&p, "INSERT INTO t(v) VALUES(1)");
	rig_step(&a);
	int pid = 0;
	struct peer q = peer_start();
	peer_do(&q, "watch-slots %s", at("one-shm"));
	long probes, holes;
	assert_int_equal(sscanf(peer_do(&q, "stop"), "%ld %ld", &probes, &holes), 2);
	assert_int_equal(holes, 0);
	assert_int_equal(pid, 0);
	peer_leave(&q);
	peer_leave(&p);
	rig_fini(&a);
}

static void test_names(void **state)
{
	(void)state;
	static const char *const names[] = { "with space", "a?b",	  "100%25", "#hash",
					     "col:on",	   "gr\303\274n", "it's",   "-x" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct rig r;
		struct peer p = rig_make_db(at("%s", names[i]), "SELECT 1");
		rig_init(&r, at("%s", names[i]));
		peer_do(&p, "INSERT INTO t(v) VALUES(1)");
		rig_park(&r);
		peer_do(&p, "INSERT INTO t(v) VALUES(2)");
		rig_park(&r);
		assert_int_equal(r.generations, 1);
		assert_true(r.d.cap.frames >= 2);
		assert_true(exists(at("%s-wal", names[i])));
		peer_leave(&p);
		rig_fini(&r);
	}
}

static void test_symlink(void **state)
{
	(void)state;
	struct rig r;
	sh("mkdir real; ln -s real/db link");
	struct peer p = rig_make_db(at("real/db"), "SELECT 1");
	rig_init(&r, at("link"));
	peer_do(&p, "INSERT INTO t(v) VALUES(1)");
	rig_park(&r);
	assert_false(exists(at("link-wal")));
	assert_non_null(strstr(db_wal_path(&r.d), "/real/db-wal"));
	assert_true(r.d.cap.frames > 0);
	peer_do(&p, "INSERT INTO t(v) VALUES(2)");
	rig_park(&r);
	assert_int_equal(r.generations, 1);
	peer_leave(&p);
	rig_fini(&r);
}

/* ---- orders ---- */

static void test_orders(void **state)
{
	(void)state;
	struct rig r;
	struct peer p = rig_make_db(at("orders"), "SELECT 1");
	rig_init(&r, at("orders"));
	peer_do(&p, "INSERT INTO t(v) VALUES(1)");
	rig_park(&r);
	struct generation first = r.d.cap.at.generation;
	forget_log();
	rig_order(&r, (struct db_order){ .begin = "the replica asks for it" });
	assert_int_equal(r.generations, 2);
	assert_false(generation_equal(&first, &r.d.cap.at.generation));
	expect_logged("the replica asks for it");
	/* The segments of the first go when they are not needed; the position is durable before. */
	peer_do(&p, "INSERT INTO t(v) VALUES(2)");
	rig_park(&r);
	assert_non_null(r.segs);
	uint64_t bytes = r.d.cap.spool.bytes;
	struct spool_segment *all = r.segs;
	r.segs = NULL;
	r.segs_end = &r.segs;
	rig_order(&r, (struct db_order){ .remove = all });
	assert_true(r.d.cap.spool.bytes < bytes);
	sh("test -z \"$(ls orders-meta/walbrook/spool/%s | grep lz4)\"", r.d.cap.at.generation.name);
	assert_int_equal(r.d.saved.chain.offset, r.d.cap.at.chain.offset);
	peer_do(&p, "INSERT INTO t(v) VALUES(3)");
	rig_park(&r);
	rig_again(&r); /* killed: the position, then the spool */
	rig_until(&r, DB_IDLE);
	assert_int_equal(r.generations, 0);
	peer_leave(&p);
	rig_fini(&r);
}

/* The spool is full: nothing is captured, the application is not disturbed, and a new generation follows. */
static void test_quota(void **state)
{
	(void)state;
	struct rig r;
	struct peer p = rig_make_db(at("quota"), "SELECT 1");
	rig_init(&r, at("quota"));
	r.d.o.spool_quota_bytes = 100000;
	rig_park(&r);
	for (int i = 0; i < 4 && r.d.state != DB_GAP; i++) {
		peer_do(&p, "INSERT INTO t(v) VALUES(randomblob(60000))");
		rig_step(&r);
	}
	assert_int_equal(r.d.state, DB_GAP);
	assert_non_null(strstr(r.d.why.text, "quota"));
	uint64_t stored = r.d.cap.spool.bytes;
	peer_do(&p, "INSERT INTO t(v) VALUES(randomblob(60000))");
	rig_park(&r);
	assert_int_equal(r.d.cap.spool.bytes, stored);
	assert_int_equal(r.d.mx_frame, r.d.backfill); /* the WAL is let go all the same */
	assert_true(strncmp(peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)"), "0|", 2) == 0);
	struct spool_segment *all = r.segs;
	r.segs = NULL;
	r.segs_end = &r.segs;
	rig_order(&r, (struct db_order){ .remove = all });
	r.d.gap_us -= 6000000; /* it waits 5 s before it tries again */
	unsigned generations = r.generations;
	rig_step(&r);
	assert_int_equal(r.generations, generations + 1);
	assert_int_equal(r.d.state, DB_IDLE);
	struct replay re = rig_image(&r);
	peer_do(&p, "INSERT INTO t(v) VALUES('captured again')");
	rig_park(&r);
	replay_segments(&re, &r.d.cap.spool, r.segs);
	rig_stop(&r);
	peer_leave(&p);
	replay_equals(&re, r.path);
	dyn_free(&re.image);
	rig_fini(&r);
}

/* SQLite 3.40 publishes frames without salts after ROLLBACK TO in a transaction that had spilled. Such a WAL
 * cannot be captured: it is let go, the application notices nothing, and a new generation begins with the next
 * one. A SQLite without that defect must simply be captured. */
static void test_frames_without_salts(void **state)
{
	(void)state;
	struct rig r;
	struct peer p = rig_make_db(at("spilled"), "PRAGMA page_size=1024");
	peer_do(&p, "PRAGMA cache_size=10");
	peer_do(&p, "WITH n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<60) INSERT INTO t(v) SELECT "
		    "randomblob(500) FROM n");
	rig_init(&r, at("spilled"));
	rig_park(&r);
	peer_do(&p, "BEGIN; SAVEPOINT a; WITH n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) "
		    "INSERT INTO t(v) SELECT randomblob(500) FROM n");
	peer_do(&p, "ROLLBACK TO a");
	peer_do(&p, "INSERT INTO t(v) VALUES('after the rollback')");
	peer_do(&p, "COMMIT");
	rig_park(&r);
	bool defect = r.d.state == DB_GAP;
	if (defect) {
		assert_int_equal(r.d.mx_frame, r.d.backfill); /* it is let go all the same */
		assert_non_null(strstr(r.d.why.text, "salt differs"));
	}
	assert_int_equal(strncmp(peer_do(&p, "SELECT count(*) FROM t"), "61", 2), 0);
	peer_do(&p, "INSERT INTO t(v) VALUES('in the next WAL')");
	rig_until(&r, DB_IDLE);
	rig_park(&r);
	assert_int_equal(r.generations, defect ? 3 : 1);
	struct replay re = rig_image(&r);
	replay_segments(&re, &r.d.cap.spool, r.segs);
	rig_stop(&r);
	peer_leave(&p);
	replay_equals(&re, r.path);
	dyn_free(&re.image);
	rig_fini(&r);
}

/* Stopping leaves the WAL as it is, and no lock. */
static void test_stop_leaves_the_wal(void **state)
{
	(void)state;
	struct rig r;
	struct peer p = rig_make_db(at("stop"), "SELECT 1");
	rig_init(&r, at("stop"));
	rig_park(&r);
	peer_do(&p, "INSERT INTO t(v) VALUES(randomblob(9000))");
	rig_step(&r);
	peer_leave(&p); /* ours is the last connection */
	uint64_t bytes = file_bytes(at("stop-wal"));
	sh("cp stop stop-before");
	rig_stop(&r);
	sh("cmp stop stop-before"); /* no checkpoint on the way out */
	assert_true(bytes > 9000);
	assert_int_equal(file_bytes(at("stop-wal")), bytes);
	assert_null(db_wal_path(&r.d));
	uint64_t frames;
	assert_int_equal(db_look(&r.d, &frames), DB_LOOK_NONE);
	rig_fini(&r);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "peer") == 0)
		return peer_main();
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_untouched),
		cmocka_unit_test(test_appended),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_killed_damaged),
		cmocka_unit_test(test_shm_deleted),
		cmocka_unit_test(test_tail_shorter),
		cmocka_unit_test(test_tail_different),
		cmocka_unit_test(test_middle_missing),
		cmocka_unit_test(test_restarted),
		cmocka_unit_test(test_wal_deleted),
		cmocka_unit_test(test_replaced_while_stopped),
		cmocka_unit_test(test_position_file),
		cmocka_unit_test(test_removed_while_running),
		cmocka_unit_test(test_replaced_while_running),
		cmocka_unit_test(test_application_comes_later),
		cmocka_unit_test(test_empty_file),
		cmocka_unit_test(test_rollback_mode),
		cmocka_unit_test(test_not_a_database),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_shm_unusable),
		cmocka_unit_test(test_shm_read_only),
		cmocka_unit_test(test_exclusive_mode),
		cmocka_unit_test(test_second_walbrook),
		cmocka_unit_test(test_same_file_twice),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_symlink),
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_frames_without_salts),
		cmocka_unit_test(test_stop_leaves_the_wal),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("db", tests, group_setup, group_teardown);
}
