#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The key of the broker connection and its certificate are replaced while everything runs: proved on a live handshake with a
# real broker, taken back when the broker refuses, cut off at every step by kill -9, and always with one pair that works.
# More of the same: ROTATION_CUTS="0 1 2 3 4" ROTATION_KILLS="0 0.02 0.05 0.1 0.15 0.2 0.3 0.5" (3 minutes)
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2317,SC2015
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto mosquitto_sub openssl curl jq
lab_up
set_password

KEYS=$LAB/state/keys
events() { ctl events --json | jq -cs "map(select(.name == \"$1\"))"; }
state() { ctl --json key rotate device --status 2> /dev/null | jq -r '.state'; }
reason() { ctl --json key rotate device --status | jq -r '.reason // ""'; }
state_is() { [ "$(state)" = "$1" ]; }
fingerprint() { ctl --json key list | jq -r '.keys[] | select(.name == "device").fingerprint'; }
online() { [ "$(api GET /v1/status | jq -r .link_state)" = online ]; }
is_online() { if wait_for 20 online; then ok "$1"; else not_ok "$1: $(api GET /v1/status | jq -c '[.link_state, .link_detail]')"; fi; }
becomes() { if wait_for "${3:-20}" state_is "$2"; then ok "$1"; else not_ok "$1: $(state) $(reason)"; fi; }
# What the other programs remember would be lost if they were started again.
pids() { cat "$RUN"/pids/agentd "$RUN"/pids/agentd-link "$RUN"/pids/agentd-mgmt | tr '\n' ' '; }
connects() { grep -c "New client connected .* as $LAB_SERIAL" "$BROKER_LOG"; }
issue() { # CSR OUT [CA [extension lines [openssl x509 options]]]
  printf '%s\n' "${4:-extendedKeyUsage=clientAuth}" > "$LAB/issue.ext"
  openssl x509 -req -in "$1" -CA "$PKI/${3:-device-ca}.pem" -CAkey "$PKI/${3:-device-ca}.key" -CAcreateserial -days 30 -extfile "$LAB/issue.ext" \
    -out "$2" "${@:5}" 2> "$LAB/issue.err" || not_ok "the CA did not sign: $(cat "$LAB/issue.err")"
}
spki_of() { openssl req -in "$1" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1; }
leftovers() { lab_as agentd find "$KEYS" -name '*.next.*' | wc -l; }
rotate() { ctl key rotate device --subject "CN=$LAB_SERIAL,O=Demo" --out "$1"; }

# ---- refusals before anything happens ------------------------------------------------------
is_online "the link is up with the first key"
is "there never was a rotation" "$(state)" none
FIRST=$(fingerprint) PIDS=$(pids)
exits "rotate wants to know what to do" 2 ctl key rotate device
like "another key has nobody who would prove it" "$(ctl key rotate device-ca --subject CN=x 2>&1)" 'nobody would prove'
exits "a type that is none" 1 ctl key rotate device --subject CN=x --type dsa
like "nothing to abort" "$(ctl key rotate device --abort 2>&1)" 'no rotation'
like "a subject that is none: no rotation begins" "$(ctl key rotate device --subject nonsense 2>&1; state)" 'failed'
is "and leaves nothing" "$(leftovers)" 0

