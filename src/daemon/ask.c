/* SPDX-License-Identifier: Apache-2.0
 *
 * A command that asks the running daemon: see ask.h.
 *
 * Happy path: connect to the first place where somebody answers, send the line, hand on the lines that come,
 * and take the last one for the status.
 *
 * Failure modes: nobody there, which is explained: no file, a file that a killed daemon left, a socket of
 * another user, a daemon that runs without a socket or with another one (the kernel tells who holds the lock in
 * the metadata directory); a daemon that does not answer in time; one that ends in the middle of its answer. */
#include "daemon/ask.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

enum { LINE_MAX_BYTES = 16 << 20, LOCKED_LOOK_MAX = 64 };

/* ---- nobody answers: why ---- */

/* The process that holds the lock of a daemon on this database; 0: none is seen. */
static int replicating_pid(const struct conf_db *db)
{
	char meta[PATH_BYTES], path[PATH_BYTES], line[256];
	struct err ignore;
	struct stat st;
	if (conf_meta_dir(db, meta, &ignore) < 0 || path_join(path, meta, "walbrook/lock") < 0 ||
	    stat(path, &st) < 0)
		return 0;
	FILE *f = fopen("/proc/locks", "re");
	int found = 0;
	while (f && !found && fgets(line, sizeof line, f)) {
		unsigned major, minor;
		unsigned long long ino;
		int pid;
		if (sscanf(line, "%*s FLOCK %*s WRITE %d %x:%x:%llu", &pid, &major, &minor, &ino) == 4 &&
		    ino == st.st_ino && makedev(major, minor) == st.st_dev)
			found = pid;
	}
	if (f)
		fclose(f);
	return found;
}

static int any_replicating(const struct conf *c, const char *db_path, const char **ret_path)
{
	if (db_path) {
		const struct conf_db *known = c ? conf_db_find(c, db_path) : NULL;
		char path[PATH_BYTES];
		struct conf_db alone = { .path = path };
		snprintf(path, sizeof path, "%s", db_path);
		*ret_path = db_path;
		return replicating_pid(known ? known : &alone);
	}
	for (size_t i = 0; c && i < c->dbs_n && i < LOCKED_LOOK_MAX; i++) {
		int pid = c->dbs[i].path ? replicating_pid(&c->dbs[i]) : 0;
		*ret_path = c->dbs[i].path;
		if (pid)
			return pid;
	}
	return 0;
}

/* What to do when no daemon answers at any place. */
static int explain(const struct conf *c, const char *db_path, struct err *e)
{
	const char *path = NULL;
	int pid = any_replicating(c, db_path, &path);
	if (pid)
		return err_hint(
			e,
			"Process %d replicates %s, but answers elsewhere or not at all: its log says where; "
			"give that place with -socket",
			pid, path);
	if (e->kind == ERR_UNREACHABLE)
		return err_hint(
			e, "Ask as that user or as root, or give the socket of your own daemon with -socket");
	return err_hint(e, "Start it with walbrook replicate%s%s, or give its socket with -socket",
			c && c->file ? " -config " : "", c && c->file ? c->file : "");
}

static void note(struct err *e, bool first, const char *path, int sys)
{
	char whose[64] = "";
	struct stat st;
	const char *why = strerror(sys);
	if (sys == ENOENT || sys == ENOTDIR) {
		why = "is not there";
	} else if (sys == ECONNREFUSED) {
		why = "was left by a daemon that has ended";
	} else if (sys == EACCES || sys == EPERM) {
		why = "is not permitted";
		if (stat(path, &st) == 0)
			snprintf(whose, sizeof whose, " (it belongs to user %u)", (unsigned)st.st_uid);
	}
	size_t n = strlen(e->text);
	if (first)
		err_set(e, ERR_NOTHING, "no daemon answers: %s %s%s", path, why, whose);
	else
		snprintf(e->text + n, sizeof e->text - n, ", %s %s%s", path, why, whose);
	if (sys != ENOENT && sys != ENOTDIR && sys != ECONNREFUSED)
		e->kind = ERR_UNREACHABLE;
}

/* ---- the way there ---- */

static int connect_to(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof at.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(at.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) < 0) {
		int sys = errno;
		close(fd);
		errno = sys;
		return -1;
	}
	return fd;
}

