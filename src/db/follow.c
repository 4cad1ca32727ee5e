/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a follower's database: open, know where we are, notice others, close.
 *
 * Happy path of an open: the connection is opened (SQLite makes the shared index, or recovers it from the WAL),
 * the write lock is taken and kept, the header of the index is compared with the two states of the position
 * record: the state after its publication or the one before it. Either tells the position of the source.
 *
 * An index that was made anew (all processes had closed) has lost its change counter, so a log with frames is
 * known by its salts, its length and its last checksum; an empty log only by the counter, while the index
 * lives.
 *
 * Failure modes: nothing there, no record, a record that does not fit (somebody wrote while we were away, the
 * last reader's close removed the WAL, a loss of power): FOLLOW_CONTENT, pages are compared. Not a database, or
 * no WAL mode any more: FOLLOW_CONTENT, and the content becomes a new file. A local writer at work:
 * FOLLOW_AGAIN. */
#include "db/follow_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "db/vfs.h"

enum { LOG_LIMIT_BYTES = 4 << 20, LOG_CAP_BYTES = 1 << 30, PAUSE_US = 10000 };

struct follow_local follow_local_of(const struct wal_index *h)
{
	struct follow_local l = { .mx_frame = h->mx_frame, .sum = h->frame_sum, .change = h->change };
	memcpy(l.salt, h->salt, sizeof l.salt);
	return l;
}

static uint64_t inode_of(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

/* The header, after a recovery if it needs one: a writer that died between its two copies leaves that to the
 * next read. */
static int read_header(struct follow *f, struct err *e)
{
	if (conn_index_patiently(&f->conn, f->raw, &f->live))
		return 0;
	if (conn_begin(&f->conn, e) < 0)
		return -1;
	conn_end(&f->conn);
	if (conn_index_patiently(&f->conn, f->raw, &f->live))
		return 0;
	return err_set(e, ERR_BUSY, "%s: the WAL index is not valid", f->o.path);
}

/* Size of pages and database: of the index, or of the file when the log is empty and the index new. */
static int read_sizes(struct follow *f, struct err *e)
{
	uint8_t head[100];
	sqlite3_int64 size = 0;
	f->page_bytes = f->live.page_bytes;
	f->pages = f->live.pages;
	long got = conn_read_db(&f->conn, head, sizeof head, 0, e);
	if (got < 0)
		return -1;
	if (f->live.mx_frame == 0 && got == sizeof head) {
		uint32_t n = (uint32_t)head[16] << 8 | head[17];
		f->page_bytes = n == 1 ? PAGE_BYTES_MAX : n;
	}
	if (!page_bytes_valid(f->page_bytes))
		return err_set(e, ERR_DAMAGED, "%s: is not a database", f->o.path);
	if (f->pages == 0 && f->conn.file->pMethods->xFileSize(f->conn.file, &size) == SQLITE_OK)
		f->pages = (uint32_t)((uint64_t)size / f->page_bytes);
	return 0;
}

static void note_stat(struct follow *f, const struct stat *st)
{
	f->file.mtime_ns = st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec;
	f->file.bytes = st->st_size;
	f->file.backfill = shm_backfill(f->conn.shm);
}

void follow_note_file(struct follow *f)
{
	struct stat st;
	if (stat(f->o.path, &st) == 0)
		note_stat(f, &st);
}

/* It was written, and not by a checkpoint: that holds a lock meanwhile, and counts what it has copied before it
 * lets go. In this order: what the first look sees is over by the second one, or counted at the third. */
static bool is_overwritten(struct follow *f)
{
	struct stat st;
	if (stat(f->o.path, &st) < 0 ||
	    (st.st_size == f->file.bytes &&
	     st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec == f->file.mtime_ns))
		return false;
	if (log_holder(f, SHM_CKPT) != 0)
		return false;
	if (shm_backfill(f->conn.shm) == f->file.backfill)
		return true;
	note_stat(f, &st);
	return false;
}

void follow_look_at_file(struct follow *f)
{
	f->overwritten = f->overwritten || is_overwritten(f);
}

enum follow_result follow_attach(struct follow *f, struct err *e)
{
	char path[PATH_BYTES];
	if (conn_open(&f->conn, f->o.path, e) < 0)
		return e->kind == ERR_BUSY ? FOLLOW_AGAIN : FOLLOW_FAIL;
	walindex_init(&f->index, f->conn.file);
	if (!vfs_keep_write(f->conn.file)) {
		err_set(e, ERR_BUSY, "%s: a local process is writing it", f->o.path);
		goto again;
	}
	if (read_header(f, e) < 0)
		goto again;
	if (read_sizes(f, e) < 0 || walindex_need(&f->index, 1, e) < 0) {
		follow_detach(f);
		return FOLLOW_FAIL;
	}
	conn_shm_path(&f->conn, path);
	f->shm_inode = inode_of(path);
	f->wal_inode = inode_of(conn_wal_path(&f->conn));
	f->inode = inode_of(f->o.path);
	f->next_restart_bytes = f->o.log_limit_bytes;
	follow_note_file(f);
	txn_reset(f);
	return FOLLOW_OK;
again:
	follow_detach(f);
	return FOLLOW_AGAIN;
}

void follow_detach(struct follow *f)
{
	walindex_fini(&f->index);
	if (conn_is_open(&f->conn)) {
		vfs_let_write(f->conn.file);
		conn_close(&f->conn);
	}
	if (f->shm_fd >= 0)
		close(f->shm_fd);
	f->shm_fd = -1;
	f->known = false;
	f->page_bytes = 0;
}

static bool is_state(const struct wal_index *live, const struct follow_local *l)
{
	if (live->mx_frame == 0)
		return live->change != 0 && live->change == l->change;
	return live->mx_frame == l->mx_frame && memcmp(live->salt, l->salt, sizeof l->salt) == 0 &&
	       wal_sum_equal(live->frame_sum, l->sum);
}

/* After first: a record may move the position alone, and then both states are the same. */
static bool recognise(struct follow *f, const struct follow_place *p)
{
	const struct follow_state *s = NULL;
	if (p->inode == f->inode && is_state(&f->live, &p->after.local))
		s = &p->after;
	else if (p->inode == f->inode && is_state(&f->live, &p->before.local))
		s = &p->before;
	if (!s || generation_none(&s->source.generation))
		return false;
	f->at = f->next = s->source;
	f->known = true;
	return true;
}

static bool is_there(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && st.st_size > 0;
}

/* What is there is no database, or not one in WAL mode. Nothing of it may be open in this process. */
static bool is_other_kind(const char *path)
{
	uint8_t head[20];
	struct err ignored;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : file_pread_full(fd, path, head, sizeof head, 0, &ignored);
	if (fd >= 0)
		close(fd);
	return n >= 0 && (n < (ssize_t)sizeof head || memcmp(head, "SQLite format 3", 16) != 0 ||
			  head[18] != 2 || head[19] != 2);
}

static enum follow_result attach_and_know(struct follow *f, const struct follow_place *p, struct err *e)
{
	f->lost = false;
	if (!is_there(f->o.path)) {
		err_set(e, ERR_NOTHING, "%s: is not there yet", f->o.path);
		return FOLLOW_CONTENT;
	}
	enum follow_result rc = follow_attach(f, e);
	if (rc == FOLLOW_AGAIN)
		f->lost = true;
	if (rc == FOLLOW_FAIL && e->kind != ERR_DAMAGED && !is_other_kind(f->o.path))
		return rc;
	if (rc == FOLLOW_AGAIN)
		return rc;
	if (rc == FOLLOW_FAIL) {
		err_wrap(e, "a new file will take its place");
		return FOLLOW_CONTENT;
	}
	if (p && recognise(f, p))
		return txn_anchor(f, e);
	err_set(e, ERR_FAIL, "%s: is not as we left it, its pages will be compared with the source", f->o.path);
	return FOLLOW_CONTENT;
}

static int open_place(struct follow *f, struct follow_place *ret, bool *has, struct err *e)
{
	char dir[PATH_BYTES], path[PATH_BYTES];
	uint64_t seq = 0;
	if (path_join(dir, f->o.meta_dir, "walbrook") < 0 || path_join(path, dir, "follow") < 0)
		return err_set(e, ERR_CONFIG, "%s: too long for a path", f->o.meta_dir);
	*has = follow_place_read(path, ret, &seq, e) == 0;
	if (!*has && e->kind != ERR_NOTHING && e->kind != ERR_DAMAGED)
		return -1;
	if (!*has && e->kind == ERR_NOTHING && !f->o.adopt && is_there(f->o.path)) {
		err_set(e, ERR_EXISTS, "%s: something is there that no follower has written", f->o.path);
		return err_hint(e, "Move it away, or allow that it is replaced");
	}
	if (dir_make(dir, &f->o.owner, e) < 0)
		return -1;
	return follow_place_open(&f->place, path, &f->o.owner, seq, e);
}

enum follow_result follow_open(struct follow *f, const struct follow_options *o, struct err *e)
{
	struct follow_place p;
	bool has = false;
	*f = (struct follow){ .o = *o, .shm_fd = -1, .place = { .fd = -1 }, .content = { .fd = -1 } };
	f->o.log_limit_bytes = o->log_limit_bytes ? o->log_limit_bytes : LOG_LIMIT_BYTES;
	f->o.log_cap_bytes = o->log_cap_bytes ? o->log_cap_bytes : LOG_CAP_BYTES;
	f->o.pause_us = o->pause_us ? o->pause_us : PAUSE_US;
	if (open_place(f, &p, &has, e) < 0) {
		follow_place_close(&f->place);
		return FOLLOW_FAIL;
	}
	content_drop(f);
	enum follow_result rc = attach_and_know(f, has ? &p : NULL, e);
	if (rc != FOLLOW_OK && rc != FOLLOW_CONTENT)
		follow_close(f);
	return rc;
}

enum follow_result follow_reopen(struct follow *f, struct err *e)
{
	struct follow_place p;
	uint64_t seq;
	struct err ignored;
	follow_drop(f);
	follow_detach(f);
	bool has = !f->overwritten && follow_place_read(f->place.path, &p, &seq, &ignored) == 0;
	f->overwritten = false;
	enum follow_result rc = attach_and_know(f, has ? &p : NULL, e);
	if (rc == FOLLOW_FAIL)
		f->lost = true;
	return rc;
}

void follow_rest(struct follow *f)
{
	if (f->buf_n != 0)
		return;
	free(f->buf);
	f->buf = NULL;
	f->buf_cap = 0;
	if (conn_is_open(&f->conn))
		sqlite3_db_release_memory(f->conn.db);
}

void follow_close(struct follow *f)
{
	struct err ignored;
	follow_drop(f);
	if (f->known && conn_sync_wal(&f->conn, &ignored) == 0)
		follow_place_sync(&f->place, &ignored);
	follow_detach(f);
	follow_place_close(&f->place);
	free(f->buf);
	f->buf = NULL;
	f->buf_cap = 0;
}

enum follow_result follow_promote(struct follow *f, struct err *e)
{
	char dir[PATH_BYTES];
	follow_drop(f);
	if (!f->known) {
		err_set(e, ERR_NOTHING, "%s: holds no known state of a source, and cannot become a primary",
			f->o.path);
		return FOLLOW_CONTENT;
	}
	if (conn_sync_wal(&f->conn, e) < 0 || conn_sync_db(&f->conn, e) < 0)
		return FOLLOW_FAIL;
	if (sys_unlink(f->place.path) < 0 && errno != ENOENT)
		return err_sys(e, errno, "%s: cannot be removed", f->place.path);
	if (path_dir(dir, f->place.path) == 0 && dir_sync(dir, e) < 0)
		return FOLLOW_FAIL;
	follow_close(f);
	return FOLLOW_OK;
}

bool follow_position(const struct follow *f, struct follow_source *ret)
{
	if (f->known)
		*ret = f->at;
	return f->known;
}

bool follow_disturbed(const struct follow *f)
{
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
	if (!conn_is_open(&f->conn))
		return false;
	return !conn_index(&f->conn, raw, &h) || memcmp(raw, f->raw, sizeof raw) != 0;
}

bool follow_moved(struct follow *f)
{
	char path[PATH_BYTES];
	if (!conn_is_open(&f->conn))
		return false;
	conn_shm_path(&f->conn, path);
	/* SQLite itself can only tell whether the database file has moved. */
	if (inode_of(f->o.path) != f->inode || inode_of(path) != f->shm_inode ||
	    inode_of(conn_wal_path(&f->conn)) != f->wal_inode)
		return true;
	follow_look_at_file(f);
	return f->overwritten;
}
