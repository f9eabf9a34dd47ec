#!/usr/bin/env bash
# handshake.sh [ROUNDS]: connect to a broker that demands client certificates, with the TPM key and with a key in a file.
#   BUILD   top of the build tree (make tests/bench/bench_handshake; installed as tests/e2e/lib.sh wants it)
. "$(dirname "$0")/../e2e/lib.sh"
need swtpm mosquitto openssl
rounds=${1:-200}
lab_users
lab_make
lab_pki
lab_slots
lab_tpm_start
lab_config
lab_provision
lab_broker_start
ca=$PKI/broker-ca.pem
for _ in 1 2 3; do
  "$BUILD/tests/bench/bench_handshake" file "$PKI/operator.key" "$PKI/operator.pem" "$ca" localhost "$BROKER_PORT" "$rounds" || exit 1
  "$BUILD/tests/bench/bench_handshake" tpm "$TCTI" "$LAB/state/keys" device "$LAB/trust/broker/device.pem" "$ca" localhost "$BROKER_PORT" "$rounds" || exit 1
done
