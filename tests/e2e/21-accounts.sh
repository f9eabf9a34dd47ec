#!/usr/bin/env bash
# Accounts with roles, the factory reset by password, button and console, and the ways out of recovery.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto jq curl
lab_users
lab_make
BUTTON=$LAB/button/held
mkdir -m 755 "$LAB/button"
echo 0 > "$BUTTON"
lab_up "reset: { button = \"$BUTTON\"; hold_s = 5; };"

ADMIN=$OWNER_PASSWORD
KARIN_1='eleven copper marmots sing'
KARIN='nine wooden herons wait'
OTTO_1='a lost umbrella 77 dreams'
OTTO='seven green ladders fall'
json() { jq -nc "$@"; }
body() { cat "$LAB/https.body"; }
slug() { jq -r '.type | sub("urn:agentd:problem:"; "")' "$LAB/api.body" 2> /dev/null; }
error() { jq -r '.error' "$LAB/api.body" 2> /dev/null; }
setup() { api GET /v1/bootstrap | jq -r .state; }
setup_is() { [ "$(setup)" = "$1" ]; }
events() { api GET '/v1/events?after=0&limit=500'; }

# open_as USER PASSWORD: a session on the socket; TOKEN and SCOPE. Tries on the socket are one in three seconds after a failure.
open_as() {
  api POST /v1/session -H 'Content-Type: application/json' -d "$(json --arg u "$1" --arg p "$2" '{user: $u, password: $p}')" > /dev/null
  if [ "$API_STATUS" = 429 ]; then
    sleep 3.2
    api POST /v1/session -H 'Content-Type: application/json' -d "$(json --arg u "$1" --arg p "$2" '{user: $u, password: $p}')" > /dev/null
  fi
  TOKEN=$(jq -r '.token // empty' "$LAB/api.body")
  SCOPE=$(jq -r '.scope // empty' "$LAB/api.body")
}
# as TOKEN METHOD PATH [JSON]
as() {
  local token=$1 method=$2 path=$3
  if [ $# -gt 3 ]; then
    api "$method" "$path" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' -d "$4" > /dev/null
  else
    api "$method" "$path" -H "Authorization: Bearer $token" > /dev/null
  fi
}

# ---- before there is an owner
api GET /v1/accounts > /dev/null
is "no accounts are shown before the password is set" "$API_STATUS" 403
api POST /v1/accounts -H 'Content-Type: application/json' -d "$(json --arg p "$KARIN_1" '{current: "x", name: "karin", role: "admin", new: $p}')" > /dev/null
is "nor can root make one then" "$API_STATUS" 403
api POST /v1/factory-reset -H 'Content-Type: application/json' -d '{"current":"x"}' > /dev/null
is "nor reset what is not set" "$API_STATUS" 403
set_password

# ---- an account and its first login
like "agentctl lists the first account" "$(ctl account list)" '^admin +admin +set$'
exits "nobody makes one without the own password" 3 sh -c "printf '%s\n%s\n' 'not this one at all' '$KARIN_1' | XDG_RUNTIME_DIR=$LAB/xdg '$AGENTCTL' --socket '$SOCKET' account add karin --role operator --stdin"
sleep 3.2
exits "and with it, yes" 0 sh -c "printf '%s\n%s\n' '$ADMIN' '$KARIN_1' | XDG_RUNTIME_DIR=$LAB/xdg '$AGENTCTL' --socket '$SOCKET' account add karin --role operator --stdin"
printf '%s\n%s\n' "$ADMIN" "$OTTO_1" | ctl account add otto --stdin > "$LAB/out" 2>&1 || not_ok "adding otto: $(cat "$LAB/out")"
like "the password is to be changed first" "$(ctl account list)" '^karin +operator +to be changed'
exits "a name is there once" 1 sh -c "printf '%s\n%s\n' '$ADMIN' '$KARIN_1' | XDG_RUNTIME_DIR=$LAB/xdg '$AGENTCTL' --socket '$SOCKET' account add karin --stdin"
exits "a weak password is refused here as well" 1 sh -c "printf '%s\n%s\n' '$ADMIN' 'Password Letmein 2026' | XDG_RUNTIME_DIR=$LAB/xdg '$AGENTCTL' --socket '$SOCKET' account add eva --stdin"
like "with all its reasons" "$(cat "$LAB/out")" 'well-known'

open_as karin "$KARIN_1"
is "the first login opens nothing but the change" "$API_STATUS $SCOPE" "201 password"
FIRST=$TOKEN
as "$FIRST" GET /v1/status
is "not even the status" "$API_STATUS $(slug)" "403 password-change-required"
is "and says where to change it" "$(jq -r .next "$LAB/api.body")" /v1/credentials/karin
as "$FIRST" GET /v1/accounts
is "nor the accounts" "$API_STATUS" 403
as "$FIRST" PUT /v1/credentials/admin "$(json --arg n "$KARIN" '{new: $n}')"
is "it is for her own password only" "$API_STATUS" 403
as "$FIRST" PUT /v1/credentials/karin "$(json --arg n "$KARIN_1" '{new: $n}')"
is "and the given one is no change" "$API_STATUS" 422
as "$FIRST" PUT /v1/credentials/karin "$(json --arg n "$KARIN" '{new: $n}')"
is "with a new one she is in" "$API_STATUS $(jq -r .scope "$LAB/api.body")" "200 full"
KARIN_TOKEN=$(jq -r .token "$LAB/api.body")
long=$(printf 'long-name-%.0s' 1 2 3)ab
is "the longest name has 32 bytes" "${#long}" 32
printf '%s\n%s\n' "$ADMIN" "$KARIN_1" | ctl account add "$long" --stdin > "$LAB/out" 2>&1 || not_ok "adding the longest name: $(cat "$LAB/out")"
printf '%s\n%s\n' "$KARIN_1" "$KARIN" | ctl passwd --user "$long" --stdin > "$LAB/out" 2>&1 || not_ok "its change: $(cat "$LAB/out")"
like "who has the longest name can change the password, too" "$(ctl account list)" "^$long +viewer +set"
printf '%s\n' "$ADMIN" | ctl account remove "$long" --stdin > "$LAB/out" 2>&1 || not_ok "removing it: $(cat "$LAB/out")"
printf '%s\n%s\n' "$OTTO_1" "$OTTO" | ctl passwd --user otto --stdin > "$LAB/out" 2>&1 || not_ok "otto's change: $(cat "$LAB/out")"
open_as otto "$OTTO"
OTTO_TOKEN=$TOKEN
is "agentctl passwd --user does the same" "$SCOPE" full
open_as otto "$KARIN"
is "another's password is refused" "$API_STATUS" 401
open_as admin "$ADMIN"
ADMIN_TOKEN=$TOKEN

# ---- what each role may do
while read -r method path viewer operator admin; do
  for row in "viewer:$OTTO_TOKEN:$viewer" "operator:$KARIN_TOKEN:$operator" "admin:$ADMIN_TOKEN:$admin"; do
    IFS=: read -r role token wanted <<< "$row"
    as "$token" "$method" "$path" '{}'
    [ "$API_STATUS" != 429 ] || { sleep 2; as "$token" "$method" "$path" '{}'; }
    case $API_STATUS in 403) got=no ;; *) got=yes ;; esac
    is "$role: $method $path: $wanted" "$got" "$wanted"
  done
