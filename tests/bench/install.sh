#!/usr/bin/env bash
# install.sh [MIB] [ROUNDS]: the same bundle through agent_update_install() and through stock swupdate, into files on the
# same disk, from a cold cache of the slots. Both end with the data on the disk: swupdate does not sync a raw image, so
# "sync" of its slot is part of its time. Ours has also read everything back and compared it by then.
#   BUILD   top of the build tree (make tests/bench/bench_install)
set -eu
: "${BUILD:?BUILD must name the build tree}"
mib=${1:-256}
rounds=${2:-3}
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
command -v swupdate > /dev/null || { echo "SKIP: swupdate is not installed"; exit 77; }
command -v /usr/bin/time > /dev/null || { echo "SKIP: /usr/bin/time is not installed"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/bench-install-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work"
mkdir state trust

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench -keyout key.pem -out cert.pem \
  -addext 'basicConstraints=critical,CA:FALSE' -addext 'keyUsage=critical,digitalSignature' \
  -addext 'extendedKeyUsage=codeSigning,emailProtection' 2> /dev/null
cp cert.pem trust/signer.pem
dd if=/dev/urandom of=image bs=1M count="$mib" status=none
for s in a b peer; do fallocate -l "${mib}M" "slot.$s"; done
"$source_dir/examples/make-bundle.sh" --image image --slot-class rootfs --version 1.0 --release-id bench --security-version 1 \
  --product bench:1 --signer cert.pem --key key.pem --device-a "$work/slot.peer" --device-b "$work/slot.peer" --out bundle.swu
sync

# seconds and peak RSS in KiB of one run, the slot on the disk at the end
ours() {
  rm -rf state boot.env
  mkdir state
  "$BUILD/tests/bench/bench_install" bundle.swu trust bench:1 "$work/slot.a" "$work/slot.b" state boot.env > ours.out
  sed -n 's/^seconds=\([0-9.]*\) peak_rss_kib=\([0-9]*\) own_kib=\([0-9]*\) .*/\1 \2 \3/p' ours.out
}
theirs() {
  local begun ended
  begun=$(date +%s.%N)
  /usr/bin/time -f '%M' -o rss swupdate -k cert.pem -H bench:bench:1 -e stable,copy-1 -M -m -l 1 -i bundle.swu > swupdate.out 2>&1
  sync slot.peer
  ended=$(date +%s.%N)
  echo "$(echo "$ended $begun" | awk '{ printf "%.3f", $1 - $2 }') $(tail -n 1 rss) 0"
}

: > ours.all
: > theirs.all
for ((i = 0; i < rounds; i++)); do
  # Both find the bundle in the page cache, as it would come from the network, and neither finds its slot there.
  cat bundle.swu > /dev/null
  ours >> ours.all
  sync
  cat bundle.swu > /dev/null
  theirs >> theirs.all
  sync
done
cmp -n "$((mib * 1048576))" image slot.b || { echo "FAIL: our slot differs"; exit 1; }
cmp -n "$((mib * 1048576))" image slot.peer || { echo "FAIL: the peer's slot differs"; exit 1; }

median() { sort -n -k "$2,$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'; }
ours_s=$(median ours.all 1) theirs_s=$(median theirs.all 1)
echo "$mib MiB, median of $rounds rounds, data on the disk at the end"
awk -v m="$mib" -v a="$ours_s" -v b="$theirs_s" -v ra="$(median ours.all 2)" -v rb="$(median theirs.all 2)" -v own="$(median ours.all 3)" 'BEGIN {
  printf "%-34s %9s %9s %13s\n", "", "seconds", "MiB/s", "peak RSS MiB"
  printf "%-34s %9.2f %9.0f %13.1f   (%.1f of it not shared)\n", "libagent (read back, compared)", a, m / a, ra / 1024, own / 1024
  printf "%-34s %9.2f %9.0f %13.1f\n", "swupdate (sync of the slot)", b, m / b, rb / 1024
  printf "%-34s %9.2f %9s %13.2f\n", "ratio libagent : swupdate", a / b, "", ra / rb
}'
