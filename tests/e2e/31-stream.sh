#!/usr/bin/env bash
# Server-sent events with the real core: what is told, how a reader comes back, and what ends a stream.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto curl python3
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

# ---- before the password is set ------------------------------------------------------------------------------------
is "no login, no stream" "$(https GET /v1/events/stream > /dev/null; echo "$HTTPS_STATUS")" 401
token=$(login "$FACTORY_SECRET")
https GET /v1/events/stream -H "Authorization: Bearer $token" > /dev/null
is "nor before the password is set" "$HTTPS_STATUS" 403
if [ "$(id -u)" = 0 ]; then is "not for root either" "$(api GET /v1/events/stream > /dev/null; echo "$API_STATUS")" 403; fi
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
