/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of the daemon and what they share. All of it is the loop thread's. */
#ifndef WB_DAEMON_PARTS_H
#define WB_DAEMON_PARTS_H

#include "daemon/managed.h"
#include "daemon/names.h"
#include "rt/child.h"
#include "rt/notify.h"
#include "rt/signals.h"

/* Who started us and wants to know how we are (service.c). */
struct service {
	struct notify to;
	struct loop_timer look, watchdog;
	char status[200]; /* that was told last */
};

struct scan;
struct sweep;

struct daemon {
	const struct conf *conf; /* in force; its dbs are the entries, the databases have copies of theirs */
	struct conf *reread;	 /* the same, when it was read by a reload; owned */
	struct engine en;
	struct managed **dbs; /* each its own, so that its address stays while others come and go */
	size_t n, dbs_cap;
	struct names by_path, places; /* of dbs; places: of replicas and metadata */
	struct managed *entering;     /* wait until one that leaves has let their path or a place go */
	struct names entering_by_path;
	struct scan *scan; /* directories; NULL: before they are set up */
	struct signals signals;
	struct loop_timer look, deadline;
	int64_t swept_us, swept_dirs_us, look_us, started_wall_us;
	size_t sweep_at;
	struct sweep *sweep; /* a job that is out */
	struct child child;
	bool broken; /* all are, from the start */
	bool served; /* one was there that could be served, or one may come: no reason to end */
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
	struct http *http;	 /* NULL: no addr */
};

/* set.c: which databases there are. */
int set_open(struct daemon *d, struct err *e);
void set_close(struct daemon *d);
struct managed *set_find(const struct daemon *d, const char *path); /* NULL: none */
bool set_awaits(const struct daemon *d, const char *path);	    /* one of this path is about to enter */
void set_forget_entering(struct daemon *d);
/* Makes one ready, with a copy of c; nothing is touched, and the set does not know it yet. */
int set_make(struct daemon *d, const struct conf_db *c, bool from_directory, struct managed **ret,
	     struct err *e);
void set_unmake(struct managed *m);
/* Takes over m. One whose path or place is still held by one that leaves enters when that has let go; one whose
 * place is held by one that stays is refused, freed, and the log says so. */
void set_enter(struct daemon *d, struct managed *m);
/* handover: another one is about to enter with its path. */
void set_leave(struct daemon *d, struct managed *m, bool handover);
void set_turn(struct daemon *d); /* every turn: frees those that have left, lets in those that wait */

/* sweep.c: how changes are seen that no event told. */
void sweep_start(struct daemon *d);
void sweep_stop(struct daemon *d);
void set_everything_changed(void *daemon); /* notifications were lost: all are looked at */

/* scan.c: directories: names that come and go, and databases in those that entries with patterns are for. */
int scan_open(struct daemon *d, struct err *e); /* looks for the first time at once */
/* The configuration is another one. `old` (owned from now on; NULL: somebody else's) is freed when nobody uses
 * it.
 */
void scan_again(struct daemon *d, struct conf *old);
void scan_close(struct daemon *d);
void scan_watch(struct daemon *d, const char *db_path); /* the directory it lies in */
void scan_everything(struct daemon *d);			/* looks into all directories */
void scan_sweep(struct daemon *d);	   /* looks into those that have changed, as their times say */
void scan_turn(struct daemon *d);	   /* every turn: submits what is due */
bool scan_pending(const struct daemon *d); /* a job is out or due */

/* reload.c: the configuration is read again. Returns 0, or -1 and *e when it cannot be used, or there is none
 * (the old one stays in force). The log says both, and what has changed. */
int reload_now(struct daemon *d, struct err *e);

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
