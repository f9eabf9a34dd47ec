#!/usr/bin/env bash
# flood.sh [SECONDS [ROUNDS]]: floods on loopback against agentd-mgmt on a tenth of a core, and the same against lighttpd for scale.
#   BUILD   top of the build tree, installed (make tests/bench/flood there first); root, for the CPU quota
# For each flood: owner known (has logged in from his address) and unknown, a new connection each 200 ms: served, failed, p50, p99. The column of
# what the host stole says whether the machine was quiet enough to believe times at all: above some 50 ms each s it was not.
. "$(dirname "$0")/../e2e/lib.sh"
need swtpm mosquitto curl openssl lighttpd
seconds=${1:-12}
rounds=${2:-3}
flood=$BUILD/tests/bench/flood
[ -x "$flood" ] || { echo "SKIP: make -C $BUILD tests/bench/flood first"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "SKIP: the CPU quota needs root"; exit 77; }
host=gw-${LAB_SERIAL,,}.local

# A tenth of one core by cgroup (version 1 or 2), 1 ms of each 10: a slow processor is slow evenly. Without one there is no measurement: a ratio of something else would mislead.
QUOTA=
quota_make() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    QUOTA=/sys/fs/cgroup/flood-$$
    { echo +cpu > /sys/fs/cgroup/cgroup.subtree_control; } 2> /dev/null
    mkdir "$QUOTA" && echo "1000 10000" > "$QUOTA/cpu.max"
  else
    QUOTA=/sys/fs/cgroup/cpu/flood-$$
    mkdir "$QUOTA" && echo 10000 > "$QUOTA/cpu.cfs_period_us" && echo 1000 > "$QUOTA/cpu.cfs_quota_us"
  fi || { echo "SKIP: no CPU quota by cgroup here"; exit 77; }
}
quota_put() { echo "$1" > "$QUOTA/cgroup.procs"; }
quota_end() {
  local p
  [ -n "$QUOTA" ] || return 0
  while read -r p; do echo "$p" > "${QUOTA%/*}/cgroup.procs"; done < "$QUOTA/cgroup.procs" 2> /dev/null
  rmdir "$QUOTA"
}
LIGHTTPD_PID=
bench_end() {
  local code=$?
  trap - EXIT
  [ -z "$LIGHTTPD_PID" ] || kill "$LIGHTTPD_PID" 2> /dev/null
  lab_stop
  quota_end
  rm -rf "$LAB"
  exit "$code"
}
trap bench_end EXIT

lab_up
set_password
wait_for 20 https GET /v1/health
quota_make
# Born inside the quota, as a unit with CPUQuota= is: it measures what a handshake costs and asks for its share when it starts.
quota_put "$AGENT_PID"
kill -KILL "$(cat "$RUN/pids/agentd-mgmt")"
measured() { grep -q 'agentd-mgmt: a handshake takes .* 10.0 % of a processor' "$AGENT_LOG"; }
wait_for 60 measured || { echo "agentd-mgmt did not see its quota: $(grep 'a handshake takes' "$AGENT_LOG")"; exit 1; }
echo "$AGENT_PID" > "${QUOTA%/*}/cgroup.procs"
echo "# $(grep 'a handshake takes' "$AGENT_LOG" | tail -n 1)"
mgmt=$(cat "$RUN/pids/agentd-mgmt")

# lighttpd with the same sort of key, as Debian ships it.
mkdir "$LAB/www"
head -c 40000 /dev/zero > "$LAB/www/index.html"
cp "$LAB/www/index.html" "$LAB/www/app.js"
cat "$PKI/broker.key" "$PKI/broker.pem" > "$LAB/lighttpd.pem"
LIGHTTPD_PORT=$(lab_free_port)
cat > "$LAB/lighttpd.conf" << CONF
server.modules = ("mod_openssl")
server.document-root = "$LAB/www"
server.bind = "127.0.0.1"
server.port = $LIGHTTPD_PORT
server.max-connections = 512
server.max-fds = 2048
index-file.names = ("index.html")
ssl.engine = "enable"
ssl.pemfile = "$LAB/lighttpd.pem"
ssl.openssl.ssl-conf-cmd = ("MinProtocol" => "TLSv1.3")
CONF
lighttpd -D -f "$LAB/lighttpd.conf" > "$LAB/log/lighttpd.out" 2>&1 &
LIGHTTPD_PID=$!

cpu_us() { awk '{ print int($1 / 1000) }' "/proc/$1/schedstat"; }
throttled_us() { awk '/^throttled_(usec|time)/ { print $1 == "throttled_time" ? int($2 / 1000) : $2 }' "$QUOTA/cpu.stat"; }
stolen() { awk '/^cpu / { print $9 }' /proc/stat; }
rss() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }
peak() { awk '/^VmHWM/ { print $2 }' "/proc/$1/status"; }
files() { find "/proc/$1/fd" -mindepth 1 | wc -l; }
token() {
  curl -s --max-time 30 --interface "$1" --cacert "$LAB/device-ca.crt" --resolve "$host:$HTTPS_PORT:127.0.0.1" -H 'Content-Type: application/json' \
    -d "{\"user\":\"admin\",\"password\":\"$OWNER_PASSWORD\"}" "https://$host:$HTTPS_PORT/v1/session" | sed -n 's/.*"token":"\([^"]*\)".*/\1/p'
}
TOKEN=$(token 127.0.0.1)
[ -n "$TOKEN" ] || { echo "the owner cannot log in"; exit 1; }

