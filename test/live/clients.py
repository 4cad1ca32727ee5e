#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients of a stream that behave badly, or are many.

    clients.py stuck URL PATH SECONDS       reads the head and then nothing; says how it ended, or `still open`
    clients.py slow URL PATH SECONDS        one byte a second; says how many it got
    clients.py many URL PATH POSITION N     N at once in one process, each until POSITION; says `ok N` or what was wrong
    clients.py cut URL PATH N SEED          N one after another, each closed after a random number of bytes
    clients.py dribble URL SECONDS          a request whose head comes byte by byte and never ends
    clients.py idle URL N SECONDS           N connections that ask nothing; says how many were let in and kept

WALBROOK_TEST_TOKEN, if it is set, is shown as a bearer token."""

import os
import random
import select
import socket
import struct
import sys
import time
import urllib.parse

import wire


def headers():
    token = os.environ.get("WALBROOK_TEST_TOKEN")
    return [("Authorization", "Bearer " + token)] if token else []


def raw(url, small=True):
    """A connection with a receive buffer as small as the system allows."""
    u = urllib.parse.urlsplit(url)
    s = socket.socket()
    if small:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(30)
    s.connect((u.hostname, u.port))
    return s, u


def ask(url, path, small=True):
    s, u = raw(url, small)
    target = urllib.parse.urlsplit(wire.stream_url(url, path)).query
    head = [f"GET /stream?{target} HTTP/1.1", f"Host: {u.netloc}"] + [f"{k}: {v}" for k, v in headers()]
    s.sendall("\r\n".join(head).encode() + b"\r\n\r\n")
    return s


def gone(s):
    """Whether the other side has closed, without taking anything from what it sent."""
    poll = select.poll()
    poll.register(s, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def stuck(url, path, seconds):
    s = ask(url, path)
    until = time.monotonic() + seconds
    print("open", flush=True)
    while time.monotonic() < until:
        if gone(s):
            print("closed by the server")
            return
        time.sleep(0.1)
    print("still open")


def slow(url, path, seconds):
    s = ask(url, path)
    until, n = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        if not s.recv(1):
            print(f"closed after {n} bytes")
            return
        n += 1
        time.sleep(1)
    print(f"{n} bytes")


class Stream:
    """A client that checks the frame of records and, as they come, the order of positions."""

    def __init__(self, url, path):
        self.sock = ask(url, path, small=False)
        self.sock.setblocking(False)
        self.data = bytearray()  # as it came
        self.body = bytearray()
        self.head = self.done = False
        self.at = None
        self.wrong = None

    def unchunk(self):
        while True:
            end = self.data.find(b"\r\n")
            if end < 0:
                return
            n = int(bytes(self.data[:end]).split(b";")[0], 16)
            if len(self.data) < end + 2 + n + 2:
                return
            if n == 0:
                self.wrong = "the stream ended"
                return
            self.body += self.data[end + 2 : end + 2 + n]
            del self.data[: end + 2 + n + 2]

    def take(self, until):
        data = self.sock.recv(1 << 18)
        if not data:
            self.wrong = f"closed at {self.at}"
            return
        self.data += data
        if not self.head:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self.data.startswith(b"HTTP/1.1 200"):
                self.wrong = bytes(self.data[:200]).decode("latin-1")
                return
            del self.data[: end + 4]
            self.head = True
        self.unchunk()
        while len(self.body) >= 40:
            r = wire.Record(*struct.unpack(">IIQQQQ", bytes(self.body[:40])))
            if len(self.body) < 40 + r.size:
                return
            payload = bytes(self.body[40 : 40 + r.size])
            del self.body[: 40 + r.size]
            end = (r.index, r.offset + (len(wire.lz4_frame(payload)) if r.type == wire.SEGMENT else 0))
            if r.type not in (wire.SNAPSHOT, wire.SEGMENT) or (self.at and (r.index, r.offset) < self.at):
                self.wrong = f"record {r} after {self.at}"
                return
            self.at = end
            self.done = r.generation == until[0] and end >= until[1:]


def many(url, path, until, n):
    until = wire.position(until)
    streams = [Stream(url, path) for _ in range(n)]
    limit = time.monotonic() + 60
    left = {s.sock: s for s in streams}
    while left and time.monotonic() < limit:
        for sock in select.select(list(left), [], [], 1)[0]:
            s = left[sock]
            s.take(until)
            if s.wrong or s.done:
                del left[sock]
    bad = [s.wrong or f"not there, at {s.at}" for s in streams if not s.done]
    print(f"ok {n}" if not bad else f"{len(bad)} of {n}: {bad[0]}")


def cut(url, path, n, seed):
    r = random.Random(seed)
    for _ in range(n):
        s = ask(url, path, small=r.random() < 0.5)
        left = int(2 ** r.uniform(0, 19))
        s.settimeout(0.5)
        try:
            while left > 0 and (data := s.recv(min(left, 1 << 16))):
                left -= len(data)
        except TimeoutError:
            pass
        if r.random() < 0.5:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    print(f"ok {n}")


def dribble(url, seconds):
    s, u = raw(url)
    head = f"GET /status HTTP/1.1\r\nHost: {u.netloc}\r\n".encode() + b"X-Slow: " + b"a" * 100000
    until = time.monotonic() + seconds
    for i in range(len(head)):
        if time.monotonic() > until:
            print("still open")
            return
        try:
            s.sendall(head[i : i + 1])
        except OSError:
            print("closed by the server")
            return
        if gone(s):
            print("closed by the server")
            return
        time.sleep(0.25)
    print("all sent")


def idle(url, n, seconds):
    """Connections that are closed at once count as refused."""
    open_, refused = [], 0
    for _ in range(n):
        try:
            open_.append(raw(url)[0])
        except OSError:
            refused += 1
    time.sleep(seconds)
    kept = [s for s in open_ if not gone(s)]
    print(f"{len(kept)} of {n} kept, {n - len(kept)} refused", flush=True)
    sys.stdin.read()


def main():
    what, a = sys.argv[1], sys.argv[2:]
    if what == "stuck":
        stuck(a[0], a[1], float(a[2]))
    elif what == "slow":
        slow(a[0], a[1], float(a[2]))
    elif what == "many":
        many(a[0], a[1], a[2], int(a[3]))
    elif what == "cut":
        cut(a[0], a[1], int(a[2]), int(a[3]))
    elif what == "dribble":
        dribble(a[0], float(a[1]))
    elif what == "idle":
        idle(a[0], int(a[1]), float(a[2]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
