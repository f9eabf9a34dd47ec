#!/usr/bin/env bash
# install.sh [--out FOLDER] [MIB...]: the same image through agentd-install, stock swupdate and rauc, into files on the same disk, for each size
# raw, gzip, zstd and encrypted (AES-256-CBC); beside the floor: read, SHA-256, write and sync of the image, and the same with reading it
# back; and beside the decoder alone. Bundles for ours and swupdate are the same file, made by "agentctl bundle create"; those for rauc are "plain".
#   - All end with the data on the disk: swupdate does not sync a raw image, so "sync" of its slot is part of its time. Ours has also
#     read everything back and compared it by then.
#   - swupdate sleeps for a second here and there: sleep() is taken out by a preloaded object.
#   - ours is agentd-install with its sandbox (bench_agentd asks it as core does); for encrypted images the same engine in bench_install, as
#     there is no core here that gives agentd-install the key. The time begins with the start of the process; swupdate's as well, rauc's
#     service runs already, on a bus of its own. Peak RSS is that of the process that installs, as /usr/bin/time has it.
#   - "without reading back" is one more run, of bench_install, less the time from the sync of the slot to the first write after it.
#   - All slots are files that were written before, so that nobody pays for blocks that the file system has to find first.
#   - Floor and decoder are one thread each and know nothing of each other: "floor, read back and decoder" is their sum, one after the other.
#   - "decoder" is zlib, zstd or OpenSSL by itself, from the page cache into nowhere.
#   - rauc has no encrypted images without device mapper and a verity hash tree; that row has none.
# The second table has processor time, in which neither the disk nor a host that takes the processors away shows.
# The rounds of all go in turn, so that what else the machine does meets all alike; the figure is the median, the ratio of medians.
#   BUILD   top of the build tree (make agentd-install agentctl tests/bench/bench_{agentd,install,floor})
#   ROUNDS  default 3
#   --out   writes install.md and install.svg there
# Needs root (rauc mounts its bundle) and 7 times the largest size on the disk of TMPDIR.
set -eu
: "${BUILD:?BUILD must name the build tree}"
BUILD=$(realpath "$BUILD")
out=''
if [ "${1:-}" = --out ]; then out=$(realpath "$2"); shift 2; fi
sizes=${*:-64 256 512 1024}
rounds=${ROUNDS:-3}
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
for tool in swupdate rauc mksquashfs dbus-daemon dbus-send /usr/bin/time zstd openssl python3 cc; do
  command -v "$tool" > /dev/null || { echo "SKIP: $tool is not installed"; exit 77; }
done
[ "$(id -u)" = 0 ] || { echo "SKIP: rauc needs root"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/bench-install-XXXXXX")
bus_pid='' rauc_pid=''
clean_up() {
  [ -z "$rauc_pid" ] || kill "$rauc_pid" 2> /dev/null || true
  [ -z "$bus_pid" ] || kill "$bus_pid" 2> /dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
cd "$work"
mkdir -p trust/update mnt content src run
# swupdate's sockets are beside nobody else's.
export TMPDIR=$work/run
echo 'unsigned sleep(unsigned s); unsigned sleep(unsigned s) { return s - s; }' > nosleep.c
cc -shared -fPIC -o nosleep.so nosleep.c
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 60 -subj /CN=bench -keyout key.pem -out cert.pem \
  -addext 'basicConstraints=critical,CA:FALSE' -addext 'keyUsage=critical,digitalSignature' \
  -addext 'extendedKeyUsage=codeSigning,emailProtection' 2> /dev/null
cp cert.pem trust/update/signer.pem
echo "$(openssl rand -hex 32) $(openssl rand -hex 16)" > aes.key
cat > agentd.conf << CONF
device: { product = "bench:1"; serial = "1"; model = "bench"; };
paths: { state_dir = "$work/core"; link_dir = "$work/link"; install_dir = "$work/state"; run_dir = "$work/run"; trust_dir = "$work/trust"; };
update: {
  boot_backend = "file"; boot_config = "$work/boot.env"; booted_slot = "a";
  slots = ( { class = "rootfs"; name = "a"; path = "$work/slot.a"; }, { class = "rootfs"; name = "b"; path = "$work/slot.b"; } );
};
CONF
cat > backend.sh << 'SH'
#!/bin/sh
case $1 in get-primary) echo A ;; get-state) echo good ;; esac
SH
chmod 755 backend.sh
cat > rauc.conf << CONF
[system]
compatible=bench
bootloader=custom
mountprefix=$work/mnt
statusfile=$work/rauc.status
[keyring]
path=$work/cert.pem
[handlers]
bootloader-custom-backend=$work/backend.sh
[slot.rootfs.0]
device=$work/slot.a
type=raw
bootname=A
[slot.rootfs.1]
device=$work/slot.rauc
type=raw
bootname=B
CONF
printf '[update]\ncompatible=bench\nversion=1.0\n[image.rootfs]\nfilename=image.img\n' > content/manifest.raucm
cat > bus.conf << CONF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=$work/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
CONF
dbus-daemon --config-file=bus.conf --nofork > bus.log 2>&1 &
bus_pid=$!
export DBUS_SESSION_BUS_ADDRESS=unix:path=$work/bus DBUS_STARTER_ADDRESS=unix:path=$work/bus DBUS_STARTER_BUS_TYPE=session

