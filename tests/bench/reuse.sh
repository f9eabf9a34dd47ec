#!/usr/bin/env bash
# shellcheck disable=SC2119,SC2317
# reuse.sh [MIB]: how much of a bundle is downloaded when little of the image changed, through the whole agent over HTTPS. The bytes
# are those of all answers' bodies as the server's log has them (tests/e2e/range_server.py), heads of the bundle and all.
#   BUILD   top of a build tree, already installed
# 1 % of the image is changed in one piece, in 16, in places of 4 KiB; 50 places; what is behind an insertion; and compressed images.
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
pieces() { # N: 1 % of the image in so many pieces
  local i
  for ((i = 0; i < $1; i++)); do
    dd if=/dev/urandom of="$LAB/new" bs=4096 seek=$((i * (blocks / $1) + 5)) count=$((changed / $1)) conv=notrunc status=none
  done
}
places() { # N: so many times 4 KiB, anywhere, the same each time
  local at
  for at in $(awk -v n="$1" -v blocks="$blocks" 'BEGIN { srand(7); while (k < n) { at = int(rand() * blocks); if (!(at in seen)) { seen[at]; print at; k++ } } }'); do
    dd if=/dev/urandom of="$LAB/new" bs=4096 seek="$at" count=1 conv=notrunc status=none
  done
}
inserted() { # BYTES: in the middle, all behind it moves
  (head -c "$((MIB * 524288))" "$LAB/old" && head -c "$1" /dev/urandom && tail -c "+$((MIB * 524288 + 1))" "$LAB/old") | head -c "${MIB}M" > "$LAB/new"
}
printf '%-44s %12s %12s %9s %9s\n' "$MIB MiB" "bundle" "downloaded" "part" "requests"
run() { # NAME "HOW N" [options of bundle create]
  local name=$1 how=$2 size bytes
  shift 2
  cp "$LAB/old" "$LAB/new"
  $how
  version=$((version + 1))
  lab_bundle_of "$WWW/bundle" "$LAB/new" "$version.0" "r-$version" 2 signer "$@" || exit 1
  size=$(stat -c %s "$WWW/bundle")
  # Nothing to be found in the slot that is written.
  dd if=/dev/zero of="$SLOT_B" bs=1M count="$MIB" conv=notrunc status=none
  : > "$SERVED"
  ID=$(api POST /v1/update/fetch -H 'Content-Type: application/json' -d "{\"url\":\"https://localhost:$PORT/good/bundle\"}" | jq -r .id)
  wait_for 600 ended || lab_fail "the installation does not end"
  cmp -n "$((MIB * 1048576))" "$LAB/new" "$SLOT_B" || lab_fail "the slot differs: $(api GET /v1/update)"
  bytes=$(awk '{ n += $3 } END { print n }' "$SERVED")
  awk -v name="$name" -v size="$size" -v b="$bytes" -v n="$(wc -l < "$SERVED")" \
    'BEGIN { printf "%-44s %12d %12d %8.2f%% %9d\n", name, size, b, 100 * b / size, n }'
  api POST /v1/update/rollback > "$LAB/out"
  wait_for 60 rolled_back || lab_fail "the update is not taken back"
}
small='--chunk-size 65536'
# shellcheck disable=SC2086
{
  run "1 % in one piece, chunks of 64 KiB" "pieces 1" $small
  run "1 % in 16 pieces, chunks of 64 KiB" "pieces 16" $small
  run "4 KiB in 50 places, chunks of 64 KiB" "places 50" $small
  run "4 KiB in 50 places, chunks of 1 MiB" "places 50" --chunk-size 1048576
  run "1 % in places of 4 KiB, chunks of 64 KiB" "places $changed" $small
  run "4 KiB inserted in the middle, 64 KiB" "inserted 4096" $small
  run "1 % in one piece, gzip, 64 KiB" "pieces 1" $small --compress zlib
  run "1 % in one piece, zstd, 64 KiB" "pieces 1" $small --compress zstd
}
