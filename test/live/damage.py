#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a follower makes of a stream that is damaged on its way: one byte changed, or cut at the ends of records.

    damage.py [-n SAMPLES] [-seed S] [-plain DIR] BUILD_DIR

1. A primary with content and several transactions, which nobody writes to from now on. One follower follows it through
   a recording proxy: that tells where the records of the stream are. -plain: a server of the plain protocol, which plays
   the stream that was captured in DIR (of test/golden/live).
2. For each sample a fresh follower, whose first connection is damaged: bytes of heads and payloads of all types, of the
   HTTP around them, and cuts at each end of a record and one byte before and behind. All other connections are good.
3. A reader (test/live/reader.c; -plain: one that knows the image of every commit) reads from the moment at which there is
   a database: never anything but a committed state. In the end the follower's image is the primary's, and the log of
   the follower has said what it saw. The content of a plain stream has no checksum: nothing is changed in that.

A damage that cannot change anything (a byte of the HTTP date, the clock in a heartbeat) need not be said. The last line
has the figures."""

import argparse
import collections
import hashlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import load
import plain_reader
import wire
from proxy import Fate, Proxy

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD = [sys.executable, os.path.join(HERE, "load.py")]
SAYS = ("level=warn", "level=error", "WARN", "ERROR")
NAMES = {v: k for k, v in vars(wire).items() if k.isupper() and isinstance(v, int) and 0 < v < 24}
# Nobody waits for these: the copy is there before they come.
HARMLESS = {wire.HEARTBEAT, wire.END}


class Recorder(Proxy):
    """Keeps what came on each connection."""

    def __init__(self, target):
        super().__init__(target)
        self.kept = collections.defaultdict(bytearray)

    def _down(self, server, client, fate):
        n = self.connections
        try:
            while data := server.recv(1 << 16):
                self.kept[n] += data
                client.sendall(data)
        except OSError:
            pass
        self._end(client, server)


def dissect(raw):
    """Places of all bytes that belong to the records of a raw answer (HTTP chunks taken apart); and the ends of records."""
    end = raw.find(b"\r\n\r\n") + 4
    if end < 4 or not raw.startswith(b"HTTP/1.1 200"):
        return None
    head = bytes(raw[:end]).lower()
    body, where, at = bytearray(), [], end
    if b"transfer-encoding: chunked" in head:
        while (line := raw.find(b"\r\n", at)) >= 0:
            n = int(bytes(raw[at:line]), 16)
            at = line + 2
            have = min(n, len(raw) - at)
            body += raw[at : at + have]
            where += range(at, at + have)
            at += n + 2
            if n == 0 or at > len(raw):
                break
    else:
        body, where = raw[end:], list(range(end, len(raw)))
    records, at = [], 0
    while len(body) - at >= wire.RECORD_HEADER_BYTES:
        r = wire.Record(*struct.unpack(">IIQQQQ", bytes(body[at : at + 40])))
        if at + 40 + r.size > len(body):
            break
        records.append((r, where[at : at + 40], where[at + 40 : at + 40 + r.size]))
        at += 40 + r.size
    return end, records


def says_the_same(fate, places):
    """An LZ4 frame in which another byte stands that makes the same data."""
    good = bytearray(fate.kept[i] for i in places)
    bad = bytearray(good)
    bad[places.index(fate.flip)] ^= fate.mask
    try:
        return wire.lz4_frame(bytes(good)) == wire.lz4_frame(bytes(bad))
    except wire.Broken:
        return False


class Scene:
    def __init__(self, o):
        self.o = o
        self.dir = tempfile.mkdtemp(prefix="walbrook-damage-")
        self.walbrook = os.path.join(os.path.abspath(o.build), "walbrook")
        self.reader = os.path.join(os.path.abspath(o.build), "test", "livereader")
        self.db = os.path.join(self.dir, "p.db")
        self.random = random.Random(o.seed)
        self.count = collections.Counter()
        self.failures = 0
        self.children = []

    def fail(self, text):
        self.failures += 1
        print(f"damage: FAILURE: {text}", flush=True)

    def spawn(self, argv, log, **more):
        with open(log, "ab") as out:
            p = subprocess.Popen(argv, stdout=more.pop("stdout", out), stderr=out, **more)
        self.children.append(p)
        return p

    # ---- the primary ----

    def begin(self):
        subprocess.run(LOAD + ["make", self.db, "1024", "0"], check=True)
        self.write(1.0, 1)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        config = os.path.join(self.dir, "p.yml")
        with open(config, "w") as f:
            f.write(
                f'addr: "127.0.0.1:{self.port}"\nsocket: {self.dir}/p.sock\ndbs:\n  - path: {self.db}\n'
                f"    checkpoint-interval: 1h\n    replicas:\n      - path: {self.dir}/replica\n"
            )
        self.spawn([self.walbrook, "replicate", "-config", config], self.dir + "/p.log", stdin=subprocess.DEVNULL)
        time.sleep(0.5)
        self.write(1.0, 2)

    def write(self, seconds, seed):
        """Transactions of every kind, the last ones in a WAL that stays."""
        p = subprocess.Popen(
            LOAD + ["write", self.db, self.dir + "/witness", str(seed), "20"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        time.sleep(seconds)
        p.communicate()
        load.Writer(self.db, self.dir + "/witness", seed, 0).transaction("several")

    # ---- a follower ----

    def follower(self, n, port):
        base = os.path.join(self.dir, f"f{n}")
        os.mkdir(base)
        with open(base + "/f.yml", "w") as f:
            f.write(
                f"socket: {base}/f.sock\ndbs:\n  - path: {base}/f.db\n    upstream:\n      url: http://127.0.0.1:{port}\n"
                f"      path: {self.db}\n"
            )
        p = self.spawn(
            [self.walbrook, "replicate", "-config", base + "/f.yml"], base + "/f.log", stdin=subprocess.DEVNULL
        )
        return base, p

    def same(self, base):
        if not os.path.exists(base + "/f.db"):
            return "there is no database"
        try:
            return wire.images_differ(self.db, base + "/f.db")
        except (sqlite3.Error, wire.Broken) as e:
            return repr(e)

    def wait_same(self, base, p, seconds=40):
        until = time.monotonic() + seconds
        while (said := self.same(base)) and time.monotonic() < until:
            if p.poll() is not None:
                return f"it ended with status {p.returncode}"
            time.sleep(0.01)
        return said

    def read_meanwhile(self, base):
        """A reader as soon as there is a database. Returns what ends it and tells what it has to say."""
        while not os.path.exists(base + "/f.db"):
            if os.path.exists(base + "/over"):
                return None
            time.sleep(0.002)
        p = self.spawn(
            [self.reader, base + "/f.db", base + "/seen", "rw", "0", "0", "50", "20000", "1"],
            base + "/reader.err",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return lambda: p.communicate("", 60)[0]

    def learn(self):
        """The raw answer with the stream, of a follower whose connections are all good."""
        proxy = Recorder(lambda: self.port)
        base, p = self.follower("-good", proxy.port)
        if said := self.wait_same(base, p):
            raise RuntimeError(f"the undamaged follower: {said}\n" + open(base + "/f.log").read())
        time.sleep(1.2)  # a heartbeat
        p.kill()
        p.wait()
        proxy.close()
        found = [(n, d) for n, raw in sorted(proxy.kept.items()) if (d := dissect(raw))]
        if not found or not found[0][1][1]:
            raise RuntimeError(f"no stream in {[bytes(v[:200]) for v in proxy.kept.values()]}")
        self.quiet_log = [line for line in open(base + "/f.log") if any(w in line for w in SAYS)]
        return found[0][1]

    # ---- one damage ----

    def sample(self, n, what, at, mask, must_say, where):
        first = Fate(cut=at) if what == "cut" else Fate(flip=at, mask=mask)
        fates = [first]
        proxy = Proxy(lambda: self.port, lambda: fates.pop(0) if fates else Fate())
        base, p = self.follower(n, proxy.port)
        readers = []
        watcher = threading.Thread(target=lambda: readers.append(self.read_meanwhile(base)))
        watcher.start()
        name = f"sample {n}, {what} at {at} ({where})" + (f" by {mask:02x}" if what != "cut" else "")
        said = self.wait_same(base, p)
        # A flip in something that is only looked at later, or a cut that has not happened yet, would not be a sample.
        if said:
            self.fail(f"{name}: {said}\n" + open(base + "/f.log").read())
        open(base + "/over", "w").close()
        watcher.join()
        failures = self.failures
        if readers[0]:
            out = readers[0]()
            if not out.startswith("ok"):
                self.fail(f"{name}: the reader: {out.strip()}")
        p.kill()
        p.wait()
        log = open(base + "/f.log").read()
        told = [line for line in log.splitlines() if any(w in line for w in SAYS)]
        hit = proxy.cuts or proxy.flips
        self.count["hit" if hit else "never reached"] += 1
        if hit and told:
            self.count["said"] += 1
        elif hit and must_say and self.met_content(first):
            self.fail(f"{name}: the follower has said nothing about it\n{log}")
        proxy.close()
        if self.failures == failures and not said:
            shutil.rmtree(base)

    @staticmethod
    def met_content(fate):
        """Chunks of HTTP fall otherwise each time: whether it was a byte on which something depends after all."""
        for record, head, payload in (dissect(fate.kept) or (0, []))[1]:
            if fate.flip in payload and says_the_same(fate, payload):
                return False
            if fate.flip in payload or fate.flip in head:
                return record.type not in HARMLESS
        return False

    def samples(self, head_end, records):
        """(what, at, mask, must it be said) in an order of the seed's: all types have their share."""
        r, out = self.random, []
        by_type = collections.defaultdict(list)
        for record in records:
            by_type[record[0].type].append(record)
        for _ in range(max(1, self.o.n // 12)):
            out.append(("flip", r.randrange(head_end), 1 << r.randrange(8), False, "HTTP"))
        kinds = sorted(by_type)
        for i in range(self.o.n):
            record, head, payload = r.choice(by_type[kinds[i % len(kinds)]])
            in_head = not payload or r.random() < 0.35
            at = r.choice(head if in_head else payload)
            must = record.type not in HARMLESS
            if record.type == wire.SNAPSHOT and not in_head:
                continue
            where = f"byte {head.index(at)} of the head" if in_head else f"byte {payload.index(at)}"
            where += f" of {NAMES.get(record.type, record.type)} {wire.position_text(record.generation, *record[3:5])}"
            mask = r.choice((1, 0x80, 0xFF, 1 << r.randrange(8)))
            # A plain snapshot whose index says one less is the same content, and the first WAL index the next one.
            if record.type == wire.SNAPSHOT and head.index(at) == 23 and record[3] ^ mask == record[3] - 1:
                must = False
            out.append(("flip", at, mask, must, where))
        cuts = []
        for record, head, payload in records:
            end = (payload or head)[-1] + 1
            kind = NAMES.get(record.type, record.type)
            cuts += [("cut", end + d, 0, False, f"the end of {kind}, {d:+}") for d in (-1, 0, 1)]
        out += r.sample(cuts, min(len(cuts), self.o.n))
        r.shuffle(out)
        return out

    def play(self):
        self.begin()
        head_end, records = self.learn()
        types = collections.Counter(NAMES.get(r.type, r.type) for r, _, _ in records)
        last = (records[-1][2] or records[-1][1])[-1] + 1
        print(f"damage: a stream of {last} bytes: " + ", ".join(f"{n} {t}" for t, n in types.items()), flush=True)
        if self.quiet_log:
            self.fail(f"an undamaged stream is complained of: {self.quiet_log}")
        todo = self.samples(head_end, records)
        for n, sample in enumerate(todo):
            what = sample[0]
            self.sample(n, *sample)
            self.count[what] += 1
            if self.failures > 5:
                break

    def clean_up(self):
        for p in self.children:
            if p.poll() is None:
                p.kill()
                p.wait()
        if self.failures == 0:
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            print(f"Kept for a look: {self.dir}")


class Player:
    """A server of 2022 that has captured records to send, and after them nothing, without an end."""

    def __init__(self, records, page_size):
        self.records, self.page_size = records, page_size
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            s, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := s.recv(4096)):
                    return
                head += data
            method, target = head.split(b" ")[:2]
            u = urllib.parse.urlsplit(target.decode())
            if u.path != "/stream" or method != b"GET":
                s.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n404 page not found\n")
                return
            s.sendall(
                b"HTTP/1.1 200 OK\r\nLitestream-Page-Size: %d\r\nContent-Type: application/octet-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" % self.page_size
            )
            for data in self._wanted(dict(urllib.parse.parse_qsl(u.query))):
                s.sendall(b"%x\r\n%s\r\n" % (len(data), data))
            s.recv(1)
        except OSError:
            pass
        finally:
            s.close()

    def _wanted(self, query):
        at = 0
        if "generation" in query and "index" in query:
            want = (int(query["generation"], 16), int(query["index"], 16), 0)
            for i, (r, _) in enumerate(self.records):
                if (r.generation, r.index, r.offset) == want and r.type == wire.SEGMENT:
                    at = i
        return [data for _, data in self.records[at:]]


class PlainScene(Scene):
    """The same with a captured stream: every commit in it is known as an image."""

    def begin(self):
        stream = os.path.join(self.o.plain, "stream-scratch.bin")
        shutil.copy(os.path.join(self.o.plain, "stream-scratch.expected.db"), self.db)
        source, records, images = wire.FileSource(stream), [], set()
        copy = plain_reader.Copy(os.path.join(self.dir, "copy.db"))
        plain_commit = copy.commit

        def commit(size):
            plain_commit(size)
            images.add(self.image(os.pread(copy.fd, 1 << 30, 0)))

        copy.commit = commit
        try:
            while True:
                r, payload = wire.read_record(source)
                copy.take(r, payload)
                if r.type == wire.SNAPSHOT:
                    images.add(self.image(payload))
                records.append((r, struct.pack(">IIQQQQ", *r) + payload))
        except wire.Closed:
            pass
        self.images = images
        self.port = Player(records, copy.page_size).port

    @staticmethod
    def image(data):
        return hashlib.sha256(data).digest()

    def read_meanwhile(self, base):
        said, over = [], threading.Event()

        def look():
            while not os.path.exists(base + "/f.db") and not over.is_set():
                time.sleep(0.002)
            db, n = None, 0
            try:
                db = sqlite3.connect(f"file:{base}/f.db?mode=rw", uri=True, timeout=20)
                while not over.is_set():
                    n += 1
                    if self.image(db.serialize()) not in self.images:
                        said.append("an image that is that of no commit")
                        return
                said.append("ok")
            except sqlite3.Error as e:
                said.append(repr(e))
            finally:
                if db:
                    db.close()

        t = threading.Thread(target=look, daemon=True)
        t.start()

        def end():
            over.set()
            t.join(60)
            return said[0] if said else "it does not end"

        return end


def main():
    p = argparse.ArgumentParser(allow_abbrev=False)
    p.add_argument("-n", type=int, default=60)
    p.add_argument("-seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    p.add_argument("-plain")
    p.add_argument("build")
    o = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    scene = PlainScene(o) if o.plain else Scene(o)
    print(f"damage: seed {o.seed}", flush=True)
    try:
        scene.play()
    except Exception as e:  # noqa: BLE001
        import traceback

        scene.fail(f"{e!r}\n{traceback.format_exc()}")
    finally:
        scene.clean_up()
    c = scene.count
    print(
        f"damage: {'FAIL' if scene.failures else 'PASS'}  seed {o.seed}: {c['flip']} flips, {c['cut']} cuts, {c['hit']} met, "
        f"{c['said']} said, {scene.failures} failures"
    )
    sys.exit(1 if scene.failures else 0)


if __name__ == "__main__":
    main()
