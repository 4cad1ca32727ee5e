/* SPDX-License-Identifier: Apache-2.0
 *
 * The answers of the control socket, for people (text) and for scripts (JSON). docs/control.md promises the
 * names.
 *
 * Lines of text begin with what they are: `=` a row of a table, its cells separated by tabs, the first one the
 * titles; a space: as it is; `!` a hint, for a person at a terminal only. */
#ifndef WB_DAEMON_SHOW_H
#define WB_DAEMON_SHOW_H

#include "base/buf.h"
#include "base/json.h"
#include "daemon/reach.h"
#include "daemon/request.h"
#include "daemon/status.h"
#include "daemon/sync.h"

enum { SHOW_PIECE_BYTES = 32 << 10 }; /* about: a database is shown whole */

/* The status, piece by piece, so that neither ten thousand databases nor a slow reader keep the loop busy. */
struct show {
	const struct request *r; /* borrowed */
	struct dyn *to;		 /* borrowed; appended to */
	struct json j;
	enum { SHOW_BEGIN, SHOW_TABLE, SHOW_TROUBLE, SHOW_END } phase;
	bool bare;		    /* without the line of the end; may be set after show_status_begin */
	size_t next, fine, trouble; /* databases: the next one; what was seen in the first pass */
	struct status_now now;
};

/* ERR_NOTHING: a database that is asked for is not there. */
int show_status_begin(struct show *s, const struct daemon *d, const struct request *r, struct dyn *to,
		      struct err *e);
/* Appends about SHOW_PIECE_BYTES. 1: that was the last one, the line of the end included; 0: more follows; -1:
 * no memory. */
int show_status_some(struct show *s, const struct daemon *d);

/* What is wrong with one, and what to do, in lines that begin with two spaces when they belong to the one
 * before; none when nothing is. Lines are missing when there is no memory. */
void show_trouble(const struct managed *m, struct status_now now, struct dyn *to);

/* All of what a wait has become, the line of the end included. -1: no memory. */
int show_sync(const struct sync *y, bool json, struct dyn *to);
/* The same of a question for a position, or of a wait for one. */
int show_reach(const struct request *q, const struct reach *r, enum reach_result result, const struct err *e,
	       struct dyn *to);

#endif
