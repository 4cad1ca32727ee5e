/* SPDX-License-Identifier: Apache-2.0
 *
 * The output of a restore.
 *
 *   1. Refuse if the place is taken: the database itself, or a -wal, -shm or -journal of an older one, which
 * SQLite would play into the restored file.
 *   2. Make missing directories (and remember the topmost one).
 *   3. Create PATH.walbrook-restore and lock it (flock). One that is there already is either being written by a
 * living restore, then its lock is held and we refuse (ERR_BUSY), or a dead run's, then it is removed.
 *   4. Publish: fsync, look at the place once more, rename without replacing, fsync of the directory.
 *
 * Failure: the temporary file and the directories that we made are removed again. A run that was killed leaves
 * the temporary file; the next one removes it. When only the last fsync fails the database is in place and
 * complete, but is not promised to survive a power cut, and the error says so. */
#include "restore/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "restore/restore.h"

/* Large writes make large folios in the page cache (ext4, Linux 6.16 on), and a later write of one page into
 * one of those walks all blocks of it: 6 us instead of 2. Pieces of this size are as fast and stay small. */
enum { PIECE_BYTES = 64 << 10 };

static int exists_check(const char *path, const char *why, const char *what_to_do, struct err *e)
{
	struct stat st;
	if (lstat(path, &st) == 0) {
		err_set(e, ERR_EXISTS, "%s: %s", path, why);
		return err_hint(e, "%s", what_to_do);
	}
	if (errno != ENOENT && errno != ENOTDIR)
		return err_sys(e, errno, "%s: cannot look whether it exists", path);
	return 0;
}

int restore_check_output(const char *output, struct err *e)
{
	static const char *const tails[] = { "-wal", "-shm", "-journal" };
	if (!output || !*output)
		return err_set(e, ERR_USAGE, "output path required");
	if (strlen(output) + sizeof ".walbrook-restore-spill" > PATH_BYTES)
		return err_set(e, ERR_USAGE, "%.200s…: path is too long", output);
	if (exists_check(output, "cannot restore, the output exists already",
			 "Move it away, or name another output with -o", e) < 0)
		return -1;
	for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
		char side[PATH_BYTES + 16];
		snprintf(side, sizeof side, "%s%s", output, tails[i]);
		if (exists_check(side,
				 "a file of an older database lies beside the output; SQLite would mix the two",
				 "Move it away, or name another output with -o", e) < 0)
			return -1;
	}
	return 0;
}

/* The topmost component of dir that does not exist, "" if all do. */
static void topmost_missing(char *buf, const char *dir)
{
	struct stat st;
	char at[PATH_BYTES], up[PATH_BYTES];
	*buf = 0;
	snprintf(at, sizeof at, "%s", dir);
	while (stat(at, &st) < 0 && errno == ENOENT) {
		memcpy(buf, at, strlen(at) + 1);
		if (path_dir(up, at) < 0 || strcmp(up, at) == 0)
			return;
		memcpy(at, up, strlen(up) + 1);
	}
}

static void directories_remove(struct output *o)
{
	char at[PATH_BYTES], up[PATH_BYTES];
	if (!*o->made)
		return;
	snprintf(at, sizeof at, "%s", o->dir);
	while (sys_rmdir(at) == 0 || errno == ENOENT) {
		if (strcmp(at, o->made) == 0 || path_dir(up, at) < 0 || strcmp(up, at) == 0)
			break;
		memcpy(at, up, strlen(up) + 1);
	}
	*o->made = 0;
}

