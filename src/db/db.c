/* SPDX-License-Identifier: Apache-2.0
 *
 * One database: see db.h.
 *
 * Happy path of a step: look whether the files are still those that we opened; capture through the committed
 * end; prove a restart early; decide whether to let the WAL go (quiet for 200 ms, WAL long, or a checkpoint
 * interval over) and do a round; pin a snapshot if one is wanted; say when the next step is due without an
 * event.
 *
 * Failure modes: the file is missing or empty (state waiting; our own touch would fix its page size), in
 * rollback mode (turned to WAL after 1 s of quiet, the one thing that we write), not a database (broken); files
 * replaced (reopen, new generation); continuity lost (new generation); spool full or unwritable for long (state
 * gap: nothing is captured, the WAL is let go so that the application does not suffer, and a new generation
 * follows as soon as there is room). */
#include "db/db.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "db/follow_place.h"
#include "db/takeover.h"
#include "db/vfs.h"

enum {
	QUIET_US = 200000,
	REST_AFTER_US = 2000000,
	REOPEN_US = 1000000,
	LOCKED_US = 20000,
	LOCKED_TRIES = 6, /* then once in REOPEN_US */
	SPACE_RETRY_US = 10000000,
	TWICE_FOR_US = 1000000,
	DESCRIPTORS_KEPT = 512,
	DESCRIPTORS_EACH = 8, /* most while it is open: SQLite's six, for the locks, of the metadata */
	WALKED_LATELY_US = 60000000,
	CALLED_LATELY_US = 2000000,
	RETRY_MIN_US = 2000,
	BRAKE_FRAMES = 2500,
	FAST_FRAME_US = 200,
	FAST_LEAST_FRAMES = 64,
	STAY_US = 30000,
	LEFT_ALONE_PARTS = 3, /* halves of min-checkpoint-page-count */
	RETRY_MAX_US = 2000000,
	BUSY_RETRY_US = 10000,
	BLIND_AFTER_US = 60000000,
	BLIND_LEAST_US = 5000000,
	GAP_LOOK_US = 1000000,
	DB_HEADER_BYTES = 100,
	OUR_LOCK_BYTE = 1 << 30, /* of the -shm */
};

static const struct {
	const char *name;
	unsigned next;
} states[] = {
#define TO(s) (1u << DB_##s)
	[DB_WAITING] = { "waiting", TO(IDLE) | TO(CAPTURING) | TO(GAP) | TO(BROKEN) },
	[DB_IDLE] = { "idle", TO(DIRTY) | TO(CAPTURING) | TO(SNAPSHOT) | TO(GAP) | TO(BROKEN) | TO(WAITING) },
	[DB_DIRTY] = { "dirty", TO(CAPTURING) | TO(IDLE) },
	[DB_CAPTURING] = { "capturing",
			   TO(IDLE) | TO(DIRTY) | TO(SNAPSHOT) | TO(GAP) | TO(BROKEN) | TO(WAITING) },
	[DB_SNAPSHOT] = { "snapshot",
			  TO(IDLE) | TO(CAPTURING) | TO(DIRTY) | TO(GAP) | TO(BROKEN) | TO(WAITING) },
	[DB_GAP] = { "gap", TO(IDLE) | TO(CAPTURING) | TO(BROKEN) | TO(WAITING) },
	[DB_BROKEN] = { "broken", TO(WAITING) | TO(IDLE) | TO(CAPTURING) | TO(GAP) },
#undef TO
};

const char *db_state_name(enum db_state s)
{
	return states[s].name;
}

void db_state_move(enum db_state *at, enum db_state to)
{
	if (*at != to && !(states[*at].next & (1u << to)))
		log_error("a state moved where it must not", L_S("from", states[*at].name),
			  L_S("to", states[to].name));
	*at = to;
}

int db_init(struct db *d, const struct db_options *o, struct err *e)
{
	*d = (struct db){ .o = *o, .lock_fd = -1, .lock_file.aside = true, .state = DB_WAITING };
	capture_init(&d->cap);
	relay_init(&d->relay, o->path);
	return vfs_setup(e);
}

static void close_files(struct db *d)
{
	relay_release(&d->relay);
	opened_forget(&d->file);
	d->resting = false;
	d->mx_frame = d->backfill = 0;
}

void db_fini(struct db *d)
{
	close_files(d);
	recapture_forget(&d->cap, &d->head);
	capture_fini(&d->cap);
	spool_segments_free(d->stuck);
	opened_forget(&d->lock_file);
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	free(d->place_path);
	*d = (struct db){ .lock_fd = -1 };
}

static void be(struct db *d, enum db_state s, const struct err *why)
{
	if (why && (d->state != s || strcmp(d->why.text, why->text) != 0))
		d->why_said = false;
	enum db_state was = d->state;
	d->state = s;
	if (!why) {
		if (d->why_said && was != DB_WAITING)
			log_info("database is replicated again", L_S("db", d->o.path),
				 L_S("was", states[was].name), L_S("error", d->why.text));
		d->why = ERR_INIT;
		d->why_said = false;
		return;
	}
	if (d->why_said)
		return;
	d->why = *why;
	d->why_said = true;
	if (s == DB_WAITING)
		log_info("waiting for the database", L_S("db", d->o.path), L_S("reason", why->text));
	else if (s == DB_BROKEN)
		log_error("database cannot be replicated", L_S("db", d->o.path), L_S("error", why->text));
	else
		log_warn(s == DB_GAP ? "commits are not captured until this is over"
				     : "commits cannot be captured; trying again",
			 L_S("db", d->o.path), L_S("state", states[s].name), L_S("error", why->text));
}

