#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/followers.py [quick|full] [FOLLOWERS]: many followers on one primary (`bench/run.sh followers` runs it).

A walbrook replicates two databases: one that is followed, and the busy one of the application. All over loopback.

  1. Memory for each of 1,000 followers; processor time while 10 MB/s go out to them in all; a commit's way to one of them.
  2. What the application keeps. On two cores the 1,000 clients cost something too, which on other machines they would
     not cost the primary. So there are three kinds of short runs, in turns:

       alone   nobody follows;
       least   1,000 connections to bench/sender.c, which sends as many bytes in as many pieces and does nothing else;
       ours    1,000 followers of walbrook.

     In all of them walbrook replicates both databases, the followed one is written at the same rate, and the clients
     are one process that throws away in the kernel what comes (bench/clients.c), at nice 19. `ours` against `least` is
     what walbrook takes from the application for 1,000 followers beyond what the sockets and the clients take; `ours` and
     `least` against `alone` are printed as well. Two loads:

       throttled   the application of the followed database itself, at the rate that makes 10 MB/s for 1,000: the
                   transactions that it asks for and gets, and their median time;
       full speed  an application that writes the other database as fast as it can.

Uses $BUILD (`build` unless set). Prints the rows of bench/bench.py; exits 1 only when something breaks."""

import os
import re
import resource
import select
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

from bench import BUILD, WALBROOK, Broken, head, pairs, quantile, ratio_interval, row, tool

EGRESS_BYTES_S = 10e6
TCP_WAIT_S = 60


def program(name):
    return os.path.join(BUILD, "bench", name)


def nobody_nice():
    os.nice(19 - os.nice(0))


def cpu_s(pid):
    base = "/proc/%d/task" % pid
    return sum(int(open("%s/%s/schedstat" % (base, t)).read().split()[0]) for t in os.listdir(base)) / 1e9


class Primary:
    def __init__(self, root):
        self.root, self.followed, self.busy = root, root + "/followed.db", root + "/busy.db"
        for path in (self.followed, self.busy):
            tool("load", path, "-secs", "0.02", "-rate", 200)
        with open(root + "/walbrook.yml", "w") as f:
            f.write("addr: 127.0.0.1:0\nsocket: %s/s\nconnections-per-address: 4096\nlogging:\n  stderr: true\n"
                    "dbs:\n  - path: %s\n  - path: %s\n" % (root, self.followed, self.busy))
        self.log = open(root + "/log", "w")
        self.process = subprocess.Popen([WALBROOK, "replicate", "-config", root + "/walbrook.yml"], stdout=self.log,
                                        stderr=self.log)

    def __enter__(self):
        at, end = None, time.monotonic() + 20
        while not at:
            if time.monotonic() > end or self.process.poll() is not None:
                raise Broken("walbrook is not ready: " + open(self.root + "/log").read()[-600:])
            time.sleep(0.05)
            at = re.search(r"http://127\.0\.0\.1:(\d+)/", open(self.root + "/log").read())
        self.port = int(at.group(1))
        time.sleep(2)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def target(self):
        return "/stream?path=%s&txn=1" % self.followed

    def memory_kb(self):
        return int(re.search(r"VmRSS:\s+(\d+)", open("/proc/%d/status" % self.process.pid).read()).group(1))


class Clients:
    """bench/clients.c: from all connected and with content, until the end of its input."""

    pid = None  # of who sends to them, if that is not walbrook

    def __init__(self, port, n, ready_bytes, target=None):
        self.n = n
        argv = [program("clients"), str(port), str(n), str(ready_bytes)] + ([target] if target else [])
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=nobody_nice)

    def ask(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Broken("the clients ended")
        got = pairs(line)
        if got["closed"]:
            raise Broken("%d of %d connections were closed" % (got["closed"], self.n))
        return got

    def __enter__(self):
        end = time.monotonic() + TCP_WAIT_S
        try:
            while self.ask()["ready"] < self.n:
                if time.monotonic() > end:
                    raise Broken("not all clients got content: %s" % self.ask())
                time.sleep(0.1)
        except Broken:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)


class Sender:
    """bench/sender.c with as many clients."""

    def __init__(self, n, each_bytes, rate):
        self.process = subprocess.Popen([program("sender"), str(n), str(each_bytes), str(int(1e6 / rate))],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self.port = int(pairs(self.process.stdout.readline())["port"])
        self.clients = Clients(self.port, n, 1)

    def ask(self):
        return self.clients.ask()

    def __enter__(self):
        self.clients.__enter__()
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        got = pairs(self.process.stdout.read())
        self.process.wait(30)
        self.clients.__exit__()
        if got["short"]:
            raise Broken("the clients were too slow for the sender, %d times" % got["short"])


class Nobody:
    pid = None

    def ask(self):
        return {"bytes": 0, "cpu_secs": 0}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class App:
    """bench/load.c beside something else."""

    def __init__(self, db, *args):
        self.process = subprocess.Popen([program("load"), db] + [str(a) for a in args], stdout=subprocess.PIPE, text=True)

    def end(self):
        out = self.process.stdout.read()
        if self.process.wait(60) != 0:
            raise Broken("load ended with %d" % self.process.returncode)
        return pairs(out)


def way_to_one(primary, n):
    """Times from the end of a commit to the first byte of its segment at a client, in ms."""
    s = socket.create_connection(("127.0.0.1", primary.port))
    s.sendall(("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % primary.target()).encode())
    time.sleep(1)
    db = sqlite3.connect(primary.followed, isolation_level=None)
    db.execute("PRAGMA synchronous=NORMAL")
    times = []
    for _ in range(n):
        while select.select([s], [], [], 0.03)[0]:
            if not s.recv(1 << 16):
                raise Broken("the stream ended")
        db.execute("INSERT INTO t(a, b) VALUES(1, hex(randomblob(40)))")
        begin, got = time.perf_counter(), 0
        while got < 120:  # more than a heartbeat
            got = len(s.recv(1 << 16))
        times.append((time.perf_counter() - begin) * 1e3)
    db.close()
    s.close()
    return times


def bytes_of_a_commit(primary, secs):
    """Bytes to each follower for a transaction of bench/load.c, asked of ten of them."""
    with Clients(primary.port, 10, os.path.getsize(primary.followed), primary.target()) as some:
        before = some.ask()["bytes"]
        got = tool("load", primary.followed, "-secs", secs, "-rate", 12)
        time.sleep(0.3)
        return (some.ask()["bytes"] - before) / 10 / pairs(got)["tx"]


def part_memory(primary, n, quick):
    head("%d followers on one primary" % n)
    ms = way_to_one(primary, 40 if quick else 200)
    row("commit to bytes at a client, one follower, median / p99", "%.2f / %.2f ms" % (
        quantile(ms, 0.5), quantile(ms, 0.99)), "", None, "", None)
    bytes_of_a_commit(primary, 1)
    before = primary.memory_kb()
    rate = max(1, int(EGRESS_BYTES_S / n / bytes_of_a_commit(primary, 3)))
    begin = time.monotonic()
    with Clients(primary.port, n, os.path.getsize(primary.followed), primary.target()) as c:
        came = time.monotonic() - begin
        time.sleep(2)
        each = (primary.memory_kb() - before) / n
        row("resident memory of each, connected and quiet", "%.1f KiB" % each, "", None, "<= 64 KiB", each <= 64)
        row("time until all have the content and follow", "%.1f s" % came, "", None, "", None)
        secs = 5 if quick else 20
        one, cpu, begin = c.ask(), cpu_s(primary.process.pid), time.monotonic()
        tool("load", primary.followed, "-secs", secs, "-rate", rate)
        took, cpu, two = time.monotonic() - begin, cpu_s(primary.process.pid) - cpu, c.ask()
        row("sent to all, %d commits a second for %d s" % (rate, secs), "%.1f MB/s" % (
            (two["bytes"] - one["bytes"]) / 1e6 / took), "", None, "", None)
        row("processor time of walbrook for that", "%.1f %%" % (100 * cpu / took), "", None, "", None)
        row("processor time of the %d clients, one process" % n, "%.1f %%" % (
            100 * (two["cpu_secs"] - one["cpu_secs"]) / took), "", None, "", None)
        each = (primary.memory_kb() - before) / n
        row("resident memory of each after that (all: %.1f MiB)" % (primary.memory_kb() / 1024), "%.1f KiB" % each, "", None,
            "<= 64 KiB", each <= 64)
    return rate, (two["bytes"] - one["bytes"]) / n / (secs * rate)


def one_run(primary, crowd, rate, secs):
    """Throttled, then at full speed, beside the crowd: what the application got, and what went out."""
    with crowd as c:
        time.sleep(0.5)
        throttled = pairs(tool("load", primary.followed, "-secs", secs, "-rate", rate))
        beside = App(primary.followed, "-secs", secs + 1, "-rate", rate)
        time.sleep(0.5)
        senders = [primary.process.pid] + ([c.pid] if c.pid else [])
        one, cpu = c.ask(), sum(map(cpu_s, senders))
        full = pairs(tool("load", primary.busy, "-secs", secs))
        two, cpu = c.ask(), sum(map(cpu_s, senders)) - cpu
        beside.end()
        return {"kept": throttled["tps"], "median_us": throttled["median_us"], "tps": full["tps"],
                "core": full["cpu_secs"] / full["secs"], "tx_a_cpu_s": full["tx"] / full["cpu_secs"],
                "egress": (two["bytes"] - one["bytes"]) / full["secs"], "cpu": cpu / full["secs"],
                "clients": (two["cpu_secs"] - one["cpu_secs"]) / full["secs"]}


def part_application(primary, n, quick, rate, each_bytes):
    rounds, secs = (3, 1) if quick else (15, 2)
    sent = [each_bytes]  # for a transaction to each: what the runs of ours sent, so that the bare sender sends no more
    crowds = {"alone": Nobody, "least": lambda: Sender(n, round(statistics.fmean(sent)), rate),
              "ours": lambda: Clients(primary.port, n, os.path.getsize(primary.followed), primary.target())}
    names, got = list(crowds), {k: [] for k in crowds}
    for i in range(rounds):
        for name in (names[i % 3:] + names[:i % 3])[::(1, -1)[i // 3 % 2]]:
            got[name].append(one_run(primary, crowds[name](), rate, secs))
            if name == "ours":
                sent = [x["egress"] / n / rate for x in got[name]]
            time.sleep(0.5)
    of = {k: {key: [x[key] for x in v] for key in v[0]} for k, v in got.items()}
    mean = {k: {key: statistics.fmean(v) for key, v in x.items()} for k, x in of.items()}
    for title, key, unit in (("throttled: transactions a second", "kept", "%.1f/s"),
                             ("full speed: transactions a second", "tps", "%.0f/s")):
        head("the application of the primary with %d followers, %s (%d rounds of %d s)" % (n, title, rounds, secs))
        for ours, other, target in (("ours", "least", ">= 0.97"), ("ours", "alone", ">= 0.97"), ("least", "alone", "")):
            triple = ratio_interval(of[ours][key], of[other][key])
            row({"ours": "followers", "least": "bare sockets, same bytes"}[ours] + " / "
                + {"least": "bare sockets, same bytes", "alone": "nobody"}[other], unit % mean[ours][key],
                unit % mean[other][key], triple, target, triple[0] >= 0.97 if target else None)
        if key == "kept":
            row("  median transaction, followers / bare sockets", "%.0f us" % mean["ours"]["median_us"], "%.0f us" % mean[
                "least"]["median_us"], ratio_interval(of["ours"]["median_us"], of["least"]["median_us"]), "", None)
    row("  of a core the application got", "%.1f %%" % (100 * mean["ours"]["core"]), "%.1f %%" % (
        100 * mean["least"]["core"]), ratio_interval(of["ours"]["core"], of["least"]["core"]), "", None)
    row("  transactions for a second of its processor time", "%.0f" % mean["ours"]["tx_a_cpu_s"], "%.0f" % mean["least"][
        "tx_a_cpu_s"], ratio_interval(of["ours"]["tx_a_cpu_s"], of["least"]["tx_a_cpu_s"]), "", None)
    row("  sent meanwhile", "%.1f MB/s" % (mean["ours"]["egress"] / 1e6), "%.1f MB/s" % (mean["least"]["egress"] / 1e6),
        None, "", None)
    row("  processor time of the clients", "%.1f %%" % (100 * mean["ours"]["clients"]), "%.1f %%" % (
        100 * mean["least"]["clients"]), None, "", None)
    row("  processor time of walbrook, and of the bare sender", "%.1f %%" % (100 * mean["ours"]["cpu"]), "%.1f %%" % (
        100 * mean["least"]["cpu"]), None, "", None)
    row("  of walbrook with nobody", "", "%.1f %%" % (100 * mean["alone"]["cpu"]), None, "", None)


def main(argv):
    quick = "quick" in argv
    numbers = [int(a) for a in argv if a.isdigit()]
    n = numbers[0] if numbers else 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    root = tempfile.mkdtemp(prefix="bench-followers-", dir=BUILD)
    try:
        with Primary(root) as primary:
            rate, each_bytes = part_memory(primary, n, quick)
            part_application(primary, n, quick, rate, each_bytes)
    except (Broken, OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
        print("BROKEN: followers: %s" % e)
        return 1
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
