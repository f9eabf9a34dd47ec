#!/usr/bin/env bash
# shellcheck disable=SC2119,SC2317,SC2015
# The source of updates: a rollout over a stand-in for hawkBit, from the offer to the result that is told after the boot, with all
# that a bad network and a bad server can do to it; then an index.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl curl jq python3

H=$LAB/hawk
mkdir -p "$H"
chmod 755 "$H"
TOKEN=Tk0123456789abcdefTARGET
DOUBLE_PORT=$(lab_free_port)
OTHER_PORT=$(lab_free_port)
double_start() { # further options
  python3 "$LAB_SOURCE/tests/hawkbit_double.py" --dir "$H" --port "$DOUBLE_PORT" --other-port "$OTHER_PORT" --cert "$PKI/broker.pem" \
    --key "$PKI/broker.key" --controller "$LAB_SERIAL" "$@" > "$LAB/log/double.out" 2>&1 &
  DOUBLE_PID=$!
  wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$OTHER_PORT"
}
double_stop() {
  [ -n "${DOUBLE_PID:-}" ] || return 0
  kill "$DOUBLE_PID" 2> /dev/null
  wait "$DOUBLE_PID" 2> /dev/null
  DOUBLE_PID=
}
trap 'double_stop; e2e_end' EXIT
control() { printf '%s' "$1" > "$H/.control" && mv "$H/.control" "$H/control"; }
told() { jq -r --arg a "$1" '.[$a].status // "" ' "$H/state.json" 2> /dev/null; } # ACTION
told_is() { [ "$(told "$1")" = "$2" ]; }
update() { api GET /v1/update | jq -r "$1"; }
stage_is() { [ "$(update .stage)" = "$1" ]; }
source_says() { api GET /v1/status | jq -r '.source_state + " " + (.source_detail // "")'; }
source_is() { source_says | grep -qE -- "$1"; }
events_have() { ctl events --limit 200 | grep -qE -- "$1"; }
comes() { # "what" COMMAND...: within half a minute
  local w=$1
  shift
  if wait_for 40 "$@"; then ok "$w"; else not_ok "$w: $(source_says), $(cat "$H/state.json" 2> /dev/null), $(update -c)"; fi
}
confirm_boot() { lab_reboot && api POST /v1/update/confirm > "$LAB/out" && [ "$(cat "$LAB/api.status")" = 200 ]; }
# A release that does not come up: the boot loader uses its tries without anybody confirming.
fall_back() { lab_agent_stop; lab_boot; lab_boot; lab_boot; lab_boot; lab_agent_start; }