/* The metadata directory, its lock, the spool. */
static int set_up_meta(struct db *d, struct err *e)
{
	char path[PATH_BYTES];
	if (d->lock_fd >= 0)
		return 0;
	d->owner = owner_of(d->o.path);
	if (snprintf(path, sizeof path, "%s/walbrook", d->o.meta_dir) >= (int)sizeof path - 32)
		return err_set(e, ERR_CONFIG, "%s: path is too long", d->o.meta_dir);
	if (dir_make(path, &d->owner, e) < 0)
		return err_wrap(e, "metadata directory");
	strcat(path, "/lock");
	int fd = sys_open(path, O_RDWR | O_CREAT, d->owner.file_mode);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot be opened", path);
	struct stat st;
	if (fstat(fd, &st) == 0 && !opened_take(&d->lock_file, st.st_dev, st.st_ino)) {
		close(fd);
		d->twice_us = d->twice_us ? d->twice_us : mono_us();
		return err_set(e, ERR_BUSY, "%s: its metadata (%s) is in use for another name of it", d->o.path,
			       path);
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int sys = errno;
		opened_forget(&d->lock_file);
		close(fd);
		if (sys == EWOULDBLOCK)
			return err_set(e, ERR_BUSY,
				       "%s: another walbrook replicates this database (it holds %s)", d->o.path,
				       path);
		return err_sys(e, sys, "%s: cannot be locked", path);
	}
	if (!d->cap.spool.dir && spool_init(&d->cap.spool, d->o.meta_dir, &d->owner, e) < 0) {
		opened_forget(&d->lock_file);
		close(fd);
		return -1;
	}
	if (!d->place_path && asprintf(&d->place_path, "%s/walbrook/position", d->o.meta_dir) < 0) {
		d->place_path = NULL;
		opened_forget(&d->lock_file);
		close(fd);
		return err_set(e, ERR_FAIL, "no memory");
	}
	d->lock_fd = fd;
	return 0;
}

int db_take_meta(struct db *d, struct err *e)
{
	return set_up_meta(d, e);
}

static int save_place(struct db *d, struct err *e)
{
	const struct place *at = &d->cap.at;
	if (generation_none(&at->generation) ||
	    (generation_equal(&at->generation, &d->saved.generation) && at->index == d->saved.index &&
	     at->chain.offset == d->saved.chain.offset))
		return 0;
	if (spool_sync(&d->cap.spool, e) < 0)
		return -1;
	if (place_write(d->place_path, &d->owner, at, d->place_seq + 1, e) < 0)
		return err_wrap(e, "position");
	d->place_seq++;
	d->saved = *at;
	return 0;
}

enum peek { PEEK_WAIT, PEEK_ROLLBACK, PEEK_WAL, PEEK_BROKEN };

/* What kind of file it is. Opened and closed by ourselves only while this process has no SQLite connection to
 * it. */
static enum peek peek(struct db *d, const struct stat *st, struct err *e)
{
	uint8_t h[DB_HEADER_BYTES];
	int fd = open(d->o.path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_sys(e, errno, "%s: cannot be opened", d->o.path);
		return PEEK_BROKEN;
	}
	ssize_t n = file_pread_full(fd, d->o.path, h, sizeof h, 0, e);
	close(fd);
	if (n < 0)
		return PEEK_BROKEN;
	int64_t age_us = wall_us() - (st->st_mtim.tv_sec * 1000000LL + st->st_mtim.tv_nsec / 1000);
	bool fresh = age_us >= 0 && age_us < 1000000;
	if (n < (ssize_t)sizeof h || memcmp(h, "SQLite format 3", 16) != 0) {
		err_set(e, ERR_DAMAGED,
			"%s: is not a SQLite database, or it is encrypted (its first bytes are not "
			"those of one)",
			d->o.path);
		return fresh ? PEEK_WAIT : PEEK_BROKEN;
	}
	uint32_t page_bytes = (uint32_t)h[16] << 8 | h[17];
	d->page_bytes = page_bytes == 1 ? PAGE_BYTES_MAX : page_bytes;
	if (h[18] == 2 && h[19] == 2)
		return PEEK_WAL;
	if (h[18] > 2 || h[19] > 2 || h[18] == 0 || h[19] == 0) {
		err_set(e, ERR_DAMAGED, "%s: is a SQLite database of a version that is not known", d->o.path);
		return PEEK_BROKEN;
	}
	if (!fresh)
		return PEEK_ROLLBACK;
	err_set(e, ERR_BUSY, "%s: is being made by its application", d->o.path);
	return PEEK_WAIT;
}

static int turn_to_wal(struct db *d, struct err *e)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_open_v2(d->o.path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, VFS_NAME);
	const char *mode = "";
	bool ok = false;
	if (rc == SQLITE_OK) {
		sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
		rc = sqlite3_prepare_v2(db, "PRAGMA journal_mode=wal", -1, &st, NULL);
	}
	if (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
		mode = (const char *)sqlite3_column_text(st, 0);
		ok = mode && strcmp(mode, "wal") == 0 &&
		     sqlite3_step(st) == SQLITE_DONE; /* that is the commit */
	}
	if (!ok) {
		int code = db ? sqlite3_errcode(db) & 0xff : rc;
		err_set(e,
			code == SQLITE_READONLY || code == SQLITE_CANTOPEN || code == SQLITE_PERM
				? ERR_UNREACHABLE
			: code == SQLITE_NOTADB || code == SQLITE_CORRUPT ? ERR_DAMAGED
									  : ERR_BUSY,
			"%s: cannot be turned to WAL mode: %s", d->o.path,
			db ? sqlite3_errmsg(db) : "no memory");
	}
	sqlite3_finalize(st);
	sqlite3_close(db);
	if (!ok)
		return -1;
	log_info("turned from rollback journal to WAL mode", L_S("db", d->o.path));
	return 0;
}

static int remember_files(struct db *d, struct err *e)
{
	const char *wal = conn_wal_path(relay_conn(&d->relay));
	char shm[PATH_BYTES];
	struct stat st;
	conn_shm_path(relay_conn(&d->relay), shm);
	d->is[0].dev = d->file.dev;
	d->is[0].ino = d->file.ino;
	if (stat(wal, &st) < 0)
		return err_sys(e, errno, "%s", wal);
	d->is[1] = (struct db_file_id){ st.st_dev, st.st_ino, (uint64_t)st.st_size };
	if (stat(shm, &st) < 0)
		return err_sys(e, errno, "%s", shm);
	d->is[2] = (struct db_file_id){ st.st_dev, st.st_ino, 0 };
	return 0;
}

/* A walbrook that knows the database by another name, or has its metadata elsewhere, has another lock file; the
 * index is one for all. Its descriptor is the relay's, which closes it after SQLite's. One byte far behind
 * those that SQLite locks, and a lock of the descriptor: no close of another one drops it. */
static int lock_index(struct db *d, struct err *e)
{
	int fd = relay_shm_fd(&d->relay);
	struct flock one = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = OUR_LOCK_BYTE, .l_len = 1 };
	if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &one) < 0 && (errno == EAGAIN || errno == EACCES))
		return err_set(e, ERR_BUSY,
			       "%s: another walbrook replicates this database, under another name or with "
			       "another metadata directory",
			       d->o.path);
	return 0; /* where nothing can be locked there is the lock file */
}

