#!/usr/bin/env bash
# A broker that keeps the connection and brings nothing back is deaf: found, left, tried again, and no reason to confirm a release. What is not our own canary of
# this connection does not count. Subscriptions come back after each kind of restart, and programs hear where something may be missing.
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2120,SC2317,SC2088
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto mosquitto_pub mosquitto_sub cpio jq curl python3 pkg-config make "${CC:-cc}"

APP=$LAB/app
example_make "$APP" link-app || exit 1
app() { timeout 60 "$APP/link-app" -s "$RUN/link.sock" "$@"; }
said() { "$@" 2>&1; }

P=devices/$LAB_SERIAL ME=$(id -u)
CHILDREN=
at_end() {
  local code=$?
  [ -z "${BROKER_PID:-}" ] || kill -CONT "$BROKER_PID" 2> /dev/null
  for p in $CHILDREN; do kill "$p" 2> /dev/null; done
  (exit "$code"); e2e_end
}
trap at_end EXIT

# ---- a broker whose access list changes while it runs
acl() { # RIGHT: what the device may do with its canary
  {
    printf 'user operator\ntopic readwrite #\nuser %s\n' "$LAB_SERIAL"
    printf 'topic %s\n' "readwrite $P/state" "write $P/telemetry" "readwrite $P/in/#" "write $P/out/#"
    [ "$1" = none ] || printf 'topic %s %s/canary\n' "$1" "$P"
  } > "$LAB/etc/acl.new"
  chmod 644 "$LAB/etc/acl.new"
  mv "$LAB/etc/acl.new" "$LAB/etc/acl"
  [ -z "${BROKER_PID:-}" ] || kill -HUP "$BROKER_PID"
}
broker_start() {
  mosquitto -c "$LAB/etc/live.conf" > "$LAB/log/mosquitto.out" 2>&1 &
  BROKER_PID=$!
  wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$BROKER_PORT" || lab_fail "mosquitto did not start"
}
operator() { "mosquitto_$1" -h localhost -p "$BROKER_PORT" --cafile "$PKI/broker-ca.pem" --cert "$PKI/operator.pem" --key "$PKI/operator.key" --tls-version tlsv1.3 -q 1 "${@:2}"; }

