#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The data of the torture of live replication, its writer, and a reader through Python's sqlite3.

    load.py make DB PAGE_SIZE AUTO_VACUUM
    load.py write DB WITNESS SEED PAUSE_MS      until standard input ends
    load.py read DB LOG SEED                    the same

In the database:

    state(seq, chain, digest, cells, extras)    one row: which state this is
    link(seq, chain, digest)                    that of the last 200 states
    cell(id, seq, data), index on seq           what changes
    extra...                                    tables that come and go: their number is in the state

    digest  sum over the cells of crc32(id, seq as 8 bytes little-endian, data)
    chain   from the chain before, seq and digest

So a look at the tables tells whether they are one state as a whole. Before a commit the writer notes seq and chain in
WITNESS: a state that is read and was never noted, or another chain under the same number, was never committed.
Writers die by kill -9 as well: what was noted and not committed is written anew under the same number by the next one,
with another chain; that both are ever seen is what the driver looks for."""

import os
import random
import select
import sqlite3
import struct
import sys
import time
import zlib

LINKS = 200
CELLS = 500

SCHEMA = """
CREATE TABLE state(id INTEGER PRIMARY KEY, seq INTEGER, chain INTEGER, digest INTEGER, cells INTEGER, extras INTEGER);
CREATE TABLE link(seq INTEGER PRIMARY KEY, chain INTEGER, digest INTEGER);
CREATE TABLE cell(id INTEGER PRIMARY KEY, seq INTEGER, data BLOB);
CREATE INDEX cell_seq ON cell(seq);
INSERT INTO state VALUES(1, 0, 0, 0, 0, 0);
INSERT INTO link VALUES(0, 0, 0);
"""


def crc(cell_id, seq, data):
    return zlib.crc32(data, zlib.crc32(struct.pack("<qq", cell_id, seq)))


def chained(chain, seq, digest):
    b = struct.pack("<qqq", chain, seq, digest)
    return zlib.crc32(b) << 31 | zlib.crc32(b"chain" + b) >> 1


def make(path, page_size, auto_vacuum):
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA page_size={page_size}")
    db.execute(f"PRAGMA auto_vacuum={auto_vacuum}")
    db.execute("PRAGMA journal_mode=WAL")
    db.executescript("BEGIN;" + SCHEMA + "COMMIT;")
    db.close()


def ended():
    return bool(select.select([sys.stdin], [], [], 0)[0])


# ---- writing ----


class Writer:
    def __init__(self, path, witness, seed, pause_ms):
        self.db = sqlite3.connect(path, timeout=30, isolation_level=None)
        self.db.execute("PRAGMA synchronous=OFF")
        self.db.execute("PRAGMA cache_size=40")  # so that large transactions reach the WAL before their commit
        self.page_size = self.db.execute("PRAGMA page_size").fetchone()[0]
        self.witness = os.open(witness, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.random = random.Random(seed)
        self.pause_ms = pause_ms
        self.count = {}

    def put(self, cell_id, seq, size):
        data = self.random.randbytes(size // 2)
        data += data
        old = self.db.execute("SELECT seq, data FROM cell WHERE id = ?", (cell_id,)).fetchone()
        if old:
            self.digest -= crc(cell_id, *old)
            self.cells -= 1
        if size == 0:
            self.db.execute("DELETE FROM cell WHERE id = ?", (cell_id,))
            return
        self.db.execute("INSERT OR REPLACE INTO cell VALUES(?, ?, ?)", (cell_id, seq, data))
        self.digest += crc(cell_id, seq, data)
        self.cells += 1

    def schema(self, seq):
        tables = [t for (t,) in self.db.execute("SELECT name FROM sqlite_master WHERE type='table' AND name LIKE 'extra%'")]
        if tables and self.random.random() < 0.5:
            name = self.random.choice(tables)
            if self.random.random() < 0.4:
                self.db.execute(f"DROP TABLE {name}")
                self.extras -= 1
            elif self.random.random() < 0.5:
                self.db.execute(f"ALTER TABLE {name} ADD COLUMN c{seq}")
            else:
                self.db.execute(f"CREATE INDEX {name}_{seq} ON {name}(a)")
        elif len(tables) < 6:
            self.db.execute(f"CREATE TABLE extra{seq}(a, b)")
            self.db.execute(f"INSERT INTO extra{seq} VALUES(1, zeroblob(3000))")
            self.extras += 1

    def content(self, kind, seq):
        r = self.random
        if kind == "small":
            for _ in range(r.randrange(1, 4)):
                self.put(r.randrange(CELLS), seq, r.randrange(2, 200))
        elif kind == "several":
            for _ in range(r.randrange(20, 60)):
                self.put(r.randrange(CELLS), seq, r.choice((0, r.randrange(2, 300))))
        elif kind == "blob":
            self.put(r.randrange(20), seq, r.randrange(2, min(5 * self.page_size, 100000)))
        elif kind == "big":
            for _ in range(r.randrange(200, 400)):
                self.put(r.randrange(CELLS), seq, r.randrange(2, 1500))
        elif kind == "fewer":
            start = r.randrange(CELLS)
            for i in range(start, min(start + CELLS // 3, CELLS)):
                self.put(i, seq, 0)
        elif kind == "schema":
            self.schema(seq)

    def transaction(self, kind):
        self.db.execute("BEGIN IMMEDIATE")
        seq, chain, self.digest, self.cells, self.extras = self.db.execute(
            "SELECT seq, chain, digest, cells, extras FROM state"
        ).fetchone()
        seq += 1
        self.content("big" if kind == "undone" else kind, seq)
        if kind == "undone":
            self.db.execute("ROLLBACK")
            return
        chain = chained(chain, seq, self.digest)
        self.db.execute("INSERT INTO link VALUES(?, ?, ?)", (seq, chain, self.digest))
        self.db.execute("DELETE FROM link WHERE seq <= ?", (seq - LINKS,))
        self.db.execute(
            "UPDATE state SET seq=?, chain=?, digest=?, cells=?, extras=?", (seq, chain, self.digest, self.cells, self.extras)
        )
        os.write(self.witness, b"%d %d\n" % (seq, chain))
        self.db.execute("COMMIT")

    def step(self):
        kinds = ("small", "several", "blob", "big", "fewer", "schema", "undone", "vacuum", "checkpoint")
        kind = self.random.choices(kinds, (60, 12, 8, 3, 2, 4, 2, 0.5, 3))[0]
        try:
            if kind == "vacuum":
                self.db.execute("VACUUM")
            elif kind == "checkpoint":
                mode = self.random.choice(("TRUNCATE", "TRUNCATE", "RESTART", "PASSIVE"))
                self.db.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
            else:
                self.transaction(kind)
            self.count[kind] = self.count.get(kind, 0) + 1
        except sqlite3.OperationalError as e:
            if "locked" not in str(e):
                raise
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")

    def run(self):
        while not ended():
            self.step()
            # Bursts, steady work and rest, so that waves of all lengths meet the stream.
            mood = int(time.monotonic()) % 4
            if mood and self.pause_ms:
                time.sleep(self.random.random() * self.pause_ms * mood / 1000)
        print("ok", *(f"{k}={v}" for k, v in sorted(self.count.items())), flush=True)


# ---- reading ----


def look(db, last):
    """One transaction; returns the state. Raises AssertionError where it is none."""
    db.execute("BEGIN")
    try:
        state = db.execute("SELECT seq, chain, digest, cells, extras FROM state").fetchone()
        seq, chain, digest, cells, extras = state
        link = db.execute("SELECT seq, chain, digest FROM link ORDER BY seq DESC LIMIT 1").fetchone()
        assert link == state[:3], f"torn: state {state}, newest link {link}"
        rows = db.execute("SELECT id, seq, data FROM cell").fetchall()
        assert len(rows) == cells, f"torn: {len(rows)} cells, not {cells}, at {seq}"
        assert sum(crc(*row) for row in rows) == digest, f"torn: other cells than those of {seq}"
        n = db.execute("SELECT count(*) FROM sqlite_master WHERE type='table' AND name LIKE 'extra%'").fetchone()[0]
        assert n == extras, f"torn: {n} tables, not {extras}, at {seq}"
        assert db.execute("SELECT seq FROM state").fetchone()[0] == seq, "the snapshot moved inside a transaction"
        assert seq >= last, f"older than before: {seq} after {last}"
        return seq, chain
    finally:
        if db.in_transaction:
            db.execute("COMMIT")


def read(path, log, seed):
    r = random.Random(seed)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    db, last, reads, opens = None, -1, 0, 0
    try:
        while not ended():
            if db is None or r.random() < 0.02:
                if db:
                    db.close()
                mode = r.choice(("ro", "rw"))
                db = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=30, isolation_level=None)
                db.execute(f"PRAGMA mmap_size={r.choice((0, 1 << 28))}")
                opens += 1
            seq, chain = look(db, last)
            if seq > last:
                os.write(out, b"%d %d\n" % (seq, chain))
            last = seq
            reads += 1
    except (AssertionError, sqlite3.Error) as e:
        name = getattr(e, "sqlite_errorname", "")
        print(f"err {e} {name}, with Python's SQLite {sqlite3.sqlite_version}, after {reads} transactions at {last}")
        sys.exit(1)
    print(f"ok {reads} {reads} 0 {opens} {sqlite3.sqlite_version}")


def main():
    what = sys.argv[1]
    if what == "make":
        make(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    elif what == "write":
        Writer(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])).run()
    elif what == "read":
        read(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