/* Is the open file still the one under this name? */
static bool same_file(int fd, const char *path)
{
	struct stat a, b;
	return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Removes what a dead run left under the temporary name. */
static int stale_remove(const char *temp, struct err *e)
{
	int fd = open(temp, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT
			       ? 0
			       : err_sys(e, errno, "%s: cannot open what an earlier restore left", temp);
	int rc = 0;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		rc = err_set(e, ERR_BUSY, "%s: another restore to the same output is running", temp);
	else if (same_file(fd, temp) && sys_unlink(temp) < 0 && errno != ENOENT)
		rc = err_sys(e, errno, "%s: cannot remove what an earlier restore left", temp);
	close(fd);
	return rc;
}

static int temp_create(struct output *o, const struct owner *owner, struct err *e)
{
	for (int i = 0; i < 100; i++) {
		int fd = sys_open(o->temp, O_RDWR | O_CREAT | O_EXCL, owner->file_mode);
		if (fd < 0 && errno != EEXIST)
			return err_sys(e, errno, "%s: cannot create", o->temp);
		if (fd < 0) {
			if (stale_remove(o->temp, e) < 0)
				return -1;
			continue;
		}
		/* Between the two calls another run may have taken the new file for a dead one's. */
		if (flock(fd, LOCK_EX | LOCK_NB) == 0 && same_file(fd, o->temp)) {
			if ((owner->uid != (uid_t)-1 || owner->gid != (gid_t)-1) &&
			    sys_fchown(fd, owner->uid, owner->gid) < 0)
				errno = 0; /* only root may */
			o->fd = fd;
			return 0;
		}
		close(fd);
	}
	return err_set(e, ERR_BUSY, "%s: another restore to the same output is running", o->temp);
}

int output_open(struct output *o, const char *path, const struct owner *owner, struct err *e)
{
	*o = OUTPUT_INIT;
	if (restore_check_output(path, e) < 0)
		return -1;
	int len = snprintf(o->path, sizeof o->path, "%s", path);
	if (len >= 0 && len < PATH_BYTES)
		len = snprintf(o->temp, sizeof o->temp, "%s.walbrook-restore", path);
	if (len < 0 || len >= PATH_BYTES || path_dir(o->dir, path) < 0)
		return err_set(e, ERR_USAGE, "%.200s…: path is too long", path);
	topmost_missing(o->made, o->dir);
	if (dir_make(o->dir, owner, e) < 0 || temp_create(o, owner, e) < 0) {
		if (e->kind == ERR_NOTHING) /* a dangling link, /proc: not that there is no backup */
			e->kind = ERR_FAIL;
		directories_remove(o);
		return -1;
	}
	return 0;
}

int output_empty(struct output *o, struct err *e)
{
	return sys_ftruncate(o->fd, 0) < 0 ? err_sys(e, errno, "%s: cannot empty", o->temp) : 0;
}

void output_abort(struct output *o)
{
	if (o->fd >= 0) {
		sys_unlink(o->temp); /* before the lock goes with the descriptor */
		close(o->fd);
		o->fd = -1;
	}
	directories_remove(o);
}

int output_write(int fd, const char *path, struct span bytes, uint64_t at, struct err *e)
{
	if (at > INT64_MAX - bytes.n)
		return err_sys(e, EFBIG, "%s: cannot write at offset %" PRIu64, path, at);
	while (bytes.n > 0) {
		size_t n = bytes.n < PIECE_BYTES ? bytes.n : PIECE_BYTES;
		if (file_pwrite_all(fd, path, bytes.p, n, (off_t)at, e) < 0)
			return -1;
		bytes.p += n;
		bytes.n -= n;
		at += n;
	}
	return 0;
}

int output_publish(struct output *o, struct err *e)
{
	if (sys_fsync(o->fd) < 0) {
		err_sys(e, errno, "%s: cannot sync", o->temp);
		output_abort(o);
		return -1;
	}
	if (restore_check_output(o->path, e) < 0) {
		output_abort(o);
		return -1;
	}
	if (sys_rename_noreplace(o->temp, o->path) < 0) {
		int sys = errno;
		if (sys == EEXIST)
			err_set(e, ERR_EXISTS, "%s: cannot restore, the output has appeared meanwhile",
				o->path);
		else
			err_sys(e, sys, "%s: cannot rename to %s", o->temp, o->path);
		output_abort(o);
		return -1;
	}
	close(o->fd);
	o->fd = -1;
	*o->made = 0;
	if (dir_sync(o->dir, e) < 0) {
		err_wrap(e, "%s was restored, but a power cut may still take it away", o->path);
		return -1;
	}
	return 0;
}