bool db_files(struct db *d, struct db_files *ret)
{
	if (!relay_holds(&d->relay))
		return false;
	const char *wal = conn_wal_path(relay_conn(&d->relay));
	*ret = (struct db_files){ .path = strdup(d->o.path), .wal = strdup(wal) };
	memcpy(ret->is, d->is, sizeof ret->is);
	if (ret->path && ret->wal)
		return true;
	db_files_free(ret);
	return false;
}

void db_files_free(struct db_files *f)
{
	free(f->path);
	free(f->wal);
}

static bool same_names(const char *path, const char *wal, struct db_file_id is[3])
{
	char shm[PATH_BYTES];
	const char *names[3] = { path, wal, shm };
	snprintf(shm, sizeof shm, "%.*sshm", (int)strlen(wal) - 3, wal);
	for (int i = 0; i < 3; i++) {
		struct stat st;
		if (stat(names[i], &st) < 0) {
			if (errno == ENOENT || errno == ENOTDIR)
				return false;
			continue; /* cannot be told now; the next look will */
		}
		if (st.st_ino != is[i].ino || st.st_dev != is[i].dev)
			return false;
		is[i].bytes = (uint64_t)st.st_size;
	}
	return true;
}

bool db_files_same(struct db_files *f)
{
	return same_names(f->path, f->wal, f->is);
}

/* false: a name leads to another file than the one that we have open (replaced, removed). */
static bool same_files(struct db *d)
{
	return same_names(d->o.path, conn_wal_path(relay_conn(&d->relay)), d->is);
}

static int begin_generation(struct db *d, const char *reason, struct db_report *ret, struct err *e)
{
	uint64_t bits;
	char path[PATH_BYTES], text[GENERATION_CHARS + 2];
	if (getrandom(&bits, sizeof bits, 0) != sizeof bits)
		return err_sys(e, errno, "no random numbers");
	struct generation g = generation_from(bits);
	if (path_join(path, d->o.meta_dir, "generation") < 0)
		return err_set(e, ERR_CONFIG, "%s: path is too long", d->o.meta_dir);
	snprintf(text, sizeof text, "%s\n", g.name);
	if (file_publish(path, text, strlen(text), &d->owner, e) < 0)
		return -1;
	capture_restart(&d->cap, &g);
	d->cap.blind = false;
	d->gap_us = 0;
	if (save_place(d, e) < 0)
		return -1;
	ret->generation_began = true;
	log_info("new generation", L_S("db", d->o.path), L_S("generation", g.name), L_S("reason", reason));
	return 0;
}

static bool generation_file_agrees(struct db *d)
{
	char path[PATH_BYTES];
	struct err ignore;
	struct dyn text = DYN_INIT(4096);
	bool same = path_join(path, d->o.meta_dir, "generation") == 0 &&
		    file_read_all(path, &text, &ignore) == 0 && text.len >= GENERATION_CHARS &&
		    memcmp(text.p, d->cap.at.generation.name, GENERATION_CHARS) == 0;
	dyn_free(&text);
	return same;
}

/* Where a run before stopped: the position file, or further if the spool reaches further. */
static int recall_place(struct db *d, struct err *e)
{
	struct place p;
	if (place_read(d->place_path, &p, &d->place_seq, e) < 0)
		return -1;
	d->saved = d->cap.at = p;
	struct spool_segment *list = NULL;
	struct wal_chain tail = p.chain;
	uint64_t bytes = d->cap.spool.bytes;
	d->cap.spool.dropped = false;
	if (spool_load(&d->cap.spool, &p.generation, &list, &tail, e) < 0)
		return -1;
	d->cap.spool.bytes = bytes; /* counted when the loop loads it */
	struct spool_segment *last = list;
	while (last && last->next)
		last = last->next;
	if (last) {
		struct position saved = { p.index, p.chain.offset };
		struct position end = { last->at.index, last->end };
		if (position_compare(end, saved) > 0) {
			d->cap.at.index = last->at.index;
			d->cap.at.chain = tail;
			size_t n = last->commits_n;
			if (n > 0 && last->commits[n - 1].wall_us > d->cap.at.wall_us)
				d->cap.at.wall_us = last->commits[n - 1].wall_us;
		}
	}
	spool_segments_free(list);
	return d->cap.spool.dropped ? err_set(e, ERR_DAMAGED, "segments in the spool were damaged") : 0;
}

/* Does the WAL prove that it continues where an earlier run of ours stopped? */
static bool goes_on(struct db *d, const struct wal_index *h, struct err *why)
{
	if (recall_place(d, why) < 0)
		return false;
	if (!generation_file_agrees(d)) {
		err_set(why, ERR_DAMAGED, "another tool or another run has begun a generation since");
		return false;
	}
	return capture_proven(&d->cap, relay_conn(&d->relay), h, why);
}

/* The same, from where Litestream stopped, if that is further. */
static bool goes_on_from_other(struct db *d, const struct wal_index *h, struct err *why)
{
	struct place p, ours = d->cap.at;
	struct err e = ERR_INIT;
	int rc = takeover_import(d->o.meta_dir, &ours, &d->cap.spool, d->o.spool_quota_bytes / 2, &p, &e);
	if (rc < 0)
		log_warn("what Litestream left cannot be taken over", L_S("db", d->o.path),
			 L_S("error", e.text));
	if (rc <= 0)
		return false;
	d->cap.at = p;
	if (save_place(d, why) < 0)
		return false;
	log_info("taking over from Litestream", L_S("db", d->o.path), L_S("generation", p.generation.name),
		 L_I("index", p.index), L_I("offset", p.chain.offset));
	return goes_on(d, h, why);
}

/* First hold since the start: continue the generation if the WAL proves it. */
static int continue_or_begin(struct db *d, const struct wal_index *h, struct db_report *ret, struct err *e)
{
	struct err why = ERR_INIT;
	if (!generation_none(&d->cap.at.generation))
		return begin_generation(d, "the database was replaced", ret, e);
	if (goes_on(d, h, &why) || goes_on_from_other(d, h, &why)) {
		log_info("generation continues", L_S("db", d->o.path),
			 L_S("generation", d->cap.at.generation.name), L_I("index", d->cap.at.index),
			 L_I("offset", d->cap.at.chain.offset));
		return 0;
	}
	return begin_generation(d, why.kind == ERR_NOTHING ? "first start" : why.text, ret, e);
}

