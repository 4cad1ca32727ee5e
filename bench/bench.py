# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: runs the programs, interleaves ours with the reference, prints figures with their confidence.

Each line: what, our figure, the reference's figure, the ratio (or difference) with its 95 % confidence interval, the
target, and whether the point estimate meets it. Reference and ours take turns within the run, on the same disk, so
that what the machine does besides hits both.

Intervals: Student's t over the rounds, of the logarithms for ratios; for latencies a bootstrap over the samples.
Nothing here fails because a figure is bad: exit 1 only when a program ends in a way that it should not.
"""

import math
import os
import random
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
WALBROOK = os.path.join(BUILD, "walbrook")
PAGE = 4096
LIMIT_PAGES = 10000  # max-checkpoint-page-count as it is by default
T95 = [0, 12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
       2.120, 2.110, 2.101, 2.093, 2.086]


class Broken(Exception):
    pass


# ---- statistics ----


def mean_interval(values):
    """Mean, and the ends of its 95 % interval."""
    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return mean, float("nan"), float("nan")
    t = T95[n - 1] if n <= len(T95) else 1.96
    half = t * statistics.stdev(values) / math.sqrt(n)
    return mean, mean - half, mean + half


def ratio_interval(ours, reference):
    """Geometric mean of the ratios of paired rounds, with its interval."""
    return tuple(math.exp(x) for x in mean_interval([math.log(a / b) for a, b in zip(ours, reference)]))


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, max(0, math.ceil(q * len(values)) - 1))]


def bootstrap(ours, reference, q, times=1000):
    rng = random.Random(1)
    ratios = sorted(quantile(rng.choices(ours, k=len(ours)), q) / quantile(rng.choices(reference, k=len(reference)), q)
                    for _ in range(times))
    return quantile(ours, q) / quantile(reference, q), ratios[times * 25 // 1000], ratios[times * 975 // 1000]


# ---- output ----

ROW = "{:<58} {:>15} {:>15} {:>26}  {:<13} {}"


def head(title):
    print("\n" + title)
    print(ROW.format("", "ours", "reference", "ratio [95 %]", "target", ""))


def row(name, ours, reference, triple, target, good, signed=False):
    form = "{:+.2f} [{:+.2f}, {:+.2f}]" if signed else "{:.2f} [{:.2f}, {:.2f}]"
    ratio = "" if triple is None else form.format(*triple)
    print(ROW.format(name, ours, reference, ratio, target, {True: "met", False: "MISSED", None: ""}[good]))
    sys.stdout.flush()


# ---- processes ----


def run(*argv, **kw):
    p = subprocess.run(list(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
    if p.returncode != 0:
        raise Broken("%s ended with %d: %s" % (" ".join(argv), p.returncode, p.stderr.strip()[-600:]))
    return p.stdout


def pairs(line):
    """a=1 b=2.5 as a dictionary of numbers."""
    return {k: float(v) for k, v in (w.split("=", 1) for w in line.split())}


def tool(name, *args):
    place = "test" if name in ("ckpt", "mkreplica") else "bench"
    return run(os.path.join(BUILD, place, name), *[str(a) for a in args])


def timed(argv):
    """Runs to the end: seconds and the peak of resident memory in KiB (at least this program's own, some 15 MiB)."""
    os.sync()
    begin = time.monotonic()
    p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = p.stderr.read()
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode != 0:
        raise Broken("%s ended with %d: %s" % (" ".join(argv), p.returncode, said.strip()[-600:]))
    return time.monotonic() - begin, usage.ru_maxrss


class Walbrook:
    """walbrook replicate on some databases, from ready (each replica has a snapshot) to SIGTERM and exit 0."""

    def __init__(self, work, dbs, replica_keys=""):
        self.log = os.path.join(work, "walbrook.log")
        self.replicas = [os.path.join(work, "replica", os.path.basename(db)) for db in dbs]
        config = os.path.join(work, "walbrook.yml")
        with open(config, "w") as f:
            f.write("logging:\n  stderr: true\ndbs:\n")
            for db, replica in zip(dbs, self.replicas):
                f.write("  - path: '%s'\n    replicas:\n      - path: '%s'\n%s" % (db, replica, replica_keys))
        self.log_file = open(self.log, "w")
        self.process = subprocess.Popen([WALBROOK, "replicate", "-config", config], stdout=self.log_file,
                                        stderr=self.log_file)

    def __enter__(self):
        waiting, end = list(self.replicas), time.monotonic() + 120
        while waiting:
            waiting = [r for r in waiting if not self.has_snapshot(r)]
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__(Broken, None, None)
                raise Broken("walbrook is not ready: " + open(self.log).read()[-600:])
            time.sleep(0.02)
        return self

    @staticmethod
    def has_snapshot(replica):
        for top, _, names in os.walk(os.path.join(replica, "generations")):
            if top.endswith("snapshots") and any(n.endswith(".snapshot.lz4") for n in names):
                return True
        return False

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.log_file.close()
        if kind is None and status != 0:
            raise Broken("walbrook ended with %d: %s" % (status, open(self.log).read()[-600:]))

    def memory_kb(self):
        rss = int(re.search(r"VmRSS:\s+(\d+)", open("/proc/%d/status" % self.process.pid).read()).group(1))
        pss = int(re.search(r"^Pss:\s+(\d+)", open("/proc/%d/smaps_rollup" % self.process.pid).read(), re.M).group(1))
        return rss, pss

    def cpu_ns(self):
        base, total = "/proc/%d/task" % self.process.pid, 0
        for task in os.listdir(base):
            total += int(open("%s/%s/schedstat" % (base, task)).read().split()[0])
        return total


class Bench:
    def __init__(self, quick):
        self.quick = quick
        self.work = tempfile.mkdtemp(prefix="bench-", dir=BUILD)
        self.mb = 256 if quick else 1024
        self.made = {}

    def fresh(self):
        """An empty directory; what was in the one before goes."""
        path = os.path.join(self.work, "round")
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path)
        return path

    def replica(self, name, *args):
        path = os.path.join(self.work, name)
        if name not in self.made:
            self.made[name] = pairs(tool("mkreplica", path, *args))
            os.sync()
        return path, self.made[name]

    # One run of a program on a fresh database, with walbrook beside it or without.
    def beside(self, walbrook, program, *args):
        work = self.fresh()
        db = os.path.join(work, "app.db")
        tool("load", db, "-secs", "0.02")
        if not walbrook:
            return pairs(tool(program, db, *args))
        with Walbrook(work, [db]):
            return pairs(tool(program, db, *args))

    def both(self, rounds, program, *args):
        with_us, without = [], []
        for i in range(rounds):
            for us in ((True, False), (False, True))[i % 2]:
                (with_us if us else without).append(self.beside(us, program, *args))
        return with_us, without

    # ---- parts ----

    def part_throughput(self):
        rounds, secs = (3, 2) if self.quick else (12, 3)
        for rows in (1, 50):
            head("application at full speed, %d row%s a transaction (%d rounds of %d s)"
                 % (rows, "" if rows == 1 else "s", rounds, secs))
            a, b = self.both(rounds, "load", "-secs", secs, "-rows", rows)
            tps = [x["tps"] for x in a], [x["tps"] for x in b]
            triple = ratio_interval(*tps)
            row("transactions a second", "%.0f" % statistics.fmean(tps[0]), "%.0f" % statistics.fmean(tps[1]), triple,
                ">= 1.00", triple[0] >= 1)
            self.longest(a, b, 50)
            wal, other = max(x["wal_bytes"] for x in a), max(x["wal_bytes"] for x in b)
            limit = LIMIT_PAGES * (PAGE + 24)
            row("largest WAL (forced limit: %.1f MB)" % (limit / 1e6), "%.1f MB" % (wal / 1e6),
                "%.1f MB" % (other / 1e6), None, "<= 4 x limit", wal <= 4 * limit)

    @staticmethod
    def longest(a, b, most_ms):
        ours, other = ([x["longest_us"] / 1000 for x in v] for v in (a, b))
        triple = mean_interval([x - y for x, y in zip(ours, other)])
        row("longest commit, mean over rounds (ms above)", "%.1f ms" % statistics.fmean(ours),
            "%.1f ms" % statistics.fmean(other), triple, "<= +%d ms" % most_ms, triple[0] <= most_ms, True)
        row("longest commit of all rounds", "%.1f ms" % max(ours), "%.1f ms" % max(other), None, "", None)

    def part_rate(self):
        rounds, secs = (2, 3) if self.quick else (10, 10)
        head("application at 200 transactions a second (%d rounds of %d s)" % (rounds, secs))
        a, b = self.both(rounds, "load", "-secs", secs, "-rate", 200)
        self.longest(a, b, 5)
        median = [x["median_us"] for x in a], [x["median_us"] for x in b]
        row("median transaction (us)", "%.0f us" % statistics.fmean(median[0]), "%.0f us" % statistics.fmean(median[1]),
            ratio_interval(*median), "", None)

    def part_latency(self):
        for title, keys, n, every_us in (
                ("a commit every 1.5 s, default", "", 8 if self.quick else 80, 1500000),
                ("7 commits a second, sync-interval 10ms", "        sync-interval: 10ms\n", 40 if self.quick else 400,
                 143000),
                ("7 commits a second, sync-interval 0", "        sync-interval: 0s\n", 40 if self.quick else 400,
                 143000)):
            head("commit to object in a file replica: %s (%d samples)" % (title, n))
            work = self.fresh()
            db = os.path.join(work, "app.db")
            scratch = os.path.join(work, "scratch")
            os.mkdir(scratch)
            tool("load", db, "-secs", "0.02")
            with Walbrook(work, [db], keys) as w:
                time.sleep(2)
                tool("load", db, "-secs", "0.05", "-rate", 20)
                time.sleep(2)
                lines = [pairs(x) for x in tool("latency", db, w.replicas[0], scratch, "-n", n, "-every-us",
                                                every_us).splitlines()]
            ours, other = [x["commit_us"] for x in lines], [x["reference_us"] for x in lines]
            for name, q, most in (("median", 0.5, 2), ("p99", 0.99, 3)):
                triple = bootstrap(ours, other, q)
                row("%s, against write + fsync + rename of the same bytes" % name,
                    "%.2f ms" % (quantile(ours, q) / 1000), "%.2f ms" % (quantile(other, q) / 1000), triple,
                    "<= %.2f" % most, triple[0] <= most)

    def part_compress(self):
        rounds = 6 if self.quick else 20
        head("capture and compression, one core, against liblz4 on the same bytes (%d rounds)" % rounds)
        for kb in (8192, 256, 16):
            lines = [pairs(x) for x in tool("compress", "-rounds", rounds, "-segment-kb", kb).splitlines()]
            ours, other = [x["ours_mb_s"] for x in lines], [x["lz4_mb_s"] for x in lines]
            triple = ratio_interval(ours, other)
            row("segments of %d KiB (MB/s)" % kb, "%.0f MB/s" % statistics.fmean(ours),
                "%.0f MB/s" % statistics.fmean(other), triple, ">= 0.80", triple[0] >= 0.8)

    def part_snapshot(self):
        rounds = 3 if self.quick else 8
        replica, made = self.replica("snapshot", "-snapshot-mb", self.mb, "-wal-mb", 0)
        head("restore of a snapshot of %d MB, against lz4 -dc | dd conv=fsync (%d rounds)" % (self.mb, rounds))
        out = os.path.join(self.work, "out.db")
        stored = os.path.join(replica, "generations/0123456789abcdef/snapshots/00000000.snapshot.lz4")
        ours, other = [], []
        for i in range(rounds + 1):
            for us in ((True, False), (False, True))[i % 2]:
                if os.path.exists(out):
                    os.unlink(out)
                argv = [WALBROOK, "restore", "-o", out, replica] if us else [
                    "/bin/sh", "-c", 'lz4 -dc "$1" | dd of="$2" bs=1M conv=fsync status=none', "sh", stored, out]
                secs, rss = timed(argv)
                if os.path.getsize(out) != made["db_bytes"]:
                    raise Broken("the restored file has %d bytes" % os.path.getsize(out))
                if i > 0:  # the first round warms the page cache
                    (ours if us else other).append((secs, rss))
        os.unlink(out)
        self.restore_row("time", ours, [x[0] for x in other], "<= 1.25", lambda r: r <= 1.25, time_ratio=True)

    @staticmethod
    def restore_row(name, ours, other, target, good, time_ratio):
        secs = [x[0] for x in ours]
        triple = ratio_interval(secs, other) if time_ratio else ratio_interval(other, secs)
        row(name, "%.2f s" % statistics.fmean(secs), "%.2f s" % statistics.fmean(other), triple, target,
            good(triple[0]))
        rss = max(x[1] for x in ours) / 1024
        row("resident memory of the restore, peak", "%.1f MiB" % rss, "", None, "<= 64 MiB", rss <= 64)

    def part_wal(self):
        rounds = 3 if self.quick else 8
        out = os.path.join(self.work, "out.db")
        for segments in (100, 10000):
            replica, made = self.replica("wal-%d" % segments, "-wal-mb", self.mb, "-segments", segments)
            head("restore of %d MB of WAL in %d segments, against one pass of lz4, checksum, pwrite, fsync (%d rounds)"
                 % (self.mb, made["segments"], rounds))
            ours, other, without_sync = [], [], []
            for i in range(rounds + 1):
                for us in ((True, False), (False, True))[i % 2]:
                    if os.path.exists(out):
                        os.unlink(out)
                    if us:
                        got = timed([WALBROOK, "restore", "-o", out, replica])
                    else:
                        os.sync()
                        x = pairs(tool("onepass", replica, out))
                        got = x["secs"] + x["fsync_secs"]
                        without_sync.append(x["secs"])
                    if i > 0:
                        (ours if us else other).append(got)
            os.unlink(out)
            self.restore_row("time; ratio: speed against the reference", ours, other, ">= 0.80", lambda r: r >= 0.8,
                             time_ratio=False)
            row("  the same with a reference that does not sync", "", "", ratio_interval(
                without_sync[1:], [x[0] for x in ours]), "", None)
            rate = [made["wal_bytes"] / 1e6 / x[0] for x in ours]
            row("WAL a second", "%.0f MB/s" % statistics.fmean(rate), "%.0f MB/s" % (
                made["wal_bytes"] / 1e6 / statistics.fmean(other)), None, ">= 300 MB/s", min(rate) >= 300)

    def part_follow(self):
        rounds, mb = (3, 40) if self.quick else (8, 100)
        head("a follower as fast as it can, against SQLite writing the same transactions (%d rounds of %d MB)"
             % (rounds, mb))
        for pages in (1, 10, 100, 1000):
            lines = [pairs(tool("follow", self.fresh(), PAGE, pages, mb)) for _ in range(rounds)]
            sqlite = [x["sqlite_secs"] for x in lines]
            for title, key in (("published one by one", "follow_secs"), ("a WAL in one step", "merged_secs")):
                ours = [x[key] for x in lines]
                triple = ratio_interval(sqlite, ours)
                rates = ["%.0f MB/s" % statistics.fmean([x["frames"] * PAGE / 1e6 / t for x, t in zip(lines, times)])
                         for times in (ours, sqlite)]
                row("%d page%s a transaction, %s" % (pages, "s"[pages == 1:], title), rates[0], rates[1], triple,
                    ">= 0.60", triple[0] >= 0.6)

    def script(self, name):
        """A part that is a program of its own (bench/NAME.py) and prints rows as this one does."""
        sys.stdout.flush()
        env = dict(os.environ, BUILD=BUILD)
        if subprocess.run([sys.executable, "bench/%s.py" % name, "quick" if self.quick else "full"], env=env).returncode != 0:
            raise Broken("bench/%s.py says why" % name)

    def part_live(self):
        self.script("live")

    def part_followers(self):
        self.script("followers")

    def databases(self, n):
        work, dbs = self.fresh(), []
        for i in range(n):
            dbs.append(os.path.join(work, "app-%04d.db" % i))
            c = sqlite3.connect(dbs[-1], isolation_level=None)
            c.executescript("PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1)")
            c.close()
        return work, dbs

    def part_memory(self):
        head("resident memory")
        got = []
        for n in (1, 101):
            work, dbs = self.databases(n)
            with Walbrook(work, dbs) as w:
                time.sleep(4)
                got.append(w.memory_kb())
        (rss1, pss1), (rss2, pss2) = got
        row("one idle database (Pss %.1f MiB)" % (pss1 / 1024), "%.2f MiB" % (rss1 / 1024), "", None, "<= 8 MiB",
            rss1 <= 8 * 1024)
        each = (rss2 - rss1) / 100
        row("each further one, of 100 (Pss %.1f KiB)" % ((pss2 - pss1) / 100), "%.1f KiB" % each, "", None, "<= 64 KiB",
            each <= 64)
        self.memory_over_time(rss1)

    def memory_over_time(self, rss_one):
        """A thousand databases: after the start, after bursts on all. Intervals are so short that each burst is what
        many minutes are with the default ones: snapshots, retention, rests."""
        n, bursts = 1000, 6 if self.quick else 60
        work, dbs = self.databases(n)
        keys = "        retention: 4s\n        retention-check-interval: 2s\n        snapshot-interval: 3s\n"
        with Walbrook(work, dbs, keys) as w:
            time.sleep(4)
            start, _ = w.memory_kb()
            got = []
            for _ in range(bursts):
                for db in dbs:
                    c = sqlite3.connect(db, isolation_level=None, timeout=30)
                    c.executescript("PRAGMA synchronous=OFF; INSERT INTO t VALUES(randomblob(3000)); DELETE FROM t "
                                    "WHERE rowid < (SELECT max(rowid) FROM t) - 5; INSERT INTO t VALUES(1)")
                    c.close()
                time.sleep(4)
                got.append(w.memory_kb()[0])
            fds = len(os.listdir("/proc/%d/fd" % w.process.pid))
        row("%d databases after the start" % n, "%.1f MiB" % (start / 1024), "", None, "", None)
        row("each further one", "%.1f KiB" % ((start - rss_one) / (n - 1)), "", None, "<= 64 KiB",
            (start - rss_one) / (n - 1) <= 64)
        row("after a burst on all", "%.1f MiB" % (got[0] / 1024), "", None, "", None)
        row("after %d bursts, with snapshots and retention between" % bursts, "%.1f MiB" % (got[-1] / 1024),
            "%.1f MiB" % (got[1] / 1024), (got[-1] / got[1],) * 3, "<= 1.1", got[-1] <= got[1] * 1.1)
        row("each then", "%.1f KiB" % ((got[-1] - rss_one) / (n - 1)), "", None, "<= 64 KiB",
            (got[-1] - rss_one) / (n - 1) <= 64)
        row("open descriptors then", "%d" % fds, "", None, "", None)

    def part_idle(self):
        n, secs, traced = (1000, 10, 5) if self.quick else (1000, 20, 60)
        head("%d idle databases" % n)
        work, dbs = self.databases(n)
        with Walbrook(work, dbs) as w:
            time.sleep(5)
            begin = w.cpu_ns()
            time.sleep(secs)
            percent = (w.cpu_ns() - begin) / 1e9 / secs * 100
            rss, pss = w.memory_kb()
            row("CPU over %d s" % secs, "%.3f %%" % percent, "", None, "<= 0.1 %", percent <= 0.1)
            row("resident memory (Pss %.1f MiB)" % (pss / 1024), "%.1f MiB" % (rss / 1024), "", None, "", None)
            if shutil.which("strace"):
                self.count_calls(w.process.pid, traced, n)

    def count_calls(self, pid, secs, n):
        out = os.path.join(self.work, "strace.txt")
        p = subprocess.Popen(["strace", "-f", "-c", "-o", out, "-p", str(pid)], stderr=subprocess.PIPE)
        time.sleep(secs)
        p.send_signal(signal.SIGINT)
        p.communicate()
        calls = {}
        for line in open(out):
            m = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if m and m.group(2) != "total":
                calls[m.group(2)] = int(m.group(1))
        most = ", ".join("%s %d" % x for x in sorted(calls.items(), key=lambda x: -x[1])[:6])
        minute, sweep = sum(calls.values()) * 60 / secs, 3 * n
        row("system calls a minute (counted for %d s); the sweep's" % secs, "%.0f" % minute, "%d" % sweep,
            (minute / sweep,) * 3, "<= 1.25" if secs >= 60 else "", minute <= 1.25 * sweep if secs >= 60 else None)
        print("  in these %d s: %s" % (secs, most or "none"))

    def part_start(self):
        rounds = 10 if self.quick else 40
        head("size and start (%d rounds)" % rounds)
        stripped = os.path.join(self.work, "stripped")
        run("strip", "-s", "-o", stripped, WALBROOK)
        size = os.path.getsize(stripped)
        row("stripped binary", "%d bytes" % size, "", None, "<= 600000", size <= 600000)
        first = []
        for _ in range(rounds):
            work = self.fresh()
            db, replica = os.path.join(work, "app.db"), os.path.join(work, "replica")
            tool("load", db, "-init")
            first.append(pairs(tool("latency", "-start", replica, os.path.join(work, ".app.db-litestream"), "--",
                                    WALBROOK, "replicate", db, "file://" + replica))["first_us"] / 1000)
        triple = mean_interval(first)
        row("start to first capture (first object or spool file)", "%.1f ms" % statistics.median(first), "", triple,
            "<= 20 ms", statistics.median(first) <= 20)

    def part_checkpoints(self):
        secs = 1 if self.quick else 5
        head("the application's own checkpoints, busy timeout 5 s (runs of %g s): median / worst ms, busy of n" % secs)
        ways = [("same connection", []), ("same, autocheckpoint 0", ["-auto", 0]),
                ("other connection", ["-other", "-auto", 0])]
        pauses = [("no pause", []), ("5 ms pauses", ["-pause", 5])]
        for mode in ("FULL", "RESTART", "TRUNCATE"):
            for i, (way, a) in enumerate(ways):
                for pause, b in pauses:
                    if self.quick and i == 1:
                        continue
                    args = ["-mode", mode, "-secs", secs, "-every", 100] + a + b
                    ours, other = self.beside(True, "ckpt", *args), self.beside(False, "ckpt", *args)
                    text = ["%.1f / %.1f, %d of %d" % (x["median_ms"], x["worst_ms"], x["busy"], x["n"])
                            for x in (ours, other)]
                    meets = [x["median_ms"] <= 25 and x["worst_ms"] <= 250 for x in (ours, other)]
                    good = meets[0] and ours["busy"] <= other["busy"]
                    verdict = "met" if good else "MISSED" if meets[1] else "MISSED, as it is without us"
                    print("{:<44} {:>30} {:>30}   25 / 250, busy as reference  {}".format(
                        "%s, %s, %s" % (mode, way, pause), text[0], text[1], verdict))
                    sys.stdout.flush()


