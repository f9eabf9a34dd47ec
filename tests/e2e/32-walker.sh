#!/usr/bin/env bash
# shellcheck disable=SC2119
# Every route x method x setup state x caller: default is deny. docs/access.md is the table of what is seen; --write makes it anew.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto curl python3
[ "$(id -u)" = 0 ] || { echo "SKIP: callers with other uids need root"; exit 77; }
walker=$LAB_SOURCE/tests/e2e/walker.py
doc=$PREFIX/share/agentd/openapi.json
page=$LAB_SOURCE/docs/access.md
lines=$LAB/walked
callers="none,bad token,ended token,factory session,viewer certificate,operator certificate,admin certificate,admin,other uid on the socket,root on the socket"
CLIENT_PORT=$(lab_free_port)

mkdir -p "$LAB/trust/mgmt"
lab_up "mgmt: { client_listen = \"127.0.0.1:$CLIENT_PORT\"; client_roles = ( \"viewer cn:viewer\", \"operator cn:operator\", \"admin cn:admin\" ); };"
lab_ca clients "/CN=Owner CA"
for role in viewer operator admin; do lab_leaf clients "by-$role" "/CN=$role" 'extendedKeyUsage=clientAuth'; done
cp "$PKI/clients.pem" "$LAB/trust/mgmt/clients.pem"
chmod 644 "$LAB/trust/mgmt/clients.pem"
door=https:$HTTPS_PORT:$LAB/device-ca.crt

token_of() { # USER PASSWORD
  https POST /v1/session -H 'Content-Type: application/json' -d "{\"user\":\"$1\",\"password\":\"$2\"}" | sed -n 's/.*"token":"\([^"]*\)".*/\1/p'
}
# walk STATE CALLER DOOR [TOKEN...]: in the background, each from addresses of its own
walk() { { python3 "$walker" walk "$doc" "$@" > "$LAB/walk.$1.${2// /_}" || echo failed > "$LAB/walk.failed"; } & WALKS="$WALKS $!"; }
# walk_all STATE [TOKEN...]: strangers first; tokens are the admin's
walk_all() {
  local state=$1 role
  shift
  WALKS=
  walk "$state" admin "$door" "${@:-$ended}"
  # Alone, and first, where it is one: administrators end the sessions of others.
  # shellcheck disable=SC2086
  [ $# = 0 ] || wait $WALKS
  walk "$state" none "$door"
  walk "$state" "bad token" "$door" "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
  walk "$state" "ended token" "$door" "$ended"
  walk "$state" "factory session" "$door" "$factory"
  for role in viewer operator admin; do
    walk "$state" "$role certificate" "https:$CLIENT_PORT:$LAB/device-ca.crt:$PKI/by-$role.pem:$PKI/by-$role.key"
  done
  walk "$state" "other uid on the socket" "unix:$SOCKET:65534"
  walk "$state" "root on the socket" "unix:$SOCKET"
  # shellcheck disable=SC2086
  wait $WALKS
}

wait_for 20 https GET /v1/health
factory=$(token_of admin "$FACTORY_SECRET")
https DELETE /v1/session -H "Authorization: Bearer $factory" > /dev/null
ended=$factory
walk_all factory
sleep 1
factory=$(token_of admin "$FACTORY_SECRET")
walk_all must-change
set_password
sleep 1
walk_all active "$(token_of admin "$OWNER_PASSWORD")" "$(token_of admin "$OWNER_PASSWORD")" "$(token_of admin "$OWNER_PASSWORD")"
lab_agent_stop
rm -rf "$LAB"/state/accounts/*
lab_agent_start
wait_for 20 https GET /v1/health
like "without its record the device is in recovery" "$(api GET /v1/bootstrap)" '"state":"recovery"'
walk_all recovery
lab_agent_stop
mv "$LAB/state" "$LAB/state.old"
mkdir -m 700 "$LAB/state"
lab_own agentd: "$LAB/state"
lab_agent_start
like "without keys it is not provisioned" "$(api GET /v1/bootstrap)" '"state":"unprovisioned"'
walk_all unprovisioned

[ ! -e "$LAB/walk.failed" ] || not_ok "a walk ended early"
cat "$LAB"/walk.*.* > "$lines"
if python3 "$walker" judge "$doc" "$callers" < "$lines" > "$LAB/judged"; then
  ok "every cell is as the table of routes and the rules say: $(tail -n 1 "$LAB/judged")"
else
  not_ok "$(head -n 20 "$LAB/judged"; tail -n 1 "$LAB/judged")"
fi
python3 "$walker" page "$doc" "$callers" < "$lines" > "$LAB/access.md"
[ "${1:-}" != --write ] || cp "$LAB/access.md" "$page"
succeeds "docs/access.md shows the same (tests/e2e/32-walker.sh --write)" diff -u "$page" "$LAB/access.md"
done_testing