/* Some descriptors are left for what all databases need: to ship, to make snapshots, to look at directories. */
static int descriptors_left(const struct db *d, struct err *e)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur == RLIM_INFINITY)
		return 0;
	rlim_t kept = l.rlim_cur / 8 < DESCRIPTORS_KEPT ? l.rlim_cur / 8 : DESCRIPTORS_KEPT;
	if (opened_count() * DESCRIPTORS_EACH + kept <= l.rlim_cur) /* itself included */
		return 0;
	return err_set(
		e, ERR_SPACE,
		"%s: no file descriptors are left for it; the limit is %llu, and a database takes %d. Raise it "
		"(LimitNOFILE= of the service, ulimit -n in a shell)",
		d->o.path, (unsigned long long)l.rlim_cur, DESCRIPTORS_EACH);
}

/* Its file or its metadata is in use under another name: of a database that was moved here and is about to be
 * let go there, or of one that is configured twice. */
static void used_twice(struct db *d, const struct err *why, struct db_report *ret)
{
	int64_t now_us = mono_us();
	if (!d->twice_us)
		d->twice_us = now_us;
	bool broken = now_us - d->twice_us > TWICE_FOR_US;
	be(d, broken ? DB_BROKEN : DB_WAITING, why);
	ret->due_us = now_us + (broken ? REOPEN_US : LOCKED_US);
}

/* A copy of another machine's database, which nobody has promoted: its lineage is that of its primary, whose
 * followers would take what is written here for its continuation. */
static int refuse_copy(struct db *d, struct err *e)
{
	char path[PATH_BYTES], note[PATH_BYTES];
	struct follow_place p;
	struct err ignored;
	uint64_t seq;
	if (path_join(note, d->o.meta_dir, "walbrook/promoted") < 0 || access(note, F_OK) == 0 ||
	    path_join(path, d->o.meta_dir, "walbrook/follow") < 0 ||
	    follow_place_read(path, &p, &seq, &ignored) < 0 || generation_none(&p.after.source.generation))
		return 0;
	err_set(e, ERR_CONFIG,
		"%s: is a copy that follows another machine's database, and upstream is not given", d->o.path);
	return err_hint(
		e,
		"Give it again; or stop walbrook and make it a primary with walbrook promote; or, if it is "
		"another database by now, remove %.300s",
		path);
}

/* From a path to a hold. 0: holds; -1: not now, state and reason are set. */
static int open_db(struct db *d, struct db_report *ret)
{
	struct err e = ERR_INIT;
	struct stat st;
	ret->due_us = mono_us() + REOPEN_US;
	if (stat(d->o.path, &st) < 0) {
		ret->missing = errno == ENOENT || errno == ENOTDIR;
		err_sys(&e, errno, "%s", d->o.path);
		be(d, ret->missing ? DB_WAITING : DB_BROKEN, &e);
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(&e, ERR_DAMAGED, "%s: is not a file", d->o.path);
		be(d, DB_BROKEN, &e);
		return -1;
	}
	if (st.st_size > 0 && !opened_take(&d->file, st.st_dev, st.st_ino)) {
		err_set(&e, ERR_CONFIG, "%s: is the same file as another configured database", d->o.path);
		used_twice(d, &e, ret);
		return -1;
	}
	if (descriptors_left(d, &e) < 0 || set_up_meta(d, &e) < 0 || refuse_copy(d, &e) < 0) {
		close_files(d);
		if (e.kind == ERR_SPACE)
			ret->due_us = mono_us() + SPACE_RETRY_US;
		if (d->twice_us)
			used_twice(d, &e, ret);
		else
			be(d, DB_BROKEN, &e);
		return -1;
	}
	d->twice_us = 0;
	if (st.st_size == 0) {
		err_set(&e, ERR_NOTHING, "%s: is empty; its application has not made the database yet",
			d->o.path);
		be(d, DB_WAITING, &e);
		return -1;
	}
	d->is[0].bytes = (uint64_t)st.st_size;
	enum peek kind = peek(d, &st, &e);
	if (kind == PEEK_ROLLBACK && turn_to_wal(d, &e) < 0)
		kind = e.kind == ERR_BUSY ? PEEK_WAIT : PEEK_BROKEN;
	if (kind == PEEK_WAIT || kind == PEEK_BROKEN) {
		close_files(d);
		be(d, kind == PEEK_WAIT ? DB_WAITING : DB_BROKEN, &e);
		return -1;
	}
	struct wal_index h;
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	enum relay_result rc = relay_hold(&d->relay, &h, raw, &e);
	if (rc != RELAY_OK || lock_index(d, &e) < 0 || remember_files(d, &e) < 0 ||
	    continue_or_begin(d, &h, ret, &e) < 0) {
		close_files(d);
		be(d, rc == RELAY_AGAIN ? DB_WAITING : DB_BROKEN, &e);
		/* Locked for a moment, or for as long as its application runs. */
		if (rc == RELAY_AGAIN && d->open_misses < LOCKED_TRIES)
			ret->due_us = mono_us() + (LOCKED_US << d->open_misses++);
		return -1;
	}
	d->open_misses = 0;
	d->changed_us = d->copied_us = mono_us();
	ret->opened = true;
	return 0;
}

/* The copies of the header stay different: a writer died in between. A read on an idle connection recovers it.
 */
static void heal_index(struct db *d)
{
	struct conn *idle = &d->relay.c[!d->relay.holder];
	struct err ignore;
	if ((conn_is_open(idle) || conn_open(idle, d->o.path, &ignore) == 0) && conn_begin(idle, &ignore) == 0)
		conn_end(idle);
}

/* The length from which the writer is slowed: well before the limit, since what is behind falls further behind.
 */
static int64_t brake_frames(const struct db *d)
{
	int64_t most = d->o.max_checkpoint_pages * 3 / 4;
	return most < BRAKE_FRAMES ? most : BRAKE_FRAMES;
}

static bool called_lately(const struct db *d)
{
	return d->called_us > 0 && mono_us() - d->called_us < CALLED_LATELY_US;
}

/* The length from which the writer is stopped for a moment. An application that calls its checkpoints by
 * itself, as its last one says, is not to find that we are in one: SQLite gives BUSY then, at once. */
static int64_t force_frames(const struct db *d)
{
	if (called_lately(d))
		return d->o.max_checkpoint_pages * 2;
	return d->relay.walked_lately ? d->o.max_checkpoint_pages * 3 / 4 : brake_frames(d);
}

