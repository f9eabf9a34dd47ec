#!/usr/bin/env bash
# What agentd-link does while others fail: a TPM that signs slowly, one that is gone, a subscriber that is dead. Queues take, commands answer,
# nobody is restarted, and the connection comes back by itself.
#   LINK_TPM_GONE_S=60 LINK_DEAD=1 tests/run.sh e2e tests/e2e/52-link-faults.sh    the full lengths; by default the TPM is gone for 8 s only
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2120,SC2317,SC2088
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto mosquitto_pub jq curl pkg-config make "${CC:-cc}"
FAULT=$BUILD/.libs/libtss2-tcti-fault.so
[ -e "$FAULT" ] || { echo "SKIP: $FAULT is not built (make check TESTS=)"; exit 77; }
GONE_S=${LINK_TPM_GONE_S:-8}
CHILDREN=
at_end() { local code=$?; for p in $CHILDREN; do kill "$p" 2> /dev/null; done; (exit "$code"); e2e_end; }
trap at_end EXIT

APP=$LAB/app
example_make "$APP" link-app || exit 1
app() { timeout 100 "$APP/link-app" -s "$RUN/link.sock" "$@"; }

lab_users; lab_make; lab_pki; lab_slots; lab_tpm_start
RULES=$LAB/state/faults SIGN=15d ME=$(id -u)
lab_config "mqtt: { queues = [ \"alarms topic=alarms/# loss_messages=1 priority=9 size_kib=512\" ];
  rights = [ \"publish uid:$ME ~/#\", \"publish uid:$ME alarms/#\", \"subscribe uid:$ME ~/in/#\" ]; app_calls_per_s = 10000; };"
sed -i "s|^tpm: .*|tpm: { tcti = \"$FAULT:$RULES@$TCTI\"; };|" "$CONF"
rules() { printf '%s\n' "$@" > "$RULES.new"; chmod 644 "$RULES.new"; mv "$RULES.new" "$RULES"; }
lab_provision
lab_broker_start
lab_agent_start
set_password
online() { ctl --json status | jq -e '.link_state == "online"'; }
not_online() { ! online; }
succeeds "the link comes up" wait_for 30 online
PIDS=$(cat "$RUN"/pids/{agentd,agentd-link})
drop_broker() { kill -9 "$BROKER_PID"; wait "$BROKER_PID" 2> /dev/null; BROKER_PID=; }
now_ms() { date +%s%3N; }
P=devices/$LAB_SERIAL
arrives() { # "what" FILE FIRST LAST: what was acknowledged meanwhile is at the broker
  if wait_for 60 eval '[ "$(grep -o " [0-9]*:" "'"$2"'" | tr -d " :" | sort -n -u | tr "\n" " ")" = "$(seq -s " " '"$3 $4"') " ]'; then
    ok "$1"
  else
    not_ok "$1: $(cut -c1-60 "$2" | tail -n 3)"
  fi
}
# The reader has to be there first: it waits for the broker like everybody else.
listen_to() { # TOPIC FILE
  : > "$2"
  mosquitto_sub -h localhost -p "$BROKER_PORT" --cafile "$PKI/broker-ca.pem" --cert "$PKI/operator.pem" --key "$PKI/operator.key" \
    --tls-version tlsv1.3 -t "$1" -q 1 -v >> "$2" 2> /dev/null &
  CHILDREN="$CHILDREN $!"
  wait_for 20 eval 'grep -q "operator.*'"$1"'\|'"$1"'.*QoS" "$BROKER_LOG"'
}
commands_answer() { [ "$(ctl --json status | jq -r .setup)" != null ] && ctl queue list && ctl tpm status; }

# ---- a signature of 5 s
drop_broker
succeeds "a killed broker is noticed" wait_for 30 not_online
rules "$SIGN delay=5000"
lab_broker_start
listen_to 'alarms/slow' "$LAB/slow"
wait_for 20 eval 'ctl --json status | jq -e ".link_state == \"connecting\""'
succeeds "while the TPM signs for 5 s messages are acknowledged" app publish alarms/slow 1 50
succeeds "and commands answer" commands_answer
succeeds "the connection comes up with slow signatures" wait_for 60 online
arrives "what was acknowledged meanwhile arrives" "$LAB/slow" 1 50
rm -f "$RULES"

# ---- no TPM at all
lab_tpm_stop
drop_broker
wait_for 30 not_online
lab_broker_start
listen_to "$P/gone" "$LAB/gone"
begun=$(now_ms) n=0 n_bad=0
while [ $(($(now_ms) - begun)) -lt $((GONE_S * 1000)) ]; do
  n=$((n + 1))
  app publish "~/gone" $n $n > /dev/null 2>> "$LAB/pub.err" || n_bad=$((n_bad + 1))
  ctl --json status > /dev/null && ctl queue list > /dev/null || n_bad=$((n_bad + 1))
  sleep 0.2
done
is "without a TPM for $GONE_S s each of $n messages is acknowledged, and each command answered" "$n_bad$(cat "$LAB/pub.err")" 0
succeeds "  the link says that it is the TPM" wait_for 30 eval 'ctl --json status | jq -r .link_detail | grep -i tpm'
lab_tpm_start
succeeds "with the TPM back the connection comes up by itself" wait_for 90 online
arrives "what was acknowledged meanwhile arrives" "$LAB/gone" 1 $n
is "nobody was restarted" "$(cat "$RUN"/pids/{agentd,agentd-link})" "$PIDS"

# ---- core starts again without its TPM: it cannot tell whether there is an owner, and what ran before goes on
listen_to 'alarms/again' "$LAB/again"
lab_tpm_stop
kill -9 "$(cat "$RUN/pids/agentd")"
no_tpm() { ctl --json status | jq -e '.setup == "unavailable" and .link_state == "online"'; }
succeeds "core without a TPM leaves the connection alone" wait_for 60 no_tpm
succeeds "  which takes messages" app publish alarms/again 1 5
kill -9 "$(cat "$RUN/pids/agentd-link")"
blames_tpm() { ctl --json status | jq -r .link_detail | grep 'the TPM does not answer'; }
succeeds "agentd-link that starts meanwhile waits, and blames the TPM and not the owner" wait_for 60 blames_tpm
lab_tpm_start
succeeds "with the TPM back it connects" wait_for 90 online
arrives "and all of it arrived" "$LAB/again" 1 5

# ---- a subscriber that is dead
if [ -n "${LINK_DEAD:-}" ]; then
  operator() { mosquitto_pub -h localhost -p "$BROKER_PORT" --cafile "$PKI/broker-ca.pem" --cert "$PKI/operator.pem" --key "$PKI/operator.key" \
    --tls-version tlsv1.3 -q 1 "$@"; }
  head -c 60000 /dev/zero | tr '\0' x > "$LAB/long"
  "$APP/link-app" -s "$RUN/link.sock" sleep "~/in/#" 200 > "$LAB/sleeper" 2>&1 &
  CHILDREN="$CHILDREN $!"
  wait_for 20 grep -q subscribed "$LAB/sleeper"
  wait_for 20 grep -q "$P/in/#" "$BROKER_LOG"
  begun=$SECONDS
  for _ in 1 2 3 4 5; do operator -t "$P/in/flood" -f "$LAB/long"; done
  succeeds "a subscriber that fetches nothing is cut off" wait_for 120 grep -q 'is cut off: it subscribed and fetches no messages' "$AGENT_LOG"
  took=$((SECONDS - begun))
  [ "$took" -ge 60 ] && ok "  after $took s, not before a minute" || not_ok "  after $took s already"
fi
done_testing
