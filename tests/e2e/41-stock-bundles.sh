#!/usr/bin/env bash
# Stock .swu bundles, made by cpio and openssl as in SWUpdate's manual and by swugenerator, through ours and through swupdate.
. "$(dirname "$0")/lib.sh"
need openssl cpio gzip zstd swupdate swugenerator
PROBE=$BUILD/tests/e2e/update_probe
lab_make
lab_pki
W=$LAB/peer
mkdir -p "$W" && cd "$W" || exit 1
head -c 3000001 /dev/urandom > image   # no multiple of anything
own_tmpdir
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out raw.key 2> /dev/null
openssl pkey -in raw.key -pubout -out raw.pub
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out stranger.key 2> /dev/null

# A device with slot a running; forgets what it was.
device() {
  rm -rf state env slot.*
  mkdir state
  printf 'primary=a\nbooted=a\nslot.a.good=1\n' > "$W/env"
  truncate -s 4M slot.a slot.b
  sha256sum slot.a slot.b env > before
}
probe() { # BUNDLE [options]
  local bundle=$1
  shift
  "$PROBE" --trust "$LAB/trust/update" --state "$W/state" --env "$W/env" --slot "rootfs:a:$W/slot.a" --slot "rootfs:b:$W/slot.b" "$@" < "$bundle"
}
# installs "what" BUNDLE [options]: into slot b, which is tried next; the bytes are those of the image.
installs() {
  local what=$1
  shift
  device
  succeeds "$what" probe "$@" --compat
  if cmp -s -n "$(stat -c %s image)" image slot.b && grep -q '^primary=b$' env && grep -q '  *slot.a$' before; then
    ok "  equal bytes, tried at the next boot"
  else
    not_ok "  $what: slot b has other bytes, or is not tried"
  fi
}
# refuses "what" ERROR BUNDLE [options]: slots and boot environment are what they were.
refuses() {
  local what=$1 error=$2 out
  shift 2
  device
  out=$(probe "$@" 2>&1)
  like "$what" "$out" "^$error: "
  if sha256sum -c --status before; then ok "  and nothing has changed"; else not_ok "  $what: a slot or the environment has changed"; fi
}
# Begun, then found bad: the running slot is in charge and the other one invalid.
breaks() {
  local what=$1 error=$2 out
  shift 2
  device
  out=$(probe "$@" --compat 2>&1)
  like "$what" "$out" "^$error: "
  if grep -q '^primary=a$' env && ! grep -q '^slot.b.good=1' env && ! grep -qE '^slot.b.tries_left=[1-9]' env && grep -q '^slot.a.good=1' env; then
    ok "  slot b is not bootable, slot a is"
  else
    not_ok "  $what: $(cat env)"
  fi
}

# ---- cpio and openssl ------------------------------------------------------------------------------------------------
sign_cms() { openssl cms -sign -in sw-description -out sw-description.sig -signer "$PKI/${1:-signer}.pem" -inkey "$PKI/${1:-signer}.key" -outform DER -nosmimecap -binary; }
sign_rsa() { openssl dgst -sha256 -sign "${1:-raw.key}" -out sw-description.sig sw-description; }
sign_pss() { openssl dgst -sha256 -sign raw.key -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-2 -out sw-description.sig sw-description; }
pack() { # OUT FORMAT MEMBER...
  local out=$1 format=$2
  shift 2
  for m in sw-description sw-description.sig "$@"; do echo "$m"; done | cpio -o -H "$format" --quiet > "$out"
}
element() { # FILE MORE
  printf '{ filename = "%s"; type = "raw"; sha256 = "%s"; %s }' "$1" "$(sha256sum < "$1" | cut -c1-64)" "$2"
}
describe() { # BODY
  printf 'software =\n{\n  version = "1.0.1";\n  hardware-compatibility: [ "1", "#RE:^2\\.[0-9]+$" ];\n  %s\n}\n' "$1" > sw-description
}
both_modes() { # ELEMENT-MORE
  describe "stable = { copy-1: { images: ( $(element "$1" "device = \"$W/slot.a\"; $2") ); }; copy-2: { images: ( $(element "$1" "device = \"$W/slot.b\"; $2") ); }; };"
}