/* The length from which the WAL of a busy database is to be closed. Past an application's own automatic
 * checkpoint (1,000 pages unless it says otherwise) every commit tries a checkpoint in vain, which costs more
 * than a short hold; and while one is prepared a writer at full speed appends twice as much again. Holds that
 * take long are no reason to wait: then the writer is further ahead next time, and they take longer still. */
static int64_t busy_frames(const struct db *d)
{
	int64_t early = d->o.min_checkpoint_pages < 1000 ? d->o.min_checkpoint_pages : 1000;
	return early * 3 / 10 > 0 ? early * 3 / 10 : 1;
}

static enum relay_result capture_latest(struct db *d, struct wal_index *h, struct err *e)
{
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	if (!conn_index_patiently(relay_conn(&d->relay), raw, h)) {
		heal_index(d);
		if (!conn_index_patiently(relay_conn(&d->relay), raw, h)) {
			err_set(e, ERR_BUSY, "%s: the WAL index is damaged or being written", d->o.path);
			return RELAY_AGAIN;
		}
	}
	/* What is long overdue is captured with the brake on (let_go), or the writer would run ahead meanwhile.
	 */
	bool overdue = d->o.max_checkpoint_pages > 0 && h->mx_frame >= 2 * brake_frames(d) &&
		       h->mx_frame >= force_frames(d) && mono_us() >= d->retry_us && !d->frozen;
	uint64_t budget = overdue ? CAPTURE_PIECE_BYTES : CAPTURE_BUDGET_BYTES;
	/* Of a long WAL more will come before it is let go: then it is synced together, before that and at the
	 * latest when it is handed out. */
	bool durable = h->mx_frame < busy_frames(d);
	return relay_capture(&d->relay, relay_conn(&d->relay), &d->cap, h, durable, budget, e);
}

/* The spool is full, or could not be written for long, or the WAL is not a chain: stop capturing, let the WAL
 * go. */
static void go_blind(struct db *d, const struct err *why)
{
	d->cap.blind = true;
	d->gap_us = mono_us();
	be(d, DB_GAP, why);
}

/* After a gap: a new generation from the beginning of the WAL as it is now. A restart may come in between (we
 * may be on slot 0 and have captured nothing yet): begin once more. A WAL that cannot be captured from its
 * beginning either (SQLite 3.40 can publish frames without salts and checksums after ROLLBACK TO in a
 * transaction that had spilled) is waited out: it is let go uncaptured, and the new generation begins with the
 * next one. */
static enum relay_result mend(struct db *d, struct wal_index *h, struct db_report *ret, struct err *e)
{
	enum relay_result rc = RELAY_GAP;
	uint8_t salt[8] = { 0 };
	for (int i = 0; i < 5 && rc == RELAY_GAP; i++) {
		struct err reason = *e;
		if (i > 0 && memcmp(salt, h->salt, sizeof salt) == 0) {
			memcpy(d->broken_salt, salt, sizeof salt);
			d->chain_broken = true;
			go_blind(d, e);
			return RELAY_OK;
		}
		if (begin_generation(d, reason.text, ret, e) < 0)
			return RELAY_FAIL;
		memcpy(salt, h->salt, sizeof salt);
		rc = capture_latest(d, h, e);
	}
	return rc;
}

/* Blind, and the reason is over: there is room in the spool, or the broken WAL was restarted. */
static bool may_see_again(struct db *d)
{
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
	if (!d->cap.blind)
		return false;
	if (!d->chain_broken)
		return d->cap.spool.bytes < d->o.spool_quota_bytes / 2 &&
		       mono_us() - d->gap_us > BLIND_LEAST_US;
	if (!conn_index(relay_conn(&d->relay), raw, &h) || h.mx_frame == 0 ||
	    memcmp(h.salt, d->broken_salt, sizeof h.salt) == 0)
		return false;
	d->chain_broken = false;
	return true;
}

/* The application calls checkpoints: it is seen in one, or one came to a WAL that its commits had let grow. */
static void calls_its_own(struct db *d)
{
	d->relay.walked_lately = true;
	d->left_alone = false;
	d->called_us = mono_us();
	d->rest_us = d->called_us + WALKED_LATELY_US;
}

/* Whether somebody else's checkpoints copy the WAL: then it is left to them. Automatic ones begin with the
 * commit that makes it long enough, so one that did not even begin will not come, or is called now and then. */
static void see_who_copies(struct db *d, const struct wal_index *h)
{
	uint32_t before = d->backfill;
	if (memcmp(h->salt, d->index_salt, sizeof h->salt) != 0) {
		memcpy(d->index_salt, h->salt, sizeof h->salt);
		d->index_began_us = mono_us();
		before = 0;
	}
	const volatile uint8_t *shm = relay_conn(&d->relay)->shm;
	bool grown = h->mx_frame >= LEFT_ALONE_PARTS * d->o.min_checkpoint_pages / 2;
	d->backfill = shm_backfill(shm);
	if (d->backfill > before && d->relay.n.copies == d->copies) {
		if (d->left_alone || (grown && called_lately(d)))
			calls_its_own(d);
		d->left_alone = false;
		d->copied_us = mono_us();
	} else if (grown && d->backfill == 0 && shm_attempted(shm) == 0 && !called_lately(d) &&
		   conn_slot(relay_conn(&d->relay)) > 0) {
		d->left_alone = true;
	}
	d->copies = d->relay.n.copies;
}

static bool see(struct db *d, bool *ret_captured)
{
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
	if (!conn_index_patiently(relay_conn(&d->relay), raw, &h))
		return false;
	if (memcmp(raw, d->seen, sizeof raw) != 0)
		d->changed_us = mono_us();
	*ret_captured = d->cap.blind || capture_reached(&d->cap, &h);
	if (*ret_captured)
		memcpy(d->seen, raw, sizeof raw);
	d->mx_frame = h.mx_frame;
	if (h.page_bytes)
		d->page_bytes = h.page_bytes;
	see_who_copies(d, &h);
	return true;
}

enum let_go { LET_BE, LET_PARK, LET_ALONG, LET_ROUND, LET_FORCE };

