#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Followers of a server as that of 2022 was, in real time and under load: its snapshot is a copy of the file as it is,
made while an application writes and checkpoints; it captures so often, and sends what it captured in many segments.

    fuzzy.py [-secs N] [-seed S] [-n FOLLOWERS] [-every MS] BUILD_DIR

1. A walbrook replicates the database that load.py writes; a server here takes its plain stream, cuts it at each commit, and
   serves the pieces with copies of the file, slowly read. Every -every ms (1000) it captures.
2. Each follower begins with nothing, a reader (test/live/reader.c) judges what it sees as soon as there is something,
   its connection is cut now and then; after some seconds the follower is thrown away, and another one begins.

A reader never sees anything but committed states: that is all that is asked. The last line has the figures. For CI the
same is in flip.c, where time costs nothing; this one has the real network and the real load."""

import argparse
import ctypes
import ctypes.util
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import wire
from proxy import Proxy

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD = [sys.executable, os.path.join(HERE, "load.py")]
_lz4 = ctypes.CDLL(ctypes.util.find_library("lz4") or "liblz4.so.1")
_lz4.LZ4F_compressFrameBound.restype = _lz4.LZ4F_compressFrame.restype = ctypes.c_size_t


def lz4_of(data):
    """With a content checksum, as that server wrote it."""
    preferences = (ctypes.c_uint32 * 14)(4, 1, 1)  # blocks of 64 KiB, independent, checksum
    room = _lz4.LZ4F_compressFrameBound(ctypes.c_size_t(len(data)), preferences)
    out = ctypes.create_string_buffer(room)
    n = _lz4.LZ4F_compressFrame(out, ctypes.c_size_t(room), data, ctypes.c_size_t(len(data)), preferences)
    return out.raw[: wire._lz4_check(n)]


class Server:
    """The plain server: what it has captured, and who is sent it."""

    def __init__(self, upstream, path, page_size, every_s):
        self.path, self.page_size, self.every_s = path, page_size, every_s
        self.more = threading.Condition()
        self.generation, self.segments = None, []  # (index, offset, bytes of the record)
        self.copies = self.cut_copies = 0
        self.http = wire.Http(wire.stream_url(upstream, path))
        threading.Thread(target=self._capture, daemon=True).start()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _pieces(self, at, plain):
        """Header by itself, then up to each commit."""
        step, begin = 24 + self.page_size, 0
        if at == 0:
            yield 0, plain[:32]
            begin = 32
        for i in range(begin, len(plain), step):
            if plain[i + 4 : i + 8] != b"\0\0\0\0":
                yield at + begin, plain[begin : i + step]
                begin = i + step
        if begin < len(plain):
            yield at + begin, plain[begin:]

    def _capture(self):
        try:
            self._capture_until_closed()
        except (wire.Closed, OSError):  # the primary ends
            pass

    def _capture_until_closed(self):
        waiting, due = [], time.monotonic() + self.every_s
        while True:
            r, payload = wire.read_record(self.http)
            self.generation = self.generation or r.generation
            if r.type == wire.SEGMENT:
                for offset, plain in self._pieces(r.offset, wire.lz4_frame(payload)):
                    z = lz4_of(plain)
                    head = struct.pack(">IIQQQQ", wire.SEGMENT, 0, r.generation, r.index, offset, len(z))
                    waiting.append((r.index, offset, head + z))
            if time.monotonic() >= due:
                with self.more:
                    self.segments += waiting
                    self.more.notify_all()
                waiting, due = [], time.monotonic() + self.every_s

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
            u = urllib.parse.urlsplit(head.split(b" ")[1].decode())
            if u.path != "/stream" or not self.segments:
                s.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n404 page not found\n")
                return
            s.sendall(b"HTTP/1.1 200 OK\r\nLitestream-page-size: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % self.page_size)
            self._stream(lambda data: s.sendall(b"%x\r\n%s\r\n" % (len(data), data)), dict(urllib.parse.parse_qsl(u.query)))
        except OSError:
            pass
        finally:
            s.close()

    def _stream(self, send, query):
        with self.more:
            index = self.segments[-1][0]
        if int(query.get("generation", "0"), 16) == self.generation:
            index = int(query["index"], 16)
        elif not self._copy(send, index):
            return
        at = 0
        while True:
            with self.more:
                while len(self.segments) == at:
                    self.more.wait(60)
                todo, at = self.segments[at:], len(self.segments)
            for i, _, data in todo:
                if i >= index:
                    send(data)

    def _copy(self, send, index):
        self.copies += 1
        with open(self.path, "rb") as f:
            left = os.fstat(f.fileno()).st_size
            send(struct.pack(">IIQQQQ", wire.SNAPSHOT, 0, self.generation, index, 0, left))
            while left > 0:
                data = f.read(min(left, 1 << 15))
                if not data:  # it has become shorter
                    self.cut_copies += 1
                    return False
                send(data)
                left -= len(data)
                time.sleep(0.02)
        return True


class Play:
    def __init__(self, o):
        self.o, self.random = o, random.Random(o.seed)
        self.dir = tempfile.mkdtemp(prefix="walbrook-fuzzy-")
        self.build = os.path.abspath(o.build)
        self.db = self.dir + "/p.db"
        self.children, self.failures, self.followers, self.seen, self.reads = [], [], 0, 0, 0
        self.lock = threading.Lock()

    def spawn(self, argv, log, **more):
        with open(log, "ab") as out:
            p = subprocess.Popen(argv, stdin=more.pop("stdin", subprocess.DEVNULL), stdout=more.pop("stdout", out), stderr=out, **more)
        self.children.append(p)
        return p

    def begin(self):
        subprocess.run(LOAD + ["make", self.db, "1024", "0"], check=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with open(self.dir + "/p.yml", "w") as f:
            f.write(f'addr: "127.0.0.1:{port}"\nsocket: {self.dir}/p.sock\ndbs:\n  - path: {self.db}\n')
        self.writer = self.spawn(LOAD + ["write", self.db, self.dir + "/witness", str(self.o.seed), "20"], self.dir + "/writer.log",
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.spawn([self.build + "/walbrook", "replicate", "-config", self.dir + "/p.yml"], self.dir + "/p.log")
        until = time.monotonic() + 30
        while True:
            try:
                self.server = Server(f"http://127.0.0.1:{port}", self.db, 1024, self.o.every / 1000)
                break
            except (wire.Closed, OSError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        while not self.server.segments:
            time.sleep(0.05)
        self.proxy = Proxy(lambda: self.server.port)

    def one(self, n, until):
        """A follower from nothing to its end."""
        base = f"{self.dir}/f{n}"
        os.mkdir(base)
        with open(base + "/f.yml", "w") as f:
            f.write(f"socket: {base}/f.sock\ndbs:\n  - path: {base}/f.db\n    upstream:\n      url: http://127.0.0.1:{self.proxy.port}\n"
                    f"      path: {self.db}\n")
        p = self.spawn([self.build + "/walbrook", "replicate", "-config", base + "/f.yml"], base + "/f.log")
        while not os.path.exists(base + "/f.db") and time.monotonic() < until:
            time.sleep(0.002)
        said = None
        if os.path.exists(base + "/f.db"):
            r = self.spawn([self.build + "/test/livereader", base + "/f.db", base + "/seen", "rw", "0", "0", "50", "20000", "1"],
                           base + "/reader.err", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            time.sleep(self.random.uniform(1, 8))
            said = r.communicate("", 60)[0].strip()
        p.kill()
        p.wait()
        with self.lock:
            self.followers += 1
            self.seen += said is not None
            if said and said.startswith("ok"):
                self.reads += int(said.split()[1])
            elif said is not None:
                self.failures.append(f"{base}: {said}")
                print(f"fuzzy: FAILURE: {base}: {said}", flush=True)
                return
        shutil.rmtree(base)

    def play(self):
        self.begin()
        until = time.monotonic() + self.o.secs

        def work(k):
            i = 0
            while time.monotonic() < until and len(self.failures) < 5:
                self.one(f"{k}-{i}", until)
                i += 1

        threads = [threading.Thread(target=work, args=(k,)) for k in range(self.o.n)]
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            time.sleep(self.random.uniform(1, 6))
            self.proxy.cut()
        self.writer.communicate(b"", 60)


def main():
    p = argparse.ArgumentParser(allow_abbrev=False)
    p.add_argument("-secs", type=float, default=60)
    p.add_argument("-seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    p.add_argument("-n", type=int, default=3)
    p.add_argument("-every", type=int, default=1000)
    p.add_argument("build")
    o = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    t = Play(o)
    try:
        t.play()
    finally:
        for c in t.children:
            if c.poll() is None:
                c.kill()
                c.wait()
    good = not t.failures and t.seen > 0
    if good:
        shutil.rmtree(t.dir, ignore_errors=True)
    print(
        f"fuzzy: {'PASS' if good else 'FAIL'}  seed {o.seed}: {t.followers} followers, {t.seen} came to content, {t.reads} reads; "
        f"{t.server.copies} copies, {t.server.cut_copies} of a file that became shorter; {t.proxy.cuts} cuts; {len(t.failures)} failures"
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
