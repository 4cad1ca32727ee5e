/* SPDX-License-Identifier: Apache-2.0
 *
 * The header of a record, 40 bytes, big-endian:
 *
 *    0  4  type
 *    4  4  flags
 *    8  8  generation, its 16 hex digits as a number
 *   16  8  index
 *   24  8  offset in the WAL of that index
 *   32  8  bytes of payload that follow
 *
 * A record that has no other check ends with a seal of 8 bytes: XXH64 of the payload before it, seeded with
 * that of the header (seed 0).
 *
 * Failure modes: a header that is short; numbers past 2^63-1; a known type with a size that it cannot have. */
#include "core/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <xxhash.h>

#include "core/wal.h"

enum { COMMIT_BYTES = 16, HEARTBEAT_BYTES = 8 };

void record_write(uint8_t out[RECORD_HEADER_BYTES], const struct record *r)
{
	put_be32(out, r->type);
	put_be32(out + 4, r->flags);
	put_be64(out + 8, strtoull(r->generation.name, NULL, 16));
	put_be64(out + 16, r->at.index);
	put_be64(out + 24, r->at.offset);
	put_be64(out + 32, r->size_bytes);
}

static bool size_fits(const struct record *r)
{
	switch (r->type) {
	case RECORD_SEGMENT:
		return r->size_bytes > 0;
	case RECORD_COMMITS:
		return r->size_bytes > RECORD_SEAL_BYTES && r->size_bytes % COMMIT_BYTES == RECORD_SEAL_BYTES;
	case RECORD_HEARTBEAT:
		return r->size_bytes == HEARTBEAT_BYTES + RECORD_SEAL_BYTES;
	default:
		return true;
	}
}

bool record_is_sealed(uint32_t type)
{
	switch (type) {
	case RECORD_SNAPSHOT:
	case RECORD_SEGMENT:
	case RECORD_HASHES:
	case RECORD_PAGES:
	case RECORD_CONTENT:
	case RECORD_COMPLETE:
		return false;
	default:
		return true;
	}
}

static uint64_t seal_of(const uint8_t head[RECORD_HEADER_BYTES], const uint8_t *payload, size_t n)
{
	return XXH64(payload, n, XXH64(head, RECORD_HEADER_BYTES, 0));
}

void record_seal(uint8_t *record, size_t n)
{
	put_be64(record + n - RECORD_SEAL_BYTES,
		 seal_of(record, record + RECORD_HEADER_BYTES, n - RECORD_HEADER_BYTES - RECORD_SEAL_BYTES));
}

bool record_seal_good(const uint8_t head[RECORD_HEADER_BYTES], struct span payload)
{
	if (payload.n < RECORD_SEAL_BYTES)
		return false;
	size_t n = payload.n - RECORD_SEAL_BYTES;
	return seal_of(head, payload.p, n) == get_be64(payload.p + n);
}

int record_parse(struct span in, struct record *ret, struct err *e)
{
	if (in.n < RECORD_HEADER_BYTES)
		return err_set(e, ERR_DAMAGED, "the stream ends inside the header of a record");
	*ret = (struct record){ .type = get_be32(in.p),
				.flags = get_be32(in.p + 4),
				.generation = generation_from(get_be64(in.p + 8)),
				.at = { get_be64(in.p + 16), get_be64(in.p + 24) },
				.size_bytes = get_be64(in.p + 32) };
	if (ret->at.index > INT64_MAX || ret->at.offset > INT64_MAX || ret->size_bytes > INT64_MAX)
		return err_set(e, ERR_DAMAGED,
			       "a record of type %" PRIu32 " has an impossible position or size", ret->type);
	if (!size_fits(ret))
		return err_set(e, ERR_DAMAGED,
			       "a record of type %" PRIu32 " has a payload of %" PRIu64 " bytes", ret->type,
			       ret->size_bytes);
	return 0;
}