/* Whether, and how, the WAL is to be let go now. */
static enum let_go decide(struct db *d, const struct db_order *order, int64_t now_us)
{
	int64_t frames = d->mx_frame, todo = frames - (int64_t)d->backfill;
	int64_t limit = d->o.max_checkpoint_pages, quiet_us = now_us - d->changed_us;
	bool self = d->relay.walked_lately;
	if (todo <= 0)
		return conn_slot(relay_conn(&d->relay)) == 0 ? LET_BE : LET_PARK;
	if (order->frozen)
		return LET_BE;
	if (now_us >= d->retry_us && limit > 0 && frames >= force_frames(d))
		return LET_FORCE;
	bool overdue = d->o.checkpoint_interval_us > 0 && now_us - d->copied_us > d->o.checkpoint_interval_us;
	if (!d->left_alone && !order->pin && !overdue && quiet_us < QUIET_US)
		return LET_ALONG;
	if (now_us < d->retry_us)
		return LET_BE;
	if (order->pin || quiet_us >= (self ? 10 * QUIET_US : QUIET_US))
		return LET_ROUND;
	if (!self && frames >= busy_frames(d))
		return LET_ROUND;
	return overdue ? LET_ROUND : LET_BE;
}

/* Rounds until all is copied, as long as each leaves less; a writer that does not pause long enough is stopped
 * for a moment when the WAL is long enough to be worth it. */
static enum relay_result rounds(struct db *d, enum let_go what, struct err *e)
{
	enum relay_result rc = RELAY_OK;
	bool reached;
	/* Beside one that writes without pause rounds would only take time: one is part of a forced one. */
	bool busy = d->o.max_checkpoint_pages > 0 && d->mx_frame >= busy_frames(d) &&
		    mono_us() - d->changed_us < QUIET_US;
	uint32_t before = UINT32_MAX;
	for (int i = 0; what == LET_ROUND && !busy && i < 4; i++) {
		rc = relay_round(&d->relay, &d->cap, true, true, e);
		if (rc != RELAY_OK || !see(d, &reached) || d->mx_frame == d->backfill)
			return rc;
		uint32_t todo = d->mx_frame - d->backfill;
		if (todo > 64 || todo >= before)
			break;
		before = todo;
	}
	if (what == LET_FORCE || (d->o.max_checkpoint_pages > 0 && d->mx_frame >= busy_frames(d) &&
				  mono_us() - d->changed_us < QUIET_US))
		rc = relay_forced(&d->relay, &d->cap, d->mx_frame >= brake_frames(d), e);
	return rc;
}

/* Beside a writer at full speed a step stays for about the time between two of its checkpoints, one database at
 * a time: the way through the loop and back would take longer than the moment that is to be met. */
static enum relay_result go_along(struct db *d, const struct db_order *order, struct err *e)
{
	static atomic_flag stays = ATOMIC_FLAG_INIT;
	bool fast = d->mx_frame >= FAST_LEAST_FRAMES &&
		    d->mx_frame * (int64_t)FAST_FRAME_US > mono_us() - d->index_began_us;
	bool stay = fast && !order->stop && !atomic_flag_test_and_set(&stays);
	struct relay_pace p = { .step_frames = (uint32_t)busy_frames(d),
				.most_frames =
					d->o.max_checkpoint_pages > 0 ? (uint32_t)force_frames(d) : UINT32_MAX,
				.stay_us = stay ? STAY_US : 0 };
	enum relay_result rc = relay_along(&d->relay, &d->cap, &p, e);
	if (stay)
		atomic_flag_clear(&stays);
	return rc;
}

static enum relay_result let_go(struct db *d, const struct db_order *order, struct err *e)
{
	enum let_go what = decide(d, order, mono_us());
	enum relay_result rc = RELAY_OK;
	uint32_t copied = d->backfill;
	uint8_t salt[sizeof d->index_salt];
	bool reached;
	memcpy(salt, d->index_salt, sizeof salt);
	if (what == LET_BE)
		return RELAY_OK;
	if (what == LET_ALONG)
		return go_along(d, order, e);
	if (what == LET_PARK)
		rc = relay_park(&d->relay, &d->cap, e);
	else
		rc = rounds(d, what, e);
	if (what != LET_PARK)
		d->copied_us = mono_us();
	if (!see(d, &reached))
		return rc;
	if (rc == RELAY_OK && (d->mx_frame == d->backfill || what == LET_PARK)) {
		d->copy_misses = d->copied_none = 0;
		d->retry_us = 0;
		return rc;
	}
	/* Not everything: a busy writer, a foreign reader or a foreign checkpoint. Look again, more and more
	 * seldom; soon beside a busy writer, but not where a reader keeps all of it from being copied: then
	 * every try only stops that writer. */
	d->copy_misses++;
	bool none = rc == RELAY_OK && d->backfill == copied && memcmp(salt, d->index_salt, sizeof salt) == 0;
	d->copied_none = none ? d->copied_none + 1 : 0;
	unsigned misses = d->copied_none ? d->copied_none : d->copy_misses;
	int64_t wait_us = RETRY_MIN_US << (misses < 10 ? misses - 1 : 9);
	if (!d->copied_none && mono_us() - d->changed_us < QUIET_US && wait_us > BUSY_RETRY_US)
		wait_us = BUSY_RETRY_US;
	d->retry_us = mono_us() + (wait_us < RETRY_MAX_US ? wait_us : RETRY_MAX_US);
	if (d->copy_misses == 12) {
		int pid = relay_foreign_reader(&d->relay);
		log_warn("a reader keeps the WAL from being copied; it will grow until that transaction ends",
			 L_S("db", d->o.path), L_I("pid", pid));
	}
	return rc;
}

static void next_due(struct db *d, struct db_report *ret)
{
	int64_t now_us = mono_us(), due_us = 0;
	if (d->mx_frame > d->backfill) {
		int64_t quiet_us = QUIET_US * (d->relay.walked_lately ? 10 : 1);
		due_us = d->changed_us + quiet_us;
		if (due_us < d->retry_us)
			due_us = d->retry_us;
		if (due_us < now_us)
			due_us = now_us + RETRY_MIN_US;
	} else if (!d->resting) {
		due_us = d->changed_us + REST_AFTER_US;
	}
	if (d->cap.blind && (due_us == 0 || due_us > now_us + GAP_LOOK_US))
		due_us = now_us + GAP_LOOK_US; /* its application may be quiet for long */
	ret->due_us = due_us;
}

static void handle_trouble(struct db *d, enum relay_result rc, const struct err *e, struct db_report *ret)
{
	uint64_t wal_bytes = (uint64_t)(d->mx_frame > d->backfill ? d->mx_frame : 0) *
			     (d->cap.at.chain.page_bytes ? d->cap.at.chain.page_bytes : 4096);
	if (rc == RELAY_AGAIN) {
		ret->due_us = mono_us() + RETRY_MIN_US;
		return;
	}
	if (!d->gap_us)
		d->gap_us = mono_us();
	if (!d->cap.blind && (wal_bytes > d->o.wal_cap_bytes || mono_us() - d->gap_us > BLIND_AFTER_US)) {
		go_blind(d, e);
	} else {
		struct err said = *e;
		be(d, d->cap.blind ? DB_GAP : DB_IDLE, &said);
	}
	ret->due_us = mono_us() + 1000000;
}