lab_users; lab_make; lab_pki; lab_slots; lab_tpm_start
printf '%s\n' "$TOKEN" > "$LAB/token"
chmod 600 "$LAB/token"
lab_own agentd-link: "$LAB/token"
SOURCE="source: { kind = \"hawkbit\"; poll_min_s = 1; poll_max_s = 2; };
hawkbit: { url = \"https://localhost:$DOUBLE_PORT/\"; token_file = \"$LAB/token\"; distribution = \"gateway\"; };"
lab_config "$SOURCE"
lab_provision
lab_broker_start
control '{"actions": []}'
double_start --token "$TOKEN"
lab_agent_start
set_password

for v in 2 3 4; do
  head -c 3M /dev/urandom > "$LAB/image$v"
  lab_bundle "$v.0" "$LAB/image$v" "$v"
  cp "$LAB/bundles/$v.0.swu" "$H/$v.swu"
done
lab_bundle 9.0 "$LAB/image2" 9 stranger
cp "$LAB/bundles/9.0.swu" "$H/9.swu"
SIZE=$(stat -c %s "$H/2.swu")

# ---- a whole rollout, the download cut twice, at last within the last chunk
control "{\"ask_attributes\": 1, \"actions\": [{\"id\": \"5\", \"file\": \"2.swu\", \"version\": \"2.0\", \"confirm\": 1}], \"cut\": [500000, $((SIZE - 5000))]}"
comes "the bundle of the first action is installed" stage_is trying
is "the download went on where it was cut" "$(jq -s '[.[] | select(.artifact)] | [.[] | select(.cut) | .to] as $cuts | [.[].from] as $from |
  ($cuts | length) == 2 and all($cuts[]; . as $c | any($from[]; . == $c))' "$H/log")" true
is "and the slot holds the image" "$(head -c 3M "$SLOT_B" | sha256sum)" "$(sha256sum < "$LAB/image2")"
comes "the server hears that it is installed" grep -q '"proceeding".*installed, awaiting the boot' "$H/log"
comes "which is no success" told_is 5 RUNNING
shown() { ctl status | grep -qE 'update source +installed'; }
comes "agentctl status shows the source" shown
is "the server asked for attributes" "$(jq -r '.attributes.serial' "$H/state.json")" "$LAB_SERIAL"
lab_reboot
comes "the server hears of the boot" grep -q 'booted, awaiting the health checks' "$H/log"
comes "which is no success either" told_is 5 RUNNING
api POST /v1/update/confirm > "$LAB/out"
comes "success is told after the confirmation" told_is 5 FINISHED
is "once" "$(grep -c '"becomes": "FINISHED"' "$H/log")" 1
comes "the offer is an audit event" events_have 'source\.offered'
comes "so is the result" events_have 'source\.reported.*success'

# ---- failure after a fall-back, and it is not tried again
control '{"actions": [{"id": "6", "file": "3.swu", "version": "3.0"}]}'
comes "the next one is installed" stage_is trying
fall_back
comes "after a fall-back a failure is told" told_is 6 ERROR
told_version() { [ "$(jq -r '.installedBase.version' "$H/state.json")" = 2.0 ]; }
comes "with the version that runs" told_version
like "the failure has a reason" "$(jq -r 'select(.becomes == "ERROR") | .details[]' "$H/log")" 'fell-back: release release-3.0'

# ---- refusals
control '{"actions": [{"id": "7", "file": "9.swu"}]}'
comes "a bundle of a stranger is a failure" told_is 7 ERROR
control '{"actions": [{"id": "8", "file": "4.swu"}], "wrong_size": 1}'
comes "so is one of another size than announced" told_is 8 ERROR
like "both say why" "$(jq -r 'select(.becomes == "ERROR") | .details[]' "$H/log" | tail -n 2 | tr '\n' ' ')" '(signature|signer|untrusted|cms).* fetch\.size'
fails "and neither is tried" stage_is trying

# ---- cancel, before and after the switch
control '{"actions": [{"id": "10", "file": "4.swu"}], "rate": 300000}'
comes "a slow download is under way" source_is '^installing'
control '{"actions": [{"id": "10", "file": "4.swu", "cancel": 1}], "rate": 300000}'
comes "canceled while it arrives, it is given up" told_is 10 CANCELED
fails "and nothing is tried" stage_is trying
control '{"actions": [{"id": "11", "file": "4.swu", "version": "4.0"}], "no_sha256": 1, "redirect_artifact": 1, "chunks": 200}'
comes "from another server, without a hash, it is installed" stage_is trying
control '{"actions": [{"id": "11", "file": "4.swu", "version": "4.0", "cancel": 1}]}'
comes "canceled after the switch, that is rejected" grep -q '"becomes": "CANCEL_REJECTED"' "$H/log"
stage_is trying && ok "and the release stays" || not_ok "and the release stays: $(update -c)"
is "the other server saw no token" "$(jq -r 'select(.other) | .headers.Authorization // "none"' "$H/log" | sort -u)" none

# ---- the server closes the action: nothing is told, the system stays
control '{"actions": [{"id": "11", "file": "4.swu", "gone": 1}]}'
succeeds "the release is booted and confirmed" confirm_boot
comes "a result that gets 410 is dropped" grep -q '"phase": "ended"' "$LAB/link/source.json"
comes "for good" grep -q '"is_told": true' "$LAB/link/source.json"
comes "and says so" events_have 'source\.reported.*dropped'
is "the new system runs" "$(update '.stage + " " + .version')" "idle 4.0"

# ---- servers that say no
control '{"status": 429, "retry_after": 1, "actions": []}'
comes "429 is waited out" source_is '^failed .*429: too many requests'
control '{"status": 500, "actions": []}'
comes "so is 500" source_is '^failed .*answers 500'
control '{"redirect_api": 1, "actions": []}'
comes "the API is not followed elsewhere" source_is '^failed .*307.*redirects'
control '{"deep": 60, "actions": []}'
comes "deep JSON is refused" source_is '^failed .*nested deeper'
control '{"link_elsewhere": 1, "actions": [{"id": "12", "file": "4.swu"}]}'
comes "so is a link to another server" source_is '^failed .*links to another one'
is "which none of this reached" "$(jq -r 'select(.other) | .request' "$H/log" | grep -cv artifacts)" 0
control '{"actions": []}'
comes "and then it goes on by itself" source_is '^idle'
chmod 644 "$LAB/token"
comes "a token that others can read is not used" source_is '^failed .*mode 0644'
chmod 600 "$LAB/token"
comes "one that they cannot is" source_is '^idle'
printf 'WrongToken\n' > "$LAB/token"
comes "401 says where to look" source_is '^failed .*401: it does not know this device'

# ---- the owner wants to be asked; and hawkBit behind a proxy that demands the certificate, without a token
double_stop
control '{"actions": []}'
lab_agent_stop
cp "$LAB/trust/broker/device.pem" "$LAB/trust/fetch/device.pem"
lab_config "source: { kind = \"hawkbit\"; poll_min_s = 1; poll_max_s = 2; }; hawkbit: { url = \"https://localhost:$DOUBLE_PORT/\"; };"
: > "$H/log"
double_start --client-ca "$PKI/device-ca.pem"
lab_agent_start
comes "the certificate alone says who we are" source_is '^idle'
is "to the proxy, without a token" "$(jq -r 'select(.request) | "\(.certificate) \(.headers.Authorization // "none")"' "$H/log" | sort -u)" "true none"
succeeds "the owner wants to be asked" ctl update policy approval
like "nothing waits yet" "$(ctl update approve --source 2>&1)" 'no update'
head -c 3M /dev/urandom > "$LAB/image5"
lab_bundle 5.0 "$LAB/image5" 5
cp "$LAB/bundles/5.0.swu" "$H/5.swu"
control '{"actions": [{"id": "20", "file": "5.swu", "version": "5.0"}], "redirect_artifact": 1}'
comes "what the source offers waits for that" source_is '^waiting .*waits for approval'
is "its action and version are shown" "$(api GET /v1/status | jq -r '.source_action + " " + .source_version')" "20 5.0"
api POST /v1/update/source/approve -H 'Content-Type: application/json' -d '{"action": "19", "version": "5.0"}' > "$LAB/out"
is "another action is not approved" "$(cat "$LAB/api.status")" 422
exits "nor the right one, at another version than the one that waits" 8 ctl update approve --source 20 4.9
like "  which the sentence says" "$(cat "$LAB/out")" 'is of version "5\.0" now'
api POST /v1/update/source/approve -H 'Content-Type: application/json' -d '{"action": "20"}' > "$LAB/out"
is "nor one that does not name what was seen" "$(cat "$LAB/api.status")" 400
is "and nothing is fetched" "$(grep -c '"artifact"' "$H/log")" 0
kill -STOP "$DOUBLE_PID" # the approval wakes the source at once: it must not see this action any more
succeeds "what was shown is" ctl update approve --source
control '{"actions": [{"id": "21", "file": "5.swu", "version": "5.0"}], "redirect_artifact": 1}'
kill -CONT "$DOUBLE_PID"
comes "an action that takes its place waits anew" source_is '^waiting .*waits for approval'
shows_action() { [ "$(api GET /v1/status | jq -r .source_action)" = "$1" ]; }
comes "and is the one that is shown" shows_action 21
kill -9 "$(cat "$RUN/pids/agentd")"
wait_for 30 lab_healthy
comes "also after a restart" shows_action 21
succeeds "approved" wait_for 20 ctl update approve --source 21 5.0
comes "it is installed" stage_is trying
like "by whom is an event" "$(ctl events --limit 200)" 'update\.approved.*21'
is "the other server saw no certificate" "$(jq -r 'select(.other) | .certificate' "$H/log" | sort -u)" false
is "no promise of the API was broken" "$(grep -c '"broken"' "$H/log")" 0
fails "the token is in no log" grep -q "$TOKEN" "$AGENT_LOG"
done_testing
