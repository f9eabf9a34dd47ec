#!/usr/bin/env bash
# Core: provisioning killed anywhere, a TPM that is late, hangs or comes back as another one, second instance, event log.
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2120,SC2317
. "$(dirname "$0")/lib.sh"
need swtpm curl jq openssl

lab_users
lab_make
lab_pki
lab_slots
lab_tpm_start
lab_config 'tpm: { sign_timeout_s = 2; };'

# ---- provisioning
provision() { lab_as agentd "$AGENTD" --config "$CONF" --provision "$@"; }
# A job that is the program itself, so that the signal meets it and not a shell.
provision_as_job() {
  [ "$(id -u)" != 0 ] || exec setpriv --reuid agentd --regid agentd --init-groups -- "$AGENTD" --config "$CONF" --provision
  exec "$AGENTD" --config "$CONF" --provision
}
killed=0
for delay in 0.005 0.01 0.02 0.03 0.04 0.05 0.06 0.07 0.08 0.09 0.1 0.11 0.12 0.13 0.14 0.15 0.17 0.2; do
  provision_as_job > "$LAB/out.$delay" 2> "$LAB/err.$delay" &
  job=$!
  sleep "$delay"
  if kill -KILL "$job" 2> /dev/null; then killed=$((killed + 1)); fi
  wait "$job" 2> /dev/null
  done=$?
  [ "$done" = 0 ] && break
done
if [ "$killed" -gt 3 ]; then ok "provisioning was killed $killed times on its way"; else not_ok "provisioning was killed only $killed times"; fi
if [ "${done:-1}" = 0 ]; then
  FACTORY_SECRET=$(sed -n 's/^factory-secret: //p' "$LAB/out.$delay")
else
  FACTORY_SECRET=$(provision 2> "$LAB/err" | sed -n 's/^factory-secret: //p')
fi
# Killed after the verifier was stored but before the end: then the secret was printed by that run.
[ -n "$FACTORY_SECRET" ] || FACTORY_SECRET=$(cat "$LAB"/out.* | sed -n 's/^factory-secret: //p' | tail -n 1)
like "and gives a secret in the end" "$FACTORY_SECRET" '^[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}$'
succeeds "it can be run again" provision --csr-subject "CN=$LAB_SERIAL" --csr-out "$LAB/state/device.csr"
like "and never replaces the secret" "$(cat "$LAB/out")" 'already set'
like "the request is signed by the key in the TPM" "$(openssl req -in "$LAB/state/device.csr" -noout -verify -subject 2>&1)" "CN ?= ?$LAB_SERIAL"
exits "half a request is a usage error" 64 provision --csr-out "$LAB/x.csr"
is "no private key lies in the files" "$(grep -l 'BEGIN .*PRIVATE KEY' "$LAB"/state/keys/*.pem | xargs -r grep -L 'TSS2 PRIVATE KEY')" ""

# ---- a TPM that comes late
setup() { api GET /v1/bootstrap | jq -r .state; }
setup_is() { [ "$(setup)" = "$1" ]; }
lab_tpm_stop
lab_agent_start
is "without a TPM core runs and says it does not know" "$(setup)" unavailable
api POST /v1/session -H 'Content-Type: application/json' -d "{\"user\":\"admin\",\"password\":\"$FACTORY_SECRET\"}" > /dev/null
is "and lets nobody in" "$API_STATUS" 503
lab_tpm_start
if wait_for 10 setup_is factory; then ok "when it comes, everything is opened"; else not_ok "still $(setup)"; fi
set_password
is "the device works" "$(setup)" active
exits "a second core is refused" 75 lab_as agentd "$AGENTD" --config "$CONF"
exits "and provisioning while it runs" 75 provision

# ---- a TPM that hangs
kill -STOP "$TPM_PID"
before=$SECONDS
api POST /v1/keys -H 'Content-Type: application/json' -d '{"name":"late","type":"ec-p256"}' > "$LAB/keys.out" &
job=$!
sleep 0.3
api GET /v1/health > /dev/null
is "while it hangs, the loop answers" "$API_STATUS" 200
api POST /v1/session -H 'Content-Type: application/json' -d "{\"user\":\"admin\",\"password\":\"$OWNER_PASSWORD\"}" > "$LAB/session.out"
like "who needs it hears so in time" "$(cat "$LAB/session.out")" 'tpm.timeout'
if [ $((SECONDS - before)) -lt 10 ]; then ok "within seconds"; else not_ok "after $((SECONDS - before)) s"; fi
kill -CONT "$TPM_PID"
wait "$job"
wait_for 10 sh -c "! curl -s --unix-socket '$SOCKET' http://localhost/v1/keys | grep -q error"
api POST /v1/session -H 'Content-Type: application/json' -d "{\"user\":\"admin\",\"password\":\"$OWNER_PASSWORD\"}" > /dev/null
is "afterwards it works again, in the same process" "$API_STATUS" 201

