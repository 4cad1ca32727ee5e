# SPDX-License-Identifier: Apache-2.0
"""Clients of /stream and /hashes for 72-serve.t, as docs/live.md tells it, independent of our own reader.

  serve.py follow URL OUT [UNTIL] [sum]   plain, or extended with txn=1: follows until the table t has UNTIL rows (or,
                                          without, until a heartbeat says that all was sent), writes the database; with
                                          `sum`: prints the parameters to go on with
  serve.py types URL N                    the types of the first N records, in one line
  serve.py differ URL DATABASE OUT        hashes, then only what differs, put on a copy of DATABASE
  serve.py stuck URL SECONDS              asks, and reads nothing, or with a number of bytes a second
"""
import ctypes
import os
import socket
import sqlite3
import struct
import sys
import tempfile
import time
import urllib.parse
import urllib.request

DEADLINE = time.monotonic() + 60
lz4 = ctypes.CDLL("liblz4.so.1")
xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH64.restype = ctypes.c_uint64
xxhash.XXH64.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
for name in ("LZ4F_createDecompressionContext", "LZ4F_decompress"):
    getattr(lz4, name).restype = ctypes.c_size_t


def plain(frame):
    """The content of one LZ4 frame; it must end where the payload does."""
    context = ctypes.c_void_p()
    lz4.LZ4F_createDecompressionContext(ctypes.byref(context), 100)
    source = ctypes.create_string_buffer(frame, len(frame))
    room = ctypes.create_string_buffer(4 << 20)
    out, at, rest = bytearray(), 0, 1
    while rest:
        produced, used = ctypes.c_size_t(len(room)), ctypes.c_size_t(len(frame) - at)
        rest = lz4.LZ4F_decompress(context, room, ctypes.byref(produced), ctypes.byref(source, at), ctypes.byref(used), None)
        assert rest < 1 << 63 and (used.value or produced.value), "not an LZ4 frame"
        out += room.raw[: produced.value]
        at += used.value
    lz4.LZ4F_freeDecompressionContext(context)
    assert at == len(frame), "bytes behind the frame"
    return bytes(out)


def ask(url, data=None, headers=None):
    return urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers or {}), timeout=20)


def exactly(answer, n):
    parts = []
    while n:
        part = answer.read(n)
        assert part, "the stream ends inside a record"
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


def records(answer):
    while time.monotonic() < DEADLINE:
        first = answer.read(1)
        if not first:
            return
        head = first + exactly(answer, 39)
        kind, flags, generation, index, offset, size = struct.unpack(">IIQQQQ", head)
        payload = exactly(answer, size)
        if kind not in (1, 2, 18, 19, 21, 22):
            seal = xxhash.XXH64(payload, size - 8, xxhash.XXH64(head, 40, 0))
            assert struct.pack(">Q", seal) == payload[-8:], "the seal of a record"
        yield kind, flags, generation, index, offset, payload, head[8:32]
    raise SystemExit("no end after 60 s")


class Copy:
    """A database that grows from records."""

    def __init__(self, pages=b"", page_bytes=4096):
        self.pages, self.page_bytes, self.sum = bytearray(pages), page_bytes, "0" * 16
        self.checked = b""
        self.differing = False

    def wal(self, index, offset, data):
        if offset == 0:
            self.page_bytes = struct.unpack(">I", data[8:12])[0]
        at, size = (32 if offset == 0 else 0), 0
        while at < len(data):
            page, pages = struct.unpack(">II", data[at : at + 8])
            end = page * self.page_bytes
            self.pages.extend(bytes(max(0, end - len(self.pages))))
            self.pages[end - self.page_bytes : end] = data[at + 24 : at + 24 + self.page_bytes]
            self.sum = data[at + 16 : at + 24].hex()
            size = pages or size
            at += 24 + self.page_bytes
        if size:
            del self.pages[size * self.page_bytes :]

    def take(self, record):
        kind, flags, _, index, offset, payload, place = record
        if kind == 1:
            self.pages = bytearray(payload)
        elif kind == 2:
            self.wal(index, offset, plain(payload))
        elif kind == 21:
            self.page_bytes, _, self.differing = struct.unpack(">III", payload)
            self.checked = place + payload
        elif kind == 19:
            payload = plain(payload) if flags & 1 else payload
            self.checked += place + payload
            if self.differing:
                for at in range(0, len(payload), 4 + self.page_bytes):
                    end = struct.unpack(">I", payload[at : at + 4])[0] * self.page_bytes
                    self.pages.extend(bytes(max(0, end - len(self.pages))))
                    self.pages[end - self.page_bytes : end] = payload[at + 4 : at + 4 + self.page_bytes]
            else:
                assert offset == len(self.pages) or offset == 0, "a piece is missing"
                self.pages[offset : offset + len(payload)] = payload
        elif kind == 22:
            check = xxhash.XXH64(self.checked + place, len(self.checked) + 24, 0)
            assert struct.pack(">Q", check) == payload, "the check of the content does not agree"

    def write(self, path):
        data = bytearray(self.pages)
        data[18:20] = b"\1\1"  # no WAL is needed to read it
        with open(path, "wb") as out:
            out.write(data)

    def rows(self):
        with tempfile.TemporaryDirectory() as directory:
            self.write(directory + "/db")
            try:
                with sqlite3.connect(directory + "/db") as db:
                    return db.execute("SELECT count(*) FROM t").fetchone()[0]
            except sqlite3.Error:
                return -1


