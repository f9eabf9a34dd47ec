#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A person at a terminal: runs a program on a pseudo-terminal and follows the script on stdin. What was seen goes to
stdout, its last line says how the program ended ("exit 0", "signal 9", "alive", "hung up").

    expect REGEX   wait until it was seen (after what was seen by the last expect); else "missing REGEX" and the end
    send TEXT      type a line            raw TEXT    type exactly this, with Python escapes
    hangup         pull the plug
    idle SECONDS   look on
    size N         type N times "x"       end         wait until the program ends

TALK_TIMEOUT: seconds for each wait, 20 if not set.
"""
import os
import pty
import re
import select
import signal
import sys
import time

TIMEOUT = float(os.environ.get("TALK_TIMEOUT", "20"))


def main():
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    seen = b""
    at = 0
    ended = None

    def status_text(status):
        return f"exit {os.WEXITSTATUS(status)}" if os.WIFEXITED(status) else f"signal {os.WTERMSIG(status)}"

    def read(seconds):
        """False when nothing more can come."""
        nonlocal seen
        if not select.select([fd], [], [], seconds)[0]:
            return True
        try:
            more = os.read(fd, 65536)
        except OSError:
            return False
        seen += more
        return bool(more)

    def type_bytes(data):
        while data:
            try:
                n = os.write(fd, data[:200])
            except OSError:
                return
            data = data[n:]
            read(0)

    def finish(word):
        sys.stdout.buffer.write(seen.replace(b"\r", b""))
        print("\n" + word)
        sys.exit(0)

    for line in sys.stdin:
        verb, _, rest = line.rstrip("\n").partition(" ")
        if verb == "expect":
            pattern = re.compile(rest.encode())
            deadline = time.monotonic() + TIMEOUT
            is_open = True
            while True:
                found = pattern.search(seen, at)
                if found:
                    at = found.end()
                    break
                if not is_open or time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    finish(f"missing {rest}")
                is_open = read(0.1)
        elif verb == "send":
            type_bytes(rest.encode() + b"\r")
        elif verb == "raw":
            type_bytes(rest.encode().decode("unicode_escape").encode("latin-1"))
        elif verb == "size":
            type_bytes(b"x" * int(rest))
        elif verb == "idle":
            deadline = time.monotonic() + float(rest)
            while time.monotonic() < deadline and read(0.05):
                pass
        elif verb == "hangup":
            os.close(fd)
            deadline = time.monotonic() + TIMEOUT
            while time.monotonic() < deadline:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    finish("hung up, " + status_text(status))
                time.sleep(0.05)
            os.kill(pid, signal.SIGKILL)
            finish("alive")
        elif verb == "end":
            deadline = time.monotonic() + TIMEOUT
            while ended is None and time.monotonic() < deadline:
                if not read(0.1):
                    time.sleep(0.02)
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    ended = status
            if ended is None:
                os.kill(pid, signal.SIGKILL)
                finish("alive")
            while select.select([fd], [], [], 0)[0] and read(0):
                pass
            finish(status_text(ended))
        else:
            sys.exit(f"talk.py: {verb}?")
    os.kill(pid, signal.SIGKILL)
    finish("alive")


main()
