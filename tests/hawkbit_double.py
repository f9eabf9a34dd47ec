#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a hawkBit server: the direct device integration API as its published sources have it, one target, HTTPS.

    hawkbit_double.py --dir DIR --port PORT --other-port PORT --cert PEM --key PEM [--client-ca PEM] [--token T]

DIR/control is read at each request (JSON, one object); what it asks for is done. DIR/log gets one JSON object a line: every
request with its headers, every feedback with what it made of the action. DIR/state.json: the actions. The second port is another
origin: it serves artifacts and should see no credentials. With --client-ca it stands for hawkBit behind a reverse proxy: a client
certificate is demanded, its common name must be the controller id.

Below /files/ it is a server of files, for the other kind of source: index.json and the bundles of DIR.

control: {"actions": [{"id", "file", "update"?, "cancel"?, "confirm"?, "gone"?}], "sleep": "00:00:01", ...switches}
The first action that is not finished is offered. Switches: "cut": [place, ...] (the connection ends there, once for each place), "rate": bytes/s, "wrong_size", "wrong_hash", "no_sha256", "status": N (every API answer), "status_times": how often, "feedback_status": N,
"artifact_status": N, "retry_after": s, "redirect_index", "redirect_api", "redirect_artifact" (to the other origin), "link_elsewhere", "chunks": N, "deep": N, "ask_attributes".
"""
import argparse
import hashlib
import http.server
import json
import os
import re
import ssl
import threading
import time
from urllib.parse import urlsplit

ARGS = None
LOCK = threading.Lock()
COUNTS = {}

# What feedback makes of an action: the table of hawkBit's DdiRootController, asserted by the tests as "becomes".
ON_DEPLOYMENT = {
    ("closed", "failure"): "ERROR", ("closed", "success"): "FINISHED", ("closed", "none"): "FINISHED",
    "rejected": "WARNING", "canceled": "CANCELED", "download": "DOWNLOAD", "downloaded": "DOWNLOADED",
    "proceeding": "RUNNING", "scheduled": "RUNNING", "resumed": "RUNNING",
}
ON_CANCEL = {
    ("closed", "failure"): "ERROR", ("closed", "success"): "CANCELED", ("closed", "none"): "CANCELED",
    "rejected": "CANCEL_REJECTED", "canceled": "WARNING",
}
ENDED = ("ERROR", "FINISHED", "CANCELED")


def becomes(table, execution, finished):
    return table.get((execution, finished)) or table.get(execution) or "RUNNING"


def control():
    with open(os.path.join(ARGS.dir, "control"), encoding="utf-8") as f:
        return json.load(f)


def write_log(entry):
    with LOCK, open(os.path.join(ARGS.dir, "log"), "a", encoding="utf-8") as f:
        f.write(json.dumps(entry) + "\n")


def states():
    try:
        with open(os.path.join(ARGS.dir, "state.json"), encoding="utf-8") as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def set_state(action, **what):
    with LOCK:
        every = states()
        every.setdefault(action, {}).update(what)
        temp = os.path.join(ARGS.dir, ".state.json")
        with open(temp, "w", encoding="utf-8") as f:
            json.dump(every, f)
        os.replace(temp, os.path.join(ARGS.dir, "state.json"))


def once(what, times):
    """Has @what happened less than @times times? Counts."""
    with LOCK:
        COUNTS[what] = COUNTS.get(what, 0) + 1
        return COUNTS[what] <= times


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "hawkbit-double"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    # ---- answers ----
    def reply(self, status, body=None, headers=()):
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/hal+json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def reply_status(self, status):
        c = control()
        headers = [("Retry-After", str(c["retry_after"]))] if "retry_after" in c else []
        self.reply(status, {"errorCode": "double", "message": "as the test wants it"}, headers)

    def base(self):
        return f"https://localhost:{ARGS.port}/DEFAULT/controller/v1/{ARGS.controller}"

    # ---- who asks ----
    def refusal(self):
        if ARGS.client_ca:
            subject = dict(x[0] for x in self.connection.getpeercert().get("subject", ()))
            if subject.get("commonName") != ARGS.controller:
                return 401
        if ARGS.token and self.headers.get("Authorization") != f"TargetToken {ARGS.token}":
            return 401
        return None

    # ---- actions ----
    def current(self):
        known = states()
        for action in control().get("actions", []):
            state = known.get(action["id"], {})
            if state.get("status") not in ENDED and not action.get("gone"):
                return action, state
        return None, {}

    def poll(self):
        c = control()
        action, state = self.current()
        links = {}
        if c.get("ask_attributes") and not states().get("attributes"):
            links["configData"] = {"href": self.base() + "/configData"}
        if action is not None:
            href = f"{self.base()}/%s/{action['id']}"
            if action.get("cancel") and not state.get("cancel_rejected"):
                links["cancelAction"] = {"href": href % "cancelAction"}
            elif action.get("confirm") and not state.get("confirmed"):
                links["confirmationBase"] = {"href": href % "confirmationBase"}
            else:
                where = href % "deploymentBase" + "?c=-2129030598"
                if c.get("link_elsewhere"):
                    where = where.replace(f":{ARGS.port}/", f":{ARGS.other_port}/")
                links["deploymentBase"] = {"href": where}
        body = {"config": {"polling": {"sleep": c.get("sleep", "00:00:01")}}, "_links": links}
        for _ in range(c.get("deep", 0)):
            body = {"x": body}
        self.reply(200, body)

    def deployment(self, action, member):
        c = control()
        path = os.path.join(ARGS.dir, action["file"])
        with open(path, "rb") as f:
            data = f.read()
        hashes = {"sha1": hashlib.sha1(data).hexdigest(), "md5": hashlib.md5(data).hexdigest()}
        if not c.get("no_sha256"):
            hashes["sha256"] = "0" * 64 if c.get("wrong_hash") else hashlib.sha256(data).hexdigest()
        href = f"https://localhost:{ARGS.port}/DEFAULT/controller/v1/{ARGS.controller}/softwaremodules/7/artifacts/{action['file']}"
        if c.get("artifact_elsewhere"):
            href = href.replace(f":{ARGS.port}/", f":{ARGS.other_port}/")
        artifact = {"filename": action["file"], "hashes": hashes, "size": len(data) + (1 if c.get("wrong_size") else 0),
                    "_links": {"download": {"href": href}, "download-http": {"href": href.replace("https", "http")}}}
        chunk = {"part": "os", "version": action.get("version", "1.0"), "name": "gateway", "artifacts": [artifact]}
        filler = {"part": "bApp", "version": "1", "name": "filler", "artifacts": []}
        update = action.get("update", "forced")
        self.reply(200, {"id": action["id"], member: {"download": update, "update": update,
                                                      "chunks": [chunk] + [filler] * c.get("chunks", 0)}})

    def find(self, action_id):
        for action in control().get("actions", []):
            if action["id"] == action_id:
                return action, states().get(action_id, {})
        return None, {}

    def feedback(self, kind, action_id, body):
        c = control()
        action, state = self.find(action_id)
        assert str(body["id"]) == action_id, "the action is named in the body too: servers before 0.3.0M9 want it"
        execution = body["status"]["execution"]
        finished = body["status"]["result"]["finished"]
        assert execution in ("closed", "proceeding", "canceled", "scheduled", "rejected", "resumed", "downloaded", "download"), execution
        assert finished in ("success", "failure", "none"), finished
        details = body["status"].get("details", [])
        assert len(details) <= 50 and all(len(d) <= 512 for d in details), "quota of messages"
        if "feedback_status" in c and once("feedback_status", c.get("status_times", 1 << 30)):
            self.reply_status(c["feedback_status"])
            return
        if action is None or action.get("gone") or state.get("status") in ENDED:
            self.reply_status(410 if kind == "deploymentBase" else 405)
            return
        what = becomes(ON_DEPLOYMENT if kind == "deploymentBase" else ON_CANCEL, execution, finished)
        write_log({"feedback": kind, "action": action_id, "execution": execution, "finished": finished, "becomes": what, "details": details})
        if kind == "cancelAction" and what == "CANCEL_REJECTED":
            set_state(action_id, cancel_rejected=True)
        else:
            set_state(action_id, status=what)
        self.reply(200)

    # ---- artifacts ----
    def artifact(self, name):
        c = control()
        if "artifact_status" in c and once("artifact_status", c.get("status_times", 1 << 30)):
            self.reply_status(c["artifact_status"])
            return
        if c.get("redirect_artifact") and not self.server.is_other:
            self.reply(302, None, [("Location", f"https://localhost:{ARGS.other_port}{self.path}")])
            return
        with open(os.path.join(ARGS.dir, name), "rb") as f:
            data = f.read()
        tag = f'"{hashlib.sha1(data).hexdigest()}"'
        first, status = 0, 200
        last = len(data) - 1
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range", tag) == tag:
            first, status = int(wanted.group(1)), 206
            last = min(last, int(wanted.group(2) or last))
            if first >= len(data):
                self.reply(416, None, [("Content-Range", f"bytes */{len(data)}")])
                return
        self.send_response(status)
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        cut = next((p for p in c.get("cut", []) if first < p <= last and once(f"cut {p}", 1)), None)
        end = last + 1 if cut is None else cut
        write_log({"artifact": name, "from": first, "to": end, "of": len(data), "cut": cut is not None})
        self.send_slowly(data[first:end])
        if cut is not None:
            self.close_connection = True
            self.connection.close()

    def send_slowly(self, data):
        done, step = 0, 65536
        while done < len(data):
            rate = control().get("rate", 0)
            part = data[done:done + (step if not rate else max(1, min(step, rate // 10)))]
            self.wfile.write(part)
            done += len(part)
            if rate:
                time.sleep(len(part) / rate)

    def file(self, name):
        c = control()
        if not os.path.exists(os.path.join(ARGS.dir, name)) or "status" in c:
            self.reply_status(c.get("status", 404))
        elif name != "index.json":
            self.artifact(name)
        elif c.get("redirect_index") and not self.server.is_other:
            self.reply(302, None, [("Location", f"https://localhost:{ARGS.other_port}{self.path}")])
        else:
            with open(os.path.join(ARGS.dir, name), "rb") as f:
                data = f.read()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    # ---- routes ----
    def route(self, body):
        path = urlsplit(self.path).path
        write_log({"request": f"{self.command} {path}", "other": self.server.is_other, "headers": dict(self.headers.items()),
                   "certificate": bool(ARGS.client_ca or self.server.is_other) and bool(self.connection.getpeercert(binary_form=True))})
        wanted = re.fullmatch(r"/files/([\w.-]+)", path)
        if wanted and self.command == "GET" and (self.server.is_other or self.refusal() is None):
            self.file(wanted.group(1))
            return
        prefix = f"/DEFAULT/controller/v1/{ARGS.controller}"
        if not path.startswith(prefix):
            self.reply_status(404)
            return
        rest = path[len(prefix):]
        wanted = re.fullmatch(r"/softwaremodules/7/artifacts/([\w.-]+)", rest)
        if wanted and self.command == "GET" and (self.server.is_other or self.refusal() is None):
            self.artifact(wanted.group(1))
            return
        refusal = self.refusal()
        if refusal is not None or self.server.is_other:
            self.reply_status(refusal or 401)
            return
        self.api(rest, body)

    def api(self, rest, body):
        c = control()
        if "status" in c and once("status", c.get("status_times", 1 << 30)):
            self.reply_status(c["status"])
        elif c.get("redirect_api"):
            self.reply(307, None, [("Location", f"https://localhost:{ARGS.other_port}{self.path}")])
        elif rest == "" and self.command == "GET":
            self.poll()
        elif rest == "/configData" and self.command == "PUT":
            assert body["mode"] in ("merge", "replace", "remove") and len(body["data"]) <= 100
            set_state("attributes", **body["data"])
            self.reply(200)
        elif rest == "/installedBase" and self.command == "PUT":
            set_state("installedBase", **body)
            self.reply(201)
        else:
            self.action_route(rest, body)

    def action_route(self, rest, body):
        m = re.fullmatch(r"/(deploymentBase|cancelAction|confirmationBase)/([\w-]+)(/feedback)?", rest)
        action, state = self.find(m.group(2)) if m else (None, {})
        if m and m.group(3) and self.command == "POST":
            if m.group(1) == "confirmationBase":
                assert body["confirmation"] in ("confirmed", "denied")
                set_state(m.group(2), confirmed=body["confirmation"] == "confirmed")
                self.reply(200)
            else:
                self.feedback(m.group(1), m.group(2), body)
        elif action is None or self.command != "GET":
            self.reply_status(404)
        elif m.group(1) == "cancelAction" and action.get("cancel"):
            self.reply(200, {"id": action["id"], "cancelAction": {"stopId": action["id"]}})
        elif m.group(1) == "deploymentBase" and not action.get("cancel") and (not action.get("confirm") or state.get("confirmed")):
            self.deployment(action, "deployment")
        elif m.group(1) == "confirmationBase" and action.get("confirm"):
            self.deployment(action, "confirmation")
        else:
            self.reply_status(404)

    def do_GET(self):
        self.safely(None)

    def do_POST(self):
        self.safely(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    do_PUT = do_POST

    def safely(self, data):
        try:
            self.route(None if data is None else json.loads(data))
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True
        except Exception as e:  # a broken promise of the client, or a slip of this file: the test looks for it
            write_log({"broken": f"{self.command} {self.path}: {e!r}"})
            self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


def serve(port, is_other):
    server = Server(("127.0.0.1", port), Handler)
    server.is_other = is_other
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(ARGS.cert, ARGS.key)
    if ARGS.client_ca:
        context.load_verify_locations(ARGS.client_ca)
        # The other origin only asks, so that a certificate that is shown to it is seen.
        context.verify_mode = ssl.CERT_OPTIONAL if is_other else ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main():
    global ARGS
    p = argparse.ArgumentParser()
    p.add_argument("--dir", required=True)
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--other-port", type=int, required=True)
    p.add_argument("--cert", required=True)
    p.add_argument("--key", required=True)
    p.add_argument("--client-ca")
    p.add_argument("--token")
    p.add_argument("--controller", required=True)
    ARGS = p.parse_args()
    serve(ARGS.port, False)
    serve(ARGS.other_port, True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
