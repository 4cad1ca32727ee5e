# SPDX-License-Identifier: Apache-2.0
"""The scenarios of the crash-point test: what the application and walbrook do while a call fails or stops the
process, and what must hold afterwards (the promises of the design, see faults.py).

A scenario prepares a site once (the state before the run). Each case works on a copy of it:

  site/      everything that walbrook may touch: app.db, its metadata directory, the replicas, the output of a
             restore
  probe/     restores that only look
  *.log      what walbrook said, run by run;  trace: the calls of the run under test;  walbrook.yml
"""

import filecmp
import glob
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time

from app import App, check

# How long is waited for walbrook at most. A replica is tried again after 0.25 s, a snapshot after 5 s. The end must
# come before the deadline of 30 s: one error is no reason to give up.
STOP_S = 25
SNAPSHOT_S = 12
SHIPPED_S = 6

OUR_EXIT_CODES = range(1, 11)


class Failed(Exception):
    """A promise does not hold."""


def until(what, seconds, alive=lambda: True):
    """Waits for what() with a bound; False when it did not come true, or alive() is over."""
    end = time.monotonic() + seconds
    while True:
        if what():
            return True
        if not alive() or time.monotonic() > end:
            return bool(what())
        time.sleep(0.003)


class Case:
    """One run of one scenario with one fault (or none), in a directory of its own."""

    def __init__(self, scenario, walbrook, directory, fault=None, strace=None):
        self.scenario = scenario
        self.walbrook = walbrook
        self.dir = directory
        self.fault = fault  # "call:N:action"
        self.strace = strace  # where to put its output
        self.site = os.path.join(directory, "site")
        self.db = os.path.join(self.site, "app.db")
        self.trace = os.path.join(directory, "trace")
        self.process = None
        self.runs = 0
        self.app = None
        self.at_least = 0  # commits that a restore must give: they were in a replica before the process ended
        self.probes = 0

    # ---- walbrook ----

    def replicas(self):
        return [os.path.join(self.site, "replica%d" % i) for i in range(self.scenario.replicas)]

    def config(self):
        lines = ["dbs:", "  - path: %s" % self.db, "    monitor-interval: 10ms", "    replicas:"]
        for path in self.replicas():
            lines += ["      - path: %s" % path, "        sync-interval: 0", "        name: %s" % path[-8:]]
            lines += ["        %s" % option for option in self.scenario.options]
        path = os.path.join(self.dir, "walbrook.yml")
        with open(path, "w") as f:
            f.write("\n".join(lines) + "\n")
        return path

    def start(self, *words, under_test=True):
        """walbrook with these words, or replicate as configured. Its fault comes only in the run under test."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("WALBROOK_FAULT")}
        before = []
        if under_test:
            env["WALBROOK_FAULT_TRACE"] = self.trace
            if self.fault:
                env["WALBROOK_FAULT"] = self.fault
            if self.strace:
                before = ["strace", "-f", "-y", "-qq", "-s", "0", "-o", self.strace, "-e", "trace=%file,%desc"]
        self.runs += 1
        self.log = os.path.join(self.dir, "%d.log" % self.runs)
        words = words or ("replicate", "-config", self.config())
        with open(self.log, "w") as log:
            argv = before + [self.walbrook] + list(words)
            self.process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self.process

    def alive(self):
        return self.process.poll() is None

    def pid_of_walbrook(self):
        """With strace before it walbrook is its child."""
        if not self.strace:
            return self.process.pid
        try:
            with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as f:
                return int(f.read().split()[0])
        except (OSError, IndexError):
            return self.process.pid

    def stop(self):
        """SIGTERM, and its exit status (-9: it was stopped by the fault)."""
        if self.alive():
            os.kill(self.pid_of_walbrook(), signal.SIGTERM)
        return self.wait(STOP_S)

    def wait(self, seconds):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(self.pid_of_walbrook(), signal.SIGKILL)
            self.process.wait()
            raise Failed("walbrook has not ended within %d s" % seconds)

    def said(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def end(self):
        """Whatever happened: nothing of ours goes on."""
        if self.process and self.alive():
            self.process.kill()
            self.process.wait()
        if self.app:
            self.app.db.close()

    # ---- looking ----

    def objects(self, pattern):
        return [sorted(glob.glob(os.path.join(r, "generations", pattern))) for r in self.replicas()]

    def segments(self):
        return [len(found) for found in self.objects("*/wal/*.wal.lz4")]

    def snapshot_is_there(self):
        """The generation that is current in the metadata has a snapshot in every replica."""
        try:
            with open(os.path.join(self.site, ".app.db-litestream", "generation")) as f:
                generation = f.read().strip()
        except OSError:
            return False
        return bool(generation) and all(self.objects(generation + "/snapshots/*.snapshot.lz4"))

    def wait_began(self):
        """It has opened the database. (A signal that comes before it looks for signals ends it at once.)"""
        began = re.compile('msg="(new generation|generation continues)"')
        return until(lambda: began.search(self.said()), 5, self.alive)

    def wait_snapshot(self):
        return until(self.snapshot_is_there, SNAPSHOT_S, self.alive)

    def wait_first_segment(self):
        """What was in the WAL at the start is in every replica, so that commit() does not take it for its
        own."""
        until(lambda: all(self.segments()), SHIPPED_S, self.alive)

    def wait_copied(self):
        """walbrook has copied the WAL into the database file (which nobody may open for a look: locks)."""
        before = os.stat(self.db).st_mtime_ns
        if until(lambda: os.stat(self.db).st_mtime_ns != before, 0.5, self.alive):
            time.sleep(0.01)

    def commit(self, count=1):
        """Commits, and waits a moment until each is in every replica: then it must not be lost any more."""
        for _ in range(count):
            before = self.segments()
            self.app.commit()
            if self.process is None or not self.alive():
                continue
            there = lambda: all(now > was for now, was in zip(self.segments(), before))
            if until(there, 0.2, self.alive):
                # What came into the replica may be an older commit, if an earlier wait was in vain.
                self.at_least = max(self.at_least, self.app.n if self.prompt else 0)
            else:
                self.prompt = False

    prompt = True  # every commit so far was in the replicas before the next one

    # ---- restoring ----

    def restore(self, *words):
        """(exit status, output, what it said) of a restore that only looks."""
        self.probes += 1
        where = os.path.join(self.dir, "probe", str(self.probes))
        os.makedirs(where)
        out = os.path.join(where, "out.db")
        argv = [self.walbrook, "restore", "-o", out, *words]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        text = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode and os.listdir(where):
            raise Failed("a failed restore has left %s behind" % os.listdir(where))
        return done.returncode, out, text

    def look_at_replicas(self, when, everything=False):
        """Each replica gives a committed prefix with all that was in it, or says that there is nothing yet. So
        does each of its generations. With everything: the whole history."""
        for replica in self.replicas():
            rc, out, text = self.restore(replica)
            if rc == 4 and not everything and self.at_least == 0:
                continue
            if rc:
                raise Failed("%s: restore ends with %d: %s" % (when, rc, text.strip()))
            n, why = check(out)
            if why:
                raise Failed("%s: a wrong database was restored: %s" % (when, why))
            want = self.app.n if everything else self.at_least
            if not want <= n <= self.app.n:
                raise Failed("%s: %d commits restored, not %d to %d" % (when, n, want, self.app.n))
            for path in glob.glob(os.path.join(replica, "generations", "*")):
                rc, out, text = self.restore("-generation", os.path.basename(path), replica)
                n, why = check(out) if rc == 0 else (0, None)
                if rc not in (0, 4) or why or n > self.app.n:
                    raise Failed("%s: generation %s: %s" % (when, os.path.basename(path), why or text.strip()))
                self.look_at_names(when, path)

    def look_at_names(self, when, generation):
        """What is there of the segments of a WAL index is its beginning, whatever was interrupted."""
        names = [os.path.basename(path).split(".")[0] for path in glob.glob(generation + "/wal/*.wal.lz4")]
        for index in {name.split("_")[0] for name in names}:
            if index + "_00000000" not in names:
                raise Failed("%s: index %s has segments, but not its first" % (when, index))

    def leftovers(self):
        """Names in the site that a clean stop should not leave: temp files, and segments that everybody has."""
        found = []
        for top, _, names in os.walk(self.site):
            spool = "/spool/" in top
            found += [os.path.join(top, n) for n in names if spool or ".tmp" in n or "walbrook-restore" in n]
        # Times of commits go when the next WAL index leaves the spool, or with the generation at the next start.
        return [path for path in found if not path.endswith(".times")]


class Replicate:
    """walbrook replicate beside an application. What comes in between is for the scenarios below."""

    replicas = 1
    options = []
    journal = "wal"
    more_cases = []

    def prepare(self, case):
        """The site before the run: a database with a few commits that nobody has replicated."""
        case.app = App(case.db, self.journal)
        case.app.commit(3)

    def begin(self, case):
        """As prepared, with the application running."""
        case.app = App(case.db)
        case.start()
        case.wait_began()

    def run(self, case):
        self.begin(case)
        self.during(case)
        case.app.commit()  # is not captured yet when the signal comes
        return case.stop()

    def verify(self, case, rc):
        problem = case.app.problem()
        if problem:
            raise Failed("the application's database is harmed: %s" % problem)
        if rc == 0:
            case.look_at_replicas("after it ended with 0", everything=True)
        else:
            if rc != -signal.SIGKILL:
                self.verify_error(case, rc)
            case.look_at_replicas("after it ended with %d" % rc)
        self.go_on(case)

    def verify_error(self, case, rc):
        if rc not in OUR_EXIT_CODES:
            raise Failed("it ended with %d" % rc)
        if not re.search(r"(?m)^(walbrook: |.*level=(ERROR|error)).*%s" % re.escape(case.site), case.said()):
            raise Failed("it ended with %d without a message that names the file" % rc)

    def go_on(self, case):
        """The application goes on while walbrook is away; the next run must come to everything by itself."""
        if case.fault and sum(case.fault.encode()) % 2:
            case.app.checkpoint("TRUNCATE")
        case.app.commit()
        case.start(under_test=False)
        if not case.wait_began() or not case.wait_snapshot():
            raise Failed("the next run does not begin, or makes no snapshot")
        case.app.commit()
        rc = case.stop()
        if rc:
            raise Failed("the next run ended with %d" % rc)
        case.look_at_replicas("after the next run", everything=True)
        self.verify_bytes(case)
        left = [os.path.relpath(path, case.site) for path in case.leftovers()]
        # A dead upload's temp file goes with the next upload of that name, or with its generation.
        left = [path for path in left if not (path.startswith("replica") and ".tmp" in path)]
        if left:
            raise Failed("left behind: %s" % " ".join(left))

    def verify_bytes(self, case):
        case.app.close()
        for replica in case.replicas():
            rc, out, text = case.restore(replica)
            if rc or not filecmp.cmp(out, case.db, shallow=False):
                raise Failed("what is restored is not the database byte for byte %s" % text.strip())


class First(Replicate):
    """First start, snapshot, commits, the application's own checkpoint."""

    name = "capture"

    def during(self, case):
        case.wait_snapshot()
        case.wait_first_segment()
        case.commit(3)
        case.wait_copied()
        case.app.checkpoint("TRUNCATE")
        case.commit(2)


