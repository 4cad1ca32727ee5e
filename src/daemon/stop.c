/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of the daemon, and the command of -exec, whose end is a wish to stop as a signal is.
 *
 * Happy path: a signal (forwarded to the command, if there is one, whose end is then waited for) sets
 * `stopping`: each database takes a last step, ships what it has, lets go.
 *
 * Failure modes: the deadline passes, or a second signal comes (we end at once and say what was not shipped);
 * the command cannot be started (we stop, with its reason as the status). */
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/parts.h"

enum { STOP_DEADLINE_US = 30000000, SAME_WISH_US = 100000 };

static void begin_stop(struct daemon *d, const char *why)
{
	if (d->en.stopping)
		return;
	log_info("stopping: capturing and shipping what is left", L_S("reason", why));
	d->en.stopping = true;
	loop_timer_set(d->en.loop, &d->deadline, mono_us() + STOP_DEADLINE_US);
	for (size_t i = 0; i < d->n; i++)
		managed_mark(d->dbs[i]);
}

static void say_unshipped(struct daemon *d)
{
	for (size_t i = 0; i < d->n; i++) {
		if (!d->dbs[i]->finished && !d->dbs[i]->stepped_to_stop && !d->dbs[i]->out)
			log_error("not everything was captured; the next start goes on or begins a new "
				  "generation",
				  L_S("db", d->dbs[i]->conf->path), L_S("error", d->dbs[i]->db.why.text));
		for (size_t k = 0; !d->dbs[i]->finished && k < d->dbs[i]->ships_n; k++)
			if (!ship_done(&d->dbs[i]->ships[k]))
				log_error("not everything was shipped; what is missing waits in the spool",
					  L_S("db", d->dbs[i]->conf->path),
					  L_S("replica", d->dbs[i]->ships[k].r.name),
					  L_S("error", d->dbs[i]->ships[k].e.text));
	}
}

static void deadline_passed(struct loop_timer *t)
{
	struct daemon *d = OWNER_OF(t, struct daemon, deadline);
	say_unshipped(d);
	d->status = err_exit_code(ERR_DEADLINE);
	loop_stop(d->en.loop);
}

static void reap(struct daemon *d)
{
	if (!d->child_started || d->child_ended || !child_ended(&d->child))
		return;
	d->child_ended = true;
	d->status = d->child.exit_code;
	log_info("the command has ended", L_I("status", d->status));
	begin_stop(d, "the command has ended");
	managed_mark(d->dbs[0]);
}

void stop_on_signal(void *daemon, int signo)
{
	struct daemon *d = daemon;
	if (signo == SIGCHLD) {
		reap(d);
		return;
	}
	if (signo != SIGTERM && signo != SIGINT)
		return;
	/* Some senders (timeout, a terminal and a wrapper) deliver one wish twice. */
	if (d->told_us && mono_us() - d->told_us < SAME_WISH_US)
		return;
	if (d->told_us) {
		log_warn("second signal: ending at once");
		say_unshipped(d);
		d->status = err_exit_code(ERR_DEADLINE);
		loop_stop(d->en.loop);
		return;
	}
	d->told_us = mono_us();
	if (d->child_started && !d->child_ended) {
		log_info("signal received, forwarding it to the command", L_I("signal", signo));
		child_signal(&d->child, signo);
		loop_timer_set(d->en.loop, &d->deadline, mono_us() + STOP_DEADLINE_US);
		return;
	}
	begin_stop(d, signo == SIGTERM ? "SIGTERM" : "SIGINT");
}

bool stop_finished(const struct daemon *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (!d->dbs[i]->finished)
			return false;
	return !d->child_started || d->child_ended || !d->child.pid;
}

static bool all_ready(const struct daemon *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (!d->dbs[i]->ready)
			return false;
	return true;
}

void stop_start_command(struct daemon *d)
{
	struct err e;
	char **argv = NULL;
	if (!d->conf->exec || d->child_started || d->en.stopping || !all_ready(d))
		return;
	d->child_started = true;
	if (child_split(d->conf->exec, &argv, &e) < 0 || child_start(&d->child, argv, &e) < 0) {
		log_error("the command cannot be started", L_S("error", e.text));
		d->child_ended = true;
		d->status = err_exit_code(e.kind);
		begin_stop(d, "the command cannot be started");
	}
	child_argv_free(argv);
}

void stop_init(struct daemon *d)
{
	d->deadline = (struct loop_timer){ .fire = deadline_passed };
}
