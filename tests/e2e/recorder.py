#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A broker for tests that says PUBACK only after the message is in a file, so that the file tells what was acknowledged.

usage: recorder.py PORT CERT KEY CLIENT-CA FILE [TIMES]   (MQTT 3.1.1, TLS 1.3 with client certificates; forwards to subscribers)
REFUSE in the environment: a filter that nobody may subscribe.
TIMES: a file that says when each message was in FILE, still before its PUBACK: "SECONDS TOPIC NUMBER"
"""
import os
import socket
import ssl
import struct
import sys
import threading
import time

port, cert, key, ca, path = sys.argv[1:6]
out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
times = os.open(sys.argv[6], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if len(sys.argv) > 6 else -1
lock = threading.Lock()
subscribers = []


def matches(flt, topic):
    f, t = flt.split("/"), topic.split("/")
    for i, level in enumerate(f):
        if level == "#":
            return True
        if i >= len(t) or level not in ("+", t[i]):
            return False
    return len(f) == len(t)


def packet(kind, body):
    size, n = b"", len(body)
    while True:
        n, low = divmod(n, 128)
        size += bytes([low | (128 if n else 0)])
        if not n:
            return bytes([kind]) + size + body


class Client(threading.Thread):
    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock, self.filters, self.send_lock = sock, [], threading.Lock()

    def need(self, n):
        data = b""
        while len(data) < n:
            got = self.sock.recv(n - len(data))
            if not got:
                raise EOFError
            data += got
        return data

    def read(self):
        kind, size, shift = self.need(1)[0], 0, 0
        while True:
            b = self.need(1)[0]
            size |= (b & 127) << shift
            shift += 7
            if not b & 128:
                return kind, self.need(size)

    def send(self, data):
        with self.send_lock:
            self.sock.sendall(data)

    def publish(self, kind, body):
        n = struct.unpack(">H", body[:2])[0]
        topic, rest, mid = body[2:2 + n].decode(), body[2 + n:], b""
        if kind & 6:
            mid, rest = rest[:2], rest[2:]
        with lock:
            os.write(out, topic.encode() + b" " + rest + b"\n")
            if times >= 0:
                os.write(times, b"%.6f %s %s\n" % (time.time(), topic.encode(), rest.split(b":")[0].split(b" ")[0]))
            targets = [s for s in subscribers if any(matches(f, topic) for f in s.filters)]
        for s in targets:
            try:
                s.send(packet(0x30, struct.pack(">H", n) + topic.encode() + rest))
            except OSError:
                pass
        if mid:
            self.send(packet(0x40, mid))

    def serve(self):
        while True:
            kind, body = self.read()
            if kind >> 4 == 1:
                if body[6] != 4:  # another version: say so, and no more (MQTT 3.1.1 section 3.1.2.2)
                    self.send(packet(0x20, b"\0\1"))
                    return
                self.send(packet(0x20, b"\0\0"))
            elif kind >> 4 == 3:
                self.publish(kind, body)
            elif kind >> 4 == 8:
                at, codes = 2, b""
                while at < len(body):
                    n = struct.unpack(">H", body[at:at + 2])[0]
                    wanted = body[at + 2:at + 2 + n].decode()
                    at += 3 + n
                    codes += b"\x80" if wanted == os.environ.get("REFUSE") else b"\0"
                    if codes[-1] == 0:
                        self.filters.append(wanted)
                with lock:
                    if self not in subscribers:
                        subscribers.append(self)
                self.send(packet(0x90, body[:2] + codes))
            elif kind >> 4 == 10:
                self.send(packet(0xb0, body[:2]))
            elif kind >> 4 == 12:
                self.send(packet(0xd0, b""))
            elif kind >> 4 == 14:
                return

    def run(self):
        try:
            self.sock = ctx.wrap_socket(self.sock, server_side=True)
            self.serve()
        except (OSError, EOFError):
            pass
        with lock:
            if self in subscribers:
                subscribers.remove(self)
        self.sock.close()


ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
ctx.minimum_version = ssl.TLSVersion.TLSv1_3
ctx.load_cert_chain(cert, key)
ctx.load_verify_locations(ca)
ctx.verify_mode = ssl.CERT_REQUIRED
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(port)))
listener.listen(16)
while True:
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    Client(sock).start()
