#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/live.py [quick|full] [PART...]: a primary and one follower over loopback (`bench/run.sh live` runs it).

  visible   From the return of a commit on the primary to a reader of the follower's file that sees it, at 7 and 1,000
            commits a second; beside it the time of one fsync on this disk (bench/visible.c).
  readers   Point queries on the follower's file (bench/reads.c) while 7 or 100 transactions a second come, and none.
            SQLite drops the page cache of a connection after each commit of somebody else, whoever that is. So the
            reference is the same reader beside an ordinary SQLite application that commits the same transactions at the
            same rate to an ordinary database, and the same without that application. They all take turns.
  copy      The first copy of a database, from the start of `walbrook follow` to the name of the file (which it takes when it
            is synced), against `nc` and `dd conv=fsync` of the same file to the same disk, in turns.

Uses $BUILD (`build` unless set). Prints the rows of bench/bench.py; exits 1 only when something breaks."""

import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from bench import BUILD, WALBROOK, Broken, bootstrap, head, pairs, quantile, ratio_interval, row, tool

SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)"  # what bench/load.c and bench/visible.c write to
READ_RATES = (7, 100)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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
            raise Broken("waited in vain")
        time.sleep(0.002)


def make_db(path, mib):
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("PRAGMA journal_mode=wal; PRAGMA synchronous=OFF; " + SCHEMA)
    db.execute("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<?) "
               "INSERT INTO t SELECT i, i, randomblob(900) FROM c", (max(1000, mib * 1060),))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


class Pair:
    """A primary with one database, and its follower when that is asked for."""

    def __init__(self, root, mib):
        self.root, self.app, self.copy = root, root + "/app.db", root + "/copy.db"
        self.port, self.processes = free_port(), []
        os.mkdir(root)
        make_db(self.app, mib)

    def start(self, *words):
        log = open(self.root + "/log", "a")
        p = subprocess.Popen([WALBROOK, *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()
        self.processes.append(p)
        return p

    def __enter__(self):
        conf = self.root + "/walbrook.yml"
        with open(conf, "w") as f:
            f.write("addr: 127.0.0.1:%d\nsocket: %s/p.sock\ndbs:\n  - path: %s\n" % (self.port, self.root, self.app))
        self.start("replicate", "-config", conf)
        until(lambda: connects(self.port))
        return self

    def follow(self):
        return self.start("follow", "-socket", self.root + "/f.sock", "http://127.0.0.1:%d%s" % (self.port, self.app),
                          self.copy)

    def has_copy(self):
        for p in self.processes:
            if p.poll() is not None:
                raise Broken("walbrook ended with %d: %s" % (p.returncode, open(self.root + "/log").read()[-600:]))
        return os.path.exists(self.copy)

    def end(self, process):
        process.send_signal(signal.SIGTERM)
        if process.wait(60) != 0:
            raise Broken("walbrook ended with %d: %s" % (process.returncode, open(self.root + "/log").read()[-600:]))
        self.processes.remove(process)

    def forget_copy(self):
        for name in os.listdir(self.root):
            if name.startswith(("copy.db", ".copy.db")):
                path = os.path.join(self.root, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    def __exit__(self, *_):
        for p in self.processes:
            p.send_signal(signal.SIGTERM)
        for p in self.processes:
            try:
                p.wait(60)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()


# ---- from a commit to a reader ----


def fsync_ms(root, n):
    times = []
    with open(root + "/sync", "wb") as f:
        for _ in range(n):
            f.write(b"x" * 4096)
            f.flush()
            t = time.perf_counter()
            os.fsync(f.fileno())
            times.append((time.perf_counter() - t) * 1000)
    return times


def part_visible(root, quick):
    with Pair(root + "/visible", 1) as pair:
        pair.follow()
        until(pair.has_copy)
        time.sleep(0.5)
        for rate, secs in ((7, 5 if quick else 60), (1000, 3 if quick else 20)):
            head("commit on the primary to a reader on the follower, %d a second (%d s); reference: one fsync"
                 % (rate, secs))
            sync, ms, turns = [], [], 2 if quick else 6
            for _ in range(turns):
                sync += fsync_ms(root, 100)
                ms += [pairs(x)["us"] / 1000 for x in tool("visible", pair.app, pair.copy, "-rate", rate, "-secs",
                                                           secs / turns).splitlines()]
            sync += fsync_ms(root, 100)
            for name, q, most in (("median", 0.5, 2), ("p99", 0.99, max(10, 2 * quantile(sync, 0.99)))):
                row(name, "%.2f ms" % quantile(ms, q), "%.2f ms" % quantile(sync, q), bootstrap(ms, sync, q, 200),
                    "<= %.0f ms" % most, quantile(ms, q) <= most)
            row("longest of %d" % len(ms), "%.2f ms" % max(ms), "%.2f ms" % max(sync), None, "", None)


# ---- readers ----


def cpu_s(pid):
    base = "/proc/%d/task" % pid
    return sum(int(open("%s/%s/schedstat" % (base, t)).read().split()[0]) for t in os.listdir(base)) / 1e9


def reads(db, secs, writer=None, rate=0):
    """One run of the reader, beside `rate` transactions a second in the database `writer`."""
    app = None
    if writer:
        app = subprocess.Popen([os.path.join(BUILD, "bench/load"), writer, "-secs", str(secs + 0.4), "-rate", str(rate)],
                               stdout=subprocess.PIPE, text=True)
        time.sleep(0.2)
    got = pairs(tool("reads", db, "-secs", secs))
    if app and (app.wait(60) != 0 or pairs(app.stdout.read())["tps"] < 0.8 * rate):
        raise Broken("the application did not write at its rate")
    return got


def reads_in_turns(root, rounds, secs):
    """What bench/reads.c said in each round, by (database, rate), and seconds that the follower worked, by rate."""
    plain = root + "/plain.db"
    make_db(plain, 1)
    keep = sqlite3.connect(plain)  # the plain database has a process that stays, as the copy has its follower
    keep.execute("SELECT 1 FROM t").fetchone()
    turns = [(db, rate) for rate in (0,) + READ_RATES for db in ("copy", "plain")]
    got, follower_s = {turn: [] for turn in turns}, {rate: 0 for rate in READ_RATES}
    with Pair(root + "/readers", 1) as pair:
        follower = pair.follow()
        until(pair.has_copy)
        time.sleep(0.5)
        for i in range(rounds):
            at = i % len(turns)
            for db, rate in (turns[at:] + turns[:at])[::(1, -1)[i // len(turns) % 2]]:
                path, writer = (pair.copy, pair.app) if db == "copy" else (plain, plain)
                before = cpu_s(follower.pid)
                got[db, rate].append(reads(path, secs, writer if rate else None, rate))
                if db == "copy" and rate:
                    follower_s[rate] += cpu_s(follower.pid) - before
                time.sleep(0.1)
    keep.close()
    return got, follower_s


def part_readers(root, quick):
    rounds, secs = (6, 0.5) if quick else (36, 0.5)
    got, follower_s = reads_in_turns(root, rounds, secs)
    qps = {k: [x["qps"] for x in v] for k, v in got.items()}
    mean = {k: "%.0f/s" % statistics.fmean(v) for k, v in qps.items()}

    def compare(name, a, b, target=None):
        triple = ratio_interval(qps[a], qps[b])
        row(name, mean[a], mean[b], triple, ">= %.2f" % target if target else "", triple[0] >= target if target else None)

    for rate in READ_RATES:
        busy, plain = ("copy", rate), ("plain", rate)
        head("point queries beside %d transactions a second, against the same without (%d rounds of %.1f s each)"
             % (rate, rounds, secs))
        compare("reader on the follower, applying / at rest", busy, ("copy", 0), 0.95)
        compare("reader beside plain SQLite, writing / at rest", plain, ("plain", 0))
        compare("reader on an applying follower / beside plain SQLite", busy, plain)
        own = [[x["cpu_secs"] / x["queries"] for x in got[k]] for k in (busy, plain)]
        row("  processor time of a query, of the reader's own", *["%.2f us" % (1e6 * statistics.fmean(v)) for v in own],
            ratio_interval(*own), "", None)
        row("  pages read from the file again, a second", *["%.0f" % statistics.fmean(
            [x["misses"] / x["secs"] for x in got[k]]) for k in (busy, plain)], None, "", None)
        row("  longest pause of the reader (16 queries)", *["%.1f ms" % (max(
            x["slowest_us"] for x in got[k]) / 1000) for k in (busy, plain)], None, "", None)
        row("  processor time of the follower, for a transaction", "%.0f us" % (
            1e6 * follower_s[rate] / (rounds * rate * (secs + 0.4))), "", None, "", None)
    compare("reader on a resting follower / on a resting database", ("copy", 0), ("plain", 0))


# ---- the first copy ----


def listens(port):
    """Somebody listens there; asked without a connection, of which `nc -l` takes only one."""
    with open("/proc/net/tcp") as f:
        return any(" 0100007F:%04X " % port in x and x.split()[3] == "0A" for x in f)


def nc_copy(source, target):
    port = free_port()
    sink = subprocess.Popen(["/bin/sh", "-c", 'nc -l 127.0.0.1 "$1" | dd of="$2" bs=1M iflag=fullblock conv=fsync status=none',
                             "sh", str(port), target])
    until(lambda: listens(port))
    t = time.perf_counter()
    with open(source, "rb") as f:
        subprocess.run(["nc", "-N", "127.0.0.1", str(port)], stdin=f, stdout=subprocess.DEVNULL, check=True, timeout=120)
    if sink.wait(120) != 0:
        raise Broken("nc | dd ended with %d" % sink.returncode)
    return time.perf_counter() - t


def socket_copy(source, target):
    """The same bytes through a socket of this process, then fsync: where there is no nc that ends by itself (-N)."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        a = socket.create_connection(s.getsockname())
        b, _ = s.accept()

    def send():
        with open(source, "rb") as f:
            a.sendfile(f)
        a.close()

    t = time.perf_counter()
    sender = threading.Thread(target=send)
    sender.start()
    buf = bytearray(1 << 18)
    with open(target, "wb", buffering=0) as f:
        while n := b.recv_into(buf):
            f.write(memoryview(buf)[:n])
        os.fsync(f.fileno())
    sender.join()
    b.close()
    return time.perf_counter() - t


