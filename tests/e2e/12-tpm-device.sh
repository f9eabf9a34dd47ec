#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The TCTI for devices, which no software TPM offers: a terminal pair stands in for /dev/tpm0. Signals in the middle of
# commands, a device that is slow, that goes away and that comes back.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need swtpm jq curl tpm2_getcap mosquitto
LIVE=$BUILD/tests/tpm/test_tpm_live RELAY=$BUILD/tests/tpm/pty_relay
[ -x "$LIVE" ] && [ -x "$RELAY" ] || { echo "SKIP: $RELAY is not built (make check TESTS=)"; exit 77; }
[ -c /dev/ptmx ] || { echo "SKIP: no terminals here"; exit 77; }
export TSS2_LOG=all+none
lab_users
lab_make
lab_pki
lab_slots
lab_tpm_start
DEVICE=$LAB/tpm/device
KEYS=$LAB/keys
mkdir -p "$KEYS"
RELAY_PID=

relay_start() {
  rm -f "$DEVICE"
  "$RELAY" "$DEVICE" "$TPM_SOCKET" "${1:-0}" > "$LAB/log/relay.log" 2>&1 &
  RELAY_PID=$!
  wait_for 20 test -c "$DEVICE" || { echo "no relay: $(cat "$LAB/log/relay.log")"; exit 1; }
}
# The device goes, and with it what its users had loaded: the kernel's resource manager sees to that on /dev/tpmrm0.
relay_stop() {
  [ -n "$RELAY_PID" ] || return 0
  { kill -9 "$RELAY_PID"; wait "$RELAY_PID"; } 2> /dev/null
  RELAY_PID=
  TPM2TOOLS_TCTI=swtpm:path=$TPM_SOCKET tpm2_flushcontext -t 2> /dev/null
  TPM2TOOLS_TCTI=swtpm:path=$TPM_SOCKET tpm2_flushcontext -l 2> /dev/null
}
trap 'code=$?; relay_stop; (exit $code); e2e_end' EXIT
live() { timeout -s KILL 60 "$LIVE" "device:$DEVICE" "$KEYS" "$@" 2>> "$LAB/log/live.err"; }
handles() { TPM2TOOLS_TCTI=swtpm:path=$TPM_SOCKET tpm2_getcap "$1" 2> /dev/null | grep -c 0x; }

# ---- the library -----------------------------------------------------------------------
like "no device is tpm.absent" "$(live provision)" '^error tpm.absent: '
relay_start
like "a TPM behind a device is provisioned" "$(live provision)" '^srk 000b'
like "a key is made there" "$(live create key ec-p256)" '^created'
like "an RSA key, in several pieces of answer" "$(live create rsa rsa-2048)" '^created'
like "and signs" "$(live sign rsa "$CONF.none" 2>&1; echo x > "$LAB/msg"; live sign key "$LAB/msg")" 'signed start=2'
relay_stop
relay_start 20
like "signals every half millisecond for 40 signatures, blocked as agentd has it: none fails, no contact lost" \
  "$(live storm key 40 blocked)" '^signed 40 failed 0 opened-again 0$'
out=$(live storm key 20 open)
echo "# a thread that lets signals in: $out"
like "where they are let in the contact breaks, which shows that the storm is one" "$out" 'failed [1-9]|opened-again [1-9]'
relay_stop
relay_start
like "after it the next program signs" "$(live sign key "$LAB/msg")" '^signed'

# A program that lives while its device goes and comes back.
coproc TALK { "$LIVE" "device:$DEVICE" "$KEYS" talk key 2>> "$LAB/log/live.err"; }
read -r line <&"${TALK[0]}"
is "a program has loaded its key" "$line" ready
say() { echo >&"${TALK[1]}"; read -r -t 10 line <&"${TALK[0]}"; local a=$line; read -r -t 10 line <&"${TALK[0]}"; echo "$a; $line"; }
like "and signs" "$(say)" '^signed; state READY'
relay_stop
like "without its device it says ABSENT" "$(say)" '^error tpm\.(absent|io).*state (ABSENT|OPENING)'
relay_start
sleep 0.3
answer=$(say)
case $answer in signed*) ;; *) sleep 1; answer=$(say) ;; esac
like "with the device back it signs with the same key" "$answer" '^signed; state READY'
talk_in=${TALK[1]}
exec {talk_in}>&-
wait "$TALK_PID" 2> /dev/null
rm -f "$KEYS"/*

# ---- the agent -------------------------------------------------------------------------
relay_stop
relay_start 5
TCTI=device:$DEVICE
lab_config
sed -i 's|^tpm: .*|tpm: { tcti = "'"$TCTI"'"; sign_timeout_s = 3; probe_s = 1; };|' "$CONF"
lab_provision
lab_broker_start
lab_agent_start
set_password
core_pid() { cat "$RUN/pids/agentd"; }
state() { ctl --json status 2> /dev/null | jq -r .tpm_state; }
state_is() { [ "$(state)" = "$1" ]; }
CORE=$(core_pid)
succeeds "agentd reaches READY through a device" wait_for 10 state_is READY
(while kill -CHLD "$CORE" && kill -WINCH "$CORE" && kill -URG "$CORE" && kill -CONT "$CORE"; do sleep 0.002; done) 2> /dev/null &
STORM=$!
n=0
for _ in $(seq 15); do ctl key csr device --subject CN=x > /dev/null 2> "$LAB/out" && n=$((n + 1)); done
kill "$STORM" 2> /dev/null; wait "$STORM" 2> /dev/null
succeeds "there was a core to send signals to" test -d "/proc/$CORE"
is "15 signatures under a storm of signals" "$n" 15
is "the same core all the time" "$(core_pid)" "$CORE"
relay_stop
succeeds "with the device gone it is ABSENT" wait_for 20 state_is ABSENT
like "and the doctor knows why" "$(ctl tpm doctor)" 'bad +tpm: ABSENT'
relay_start
back() { ctl key csr device --subject CN=x && state_is READY; }
succeeds "with the device back it signs, without a restart" wait_for 20 back
is "still the same core" "$(core_pid)" "$CORE"
lab_agent_stop
is "no session is left in the TPM" "$(handles handles-loaded-session)" 0
done_testing