def facts(work):
    cpu = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo").read())
    mem = int(re.search(r"MemTotal:\s+(\d+)", open("/proc/meminfo").read()).group(1))
    disk = subprocess.run(["findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", "-T", work], stdout=subprocess.PIPE, text=True)
    print("machine: %s, %d cores, %.1f GiB, Linux %s" % (cpu.group(1) if cpu else os.uname().machine, os.cpu_count(),
                                                        mem / 2**20, os.uname().release))
    print("disk: %s" % (" ".join(disk.stdout.split()) or "unknown"))
    print("SQLite %s; %s; walbrook %s; load %.2f" % (sqlite3.sqlite_version, run("lz4", "--version").strip().strip("*"),
                                                    run(WALBROOK, "version").strip(), os.getloadavg()[0]))


def main(argv):
    quick = "quick" in argv
    names = [n[5:] for n in dir(Bench) if n.startswith("part_")]
    order = ["throughput", "rate", "latency", "compress", "snapshot", "wal", "follow", "live", "followers", "memory", "idle", "start", "checkpoints"]
    assert sorted(names) == sorted(order)
    wanted = [a for a in argv if a not in ("quick", "full")]
    if wanted == ["list"]:
        print(" ".join(order))
        return 0
    unknown = [a for a in wanted if a not in order]
    if unknown:
        print("no such part: %s; there are: %s" % (" ".join(unknown), " ".join(order)), file=sys.stderr)
        return 2
    bench, broken = Bench(quick), 0
    try:
        facts(bench.work)
        for part in wanted or order:
            try:
                getattr(bench, "part_" + part)()
            except (Broken, OSError, ValueError, KeyError) as e:
                broken += 1
                print("BROKEN: %s: %s" % (part, e))
    finally:
        shutil.rmtree(bench.work, ignore_errors=True)
    print("\nbench: %d part%s broken" % (broken, "" if broken == 1 else "s"))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
