/* SPDX-License-Identifier: Apache-2.0
 *
 * One database of the probe. The file is read as bytes, never opened by SQLite: to open a database in WAL mode
 * makes -wal and -shm, and its last reader tidies the WAL away.
 *
 *   1. the file: there, a regular one, readable and writable, with the header of SQLite; its journal mode
 *   2. the files beside it: -wal and -shm must be writable for us, the directory as well
 *   3. the file system: WAL mode shares memory between processes, which a network does not
 *   4. the metadata directory: there and writable, or to be made; room for the spool; a daemon that has it
 *
 * A daemon is noticed by its lock, with a shared one that is given back at once. */
#include "daemon/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

struct db_check {
	const struct check *k;
	const struct conf_db *d;
	bool bad;
};

static void fail(struct db_check *c, enum err_kind kind, const char *fix, const char *what, const char *path,
		 int sys)
{
	c->bad = true;
	check_say(c->k, CHECK_FAIL, kind, c->d->path, NULL, fix, "%s %s%s%s", what, path, sys ? ": " : "",
		  sys ? strerror(sys) : "");
}

static void warn(const struct db_check *c, const char *fix, const char *what)
{
	check_say(c->k, CHECK_WARNING, ERR_NONE, c->d->path, NULL, fix, "%s", what);
}

static const char permission[] =
	"run walbrook as the user of the application, or in a group that may write there";

/* ---- the file ---- */

static void check_header(struct db_check *c, const uint8_t *head, ssize_t n)
{
	static const char magic[16] = "SQLite format 3";
	if (n < 100 || memcmp(head, magic, sizeof magic) != 0) {
		fail(c, ERR_DAMAGED, "is it the right file? Encrypted databases cannot be replicated",
		     "it is not a SQLite database, or it is encrypted:", c->d->path, 0);
		return;
	}
	unsigned page = (unsigned)head[16] << 8 | head[17];
	if (page != 1 && (page < 512 || (page & (page - 1)) != 0))
		fail(c, ERR_DAMAGED, "restore it from a backup",
		     "its header tells an impossible page size:", c->d->path, 0);
	else if (head[18] != 2 || head[19] != 2)
		warn(c, "nothing needs to be done; or set it now: sqlite3 FILE 'PRAGMA journal_mode=WAL'",
		     "it is not in WAL mode; replicate turns it to WAL when nobody writes");
	else
		check_say(c->k, CHECK_OK, ERR_NONE, c->d->path, NULL, NULL,
			  "it is a SQLite database in WAL mode");
}

static void check_file(struct db_check *c, uint64_t *ret_bytes)
{
	uint8_t head[100];
	struct stat st;
	int fd = open(c->d->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT) {
		warn(c, "nothing needs to be done if the application makes it later; else correct the path",
		     "the file is not there");
		return;
	}
	if (fd < 0) {
		fail(c, ERR_UNREACHABLE, permission, "it cannot be read:", c->d->path, errno);
		return;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		fail(c, ERR_DAMAGED, "correct the path", "it is not a regular file:", c->d->path, 0);
	} else if (st.st_size == 0) {
		warn(c, "nothing needs to be done: replicate waits until the application makes it",
		     "the file is empty");
	} else {
		*ret_bytes = (uint64_t)st.st_size;
		check_header(c, head, pread(fd, head, sizeof head, 0));
	}
	close(fd);
	if (!c->bad && access(c->d->path, W_OK) < 0)
		fail(c, ERR_UNREACHABLE, permission,
		     "its checkpoints cannot be made, because it cannot be written:", c->d->path, errno);
}

static void check_beside(struct db_check *c)
{
	static const char *const ends[] = { "-wal", "-shm" };
	char path[PATH_BYTES], dir[PATH_BYTES];
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		if (snprintf(path, sizeof path, "%s%s", c->d->path, ends[i]) < (int)sizeof path &&
		    access(path, R_OK | W_OK) < 0 && errno != ENOENT)
			fail(c, ERR_UNREACHABLE, permission,
			     "a file of the database cannot be read and written:", path, errno);
	if (path_dir(dir, c->d->path) < 0)
		return;
	if (access(dir, R_OK | W_OK | X_OK) < 0)
		fail(c, errno == ENOENT ? ERR_NOTHING : ERR_UNREACHABLE,
		     errno == ENOENT ? "make the directory, or correct the path" : permission,
		     "its directory cannot be read and written:", dir, errno);
}

/* ---- where it lies ---- */

static const char *network_name(const char *path)
{
	static const struct {
		uint32_t type;
		const char *name;
	} networks[] = { { 0x6969, "NFS" },	  { 0x517b, "SMB" },	  { 0xff534d42, "SMB (cifs)" },
			 { 0xfe534d42, "SMB 2" }, { 0x01021997, "9p" },	  { 0x00c36400, "Ceph" },
			 { 0x5346414f, "AFS" },	  { 0x65735546, "FUSE" }, { 0x0bd00bd0, "Lustre" },
			 { 0x47504653, "GPFS" },  { 0x01161970, "GFS2" } };
	struct statfs s;
	if (statfs(path, &s) < 0)
		return NULL;
	for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
		if ((uint32_t)s.f_type == networks[i].type)
			return networks[i].name;
	return NULL;
}

static void check_place(struct db_check *c)
{
	char dir[PATH_BYTES], text[160];
	const char *name = path_dir(dir, c->d->path) == 0 ? network_name(dir) : NULL;
	if (!name)
		return;
	snprintf(text, sizeof text,
		 "it lies on a file system of the kind %s, where WAL mode works only if all processes that use "
		 "it are "
		 "on this machine",
		 name);
	warn(c, "move the database to a local disk; replicas may lie there", text);
}

/* ---- the metadata directory ---- */

static void check_daemon(const struct db_check *c, const char *meta)
{
	char path[PATH_BYTES];
	if (path_join(path, meta, "walbrook/lock") < 0)
		return;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		check_say(c->k, CHECK_OK, ERR_NONE, c->d->path, NULL, NULL, "a running walbrook replicates it");
	close(fd);
}

static void check_meta(struct db_check *c)
{
	char meta[PATH_BYTES], at[PATH_BYTES];
	struct err e = ERR_INIT;
	struct stat st;
	if (conf_meta_dir(c->d, meta, &e) < 0) {
		fail(c, e.kind, NULL, e.text, "", 0);
		return;
	}
	snprintf(at, sizeof at, "%s", meta);
	while (stat(at, &st) < 0 && errno == ENOENT && path_dir(at, at) == 0 && strcmp(at, "/") != 0)
		;
	if (stat(at, &st) == 0 && !S_ISDIR(st.st_mode))
		fail(c, ERR_CONFIG, "give it another meta-path",
		     "the metadata directory cannot be made, because this is not a directory:", at, 0);
	else if (access(at, W_OK | X_OK) < 0)
		fail(c, ERR_UNREACHABLE, permission, "the metadata directory cannot be written:", at, errno);
	else
		check_daemon(c, meta);
	int64_t room = check_free_bytes(meta);
	if (room >= 0 && room < c->d->spool_quota_bytes / 16)
		warn(c, "make room, or point meta-path to a larger disk",
		     "the disk of the metadata directory is nearly full: less than a sixteenth of spool-quota "
		     "is free");
}

void check_database(const struct check *k, const struct conf_db *d, uint64_t *ret_bytes)
{
	struct db_check c = { .k = k, .d = d };
	check_file(&c, ret_bytes);
	check_beside(&c);
	check_place(&c);
	check_meta(&c);
}
