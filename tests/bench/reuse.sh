#!/usr/bin/env bash
# shellcheck disable=SC2119,SC2317
# reuse.sh [MIB]: how much of a bundle is downloaded when little of the image changed, through the whole agent over HTTPS. The bytes
# are those of all answers' bodies as the server's log has them (tests/e2e/range_server.py), heads of the bundle and all.
#   BUILD   top of a build tree, already installed
# 1 % of the image is changed: in one piece, and in 16 pieces.
MIB=${1:-512}
export LAB_SLOT_MIB=$MIB
. "$(dirname "$0")/../e2e/lib.sh"
need swtpm mosquitto openssl curl jq python3
lab_up
set_password
WWW=$LAB/www
SERVED=$LAB/log/served
mkdir -p "$WWW"
: > "$SERVED"
PORT=$(lab_free_port)
python3 "$LAB_SOURCE/tests/e2e/range_server.py" "$PORT" "$WWW" "$PKI/broker.pem" "$PKI/broker.key" "$SERVED" > "$LAB/log/range_server.out" 2>&1 &
SERVER_PID=$!
server_end() {
  local code=$?
  kill "$SERVER_PID" 2> /dev/null
  return "$code"
}
trap 'server_end; e2e_end' EXIT
wait_for 30 bash -c "exec 3<> /dev/tcp/127.0.0.1/$PORT" || lab_fail "the server does not start"
ended() { api GET /v1/update | jq -e --argjson id "$ID" '.id == $id and ((.error_name // "") != "" or .stage == "trying")'; }
rolled_back() { [ "$(api GET /v1/update | jq -r .stage)" != trying ]; }

head -c "${MIB}M" /dev/urandom > "$LAB/old"
dd if="$LAB/old" of="$SLOT_A" bs=1M conv=notrunc status=none
blocks=$((MIB * 256))
changed=$((blocks / 100))
version=1
printf '%-34s %12s %12s %9s %9s %9s\n' "$MIB MiB, chunks of 64 KiB" "changed" "downloaded" "part" "requests" "seconds"
run() { # NAME PIECES
  local piece=$((changed / $2)) begun ended_at bytes
  cp "$LAB/old" "$LAB/new"
  for ((i = 0; i < $2; i++)); do
    dd if=/dev/urandom of="$LAB/new" bs=4096 seek=$((i * (blocks / $2) + 5)) count="$piece" conv=notrunc status=none
  done
  version=$((version + 1))
  lab_bundle_of "$WWW/bundle" "$LAB/new" "$version.0" "r-$version" 2 signer --chunk-size 65536 || exit 1
  # Nothing to be found in the slot that is written.
  dd if=/dev/zero of="$SLOT_B" bs=1M count="$MIB" conv=notrunc status=none
  : > "$SERVED"
  begun=$(date +%s.%N)
  ID=$(api POST /v1/update/fetch -H 'Content-Type: application/json' -d "{\"url\":\"https://localhost:$PORT/good/bundle\"}" | jq -r .id)
  wait_for 600 ended || lab_fail "the installation does not end"
  ended_at=$(date +%s.%N)
  cmp -n "$((MIB * 1048576))" "$LAB/new" "$SLOT_B" || lab_fail "the slot differs: $(api GET /v1/update)"
  bytes=$(awk '{ n += $3 } END { print n }' "$SERVED")
  awk -v name="$1" -v c="$((piece * $2 * 4096))" -v b="$bytes" -v all="$((MIB * 1048576))" -v n="$(wc -l < "$SERVED")" -v s="$begun" -v e="$ended_at" \
    'BEGIN { printf "%-34s %12d %12d %8.2f%% %9d %9.1f\n", name, c, b, 100 * b / all, n, e - s }'
  api POST /v1/update/rollback > "$LAB/out"
  wait_for 60 rolled_back || lab_fail "the update is not taken back"
}
run "1 % in one piece" 1
run "1 % in 16 pieces" 16