def has_nc():
    return b"-N" in subprocess.run("nc -h 2>&1 || :", shell=True, stdout=subprocess.PIPE).stdout


def part_copy(root, quick):
    mib, rounds = (96, 3) if quick else (960, 6)
    ours, theirs = [], []
    reference = nc_copy if has_nc() else socket_copy
    with Pair(root + "/copy", mib) as pair:
        size, plain = os.path.getsize(pair.app), root + "/plain"

        def of_ours():
            t = time.perf_counter()
            process = pair.follow()
            until(pair.has_copy)
            took = time.perf_counter() - t
            if os.path.getsize(pair.copy) != size:
                raise Broken("the copy has %d bytes" % os.path.getsize(pair.copy))
            pair.end(process)
            pair.forget_copy()
            return took

        def of_theirs():
            took = reference(pair.app, plain)
            if os.path.getsize(plain) != size:
                raise Broken("the reference's copy has %d bytes" % os.path.getsize(plain))
            os.unlink(plain)
            return took

        for i in range(rounds + 1):
            for us in ((True, False), (False, True))[i % 2]:
                os.sync()
                took = of_ours() if us else of_theirs()
                if i > 0:  # the first round warms the page cache
                    (ours if us else theirs).append(took)
    head("first copy of %.0f MB over loopback, against %s (%d rounds)"
         % (size / 1e6, "nc | dd conv=fsync" if reference == nc_copy else "a socket and fsync: there is no nc -N", rounds))
    triple = ratio_interval(theirs, ours)
    row("speed", "%.0f MB/s" % (size / 1e6 / statistics.fmean(ours)), "%.0f MB/s" % (size / 1e6 / statistics.fmean(theirs)),
        triple, ">= 0.80", triple[0] >= 0.8)
    row("time", "%.2f s" % statistics.fmean(ours), "%.2f s" % statistics.fmean(theirs), None, "", None)


def main(argv):
    order = ["visible", "readers", "copy"]
    wanted = [a for a in argv if a not in ("quick", "full")]
    unknown = [a for a in wanted if a not in order]
    if unknown:
        print("no such part: %s; there are: %s" % (" ".join(unknown), " ".join(order)), file=sys.stderr)
        return 2
    root, broken = tempfile.mkdtemp(prefix="bench-live-", dir=BUILD), 0
    try:
        for part in wanted or order:
            try:
                globals()["part_" + part](root, "quick" in argv)
            except (Broken, OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
                broken += 1
                print("BROKEN: live %s: %s" % (part, e))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
