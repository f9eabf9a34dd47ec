#!/usr/bin/env bash
# A vendor's application, built from the installed package, uses the device's keys through agentd: another user, no TPM.
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2120,SC2317
. "$(dirname "$0")/lib.sh"
need swtpm curl jq openssl tpm2_getcap pkg-config make "${CC:-cc}"
pkg-config --exists libcurl libssl || { echo "SKIP: no development files of libcurl and OpenSSL"; exit 77; }

VENDOR=$LAB/vendor
mkdir -p "$VENDOR"
cp "$LAB_SOURCE"/examples/vendor-app/{Makefile,vendor-app.c} "$VENDOR"
export PKG_CONFIG_PATH="$PREFIX/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}" LD_LIBRARY_PATH="$PREFIX/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# A library with sanitizers wants programs that have them too.
sanitizers=$(sed -n 's/^SAN_CFLAGS = //p' "$BUILD/Makefile")
succeeds "the example builds from the installed package alone, without a warning" \
  make -s -C "$VENDOR" CC="$(sed -n 's/^CC = //p' "$BUILD/Makefile")" CFLAGS="-g -O1 -Wall -Wextra -Werror $sanitizers"

# Applications run as somebody who is not the agent; without root there is only one user.
ROOT=; [ "$(id -u)" != 0 ] || ROOT=1
if [ -n "$ROOT" ]; then
  APP_UID=$(id -u nobody) STRANGER_UID=$(id -u daemon)
  as_uid() { local u=$1; shift; setpriv --reuid "$u" --regid "$u" --clear-groups -- "$@"; }
else
  APP_UID=$(id -u) STRANGER_UID=
  as_uid() { shift; "$@"; }
fi
app() { as_uid "$APP_UID" timeout 60 "$VENDOR/vendor-app" -s "$RUN/vendor.sock" "$@"; }
said() { "$@" 2>&1; }
events() { ctl events --json | jq -cs "map(select(.name == \"$1\"))"; }

lab_up 'vendor: { calls_per_s = 1000; burst = 1000; };'
set_password
chmod 755 "$LAB/trust" "$LAB/trust/broker"
CERT=$LAB/trust/broker/device.pem CA=$PKI/broker-ca.pem
install -m 644 "$CA" "$VENDOR/ca.pem"; CA=$VENDOR/ca.pem
echo 'meter 4711: 12.5 kWh' > "$VENDOR/message"

# ---- rights
meta=$(lab_as agentd cat "$LAB/state/keys/device.meta")
like "the key of provisioning is for TLS and requests" "$meta" '^purposes tls-client csr$'
like "and for the agent's own programs" "$meta" '^caller program:link tls-client$'
is "its description is for agentd alone" "$(lab_as agentd stat -c %a "$LAB/state/keys/device.meta")" 600
like "an application that was given no right is refused" "$(said app repeat device 1)" 'key\.refused'
succeeds "the owner lets one user have the device key" ctl key allow device "uid:$APP_UID"
like "which the event log says" "$(events key.rights)" "uid:$APP_UID tls-client"
succeeds "then that user's program signs" app repeat device 3
succeeds "a key for application signatures" ctl key create app --purposes sign-app --callers "uid:$APP_UID"
succeeds "and one for nobody" ctl key create other --purposes tls-client,csr
like "a key for both is refused" "$(said ctl key create both --purposes tls-client,sign-app)" 'not for both'
like "a caller that is none is refused" "$(said ctl key allow device "everybody")" 'a caller is'
like "another key is refused" "$(said app repeat other 1)" 'key\.refused'
like "so is the device CA" "$(said app repeat device-ca 1)" 'key\.refused'
like "so is one that is not there" "$(said app repeat nothing 1)" 'key\.refused'
like "so is a digest signature with the key for application signatures" "$(said app repeat app 1)" 'key\.refused'
like "so is an application signature with the key for TLS" "$(said app sign device test-v1 "$VENDOR/message")" 'key\.refused'
like "no request is made with a key that is not for it" "$(said ctl key csr app --subject CN=x)" 'not what the key is for'
like "the event names key and user" "$(events key.refused | jq -c 'map({key, uid})')" "\"key\":\"other\",\"uid\":\"$APP_UID\""
if [ -n "$ROOT" ]; then
  like "another user is refused the same key" "$(said as_uid "$STRANGER_UID" "$VENDOR/vendor-app" -s "$RUN/vendor.sock" repeat device 1)" 'key\.refused'
  like "and named" "$(events key.refused | jq -c 'map({key, uid})')" "\"key\":\"device\",\"uid\":\"$STRANGER_UID\""
  is "the application has no way to the TPM" "$(as_uid "$APP_UID" test -w "$TPM_SOCKET" && echo open || echo closed)" closed
  is "nor to the keys" "$(as_uid "$APP_UID" test -r "$LAB/state/keys/device.pem" && echo open || echo closed)" closed
