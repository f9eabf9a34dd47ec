#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Certificates by EST (RFC 7030) from a small server over OpenSSL: first trust by a fingerprint, renewal when it is due, wrong certificates
# refused for their reason, the new one in use only after the broker took it, rescue of an expired device by a one-time secret.
# Without a broker: 57-est-fetch.sh; power cuts: 57-est-cut.sh.
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2317,SC2015
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl curl jq python3
KEYS=$LAB/state/keys EST=$LAB/est
lab_users
lab_make
lab_pki
lab_ca est-ca "/CN=Demo EST CA"
lab_leaf est-ca est "/CN=localhost" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost'
mkdir -p "$EST" "$LAB/trust/est"
chmod 755 "$LAB/trust/est"
lab_slots
lab_tpm_start
EST_PORT=$(lab_free_port)
est_start() {
  python3 "$LAB_SOURCE/tests/est_server.py" "$PKI" "$EST" "$EST_PORT" > "$LAB/log/est.out" 2>&1 &
  EST_PID=$!
  wait_for 20 grep -q ready "$LAB/log/est.out" || lab_fail "the EST server did not start: $(cat "$LAB/log/est.out")"
}
trap 'kill "${EST_PID:-}" 2> /dev/null; e2e_end' EXIT
est_start
lab_config "est: { url = \"https://localhost:$EST_PORT\"; retry_min_s = 1; retry_max_s = 2; };"
lab_provision
# device_cert FROM TO [openssl ca options]: the certificate of the file, valid between two moments in seconds from now
device_cert() {
  : > "$LAB/index"
  printf '[ca]\ndefault_ca=x\n[x]\ndatabase=%s\nnew_certs_dir=%s\nrand_serial=yes\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\norganizationName=optional\n' \
    "$LAB/index" "$LAB" > "$LAB/ca.conf"
  openssl ca -batch -notext -config "$LAB/ca.conf" -cert "$PKI/device-ca.pem" -keyfile "$PKI/device-ca.key" -in "$LAB/state/device.csr" -preserveDN \
    -extfile "$PKI/device.ext" -startdate "$(date -u -d "@$(($(date +%s) + $1))" +%Y%m%d%H%M%SZ)" -enddate "$(date -u -d "@$(($(date +%s) + $2))" +%Y%m%d%H%M%SZ)" \
    -out "$LAB/trust/broker/device.pem" > "$LAB/out" 2>&1 || lab_fail "no device certificate: $(cat "$LAB/out")"
  chmod 644 "$LAB/trust/broker/device.pem"
}
DAY=86400
device_cert $((-77 * DAY)) $((23 * DAY)) # 77 % of its life are over
lab_broker_start
lab_agent_start
lab_trust_device
set_password

events() { ctl events --json --limit 1000 | jq -cs "map(select(.name == \"$1\"))"; }
n_events() { events "$1" | jq length; }
status() { ctl --json enrol status; }
state() { status | jq -r .state; }
state_is() { [ "$(state)" = "$1" ]; }
becomes() { if wait_for "${3:-30}" state_is "$2"; then ok "$1"; else not_ok "$1: $(status)"; fi; }
not_after() { status | jq -r .not_after; }
online() { [ "$(api GET /v1/status | jq -r .link_state)" = online ]; }
is_online() { if wait_for 30 online; then ok "$1"; else not_ok "$1: $(api GET /v1/status | jq -c '[.link_state, .link_detail]')"; fi; }
fingerprint() { ctl --json key list | jq -r '.keys[] | select(.name == "device").fingerprint'; }
mode() { echo "$1" > "$EST/mode"; }
is_newer() { [ "$(not_after)" -gt "$1" ]; }
renewed() { if wait_for 40 is_newer "$2" && wait_for 30 state_is idle; then ok "$1"; else not_ok "$1: $(status)"; fi; }
leftovers() { lab_as agentd find "$KEYS" -name '*.next.*' -o -name est.csr | wc -l; }

# ---- first trust -------------------------------------------------------------------------------------------------
is_online "the link is up with the certificate of the factory"
KEY=$(fingerprint) BEFORE=$(not_after)
is "no authority is known yet" "$(status | jq .has_anchors)" false
wait_for 20 bash -c "[ \"\$(curl -s --unix-socket $SOCKET http://localhost/v1/enrolment | jq -r .state)\" = waiting ]"
like "so nothing was asked, and the reason is said" "$(status | jq -r .reason)" 'no authority is trusted'
fails "nobody was asked" test -s "$EST/requests"
like "nor can a person" "$(ctl enrol renew 2>&1)" 'no authority is trusted'
FP=$(openssl x509 -in "$PKI/est-ca.pem" -noout -fingerprint -sha256 | cut -d= -f2)
like "a fingerprint that is none" "$(ctl enrol trust 00112233 2>&1)" '64|fingerprint'
like "another fingerprint is refused, with those that there are" "$(ctl enrol trust "$(printf '%064d' 0)" 2>&1)" "$(echo "$FP" | tr -d : | tr A-F a-f)"
is "and nothing is trusted" "$(status | jq .has_anchors)" false
is "the server that could not be checked saw nobody" "$(sort -u "$EST/requests")" "cacerts nobody 200"
succeeds "the right one" ctl enrol trust "$FP"
is "is trusted from now on" "$(status | jq .has_anchors)" true
like "which is an event" "$(events est.trusted)" 'Demo EST CA'

