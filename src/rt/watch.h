/* SPDX-License-Identifier: Apache-2.0
 *
 * File watches: one inotify descriptor for the process, however many databases. Watches are structs of the
 * caller. Events may be lost: then `everything` is called, and whoever relies on watches looks at everything
 * and arms again. A limit of the system (max_user_watches) is an ordinary error of watch_arm: poll that file
 * instead. */
#ifndef WB_RT_WATCH_H
#define WB_RT_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/inotify.h>

#include "base/err.h"
#include "rt/loop.h"

/* Writes to one file: told once, then the watch is off until it is armed again, so that a busy file costs one
 * event for each time that somebody looks. */
#define WATCH_WRITES (IN_MODIFY | IN_MOVE_SELF | IN_ONESHOT)
/* Names that come and go in a directory; stays armed. */
#define WATCH_NAMES                                                                                            \
	(IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

struct watch {
	/* mask: what happened (IN_...); IN_IGNORED: the file is gone. name: in a watched directory, else "".
	 * May arm and cancel any watch. */
	void (*changed)(struct watch *w, uint32_t mask, const char *name);
	bool armed; /* read only */
	/* private */
	bool oneshot;
	int wd;
	uint64_t seen;
	struct watch *next;
};

struct watcher;

int watcher_new(struct loop *l, void (*everything)(void *arg), void *arg, struct watcher **ret, struct err *e);
void watcher_free(struct watcher *w); /* watches that are still armed are simply forgotten, not touched */

/* Arms, or arms again (also when it still is: after lost events that is not known). A path that is another file
 * by now moves the watch there. Several watches of one file or directory are fine when all have the same
 * events. ERR_NOTHING: no such file; ERR_SPACE: no more watches. On failure it is not armed. */
int watch_arm(struct watcher *w, struct watch *x, const char *path, uint32_t events, struct err *e);
void watch_cancel(struct watcher *w, struct watch *x); /* fine when it is not armed */
size_t watch_count(const struct watcher *w);	       /* armed ones */

#endif
