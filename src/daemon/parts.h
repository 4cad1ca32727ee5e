/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of the daemon and what they share. All of it is the loop thread's. */
#ifndef WB_DAEMON_PARTS_H
#define WB_DAEMON_PARTS_H

#include "daemon/managed.h"
#include "rt/child.h"
#include "rt/notify.h"
#include "rt/signals.h"

/* Who started us and wants to know how we are (service.c). */
struct service {
	struct notify to;
	struct loop_timer look, watchdog;
	char status[200]; /* that was told last */
};

struct daemon {
	const struct conf *conf;
	struct engine en;
	struct managed **dbs; /* each its own, so that its address stays while others come and go */
	size_t n;
	struct signals signals;
	struct loop_timer look, deadline;
	int64_t swept_us, look_us, started_wall_us;
	size_t sweep_at;
	struct child child;
	bool broken; /* all are, from the start */
	struct err *why;
	bool child_started, child_ended;
	bool begun, killed;    /* begun: all is ready; killed: the command, by us */
	int64_t started_us;    /* monotonic, as is the next */
	int64_t told_us;       /* when the last signal that wants us to stop came; 0: none */
	size_t first_captures; /* so many databases from dbs[0] on have had theirs */
	int status;
	struct service service;
	struct loop_timer summary;
	struct control *control; /* NULL: no socket */
	struct dir_watch *dirs;
	size_t dirs_n;
	struct metrics *metrics; /* NULL: no addr */
};

/* set.c: which databases there are, and how changes of their files are seen. */
int set_open(struct daemon *d, struct err *e);
void set_close(struct daemon *d);
void set_everything_changed(void *daemon); /* notifications were lost: all are looked at */

/* stop.c: from the first wish to stop to the end. */
void stop_init(struct daemon *d);
void stop_on_signal(void *daemon, int signo);
void stop_begin(struct daemon *d, const char *why);
bool stop_finished(const struct daemon *d); /* all is shipped and let go, the command has ended */
void stop_judge(struct daemon *d); /* at the end: says what is owed, and makes the status of it if it is 0 */

/* command.c: the command of -exec, and the moment when all is ready. */
void command_init(struct daemon *d); /* between signals_block and signals_open */
void command_turn(struct daemon *d); /* starts it once every database had its first capture */
bool command_runs(const struct daemon *d);
void command_reap(struct daemon *d);
void command_forward(struct daemon *d, int signo);

/* service.c: what the service manager is told. Nothing happens when there is none. */
void service_open(struct daemon *d);
void service_ready(struct daemon *d); /* also ends a reload */
void service_reloading(struct daemon *d);
void service_stopping(struct daemon *d);
void service_close(struct daemon *d);

/* summary.c: one line an hour. It also begins to collapse what repeats in the log. */
void summary_start(struct daemon *d);
void summary_say(struct daemon *d); /* what was counted since the last one; memory only */

#endif
