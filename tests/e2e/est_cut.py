#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For 57-est.sh, which made the lab: the whole agent dies with core at the n-th system call of core in a renewal with a new
key and is started again from what is on disk. Each time: the broker takes the device again, the certificate file in use changed only
if the broker had been shown the new one before, and the renewal comes to its end by itself.
EST_SHARE=0/3 takes the first of three shares of them, for several labs at once.
Argument: number of points, spread over the calls that touch files or others; "files": each of those; "all": every call, entry and exit."""
import http.client
import json
import os
import re
import subprocess
import sys
import time

import kill_points
from kill_points import NEVER, PATIENCE_S, Broken, Killer, spread, until

RUN, CONF, AGENTD, LAB = (os.environ[k] for k in ("RUN", "CONF", "AGENTD", "LAB"))
KEYS, BROKER_LOG, SERIAL = (os.environ[k] for k in ("KEYS", "BROKER_LOG", "LAB_SERIAL"))


def ask(method, path, body=None):
    """Status and JSON; 0 when nobody answers. Again after "too many requests"."""
    for _ in range(100):
        try:
            status, text = kill_points.ask(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"} if body else {})
        except (OSError, http.client.HTTPException):
            return 0, {}
        if status != 429:
            return status, json.loads(text) if text else {}
        time.sleep(0.1)
    raise Broken("%s %s: too many requests" % (method, path))


def read(name):
    try:
        with open(os.path.join(KEYS, name), "rb") as f:
            return f.read()
    except OSError:
        return None


def connects():
    with open(BROKER_LOG, errors="replace") as f:
        return len(re.findall("New client connected .* as %s" % SERIAL, f.read()))


def is_alive(pid):
    """One whose parent is gone may wait long for init to bury it."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def enrolment():
    return ask("GET", "/v1/enrolment")[1]


class Test:
    def __init__(self):
        self.agent = None
        self.log = open(os.path.join(LAB, "log/agent.log"), "ab")
        self.n_changed = 0

    def start(self):
        self.agent = subprocess.Popen([AGENTD, "--config", CONF, "--supervise"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                      start_new_session=True)
        until(lambda: ask("GET", "/v1/health")[0] == 200, "the agent starts")

    def stop(self):
        if self.agent is not None:
            pids = [int(pid) for pid in map(self.pid_of, os.listdir(os.path.join(RUN, "pids"))) if pid]
            self.agent.kill()  # the others end with it: PDEATHSIG
            self.agent.wait()
            self.agent = None
            until(lambda: not any(map(is_alive, pids)), "the agent is gone")

    def pid_of(self, name):
        try:
            with open(os.path.join(RUN, "pids", name)) as f:
                return f.read().strip()
        except OSError:
            return ""

    def is_online(self):
        return ask("GET", "/v1/status")[1].get("link_state") == "online"

    def settled(self):
        now = enrolment()
        return now.get("state") == "idle" and now.get("not_after", 0) > self.not_after

    def run(self, at, only_files, key):
        """Returns (killed, n): was it killed there, or were there only n calls."""
        until(self.is_online, "online before")
        until(lambda: enrolment().get("state") == "idle", "idle before")
        self.not_after = enrolment()["not_after"]
        before, n_connects = read("device.crt"), connects()
        while int(time.time()) + 900 * 86400 <= self.not_after:  # a new one ends later than the one in use
            time.sleep(0.05)
        with open(os.path.join(RUN, "pids/agentd")) as f:
            core = int(f.read())
        killer = Killer([str(core), str(at)] + (["--files"] if only_files else []))
        ask("POST", "/v1/enrolment", {"key": key})
        end = time.monotonic() + PATIENCE_S
        # Files are looked at, so that asking makes no calls of its own in core.
        while not killer.has_killed(0.05):
            journal, now = read("est"), read("device.crt")
            if (now != before and journal is not None and b"stage idle" in journal) or time.monotonic() > end:
                break
        was_killed, n_calls = killer.end(0.3)
        self.stop()
        if read("device.crt") != before:
            self.n_changed += 1
            if connects() == n_connects:
                raise Broken("the certificate in use was changed before the broker saw the new one")
        self.start()
        until(self.is_online, "a certificate that works")
        # Cut off before anything was noted, nothing is to be resumed: a person would ask again.
        if enrolment().get("state") == "idle" and not self.settled():
            ask("POST", "/v1/enrolment", {"key": key})
        until(self.settled, "the renewal comes to its end: %s" % enrolment())
        until(self.is_online, "the new certificate works")
        return was_killed, n_calls


def main():
    only_files = sys.argv[1] != "all"
    test = Test()
    begin = time.monotonic()
    killed = 0
    at = NEVER
    try:
        test.start()
        n_calls = test.run(NEVER, only_files, "new")[1]
        share = n_calls if sys.argv[1] in ("all", "files") else min(n_calls, int(sys.argv[1]))
        first, step = map(int, os.environ.get("EST_SHARE", "0/1").split("/"))
        for at in spread(share, n_calls)[first::step]:
            killed += test.run(at, only_files, "new")[0]
            if killed % 20 == 0:
                print("# %d points, %d s" % (killed, time.monotonic() - begin), flush=True)
    except Broken as broken:
        print("not ok - killed at call %d: %s" % (at, broken))
        return 1
    finally:
        test.stop()
    print("killed at %d of %d calls, %d times after the switch, in %d s" % (killed, n_calls, test.n_changed, time.monotonic() - begin))
    return 0 if killed > 0 else 1


sys.exit(main())