done << 'TABLE'
GET /v1/status yes yes yes
GET /v1/keys yes yes yes
GET /v1/events yes yes yes
GET /v1/update yes yes yes
POST /v1/update/confirm no yes yes
POST /v1/update/rollback no yes yes
POST /v1/update/fetch no yes yes
POST /v1/keys/device/csr no yes yes
POST /v1/keys no no yes
GET /v1/accounts no no yes
POST /v1/accounts no no yes
PUT /v1/accounts/otto/role no no yes
PUT /v1/accounts/admin/password no no yes
POST /v1/accounts/otto/remove no no yes
POST /v1/factory-reset no no yes
TABLE

# ---- changes end sessions at once, and only those
role() { as "$1" PUT "/v1/accounts/$2/role" "$(json --arg c "$3" --arg r "$4" '{current: $c, role: $r}')"; }
role "$ADMIN_TOKEN" karin "$ADMIN" viewer
is "an administrator changes a role" "$API_STATUS" 204
as "$KARIN_TOKEN" GET /v1/status
is "whose sessions are over" "$API_STATUS" 401
as "$OTTO_TOKEN" GET /v1/status
is "other people's are not" "$API_STATUS" 200
as "$ADMIN_TOKEN" GET /v1/status
is "nor the administrator's" "$API_STATUS" 200
role "$ADMIN_TOKEN" karin "$ADMIN" root
is "there are three roles" "$API_STATUS" 422
role "$ADMIN_TOKEN" admin "$ADMIN" viewer
is "the last administrator stays one" "$API_STATUS $(error)" "403 account.last-admin"
as "$ADMIN_TOKEN" POST /v1/accounts/admin/remove "$(json --arg c "$ADMIN" '{current: $c}')"
is "and is not removed" "$API_STATUS $(error)" "403 account.last-admin"
as "$ADMIN_TOKEN" POST /v1/accounts/nobody/remove "$(json --arg c "$ADMIN" '{current: $c}')"
is "who is not there is not found" "$API_STATUS $(error)" "404 account.unknown"
as "$ADMIN_TOKEN" PUT /v1/accounts/otto/password "$(json --arg c "$ADMIN" --arg n "$OTTO_1" '{current: $c, new: $n}')"
is "an administrator gives a new password" "$API_STATUS" 204
as "$OTTO_TOKEN" GET /v1/status
is "which ends sessions as well" "$API_STATUS" 401
open_as otto "$OTTO"
is "and the old password" "$API_STATUS" 401
open_as otto "$OTTO_1"
is "the new one is to be changed" "$API_STATUS $SCOPE" "201 password"
OTTO_LIMITED=$TOKEN
as "$ADMIN_TOKEN" POST /v1/accounts/otto/remove "$(json --arg c "$ADMIN" '{current: $c}')"
is "an account is removed" "$API_STATUS" 204
as "$OTTO_LIMITED" PUT /v1/credentials/otto "$(json --arg n "$OTTO" '{new: $n}')"
is "with what was open of it" "$API_STATUS" 401
open_as otto "$OTTO_1"
is "and nobody of that name gets in" "$API_STATUS" 401
for event in role.refused account.added account.role account.removed account.refused password.assigned; do
  like "the log has $event" "$(events)" "\"$event\""