both_modes image 'installed-directly = true;'
sign_cms
pack crc.swu crc image
pack newc.swu newc image
installs "cpio and openssl: CMS, libconfig, crc" crc.swu
installs "the same as newc" newc.swu
installs "with the selection named" crc.swu --selection b=stable,copy-2
refuses "the selection of the running slot" update.device crc.swu --compat --selection b=stable,copy-1
refuses "stock bundles only where the policy allows them" manifest.missing crc.swu
refuses "another revision" update.product crc.swu --compat --product gw:12
installs "a revision that matches the anchored pattern" crc.swu --product gw:2.7
refuses "a revision that only holds the pattern" update.product crc.swu --compat --product gw:12.7
refuses "two signers wanted, one has signed" update.threshold crc.swu --compat --signers 2
device
succeeds "swupdate takes the same file" swupdate -k "$PKI/update-ca.pem" -H gw:1 -e stable,copy-2 -M -m -i crc.swu
succeeds "  equal bytes" cmp -n 3000001 image slot.b

sign_cms stranger
pack stranger.swu crc image
refuses "a signer who is not pinned" update.signer stranger.swu --compat

sign_rsa
pack rsa.swu crc image
sign_pss
pack pss.swu crc image
sign_rsa stranger.key
pack rsa-stranger.swu crc image
refuses "a bare RSA signature without that policy" update.signature rsa.swu --compat
refuses "with the policy, but no key" update.trust rsa.swu --compat --raw rsa
cp raw.pub "$LAB/trust/update/raw.pub"
installs "a bare RSA signature, by policy" rsa.swu --raw rsa
installs "a bare RSA-PSS signature, by policy" pss.swu --raw rsa-pss
installs "CMS beside it" crc.swu --raw rsa
refuses "PSS where RSA is the policy" update.signature pss.swu --compat --raw rsa
refuses "RSA where PSS is the policy" update.signature rsa.swu --compat --raw rsa-pss
refuses "a bare signature by another key" update.signature rsa-stranger.swu --compat --raw rsa
refuses "a bare signature counts once" update.threshold rsa.swu --compat --raw rsa --signers 2
refuses "the policy for bare signatures alone admits nothing" update.signature rsa.swu --raw rsa
rm "$LAB/trust/update/raw.pub"

# Payloads
gzip -9 -n -k image
zstd -q -19 --long=22 -k image 2> /dev/null || zstd -q -9 -k image
for kind in zlib:image.gz zstd:image.zst; do
  both_modes "${kind#*:}" "compressed = \"${kind%:*}\";"
  sign_cms
  pack packed.swu crc "${kind#*:}"
  installs "compressed with ${kind%:*}, without decompressed-size" packed.swu
  both_modes "${kind#*:}" "compressed = \"${kind%:*}\"; properties = { decompressed-size = \"3000000\"; };"
  sign_cms
  pack packed.swu crc "${kind#*:}"
  breaks "decompressed-size is too small" update.size packed.swu
done
both_modes image 'installed-directly = true;'
sign_cms
cp image good
printf tampered | dd of=image bs=1 seek=1500000 conv=notrunc status=none
pack tampered.swu crc image
mv good image
breaks "a payload that was changed" update.hash tampered.swu
pack missing.swu crc
breaks "a payload that is not there" update.member missing.swu
pack more.swu crc image raw.pub
breaks "a member that nothing names" update.member more.swu

# JSON, and a bundle with two sets and a link
hash=$(sha256sum < image | cut -c1-64)
printf '{"software":{"version":"2.0","hardware-compatibility":["1"],"gw":{"stable":{"common":{"images":[{"filename":"image","device":"%s","sha256":"%s","size":3000001}]},"copy-2":{"ref":"#./common"}}}}}' \
  "$W/slot.b" "$hash" > sw-description
