# SPDX-License-Identifier: Apache-2.0
"""The application whose database is replicated in the crash-point test.

Each commit adds one row that continues a chain of hashes and notes the new end in a second table, so that a
look at any copy tells how many commits it holds, and that it holds exactly these: a state in between two
commits, a lost row or a row that went back shows.
"""

import hashlib
import os
import sqlite3
import time

PAGE_BYTES = 512


def link(n):
    """What the chain of n commits ends in."""
    h = b""
    for i in range(1, n + 1):
        h = hashlib.sha256(h + str(i).encode()).digest()
    return h.hex()


def filling(n):
    """Data of the nth row: some rows fit on a page with others, some need several pages."""
    return (link(n) * 40)[: 40 + n * 997 % 1800]


def check(path):
    """(commits, None) of the database file, which nobody writes to, or (None, what is wrong with it)."""
    db = sqlite3.connect("file:%s?mode=ro&immutable=1" % path, uri=True)
    try:
        sound = db.execute("PRAGMA integrity_check").fetchone()[0]
        if sound != "ok":
            return None, "integrity_check says: %s" % sound
        return check_rows(db)
    except sqlite3.DatabaseError as e:
        return None, "it cannot be read: %s" % e
    finally:
        db.close()


def check_rows(db):
    rows = db.execute("SELECT n, chain, filling FROM t ORDER BY n").fetchall()
    end = db.execute("SELECT n, chain FROM t_end").fetchall()
    for i, row in enumerate(rows, 1):
        if row != (i, link(i), filling(i)):
            return None, "row %d is not what was committed: %s" % (i, repr(row)[:100])
    if end != [(len(rows), link(len(rows)))]:
        return None, "%d rows, but the end was noted as %s: not a state that was committed" % (len(rows), end)
    return len(rows), None


class App:
    """An open connection that stays open, as that of a running application. An SQLITE_BUSY is an error here."""

    def __init__(self, path, journal="wal"):
        new = not os.path.exists(path)
        self.path = path
        self.db = sqlite3.connect(path, isolation_level=None, timeout=5)
        self.db.execute("PRAGMA wal_autocheckpoint=0")
        self.n = 0
        if new:
            self.db.execute("PRAGMA page_size=%d" % PAGE_BYTES)
            self.db.execute("PRAGMA journal_mode=%s" % journal)
            self.db.execute("BEGIN")
            self.db.execute("CREATE TABLE t(n INTEGER PRIMARY KEY, chain TEXT, filling TEXT)")
            self.db.execute("CREATE TABLE t_end(n INTEGER, chain TEXT)")
            self.db.execute("INSERT INTO t_end VALUES(0, '')")
            self.db.execute("COMMIT")
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.n = self.db.execute("SELECT n FROM t_end").fetchone()[0]

    def commit(self, count=1):
        for _ in range(count):
            n = self.n + 1
            self.db.execute("BEGIN IMMEDIATE")
            self.db.execute("INSERT INTO t VALUES(?, ?, ?)", (n, link(n), filling(n)))
            self.db.execute("UPDATE t_end SET n=?, chain=?", (n, link(n)))
            self.db.execute("COMMIT")
            self.n = n

    def checkpoint(self, mode):
        """SQLite refuses it at once while another one runs, also one of walbrook's short ones: it is tried
        again."""
        end = time.monotonic() + 1
        while self.db.execute("PRAGMA wal_checkpoint(%s)" % mode).fetchone()[0]:
            if time.monotonic() > end:
                raise sqlite3.OperationalError("its own %s checkpoint was refused for a second" % mode)
            time.sleep(0.01)

    def problem(self):
        """What is wrong with the database as its application sees it; None: nothing."""
        try:
            sound = self.db.execute("PRAGMA integrity_check").fetchone()[0]
            if sound != "ok":
                return "integrity_check says: %s" % sound
            n, why = check_rows(self.db)
            if why:
                return why
            return None if n == self.n else "%d of %d commits are there" % (n, self.n)
        except sqlite3.Error as e:
            return "it cannot be read: %s" % e

    def close(self):
        """The last one to close: everything is in the database file then, and the WAL is gone."""
        self.checkpoint("TRUNCATE")
        self.db.close()
