#!/usr/bin/env bash
# upload.sh [MIB]: a bundle of that size (1024) over HTTPS; memory of agentd-mgmt before and at its peak.
#   BUILD   top of the build tree, installed; needs three times the size in /tmp
. "$(dirname "$0")/../e2e/lib.sh"
need swtpm mosquitto curl
mib=${1:-1024}
LAB_SLOT_MIB=$((mib + 8))
lab_up
set_password
wait_for 20 https GET /v1/health
mgmt=$(cat "$RUN/pids/agentd-mgmt")
https POST /v1/session -H 'Content-Type: application/json' -d "{\"user\":\"admin\",\"password\":\"$OWNER_PASSWORD\"}" > "$LAB/session"
token=$(sed -n 's/.*"token":"\([^"]*\)".*/\1/p' "$LAB/session")
# One MiB of noise again and again: nothing on the way compresses it, and making it takes no minute.
head -c 1048576 /dev/urandom > "$LAB/noise"
for _ in $(seq "$mib"); do cat "$LAB/noise"; done > "$LAB/image"
lab_bundle 1.0 "$LAB/image" 1
rm -f "$LAB/image"
field() { awk -v f="$1:" '$1 == f { print $2 }' "/proc/$mgmt/status"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$mgmt/stat"; }
echo 5 > "/proc/$mgmt/clear_refs"
before=$(field VmRSS) anon=$(field RssAnon) cpu=$(ticks)
begin=$(date +%s%N)
curl -s --max-time 600 --cacert "$LAB/device-ca.crt" --resolve "gw-${LAB_SERIAL,,}.local:$HTTPS_PORT:127.0.0.1" -o "$LAB/answer" -w '%{http_code}\n' \
  -H "Authorization: Bearer $token" -H 'Content-Type: application/octet-stream' -T "$LAB/bundles/1.0.swu" -X POST \
  "https://gw-${LAB_SERIAL,,}.local:$HTTPS_PORT/v1/update" > "$LAB/code"
[ "$(cat "$LAB/code")" = 200 ] || { echo "the upload failed: $(cat "$LAB/code" "$LAB/answer")"; exit 1; }
echo "| bundle, MiB | s | CPU of agentd-mgmt, s | RSS before, KiB | peak RSS, KiB | of it anonymous before / after, KiB |"
echo "|---|---|---|---|---|---|"
awk -v m="$mib" -v ns=$(($(date +%s%N) - begin)) -v t=$(($(ticks) - cpu)) -v hz="$(getconf CLK_TCK)" -v b="$before" -v p="$(field VmHWM)" -v a="$anon" -v z="$(field RssAnon)" \
  'BEGIN { printf "| %d | %.1f | %.2f | %d | %d | %d / %d |\n", m, ns / 1e9, t / hz, b, p, a, z }'