sign_cms
pack json.swu crc image
installs "JSON, a board and a link" json.swu --selection b=stable,copy-2

# Spellings: what swupdate makes of them, with the same bytes in the same place.
both() { # "what" BUNDLE: swupdate and we put the same into slot b
  device
  succeeds "$1: swupdate" swupdate -k "$PKI/update-ca.pem" -H gw:1 -M -m -i "$2"
  cp slot.b theirs.b
  device
  succeeds "  and we" probe "$2" --compat
  succeeds "  equal bytes" cmp theirs.b slot.b
}
for offset in '"0x10000"' '"0x10K"' '"010000"' '"64KiB"' 0x10000 65536L; do
  describe "images: ( $(element image "device = \"$W/slot.b\"; offset = $offset;") );"
  sign_cms
  pack spelling.swu crc image
  both "offset = $offset" spelling.swu
done
# One member for several elements: swupdate keeps it in a file and installs it from there as often as it is named.
head -c 300001 image > boot0
gzip -9 -n -k boot0
shared_device() { device; rm -f boot.?; truncate -s 1M boot.a boot.b; }
shared_bundle() { describe "$1"; sign_cms; pack shared.swu crc "$2"; } # BODY MEMBER
shared() { # "what" BODY MEMBER: the same bytes in slot b and in the partition of the boot loader
  shared_bundle "$2" "$3"
  shared_device
  succeeds "$1: swupdate" swupdate -k "$PKI/update-ca.pem" -K aes.key -H gw:1 -M -m -i shared.swu
  cp slot.b theirs.b
  cp boot.b theirs.boot
  shared_device
  succeeds "  and we" probe shared.swu --compat --key aes.key --slot "boot:a:$W/boot.a" --slot "boot:b:$W/boot.b"
  succeeds "  equal bytes in the slot" cmp theirs.b slot.b
  succeeds "  and in the partition" cmp theirs.boot boot.b
}
echo "$(openssl rand -hex 32) $(openssl rand -hex 16)" > aes.key
in_b="device = \"$W/slot.b\";" in_boot="device = \"$W/boot.b\";"
shared "one file at two offsets and in a partition" \
  "images: ( $(element boot0 "$in_b"), $(element boot0 "$in_b offset = \"512K\";"), $(element boot0 "$in_boot offset = 4096;") );" boot0
succeeds "  which is that file" sh -c 'cmp -n 300001 boot0 slot.b && cmp -n 300001 boot0 slot.b 0 524288 && cmp -n 300001 boot0 boot.b 0 4096'
openssl enc -aes-256-cbc -in boot0.gz -out boot0.enc -K "$(cut -d' ' -f1 aes.key)" -iv "$(cut -d' ' -f2 aes.key)" -nosalt
shared "decrypted and unpacked here, as stored there" \
  "images: ( $(element boot0.enc "$in_boot"), $(element boot0.enc "$in_b encrypted = true; compressed = \"zlib\";"), $(element boot0.enc "$in_b offset = \"512K\"; encrypted = true;") );" boot0.enc
direct='installed-directly = true;'
for flags in "$direct/$direct" "/$direct"; do
  shared_bundle "images: ( $(element boot0 "$in_b ${flags%/*}"), $(element boot0 "$in_boot ${flags#*/}") );" boot0
  shared_device
  fails "one file, streamed by one of two (${flags//installed-directly = true;/yes}): swupdate" swupdate -k "$PKI/update-ca.pem" -H gw:1 -M -m -i shared.swu
  refuses "  nor we" manifest.duplicate shared.swu --compat --slot "boot:a:$W/boot.a" --slot "boot:b:$W/boot.b"