# ---- renewal when it is due ----------------------------------------------------------------------------------------
renewed "the certificate was due: a new one is in use by itself" "$BEFORE"
is_online "the link is up"
is "with the same key" "$(fingerprint)" "$KEY"
like "the server saw the old certificate" "$(cat "$EST/requests")" "simplereenroll $LAB_SERIAL 200"
like "events: begun" "$(events est.begun)" '"cause":"due"'
like "issued" "$(events est.issued)" "CN=$LAB_SERIAL"
is "done, once" "$(n_events est.done)" 1
is "nothing is left over" "$(leftovers)" 0
like "the next moment is known" "$(ctl enrol status)" 'renewed at'

# ---- what is refused, and why ---------------------------------------------------------------------------------------
refused() { # MODE PATTERN "what": the old certificate stays
  local before
  before=$(not_after)
  mode "$1"
  wait_for 20 ctl enrol renew || not_ok "$3: $(ctl enrol renew 2>&1)" # the one before may just be tried again
  reason_like() { status | jq -r '.reason // ""' | grep -qE -- "$1"; }
  if wait_for 20 reason_like "$2"; then ok "$3"; else not_ok "$3: $(status)"; fi
  is "$3: the old one stays" "$(not_after)" "$before"
}
refused otherkey 'no certificate for our key' "a certificate for another key"
refused othersubject 'is for .*somebody-else.*, not for' "another subject"
refused ca 'that of an authority' "a CA certificate"
refused server 'TLS clients' "one for servers"
refused past 'has expired already' "one that has expired"
refused short 'less than est.min_life_s' "one for an hour"
refused stranger 'does not lead to an authority' "one of an authority that nobody named"
refused garbage 'no list of certificates' "no PKCS #7"
refused huge 'more than 65536 bytes' "too much"
refused redirect 'sends us elsewhere' "a redirection"
refused fail 'status 500: the authority is on holiday' "an error of the server, in its words"
refused refuse 'does not accept who we are' "401"
openssl ca -gencrl -config "$LAB/ca.conf" -cert "$PKI/est-ca.pem" -keyfile "$PKI/est-ca.key" -crl_lastupdate 20260101000000Z -crl_nextupdate 20260201000000Z \
  -out "$LAB/trust/est/ca.crl" 2> "$LAB/out" || not_ok "no revocation list: $(cat "$LAB/out")"
chmod 644 "$LAB/trust/est/ca.crl"
BEFORE=$(not_after)
refused ok 'revocation list of .*Demo EST CA is out of date' "a server whose revocation list is out of date"
rm "$LAB/trust/est/ca.crl"
# What was refused may come by itself now, or was given up meanwhile: to its end before the next begins.
again() { is_newer "$BEFORE" || { ctl enrol renew; false; }; }
if wait_for 40 again && wait_for 40 state_is idle; then ok "without the list it is taken"; else not_ok "without the list: $(status)"; fi
like "refusals are events" "$(events est.refused)" 'another|our key'
if [ "$(n_events est.refused)" -ge 7 ]; then ok "one each"; else not_ok "only $(n_events est.refused)"; fi
is_online "the link is up all the time"
is "nothing of the refused is left" "$(lab_as agentd find "$KEYS" -name '*.next.*' | wc -l)" 0
BEFORE=$(not_after)
: > "$EST/requests"
mode wait:1
succeeds "somebody asks for another" wait_for 20 ctl enrol renew
renewed "the server says 202 with Retry-After: asked again, then in use" "$BEFORE"
is "with the same request: it answered 202 once" "$(grep -c 'simplereenroll .* 202' "$EST/requests")" 1
mode busy:1
BEFORE=$(not_after)
ctl enrol renew > /dev/null
busy() { [ "$(grep -c 'simplereenroll .* 503' "$EST/requests")" -ge 2 ]; }
if wait_for 20 busy; then ok "503 with Retry-After: asked again"; else not_ok "503: $(cat "$EST/requests")"; fi
mode ok
renewed "until it has time" "$BEFORE"

