#!/usr/bin/env bash
# Applications publish and subscribe through agentd-link; everything is killed meanwhile, and nothing that was acknowledged is lost.
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2120,SC2317,SC2088
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto mosquitto_pub jq curl python3 pkg-config make "${CC:-cc}"

APP=$LAB/app
succeeds "the example builds from the installed package alone, without a warning" example_make "$APP" link-app

ROOT=; [ "$(id -u)" != 0 ] || ROOT=1
if [ -n "$ROOT" ]; then
  APP_UID=$(id -u nobody) STRANGER_UID=$(id -u daemon)
  become() { local u=$1; shift; exec setpriv --reuid "$u" --regid "$u" --clear-groups -- "$@"; }
else
  APP_UID=$(id -u) STRANGER_UID=
  become() { shift; exec "$@"; }
fi
# "become ... &" is the program itself, which can be killed; as_uid waits for it.
as_uid() { (become "$@"); }
app() { as_uid "$APP_UID" timeout 60 "$APP/link-app" -s "$RUN/link.sock" "$@"; }
said() { "$@" 2>&1; }
P=devices/$LAB_SERIAL
CHILDREN=
at_end() { local code=$?; for p in $CHILDREN; do kill "$p" 2> /dev/null; done; (exit "$code"); e2e_end; }
trap at_end EXIT