done
(head -c 1000000 image | zstd -q -c && tail -c +1000001 image | zstd -q -c) > frames.zst
describe "images: ( $(element frames.zst "device = \"$W/slot.b\"; compressed = \"zstd\";") );"
sign_cms
pack frames.swu crc frames.zst
both "a zstd stream of two frames" frames.swu
(cat frames.zst && printf x) > tail.zst
describe "images: ( $(element tail.zst "device = \"$W/slot.b\"; compressed = \"zstd\";") );"
sign_cms
pack tail.swu crc tail.zst
breaks "and something behind it" update.compression tail.swu
(gzip -c image && gzip -c image) > tail.gz
describe "images: ( $(element tail.gz "device = \"$W/slot.b\"; compressed = \"zlib\";") );"
sign_cms
pack tail.swu crc tail.gz
breaks "a second gzip stream, which swupdate breaks at as well" update.compression tail.swu
: | gzip -c > nothing.gz
zstd -q -c < /dev/null > nothing.zst
for kind in zlib:nothing.gz zstd:nothing.zst; do
  describe "images: ( $(element "${kind#*:}" "device = \"$W/slot.b\"; compressed = \"${kind%:*}\";") );"
  sign_cms
  pack nothing.swu crc "${kind#*:}"
  breaks "an image of nothing, ${kind%:*}" update.size nothing.swu
done
cp image 'an image, größer'
describe "images: ( $(element 'an image, größer' "device = \"$W/slot.b\";") );"
sign_cms
pack names.swu crc 'an image, größer'
both "a name with blanks" names.swu
printf '// a comment\n{"software":{"version":"2.0 (rc~1)", /* the #1 */ "hardware-compatibility":["1"],"images":[{"filename":"image","device":"%s","sha256":"%s"}]}}' \
  "$W/slot.b" "$hash" > sw-description
sign_cms
pack comments.swu crc image
both "JSON with comments, a version with blanks" comments.swu
# The name of what is wrong in the only selection for this slot.
both_modes image 'size = 5L;'
sign_cms
pack size.swu crc image
refuses "a size that is not that of the member" update.size size.swu --compat
describe "stable = { copy-2: { images: ( $(element image "device = \"$W/slot.b\"; compressed = \"xz\";") ); }; };"
sign_cms
pack xz.swu crc image
refuses "a compression that is not known, in a selection" 'manifest.unsupported: selection stable,copy-2: image 0 .image.' xz.swu --compat

describe "images: ( $(element image "device = \"$W/slot.b\"; offset = \"64K\";") );"
sign_cms
pack offset.swu crc image
device
succeeds "an offset" probe offset.swu --compat
succeeds "  equal bytes behind it" cmp -n 3000001 image slot.b 0 65536
succeeds "  and nothing before it" cmp -n 65536 /dev/zero slot.b

describe "images: ( $(element image "device = \"$W/slot.b\"; offset = \"2M\";") );"
sign_cms
pack far.swu crc image
refuses "an offset that leaves no room for a size that is not signed" slot.size far.swu --compat

# UBI volumes: none is a slot here, and none of the bundle's choice becomes one.
volume() { printf '{ filename = "image"; volume = "rootfs_b"; sha256 = "%s"; %s }' "$hash" "$1"; }
describe "images: ( $(volume "size = 3000001;") );"
sign_cms
pack volume.swu crc image
refuses "a UBI volume that is no slot" update.device volume.swu --compat
out=$(swupdate -v -c -k "$PKI/update-ca.pem" -H gw:1 -e stable,copy-2 -M -m -i volume.swu 2>&1)
like "swupdate reads the same volume in it" "$out" "image in volume : rootfs_b for handler ubivol"
describe "images: ( $(volume "") );"
sign_cms
pack volume.swu crc image
refuses "a UBI volume without a signed size" manifest.missing volume.swu --compat
printf '{"software":{"version":"2.0","hardware-compatibility":["1"],"images":[{"filename":"image","volume":"rootfs_b","sha256":"%s","size":3000001}]}}' "$hash" > sw-description
sign_cms
pack volume.swu crc image
device
like "JSON, and what to do" "$(probe volume.swu --compat 2>&1)" "^update.device: image 0 \(image\): no slot of this device is a UBI volume named rootfs_b: update.slots has paths as /dev/ubi0_1"

