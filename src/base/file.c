/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and paths: see file.h. Publication: bytes into PATH.tmp, fsync, rename over PATH, fsync of the
 * directory. A reader sees the old bytes or the new ones; after the function returned 0 a power cut does not
 * take them back.
 *
 * Failure modes: every one names the path. A temp file is removed when anything before the rename fails. When
 * only the directory's fsync fails the new bytes stand under their name but are not promised to survive a power
 * cut. The umask of the process is applied to the modes of the owner, as the original does. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"

enum { READ_PIECE_BYTES = 64 * 1024 };

struct owner owner_of(const char *db_path)
{
	struct owner o = OWNER_PRIVATE;
	struct stat st;
	char dir[PATH_BYTES];
	if (stat(db_path, &st) < 0)
		return o;
	o.file_mode = st.st_mode & 0777;
	o.uid = st.st_uid;
	o.gid = st.st_gid;
	if (path_dir(dir, db_path) == 0 && stat(dir, &st) == 0) {
		o.dir_mode = st.st_mode & 0777;
		o.dir_uid = st.st_uid;
		o.dir_gid = st.st_gid;
	}
	return o;
}

static int read_to_end(int fd, const char *path, struct dyn *to, struct err *e)
{
	for (;;) {
		size_t room = to->max - to->len < READ_PIECE_BYTES ? to->max - to->len : READ_PIECE_BYTES;
		uint8_t probe;
		if (room > 0 && dyn_reserve(to, room) < 0)
			return err_set(e, ERR_FAIL, "%s: no memory to read it", path);
		ssize_t n = read(fd, room > 0 ? to->p + to->len : &probe, room > 0 ? room : 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, errno, "%s: cannot read", path);
		if (n == 0)
			return 0;
		if (room == 0)
			return err_set(e, ERR_FAIL,
				       "%s: larger than the %zu bytes that are read of such a file", path,
				       to->max);
		to->len += (size_t)n;
	}
}

int file_read_all(const char *path, struct dyn *to, struct err *e)
{
	size_t before = to->len;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot open", path);
	int rc = read_to_end(fd, path, to, e);
	close(fd);
	if (rc < 0)
		to->len = before;
	return rc;
}

int file_write_all(int fd, const char *path, const void *p, size_t n, struct err *e)
{
	const uint8_t *at = p;
	while (n > 0) {
		ssize_t done = sys_write(fd, at, n);
		if (done <= 0)
			return err_sys(e, done < 0 ? errno : EIO, "%s: cannot write", path);
		at += done;
		n -= (size_t)done;
	}
	return 0;
}

int file_pwrite_all(int fd, const char *path, const void *p, size_t n, off_t off, struct err *e)
{
	const uint8_t *at = p;
	while (n > 0) {
		ssize_t done = sys_pwrite(fd, at, n, off);
		if (done <= 0)
			return err_sys(e, done < 0 ? errno : EIO, "%s: cannot write at offset %lld", path,
				       (long long)off);
		at += done;
		off += done;
		n -= (size_t)done;
	}
	return 0;
}

ssize_t file_pread_full(int fd, const char *path, void *p, size_t n, off_t off, struct err *e)
{
	size_t got = 0;
	while (got < n) {
		ssize_t done = pread(fd, (uint8_t *)p + got, n - got, off + (off_t)got);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_sys(e, errno, "%s: cannot read at offset %lld", path,
				       (long long)off + (long long)got);
		if (done == 0)
			break;
		got += (size_t)done;
	}
	return (ssize_t)got;
}

int file_create(const char *path, const struct owner *o, struct err *e)
{
	int fd = sys_open(path, O_RDWR | O_CREAT | O_TRUNC, o->file_mode);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot create", path);
	if ((o->uid != (uid_t)-1 || o->gid != (gid_t)-1) && sys_fchown(fd, o->uid, o->gid) < 0)
		errno = 0; /* only root may; the file is ours then, which is how the original leaves it too */
	return fd;
}

static int fill_and_rename(const char *temp, const char *path, const void *p, size_t n, const struct owner *o,
			   struct err *e)
{
	int fd = file_create(temp, o, e);
	if (fd < 0)
		return -1;
	int rc = file_write_all(fd, temp, p, n, e);
	if (rc == 0 && sys_fsync(fd) < 0)
		rc = err_sys(e, errno, "%s: cannot sync", temp);
	close(fd);
	if (rc == 0 && sys_rename(temp, path) < 0)
		rc = err_sys(e, errno, "%s: cannot rename to %s", temp, path);
	if (rc < 0)
		sys_unlink(temp);
	return rc;
}

int file_publish(const char *path, const void *p, size_t n, const struct owner *o, struct err *e)
{
	char temp[PATH_BYTES], dir[PATH_BYTES];
	int len = snprintf(temp, sizeof temp, "%s.tmp", path);
	if (len < 0 || (size_t)len >= sizeof temp || path_dir(dir, path) < 0)
		return err_set(e, ERR_FAIL, "%.200s…: path is longer than %d bytes", path, PATH_BYTES - 1);
	if (fill_and_rename(temp, path, p, n, o, e) < 0)
		return -1;
	return dir_sync(dir, e);
}

int dir_sync(const char *dir, struct err *e)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot open the directory to sync it", dir);
	int rc = sys_fsync(fd), sys = errno;
	close(fd);
	if (rc < 0 && sys != EINVAL) /* EINVAL: a file system whose directories need no sync */
		return err_sys(e, sys, "%s: cannot sync the directory", dir);
	return 0;
}

