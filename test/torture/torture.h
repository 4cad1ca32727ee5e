/* SPDX-License-Identifier: Apache-2.0
 *
 * The torture program, what its parts share. One binary plays all roles: the driver (main.c, round.c) starts,
 * kills and restarts walbrook and the writers (writer.c), and checkers (check.c) that restore and verify
 * (chain.c).
 *
 * All of them map one file, `struct shared`: what the round looks like, which transactions were seen by whom,
 * and the first failure. It outlives every kill -9, because the kernel keeps a shared mapping's pages. */
#ifndef WB_TORTURE_H
#define WB_TORTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	WRITERS_MAX = 4,
	CONNS_MAX = 3,
	REPLICAS_MAX = 2,
	SEQ_MAX = 1 << 20, /* transactions a round can have; writers stop there */
	PATH_MAX_BYTES = 1024,
	FAILURE_BYTES = 2048,
};

/* What a connection does beside writing, each with its own mean pause (round_config.every_ms). */
enum chore {
	CHORE_CHECKPOINT,
	CHORE_VACUUM,
	CHORE_INCREMENTAL_VACUUM,
	CHORE_READ,
	CHORE_PAUSE,
	CHORE_DIE_IN_FSYNC,
	CHORE_N
};

enum round_style {
	STYLE_UNPAUSED,	   /* no application checkpoint to speak of, small forced limit: forced holds */
	STYLE_MIXED,	   /* a bit of everything, long readers */
	STYLE_CHECKPOINTS, /* own PASSIVE, FULL, RESTART and TRUNCATE all the time: hand-over-hand walks */
	STYLE_N
};
extern const char *const style_names[STYLE_N];

/* One round, derived from (seed, number of the round) alone. */
struct round_config {
	uint64_t seed;
	uint32_t round;
	uint32_t style;
	uint32_t page_bytes;
	uint32_t auto_vacuum; /* 0 none, 1 full, 2 incremental */
	uint32_t writers, conns;
	uint32_t autocheckpoint_pages; /* 0: off */
	uint32_t max_checkpoint_pages; /* walbrook's forced limit; 0: its default */
	uint32_t replicas;
	uint32_t sync_interval_ms[REPLICAS_MAX];
	bool snapshots;	   /* interval and retention of seconds */
	bool daemon_first; /* walbrook is there before the database */
	uint32_t round_ms;
	uint32_t every_ms[CHORE_N]; /* mean pause between two of a kind, over all connections; 0: never */
	uint32_t read_max_ms;
	uint32_t pace_us; /* mean sleep after a transaction; 0: none */
	uint32_t rollback_percent, die_in_checkpoint_percent;
	char db_path[PATH_MAX_BYTES];
	char replica_path[REPLICAS_MAX][PATH_MAX_BYTES];
};

/* What is known of transaction n: the first eight bytes of its hash (0: nobody has seen it committed) and when
 * its COMMIT was last tried. The first who sees it committed, in the source or in a restored file, sets the
 * hash; whoever sees another one later has found a transaction that was restored, or read, without having been
 * committed. */
struct witness {
	_Atomic uint64_t hash;
	_Atomic int64_t commit_begin_us;
};

struct shared {
	struct round_config config;
	_Atomic uint32_t stop, pause, want_restart;
	_Atomic uint32_t parked[WRITERS_MAX][CONNS_MAX];
	_Atomic uint64_t acked; /* the application was told that this one is committed */
	_Atomic uint64_t checked_seq;
	_Atomic uint64_t commits, rollbacks, vacuums, reads, checkpoints, checkpoints_busy, busy;
	_Atomic uint64_t died_in_commit, died_in_checkpoint;
	_Atomic uint32_t failed;
	char failure[FAILURE_BYTES];
	struct witness seq[SEQ_MAX];
};

