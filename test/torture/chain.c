/* SPDX-License-Identifier: Apache-2.0
 *
 * The data of the torture test and the proof over it.
 *
 *   chain(seq, writer, kind, nonce, prev, payload, hash)   one row a transaction, seq counts from 1 without a
 * hole cell(id, seq, data), index on seq                       changed by each transaction, content follows
 * from the chain tally(writer, last_seq, txns)                           one row a writer, changed by each of
 * its transactions
 *
 *   hash = XXH3-128(seq, writer, kind, nonce as 8 bytes little endian each, prev, payload); prev of row 1 is
 * zero.
 *
 * A transaction is made of its row alone: kind and nonce say which cells it writes or deletes, and the bytes.
 * So the verifier, walking the chain, knows what cell and tally must hold after its last row: if the file has
 * all of it and nothing else, the file is the state after exactly that transaction, and none of its neighbours
 * is half there.
 *
 * Whether the chain is the one that was committed is what the witnesses tell (torture.h): a restored chain that
 * ends in a transaction whose writer died before it was published meets another hash under the same number
 * sooner or later. */
#include "torture.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { TALLY_MAX = 64 };

const char chain_schema[] =
	"CREATE TABLE chain(seq INTEGER PRIMARY KEY, writer INTEGER, kind INTEGER, nonce INTEGER,"
	" prev BLOB, payload BLOB, hash BLOB);"
	"CREATE TABLE cell(id INTEGER PRIMARY KEY, seq INTEGER, data BLOB);"
	"CREATE INDEX cell_seq ON cell(seq);"
	"CREATE TABLE tally(writer INTEGER PRIMARY KEY, last_seq INTEGER, txns INTEGER);";

static void put_le64(uint8_t *to, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		to[i] = (uint8_t)(v >> 8 * i);
}

void chain_hash(const struct chain_row *row, uint8_t hash[HASH_BYTES])
{
	uint8_t b[32 + HASH_BYTES + PAYLOAD_MAX_BYTES];
	put_le64(b, row->seq);
	put_le64(b + 8, row->writer);
	put_le64(b + 16, row->kind);
	put_le64(b + 24, row->nonce);
	memcpy(b + 32, row->prev, HASH_BYTES);
	memcpy(b + 32 + HASH_BYTES, row->payload, row->payload_bytes);
	XXH128_canonical_t canon;
	XXH128_canonicalFromHash(&canon, XXH3_128bits(b, 32 + HASH_BYTES + row->payload_bytes));
	memcpy(hash, canon.digest, HASH_BYTES);
}

uint64_t chain_mark(const uint8_t hash[HASH_BYTES])
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | hash[i];
	return v | 1;
}

uint32_t chain_ops(const struct chain_row *row, uint32_t page_bytes, struct cell_op ops[OPS_MAX])
{
	uint64_t rng = row->nonce;
	uint32_t n = 0, max_bytes = 0;
	switch ((enum tx_kind)row->kind) {
	case TX_SMALL:
		n = rng_below(&rng, 3);
		max_bytes = 200;
		break;
	case TX_MULTI:
		n = 20 + rng_below(&rng, 40);
		max_bytes = 300;
		break;
	case TX_BLOB:
		n = 1 + rng_below(&rng, 2);
		max_bytes = page_bytes * 5 < CELL_MAX_BYTES ? page_bytes * 5 : CELL_MAX_BYTES;
		break;
	case TX_BIG:
		n = OPS_MAX - rng_below(&rng, 60);
		max_bytes = 1500;
		break;
	case TX_KINDS:
		break;
	}
	for (uint32_t i = 0; i < n; i++) {
		ops[i].id = 1 + rng_below(&rng, CELLS);
		ops[i].bytes = rng_percent(&rng, 15) ? 0 : 1 + rng_below(&rng, max_bytes);
	}
	return n;
}

/* Half of it repeats, so that it compresses as rows do. */
void chain_fill(uint64_t nonce, const struct cell_op *op, uint8_t *to)
{
	uint64_t rng = nonce ^ (uint64_t)op->id << 32 ^ op->bytes;
	for (uint32_t at = 0; at < op->bytes;) {
		uint64_t word = rng_next(&rng);
		for (uint32_t twice = 0; twice < 2; twice++)
			for (uint32_t i = 0; i < 8 && at < op->bytes; i++)
				to[at++] = (uint8_t)(word >> 8 * i);
	}
}

bool chain_witness(struct shared *sh, uint64_t seq, const uint8_t hash[HASH_BYTES])
{
	uint64_t none = 0, mine = chain_mark(hash);
	if (seq == 0 || seq >= SEQ_MAX)
		return false;
	return atomic_compare_exchange_strong(&sh->seq[seq].hash, &none, mine) || none == mine;
}

