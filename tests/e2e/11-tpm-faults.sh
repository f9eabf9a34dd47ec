#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every way in which a TPM is known to go wrong, against a running agent: which state it says, that nothing else hangs,
# and that it works again without a restart once the cause is gone. Prints a table, one row per case, at the end.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need swtpm swtpm_ioctl curl jq tpm2_clear tpm2_createprimary tpm2_evictcontrol tpm2_dictionarylockout tpm2_getcap mosquitto
FAULT=$BUILD/.libs/libtss2-tcti-fault.so
[ -e "$FAULT" ] || { echo "SKIP: $FAULT is not built (make check TESTS=)"; exit 77; }

TABLE=$LAB/table
: > "$TABLE"
lab_users
lab_make
lab_pki
lab_slots
lab_tpm_start
RULES=$LAB/state/faults
TOOLS=swtpm:path=$TPM_SOCKET
export TSS2_LOG=all+none TPM2TOOLS_TCTI=$TOOLS
# Short patience, so that the test is quick: a signature is given up after 2 s, the idle TPM is looked at each second.
settings() { printf 'tpm: { tcti = "%s:%s%s%s"; sign_timeout_s = 2; keygen_timeout_s = 6; probe_s = 1; };\n' "$FAULT" "$RULES" "$1" "$TOOLS"; }
lab_config
# A group may stand only once: replace the line of the lab.
use() { sed -i "s|^tpm: .*|$(settings "$1")|" "$CONF"; }
use @
rules() { printf '%s\n' "$@" > "$RULES.new"; chmod 644 "$RULES.new"; mv "$RULES.new" "$RULES"; }
no_rules() { rm -f "$RULES"; }
: > "$RULES.count"
lab_own agentd: "$RULES.count"
lab_agent_start

core_pid() { cat "$RUN/pids/agentd"; }
state() { ctl --json status 2> /dev/null | jq -r .tpm_state; }
live_state() { ctl --json tpm status 2> /dev/null | jq -r .state; }
detail() { ctl --json tpm status 2> /dev/null | jq -r '.detail // ""'; }
state_is() { [ "$(state)" = "$1" ]; }
# A real signature with the device key, as an operator would have it made.
signs() { timeout 20 "$AGENTCTL" --socket "$SOCKET" key csr device --subject CN=x > "$LAB/csr" 2> "$LAB/sign.err"; }
left_over() { { tpm2_getcap handles-transient; tpm2_getcap handles-loaded-session; } 2> /dev/null | grep -c 0x; }
now_ms() { date +%s%3N; }
CORE=$(core_pid)

# row CASE HOW STATE: call after the fault was made; checks the state. Then undo it and call "back".
row() {
  CASE=$1 HOW=$2 WANT=$3
  SEEN=$WANT
  wait_for 20 state_is "$WANT" || SEEN=$(state)
  WHY=$(detail)
}
back() {
  local from=$SECONDS begun verdict=ok
  begun=$(now_ms)
  until signs && state_is READY; do
    [ $((SECONDS - from)) -lt 25 ] || { verdict="never: $(head -c 150 "$LAB/sign.err")"; break; }
    sleep 0.1
  done
  local took=$(($(now_ms) - begun))
  [ "$(core_pid)" = "$CORE" ] || verdict="agent was restarted"
  [ "$SEEN" = "$WANT" ] || verdict="wrong state"
  printf '%s|%s|%s|%s|%s\n' "$CASE" "$HOW" "$WANT" "$SEEN" "$([ "$verdict" = ok ] && printf '%d.%d s' $((took / 1000)) $((took % 1000 / 100)) || echo "$verdict")" >> "$TABLE"
  if [ "$verdict" = ok ]; then ok "$CASE: $SEEN, works again after $took ms without a restart"; else not_ok "$CASE: seen $SEEN, wanted $WANT; $verdict; $WHY"; fi
}
sessions_left() { [ "$(tpm2_getcap handles-loaded-session 2> /dev/null | grep -c 0x)" = 0 ] || not_ok "$CASE leaves a session in the TPM"; }
tpm_kill() { kill -9 "$TPM_PID"; wait "$TPM_PID" 2> /dev/null; }
tpm_back() { lab_tpm_start; }