# ---- the factory's certificate: for a device that was off for too long, and for one that has no other ------------------------
lab_agent_stop
device_cert -$DAY $((3650 * DAY))
cp "$LAB/trust/broker/device.pem" "$LAB/trust/est/factory.pem"
rescued() { [ "$(status | jq -r '.not_after // 0')" -gt "$(date +%s)" ]; }
from_factory() { # CAUSE "what"
  lab_as agentd rm -f "$KEYS/device.crt" "$KEYS/rotation" "$KEYS/est"
  : > "$EST/requests"
  lab_agent_start
  if wait_for 40 rescued; then ok "$2 comes back with the certificate of the factory"; else not_ok "$2: $(status) $(cat "$EST/requests")"; fi
  is_online "$2 is online"
  becomes "and all is quiet" idle
  like "the server saw a new enrolment, by mTLS" "$(cat "$EST/requests")" "simpleenroll $LAB_SERIAL 200"
  like "that is what the event says" "$(events est.begun | jq -c last)" "\"cause\":\"$1\".*\"identity\":\"factory\""
  is "the key is the one of before" "$(fingerprint)" "$KEY"
  lab_agent_stop
}
device_cert $((-400 * DAY)) $((-10 * DAY))
from_factory expired "a device whose certificate has expired"
rm "$LAB/trust/broker/device.pem"
from_factory first "a device without a certificate of its own"
rm "$LAB/trust/est/factory.pem"
lab_agent_start
is_online "the link is up with what was enrolled"

# ---- the live connection decides ---------------------------------------------------------------------------------------
BEFORE=$(not_after)
lab_broker_stop
ctl enrol renew --new-key > /dev/null
becomes "the broker is away: a new pair is on trial" proving
is "the old one is the one in use" "$(not_after) $(fingerprint)" "$BEFORE $KEY"
kill -9 "$(cat "$RUN/pids/agentd")"
wait_for 20 lab_healthy
becomes "also after kill -9 of core" proving
lab_broker_start
renewed "the broker is back: the new pair is in use" "$BEFORE"
fails "with another key" test "$(fingerprint)" = "$KEY"
is_online "the link is up"

# ---- a new key whose certificate is refused ------------------------------------------------------------------------------
BEFORE=$(not_after) KEY=$(fingerprint)
mode otherkey
: > "$EST/asked"
ctl enrol renew --new-key > /dev/null
anew() { [ "$(sort -u "$EST/asked" | wc -l)" -ge 2 ]; }
if wait_for 30 anew; then ok "the request that was refused is made anew"; else not_ok "asked with: $(cat "$EST/asked"), $(status)"; fi
is "the old pair is the one in use" "$(not_after) $(fingerprint)" "$BEFORE $KEY"
mode wait:1
renewed "what the server puts off and then issues is in use" "$BEFORE"
is "with the same request" "$(tail -n 2 "$EST/asked" | sort -u | wc -l)" 1
mode ok

# ---- the TPM is slow ---------------------------------------------------------------------------------------------------
BEFORE=$(not_after)
kill -STOP "$TPM_PID"
ctl enrol renew > /dev/null
like "while the TPM does not answer core does" "$(state)" 'asking|waiting'
sleep 3
kill -CONT "$TPM_PID"
renewed "and the renewal goes on" "$BEFORE"

# ---- too late: a device that was off for too long -----------------------------------------------------------------------
lab_agent_stop
lab_as agentd rm -f "$KEYS/device.crt" "$KEYS/rotation" "$KEYS/est"
# The key was changed above: a request for the new one, signed by the agent, gives the certificate that is over.
mqtt_off() { sed -i '/^est:/d' "$LAB/etc/agentd.conf.d/test.conf"; }
cp "$LAB/etc/agentd.conf.d/test.conf" "$LAB/test.conf"
mqtt_off
lab_agent_start
ctl key csr device --subject "CN=$LAB_SERIAL,O=Demo" --out "$LAB/again.csr" > /dev/null
lab_agent_stop
cp "$LAB/again.csr" "$LAB/state/device.csr"
device_cert $((-400 * DAY)) $((-10 * DAY))
cp "$LAB/test.conf" "$LAB/etc/agentd.conf.d/test.conf"
: > "$EST/requests"
lab_agent_start
expired_reason() { events cert.expiring | grep -q '"left":"none"'; }
if wait_for 20 expired_reason; then ok "an expired certificate is an event"; else not_ok "no event: $(events cert.expiring)"; fi
like "a secret that is none" "$(printf 'nocolon\n' | ctl enrol secret --stdin 2>&1)" 'USER:PASSWORD'
echo "rescue:walnut 93" > "$EST/basic"
printf 'rescue:walnut 92\n' | ctl enrol secret --stdin > /dev/null
is "the secret waits" "$(status | jq .has_secret)" true
wrong() { grep -q 'simpleenroll basic 401' "$EST/requests"; }
if wait_for 20 wrong; then ok "a wrong secret is refused by the server"; else not_ok "wrong secret: $(cat "$EST/requests")"; fi
fails "it is nowhere in clear" grep -rq 'walnut 9' "$LAB/state" "$LAB/link" "$LAB/log"
printf 'rescue:walnut 93\n' | ctl enrol secret --stdin > /dev/null
valid() { [ "$(status | jq -r '.not_after // 0')" -gt "$(date +%s)" ]; }
if wait_for 40 valid; then ok "the right one brings a certificate"; else not_ok "rescue: $(status) $(cat "$EST/requests")"; fi
is_online "and the device is back"
becomes "all is quiet" idle
is "the secret is wiped" "$(status | jq .has_secret) $(lab_as agentd ls "$KEYS" | grep -c 'est.secret')" "false 0"
like "which is an event" "$(events est.secret)" '"action":"wiped"'

done_testing
