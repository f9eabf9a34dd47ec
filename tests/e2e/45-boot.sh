#!/usr/bin/env bash
# Boot backends with the boot loaders' own tools on the other side: fw_printenv and fw_setenv for U-Boot, the real GRUB
# (grub-emu) running examples/boot/grub.cfg on an ext4 image, bootctl for systemd-boot, efibootmgr for EFI variables, a program
# run by systemd-socket-activate for "script". For each: install, reboot, confirm, then a release that is never confirmed and
# falls back.
. "$(dirname "$0")/lib.sh"
need swtpm cpio jq mkenvimage fw_printenv fw_setenv grub-emu grub-editenv grub-script-check mkfs.ext4 debugfs script efibootmgr systemd-socket-activate
TRIES="2 1 0" # boots after the first
B=$LAB/boot
RELEASE=0
backend_name=

use() { # BACKEND CONFIG BOOTED: start the agent as on that device; there is no kernel command line to change
  lab_agent_stop
  lab_config "update: { boot_backend = \"$1\"; boot_config = \"$2\"; booted_slot = \"$3\"; };"
  lab_agent_start
}

# reboot_with BACKEND CONFIG: the boot loader's part (boot_BACKEND prints the slot), then the agent in that slot.
reboot_with() {
  lab_agent_stop
  BOOTED=$("boot_${1//-/_}") || not_ok "$1: the boot loader finds nothing to boot"
  lab_own -R agentd-install: "$B"
  use "$1" "$2" "$BOOTED"
}

field() { ctl --json update status | jq -r ".$1"; }

# The same story for each backend; get SLOT prints "good left" as the boot loader sees it.
story() {
  local backend=$1 config=$2
  RELEASE=$((RELEASE + 1))
  lab_bundle "$RELEASE.0" "$LAB/bundles/image" "$RELEASE"
  lab_bundle "$RELEASE.1" "$LAB/bundles/image" "$RELEASE"
  use "$backend" "$config" a
  succeeds "$backend: a bundle is installed" ctl update install "$LAB/bundles/$RELEASE.0.swu"
  is "$backend: slot b comes first" "$("first_$backend_name")" b
  is "$backend: slot a is good, slot b has ${TRIES_ALL:=3} tries" "$("get_$backend_name" a) $("get_$backend_name" b)" "1 0 0 $TRIES_ALL"
  reboot_with "$backend" "$config"
  is "$backend: slot b boots" "$BOOTED" b
  is "$backend: a try is counted" "$("get_$backend_name" b)" "0 ${TRIES%% *}"
  is "$backend: the agent sees it" "$(field stage) $(field tries_left)" "trying ${TRIES%% *}"
  succeeds "$backend: confirmed" ctl update confirm
  is "$backend: slot b is good, slot a below the floor is out" "$("get_$backend_name" a) $("get_$backend_name" b)" "0 0 1 0"
  reboot_with "$backend" "$config"
  is "$backend: slot b boots again" "$BOOTED" b
  succeeds "$backend: the next one goes to slot a" ctl update install "$LAB/bundles/$RELEASE.1.swu"
  for left in $TRIES; do
    reboot_with "$backend" "$config"
    is "$backend: unconfirmed, slot a has $left tries left" "$BOOTED $("get_$backend_name" a)" "a 0 $left"
  done
  reboot_with "$backend" "$config"
  is "$backend: the boot loader falls back to slot b" "$BOOTED" b
  is "$backend: and the release is remembered" "$(field stage) $(field failed_release_id)" "failed release-$RELEASE.1"
  exits "$backend: it is not installed again" 8 ctl update install "$LAB/bundles/$RELEASE.1.swu"
}

lab_up
set_password
head -c 3M /dev/urandom > "$LAB/bundles/image"