# ---- a device fresh from the line: provisioning is the one cure that wants the agent stopped --------
row "not provisioned" "no srk.name" OPENING
is "a device that was not provisioned says OPENING" "$SEEN" OPENING
like "and why" "$WHY" 'agentd --provision'
like "and the doctor says the same" "$(ctl tpm doctor)" 'warn +tpm: OPENING: .*provisioned'
lab_agent_stop
lab_provision
lab_broker_start
lab_agent_start
CORE=$(core_pid)
set_password
wait_for 20 state_is READY
is "before all that the TPM is READY" "$(live_state)" READY
succeeds "and signs" signs
like "tpm status names maker and lockout" "$(ctl tpm status)" '^maker +IBM'
like "as JSON too" "$(ctl --json tpm status | jq -c '[.state,.manufacturer,.lockout_max,.floor_increments]')" '^\["READY","IBM","?'
like "the doctor finds nothing bad" "$(ctl tpm doctor; echo "exit $?")" 'exit 0'

# ---- what happens to the TPM itself ----------------------------------------------------
tpm_kill
row "gone mid-life" "SIGKILL swtpm" ABSENT
like "  the reason has code and remedy" "$WHY" '0x[0-9a-f]+.*check that the device exists'
like "  the doctor says what to do" "$(ctl tpm doctor; echo "exit $?")" 'start the software TPM|exit 1'
tpm_back; back

# Primes are found by luck: now and then the key is ready before the kill, and then it is tried again.
for n in 1 2 3 4 5; do
  ctl key create "doomed$n" --type rsa-3072 > "$LAB/out" 2>&1 &
  sleep 0.1; tpm_kill
  wait $! || break
  tpm_back; signs
done
row "gone mid-command" "SIGKILL swtpm while it makes an RSA key" ABSENT
tpm_back; back
fails "  no half-made key is left" sh -c "ls -A $LAB/state/keys | grep -E 'doomed${n}[.]pem|[.]doomed${n}|tmp'"

# What it takes on this machine, now, while the TPM answers.
begun=$(now_ms); lab_healthy; state > /dev/null; usual=$(($(now_ms) - begun))
kill -STOP "$TPM_PID"
begun=$(now_ms)
signs; code=$?
took=$(($(now_ms) - begun))
row "hangs" "SIGSTOP swtpm" BUSY
[ "$code" != 0 ] && grep -q 'in time' "$LAB/sign.err" && [ "$took" -lt $((4000 + 5 * usual)) ] && ok "  a caller hears tpm.timeout after its deadline ($took ms)" ||
  not_ok "  a caller of a hung TPM: exit $code after $took ms: $(cat "$LAB/sign.err")"
begun=$(now_ms); lab_healthy; state > /dev/null; took=$(($(now_ms) - begun))
[ "$took" -lt $((1000 + 5 * usual)) ] && ok "  status and health answer at once ($took ms, $usual before)" || not_ok "  status took $took ms, $usual before"
like "  the doctor answers too" "$(ctl tpm doctor)" 'BUSY: the TPM does not finish'
kill -CONT "$TPM_PID"; back

swtpm_ioctl --unix "$TPM_SOCKET.ctrl" -i; tpm2_startup -c
row "reset, state lost" "swtpm_ioctl -i; tpm2_startup -c" READY
back
swtpm_ioctl --unix "$TPM_SOCKET.ctrl" -i
row "not started, raw TPM" "swtpm_ioctl -i" READY
back

# Until it is full; when the agent looks at the TPM next it gives back the slots of its own keys, and those are taken as well.
fill_slots() {
  local n
  for n in 1 2; do
    while tpm2_createprimary -Q -C n -G ecc -c "$LAB/f.ctx" 2> /dev/null; do :; done
    [ "$n" = 2 ] || sleep 1.3
  done
}
leak_sessions() { "$BUILD/tests/tpm/test_tpm_live" "$TOOLS" "$LAB" leak 9 2> /dev/null; }
fill_slots
row "transient slots full, raw TPM" "tpm2_createprimary until 0x902" READY
back
leak_sessions
row "sessions full, raw TPM" "a program that leaves 3 sessions" READY
back

tpm2_dictionarylockout -Q -s -n 1 -t 1000 -l 1000
tpm2_createprimary -Q -C o -G ecc -p right -c "$LAB/da.ctx" 2> /dev/null
tpm2_flushcontext -t
tpm2_create -Q -C "$LAB/da.ctx" -P wrong -u "$LAB/x.pub" -r "$LAB/x.priv" 2> /dev/null
tpm2_flushcontext -t
before=$(tpm2_getcap properties-variable | sed -n 's/.*LOCKOUT_COUNTER: //p')
row "dictionary-attack lockout" "a wrong password, limit 1" LOCKED_OUT
like "  it says how many and how long" "$WHY" '1 wrong passwords, limit 1, one is forgiven every 1000 s'
succeeds "  keys of the agent sign on" signs
like "  the doctor says so" "$(ctl tpm doctor)" 'LOCKED_OUT.*'
ctl tpm doctor > /dev/null; ctl tpm status > /dev/null
is "  and makes it no worse" "$(tpm2_getcap properties-variable | sed -n 's/.*LOCKOUT_COUNTER: //p')" "$before"
swtpm_ioctl --unix "$TPM_SOCKET.ctrl" -i
succeeds "  they are loaded anew in it as well: noDA, like the storage root key" wait_for 20 signs
is "  it is still a lockout" "$(state)" LOCKED_OUT
tpm2_dictionarylockout -Q -c; back
tpm2_dictionarylockout -Q -s -n 32 -t 10 -l 10