class Short(Replicate):
    """A run that is told to end as soon as it has begun."""

    name = "short-run"

    def during(self, case):
        case.app.commit(2)


class Rollback(Replicate):
    """A database with a rollback journal, which is turned to WAL mode."""

    name = "to-wal"
    journal = "delete"

    def prepare(self, case):
        super().prepare(case)
        os.utime(case.db, (time.time() - 60,) * 2)

    def during(self, case):
        case.wait_snapshot()
        case.commit(1)


class Restart(Replicate):
    """Goes on after kill -9 with what is in the WAL and in the spool."""

    name = "restart"

    def prepare(self, case):
        super().prepare(case)
        case.start(under_test=False)
        case.wait_snapshot()
        case.commit(2)
        replica = case.replicas()[0]
        os.rename(replica, replica + ".away")
        with open(replica, "w"):
            pass
        spool = case.site + "/.app.db-litestream/walbrook/spool/*/*.lz4"
        for _ in range(4):
            before = set(glob.glob(spool))
            case.app.commit()
            until(lambda: set(glob.glob(spool)) - before, 5)
        case.process.kill()
        case.process.wait()
        os.unlink(replica)
        os.rename(replica + ".away", replica)
        case.app.commit(1)

    def begin(self, case):
        super().begin(case)
        case.at_least = 5

    def during(self, case):
        until(lambda: sum(case.segments()) > self.segments_before, SHIPPED_S, case.alive)
        case.prompt = False
        case.commit(2)

    segments_before = 0


