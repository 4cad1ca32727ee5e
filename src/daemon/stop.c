/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of the daemon: signals, the deadline, and what is said when something is left.
 *
 * Happy path: a signal is a wish to stop. It goes to the command, if one runs, whose end is waited for while
 * replication goes on. Then `stopping` is set: each database takes a last step, ships what it has, lets go.
 *
 *   1st signal   the command gets it (once: not when the terminal gave it to both)
 *   2nd          the command is killed; what it committed is still captured and shipped
 *   2nd or 3rd   no command runs any more: we end at once
 *   deadline     shutdown-timeout after the wish the command is killed; as long after its end we end
 *
 * The status is the command's. If that is 0, or there is none: 0 when everything that was committed is on the
 * replicas, 8 when room was missing for it, 10 when time was, else that of the first broken database.
 *
 * Failure modes: the deadline passes, or signals insist: what is not captured or not shipped is said, by
 * database and replica. */
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/parts.h"

enum { SAME_WISH_US = 100000 };

static void set_deadline(struct daemon *d)
{
	if (d->conf->shutdown_timeout_us > 0)
		loop_timer_set(d->en.loop, &d->deadline, mono_us() + d->conf->shutdown_timeout_us);
}

void stop_begin(struct daemon *d, const char *why)
{
	if (d->en.stopping)
		return;
	log_info("stopping: capturing and shipping what is left", L_S("reason", why));
	d->en.stopping = true;
	set_deadline(d);
	service_stopping(d);
	for (size_t i = 0; i < d->n; i++)
		managed_mark(d->dbs[i]);
}

/* ---- what is owed ---- */

/* Not captured to its end; a gap is that, too. The last step may not have come, because a first snapshot was
 * waited for, and still there is nothing that was not captured. */
static bool lacks_capture(const struct managed *m)
{
	uint64_t frames;
	if (m->state == DB_GAP)
		return true;
	if (m->finished || m->stepped_to_stop)
		return false;
	return m->out || m->state != DB_IDLE || db_look(&m->db, &frames) != DB_LOOK_SAME;
}

static enum err_kind worse(enum err_kind a, enum err_kind b)
{
	static const enum err_kind order[] = { ERR_SPACE, ERR_DEADLINE };
	for (size_t i = 0; i < sizeof order / sizeof *order; i++)
		if (a == order[i] || b == order[i])
			return order[i];
	return a == ERR_NONE ? b : a;
}

/* Has what comes behind its first snapshot, and not that. */
static bool lacks_snapshot(const struct shipper *s)
{
	return s->job == SHIP_NONE && !s->held && s->r.wants_snapshot && !generation_none(&s->m->generation);
}

static enum err_kind owed_by(const struct managed *m)
{
	enum err_kind kind = m->finished ? ERR_NONE : ERR_DEADLINE;
	if (m->state == DB_BROKEN)
		kind = worse(kind, m->seen.why_kind);
	if (lacks_capture(m))
		kind = worse(kind, m->seen.why_kind == ERR_SPACE ? ERR_SPACE : ERR_DEADLINE);
	for (size_t k = 0; !m->finished && k < m->ships_n; k++) {
		const struct shipper *s = &m->ships[k];
		if (s->job == SHIP_NONE && (!ship_done(s) || lacks_snapshot(s)) && s->e.kind == ERR_SPACE)
			kind = ERR_SPACE;
	}
	return kind;
}

static const char *why_not(const char *error)
{
	return error && *error ? error : "there was no time left";
}

