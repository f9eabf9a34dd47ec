#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For 22-power-cut.sh, which made the lab: core killed (and at every third point the software TPM with it) at the n-th system call of a
first change, a change and a factory reset, then started again from what is on disk. What opens the device is tried each time.
First argument: number of points in all, spread over the calls that touch files or the TPM; or "all": every call, entry and exit.
Second argument: so many more with another cut, or two, while core starts after the first: at the n-th call of its start.
Prints one line per operation and one per broken point; ends with 1 if there was any."""
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time

from kill_points import NEVER, PATIENCE_S, Broken, Killer, ask, spread, until

LAB, RUN, CONF, AGENTD = (os.environ[k] for k in ("LAB", "RUN", "CONF", "AGENTD"))
HOST, PORT, LABEL = os.environ["HOST"], int(os.environ["HTTPS_PORT"]), os.environ["FACTORY_SECRET"]
TPM_SOCKET, TPM_MODE = os.environ["TPM_SOCKET"], os.environ.get("TPM_MODE", "")
TRACED_S = 300  # each system call is two switches between processes, which takes its time on a busy machine


class Device:
    def __init__(self):
        self.tpm = self.agent = self.tls = None
        self.cookie = None
        self.log = open(os.path.join(LAB, "log/agent.log"), "ab")

    def tpm_start(self):
        for path in (TPM_SOCKET, TPM_SOCKET + ".ctrl"):
            if os.path.exists(path):
                os.unlink(path)
        self.tpm = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", "dir=%s/tpm/state" % LAB, "--server", "type=unixio,path=" + TPM_SOCKET + TPM_MODE,
             "--ctrl", "type=unixio,path=" + TPM_SOCKET + ".ctrl" + TPM_MODE, "--flags", "not-need-init,startup-clear",
             "--log", "file=%s/log/swtpm.log" % LAB], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: os.path.exists(TPM_SOCKET + ".ctrl"), "swtpm starts")

    def start(self):
        if self.tpm is None or self.tpm.poll() is not None:
            self.tpm_start()
        self.agent = subprocess.Popen([AGENTD, "--config", CONF, "--supervise"], stdin=subprocess.DEVNULL, stdout=self.log,
                                      stderr=self.log, start_new_session=True)
        until(self.is_up, "the agent starts")
        self.tls = None

    def start_and_kill(self, at, with_tpm):
        """Returns the number of calls that core made until it was up, 0 if it was killed at call number @at of them."""
        if self.tpm is None or self.tpm.poll() is not None:
            self.tpm_start()
        stopped = ["sh", "-c", 'kill -STOP $$; exec "$@"', "sh", AGENTD, "--config", CONF, "--supervise"]
        self.agent = subprocess.Popen(stopped, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        until(lambda: self.is_stopped(self.agent.pid), "the supervisor waits")
        killer = Killer(["--start", str(self.agent.pid), str(at), "--files"] + (["--with", str(self.tpm.pid)] if with_tpm else []))
        until(lambda: killer.has_killed(0.02) or self.is_up(0.5), "core is killed or up", TRACED_S)
        n_calls = killer.end(0.15)[1]
        self.stop()
        if with_tpm:
            self.tpm.wait()
        return n_calls

    @staticmethod
    def is_stopped(pid):
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "T"

    def is_up(self, patience_s=PATIENCE_S):
        try:
            return ask("GET", "/v1/health", patience_s=patience_s)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop(self):
        if self.agent is not None:
            self.agent.terminate()
            self.agent.wait()
            self.agent = None

    def state(self):
        return json.loads(ask("GET", "/v1/bootstrap")[1])["state"]

    def remote(self, method, path, body, token=None):
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = "Bearer " + token
        if self.cookie is not None and path == "/v1/session":
            headers["Cookie"] = "__Host-agentd-device=" + self.cookie
        for again in (True, False):
            try:
                if self.tls is None:
                    context = ssl.create_default_context(cafile=os.path.join(LAB, "device-ca.crt"))
                    self.tls = http.client.HTTPSConnection(HOST, PORT, timeout=PATIENCE_S, context=context)
                    plain = socket.create_connection(("127.0.0.1", PORT), PATIENCE_S)
                    self.tls.sock = context.wrap_socket(plain, server_hostname=HOST)
                self.tls.request(method, path, json.dumps(body), headers)
                answer = self.tls.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException):
                self.tls = None
                if not again:
                    raise
        for field in answer.headers.get_all("Set-Cookie") or []:
            if field.startswith("__Host-agentd-device="):
                self.cookie = field.split("=", 1)[1].split(";", 1)[0]
        if answer.headers.get("Connection", "").lower() == "close":
            self.tls = None
        return answer.status, json.loads(text) if text else {}

    def login(self, password):
        """Token, or None if the password is wrong; anything else is waited for."""
        end = time.monotonic() + PATIENCE_S
        while True:
            status, body = self.remote("POST", "/v1/session", {"user": "admin", "password": password})
            if status == 201:
                return body["token"]
            if status == 401:
                return None
            if status not in (429, 503) or time.monotonic() > end:
                raise SystemExit("not ok - a login is answered with %d %s" % (status, body))
            time.sleep(0.2)


class Test:
    def __init__(self, device):
        self.device = device
        self.password = None  # of the owner, None in factory state
        self.n_passwords = 0
        self.answers = {"first": 200, "change": 200, "reset": 204}
        self.owners = []  # passwords that were in force before: none of them may ever open again
        self.n_tpm = 0
        self.n_again = 0

    def request(self, operation, token):
        """What is sent, and what opens the device afterwards (None: the code on the label)."""
        if operation == "reset":
            return ("POST", "/v1/factory-reset", {"current": self.password}, token), None
        self.n_passwords += 1
        new = "walnut ferry lantern %d %s" % (self.n_passwords, os.urandom(3).hex())
        body = {"new": new} if operation == "first" else {"new": new, "current": self.password}
        return ("PUT", "/v1/credentials/admin", body, token), new

    def run(self, operation, at, only_files, with_tpm, again=()):
        """Returns (killed, n): was it killed there, or were there only n calls. @again: calls of the starts after it at which to kill."""
        d = self.device
        token = d.login(self.password or LABEL)
        if token is None:
            raise Broken("what opened it before the %s does not" % operation)
        arguments, new = self.request(operation, token)
        with open(os.path.join(RUN, "pids/agentd")) as f:
            core = int(f.read())
        killer = Killer([str(core), str(at)] + (["--files"] if only_files else []) + (["--with", str(d.tpm.pid)] if with_tpm else []))
        status = []

        def send():
            try:
                status.append(d.remote(*arguments)[0])
            except (OSError, http.client.HTTPException):
                status.append(0)

        client = threading.Thread(target=send)
        client.start()
        while client.is_alive() and not killer.has_killed(0.02):
            pass
        was_killed, n_calls = killer.end(0.15)
        client.join()
        d.stop()
        if with_tpm:
            d.tpm.wait()
            self.n_tpm += 1
        for n, at_start in enumerate(again):
            self.n_again += d.start_and_kill(at_start, (at_start + n) % 3 == 0) == 0
        d.start()
        is_acknowledged = status[0] == self.answers[operation]
        if not was_killed and not is_acknowledged:
            raise Broken("%s: answered with %d though nothing was killed" % (operation, status[0]))
        self.look(operation, new, is_acknowledged)
        return was_killed, n_calls

    def look(self, operation, new, is_acknowledged):
        """Exactly one of old and new opens the device, and the state says which; nothing from before does."""
        state = self.device.state()
        old = self.password
        if state not in ("factory", "active"):
            raise Broken("state %s after a %s" % (state, operation))
        if state == "factory" and operation == "change":
            raise Broken("factory again after a change")
        candidates = {password for password in (old, new) if password is not None} | {LABEL} | set(self.owners[-1:])
        opens = [password for password in sorted(candidates, key=lambda p: p in (LABEL, new)) if self.device.login(password) is not None]
        if len(opens) != 1 or opens[0] not in (old or LABEL, new or LABEL):
            raise Broken("%d of %d passwords open it after a %s, state %s" % (len(opens), len(candidates), operation, state))
        if (state == "factory") != (opens[0] == LABEL):
            raise Broken("state %s, but the %s opens it" % (state, "label" if opens[0] == LABEL else "password"))
        if is_acknowledged and opens[0] != (new or LABEL):
            raise Broken("an acknowledged %s is gone" % operation)
        if old is not None and opens[0] != old:
            self.owners.append(old)
        self.password = None if opens[0] == LABEL else opens[0]


def kill_again(test, n_points, n_calls):
    """Power that fails once more while the device starts after a cut, and at every fourth point a third time."""
    device = test.device
    if n_points == 0:
        return 0
    device.stop()
    n_start = device.start_and_kill(NEVER, False)
    device.start()
    done = 0
    for i in range(n_points):
        operation = "first" if test.password is None else ("change", "reset")[i % 2]
        # Two walks of different step, so that any part of an operation meets any part of a start.
        at, at_start = 1 + i * 37 % n_calls[operation], 1 + (2 * i + 1) * n_start // (2 * n_points)
        try:
            before = test.n_again
            test.run(operation, at, True, i % 3 == 0, [at_start] if i % 4 else [at_start, 1 + i * 53 % n_start])
        except Broken as broken:
            raise SystemExit("not ok - killed at call %d of a %s, then at call %d of the start: %s" % (at, operation, at_start, broken))
        done += test.n_again > before
        if i % 50 == 49:
            print("# %d of %d points with a second cut" % (done, n_points), flush=True)
    print("start %d calls" % n_start)
    return done


def main():
    is_all = sys.argv[1] == "all"
    test = Test(Device())
    device = test.device
    points, killed, over = {}, {"first": 0, "change": 0, "reset": 0}, {}
    begin = time.monotonic()
    try:
        device.start()
        # Once without an end: from the state of the factory round to it, and how many calls there are.
        for operation in ("first", "change", "reset"):
            over[operation] = test.run(operation, NEVER, not is_all, False)[1]
        for operation, n in over.items():
            share = n if is_all else min(n, max(1, int(sys.argv[1]) // 3))
            points[operation] = spread(share, n)
        turn = 0
        while any(points.values()):
            turn += 1
            if test.password is None:
                operation = "first"
            else:
                operation = "change" if points["change"] and (turn % 2 == 0 or not points["reset"]) else "reset"
            at = points[operation].pop(0) if points[operation] else NEVER
            try:
                was_killed, _ = test.run(operation, at, not is_all, turn % 3 == 0)
            except Broken as broken:
                print("not ok - killed at call %d of a %s: %s" % (at, operation, broken))
                return 1
            killed[operation] += was_killed
            if turn % 100 == 0:
                print("# %d points, %d s" % (sum(killed.values()), time.monotonic() - begin), flush=True)
        twice = kill_again(test, int(sys.argv[2]), {operation: n if not is_all else n // 2 for operation, n in over.items()})
    finally:
        device.stop()
        if device.tpm is not None:
            device.tpm.kill()
            device.tpm.wait()
    for operation, n in killed.items():
        print("%s %d of %d" % (operation, n, over[operation]))
    print("tpm %d" % test.n_tpm)
    print("twice %d, %d cuts of a start" % (twice, test.n_again))
    print("all %d in %d s" % (sum(killed.values()), time.monotonic() - begin))
    return 0


sys.exit(main())