# ---- U-Boot
fw() { local tool=$1; shift; lab_as agentd-install "$tool" -c "$B/fw_env.config" "$@"; }
uget() { fw fw_printenv -n "$1" 2> /dev/null || echo 0; }
first_uboot() { fw fw_printenv -n BOOT_ORDER | cut -d' ' -f1; }
get_uboot() { echo "$(uget "BOOT_${1}_GOOD") $(uget "BOOT_${1}_LEFT")"; }
boot_uboot() { # as examples/boot/uboot.cmd
  local s left
  for s in $(fw fw_printenv -n BOOT_ORDER); do
    left=$(uget "BOOT_${s}_LEFT")
    if [ "$(uget "BOOT_${s}_GOOD")" = 1 ]; then echo "$s"; return; fi
    if [ "$left" -gt 0 ]; then
      fw fw_setenv "BOOT_${s}_LEFT" $((left - 1)) > "$LAB/log/fw.out" 2>&1 && echo "$s" && return
    fi
  done
  return 1
}
if grep -q '^#define HAVE_UBOOTENV 1' "$BUILD/config.h"; then
  printf 'bootcmd=run distro_bootcmd\nethaddr=02:00:00:00:00:01\nBOOT_ORDER=a b\nBOOT_a_GOOD=1\n' > "$LAB/env.txt"
  mkenvimage -r -s 0x4000 -o "$B/uboot.env" "$LAB/env.txt"
  head -c 16384 /dev/zero > "$B/uboot-redund.env"
  printf '# device offset size\n%s 0 0x4000\n%s 0 0x4000\n' "$B/uboot.env" "$B/uboot-redund.env" > "$B/fw_env.config"
  lab_own -R agentd-install: "$B"
  backend_name=uboot story uboot "$B/fw_env.config"
  is "uboot: variables of others are kept" "$(uget bootcmd) $(uget ethaddr)" "run distro_bootcmd 02:00:00:00:00:01"
  # A power cut in the middle of a write: the copy that was being written is torn, the other one counts.
  before=$(fw fw_printenv | sort)
  cp "$B/uboot.env" "$LAB/0"; cp "$B/uboot-redund.env" "$LAB/1"
  fw fw_setenv torn yes > "$LAB/out" 2>&1
  if cmp -s "$B/uboot.env" "$LAB/0"; then torn=$B/uboot-redund.env; else torn=$B/uboot.env; fi
  head -c 8000 /dev/urandom | dd of="$torn" bs=512 seek=3 conv=notrunc status=none
  is "uboot: with one copy torn fw_printenv shows the other" "$(fw fw_printenv | sort)" "$before"
  is "uboot: and so does the agent" "$(field stage) $(field failed_release_id)" "failed release-$RELEASE.1"
  head -c 8000 /dev/urandom | dd of="$B/uboot.env" bs=512 seek=3 conv=notrunc status=none
  head -c 8000 /dev/urandom | dd of="$B/uboot-redund.env" bs=512 seek=3 conv=notrunc status=none
  fails "uboot: without a whole copy nothing is installed" ctl update install "$LAB/bundles/$RELEASE.0.swu"
else
  echo "# built without libubootenv: uboot not tested"
fi

# ---- GRUB
succeeds "grub: examples/boot/grub.cfg parses" grub-script-check "$LAB_SOURCE/examples/boot/grub.cfg"
newest_grub() {
  local s0 s1
  s0=$(grub-editenv "$B/agent/env.0" list | sed -n 's/^agent_seq=//p')
  s1=$(grub-editenv "$B/agent/env.1" list | sed -n 's/^agent_seq=//p')
  case $s0$s1 in 01 | 12 | 20 | [012][!012]) echo 1 ;; *) echo 0 ;; esac
}
gget() { grub-editenv "$B/agent/env.$(newest_grub)" list | sed -n "s/^$1=//p"; }
first_grub() { gget agent_order | cut -d' ' -f1; }
get_grub() { echo "$(gget "agent_good_$1") $(gget "agent_left_$1")"; }
boot_grub() { # the real one, on a disk of its own
  local i slot
  rm -f "$LAB/disk"
  truncate -s 8M "$LAB/disk"
  mkfs.ext4 -q -F -d "$B" "$LAB/disk" > "$LAB/log/mkfs.out" 2>&1
  echo "(hd0) $LAB/disk" > "$LAB/device.map"
  mkdir -p "$LAB/grub"
  { printf 'insmod ext2\ninsmod loadenv\nset root=hd0\n'; cat "$LAB_SOURCE/examples/boot/grub.cfg"; printf 'echo "RESULT slot=$agent_slot."\nexit\n'; } > "$LAB/grub/grub.cfg"
  TERM=xterm timeout 30 script -qec "grub-emu -m $LAB/device.map -d $LAB/grub -r host" /dev/null < /dev/null > "$LAB/log/grub.out" 2>&1
  for i in 0 1; do debugfs -R "dump /agent/env.$i $LAB/env.$i" "$LAB/disk" > "$LAB/log/debugfs.out" 2>&1 && cat "$LAB/env.$i" > "$B/agent/env.$i"; done
  slot=$(tr -d '\r' < "$LAB/log/grub.out" | sed -n 's/.*RESULT slot=\([ab]\)\..*/\1/p')
  echo "$slot"
  [ -n "$slot" ]
}
mkdir -p "$B/agent"
for i in 0 1; do grub-editenv "$B/agent/env.$i" create; done
grub-editenv "$B/agent/env.0" set agent_seq=0 "agent_order=a b" agent_good_a=1 agent_left_a=0 agent_good_b=0 agent_left_b=0 "saved_entry=some other" agent_end=0
lab_own -R agentd-install: "$B"
backend_name=grub story grub "$B/agent/env"
is "grub: variables of others are kept" "$(gget saved_entry)" "some other"
# GRUB's own write torn at the sector in the middle, over and over: the other block counts, and GRUB goes on from there.
RELEASE=$((RELEASE + 1))
lab_bundle "$RELEASE.0" "$LAB/bundles/image" "$RELEASE"
succeeds "grub: another release" ctl update install "$LAB/bundles/$RELEASE.0.swu"
lab_agent_stop
for part in 0 1; do
  cp "$B/agent/env.0" "$LAB/old.0"; cp "$B/agent/env.1" "$LAB/old.1"
  before=$(get_grub a)
  boot_grub > "$LAB/out"
  if cmp -s "$B/agent/env.0" "$LAB/old.0"; then n=1; else n=0; fi
  dd if="$LAB/old.$n" of="$B/agent/env.$n" bs=512 skip="$part" seek="$part" count=1 conv=notrunc status=none
  cp "$B/agent/env.0" "$LAB/torn.0"; cp "$B/agent/env.1" "$LAB/torn.1"
  is "grub: half $part of the write missing, slot a boots, and" "$(boot_grub)" a
  after=$(get_grub a)
  is "a try is counted from the whole block" "$after" "0 $((${before#* } - 1))"
