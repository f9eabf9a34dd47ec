#!/usr/bin/env bash
# The password: no way around setting it, what a change ends, old files put back, guessing, SIGKILL in a change.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto jq curl
lab_up

P1='walnut ferry 93 lantern'
P2='otter biscuit 41 harbour'
DEVICE_COOKIE=
json() { jq -nc "$@"; }
body() { cat "$LAB/https.body"; }

# login PASSWORD [curl options]: over HTTPS; TOKEN, SCOPE and HTTPS_STATUS say what came of it
login() {
  local password=$1
  shift
  https POST /v1/session -D "$LAB/login.head" -H 'Content-Type: application/json' -d "$(json --arg p "$password" '{user: "admin", password: $p}')" "$@" > /dev/null
  TOKEN=$(jq -r '.token // empty' "$LAB/https.body" 2> /dev/null)
  SCOPE=$(jq -r '.scope // empty' "$LAB/https.body" 2> /dev/null)
}
login_known() { login "$1" -H "Cookie: __Host-agentd-device=$DEVICE_COOKIE"; }
device_cookie() { sed -n 's/^[Ss]et-[Cc]ookie: __Host-agentd-device=\([^;]*\);.*/\1/p' "$LAB/login.head" | tr -d '\r'; }
# change TOKEN CURRENT NEW
change() {
  https PUT /v1/credentials/admin -H "Authorization: Bearer $1" -H 'Content-Type: application/json' \
    -d "$(json --arg c "$2" --arg n "$3" '{new: $n} + (if $c == "" then {} else {current: $c} end)')" > /dev/null
  TOKEN=$(jq -r '.token // empty' "$LAB/https.body" 2> /dev/null)
}
status_with() { https GET /v1/status -H "Authorization: Bearer $1" > /dev/null; }
setup() { api GET /v1/bootstrap | jq -r .state; }
setup_is() { [ "$(setup)" = "$1" ]; }
failures() { api GET /v1/status | jq -r .login_failures; }

# ---- before the password is set
is "a fresh device is in factory state" "$(setup)" factory
api GET /v1/status > /dev/null
is "root on the socket is told to set a password first" "$API_STATUS" 403
like "and how" "$(cat "$LAB/api.body")" 'password-change-required.*/v1/credentials/admin|/v1/credentials/admin.*password-change-required'
https GET /v1/status > /dev/null
is "a stranger has to log in first" "$HTTPS_STATUS" 401
login 'admin'
is "there is no default password" "$HTTPS_STATUS" 401
login ''
like "nor an empty one" "$HTTPS_STATUS" "^(401|422)$"
login "$(tr '[:upper:]' '[:lower:]' <<< "$FACTORY_SECRET" | tr -d -)"
is "the label code opens a session, in any spelling" "$HTTPS_STATUS $SCOPE" "201 password"
LIMITED=$TOKEN
status_with "$LIMITED"
is "which may not do anything else" "$HTTPS_STATUS" 403
change "$LIMITED" '' 'short'
is "a short password is refused" "$HTTPS_STATUS" 422
like "with the reason" "$(body)" 'at least 15 characters'
change "$LIMITED" '' 'Password Letmein 2026'
is "a well-known password is refused" "$HTTPS_STATUS" 422
if [ -n "$(sed -n 's/^PASSWORD_LIST = //p' "$BUILD/Makefile")" ]; then
  change "$LIMITED" '' 'C0rvette-Yankees!!'
  like "and two common ones that are joined" "$HTTPS_STATUS $(body)" '^422.*well-known'
fi
change "$LIMITED" '' "my code $FACTORY_SECRET !"
like "the label code cannot be part of it" "$HTTPS_STATUS $(body)" '^422.*label'
change "$LIMITED" '' "purple $LAB_SERIAL kettle"
like "nor the serial number" "$HTTPS_STATUS $(body)" '^422.*0001'
is "and nothing was changed by all that" "$(setup)" factory

# ---- eight first changes at once
for i in 1 2 3 4 5 6 7 8; do
  curl -s --max-time 30 --cacert "$LAB/device-ca.crt" --resolve "gw-${LAB_SERIAL,,}.local:$HTTPS_PORT:127.0.0.1" -X PUT \
    -o "$LAB/race.$i" -w '%{http_code}\n' -H "Authorization: Bearer $LIMITED" -H 'Content-Type: application/json' \
    -d "$(json --arg n "$P1 $i" '{new: $n}')" "https://gw-${LAB_SERIAL,,}.local:$HTTPS_PORT/v1/credentials/admin" > "$LAB/race.$i.status" &
  RACERS="${RACERS:-} $!"
