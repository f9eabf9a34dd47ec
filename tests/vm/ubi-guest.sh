#!/bin/busybox sh
# shellcheck shell=dash
# The guest of ubi.sh: its only program. Every line "ok - " or "not ok - " is one check.
B=/bin/busybox
export PATH=/bin:/sbin LD_LIBRARY_PATH=/lib HOME=/tmp
$B --install -s /bin 2> /dev/null # /bin/setpriv is there, a better one
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
exec > /dev/ttyS0 2>&1
ok() { echo "ok - $*"; }
not_ok() { echo "not ok - $*"; }
is() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1: got '$2', wanted '$3'"; fi; }
like() { if printf '%s' "$2" | grep -qE -- "$3"; then ok "$1"; else not_ok "$1: '$2' does not match '$3'"; fi; }
end() { echo "the end"; poweroff -f; }

# ---- flash: 64 MiB NAND, pages of 2 KiB --------------------------------------------------------------------------------------
for m in bch mtd nandcore nand "nandsim id_bytes=0x20,0xa2,0x00,0x15" ubi; do
  # shellcheck disable=SC2086
  set -- $m
  name=$1
  shift
  insmod "/lib/modules/$name.ko" "$@" || not_ok "module $name"
done
ubiattach -p /dev/mtd0 > /tmp/out 2>&1 || not_ok "$(cat /tmp/out)"
for v in "rootfs_a dynamic 4MiB" "rootfs_b dynamic 4MiB" "rootfs_c static 4MiB" "secrets dynamic 1MiB" "env_1 dynamic 128KiB" "env_2 dynamic 128KiB" "spare dynamic 1MiB"; do
  # shellcheck disable=SC2086
  set -- $v
  ubimkvol /dev/ubi0 -N "$1" -t "$2" -s "$3" > /tmp/out 2>&1 || not_ok "$(cat /tmp/out)"
done
n=0
while [ ! -c /dev/ubi0_6 ] && [ $n -lt 600 ]; do usleep 100000; n=$((n + 1)); done
echo "# Linux $(uname -r), $(cat /sys/class/ubi/ubi0_0/usable_eb_size) bytes a block, $(cat /sys/class/ubi/ubi0_0/reserved_ebs) blocks in rootfs_a"
size=$(wc -c < /data/image)
sum=$(sha256sum < /data/image)
head -c 100000 /dev/urandom > /tmp/old
for i in 0 3; do ubiupdatevol "/dev/ubi0_$i" /tmp/old; done
old() { head -c 100000 "/dev/ubi0_$1" | cmp -s - /tmp/old; }
marker() { cat "/sys/class/ubi/ubi0_$1/upd_marker"; }

# ---- a device: slot a runs ---------------------------------------------------------------------------------------------------
SECOND=1
AS=
device() {
  rm -rf /run/state /run/env
  mkdir /run/state
  printf 'primary=a\nbooted=a\nslot.a.good=1\n' > /run/env
}
probe() { # BUNDLE [options]
  local bundle=$1
  shift
  $AS update_probe --trust /data/trust --state /run/state --env /run/env --slot rootfs:a:/dev/ubi0_0 --slot "rootfs:b:/dev/ubi0_$SECOND" "$@" < "$bundle" 2>&1
}
holds() { [ "$(head -c "$size" "/dev/ubi0_$1" | sha256sum)" = "$sum" ]; }
installs() { # "what" BUNDLE [options]
  local what=$1 out
  shift
  device
  out=$(probe "$@")
  is "$what" "$out" installed
  if holds "$SECOND" && [ "$(marker "$SECOND")" = 0 ] && grep -q '^primary=b$' /run/env && old 0; then
    ok "  equal bytes, tried at the next boot; the volume of the running copy is as it was"
  else
    not_ok "  $what: $(marker "$SECOND") $(cat /run/env)"
  fi
}
refuses() { # "what" PATTERN BUNDLE [options]: nothing has changed
  local what=$1 pattern=$2 before
  shift 2
  device
  before=$(sha256sum < "/dev/ubi0_$SECOND")
  like "$what" "$(probe "$@")" "$pattern"
  if [ "$(sha256sum < "/dev/ubi0_$SECOND")" = "$before" ] && old 0 && old 3 && [ "$(sha256sum < /run/env)" = "$(printf 'primary=a\nbooted=a\nslot.a.good=1\n' | sha256sum)" ]; then
    ok "  and nothing has changed"
  else
    not_ok "  $what: something has changed: $(cat /run/env)"
  fi
}
out_of_service() { grep -q '^primary=a$' /run/env && ! grep -q '^slot.b.good=1' /run/env && ! grep -qE '^slot.b.tries_left=[1-9]' /run/env; }

installs "a bundle of ours" /data/ours.swu
installs "compressed" /data/zstd.swu
installs "over what is there" /data/ours.swu
installs "a stock bundle that names the volume" /data/stock.swu --compat
SECOND=2
installs "a static volume" /data/ours.swu
is "  which is as long as the image" "$(wc -c < /dev/ubi0_2)" "$size"
SECOND=1
ubiupdatevol -t /dev/ubi0_1
out=$(swupdate -k /data/ca.pem -H gw:1 -e stable,copy-2 -M -m -i /data/stock.swu 2>&1) && holds 1 && ok "stock swupdate installs the same bundle, equal bytes" ||
  not_ok "stock swupdate: $(echo "$out" | tail -n 3)"