class Snapshots(Replicate):
    """Two replicas, a second snapshot by its interval, and retention of what it makes superfluous."""

    name = "snapshot"
    replicas = 2
    options = ["snapshot-interval: 20ms", "retention: 150ms", "retention-check-interval: 20ms"]

    def during(self, case):
        case.wait_snapshot()
        case.wait_first_segment()
        pattern = "*/snapshots/*.snapshot.lz4"
        first = case.objects(pattern)
        case.commit(1)
        case.wait_copied()
        case.app.checkpoint("TRUNCATE")
        case.commit(1)
        newer = lambda: all(now and now[-1:] != was[-1:] for now, was in zip(case.objects(pattern), first))
        gone = lambda: not any(os.path.exists(path) for f in first for path in f)
        until(newer, SNAPSHOT_S, case.alive)
        until(gone, 2, case.alive)


class Retention(Replicate):
    """Retention deletes an older generation and the beginning of the current one."""

    name = "retention"
    options = ["retention: 1h", "retention-check-interval: 10ms"]

    def prepare(self, case):
        super().prepare(case)
        self.options = ["snapshot-interval: 20ms"]
        self.make(case)
        old = case.objects("*")[0]
        shutil.rmtree(case.site + "/.app.db-litestream")
        self.make(case)
        self.options = type(self).options
        self.age(case, case.objects("*/*/*")[0], 2)
        for path in case.objects("*")[0]:
            self.age(case, glob.glob(path + "/*/*"), 3 if path in old else 2)

    def make(self, case):
        """A generation with two snapshots and segments of two WAL indexes."""
        case.start(under_test=False)
        case.wait_snapshot()
        case.commit(2)
        before = sum(len(s) for s in case.objects("*/snapshots/*.lz4"))
        case.app.checkpoint("TRUNCATE")
        case.commit(2)
        until(lambda: sum(len(s) for s in case.objects("*/snapshots/*.lz4")) > before, 5)
        case.commit(1)
        if case.stop():
            raise Failed("preparing: walbrook does not stop: %s" % case.said())

    def age(self, case, paths, hours):
        for path in paths:
            os.utime(path, (time.time() - hours * 3600,) * 2)

    def begin(self, case):
        self.doomed = glob.glob(case.replicas()[0] + "/generations/*/snapshots/00000000.snapshot.lz4")
        super().begin(case)
        case.at_least = 13

    def during(self, case):
        until(lambda: not any(os.path.exists(path) for path in self.doomed), SHIPPED_S, case.alive)
        case.prompt = False
        case.commit(1)


