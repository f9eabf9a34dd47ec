#!/usr/bin/env bash
# Images and U-Boot environments in real UBI volumes: a small QEMU guest with Debian's kernel, whose NAND flash is nandsim.
#   BUILD    as for tests/e2e
#   VM_WORK  keeps what was downloaded (kernel 70 MB, busybox-static, mtd-utils; nothing is installed); default /var/tmp/libagent-vm
#   VM_ACCEL "kvm" where that works; default "tcg", which works everywhere and takes minutes
# Not part of tests/run.sh. Needs the packages qemu-system-x86, cpio, swupdate, libubootenv-tool, u-boot-tools. Exit 77: not possible here.
. "$(dirname "$0")/../e2e/lib.sh"
need qemu-system-x86_64 openssl cpio swupdate mkenvimage fw_printenv apt-get dpkg-deb
grep -q '^#define HAVE_UBI 1' "$BUILD/config.h" || { echo "SKIP: built with --disable-ubi"; exit 77; }
grep -q '^#define HAVE_UBOOTENV 1' "$BUILD/config.h" || { echo "SKIP: built without libubootenv"; exit 77; }
VM_WORK=${VM_WORK:-/var/tmp/libagent-vm}
lab_make
lab_pki
W=$LAB/vm
R=$W/root
mkdir -p "$W/src" "$R"/{bin,sbin,lib/modules,lib64,proc,sys,dev,run,tmp,data,etc,var/lock} "$VM_WORK" && cd "$W" || exit 1

# ---- what the guest runs on ------------------------------------------------------------------------------------------------
fetch() { # PACKAGE FOLDER: unpacked, not installed
  [ -e "$VM_WORK/$2/done" ] && return
  rm -rf "${VM_WORK:?}/$2" && mkdir "$VM_WORK/$2" || return 1
  (cd "$VM_WORK/$2" && apt-get download "$1" && dpkg-deb -x ./*.deb . && rm ./*.deb && touch "done") > "$LAB/log/$2" 2>&1 ||
    { echo "SKIP: $1 cannot be downloaded: $(tail -n 1 "$LAB/log/$2")"; exit 77; }
}
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
fetch "$kernel" kernel
fetch busybox-static busybox
fetch mtd-utils mtd
cp "$VM_WORK/busybox/bin/busybox" "$R/bin/"
version=$(basename "$VM_WORK"/kernel/lib/modules/*)
for m in lib/bch drivers/mtd/mtd drivers/mtd/nand/nandcore drivers/mtd/nand/raw/nand drivers/mtd/nand/raw/nandsim drivers/mtd/ubi/ubi; do
  cp "$VM_WORK/kernel/lib/modules/$version/kernel/$m.ko" "$R/lib/modules/"
done
# A program and its libraries, which all lie in /lib of the guest.
take() {
  local f
  cp "$1" "$R/bin/"
  for f in $(LD_LIBRARY_PATH=$BUILD/.libs ldd "$1" | sed -n 's|^[^/]*\(/[^ ]*\) (.*|\1|p'); do
    case $f in */ld-linux*) cp -L "$f" "$R/lib64/" ;; *) cp -Lu "$f" "$R/lib/" ;; esac
  done
}
take "$BUILD/tests/e2e/.libs/update_probe"
take "$BUILD/tests/e2e/.libs/sandbox_probe"
take "$(command -v swupdate)"
take "$(command -v fw_printenv)"
take "$(command -v setpriv)"
for t in ubiattach ubidetach ubimkvol ubiupdatevol; do take "$VM_WORK/mtd/usr/sbin/$t"; done
cp "$LAB_SOURCE/tests/vm/ubi-guest.sh" "$R/init"
chmod +x "$R/init"