static enum relay_result work(struct db *d, const struct db_order *order, struct db_report *ret, struct err *e)
{
	struct wal_index h;
	enum relay_result rc;
	h = (struct wal_index){ 0 };
	if (may_see_again(d)) {
		err_set(e, ERR_SPACE, "what made the gap is over");
		d->gap_us = mono_us();
		rc = mend(d, &h, ret, e);
		if (rc != RELAY_OK) { /* not one generation after the other */
			d->cap.blind = true;
			d->gap_us = mono_us();
		}
	} else if (!d->cap.blind && d->cap.spool.bytes >= d->o.spool_quota_bytes) {
		err_set(e, ERR_SPACE,
			"the spool has reached its quota of %" PRIu64
			" bytes because no replica takes segments; "
			"a new generation will begin when it has room",
			d->o.spool_quota_bytes);
		go_blind(d, e);
	}
	rc = capture_latest(d, &h, e);
	if (rc == RELAY_OK && d->cap.spool.lost) {
		err_set(e, ERR_UNREACHABLE, "a sync of the spool failed");
		d->cap.spool.lost = false;
		rc = RELAY_GAP;
	}
	if (rc == RELAY_OK && order->begin && !ret->generation_began) {
		err_set(e, ERR_NOTHING, "%s", order->begin);
		rc = RELAY_GAP;
	}
	if (rc == RELAY_OK && order->walk) {
		rc = relay_walk(&d->relay, &d->cap, e);
		calls_its_own(d);
	} else if (d->relay.walked_lately && mono_us() > d->rest_us) {
		d->relay.walked_lately = false;
	}
	if (rc == RELAY_GAP)
		rc = mend(d, &h, ret, e);
	if (rc == RELAY_FAIL || rc == RELAY_GAP)
		return rc;
	ret->reached = rc == RELAY_OK && capture_reached(&d->cap, &h);
	relay_prove(&d->relay, &h, 500);
	bool reached;
	if (!see(d, &reached))
		return RELAY_AGAIN;
	rc = let_go(d, order, e);
	return rc == RELAY_GAP ? mend(d, &h, ret, e) : rc;
}

static void pin(struct db *d, const struct db_order *order, struct db_report *ret)
{
	struct err e = ERR_INIT;
	bool reached;
	if (!order->pin || d->cap.blind || !see(d, &reached) || !reached || d->mx_frame != d->backfill)
		return;
	int got = snapshot_pin(order->snapshot, d->o.path, relay_conn(&d->relay), &e);
	if (got < 0)
		log_warn("snapshot cannot begin", L_S("db", d->o.path), L_S("error", e.text));
	/* What it holds must be what is captured: a commit may have come before the begin. */
	if (got > 0 && see(d, &reached) && reached) {
		order->snapshot->generation = d->cap.at.generation;
		order->snapshot->at = (struct position){ d->cap.at.index, d->cap.at.chain.offset };
		ret->pinned = true;
	} else if (got > 0) {
		conn_end(&order->snapshot->conn);
		order->snapshot->exact = false;
	}
}

/* For followers. What goes wrong here is no trouble of the database. */
static void make_head(struct db *d, const struct db_order *order, struct db_report *ret)
{
	struct err e = ERR_INIT;
	enum capture_result rc = CAPTURE_GAP;
	if (!order->head_to || d->cap.blind || d->stuck) { /* stuck: removed under the same names later */
		recapture_forget(&d->cap, &d->head);
		ret->head_is = order->head_to ? DB_HEAD_FAILED : DB_HEAD_NONE;
		return;
	}
	if (d->cap.spool.bytes >= d->o.spool_quota_bytes / 2) {
		recapture_forget(&d->cap, &d->head);
		rc = CAPTURE_FAIL;
		err_set(&e, ERR_SPACE, "the spool is half full");
	} else {
		rc = recapture(&d->cap, relay_conn(&d->relay), &d->head, order->head_to, &e);
	}
	ret->head_is = rc == CAPTURE_GAP ? DB_HEAD_GONE : rc == CAPTURE_FAIL ? DB_HEAD_FAILED : DB_HEAD_MORE;
	if (rc == CAPTURE_OK && d->head.chain.offset == order->head_to) {
		ret->head = d->head.made;
		ret->head_is = DB_HEAD_DONE;
		d->head = (struct recapture){ .index = 0 };
	}
	if (rc == CAPTURE_FAIL)
		log_warn("the beginning of the WAL cannot be read once more for a follower",
			 L_S("db", d->o.path), L_S("error", e.text));
}

/* Oldest first, so that what an interruption leaves is an end, not a hole. What cannot be removed now is tried
 * again. */
static void remove_segments(struct db *d, struct spool_segment *list)
{
	struct err e = ERR_INIT;
	struct spool_segment **end = &d->stuck;
	while (*end)
		end = &(*end)->next;
	*end = list;
	if (save_place(d, &e) < 0) {
		log_warn("position cannot be saved", L_S("db", d->o.path), L_S("error", e.text));
		return;
	}
	while (d->stuck) {
		struct spool_segment *s = d->stuck;
		if (spool_remove(&d->cap.spool, &s->generation, s->at, s->stored_bytes, &e) < 0) {
			log_warn("segment stays in the spool for now", L_S("db", d->o.path),
				 L_S("error", e.text));
			return;
		}
		d->stuck = s->next;
		spool_segment_free(s);
	}
}

/* true: the files were removed or replaced, and let go. */
static bool check_files(struct db *d)
{
	if (!relay_holds(&d->relay) || same_files(d))
		return false;
	struct err e = ERR_INIT;
	struct wal_index h;
	/* What was committed to the files that we still have open is history, too. */
	if (!d->cap.blind && capture_latest(d, &h, &e) != RELAY_OK)
		log_warn("the end of a database that was removed or replaced could not be captured",
			 L_S("db", d->o.path), L_S("error", e.text));
	err_set(&e, ERR_NOTHING, "%s: the database, its WAL or its index was removed or replaced", d->o.path);
	close_files(d);
	be(d, DB_WAITING, &e);
	return true;
}

