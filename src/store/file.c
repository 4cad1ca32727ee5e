/* SPDX-License-Identifier: Apache-2.0
 *
 * A store that is a directory.
 *
 * An upload is written to <name>.tmp beside its target, synced, renamed, and the directory synced; directories
 * are made as needed with the owner's mode. The temp file is locked (flock) while its writer lives, so an
 * upload that meets <name>.tmp knows what it is: unlocked, a dead run left it (ours or the original's), and it
 * is removed; locked, another writer is at it, and ours is called <name>.tmp-<pid>-<number>. So two writers
 * never share a temp file and the later rename wins. Temp files are never listed.
 *
 * put_file links a local file to its name; only the directory is synced, later and once for many (sync). When
 * the name is taken the link is made beside it and renamed over.
 *
 * remove_all takes the snapshots of the generation away first, so that what a crash leaves of it is no
 * candidate for a restore. It goes by directory descriptors and follows no symbolic link: of a link the link
 * itself is removed.
 *
 * Failure modes: the root missing is ERR_NOTHING when listing (writing makes it); root not a directory,
 * permissions, I/O: ERR_UNREACHABLE; a full disk: ERR_SPACE; each names the path. A failed upload leaves
 * nothing behind, unless the process died: then a temp file, see above (those with a pid stay until the
 * generation is removed). */
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "core/layout.h"

enum { UNSYNCED_MAX = 16, DEPTH_MAX = 64, TEMP_TRIES = 1000, RESCANS = 8 };

struct file_store {
	struct store base; /* label is the root */
	struct owner owner;
	unsigned long temps;	      /* counts names that we made up */
	unsigned long dirs_made;      /* see store.h */
	char *unsynced[UNSYNCED_MAX]; /* directories with names from put_file that are not synced yet */
	size_t unsynced_n;
};

struct store_put {
	struct file_store *store;
	int fd;
	char path[PATH_BYTES], temp[PATH_BYTES];
};

struct store_get {
	int fd;
	off_t at;
	char path[PATH_BYTES];
};

static struct file_store *of(struct store *s)
{
	return (struct file_store *)(void *)s;
}

/* Root and key. Keys come from us, but some of them by way of a listing: nothing may lead out of the root. */
static int path_of(struct store *s, const char *key, char *buf, struct err *e)
{
	for (const char *p = key;; p++) {
		size_t n = strcspn(p, "/");
		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return err_set(e, ERR_FAIL, "%s: not a key of an object: \"%s\"", s->label, key);
		p += n;
		if (!*p)
			break;
	}
	/* Room for the longest suffix of a temp file as well. */
	int n = snprintf(buf, PATH_BYTES, "%s%s%s", s->label, strcmp(s->label, "/") == 0 ? "" : "/", key);
	if (n < 0 || n >= PATH_BYTES - 64)
		return err_set(e, ERR_FAIL, "%.200s…/%.200s…: path is too long", s->label, key);
	return 0;
}

static int make_parent(struct file_store *f, const char *path, struct err *e)
{
	char dir[PATH_BYTES];
	if (path_dir(dir, path) < 0)
		return err_set(e, ERR_FAIL, "%s: path is too long", path);
	f->dirs_made++;
	return dir_make(dir, &f->owner, e);
}

/* ---- listing ---- */

static bool temp_name(const char *name)
{
	size_t n = strlen(name);
	return (n >= 4 && strcmp(name + n - 4, ".tmp") == 0) || strstr(name, ".tmp-");
}

static int list_open(struct store *s, const char *path, DIR **ret, struct err *e)
{
	struct stat st;
	*ret = opendir(path);
	if (*ret)
		return 0;
	int sys = errno;
	if (sys != ENOENT)
		return err_sys(e, sys, "%s: cannot list", path);
	if (stat(s->label, &st) < 0)
		return errno == ENOENT ? err_set(e, ERR_NOTHING, "%s: no such directory", s->label)
				       : err_sys(e, errno, "%s: cannot look at it", s->label);
	return 0; /* nothing was ever put there */
}

