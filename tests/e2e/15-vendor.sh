#!/usr/bin/env bash
# A vendor's application, built from the installed package, uses the device's keys through agentd: another user, no TPM.
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2120,SC2317
. "$(dirname "$0")/lib.sh"
need swtpm curl jq openssl tpm2_getcap tpm2_pcrextend python3 pkg-config make "${CC:-cc}"
pkg-config --exists libcurl libssl || { echo "SKIP: no development files of libcurl and OpenSSL"; exit 77; }

VENDOR=$LAB/vendor
succeeds "the example builds from the installed package alone, without a warning" example_make "$VENDOR" vendor-app

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

# ---- sealed secrets
secret() { printf 'db-password=%s\n' "correct horse battery staple"; }
secret > "$VENDOR/secret"
head -c 49152 /dev/urandom > "$VENDOR/full-secret"
head -c 49153 /dev/urandom > "$VENDOR/long-secret"
seal() { app seal "$@" > "$VENDOR/sealed.$1.tmp" 2> "$LAB/seal.err" && mv "$VENDOR/sealed.$1.tmp" "$VENDOR/sealed.$1"; }
unseal() { app unseal "$@" > "$LAB/unsealed" 2> "$LAB/seal.err"; }
like "a key that is not for it seals nothing" "$(said app seal device "$VENDOR/secret")" 'key\.refused'
succeeds "a key of purpose seal, for one user" ctl key create vault --purposes seal --callers "uid:$APP_UID"
succeeds "another one of the same user" ctl key create other-vault --purposes seal --callers "uid:$APP_UID"
like "it signs nothing" "$(said app repeat vault 1)" 'key\.refused'
succeeds "a secret is sealed" seal vault "$VENDOR/secret"
fails "and cannot be read in the sealed bytes" grep -qa 'correct horse' "$VENDOR/sealed.vault"
succeeds "and opens" unseal vault "$VENDOR/sealed.vault"
succeeds "to the same bytes" cmp "$LAB/unsealed" "$VENDOR/secret"
fails "not under another key" unseal other-vault "$VENDOR/sealed.vault"
like "which is seal.auth" "$(cat "$LAB/seal.err")" 'not sealed under key other-vault.*seal\.auth'
fails "not under a key that is not there" unseal nothing "$VENDOR/sealed.vault"
sed 's/^nonce: ./nonce: f/' "$VENDOR/sealed.vault" > "$VENDOR/changed"
cmp -s "$VENDOR/changed" "$VENDOR/sealed.vault" && sed 's/^nonce: ./nonce: e/' "$VENDOR/sealed.vault" > "$VENDOR/changed"
fails "changed bytes do not open" unseal vault "$VENDOR/changed"
like "which is seal.file" "$(cat "$LAB/seal.err")" 'seal\.file'
fails "cut ones neither" unseal vault <(head -c 500 "$VENDOR/sealed.vault")
like "the event log says who got it" "$(events secret.unsealed | jq -c 'map({key, uid})')" "\"key\":\"vault\",\"uid\":\"$APP_UID\""
like "and who put it there" "$(events secret.sealed | jq -c 'map(.key)')" 'vault'
succeeds "a secret at the limit" seal vault "$VENDOR/full-secret"
succeeds "opens" unseal vault "$VENDOR/sealed.vault"
succeeds "whole" cmp "$LAB/unsealed" "$VENDOR/full-secret"
fails "one over it is refused" seal vault "$VENDOR/long-secret"
like "with the limit" "$(cat "$LAB/seal.err")" '49152 bytes here.*seal\.size'
if [ -n "$ROOT" ]; then
  as_uid "$STRANGER_UID" "$VENDOR/vendor-app" -s "$RUN/vendor.sock" unseal vault "$VENDOR/sealed.vault" > "$LAB/unsealed" 2> "$LAB/seal.err"
  like "another user is refused" "$(cat "$LAB/seal.err")" 'key\.refused'
  is "and gets nothing" "$(stat -c %s "$LAB/unsealed")" 0
  like "and is named" "$(events key.refused | jq -c 'map({key, uid, method})')" "\"key\":\"vault\",\"uid\":\"$STRANGER_UID\",\"method\":\"Unseal\""
fi
# PCRs, and PCRs that somebody signs: PCR 16 may be extended and reset by anybody.
pcr() { tpm2_pcrreset -T "$TCTI" 16 && for v; do tpm2_pcrextend -T "$TCTI" "16:sha256=$(printf '%064d' "$v")"; done; } > /dev/null 2>&1
pcr 1
succeeds "sealed to a PCR" seal vault "$VENDOR/secret" 16
succeeds "opens while the PCR has that value" unseal vault "$VENDOR/sealed.vault"
pcr 1 2
fails "not when it has another" unseal vault "$VENDOR/sealed.vault"
like "which names the PCR" "$(cat "$LAB/seal.err")" 'PCR 16.*seal\.pcr'
openssl ecparam -name prime256v1 -genkey -noout -out "$LAB/policy.key" 2> /dev/null
openssl pkey -in "$LAB/policy.key" -pubout -outform DER -out "$VENDOR/policy.der" 2> /dev/null
LIVE=$BUILD/tests/tpm/test_seal_live
if [ -x "$LIVE" ]; then
  succeeds "sealed to PCR values that a key signs" seal vault "$VENDOR/secret" 16 "$VENDOR/policy.der"
  fails "does not open without a signature" unseal vault "$VENDOR/sealed.vault"
  approve() { "$LIVE" "$TCTI" "$LAB" pcrs 16 now > /dev/null && "$LIVE" "$TCTI" "$LAB" sign policy.key "$1" values=now > "$LAB/out" && install -m 644 "$LAB/$1" "$VENDOR/$1"; }
  approve sig.1
  succeeds "opens with one over the values of now" unseal vault "$VENDOR/sealed.vault" "$VENDOR/sig.1"
  succeeds "to the same bytes" cmp "$LAB/unsealed" "$VENDOR/secret"
  pcr 3
  fails "after an update the old signature does not do" unseal vault "$VENDOR/sealed.vault" "$VENDOR/sig.1"
  approve sig.2
  succeeds "and one over the new values opens the same bytes" unseal vault "$VENDOR/sealed.vault" "$VENDOR/sig.2"
