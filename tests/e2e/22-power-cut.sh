#!/usr/bin/env bash
# Power cuts in a first change, a change and a factory reset: core is killed at its system calls, before and after each, at every third point
# together with the software TPM, and started again from what is on disk. The old password or the new one, exactly one of them; after an answer the
# new one; never the factory's again unless a reset was asked for; never bricked.
#   KILL_POINTS=N    points, spread over the calls that touch files or the TPM (36); "all": every call, entry and exit (some 20 minutes)
#   KILL_AGAIN=N     points at which the power fails again while core starts after the first cut (4)
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need swtpm python3
make -s -C "$BUILD" tests/e2e/kill_at > /dev/null || { echo "SKIP: no kill_at"; exit 77; }
POINTS=${KILL_POINTS:-36}
AGAIN=${KILL_AGAIN:-4}
lab_users
lab_make
lab_pki
lab_slots
lab_tpm_start
lab_config 'mqtt: { enable = false; };'
lab_provision
lab_trust_device
lab_tpm_stop # the script below kills it, and starts it again
[ "$(id -u)" != 0 ] || TPM_MODE=",mode=0660,gid=$(getent group tss | cut -d: -f3)"
export LAB RUN SOCKET CONF AGENTD HTTPS_PORT FACTORY_SECRET TPM_SOCKET TPM_MODE
HOST=gw-${LAB_SERIAL,,}.local KILL_AT=$BUILD/tests/e2e/kill_at python3 "$(dirname "$0")/power_cut.py" "$POINTS" "$AGAIN" > "$LAB/cuts" 2>&1
CODE=$?
sed 's/^/# /' "$LAB/cuts"
if grep -q '^SKIP' "$LAB/cuts"; then exit 77; fi
is "at every point the old password or the new one, and nothing else" "$CODE" 0
count() { sed -n "s/^$1 \([0-9]*\).*/\1/p" "$LAB/cuts"; }
for operation in first change reset; do
  like "killed in a $operation" "$(count $operation)" '^[1-9][0-9]*$'
done
like "sometimes together with the TPM" "$(count tpm)" '^[1-9][0-9]*$'
[ "$AGAIN" = 0 ] || like "killed again while it starts" "$(count twice)" '^[1-9][0-9]*$'
if [ "$POINTS" = all ]; then
  if [ "$(count all)" -ge 1000 ]; then ok "at 1000 points or more"; else not_ok "only $(count all) points"; fi
fi
done_testing