# Somebody else's SRK, then the old one again: the same template gives the same key.
tpm2_evictcontrol -Q -C o -c 0x81000001
tpm2_createprimary -Q -C o -G ecc -c "$LAB/other.ctx"; tpm2_evictcontrol -Q -C o -c "$LAB/other.ctx" 0x81000001; tpm2_flushcontext -t
row "SRK replaced" "tpm2_evictcontrol, another key at 0x81000001" CHANGED
like "  the reason names the remedy" "$WHY" 'put the old TPM back or provision'
like "  a key is not used" "$(signs; cat "$LAB/sign.err")" 'TPM|setup'
tpm2_evictcontrol -Q -C o -c 0x81000001
put_srk_back() {
  tpm2_createprimary -Q -C o -g sha256 -G ecc256:aes128cfb -c "$LAB/srk.ctx" \
    -a 'restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda'
  tpm2_evictcontrol -Q -C o -c "$LAB/srk.ctx" 0x81000001
  tpm2_flushcontext -t
}
put_srk_back; back
tpm2_evictcontrol -Q -C o -c 0x81000001
row "SRK removed" "tpm2_evictcontrol" CHANGED
put_srk_back; back

for i in $(seq 0 200); do tpm2_nvdefine -Q "$(printf '0x%x' $((0x01900000 + i)))" -C o -s 2048 2> /dev/null || break; done
for i in $(seq 300 400); do tpm2_nvdefine -Q "$(printf '0x%x' $((0x01900000 + i)))" -C o -s 64 2> /dev/null || break; done
row "NV full" "tpm2_nvdefine until 0x14b" READY
succeeds "  a key is made all the same: key files need no NV" ctl key create nv-full
back
tpm2_getcap handles-nv-index | sed -n "s/^- *\(0x19[0-9A-Fa-f]*\)/\1/p" | while read -r h; do tpm2_nvundefine -Q "$h" -C o; done

python3 -c "
import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print('held', flush=True); time.sleep(60)" "$TPM_SOCKET" > "$LAB/rude" &
RUDE=$!
wait_for 20 grep -q held "$LAB/rude"
row "occupied by a rude client" "a connection held open" BUSY
kill "$RUDE"; wait "$RUDE" 2> /dev/null; back

lab_tpm_stop; cp -a "$LAB/tpm/state" "$LAB/tpm/backup"
tpm_back; tpm2_clear -Q -c p
row "TPM cleared" "tpm2_clear" CHANGED
lab_tpm_stop; rm -rf "$LAB/tpm/state"; cp -a "$LAB/tpm/backup" "$LAB/tpm/state"
tpm_back; back
lab_tpm_stop
dd if=/dev/urandom of="$(ls "$LAB"/tpm/state/*permall)" bs=64 count=8 seek=4 conv=notrunc 2> /dev/null
swtpm socket --tpm2 --tpmstate "dir=$LAB/tpm/state" --server "type=unixio,path=$TPM_SOCKET" --flags not-need-init,startup-clear > /dev/null 2>&1
row "NV state damaged" "bytes of the state file overwritten" ABSENT
rm -rf "$LAB/tpm/state"; cp -a "$LAB/tpm/backup" "$LAB/tpm/state"
tpm_back; back