class Restore:
    """walbrook restore of a snapshot and segments, into a directory that is not there yet."""

    name = "restore"
    replicas = 1
    options = []
    # Stopped while it takes back what it has made, after an error.
    more_cases = [
        ("open", 1, "enospc+rmdir:1:die"),
        ("open", 1, "enospc+rmdir:2:die-after"),
        ("pwrite", 1, "enospc+unlink:1:die"),
        ("pwrite", 2, "eio+unlink:1:die-after"),
        ("rename_noreplace", 1, "eio+rmdir:1:die"),
        ("rename_noreplace", 1, "eio+rmdir:1:eio"),
    ]

    def prepare(self, case):
        Replicate().prepare(case)
        case.start(under_test=False)
        case.wait_snapshot()
        case.commit(3)
        case.app.checkpoint("TRUNCATE")
        case.commit(6)
        rc = case.stop()
        n = case.app.n
        case.app.close()
        case.app = None
        os.rename(case.db, os.path.join(case.dir, "want.db"))
        shutil.rmtree(case.site + "/.app.db-litestream")
        if rc or n != 12:
            raise Failed("preparing: %s" % case.said())

    def out(self, case):
        return os.path.join(case.site, "new", "inner", "out.db")

    def run(self, case):
        case.start("restore", "-o", self.out(case), case.replicas()[0])
        return case.wait(STOP_S)

    def verify(self, case, rc):
        out = self.out(case)
        want = os.path.join(os.path.dirname(case.template), "want.db")
        there = os.path.lexists(out)
        if there and not filecmp.cmp(out, want, shallow=False):
            raise Failed("the output is there and is not the database")
        if rc == 0 and not there:
            raise Failed("it ended with 0, but there is no output")
        if rc not in (0, -signal.SIGKILL):
            Replicate.verify_error(self, case, rc)
            cleaned = not (case.fault or "").endswith("rmdir:1:eio")
            if not there and cleaned and os.path.lexists(os.path.join(case.site, "new")):
                raise Failed("the error has left directories or files behind")
        case.start("restore", "-o", out, case.replicas()[0], under_test=False)
        again = case.wait(STOP_S)
        if again != (6 if there else 0):
            raise Failed("the next restore ended with %d" % again)
        if not filecmp.cmp(out, want, shallow=False):
            raise Failed("the next restore gives another database")
        if os.listdir(os.path.dirname(out)) != ["out.db"]:
            raise Failed("left behind: %s" % os.listdir(os.path.dirname(out)))


