/* SPDX-License-Identifier: Apache-2.0
 *
 * The control socket: see control.h.
 *
 * Happy path: connect, one line, an answer in pieces as fast as the client takes them, end. A sync is parked in
 * between until all is shipped or its deadline comes, a question for a position until it is known or reached.
 *
 * Who may ask: the socket has mode 0600, and whoever connects must be the daemon's own user or root.
 *
 * Failure modes: the file of a daemon that was killed (replaced; a lock on the directory keeps two that start
 * at the same time apart); a living one (left alone; at a usual place, which nobody chose, it is tried again
 * until that one has ended); a client that says nothing, never ends its line, or does not take its answer
 * (ended after CLIENT_US without progress); too many at once (told so); no descriptors (looked at again in a
 * while). */
#include "daemon/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"
#include "daemon/reach.h"
#include "daemon/show.h"
#include "daemon/upstream.h"

enum {
	CLIENTS_MAX = 32,
	BACKLOG = 128,
	CLIENT_US = 10000000, /* without progress */
	ANSWER_MAX_BYTES = 256 << 20,
	ACCEPT_AGAIN_US = 1000000,
	PROMOTE_LOOK_US = 10000,
	OPEN_AGAIN_US = 10000000,
	LOCK_TRIES = 40,
	LOCK_WAIT_US = 5000,
};

enum phase { CLIENT_READS, CLIENT_WAITS, CLIENT_SHOWS, CLIENT_ENDS };

struct client {
	struct control *control;
	struct loop_fd fd;
	struct loop_timer timer; /* no progress; of a sync: its deadline */
	struct dyn in, out;
	size_t sent; /* of out */
	struct request request;
	struct show show;
	struct sync *sync; /* while it waits; or */
	struct reach reach;
	enum phase phase;
};

struct control {
	struct daemon *d;
	struct loop_fd fd;
	struct loop_timer again; /* to let in, or while fd.fd is -1, to open it */
	struct client *clients[CLIENTS_MAX];
	size_t clients_n;
	dev_t dev; /* of the file that is ours */
	ino_t ino;
	char path[sizeof((struct sockaddr_un *)0)->sun_path];
};

/* ---- one client ---- */

static void client_end(struct client *c)
{
	struct control *k = c->control;
	struct loop *l = k->d->en.loop;
	loop_timer_cancel(l, &c->timer);
	loop_fd_remove(l, &c->fd);
	close(c->fd.fd);
	if (c->sync)
		sync_free(c->sync);
	reach_cancel(&c->reach);
	request_free(&c->request);
	dyn_free(&c->in);
	dyn_free(&c->out);
	for (size_t i = 0; i < k->clients_n; i++)
		if (k->clients[i] == c)
			k->clients[i] = k->clients[--k->clients_n];
	free(c);
}

static void progress(struct client *c)
{
	loop_timer_set(c->control->d->en.loop, &c->timer, mono_us() + CLIENT_US);
}

