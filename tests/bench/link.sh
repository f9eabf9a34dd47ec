#!/usr/bin/env bash
# shellcheck disable=SC2119,SC2317,SC2088
# agentd over a bad line to a real broker, as root: BUILD=... tests/bench/link.sh [SECONDS, default 60; the full run: 600]
# 30 % of the packets lost in each direction, the line cut for 2 s of every 10 s, the broker killed (SIGKILL) every 20 s. Two programs publish
# all the time. Then cuts and kills end, the loss stays, and what was acknowledged to them has to be at the other side of the broker.
# LOSS=, PACE_MS= (between two messages of one program) and BACKOFF_MAX_MS= change the rest.
. "$(dirname "$0")/../e2e/lib.sh"
need swtpm mosquitto mosquitto_sub jq curl python3 ip nsenter pkg-config make
[ "$(id -u)" = 0 ] || { echo "needs root, for network namespaces" >&2; exit 77; }
RUN_S=${1:-60} LOSS=${LOSS:-30} PACE_MS=${PACE_MS:-500} BACKOFF_MAX_MS=${BACKOFF_MAX_MS:-10000}
CUT_S=2 CUT_EVERY_S=10 KILL_EVERY_S=20
DEVICE_NS=agd$$ BROKER_NS=agb$$ WIRE_PID='' SUB_PID='' CHILDREN=''
clean_up() {
  local code=$? p
  for p in $WIRE_PID $SUB_PID $CHILDREN; do kill "$p" 2> /dev/null; done
  lab_agent_stop
  lab_broker_stop
  ip netns del "$DEVICE_NS" 2> /dev/null
  ip netns del "$BROKER_NS" 2> /dev/null
  (exit "$code")
  e2e_end
}
trap clean_up EXIT
for ns in "$DEVICE_NS" "$BROKER_NS"; do ip netns add "$ns" && ip -n "$ns" link set lo up || exit 1; done

APP=$LAB/app
example_make "$APP" link-app || exit 1

