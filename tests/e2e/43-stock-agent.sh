#!/usr/bin/env bash
# A stock bundle with an image for two places and an archive, through the agent: agentd-install's sandbox lets it do what it needs and no more.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl cpio
lab_users
lab_make
lab_pki
lab_slots
mkdir -p "$LAB/slots/app.a" "$LAB/slots/app.b/old/folder"
echo old > "$LAB/slots/app.b/left-over"
lab_own -R agentd-install: "$LAB/slots"
lab_up "update: {
  boot_backend = \"file\"; boot_config = \"$BOOT_ENV\"; allow_compat = true; raw_signatures = \"rsa\";
  selections = [ \"a=stable,copy-1\", \"b=stable,copy-2\" ];
  slots = ( { class = \"rootfs\"; name = \"a\"; path = \"$SLOT_A\"; }, { class = \"rootfs\"; name = \"b\"; path = \"$SLOT_B\"; },
    { class = \"app\"; name = \"a\"; path = \"$LAB/slots/app.a\"; }, { class = \"app\"; name = \"b\"; path = \"$LAB/slots/app.b\"; } );
};"
set_password
W=$LAB/peer
mkdir -p "$W" && cd "$W" || exit 1
head -c 3000001 /dev/urandom > image
mkdir -p tree/share/deep
head -c 300000 /dev/urandom > tree/share/deep/data
printf '#!/bin/sh\n' > tree/tool
chmod 755 tree/tool
tar -C tree -czf tree.tar.gz .

element() { printf '{ filename = "%s"; sha256 = "%s"; %s }' "$1" "$(sha256sum < "$1" | cut -c1-64)" "$2"; }
copy() { # MODE SLOT APP
  printf '%s = { images = ( %s, %s ); files = ( %s ); };' "$1" "$(element image "device = \"$2\";")" "$(element image "device = \"$2\"; offset = \"8M\";")" \
    "$(element tree.tar.gz "type = \"archive\"; path = \"$3\"; properties = { slot-class = \"app\"; };")"
}
printf 'software = { version = "7.0"; hardware-compatibility = [ "%s" ]; stable = { %s %s }; };\n' "${LAB_PRODUCT#*:}" \
  "$(copy copy-1 "$SLOT_A" /)" "$(copy copy-2 "$SLOT_B" /)" > sw-description
pack() { printf '%s\n' sw-description sw-description.sig tree.tar.gz image | cpio -o -H crc --quiet > "$1"; }
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out raw.key 2> /dev/null
openssl dgst -sha256 -sign raw.key -out sw-description.sig sw-description
pack raw.swu
fails "a bare signature by a key that is not pinned" ctl update install raw.swu
like "  says so" "$(cat "$LAB/out")" 'no public key'
openssl cms -sign -in sw-description -out sw-description.sig -signer "$PKI/signer.pem" -inkey "$PKI/signer.key" -outform DER -nosmimecap -binary
pack cms.swu
succeeds "a stock bundle installs" ctl update install cms.swu
succeeds "  equal bytes in the slot" cmp -n 3000001 image "$SLOT_B"
succeeds "  and at the other place that has the same image" cmp -n 3000001 image "$SLOT_B" 0 8388608
succeeds "  equal files in the folder, nothing left over" diff -r tree "$LAB/slots/app.b"
is "  with their modes" "$(stat -c %a "$LAB/slots/app.b/tool")" 755
is "  the other copy was not touched" "$(ls -A "$LAB/slots/app.a")" ''
lab_reboot
is "it is tried" "$(ctl --json update status 2> /dev/null | jq -r .stage)" trying
succeeds "and confirmed" ctl update confirm
done_testing