# ---- what only an injected answer shows ------------------------------------------------
SIGN=15d START=176
inject() { # CASE HOW STATE RULE...
  local what=$1 how=$2 want=$3
  shift 3
  rules "$@"
  signs
  row "$what" "$how" "$want"
  no_rules
  back
  sessions_left
}
inject "RETRY, for ever" "0x922 to every command" BUSY '* 0x922'
inject "TESTING, for ever" "0x90a to every command" BUSY '* 0x90a'
inject "YIELDED, for ever" "0x908 to every command" BUSY '* 0x908'
inject "NV_RATE, for ever" "0x920 to every command" BUSY '* 0x920'
inject "context gap" "0x901 to session starts" BUSY "$START 0x901"
inject "64 sessions active" "0x905 to session starts" BUSY "$START 0x905"
inject "failure mode" "0x101 to every command" FAILED '* 0x101'
inject "answers cut short" "half of each answer" FAILED '* short'
inject "answers damaged" "noise in each answer" FAILED '* noise'
inject "I/O errors, for ever" "the bus says nothing" ABSENT '* cut'
rules "$SIGN 0x922 2"; succeeds "2 x RETRY is not even noticed" signs
rules "$SIGN 0x922 8"; succeeds "8 x RETRY neither" signs
rules "$SIGN 0x910 1"; succeeds "nor one stale handle" signs
rules "$SIGN 0x184 1"; succeeds "nor one stale handle as a broker says it" signs
rules "$SIGN lose 1"; succeeds "nor one lost answer" signs
rules "$SIGN cut 1"; succeeds "nor one broken connection" signs
rules "$START 0x903 1"; succeeds "nor one moment without a session slot" signs
no_rules
CASE="injected single faults"; sessions_left
rules '17b 0x922 2'
# A module built with sanitizers does not load into a program without them.
if grep -q '^#define AGENT_SANITIZERS' "$BUILD/config.h"; then
  echo "# not tried in a build with sanitizers: the same faults under tpm2-tools"
else
  succeeds "the same faults work under tpm2-tools" env TPM2TOOLS_TCTI="$FAULT:$RULES@$TOOLS" tpm2_getrandom --hex 4
fi
no_rules

# ---- core is killed between the start of a session and the signature ---------------------
objects_now() { tpm2_getcap handles-transient 2> /dev/null | grep -c 0x; }
sessions_now() { tpm2_getcap handles-loaded-session 2> /dev/null | grep -c 0x; }
crash() {
  local old
  old=$(core_pid)
  rules "$SIGN delay=3000 1"
  signs &
  wait_for 20 sh -c "tpm2_getcap handles-loaded-session | grep -q 0x"
  kill -9 "$old"
  wait $! # the caller hears of it
  no_rules
  wait_for 20 sh -c "[ \"\$(cat '$RUN/pids/agentd')\" != $old ]"
  wait_for 20 lab_healthy; wait_for 20 state_is READY
}
tpm2_flushcontext -t; tpm2_flushcontext -l
crash
is "killed in a session: one session is left" "$(sessions_now)" 1
succeeds "  the next life signs" signs
ctl tpm status > "$LAB/out"
n=$(objects_now)
if [ "$n" -le 2 ]; then ok "  and has unloaded the keys of the one before ($n objects, its own)"; else not_ok "  $n objects after the probe"; fi
crash
crash
succeeds "killed so three times, all session slots are taken: it signs all the same" signs
is "  because it has taken them back" "$(sessions_now)" 0
ctl tpm status > "$LAB/out"
n=$(objects_now)
if [ "$n" -le 2 ]; then ok "  $n objects are in the TPM, its own"; else not_ok "  $n objects are in the TPM"; fi
CORE=$(core_pid)

# ---- behind a resource manager it is not ours to tidy up -------------------------------
lab_agent_stop
tpm2_flushcontext -t; tpm2_flushcontext -l
use '!'
lab_agent_start
CORE=$(core_pid)
wait_for 20 state_is READY
swtpm_ioctl --unix "$TPM_SOCKET.ctrl" -i
row "not started, managed TPM" "swtpm_ioctl -i" FAILED
like "  it says who has to" "$WHY" 'TPM2_Startup'
tpm2_startup -c; back
fill_slots
row "transient slots full, managed TPM" "tpm2_createprimary until 0x902" BUSY
tpm2_flushcontext -t; back
leak_sessions
row "sessions full, managed TPM" "a program that leaves 3 sessions" BUSY
tpm2_flushcontext -l; back

# ---- the end ---------------------------------------------------------------------------
events=$(ctl --json events --limit 500 | jq -r 'select(.name == "tpm.state") | .state' | sort -u | tr '\n' ' ')
like "each state is in the event log" "$events" 'ABSENT BUSY CHANGED FAILED LOCKED_OUT .*READY'
like "commands are counted" "$(cat "$RULES.count")" "^$SIGN [0-9]+"
lab_agent_stop
is "nothing is left in the TPM after the agent left" "$(left_over)" 0

echo
{ echo "CASE|PROVOKED BY|EXPECTED|SEEN|WORKS AGAIN AFTER"; cat "$TABLE"; } | column -t -s '|'
echo
done_testing
