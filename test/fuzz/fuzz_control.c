/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests from nowhere: what parses is written and parses again to the same; what looks like the end of an
 * answer is one. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/request.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_again(const struct request *r)
{
	struct dyn line = DYN_INIT(16 * REQUEST_MAX_BYTES);
	struct request again;
	struct err e = ERR_INIT;
	if (request_write(r, &line) < 0)
		goto out; /* encoded it is too long */
	assert(line.len > 0 && line.p[line.len - 1] == '\n' && !memchr(line.p, '\n', line.len - 1));
	assert(request_parse((struct span){ line.p, line.len - 1 }, &again, &e) == 0);
	assert(again.verb == r->verb && again.json == r->json && again.dbs_n == r->dbs_n);
	assert(r->verb != REQUEST_SYNC || again.timeout_us == r->timeout_us);
	assert(!again.replica == !r->replica && (!r->replica || strcmp(again.replica, r->replica) == 0));
	assert(!again.position == !r->position && (!r->position || strcmp(again.position, r->position) == 0));
	for (size_t i = 0; i < r->dbs_n; i++)
		assert(strcmp(again.dbs[i], r->dbs[i]) == 0);
	request_free(&again);
out:
	dyn_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct request r;
	struct err e = ERR_INIT;
	if (size > REQUEST_MAX_BYTES)
		return 0;
	uint8_t *line = malloc(size ? size : 1); /* so that one byte too far is seen */
	if (size)
		memcpy(line, data, size);
	if (request_parse((struct span){ line, size }, &r, &e) == 0)
		same_again(&r);
	else
		assert(e.kind != ERR_NONE && e.text[0]);
	request_free(&r);
	int code;
	struct span sentence;
	if (answer_end_parse((struct span){ line, size }, &code, &sentence))
		assert(code >= 0 && code <= 999 && sentence.n <= size);
	free(line);
	return 0;
}
