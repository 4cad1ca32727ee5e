/* SPDX-License-Identifier: Apache-2.0
 *
 * What the service manager is told (NOTIFY_SOCKET; a unit with Type=notify or notify-reload).
 *
 * Happy path: READY=1 when every database had its first capture and the command of -exec runs; a status line
 * for people, when it has changed; RELOADING=1 and READY=1 around a reload; STOPPING=1 with the first wish to
 * stop. While starting and stopping the manager's patience is extended again and again, since both have bounds
 * of our own. With WatchdogSec= the loop says twice in that time that it turns; a worker that waits for a slow
 * disk is no reason for a restart, so the workers are not asked.
 *
 * Failure modes: a socket that cannot be used is said once, and then nobody is told anything. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/parts.h"

enum { LOOK_US = 5000000, PATIENCE_S = 30 };

static void count_of(char *text, size_t size, size_t n, const char *what)
{
	size_t len = strlen(text);
	if (n > 0)
		snprintf(text + len, size - len, ", %zu %s", n, what);
}

/* E.g. `Replicating 3 databases, 1 waiting, 2 replicas fail`. Memory only. */
static void status_text(const struct daemon *d, char *text, size_t size)
{
	size_t by_state[DB_BROKEN + 1] = { 0 }, failing = 0;
	for (size_t i = 0; i < d->n; i++) {
		by_state[d->dbs[i]->ready ? d->dbs[i]->state : DB_IDLE]++;
		for (size_t k = 0; k < d->dbs[i]->ships_n; k++)
			failing += d->dbs[i]->ships[k].misses > 0;
	}
	snprintf(text, size, "%s %zu %s",
		 d->told_us || d->en.stopping ? (command_runs(d) ? "Waiting for the command to end, replicating"
								 : "Stopping: shipping what is left of")
		 : d->begun		      ? "Replicating"
					      : "Starting:",
		 d->n, d->n == 1 ? "database" : "databases");
	count_of(text, size, by_state[DB_WAITING], "waiting");
	count_of(text, size, by_state[DB_GAP], "in a gap");
	count_of(text, size, by_state[DB_BROKEN], "broken");
	count_of(text, size, failing, failing == 1 ? "replica fails" : "replicas fail");
}

static bool in_transition(const struct daemon *d)
{
	return !d->begun || d->told_us || d->en.stopping;
}

static void tell(struct daemon *d, const char *assignment)
{
	struct service *s = &d->service;
	char status[sizeof s->status], text[sizeof status + 120] = "";
	status_text(d, status, sizeof status);
	if (in_transition(d))
		snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=%d000000\n", PATIENCE_S);
	if (assignment)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s\n", assignment);
	if (strcmp(status, s->status) != 0)
		snprintf(text + strlen(text), sizeof text - strlen(text), "STATUS=%s\n", status);
	if (!*text || !notify_send(&s->to, text))
		return;
	memcpy(s->status, status, sizeof status);
}

static void look(struct loop_timer *t)
{
	struct daemon *d = OWNER_OF(t, struct daemon, service.look);
	tell(d, NULL);
	loop_timer_set(d->en.loop, t, mono_us() + LOOK_US);
}

static void watchdog(struct loop_timer *t)
{
	struct daemon *d = OWNER_OF(t, struct daemon, service.watchdog);
	notify_send(&d->service.to, "WATCHDOG=1");
	loop_timer_set(d->en.loop, t, mono_us() + d->service.to.watchdog_us / 2);
}

void service_open(struct daemon *d)
{
	struct service *s = &d->service;
	struct err e;
	if (notify_open(&s->to, &e) < 0)
		log_warn("the service manager cannot be told how we are", L_S("error", e.text));
	if (!notify_listens(&s->to))
		return;
	s->look.fire = look;
	loop_timer_set(d->en.loop, &s->look, mono_us());
	if (s->to.watchdog_us > 0) {
		s->watchdog.fire = watchdog;
		loop_timer_set(d->en.loop, &s->watchdog, mono_us());
	}
}

void service_ready(struct daemon *d)
{
	if (notify_listens(&d->service.to))
		tell(d, "READY=1");
}

void service_reloading(struct daemon *d)
{
	notify_reloading(&d->service.to);
}

void service_stopping(struct daemon *d)
{
	if (notify_listens(&d->service.to))
		tell(d, "STOPPING=1");
}

void service_close(struct daemon *d)
{
	loop_timer_cancel(d->en.loop, &d->service.look);
	loop_timer_cancel(d->en.loop, &d->service.watchdog);
	notify_close(&d->service.to);
}