# ---- the whole way ---------------------------------------------------------------------------
succeeds "a new key is made beside the old one" rotate "$LAB/new.csr"
is "it waits for its certificate" "$(state)" waiting-for-certificate
succeeds "the request verifies" openssl req -in "$LAB/new.csr" -noout -verify
is "the old key is the one in use" "$(fingerprint)" "$FIRST"
fails "the request is for another one" test "$(spki_of "$LAB/new.csr")" = "$FIRST"
is "the list shows one key device" "$(ctl --json key list | jq '[.keys[].name | select(startswith("device"))] | length')" 2
like "a second rotation has to wait" "$(rotate "$LAB/x.csr" 2>&1)" 'is being rotated'
succeeds "the request can be had again" ctl key rotate device --status --out "$LAB/again.csr"
succeeds "and is the same" cmp "$LAB/new.csr" "$LAB/again.csr"
fails "no application and no person can name the new key" ctl key csr device.next --subject CN=x
issue "$LAB/state/device.csr" "$LAB/wrong.pem"
issue "$LAB/new.csr" "$LAB/server.pem" device-ca extendedKeyUsage=serverAuth
faketime_expired() { openssl x509 -req -in "$LAB/new.csr" -CA "$PKI/device-ca.pem" -CAkey "$PKI/device-ca.key" -days -1 -out "$LAB/expired.pem" 2> /dev/null; }
faketime_expired
like "a certificate for the old key is refused" "$(ctl key certificate device < "$LAB/wrong.pem" 2>&1)" 'for another key'
like "one for servers" "$(ctl key certificate device < "$LAB/server.pem" 2>&1)" 'TLS clients'
like "one that has expired" "$(ctl key certificate device < "$LAB/expired.pem" 2>&1)" 'expired'
like "none" "$(ctl key certificate device < "$LAB/new.csr" 2>&1)" 'no certificate'
exits "nothing at all" 2 ctl key certificate device < /dev/null
is "it still waits" "$(state)" waiting-for-certificate
issue "$LAB/new.csr" "$LAB/new.pem"
cat "$LAB/new.pem" "$PKI/device-ca.pem" > "$LAB/chain.pem"
BEFORE=$(connects)
lab_subscribe "devices/$LAB_SERIAL/telemetry" 1 20 > "$LAB/t1"
succeeds "the new certificate arrives" ctl key certificate device < "$LAB/chain.pem"
becomes "it proves itself and takes the place of the old one" 'done'
is "the key in use is the new one" "$(fingerprint)" "$(spki_of "$LAB/new.csr")"
is "by one new connection" "$(connects)" $((BEFORE + 1))
is_online "the link is up"
is "no program was started again" "$(pids)" "$PIDS"
lab_subscribe "devices/$LAB_SERIAL/telemetry" 1 20 > "$LAB/t2"
is "agentd-link counted on" "$(($(sed 's/^[^ ]* //' "$LAB/t2" | jq .seq) > $(sed 's/^[^ ]* //' "$LAB/t1" | jq .seq)))" 1
is "nothing of the new name is left" "$(leftovers)" 0
like "the events say so" "$(events key.rotation_begun; events key.rotated)" '"key":"device"'
is "the certificate is with the key, for agentd alone" "$(lab_as agentd stat -c %a "$KEYS/device.crt")" 600
kill -9 "$BROKER_PID"; wait "$BROKER_PID" 2> /dev/null; BROKER_PID=
lab_broker_start
is_online "the next handshake is made with the new pair, too"
LINK_PID=$(cat "$RUN/pids/agentd-link")
kill -9 "$LINK_PID"
wait_for 10 bash -c "[ -s '$RUN/pids/agentd-link' ] && ! [ '$LINK_PID' = \"\$(cat '$RUN/pids/agentd-link')\" ]"
is_online "and by a new agentd-link"
lab_agent_stop; lab_agent_start
is_online "and after a restart of everything"
like "the second time is as the first" "$(rotate "$LAB/new.csr" && ctl key rotate device --abort)" 'failed'
is_online "aborted: the link stays up"

# ---- the broker refuses -----------------------------------------------------------------------
NOW=$(fingerprint)
rotate "$LAB/new.csr"
issue "$LAB/new.csr" "$LAB/stranger.pem" other-ca
succeeds "a certificate that the broker does not trust" ctl key certificate device < "$LAB/stranger.pem"
becomes "the rotation fails" failed
like "and says what the broker said" "$(reason)" 'alert|unknown|refused'
is_online "the old pair is in use"
is "the key is the old one" "$(fingerprint)" "$NOW"
is "the new one is gone" "$(leftovers)" 0
like "the event says so" "$(events key.rotation_failed)" '"reason":".*(alert|unknown|refused)'