int ask_open(struct ask *a, const char *socket, const struct conf *c, const char *db_path, struct err *e)
{
	struct conf given = { .socket = NULL };
	char path[PATH_BYTES];
	const struct conf *from = c;
	*e = ERR_INIT;
	if (socket) {
		if (path_absolute(path, socket, e) < 0)
			return err_wrap(e, "-socket");
		given.socket = path;
		from = &given;
	}
	for (unsigned i = 0; conf_socket(from, i, a->path); i++) {
		a->fd = connect_to(a->path);
		if (a->fd >= 0)
			return 0;
		note(e, i == 0, a->path, errno);
	}
	return explain(c, db_path, e);
}

void ask_close(struct ask *a)
{
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

/* ---- question and answer ---- */

static int late(const struct ask *a, struct err *e)
{
	err_set(e, ERR_DEADLINE, "the daemon at %s does not answer", a->path);
	return err_hint(e, "It is stopped or very busy; its log may tell");
}

static int cut_off(const struct ask *a, struct err *e)
{
	err_set(e, ERR_UNREACHABLE, "the daemon at %s ended before its answer did", a->path);
	return err_hint(e, "Its log tells why");
}

static int send_request(struct ask *a, const struct request *r, struct err *e)
{
	struct dyn line = DYN_INIT(2 * REQUEST_MAX_BYTES);
	int rc = request_write(r, &line);
	if (rc < 0)
		err_set(e, ERR_USAGE,
			"too many databases for one request of %d bytes; without any all are meant",
			REQUEST_MAX_BYTES);
	for (size_t at = 0; rc == 0 && at < line.len;) {
		ssize_t n = send(a->fd, line.p + at, line.len - at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		/* Who turns us away may say why before it hangs up: the answer is looked at all the same. */
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	dyn_free(&line);
	return rc;
}

/* More bytes into *in. 1; 0: the daemon has hung up; -1. */
static int receive(struct ask *a, struct dyn *in, int64_t until_us, struct err *e)
{
	uint8_t buf[16384];
	for (;;) {
		int64_t left_us = until_us - mono_us();
		struct pollfd p = { .fd = a->fd, .events = POLLIN };
		int ready = poll(&p, 1, left_us > 0 ? (int)(left_us / 1000) + 1 : 0);
		if (ready == 0 && mono_us() >= until_us)
			return late(a, e);
		if (ready <= 0)
			continue;
		ssize_t n = recv(a->fd, buf, sizeof buf, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		return dyn_add(in, buf, (size_t)n) < 0
			       ? err_set(e, ERR_FAIL, "a line of the answer is too long")
			       : 1;
	}
}

static int ended_with(int code, struct span sentence, struct err *e)
{
	static const enum err_kind kinds[] = {
#define X(id, number, text, retry) ERR_##id,
		ERR_KINDS(X)
#undef X
	};
	if (code == 0)
		return 0;
	enum err_kind kind = ERR_FAIL;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (err_exit_code(kinds[i]) == code)
			kind = kinds[i];
	return err_set(e, kind, "%.*s", (int)(sentence.n < 900 ? sentence.n : 900), (const char *)sentence.p);
}

int ask(struct ask *a, const struct request *r, int64_t wait_us, ask_line_fn *fn, void *arg, bool *ret_answered,
	struct err *e)
{
	struct dyn in = DYN_INIT(LINE_MAX_BYTES);
	struct span sentence;
	int64_t until_us = mono_us() + wait_us;
	size_t at = 0; /* lines before it are done */
	int code, rc = send_request(a, r, e);
	bool open = rc == 0, ended = false;
	*ret_answered = false;
	while (open && !ended) {
		const uint8_t *end = in.len > at ? memchr(in.p + at, '\n', in.len - at) : NULL;
		if (!end) {
			if (at > 0)
				memmove(in.p, in.p + at, in.len - at);
			in.len -= at;
			at = 0;
			int got = receive(a, &in, until_us, e);
			rc = got > 0 ? 0 : got < 0 ? -1 : cut_off(a, e);
			open = rc == 0;
			continue;
		}
		struct span line = { in.p + at, (size_t)(end - in.p) - at };
		at += line.n + 1;
		ended = answer_end_parse(line, &code, &sentence);
		if (!ended)
			open = (rc = fn(arg, line, e)) == 0;
	}
	if (ended) {
		*ret_answered = true;
		rc = ended_with(code, sentence, e);
	}
	dyn_free(&in);
	return rc;
}