rauc_is_up() {
  dbus-send --session --print-reply --dest=org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus.NameHasOwner string:de.pengutronix.rauc 2> /dev/null |
    grep -q 'boolean true'
}
between() { echo "$1 $2" | awk '{ printf "%.3f", $2 - $1 }'; }
timed() { /usr/bin/time -f '%U %S' -o cpu "$@"; }
cpu() { tail -n 1 cpu | awk '{ print $1 + $2 }'; }

# Each prints seconds, peak RSS in KiB and seconds of processor time, its own and the kernel's for it.
run_ours() {
  rm -rf state boot.env
  mkdir state
  if [ "$codec" = aes ]; then
    timed "$BUILD/tests/bench/bench_install" bundle.swu trust/update bench:1 "$work/slot.a" "$work/slot.b" state boot.env aes.key |
      sed -n 's/^seconds=\([0-9.]*\) peak_rss_kib=\([0-9]*\) .*/\1 \2/p' > figures
  else
    timed "$BUILD/tests/bench/bench_agentd" "$BUILD/agentd-install" agentd.conf bundle.swu "$work/run/install.sock" > figures 2> ours.log || { cat ours.log >&2; return 1; }
  fi
  echo "$(cat figures) $(cpu)"
}
run_engine() {
  local key=
  [ "$codec" != aes ] || key=aes.key
  rm -rf state boot.env
  mkdir state
  # shellcheck disable=SC2086
  "$BUILD/tests/bench/bench_install" bundle.swu trust/update bench:1 "$work/slot.a" "$work/slot.b" state boot.env $key |
    sed -n 's/^seconds=\([0-9.]*\) .* read_back_s=\([0-9.]*\) .*/\1 \2/p' | awk '{ printf "%.3f 0 0\n", $1 - $2 }'
}
run_peer() {
  local begun ended key=
  [ "$codec" != aes ] || key="-K aes.key"
  begun=$(date +%s.%N)
  # shellcheck disable=SC2086
  LD_PRELOAD=$work/nosleep.so /usr/bin/time -f '%M %U %S' -o rss swupdate -k cert.pem $key -H bench:bench:1 -e stable,copy-1 -M -m -l 1 -i bundle.swu > swupdate.out 2>&1
  sync slot.peer
  ended=$(date +%s.%N)
  echo "$(between "$begun" "$ended") $(tail -n 1 rss | awk '{ print $1, $2 + $3 }')"
}
run_rauc() {
  local begun ended i
  [ "$codec" != aes ] || { echo "0 0 0"; return; }
  /usr/bin/time -f '%M' -o rss rauc --conf=rauc.conf --mount="$work/mnt" --override-boot-slot=A service > rauc.log 2>&1 &
  rauc_pid=$!
  for ((i = 0; i < 200; i++)); do
    rauc_is_up && break
    sleep 0.1
  done
  begun=$(date +%s.%N)
  rauc install bundle.raucb > rauc.out 2>&1 || { cat rauc.out rauc.log >&2; return 1; }
  sync slot.rauc
  ended=$(date +%s.%N)
  # time's child, not time itself, which is to write down the figure.
  kill "$(ps -o pid= --ppid "$rauc_pid" | tr -d ' ')"
  wait "$rauc_pid" || true
  rauc_pid=
  echo "$(between "$begun" "$ended") $(tail -n 1 rss) 0"
}
run_floor() { echo "$(timed "$BUILD/tests/bench/bench_floor" image slot.floor) 0 $(cpu)"; }
run_back() { echo "$(timed "$BUILD/tests/bench/bench_floor" image slot.floor back) 0 $(cpu)"; }
run_decode() {
  if [ "$codec" = raw ]; then echo "0 0 0"; else echo "$(timed "$BUILD/tests/bench/bench_floor" packed decode "$codec") 0 $(cpu)"; fi
}

pack() { # the member as it is stored, for the decoder alone
  case $codec in
    raw) : > packed ;;
    zlib) cp src/member packed ;;
    zstd) cp src/member packed ;;
    aes) openssl enc -aes-256-cbc -K "$(cut -d ' ' -f 1 aes.key)" -iv "$(cut -d ' ' -f 2 aes.key)" -in image -out packed ;;
  esac
}
bundles_make() {
  local attributes='' squash
  rm -f bundle.swu bundle.raucb src/member
  case $codec in
    raw) ln image src/member; squash='-noI -noD -noF -noX' ;;
    zlib) gzip -6 -n -c image > src/member; attributes='compressed = "zlib";'; squash='-comp gzip' ;;
    zstd) zstd -q -9 --zstd=wlog=20 -c image > src/member; attributes='compressed = "zstd";'; squash='-comp zstd -Xcompression-level 9' ;;
    aes) ln image src/member; attributes='encrypted = true;'; squash= ;;
  esac
  cat > src/sw-description << TEXT