# ---- other types, renewal -----------------------------------------------------------------------
go() { # "what" [rotate options]
  local what=$1
  shift
  ctl key rotate device --subject "CN=$LAB_SERIAL" --out "$LAB/new.csr" "$@" > "$LAB/out" 2>&1 || not_ok "$what: $(cat "$LAB/out")"
  issue "$LAB/new.csr" "$LAB/new.pem"
  ctl key certificate device < "$LAB/new.pem" > "$LAB/out" 2>&1 || not_ok "$what: $(cat "$LAB/out")"
  becomes "$what" 'done'
}
go "from EC to RSA" --type rsa-2048
is "which the list shows" "$(ctl --json key list | jq -r '.keys[] | select(.name == "device").type')" rsa-2048
is_online "the link is up"
go "and back" --type ec-p384
is_online "the link is up"
NOW=$(fingerprint)
ctl key csr device --subject "CN=$LAB_SERIAL" --out "$LAB/renew.csr" > /dev/null
issue "$LAB/renew.csr" "$LAB/renew.pem"
succeeds "a new certificate for the key in use" ctl key certificate device < "$LAB/renew.pem"
becomes "is tried and put in place" 'done'
is "for the same key" "$(fingerprint) $(ctl --json key rotate device --status | jq .renewal)" "$NOW true"
issue "$LAB/renew.csr" "$LAB/stranger.pem" other-ca
ctl key certificate device < "$LAB/stranger.pem" > /dev/null
becomes "a renewal that the broker refuses fails" failed
is_online "the link is up with the certificate before"
succeeds "rights that change meanwhile" rotate "$LAB/new.csr"
succeeds "are given" ctl key allow device uid:4711
issue "$LAB/new.csr" "$LAB/new.pem"
ctl key certificate device < "$LAB/new.pem" > /dev/null
becomes "and count for the new key" 'done'
like "too" "$(lab_as agentd cat "$KEYS/device.meta")" '^caller uid:4711 tls-client'

# ---- no broker: nothing is decided, and nothing lost ----------------------------------------------
rotate "$LAB/new.csr"
issue "$LAB/new.csr" "$LAB/new.pem"
lab_broker_stop
succeeds "a certificate while the broker is away" ctl key certificate device < "$LAB/new.pem"
sleep 1
is "is on trial" "$(state)" proving
kill -9 "$(cat "$RUN/pids/agentd")" "$(cat "$RUN/pids/agentd-link")"
wait_for 20 lab_healthy
is "also after kill -9 of core and link" "$(state)" proving
lab_broker_start
becomes "the broker is back: in place" 'done' 30
is_online "and in use"
NOW=$(fingerprint)
is "which is the new one" "$NOW" "$(spki_of "$LAB/new.csr")"
rotate "$LAB/new.csr"
kill -9 "$(cat "$RUN/pids/agentd")"
wait_for 20 lab_healthy
is "kill -9 while it waits" "$(state)" waiting-for-certificate
ctl key rotate device --status --out "$LAB/again.csr"
succeeds "the request is the same" cmp "$LAB/new.csr" "$LAB/again.csr"

# ---- power cuts in the middle of what is not one step -----------------------------------------------
journal() { lab_as agentd sed -i "s/^state .*/state $1/" "$KEYS/rotation"; }
issue "$LAB/new.csr" "$LAB/new.pem"
for n in ${ROTATION_CUTS:-0 2 4}; do # so many of the five files have their new name already
  if [ "$n" != 0 ]; then
    rotate "$LAB/new.csr"
    issue "$LAB/new.csr" "$LAB/new.pem"
  fi
  lab_broker_stop
  ctl key certificate device < "$LAB/new.pem" > "$LAB/out" 2>&1 || not_ok "certificate: $(cat "$LAB/out")"
  lab_agent_stop
  journal committing
  i=0
  for part in pem auth meta csr crt; do
    [ "$i" -lt "$n" ] || break
    case $part in
    csr) lab_as agentd rm "$KEYS/device.next.csr" ;;
    *) lab_as agentd mv "$KEYS/device.next.$part" "$KEYS/device.$part" ;;
    esac
    i=$((i + 1))
  done
  lab_broker_start
  lab_agent_start
  is "cut off after $n of its files: done at the next start" "$(state) $(leftovers)" 'done 0'
  is_online "with the new pair"
  is "which it is" "$(fingerprint)" "$(spki_of "$LAB/new.csr")"
