#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scripts of tlsfuzzer for servers of TLS 1.3, against the agent and against "openssl s_server" with a certificate of the same kind.

tls13.py TLSFUZZER AGENT-PORT REFERENCE-PORT: prints "ok - ..." and "not ok - ..." lines. A conversation fails here if it fails with the agent,
works with s_server, and no row below says why.
"""
import re, subprocess, sys

FUZZER, AGENT, REFERENCE = sys.argv[1:4]
# Why a ClientHello of these may end with the connection and no alert.
HELLO = "ClientHello of more than 4 KiB or in several records: closed before TLS begins (docs/design/mgmt.md)"

# script, options, what may fail here alone: {pattern of the conversation's name: reason}
SCRIPTS = [
    ("conversation", [], {}),
    ("ccs", [], {}),
    ("multiple-ccs-messages", [], {}),
    ("connection-abort", ["-n", "30"], {}),
    ("count-tickets", ["-t", "1"], {}),
    ("empty-alert", [], {}),
    ("unencrypted-alert", [], {}),
    ("finished", [], {}),
    ("finished-plaintext", [], {}),
    ("hrr", [], {}),
    ("keyshare-omitted", [], {}),
    ("keyupdate", [], {}),
    ("keyupdate-from-server", ["--coalescing"], {}),
    ("large-number-of-extensions", ["-n", "10"], {"extensions": HELLO}),
    ("legacy-version", [], {}),
    ("invalid-ciphers", ["-n", "30"], {}),
    ("nociphers", [], {}),
    ("symetric-ciphers", ["-n", "30"], {}),
    ("no-unknown-groups", ["--groups", "x25519,secp256r1", "-n", "30"], {}),
    ("unrecognised-groups", ["-n", "10"], {"key_share of size": HELLO}),
    ("obsolete-curves", ["--relaxed", "-a", "handshake_failure", "-n", "30"], {}),
    ("ecdhe-curves", ["-n", "33"], {}),
    ("crfg-curves", [], {}),
    ("ecdsa-support", [], {}),
    ("record-layer-limits", ["-n", "30"], {"ClientHello": HELLO}),
    ("record-padding", [], {}),
    ("serverhello-random", ["TLS 1.3 with x25519", "TLS 1.3 with secp256r1"], {}),
    ("session-resumption", [], {}),
    ("shuffled-extentions", ["-n", "10"], {"extensions": HELLO}),
    ("signature-algorithms", ["-n", "10"], {"schemes": HELLO}),
    ("version-negotiation", ["-d", "-n", "10"], {}),
    ("0rtt-garbage", [], {}),
    ("zero-content-type", [], {}),
    ("zero-length-data", [], {"interleaved in handshake": HELLO}),
]
# Not run: of certificates, groups and signatures that the agent has not (rsa-*, rsapss-*, pkcs-signature, eddsa*, mldsa*, mlkem, ffdhe-*,
# dhe-*, *brainpool*, certificate-compression), of client certificates (certificate-request, certificate-verify, *-in-certificate-verify,
# post-handshake-auth, client-certificate-compression: tests/e2e/33-client-certs.sh), of external PSK (psk_ke, psk_dhe_ke), for servers
# without TLS 1.3 (non-support); lengths and minerva take hours.

# Most offer RSA only, and the agent has a P-256 key.
WITH_ECDSA = """
import runpy, sys
from tlslite import extensions
def also_ecdsa(kind):
    create = kind.create
    one = (4, 3)
    kind.create = lambda self, offered: create(self, list(offered) + [one] if offered and one not in offered else offered)
also_ecdsa(extensions.SignatureAlgorithmsExtension)
also_ecdsa(extensions.SignatureAlgorithmsCertExtension)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(script, options, port):
    """How many conversations worked, and {name of one that failed: why}; None when the script broke off."""
    try:
        done = subprocess.run([sys.executable, "-c", WITH_ECDSA, "%s/scripts/test-tls13-%s.py" % (FUZZER, script), "-h", "127.0.0.1", "-p", port] + options,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=600)
    except subprocess.TimeoutExpired:
        return 0, None
    passed = re.search(r"^PASS: (\d+)$", done.stdout, re.M)
    if not passed:
        return 0, None
    failed, name = {}, ""
    for line in done.stdout.splitlines():
        if line.endswith(" ..."):
            name = line[:-4]
        elif re.match(r"\w*(Error|Exception)\b", line):
            failed[name] = line
    return int(passed[1]), failed


for script, options, known in SCRIPTS:
    passed, failed = run(script, options, AGENT)
    if failed is None:
        print("not ok - tlsfuzzer, %s: it broke off" % script, flush=True)
        continue
    excused = {}
    for name in list(failed):
        for pattern, reason in known.items():
            if re.search(pattern, name) and "closure" in failed[name]:
                excused[name] = failed.pop(name)
                break
    same = {}
    if failed:
        # By name, so that it is the same ones.
        _, there = run(script, [o for i, o in enumerate(options) if o != "-n" and (i == 0 or options[i - 1] != "-n")] + list(failed), REFERENCE)
        same = {name: failed.pop(name) for name in list(failed) if there and name in there}
    text = "tlsfuzzer, %s: %d work" % (script, passed)
    if excused:
        text += ", %d closed before TLS begins" % len(excused)
    if same:
        text += ", %d fail with openssl s_server, too" % len(same)
    print("%s - %s%s" % ("not ok" if failed or not passed else "ok", text, "".join("; %s: %s" % one for one in list(failed.items())[:5])), flush=True)