/* Its writer is alive: it holds the lock (see above). */
static bool temp_in_use(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool in_use = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	if (fd >= 0)
		close(fd);
	return in_use;
}

/* Temp files, or all the others. */
static int list_entries(DIR *d, const char *path, bool temp, store_list_fn *fn, void *arg, struct err *e)
{
	for (;;) {
		struct stat st;
		errno = 0;
		const struct dirent *de = readdir(d);
		if (!de)
			return errno ? err_sys(e, errno, "%s: cannot list", path) : 0;
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if (temp_name(de->d_name) != temp || (temp && temp_in_use(dirfd(d), de->d_name)))
			continue;
		if (fstatat(dirfd(d), de->d_name, &st, 0) < 0 &&
		    fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) <
			    0) {	     /* a link to nowhere is shown too */
			if (errno == ENOENT) /* removed meanwhile */
				continue;
			return err_sys(e, errno, "%s/%s: cannot look at it", path, de->d_name);
		}
		struct store_entry entry = { .name = de->d_name, .is_dir = S_ISDIR(st.st_mode) };
		entry.bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
		entry.created_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
		if (fn(arg, &entry, e))
			return -1;
	}
}

static int list_some(struct store *s, const char *prefix, bool temp, store_list_fn *fn, void *arg,
		     struct err *e)
{
	char path[PATH_BYTES], key[PATH_BYTES];
	DIR *d;
	size_t n = strlen(prefix);
	if (n == 0) {
		memcpy(path, s->label, strlen(s->label) + 1);
	} else {
		if (n >= sizeof key || prefix[n - 1] != '/')
			return err_set(e, ERR_FAIL, "%s: not a prefix: \"%s\"", s->label, prefix);
		memcpy(key, prefix, n - 1);
		key[n - 1] = 0;
		if (path_of(s, key, path, e) < 0)
			return -1;
	}
	if (list_open(s, path, &d, e) < 0)
		return -1;
	if (!d)
		return 0;
	int rc = list_entries(d, path, temp, fn, arg, e);
	closedir(d);
	return rc;
}

static int file_list(struct store *s, const char *prefix, store_list_fn *fn, void *arg, struct err *e)
{
	return list_some(s, prefix, false, fn, arg, e);
}

static int file_list_temp(struct store *s, const char *prefix, store_list_fn *fn, void *arg, struct err *e)
{
	return list_some(s, prefix, true, fn, arg, e);
}

/* ---- upload ---- */