fi

# ---- by unit: a cgroup like the one systemd would make
cgroups=$(findmnt -n -t cgroup2 -o TARGET 2> /dev/null | head -n 1)
unit_dir=$cgroups/system.slice/e2e-vendor-$$.service
if [ -n "$ROOT" ] && [ -n "$cgroups" ] && mkdir -p "$unit_dir" 2> /dev/null; then
  in_unit() { bash -c 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"' _ "$unit_dir" "$@"; }
  unit_app() { in_unit setpriv --reuid "$STRANGER_UID" --regid "$STRANGER_UID" --clear-groups -- "$VENDOR/vendor-app" -s "$RUN/vendor.sock" "$@"; }
  like "a unit without a right is refused" "$(said unit_app repeat device 1)" 'key\.refused'
  like "and the event names the unit" "$(events key.refused)" "\"unit\":\"e2e-vendor-$$.service\""
  succeeds "a right for that unit" ctl key allow device "uid:$APP_UID" "unit:e2e-vendor-$$.service"
  if unit_app repeat device 1 > "$LAB/out" 2>&1; then
    ok "lets its program sign"
  elif [ "$(printf '6.5\n%s\n' "$(uname -r)" | sort -V | head -n 1)" = 6.5 ]; then
    not_ok "lets its program sign: $(cat "$LAB/out")"
  else
    echo "# units need Linux 6.5; this is $(uname -r)"
  fi
  like "and nobody else of that user" "$(said as_uid "$STRANGER_UID" "$VENDOR/vendor-app" -s "$RUN/vendor.sock" repeat device 1)" 'key\.refused'
  rmdir "$unit_dir" 2> /dev/null
  rmdir "$cgroups/system.slice" 2> /dev/null
else
  echo "# not tried: rights by unit (needs root and a cgroup2 file system to write)"
fi

# ---- what the key is for
PORT=$(lab_free_port)
openssl s_server -accept "127.0.0.1:$PORT" -cert "$PKI/broker.pem" -key "$PKI/broker.key" -CAfile "$PKI/device-ca.pem" -Verify 1 \
  -verify_return_error -www < /dev/null > "$LAB/log/s_server.out" 2>&1 &
SERVER=$!
wait_for 10 bash -c "exec 3<> /dev/tcp/127.0.0.1/$PORT"
like "TLS 1.3 with plain OpenSSL and a client certificate" "$(said app tls device "$CERT" "$CA" localhost "$PORT")" 'TLSv1.3, client key in agentd'
like "TLS 1.2 as well" "$(said app tls device "$CERT" "$CA" localhost "$PORT" 1.2)" 'TLSv1.2, client key in agentd'
like "libcurl with the TLS profile of libagent" "$(said app curl device "$CERT" "$CA" "https://localhost:$PORT/")" 'New, TLSv1.3'
app csr device CN=again > "$LAB/again.csr" 2>&1
like "a certificate request" "$(openssl req -in "$LAB/again.csr" -noout -verify 2>&1)" 'OK'
app cms device "$CERT" "$VENDOR/message" > "$LAB/message.cms" 2> "$LAB/out"
succeeds "a CMS signature that openssl verifies" openssl cms -verify -binary -inform DER -in "$LAB/message.cms" -content "$VENDOR/message" \
  -CAfile "$PKI/device-ca.pem" -purpose any -out /dev/null
like "an application signature, verified by the library" "$(said app sign app meter-reading-v1 "$VENDOR/message")" "label uid:$APP_UID"
signature=$(app sign app meter-reading-v1 "$VENDOR/message" | sed -n 's/^signature //p')
ctl key list --json > "$LAB/keys.json"
{ printf 'libagent-app-v1\0uid:%s\0meter-reading-v1\0' "$APP_UID"; cat "$VENDOR/message"; } > "$LAB/signed"
ctl key create app-csr --purposes sign-app,csr --callers "uid:$APP_UID" > /dev/null
ctl key csr app-csr --subject CN=app --out "$LAB/app.csr" > /dev/null
openssl req -in "$LAB/app.csr" -pubkey -noout > "$LAB/app.pub" 2> /dev/null
signature=$(app sign app-csr meter-reading-v1 "$VENDOR/message" | sed -n 's/^signature //p')
printf '%s' "$signature" | sed 's/../\\x&/g' | xargs -0 printf '%b' > "$LAB/app.sig"
succeeds "and by openssl, over the documented bytes" openssl dgst -sha256 -verify "$LAB/app.pub" -signature "$LAB/app.sig" "$LAB/signed"
fails "which are not the message alone" openssl dgst -sha256 -verify "$LAB/app.pub" -signature "$LAB/app.sig" "$VENDOR/message"
head -c 70000 /dev/zero > "$VENDOR/long"
like "a message over the limit is refused" "$(said app sign app x "$VENDOR/long")" 'app\.message'
head -c 65536 /dev/zero > "$VENDOR/full"
like "one at the limit is signed" "$(said app sign app x "$VENDOR/full")" '^signature'

succeeds "an RSA key" ctl key create rsa --type rsa-2048 --purposes tls-client,csr --callers "uid:$APP_UID"
ctl key csr rsa --subject CN=rsa --out "$LAB/rsa.csr" > /dev/null
openssl x509 -req -in "$LAB/rsa.csr" -CA "$PKI/device-ca.pem" -CAkey "$PKI/device-ca.key" -CAcreateserial -days 1 \
  -extfile "$PKI/device.ext" -out "$VENDOR/rsa.pem" 2> /dev/null
chmod 644 "$VENDOR/rsa.pem"
like "RSA in TLS 1.3" "$(said app tls rsa "$VENDOR/rsa.pem" "$CA" localhost "$PORT")" 'TLSv1.3, client key in agentd'
like "RSA in TLS 1.2" "$(said app tls rsa "$VENDOR/rsa.pem" "$CA" localhost "$PORT" 1.2)" 'TLSv1.2, client key in agentd'
kill "$SERVER" 2> /dev/null
wait "$SERVER" 2> /dev/null

# ---- eight at once, while the agent's own connection lives
end=$((SECONDS + 3)) pids=
hammer() { while [ "$SECONDS" -lt "$end" ]; do app repeat device 50 || return 1; done; }
for i in 1 2 3 4 5 6 7 8; do hammer > "$LAB/hammer.$i" 2>&1 & pids="$pids $!"; done
bad=0
for p in $pids; do wait "$p" || bad=$((bad + 1)); done
total=$(cat "$LAB"/hammer.* | awk '/signatures/ { n += $1 } END { print n + 0 }')
is "eight processes sign at once without a failure" "$bad" 0
[ "$bad" = 0 ] || cat "$LAB"/hammer.* | grep -v signatures | sort | uniq -c
if [ "$total" -gt 100 ]; then ok "$total signatures in 3 s"; else not_ok "only $total signatures"; fi
succeeds "the agent answers meanwhile and after" lab_healthy

# ---- a stranger's bytes
flood() { as_uid "$APP_UID" timeout 5 python3 - "$RUN/vendor.sock" "$1" << 'PY'
import socket, struct, sys, time
path, what = sys.argv[1:]
s = socket.socket(socket.AF_UNIX); s.connect(path); s.settimeout(4)
def closed():
    try:
        while s.recv(4096): pass
    except ConnectionError: pass
    except socket.timeout: print("still open"); sys.exit(1)
    print("closed")
try:
    if what == "hello":
        s.sendall(b"\0" + b"A" * 4000)
    else:
        s.sendall(b"\0AUTH ANONYMOUS\r\n"); s.recv(100); s.sendall(b"BEGIN\r\n")
        if what == "size": s.sendall(b"l\1\0\1" + struct.pack("<III", 100 << 20, 1, 16))
        if what == "noise": s.sendall(b"\xff" * 16)
except (BrokenPipeError, ConnectionResetError): pass
closed()
PY
}
if command -v python3 > /dev/null; then
  is "a handshake without end is cut off" "$(flood hello)" closed
  is "a message of 100 MiB is cut off before it comes" "$(flood size)" closed
  is "noise is cut off" "$(flood noise)" closed
  like "and written down" "$(events agent.peer_refused)" '"program":"vendor"'
fi

# ---- limits, with the settings of a device
lab_agent_stop
lab_config 'vendor: { calls_per_s = 5; burst = 5; };'
lab_agent_start
like "too many signatures a second are refused" "$(said app repeat device 50)" 'vendor\.rate'
like "which the event log says once" "$(events peer.throttled)" "\"uid\":\"$APP_UID\""
sleep 1.2
succeeds "and a moment later it goes on" app repeat device 2
[ -z "$ROOT" ] || like "another user's budget is his own" "$(said as_uid "$STRANGER_UID" "$VENDOR/vendor-app" -s "$RUN/vendor.sock" repeat device 1)" 'key\.refused'
for i in $(seq 40); do app repeat other 1 > /dev/null 2>&1; done
n=$(events key.refused | jq length)
if [ "$n" -lt 25 ]; then ok "refusals without end do not fill the event log ($n of more than 40)"; else not_ok "$n refusals were written down"; fi

# ---- a key under another's name
lab_agent_stop
lab_as agentd cp "$LAB/state/keys/other.pem" "$LAB/state/keys/device.pem.swap"
lab_as agentd mv "$LAB/state/keys/device.pem" "$LAB/state/keys/device.pem.kept"
lab_as agentd cp "$LAB/state/keys/device.auth" "$LAB/state/keys/device.auth.kept"
lab_as agentd cp "$LAB/state/keys/other.auth" "$LAB/state/keys/device.auth"
lab_as agentd mv "$LAB/state/keys/device.pem.swap" "$LAB/state/keys/device.pem"
lab_agent_start
like "a key file put under another name is refused" "$(said app repeat device 1)" 'key\.meta'
lab_agent_stop
lab_as agentd mv "$LAB/state/keys/device.pem.kept" "$LAB/state/keys/device.pem"
lab_as agentd mv "$LAB/state/keys/device.auth.kept" "$LAB/state/keys/device.auth"
lab_as agentd bash -c "echo 'caller uid:$APP_UID everything' >> '$LAB/state/keys/device.meta'"
lab_config 'vendor: { enable = false; };'
lab_agent_start
like "without the door there is nobody to ask" "$(said app repeat device 1)" 'bus\.connect'
lab_agent_stop
lab_config
lab_agent_start
like "a description that cannot be understood gives no rights" "$(said app repeat device 1)" 'key\.refused'

# ---- nothing left in the TPM
lab_agent_stop
handles=$(tpm2_getcap -T "$TCTI" handles-transient; tpm2_getcap -T "$TCTI" handles-loaded-session)
is "no handle is left in the TPM" "$handles" ""
done_testing
