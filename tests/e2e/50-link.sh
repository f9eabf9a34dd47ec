#!/usr/bin/env bash
# shellcheck disable=SC2119,SC2317,SC2015
# agentd-link with a real broker: telemetry with the TPM key, reconnects, and every refusal with its reason.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto mosquitto_sub openssl jq
lab_up
TOPIC=devices/$LAB_SERIAL

link_state() { api GET /v1/status | jq -r '.link_state + " " + (.link_detail // "")'; }
state_is() { link_state | grep -qE -- "$1"; }
shows() { # "what" PATTERN
  if wait_for 20 state_is "$2"; then ok "$1"; else not_ok "$1: $(link_state)"; fi
}
online() { wait_for 20 state_is '^online'; }
# The connection as it is now is of no use any more: the next attempt meets what was changed.
drop_broker() { kill -9 "$BROKER_PID"; wait "$BROKER_PID" 2> /dev/null; BROKER_PID=; }
# A TLS server of our own on the broker's port.
serve_tls() {
  openssl s_server -accept "127.0.0.1:$BROKER_PORT" -quiet "$@" < /dev/zero > "$LAB/log/s_server.out" 2>&1 &
  BROKER_PID=$!
}

# The owner's first step, over the API.
activate() {
  local token
  token=$(api POST /v1/session -H 'Content-Type: application/json' -d "{\"user\":\"admin\",\"password\":\"$FACTORY_SECRET\"}" | jq -r .token)
  api PUT /v1/credentials/admin -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
    -d "{\"new\":\"$OWNER_PASSWORD\"}" > "$LAB/out"
  [ "$(cat "$LAB/api.status")" = 200 ] || not_ok "setting the password: $(cat "$LAB/out")"
}

