/* SPDX-License-Identifier: Apache-2.0
 *
 * Index documents from nowhere, as they are and again with the magic and the checksum put right (else hardly
 * any would be looked into). What parses must be writable, and parse again to the same values. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/index.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_doc(struct span in)
{
	struct wal_index_doc d, back;
	struct err e = ERR_INIT;
	if (index_doc_parse(in, &d, &e) < 0) {
		assert(e.kind == ERR_DAMAGED && e.text[0]);
		return;
	}
	struct dyn out = DYN_INIT(INDEX_DOC_MAX_BYTES);
	assert(index_doc_write(&d, &out) == 0);
	assert(out.len <= in.n);
	assert(index_doc_parse((struct span){ out.p, out.len }, &back, &e) == 0);
	assert(d.index == back.index && d.end_offset == back.end_offset && d.page_bytes == back.page_bytes);
	assert(d.ended == back.ended && d.snapshot_fuzzy == back.snapshot_fuzzy);
	assert(position_compare(d.usable_from, back.usable_from) == 0);
	assert(generation_equal(&d.generation, &back.generation) && memcmp(d.salt, back.salt, 8) == 0);
	assert(d.commits_n == back.commits_n);
	for (size_t i = 0; i < d.commits_n; i++) {
		assert(d.commits[i].offset == back.commits[i].offset &&
		       d.commits[i].wall_us == back.commits[i].wall_us);
		assert(i == 0 || (d.commits[i].offset > d.commits[i - 1].offset &&
				  d.commits[i].wall_us >= d.commits[i - 1].wall_us));
	}
	index_doc_free(&back);
	index_doc_free(&d);
	dyn_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_doc((struct span){ data, size });
	if (size < FIXED_BYTES + SUM_BYTES)
		return 0;
	uint8_t *p = malloc(size);
	memcpy(p, data, size);
	memcpy(p, magic, sizeof magic);
	p[4] = VERSION;
	put_be64(p + size - SUM_BYTES, XXH64(p, size - SUM_BYTES, 0));
	try_doc((struct span){ p, size });
	free(p);
	return 0;
}