# ---- the lab, with device and broker in a namespace each
lab_users; lab_make; lab_pki; lab_slots; lab_tpm_start
BROKER_IP=10.99.0.2
lab_leaf broker-ca far-broker "/CN=far broker" "$(printf 'extendedKeyUsage=serverAuth\nsubjectAltName=IP:%s,IP:127.0.0.1' "$BROKER_IP")"
BROKER_PORT=8883
lab_config "mqtt: { queues = [ \"alarms topic=alarms/# loss_messages=1 priority=9 size_kib=1024\" ];
  rights = [ \"publish uid:0 ~/#\", \"publish uid:0 alarms/#\" ]; };"
sed -i -e "s|host = \"localhost\"|host = \"$BROKER_IP\"|" -e 's|backoff_min_ms = 100|backoff_min_ms = 1000|' \
  -e "s|backoff_max_ms = 2000|backoff_max_ms = $BACKOFF_MAX_MS|" "$CONF"
lab_provision
printf '#!/bin/sh\nexec nsenter --net=/run/netns/%s %s "$@"\n' "$DEVICE_NS" "$AGENTD" > "$LAB/agentd"
chmod 755 "$LAB/agentd"
AGENTD=$LAB/agentd

python3 "$LAB_SOURCE/tests/bench/lossy_wire.py" "$DEVICE_NS" 10.99.0.1/30 "$BROKER_NS" $BROKER_IP/30 "$LOSS" $CUT_S $CUT_EVERY_S > "$LAB/wire.out" &
WIRE_PID=$!
wait_for 20 grep -q up "$LAB/wire.out" || exit 1

cat > "$LAB/etc/far.conf" << CONF
listener $BROKER_PORT
cafile $PKI/device-ca.pem
certfile $PKI/far-broker.pem
keyfile $PKI/far-broker.key
require_certificate true
use_identity_as_username true
tls_version tlsv1.3
allow_anonymous false
set_tcp_nodelay true
log_dest stderr
log_type all
user root
CONF
in_broker_ns() { exec nsenter --net=/run/netns/"$BROKER_NS" "$@"; }
# The reader is there before the line is open again: what the broker acknowledges without a subscriber it throws away.
far_broker_start() {
  in_broker_ns mosquitto -c "$LAB/etc/far.conf" >> "$LAB/log/mosquitto.out" 2>&1 &
  BROKER_PID=$!
  wait_for 20 nsenter --net=/run/netns/"$BROKER_NS" bash -c "exec 3<> /dev/tcp/127.0.0.1/$BROKER_PORT" || exit 1
  : > "$LAB/sub.log"
  in_broker_ns stdbuf -oL mosquitto_sub -h 127.0.0.1 -p "$BROKER_PORT" --cafile "$PKI/broker-ca.pem" --cert "$PKI/operator.pem" \
    --key "$PKI/operator.key" -t '#' -F '%t %p' -d >> "$LAB/sub.log" 2>&1 &
  SUB_PID=$!
  wait_for 20 grep -q 'Subscribed (mid' "$LAB/sub.log" || exit 1
  kill -USR2 "$WIRE_PID"
}
far_broker_kill() {
  kill -9 "$BROKER_PID"; wait "$BROKER_PID" 2> /dev/null; BROKER_PID=
  kill -USR1 "$WIRE_PID"
  # It reads what the broker had sent, and then meets the end.
  wait_for 10 eval '! kill -0 '"$SUB_PID"'' || kill "$SUB_PID"
  wait "$SUB_PID" 2> /dev/null
  cat "$LAB/sub.log" >> "$LAB/seen"
  N_KILLS=$((N_KILLS + 1))
}
N_KILLS=0
: > "$LAB/seen"
far_broker_start
lab_agent_start
set_password

# ---- the run
N=$((RUN_S * 1000 / PACE_MS))
"$APP/link-app" -s "$RUN/link.sock" publish alarms/fire 1 $N 64 "$PACE_MS" > "$LAB/acked.alarms" 2> "$LAB/pub.err" & CHILDREN="$!"
"$APP/link-app" -s "$RUN/link.sock" publish "~/data" 1 $N 64 "$PACE_MS" > "$LAB/acked.app" 2>> "$LAB/pub.err" & CHILDREN="$CHILDREN $!"
LINK_PID=$(cat "$RUN/pids/agentd-link") CORE_PID=$(cat "$RUN/pids/agentd")
end=$((SECONDS + RUN_S)) next_kill=$((SECONDS + KILL_EVERY_S))
while [ "$SECONDS" -lt "$end" ]; do
  sleep 1
  [ "$SECONDS" -ge "$next_kill" ] || continue
  far_broker_kill
  far_broker_start
  next_kill=$((next_kill + KILL_EVERY_S))
done
for p in $CHILDREN; do wait "$p" || echo "a publisher ended badly: $(cat "$LAB/pub.err")"; done
CHILDREN=
kill -HUP "$WIRE_PID"
drained=$SECONDS
P=devices/$LAB_SERIAL
numbers() { cat "$LAB/seen" "$LAB/sub.log" | grep -a "^$1 [0-9]*:" | sed 's/^[^ ]* //; s/:.*//'; }
arrived() { numbers "$1" | sort -n -u | wc -l; }
all_there() { [ "$(arrived alarms/fire)" = "$N" ] && [ "$(arrived "$P/data")" = "$N" ]; }
wait_for 300 all_there
drained=$((SECONDS - drained))
kill -TERM "$WIRE_PID"; wait "$WIRE_PID" 2> /dev/null; WIRE_PID=

is "what was acknowledged as safe on disk arrived" "$(arrived alarms/fire) of $(wc -l < "$LAB/acked.alarms")" "$N of $N"
is "what was acknowledged as safe in RAM arrived" "$(arrived "$P/data") of $(wc -l < "$LAB/acked.app")" "$N of $N"
is "no program was restarted" "$(cat "$RUN/pids/agentd-link") $(cat "$RUN/pids/agentd")" "$LINK_PID $CORE_PID"
is "nothing was dropped, expired, refused or found damaged" \
  "$(ctl --json queue list | jq -c '[.queues[] | .dropped, .expired, .refused, .damaged] | unique')" '[0]'
echo
echo "| run, s | loss each way, % | line cut | broker killed | packets passed / lost | connections | messages | twice | rest arrived after, s |"
echo "|---|---|---|---|---|---|---|---|---|"
all=$(($(numbers alarms/fire | wc -l) + $(numbers "$P/data" | wc -l)))
echo "| $RUN_S | $LOSS | $CUT_S s of $CUT_EVERY_S s | $N_KILLS times | $(sed -n 's/^packets passed \([0-9]*\) lost /\1 \/ /p' "$LAB/wire.out") | $(grep -ac "as $LAB_SERIAL " "$LAB/log/mosquitto.out") | $((2 * N)) | $((all - 2 * N)) | $drained |"
done_testing
