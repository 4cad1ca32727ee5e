/* SPDX-License-Identifier: Apache-2.0
 *
 * "Did you mean": the known word that is nearest to a mistyped one. Start with NEAREST_OF(word), offer every
 * known word, then read `best`: NULL when none is near enough to be a slip of the fingers. Pure. */
#ifndef WB_CONF_NEAREST_H
#define WB_CONF_NEAREST_H

#include <stddef.h>

struct nearest {
	const char *word; /* borrowed */
	const char *best; /* borrowed from the words offered */
	size_t distance;
};

#define NEAREST_OF(w) ((struct nearest){ .word = (w) })

void nearest_offer(struct nearest *n, const char *known);

#endif