/* What the tables must hold after the rows that were walked. */
struct expect {
	struct {
		uint64_t seq, nonce;
		struct cell_op op;
	} cell[CELLS + 1];
	struct {
		uint64_t last, txns;
	} tally[TALLY_MAX];
	uint64_t last;
	uint8_t hash[HASH_BYTES];
};

static int prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret, struct shared *sh, const char *what)
{
	if (sqlite3_prepare_v2(db, sql, -1, ret, NULL) == SQLITE_OK)
		return 0;
	note_failure(sh, "%s: cannot prepare \"%s\": %s", what, sql, sqlite3_errmsg(db));
	return -1;
}

static int verify_integrity(struct shared *sh, sqlite3 *db, const char *what)
{
	sqlite3_stmt *st;
	if (prepare(db, "PRAGMA integrity_check(3)", &st, sh, what) < 0)
		return -1;
	int rc = sqlite3_step(st);
	const char *said = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : sqlite3_errmsg(db);
	bool good = rc == SQLITE_ROW && said && strcmp(said, "ok") == 0;
	if (!good)
		note_failure(sh, "%s: integrity_check: %s", what, said ? said : "(nothing)");
	sqlite3_finalize(st);
	return good ? 0 : -1;
}

static bool take_blob(sqlite3_stmt *st, int column, uint8_t *to, int max, uint32_t *ret_n)
{
	const void *p = sqlite3_column_blob(st, column);
	int n = sqlite3_column_bytes(st, column);
	if (n < 0 || n > max || (n > 0 && !p))
		return false;
	if (n > 0)
		memcpy(to, p, (size_t)n);
	*ret_n = (uint32_t)n;
	return true;
}

/* One row against the chain so far, the witnesses, and into what is expected of the other tables. */
static const char *walk_row(struct shared *sh, sqlite3_stmt *st, struct expect *x)
{
	struct chain_row row = { .seq = (uint64_t)sqlite3_column_int64(st, 0) };
	uint8_t stored[HASH_BYTES], hash[HASH_BYTES];
	uint32_t n;
	row.writer = (uint32_t)sqlite3_column_int(st, 1);
	row.kind = (uint32_t)sqlite3_column_int(st, 2);
	row.nonce = (uint64_t)sqlite3_column_int64(st, 3);
	if (row.seq != x->last + 1)
		return "a hole in the chain";
	if (row.seq >= SEQ_MAX || row.writer >= TALLY_MAX || row.kind >= TX_KINDS)
		return "a row that no writer writes";
	if (!take_blob(st, 4, row.prev, HASH_BYTES, &n) || n != HASH_BYTES || memcmp(row.prev, x->hash, n) != 0)
		return "prev is not the hash of the row before";
	if (!take_blob(st, 5, row.payload, PAYLOAD_MAX_BYTES, &row.payload_bytes))
		return "payload too long";
	chain_hash(&row, hash);
	if (!take_blob(st, 6, stored, HASH_BYTES, &n) || n != HASH_BYTES || memcmp(stored, hash, n) != 0)
		return "hash is not that of the row";
	if (atomic_load(&sh->seq[row.seq].commit_begin_us) == 0)
		return "a transaction that nobody tried to commit";
	if (!chain_witness(sh, row.seq, hash))
		return "another transaction was committed under this number";
	struct cell_op ops[OPS_MAX];
	uint32_t ops_n = chain_ops(&row, sh->config.page_bytes, ops);
	for (uint32_t i = 0; i < ops_n; i++) {
		x->cell[ops[i].id].seq = row.seq;
		x->cell[ops[i].id].nonce = row.nonce;
		x->cell[ops[i].id].op = ops[i];
	}
	x->tally[row.writer].last = row.seq;
	x->tally[row.writer].txns++;
	memcpy(x->hash, hash, HASH_BYTES);
	x->last = row.seq;
	return NULL;
}

static int verify_chain(struct shared *sh, sqlite3 *db, const char *what, struct expect *x)
{
	sqlite3_stmt *st;
	const char *sql = "SELECT seq, writer, kind, nonce, prev, payload, hash FROM chain ORDER BY seq";
	if (prepare(db, sql, &st, sh, what) < 0)
		return -1;
	int rc;
	const char *wrong = NULL;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && !(wrong = walk_row(sh, st, x)))
		;
	if (wrong)
		note_failure(sh, "%s: chain row %lld: %s", what, (long long)sqlite3_column_int64(st, 0), wrong);
	else if (rc != SQLITE_DONE)
		note_failure(sh, "%s: reading the chain: %s", what, sqlite3_errmsg(db));
	sqlite3_finalize(st);
	return wrong || rc != SQLITE_DONE ? -1 : 0;
}

