#!/usr/bin/env bash
# The queues of a running agentd-link at every instant: all it writes, syncs and answers is recorded while programs publish and
# agentd-link, core and the broker are killed; then each state is made that a power cut or a kill could have left, and is opened. Some of them the real
# agent is started from. CUT_MESSAGES=1500 CUT_POINTS=100000 for all (docs/design/queue.md).
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2120,SC2317,SC2088
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto jq curl python3 strace pkg-config make "${CC:-cc}"
strace -D -f --seccomp-bpf -o /dev/null true 2> /dev/null || { echo "SKIP: strace cannot trace here"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "SKIP: tracing the agent's programs needs root"; exit 77; }

APP=$LAB/app
example_make "$APP" link-app || lab_fail "the example does not build"
APP_UID=$(id -u nobody)
become() { local u=$1; shift; exec setpriv --reuid "$u" --regid "$u" --clear-groups -- "$@"; }
P=devices/$LAB_SERIAL
CHILDREN=
at_end() { local code=$?; for p in $CHILDREN; do kill "$p" 2> /dev/null; done; [ -z "${SCRATCH:-}" ] || rm -rf "$SCRATCH"; (exit "$code"); e2e_end; }
trap at_end EXIT

lab_users; lab_make; lab_pki; lab_slots; lab_tpm_start
lab_config "mqtt: {
  queues = [ \"alarms topic=alarms/# loss_messages=1 priority=9 size_kib=64\", \"data topic=~/data loss_messages=20 size_kib=64\" ];
  rights = [ \"publish uid:$APP_UID ~/#\", \"publish uid:$APP_UID alarms/#\" ];
  app_calls_per_s = 10000; };"
lab_provision
recorder_start() {
  python3 "$LAB_SOURCE/tests/e2e/recorder.py" "$BROKER_PORT" "$PKI/broker.pem" "$PKI/broker.key" "$PKI/device-ca.pem" "$LAB/recorded" "$LAB/times" &
  BROKER_PID=$!
  wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$BROKER_PORT"
}
recorder_kill() { kill -9 "$BROKER_PID"; wait "$BROKER_PID" 2> /dev/null; BROKER_PID=; }
kill9() { # PROGRAM: and wait for its next life
  local old
  wait_for 30 test -s "$RUN/pids/$1"
  old=$(cat "$RUN/pids/$1")
  kill -9 "$old"
  wait_for 60 eval '[ -s "$RUN/pids/'"$1"'" ] && [ "$(cat "$RUN/pids/'"$1"'")" != '"$old"' ]'
}
online() { ctl --json status | jq -e '.link_state == "online"'; }
n_acked() { wc -l < "$LAB/acked.$1"; }
past() { [ "$(n_acked alarms)" -ge "$1" ] && [ "$(n_acked data)" -ge "$1" ]; }

# ---- the life that is recorded
real=$AGENTD
cat > "$LAB/traced" << SH
#!/bin/sh
exec strace -D -f --seccomp-bpf -ttt -y -xx -s 65536 -o "$LAB/strace" \
  -e trace=pwrite64,fdatasync,fsync,rename,unlink,openat,sendto,sendmsg,recvfrom,recvmsg "$real" "\$@"
SH
chmod 755 "$LAB/traced"
recorder_start
AGENTD=$LAB/traced
lab_agent_start
AGENTD=$real
set_password
wait_for 60 online
N=${CUT_MESSAGES:-120}
: > "$LAB/acked.alarms"; : > "$LAB/acked.data"
become "$APP_UID" "$APP/link-app" -s "$RUN/link.sock" publish alarms/fire 1 "$N" > "$LAB/acked.alarms" 2> "$LAB/pub.alarms.err" &
PUB1=$!
become "$APP_UID" "$APP/link-app" -s "$RUN/link.sock" publish "~/data" 1 "$N" > "$LAB/acked.data" 2> "$LAB/pub.data.err" &
PUB2=$!
CHILDREN="$PUB1 $PUB2"
wait_for 120 past $((N / 5)); kill9 agentd-link
wait_for 120 past $((N * 2 / 5)); recorder_kill
wait_for 120 past $((N * 2 / 5 + 40)); recorder_start
wait_for 120 past $((N * 3 / 5)); kill9 agentd
wait_for 120 past $((N * 4 / 5)); kill9 agentd-link; recorder_kill; recorder_start
wait "$PUB1"; is "one publishes through all that, a message at a time" "$? $(cat "$LAB/pub.alarms.err")" "0 "
wait "$PUB2"; is "so does another" "$? $(cat "$LAB/pub.data.err")" "0 "
pids=$(cat "$RUN"/pids/*)
kill -9 "$AGENT_PID"; wait "$AGENT_PID" 2> /dev/null; AGENT_PID=
all_dead() { local p; for p in $pids; do [ ! -e "/proc/$p" ] || return 1; done; }
succeeds "the power goes" wait_for 60 all_dead

# ---- every state that this could have left
SCRATCH=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$LAB")/cut-XXXXXX")
: "${CUT_POINTS:=400}"
export CUT_POINTS
CUT_KEEP=2:$LAB/kept "$LAB_SOURCE/tests/e2e/queue_cut.py" "$LAB/strace" "$LAB/times" "$BUILD/tests/e2e/queue_read" "$SCRATCH" "$LAB/link/queue" "$RUN/link" \
  "$P" alarms:alarms/fire:1:64 "data:~/data:20:64" > "$LAB/replay" 2>&1
code=$?
sed 's/^/# /' "$LAB/replay"
is "nothing that was acknowledged is lost, whatever is cut" "$code" 0
like "at all of these points" "$(cat "$LAB/replay")" 'events, [0-9]+ states: nothing'

# ---- and from some of them the agent itself
[ "$code" != 0 ] || rm -f "$LAB/strace"
n=0
for disk in "$LAB"/kept/*; do
  n=$((n + 1))
  rm -rf "$LAB/link/queue" "$RUN/link"
  mkdir -m 700 "$LAB/link/queue"
  cp "$disk"/*.q "$LAB/link/queue"
  chown -R agentd-link: "$LAB/link/queue"
  recorder_kill
  : > "$LAB/recorded"
  recorder_start
  lab_agent_start
  delivered() { [ -z "$(sort "$disk/must" | uniq | comm -23 - <(sort -u "$LAB/recorded"))" ]; }
  succeeds "a device that starts from state $n delivers all $(wc -l < "$disk/must") messages" wait_for 60 delivered
  is "and nothing else but its own" "$(grep -avE "^($P/(state|telemetry|canary)|alarms/fire|$P/data) " "$LAB/recorded")" ""
  lab_agent_stop
done
is "two of them" "$n" 2
done_testing