# row NAME SERVER-PID PORT MODE SOURCES IN-FLIGHT
row() {
  local name=$1 pid=$2 port=$3 mode=$4 sources=$5 in_flight=$6 known=- unknown cpu flood_pid stolen throttled
  echo 5 > "/proc/$pid/clear_refs"
  cpu=$(cpu_us "$pid")
  stolen=$(stolen)
  throttled=$(throttled_us)
  if [ "$mode" != none ]; then "$flood" "$mode" "$port" "$host" 127.1.0.1 "$sources" "$in_flight" "$seconds" > "$LAB/flood.out" & flood_pid=$!; fi
  sleep 1
  if [ "$pid" = "$mgmt" ]; then
    "$flood" owner "$port" "$host" 127.0.0.1 1 1 $((seconds - 2)) "$TOKEN" > "$LAB/known.out" &
    local k=$!
  fi
  "$flood" owner "$port" "$host" 127.9.9.9 1 1 $((seconds - 2)) > "$LAB/unknown.out"
  if [ "$pid" = "$mgmt" ]; then wait "$k"; known=$(cat "$LAB/known.out"); fi
  [ "$mode" = none ] || wait "$flood_pid"
  sleep 2
  unknown=$(cat "$LAB/unknown.out")
  cpu=$((($(cpu_us "$pid") - cpu) / seconds / 1000))
  stolen=$((($(stolen) - stolen) * 1000 / $(getconf CLK_TCK) / seconds))
  throttled=$((($(throttled_us) - throttled) / seconds / 1000))
  show() { if [ "$1" = - ]; then echo "- | -"; else echo "$1 of $(($1 + $2)) | $3 / $4"; fi; }
  # shellcheck disable=SC2086
  echo "| $name | $([ "$mode" = none ] && echo - || awk '{ print $1 " / " $2 }' "$LAB/flood.out") | $(show $known) | $(show $unknown) | $cpu | $throttled | $stolen | $(peak "$pid") |"
  if [ "$pid" = "$mgmt" ]; then printf '%s\t%s\n' "${name#agentd-mgmt, }" "${known##* }" >> "$LAB/p99"; fi
}
echo "| server, flood | flood: tried/s / through/s | known owner served | p50 / p99 ms | unknown owner served | p50 / p99 ms | CPU, ms each s | held back by the quota, ms each s | stolen by the host, ms each s | peak RSS, KiB |"
echo "|---|---|---|---|---|---|---|---|---|---|"
before="$(rss "$mgmt") $(files "$mgmt")"
quota_put "$mgmt"
for _ in $(seq "$rounds"); do
  row "agentd-mgmt, none" "$mgmt" "$HTTPS_PORT" none 1 1
  row "agentd-mgmt, 500 slow clients" "$mgmt" "$HTTPS_PORT" slow 100 500
  row "agentd-mgmt, handshakes from 1 source" "$mgmt" "$HTTPS_PORT" handshake 1 200
  row "agentd-mgmt, handshakes from 200 sources" "$mgmt" "$HTTPS_PORT" handshake 200 200
  row "agentd-mgmt, logins from 20 sources" "$mgmt" "$HTTPS_PORT" login 20 20
done
quota_put "$LIGHTTPD_PID"
row "lighttpd, none" "$LIGHTTPD_PID" "$LIGHTTPD_PORT" none 1 1
row "lighttpd, 500 slow clients" "$LIGHTTPD_PID" "$LIGHTTPD_PORT" slow 100 500
row "lighttpd, handshakes from 1 source" "$LIGHTTPD_PID" "$LIGHTTPD_PORT" handshake 1 200
row "lighttpd, handshakes from 200 sources" "$LIGHTTPD_PID" "$LIGHTTPD_PORT" handshake 200 200
# One bad moment of a virtual machine decides a p99 of a hundred requests: the median of the rounds.
awk -F '\t' -v n="$rounds" '
  { p99[$1, ++seen[$1]] = $2 }
  seen[$1] == 1 { order[++names] = $1 }
  function median(name,   i, j, v, m) {
    for (i = 1; i <= n; i++) v[i] = p99[name, i]
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (v[j] < v[i]) { m = v[i]; v[i] = v[j]; v[j] = m }
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
  }
  END { for (i = 2; i <= names; i++) printf "# agentd-mgmt, %s: p99 of the known owner is %.1f times idle (median of %d)\n", order[i], median(order[i]) / median("none"), n }' "$LAB/p99"
sleep 20
echo "# agentd-mgmt, RSS in KiB and descriptors: $before before, $(rss "$mgmt") $(files "$mgmt") 20 s after all floods"
