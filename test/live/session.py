#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records what a primary answers to a follower, for test/live/flip.c.

    session.py [-plain | -captured STREAM PAGE_SIZE] BUILD_DIR OUT_DIR

A primary with a small database of compressible pages; its writer takes the image of each commit. Requested as a
follower does it, and recorded as it comes:

    1.bin       from nothing: lineage, content, commits (two in one segment), a heartbeat, the next index, the end
    2.bin       hashes, when another generation has begun meanwhile
    3.bin       the pages that differ, then more commits
    fresh.bin, hashes.bin, post.bin     the same for the last state; post: every page

-plain: 1.bin is what the primary answers to a client of 2022, of a smaller database: snapshot and segments.
-captured: 1.bin is a stream that was captured before.

    session     lines: KIND FILE, in the order in which a follower asks
    states/N    the images, oldest first; the last one is where it ends"""

import argparse
import os
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time

import plain_reader
import wire

ROWS, PLAIN_ROWS, PAGE_SIZE = 66, 4, 512


class Primary:
    def __init__(self, build, out, rows):
        self.walbrook, self.out = os.path.join(build, "walbrook"), out
        self.path = os.path.join(out, "p.db")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.child = None
        self.states = []
        self.db = sqlite3.connect(self.path, isolation_level=None, timeout=30)
        self.db.executescript(f"PRAGMA page_size={PAGE_SIZE}; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;")
        self.db.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO t VALUES(?, zeroblob(440))", ((a,) for a in range(1, rows + 1)))
        self.db.execute("COMMIT")
        self.keep()

    def keep(self):
        image = self.db.serialize()
        if not self.states or self.states[-1] != image:
            self.states.append(image)

    def commit(self, *rows):
        n = len(self.states)
        self.db.execute("BEGIN")
        for a in rows:
            self.db.execute("UPDATE t SET b = ? WHERE a = ?", (bytes([n]) * 440, a))
        self.db.execute("COMMIT")
        self.keep()

    def start(self):
        config = os.path.join(self.out, "p.yml")
        with open(config, "w") as f:
            f.write(
                f'addr: "127.0.0.1:{self.port}"\nsocket: {self.out}/p.sock\ndbs:\n  - path: {self.path}\n'
                f"    checkpoint-interval: 1h\n    min-checkpoint-page-count: 100000\n"
                f"    replicas:\n      - path: {self.out}/replica\n"
            )
        with open(self.out + "/p.log", "ab") as log:
            self.child = subprocess.Popen([self.walbrook, "replicate", "-config", config], stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log)

    def stop(self, how=signal.SIGTERM):
        if self.child:
            self.child.send_signal(signal.SIGCONT)
            self.child.send_signal(how)
            self.child.wait()
        self.child = None

    def ask(self, target, method="GET", body=None, **query):
        """Tries until the daemon is ready."""
        url = wire.stream_url(self.url, self.path, **query).replace("/stream?", target + "?")
        until = time.monotonic() + 30
        while True:
            try:
                h = wire.Http(url, [("Accept-Encoding", "lz4")], method, body)
                if h.status == 200:
                    return h
                said = h.status, h.all()
                h.close()
            except wire.Closed as e:
                said = e
            if time.monotonic() > until:
                raise RuntimeError(f"{url}: {said}")
            time.sleep(0.05)


class Taken:
    """An answer, kept as it comes."""

    def __init__(self, http):
        self.http, self.raw, self.records = http, bytearray(), []

    def one(self):
        r, payload = wire.read_record(self.http)
        self.raw += struct.pack(">IIQQQQ", *r) + payload
        self.records.append(r)
        return r

    def until(self, *types):
        while (r := self.one()).type not in types:
            pass
        return r

    def until_all_is_sent(self):
        self.until(wire.COMPLETE)
        while self.until(wire.HEARTBEAT).offset == 0:  # it waits for its turn
            pass

    def to_the_end(self):
        try:
            while True:
                self.one()
        except wire.Closed:
            pass
        self.http.close()
        return self

    def save(self, path):
        self.http.close()
        with open(path, "wb") as f:
            f.write(self.raw)


def bitmap(pages):
    bits = bytearray((max(pages) + 7) // 8)
    for n in pages:
        bits[(n - 1) // 8] |= 1 << (n - 1) % 8
    return bytes(bits)


def different(old, new):
    return [
        i // PAGE_SIZE + 1
        for i in range(0, len(new), PAGE_SIZE)
        if old[i : i + PAGE_SIZE] != new[i : i + PAGE_SIZE]
    ]


def hashes(p):
    t = Taken(p.ask("/hashes"))
    r = t.until(wire.HASHES)
    return t, r


def pages(p, r, which):
    return Taken(p.ask("/stream", "POST", bitmap(which), generation=r.generation, index=r.index, txn=1))


def record(p, out):
    p.start()
    t = Taken(p.ask("/stream", txn=1))
    t.until_all_is_sent()
    p.commit(1)
    t.until(wire.SEGMENT)
    p.child.send_signal(signal.SIGSTOP)  # both in one segment
    p.commit(2, 3)
    p.commit(4)
    p.child.send_signal(signal.SIGCONT)
    t.until(wire.SEGMENT)
    index = t.records[-1].index
    for _ in range(100):  # the next index
        p.db.execute("PRAGMA wal_checkpoint(RESTART)")
        p.commit(5)
        if t.until(wire.SEGMENT).index != index:
            break
    else:
        raise RuntimeError("the WAL is never begun anew")
    t.until(wire.HEARTBEAT)
    p.stop()
    t.to_the_end().save(out + "/1.bin")
    assert t.records[-1].type == wire.END, t.records
    last = p.states[-1]
    # Behind its back, so that another generation begins.
    p.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    p.commit(7, 8)
    p.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    p.start()
    p.ask("/position").close()
    p.commit(6)
    h, r = hashes(p)
    h.save(out + "/2.bin")
    assert r.generation != t.records[0].generation
    t = pages(p, r, different(last, p.states[-1]))
    t.until_all_is_sent()
    p.commit(9)
    t.until(wire.SEGMENT)
    p.commit(10)
    t.until(wire.SEGMENT)
    t.until(wire.HEARTBEAT)
    t.save(out + "/3.bin")
    fresh = Taken(p.ask("/stream", txn=1))
    fresh.until_all_is_sent()
    fresh.save(out + "/fresh.bin")
    h, r = hashes(p)
    h.save(out + "/hashes.bin")
    t = pages(p, r, list(range(1, len(p.states[-1]) // PAGE_SIZE + 1)))
    t.until_all_is_sent()
    t.save(out + "/post.bin")
    p.stop()
    p.db.close()
    with open(out + "/session", "w") as f:
        f.write("stream 1.bin\nstream fresh.bin\nhashes 2.bin\npost 3.bin\n")
    return p.states


def record_plain(p, out):
    p.start()
    p.ask("/position").close()
    t = Taken(p.ask("/stream"))
    t.until(wire.SEGMENT)
    for n in range(4):
        p.commit(n % 3 + 1, n % 3 + 2)
        t.until(wire.SEGMENT)
    index = t.records[-1].index
    while t.records[-1].index == index:  # the next one
        p.db.execute("PRAGMA wal_checkpoint(RESTART)")
        p.commit(2)
        t.until(wire.SEGMENT)
    p.commit(1, 3)
    t.until(wire.SEGMENT)
    t.save(out + "/1.bin")
    p.stop()
    p.db.close()
    shutil.copy(out + "/1.bin", out + "/fresh.bin")
    with open(out + "/session", "w") as f:
        f.write(f"plain {PAGE_SIZE}\nstream 1.bin\n")
    return p.states


def captured(stream, page_size, out):
    shutil.copy(stream, out + "/1.bin")
    shutil.copy(stream, out + "/fresh.bin")
    source, states = wire.FileSource(stream), []
    copy = plain_reader.Copy(out + "/copy.db")
    plain_commit = copy.commit

    def commit(size):
        plain_commit(size)
        states.append(os.pread(copy.fd, 1 << 30, 0))

    copy.commit = commit
    try:
        while True:
            r, payload = wire.read_record(source)
            copy.take(r, payload)
    except wire.Closed:
        pass
    with open(out + "/session", "w") as f:
        f.write(f"plain {page_size}\nstream 1.bin\n")
    return states


def main():
    p = argparse.ArgumentParser(allow_abbrev=False)
    p.add_argument("-plain", action="store_true")
    p.add_argument("-captured", nargs=2)
    p.add_argument("build")
    p.add_argument("out")
    o = p.parse_args()
    os.makedirs(o.out + "/states")
    if o.captured:
        states = captured(o.captured[0], int(o.captured[1]), o.out)
    else:
        primary = Primary(os.path.abspath(o.build), os.path.abspath(o.out), PLAIN_ROWS if o.plain else ROWS)
        try:
            states = (record_plain if o.plain else record)(primary, o.out)
        finally:
            primary.stop(signal.SIGKILL)
    for n, image in enumerate(states):
        with open(f"{o.out}/states/{n}", "wb") as f:
            f.write(image)
    sizes = {n: os.path.getsize(f"{o.out}/{n}") for n in sorted(os.listdir(o.out)) if n.endswith(".bin")}
    print(f"session: {len(states)} states of {len(states[-1])} bytes; {sizes}")


if __name__ == "__main__":
    sys.exit(main())