static void say_owed(const struct managed *m)
{
	if (m->state == DB_BROKEN)
		log_error("this database was not replicated", L_S("db", m->conf->path),
			  L_S("error", m->seen.why));
	else if (lacks_capture(m))
		log_error("not everything was captured; the next start goes on, or begins a new generation",
			  L_S("db", m->conf->path), L_S("error", why_not(m->seen.why)));
	for (size_t k = 0; !m->finished && k < m->ships_n; k++) {
		const struct shipper *s = &m->ships[k];
		if (!ship_done(s))
			log_error("not everything was shipped; what is missing waits in the spool for the next "
				  "start",
				  L_S("db", m->conf->path), L_S("replica", s->r.name),
				  L_S("error",
				      s->job == SHIP_NONE ? why_not(s->e.text) : "an upload is under way"));
		else if (lacks_snapshot(s))
			log_error("the replica has no snapshot yet, so nothing can be restored from it; the "
				  "next start makes one",
				  L_S("db", m->conf->path), L_S("replica", s->r.name),
				  L_S("error", why_not(s->e.text)));
	}
}

void stop_judge(struct daemon *d)
{
	enum err_kind kind = ERR_NONE;
	for (size_t i = 0; i < d->n; i++) {
		say_owed(d->dbs[i]);
		kind = worse(kind, owed_by(d->dbs[i]));
	}
	if (d->status == 0)
		d->status = err_exit_code(kind);
}

/* ---- from the wish to the end ---- */

static void kill_command(struct daemon *d)
{
	d->killed = true;
	child_signal(&d->child, SIGKILL);
	set_deadline(d);
}

static void give_up(struct daemon *d)
{
	if (command_runs(d))
		log_error("ending, and the command still runs", L_I("pid", d->child.pid));
	loop_stop(d->en.loop);
}

static void deadline_passed(struct loop_timer *t)
{
	struct daemon *d = OWNER_OF(t, struct daemon, deadline);
	if (command_runs(d) && !d->killed) {
		log_error("the command has not ended in time: killing it",
			  L_MS("shutdown_timeout", d->conf->shutdown_timeout_us / 1000));
		kill_command(d);
		return;
	}
	log_error("the time for stopping is over",
		  L_MS("shutdown_timeout", d->conf->shutdown_timeout_us / 1000));
	give_up(d);
}

/* Only after the first one: was it asked for again? Some senders (timeout, a terminal and a wrapper) deliver
 * one wish twice. */
static void insist(struct daemon *d)
{
	int64_t now_us = mono_us();
	if (now_us - d->told_us < SAME_WISH_US)
		return;
	d->told_us = now_us;
	if (command_runs(d) && !d->killed) {
		log_warn("signal received again: killing the command; another one ends walbrook at once");
		kill_command(d);
		return;
	}
	log_warn("signal received again: ending at once");
	give_up(d);
}

static const char *name_of(int signo)
{
	return signo == SIGTERM	  ? "SIGTERM"
	       : signo == SIGINT  ? "SIGINT"
	       : signo == SIGQUIT ? "SIGQUIT"
				  : "the terminal was closed";
}

static void wish_to_stop(struct daemon *d, int signo)
{
	if (d->told_us) {
		insist(d);
		return;
	}
	d->told_us = mono_us();
	if (!command_runs(d)) {
		stop_begin(d, name_of(signo));
		return;
	}
	log_info("signal received: waiting for the command to end", L_S("reason", name_of(signo)));
	command_forward(d, signo);
	set_deadline(d);
	service_stopping(d);
}

void stop_on_signal(void *daemon, int signo)
{
	struct daemon *d = daemon;
	struct err e;
	switch (signo) {
	case SIGCHLD:
		command_reap(d);
		break;
	case SIGUSR1:
	case SIGUSR2:
		command_forward(d, signo);
		break;
	case SIGHUP:
		if (d->signals.from_terminal) /* it was closed */
			wish_to_stop(d, signo);
		else
			reload_now(d, &e); /* the log says how it went */
		break;
	default:
		wish_to_stop(d, signo);
	}
}

bool stop_finished(const struct daemon *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (!d->dbs[i]->finished)
			return false;
	return !d->entering && !command_runs(d);
}

void stop_init(struct daemon *d)
{
	d->deadline = (struct loop_timer){ .fire = deadline_passed };
}
