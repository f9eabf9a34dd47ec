#!/usr/bin/env bash
# install.sh [--out FOLDER] [MIB...]: the same bundle through agent_update_install() and through stock swupdate, into files on the same
# disk, for each size raw, gzip and zstd; beside the floor: read, SHA-256, write and sync of the image, and the same with reading it back.
# All end with the data on the disk: swupdate does not sync a raw image, so "sync" of its slot is part of its time. Ours has also
# read everything back and compared it by then. swupdate sleeps for a second here and there: sleep() is taken out by a preloaded object.
# The rounds of all go in turn, so that what else the machine does meets all alike; the figure is the median, the ratio of medians.
#   BUILD   top of the build tree (make tests/bench/bench_install tests/bench/bench_floor)
#   ROUNDS  default 3
#   --out   writes install.md and install.svg there
set -eu
: "${BUILD:?BUILD must name the build tree}"
out=
if [ "${1:-}" = --out ]; then out=$(realpath "$2"); shift 2; fi
sizes=${*:-256}
rounds=${ROUNDS:-3}
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
for tool in swupdate /usr/bin/time zstd gzip python3 cc; do
  command -v "$tool" > /dev/null || { echo "SKIP: $tool is not installed"; exit 77; }
done
work=$(mktemp -d "${TMPDIR:-/var/tmp}/bench-install-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work"
mkdir state trust
echo 'unsigned sleep(unsigned s); unsigned sleep(unsigned s) { return s - s; }' > nosleep.c
cc -shared -fPIC -o nosleep.so nosleep.c
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench -keyout key.pem -out cert.pem \
  -addext 'basicConstraints=critical,CA:FALSE' -addext 'keyUsage=critical,digitalSignature' \
  -addext 'extendedKeyUsage=codeSigning,emailProtection' 2> /dev/null
cp cert.pem trust/signer.pem

# Each prints seconds and peak RSS in KiB, and of that what is not shared.
run_ours() {
  rm -rf state boot.env
  mkdir state
  "$BUILD/tests/bench/bench_install" bundle.swu trust bench:1 "$work/slot.a" "$work/slot.b" state boot.env |
    sed -n 's/^seconds=\([0-9.]*\) peak_rss_kib=\([0-9]*\) own_kib=\([0-9]*\) .*/\1 \2 \3/p'
}
run_peer() {
  local begun ended
  begun=$(date +%s.%N)
  LD_PRELOAD=$work/nosleep.so /usr/bin/time -f '%M' -o rss swupdate -k cert.pem -H bench:bench:1 -e stable,copy-1 -M -m -l 1 -i bundle.swu > swupdate.out 2>&1
  sync slot.peer
  ended=$(date +%s.%N)
  echo "$(echo "$ended $begun" | awk '{ printf "%.3f", $1 - $2 }') $(tail -n 1 rss) 0"
}
run_floor() { echo "$("$BUILD/tests/bench/bench_floor" image slot.floor) 0 0"; }
run_back() { echo "$("$BUILD/tests/bench/bench_floor" image slot.floor back) 0 0"; }

median() { sort -n -k "$2,$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'; }
: > rows
for mib in $sizes; do
  # Half of it noise, half of it text: something for the decoders to do.
  python3 - "$mib" > image << 'PYTHON'
import os, sys
for i in range(int(sys.argv[1])):
    text = b"".join(b"line %d of block %d\n" % (k, i) for k in range(40000))[:524288]
    sys.stdout.buffer.write(os.urandom(524288) + text.ljust(524288, b"."))
PYTHON
  for codec in raw zlib zstd; do
    for s in a b peer floor; do fallocate -l "${mib}M" "slot.$s"; done
    compress=
    [ "$codec" = raw ] || compress="--compress $codec"
    # shellcheck disable=SC2086
    "$source_dir/examples/make-bundle.sh" --image image --slot-class rootfs --version 1.0 --release-id bench --security-version 1 $compress \
      --product bench:1 --signer cert.pem --key key.pem --device-a "$work/slot.peer" --device-b "$work/slot.peer" --out bundle.swu
    sync
    for who in floor back ours peer; do : > "$who.all"; done
    for ((i = 0; i < rounds; i++)); do
      for who in floor back ours peer; do
        # All find their input in the page cache, as it would come from the network.
        cat bundle.swu image > /dev/null
        "run_$who" >> "$who.all"
        sync
      done
    done
    cmp -n "$((mib * 1048576))" image slot.b || { echo "FAIL: our slot differs"; exit 1; }
    cmp -n "$((mib * 1048576))" image slot.peer || { echo "FAIL: the peer's slot differs"; exit 1; }
    echo "$mib $codec $(median floor.all 1) $(median back.all 1) $(median ours.all 1) $(median peer.all 1) $(median ours.all 2) $(median ours.all 3) $(median peer.all 2)" >> rows
  done
done
{
  echo "| MiB | stored | floor s | floor and read back s | ours s | swupdate s | ours : floor and read back | ours : swupdate | ours peak RSS MiB (not shared) | swupdate peak RSS MiB |"
  echo "|---|---|---|---|---|---|---|---|---|---|"
  awk '{ printf "| %d | %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.1f (%.1f) | %.1f |\n", $1, $2, $3, $4, $5, $6, $5 / $4, $5 / $6, $7 / 1024, $8 / 1024, $9 / 1024 }' rows
} > install.md
cat install.md
[ -z "$out" ] || { cp install.md "$out/install.md"; python3 "$source_dir/tests/bench/plot_install.py" rows > "$out/install.svg"; }
