#!/usr/bin/env bash
# shellcheck disable=SC2119,SC2317,SC2088,SC2015
# The events of a day in minutes: BUILD=... tests/bench/day.sh [SECONDS, default 60; the full run: 600]
# What a device does in 24 hours with the defaults of agentd.conf, squeezed together: messages of programs, telemetry and canaries, connections to
# the broker (a TPM signature each), looks at a source of updates, renewals by EST, questions of a person. Each kind of event comes once before
# that, in the same life of the programs, so that what is made once has been made. Memory and descriptors are read meanwhile, and what is left in
# the TPM after a kill -9 before and after it. Ends by itself, with a table and a verdict. A telemetry message is at most one a second, so
# programs send those that do not fit.
. "$(dirname "$0")/../e2e/lib.sh"
need swtpm mosquitto openssl jq curl python3 pkg-config make tpm2_getcap
RUN_S=${1:-60}
SAMPLES=10
H=$LAB/hawk EST=$LAB/est
mkdir -p "$H" "$EST" "$LAB/app"
chmod 755 "$H"
DOUBLE_PID='' EST_PID='' CHILDREN=''
clean_up() {
  local code=$? p
  for p in $DOUBLE_PID $EST_PID $CHILDREN; do kill "$p" 2> /dev/null; done
  (exit "$code")
  e2e_end
}
trap clean_up EXIT
example_make "$LAB/app" link-app || exit 1

