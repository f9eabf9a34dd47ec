#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every path of the API with every method, as one caller in one setup state; and what came of all such walks.

  walker.py walk DOC STATE CALLER DOOR [TOKEN...]   lines "STATE CALLER METHOD PATH STATUS SLUG"; DOOR is unix:PATH[:UID] or https:PORT:CA[:CERT:KEY]
  walker.py judge DOC CALLERS < lines               compares with what the document and the rules in expect() say; exit 1 on a difference
  walker.py page DOC CALLERS < lines                the table for docs/access.md
"""
import http.client, json, os, re, socket, ssl, sys, time, zlib

METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]
STATES = ["factory", "must-change", "active", "recovery", "unprovisioned"]
UNKNOWN = ["/v1/nothing", "/admin", "/v1/keys/device/nothing"]
VALUES = {"name": "device", "type": "ec-p256"}


def load(name):
    doc = json.load(open(name))
    rows = {}
    for path, item in doc["paths"].items():
        for method, op in item.items():
            rows[method.upper(), path] = op
    return rows


def paths_of(rows):
    return list(dict.fromkeys(path for _, path in rows)) + UNKNOWN


def concrete(path):
    # An account of its own: the walk must not remove somebody it needs.
    return re.sub(r"{(\w+)}", lambda m: VALUES.get(m.group(1), "nobody"), path)


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.unix_path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.unix_path)


class Caller:
    """One connection at a time. Strangers have few requests a second: each source address of 127/8 gets a handful."""

    def __init__(self, door, is_stranger, name):
        self.door = door.split(":")
        self.is_stranger = is_stranger
        self.net = 16 + zlib.crc32(name.encode()) % 200
        self.n = 0
        self.connection = None
        if self.door[0] == "https":
            self.context = ssl.create_default_context(cafile=self.door[2])
            if len(self.door) > 4:
                self.context.load_cert_chain(self.door[3], self.door[4])

    def connect(self):
        if self.connection is not None:
            self.connection.close()
        if self.door[0] == "unix":
            self.connection = Unix(self.door[1])
        else:
            block = self.n // 6 if self.is_stranger else self.n // 15
            source = "127.%d.%d.%d" % (self.net, block // 200 + 1, block % 200 + 1)
            self.connection = http.client.HTTPSConnection("127.0.0.1", int(self.door[1]), context=self.context, timeout=60, source_address=(source, 0))

    def ask(self, method, path, headers):
        for _ in range(400):
            if self.connection is None or self.n % (6 if self.is_stranger else 15) == 0:
                self.connect()
            self.n += 1
            try:
                self.connection.request(method, path, headers=headers)
                answer = self.connection.getresponse()
                if answer.getheader("Content-Type") == "text/event-stream":
                    status, body = answer.status, b""
                    self.connection.close()
                    self.connection = None
                    return status, "-"
                body = answer.read()
            except (http.client.HTTPException, ConnectionError, ssl.SSLError) as e:
                if isinstance(e, ConnectionRefusedError):
                    return 0, "no-door"
                self.connection = None
                continue
            if answer.will_close:
                self.connection = None
            if answer.status == 429:
                time.sleep(0.3)
                continue
            slug = re.search(rb"urn:agentd:problem:([a-z-]+)", body)
            return answer.status, slug.group(1).decode() if slug else "-"
        raise SystemExit("%s %s: no answer" % (method, path))


def walk(doc, state, name, door, *tokens):
    rows = load(doc)
    if door.startswith("unix:") and door.count(":") == 2:
        os.setgroups([])
        os.setgid(int(door.split(":")[2]))
        os.setuid(int(door.split(":")[2]))
    caller = Caller(door, name in ("none", "bad token", "ended token"), state + name)
    if door.startswith("https:"):
        try:
            probe = socket.create_connection(("127.0.0.1", int(door.split(":")[1])), timeout=3)
            probe.settimeout(2)
            ssl.create_default_context(cafile=door.split(":")[2]).wrap_socket(probe, server_hostname="127.0.0.1").close()
        except (OSError, ssl.SSLError):
            print(state, name.replace(" ", "_"), "-", "-", 0, "no-door")
            return
    # Logging out last: it ends what the others need, also the other tokens.
    last = [("DELETE", "/v1/sessions"), ("DELETE", "/v1/session")]
    cells = [(m, p) for p in paths_of(rows) for m in METHODS if (m, p) not in last] + [c for c in last if c[1] in paths_of(rows)]
    for n, (method, path) in enumerate(cells):
        headers = {}
        if method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = "0"
        if tokens:
            headers["Authorization"] = "Bearer " + tokens[0 if (method, path) in last else n % len(tokens)]
        status, slug = caller.ask(method, concrete(path), headers)
        print(state, name.replace(" ", "_"), method, path, status, slug, flush=True)


# ---- what should have come ------------------------------------------------------------------------------------------

LEVEL = {"anyone": 0, "session": 0, "viewer": 1, "operator": 2, "admin": 3}
# what each caller is, by state: None nobody, else role and scope
ROLE_OF = {"viewer": "viewer", "operator": "operator", "admin": "admin", "viewer certificate": "viewer", "operator certificate": "operator", "admin certificate": "admin"}


def identity(state, name):
    if name == "factory session":
        return ("admin", "password") if state == "must-change" else None
    if name == "root on the socket":
        return ("admin", "full")
    if name in ROLE_OF and state == "active":
        return (ROLE_OF[name], "full")
    return None


def expect(rows, state, name, method, path):
    """Default is deny: a cell is open only if a rule below says so."""
    row = rows.get((method, path))
    siblings = [r for (m, p), r in rows.items() if p == path]
    if row is None and any(r["x-agentd-role"] == "anyone" for r in siblings):
        return "405"
    if row is not None and row["x-agentd-role"] == "anyone":
        return "in"
    if "certificate" in name and state != "active":
        return "503" if state == "recovery" else "403 change"
    who = identity(state, name)
    if who is None:
        return "401"
    role, scope = who
    if row is not None and row["x-agentd-before-setup"] == "open":
        return "in"
    if scope == "password":
        return "403 change"
    if LEVEL[role] < (LEVEL[row["x-agentd-role"]] if row is not None else LEVEL["admin"]):
        return "403 role"
    if state in ("factory", "must-change"):
        return "403 change"
    if state in ("recovery", "unprovisioned") and not (row is not None and row["x-agentd-before-setup"] == "diagnose"):
        return "503"
    if row is None:
        return "405" if siblings else "404"
    return "in"


def seen(status, slug):
    known = {"authentication-required": "401", "password-change-required": "403 change", "not-permitted": "403 role", "method-not-allowed": "405",
             "not-ready": "503", "cross-origin": "403 origin", "core-unreachable": "503 core"}
    if status == 0:
        return "no door"
    if slug in known:
        return known[slug]
    # without a body to tell by
    return "in"


def cell_of(status, slug, method, path):
    if method == "HEAD":  # an answer to HEAD has no body
        return {"401": "401", "403": "403", "404": "404", "405": "405", "503": "503"}.get(status, "in")
    if slug == "not-found" and (path in UNKNOWN):
        return "404"
    return seen(int(status), slug)


def read(rows, callers):
    cells = {}
    for line in sys.stdin:
        state, name, method, path, status, slug = line.split()
        name = name.replace("_", " ")
        if method == "-":
            for p in paths_of(rows):
                for m in METHODS:
                    cells[state, name, m, p] = "no door"
            continue
        cells[state, name, method, path] = cell_of(status, slug, method, path)
    return cells


def judge(doc, callers):
    rows, names, bad, n = load(doc), callers.split(","), 0, 0
    cells = read(rows, names)
    for state in STATES:
        for name in names:
            for path in paths_of(rows):
                for method in METHODS:
                    got = cells.get((state, name, method, path), "not walked")
                    want = expect(rows, state, name, method, path)
                    if state == "unprovisioned" and "socket" not in name:
                        want = "no door"
                    if method == "HEAD":
                        want = want[:3] if want[:1] in "45" else want
                    n += 1
                    if got != want:
                        bad += 1
                        print("%s, %s: %s %s: got %s, wanted %s" % (state, name, method, path, got, want))
    print("%d cells, %d wrong" % (n, bad))
    return bad > 0 or n == 0


def page(doc, callers):
    rows, names = load(doc), callers.split(",")
    cells = read(rows, names)
    print("""# Who gets in where