# ---- what is installed in it -----------------------------------------------------------------------------------------------
head -c 3000001 /dev/urandom > src/image # no multiple of anything
head -c 5000000 /dev/urandom > large
cp src/image "$R/data/image"
cp -r "$LAB/trust/update" "$R/data/trust"
cp "$PKI/update-ca.pem" "$R/data/ca.pem"
signer=(--signer "$PKI/signer.pem" --key "$PKI/signer.key")
element='type = "ubivol"; properties = { slot-class = "rootfs"; };'
cat > src/sw-description << DESCRIPTION
software = { version = "1.2.3"; stable = {
  copy-1 = { images = ( { filename = "image"; volume = "rootfs_a"; $element } ); };
  copy-2 = { images = ( { filename = "image"; volume = "rootfs_b"; $element } ); }; }; };
agent = { release-id = "r-1.2.3"; security-version = 7; products = [ "gw:1" ]; };
DESCRIPTION
succeeds "a bundle of ours for UBI volumes" "$AGENTCTL" bundle create src --out "$R/data/ours.swu" "${signer[@]}"
succeeds "the same, compressed" "$AGENTCTL" bundle create src --out "$R/data/zstd.swu" "${signer[@]}" --compress zstd
stock() { # OUT FILE BODY: by cpio and openssl
  printf 'software = { version = "1.0.1"; hardware-compatibility: [ "1" ]; %s };\n' "$3" > sw-description
  openssl cms -sign -in sw-description -out sw-description.sig "${signer[0]}" "${signer[1]}" -inkey "${signer[3]}" -outform DER -nosmimecap -binary
  printf '%s\n' sw-description sw-description.sig "$2" | cpio -o -H crc --quiet > "$R/data/$1"
}
cp src/image image
volume() { printf '{ filename = "%s"; volume = "%s"; sha256 = "%s"; size = %d; }' "$1" "$2" "$(sha256sum < "$1" | cut -c1-64)" "$(stat -c %s "$1")"; }
stock stock.swu image "stable = { copy-1: { images: ( $(volume image rootfs_a) ); }; copy-2: { images: ( $(volume image rootfs_b) ); }; };"
stock running.swu image "images: ( $(volume image rootfs_a) );"
stock other.swu image "images: ( $(volume image secrets) );"
stock large.swu large "images: ( $(volume large rootfs_b) );"
printf 'BOOT_ORDER=a b\nBOOT_a_GOOD=1\nBOOT_a_LEFT=0\nBOOT_b_GOOD=0\nBOOT_b_LEFT=0\nethaddr=02:00:00:00:00:01\n' > env.txt
mkenvimage -r -s 0x4000 -o "$R/data/uboot.env" env.txt
printf '/dev/ubi0_4 0 0x4000\n/dev/ubi0_5 0 0x4000\n' > "$R/data/fw_env.config"
cat > "$R/data/agentd.conf" << CONF
device: { product = "gw:1"; serial = "1"; };
paths: { state_dir = "/run/core"; link_dir = "/run/link"; install_dir = "/run/install"; run_dir = "/run/agentd"; trust_dir = "/data/trust"; };
update: { slots = ( { class = "rootfs"; name = "a"; path = "/dev/ubi0_0"; }, { class = "rootfs"; name = "b"; path = "/dev/ubi0_1"; } ); };
CONF

# ---- the guest -------------------------------------------------------------------------------------------------------------
(cd "$R" && find . | cpio -o -H newc --quiet) > initrd # unpacking takes an emulated processor longer than reading
timeout "${VM_TIMEOUT:-1200}" qemu-system-x86_64 -machine "q35,accel=${VM_ACCEL:-tcg}" -cpu max -m 768 -nodefaults -display none -no-reboot -nic none \
  -kernel "$VM_WORK/kernel/boot/vmlinuz-$version" -initrd initrd -append "console=ttyS0 panic=-1 mitigations=off nokaslr quiet" -serial file:console.log < /dev/null
tr -d '\r' < console.log > out
while IFS= read -r line; do
  case $line in
    "ok - "*) ok "${line#ok - }" ;;
    "not ok - "*) not_ok "${line#not ok - }" ;;
    "# "*) echo "$line" ;;
  esac
done < out
grep -q '^the end$' out && ok "the guest came to its end" || { not_ok "the guest did not come to its end"; tail -n 30 out; }
done_testing