# ---- versions: what swupdate leaves alone, we leave alone ------------------------------------------------------------------
printf 'globals = { loglevel = 3; };\nversions = ( { name = "system"; version = "1.0"; } );\n' > swupdate.cfg
while read -r version rule; do
  describe "images: ( $(element image "device = \"$W/slot.b\"; name = \"system\"; version = \"$version\"; $rule = true;") );"
  sign_cms
  pack version.swu crc image
  device
  swupdate -f swupdate.cfg -k "$PKI/update-ca.pem" -H gw:1 -M -m -i version.swu > swupdate.out 2>&1
  if cmp -s -n 3000001 image slot.b; then
    installs "1.0 runs, $version $rule: swupdate and we install" version.swu --installed "system 1.0"
  elif sha256sum -c --status before; then
    refuses "1.0 runs, $version $rule: neither swupdate nor we install" update.nothing-new version.swu --compat --installed "system 1.0"
  else
    not_ok "1.0 runs, $version $rule: swupdate wrote something else: $(cat swupdate.out)"
  fi
  case "$version $rule" in # what that means, so that a swupdate that does nothing is noticed
    1.1* | "0.9 install-if-different" | "1.0-1 install-if-different") expected=0 ;;
    *) expected=1 ;;
  esac
  cmp -s -n 3000001 image slot.b
  is "  as the manual says" $? $expected
done << ROWS
1.0 install-if-different
1.1 install-if-different
0.9 install-if-different
1.0-1 install-if-different
1.0.0 install-if-different
1.0 install-if-higher
1.1 install-if-higher
0.9 install-if-higher
1.0.0 install-if-higher
ROWS
describe "images: ( $(element image "device = \"$W/slot.b\";") ); bootenv = ( { name = \"vendor_fdt\"; value = \"gw.dtb\"; } );"
sign_cms
pack bootenv.swu crc image
refuses "a variable that the device does not leave to bundles" update.bootenv bootenv.swu --compat
installs "a variable that it does" bootenv.swu --allow 'vendor_*'
is "  it is there, with the switch" "$(grep '^env\.' env)" env.vendor_fdt=gw.dtb

# ---- encrypted -------------------------------------------------------------------------------------------------------
key=$(openssl rand -hex 32) iv=$(openssl rand -hex 16)
echo "$key $iv" > aes.key
printf 'key=%s\niv=%s\n' "$key" "$iv" > generator.key
echo "$(openssl rand -hex 32) $iv" > other.key
echo "$(openssl rand -hex 16) $iv" > short.key
gzip -9 -n -k -f image
for mode in cbc ctr; do
  for source in image image.gz; do
    openssl enc "-aes-256-$mode" -in "$source" -out payload -K "$key" -iv "$iv" -nosalt
    more="encrypted = \"aes-$mode\";"
    [ "$source" = image ] || more="$more compressed = \"zlib\";"
    both_modes payload "$more"
    sign_cms
    pack "enc-$mode.swu" crc payload
    installs "AES-$mode over $source" "enc-$mode.swu" --key aes.key
  done
done
both_modes payload "encrypted = \"aes-ctr-256\"; compressed = \"zlib\"; ivt = \"$iv\";"
sign_cms
pack ivt.swu crc payload
sed "s/ .*/ 00000000000000000000000000000000/" aes.key > no-iv.key
installs "an IV of its own" ivt.swu --key no-iv.key
refuses "no key on the device" update.key enc-cbc.swu --compat
refuses "a key of another length" update.key ivt.swu --compat --key short.key
openssl enc -aes-256-cbc -in image -out payload -K "$key" -iv "$iv" -nosalt
both_modes payload 'encrypted = true;'
sign_cms
pack plain-cbc.swu crc payload
breaks "another key, found by the padding" 'update.(decryption|size)' plain-cbc.swu --key other.key
device
succeeds "swupdate decrypts the same file" swupdate -k "$PKI/update-ca.pem" -K aes.key -H gw:1 -e stable,copy-2 -M -m -i plain-cbc.swu
succeeds "  equal bytes" cmp -n 3000001 image slot.b

# ---- files and archives -------------------------------------------------------------------------------------------------
mkdir -p tree/bin tree/share/deep
printf '#!/bin/sh\n' > tree/bin/tool
chmod 755 tree/bin/tool
head -c 700000 /dev/urandom > tree/share/deep/data
: > tree/empty
(cd tree && tar -cf ../tree.tar . && tar -czf ../tree.tar.gz . && tar --format=pax -cf ../pax.tar .)
echo setting > setting.conf
folders() { rm -rf app.a app.b; mkdir app.a app.b; echo old > app.b/left-over; }
with_folders() { local b=$1; shift; probe "$b" --compat --slot "app:a:$W/app.a" --slot "app:b:$W/app.b" "$@"; }
file_element() { # FILE MORE
  printf '{ filename = "%s"; sha256 = "%s"; %s properties = { slot-class = "app"; create-destination = "true"; }; }' "$1" "$(sha256sum < "$1" | cut -c1-64)" "$2"
}
for archive in tree.tar tree.tar.gz pax.tar; do
  describe "images: ( $(element image "device = \"$W/slot.b\";") ); files: ( $(file_element "$archive" 'type = "archive"; path = "/";'), $(file_element setting.conf 'path = "/etc/app/setting.conf";') );"
  # Among images as well, as some generators have it.
  [ "$archive" != pax.tar ] || describe "images: ( $(element image "device = \"$W/slot.b\";"), $(file_element "$archive" 'type = "archive"; path = "/";') ); files: ( $(file_element setting.conf 'path = "/etc/app/setting.conf";') );"
  sign_cms
  pack files.swu crc image "$archive" setting.conf
  device
  folders
  succeeds "$archive and a file beside an image" with_folders files.swu
  diff -r tree app.b -x etc > diff.out
  succeeds "  equal files, nothing left over" test ! -s diff.out
  is "  modes too" "$(stat -c %a app.b/bin/tool)" 755
  succeeds "  the file is there" cmp setting.conf app.b/etc/app/setting.conf
  cmp -s -n 3000001 image slot.b && ok "  and the image"
