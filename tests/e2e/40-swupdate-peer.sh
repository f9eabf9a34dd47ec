#!/usr/bin/env bash
# The same bundle through stock swupdate: it checks the same signature, takes the same manifest and writes equal bytes.
. "$(dirname "$0")/lib.sh"
need swupdate openssl cpio
lab_users
lab_make
lab_pki
mkdir -p "$LAB/peer" "$LAB/bundles"
own_tmpdir
cd "$LAB/peer" || exit 1
head -c 3000001 /dev/urandom > image   # no multiple of anything
for s in 1 2; do truncate -s 4M "slot.$s"; done

bundle() { # OUT SIGNER [more options]
  local out=$1 signer=$2
  shift 2
  "$LAB_SOURCE/tests/e2e/make-bundle.sh" --image image --slot-class rootfs --version 1.2.3 --release-id r-1.2.3 --security-version 7 \
    --product gw:1 --signer "$PKI/$signer.pem" --key "$PKI/$signer.key" --device-a "$PWD/slot.1" --device-b "$PWD/slot.2" --out "$out" "$@"
}
# -H BOARD:REVISION: the revision is our whole product; -M -m: no boot loader interface in this build.
# shellcheck disable=SC2317
peer() { swupdate -k "$PKI/${TRUST:-update-ca}.pem" -H gw:gw:1 -e "stable,$1" -M -m -i "$2"; }
# shellcheck disable=SC2317
same() { cmp -n 3000001 image "$1"; }

succeeds "a bundle is made" bundle plain.swu signer
succeeds "its archive is read by cpio" sh -c 'cpio -i --to-stdout sw-description < plain.swu > description 2> /dev/null && grep -q "release-id = \"r-1.2.3\"" description'
succeeds "swupdate installs copy-1" peer copy-1 plain.swu
succeeds "the bytes are equal" same slot.1
succeeds "swupdate installs copy-2" peer copy-2 plain.swu
succeeds "the bytes are equal" same slot.2

for kind in zlib zstd; do
  command -v zstd > /dev/null || [ "$kind" = zlib ] || continue
  truncate -s 0 slot.1 && truncate -s 4M slot.1
  succeeds "a bundle is made with $kind" bundle "$kind.swu" signer --compress "$kind"
  succeeds "swupdate installs it" peer copy-1 "$kind.swu"
  succeeds "the bytes are equal" same slot.1
done

succeeds "a bundle of two signers is made" bundle two.swu signer --signer "$PKI/stranger.pem" --key "$PKI/stranger.key" --min-signers 1
# shellcheck disable=SC2034 # read by peer
TRUST=other-ca fails "swupdate refuses a signer it does not trust" peer copy-1 plain.swu
fails "swupdate refuses the wrong revision" swupdate -k "$PKI/update-ca.pem" -H gw:gw:2 -e stable,copy-1 -M -m -i plain.swu

bundle again.swu signer > /dev/null
succeeds "twice made, the same but for the signature" sh -c '
  for f in plain again; do cpio -i --to-stdout sw-description rootfs.chunks rootfs.img < $f.swu 2> /dev/null | sha256sum; done | uniq | wc -l | grep -qx 1'

fails "a key without its certificate is a mistake" "$LAB_SOURCE/tests/e2e/make-bundle.sh" --image image --slot-class r --version 1 --release-id r \
  --security-version 1 --product p --key "$PKI/signer.key" --out x.swu
fails "an empty image is a mistake" "$LAB_SOURCE/tests/e2e/make-bundle.sh" --image /dev/null --slot-class r --version 1 --release-id r \
  --security-version 1 --product p --signer "$PKI/signer.pem" --key "$PKI/signer.key" --out x.swu
fails "an odd chunk size is a mistake" bundle x.swu signer --chunk-size 100000
done_testing