def follow(url, out, until=None, wants_sum=False):
    copy, place, needed, content = Copy(), None, None, False
    with ask(url, headers={"Accept-Encoding": "lz4"} if "lz4" in sys.argv else {}) as answer:
        for record in records(answer):
            copy.take(record)
            kind, _, generation, index, offset, payload, _ = record
            if kind == 23:
                print("END", payload[:-8].decode())
            if kind == 22:
                needed = (index, offset)
            if until and kind == 2 and copy.rows() >= until:
                break
            content = content or kind == 21
            if not until and kind == 17 and ((index, offset) >= needed if needed else offset and not content):
                place = "generation=%016x&index=%x&offset=%x" % (generation, index, offset)
                break
    copy.write(out)
    if wants_sum:
        print("%s&sum=%s" % (place, copy.sum))


def types(url, n):
    seen = []
    with ask(url) as answer:
        for record in records(answer):
            seen.append(str(record[0]))
            if len(seen) == n:
                break
    print(" ".join(seen))


def differ(url, database, out):
    """url: of the server; asks for the hashes, and then for what differs."""
    path = urllib.parse.urlparse(url).query
    base = url.split("/stream")[0]
    with ask(base + "/hashes?" + path) as answer:
        kind, _, generation, index, _, payload, place = next(records(answer))
    assert kind == 18 and len(payload) % 8 == 0
    assert struct.pack(">Q", xxhash.XXH64(place + payload[:-8], len(payload) + 16, 0)) == payload[-8:], "check of the hashes"
    page_bytes, pages = struct.unpack(">II", payload[:8])
    with open(database, "rb") as there:
        old = there.read()
    bits = bytearray((pages + 7) // 8)
    for n in range(pages):
        page = old[n * page_bytes : (n + 1) * page_bytes]
        if struct.pack(">Q", xxhash.XXH64(page, len(page), 0)) != payload[8 + n * 8 : 16 + n * 8]:
            bits[n // 8] |= 1 << n % 8
    copy, sent = Copy(old, page_bytes), 0
    where = "%s&txn=1&generation=%016x&index=%x" % (url, generation, index)
    needed = None
    with ask(where, data=bytes(bits)) as answer:
        for record in records(answer):
            copy.take(record)
            sent += len(record[5]) if record[0] == 19 else 0
            if record[0] == 22:
                needed = record[3:5]
            if record[0] == 17 and needed and record[3:5] >= needed:
                break
    copy.write(out)
    print(sum(bin(b).count("1") for b in bits), sent // (page_bytes + 4))


def stuck(url, seconds, pace):
    to = urllib.parse.urlparse(url)
    with socket.create_connection((to.hostname, to.port)) as there:
        there.sendall(("GET %s?%s HTTP/1.1\r\nHost: x\r\n\r\n" % (to.path, to.query)).encode())
        print("asked", flush=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if pace and not there.recv(pace):
                print("closed", flush=True)
                return
            time.sleep(1 if pace else 0.2)


what, arguments = sys.argv[1], sys.argv[2:]
if what == "follow":
    follow(arguments[0], arguments[1], int(arguments[2]) if len(arguments) > 2 and arguments[2].isdigit() else None, "sum" in arguments)
elif what == "types":
    types(arguments[0], int(arguments[1]))
elif what == "differ":
    differ(*arguments)
elif what == "stuck":
    stuck(arguments[0], float(arguments[1]), int(arguments[2]) if len(arguments) > 2 else 0)
else:
    sys.exit("no such way")
os._exit(0)
