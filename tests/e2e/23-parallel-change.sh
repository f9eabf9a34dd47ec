#!/usr/bin/env bash
# Many set the first password at once, over HTTPS and the Unix socket: one of them does, and the others learn it.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto jq curl
lab_up
wait_for 20 https GET /v1/health

JSON='Content-Type: application/json'
HOST=gw-${LAB_SERIAL,,}.local
MANY=8
# The TPM stands still until all have asked; it goes on whatever happens.
tpm_go_on() {
  local code=$?
  kill -CONT "$TPM_PID" 2> /dev/null
  return "$code"
}
trap 'tpm_go_on; e2e_end' EXIT

# change N: in the background with a password of its own, alternately through each door; its status in $LAB/change.N
change() {
  local n=$1 where=(--unix-socket "$SOCKET" http://localhost/v1/credentials/admin)
  [ $((n % 2)) = 0 ] || where=(-H "Authorization: Bearer $token" --cacert "$LAB/device-ca.crt" --resolve "$HOST:$HTTPS_PORT:127.0.0.1" "https://$HOST:$HTTPS_PORT/v1/credentials/admin")
  { curl -s --max-time 100 -X PUT -H "$JSON" -d "{\"new\":\"walnut ferry lantern number $n\"}" -D "$LAB/change.$n.head" -o "$LAB/change.$n.body" -w '%{http_code}' \
    "${where[@]}" > "$LAB/change.$n.tmp"; mv "$LAB/change.$n.tmp" "$LAB/change.$n"; } &
}
answered() { cat "$LAB"/change.[0-9] 2> /dev/null | grep -o '[0-9][0-9][0-9]'; }
n_answered() { answered | grep -c "^$1"; }
n_busy_is() { [ "$(n_answered 503)" -ge "$1" ]; }
all_answered() { [ "$(answered | wc -l)" = "$MANY" ]; }
slug() { jq -r '.type | sub("urn:agentd:problem:"; "")' "$1" 2> /dev/null; }
login() {
  https POST /v1/session -H "$JSON" -d "{\"user\":\"admin\",\"password\":\"$1\"}" > "$LAB/session"
  echo "$HTTPS_STATUS" > "$LAB/login.status"
  jq -r '.token // empty' "$LAB/session"
}

token=$(login "$FACTORY_SECRET")
kill -STOP "$TPM_PID"
for n in 1 2 3 4; do change "$n"; done
sleep 0.5	# so that both doors are among those who wait; nothing hangs on it
for n in 5 6 7 8; do change "$n"; done
# One is being worked on and four wait; whoever comes then is told to come again.
wait_for 60 n_busy_is 3 || not_ok "the queue did not fill: $(answered | tr '\n' ' ')"
is "nobody has an answer before the TPM has" "$(n_answered 2)" 0
kill -CONT "$TPM_PID"
wait_for 90 all_answered || not_ok "not all were answered: $(answered | tr '\n' ' ')"
is "one of them set the password" "$(n_answered 200)" 1
if [ "$(n_answered 409)" -ge 3 ]; then ok "those who waited behind are told that the state changed"; else not_ok "statuses: $(answered | tr '\n' ' ')"; fi
winner=
for n in 1 2 3 4 5 6 7 8; do
  door=https
  [ $((n % 2)) != 0 ] || door=socket
  got="$(cat "$LAB/change.$n") $(slug "$LAB/change.$n.body")"
  case $got in
    "200 ") winner=$n; is "$door, the first: it is in" "$(jq -r .scope "$LAB/change.$n.body")" full ;;
    "409 state-changed") is "$door, one that waited: named by its cause" "$(jq -r .error "$LAB/change.$n.body")" password.stale ;;
    "503 busy") like "$door, one too many: says when to come again" "$(grep -i '^Retry-After' "$LAB/change.$n.head")" '[1-9]' ;;
    # It reached the agent after the change: the session of the label is over; the code on the label is void.
    "401 authentication-required" | "401 wrong-credentials") ok "$door, too late: nobody any more" ;;
    *) not_ok "$door, request $n: $got" ;;
  esac
done
is "every problem has its type" "$(cat "$LAB"/change.*.body | jq -r 'select(.type) | .status' | grep -cE '^(401|409|503)$')" 7

# ---- afterwards
https GET /v1/status -H "Authorization: Bearer $token" > /dev/null
is "the session of the label is over" "$HTTPS_STATUS" 401
is "the device is set up" "$(api GET /v1/bootstrap | jq -r .state)" active
token=$(login "walnut ferry lantern number $winner")
is "the winner's password opens" "$(cat "$LAB/login.status")" 201
loser=$((winner % MANY + 1))
login "walnut ferry lantern number $loser" > /dev/null
is "another's does not" "$(cat "$LAB/login.status")" 401
login "$FACTORY_SECRET" > /dev/null
is "nor does the code on the label" "$(cat "$LAB/login.status")" 401
https GET '/v1/events?limit=500' -H "Authorization: Bearer $token" > "$LAB/events"
is "one first password is in the log" "$(jq '[.events[] | select(.name == "password.first_set")] | length' "$LAB/events")" 1
is "and none of the passwords" "$(grep -cE "lantern|$FACTORY_SECRET" "$LAB/events")" 0
done_testing