done
lab_own -R agentd-install: "$B"
use grub "$B/agent/env" a
is "grub: the agent reads the same" "$(field stage) $(field tries_left)" "trying 1"
succeeds "grub: and confirms" ctl update confirm
is "grub: slot a is good" "$(get_grub a)" "1 0"

# ---- systemd-boot
# Its package is unpacked, not installed: installing it would change the boot loader of the machine that runs the tests.
BOOTCTL=$(command -v bootctl)
if [ -z "$BOOTCTL" ]; then
  (mkdir -p "$LAB/deb" && cd "$LAB/deb" && apt-get download systemd-boot && dpkg-deb -x systemd-boot_*.deb .) > "$LAB/log/deb.out" 2>&1
  BOOTCTL=$LAB/deb/usr/bin/bootctl
fi
# bootctl wants the ESP to be a file system of its own. It lists in the order of the boot loader: the first one boots.
entries() {
  unshare -m sh -c 'mount -t tmpfs tmpfs "$2" && cp -r "$1"/. "$2" && SYSTEMD_RELAX_ESP_CHECKS=1 "$3" --json=short --esp-path="$2" list' \
    sh "$B/esp" "$LAB/esp" "$BOOTCTL" 2> "$LAB/log/bootctl.out"
}
mkdir -p "$LAB/esp" "$B/esp/loader/entries" "$B/esp/EFI/systemd"
for s in a b; do
  printf 'title Gateway\nlinux /agent/%s/linux\noptions root=PARTLABEL=root_%s agent.slot=%s\n' $s $s $s
done | split -l 3 - "$LAB/entry-"
cp "$LAB/entry-aa" "$B/esp/loader/entries/agent-a.conf"
cp "$LAB/entry-ab" "$B/esp/loader/entries/agent-b+0.conf"
mkdir -p "$B/esp/agent/a" "$B/esp/agent/b"
touch "$B/esp/agent/a/linux" "$B/esp/agent/b/linux"
if entries | grep -q agent-a; then
  first_path() { entries | jq -rs 'flatten | .[0].path' | sed 's|.*/||'; }
  first_systemd_boot() { first_path | sed 's/^agent-\(.\).*/\1/'; }
  get_systemd_boot() { # good left
    local name
    name=$(cd "$B/esp/loader/entries" && echo agent-"$1"*)
    case $name in
      *+*) name=${name#*+}; name=${name%.conf}; echo "0 ${name%%-*}" ;;
      *) echo "1 0" ;;
    esac
  }
  boot_systemd_boot() {
    local name left finished=0
    name=$(first_path)
    case $name in
      *+0*) return 1 ;;
      *+*)
        left=${name#*+}; left=${left%.conf}
        case $left in *-*) finished=${left#*-}; left=${left%-*} ;; esac
        mv "$B/esp/loader/entries/$name" "$B/esp/loader/entries/${name%%+*}+$((left - 1))-$((finished + 1)).conf"
        ;;
    esac
    echo "$name" | sed 's/^agent-\(.\).*/\1/'
  }
  lab_own -R agentd-install: "$B"
  backend_name=systemd_boot story systemd-boot "$B/esp"
  like "systemd-boot: the vendor's lines are kept" "$(cat "$B"/esp/loader/entries/agent-b.conf)" 'options root=PARTLABEL=root_b agent.slot=b'
