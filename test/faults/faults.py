#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The crash-point test: walbrook is stopped at, or gets an error from, each system call that changes a file.

  1. Each scenario (scenarios.py) is run once without a fault; the trace tells which calls it makes, in which
     order.
  2. From these the cases are chosen: call x N x fault. By default the first and the last of all calls of one
     name on files of one kind, the errors taking turns, less where an earlier scenario has the same; with
     FULL=1 every N and every fault. The table says how many of how many. Besides the faults of base/sys.c there
     is `full`: FULL_FOR calls in a row fail with ENOSPC. FAULT+CALL:N:FAULT is a case of two faults: a write of
     which half is there when the process is stopped, or an end while it tidies up.
  3. Each case runs the scenario with that fault. Afterwards:
       - the application's database is sound and has all commits (scenario by scenario: scenarios.py);
       - what can be restored at once is a committed prefix with everything that was in a replica, or the clear
         word that there is no backup yet; and so it is for each generation;
       - a process that was not stopped has gone on and shipped everything by its end (exit code 0), or it ended
         with one of our exit codes and a message that names the file;
       - the next run, without a fault, comes to everything: byte for byte the application's database; no temp
         file and no segment is left in the spool;
       - of a restore: no output, or the complete one; nothing else is left after an error; the next restore
         succeeds.
  4. Each scenario is run once more under strace: every file-changing call must be in the trace, and what was
     written must have been synced in the right order (table.py).

Usage: faults.py WALBROOK [-j N] [-k DIRECTORY] [SCENARIO[:CALL:N:FAULT]...]
  WALBROOK is the test build (make faults). With CALL:N:FAULT only that case runs, and its directory is kept and
  named.
