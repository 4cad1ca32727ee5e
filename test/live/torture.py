#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Torture of live replication: a primary, one or two followers or a chain, and ordinary SQLite readers of the followers.

    torture.py [-secs N] [-seed S] [-dir DIR] [-only ROUND] BUILD_DIR

1. A round is a page size, an auto_vacuum mode and a topology, drawn from the seed. The application (load.py, two
   writers) commits, vacuums, changes its schema, checkpoints in all modes; walbrook replicates it and serves followers
   through proxies of ours (proxy.py) that cut, stall, and deliver byte by byte.
2. Readers of each follower (reader.c through the system's SQLite, load.py through Python's, the sqlite3 program, and
   those in WALBROOK_LIVE_READERS) read all the time and judge each transaction themselves.
3. Meanwhile: kill -9 and SIGTERM of primary, followers, readers, writers; cuts; somebody who writes to a follower, or
   checkpoints it. A primary that was away while its application checkpointed comes back with a new generation.
4. Then quiet: every follower must become the primary's image page by page, every reader must have seen only states that
   were committed, one chain a number, and every daemon must end by itself when asked.

The same seed gives the same configurations and the same plan; the machine gives the timing. The last line is
`torture-live: PASS …` or FAIL with figures. A failure keeps DIR."""

import argparse
import collections
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import wire
from proxy import Fate, Proxy

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD = [sys.executable, os.path.join(HERE, "load.py")]
QUIET_S = 90  # longest time until a follower is where the primary is
CLI_SQL = """BEGIN; SELECT s.seq, s.chain, (SELECT max(seq) FROM link), (SELECT chain FROM link WHERE seq = s.seq),
s.cells, (SELECT count(*) FROM cell) FROM state s; COMMIT;"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tail(path, n=15):
    try:
        with open(path, errors="replace") as f:
            return "".join("    " + line for line in f.readlines()[-n:])
    except OSError:
        return ""


class Process:
    """A child with its standard input as the word to end."""

    def __init__(self, name, argv, log):
        self.name, self.argv, self.log = name, argv, log
        with open(log, "ab") as out:
            self.p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True)

    def kill(self):
        self.p.kill()
        self.p.communicate()

    def end(self, limit_s=60):
        """What it said at its end; None when it did not end."""
        try:
            out, _ = self.p.communicate("", limit_s)
            return out.strip()
        except subprocess.TimeoutExpired:
            self.kill()
            return None


