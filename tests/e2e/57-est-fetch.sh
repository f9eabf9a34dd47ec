#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Certificates by EST on a device without MQTT: a new one proves itself at the EST server, or at another server that demands it, before the
# old one goes; one that is refused there goes itself, and a server that asks for none proves nothing.
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2317,SC2015
. "$(dirname "$0")/lib.sh"
need swtpm openssl curl jq python3
KEYS=$LAB/state/keys EST=$LAB/est
lab_users
lab_make
lab_pki
lab_ca est-ca "/CN=Demo EST CA"
lab_leaf est-ca est "/CN=localhost" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost'
mkdir -p "$EST" "$LAB/www"
cp "$PKI/est-ca.pem" "$LAB/trust/est/ca.pem"
chmod 644 "$LAB/trust/est/ca.pem"
lab_slots
lab_tpm_start
EST_PORT=$(lab_free_port)
PROOF_PORT=$(lab_free_port)
proof_stop() {
  [ -n "${PROOF_PID:-}" ] || return 0
  kill "$PROOF_PID" 2> /dev/null
  wait "$PROOF_PID" 2> /dev/null
  PROOF_PID=
}
trap 'kill "${EST_PID:-}" "${FORGER_PID:-}" 2> /dev/null; proof_stop; e2e_end' EXIT
python3 "$LAB_SOURCE/tests/est_server.py" "$PKI" "$EST" "$EST_PORT" > "$LAB/log/est.out" 2>&1 &
EST_PID=$!
wait_for 20 grep -q ready "$LAB/log/est.out" || lab_fail "the EST server did not start: $(cat "$LAB/log/est.out")"
# proof [s_server options]: the other server
printf 'HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n' > "$LAB/www/proof"
listens() { bash -c "exec 3<> /dev/tcp/127.0.0.1/$PROOF_PORT"; }
proof() {
  proof_stop
  cd "$LAB/www" || exit 1
  openssl s_server -accept "127.0.0.1:$PROOF_PORT" -HTTP -tls1_3 -cert "$PKI/broker.pem" -key "$PKI/broker.key" -CAfile "$PKI/device-ca.pem" "$@" \
    < /dev/null > "$LAB/log/proof.out" 2>&1 &
  PROOF_PID=$!
  cd "$LAB" || exit 1
  wait_for 20 listens || not_ok "s_server $*: $(tail -n 3 "$LAB/log/proof.out")"
}
config() { lab_config "mqtt: { enable = false; }; est: { url = \"https://localhost:$EST_PORT\"; retry_min_s = 1; retry_max_s = 2; ${1:-} };"; }
config
lab_provision
rm "$LAB/trust/broker/device.pem"
set_up_factory() { # valid from yesterday for ten years
  openssl x509 -req -in "$LAB/state/device.csr" -CA "$PKI/device-ca.pem" -CAkey "$PKI/device-ca.key" -days 3650 -extfile "$PKI/device.ext" \
    -out "$LAB/trust/fetch/device.pem" 2> "$LAB/out" || lab_fail "no device certificate: $(cat "$LAB/out")"
  chmod 644 "$LAB/trust/fetch/device.pem"
}

events() { ctl events --json --limit 1000 | jq -cs "map(select(.name == \"$1\"))"; }
status() { ctl --json enrol status; }
state_is() { [ "$(status | jq -r .state)" = "$1" ]; }
becomes() { if wait_for 30 state_is "$2"; then ok "$1"; else not_ok "$1: $(status)"; fi; }
not_after() { status | jq -r '.not_after // 0'; }
is_newer() { [ "$(not_after)" -gt "$1" ]; }
renewed() { if wait_for 40 is_newer "$2" && wait_for 30 state_is idle; then ok "$1"; else not_ok "$1: $(status)"; fi; }
fingerprint() { ctl --json key list | jq -r '.keys[] | select(.name == "device").fingerprint'; }
detail_is() { status | jq -r '.detail' | grep -qE -- "$1"; }
says() { if wait_for 30 detail_is "$2"; then ok "$1"; else not_ok "$1: $(status)"; fi; }
serial_in_use() { lab_as agentd cat "$KEYS/device.crt" | openssl x509 -noout -serial | cut -d= -f2; }
# The certificates that this lab's EST server issues are valid for days.
days() { echo "$1" > "$EST/days"; }

# ---- a device without a certificate of its own ----------------------------------------------------------------------
days 300
echo "once:walnut 92" > "$EST/basic"
lab_agent_start
lab_trust_device
set_password
printf 'once:walnut 92\n' | ctl enrol secret --stdin > /dev/null
renewed "a device without MQTT gets its first certificate" "$(date +%s)"
is "which the EST server was shown before it was in use" "$(tail -n 1 "$EST/shown")" "cacerts $(serial_in_use)"
is "the secret is wiped" "$(status | jq .has_secret)" false
like "events say so" "$(events key.rotated)" '"key":"device"'
is "nothing is left over" "$(lab_as agentd find "$KEYS" -name '*.next.*' -o -name est.csr | wc -l)" 0
is "there is no link" "$(api GET /v1/status | jq -r .link_state)" disabled

# ---- a new key ------------------------------------------------------------------------------------------------------
KEY=$(fingerprint) BEFORE=$(not_after)
days 301
succeeds "a new key is asked for" ctl enrol renew --new-key
renewed "its certificate is in use" "$BEFORE"
fails "with another key" test "$(fingerprint)" = "$KEY"
is "which the EST server was shown before" "$(tail -n 1 "$EST/shown")" "cacerts $(serial_in_use)"
like "the request came with the old certificate" "$(grep -c "simplereenroll $LAB_SERIAL 200" "$EST/requests")" '^[1-9]'

