/* SPDX-License-Identifier: Apache-2.0
 *
 * The command of -exec, and the moment when the daemon is ready.
 *
 * Happy path: every database had its first capture; the command is started, the service manager is told; when
 * the command ends, its status is ours and everything stops.
 *
 * Failure modes: a database that is not there yet (perhaps the command makes it), is broken or in a gap is not
 * waited for; one that is only locked, or is written to faster than it is captured, for a bounded time. The
 * command cannot be started: everything stops, with the reason as the status. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/parts.h"

enum { LOCKED_FOR_US = 5000000, BUSY_FOR_US = 30000000, NEARLY_ALL_FRAMES = 1000 };

/* What is in the WAL at the start is in the spool, but for what a writer adds at this moment; or nobody knows
 * when that will be. */
static bool had_first_capture(struct managed *m, int64_t waited_us)
{
	uint64_t frames = 0;
	if (!m->ready)
		return false;
	switch (m->state) {
	case DB_WAITING:
		return waited_us > LOCKED_FOR_US || m->seen.why_kind == ERR_NOTHING;
	case DB_BROKEN:
	case DB_GAP:
		return true;
	case DB_IDLE:
	case DB_DIRTY:
	case DB_CAPTURING:
	case DB_SNAPSHOT:
	default:
		return waited_us > BUSY_FOR_US ||
		       (!m->out && (db_look(&m->db, &frames) != DB_LOOK_CHANGED || frames < NEARLY_ALL_FRAMES));
	}
}

static bool all_had(struct daemon *d)
{
	int64_t waited_us = mono_us() - d->started_us;
	/* Once is enough; so each turn asks only those that are left. */
	while (d->first_captures < d->n && had_first_capture(d->dbs[d->first_captures], waited_us))
		d->first_captures++;
	return d->first_captures >= d->n;
}

static void say_who_is_not_captured(struct daemon *d)
{
	for (size_t i = 0; i < d->n; i++) {
		struct managed *m = d->dbs[i];
		if (m->state == DB_WAITING || m->state == DB_BROKEN || m->state == DB_GAP)
			log_warn("the command starts although this database is not replicated yet",
				 L_S("db", m->conf->path), L_S("state", db_state_name(m->state)),
				 L_S("reason", m->seen.why));
	}
}

static void start(struct daemon *d)
{
	struct err e;
	char **argv = NULL;
	say_who_is_not_captured(d);
	d->child_started = true;
	/* Only its name is logged: arguments may be secrets. */
	if (child_split(d->conf->exec, &argv, &e) == 0 && child_start(&d->child, argv, &e) == 0) {
		log_info("command started", L_S("command", argv[0]), L_I("pid", d->child.pid));
	} else {
		log_error("the command cannot be started", L_S("error", e.text));
		d->child_ended = true;
		if (e.kind == ERR_NOTHING || e.kind == ERR_UNREACHABLE) /* no such program, or none */
			e.kind = ERR_CONFIG;
		d->status = err_exit_code(e.kind);
		stop_begin(d, "the command cannot be started");
	}
	child_argv_free(argv);
}

void command_turn(struct daemon *d)
{
	if (d->begun || d->en.stopping || !all_had(d))
		return;
	d->begun = true;
	if (d->conf->exec)
		start(d);
	if (!d->en.stopping)
		service_ready(d);
}

bool command_runs(const struct daemon *d)
{
	return d->child_started && !d->child_ended;
}

void command_reap(struct daemon *d)
{
	if (!command_runs(d) || !child_ended(&d->child))
		return;
	d->child_ended = true;
	d->status = d->child.exit_code;
	if (d->status > 128)
		log_info("the command was ended by a signal", L_I("signal", d->status - 128));
	else
		log_info("the command has ended", L_I("status", d->status));
	stop_begin(d, "the command has ended");
	loop_wake(d->en.loop);
}

void command_forward(struct daemon *d, int signo)
{
	/* What a terminal sends goes to the whole process group; only its hang-up goes to the leader of the
	 * session alone. */
	bool got = child_shares_group(&d->child) && (signo != SIGHUP || getsid(0) != getpid());
	if (!d->signals.from_terminal || !got)
		child_signal(&d->child, signo);
}

void command_init(struct daemon *d)
{
	d->started_us = mono_us();
	if (!d->conf->exec)
		return;
	/* Without a command they do what they do to every process. */
	signals_block_also(SIGQUIT);
	signals_block_also(SIGUSR1);
	signals_block_also(SIGUSR2);
}
