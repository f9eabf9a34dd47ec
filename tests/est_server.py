#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small EST server (RFC 7030) over OpenSSL, for 57-est.sh: cacerts, csrattrs, simpleenroll, simplereenroll over TLS 1.3 with client
certificates or HTTP basic. It issues with the openssl command. Files in DIR steer it, read at each request:

  mode      ok | wait:SECONDS (202 once for each request) | busy:SECONDS (503) | refuse (401) | fail (500) | stranger (CA nobody trusts) | short
            (valid for an hour) | past (expired) | ca (CA certificate) | server (serverAuth) | otherkey | othersubject | garbage | huge | redirect |
            second (by a CA that cacerts names, and whose certificates this server does not take) | doubt:SERIAL (400 to who shows another certificate)
  basic     USER:PASSWORD that simpleenroll takes without a certificate
  attrs     base64 that csrattrs answers; missing: 204
  days      validity of what is issued
and it writes DIR/requests: one line per request (operation, client subject or basic or nobody, status), DIR/asked: a digest of each
request for a certificate, and DIR/shown: operation and serial number of the client's certificate."""
import base64
import hashlib
import http.server
import os
import ssl
import subprocess
import sys
import time

PKI, DIR, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
PREFIX = "/.well-known/est/"


def setting(name, default):
    try:
        with open(os.path.join(DIR, name)) as f:
            return f.read().strip()
    except OSError:
        return default


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout


def certs_only(*pems):
    args = ["crl2pkcs7", "-nocrl", "-outform", "DER"]
    for pem in pems:
        args += ["-certfile", pem]
    return base64.encodebytes(openssl(*args))


def issue(csr_der, mode):
    csr, out, ext = (os.path.join(DIR, n) for n in ("now.csr", "now.pem", "now.ext"))
    with open(csr, "wb") as f:
        f.write(openssl("req", "-inform", "DER", "-in", "/dev/stdin", data=csr_der))
    ca = "other-ca" if mode in ("stranger", "second") else "device-ca"
    usage = "serverAuth" if mode == "server" else "clientAuth"
    basic = "critical,CA:TRUE" if mode == "ca" else "critical,CA:FALSE"
    key_usage = "keyCertSign" if mode == "ca" else "digitalSignature"
    with open(ext, "w") as f:
        f.write("basicConstraints=%s\nkeyUsage=critical,%s\nextendedKeyUsage=%s\n" % (basic, key_usage, usage))
    if mode in ("otherkey", "othersubject"):
        if mode == "otherkey":
            openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", os.path.join(DIR, "now.key"), "-out", csr,
                    "-subj", "/CN=" + setting("serial", "GW-0001"))
        openssl("x509", "-req", "-in", csr, "-CA", "%s/%s.pem" % (PKI, ca), "-CAkey", "%s/%s.key" % (PKI, ca), "-days", "30", "-extfile", ext, "-out", out)
        if mode == "othersubject":
            database(csr, out, ca, ext, "/CN=somebody-else", None)
        return out
    if mode in ("short", "past"):
        database(csr, out, ca, ext, None, -3600 if mode == "past" else 3600)
    else:
        openssl("x509", "-req", "-in", csr, "-CA", "%s/%s.pem" % (PKI, ca), "-CAkey", "%s/%s.key" % (PKI, ca), "-days", setting("days", "900"),
                "-extfile", ext, "-out", out)
    return out