static void rest_if_quiet(struct db *d)
{
	bool quiet = d->mx_frame == d->backfill && mono_us() - d->changed_us >= REST_AFTER_US;
	if (quiet && !d->resting) {
		relay_rest(&d->relay);
		spool_rest(&d->cap.spool);
		malloc_trim(0);
		struct err e = ERR_INIT;
		if (save_place(d, &e) < 0)
			log_warn("position cannot be saved", L_S("db", d->o.path), L_S("error", e.text));
	}
	d->resting = quiet;
}

struct loaded {
	struct db *d;
	struct spool_segment *first, **end;
	struct generation left;
	struct err *e;
};

/* When its commits were seen may not be on the replicas yet. */
static bool has_times(const struct spool *s, const struct generation *g)
{
	char dir[PATH_BYTES];
	uint64_t ignore;
	int n = snprintf(dir, sizeof dir, "%s/%s", s->dir, g->name);
	return n > 0 && (size_t)n < sizeof dir && times_first(dir, 0, &ignore);
}

static int load_generation(void *arg, const struct generation *g)
{
	struct loaded *l = arg;
	struct wal_chain tail = { 0 };
	struct spool_segment *list = NULL;
	bool current = generation_equal(g, &l->d->cap.at.generation);
	if (current)
		tail = l->d->saved.chain;
	if (spool_load(&l->d->cap.spool, g, &list, &tail, l->e) < 0)
		return -1;
	if (!list && !current && has_times(&l->d->cap.spool, g))
		l->left = *g;
	else if (!list && !current) /* all of it was shipped long ago */
		return spool_remove_generation(&l->d->cap.spool, g, l->e);
	*l->end = list;
	while (*l->end)
		l->end = &(*l->end)->next;
	return 0;
}

static int load_spool(struct db *d, struct db_report *ret, struct err *e)
{
	struct loaded l = { .d = d, .end = &l.first, .e = e };
	d->cap.spool.bytes = 0;
	int rc = spool_generations(&d->cap.spool, load_generation, &l, e);
	ret->loaded = l.first;
	ret->left = l.left;
	return rc;
}

/* Only what is durable goes to the replicas. When a sync failed nobody knows what the spool holds (the system
 * reports such a failure once): what was captured since is given up, and a new generation follows. */
static void hand_out(struct db *d, struct db_report *ret)
{
	struct err e = ERR_INIT;
	if (d->cap.fresh && spool_sync(&d->cap.spool, &e) < 0)
		log_error("the spool cannot be synced", L_S("db", d->o.path), L_S("error", e.text));
	if (d->cap.spool.lost) {
		spool_segments_free(d->cap.fresh);
	} else {
		ret->fresh = d->cap.fresh;
	}
	d->cap.fresh = NULL;
	d->cap.fresh_end = &d->cap.fresh;
}

void db_step(struct db *d, const struct db_order *order, struct db_report *ret)
{
	struct err e = ERR_INIT;
	*ret = (struct db_report){ 0 };
	d->frozen = order->frozen;
	if (order->remove)
		remove_segments(d, order->remove);
	if (order->only_remove)
		return;
	if (check_files(d)) {
		ret->due_us =
			mono_us() + LOCKED_US; /* whoever else has the old files open lets them go first */
		hand_out(d, ret);
		return;
	}
	if (!relay_holds(&d->relay) && open_db(d, ret) < 0) {
		/* Locked for a moment is not a reason to end without what was committed. */
		ret->stopped = order->stop && !(d->state == DB_WAITING && d->why.kind == ERR_BUSY);
		return;
	}
	if (!d->spool_loaded) {
		if (load_spool(d, ret, &e) < 0)
			log_error("spool cannot be read", L_S("db", d->o.path), L_S("error", e.text));
		d->spool_loaded = true;
	}
	enum relay_result rc = work(d, order, ret, &e);
	if (rc == RELAY_OK || rc == RELAY_AGAIN) {
		pin(d, order, ret);
		make_head(d, order, ret);
		next_due(d, ret);
		if (!d->cap.blind) {
			be(d, DB_IDLE, NULL);
			d->gap_us = 0;
		}
	}
	if (rc != RELAY_OK)
		handle_trouble(d, rc, &e, ret);
	rest_if_quiet(d);
	if (order->stop && save_place(d, &e) < 0)
		log_error("position cannot be saved", L_S("db", d->o.path), L_S("error", e.text));
	hand_out(d, ret);
	/* What could not be captured now is tried again, so that no commit is left behind by an end with status
	 * 0. */
	bool reached = false, captured = d->cap.blind || (see(d, &reached) && reached && !d->cap.spool.lost);
	ret->reached = (ret->reached || reached) && !d->cap.blind && !d->cap.spool.lost;
	if (order->stop && !ret->generation_began && captured) {
		close_files(d);
		ret->stopped = true;
	}
}

enum db_look db_look(const struct db *d, uint64_t *ret_new_frames)
{
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
	*ret_new_frames = 0;
	if (d->relay.holder < 0)
		return DB_LOOK_NONE;
	if (!shm_index(d->relay.c[d->relay.holder].shm, raw, &h))
		return DB_LOOK_TORN;
	if (memcmp(raw, d->seen, sizeof raw) == 0)
		return DB_LOOK_SAME;
	uint64_t have = 0;
	if (d->cap.at.chain.offset && memcmp(h.salt, d->cap.at.chain.salt, 8) == 0)
		have = wal_frames_in(h.page_bytes, d->cap.at.chain.offset);
	*ret_new_frames = h.mx_frame > have ? h.mx_frame - have : 0;
	return DB_LOOK_CHANGED;
}

void db_prove_early(struct db *d)
{
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
	if (relay_holds(&d->relay) && conn_index(relay_conn(&d->relay), raw, &h))
		relay_prove(&d->relay, &h, 0);
}

bool db_has_backlog(const struct db *d)
{
	return d->relay.holder >= 0 && d->mx_frame > shm_backfill(d->relay.c[d->relay.holder].shm);
}

bool db_may_park(const struct db *d)
{
	return d->relay.holder >= 0 && conn_slot(&d->relay.c[d->relay.holder]) > 0 && !db_has_backlog(d);
}

bool db_goes_along(struct db *d)
{
	return relay_goes_along(&d->relay);
}

const char *db_wal_path(struct db *d)
{
	return relay_holds(&d->relay) ? conn_wal_path(relay_conn(&d->relay)) : NULL;
}