Every path of the API with every method, in every setup state, as every kind of caller, asked of the real daemon: written by
`tests/e2e/32-walker.sh --write`, compared by the same script on each run, and with the rules in `tests/e2e/walker.py`. "in": the request reached the endpoint (what it then answered
depends on its arguments). "change": 403 `password-change-required`. "role": 403 `not-permitted`. 401, 404, 405: as in [api.md.in](api.md.in). 503: `not-ready`. "-": that door is closed.""")
    short = {"403 change": "change", "403 role": "role", "no door": "-"}
    for state in STATES:
        print("\n## %s\n\n| | %s |\n|---|%s" % (state, " | ".join(names), "---|" * len(names)))
        lines = [("%s `%s`" % key, [key]) for key in rows]
        is_open = {p: any(r["x-agentd-role"] == "anyone" for (_, q), r in rows.items() if q == p) for p in paths_of(rows)}
        others = [(m, p) for p in paths_of(rows) for m in METHODS if (m, p) not in rows and m != "HEAD" and p not in UNKNOWN]
        lines += [("other methods on paths open to anyone", [k for k in others if is_open[k[1]]]), ("other methods on the rest", [k for k in others if not is_open[k[1]]]),
                  ("unknown paths", [(m, p) for p in UNKNOWN for m in METHODS if m != "HEAD"])]
        for title, keys in lines:
            row = []
            for name in names:
                values = sorted({cells.get((state, name) + key, "?") for key in keys})
                row.append(", ".join(short.get(v, v) for v in values))
            print("| %s | %s |" % (title, " | ".join(row)))
    return False


sys.exit({"walk": walk, "judge": judge, "page": page}[sys.argv[1]](*sys.argv[2:]) or 0)