done
if events | grep -qF -e "$KARIN" -e "$OTTO" -e "$ADMIN"; then not_ok "a password is in the log"; else ok "and no password"; fi

# ---- an insider's own logins buy no guesses at the administrator's password
open_as admin 'a wrong guess at it, one'
sleep 3.2
before=$(api GET /v1/status | jq -r .login_failures)
open_as karin "$KARIN"
is "somebody else's login works" "$API_STATUS" 201
is "and clears no count" "$(api GET /v1/status | jq -r .login_failures)" "$before"
open_as admin "$ADMIN"
is "an administrator's does" "$(api GET /v1/status | jq -r .login_failures)" 0
ADMIN_TOKEN=$TOKEN

# ---- yesterday's roles
role "$ADMIN_TOKEN" karin "$ADMIN" admin
accounts=$LAB/state/accounts
lab_agent_stop
cp -a "$accounts" "$LAB/yesterday"
lab_agent_start
open_as admin "$ADMIN"
role "$TOKEN" karin "$ADMIN" viewer
is "karin is an administrator no longer" "$API_STATUS" 204
lab_agent_stop
mv "$accounts" "$LAB/today"
cp -a "$LAB/yesterday" "$accounts"
lab_agent_start
is "yesterday's files do not make her one again" "$(setup)" recovery
open_as karin "$KARIN"
is "nor let her in" "$API_STATUS" 503
lab_agent_stop
rm -rf "$accounts"
mv "$LAB/today" "$accounts"
lab_agent_start
wait_for 20 setup_is active
open_as admin "$ADMIN"
is "today's do let the administrator in" "$API_STATUS" 201
ADMIN_TOKEN=$TOKEN

