/* SPDX-License-Identifier: Apache-2.0
 *
 * Promotion: see promote.h.
 *
 * Happy path: the position that readers see is added to the lineage as a promotion with a random id; the same
 * is noted in <meta>/walbrook/promoted, which keeps a configuration that still says `upstream` from following
 * again; then everything is made durable and the position record is removed (follow_promote).
 *
 * Failure modes: nothing known is here (ERR_NOTHING); a stop in between leaves the note, and then the database
 * is a primary: the note is what counts. A second promotion after that finishes the first. */
#include "daemon/promote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "db/vfs.h"
#include "live/lineage.h"

static int note_path(const char *meta_dir, char path[PATH_BYTES])
{
	return path_join(path, meta_dir, "walbrook/promoted");
}

bool promoted_before(const char *meta_dir, char ret_text[PROMOTED_TEXT_BYTES])
{
	char path[PATH_BYTES];
	struct err ignored;
	struct dyn text = DYN_INIT(4096);
	bool there = note_path(meta_dir, path) == 0 && access(path, F_OK) == 0;
	if (ret_text)
		ret_text[0] = 0;
	if (there && ret_text && file_read_all(path, &text, &ignored) == 0) {
		size_t n = text.len < PROMOTED_TEXT_BYTES - 1 ? text.len : PROMOTED_TEXT_BYTES - 1;
		memcpy(ret_text, text.p, n);
		ret_text[n] = 0;
		ret_text[strcspn(ret_text, "\n")] = 0;
	}
	dyn_free(&text);
	return there;
}

static int write_note(const char *meta_dir, const struct owner *o, const char *at, int64_t wall, struct err *e)
{
	char path[PATH_BYTES], when[TIME_TEXT_BYTES], text[PROMOTED_TEXT_BYTES];
	if (note_path(meta_dir, path) < 0)
		return err_set(e, ERR_CONFIG, "%s: path is too long", meta_dir);
	int n = snprintf(text, sizeof text, "promoted %s at %s\n", time_format(when, wall, 6), at);
	return file_publish(path, text, (size_t)n, o, e);
}

int promote_here(struct follow *f, const char *meta_dir, struct err *e)
{
	struct follow_source at;
	struct lineage l;
	struct owner o = f->o.owner;
	char text[POSITION_TEXT_BYTES];
	int64_t now_us = wall_us();
	if (!follow_position(f, &at))
		return err_set(e, ERR_NOTHING, "%s: holds no known state of a primary, and cannot become one",
			       f->o.path);
	struct position from = { at.index, at.chain.offset };
	position_format(text, &at.generation, from);
	/* Before anybody is told that it goes on from here. */
	if (conn_sync_wal(&f->conn, e) < 0 || conn_sync_db(&f->conn, e) < 0)
		return -1;
	if (lineage_read(meta_dir, &l, e) < 0) {
		if (e->kind != ERR_NOTHING)
			return -1;
		*e = ERR_INIT; /* its primary had none */
		if (lineage_make(&l, e) < 0)
			return -1;
	}
	int rc = lineage_promote(&l, &at.generation, from, now_us, e);
	if (rc == 0)
		rc = lineage_write(meta_dir, &o, &l, e);
	lineage_free(&l);
	if (rc == 0)
		rc = write_note(meta_dir, &o, text, now_us, e);
	if (rc < 0)
		return -1;
	if (follow_promote(f, e) != FOLLOW_OK)
		return -1;
	log_info("database is a primary from now on", L_S("db", f->o.path), L_S("position", text));
	return 0;
}

static int lock_meta(const char *path, const char *meta_dir, struct err *e)
{
	char lock[PATH_BYTES];
	if (path_join(lock, meta_dir, "walbrook/lock") < 0)
		return err_set(e, ERR_CONFIG, "%s: path is too long", meta_dir);
	int fd = sys_open(lock, O_RDWR, 0);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOTHING, "%s: nobody has followed a primary with it (there is no %s)",
			       path, lock);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot be opened", lock);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	close(fd);
	return err_set(e, ERR_BUSY, "%s: a running walbrook has it (it holds %s) and could not be asked", path,
		       lock);
}

int promote_offline(const char *path, const char *meta_dir, struct err *e)
{
	struct follow f;
	char place[PATH_BYTES];
	int fd = vfs_setup(e) < 0 ? -1 : lock_meta(path, meta_dir, e);
	if (fd < 0)
		return -1;
	int rc = path_join(place, meta_dir, "walbrook/follow") < 0 ? -1 : access(place, F_OK);
	if (rc < 0) {
		char text[PROMOTED_TEXT_BYTES];
		bool before = promoted_before(meta_dir, text);
		close(fd);
		return err_set(e, before ? ERR_EXISTS : ERR_NOTHING,
			       before ? "%s: is a primary already: %s" : "%s: follows no primary%s", path,
			       text);
	}
	struct follow_options o = { .path = path, .meta_dir = meta_dir, .owner = owner_of(path) };
	enum follow_result opened = follow_open(&f, &o, e);
	if (opened == FOLLOW_OK) {
		rc = promote_here(&f, meta_dir, e);
		if (rc < 0)
			follow_close(&f);
	} else {
		rc = -1;
		if (opened == FOLLOW_CONTENT) {
			follow_close(&f);
			err_wrap(e, "cannot be promoted");
		}
	}
	close(fd);
	return rc;
}