/* One directory whose parent is there. */
static int make_one(const char *dir, const struct owner *o, struct err *e)
{
	struct stat st;
	char parent[PATH_BYTES];
	if (stat(dir, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			return err_sys(e, ENOTDIR, "%s: cannot make a directory where a file is", dir);
		return 0;
	}
	if (sys_mkdir(dir, o->dir_mode) < 0) {
		if (errno ==
		    EEXIST) /* another thread was faster, or a dangling link, which the next step will meet */
			return 0;
		return err_sys(e, errno, "%s: cannot make the directory", dir);
	}
	if ((o->dir_uid != (uid_t)-1 || o->dir_gid != (gid_t)-1) && sys_chown(dir, o->dir_uid, o->dir_gid) < 0)
		errno = 0; /* as in file_create */
	return path_dir(parent, dir) < 0 ? 0 : dir_sync(parent, e);
}

int dir_make(const char *dir, const struct owner *o, struct err *e)
{
	struct stat st;
	char path[PATH_BYTES];
	size_t n = strlen(dir);
	if (stat(dir, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	if (n >= sizeof path)
		return err_set(e, ERR_FAIL, "%.200s…: path is longer than %d bytes", dir, PATH_BYTES - 1);
	memcpy(path, dir, n + 1);
	for (size_t i = 1; i < n; i++) {
		if (path[i] != '/' || path[i - 1] == '/')
			continue;
		path[i] = 0;
		if (make_one(path, o, e) < 0)
			return -1;
		path[i] = '/';
	}
	return n > 0 && path[n - 1] == '/' ? 0 : make_one(path, o, e);
}

int path_join(char *buf, const char *dir, const char *name)
{
	size_t n = strlen(dir);
	const char *slash = n == 0 || dir[n - 1] == '/' ? "" : "/";
	int len = snprintf(buf, PATH_BYTES, "%s%s%s", dir, slash, name);
	return len < 0 || len >= PATH_BYTES ? -1 : 0;
}

int path_dir(char *buf, const char *path)
{
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/')
		n--;
	while (n > 0 && path[n - 1] != '/')
		n--;
	while (n > 1 && path[n - 1] == '/')
		n--;
	if (n >= PATH_BYTES)
		return -1;
	if (n == 0) {
		memcpy(buf, ".", 2);
		return 0;
	}
	memmove(buf, path, n);
	buf[n] = 0;
	return 0;
}

const char *path_base(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

char *shell_word(char *buf, size_t n, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_";
	size_t at = 0;
	if (*word && !word[strspn(word, plain)]) {
		snprintf(buf, n, "%s", word);
		return buf;
	}
	buf[at++] = '\'';
	for (; *word && at + 6 < n; word++) {
		if (*word == '\'') { /* ends the quotes, is quoted by a backslash, begins them again */
			memcpy(buf + at, "'\\''", 4);
			at += 4;
		} else {
			buf[at++] = *word;
		}
	}
	buf[at++] = '\'';
	buf[at] = 0;
	return buf;
}

/* HOME, else what the user database says. */
static int home_dir(char *buf, struct err *e)
{
	const char *home = getenv("HOME");
	char text[4096];
	struct passwd pw, *found = NULL;
	if (!home || !*home) {
		getpwuid_r(geteuid(), &pw, text, sizeof text, &found);
		home = found ? pw.pw_dir : NULL;
	}
	if (!home || *home != '/')
		return err_set(e, ERR_CONFIG, "~ cannot be expanded: HOME is not set to an absolute path");
	if (strlen(home) >= PATH_BYTES)
		return err_set(e, ERR_CONFIG, "~ cannot be expanded: HOME is too long");
	memcpy(buf, home, strlen(home) + 1);
	return 0;
}

/* Removes empty and `.` components and takes `..` back, in place; path begins with `/`. */
static void clean(char *path)
{
	size_t out = 0;
	for (const char *in = path; *in;) {
		while (*in == '/')
			in++;
		size_t n = strcspn(in, "/");
		if (n == 2 && in[0] == '.' && in[1] == '.') {
			while (out > 0 && path[--out] != '/')
				;
		} else if (n > 0 && !(n == 1 && in[0] == '.')) {
			path[out++] = '/';
			memmove(path + out, in, n);
			out += n;
		}
		in += n;
	}
	if (out == 0)
		path[out++] = '/';
	path[out] = 0;
}

int path_absolute(char *buf, const char *path, struct err *e)
{
	char base[PATH_BYTES] = "";
	const char *rest = path;
	if (!*path)
		return err_set(e, ERR_CONFIG, "a path is empty");
	if (path[0] == '~' && (path[1] == 0 || path[1] == '/')) {
		if (home_dir(base, e) < 0)
			return -1;
		rest = path + 1;
	} else if (path[0] != '/' && !getcwd(base, sizeof base)) {
		return err_sys(e, errno, "%s: the working directory cannot be found", path);
	}
	char whole[2 * PATH_BYTES];
	int n = snprintf(whole, sizeof whole, "%s/%s", base, rest);
	if (n < 0 || (size_t)n >= sizeof whole)
		return err_set(e, ERR_CONFIG, "%.200s…: path is longer than %d bytes", path, PATH_BYTES - 1);
	clean(whole);
	size_t len = strlen(whole);
	if (len >= PATH_BYTES)
		return err_set(e, ERR_CONFIG, "%.200s…: path is longer than %d bytes", path, PATH_BYTES - 1);
	memcpy(buf, whole, len + 1);
	return 0;
}