software = { version = "1.0"; hardware-compatibility = [ "bench:1" ]; stable = { copy-1 = { images = ( {
  filename = "member"; type = "raw"; device = "$work/slot.peer"; installed-directly = true; $attributes
  properties = { slot-class = "rootfs"; }; } ); }; }; };
agent = { profile = "1"; release-id = "bench"; security-version = 1L; products = [ "bench:1" ]; };
TEXT
  "$BUILD/agentctl" bundle create src --out bundle.swu --signer cert.pem --key key.pem --encryption-key aes.key > create.log 2>&1 || { cat create.log >&2; return 1; }
  [ "$codec" = aes ] || rauc bundle --cert=cert.pem --key=key.pem --keyring=cert.pem --mksquashfs-args="$squash" content bundle.raucb > rauc.out 2>&1 ||
    { cat rauc.out >&2; return 1; }
  pack
}

median() { sort -n -k "$2,$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'; }
all='floor back decode ours engine peer rauc'
: > rows
for mib in $sizes; do
  # Half of it noise, half of it text: something for the decoders to do.
  rm -f image content/image.img slot.*
  python3 - "$mib" > image << 'PYTHON'
import os, sys
for i in range(int(sys.argv[1])):
    text = b"".join(b"line %d of block %d\n" % (k, i) for k in range(40000))[:524288]
    sys.stdout.buffer.write(os.urandom(524288) + text.ljust(524288, b"."))
PYTHON
  ln image content/image.img
  for s in a b peer rauc floor; do head -c "${mib}M" /dev/zero > "slot.$s"; done
  for codec in raw zlib zstd aes; do
    bundles_make
    # What the codec before left there must not pass for this one's.
    for s in b peer rauc; do
      dd if=/dev/zero of="slot.$s" bs=1M count=1 conv=notrunc status=none
      dd if=/dev/zero of="slot.$s" bs=1M count=1 seek=$((mib - 1)) conv=notrunc status=none
    done
    sync
    for who in $all; do : > "$who.all"; done
    for ((i = 0; i < rounds; i++)); do
      for who in $all; do
        # All find their input in the page cache, as it would come from the network.
        cat bundle.swu image packed > /dev/null
        [ ! -e bundle.raucb ] || cat bundle.raucb > /dev/null
        "run_$who" >> "$who.all"
        sync
      done
    done
    cmp -n "$((mib * 1048576))" image slot.b || { echo "FAIL: our slot differs"; cat ours.log; exit 1; }
    cmp -n "$((mib * 1048576))" image slot.peer || { echo "FAIL: swupdate's slot differs"; cat swupdate.out; exit 1; }
    [ "$codec" = aes ] || cmp -n "$((mib * 1048576))" image slot.rauc || { echo "FAIL: rauc's slot differs"; cat rauc.log; exit 1; }
    for who in $all; do [ "$(wc -l < "$who.all")" = "$rounds" ] || { echo "FAIL: $who did not finish every round"; exit 1; }; done
    printf '%s %s' "$mib" "$codec" >> rows
    for who in $all; do printf ' %s' "$(median "$who.all" 1)" >> rows; done
    for who in ours peer rauc; do printf ' %s' "$(median "$who.all" 2)" >> rows; done
    for who in back decode ours peer; do printf ' %s' "$(median "$who.all" 3)" >> rows; done
    echo >> rows
    tail -n 1 rows >&2
  done
done
{
  echo "| MiB | stored | floor s | and read back s | decoder s | ours s | without reading back s | swupdate s | rauc s | ours : floor and read back | ours : floor, read back and decoder | without : floor | without : the slower of floor and decoder | ours : swupdate | without : swupdate | ours : rauc | peak RSS MiB: ours | swupdate | rauc |"
  echo "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
  awk '{
    has_rauc = $9 > 0; decode = $2 == "raw" ? "-" : sprintf("%.2f", $5)
    printf "| %d | %s | %.2f | %.2f | %s | %.2f | %.2f | %.2f | %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %s | %.1f | %.1f | %s |\n", $1, $2, $3, $4, decode, $6, $7, $8,
      has_rauc ? sprintf("%.2f", $9) : "-", $6 / $4, $6 / ($4 + $5), $7 / $3, $7 / ($3 > $5 ? $3 : $5), $6 / $8, $7 / $8, has_rauc ? sprintf("%.2f", $6 / $9) : "-", $10 / 1024, $11 / 1024,
      has_rauc ? sprintf("%.1f", $12 / 1024) : "-"
  }' rows
  echo
  echo "| MiB | stored | processor s: floor and read back | decoder | ours, with reading back | swupdate, without | ours : floor, read back and decoder |"
  echo "|---|---|---|---|---|---|---|"
  awk '{ printf "| %d | %s | %.2f | %s | %.2f | %.2f | %.2f |\n", $1, $2, $13, $2 == "raw" ? "-" : sprintf("%.2f", $14), $15, $16, $15 / ($13 + $14) }' rows
} > install.md
cat install.md
[ -z "$out" ] || { cp install.md "$out/install.md"; python3 "$source_dir/tests/bench/plot_install.py" rows > "$out/install.svg"; }
