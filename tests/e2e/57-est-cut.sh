#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Core killed at its system calls in a renewal with a new key, started again from what is on disk: at any moment there is a certificate that
# works, and the old one goes only after the broker took the new one.
#   EST_CUTS=N      kill points, spread over the calls that touch files or others (4); "files": each of those; "all": every call, entry and exit
#   EST_SHARE=I/N   the I-th of N shares of them (from 0), for several labs at once
# shellcheck source=tests/e2e/lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl curl jq python3
make -s -C "$BUILD" tests/e2e/kill_at > /dev/null || { echo "SKIP: no kill_at"; exit 77; }
KEYS=$LAB/state/keys EST=$LAB/est
lab_users
lab_make
lab_pki
lab_ca est-ca "/CN=Demo EST CA"
lab_leaf est-ca est "/CN=localhost" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost'
mkdir -p "$EST"
cp "$PKI/est-ca.pem" "$LAB/trust/est/ca.pem"
chmod 644 "$LAB/trust/est/ca.pem"
lab_slots
lab_tpm_start
EST_PORT=$(lab_free_port)
python3 "$LAB_SOURCE/tests/est_server.py" "$PKI" "$EST" "$EST_PORT" > "$LAB/log/est.out" 2>&1 &
EST_PID=$!
trap 'kill "${EST_PID:-}" 2> /dev/null; e2e_end' EXIT
wait_for 20 grep -q ready "$LAB/log/est.out" || lab_fail "the EST server did not start: $(cat "$LAB/log/est.out")"
lab_config "est: { url = \"https://localhost:$EST_PORT\"; retry_min_s = 1; retry_max_s = 2; };"
lab_provision
lab_broker_start
lab_agent_start
set_password
lab_agent_stop
export LAB RUN SOCKET CONF AGENTD BROKER_LOG KEYS LAB_SERIAL
KILL_AT=$BUILD/tests/e2e/kill_at python3 "$(dirname "$0")/est_cut.py" "${EST_CUTS:-4}" > "$LAB/cuts" 2>&1
CODE=$?
sed 's/^/# /' "$LAB/cuts"
if grep -q '^SKIP' "$LAB/cuts"; then
  exit 77
fi
is "cut off anywhere: a certificate that works, and the renewal comes to its end" "$CODE" 0
done_testing