# ---- a TPM that went away and came back
lab_tpm_stop
api GET /v1/health > /dev/null
is "TPM gone: core answers" "$API_STATUS" 200
lab_tpm_start
key_made() { [ "$(curl -s -o /dev/null -w '%{http_code}' --unix-socket "$SOCKET" -H 'Content-Type: application/json' -d '{"name":"again","type":"ec-p256"}' http://localhost/v1/keys)" = 201 ]; }
if wait_for 15 key_made; then ok "TPM back: keys are made again"; else not_ok "no key after the TPM came back"; fi
like "and listed" "$(api GET /v1/keys | jq -r '.keys[].name' | tr '\n' ' ')" 'again.*device'

# ---- the device CA's key is for nothing else
api POST /v1/keys/device-ca/csr -H 'Content-Type: application/json' -d '{"subject":"CN=evil"}' > /dev/null
is "no request is signed by the device CA's key" "$API_STATUS" 403
like "and somebody wrote it down" "$(api GET '/v1/events?after=0&limit=200' | jq -r '.events[].name' | tr '\n' ' ')" 'agent.provisioned.*password.first_set.*key.created.*key.refused'

# ---- the event log
last=$(api GET '/v1/events?after=0&limit=200' | jq .last)
lab_agent_stop
log=$LAB/state/events/events.log
truncate -s -7 "$log"
lab_agent_start
after=$(api GET '/v1/events?after=0&limit=200')
is "a torn last line costs that line only" "$(jq -r '.events | map(.seq) == [range(1; (length) + 1)]' <<< "$after")" true
if [ "$(jq .last <<< "$after")" -ge "$last" ]; then ok "and the log goes on"; else not_ok "last is $(jq .last <<< "$after"), was $last"; fi
lab_agent_stop
sed -i '3s/[0-9a-f]$/x/' "$log"
lab_agent_start
like "a touched line is noticed" "$(api GET '/v1/events?after=0&limit=200' | jq -r '.events[].name' | tr '\n' ' ')" 'events.damaged'

# ---- a configuration that somebody changed
n_changes() { api GET '/v1/events?after=0&limit=200' | jq '[.events[] | select(.name == "config.changed")] | length'; }
is "starts without a change leave no event of one" "$(n_changes)" 0
lab_agent_stop
sed -i 's/sign_timeout_s = 2/sign_timeout_s = 3/' "$CONF" "$LAB"/etc/agentd.conf.d/*.conf
lab_agent_start
is "a changed setting does" "$(n_changes)" 1
like "with both digests" "$(api GET '/v1/events?after=0&limit=200' | jq -r '.events[] | select(.name == "config.changed") | .from + " " + .to')" '^([0-9a-f]{64}) [0-9a-f]{64}$'
lab_agent_stop
{ echo '# only words'; cat "$CONF"; } > "$CONF.new"
cat "$CONF.new" > "$CONF"
lab_agent_start
is "a comment does not" "$(n_changes)" 1

# ---- another TPM
lab_agent_stop
lab_tpm_stop
mv "$LAB/tpm/state" "$LAB/tpm/state.old"
mkdir "$LAB/tpm/state"
lab_tpm_start
lab_agent_start
if wait_for 10 setup_is recovery; then ok "another TPM means recovery, never factory"; else not_ok "another TPM: $(setup)"; fi
is "a local admin may see why" "$(api GET /v1/status | jq -r .setup)" recovery
api GET /v1/keys > /dev/null
is "and nothing else is open" "$API_STATUS" 503
lab_agent_stop
lab_tpm_stop
rm -rf "$LAB/tpm/state"
mv "$LAB/tpm/state.old" "$LAB/tpm/state"
lab_tpm_start
lab_agent_start
if wait_for 10 setup_is active; then ok "with its own TPM the device is itself again"; else not_ok "own TPM: $(setup)"; fi
done_testing