def database(csr, out, ca, ext, subject, seconds):
    """openssl ca: the one that can set any end and any subject."""
    conf, index = os.path.join(DIR, "ca.conf"), os.path.join(DIR, "index")
    open(index, "w").close()
    with open(conf, "w") as f:
        f.write("[ca]\ndefault_ca=x\n[x]\ndatabase=%s\nnew_certs_dir=%s\nrand_serial=yes\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\n" % (index, DIR) +
                "commonName=supplied\norganizationName=optional\n")
    def stamp(at):
        return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at))
    now = time.time()
    args = ["ca", "-batch", "-notext", "-config", conf, "-cert", "%s/%s.pem" % (PKI, ca), "-keyfile", "%s/%s.key" % (PKI, ca), "-in", csr, "-out", out,
            "-extfile", ext, "-preserveDN", "-startdate", stamp(now - 7200), "-enddate", stamp(now + (seconds or 900 * 86400))]
    openssl(*args, *(["-subj", subject] if subject else []))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = {}

    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", kind="text/plain", **headers):
        self.send_response(status)
        if body or status not in (202, 204):
            self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        with open(os.path.join(DIR, "requests"), "a") as f:
            f.write("%s %s %d\n" % (self.path.replace(PREFIX, ""), self.who(), status))
        cert = self.connection.getpeercert()
        if cert:
            with open(os.path.join(DIR, "shown"), "a") as f:
                f.write("%s %s\n" % (self.path.replace(PREFIX, ""), cert["serialNumber"]))

    def who(self):
        cert = self.connection.getpeercert()
        if cert:
            return dict(x[0] for x in cert["subject"])["commonName"]
        basic = self.headers.get("Authorization", "")
        return "basic" if basic.startswith("Basic ") else "nobody"

    def is_known(self):
        if self.connection.getpeercert():
            return True
        basic = self.headers.get("Authorization", "")
        wanted = setting("basic", "")
        return wanted != "" and basic == "Basic " + base64.b64encode(wanted.encode()).decode()

    def shows_another(self, serial):
        cert = self.connection.getpeercert()
        return bool(cert) and int(cert["serialNumber"], 16) != int(serial, 16)

    def do_GET(self):
        mode, _, value = setting("mode", "ok").partition(":")
        if self.path == PREFIX + "cacerts":
            if mode == "garbage-ca":
                return self.reply(200, b"!!!", "application/pkcs7-mime")
            if mode == "doubt" and self.shows_another(value):
                return self.reply(400, b"The SSL certificate error")
            more = [PKI + "/other-ca.pem"] if mode == "second" else []
            return self.reply(200, certs_only(PKI + "/device-ca.pem", PKI + "/est-ca.pem", *more), "application/pkcs7-mime; smime-type=certs-only")
        if self.path == PREFIX + "csrattrs":
            attrs = setting("attrs", "")
            if attrs == "":
                return self.reply(204)
            return self.reply(200, attrs.encode(), "application/csrattrs")
        self.reply(404)

    def do_POST(self):
        mode, _, value = setting("mode", "ok").partition(":")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path not in (PREFIX + "simpleenroll", PREFIX + "simplereenroll"):
            return self.reply(404)
        with open(os.path.join(DIR, "asked"), "a") as f:
            f.write(hashlib.sha256(body).hexdigest() + "\n")
        if mode == "refuse" or not self.is_known():
            return self.reply(401, b"who are you?", WWW_Authenticate='Basic realm="est"')
        if self.headers.get("Content-Type") != "application/pkcs10":
            return self.reply(415)
        if mode == "wait" and Handler.asked.setdefault(body, 0) == 0:
            Handler.asked[body] = 1
            return self.reply(202, Retry_After=value)
        if mode == "busy":
            return self.reply(503, Retry_After=value)
        if mode == "fail":
            return self.reply(500, b"the authority is on holiday")
        if mode == "redirect":
            return self.reply(302, Location="https://other.example/")
        kind = "application/pkcs7-mime; smime-type=certs-only"
        if mode == "garbage":
            return self.reply(200, base64.b64encode(os.urandom(300)), kind)
        if mode == "huge":
            return self.reply(200, b"A" * 200000, kind)
        try:
            self.reply(200, certs_only(issue(base64.b64decode(body), mode)), kind)
        except subprocess.CalledProcessError as e:
            self.reply(500, e.stderr)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def finish_request(self, request, client_address):
        try:
            request.settimeout(30)
            request.do_handshake()
            super().finish_request(request, client_address)
        except OSError as e:
            with open(os.path.join(DIR, "requests"), "a") as f:
                f.write("handshake %s\n" % str(e).replace("\n", " "))


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(PKI + "/est.pem", PKI + "/est.key")
context.load_verify_locations(PKI + "/device-ca.pem")
context.verify_mode = ssl.CERT_OPTIONAL
if os.environ.get("EST_TAKES_EXPIRED"):
    context.verify_flags |= ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME
server = Server(("127.0.0.1", PORT), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("ready", flush=True)
server.serve_forever()