static int verify_cells(struct shared *sh, sqlite3 *db, const char *what, const struct expect *x)
{
	sqlite3_stmt *st;
	uint8_t *want = malloc(CELL_MAX_BYTES);
	if (!want || prepare(db, "SELECT id, seq, data FROM cell ORDER BY id", &st, sh, what) < 0) {
		free(want);
		return -1;
	}
	uint64_t there = 0, expected = 0;
	const char *wrong = NULL;
	int64_t id = 0;
	while (!wrong && sqlite3_step(st) == SQLITE_ROW) {
		id = sqlite3_column_int64(st, 0);
		there++;
		if (id < 1 || id > CELLS || x->cell[id].op.bytes == 0) {
			wrong = "is there and should not be";
			break;
		}
		const struct cell_op *op = &x->cell[id].op;
		chain_fill(x->cell[id].nonce, op, want);
		const void *data = sqlite3_column_blob(st, 2);
		if ((uint64_t)sqlite3_column_int64(st, 1) != x->cell[id].seq)
			wrong = "was written by another transaction";
		else if (sqlite3_column_bytes(st, 2) != (int)op->bytes || memcmp(data, want, op->bytes) != 0)
			wrong = "has other bytes";
	}
	sqlite3_finalize(st);
	free(want);
	for (int i = 1; i <= CELLS; i++)
		expected += x->cell[i].op.bytes != 0;
	if (wrong)
		note_failure(sh, "%s: after transaction %llu cell %lld %s", what, (unsigned long long)x->last,
			     (long long)id, wrong);
	else if (there != expected)
		note_failure(sh, "%s: after transaction %llu there are %llu cells, not %llu", what,
			     (unsigned long long)x->last, (unsigned long long)there,
			     (unsigned long long)expected);
	return wrong || there != expected ? -1 : 0;
}

static int verify_tally(struct shared *sh, sqlite3 *db, const char *what, const struct expect *x)
{
	sqlite3_stmt *st;
	if (prepare(db, "SELECT writer, last_seq, txns FROM tally", &st, sh, what) < 0)
		return -1;
	uint64_t there = 0, expected = 0;
	int64_t bad = -1;
	while (bad < 0 && sqlite3_step(st) == SQLITE_ROW) {
		int64_t w = sqlite3_column_int64(st, 0);
		there++;
		if (w < 0 || w >= TALLY_MAX || (uint64_t)sqlite3_column_int64(st, 1) != x->tally[w].last ||
		    (uint64_t)sqlite3_column_int64(st, 2) != x->tally[w].txns)
			bad = w;
	}
	sqlite3_finalize(st);
	for (int i = 0; i < TALLY_MAX; i++)
		expected += x->tally[i].txns != 0;
	if (bad < 0 && there == expected)
		return 0;
	note_failure(sh,
		     "%s: after transaction %llu the tally of writer %lld is wrong (%llu rows, expected %llu)",
		     what, (unsigned long long)x->last, (long long)bad, (unsigned long long)there,
		     (unsigned long long)expected);
	return -1;
}

static sqlite3 *open_alone(struct shared *sh, const char *path, const char *what)
{
	/* immutable: no -wal or -shm appears beside it, no lock is taken. */
	sqlite3 *db = NULL;
	char *uri = sqlite3_mprintf("file:%s?immutable=1", path);
	if (!uri || sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) != SQLITE_OK) {
		note_failure(sh, "%s: cannot open %s: %s", what, path, db ? sqlite3_errmsg(db) : "no memory");
		sqlite3_close(db);
		db = NULL;
	}
	sqlite3_free(uri);
	return db;
}

/* A restore from before the tables were made is a prefix too: of nothing. */
static bool is_before_schema(sqlite3 *db)
{
	sqlite3_stmt *st = NULL;
	int64_t n = -1;
	if (sqlite3_prepare_v2(db, "SELECT count(*) FROM sqlite_master", -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return n == 0;
}

int chain_verify(struct shared *sh, const char *path, const char *what, uint64_t *ret_last)
{
	sqlite3 *db = open_alone(sh, path, what);
	struct expect *x = calloc(1, sizeof *x);
	int rc = -1;
	if (!db || !x)
		goto end;
	if (verify_integrity(sh, db, what) < 0)
		goto end;
	if (is_before_schema(db)) {
		*ret_last = 0;
		rc = 0;
		goto end;
	}
	if (verify_chain(sh, db, what, x) < 0 || verify_cells(sh, db, what, x) < 0 ||
	    verify_tally(sh, db, what, x) < 0)
		goto end;
	*ret_last = x->last;
	rc = 0;
end:
	free(x);
	sqlite3_close(db);
	return rc;
}