/* shared.c */
struct shared *shared_create(const char *path);
struct shared *shared_map(const char *path);
void shared_unmap(struct shared *sh);
/* Keeps the first failure and prints every one. */
void note_failure(struct shared *sh, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t rng_next(uint64_t *state);
uint32_t rng_below(uint64_t *state, uint32_t n);
uint32_t rng_around(uint64_t *state, uint32_t mean); /* 0 to 2 × mean, most often near it */
bool rng_percent(uint64_t *state, uint32_t percent);

/* plan.c */
void plan_round(struct round_config *c, uint64_t seed, uint32_t round, uint32_t round_ms, const char *dir);
void plan_print(const struct round_config *c);
int plan_write_yaml(const struct round_config *c, const char *path);

/* chain.c: the data and its proof. See there for tables and hash. */
enum {
	HASH_BYTES = 16,
	CELLS = 512,
	CELL_MAX_BYTES = 160 * 1024,
	OPS_MAX = 256,
	PAYLOAD_MAX_BYTES = 64,
};
enum tx_kind { TX_SMALL, TX_MULTI, TX_BLOB, TX_BIG, TX_KINDS };
struct cell_op {
	uint32_t id;
	uint32_t bytes; /* 0: the cell is deleted */
};
struct chain_row {
	uint64_t seq;
	uint32_t writer;
	uint32_t kind;
	uint64_t nonce;
	uint8_t prev[HASH_BYTES];
	uint32_t payload_bytes;
	uint8_t payload[PAYLOAD_MAX_BYTES];
};
extern const char chain_schema[];
void chain_hash(const struct chain_row *row, uint8_t hash[HASH_BYTES]);
uint32_t chain_ops(const struct chain_row *row, uint32_t page_bytes, struct cell_op ops[OPS_MAX]);
void chain_fill(uint64_t nonce, const struct cell_op *op, uint8_t *to);
uint64_t chain_mark(const uint8_t hash[HASH_BYTES]);
/* False: somebody saw another transaction under this number. */
bool chain_witness(struct shared *sh, uint64_t seq, const uint8_t hash[HASH_BYTES]);
/* Verifies a database file that nobody uses: integrity, chain, derived tables, witnesses. 0 and the last
 * number, or -1 with the reason noted in sh under the name `what`. */
int chain_verify(struct shared *sh, const char *path, const char *what, uint64_t *ret_last);

/* writer.c */
int writer_init(struct shared *sh); /* makes the database */
int writer_main(struct shared *sh, uint32_t id, uint64_t seed);
int writer_finish(struct shared *sh); /* one last commit */

/* check.c */
struct check_wish {
	const char *walbrook;
	const char *out;
	uint32_t replica;
	uint64_t floor;	      /* nothing before this number may be missing */
	int64_t not_after_us; /* restore this moment; 0: latest */
};
enum { CHECK_GOOD = 0, CHECK_FAILED = 1, CHECK_NOTHING = 4 };
int check_restore(struct shared *sh, const struct check_wish *w);
int check_final(struct shared *sh, const struct check_wish *w, const char *copy_path);

/* proc.c */
pid_t proc_start(char *const argv[], const char *log_path);
/* Waits up to timeout_ms, then kills. Exit status, 128 + signal, or -1 for a timeout. */
int proc_wait(pid_t pid, int64_t timeout_ms);
/* As proc_wait without waiting: false while it runs. */
bool proc_ended(pid_t pid, int *ret_status);
void proc_kill(pid_t pid, int sig);
void proc_kill_all(void); /* safe in a signal handler */
void print_tail(const char *path, const char *title);

/* log.c: what walbrook says of itself. */
enum { REASONS_MAX = 12, REASON_BYTES = 48 };
struct log_counts {
	uint64_t wal_restarts, generations, forced_holds, walks, errors;
	struct {
		char text[REASON_BYTES];
		uint64_t n;
	} reasons[REASONS_MAX];
};
void log_count(const char *path, struct log_counts *to);

/* round.c */
struct tally {
	uint32_t rounds;
	uint64_t restores, restores_by_time, nothing_yet, final_compares, syncs;
	uint64_t killed_walbrook, stopped_walbrook, killed_writers, stopped_writers, storms, outages;
	uint64_t commits, rollbacks, vacuums, reads, checkpoints, checkpoints_busy, busy;
	uint64_t died_in_commit, died_in_checkpoint;
	uint64_t gaps;
	struct log_counts log;
};
struct driver {
	const char *walbrook;
	const char *self;
	const char *dir;
	uint64_t seed;
	int64_t end_ms;
	struct tally tally;
	uint64_t failures;
};
int round_run(struct driver *d, uint32_t number, uint32_t round_ms);

#endif
