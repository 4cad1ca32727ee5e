#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""1,000 followers on one primary, and how long a commit takes to be bytes at one of them (over loopback).

  bench/followers.py [WALBROOK] [FOLLOWERS]

Prints the daemon's resident memory and processor time, what goes out, and percentiles of the time from the end of a
commit to the first byte of its segment at a client. The clients are this process, which only reads."""
import http.client
import os
import re
import resource
import select
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

walbrook = sys.argv[1] if len(sys.argv) > 1 else "build/walbrook"
followers = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
T = tempfile.mkdtemp(prefix="walbrook-bench.")
path = T + "/a.db"
db = sqlite3.connect(path, isolation_level=None)
db.execute("PRAGMA journal_mode=wal")
db.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
with open(T + "/walbrook.yml", "w") as conf:
    conf.write("addr: 127.0.0.1:0\nsocket: %s/s\nconnections-per-address: 4096\ndbs:\n  - path: %s\n" % (T, path))
with open(T + "/log", "w") as log:
    daemon = subprocess.Popen([walbrook, "replicate", "-config", T + "/walbrook.yml"], stdout=log, stderr=log)


def memory_kb():
    with open("/proc/%d/status" % daemon.pid) as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))


def cpu_s():
    with open("/proc/%d/stat" % daemon.pid) as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Clients:
    def __init__(self, port, query, n):
        self.epoll, self.sockets = select.epoll(), {}
        for _ in range(n):
            one = socket.create_connection(("127.0.0.1", port))
            one.sendall(("GET /stream?%s HTTP/1.1\r\nHost: x\r\n\r\n" % query).encode())
            one.setblocking(False)
            self.sockets[one.fileno()] = one
            self.epoll.register(one.fileno(), select.EPOLLIN)

    def read(self, seconds):
        n, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            for fd, _ in self.epoll.poll(max(0, until - time.monotonic())):
                n += len(self.sockets[fd].recv(1 << 16))
        return n


def load(clients, what, every_s, value):
    cpu, begin, n = cpu_s(), time.monotonic(), 0
    while time.monotonic() - begin < 10:
        db.execute("INSERT INTO t(b) VALUES(hex(randomblob(?)))", (value,))
        n += clients.read(every_s)
    n += clients.read(1)
    took = time.monotonic() - begin
    print("%-28s %7.1f MB/s out, %5.1f %% of a core, %6d kB resident" % (what, n / 1e6 / took, 100 * (cpu_s() - cpu) / took, memory_kb()))


try:
    for _ in range(100):
        time.sleep(0.1)
        with open(T + "/log") as log:
            at = re.search(r"http://127.0.0.1:(\d+)/", log.read())
        if at and memory_kb():
            break
    port = int(at.group(1))
    time.sleep(1)
    ask = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    ask.request("GET", "/position?path=" + path)
    generation, _ = ask.getresponse().read().decode().strip().split("/")
    query = "path=%s&txn=1" % path
    before = memory_kb()
    one = Clients(port, query, 1)
    one.read(2)
    times = []
    for _ in range(200):
        one.read(0.03)
        db.execute("INSERT INTO t(b) VALUES(hex(randomblob(50)))")
        begin, n = time.perf_counter(), 0
        while n < 120:  # more than a heartbeat
            one.epoll.poll(5)
            n = len(next(iter(one.sockets.values())).recv(1 << 16))
        times.append((time.perf_counter() - begin) * 1e3)
    times.sort()
    print("commit to bytes at a client  median %.2f ms, 90 %% %.2f ms, 99 %% %.2f ms" % (times[100], times[180], times[197]))
    many = Clients(port, query, min(followers, 200))
    while len(many.sockets) < followers:  # contents are sent to a few at once: they come in turns
        many.read(2)
        more = Clients(port, query, min(followers - len(many.sockets), 200))
        many.sockets.update(more.sockets)
        for fd in more.sockets:
            many.epoll.register(fd, select.EPOLLIN)
    many.read(4)
    print("%d followers: %d kB resident, %.1f kB each" % (followers, memory_kb(), (memory_kb() - before) / followers))
    load(many, "10 small commits a second", 0.1, 5)
    load(many, "50 commits of 4 kB a second", 0.02, 2000)
finally:
    daemon.terminate()
    daemon.wait(30)
    shutil.rmtree(T)