Output is TAP. Failure modes: a fault whose call is not reached counts as "not met", which is no failure by
itself (how often a file is written depends on timing), but half of all must be met.
"""

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor

import scenarios
import table

FAULTS = ["die", "die-after", "short", "enospc", "eio", "eintr", "full"]
FULL_FOR = 4  # calls in a row fail with ENOSPC: a disk that is full for a while
ERRORS = ["enospc", "eio", "eintr"]
TRANSFERS = ["write", "pwrite"]
PUBLISHING = TRANSFERS + ["link", "rename", "rename_noreplace", "unlink", "unlinkat", "sqlite_sync"]
NEEDS_ROOM = TRANSFERS + ["open", "mkdir", "link", "rename", "ftruncate", "fsync", "fdatasync", "sqlite_sync"]
OF_NO_MATTER = ["chown", "fchown", "fchmod", "futimens"]  # an error of these is no error (only root may; a time)


def kind_of_file(path):
    """The path without what differs from run to run."""
    path = re.sub(r"^.*/(site|probe)/", "", path)
    path = re.sub(r"\.tmp-\d+-\d+$", ".tmp-N", path)
    path = re.sub(r"^replica\d", "replica", path)
    path = re.sub(r"\b[0-9a-f]{16}\b", "GENERATION", path)
    return re.sub(r"\b[0-9a-f]{8,}\b", "N", path.replace("_", " "))


def choose(calls, full, known):
    """Cases [(call, N, fault)] for a list of (call, path). Known: (call, kind of file) that an earlier scenario
    has."""
    nth, groups = Counter(), defaultdict(list)
    for call, path in calls:
        nth[call] += 1
        groups[call, kind_of_file(path)].append(nth[call])
    cases, turn = set(), 0
    for (call, kind), places in sorted(groups.items()):
        if full:
            cases |= {(call, n, fault) for n in places for fault in faults_of(call)}
            continue
        # Before a call is after the one before it, so "die" alone meets every state once; the calls that
        # publish or remove something are met from behind as well.
        first, last = places[0], places[-1]
        turn += 1
        if (call, kind) in known:
            cases |= {(call, last, "die"), (call, first, ERRORS[turn % 3])}
            continue
        known.add((call, kind))
        cases |= {(call, first, "die"), (call, last, "die")}
        cases |= {(call, last, "die-after")} if call in PUBLISHING else set()
        if call in TRANSFERS:
            cases |= {(call, first, "short"), (call, last, "short+%s:%d:die" % (call, last + 1))}
        cases |= {(call, first, ERRORS[turn % 3])}
        cases |= {(call, last, ERRORS[(turn + 1) % 3])} if call not in OF_NO_MATTER else set()
    if not full:
        cases |= {(call, 1 + nth[call] * k // 3, "full") for call in nth for k in (0, 2) if call in NEEDS_ROOM}
    return sorted(cases)


def faults_of(call):
    some = {"short": TRANSFERS, "full": NEEDS_ROOM}
    return [fault for fault in FAULTS if call in some.get(fault, [call])]


def environment(case):
    """WALBROOK_FAULT of a case."""
    call, n, fault = case
    if fault == "full":
        return ",".join("%s:%d:enospc" % (call, n + i) for i in range(FULL_FOR))
    return "%s:%d:%s" % (call, n, fault.replace("+", ","))


class Job:
    def __init__(self, kind, template, directory, case=None, strace=None):
        self.kind, self.template, self.directory = kind, template, directory
        self.case, self.strace = case, strace


def run_job(walbrook, job):
    """In a worker process of one thread. Returns (exit status, complaint, what was hit, trace, log of the last
    runs)."""
    fault = environment(job.case) if job.case else None
    began = time.monotonic()
    try:
        rc, complaint = scenarios.run_case(job.kind, walbrook, job.template, job.directory, fault, job.strace)
    except Exception as e:  # a mistake in the test itself must be seen, and seen as a failure
        rc, complaint = None, "the test failed: %s: %s" % (type(e).__name__, e)
    trace = table.read_trace(os.path.join(job.directory, "trace"))
    hit = None
    if job.case:
        call, n, _ = job.case
        same = [path for name, path in trace if name == call]
        hit = kind_of_file(same[n - 1]) if len(same) >= n else None
    log = []
    if complaint:
        for name in sorted(n for n in os.listdir(job.directory) if n.endswith(".log")):
            with open(os.path.join(job.directory, name), errors="replace") as f:
                lines = [re.sub(r"^time=\S+ ", "", line.rstrip()) for line in f.readlines()[-8:]]
                log += ["%s: %s" % (name, line.replace(job.directory, "")) for line in lines]
    return rc, complaint, hit, trace if not job.case else None, log, time.monotonic() - began


class Tap:
    def __init__(self):
        self.n = self.failed = 0

    def ok(self, good, text):
        self.n += 1
        self.failed += not good
        print("%sok %d - %s" % ("" if good else "not ", self.n, text), flush=True)

    def skip(self, why):
        self.n += 1
        print("ok %d # SKIP %s" % (self.n, why), flush=True)

    def note(self, text):
        print("\n".join("# " + line for line in str(text).split("\n")), flush=True)


def prepare(walbrook, kind, top):
    """In a worker process. The template of a scenario, and its calls without a fault."""
    template = scenarios.prepare(kind, walbrook, os.path.join(top, "prepare"))
    rc, complaint, _, calls, log, _ = run_job(walbrook, Job(kind, template, os.path.join(top, "plain")))
    return template, complaint, log, calls


def run_scenarios(tap, pool, args, kinds, wanted, full):
    """All cases of all scenarios in one queue; a report for each scenario when its last case is done."""
    begun, known = [], set()
    for kind in kinds:
        top = os.path.join(args.directory, kind.name)
        begun.append((kind, top, pool.submit(prepare, args.walbrook, kind, top)))
    queued = []
    for kind, top, future in begun:
        template, complaint, log, calls = future.result()
        if complaint:
            tap.ok(False, "%s without a fault: %s" % (kind.name, complaint))
            tap.note("\n".join(log))
            continue
        cases = wanted.get(kind.name) or choose(calls, full, known) + kind.more_cases
        jobs = [Job(kind, template, os.path.join(top, "%s-%d-%s" % c), c) for c in cases]
        count = Counter(call for call, _ in calls)
        queued.append((kind, count, [(job, pool.submit(run_job, args.walbrook, job)) for job in jobs]))
    met = run = 0
    for kind, count, jobs in queued:
        results = [(job, future.result()) for job, future in jobs]
        report(tap, args, kind, count, results)
        run += len(results)
        met += sum(r[2] is not None for _, r in results)
    return run, met


def report(tap, args, kind, count, results):
    by_call = defaultdict(list)
    for job, result in results:
        by_call[job.case[0]].append((job, result))
    bad = [(job, r) for job, r in results if r[1]]
    tap.note("%-10s %-16s %5s %5s  %s" % ("scenario", "call", "made", "tried", "faults (met/run), failed"))
    for call in sorted(count):
        rows = by_call.get(call, [])
        runs, met = Counter(j.case[2] for j, _ in rows), Counter(j.case[2] for j, r in rows if r[2] is not None)
        two = [sum(n for f, n in some.items() if "+" in f) for some in (met, runs)]
        faults = " ".join("%s %d/%d" % (f, met[f], runs[f]) for f in FAULTS if runs[f])
        faults += " two %d/%d" % tuple(two) if two[1] else ""
        failed = sum(1 for _, r in rows if r[1])
        tried = len({j.case[1] for j, _ in rows})
        row = (kind.name, call, count[call], tried, faults, ", FAILED %d" % failed if failed else "")
        tap.note("%-10s %-16s %5d %5d  %s%s" % row)
    known = set()
    for job, (rc, complaint, hit, _, log, _) in bad:
        complaint = complaint.replace(job.directory, "")
        tap.note("FAILED %s:%s:%d:%s at %s (exit %s): %s" % (kind.name, *job.case, hit, rc, complaint))
        alike = re.sub("[0-9a-f]{16}|[0-9]+", "N", complaint)
        if alike not in known:
            tap.note("  " + "\n  ".join(log))
        known.add(alike)
    for job, (_, complaint, *_) in results:
        if not complaint and not args.keep:
            shutil.rmtree(job.directory, ignore_errors=True)
    met = sum(r[2] is not None for _, r in results)
    slow = max(results, key=lambda x: x[1][5])
    tap.note("slowest: %s:%d:%s, %.1f s" % (*slow[0].case, slow[1][5]))
    summary = (kind.name, len(results), sum(count.values()), met, len(bad))
    tap.ok(not bad, "%s: %d faults at %d calls, %d met, %d failed" % summary)


def strace_works(directory):
    return os.system("strace -qq -o '%s/strace.probe' true >/dev/null 2>&1" % directory) == 0


def compare_with_strace(tap, pool, args, kinds):
    if not strace_works(args.directory):
        for kind in kinds:
            tap.skip("%s: the table against strace: strace cannot trace here" % kind.name)
        return
    jobs = []
    for kind in kinds:
        top = os.path.join(args.directory, kind.name)
        directory = os.path.join(top, "strace")
        template = os.path.join(top, "prepare", "template")
        jobs.append(Job(kind, template, directory, strace=os.path.join(top, "strace.out")))
    for job, (_, complaint, _, _, log, _) in zip(jobs, pool.map(run_job, [args.walbrook] * len(jobs), jobs)):
        lines, complaints = table.compare(job.strace, job.directory + "/trace", job.directory + "/site/")
        tap.note("%s, calls that strace saw: %s" % (job.kind.name, ", ".join(lines)))
        complaints += [complaint] + log if complaint else []
        what = "every file-changing call is in the table, and what is named is synced"
        tap.ok(not complaints, "%s: %s" % (job.kind.name, what))
        for text in complaints:
            tap.note("  " + text)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("walbrook")
    p.add_argument("-j", type=int, default=8, help="cases at the same time")
    p.add_argument("-k", dest="directory", help="work here and leave it")
    p.add_argument("--no-strace", action="store_true")
    p.add_argument("wanted", nargs="*", metavar="SCENARIO[:CALL:N:FAULT]")
    args = p.parse_intermixed_args()
    args.walbrook = os.path.abspath(args.walbrook)
    one = defaultdict(list)
    for word in args.wanted:
        name, *case = word.split(":")
        one[name] += [(case[0], int(case[1]), case[2])] if case else []
    kinds = [k for k in scenarios.SCENARIOS if not one or k.name in one]
    args.keep = bool(args.directory) or any(one.values())
    args.directory = tempfile.mkdtemp(prefix="walbrook-faults.", dir=args.directory)
    tap, began = Tap(), time.monotonic()
    pool = ProcessPoolExecutor(args.j)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        run, met = run_scenarios(tap, pool, args, kinds, one, os.environ.get("FULL") == "1")
        if not args.no_strace and not any(one.values()):
            compare_with_strace(tap, pool, args, kinds)
    finally:
        pool.shutdown(cancel_futures=True)  # the cases under way end what they have started
        if args.keep:
            tap.note("kept: %s" % args.directory)
        else:
            shutil.rmtree(args.directory, ignore_errors=True)
    tap.ok(met * 2 >= run, "%d of %d faults were met, %.0f s" % (met, run, time.monotonic() - began))
    print("1..%d" % tap.n)
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