done
# shellcheck disable=SC2086
wait $RACERS
is "of eight first changes at once one succeeds" "$(cat "$LAB"/race.*.status | grep -c '^200$')" 1
WINNER=$(grep -l '^200$' "$LAB"/race.*.status | sed 's/.*race\.\([0-9]\)\.status/\1/')
is "the device is active" "$(setup)" active
sleep 2 # what strangers may ask for in a second is counted too, and eight at once were many
status_with "$LIMITED"
is "the label code's session is over" "$HTTPS_STATUS" 401
change "$LIMITED" '' "$P2"
is "and cannot be used again" "$HTTPS_STATUS" 401
TOKEN=$(jq -r .token "$LAB/race.$WINNER")
status_with "$TOKEN"
is "the one that came with the change works" "$HTTPS_STATUS" 200
FIRST=$TOKEN
sleep 1
login "$FACTORY_SECRET"
is "the label code is void" "$HTTPS_STATUS" 401

# ---- a change ends every session
login "$P1 $WINNER"
is "the password opens a session" "$HTTPS_STATUS $SCOPE" "201 full"
A=$TOKEN
DEVICE_COOKIE=$(device_cookie)
like "and marks the browser as known" "$DEVICE_COOKIE" '^[A-Za-z0-9_-]{75}$'
login_known "$P1 $WINNER"
B=$TOKEN
change "$A" '' "$P2"
is "a change needs the current password" "$HTTPS_STATUS" 401
change "$A" 'not the password at all' "$P2"
is "and the right one" "$HTTPS_STATUS" 401
api PUT /v1/credentials/admin -H 'Content-Type: application/json' -d "$(json --arg n "$P2" '{new: $n}')" > /dev/null
is "also from root" "$API_STATUS" 401
sleep 2
change "$A" "$P1 $WINNER" "$P2"
is "with it, it is changed" "$HTTPS_STATUS" 200
NEW=$TOKEN
status_with "$NEW"
is "the new session works" "$HTTPS_STATUS" 200
for old in "$A" "$B" "$FIRST"; do
  status_with "$old"
  is "a session from before is over" "$HTTPS_STATUS" 401
done
api GET /v1/status -H "Authorization: Bearer $A" > /dev/null
is "on the socket as well, even for root" "$API_STATUS" 401
login_known "$P1 $WINNER"
is "the old password is refused over HTTPS" "$HTTPS_STATUS" 401
api POST /v1/session -H 'Content-Type: application/json' -d "$(json --arg p "$P1 $WINNER" '{user: "admin", password: $p}')" > /dev/null
is "and on the socket" "$API_STATUS" 401
login_known "$P2"
is "the new one is accepted" "$HTTPS_STATUS" 201

# ---- yesterday's files
accounts=$LAB/state/accounts
lab_agent_stop
cp -a "$accounts" "$LAB/yesterday"
lab_agent_start
login_known "$P2"
change "$TOKEN" "$P2" "$P1"
is "the password is changed once more" "$HTTPS_STATUS" 200
lab_agent_stop
mv "$accounts" "$LAB/today"
put_back() { rm -rf "$accounts"; cp -a "$1" "$accounts"; lab_agent_start; }
put_back "$LAB/yesterday"
is "yesterday's files lead to recovery" "$(setup)" recovery
login_known "$P2"
is "yesterday's password opens nothing" "$HTTPS_STATUS" 503
api PUT /v1/credentials/admin -H 'Content-Type: application/json' -d "$(json --arg n "$P2" '{new: $n}')" > /dev/null
is "root cannot set one then" "$API_STATUS" 503
lab_agent_stop
rm -rf "$LAB/empty"
mkdir -m 700 "$LAB/empty"
lab_own agentd: "$LAB/empty"
put_back "$LAB/empty"
is "no files at all lead to recovery, not to a new device" "$(setup)" recovery
lab_agent_stop
lab_as agentd "$AGENTD" --config "$CONF" --provision > "$LAB/log/provision-again.out" 2>&1
like "provisioning again gives no new secret" "$(grep -c '^factory-secret:' "$LAB/log/provision-again.out")" '^0$'
put_back "$LAB/today"
is "today's files are accepted" "$(setup)" active
login_known "$P1"
is "with today's password" "$HTTPS_STATUS" 201
like "the log has it" "$(api GET '/v1/events?after=0&limit=500')" 'state\.rollback_detected'

# ---- guessing
n401=0
limited=
for i in $(seq 40); do
  login "guess number $i of many"
  case $HTTPS_STATUS in
    401) n401=$((n401 + 1)) ;;
    429) grep -q session.limited "$LAB/https.body" && { limited=$(grep -i '^retry-after:' "$LAB/login.head"); break; }; sleep 1 ;;
  esac
