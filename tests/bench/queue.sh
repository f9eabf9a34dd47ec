#!/usr/bin/env bash
# The queue on disk beside SQLite and mosquitto's own persistence, in one run, as root: BUILD=... tests/bench/queue.sh [DIR]
# Each works on a fresh ext4 in a loop device (its file in a new folder in DIR). "on the device" is what that device was asked to
# write, journal of the file system included, after a sync at the end: the same measure for all three.
set -eu
[ "$(id -u)" = 0 ] || { echo "needs root, for a loop device" >&2; exit 1; }
BUILD=$(cd "${BUILD:?say where it was built}" && pwd)
for program in python3 mosquitto mosquitto_pub mosquitto_sub; do
  command -v "$program" > /dev/null || { echo "needs $program" >&2; exit 1; }
done
top=$(mktemp -d "${1:-/var/tmp}/bench-queue-XXXXXX")
work=$top/mnt
broker=
clean_up() { [ -z "$broker" ] || kill "$broker" 2> /dev/null || true; umount "$work" 2> /dev/null || true; rm -rf "$top"; }
trap clean_up EXIT
mkdir "$work"
truncate -s 1G "$top/image"
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$top/image"
mount -o loop "$top/image" "$work"
device=$(basename "$(findmnt -n -o SOURCE "$work")")
device_bytes() { sync -f "$work"; awk '{ print $7 * 512 }' "/sys/block/$device/stat"; }

