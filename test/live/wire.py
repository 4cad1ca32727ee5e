# SPDX-License-Identifier: Apache-2.0
"""The live stream as somebody reads it who knows only docs/live.md: HTTP by hand, records, LZ4 frames, WAL checksums.

Shares nothing with the C sources, so that both would have to be wrong in the same way. liblz4 is the system's, through
ctypes; all else is Python's own library.
"""

import array
import collections
import ctypes
import ctypes.util
import os
import socket
import ssl
import struct
import sys
import urllib.parse

SNAPSHOT, SEGMENT, COMMITS, HEARTBEAT, HASHES, PAGES, LINEAGE, CONTENT, COMPLETE, END = 1, 2, 16, 17, 18, 19, 20, 21, 22, 23
RECORD_HEADER_BYTES = 40
WAL_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
PAYLOAD_MAX_BYTES = 1 << 32

Record = collections.namedtuple("Record", "type flags generation index offset size")


class Broken(Exception):
    """What came is not what docs/live.md promises."""


class Closed(Exception):
    """The connection ended (perhaps in the middle of something)."""


# ---- HTTP ----


class Http:
    """One GET or POST: status, headers, and the body as a row of bytes. timeout_s is for each wait, not for the whole."""

    def __init__(self, url, headers=(), method="GET", body=None, timeout_s=30, context=None):
        u = urllib.parse.urlsplit(url)
        port = u.port or (443 if u.scheme == "https" else 80)
        try:
            self.sock = socket.create_connection((u.hostname, port), timeout_s)
        except OSError as e:
            raise Closed(f"cannot connect: {e}") from e
        try:
            if u.scheme == "https":
                self.sock = (context or ssl.create_default_context()).wrap_socket(self.sock, server_hostname=u.hostname)
            target = (u.path or "/") + ("?" + u.query if u.query else "")
            lines = [f"{method} {target} HTTP/1.1", f"Host: {u.netloc}"] + [f"{k}: {v}" for k, v in headers]
            if body is not None:
                lines.append(f"Content-Length: {len(body)}")
            self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
            self.file = self.sock.makefile("rb", 1 << 16)
            self._head()
        except OSError as e:
            self.sock.close()
            raise Closed(f"while asking: {e}") from e
        except Closed:
            self.sock.close()
            raise

    def _line(self):
        line = self.file.readline(65536)
        if not line.endswith(b"\r\n"):
            raise Closed("the head of the answer is cut")
        return line[:-2].decode("latin-1")

    def _head(self):
        parts = self._line().split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1."):
            raise Broken(f"not an HTTP answer: {parts}")
        self.status = int(parts[1])
        self.headers = {}
        while line := self._line():
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self.chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        length = self.headers.get("content-length")
        self.left = 0 if self.chunked else int(length) if length is not None else None
        self.first = True
        self.ended = False

    def _next_chunk(self):
        if not self.first and self._line() != "":
            raise Broken("a chunk is longer than it said")
        self.first = False
        self.left = int(self._line().split(";")[0], 16)
        if self.left == 0:
            self._line()
            self.ended = True

    def read(self, most):
        """Up to `most` bytes, b"" at the proper end of the body; Closed when it is cut."""
        if self.ended:
            return b""
        try:
            if self.chunked and self.left == 0:
                self._next_chunk()
                if self.ended:
                    return b""
            if self.left == 0:
                self.ended = True
                return b""
            data = self.file.read1(most if self.left is None else min(most, self.left))
        except OSError as e:
            raise Closed(f"while reading: {e!r}") from e
        except ValueError as e:
            raise Closed(f"a chunk without a length: {e}") from e
        if not data:
            self.ended = True
            if self.left is None:
                return b""
            raise Closed("cut inside the body")
        if self.left is not None:
            self.left -= len(data)
        return data

    def exactly(self, n):
        parts, have = [], 0
        while have < n:
            data = self.read(n - have)
            if not data:
                raise Closed(f"the body ended {n - have} bytes early" if have else "the body ended")
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def all(self, most=1 << 24):
        parts = []
        while (data := self.read(1 << 16)) and most > 0:
            parts.append(data)
            most -= len(data)
        return b"".join(parts)

    def close(self):
        self.file.close()
        self.sock.close()


class FileSource:
    """A captured body."""

    def __init__(self, path):
        self.file = open(path, "rb")

    def exactly(self, n):
        data = self.file.read(n)
        if len(data) < n:
            raise Closed("the body ended" if not data else "cut inside the body")
        return data

    def close(self):
        self.file.close()


def stream_url(base, path, **query):
    """The URL of a stream; numbers are written as hexadecimal, a generation with all its 16 digits."""
    q, digits = {"path": path}, {"generation": 16}
    q.update({k: f"{v:0{digits.get(k, 1)}x}" if isinstance(v, int) else v for k, v in query.items() if v is not None})
    return base.rstrip("/") + "/stream?" + urllib.parse.urlencode(q)


# ---- records ----


def read_record(source):
    """The next record and its payload."""
    head = source.exactly(RECORD_HEADER_BYTES)
    r = Record(*struct.unpack(">IIQQQQ", head))
    if r.size > PAYLOAD_MAX_BYTES:
        raise Broken(f"a payload of {r.size} bytes: {r}")
    return r, source.exactly(r.size)


def position(text):
    """GENERATION/INDEX:OFFSET as three numbers."""
    generation, rest = text.strip().split("/")
    index, offset = rest.split(":")
    return int(generation, 16), int(index, 16), int(offset)


def position_text(generation, index, offset):
    return f"{generation:016x}/{index:08x}:{offset}"


# ---- LZ4 ----