done
like "a guesser has three tries (a slow machine takes the first wait, a second, for the next)" "$n401" "^[345]$"
like "and then has to wait, and is told how long" "$limited" '^[Rr]etry-[Aa]fter: [1-9]'
# Two more, so that the wait is longer than a slow machine takes for the checks below.
sleep 1.1
login "guess after the first wait"
sleep 2.1
login "guess after the second wait"
login "$P1"
is "from that address even with the right password" "$HTTPS_STATUS" 429
before=$(failures)
like "the failures are counted" "$before" '^[3-9]$'
kill -KILL "$(cat "$RUN/pids/agentd")"
wait_for 15 setup_is active
is "and not forgotten when core is killed" "$(failures)" "$before"
login "$P1"
is "nor is the wait" "$HTTPS_STATUS" 429
api GET /v1/status > /dev/null
is "root on the socket is not held up" "$API_STATUS" 200
login_known "$P1"
is "nor is the owner's browser" "$HTTPS_STATUS" 201
is "whose login clears the count" "$(failures)" 0

# ---- SIGKILL after each sync and rename of a change
if command -v strace > /dev/null && strace -o /dev/null true 2> /dev/null && [ "$(id -u)" = 0 ]; then
  current=$P1
  next=$P2
  works() { # PASSWORD: as a known browser, which need not wait after a failure; each success gives it a fresh budget
    login_known "$1"
    [ "$HTTPS_STATUS" = 201 ] || return
    DEVICE_COOKIE=$(device_cookie)
  }
  is_stopped_or_over() { grep -q '^[0-9]* .*--- stopped by SIGSTOP' "$LAB/log/strace.$at" || ! kill -0 "$client" 2> /dev/null; }
  exactly_one=1
  acknowledged=1
  over=
  for at in fsync:{1,2,3,4,5,6,7,8,9,10} renameat:{1,2,3,4}; do
    case $over in *"${at%:*}"*) continue ;; esac
    core=$(cat "$RUN/pids/agentd")
    works "$current" || { not_ok "before $at: the password does not work"; break; }
    # Stopped there rather than killed: a traced death would reach the supervisor late.
    strace -f -qq -o "$LAB/log/strace.$at" -p "$core" -e "trace=${at%:*}" -e "inject=${at%:*}:signal=SIGSTOP:when=${at#*:}" 2> /dev/null &
    tracer=$!
    wait_for 20 grep -q '^TracerPid:[[:space:]]*[1-9]' "/proc/$core/status"
    change "$TOKEN" "$current" "$next" &
    client=$!
    wait_for 10 is_stopped_or_over
    kill "$tracer" 2> /dev/null
    wait "$tracer" 2> /dev/null
    said=
    if kill -0 "$client" 2> /dev/null; then
      kill -KILL "$core"
      wait "$client"
      lab_agent_stop # the supervisor waits longer after each crash
      lab_agent_start
    else
      said=$(cat "$LAB/https.status")
      over="$over ${at%:*}"
    fi
    wait_for 20 setup_is active || { not_ok "killed at $at: state is $(setup)"; break; }
    if works "$next"; then
      swap=$current
      current=$next
      next=$swap
    else
      [ "$said" != 200 ] || acknowledged=0
      works "$current" || exactly_one=0
    fi
    works "$next" && exactly_one=0
  done
  is "killed at each sync and rename of a change: the old or the new password, never both, never none" "$exactly_one" 1
  is "and an acknowledged change stays" "$acknowledged" 1
  is "until nothing was left to be killed at" "$over" " fsync renameat"
else
  echo "# SIGKILL at each sync: needs strace and root"
fi

# ---- no memory for a hash: neither right nor wrong
if [ "$(id -u)" = 0 ] && ! grep -q '^#define AGENT_SANITIZERS' "$BUILD/config.h"; then
  core=$(cat "$RUN/pids/agentd")
  size=$(awk '/^VmSize/ { print $2 * 1024 }' "/proc/$core/status")
  before=$(failures)
  # As its own user and softly: that needs no capability. A hash of cost 5 takes 16 MiB.
  succeeds "its memory can be limited" lab_as agentd prlimit --pid "$core" --as=$((size + (4 << 20))):
  login_known "$current"
  is "without memory for a hash the right password is not called wrong" "$HTTPS_STATUS $(jq -r .type "$LAB/https.body")" "503 urn:agentd:problem:busy"
  login_known 'not the password at all'
  is "nor a wrong one" "$HTTPS_STATUS" 503
  is "and nothing is counted" "$(failures)" "$before"
  is "the agent lives" "$(cat "$RUN/pids/agentd") $(setup)" "$core active"
  succeeds "and the limit taken away" lab_as agentd prlimit --pid "$core" --as=unlimited:
  login_known "$current"
  is "with memory again the right password opens" "$HTTPS_STATUS" 201
else
  echo "# no memory for a hash: needs root, and a build without ASan, which takes all addresses"
fi
done_testing