# ---- a device with all that talks by itself
lab_users; lab_make; lab_pki
lab_ca est-ca "/CN=Demo EST CA"
lab_leaf est-ca est "/CN=localhost" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost'
mkdir -p "$LAB/trust/est"
chmod 755 "$LAB/trust/est"
cp "$PKI/est-ca.pem" "$LAB/trust/est/ca.pem"
lab_slots; lab_tpm_start
HAWK_PORT=$(lab_free_port) OTHER_PORT=$(lab_free_port) EST_PORT=$(lab_free_port)
printf 'Tk0123456789\n' > "$LAB/token"
chmod 600 "$LAB/token"
lab_own agentd-link: "$LAB/token"
ME=$(id -u)
LOOK_S=$((RUN_S / 26 > 0 ? RUN_S / 26 : 1))
lab_config "mqtt: { telemetry_s = 1;
  queues = [ \"alarms topic=alarms/# loss_messages=1 priority=9 size_kib=1024\" ]; rights = [ \"publish uid:$ME ~/#\", \"publish uid:$ME alarms/#\" ]; };
source: { kind = \"hawkbit\"; poll_min_s = $LOOK_S; poll_max_s = $LOOK_S; };
hawkbit: { url = \"https://localhost:$HAWK_PORT/\"; token_file = \"$LAB/token\"; };
est: { url = \"https://localhost:$EST_PORT\"; retry_min_s = 1; retry_max_s = 2; };"
sed -i 's/ telemetry_s = 2;//' "$CONF"
lab_provision
echo '{"actions": [], "sleep": "00:00:01"}' > "$H/control"
python3 "$LAB_SOURCE/tests/hawkbit_double.py" --dir "$H" --port "$HAWK_PORT" --other-port "$OTHER_PORT" --cert "$PKI/broker.pem" \
  --key "$PKI/broker.key" --controller "$LAB_SERIAL" --token Tk0123456789 > "$LAB/log/double.out" 2>&1 & DOUBLE_PID=$!
python3 "$LAB_SOURCE/tests/est_server.py" "$PKI" "$EST" "$EST_PORT" > "$LAB/log/est.out" 2>&1 & EST_PID=$!
wait_for 20 grep -q ready "$LAB/log/est.out" || lab_fail "the EST server did not start"
lab_broker_start
lab_agent_start
set_password

online() { [ "$(api GET /v1/status | jq -r .link_state)" = online ]; }
not_after() { ctl --json enrol status | jq -r '.not_after // 0'; }
idle() { [ "$(ctl --json enrol status | jq -r .state)" = idle ]; }
is_newer() { [ "$(not_after)" -gt "$1" ] && idle; }
emptied() { ctl --json queue list | jq -e '[.queues[] | select(.name != "telemetry") | .messages] | add == 0'; }
N_RENEWED=0
renew() { # [--new-key]
  local before
  before=$(not_after)
  wait_for 30 ctl enrol renew "$@" && wait_for 60 is_newer "$before" && N_RENEWED=$((N_RENEWED + 1))
}
N_RESTARTS=0
restart_broker() {
  kill -9 "$BROKER_PID"; wait "$BROKER_PID" 2> /dev/null
  lab_broker_start
  N_RESTARTS=$((N_RESTARTS + 1))
  wait_for 30 online
}
publish() { # N PAUSE-MS: two programs, each to the end
  "$LAB/app/link-app" -s "$RUN/link.sock" publish alarms/fire 1 "$1" 64 "$2" > "$LAB/acked.alarms" 2> "$LAB/pub.err" & CHILDREN="$!"
  "$LAB/app/link-app" -s "$RUN/link.sock" publish "~/data" 1 "$1" 200 "$2" > "$LAB/acked.data" 2>> "$LAB/pub.err" & CHILDREN="$CHILDREN $!"
}
published() { local p; for p in $CHILDREN; do wait "$p" || not_ok "a program could not publish: $(cat "$LAB/pub.err")"; done; CHILDREN=; }
# What the TPM holds after the whole agent died in the middle of it.
left_in_tpm() {
  kill -9 "$AGENT_PID"; wait "$AGENT_PID" 2> /dev/null; AGENT_PID=
  wait_for 20 all_gone
  local kind out=
  for kind in handles-transient handles-loaded-session handles-saved-session; do
    out="$out $(tpm2_getcap -T "$TCTI" "$kind" | grep -c 0x)"
  done
  echo "${out# }"
}
all_gone() { local p; for p in $PIDS; do [ ! -e "/proc/$p" ] || return 1; done; }
note_pids() { PIDS=$(cat "$RUN"/pids/*); }
PROGRAMS="agentd-link agentd agentd-mgmt"
of_program() { # NAME: PSS, private dirty, descriptors
  local pid
  pid=$(cat "$RUN/pids/$1")
  echo "$(awk '/^Pss:/ { p = $2 } /^Private_Dirty:/ { d = $2 } END { print p, d }' "/proc/$pid/smaps_rollup") $(find "/proc/$pid/fd" -mindepth 1 | wc -l)"
}
sample() { # NAME
  local p all
  all=$(for p in $PROGRAMS; do of_program "$p"; done | tr '\n' ' ')
  echo "$all" >> "$LAB/samples"
  # shellcheck disable=SC2086
  printf '| %s ' "$1" $all
  echo '|'
}
once_each() {
  publish 20 1
  published
  renew && renew --new-key || not_ok "no renewal: $(ctl enrol status)"
  restart_broker
  ctl status > /dev/null
  ctl queue list > /dev/null
  wait_for 60 emptied
}

# ---- once each; then what is in the TPM; and once each in the life that is measured
wait_for 60 online || not_ok "no connection"
once_each
note_pids
BEFORE=$(left_in_tpm)
lab_agent_start
wait_for 60 online || not_ok "no connection after the restart"
once_each
# Pages of freshly built files count as dirty until they are on the disk.
sync -f "$PREFIX"
SHORT=10
sleep $SHORT

# ---- the day
printf '| '
for p in $PROGRAMS; do printf '| %s: PSS, KiB | private dirty, KiB | descriptors ' "$p"; done
printf '|\n|---|---|---|---|---|---|---|---|---|---|\n'
sample idle
: > "$LAB/samples"
pids() { for p in $PROGRAMS; do cat "$RUN/pids/$p"; done; }
PIDS_BEFORE=$(pids) N_RENEWED=0 N_RESTARTS=0 N_ASKED=0
looks() { grep -sc "\"request\": \"GET /DEFAULT/controller/v1/$LAB_SERIAL\"" "$H/log" || true; }
LOOKS=$(looks) CANARIES=$(grep -c "Received PUBLISH from $LAB_SERIAL .*/canary'" "$BROKER_LOG")
COMMANDS=$(ctl --json status | jq -r .tpm_commands)
# 1,440 of each of two programs, and 720 of each for what telemetry cannot do.
N=2160
begin=$SECONDS next_sample=0 next_cut=1
publish $N $((RUN_S * 900 / N))
elapsed() { echo $((SECONDS - begin)); }
while [ "$(elapsed)" -lt "$RUN_S" ] || [ "$next_sample" -le $SAMPLES ]; do
  now=$(elapsed)
  if [ "$now" -ge $((RUN_S * next_cut / 25)) ] && [ "$next_cut" -le 24 ]; then
    restart_broker
    case $next_cut in 6 | 18) renew ;; 12) renew --new-key ;; esac
    next_cut=$((next_cut + 1))
  elif [ "$now" -ge $((RUN_S * next_sample / SAMPLES)) ]; then
    wait_for 30 online
    sample "$((next_sample * 100 / SAMPLES)) %"
    next_sample=$((next_sample + 1))
  else
    ctl status > /dev/null && ctl queue list > /dev/null && N_ASKED=$((N_ASKED + 2))
    sleep 0.5
  fi
done
published
wait_for 60 emptied || not_ok "messages are left: $(ctl queue list)"
is "no program was restarted" "$(pids)" "$PIDS_BEFORE"
is "nothing was dropped, refused or found damaged" "$(ctl --json queue list | jq -c '[.queues[] | select(.name != "telemetry") | .dropped, .refused, .damaged] | unique')" '[0]'
COMMANDS=$(($(ctl --json status | jq -r .tpm_commands) - COMMANDS))
sleep $SHORT
sample "idle after it"
note_pids
AFTER=$(left_in_tpm)
is "the TPM holds what it held before: transient objects, loaded and saved sessions" "$AFTER" "$BEFORE"

# Flat: the largest of the second half and after it is not more than SLACK above the largest of the first. PSS has no verdict: what is shared
# with others depends on what else the machine runs.
flat() { # COLUMN SLACK
  awk -v c="$1" -v slack="$2" '{ n++; v[n] = $c } END { for (i = 1; i <= n; i++) { h = i > n / 2 ? 2 : 1; if (v[i] > m[h]) m[h] = v[i] }
    print m[1], m[2], m[2] <= m[1] + slack ? "flat" : "rises" }' "$LAB/samples"
}
column=2
for p in $PROGRAMS; do
  like "$p: private dirty stays within 48 KiB ($(flat $column 48))" "$(flat $column 48)" flat
  like "$p: descriptors stay within 2 ($(flat $((column + 1)) 2))" "$(flat $((column + 1)) 2)" flat
  column=$((column + 3))
done
echo
echo "| events | a day by the defaults | here, in $RUN_S s |"
echo "|---|---|---|"
echo "| messages of programs, safe on disk before they are acknowledged | 2880 (two of them, one a minute) | $((2 * N)) |"
echo "| telemetry and canary round the broker | 1440 of each | $(($(grep -c "Received PUBLISH from $LAB_SERIAL .*/canary'" "$BROKER_LOG") - CANARIES)) |"
echo "| connections to the broker, after it was killed | 24 | $N_RESTARTS |"
echo "| looks at the source of updates | 24 | $(($(looks) - LOOKS)) |"
echo "| certificates renewed, one with a new key | 3 | $N_RENEWED |"
echo "| calls of agentctl | 48 | $N_ASKED |"
echo "| TPM commands | | $COMMANDS |"
done_testing