else
  echo "# no bootctl, or no namespace to run it in: systemd-boot not tested ($(tail -n 1 "$LAB/log/bootctl.out"))"
fi

# ---- EFI variables, in a folder that stands for efivarfs: the files are made and read by efibootmgr
export EFIVARFS_PATH=$B/efivars/
E=$EFIVARFS_PATH
efi() { efibootmgr "$@" 2> "$LAB/log/efibootmgr.err"; }
efi_number() { efi | sed -n "s/^Boot\\(....\\)\\*\\? agent-$1$/\\1/p"; }
efi_order() { efi | sed -n 's/^BootOrder: //p'; }
efi_next() { efi | sed -n 's/^BootNext: //p'; }
first_efi() {
  local n
  n=$(efi_next)
  [ -n "$n" ] || n=$(efi_order | cut -d, -f1)
  efi | sed -n "s/^Boot$n\\*\\? agent-\\(.*\\)$/\\1/p"
}
get_efi() { # good left
  local n
  n=$(efi_number "$1")
  case ,$(efi_order), in *",$n,"*) echo "1 0" ;; *) if [ "$(efi_next)" = "$n" ]; then echo "0 1"; else echo "0 0"; fi ;; esac
}
boot_efi() { # the firmware's part
  first_efi
  if [ -n "$(efi_next)" ]; then efi -N > "$LAB/out"; fi
}
mkdir -p "$E"
printf '\7\0\0\0\0\0' > "$E/BootCurrent-8be4df61-93ca-11d2-aa0d-00e098032b8c"
truncate -s 32M "$LAB/efi.disk"
printf 'label: gpt\nstart=2048,size=32768,type=uefi\n' | sfdisk -q "$LAB/efi.disk"
if loop=$(losetup -f --show "$LAB/efi.disk" 2> "$LAB/log/losetup.err") &&
  efi -c -d "$loop" -p 1 -L agent-a -l '\EFI\agent\a.efi' -u 'agent.slot=a' > "$LAB/out" &&
  efi -C -d "$loop" -p 1 -L agent-b -l '\EFI\agent\b.efi' -u 'agent.slot=b' > "$LAB/out" &&
  efi -C -d "$loop" -p 1 -L Rescue -l '\EFI\rescue.efi' > "$LAB/out"; then
  efi -o "$(efi_number a),0002" > "$LAB/out"
  lab_own -R agentd-install: "$B"
  TRIES=0 TRIES_ALL=1 backend_name=efi story efi "${E%/}:$B/efi.record"
  is "efi: the entry of others stays last in BootOrder" "$(efi_order | sed 's/.*,//')" 0002
else
  echo "# no loop device for efibootmgr: efi not tested ($(cat "$LAB/log/losetup.err" "$LAB/log/efibootmgr.err"))"
fi
[ -z "${loop:-}" ] || losetup -d "$loop"

# ---- a program of the vendor, run by the init system and not by the agent
export BOOT_STATE=$B/script.state
printf 'primary=a\nbooted=a\nslot.a.good=1\n' > "$BOOT_STATE"
chmod 755 "$LAB" "$B"
systemd-socket-activate -l "$B/boot.sock" --accept --inetd -E BOOT_STATE sh "$LAB_SOURCE/examples/boot/boot-program.sh" 2> "$LAB/log/boot-program.err" &
SERVER=$!
wait_for 20 lab_listens "$B/boot.sock"
sget() { sed -n "s/^$1=//p" "$BOOT_STATE"; }
first_script() { sget primary; }
get_script() { echo "$(sget "slot.$1.good") $(sget "slot.$1.tries_left")"; }
boot_script() { sh "$LAB_SOURCE/examples/demo-bootloader.sh" "$BOOT_STATE"; }
lab_own -R agentd-install: "$B"
TRIES="2 1 0" TRIES_ALL=3 backend_name=script story script "$B/boot.sock"
kill "$SERVER"
wait "$SERVER" 2> "$LAB/out"
fails "script: with nobody on the socket nothing is installed" ctl update install "$LAB/bundles/$RELEASE.0.swu"
done_testing