/* 1: all is sent; 0: the client takes no more now; -1: it is gone. */
static int send_rest(struct client *c)
{
	while (c->sent < c->out.len) {
		ssize_t n =
			send(c->fd.fd, c->out.p + c->sent, c->out.len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return -1;
		c->sent += (size_t)n;
		progress(c);
	}
	c->out.len = c->sent = 0;
	return 1;
}

/* One piece a turn, so that a long answer to a fast client does not keep the loop from its work. */
static void client_send(struct client *c)
{
	int made = 0;
	if (c->phase == CLIENT_SHOWS && c->out.len == 0) {
		made = show_status_some(&c->show, c->control->d);
		if (made > 0)
			c->phase = CLIENT_ENDS;
	}
	int rc = made < 0 ? -1 : send_rest(c);
	if (rc < 0 || (rc > 0 && c->phase == CLIENT_ENDS))
		client_end(c);
}

/* From here on the answer leaves whenever the client takes some of it. */
static void client_answers(struct client *c, enum phase phase)
{
	struct err e;
	c->phase = phase;
	progress(c);
	if (loop_fd_change(c->control->d->en.loop, &c->fd, EPOLLOUT, &e) < 0)
		client_end(c);
}

static void answer_error(struct client *c, const struct err *e)
{
	c->out.len = 0;
	if (answer_end(&c->out, err_exit_code(e->kind), e->text) < 0)
		client_end(c);
	else
		client_answers(c, CLIENT_ENDS);
}

/* All is shipped, cannot be, or the deadline has passed. */
static void sync_over(struct sync *y, void *arg)
{
	struct client *c = arg;
	int rc = show_sync(y, c->request.json, &c->out);
	sync_free(y);
	c->sync = NULL;
	if (rc < 0)
		client_end(c);
	else
		client_answers(c, CLIENT_ENDS);
}

/* Only a client that is gone altogether is noticed; one that has said all it has to say is not. */
static bool client_waits(struct client *c)
{
	struct err e;
	c->phase = CLIENT_WAITS;
	if (loop_fd_change(c->control->d->en.loop, &c->fd, 0, &e) == 0)
		return true;
	client_end(c);
	return false;
}

static void begin_sync(struct client *c)
{
	struct err e;
	struct loop *l = c->control->d->en.loop;
	if (sync_begin(c->control->d, &c->request, sync_over, c, &c->sync, &e) < 0) {
		answer_error(c, &e);
		return;
	}
	if (c->sync->left == 0)
		sync_over(c->sync, c);
	else if (client_waits(c))
		loop_timer_set(l, &c->timer, mono_us() + c->request.timeout_us);
}

/* The position is known, reached, or cannot be. */
static void answer_reach(struct client *c, enum reach_result result, const struct err *e)
{
	if (show_reach(&c->request, &c->reach, result, e, &c->out) < 0)
		client_end(c);
	else
		client_answers(c, CLIENT_ENDS);
}

static void reach_ended(struct reach *r, enum reach_result result, const struct err *e)
{
	answer_reach(OWNER_OF(r, struct client, reach), result, e);
}

static void begin_reach(struct client *c)
{
	const struct request *q = &c->request;
	struct daemon *d = c->control->d;
	struct err e = ERR_INIT;
	enum reach_result result;
	loop_timer_cancel(d->en.loop, &c->timer);
	if (q->verb == REQUEST_POSITION) {
		result = reach_position(&c->reach, d, q->dbs[0], q->timeout_us, reach_ended, &e);
	} else {
		position_parse(q->position, &c->reach.generation, &c->reach.at); /* it is one */
		result = reach_wait(&c->reach, d, q->dbs[0], q->timeout_us, reach_ended, &e);
	}
	if (result == REACH_NOT_YET)
		client_waits(c);
	else
		answer_reach(c, result, &e);
}

static void begin_status(struct client *c)
{
	struct err e;
	if (show_status_begin(&c->show, c->control->d, &c->request, &c->out, &e) < 0)
		answer_error(c, &e);
	else
		client_answers(c, CLIENT_SHOWS);
}

static void begin_reload(struct client *c)
{
	struct err e;
	if (reload_now(c->control->d, &e) < 0) {
		answer_error(c, &e);
		return;
	}
	c->out.len = 0;
	if (answer_end(&c->out, 0, "") < 0)
		client_end(c);
	else
		client_answers(c, CLIENT_ENDS);
}

static void answer_good(struct client *c)
{
	c->out.len = 0;
	if (answer_end(&c->out, 0, "") < 0)
		client_end(c);
	else
		client_answers(c, CLIENT_ENDS);
}

/* Until its thread has ended following, which takes some milliseconds. */
static void look_at_promotion(struct client *c)
{
	struct err e;
	const struct managed *m = set_find(c->control->d, c->request.dbs[0]);
	enum upstream_promotion p = m && m->up ? upstream_promotion(m->up, &e) : PROMOTION_DONE;
	if (!m || (!m->up && !m->promoted)) {
		err_set(&e, ERR_NOTHING, "%s has left the daemon meanwhile", c->request.dbs[0]);
		answer_error(c, &e);
	} else if (!m->up) {
		answer_good(c);
	} else if (p == PROMOTION_FAILED) {
		answer_error(c, &e);
	} else {
		loop_timer_set(c->control->d->en.loop, &c->timer, mono_us() + PROMOTE_LOOK_US);
	}
}

static void begin_promote(struct client *c)
{
	struct err e = ERR_INIT;
	const struct request *r = &c->request;
	const struct managed *m = r->dbs_n == 1 ? set_find(c->control->d, r->dbs[0]) : NULL;
	if (r->dbs_n != 1)
		err_set(&e, ERR_USAGE, "promote takes one database");
	else if (!m || m->leaving)
		err_set(&e, ERR_NOTHING, "%s is not a database of this daemon", r->dbs[0]);
	else if (!m->up)
		err_set(&e, ERR_EXISTS, "%s is a primary already, it follows none", r->dbs[0]);
	if (e.kind != ERR_NONE) {
		answer_error(c, &e);
		return;
	}
	upstream_promote(m->up);
	if (client_waits(c))
		look_at_promotion(c);
}

static void client_asks(struct client *c, struct span line)
{
	struct err e = ERR_INIT;
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	if (request_parse(line, &c->request, &e) < 0) {
		answer_error(c, &e);
		return;
	}
	switch (c->request.verb) {
	case REQUEST_STATUS:
		begin_status(c);
		return;
	case REQUEST_SYNC:
		begin_sync(c);
		return;
	case REQUEST_POSITION:
	case REQUEST_WAIT:
		begin_reach(c);
		return;
	case REQUEST_PROMOTE:
		begin_promote(c);
		return;
	case REQUEST_RELOAD:
	default:
		begin_reload(c);
		return;
	}
}

static void client_reads(struct client *c)
{
	uint8_t buf[4096];
	struct err e;
	for (;;) {
		ssize_t n = recv(c->fd.fd, buf, sizeof buf, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			client_end(c);
			return;
		}
		size_t from = c->in.len;
		if (dyn_add(&c->in, buf, (size_t)n) < 0) {
			err_set(&e, ERR_USAGE, "the request is longer than %d bytes", REQUEST_MAX_BYTES);
			answer_error(c, &e);
			return;
		}
		const uint8_t *end = memchr(c->in.p + from, '\n', c->in.len - from);
		if (end) {
			client_asks(c, (struct span){ c->in.p, (size_t)(end - c->in.p) });
			return;
		}
	}
}

static void client_ready(struct loop_fd *f, uint32_t events)
{
	struct client *c = OWNER_OF(f, struct client, fd);
	if (c->phase == CLIENT_READS)
		client_reads(c);
	else if (events & (EPOLLHUP | EPOLLERR))
		client_end(c);
	else if (c->phase != CLIENT_WAITS)
		client_send(c);
}

static void client_late(struct loop_timer *t)
{
	struct client *c = OWNER_OF(t, struct client, timer);
	if (c->phase == CLIENT_WAITS && c->request.verb == REQUEST_PROMOTE)
		look_at_promotion(c);
	else if (c->phase == CLIENT_WAITS)
		sync_over(c->sync, c);
	else
		client_end(c);
}

/* ---- those who come ---- */

/* Who is not let in gets one line, if it goes out at once. */
static void turn_away(int fd, enum err_kind kind, const char *why)
{
	struct dyn out = DYN_INIT(1024);
	if (answer_end(&out, err_exit_code(kind), why) == 0)
		(void)!send(fd, out.p, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	dyn_free(&out);
	close(fd);
}

static bool may_ask(int fd)
{
	struct ucred who;
	socklen_t n = sizeof who;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0)
		return false;
	return who.uid == 0 || who.uid == geteuid();
}

static void let_in(struct control *k, int fd)
{
	struct err e;
	if (!may_ask(fd)) {
		turn_away(fd, ERR_UNREACHABLE, "only the user that this daemon runs as, and root, may ask it");
		return;
	}
	if (k->clients_n == CLIENTS_MAX) {
		turn_away(fd, ERR_BUSY, "too many are asking this daemon at the same time");
		return;
	}
	struct client *c = calloc(1, sizeof *c);
	if (!c) {
		close(fd);
		return;
	}
	*c = (struct client){ .control = k,
			      .fd = { .fd = fd, .ready = client_ready },
			      .timer = { .fire = client_late },
			      .in = DYN_INIT(REQUEST_MAX_BYTES),
			      .out = DYN_INIT(ANSWER_MAX_BYTES) };
	if (loop_fd_add(k->d->en.loop, &c->fd, EPOLLIN, &e) < 0) {
		free(c);
		close(fd);
		return;
	}
	k->clients[k->clients_n++] = c;
	progress(c);
}

static void control_ready(struct loop_fd *f, uint32_t events)
{
	struct control *k = OWNER_OF(f, struct control, fd);
	struct err e;
	(void)events;
	for (int i = 0; i < CLIENTS_MAX; i++) {
		int fd = accept4(k->fd.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			let_in(k, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			loop_fd_change(k->d->en.loop, &k->fd, 0, &e);
			loop_timer_set(k->d->en.loop, &k->again, mono_us() + ACCEPT_AGAIN_US);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

static void accept_again(struct loop_timer *t)
{
	struct control *k = OWNER_OF(t, struct control, again);
	struct err e;
	loop_fd_change(k->d->en.loop, &k->fd, EPOLLIN, &e);
}

/* ---- the socket ---- */

static int connect_to(const struct sockaddr_un *at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof *at) < 0 && errno != EAGAIN) {
		int sys = errno;
		close(fd);
		errno = sys;
		return -1;
	}
	return fd;
}

/* What lies there: 0: nothing any more; -1: it is to be left alone. */
static int clear_place(const struct sockaddr_un *at, struct err *e)
{
	struct stat st;
	if (lstat(at->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "%s", at->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, ERR_EXISTS, "%s: is there and is not a socket; it is left alone",
			       at->sun_path);
	int fd = connect_to(at);
	if (fd >= 0) {
		struct ucred who = { .pid = 0 };
		socklen_t n = sizeof who;
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n);
		close(fd);
		return err_set(e, ERR_BUSY, "%s: process %d answers there already", at->sun_path, (int)who.pid);
	}
	if (errno != ECONNREFUSED && errno != ENOENT)
		return err_sys(e, errno, "%s", at->sun_path);
	if (sys_unlink(at->sun_path) < 0 && errno != ENOENT)
		return err_sys(e, errno, "%s: left by a daemon that was killed, and cannot be removed",
			       at->sun_path);
	return 0;
}

static int listen_on(struct control *k, const struct sockaddr_un *at, struct err *e)
{
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, errno, "cannot make a socket");
	/* The mode before the name, so that there is no moment in which others could connect. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)at, sizeof *at) < 0) {
		err_sys(e, errno, "%s", at->sun_path);
		close(fd);
		return -1;
	}
	if (chmod(at->sun_path, 0600) < 0 || listen(fd, BACKLOG) < 0 || stat(at->sun_path, &st) < 0) {
		err_sys(e, errno, "%s", at->sun_path);
		sys_unlink(at->sun_path);
		close(fd);
		return -1;
	}
	k->dev = st.st_dev;
	k->ino = st.st_ino;
	k->fd = (struct loop_fd){ .fd = fd, .ready = control_ready };
	return 0;
}

/* The lock of the directory: two daemons that start at the same time do not take each other's socket for one
 * that was left behind. A place that is locked by somebody else for long is used all the same. */
static int take_place(struct control *k, const char *path, struct err *e)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char dir[PATH_BYTES];
	if (strlen(path) >= sizeof at.sun_path)
		return err_set(e, ERR_CONFIG, "%s: a socket's path has at most %zu bytes", path,
			       sizeof at.sun_path - 1);
	strcpy(at.sun_path, path);
	strcpy(k->path, path);
	if (path_dir(dir, path) < 0)
		return err_set(e, ERR_CONFIG, "%s: path is too long", path);
	int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0)
		return err_sys(e, errno, "%s", dir);
	for (int i = 0; i < LOCK_TRIES && flock(lock, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK; i++)
		sleep_us(LOCK_WAIT_US);
	int rc = clear_place(&at, e);
	if (rc == 0)
		rc = listen_on(k, &at, e);
	close(lock);
	return rc;
}

/* The directory of a usual place, which is ours to make: for the super-user the one in /run, for others the one
 * in their own. What is there stays as it is. */
static void make_dir(const char *path)
{
	char dir[PATH_BYTES], above[PATH_BYTES];
	if (path_dir(dir, path) < 0 || path_dir(above, dir) < 0)
		return;
	if (strcmp(above, "/run") != 0 || geteuid() == 0)
		(void)!sys_mkdir(dir, 0700);
}

static int take_any(struct control *k, const struct conf *c, struct err *e)
{
	char path[PATH_BYTES];
	struct err why = ERR_INIT;
	bool any = false;
	for (unsigned i = 0; conf_socket(c, i, path); i++) {
		if (!c->socket)
			make_dir(path);
		if (take_place(k, path, &why) == 0)
			return 0;
		if (!any || why.kind == ERR_BUSY)
			*e = why;
		any = true;
		if (why.kind == ERR_BUSY)
			return -1; /* status would ask that one: not a second place */
	}
	return any ? -1 : err_set(e, ERR_NOTHING, "there is no place for it");
}

static void say_without(const struct err *why)
{
	if (why->kind == ERR_BUSY)
		log_warn("another daemon has the usual control socket: status and sync ask that one, not this; "
			 "give "
			 "one of them its own with the key socket",
			 L_S("error", why->text));
	else
		log_warn("no control socket: status and sync cannot ask this daemon; the key socket names "
			 "another "
			 "place",
			 L_S("error", why->text));
}

static int open_now(struct control *k, struct err *e)
{
	if (take_any(k, k->d->conf, e) < 0) {
		k->fd.fd = -1;
		return -1;
	}
	if (loop_fd_add(k->d->en.loop, &k->fd, EPOLLIN, e) < 0) {
		close(k->fd.fd);
		k->fd.fd = -1;
		sys_unlink(k->path);
		return -1;
	}
	k->again = (struct loop_timer){ .fire = accept_again };
	log_debug("control socket", L_S("path", k->path));
	return 0;
}

static void open_again(struct loop_timer *t)
{
	struct control *k = OWNER_OF(t, struct control, again);
	struct err e;
	if (open_now(k, &e) < 0)
		loop_timer_set(k->d->en.loop, &k->again, mono_us() + OPEN_AGAIN_US);
	else
		log_info("the usual control socket is free now, and this daemon's", L_S("path", k->path));
}

int control_open(struct daemon *d, struct err *e)
{
	struct err why = ERR_INIT;
	struct control *k = calloc(1, sizeof *k);
	if (!k)
		return err_set(e, ERR_FAIL, "no memory");
	k->d = d;
	int rc = open_now(k, &why);
	if (rc == 0 || (!d->conf->socket && why.kind == ERR_BUSY))
		d->control = k;
	if (rc == 0)
		return 0;
	if (d->control) {
		k->again = (struct loop_timer){ .fire = open_again };
		loop_timer_set(d->en.loop, &k->again, mono_us() + OPEN_AGAIN_US);
	} else {
		free(k);
	}
	if (d->conf->socket) {
		*e = why;
		if (e->kind == ERR_NOTHING)
			e->kind = ERR_CONFIG; /* its directory is not there */
		return err_wrap(e, "control socket");
	}
	say_without(&why);
	return 0;
}

static void say_stopped(struct client *c)
{
	if (c->phase == CLIENT_WAITS &&
	    answer_end(&c->out, err_exit_code(ERR_UNREACHABLE),
		       c->sync ? "the daemon was stopped before everything was shipped"
			       : "the daemon was stopped") == 0)
		(void)!send(c->fd.fd, c->out.p, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	client_end(c);
}

void control_close(struct daemon *d)
{
	struct control *k = d->control;
	struct stat st;
	if (!k)
		return;
	while (k->clients_n > 0)
		say_stopped(k->clients[0]);
	loop_timer_cancel(d->en.loop, &k->again);
	d->control = NULL;
	if (k->fd.fd < 0) {
		free(k);
		return;
	}
	loop_fd_remove(d->en.loop, &k->fd);
	/* Somebody may have put another one there. */
	if (stat(k->path, &st) == 0 && st.st_dev == k->dev && st.st_ino == k->ino)
		sys_unlink(k->path);
	close(k->fd.fd);
	free(k);
}
