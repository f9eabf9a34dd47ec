#!/usr/bin/env bash
# Commands from the cloud over a real broker: what is carried out, every refusal by its name, kill -9 and a broker without memory.
# shellcheck source=tests/e2e/lib.sh disable=SC2317,SC2088
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto mosquitto_pub mosquitto_sub jq openssl pkg-config make "${CC:-cc}"

APP=$LAB/app
example_make "$APP" link-app > "$LAB/out" 2>&1 || not_ok "the program that subscribes: $(cat "$LAB/out")"
if [ "$(id -u)" = 0 ]; then
  APP_UID=$(id -u nobody)
  become() { local u=$1; shift; exec setpriv --reuid "$u" --regid "$u" --clear-groups -- "$@"; }
else
  APP_UID=$(id -u)
  become() { shift; exec "$@"; }
fi
P=devices/$LAB_SERIAL
EKU=2.25.142388606680879834795550567071369127937
CHILDREN=
at_end() { local code=$?; for p in $CHILDREN; do pkill -P "$p"; kill "$p" 2> /dev/null; done; (exit "$code"); e2e_end; }
trap at_end EXIT

settings() { # ROLE [TOPIC]
  echo "mqtt: { command_topic = \"${2:-~/commands}\"; answer_topic = \"~/answers\";
    rights = [ \"subscribe uid:$APP_UID ~/#\", \"publish uid:$APP_UID ~/#\", \"subscribe uid:$APP_UID ~/commands\" ]; };
  command: { role = \"$1\"; per_minute = 1200; };"
}
TRUST=$LAB/trust/command
mkdir -p "$TRUST"/{viewer,operator,admin}
lab_up "$(settings operator)"
lab_leaf update-ca ops "/CN=Fleet operations" "extendedKeyUsage=$EKU"
lab_leaf update-ca boss "/CN=Fleet administration" "extendedKeyUsage=$EKU"
lab_leaf other-ca thief "/CN=Somebody else" "extendedKeyUsage=$EKU"
cp "$PKI/ops.pem" "$PKI/signer.pem" "$TRUST/operator"
cp "$PKI/boss.pem" "$TRUST/admin"
chmod -R a+rX "$TRUST"

broker() { "$1" -h localhost -p "$BROKER_PORT" --cafile "$PKI/broker-ca.pem" --cert "$PKI/operator.pem" --key "$PKI/operator.key" --tls-version tlsv1.3 -q 1 "${@:2}"; }
send() { broker mosquitto_pub -t "$P/commands" -s; }
: > "$LAB/answers"
listen() {
  broker mosquitto_sub -t "$P/answers" >> "$LAB/answers" &
  CHILDREN="$CHILDREN $!"
  wait_for 20 eval '[ "$(grep -c "$P/answers (QoS 1)" "$BROKER_LOG")" -ge '"$1"' ]'
}
subscribed() { wait_for 30 eval '[ "$(grep -c "$P/commands (QoS 1)" "$BROKER_LOG")" -ge '"$1"' ]'; }
N=0
fresh() { N=$((N + 1)); ID="e2e-$$-command-$N"; }
text() { # COMMAND [ARGUMENTS] [SECONDS AHEAD] [DEVICE]
  printf '{"profile":"agent-command-1","id":"%s","device":"%s","expires":%d,"command":"%s","arguments":%s}' "$ID" "${4:-$LAB_SERIAL}" \
    "$(($(date +%s) + ${3:-120}))" "$1" "${2:-"{}"}"
}
sign() { # SIGNER: the text on stdin becomes a signed message
  cat > "$LAB/text"
  openssl cms -sign -binary -in "$LAB/text" -signer "$PKI/$1.pem" -inkey "$PKI/$1.key" -md sha256 -outform DER -out "$LAB/text.cms" || not_ok "signing"
  printf '{"signed":"%s","signature":"%s"}' "$(base64 -w 0 "$LAB/text")" "$(base64 -w 0 "$LAB/text.cms")"
}
answers() { grep -cF "\"id\":\"$ID\"" "$LAB/answers"; }
answer() { # [HOW MANYTH]
  wait_for 30 eval '[ "$(answers)" -ge '"${1:-1}"' ]' || { echo '{"problem":{"error":"no answer"}}'; return; }
  grep -F "\"id\":\"$ID\"" "$LAB/answers" | tail -n 1
}
problem() { answer "$@" | jq -r '.problem.error // "none"'; }
# refused "what" NAME: the message on stdin, which has $ID
refused() { send; is "$1" "$(problem)" "$2"; }
taken() { send; is "$1" "$(problem)" none; }
events() { ctl --json events --limit 500 | jq -r "select(.name == \"$1\") | $2"; }

# ---- before the owner has set a password
listen 1
fresh; EARLY=$ID; text status | send
set_password
subscribed 1
is "what came before the owner had set a password is not carried out" "$(answers)" 0

# ---- by the topic: as far as command.role goes
fresh; taken "a command by the topic is carried out" < <(text status)
is "with the answer of the local interface" "$(answer | jq -r '.result.serial + " " + .result.setup')" "$LAB_SERIAL active"
fresh; taken "so is one with arguments" < <(text events '{"after":0,"limit":5}')
is "which bound the answer" "$(answer | jq '.result | length')" 5
fresh; taken "the state of updates is told" < <(text update.status)
fresh; taken "the queues are told" < <(text queue.list)
fresh; refused "an operation says no as it does locally" update.nothing < <(text update.postpone '{"hours":1}')
fresh; refused "more than the role is refused" session.role < <(text update.policy '{"policy":"approval"}')
is "and nothing was done" "$(ctl --json update status | jq -r .policy)" automatic

# ---- each refusal
fresh; refused "one that is over" command.expired < <(text status '{}' -5)
fresh; refused "one that ends too far ahead" command.too-far < <(text status '{}' 5000)
fresh; refused "one for another device" command.device < <(text status '{}' 120 GW-0002)
fresh; refused "one that does not exist" command.unknown < <(text password.set)
fresh; refused "an argument that is missing" args.missing < <(text events '{"after":0}')
fresh; refused "one too many" args.unknown < <(text events '{"after":0,"limit":5,"more":1}')
fresh; refused "one out of range" args.value < <(text update.postpone '{"hours":99999}')
fresh; text status | sed 's/"device"/"device":"GW-0002","device"/' | send
like "a member twice" "$(wait_for 30 grep -o 'args.duplicate' "$LAB/answers" && echo yes)" yes
fresh; refused "one that is too long" command.size < <(text update.offer "{\"url\":\"https://localhost/$(head -c 9000 /dev/zero | tr '\0' x)\"}")
head -c 30000 /dev/zero | tr '\0' ' ' | send
like "a message that is far too long" "$(wait_for 30 grep -q 'the message has 30000 bytes' "$LAB/answers" && echo yes)" yes
fresh; text status > "$LAB/again"; taken "a new command" < "$LAB/again"
send < "$LAB/again"
is "the same once more is refused" "$(problem 2)" command.replayed

# ---- by signature: as far as the signer's role goes
fresh; taken "an administrator's signature is good for more" < <(text update.policy '{"policy":"approval"}' | sign boss)
is "and it was done" "$(ctl --json update status | jq -r .policy)" approval
fresh; refused "an operator's is not" session.role < <(text update.policy '{"policy":"automatic"}' | sign ops)
fresh; text status | sign ops > "$LAB/signed"; taken "but for this" < "$LAB/signed"
send < "$LAB/signed"
is "a signed one once more is refused" "$(problem 2)" command.replayed
fresh; refused "a signer that nobody pinned" command.signer < <(text status | sign thief)
fresh; refused "one who may sign updates, pinned or not" command.signer < <(text status | sign signer)
echo "no certificate" > "$TRUST/admin/broken.pem"
chmod a+r "$TRUST/admin/broken.pem"
fresh; refused "with a broken folder nobody can say who is unknown: it is told by its own name" command.trust-broken < <(text status | sign thief)
fresh; refused "the signers of that folder are nobody" command.trust-broken < <(text status | sign boss)
fresh; taken "those of another are" < <(text status | sign ops)
rm "$TRUST/admin/broken.pem"
fresh; taken "mended, it counts at once" < <(text status | sign boss)
fresh; refused "signed for another device" command.device < <(text status '{}' 120 GW-0002 | sign ops)
fresh; refused "signed and over" command.expired < <(text status '{}' -5 | sign ops)
fresh; text update.check | sign ops > "$LAB/other"
refused "a text that the signature is not for" command.signature < <(jq -c --arg t "$(text status | base64 -w 0)" '.signed = $t' "$LAB/other")
fresh; refused "what is no signature" command.signature < <(jq -c --arg t "$(text status | base64 -w 0)" '.signed = $t | .signature = "AAAA"' "$LAB/other")
fresh; jq -c --arg t "$(text status | base64 -w 0)" '.signed = $t | .signature = "A*=="' "$LAB/other" | send
like "what is no base64" "$(wait_for 30 grep -o 'command.base64' "$LAB/answers" && echo yes)" yes

# ---- the event log
like "what was done is in the event log, with who it was" "$(events command.accepted '.command + " " + .signer + " " + .role')" '^update.policy Fleet administration admin'
like "so is what was refused, with the reason" "$(events command.refused '.reason + " " + .command + " " + .source')" '^command.expired status mqtt:topic'

# ---- programs of this device are not the cloud
app() { (become "$APP_UID" timeout 60 "$APP/link-app" -s "$RUN/link.sock" "$@" 2>&1); }
like "no program of the device may publish commands, whatever its rights" "$(app publish "~/commands" 1 1)" 'link\.refused'
like "nor answers" "$(app publish "~/answers" 1 1)" 'link\.refused'
like "nor subscribe them" "$(app subscribe "~/commands")" 'link\.refused'

# ---- kill -9
kill9() {
  local old
  wait_for 30 test -s "$RUN/pids/$1"
  old=$(cat "$RUN/pids/$1")
  kill -9 "$old"
  wait_for 30 eval '[ -s "$RUN/pids/'"$1"'" ] && [ "$(cat "$RUN/pids/'"$1"'")" != '"$old"' ]'
}
# A program that was just started may not be ready: a fresh command until it is.
works() { fresh; text status | send; wait_for 3 eval '[ "$(answers)" -ge 1 ]' && [ "$(problem)" = none ]; }
kill9 agentd; kill9 agentd-link
succeeds "commands are taken again after kill -9 of core and link" wait_for 60 works
ID=$(jq -r .id "$LAB/again"); before=$(answers); send < "$LAB/again"
is "and none of before" "$(problem $((before + 1)))" command.replayed
ID=$(jq -r .signed "$LAB/signed" | base64 -d | jq -r .id); before=$(answers); send < "$LAB/signed"
is "signed or not" "$(problem $((before + 1)))" command.replayed

# ---- the broker forgets everything
become "$APP_UID" "$APP/link-app" -s "$RUN/link.sock" subscribe "~/in/#" > "$LAB/heard" 2>&1 &
CHILDREN="$CHILDREN $!"
wait_for 20 grep -q subscribed "$LAB/heard"
before=$(grep -c "$P/commands (QoS 1)" "$BROKER_LOG")
kill -9 "$BROKER_PID"; wait "$BROKER_PID" 2> /dev/null; BROKER_PID=
lab_broker_start
subscribed $((before + 1))
listen "$(($(grep -c "$P/answers (QoS 1)" "$BROKER_LOG") + 1))"
succeeds "after a restart of a broker without memory commands are taken again" wait_for 60 works
succeeds "a program hears that something may be missing" wait_for 30 grep -q '^gap connection' "$LAB/heard"
heard() { broker mosquitto_pub -t "$P/in/hello" -m back && wait_for 3 grep -q "^message $P/in/hello back" "$LAB/heard"; }
succeeds "and its subscription is there again" wait_for 30 heard

# ---- a right to everything is none to commands
become "$APP_UID" "$APP/link-app" -s "$RUN/link.sock" subscribe "~/#" > "$LAB/all" 2>&1 &
ALL=$!; CHILDREN="$CHILDREN $ALL"
heard_all() { broker mosquitto_pub -t "$P/in/hello" -m "$1" && wait_for 3 grep -q "^message $P/in/hello $1" "$LAB/all"; }
succeeds "a program hears what a wildcard covers" wait_for 60 heard_all before
# Both subscriptions match, so the broker may send the command twice: the first answer counts.
works_at_first() { fresh; text status | send; wait_for 10 eval '[ "$(answers)" -ge 1 ]' && grep -F "\"id\":\"$ID\"" "$LAB/answers" | head -n 1 | grep -q '"result"'; }
succeeds "a command is taken beside it" wait_for 60 works_at_first
succeeds "the program hears what comes after the command" wait_for 60 heard_all after
is "but neither the command nor its answer" "$(grep -c "^message $P/commands\|^message $P/answers" "$LAB/all")" 0
kill "$ALL"; wait "$ALL" 2> /dev/null

# ---- longer than any message that is taken: it cannot be read, so the answer has no id
head -c 70000 /dev/zero | tr '\0' x | send
succeeds "a message without measure is answered" wait_for 30 eval '[ "$(grep -c "longer than any.*command[.]size" "$LAB/answers")" -ge 1 ]'

# ---- restart, and other settings
lab_agent_stop
lab_config "$(settings none 'devices/{serial}/commands/#')"
lab_agent_start
wait_for 30 eval 'ctl --json status | jq -e ".link_state == \"online\""'
ID=$(jq -r .id "$LAB/again"); fresh
refused "without a signature where one is demanded" command.unsigned < <(text status)
fresh; taken "with one" < <(text status | sign ops)
fresh; text status | sign ops | broker mosquitto_pub -t "$P/commands/%24.to=%2Fdevices&x=1" -s
is "and on a topic with something of the broker's own behind it, where the settings say so" "$(problem)" none
ID=$(jq -r .signed "$LAB/signed" | base64 -d | jq -r .id); before=$(answers); send < "$LAB/signed"
is "none of before the restart" "$(problem $((before + 1)))" command.replayed

# ---- a flood
fresh; text status | sign ops > "$LAB/among"; SIGNED=$ID
fresh
{ for _ in $(seq 200); do text status; echo; done; cat "$LAB/among"; echo; } | broker mosquitto_pub -t "$P/commands" -l
succeeds "a flood is refused by its name" wait_for 30 grep -q '"error":"command.rate"' "$LAB/answers"
ID=$SIGNED
is "a signed command in the midst of unsigned ones is carried out" "$(problem)" none
works_signed() { fresh; text status | sign ops | send; wait_for 3 eval '[ "$(answers)" -ge 1 ]' && [ "$(problem)" = none ]; }
succeeds "and others after it" wait_for 60 works_signed
ID=$EARLY
is "what came too early was never answered" "$(answers)" 0
done_testing