refuses "an image that is larger than the volume" '^slot.size: .*rootfs_b' /data/large.swu --compat
refuses "the volume of the running copy" '^update.device: .*rootfs_a is slot a, which runs' /data/running.swu --compat
refuses "a volume that is no slot" '^update.device: .*UBI volume named secrets' /data/other.swu --compat
exec 9< /dev/ubi0_1
device
like "a volume that somebody has open" "$(probe /data/ours.swu)" '^slot.busy: '
exec 9<&-
holds 1 && ok "  and its bytes are there" || not_ok "  its bytes are gone"
device
like "without the capability" "$(AS="/bin/setpriv --bounding-set=-sys_resource" probe /data/ours.swu)" '^slot.open: .*CAP_SYS_RESOURCE'
holds 1 && out_of_service && ok "  and its bytes are there" || not_ok "  its bytes are gone, or the environment is wrong: $(cat /run/env)"

# ---- broken off --------------------------------------------------------------------------------------------------------------
device
head -c 1500000 /data/ours.swu > /tmp/half
like "half a bundle" "$(probe /tmp/half)" '^container\.short: '
is "  the volume is marked" "$(marker 1)" 1
cat /dev/ubi0_1 > /dev/null 2>&1 && not_ok "  a marked volume can be read" || ok "  nobody can read it"
out_of_service && ok "  and it is out of service" || not_ok "  $(cat /run/env)"
installs "whole again" /data/ours.swu
for bytes in 400000 1500000 2900000; do
  device
  rm -f /tmp/pipe
  mkfifo /tmp/pipe
  update_probe --trust /data/trust --state /run/state --env /run/env --slot rootfs:a:/dev/ubi0_0 --slot rootfs:b:/dev/ubi0_1 < /tmp/pipe > /tmp/out 2>&1 &
  pid=$!
  exec 8> /tmp/pipe
  head -c "$bytes" /data/ours.swu >&8
  n=0
  while [ "$(marker 1)" != 1 ] && [ $n -lt 600 ]; do usleep 50000; n=$((n + 1)); done
  kill -9 $pid
  wait $pid
  exec 8>&-
  # As after a start: everything UBI knows comes from the flash.
  ubidetach -d 0 > /dev/null && ubiattach -p /dev/mtd0 -d 0 > /dev/null || not_ok "UBI does not come back"
  n=0
  while [ ! -c /dev/ubi0_6 ] && [ $n -lt 600 ]; do usleep 100000; n=$((n + 1)); done
  is "killed after $bytes bytes, attached anew: the volume is marked" "$(marker 1)" 1
  old 0 && old 3 && out_of_service && ok "  the running copy is whole and the other out of service" || not_ok "  $(cat /run/env)"
  out=$(probe /data/ours.swu)
  is "  the next installation begins anew" "$out" installed
  holds 1 && [ "$(marker 1)" = 0 ] && grep -q '^primary=b$' /run/env && ok "  equal bytes" || not_ok "  other bytes, or not tried: $(cat /run/env)"
done

# ---- U-Boot's environment in two volumes ---------------------------------------------------------------------------------------
uboot() {
  rm -rf /run/state
  mkdir /run/state
  update_probe --trust /data/trust --state /run/state --backend uboot --env /data/fw_env.config --booted a --slot rootfs:a:/dev/ubi0_0 --slot rootfs:b:/dev/ubi0_1 < "$1" 2>&1
}
uget() { fw_printenv -c /data/fw_env.config -n "$1" 2>&1; }
factory() {
  ubiupdatevol /dev/ubi0_4 /data/uboot.env
  ubiupdatevol -t /dev/ubi0_5
}
factory
is "an installation with U-Boot's environment in UBI volumes" "$(uboot /data/ours.swu)" installed
is "  its own tools see the switch, and what is others'" "$(uget BOOT_ORDER)|$(uget BOOT_b_LEFT)|$(uget BOOT_b_GOOD)|$(uget ethaddr)" "b a|3|0|02:00:00:00:00:01"
factory
# A copy whose update was cut short: nobody can read the volume.
(head -c 5000 /data/uboot.env; sleep 600) | ubiupdatevol /dev/ubi0_5 - -s 16384 > /dev/null 2>&1 &
torn=$!
n=0
while [ "$(marker 5)" != 1 ] && [ $n -lt 600 ]; do usleep 50000; n=$((n + 1)); done
kill -9 $torn
killall -9 sleep
wait $torn
is "an environment of which one copy was cut short" "$(marker 5)" 1
is "  an installation mends it" "$(uboot /data/ours.swu)" installed
is "  its own tools see the switch" "$(uget BOOT_ORDER)|$(uget BOOT_b_LEFT)|$(marker 4)|$(marker 5)" "b a|3|0|0"

# ---- the sandbox of the daemons --------------------------------------------------------------------------------------------------
sandbox() { sandbox_probe "$1" "$2" ubi:/dev/ubi0_1 ubi:/dev/ubi0_6 2>&1 | paste -sd' '; }
like "agentd-install in its sandbox may update its slot and no other volume" "$(sandbox /data/agentd.conf install)" '^ubi:/dev/ubi0_1 ok ubi:/dev/ubi0_6 (Permission denied|Operation not permitted)$'
sed 's|/dev/ubi0_0|/dev/null|; s|/dev/ubi0_1|/dev/zero|' /data/agentd.conf > /tmp/no-ubi.conf
like "  where no slot is a volume it may update none" "$(sandbox /tmp/no-ubi.conf install)" '^ubi:/dev/ubi0_1 (Permission denied|Operation not permitted) ubi:/dev/ubi0_6 (Permission denied|Operation not permitted)$'
end
