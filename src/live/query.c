/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client asks: see query.h.
 *
 * Only one of generation and index counts as no position, as with the server of 2022; what is given must be a
 * number all the same. */
#include "live/query.h"

#include <stdlib.h>
#include <string.h>

static int number(const char *text, const char *name, uint64_t *ret, struct err *e)
{
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		return err_set(e, ERR_USAGE, "Invalid %s query parameter", name);
	if (!index_parse(text, ret) || *ret > INT64_MAX)
		return err_set(e, ERR_USAGE, "Invalid %s query parameter", name);
	return 0;
}

int live_query_parse(live_param *param, void *arg, struct live_query *ret, struct err *e)
{
	const char *generation = param(arg, "generation"), *index = param(arg, "index");
	const char *offset = param(arg, "offset"), *txn = param(arg, "txn"), *sum = param(arg, "sum");
	*ret = (struct live_query){ .path = param(arg, "path") };
	if (!ret->path || !*ret->path)
		return err_set(e, ERR_USAGE, "Database name required");
	if (index && *index && number(index, "index", &ret->at.index, e) < 0)
		return -1;
	if (offset && *offset && number(offset, "offset", &ret->at.offset, e) < 0)
		return -1;
	if (sum && *sum) { /* as long as the name of a generation, and written alike */
		if (!generation_valid(sum))
			return err_set(e, ERR_USAGE, "Invalid sum query parameter");
		ret->sum = strtoull(sum, NULL, 16);
		ret->has_sum = true;
	}
	if (generation && *generation && !generation_valid(generation))
		return err_set(e, ERR_USAGE, "Invalid generation query parameter");
	if (txn && strcmp(txn, "0") != 0 && strcmp(txn, "1") != 0)
		return err_set(e, ERR_USAGE, "Invalid txn query parameter");
	ret->extended = txn && *txn == '1';
	ret->has_position = generation && *generation && index && *index;
	ret->has_offset = ret->has_position && offset && *offset;
	if (ret->has_position)
		memcpy(ret->generation.name, generation, sizeof ret->generation.name);
	else
		ret->at = (struct position){ 0, 0 };
	if (!ret->has_offset)
		ret->at.offset = 0;
	return 0;
}