# on_device FUNCTION MESSAGES PAYLOAD SYNC_EVERY: what FUNCTION prints, then bytes on the device per payload byte
on_device() {
  local before out
  before=$(device_bytes)
  out=$("$@")
  awk -v out="$out" -v a="$before" -v b="$(device_bytes)" -v n="$2" -v s="$3" 'BEGIN { printf "%s %.3f\n", out, (b - a) / (n * s) }'
  rm -rf "${work:?}"/*
}

make_file() { "$BUILD/tests/bench/bench_queue" make "$work/queue" "$@"; }
fill() { "$BUILD/tests/bench/bench_queue" fill "$work/queue" "$@"; }
drain() { "$BUILD/tests/bench/bench_queue" drain "$work/queue" "$@"; }

sqlite() { # MESSAGES PAYLOAD SYNC_EVERY: seconds to add
  /usr/bin/python3 - "$work/db" "$@" << 'PY'
import sqlite3, sys, time
path, n, size, every = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
db = sqlite3.connect(path, isolation_level=None)
db.execute("pragma journal_mode=wal")
db.execute("pragma synchronous=full")
db.execute("create table queue (seq integer primary key, topic text, payload blob)")
start, payload = time.monotonic(), b"x" * size
for i in range(1, n + 1):
    if i % every == 1 or every == 1:
        db.execute("begin")
    db.execute("insert into queue (topic, payload) values (?, ?)", ("meter/17/power", payload))
    if i % every == 0 or i == n:
        db.execute("commit")
print("%.3f" % (time.monotonic() - start))
PY
}

# The broker keeps them for a client that is away. It acknowledges from memory and writes its whole store now and then, at most once a
# second, without fsync: a power cut loses what it acknowledged. It stands here for scale.
mosquitto_offline() { # MESSAGES PAYLOAD SYNC_EVERY: seconds until all are acknowledged
  local port=$((20000 + $$ % 20000)) start end
  printf 'listener %s 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\npersistence_location %s/\nautosave_on_changes true\nautosave_interval %s\nmax_queued_messages 0\n' \
    "$port" "$work" "$3" > "$work/conf"
  mosquitto -c "$work/conf" > "$work/log" 2>&1 &
  broker=$!
  for _ in $(seq 50); do mosquitto_sub -p "$port" -c -i away -q 1 -t 'meter/#' -E 2> /dev/null && break; sleep 0.1; done
  start=$(date +%s.%N)
  /usr/bin/python3 -c 'import sys; l = "x" * int(sys.argv[2]) + "\n"; [sys.stdout.write(l) for _ in range(int(sys.argv[1]))]' "$1" "$2" |
    mosquitto_pub -p "$port" -q 1 -t meter/17/power -l
  end=$(date +%s.%N)
  awk -v t0="$start" -v t1="$end" 'BEGIN { printf "%.3f\n", t1 - t0 }'
  kill "$broker"; wait "$broker" 2> /dev/null || true
  broker=
}

echo "| messages of 1 KiB | sync every | bytes written per payload byte: by calls | on the device | SQLite (WAL, full) | mosquitto | time: SQLite / ours | mosquitto / ours |"
echo "|---|---|---|---|---|---|---|---|"
compare() { # MESSAGES SYNC_EVERY
  make_file "$1" 1024 "$2"
  # shellcheck disable=SC2046
  set -- "$1" "$2" $(on_device fill "$1" 1024 "$2") $(on_device sqlite "$1" 1024 "$2") $(on_device mosquitto_offline "$1" 1024 "$2")
  awk -v n="$1" -v every="$2" -v t="$3" -v calls="$4" -v dev="$5" -v st="$6" -v sd="$7" -v mt="$8" -v md="$9" \
    'BEGIN { printf "| %s | %s | %.2f | %.2f | %.2f | %.2f | %.1f | %.1f |\n", n, every, calls, dev, sd, md, st / t, mt / t }'
}
compare 2000 1
compare 20000 100

# The same for SQLite: add, then read and delete from the oldest on, with a commit for each 1000; memory above that of the interpreter.
sqlite_scale() { # MESSAGES PAYLOAD SYNC_EVERY: seconds to add, to open and to drain, KiB
  /usr/bin/python3 - "$work/db" "$@" << 'PY'
import resource, sqlite3, sys, time
path, n, size, every = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
def open_it():
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=full")
    return db
db = open_it()
db.execute("create table queue (seq integer primary key, topic text, payload blob)")
start, payload = time.monotonic(), b"x" * size
for i in range(1, n + 1):
    if i % every == 1 or i == 1:
        db.execute("begin")
    db.execute("insert into queue (topic, payload) values (?, ?)", ("meter/17/power", payload))
    if i % every == 0 or i == n:
        db.execute("commit")
added = time.monotonic()
db.close()
db = open_it()
opened, n_read = time.monotonic(), 0
while True:
    rows = db.execute("select seq, topic, payload from queue order by seq limit ?", (every,)).fetchall()
    if not rows:
        break
    n_read += len(rows)
    db.execute("delete from queue where seq <= ?", (rows[-1][0],))
assert n_read == n
print("%.3f %.3f %.3f %d" % (added - start, opened - added, time.monotonic() - opened, peak() - before))
PY
}

# And the broker, for a client that is away and then comes; not with a million, which it writes as a whole each second.
mosquitto_scale() { # MESSAGES PAYLOAD SYNC_EVERY: seconds until all are acknowledged, to start again, to drain, peak RSS in KiB
  local t0 t1 t2 t3 port=$((20000 + $$ % 20000))
  t0=$(mosquitto_offline "$@")
  t1=$(date +%s.%N)
  mosquitto -c "$work/conf" > "$work/log" 2>&1 &
  broker=$!
  until (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do sleep 0.01; done
  t2=$(date +%s.%N)
  timeout 120 mosquitto_sub -p "$port" -c -i away -q 1 -t 'meter/#' -C "$1" > "$work/got" || true
  t3=$(date +%s.%N)
  awk -v t0="$t0" -v t1="$t1" -v t2="$t2" -v t3="$t3" -v n="$1" -v got="$(wc -l < "$work/got")" -v rss="$(awk '/^VmHWM/ { print $2 }' "/proc/$broker/status")" \
    'BEGIN { printf "%.3f %.3f %s %d\n", t0, t2 - t1, got == n ? sprintf("%.3f", t3 - t2) : "only-" got, rss }'
  kill "$broker"
  wait "$broker" 2> /dev/null || true
  broker=
}

scale_row() { # NAME MESSAGES FIGURES
  # shellcheck disable=SC2086
  set -- "$1" "$2" $3
  echo "| $1 | $2 | $3 | $4 | $5 | $6 |"
}
echo
echo "| beside it: 200 bytes, commit every 1000 | messages | add, s | open, s | drain, s | peak memory, KiB |"
echo "|---|---|---|---|---|---|"
for n in 1 10000 1000000; do
  scale_row "SQLite (above the interpreter)" "$n" "$(sqlite_scale "$n" 200 1000)"
  rm -rf "${work:?}"/*
done
for n in 1 10000; do
  scale_row "mosquitto (RSS when started again)" "$n" "$(mosquitto_scale "$n" 200 1000)"
  rm -rf "${work:?}"/*
done

echo
echo "| messages of 200 bytes, sync every 1000 | add, s | open after a crash, s | drain, s | peak RSS of open and drain, KiB |"
echo "|---|---|---|---|---|"
for n in 1 10000 1000000; do
  make_file "$n" 200 1000
  # shellcheck disable=SC2046
  set -- "$n" $(fill "$n" 200 1000) $(drain "$n" 200 1000)
  echo "| $n | $2 | $4 | $5 | $6 |"
  rm -f "$work/queue"
done
