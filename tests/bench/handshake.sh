#!/usr/bin/env bash
# handshake.sh [ROUNDS]: connect to a broker that demands client certificates: with a key in a file, with the TPM key in
# process and through agentd, and with tpm2-openssl; and what one signature costs, part by part. Three rounds in turns;
# the table at the end has the best of each, because what disturbs only adds.
#   BUILD   top of the build tree (make check_PROGRAMS; installed as tests/e2e/lib.sh wants it)
. "$(dirname "$0")/../e2e/lib.sh"
need swtpm mosquitto openssl jq
rounds=${1:-200}
lab_up 'vendor: { calls_per_s = 10000; burst = 10000; };'
set_password
ctl key allow device "uid:$(id -u)" > /dev/null || exit 1
ca=$PKI/broker-ca.pem cert=$LAB/trust/broker/device.pem keys=$LAB/state/keys
bench=$BUILD/tests/bench/bench_handshake
export TPM2OPENSSL_TCTI=$TCTI TSS2_LOG=all+none
results=$LAB/results
run() { "$bench" "$@" "$cert" "$ca" localhost "$BROKER_PORT" "$rounds"; }
for _ in 1 2 3; do
  "$bench" file "$PKI/operator.key" "$PKI/operator.pem" "$ca" localhost "$BROKER_PORT" "$rounds" || exit 1
  run agentd "$RUN/vendor.sock" device || exit 1
  # The other two use the TPM themselves; a raw one has room for both while the agent is idle.
  run tpm "$TCTI" "$keys" device || exit 1
  run tpm2-openssl "$keys/device.pem" "$keys/device.auth" || echo "key=tpm2-openssl failed"
  "$BUILD/tests/bench/bench_sign" "$TCTI" "$keys" device "$rounds" || exit 1
done > "$results"
cat "$results"

best() { # PATTERN FIELD: the smallest
  grep -E "$1" "$results" | grep -o "$2=[0-9.]*" | cut -d= -f2 | sort -n | head -n 1
}
file=$(best '^key=file' median_ms)
sign=$(best 'way=bare-sign' wire_Sign)
row() { # NAME VALUE [TPM commands]
  [ -n "$2" ] || { printf '%-44s %8s\n' "$1" "-"; return; }
  awk -v n="$1" -v v="$2" -v f="$file" -v s="$sign" -v c="${3:-}" 'BEGIN { printf "%-44s %8.2f %+8.2f %14s   %s\n", n, v, v - f, (f == v ? "" : v - f <= s + 2 ? "yes" : "NO"), c }'
}
echo
printf '%-44s %8s %8s %14s   %s\n' "connect, TCP to CONNACK, ms" median "- file" "<= 1 Sign + 2" "TPM commands"
row "key in a file" "$file" 0
row "TPM key, in process" "$(best '^key=tpm ' median_ms)" "$(best '^key=tpm ' tpm_commands_per_connect)"
row "TPM key, through agentd" "$(best '^key=agentd' median_ms)"
row "tpm2-openssl $(dpkg-query -W -f '${Version}' tpm2-openssl 2> /dev/null), password session" "$(best '^key=tpm2-openssl' median_ms)"
echo
printf '%-44s %8s %8s %14s %8s\n' "one signature, ms" all "Sign" "StartSession" "host"
for way in bare-sign libagent esys-hmac; do
  printf '%-44s %8s %8s %14s %8s\n' "$way" "$(best "way=$way" median_ms)" "$(best "way=$way" wire_Sign)" \
    "$(best "way=$way" wire_StartAuthSession)" "$(best "way=$way" host)"
done
printf '%-44s %8s   (part of "host" of libagent)\n' "its verification" "$(best 'way=verification' median_ms)"