lab_up "mqtt: {
  queues = [ \"alarms topic=alarms/# loss_messages=1 priority=9 size_kib=512\", \"small topic=~/small size_kib=64\", \"late topic=~/late priority=0 loss_messages=1\" ];
  rights = [ \"publish uid:$APP_UID ~/#\", \"publish uid:$APP_UID alarms/#\", \"subscribe uid:$APP_UID ~/in/#\" ];
  app_calls_per_s = 10000; };
link: { budget_mib = 1; budget_connects = 2; budget_hold = 1; };"
like "before the owner has set a password nothing is taken" "$(said app publish "~/a" 1 1)" 'setup\.password-change-required'
set_password

# ---- rights
like "a topic without a right is refused" "$(said app publish other/topic 1 1)" 'link\.refused'
like "so are the agent's own topics" "$(said app publish "~/state" 1 1)" 'link\.refused'
like "so is a wildcard" "$(said app publish "~/#" 1 1)" 'link\.topic'
like "there is no QoS 3" "$(said app -q 3 publish "~/a" 1 1)" 'QoS 3.*link\.argument'
like "nor in a subscription" "$(said app -q 3 subscribe "~/in/x")" 'QoS 3.*link\.argument'
like "a wider subscription than the right is refused" "$(said app subscribe "~/#")" 'link\.refused'
like "so is one that is no filter" "$(said app subscribe "~/in#")" 'link\.topic'
if [ -n "$ROOT" ]; then
  like "another user is refused" "$(said as_uid "$STRANGER_UID" timeout 60 "$APP/link-app" -s "$RUN/link.sock" publish "~/a" 1 1)" 'link\.refused'
  like "root as well" "$(said timeout 60 "$APP/link-app" -s "$RUN/link.sock" publish "~/a" 1 1)" 'link\.refused'
fi
like "a right to publish is none to subscribe" "$(said app subscribe alarms/x)" 'link\.refused'

# ---- there and back, with mosquitto
operator() { mosquitto_pub -h localhost -p "$BROKER_PORT" --cafile "$PKI/broker-ca.pem" --cert "$PKI/operator.pem" --key "$PKI/operator.key" \
  --tls-version tlsv1.3 -q 1 "$@"; }
online() { ctl --json status | jq -e '.link_state == "online"'; }
wait_for 30 online
become "$APP_UID" "$APP/link-app" -s "$RUN/link.sock" subscribe "~/in/#" > "$LAB/heard" 2> "$LAB/heard.err" &
LISTENER=$!
CHILDREN="$CHILDREN $LISTENER"
wait_for 20 grep -q subscribed "$LAB/heard"
lab_subscribe "$P/a" 3 30 > "$LAB/got" &
GOT=$!
wait_for 20 grep -q "$P/a" "$BROKER_LOG"
wait_for 20 grep -q "$P/in/#" "$BROKER_LOG"
succeeds "messages are acknowledged" app publish "~/a" 1 3
wait "$GOT"
is "and arrive in order" "$(sed 's/^[^ ]* //; s/:.*//' "$LAB/got" | tr '\n' ' ')" '1 2 3 '
operator -t "$P/in/hello" -m 'from outside'
succeeds "what is subscribed is heard" wait_for 20 grep -q "^message $P/in/hello from outside" "$LAB/heard"
operator -t "$P/elsewhere" -m 'not for you'
queue() { ctl --json queue list | jq -r ".queues[] | select(.name == \"$1\") | .$2"; }
succeeds "agentctl shows what went through" wait_for 20 eval '[ "$(queue default delivered)" -ge 3 ]'
is "and what did not cost the flash anything" "$(queue default payload_bytes)" 0
like "in words as well" "$(ctl queue list)" 'flash_life_days'

# ---- a subscriber that sleeps
rss() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$(cat "$RUN/pids/agentd-link")/status"; }
become "$APP_UID" "$APP/link-app" -s "$RUN/link.sock" sleep "~/in/#" 60 > "$LAB/sleeper" 2>&1 &
CHILDREN="$CHILDREN $!"
wait_for 20 grep -q subscribed "$LAB/sleeper"
before=$(rss)
head -c 60000 /dev/zero | tr '\0' x > "$LAB/long"
for i in $(seq 60); do echo "$i"; done | while read -r i; do operator -t "$P/in/flood" -f "$LAB/long" > /dev/null || break; done
operator -t "$P/in/last" -m 'still here'
succeeds "one that reads nothing does not keep another from its messages" wait_for 20 grep -q "^message $P/in/last still here" "$LAB/heard"
if ! grep -q '^#define AGENT_SANITIZERS' "$BUILD/config.h"; then
  [ "$(rss)" -le $((before + 2048)) ] && ok "nor fills memory" || not_ok "agentd-link had $before KiB, now $(rss)"
fi

# ---- what that cost
budget_event() { ctl --json events --limit 500 | jq -e "select(.name == \"link.budget\" and .kind == \"$1\" and .percent == \"$2\")"; }
used() { ctl --json link | jq ".link_bytes // 0"; }
succeeds "the budget of the month is used up, which is an event" wait_for 60 budget_event bytes 100
like "agentctl shows it in words" "$(ctl link)" 'used of it \(%\)'
USED=$(used)
is "more than the megabyte that went through" "$((USED > 1048576))" 1
holds() { ctl --json link | jq -e '.budget_holds == true'; }
succeeds "what is less important waits from then on" wait_for 40 holds
succeeds "  it is taken all the same" app publish "~/late" 1 3
succeeds "  the rest goes on" app publish "~/b" 1 3
succeeds "  and arrives" wait_for 40 eval '[ "$(queue default messages)" = 0 ]'
succeeds "  while that stays here" wait_for 20 eval '[ "$(queue late messages) $(queue late delivered)" = "3 0" ]'

# ---- another month, and a broker that writes down what it acknowledges
lab_broker_stop
lab_agent_stop
python3 - "$LAB/link/usage" "$RUN/link/usage" << 'PY'
import hashlib, os, sys
for path in filter(os.path.exists, sys.argv[1:]):
    words = open(path).read().split(" ")
    words[2] = "202001"
    text = " ".join(words[:-1]) + " "
    open(path, "w").write(text + hashlib.sha256(text.encode()).hexdigest() + "\n")
PY
recorder_start() {
  python3 "$LAB_SOURCE/tests/e2e/recorder.py" "$BROKER_PORT" "$PKI/broker.pem" "$PKI/broker.key" "$PKI/device-ca.pem" "$LAB/recorded" &
  BROKER_PID=$!
  wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$BROKER_PORT"
}
recorder_kill() { kill -9 "$BROKER_PID"; wait "$BROKER_PID" 2> /dev/null; BROKER_PID=; }
n_acked() { wc -l < "$LAB/acked.$1"; }
past() { [ "$(n_acked alarms)" -ge "$1" ] && [ "$(n_acked app)" -ge "$1" ]; }
kill9() { # PROGRAM: and wait for its next life
  local old
  wait_for 30 test -s "$RUN/pids/$1"
  old=$(cat "$RUN/pids/$1")
  kill -9 "$old"
  wait_for 30 eval '[ -s "$RUN/pids/'"$1"'" ] && [ "$(cat "$RUN/pids/'"$1"'")" != '"$old"' ]'
}
N=${LINK_MESSAGES:-1000}
recorder_start
lab_agent_start
succeeds "in a new month what waited goes out" wait_for 60 eval '[ "$(grep -c "^$P/late " "$LAB/recorded")" = 3 ]'
month_is() { [ "$(ctl --json link | jq -r ".usage[1].period")" = 2020-01 ]; }
succeeds "  and the month before is shown" wait_for 40 month_is
succeeds "  with nothing held back" wait_for 40 eval 'ctl --json link | jq -e ".budget_holds == false"'
USED=$(used)
: > "$LAB/acked.alarms"; : > "$LAB/acked.app"
become "$APP_UID" "$APP/link-app" -s "$RUN/link.sock" publish alarms/fire 1 $N > "$LAB/acked.alarms" 2> "$LAB/pub.alarms.err" &
PUB1=$!
become "$APP_UID" "$APP/link-app" -s "$RUN/link.sock" publish "~/data" 1 $N > "$LAB/acked.app" 2> "$LAB/pub.app.err" &
PUB2=$!
CHILDREN="$CHILDREN $PUB1 $PUB2"
wait_for 60 past 100; kill9 agentd-link
wait_for 60 past 250; recorder_kill; wait_for 60 past 350; recorder_start
wait_for 60 past 450; kill9 agentd
wait_for 60 past 600; kill9 agentd-link; recorder_kill; recorder_start
wait_for 60 past 800; recorder_kill; kill9 agentd-link; recorder_start
wait "$PUB1"; is "a publisher ends well for all that" "$? $(cat "$LAB/pub.alarms.err")" "0 "
wait "$PUB2"; is "so does the other" "$? $(cat "$LAB/pub.app.err")" "0 "
arrived() { grep -a "^$1 " "$LAB/recorded" | sed 's/^[^ ]* //; s/:.*//' | sort -n -u | wc -l; }
all_there() { [ "$(arrived alarms/fire)" = $N ] && [ "$(arrived "$P/data")" = $N ]; }
wait_for 60 all_there
is "all that was acknowledged arrived: safe on disk" "$(arrived alarms/fire) of $(n_acked alarms)" "$N of $N"
is "and safe in RAM" "$(arrived "$P/data") of $(n_acked app)" "$N of $N"
check_payloads() { python3 - "$LAB/recorded" << 'PY'
import sys
bad = n = 0
seen = set()
for line in open(sys.argv[1], "rb"):
    topic, payload = line.rstrip(b"\n").split(b" ", 1)
    if topic.endswith(b"/state") or topic.endswith(b"/telemetry") or topic.endswith(b"/canary"):
        continue
    number = payload.split(b":")[0]
    n += 1
    want = number + b":" + bytes([97 + int(number) % 26]) * (31 - len(number))
    bad += payload != want
    seen.add((topic, number))
print(bad, "damaged;", n - len(seen), "twice")
PY
}
twice=$(check_payloads)
like "none is damaged" "$twice" '^0 damaged'
echo "# $twice of $((2 * N)): at least once"
succeeds "a subscriber hears of the gap" grep -q '^gap restart' "$LAB/heard"
succeeds "and is still there" kill -0 "$LISTENER"

succeeds "what was counted outlives kill -9" wait_for 60 eval '[ "$(used)" -ge "$USED" ]'
succeeds "so many connections are an event as well" wait_for 60 budget_event connects 100

# ---- no room
recorder_kill
like "a full queue refuses" "$(said app publish "~/small" 1 100 8000 | tail -n 1)" 'queue\.full'
succeeds "and says how many it holds" wait_for 10 eval '[ "$(queue small messages)" -ge 5 ]'
succeeds "others go on" app publish alarms/again 1 3
recorder_start
succeeds "what it holds is delivered later" wait_for 60 eval '[ "$(queue small messages)" = 0 ]'
is "nothing was dropped" "$(queue small dropped)$(queue default dropped)$(queue alarms dropped)" 000
is "and nothing found damaged" "$(queue small damaged)$(queue default damaged)$(queue alarms damaged)" 000

# ---- QoS 2: exactly once over a connection that is cut, at least once over kill -9
recorder_kill
lab_agent_stop
RELAY_PORT=$(lab_free_port)
lab_config "mqtt: { port = $RELAY_PORT; session_s = 3600; app_calls_per_s = 10000;
  rights = [ \"publish uid:$APP_UID ~/#\", \"publish uid:$APP_UID alarms/#\", \"subscribe uid:$APP_UID ~/in/#\", \"subscribe uid:$APP_UID ~/down/#\" ]; };"
relay_start() {
  python3 "$LAB_SOURCE/tests/e2e/relay.py" "$RELAY_PORT" "$BROKER_PORT" &
  RELAY=$!
  CHILDREN="$CHILDREN $RELAY"
  wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$RELAY_PORT"
}
cut() { kill -9 "$RELAY"; wait "$RELAY" 2> /dev/null; relay_start; }
: > "$BROKER_LOG"
lab_broker_start
relay_start
lab_agent_start
mosquitto_sub -h localhost -p "$BROKER_PORT" --cafile "$PKI/broker-ca.pem" --cert "$PKI/operator.pem" --key "$PKI/operator.key" \
  --tls-version tlsv1.3 -q 2 -t "$P/two/#" -v > "$LAB/two" &
CHILDREN="$CHILDREN $!"
wait_for 20 grep -q "$P/two/#" "$BROKER_LOG"
two() { grep -a "^$P/two/$1 " "$LAB/two" | sed 's/^[^ ]* //; s/:.*//'; }
two_past() { [ "$(two "$1" | wc -l)" -ge "$2" ]; }
two_all() { [ "$(two "$1" | sort -n -u | wc -l)" = "$2" ]; }
become "$APP_UID" "$APP/link-app" -s "$RUN/link.sock" -q 2 publish "~/two/a" 1 160 32 4 > "$LAB/acked.two" 2>&1 &
PUB1=$!
for n in 20 60 100; do wait_for 60 two_past a $n; cut; done
wait "$PUB1"
is "messages with QoS 2 are acknowledged while the connection is cut" "$(tail -n 1 "$LAB/acked.two")" 160
succeeds "all arrive" wait_for 60 two_all a 160
is "each of them once" "$(two a | wc -l)" 160
is "over more than one connection" "$(($(grep -c "New client connected .*u'$LAB_SERIAL'" "$BROKER_LOG") > 1))" 1
become "$APP_UID" "$APP/link-app" -s "$RUN/link.sock" -q 2 subscribe "~/down/two" > "$LAB/heard.two" 2> "$LAB/heard.two.err" &
CHILDREN="$CHILDREN $!"
wait_for 20 grep -q subscribed "$LAB/heard.two"
wait_for 20 grep -q "$P/down/two (QoS 2)" "$BROKER_LOG"
heard() { grep -a "^message $P/down/two " "$LAB/heard.two" | sed 's/.* //'; }
heard_past() { [ "$(heard | wc -l)" -ge "$1" ]; }
for i in $(seq 120); do echo "$i"; [ $((i % 10)) != 0 ] || sleep 0.05; done | operator -q 2 -t "$P/down/two" -l &
PUB1=$!
for n in 20 60; do wait_for 60 heard_past $n; cut; done
wait "$PUB1"
succeeds "what is subscribed with QoS 2 arrives over cuts" wait_for 60 heard_past 120
is "each of it once, in order" "$(heard | tr '\n' ' ')" "$(seq -s ' ' 120) "
become "$APP_UID" "$APP/link-app" -s "$RUN/link.sock" -q 2 publish "~/two/b" 1 100 32 4 > "$LAB/acked.two" 2>&1 &
PUB1=$!
wait_for 60 two_past b 30; kill9 agentd-link
wait "$PUB1"
is "kill -9 of agentd-link loses none either" "$(tail -n 1 "$LAB/acked.two")" 100
succeeds "all arrive, at least once" wait_for 60 two_all b 100
echo "# $(($(two b | wc -l) - 100)) twice of 100"
succeeds "one more is taken" app -q 2 publish "~/two/d" 1 1
succeeds "and arrives" wait_for 60 two_all d 1
succeeds "and the session of the former life was ended before" grep -q "New client connected .*(p5, c1, .*u'$LAB_SERIAL'" "$BROKER_LOG"
lab_broker_stop
LAB_BROKER_EXTRA='max_qos 1'
lab_broker_start
LAB_BROKER_EXTRA=
lab_subscribe "$P/two/c" 5 60 > "$LAB/got" &
GOT=$!
wait_for 20 grep -q "$P/two/c" "$BROKER_LOG"
succeeds "a broker that takes QoS 1 at most" app -q 2 publish "~/two/c" 1 5
wait "$GOT"
is "gets that" "$(sed 's/^[^ ]* //; s/:.*//' "$LAB/got" | tr '\n' ' ')" '1 2 3 4 5 '
is "which the log says once" "$(grep -c 'takes QoS 1 at most.*mqtt.qos' "$AGENT_LOG")" 1

# ---- a disk without room: the queues cannot be made
lab_agent_stop
if [ -n "$ROOT" ] && rm -rf "$LAB"/link/* && mount -t tmpfs -o size=200k,mode=700,uid="$(id -u agentd-link)" tmpfs "$LAB/link" 2> /dev/null; then
  lab_agent_start
  like "without room for its file a queue refuses with the reason" "$(said app publish alarms/x 1 1)" 'No space left on device.*queue\.file'
  succeeds "which agentctl shows" wait_for 20 eval 'ctl queue list | grep -q "No space left on device"'
  mount -o remount,size=4m "$LAB/link"
  succeeds "with room it works, without a restart" wait_for 30 app publish alarms/x 1 1
  lab_agent_stop
  umount "$LAB/link"
else
  echo "# not tried: a full disk (needs root and a tmpfs to mount)"
fi
done_testing
