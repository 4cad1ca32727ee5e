#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Leaves what Litestream 0.3.13 leaves when it ends: its metadata directory, its two tables, its replica.

  leave03.py DATABASE REPLICA CASE      prints the name of the generation

CASE: clean       everything that was copied is in the replica
      lag         the last three commits are in the copy of the WAL only
      lag-index   so are the end of the WAL index before and all of the last one
      restarted   as lag, and then the WAL began anew while nobody watched
      unsynced    as clean, and then more commits that nobody copied
      again       as clean, in a database and a generation that are there: the original ran in between

The steps are those of the original as they are described: the copy of each WAL incarnation is its header and its
frames through the last commit; one object a commit; a snapshot of the database file before the first checkpoint.
Ends without closing the database, as a killed application does, so that the WAL stays."""

import os
import sqlite3
import struct
import subprocess
import sys

db, replica, case = sys.argv[1:4]
meta = os.path.join(os.path.dirname(db), "." + os.path.basename(db) + "-litestream")
if case == "again":
    generation = open(meta + "/generation").read().strip()
else:
    generation = os.urandom(8).hex()
shadow_dir = f"{meta}/generations/{generation}/wal"
root = f"{replica}/generations/{generation}"
for d in (shadow_dir, root + "/wal", root + "/snapshots"):
    os.makedirs(d, exist_ok=case == "again")


def lz4(data):
    return subprocess.run(["lz4", "-c", "-B7"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=True).stdout


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)


def committed():
    """The live part of the WAL: header and committed frames."""
    with open(db + "-shm", "rb") as f:
        frames = struct.unpack("<I", f.read(48)[16:20])[0]
    with open(db + "-wal", "rb") as f:
        return f.read(32 + frames * (24 + 4096))


class Tool:
    def __init__(self):
        self.index, self.copied, self.shipped = 0, 0, 0

    def copy(self, ship=True):
        data = committed()
        put(f"{shadow_dir}/{self.index:08x}.wal", data)
        self.copied = len(data)
        if ship and self.copied > self.shipped:
            put(f"{root}/wal/{self.index:08x}_{self.shipped:08x}.wal.lz4", lz4(data[self.shipped:]))
            self.shipped = self.copied

    def checkpoint(self):
        assert c.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[0] == 0
        c.execute("INSERT INTO _litestream_seq(id, seq) VALUES(1, 1) ON CONFLICT(id) DO UPDATE SET seq = seq + 1")
        self.index, self.copied, self.shipped = self.index + 1, 0, 0


def commit(n=1):
    for _ in range(n):
        c.execute("INSERT INTO t(v) VALUES(hex(randomblob(700)))")


def begin():
    c.execute("PRAGMA page_size=4096")
    c.execute("PRAGMA journal_mode=wal")
    c.execute("PRAGMA wal_autocheckpoint=0")
    c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    c.execute("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
    c.execute("CREATE TABLE _litestream_lock (id INTEGER)")
    put(f"{root}/snapshots/00000000.snapshot.lz4", lz4(open(db, "rb").read()))
    for _ in range(6):
        commit()
        tool.copy()
    if case == "lag-index":
        for _ in range(2):
            commit()
            tool.copy(ship=False)


def go_on():
    """The WAL continues the newest copy; what the replica has of it is known from its newest object."""
    c.execute("PRAGMA wal_autocheckpoint=0")
    newest = max(os.listdir(root + "/wal"))
    tool.index = int(newest[:8], 16)
    plain = subprocess.run(["lz4", "-dc", f"{root}/wal/{newest}"], stdout=subprocess.PIPE, check=True).stdout
    tool.shipped = int(newest[9:-8], 16) + len(plain)
    tool.copy()


c = sqlite3.connect(db, isolation_level=None)
tool = Tool()
if case == "again":
    go_on()
else:
    begin()
tool.checkpoint()
for k in range(8):
    commit(2)
    tool.copy(ship=case != "lag-index" and not (case in ("lag", "restarted") and k >= 5))
put(meta + "/generation", (generation + "\n").encode())
if case == "restarted":
    c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    commit(3)
if case == "unsynced":
    commit(3)
print(generation)
sys.stdout.flush()
os._exit(0)