sleep 1
if grep -q 'New client connected' "$BROKER_LOG"; then not_ok "no connection before the password is set"; else ok "no connection before the password is set"; fi
activate
message=$(lab_subscribe "$TOPIC/telemetry" 1 20)
like "telemetry arrives" "$message" "^$TOPIC/telemetry \{.*\"serial\":\"$LAB_SERIAL\""
json=${message#* }
is "it is JSON with the agent's version" "$(jq -r .version <<< "$json")" "$("$AGENTD" --version | cut -d' ' -f2)"
like "and a sequence number" "$(jq -r .seq <<< "$json")" '^[0-9]+$'
is "the retained state is online" "$(lab_subscribe "$TOPIC/state" 1 10)" "$TOPIC/state online"
like "the broker names the client by its certificate" "$(cat "$BROKER_LOG")" "New client connected .* as $LAB_SERIAL .*u'$LAB_SERIAL'"
shows "status shows the last round trip" 'online last round trip [0-9]+ ms'
two=$(lab_subscribe "$TOPIC/telemetry" 2 20 | sed 's/^[^ ]* //' | jq -s '.[1].seq - .[0].seq')
is "telemetry goes on, one by one" "$two" 1

drop_broker
shows "a killed broker is noticed" '^(waiting|connecting) .*mqtt\.'
lab_broker_start
# What was measured meanwhile comes first.
telemetry_has() { lab_subscribe "$TOPIC/telemetry" 1 20 | grep -q -- "$1"; }
succeeds "the link comes back by itself" wait_for 30 telemetry_has '"connects":2'

LINK_PID=$(cat "$RUN/pids/agentd-link")
lab_subscribe "$TOPIC/state" 3 30 > "$LAB/states" &
SUB_PID=$!
wait_for 10 test -s "$LAB/states"
kill -9 "$LINK_PID"
wait "$SUB_PID"
is "a killed agentd-link is announced by the broker and comes back" "$(tr '\n' ' ' < "$LAB/states")" "$TOPIC/state online $TOPIC/state offline $TOPIC/state online "
lab_subscribe "$TOPIC/state" 3 30 > "$LAB/states.2" &
SUB_PID=$!
wait_for 10 test -s "$LAB/states.2"
kill -TERM "$(cat "$RUN/pids/agentd-link")"
wait "$SUB_PID"
is "one that ends says goodbye itself" "$(tr '\n' ' ' < "$LAB/states.2")" "$TOPIC/state online $TOPIC/state offline $TOPIC/state online "
online || not_ok "online again: $(link_state)"

# Core goes and comes: the link stays up, and the next handshake finds the new core.
CONNECTED=$(grep -c "New client connected .*u'$LAB_SERIAL'" "$BROKER_LOG")
kill -9 "$(cat "$RUN/pids/agentd")"
wait_for 20 lab_healthy
is "a killed agentd does not take the link down" "$(grep -c "New client connected .*u'$LAB_SERIAL'" "$BROKER_LOG")" "$CONNECTED"
drop_broker
lab_broker_start
like "and the next handshake is signed by its successor" "$(lab_subscribe "$TOPIC/telemetry" 1 30)" "$LAB_SERIAL"

# Refusals. Files are replaced by rename, as a person or a tool would.
put_file() { cp "$1" "$2.new" && chmod 644 "$2.new" && mv "$2.new" "$2"; }
drop_broker
put_file "$PKI/other-ca.pem" "$LAB/trust/broker/ca.pem"
lab_broker_start
shows "a broker of another CA is refused" 'does not lead to our trust anchors.*tls\.issuer'
put_file "$PKI/broker-ca.pem" "$LAB/trust/broker/ca.pem"
online && ok "the right CA file works without a restart" || not_ok "the right CA file works without a restart: $(link_state)"

drop_broker
mv "$LAB/trust/broker/device.pem" "$LAB/device.pem"
lab_broker_start
shows "a missing certificate is named" "device\\.pem.*file\\.open"
put_file "$PKI/operator.pem" "$LAB/trust/broker/device.pem"
shows "a certificate for another key is named" 'another key.*tls\.key'
put_file "$LAB/device.pem" "$LAB/trust/broker/device.pem"
online && ok "the right one is picked up" || not_ok "the right one is picked up: $(link_state)"

drop_broker
lab_leaf broker-ca elsewhere "/CN=elsewhere" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:elsewhere.test'
serve_tls -cert "$PKI/elsewhere.pem" -key "$PKI/elsewhere.key" -tls1_3
shows "a broker with another name is refused" 'certificate is for elsewhere\.test, not for localhost.*tls\.name'
drop_broker
serve_tls -cert "$PKI/broker.pem" -key "$PKI/broker.key" -tls1_2
shows "a broker with TLS 1.2 only is refused" 'tls\.version'
drop_broker
lab_leaf broker-ca clientish "/CN=localhost" $'extendedKeyUsage=clientAuth\nsubjectAltName=DNS:localhost'
serve_tls -cert "$PKI/clientish.pem" -key "$PKI/clientish.key" -tls1_3
shows "a client's certificate does not make a broker" 'tls\.purpose'
drop_broker
serve_tls -cert "$PKI/broker.pem" -key "$PKI/broker.key" -tls1_3 -Verify 2 -verify_return_error -CAfile "$PKI/other-ca.pem"
shows "a broker that refuses our certificate is quoted" 'refused our certificate: unknown CA.*tls\.alert'
drop_broker
# The TPM is gone: the key, not the broker, is named.
lab_tpm_stop
serve_tls -cert "$PKI/broker.pem" -key "$PKI/broker.key" -tls1_3 -Verify 2 -CAfile "$PKI/device-ca.pem"
shows "a lost TPM is named, not the broker" 'our key did not sign the handshake'
lab_tpm_start
drop_broker
lab_broker_start
online && ok "with the TPM back the link comes back" || not_ok "with the TPM back the link comes back: $(link_state)"
is "agentd-link was never restarted by a failure" "$(grep -c 'agentd-link.*watchdog' "$AGENT_LOG")" 0
done_testing
