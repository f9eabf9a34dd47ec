#!/usr/bin/env bash
# Two real brokers in order: fall-back, what was under way arrives at the other one, the way back, a wrong name, a broker that does not allow a topic,
# and a first broker behind a line that swallows everything, name server included.
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2120,SC2317,SC2088
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto mosquitto_sub jq curl pkg-config make python3 "${CC:-cc}"
CHILDREN=
at_end() { local code=$?; for p in $CHILDREN; do kill -9 "$p" 2> /dev/null; wait "$p" 2> /dev/null; done; (exit "$code"); e2e_end; }
trap at_end EXIT

APP=$LAB/app
example_make "$APP" link-app || exit 1
app() { timeout 100 "$APP/link-app" -s "$RUN/link.sock" "$@"; }

lab_users; lab_make; lab_pki; lab_slots; lab_tpm_start
ME=$(id -u) P=devices/$LAB_SERIAL
SECOND_PORT=$(lab_free_port)
# The certificate of the second broker has another name than its address.
lab_leaf broker-ca second "/CN=second" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:second.test'
brokers() { # ROW: the list as the agent reads it
  lab_config "mqtt: { brokers = [ \"$1\" ]; return_s = 8; queues = [ \"alarms topic=alarms/# loss_messages=1\", \"others topic=forbidden/# topic=~/beside\" ];
    rights = [ \"publish uid:$ME ~/#\", \"publish uid:$ME alarms/#\", \"publish uid:$ME forbidden/#\" ]; app_calls_per_s = 10000; };"
}
brokers "127.0.0.1 port=$SECOND_PORT name=second.test"
lab_provision

# The second broker: an access list of its own, and it stays while the first comes and goes.
SECOND_LOG=$LAB/log/second.log
cat > "$LAB/etc/second.acl" << CONF
topic read \$SYS/#
user operator
topic readwrite #
user $LAB_SERIAL
topic readwrite $P/#
topic readwrite alarms/#
CONF
chmod 644 "$LAB/etc/second.acl"
cat > "$LAB/etc/second.conf" << CONF
listener $SECOND_PORT 127.0.0.1
cafile $PKI/device-ca.pem
certfile $PKI/second.pem
keyfile $PKI/second.key
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file $LAB/etc/second.acl
log_dest file $SECOND_LOG
log_type all
persistence false
user $(id -un)
CONF
mosquitto -c "$LAB/etc/second.conf" > "$LAB/log/second.out" 2>&1 &
CHILDREN="$CHILDREN $!"
wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$SECOND_PORT"
# What the second broker got, written down from the start.
mosquitto_sub -h localhost -p "$SECOND_PORT" --cafile "$PKI/broker-ca.pem" --insecure --cert "$PKI/operator.pem" --key "$PKI/operator.key" \
  -t 'alarms/#' -t "$P/#" -q 1 -v > "$LAB/second.got" 2> /dev/null &
CHILDREN="$CHILDREN $!"
wait_for 20 grep -q "operator 1 alarms" "$SECOND_LOG"

link_state() { ctl --json status | jq -r '.link_state + " " + (.link_detail // "")'; }
state_is() { link_state | grep -qE -- "$1"; }
at_first() { [ "$(grep -c "New client connected .*u'$LAB_SERIAL'" "$BROKER_LOG" 2> /dev/null)" -gt "$1" ]; }
at_second() { [ "$(grep -c "New client connected .*u'$LAB_SERIAL'" "$SECOND_LOG")" -gt "$1" ]; }
drop_broker() { kill -9 "$BROKER_PID"; wait "$BROKER_PID" 2> /dev/null; BROKER_PID=; }
arrived() { [ "$(grep -o "^$1 [0-9]*:" "$LAB/second.got" | sed 's/.* //; s/://' | sort -n -u | tr '\n' ' ')" = "$(seq -s ' ' "$2" "$3") " ]; }

lab_broker_start
lab_agent_start
set_password
succeeds "the first broker is used while it is there" wait_for 40 at_first 0
fails "  and the second is left alone" at_second 0
is "  with MQTT 5" "$(grep "New client connected .*u'$LAB_SERIAL'" "$BROKER_LOG" | grep -o 'p5' | head -n 1)" p5

N=$(grep -c "New client connected .*u'$LAB_SERIAL'" "$BROKER_LOG")
succeeds "a person can have it made anew" ctl link reconnect
succeeds "  and it is" wait_for 40 at_first "$N"
like "without a source of updates there is nothing to check" "$(ctl update check 2>&1)" 'source\.kind is none'

# ---- the first goes while messages come in
app publish alarms/a 1 50 > "$LAB/app.out" 2>&1
drop_broker
succeeds "messages are taken while no broker is there" app publish alarms/b 1 200
succeeds "without the first the second takes over, by the name of its row" wait_for 60 at_second 0
succeeds "what was acknowledged arrives there" wait_for 60 arrived alarms/b 1 200
succeeds "  status says where we are" wait_for 20 state_is '^online'

# ---- what this broker does not allow
others() { ctl --json queue list | jq -r ".queues[] | select(.name == \"others\") | .$1"; }
denied() { [ "$(others denied)" -ge 5 ]; }
succeeds "messages that the access list forbids are acknowledged to the program" app publish forbidden/x 1 3
succeeds "  the broker's no is counted, and it is asked again" wait_for 60 denied
is "  nothing is given up for the list of a broker that is not the first" "$(others messages) $(others rejected)" "3 0"
like "  agentctl says what they wait for" "$(others error)" 'waits: .*access list does not allow'
is "  the log says it once" "$(grep -c 'queue others waits and tries again.*access list does not allow' "$AGENT_LOG")" 1
succeeds "  what is not forbidden goes past them in the same queue" app publish "~/beside" 1 20
succeeds "  and arrives" wait_for 60 arrived "$P/beside" 1 20
is "  they wait still" "$(others messages) $(others rejected)" "3 0"
succeeds "  and what comes after them in another queue is not held up" app publish "~/after" 1 20
succeeds "  nor lost" wait_for 40 arrived "$P/after" 1 20

# ---- the way back
N=$(grep -c "New client connected .*u'$LAB_SERIAL'" "$BROKER_LOG")
lab_broker_start
succeeds "when the first has been there for a while, the device goes back" wait_for 90 at_first "$N"
# mosquitto calls a look, which is TCP and no more, a failed connection.
looks() { sed -n '/starting/h; /starting/!H; ${x; p}' "$BROKER_LOG" | sed '/New client connected/q' | grep -c 'onnection from'; }
others_are_gone() { [ "$(others delivered)" = 23 ] && [ "$(others messages)" = 0 ]; }
succeeds "  it takes what the second did not" wait_for 60 others_are_gone
is "  as its log says, each of them once" "$(grep -c "Received PUBLISH from $LAB_SERIAL .*'forbidden/x'" "$BROKER_LOG")" 3
is "  and nobody waits for anything any more" "$(others error)" null
like "  after several looks" "$(looks)" '^([4-9]|[1-9][0-9]+)$'
succeeds "  and took its leave of the second" wait_for 20 grep -q "Client $LAB_SERIAL disconnected\.$" "$SECOND_LOG"

# ---- a broker of the list with another name than its row says is refused
brokers "127.0.0.1 port=$SECOND_PORT name=other.test"
lab_agent_stop
drop_broker
lab_agent_start
succeeds "a further broker with another name in its certificate is refused" wait_for 60 state_is 'certificate is for second\.test.*tls\.name'

reasons() { ctl --json link | jq -e '(.brokers | length) == 2 and (.brokers[0].reason | test("mqtt.connect")) and (.brokers[1].reason | test("tls.name"))'; }
succeeds "each broker is shown with its own reason" wait_for 40 reasons

# ---- nothing answers: a listener whose queue is full swallows what comes, and the name server is of the same kind
lab_agent_stop
python3 - "$BROKER_PORT" > "$LAB/hole.out" << 'PY' &
import socket, sys, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen(0)
crowd = []
for _ in range(8):
    c = socket.socket(); c.setblocking(False); c.connect_ex(("127.0.0.1", int(sys.argv[1]))); crowd.append(c)
print("full", flush=True)
time.sleep(600)
PY
CHILDREN="$CHILDREN $!"
wait_for 20 grep -q full "$LAB/hole.out"
brokers "127.0.0.1 port=$SECOND_PORT name=second.test"
N=$(grep -c "New client connected .*u'$LAB_SERIAL'" "$SECOND_LOG")
lab_agent_start
LINK_PID=$(cat "$RUN/pids/agentd-link")
succeeds "while the first broker swallows the connection, messages are acknowledged" app publish alarms/hole 1 50
succeeds "  and commands answered" ctl queue list
succeeds "  and the second broker is found" wait_for 90 at_second "$N"
succeeds "  they arrive" wait_for 60 arrived alarms/hole 1 50
is "  agentd-link was not restarted" "$(cat "$RUN/pids/agentd-link")" "$LINK_PID"

# ---- a broker that sends messages of QoS 2 full of properties and releases none, and then one that never comes to the end of a packet; that one knows 3.1.1
# only, which has no word for a limit
lab_agent_stop
HOSTILE_PORT=$(lab_free_port)
brokers "localhost port=$HOSTILE_PORT\", \"127.0.0.1 port=$SECOND_PORT name=second.test"
sed -i 's/return_s = 8;/return_s = 8; session_s = 3600;/' "$CONF" "$LAB"/etc/agentd.conf.d/*
python3 - "$HOSTILE_PORT" "$PKI/broker.pem" "$PKI/broker.key" > "$LAB/hostile.out" 2>&1 << 'PY' &
import socket, ssl, sys
ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
ctx.load_cert_chain(sys.argv[2], sys.argv[3])
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen(8)
print("ready", flush=True)
first = True
while True:
    plain, _ = s.accept()
    try:
        c = ctx.wrap_socket(plain, server_side=True)
        level = c.recv(4096)[8]  # of the protocol, in CONNECT
        if level == 5 and first:
            first = False
            c.sendall(b"\x20\x03\x00\x00\x00")
            for mid in range(1, 5001):  # 15 MB, of which libmosquitto makes 400
                c.sendall(b"\x34\xbf\x17\x00\x01d" + mid.to_bytes(2, "big") + b"\xb8\x17" + b"\x26\x00\x00\x00\x00" * 600)
            print("all were taken", flush=True)
        if level == 5:
            c.sendall(b"\x20\x02\x00\x01")
            c.close()
            continue
        c.sendall(b"\x20\x02\x00\x00" + b"\x30\xff\xff\xff\x7f\x00\x01d")  # 256 MiB follow
        n = 0
        while True:
            c.sendall(bytes(65536))
            n += 1
            if n % 16 == 0:
                print("sent", n // 16, "MiB", flush=True)
    except (OSError, IndexError):
        plain.close()
PY
CHILDREN="$CHILDREN $!"
wait_for 20 grep -q ready "$LAB/hostile.out"
sed -i "s/port = $BROKER_PORT;/port = $HOSTILE_PORT;/" "$CONF"
N=$(grep -c "New client connected .*u'$LAB_SERIAL'" "$SECOND_LOG")
lab_agent_start
rss() { awk '$1 == "VmHWM:" { print $2 }' "/proc/$(cat "$RUN/pids/agentd-link")/status"; }
succeeds "messages of QoS 2 that are full of properties are not kept without end" wait_for 60 grep -q 'more messages with QoS 2 than can be kept' "$AGENT_LOG"
succeeds "a packet without end is not kept: another broker is used" wait_for 90 at_second "$N"
succeeds "  with its name in the log" wait_for 40 grep -q 'longer than .* bytes (mqtt\.packet-size)' "$AGENT_LOG"
if ! grep -q '^#define AGENT_SANITIZERS' "$BUILD/config.h"; then
  [ "$(rss)" -le 24576 ] && ok "  memory never went beyond 24 MiB" || not_ok "  agentd-link had $(rss) KiB at most"
fi
lab_agent_stop
brokers "127.0.0.1 port=$SECOND_PORT name=second.test"
lab_agent_start
if [ "$(id -u)" = 0 ] && unshare -nm true 2> /dev/null; then
  lab_agent_stop
  # A world of its own, in which the only name server is a socket that nobody reads.
  echo 'nameserver 127.0.0.1' > "$LAB/etc/resolv.conf"
  sed -i 's/host = "localhost"/host = "broker.example.net"/' "$CONF"
  brokers "127.0.0.1 port=$SECOND_PORT name=second.test" && sed -i 's/host = "localhost"/host = "broker.example.net"/' "$CONF"
  cat > "$LAB/world.sh" << WORLD
ip link set lo up
mount --bind "$LAB/etc/resolv.conf" /etc/resolv.conf
python3 -c 'import os, socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 53)); print("deaf", flush=True); agent = os.getppid()
while os.getppid() == agent: time.sleep(0.5)' > "$LAB/deaf.out" &
exec "$AGENTD" --config "$CONF" --supervise
WORLD
  setsid unshare -nm bash "$LAB/world.sh" < /dev/null >> "$AGENT_LOG" 2>&1 &
  AGENT_PID=$!
  wait_for 40 lab_healthy
  succeeds "with a name server that never answers, messages are acknowledged" app publish alarms/deaf 1 50
  succeeds "  and commands answered" ctl queue list
  # In the log: the next broker of the list refuses at once, so the state shows that reason for most of the time.
  succeeds "  the reason is told in time" wait_for 90 grep -q 'waiting: broker\.example\.net' "$AGENT_LOG"
  succeeds "  more messages" app publish alarms/deaf 51 100
  is "  no watchdog had to help" "$(grep -c 'agentd-link.*watchdog' "$AGENT_LOG")" 0
fi
done_testing