done
NOW=$(fingerprint)
rotate "$LAB/new.csr"
lab_agent_stop
journal aborting
lab_as agentd rm "$KEYS/device.next.pem"
lab_agent_start
is "an abort that was cut off is finished" "$(state) $(leftovers)" 'failed 0'
rotate "$LAB/new.csr"
lab_agent_stop
journal making-key
lab_as agentd rm "$KEYS/device.next.meta"
lab_agent_start
is "a making that was cut off is given up" "$(state) $(leftovers)" 'failed 0'
like "and says so" "$(reason)" 'begin again'
is "the key is the old one" "$(fingerprint)" "$NOW"
is_online "and in use"
# Anywhere: kill core while it makes the key, takes the certificate and changes the files.
for delay in ${ROTATION_KILLS:-0.05 0.2}; do
  PID=$(cat "$RUN/pids/agentd")
  (sleep "$delay"; kill -9 "$PID") 2> /dev/null &
  rotate "$LAB/new.csr" > /dev/null 2>&1 && issue "$LAB/new.csr" "$LAB/new.pem" && ctl key certificate device < "$LAB/new.pem" > /dev/null 2>&1
  wait $!
  wait_for 20 lab_healthy
  wait_for 20 bash -c "! [ '$PID' = \"\$(cat '$RUN/pids/agentd')\" ]"
  settled() { case $(state) in none | done | failed | waiting-for-certificate) ;; *) false ;; esac; }
  wait_for 20 settled || not_ok "kill -9 after $delay s: $(state)"
  [ "$(state)" != waiting-for-certificate ] || ctl key rotate device --abort > /dev/null
  kill -9 "$BROKER_PID"; wait "$BROKER_PID" 2> /dev/null; BROKER_PID=
  lab_broker_start
  is_online "kill -9 of core after $delay s: $(state), and a pair that works"
  is "nothing is left over" "$(leftovers)" 0
done
go "a rotation after all that"

# ---- damaged journal -----------------------------------------------------------------------------------
lab_agent_stop
lab_as agentd sed -i 's/^state .*/state everywhere/' "$KEYS/rotation"
lab_agent_start
is_online "a damaged journal does not take the link down"
like "it is said" "$(ctl key rotate device --status 2>&1)" 'damaged'
like "and no rotation begins over it" "$(rotate "$LAB/x.csr" 2>&1)" 'damaged'
lab_as agentd rm "$KEYS/rotation"
go "removed: it goes on"

# ---- agentd-fetch uses the same pair -------------------------------------------------------------------
PORT=$(lab_free_port)
mkdir -p "$LAB/www"
printf 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' > "$LAB/www/x.swu"
cd "$LAB/www" || exit 1
openssl s_server -accept "127.0.0.1:$PORT" -HTTP -naccept 20 -cert "$PKI/broker.pem" -key "$PKI/broker.key" -CAfile "$PKI/device-ca.pem" -Verify 3 \
  -verify_return_error < /dev/null > "$LAB/log/s_server.out" 2>&1 &
SERVER_PID=$!
cd "$LAB" || exit 1
trap 'kill $SERVER_PID 2> /dev/null; e2e_end' EXIT
wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$PORT"
id=$(api POST /v1/update/fetch -H 'Content-Type: application/json' -d "{\"url\":\"https://localhost:$PORT/x.swu\"}" | jq -r .id)
ended() { api GET /v1/update | jq -e --argjson id "$id" '.id == $id and (.error_name // "") != ""'; }
wait_for 20 ended
like "a server that wants the certificate takes the new one" "$(api GET /v1/update | jq -r '.error_name + " " + .error')" 'fetch.http .*404'
done_testing