# ---- one that the server does not take ------------------------------------------------------------------------------
KEY=$(fingerprint) BEFORE=$(not_after)
days 302
echo second > "$EST/mode"
ctl enrol renew --new-key > /dev/null
refused() { events key.rotation_failed | grep -q 'refused our certificate: unknown CA'; }
if wait_for 40 refused; then ok "a certificate that the server refuses is given up"; else not_ok "refused: $(status) $(events key.rotation_failed)"; fi
is "the old pair stays" "$(not_after) $(fingerprint)" "$BEFORE $KEY"
reason_is() { status | jq -r '.reason // ""' | grep -q 'did not prove itself'; }
if wait_for 20 reason_is; then ok "and the reason is told"; else not_ok "reason: $(status)"; fi
echo ok > "$EST/mode"
renewed "then one comes that it takes" "$BEFORE"

# One that answers it with 400, as nginx does.
BEFORE=$(not_after)
days 303
echo "doubt:$(serial_in_use)" > "$EST/mode"
ctl enrol renew --new-key > /dev/null
doubted() { events key.rotation_failed | grep -q 'status 400'; }
if wait_for 40 doubted; then ok "also one that is answered with 400"; else not_ok "doubted: $(status) $(events key.rotation_failed)"; fi
is "the old one stays" "$(not_after)" "$BEFORE"
echo ok > "$EST/mode"
renewed "until the server takes one" "$BEFORE"

# ---- another server that demands the certificate ----------------------------------------------------------------------
lab_agent_stop
config "prove_url = \"https://localhost:$PROOF_PORT/proof\";"
lab_agent_start
BEFORE=$(not_after) KEY=$(fingerprint)
days 304
ctl enrol renew --new-key > /dev/null
becomes "the other server is away: a new pair is on trial" proving
says "and why" 'on trial: https://localhost.*[Cc]onnect'
is "the old one is the one in use" "$(not_after) $(fingerprint)" "$BEFORE $KEY"
kill -9 "$(cat "$RUN/pids/agentd")"
wait_for 20 lab_healthy
becomes "also after kill -9 of core" proving
proof
says "a server that asks for no certificate proves nothing" 'does not ask for a certificate'
is "the old one is still in use" "$(not_after) $(fingerprint)" "$BEFORE $KEY"
proof -Verify 2 -verify_return_error
renewed "one that demands it and takes it does" "$BEFORE"
fails "with the new key" test "$(fingerprint)" = "$KEY"
proof -Verify 2 -verify_return_error -no_check_time
ended() { api GET /v1/update | jq -e --argjson id "$1" '.id == $id and (.error_name // "") != ""'; }
ID=$(api POST /v1/update/fetch -H 'Content-Type: application/json' -d "{\"url\":\"https://localhost:$PROOF_PORT/proof\"}" | jq -r .id)
wait_for 40 ended "$ID"
like "a download shows the new certificate, too" "$(api GET /v1/update | jq -r '.error_name')" '^fetch\.http|^container|^update'

# ---- somebody on the way ------------------------------------------------------------------------------------------------
# Answers each other connection with an alert of his own, "bad certificate", and lets the rest through: whom the new pair is refused by, and the old one not.
cat > "$LAB/forger.py" << 'EOF'
import socket, sys, threading
door = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass
n = 0
while True:
    client, _ = door.accept()
    n += 1
    if n % 2 == 1:
        client.recv(65536)
        client.sendall(bytes.fromhex("1503030002022a"))
        client.close()
        print("forged", flush=True)
        continue
    server = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    for pair in (client, server), (server, client):
        threading.Thread(target=pump, args=pair, daemon=True).start()
EOF
FORGER_PORT=$(lab_free_port)
python3 "$LAB/forger.py" "$FORGER_PORT" "$PROOF_PORT" > "$LAB/log/forger.out" 2>&1 &
FORGER_PID=$!
wait_for 20 grep -q ready "$LAB/log/forger.out" || not_ok "the forger: $(cat "$LAB/log/forger.out")"
lab_agent_stop
config "prove_url = \"https://localhost:$FORGER_PORT/proof\";"
lab_agent_start
BEFORE=$(not_after) FAILED=$(events key.rotation_failed | jq length)
days 305
ctl enrol renew --new-key > /dev/null
renewed "an alert that somebody on the way sends is no refusal" "$BEFORE"
succeeds "  though there was one" grep -q forged "$LAB/log/forger.out"
is "  and no pair was given up for it" "$(events key.rotation_failed | jq length)" "$FAILED"
kill "$FORGER_PID"

# ---- the file of the configuration ------------------------------------------------------------------------------------
lab_agent_stop
set_up_factory
lab_as agentd rm -f "$KEYS/device.crt" "$KEYS/rotation" "$KEYS/est"
lab_agent_start
becomes "the file of the configuration counts where nothing was enrolled" idle
like "  and is not old enough" "$(ctl enrol status)" "subject +O=Demo,CN=$LAB_SERIAL|subject +CN=$LAB_SERIAL"
lab_agent_stop

# ---- settings ---------------------------------------------------------------------------------------------------------
printf 'device: { product = "x"; serial = "x"; };\nmqtt: { enable = true; host = "b"; };\nest: { url = "https://e"; prove_url = "https://p"; };\n' > "$LAB/etc/bad.conf"
fails "a broker and another judge are refused" "$AGENTD" --config "$LAB/etc/bad.conf" --print-config
like "  and told" "$(cat "$LAB/out")" 'est\.prove_url .*without mqtt\.enable'
done_testing