_lz4 = ctypes.CDLL(ctypes.util.find_library("lz4") or "liblz4.so.1")
_lz4.LZ4F_decompress.restype = ctypes.c_size_t
_lz4.LZ4F_createDecompressionContext.restype = ctypes.c_size_t
_lz4.LZ4F_freeDecompressionContext.restype = ctypes.c_size_t
_lz4.LZ4F_isError.restype = ctypes.c_uint
_lz4.LZ4F_getErrorName.restype = ctypes.c_char_p


def _lz4_check(code):
    if _lz4.LZ4F_isError(ctypes.c_size_t(code)):
        raise Broken("LZ4: " + _lz4.LZ4F_getErrorName(ctypes.c_size_t(code)).decode())
    return code


def lz4_frame(data):
    """The content of exactly one LZ4 frame; its checksums are checked."""
    context = ctypes.c_void_p()
    _lz4_check(_lz4.LZ4F_createDecompressionContext(ctypes.byref(context), ctypes.c_uint(100)))
    try:
        out, at, hint = [], 0, 1
        buffer = ctypes.create_string_buffer(1 << 20)
        base = ctypes.c_char_p(data)
        address = ctypes.cast(base, ctypes.c_void_p).value
        while hint != 0:
            room, given = ctypes.c_size_t(len(buffer)), ctypes.c_size_t(len(data) - at)
            hint = _lz4_check(
                _lz4.LZ4F_decompress(
                    context, buffer, ctypes.byref(room), ctypes.c_void_p(address + at), ctypes.byref(given), None
                )
            )
            out.append(buffer.raw[: room.value])
            at += given.value
            if hint != 0 and given.value == 0 and room.value == 0:
                raise Broken("LZ4: the frame is cut")
        if at != len(data):
            raise Broken(f"LZ4: {len(data) - at} bytes behind the frame")
        return b"".join(out)
    finally:
        _lz4.LZ4F_freeDecompressionContext(context)


# ---- WAL ----


def wal_checksum(data, big, s0=0, s1=0):
    """SQLite's: 32-bit words in pairs; `big`: they are read as big-endian."""
    words = array.array("I")
    assert words.itemsize == 4
    words.frombytes(data)
    if big == (sys.byteorder == "little"):
        words.byteswap()
    pairs = iter(words)
    for a, b in zip(pairs, pairs):
        s0 = (s0 + a + s1) & 0xFFFFFFFF
        s1 = (s1 + b + s0) & 0xFFFFFFFF
    return s0, s1


class WalReader:
    """One incarnation of a WAL, in pieces from its beginning on; every byte is checked."""

    def __init__(self, page_size):
        self.page_size = page_size
        self.end = 0  # bytes taken
        self.salts = None
        self.sums = None
        self.big = False
        self.rest = b""

    def _header(self, h):
        magic, version, page_size, _seq, salt1, salt2, s0, s1 = struct.unpack(">8I", h)
        if magic not in (0x377F0682, 0x377F0683) or version != 3007000:
            raise Broken(f"not a WAL header: {h.hex()}")
        if page_size != self.page_size:
            raise Broken(f"the WAL has pages of {page_size}, the database of {self.page_size}")
        self.big = magic & 1 == 1
        if wal_checksum(h[:24], self.big) != (s0, s1):
            raise Broken("checksum of the WAL header")
        self.salts, self.sums = (salt1, salt2), (s0, s1)

    def feed(self, data):
        """Yields (page number, page, size of the database in pages when it is a commit, else 0) of whole frames."""
        data = self.rest + data
        at = 0
        if self.salts is None:
            if len(data) < WAL_HEADER_BYTES:
                raise Broken("a first segment without a WAL header")
            self._header(data[:WAL_HEADER_BYTES])
            at = WAL_HEADER_BYTES
        step = FRAME_HEADER_BYTES + self.page_size
        while len(data) - at >= step:
            number, commit, salt1, salt2, s0, s1 = struct.unpack(">6I", data[at : at + FRAME_HEADER_BYTES])
            page = data[at + FRAME_HEADER_BYTES : at + step]
            where = f"frame at {self.end - len(self.rest) + at}"
            if (salt1, salt2) != self.salts:
                raise Broken(f"{where}: salts of another WAL")
            sums = wal_checksum(data[at : at + 8], self.big, *self.sums)
            sums = wal_checksum(page, self.big, *sums)
            if sums != (s0, s1):
                raise Broken(f"{where}: checksum")
            if number == 0:
                raise Broken(f"{where}: page 0")
            self.sums = sums
            yield number, page, commit
            at += step
        self.end += len(data) - len(self.rest)
        self.rest = data[at:]


def page_size_of(head):
    """From the first bytes of a database file."""
    if head[:16] != b"SQLite format 3\0":
        raise Broken("the content does not begin as a database does")
    n = struct.unpack(">H", head[16:18])[0]
    return 65536 if n == 1 else n


# ---- what is the same ----


def images_differ(a, b):
    """None when two databases, as a reader sees them now, are the same page by page; else a sentence."""
    import sqlite3

    images = []
    for path in (a, b):
        db = sqlite3.connect(f"file:{urllib.parse.quote(os.path.abspath(path))}?mode=rw", uri=True, timeout=20)
        try:
            images.append(db.serialize())
        finally:
            db.close()
    one, two = images
    if one == two:
        return None
    n = page_size_of(one)
    pages = [i // n + 1 for i in range(0, min(len(one), len(two)), n) if one[i : i + n] != two[i : i + n]]
    return (
        f"{a} has {len(one) // n} pages, {b} {len(two) // n} pages of {n}; "
        f"{len(pages)} differ, the first ones {pages[:10]}"
    )
