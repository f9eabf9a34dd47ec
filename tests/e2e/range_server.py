#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""range_server.py PORT FOLDER CERT KEY LOG: HTTPS with Range requests, right ones and wrong ones.

The first part of the path says how to answer (see answer()), the second which file of FOLDER. Each answer is a line of LOG: how, the
status and how many bytes of the body were handed to the socket, so that LOG says what was really sent.
"""
import http.server
import os
import re
import ssl
import sys
import threading
import time

PORT, FOLDER, CERT, KEY, LOG = sys.argv[1:6]
BLOCK = 64 * 1024
lock = threading.Lock()
n_requests = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def note(self, how, status, n_bytes):
        with lock, open(LOG, "a") as f:
            f.write(f"{how} {status} {n_bytes} {self.headers.get('Range', '-')} {self.headers.get('If-Range', '-')}\n")

    def body(self, how, status, f, first, n_bytes, stop_at=None):
        """Send n_bytes from first on; at stop_at bytes break the connection, or with how "hold" wait for FOLDER/go."""
        sent = 0
        f.seek(first)
        try:
            while sent < n_bytes:
                part = min(BLOCK, n_bytes - sent)
                if stop_at is not None and sent < stop_at:
                    part = min(part, stop_at - sent)
                elif stop_at is not None and how == "hold":
                    while not os.path.exists(os.path.join(FOLDER, "go")):
                        time.sleep(0.05)
                elif stop_at is not None:
                    self.close_connection = True
                    return
                self.wfile.write(f.read(part))
                sent += part
        except OSError:
            self.close_connection = True
        finally:
            self.note(how, status, sent)

    def do_GET(self):
        _, how, name = self.path.split("/", 2)
        with lock:
            n = n_requests[how] = n_requests.get(how, 0) + 1
        if how == "later" and n > 1:
            name += ".later"
        try:
            with open(os.path.join(FOLDER, os.path.basename(name)), "rb") as f:
                self.answer(how, n, f)
        except FileNotFoundError:
            self.send_error(404)

    def answer(self, how, n, f):
        size = os.fstat(f.fileno()).st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        date = "Sat, 21 Nov 2026 12:00:00 GMT"
        etag = f'"{os.fstat(f.fileno()).st_mtime_ns}-{size}"'
        if how == "etag" and n > 1:
            etag = '"another"'
        validator = date if how == "date" else etag
        match = self.headers.get("If-Range", validator) == validator or how == "etag"
        if how == "busy" and n % 2 == 0:
            self.send_error(503)
            return
        if how == "empty":
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if not asked or not match or how == "whole" or (how == "forget" and n > 1):
            self.send_response(200)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.body(how, 200, f, 0, size)
            return
        first, last = int(asked[1]), min(int(asked[2]), size - 1)
        if first >= size:
            self.send_error(416)
            return
        n_bytes = last - first + 1
        shown_first, shown_size, length, stop_at = first, size, n_bytes, None
        if how == "wrong":
            shown_first = first + 1
        if how == "size" and n > 1:
            shown_size = size + 1
        if how == "short" and n > 1:        # says less than it was asked for, and keeps to that
            last -= 1
            length -= 1
        if how == "long":                   # says what it was asked for, and sends more
            length += 4096
        if how == "drop":                   # every connection breaks once it has carried a quarter
            stop_at = size // 4
        if how == "hold":
            stop_at = size // 2
        self.send_response(206)
        if how == "multi":
            self.send_header("Content-Type", "multipart/byteranges; boundary=x")
        else:
            self.send_header("Content-Range", "junk" if how == "junk" else f"bytes {shown_first}-{last}/{shown_size}")
        if how == "twice":
            self.send_header("Content-Range", f"bytes 0-0/{size}")
        if how == "date":
            self.send_header("Last-Modified", date)
        elif how != "bare":
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.body(how, 206, f, first, length, stop_at)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(CERT, KEY)
server = Server(("127.0.0.1", int(PORT)), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
