/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals as events of the loop: SIGTERM, SIGINT, SIGHUP and SIGCHLD through a descriptor. They are blocked in
 * all threads; children get the mask back that we were started with. SIGPIPE is ignored: a write says EPIPE. */
#ifndef WB_RT_SIGNALS_H
#define WB_RT_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

#include "base/err.h"
#include "rt/loop.h"

/* In main, before any thread is made. */
void signals_block(void);
/* One more signal that is to come as an event; between signals_block and signals_open. */
void signals_block_also(int signo);
/* How we were started: for children. */
const sigset_t *signals_mask_before(void);
bool signals_pipe_was_ignored(void);

struct signals {
	struct loop *loop;
	struct loop_fd fd;
	/* Several signals of one kind may come as one: on SIGCHLD ask every child. */
	void (*on_signal)(void *arg, int signo);
	void *arg;
	/* During on_signal: a terminal sent it (Ctrl-C, hang-up), so all of its process group have got it. One
	 * that we were started to ignore (nohup, & in a script) does not come then; a person's kill does. */
	bool from_terminal;
};

int signals_open(struct signals *s, struct loop *l, void (*on_signal)(void *arg, int signo), void *arg,
		 struct err *e);
void signals_close(struct signals *s);

#endif