else
  echo "# not tried: signed PCR policies ($LIVE is not built)"
fi
ctl key allow vault > /dev/null 2>&1 || ctl key allow vault "uid:4000000000" > /dev/null
fails "a right that was taken back counts at once" unseal vault "$VENDOR/sealed.vault"
ctl key allow vault "uid:$APP_UID" > /dev/null
seal vault "$VENDOR/secret"
lab_agent_stop
lab_agent_start
succeeds "after a restart of the agent it opens" unseal vault "$VENDOR/sealed.vault"
fails "no secret is in any log or event" grep -rqa 'correct horse' "$LAB/log" "$LAB/state"
succeeds "and the search would find it" grep -rqa 'correct horse' "$VENDOR"
core_memory() { python3 - "$(cat "$RUN/pids/agentd")" "$1" << 'PY'
import re, sys
pid, n = sys.argv[1], 0
with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
    for line in maps:
        m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
        if not m or "[vvar]" in line or "[vsyscall]" in line: continue
        try:
            mem.seek(int(m[1], 16)); n += mem.read(int(m[2], 16) - int(m[1], 16)).count(sys.argv[2].encode())
        except (OSError, ValueError): pass
print(n)
PY
}
if [ -n "$ROOT" ] && ! grep -q '^#define AGENT_SANITIZERS' "$BUILD/config.h"; then
  is "and none is left in the memory of core" "$(core_memory "correct horse battery")" 0
  [ "$(core_memory "$LAB_SERIAL")" -gt 0 ] || not_ok "what is there would be found"
fi

# ---- eight at once, while the agent's own connection lives
end=$((SECONDS + 3)) pids=
n_fds() { find "/proc/$(cat "$RUN/pids/agentd")/fd" -mindepth 1 2> /dev/null | wc -l; }
rss_kib() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$(cat "$RUN/pids/agentd")/status"; }
hammer() { while [ "$SECONDS" -lt "$end" ]; do app repeat device 50 || return 1; done; }
sealer() {
  while [ "$SECONDS" -lt "$end" ]; do
    app seal vault "$VENDOR/secret" > "$LAB/hammer.sealed.$1" || return 1
    chmod 644 "$LAB/hammer.sealed.$1"
    app unseal vault "$LAB/hammer.sealed.$1" | cmp - "$VENDOR/secret" || return 1
    echo "1 secret"
  done
}
app repeat device 50 > "$LAB/out"
fds_before=$(n_fds) rss_before=$(rss_kib)
for i in 1 2 3 4 5; do hammer > "$LAB/hammer.$i" 2>&1 & pids="$pids $!"; done
for i in 6 7 8; do sealer "$i" > "$LAB/hammer.$i" 2>&1 & pids="$pids $!"; done
bad=0
for p in $pids; do wait "$p" || bad=$((bad + 1)); done
total=$(cat "$LAB"/hammer.[0-9] | awk '/signatures/ { n += $1 } END { print n + 0 }')
is "eight processes sign and seal at once without a failure" "$bad" 0
idle=0
for i in 1 2 3 4 5 6 7 8; do grep -qE 'signatures|secret' "$LAB/hammer.$i" || idle=$((idle + 1)); done
is "each of them was served" "$idle" 0
wait_for 10 eval '[ "$(n_fds)" -le "$fds_before" ]'
[ "$(n_fds)" -le "$fds_before" ] && ok "no descriptor stays open in core" || not_ok "core had $fds_before descriptors, now $(n_fds)"
if ! grep -q '^#define AGENT_SANITIZERS' "$BUILD/config.h"; then
  [ "$(rss_kib)" -le $((rss_before + 4096)) ] && ok "nor memory" || not_ok "core had $rss_before KiB, now $(rss_kib)"
fi
n=$(tpm2_getcap -T "$TCTI" handles-transient | grep -c 0x)
[ "$n" -le 2 ] && ok "nor more than two keys in the TPM" || not_ok "$n objects are in the TPM"
is "nor a session" "$(tpm2_getcap -T "$TCTI" handles-loaded-session)" ''
[ "$bad" = 0 ] || cat "$LAB"/hammer.[0-9] | grep -vE 'signatures|secret' | sort | uniq -c
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
minted=$(grep -c 'HTTPS has a new certificate' "$AGENT_LOG")
lab_agent_start
like "a description that cannot be understood gives no rights" "$(said app repeat device 1)" 'key\.refused'

# ---- nothing left in the TPM
# At rest: a command that takes longer than agentd may take for its end keeps its handles, and here no resource manager flushes them.
succeeds "the last thing of a start is done" wait_for 60 bash -c "[ \$(grep -c 'HTTPS has a new certificate' '$AGENT_LOG') -gt $minted ]"
lab_agent_stop
handles=$(tpm2_getcap -T "$TCTI" handles-transient; tpm2_getcap -T "$TCTI" handles-loaded-session)
is "no handle is left in the TPM" "$handles" ""
done_testing
