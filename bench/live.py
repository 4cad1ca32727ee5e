#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/live.py [quick|full]: a primary and one follower over loopback.

   1. Commits on the primary, 7 and 1,000 a second; a reader on the follower (its own connection, polling) sees each:
      median and 99th percentile of the time in between, beside the time of one fsync on this disk.
   2. The first copy of a file, beside the same bytes through a socket of Python's (sendfile, write, fsync), both to the
      same disk, in turns.
   3. Point queries on the follower, with and without transactions that come.

Uses $BUILD/walbrook (BUILD is `build`)."""
import os, random, shutil, signal, socket, sqlite3, subprocess, sys, tempfile, threading, time

BUILD = os.environ.get("BUILD", "build")
WALBROOK = os.path.abspath(os.path.join(BUILD, "walbrook"))
QUICK = sys.argv[1:2] == ["quick"]


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Pair:
    """A primary and, when asked for, its follower."""

    def __init__(self, root):
        self.root, self.app, self.copy = root, root + "/app.db", root + "/copy.db"
        self.port, self.processes = port(), []

    def start(self, *words):
        log = open(self.root + "/log", "a")
        p = subprocess.Popen([WALBROOK, *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.processes.append(p)
        return p

    def primary(self):
        conf = self.root + "/p.yml"
        with open(conf, "w") as f:
            f.write(f"addr: 127.0.0.1:{self.port}\nsocket: {self.root}/p.sock\ndbs:\n  - path: {self.app}\n")
        self.start("replicate", "-config", conf)
        until(lambda: connects(self.port))

    def follower(self):
        return self.start("follow", "-socket", self.root + "/f.sock", f"http://127.0.0.1:{self.port}{self.app}", self.copy)

    def end(self):
        for p in self.processes:
            p.send_signal(signal.SIGTERM)
        for p in self.processes:
            p.wait()


def connects(number):
    try:
        socket.create_connection(("127.0.0.1", number), 1).close()
        return True
    except OSError:
        return False


def until(fn, limit_s=120):
    end = time.monotonic() + limit_s
    while not fn():
        if time.monotonic() > end:
            raise SystemExit("bench live: waited in vain")
        time.sleep(0.002)


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def fsync_ms(root):
    times = []
    with open(root + "/sync", "wb") as f:
        for _ in range(50):
            f.write(b"x" * 4096)
            f.flush()
            t = time.perf_counter()
            os.fsync(f.fileno())
            times.append((time.perf_counter() - t) * 1000)
    return times


def latency(pair, rate, seconds):
    """Times from the return of each commit to the moment when a reader of the copy sees it, in ms."""
    seen, committed, n = {}, {}, int(rate * seconds)
    first = sqlite3.connect(pair.copy).execute("SELECT max(id) FROM t").fetchone()[0]

    def read():
        c = sqlite3.connect(pair.copy, isolation_level=None)
        last = first
        end = time.monotonic() + seconds + 30
        while last < first + n and time.monotonic() < end:
            try:
                now = c.execute("SELECT max(id) FROM t").fetchone()[0]
            except sqlite3.OperationalError:
                continue
            at = time.perf_counter()
            for i in range(last + 1, now + 1):
                seen[i] = at
            last = now
            time.sleep(0.0001)

    reader = threading.Thread(target=read)
    reader.start()
    db = sqlite3.connect(pair.app, isolation_level=None)
    db.execute("PRAGMA synchronous=NORMAL")
    start = time.perf_counter()
    for i in range(n):
        left = start + i / rate - time.perf_counter()
        if left > 0:
            time.sleep(left)
        k = db.execute("INSERT INTO t(b) VALUES(randomblob(200))").lastrowid
        committed[k] = time.perf_counter()
    reader.join()
    if len(seen) < n:
        raise SystemExit(f"bench live: only {len(seen)} of {n} commits were seen")
    return [max(0.0, (seen[k] - committed[k]) * 1000) for k in committed]


def make_db(path, mib):
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=wal")
    db.execute("PRAGMA synchronous=OFF")
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
    db.execute("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<?) "
               "INSERT INTO t SELECT i, randomblob(900) FROM c", (max(100, mib * 1024),))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def plain_copy(source, target):
    """The same bytes through a socket, then fsync: what nc and dd conv=fsync do. Seconds."""
    a, b = tcp_pair()

    def send():
        with open(source, "rb") as f:
            a.sendfile(f)
        a.close()

    t = time.perf_counter()
    sender = threading.Thread(target=send)
    sender.start()
    buf = bytearray(1 << 18)
    with open(target, "wb", buffering=0) as f:
        while True:
            n = b.recv_into(buf)
            if n == 0:
                break
            f.write(memoryview(buf)[:n])
        os.fsync(f.fileno())
    sender.join()
    return time.perf_counter() - t


def tcp_pair():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        a = socket.create_connection(s.getsockname())
        b, _ = s.accept()
        return a, b


def first_copy(root, mib, rounds):
    ours, theirs = [], []
    pair = Pair(root)
    make_db(pair.app, mib)
    pair.primary()
    for _ in range(rounds):
        theirs.append(plain_copy(pair.app, root + "/plain"))
        os.unlink(root + "/plain")
        t = time.perf_counter()
        f = pair.follower()
        until(lambda: os.path.exists(pair.copy))
        ours.append(time.perf_counter() - t)
        f.send_signal(signal.SIGTERM)
        f.wait()
        pair.processes.remove(f)
        for name in os.listdir(root):
            if name.startswith(("copy.db", ".copy.db")):
                path = os.path.join(root, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    size = os.path.getsize(pair.app)
    pair.end()
    return size, ours, theirs


def queries(pair, seconds, writes):
    db = sqlite3.connect(pair.app, isolation_level=None)
    db.execute("PRAGMA synchronous=NORMAL")
    stop = threading.Event()

    def write():
        while not stop.is_set():
            db2 = sqlite3.connect(pair.app, isolation_level=None)
            db2.execute("PRAGMA synchronous=NORMAL")
            while not stop.is_set():
                db2.execute("INSERT INTO t(b) VALUES(randomblob(200))")
                time.sleep(0.01)

    if writes:
        threading.Thread(target=write, daemon=True).start()
    script = ("import sqlite3,sys,time,random\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\nn=0\n"
              "end=time.monotonic()+float(sys.argv[2])\n"
              "while time.monotonic()<end:\n"
              " for _ in range(50): c.execute('SELECT b FROM t WHERE id=?',(random.randrange(1,1000),)).fetchone()\n"
              " n+=50\nprint(n)")
    out = subprocess.run([sys.executable, "-c", script, pair.copy, str(seconds)], capture_output=True, text=True)
    stop.set()
    return int(out.stdout) / seconds


def main():
    root = tempfile.mkdtemp(prefix="walbrook-bench-live.")
    try:
        pair = Pair(root + "/a")
        os.mkdir(pair.root)
        make_db(pair.app, 1)
        pair.primary()
        pair.follower()
        until(lambda: os.path.exists(pair.copy))
        time.sleep(0.5)
        sync = fsync_ms(root)
        print(f"one fsync here: median {percentile(sync, .5):.2f} ms, p99 {percentile(sync, .99):.2f} ms")
        for rate, seconds in ((7, 5 if QUICK else 30), (1000, 3 if QUICK else 20)):
            ms = latency(pair, rate, seconds)
            print(f"commit to visible on the follower, {rate}/s: median {percentile(ms, .5):.2f} ms, "
                  f"p99 {percentile(ms, .99):.2f} ms, of {len(ms)} (targets 2 ms, 10 ms or two fsyncs)")
        still, busy = [], []
        for _ in range(3 if QUICK else 10):
            still.append(queries(pair, 0.7, False))
            busy.append(queries(pair, 0.7, True))
        print(f"point queries on the follower: {percentile(still, .5):.0f}/s at rest, {percentile(busy, .5):.0f}/s while "
              f"100 transactions a second come: {100 * percentile(busy, .5) / percentile(still, .5):.0f} % (target 95 %)")
        pair.end()
        os.mkdir(root + "/b")
        size, ours, theirs = first_copy(root + "/b", 100 if QUICK else 1024, 3)
        a, b = min(ours), min(theirs)
        print(f"first copy of {size / 1e6:.0f} MB: {size / 1e6 / a:.0f} MB/s; socket and fsync {size / 1e6 / b:.0f} MB/s: "
              f"{100 * b / a:.0f} % (target 80 %)")
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