done
# The same archive by SWUpdate and by us; what may differ is in docs/design/update.md, "Files and archives".
mkdir tree/closed
chmod 640 tree/share/deep/data
chmod 700 tree/closed
touch -d 2020-02-03 tree/bin/tool tree/share/deep/data tree/empty
(cd tree && tar --owner 0 --group 0 -cf ../dated.tar .)
carried_out() { # NAME: what is in app.b now
  (cd app.b && find . -mindepth 1 -printf '%P %y\n' | sort) > "$1.names"
  (cd app.b && find . -mindepth 1 ! -path './etc*' -printf '%P %m\n' | sort) > "$1.modes"
  (cd app.b && find . -type f ! -path './etc*' -printf '%P %T@\n' | sort) > "$1.times"
  (cd app.b && find . -type f -exec sha256sum {} + | sort) > "$1.sums"
}
for more in '' 'preserve-attributes = true;'; do
  describe "files: ( { filename = \"dated.tar\"; type = \"archive\"; sha256 = \"$(sha256sum < dated.tar | cut -c1-64)\"; path = \"$W/app.b\"; $more properties = { create-destination = \"true\"; }; },
    { filename = \"setting.conf\"; sha256 = \"$(sha256sum < setting.conf | cut -c1-64)\"; path = \"$W/app.b/etc/setting.conf\"; properties = { create-destination = \"true\"; atomic-install = \"true\"; }; } );"
  sign_cms
  pack peer.swu crc dated.tar setting.conf
  device
  rm -rf app.a app.b && mkdir app.a app.b
  succeeds "swupdate: an archive${more:+ with $more} and a file with atomic-install" swupdate -k "$PKI/update-ca.pem" -H gw:1 -M -m -i peer.swu
  carried_out theirs
  rm -rf app.b && mkdir app.b
  succeeds "  and ours" sh -c '"$0" "$@" < peer.swu' "$PROBE" --trust "$LAB/trust/update" --state "$W/state" --env "$W/env" --slot "app:a:$W/app.a" --slot "app:b:$W/app.b" --compat
  carried_out ours
  for what in names modes sums ${more:+times}; do succeeds "  the same $what" cmp "theirs.$what" "ours.$what"; done
done
: > marker
describe "files: ( $(file_element marker 'path = "/etc/marker";') );"
sign_cms
pack marker.swu crc marker
device
rm -rf app.a app.b && mkdir app.a app.b
succeeds "an empty file" sh -c '"$0" "$@" < marker.swu' "$PROBE" --trust "$LAB/trust/update" --state "$W/state" --env "$W/env" --slot "app:a:$W/app.a" --slot "app:b:$W/app.b" --compat
if [ -f app.b/etc/marker ] && [ ! -s app.b/etc/marker ]; then ok "  is there and empty"; else not_ok "  is not there"; fi
ln -s /etc/passwd tree/link
(cd tree && tar -cf ../link.tar .)
rm tree/link
describe "images: ( $(element image "device = \"$W/slot.b\";") ); files: ( $(file_element link.tar 'type = "archive"; path = "/";') );"
sign_cms
pack link.swu crc image link.tar
device
folders
like "links in an archive are refused" "$(with_folders link.swu)" '^update.archive: .*link'
if grep -q '^primary=a$' env && ! grep -qE '^slot.b.tries_left=[1-9]' env; then ok "  slot b is not bootable"; else not_ok "slot b is bootable: $(cat env)"; fi