class Daemon:
    """walbrook replicate with a configuration, startable and stoppable."""

    def __init__(self, round_, name, config):
        self.round, self.name = round_, name
        self.port = free_port()
        self.config = os.path.join(round_.dir, name + ".yml")
        self.log = os.path.join(round_.dir, name + ".log")
        with open(self.config, "w") as f:
            f.write(f'addr: "127.0.0.1:{self.port}"\nsocket: {round_.dir}/{name}.sock\n{config}')
        self.p = None

    def start(self):
        with open(self.log, "ab") as log:
            self.log_bytes = log.tell()
            self.p = subprocess.Popen(
                [self.round.walbrook, "replicate", "-config", self.config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def alive(self):
        return self.p is not None and self.p.poll() is None

    def kill(self):
        if self.alive():
            self.p.kill()
            self.p.wait()

    def stop(self):
        """Asked to end; a status that is not 0, or an end that does not come, is a failure."""
        if not self.alive():
            return
        self.p.terminate()
        try:
            status = self.p.wait(60)
            silent = os.path.getsize(self.log) == self.log_bytes
            if status == -signal.SIGTERM and silent:
                return  # asked before it was up: it had said nothing yet
            if status != 0:
                self.round.fail(f"{self.name} ended with status {status}\n{tail(self.log)}")
        except subprocess.TimeoutExpired:
            self.kill()
            self.round.fail(f"{self.name} did not end within 60 s of SIGTERM\n{tail(self.log)}")

    def check_alive(self):
        if not self.alive():
            self.round.fail(f"{self.name} ended by itself, status {self.p.returncode}\n{tail(self.log)}")
            self.start()


class Follower:
    def __init__(self, round_, name, source_path, target):
        self.round, self.name = round_, name
        self.db = os.path.join(round_.dir, name + ".db")
        self.proxy = Proxy(target, round_.fate)
        self.daemon = Daemon(
            round_,
            name,
            f"dbs:\n  - path: {self.db}\n    upstream:\n      url: http://127.0.0.1:{self.proxy.port}\n"
            f"      path: {source_path}\n",
        )
        self.readers = []
        self.cli_log = os.path.join(round_.dir, name + ".seen.cli")

    def reader_commands(self):
        """Commands without the log and the seed: patient ones, impatient ones, long transactions, mmap, read-only."""
        c = self.round.reader
        for kind in (
            [c, "rw", 0, 500, 400, 30000],
            [c, "ro", 1 << 28, 4000, 40, 30000],
            [c, "rw", 1 << 28, 300000, 10, 30000],
            [c, "ro", 0, 2000, 3, 0],
        ):
            yield kind
        for extra in self.round.extra_readers:
            yield [extra, "rw", 0, 3000, 100, 30000]
        yield None

    def start_reader(self, kind):
        n = self.round.counter["readers"] = self.round.counter["readers"] + 1
        log = os.path.join(self.round.dir, f"{self.name}.seen.{n}")
        seed = str(self.round.random.randrange(1 << 31))
        if kind is None:
            argv = LOAD + ["read", self.db, log, seed]
        else:
            argv = [kind[0], self.db, log] + [str(v) for v in kind[1:]] + [seed]
        p = Process(f"reader {n} of {self.name}", argv, os.path.join(self.round.dir, f"reader{n}.err"))
        p.kind = kind
        self.readers.append(p)

    def start_readers(self):
        for kind in self.reader_commands():
            self.start_reader(kind)

    def judge(self, reader):
        said = reader.end()
        words = (said or "").split()
        if not words or words[0] != "ok":
            self.round.fail(f"{reader.name} ({' '.join(reader.argv)}): {said or 'did not end, or died'}\n{tail(reader.log)}")
            return
        c = self.round.counter
        for name, value in zip(("reads", "whole", "busy", "opens"), words[1:5]):
            c[name] += int(value)
        self.round.versions.add(words[5])

    def look_by_cli(self):
        """The sqlite3 program, which opens, reads once and closes."""
        r = subprocess.run(
            ["sqlite3", "-batch", "-cmd", ".timeout 30000", self.db, CLI_SQL], capture_output=True, text=True, timeout=90
        )
        self.round.counter["cli"] += 1
        v = r.stdout.strip().split("|")
        if r.returncode or r.stderr or len(v) != 6 or v[0] != v[2] or v[1] != v[3] or v[4] != v[5]:
            self.round.fail(f"sqlite3 on {self.name}: status {r.returncode}, {r.stdout.strip()} {r.stderr.strip()}")
            return
        with open(self.cli_log, "a") as f:
            f.write(f"{v[0]} {v[1]}\n")

    def write_here(self):
        """Somebody who writes to the follower: refused while it is there; else it has to notice."""
        db = sqlite3.connect(self.db, timeout=0, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("CREATE TABLE IF NOT EXISTS intruder(a)")
            db.execute("INSERT INTO intruder VALUES(zeroblob(2000))")
            db.execute("COMMIT")
            self.round.counter["local writes"] += 1
        except sqlite3.OperationalError as e:
            if "locked" not in str(e):
                self.round.fail(f"a local writer on {self.name} was told: {e}")
            self.round.counter["local writes refused"] += 1
        finally:
            db.close()

    def checkpoint_here(self):
        db = sqlite3.connect(self.db, timeout=0, isolation_level=None)
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self.round.counter["local checkpoints"] += 1
        except sqlite3.OperationalError as e:
            if "locked" not in str(e):
                self.round.fail(f"a local checkpoint on {self.name} was told: {e}")
        finally:
            db.close()


class Round:
    TOPOLOGIES = ("one", "two", "chain")

    def __init__(self, run, n, secs):
        self.run, self.n, self.secs = run, n, secs
        self.random = random.Random(f"{run.seed}/{n}")
        self.dir = os.path.join(run.dir, f"round-{n}")
        os.mkdir(self.dir)
        self.walbrook, self.reader, self.extra_readers = run.walbrook, run.reader, run.extra_readers
        self.counter, self.versions = run.counter, run.versions
        # Each three rounds have all page sizes and all topologies, in an order of the seed's.
        order = random.Random(f"{run.seed}/{(n - 1) // 3}")
        sizes, topologies = [512, 4096, 65536], list(self.TOPOLOGIES)
        order.shuffle(sizes)
        order.shuffle(topologies)
        self.page_size, self.topology = sizes[(n - 1) % 3], topologies[(n - 1) % 3]
        self.auto_vacuum = self.random.randrange(3)
        self.pause_ms = self.random.choice((3, 10, 30))
        self.cruel = True
        self.failures = 0
        self.db = os.path.join(self.dir, "p.db")
        self.witness = os.path.join(self.dir, "witness")

    def fail(self, text):
        self.failures += 1
        print(f"torture-live: FAILURE (round {self.n}): {text}", flush=True)

    def fate(self):
        if not self.cruel:
            return Fate()
        r, f = random.Random(), Fate()
        what = r.random()
        if what < 0.45:
            f.cut = int(2 ** r.uniform(0, 21))
        elif what < 0.55:
            f.stall, f.stall_s = int(2 ** r.uniform(0, 18)), r.uniform(0.1, 2)
        elif what < 0.65:
            f.drip = int(2 ** r.uniform(0, 12))
        return f

    # ---- the parts ----

    def make(self):
        subprocess.run(LOAD + ["make", self.db, str(self.page_size), str(self.auto_vacuum)], check=True, timeout=60)
        few = self.random.choice((20, 200, 1000))
        self.primary = Daemon(
            self,
            "primary",
            f"dbs:\n  - path: {self.db}\n    min-checkpoint-page-count: {few}\n    checkpoint-interval: 2s\n"
            f"    replicas:\n      - path: {self.dir}/replica\n        sync-interval: 100ms\n",
        )
        first = Follower(self, "f1", self.db, lambda: self.primary.port)
        self.followers = [first]
        if self.topology == "two":
            self.followers.append(Follower(self, "f2", self.db, lambda: self.primary.port))
        elif self.topology == "chain":
            self.followers.append(Follower(self, "f2", first.db, lambda: first.daemon.port))
        self.daemons = [self.primary] + [f.daemon for f in self.followers]
        self.writers = []

    def start_writer(self):
        n = self.counter["writers"] = self.counter["writers"] + 1
        argv = LOAD + ["write", self.db, self.witness, str(self.random.randrange(1 << 31)), str(self.pause_ms)]
        self.writers.append(Process(f"writer {n}", argv, os.path.join(self.dir, f"writer{n}.err")))

    def wait_for(self, what, seconds, test):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if test():
                return True
            for d in self.daemons:
                if d.p is not None:
                    d.check_alive()
            if self.failures > 5:
                return False
            time.sleep(0.05)
        self.fail(f"waited {seconds} s in vain: {what}\n" + "".join(f"  {d.name}:\n{tail(d.log)}" for d in self.daemons))
        return False

    # ---- what happens ----

    def away(self, daemon, kill):
        """The daemon goes and comes back; the others and the application go on meanwhile."""
        if kill:
            daemon.kill()
        else:
            daemon.stop()
        self.counter[("killed " if kill else "stopped ") + ("primary" if daemon is self.primary else "follower")] += 1
        time.sleep(self.random.choice((0, 0, 0.1, 0.5, 1.5)))
        daemon.start()

    def kill_reader(self):
        f = self.random.choice(self.followers)
        victim = self.random.choice(f.readers)
        if victim.p.poll() is not None:
            return  # it has something to say at the end
        victim.kill()
        f.readers.remove(victim)
        self.counter["killed reader"] += 1
        f.start_reader(victim.kind)

    def kill_writer(self):
        victim = self.random.choice(self.writers)
        if victim.p.poll() is not None:
            self.fail(f"{victim.name} ended by itself\n{tail(victim.log)}")
        victim.kill()
        self.writers.remove(victim)
        self.counter["killed writer"] += 1
        self.start_writer()

    def event(self):
        r = self.random
        f = r.choice(self.followers)
        what = r.choices(
            ("cut", "kill follower", "stop follower", "kill primary", "stop primary", "reader", "writer", "intruder",
             "checkpoint", "cli"),
            (20, 8, 3, 5, 2, 8, 4, 5, 3, 10),
        )[0]  # fmt: skip
        if what == "cut":
            f.proxy.cut()
        elif what == "kill follower":
            self.away(f.daemon, True)
        elif what == "stop follower":
            self.away(f.daemon, False)
        elif what == "kill primary":
            self.away(self.primary, True)
        elif what == "stop primary":
            self.away(self.primary, False)
        elif what == "reader":
            self.kill_reader()
        elif what == "writer":
            self.kill_writer()
        elif what == "intruder":
            f.write_here()
        elif what == "checkpoint":
            f.checkpoint_here()
        elif what == "cli":
            f.look_by_cli()

    # ---- the end ----

    def quiet(self):
        self.cruel = False
        for w in self.writers:
            said = w.end()
            if not (said or "").startswith("ok"):
                self.fail(f"{w.name}: {said}\n{tail(w.log)}")
            for word in (said or "").split()[1:]:
                kind, _, n = word.partition("=")
                self.counter["tx " + kind] += int(n)
        for d in self.daemons:
            d.check_alive()
        for f in self.followers:
            f.proxy.cut()

    def compare(self):
        for f in self.followers:
            said = ["nothing compared"]

            def same(f=f, said=said):
                try:
                    said[0] = wire.images_differ(self.db, f.db)
                except (sqlite3.Error, wire.Broken) as e:
                    said[0] = f"{e!r}"
                return said[0] is None

            if not self.wait_for(f"{f.name} as the primary", QUIET_S, same):
                self.fail(f"{f.name}: {said[0]}")

    def judge_seen(self):
        """Every state that a reader saw was about to be committed, and one only under each number."""
        with open(self.witness) as f:
            noted = {tuple(map(int, line.split())) for line in f if line.endswith("\n")}
        noted.add((0, 0))
        seen = {}
        for name in sorted(os.listdir(self.dir)):
            if ".seen." not in name:
                continue
            with open(os.path.join(self.dir, name)) as f:
                for line in f:
                    if not line.endswith("\n"):
                        continue
                    seq, chain = map(int, line.split())
                    if (seq, chain) not in noted:
                        self.fail(f"{name}: state {seq} {chain} was never committed")
                    if seen.setdefault(seq, chain) != chain:
                        self.fail(f"{name}: two states have the number {seq}")
                    if self.failures > 5:
                        return
        db = sqlite3.connect(self.db, timeout=30)
        for seq, chain in db.execute("SELECT seq, chain FROM link"):
            if seen.get(seq, chain) != chain:
                self.fail(f"state {seq} that was seen is not what the primary has")
        db.close()
        self.counter["states seen"] += len(seen)

    def play(self):
        print(
            f"round {self.n}: {self.secs:.0f} s, pages of {self.page_size}, auto_vacuum {self.auto_vacuum}, "
            f"{'a chain of two' if self.topology == 'chain' else self.topology + ' follower(s)'}, "
            f"pauses of {self.pause_ms} ms",
            flush=True,
        )
        self.make()
        self.start_writer()
        self.start_writer()
        self.primary.start()
        for f in self.followers:
            f.daemon.start()
        # As soon as it is there it is complete, so the readers come at that moment.
        for f in self.followers:
            if not self.wait_for(f"{f.db} appears", 60, lambda f=f: os.path.exists(f.db)):
                return
            f.start_readers()
        until = time.monotonic() + self.secs
        while time.monotonic() < until and self.failures == 0:
            time.sleep(self.random.uniform(0, 0.6))
            self.event()
            for d in self.daemons:
                d.check_alive()
            self.run.check_time()
        self.quiet()
        self.compare()
        for f in self.followers:
            for reader in f.readers:
                f.judge(reader)
        for d in reversed(self.daemons):
            d.stop()
        self.judge_seen()
        for f in self.followers:
            self.counter["cuts"] += f.proxy.cuts
            self.counter["connections"] += f.proxy.connections
            self.counter["MB through proxies"] += f.proxy.bytes / 1e6

    def clean_up(self):
        for d in getattr(self, "daemons", []):
            d.kill()
        for p in getattr(self, "writers", []):
            p.kill()
        for f in getattr(self, "followers", []):
            f.proxy.close()
            for p in f.readers:
                p.kill()


class Run:
    def __init__(self, o):
        self.seed, self.dir = o.seed, o.dir
        self.walbrook = os.path.join(os.path.abspath(o.build), "walbrook")
        self.reader = os.path.join(os.path.abspath(o.build), "test", "livereader")
        self.extra_readers = [p for p in os.environ.get("WALBROOK_LIVE_READERS", "").split(":") if p]
        self.counter, self.versions = collections.Counter(), set()
        self.limit = time.monotonic() + o.secs * 2 + 600
        self.failures = 0

    def check_time(self):
        if time.monotonic() > self.limit:
            raise TimeoutError("the run takes far longer than it should")

    def round(self, n, secs):
        r = Round(self, n, secs)
        try:
            r.play()
        except Exception as e:  # noqa: BLE001: whatever it is, it is a failure of this round, and all else is put away
            import traceback

            r.fail(f"{e!r}\n{traceback.format_exc()}")
        finally:
            r.clean_up()
        self.failures += r.failures
        if r.failures == 0:
            shutil.rmtree(r.dir)

    def figures(self, took):
        c = self.counter
        tx = sum(v for k, v in c.items() if k.startswith("tx "))
        return (
            f"{took:.0f} s, {tx} transactions ({c['tx vacuum']} VACUUM, {c['tx schema']} schema, {c['tx checkpoint']} "
            f"checkpoints), {c['reads']} reads ({c['whole']} whole), {c['cli']} by sqlite3, {c['opens']} opens, "
            f"{c['busy']} busy, {c['states seen']} states seen; killed: {c['killed primary']} primary, "
            f"{c['killed follower']} follower, {c['killed reader']} reader, {c['killed writer']} writer; stopped: "
            f"{c['stopped primary']} primary, {c['stopped follower']} follower; {c['cuts']} cuts of {c['connections']} "
            f"connections, {c['MB through proxies']:.0f} MB; local writes {c['local writes']}, refused "
            f"{c['local writes refused']}, local checkpoints {c['local checkpoints']}; SQLite {', '.join(sorted(self.versions))}"
        )


def main():
    p = argparse.ArgumentParser(allow_abbrev=False)
    p.add_argument("-secs", type=float, default=60)
    p.add_argument("-seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    p.add_argument("-dir")
    p.add_argument("-only", type=int)
    p.add_argument("build")
    o = p.parse_args()
    own = o.dir is None
    o.dir = os.path.abspath(o.dir) if o.dir else tempfile.mkdtemp(prefix="walbrook-live-")
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, lambda *_: sys.exit(1))
    threading.excepthook = lambda a: print(f"torture-live: a thread of the proxy: {a.exc_value!r}", flush=True)
    print(f"torture-live: seed {o.seed}, {o.secs:.0f} s, in {o.dir}", flush=True)
    run = Run(o)
    rounds = max(3, int(o.secs / 60) * 3)
    begun = time.monotonic()
    for n in range(1, rounds + 1):
        if o.only in (None, n):
            run.round(n, o.secs / rounds)
    failed = run.failures > 0
    print(f"torture-live: {'FAIL' if failed else 'PASS'}  {run.failures} failures, {run.figures(time.monotonic() - begun)}")
    if failed:
        print(f"Kept for a look: {o.dir}. Again: make torture-live SECS={o.secs:.0f} SEED={o.seed}")
    elif own:
        shutil.rmtree(o.dir, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