lab_users; lab_make; lab_pki; lab_slots; lab_tpm_start
# 3.1.1, where a broker cannot even say that it throws a message away. No telemetry but the first, so that only canaries come and go.
lab_config "mqtt: { version = \"3.1.1\"; canary_s = 2; canary_timeout_s = 2; telemetry_s = 3600; backoff_max_ms = 1000;
    rights = [ \"publish uid:$ME ~/#\", \"subscribe uid:$ME ~/#\" ]; };
  health: { deadline_s = 8; };"
lab_provision
lab_broker_start
lab_broker_stop
sed "\$a acl_file $LAB/etc/acl" "$LAB/etc/mosquitto.conf" > "$LAB/etc/live.conf"
acl write
broker_start
lab_agent_start
set_password

status() { ctl --json status | jq -r ".$1"; }
alive() { [ "$(ctl --json status | jq -r '.link_state + " " + .link_alive')" = "online $1" ]; }
is_deaf() { [ "$(status link_alive)" = deaf ]; }
times_deaf() { [ "$(status link_deaf)" -ge "$1" ]; }
events() { ctl --json events --limit 500 | jq -r "select(.name == \"$1\") | .name" | wc -l; }
is_alive() { if wait_for 40 alive alive; then ok "$1"; else not_ok "$1: $(ctl --json status | jq -c '[.link_state, .link_detail, .link_alive, .link_deaf]')"; fi; }
goes_deaf() { if wait_for 40 is_deaf; then ok "$1"; else not_ok "$1: $(ctl --json status | jq -c '[.link_state, .link_detail, .link_alive, .link_deaf]')"; fi; }

# ---- connected, and nothing comes back
goes_deaf "a broker that takes messages and brings none back is deaf"
like "which is no lost connection" "$(grep -c "New client connected .*u'$LAB_SERIAL'" "$BROKER_LOG")" '^[1-9]'
succeeds "it is left and tried again" wait_for 40 times_deaf 2
is "that is one event, not one for each attempt" "$(events link.deaf)" 1
shows() { status link_detail > "$LAB/detail"; grep -qE -- "$1" "$LAB/detail"; }
succeeds "the reason is shown between the attempts" wait_for 40 shows 'does not come back .*mqtt\.deaf'
like "in words as well" "$(ctl status)" 'broker is +deaf'
operator sub -t "$P/canary" -C 1 -W 40 > "$LAB/old" 2> /dev/null
like "what is sent has a nonce" "$(cat "$LAB/old")" '^[0-9a-f]{32}-1$'

# ---- a release that only sees such a broker is not confirmed
health() { XDG_RUNTIME_DIR=$LAB/nobody "$AGENTCTL" --config "$CONF" update health; }
field() { ctl --json update status | jq -r ".$1"; }
head -c 256K /dev/urandom > "$LAB/bundles/image"
try_release() {
  lab_bundle "$1.0" "$LAB/bundles/image" 1
  ctl update install "$LAB/bundles/$1.0.swu" > "$LAB/out" 2>&1 || not_ok "installing $1: $(cat "$LAB/out")"
  lab_reboot
}
try_release 1
is "a release is tried" "$(field stage)" trying
exits "being connected does not confirm it: rolled back" 10 health
like "for that reason" "$(cat "$LAB/out")" 'has not brought a message back'
is "and nothing else" "$(field failed_release_id)" release-1.0
lab_reboot

# ---- mended
goes_deaf "the old release hears nothing either"
acl readwrite
is_alive "with the access list mended it is alive, by itself"
like "with a round trip" "$(status link_round_trip_ms)" '^[0-9]+$'
succeeds "which is an event" wait_for 20 eval '[ "$(events link.alive)" -ge 1 ]'
try_release 2
is_alive "the new release is alive"
succeeds "a release that has a message brought back is confirmed" health
is "and good" "$(field stage) $(field booted_slot)" "idle b"

# What one costs, all of TCP and IP included (52 bytes of head to a segment): LIVENESS_COST=1 tests/run.sh e2e tests/e2e/59-liveness.sh
if [ -n "${LIVENESS_COST:-}" ]; then
  traffic() { ss -tinH "dport = :$BROKER_PORT" | tr ' ' '\n' | awk -F: '/^bytes_(sent|received):/ { b += $2 } /^segs_(out|in):/ { s += $2 } END { print b, s }'; }
  canaries() { grep -c "Received PUBLISH from $LAB_SERIAL .*'$P/canary'" "$BROKER_LOG"; }
  read -r b1 s1 <<< "$(traffic)"; n1=$(canaries)
  sleep 60
  read -r b2 s2 <<< "$(traffic)"; n2=$(canaries)
  echo "# $((n2 - n1)) canaries: $(((b2 - b1) / (n2 - n1))) bytes of TLS each, $(((b2 - b1 + 52 * (s2 - s1)) / (n2 - n1))) with TCP and IP"
fi

# ---- whose canary
like "a program may not publish it" "$(said app publish "~/canary" 1 1)" 'link\.refused'
like "nor subscribe it" "$(said app subscribe "~/canary")" 'link\.refused'
"$APP/link-app" -s "$RUN/link.sock" subscribe "~/#" > "$LAB/all" 2> "$LAB/all.err" &
CHILDREN="$CHILDREN $!"
wait_for 20 grep -q subscribed "$LAB/all"
operator pub -t "$P/canary" -r -f "$LAB/old"
acl read
before=$(status link_deaf)
goes_deaf "a broker that throws ours away is deaf, with a retained one of an earlier connection"
for _ in $(seq 20); do
  operator pub -t "$P/canary" -f "$LAB/old"
  operator pub -t "$P/canary" -m "00000000000000000000000000000000-1"
  is_deaf || { not_ok "somebody else's made it alive"; break; }
done
succeeds "and others that arrive do not make it alive" wait_for 40 times_deaf $((before + 2))
is "  at any time" "$(status link_alive)" deaf
like "  they did arrive" "$(cat "$AGENT_LOG")" "on $P/canary is not ours of this connection"
acl readwrite
is_alive "ours does"

# ---- a broker that is stopped
kill -STOP "$BROKER_PID"
not_alive() { [ "$(status link_alive)" != alive ]; }
succeeds "one that answers nothing is found out" wait_for 60 not_alive
like "for one of the two reasons there are" "$(ctl --json status | jq -r '.link_alive + .link_detail')" 'deaf|mqtt\.(deaf|keepalive)'
kill -CONT "$BROKER_PID"
is_alive "and is alive when it goes on"

# ---- subscriptions
operator pub -t "$P/in/first" -m hello
succeeds "a program hears what it subscribed" wait_for 40 grep -q "^message $P/in/first hello" "$LAB/all"
lab_broker_stop
n_gaps=$(grep -c '^gap connection' "$LAB/all")
more_gaps() { [ "$(grep -c "^gap connection" "$LAB/all")" -gt "$n_gaps" ]; }
broker_start
succeeds "a broker that forgot everything: a gap is told" wait_for 40 more_gaps
is_alive "it is alive again"
operator pub -t "$P/in/second" -m hello
succeeds "and what was subscribed is so again" wait_for 40 grep -q "^message $P/in/second hello" "$LAB/all"
link_pid=$(cat "$RUN/pids/agentd-link")
kill -9 "$link_pid"
succeeds "agentd-link is killed: a gap is told" wait_for 40 grep -q '^gap restart' "$LAB/all"
is_alive "it comes back"
operator pub -t "$P/in/third" -m hello
succeeds "and the program's subscription with it" wait_for 40 grep -q "^message $P/in/third hello" "$LAB/all"
fails "canaries are not for programs" grep -q "$P/canary" "$LAB/all"

# ---- a broker that refuses a subscription in words
lab_broker_stop
REFUSE="$P/#" python3 "$LAB_SOURCE/tests/e2e/recorder.py" "$BROKER_PORT" "$PKI/broker.pem" "$PKI/broker.key" "$PKI/device-ca.pem" "$LAB/recorded" &
BROKER_PID=$!
succeeds "a refused subscription is counted" wait_for 40 eval '[ "$(status link_refused)" -ge 1 ]'
succeeds "named" wait_for 40 shows "refuses the subscription to $P/#.*mqtt\.subscribe"
is "and one event" "$(events link.subscription_refused)" 1
is_alive "the rest goes on"

# ---- MQTT 5: a broker that can say no is quoted
lab_agent_stop
lab_broker_stop
sed -i 's/version = "3.1.1"/version = "5"/' "$LAB/etc/agentd.conf.d/test.conf"
acl none
broker_start
lab_agent_start
succeeds "a broker that says why it takes no canary is quoted" wait_for 40 shows "does not take a message to $P/canary: the broker's access list .*mqtt\.deaf"

done_testing
