/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client asks of /stream and /hashes: the parameters of docs/live.md, checked. Pure. */
#ifndef WB_LIVE_QUERY_H
#define WB_LIVE_QUERY_H

#include <stdbool.h>

#include "base/err.h"
#include "core/layout.h"

struct live_query {
	const char *path; /* borrowed */
	bool has_position, has_offset, extended;
	struct generation generation; /* of has_position, as is at.index */
	struct position at;
	bool has_sum; /* of the frame that ends there: its two checksum words */
	uint64_t sum;
};

/* A parameter by its name, decoded; NULL: not given. */
typedef const char *live_param(void *arg, const char *name);
/* ERR_USAGE: the text is one line for the client. */
int live_query_parse(live_param *param, void *arg, struct live_query *ret, struct err *e);

#endif
