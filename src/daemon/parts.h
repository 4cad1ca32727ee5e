/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of the daemon and what they share. All of it is the loop thread's. */
#ifndef WB_DAEMON_PARTS_H
#define WB_DAEMON_PARTS_H

#include "daemon/managed.h"
#include "rt/child.h"
#include "rt/signals.h"

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
	int64_t told_us; /* when the first signal came */
	int status;
	struct dir_watch *dirs;
	size_t dirs_n;
	struct metrics *metrics; /* NULL: no addr */
};

/* set.c: which databases there are, and how changes of their files are seen. */
int set_open(struct daemon *d, struct err *e);
void set_close(struct daemon *d);
void set_everything_changed(void *daemon); /* notifications were lost: all are looked at */

/* stop.c: from the first wish to stop to the end; the command of -exec, whose end is such a wish. */
void stop_init(struct daemon *d);
void stop_on_signal(void *daemon, int signo);
bool stop_finished(const struct daemon *d); /* all is shipped and let go, the command has ended */
void stop_start_command(struct daemon *d);  /* once every database had its first step */

#endif
