#!/usr/bin/env bash
# Server-sent events with the real core: what is told, how a reader comes back, and what ends a stream.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto curl jq
lab_up

JSON='Content-Type: application/json'
host=gw-${LAB_SERIAL,,}.local
STREAM_PIDS=
# follow NAME socket|https [curl options]: in the background into $LAB/NAME; its end is noted in $LAB/NAME.end
follow() {
  local name=$1 door=$2
  shift 2
  local where=(--unix-socket "$SOCKET" http://localhost/v1/events/stream)
  [ "$door" = socket ] || where=(--cacert "$LAB/device-ca.crt" --resolve "$host:$HTTPS_PORT:127.0.0.1" "https://$host:$HTTPS_PORT/v1/events/stream")
  rm -f "$LAB/$name.end"
  { curl -sN --max-time 100 "$@" "${where[@]}" > "$LAB/$name" 2> /dev/null; echo $? > "$LAB/$name.end"; } &
  STREAM_PIDS="$STREAM_PIDS $!"
}
# shellcheck disable=SC2317
has() { grep -qE -- "$2" "$LAB/$1"; }
told() { if wait_for 15 has "$2" "$3"; then ok "$1"; else not_ok "$1: $(tail -n 5 "$LAB/$2")"; fi; }
ended() { if wait_for 15 test -s "$LAB/$2.end"; then ok "$1"; else not_ok "$1"; fi; }
login() {
  https POST /v1/session -H "$JSON" -d "{\"user\":\"admin\",\"password\":\"$1\"}" > "$LAB/session"
  sed -n 's/.*"token":"\([^"]*\)".*/\1/p' "$LAB/session"
}
wait_for 20 https GET /v1/health

# Whatever happens, nobody follows on after this script.
FOLLOW_PID=
follow_end() {
  local code=$?
  [ -z "$FOLLOW_PID" ] || kill "$FOLLOW_PID" 2> /dev/null
  return "$code"
}
trap 'follow_end; e2e_end' EXIT

# ---- before the password is set ------------------------------------------------------------------------------------
is "no login, no stream" "$(https GET /v1/events/stream > /dev/null; echo "$HTTPS_STATUS")" 401
token=$(login "$FACTORY_SECRET")
https GET /v1/events/stream -H "Authorization: Bearer $token" > /dev/null
is "nor before the password is set" "$HTTPS_STATUS" 403
if [ "$(id -u)" = 0 ]; then is "not for root either" "$(api GET /v1/events/stream > /dev/null; echo "$API_STATUS")" 403; fi
exits "nor with agentctl" 4 ctl events --follow
set_password
token=$(login "$OWNER_PASSWORD")
auth="Authorization: Bearer $token"
second=$(login "$OWNER_PASSWORD")

# ---- what is told ---------------------------------------------------------------------------------------------------
follow one https -H "$auth"
told "a stream says where it begins" one '^event: hello'
told "and how the update stands" one '^data: \{.*"stage":"idle"'
follow two https -H "Authorization: Bearer $second"
told "a second reader" two '^event: update'
https POST /v1/session -H "$JSON" -d '{"user":"admin","password":"not this one at all"}' > /dev/null
told "an event arrives by itself" one '"name":"session.failed"'
told "at both" two '"name":"session.failed"'
last=$(sed -n 's/^id: //p' "$LAB/one" | tail -n 1)
head -c 16777216 /dev/urandom > "$LAB/image"
lab_bundle 1.0 "$LAB/image" 1
follow socket socket -H "$auth"
told "the Unix socket has it too" socket '^event: hello'
https POST /v1/update -H "$auth" -H 'Content-Type: application/octet-stream' -H 'Expect:' --limit-rate 6M --data-binary "@$LAB/bundles/1.0.swu" > /dev/null
is "an update is taken while they listen" "$HTTPS_STATUS" 200
told "its beginning was told" one '"name":"update.begun"'
told "its progress too" one '"stage":"writing".*"done_bytes":[1-9]'
told "and how it ended" one '"stage":"(written|trying)"'
like "progress came more than once" "$(grep -c '"stage":"writing"' "$LAB/one")" '^([2-9]|[1-9][0-9]+)$'

# ---- coming back -----------------------------------------------------------------------------------------------------
follow back https -H "$auth" -H "Last-Event-ID: $last"
told "who comes back gets what he missed" back '"name":"update.begun"'
is "and nothing twice" "$(grep -c "^id: $last\$" "$LAB/back")" "$(grep -c '^event: hello' "$LAB/back")"
https GET '/v1/events/stream?after=one' -H "$auth" > /dev/null
is "a number is needed" "$HTTPS_STATUS" 400

# ---- how a stream ends -----------------------------------------------------------------------------------------------
https DELETE /v1/session -H "Authorization: Bearer $second" > /dev/null
told "logging out ends the stream of that session" two '"reason":"session"'
ended "and its request" two
fails "the others go on" test -e "$LAB/one.end"
fresh='a lantern under 41 ferries'
https PUT /v1/credentials/admin -H "$auth" -H "$JSON" -d "{\"current\":\"$OWNER_PASSWORD\",\"new\":\"$fresh\"}" > "$LAB/session"
is "the password is changed" "$HTTPS_STATUS" 200
told "that ends the streams from before" one '"reason":"session"'
told "on the socket too" socket '"reason":"session"'
ended "at once" one
like "no secret was told" "$(cat "$LAB/one" "$LAB/socket" | grep -cE "$fresh|$OWNER_PASSWORD|$token")" '^0$'
auth="Authorization: Bearer $(sed -n 's/.*"token":"\([^"]*\)".*/\1/p' "$LAB/session")"

# ---- another role, another person ------------------------------------------------------------------------------------
first='eleven copper marmots sing'
own='nine wooden herons wait'
printf '%s\n%s\n' "$fresh" "$first" | ctl account add karin --role operator --stdin > "$LAB/out" 2>&1 || not_ok "adding an account: $(cat "$LAB/out")"
# in_as_karin PASSWORD: her token in KARIN
in_as_karin() {
  https POST /v1/session -H "$JSON" -d "{\"user\":\"karin\",\"password\":\"$1\"}" > "$LAB/session"
  KARIN=$(jq -r '.token // empty' "$LAB/session")
}
in_as_karin "$first"
https GET /v1/events/stream -H "Authorization: Bearer $KARIN" > /dev/null
is "no stream during the forced change" "$HTTPS_STATUS" 403
https PUT /v1/credentials/karin -H "Authorization: Bearer $KARIN" -H "$JSON" -d "{\"new\":\"$own\"}" > "$LAB/session"
KARIN=$(jq -r '.token // empty' "$LAB/session")
follow karin https -H "Authorization: Bearer $KARIN"
told "an operator follows" karin '^event: hello'
printf '%s\n' "$fresh" | ctl account role karin viewer --stdin > "$LAB/out" 2>&1 || not_ok "changing a role: $(cat "$LAB/out")"
told "another role ends her stream" karin '"reason":"session"'
ended "and its request" karin
in_as_karin "$own"
follow karin https -H "Authorization: Bearer $KARIN"
told "with a new session she follows again" karin '^event: hello'
printf '%s\n' "$fresh" | ctl account remove karin --stdin > "$LAB/out" 2>&1 || not_ok "removing an account: $(cat "$LAB/out")"
told "no account, no stream" karin '"reason":"session"'
ended "and its request ends" karin

# ---- agentctl goes on over restarts, with nothing lost and nothing twice ---------------------------------------------
printf '%s\n' "$fresh" | ctl login --stdin > "$LAB/out" 2>&1 || not_ok "logging in: $(cat "$LAB/out")"
XDG_RUNTIME_DIR=$LAB/xdg timeout 600 "$AGENTCTL" --socket "$SOCKET" --json events --follow --limit 1000 > "$LAB/agentctl" 2> "$LAB/agentctl.err" &
FOLLOW_PID=$!
newest() { ctl --json events --limit 1 | jq .seq; }
# shellcheck disable=SC2317
shows() { [ "$(jq .seq "$LAB/agentctl" 2> /dev/null | tail -n 1)" -ge "$1" ]; }
caught_up() {
  local seq
  seq=$(newest)
  if wait_for 30 shows "$seq"; then ok "$1"; else not_ok "$1: event $seq is not in $(tail -n 3 "$LAB/agentctl" "$LAB/agentctl.err")"; fi
}
caught_up "agentctl shows what there is"
token=$(login "$fresh")
caught_up "and what comes"
# A program that was killed is started again; until then nothing can be asked.
restarted() { [ "$(cat "$RUN/pids/$1")" != "$2" ] && lab_healthy && { https GET /v1/health > /dev/null; [ "$HTTPS_STATUS" = 200 ]; }; }
restart() {
  local pid
  pid=$(cat "$RUN/pids/$1")
  kill -9 "$pid"
  wait_for 60 restarted "$1" "$pid" || not_ok "$1 was not started again"
}
# One that was just started may put a login off.
log_in_again() { wait_for 60 is_logged_in || not_ok "no login: $(cat "$LAB/session")"; }
# shellcheck disable=SC2317
is_logged_in() {
  token=$(login "$fresh")
  [ -n "$token" ]
}
restart agentd-mgmt
log_in_again
caught_up "over a restart of agentd-mgmt"
restart agentd
log_in_again
caught_up "over a restart of core, whose sessions are gone"
restart agentd-mgmt
restart agentd
caught_up "and of both"
log_in_again
https PUT /v1/credentials/admin -H "Authorization: Bearer $token" -H "$JSON" -d "{\"current\":\"$fresh\",\"new\":\"$fresh 2\"}" > "$LAB/session"
is "the password is changed" "$HTTPS_STATUS" 200
auth="Authorization: Bearer $(jq -r '.token // empty' "$LAB/session")"
caught_up "a changed password ends the session, not the right to look"
kill "$FOLLOW_PID" 2> /dev/null
wait "$FOLLOW_PID" 2> /dev/null
is "each event once, in order" "$(jq .seq "$LAB/agentctl" | awk 'NR > 1 && $1 != last + 1 { print last, $1 } { last = $1 }')" ""
ctl --json events --limit 1000 | jq -c '[.seq, .name]' > "$LAB/wanted"
is "and all there are" "$(jq -c '[.seq, .name]' "$LAB/agentctl" | sha256sum)" "$(head -n "$(jq -c .seq "$LAB/agentctl" | wc -l)" "$LAB/wanted" | sha256sum)"

# ---- bounds ----------------------------------------------------------------------------------------------------------
sleep 2
for i in 1 2 3 4; do follow "many$i" https -H "$auth"; told "stream $i of a source" "many$i" '^event: hello'; done
https GET /v1/events/stream -H "$auth" > /dev/null
is "the fifth is refused" "$HTTPS_STATUS" 429
kill -9 "$(cat "$RUN/pids/agentd")"
told "a restart of core ends them" many1 '"reason":"(unavailable|session)"'
wait_for 20 lab_healthy
# shellcheck disable=SC2086
kill $STREAM_PIDS 2> /dev/null
wait_for 10 lab_healthy
done_testing