# ---- swugenerator ------------------------------------------------------------------------------------------------------
mkdir -p gen && cp image gen/
cat > gen/sw-description << TEMPLATE
software =
{
  version = "@@VERSION@@";
  hardware-compatibility = [ "1" ];
  stable: {
    copy-1: { images: ( { filename = "image"; device = "$W/slot.a"; installed-directly = true; compressed = "zlib"; } ); };
    copy-2: { images: ( { filename = "image"; device = "$W/slot.b"; installed-directly = true; compressed = "zlib"; } ); };
  };
}
TEMPLATE
printf 'variables = { VERSION = "3.1.4"; };\n' > gen/config
generate() { # OUT SIGN [more]
  local out=$1 sign=$2
  shift 2
  (cd gen && swugenerator -s sw-description -a . -c config -k "$sign" -o "$out" "$@" create)
}
succeeds "swugenerator makes a bundle, CMS" generate ../gen-cms.swu "CMS,$PKI/signer.key,$PKI/signer.pem"
installs "  it installs" gen-cms.swu
device
succeeds "  and with swupdate" swupdate -k "$PKI/update-ca.pem" -H gw:1 -e stable,copy-2 -M -m -i gen-cms.swu
succeeds "  equal bytes" cmp -n 3000001 image slot.b
sed -i 's/compressed = "zlib";/compressed = "zlib"; encrypted = true;/' gen/sw-description
succeeds "swugenerator makes a bundle, encrypted" generate ../gen-enc.swu "CMS,$PKI/signer.key,$PKI/signer.pem" -K "$W/generator.key"
installs "  it installs" gen-enc.swu --key aes.key
device
succeeds "  and with swupdate" swupdate -k "$PKI/update-ca.pem" -K aes.key -H gw:1 -e stable,copy-2 -M -m -i gen-enc.swu
succeeds "  equal bytes" cmp -n 3000001 image slot.b
sed -i 's/ encrypted = true;//' gen/sw-description
succeeds "swugenerator makes a bundle, bare RSA" generate ../gen-rsa.swu "RSA,$W/raw.key"
cp raw.pub "$LAB/trust/update/raw.pub"
installs "  it installs, by policy" gen-rsa.swu --raw rsa
refuses "  and not without" update.signature gen-rsa.swu --compat
done_testing
