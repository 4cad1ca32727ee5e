/* SPDX-License-Identifier: Apache-2.0
 *
 * A command that runs as our child (-exec): split into words, started without a shell, asked about after
 * SIGCHLD. */
#ifndef WB_RT_CHILD_H
#define WB_RT_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* Splits as a shell does, without expanding anything (child.c tells the rules). argv ends with NULL;
 * child_argv_free takes it back. ERR_CONFIG names what is wrong and where. */
int child_split(const char *line, char ***ret_argv, struct err *e);
void child_argv_free(char **argv);

struct child {
	pid_t pid;     /* 0: none is running */
	int exit_code; /* after child_ended returned true: as a shell gives it, 128 + number for a signal */
};

/* Before limits are raised, anything is opened and threads are made: how we were started, which is how children
 * are started. Without it they get no descriptor above 2. */
void child_remember_start(void);

/* Standard input is /dev/null, output and error are ours; signals, limits, and descriptors above 2 are as we
 * were started with. The program is looked for in PATH. Returns when it runs. ERR_NOTHING: there is no such
 * program. */
int child_start(struct child *c, char *const *argv, struct err *e);
/* Has it ended? Does not wait. true: pid is 0 now; also when there was none. */
bool child_ended(struct child *c);
/* Sends a signal; nothing when none is running. */
void child_signal(const struct child *c, int signo);
/* It is in our process group: what a terminal sends reaches both. */
bool child_shares_group(const struct child *c);

#endif