static bool same_file(int fd, const char *path)
{
	struct stat a, b;
	return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Removes the temp file of a writer that is dead. One that is alive holds its lock: left alone. */
static void drop_stale(const char *temp)
{
	int fd = open(temp, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 && same_file(fd, temp))
		sys_unlink(temp);
	close(fd);
}

/* A new file under this name, locked. -1 and errno (EEXIST: taken, or taken from us between the two calls). */
static int create_locked(const char *temp, mode_t mode)
{
	int fd = sys_open(temp, O_RDWR | O_CREAT | O_EXCL, mode);
	if (fd < 0)
		return -1;
	int locked = flock(fd, LOCK_EX | LOCK_NB);
	if ((locked < 0 && errno == EWOULDBLOCK) || !same_file(fd, temp)) {
		close(fd);
		errno = EEXIST;
		return -1;
	}
	return fd; /* where nothing can be locked every later upload keeps clear of this file too: see
		      drop_stale */
}

static int create_temp(struct store_put *p, struct err *e)
{
	struct file_store *f = p->store;
	bool dir_made = false, dropped = false;
	snprintf(p->temp, sizeof p->temp, "%.*s.tmp", PATH_BYTES - 64, p->path);
	for (int tries = 0; tries < TEMP_TRIES; tries++) {
		p->fd = create_locked(p->temp, f->owner.file_mode);
		if (p->fd >= 0) {
			if ((f->owner.uid != (uid_t)-1 || f->owner.gid != (gid_t)-1) &&
			    sys_fchown(p->fd, f->owner.uid, f->owner.gid) < 0)
				errno = 0; /* only root may; then it stays ours */
			return 0;
		}
		if (errno == ENOENT && !dir_made) {
			if (make_parent(f, p->path, e) < 0)
				return -1;
			dir_made = true;
		} else if (errno == EEXIST && !dropped) {
			drop_stale(p->temp);
			dropped = true;
		} else if (errno == EEXIST) {
			snprintf(p->temp, sizeof p->temp, "%.*s.tmp-%ld-%lu", PATH_BYTES - 64, p->path,
				 (long)getpid(), f->temps++);
		} else {
			return err_sys(e, errno, "%s: cannot create", p->temp);
		}
	}
	return err_set(e, ERR_BUSY, "%s: no free name for a temp file", p->path);
}

static int file_put_begin(struct store *s, const char *key, struct store_put **ret, struct err *e)
{
	struct store_put *p = calloc(1, sizeof *p);
	if (!p)
		return err_set(e, ERR_FAIL, "no memory");
	p->store = of(s);
	if (path_of(s, key, p->path, e) < 0 || create_temp(p, e) < 0) {
		free(p);
		return -1;
	}
	*ret = p;
	return 0;
}

static int file_put_write(struct store_put *p, struct span bytes, struct err *e)
{
	return file_write_all(p->fd, p->temp, bytes.p, bytes.n, e);
}

static void file_put_abort(struct store_put *p)
{
	sys_unlink(p->temp);
	close(p->fd);
	free(p);
}

static void forget_unsynced(struct file_store *f, size_t i)
{
	free(f->unsynced[i]);
	f->unsynced[i] = f->unsynced[--f->unsynced_n];
}

static int sync_parent(struct file_store *f, const char *path, struct err *e)
{
	char dir[PATH_BYTES];
	path_dir(dir, path);
	if (dir_sync(dir, e) < 0)
		return -1;
	for (size_t i = 0; i < f->unsynced_n; i++)
		if (strcmp(f->unsynced[i], dir) == 0)
			forget_unsynced(f, i--);
	return 0;
}

static int file_put_commit(struct store_put *p, struct err *e)
{
	int rc = 0;
	/* The time of an object is that of its publication, not of its last byte: what had to be there before
	 * it (the WAL that makes a snapshot whole) must not look younger, for a restore by the times of objects
	 * goes by that. Where it cannot be set nothing is lost but that. */
	sys_futimens(p->fd, NULL);
	if (sys_fsync(p->fd) < 0)
		rc = err_sys(e, errno, "%s: cannot sync", p->temp);
	else if (sys_rename(p->temp, p->path) < 0)
		rc = err_sys(e, errno, "%s: cannot rename to %s", p->temp, path_base(p->path));
	if (rc < 0) {
		file_put_abort(p);
		return -1;
	}
	rc = sync_parent(p->store, p->path, e);
	close(p->fd); /* now only: the lock holds until the name is gone */
	free(p);
	return rc;
}

/* ---- publication of a local file ---- */

static int note_unsynced(struct file_store *f, const char *path, struct err *e)
{
	char dir[PATH_BYTES];
	path_dir(dir, path);
	for (size_t i = 0; i < f->unsynced_n; i++)
		if (strcmp(f->unsynced[i], dir) == 0)
			return 0;
	char *copy = f->unsynced_n < UNSYNCED_MAX ? strdup(dir) : NULL;
	if (!copy)
		return dir_sync(dir, e);
	f->unsynced[f->unsynced_n++] = copy;
	return 0;
}

/* The name is taken: a link beside it, then renamed over. -1 and errno. */
static int link_over(struct file_store *f, const char *local, const char *path)
{
	char temp[PATH_BYTES];
	for (int tries = 0; tries < TEMP_TRIES; tries++) {
		snprintf(temp, sizeof temp, "%.*s.tmp-%ld-%lu", PATH_BYTES - 64, path, (long)getpid(),
			 f->temps++);
		if (sys_link(local, temp) == 0) {
			int rc = sys_rename(temp, path), sys = errno;
			if (rc < 0 ||
			    access(temp, F_OK) == 0) /* a rename between two links of one file leaves both */
				sys_unlink(temp);
			errno = sys;
			return rc;
		}
		if (errno != EEXIST)
			return -1;
	}
	return -1;
}

static int file_put_file(struct store *s, const char *key, const char *local, struct err *e)
{
	struct file_store *f = of(s);
	char path[PATH_BYTES];
	if (path_of(s, key, path, e) < 0)
		return -1;
	int rc = sys_link(local, path);
	if (rc < 0 && errno == ENOENT && access(local, F_OK) == 0) {
		if (make_parent(f, path, e) < 0)
			return -1;
		rc = sys_link(local, path);
	}
	if (rc < 0 && errno == EEXIST)
		rc = link_over(f, local, path);
	if (rc < 0) {
		int sys = errno;
		if (sys == EXDEV || sys == EPERM || sys == EMLINK || sys == ENOTSUP || sys == ENOSYS)
			return 0;
		return err_sys(e, sys, "%s: cannot link to %s", local, path);
	}
	return note_unsynced(f, path, e) < 0 ? -1 : 1;
}

static int file_sync(struct store *s, struct err *e)
{
	struct file_store *f = of(s);
	while (f->unsynced_n > 0) {
		if (dir_sync(f->unsynced[0], e) < 0)
			return -1;
		forget_unsynced(f, 0);
	}
	return 0;
}

/* ---- download ---- */

static int file_get_begin(struct store *s, const char *key, uint64_t offset, struct store_get **ret,
			  struct err *e)
{
	struct stat st;
	struct store_get *g = calloc(1, sizeof *g);
	if (!g)
		return err_set(e, ERR_FAIL, "no memory");
	if (path_of(s, key, g->path, e) < 0)
		goto fail;
	g->fd = open(g->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* not to wait in a FIFO that lies there */
	if (g->fd < 0) {
		err_sys(e, errno, "%s: cannot open", g->path);
		goto fail;
	}
	if (fstat(g->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		err_set(e, ERR_UNREACHABLE, "%s: not a regular file", g->path);
		close(g->fd);
		goto fail;
	}
	g->at = offset > (uint64_t)st.st_size ? st.st_size : (off_t)offset;
	*ret = g;
	return 0;
fail:
	free(g);
	return -1;
}

static long file_get_read(struct store_get *g, void *p, size_t n, struct err *e)
{
	ssize_t got;
	do
		got = pread(g->fd, p, n, g->at);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_sys(e, errno, "%s: cannot read at offset %lld", g->path, (long long)g->at);
	g->at += got;
	return got;
}

static void file_get_end(struct store_get *g)
{
	close(g->fd);
	free(g);
}

/* ---- removal ---- */

static int file_remove(struct store *s, const char *const *keys, size_t n, struct err *e)
{
	char path[PATH_BYTES], dir[PATH_BYTES] = "", last[PATH_BYTES] = "";
	for (size_t i = 0; i < n; i++) {
		if (path_of(s, keys[i], path, e) < 0)
			return -1;
		path_dir(dir, path);
		/* Those of one directory are gone for good before the first of the next goes. */
		if (*last && strcmp(last, dir) != 0) {
			if (dir_sync(last, e) < 0)
				return -1;
			*last = 0;
		}
		if (sys_unlink(path) == 0)
			memcpy(last, dir, sizeof last);
		else if (errno != ENOENT)
			return err_sys(e, errno, "%s: cannot remove", path);
	}
	return *last ? dir_sync(last, e) : 0;
}

static int remove_tree(int parent, const char *name, const char *first, int depth, struct err *e);

/* One pass over a directory. Gives the number of entries removed or -1. */
static long remove_below(int dir, const char *name, int depth, struct err *e)
{
	long n = 0;
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	if (!d) {
		err_sys(e, errno, "%s: cannot list", name);
		if (copy >= 0)
			close(copy);
		return -1;
	}
	for (const struct dirent *de; n >= 0 && (errno = 0, de = readdir(d)) != NULL;) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		n = remove_tree(dir, de->d_name, NULL, depth + 1, e) < 0 ? -1 : n + 1;
	}
	if (n >= 0 && errno)
		n = err_sys(e, errno, "%s: cannot list", name);
	closedir(d);
	return n;
}

/* Removes `name` in the directory `parent`, whatever it is; with `first`, that entry of it before all others.
 */
static int remove_tree(int parent, const char *name, const char *first, int depth, struct err *e)
{
	if (sys_unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_sys(e, errno, "%s: cannot remove", name);
	if (depth > DEPTH_MAX)
		return err_set(e, ERR_FAIL, "%s: cannot remove, more than %d directories deep", name,
			       DEPTH_MAX);
	int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "%s: cannot remove", name);
	int rc = 0;
	if (first) {
		rc = remove_tree(dir, first, NULL, depth + 1, e);
		if (rc == 0 && sys_fsync(dir) < 0 && errno != EINVAL)
			rc = err_sys(e, errno, "%s: cannot sync the directory", name);
	}
	/* Somebody may add entries meanwhile: look again a few times. */
	for (int scan = 0; rc == 0; scan++) {
		if (remove_below(dir, name, depth, e) < 0)
			rc = -1;
		else if (sys_unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			break;
		else if (errno != ENOTEMPTY || scan == RESCANS)
			rc = err_sys(e, errno, "%s: cannot remove", name);
	}
	close(dir);
	return rc;
}

static int file_remove_all(struct store *s, const char *prefix, struct err *e)
{
	static const char below[] = "generations/";
	char path[PATH_BYTES], name[GENERATION_CHARS + 1] = "";
	size_t n = strlen(prefix), skip = sizeof below - 1;
	if (n == skip + GENERATION_CHARS + 1 && prefix[n - 1] == '/')
		memcpy(name, prefix + skip, GENERATION_CHARS);
	if (strncmp(prefix, below, skip) != 0 || !generation_valid(name))
		return err_set(e, ERR_FAIL, "%s: refused to remove all of \"%s\", which is no generation",
			       s->label, prefix);
	if (path_of(s, "generations", path, e) < 0)
		return -1;
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "%s: cannot open", path);
	int rc = remove_tree(dir, name, "snapshots", 0, e);
	if (rc < 0)
		err_wrap(e, "%s/%s", path, name);
	else if (sys_fsync(dir) < 0 && errno != EINVAL)
		rc = err_sys(e, errno, "%s: cannot sync the directory", path);
	close(dir);
	return rc;
}

/* ---- the store ---- */

static void file_close(struct store *s)
{
	struct file_store *f = of(s);
	while (f->unsynced_n > 0)
		forget_unsynced(f, 0);
	free(f);
}

static const struct store_ops file_ops = {
	.scheme = "file",
	.list = file_list,
	.list_temp = file_list_temp,
	.put_begin = file_put_begin,
	.put_write = file_put_write,
	.put_commit = file_put_commit,
	.put_abort = file_put_abort,
	.get_begin = file_get_begin,
	.get_read = file_get_read,
	.get_end = file_get_end,
	.remove = file_remove,
	.close = file_close,
	.put_file = file_put_file,
	.remove_all = file_remove_all,
	.sync = file_sync,
};

int store_file_open(const char *root, const struct owner *owner, struct store **ret, struct err *e)
{
	struct file_store *f = calloc(1, sizeof *f);
	if (!f)
		return err_set(e, ERR_FAIL, "no memory");
	f->base.ops = &file_ops;
	f->base.dirs_made = &f->dirs_made;
	f->owner = owner ? *owner : OWNER_PRIVATE;
	if (path_absolute(f->base.label, root, e) < 0) {
		free(f);
		return -1;
	}
	*ret = &f->base;
	return 0;
}