SCENARIOS = [First, Short, Rollback, Restart, Snapshots, Retention, Restore]


def prepare(kind, walbrook, directory):
    """Makes the site of a scenario and returns it with the scenario. The application's connection is closed in
    a way that leaves the WAL as it is: as if the machine had been switched off after a sync."""
    scenario = kind()
    os.makedirs(os.path.join(directory, "site"))
    case = Case(scenario, walbrook, directory)
    try:
        scenario.prepare(case)
        template = os.path.join(directory, "template")
        copy_site(case.site, template)
        return template
    finally:
        case.end()


def copy_site(site, to):
    """By another process: this one must not open and close files on which its own SQLite holds locks. Without
    the shared index, which the next opener makes anew from the WAL."""
    subprocess.run(["cp", "-a", site, to], check=True)
    for path in glob.glob(os.path.join(to, "*-shm")):
        os.unlink(path)


def run_case(kind, walbrook, template, directory, fault=None, strace=None):
    """Runs a case. Returns (exit status, None) or (exit status, what does not hold)."""
    os.makedirs(directory)
    case = Case(kind(), walbrook, directory, fault, strace)
    case.template = template
    copy_site(template, case.site)
    case.scenario.segments_before = sum(case.segments())
    rc = None
    try:
        rc = case.scenario.run(case)
        case.scenario.verify(case, rc)
        return rc, None
    except Failed as e:
        return rc, str(e)
    except sqlite3.Error as e:
        return rc, "the application was disturbed: %s" % e
    finally:
        case.end()
