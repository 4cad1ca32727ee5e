# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that does to connections what networks do: cuts, stalls, delivers byte by byte, changes a byte.

    p = Proxy(lambda: port)      listens on a free port of 127.0.0.1: p.port; asks for the target at each connection
    p.plan = lambda: Fate(...)   what happens to the next connection
    p.cut()                      all connections now, some with RST
    p.close()

Threads: two a connection, all daemon threads; what they share is under p.lock."""

import random
import socket
import struct
import threading
import time


class Fate:
    """What happens to the bytes that come from the server on one connection. Numbers of bytes count from its beginning;
    None: never."""

    def __init__(self, cut=None, stall=None, stall_s=0.0, drip=0, flip=None, mask=0x01):
        self.cut = cut  # the connection is cut before this byte
        self.stall = stall  # nothing is delivered for stall_s before this byte
        self.stall_s = stall_s
        self.drip = drip  # so many bytes come one by one, each in a packet of its own
        self.flip = flip  # this byte is XORed with the mask
        self.mask = mask
        self.kept = bytearray()  # with a flip: what came from the server, as it came

    def stops(self):
        return [s for s in (self.cut, self.stall, self.flip) if s is not None]


def hard_close(sock):
    """With RST rather than FIN, as when a machine went away."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    sock.close()


class Proxy:
    def __init__(self, target, plan=None):
        self.target = target
        self.plan = plan or Fate
        self.lock = threading.Lock()
        self.open = set()
        self.closed = False
        self.connections = self.cuts = self.bytes = self.flips = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.target()), 5)
        except (OSError, TypeError):
            hard_close(client)
            return
        server.settimeout(None)
        for s in (client, server):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.lock:
            self.connections += 1
            self.open |= {client, server}
            if self.closed:
                client.close()
                server.close()
        threading.Thread(target=self._up, args=(client, server), daemon=True).start()
        self._down(server, client, self.plan())

    def _up(self, client, server):
        try:
            while data := client.recv(1 << 16):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(client, server)

    def _down(self, server, client, fate):
        at = 0
        try:
            while data := server.recv(1 << 16):
                if fate.flip is not None:
                    fate.kept += data
                while data:
                    if fate.cut is not None and at >= fate.cut:
                        with self.lock:
                            self.cuts += 1
                        self._end(client, server, hard=random.random() < 0.5)
                        return
                    if fate.stall is not None and at >= fate.stall:
                        fate.stall = None
                        time.sleep(fate.stall_s)
                    part = self._part(data, at, fate)
                    data = data[len(part) :]
                    if fate.flip is not None and at == fate.flip:
                        part = bytes([part[0] ^ fate.mask]) + part[1:]
                        with self.lock:
                            self.flips += 1
                    client.sendall(part)
                    at += len(part)
                    with self.lock:
                        self.bytes += len(part)
        except OSError:
            pass
        self._end(client, server)

    @staticmethod
    def _part(data, at, fate):
        """What of the data may go at once: to the next byte at which something happens."""
        n = 1 if at < fate.drip else len(data)
        for stop in fate.stops():
            if at < stop:
                n = min(n, stop - at)
            elif at == stop:
                n = 1
        return data[:n]

    def _end(self, client, server, hard=False):
        with self.lock:
            self.open -= {client, server}
        for s in (client, server):
            # A shutdown first: it wakes the other thread, which a close alone does not. That of reading sends nothing.
            try:
                s.shutdown(socket.SHUT_RD if hard else socket.SHUT_RDWR)
            except OSError:
                pass
            if hard:
                hard_close(s)
            else:
                s.close()

    def cut(self, hard=None):
        with self.lock:
            sockets, self.open = self.open, set()
            self.cuts += len(sockets) // 2
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.closed = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.cut()
