# SPDX-License-Identifier: Apache-2.0
"""What power_cut.py and est_cut.py share: asking the agent over its Unix socket, waiting, and the program that kills core at one of its
system calls (kill_at.c). The environment names the lab."""
import http.client
import os
import select
import signal
import socket
import subprocess
import time

PATIENCE_S = 60
NEVER = 1 << 40  # no call has that number: how many there are is what is asked


class Broken(Exception):
    """What must hold at any point does not."""


class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.environ["SOCKET"])


def ask(method, path, body=None, headers=None, patience_s=PATIENCE_S):
    """Status and body of the answer; OSError or http.client.HTTPException without one."""
    connection = Unix("localhost", timeout=patience_s)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def until(condition, what, patience_s=PATIENCE_S):
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            raise Broken("%s: not within %d s" % (what, patience_s))
        time.sleep(0.01)


class Killer:
    """Watches from its making on. Killed or not, who was watched is dead after end()."""
    def __init__(self, arguments):
        self.program = subprocess.Popen([os.environ["KILL_AT"]] + arguments, stdout=subprocess.PIPE)
        line = self.program.stdout.readline().decode()
        if line.startswith("refused"):
            raise SystemExit("SKIP: a process cannot be traced here: " + line)
        if line != "ready\n":
            raise SystemExit("not ok - the tracer said " + line)

    def has_killed(self, wait_s):
        return bool(select.select([self.program.stdout], [], [], wait_s)[0])

    def end(self, grace_s):
        """Returns (True, 0) if it was killed, else (False, number of calls); the last calls get @grace_s."""
        if not self.has_killed(grace_s):
            self.program.send_signal(signal.SIGTERM)
        line = self.program.stdout.readline().decode().split()
        self.program.wait()
        if not line or line[0] not in ("killed", "over"):
            raise SystemExit("not ok - the tracer ended with %s" % line)
        return line[0] == "killed", 0 if line[0] == "killed" else int(line[1])


def spread(n_points, n_calls):
    """Numbers of @n_points calls, spread over all."""
    return [1 + (2 * i + 1) * n_calls // (2 * n_points) for i in range(n_points)]