# ---- factory reset by password
printf '%s\n' "$ADMIN" | ctl key create owner-key > /dev/null 2>&1
as "$ADMIN_TOKEN" GET /v1/keys
like "there is a key of the owner" "$(cat "$LAB/api.body")" owner-key
succeeds "and a policy for updates" ctl update policy approval
cp -a "$accounts" "$LAB/owned"
as "$ADMIN_TOKEN" POST /v1/factory-reset '{"current":"not the password at all"}'
is "a reset needs the password" "$API_STATUS" 401
sleep 3.2
exits "and to be asked for" 2 ctl factory-reset --stdin
printf '%s\n' "$ADMIN" | ctl factory-reset --yes --stdin > "$LAB/out" 2>&1
is "with it the device is as from the factory" "$? $(setup)" "0 factory"
as "$ADMIN_TOKEN" GET /v1/status
is "no session is left" "$API_STATUS" 401
api GET /v1/status > /dev/null
is "root has to set a password first" "$API_STATUS" 403
open_as admin "$ADMIN"
is "the owner's password is void" "$API_STATUS" 401
sleep 3.2
if [ -e "$LAB/state/keys/owner-key.pem" ] || [ -e "$LAB/state/keys/owner-key.meta" ]; then not_ok "the owner's key is left"; else ok "the owner's key is gone"; fi
[ -e "$LAB/state/keys/device.pem" ] && ok "the device's own key is not"
https GET /v1/health > /dev/null
is "and the certificate on the label still holds" "$HTTPS_STATUS" 200
set_password
is "the code on the label is good again" "$(setup)" active
is "the policy for updates is nobody's choice again" "$(ctl --json update status | jq -r .policy)" automatic
like "the log survived" "$(events)" 'factory_reset\.requested.*factory_reset\.done'
like "with what was before" "$(events)" 'account\.added'
lab_agent_stop
mv "$accounts" "$LAB/today"
cp -a "$LAB/owned" "$accounts"
lab_agent_start
is "the files of the first owner do not come back" "$(setup)" recovery
lab_agent_stop
rm -rf "$accounts"
mv "$LAB/today" "$accounts"
lab_agent_start

# ---- by the button
echo 1 > "$BUTTON"
sleep 2
echo 0 > "$BUTTON"
sleep 1.5
is "a short press does nothing" "$(setup)" active
echo 1 > "$BUTTON"
wait_for 15 setup_is factory
is "a long one resets" "$(setup)" factory
set_password
lab_agent_stop
lab_agent_start
sleep 6
is "once: a button that stays down does nothing more, nor after a restart" "$(setup)" active
echo 0 > "$BUTTON"

# ---- at the console, and out of recovery
fails "not while the agent runs" lab_as agentd "$AGENTD" --config "$CONF" --factory-reset
lab_agent_stop
if [ "$(id -u)" = 0 ]; then
  exits "not as a user whose files the agent could not read" 77 "$AGENTD" --config "$CONF" --factory-reset
fi
rm "$accounts/current"
lab_agent_start
is "without its record the device is in recovery" "$(setup)" recovery
api POST /v1/factory-reset -H 'Content-Type: application/json' -d "$(json --arg c "$ADMIN" '{current: $c}')" > /dev/null
is "where no password resets it" "$API_STATUS" 503
lab_agent_stop
succeeds "somebody at the device does" lab_as agentd "$AGENTD" --config "$CONF" --factory-reset
lab_agent_start
is "and then it is as from the factory" "$(setup)" factory
set_password
is "for whom has the label" "$(setup)" active
lab_agent_stop
rm "$accounts/current" "$accounts/label"
exits "without the label's verifier a reset helps nobody" 71 lab_as agentd "$AGENTD" --config "$CONF" --factory-reset
like "and says so" "$(cat "$LAB/out")" 'setup.label'
lab_as agentd "$AGENTD" --config "$CONF" --renew-secret > "$LAB/renewed" 2>&1
SECOND_SECRET=$(sed -n 's/^factory-secret: //p' "$LAB/renewed")
like "another secret is given" "$SECOND_SECRET" '^[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}$'
exits "once" 77 lab_as agentd "$AGENTD" --config "$CONF" --renew-secret
lab_agent_start
wait_for 20 setup_is factory
open_as admin "$FACTORY_SECRET"
is "the old label is void" "$API_STATUS" 401
FACTORY_SECRET=$SECOND_SECRET
sleep 3.2
set_password
is "the new one sets the password" "$(setup)" active
like "the log has it" "$(events)" 'factory_secret\.renewed'
done_testing
