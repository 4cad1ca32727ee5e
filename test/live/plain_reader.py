#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client of the plain protocol, as one of 2022 would be, that trusts nothing: reads a stream and builds a database.

    plain_reader.py [options] URL PATH OUT      PATH of the database on the primary at URL, into the file OUT
    plain_reader.py [options] -file STREAM OUT  a captured body, to its end

    -resume POSITION           what OUT has already: GENERATION/INDEX or GENERATION/INDEX:OFFSET (the offset is not
                               sent, but what comes must lead beyond it in one step: else old pages would be seen again)
    -until POSITION            ends when everything before it is in OUT (GENERATION/INDEX:OFFSET)
    -most N                    ends after N records
    -seconds S                 longest time in all (60), and for each wait
    -token TOKEN  -ca FILE     what to show the server, whom to believe
    -reconnect                 asks again where it is when the connection ends, until -until

Records are applied whole: a snapshot is the file, a segment is the transactions that end in it. Every promise of the
plain protocol is checked: the header with the page size, only records of type 1 and 2, no flags, segments without a
hole, an index that begins at 0 where the one before ended, LZ4 and WAL checksums, salts. Says on standard output what
came; the last line is `at POSITION`. Exit status: 0 done; 1 something was wrong; 3 the stream ended before it should."""

import argparse
import os
import sys
import time

import wire
from wire import Broken, Closed


class Copy:
    """The database file, and how far it is."""

    def __init__(self, out):
        self.fd = os.open(out, os.O_RDWR | os.O_CREAT, 0o644)
        head = os.pread(self.fd, 100, 0)
        self.page_size = wire.page_size_of(head) if head else None
        self.generation = self.index = None
        self.wal = None
        self.pending = {}  # pages of a transaction whose commit has not come
        self.had = 0  # offset in the index from whose beginning it goes on
        self.commits = self.snapshots = self.segments = 0

    def end(self):
        return self.wal.end if self.wal else 0

    def snapshot(self, r, payload):
        if r.offset != 0:
            raise Broken(f"a snapshot at offset {r.offset}")
        page_size = wire.page_size_of(payload)
        if len(payload) % page_size:
            raise Broken(f"a snapshot of {len(payload)} bytes is no whole number of pages")
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, payload, 0)
        self.page_size = page_size
        self.generation, self.index, self.wal, self.pending = r.generation, r.index, None, {}
        self.had = 0
        self.snapshots += 1

    def segment(self, r, payload):
        if self.generation is None:
            raise Broken("the first record for one who has nothing is no snapshot")
        if r.generation != self.generation:
            raise Broken("a segment of another generation without a snapshot")
        if r.offset == 0:
            if r.index != self.index and not (self.wal and r.index == self.index + 1):
                raise Broken(f"index {r.index:x} begins behind {self.index:x}:{self.end()}")
            if self.pending and self.wal:
                raise Broken("a WAL ended inside a transaction")
            self.index, self.wal, self.pending = r.index, wire.WalReader(self.page_size), {}
        if not self.wal or r.index != self.index or r.offset != self.wal.end:
            raise Broken(f"a segment at {r.index:x}:{r.offset}, and {self.index:x}:{self.end()} was to come")
        for number, page, size in self.wal.feed(wire.lz4_frame(payload)):
            self.pending[number] = page
            if size:
                self.commit(size)
        if r.offset == 0 and self.wal.end < self.had:
            raise Broken(f"the first segment ends at {self.wal.end}, and {self.had} was here already")
        self.had = 0
        self.segments += 1

    def commit(self, size):
        for number, page in self.pending.items():
            if number <= size:
                os.pwrite(self.fd, page, (number - 1) * self.page_size)
        os.ftruncate(self.fd, size * self.page_size)
        self.pending = {}
        self.commits += 1

    def take(self, r, payload):
        if r.flags != 0:
            raise Broken(f"flags {r.flags:x} in a plain stream")
        if r.type == wire.SNAPSHOT:
            self.snapshot(r, payload)
        elif r.type == wire.SEGMENT:
            self.segment(r, payload)
        else:
            raise Broken(f"a record of type {r.type} in a plain stream")

    def reached(self, until):
        if until is None or self.generation != until[0]:
            return False
        return (self.index, self.end()) >= until[1:] and not self.pending


def connect(o, copy):
    headers = [("Authorization", "Bearer " + o.token)] if o.token else []
    resume = {}
    if copy.generation is not None:
        resume = {"generation": f"{copy.generation:016x}", "index": f"{copy.index:016x}"}
        copy.had = max(copy.had, copy.end())
    context = None
    if o.ca:
        import ssl

        context = ssl.create_default_context(cafile=o.ca)
    http = wire.Http(wire.stream_url(o.url, o.path, **resume), headers, timeout_s=o.seconds, context=context)
    if http.status != 200:
        text = http.all(4096).decode("utf-8", "replace").strip()
        http.close()
        raise Closed(f"status {http.status}: {text}")
    told = http.headers.get("litestream-page-size")
    if told is None or not told.isdigit():
        raise Broken("no Litestream-page-size: a client of 2022 would refuse it")
    if "walbrook-stream" in http.headers:
        raise Broken("Walbrook-Stream in the answer to a plain request")
    return http, int(told)


def follow(o, copy, source, told, deadline):
    """Applies records until the end is reached (True) or the stream ends (Closed)."""
    taken = 0
    while not copy.reached(o.until):
        if time.monotonic() > deadline:
            raise Broken(f"not there after {o.seconds} s, but at {where(copy)}")
        r, payload = wire.read_record(source)
        copy.take(r, payload)
        if told is not None and copy.page_size != told:
            raise Broken(f"Litestream-page-size was {told}, and it is {copy.page_size}")
        if o.verbose:
            kind = "snapshot" if r.type == wire.SNAPSHOT else "segment"
            print(f"{kind} {wire.position_text(r.generation, r.index, r.offset)} {r.size}", flush=True)
        taken += 1
        if o.most and taken >= o.most:
            return
    return


def where(copy):
    return "nothing" if copy.generation is None else wire.position_text(copy.generation, copy.index, copy.end())


def options():
    p = argparse.ArgumentParser(prefix_chars="-", allow_abbrev=False)
    p.add_argument("-file")
    p.add_argument("-resume", type=lambda t: wire.position(t if ":" in t else t + ":0"))
    p.add_argument("-until", type=wire.position)
    p.add_argument("-most", type=int)
    p.add_argument("-seconds", type=float, default=60)
    p.add_argument("-token")
    p.add_argument("-ca")
    p.add_argument("-reconnect", action="store_true")
    p.add_argument("-verbose", action="store_true")
    p.add_argument("rest", nargs="+")
    o = p.parse_args()
    if len(o.rest) != (1 if o.file else 3):
        p.error("URL PATH OUT, or -file STREAM OUT")
    o.url, o.path = (None, None) if o.file else o.rest[:2]
    return o


def main():
    o = options()
    copy = Copy(o.rest[-1])
    if o.resume:
        copy.generation, copy.index, copy.had = o.resume
    deadline = time.monotonic() + o.seconds
    status = 0
    while True:
        try:
            source, told = (wire.FileSource(o.file), None) if o.file else connect(o, copy)
            try:
                follow(o, copy, source, told, deadline)
            finally:
                source.close()
            break
        except Broken as e:
            print(f"wrong: {e}", flush=True)
            status = 1
            break
        except Closed as e:
            if o.reconnect and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            if not (o.file and str(e) == "the body ended"):
                print(f"closed: {e}", flush=True)
                status = 3
            break
    print(f"{copy.snapshots} snapshots, {copy.segments} segments, {copy.commits} commits", flush=True)
    print(f"at {where(copy)}", flush=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
