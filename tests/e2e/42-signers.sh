#!/usr/bin/env bash
# Changing the signers: a policy that old and new signed, carried by a bundle.
. "$(dirname "$0")/lib.sh"
need openssl cpio
PROBE=$BUILD/tests/e2e/update_probe
lab_make
lab_pki
W=$LAB/peer
mkdir -p "$W" && cd "$W" || exit 1
head -c 300001 /dev/urandom > image

# A device with slot a running; forgets what it was.
device() {
  rm -rf state env slot.*
  mkdir state
  printf 'primary=a\nbooted=a\nslot.a.good=1\n' > "$W/env"
  truncate -s 1M slot.a slot.b
}
probe() { # BUNDLE
  "$PROBE" --trust "$LAB/trust/update" --state "$W/state" --env "$W/env" --slot "rootfs:a:$W/slot.a" --slot "rootfs:b:$W/slot.b" < "$1"
}
lab_leaf other-ca next "/CN=Next release signer" 'extendedKeyUsage=codeSigning,emailProtection'
trust_policy() { # VERSION
  printf '{"profile":"agent-trust-1","version":%s,"issued":%s,"min-signers":1,"certificates":["%s"]}' "$1" "$(date +%s)" \
    "$(awk '{ printf "%s\\n", $0 }' "$PKI/next.pem")" > trust.json
  shift
  openssl cms -sign -binary -nosmimecap -md sha256 -in trust.json -out trust.json.sig -outform DER "$@"
}
strict() { # RELEASE SIGNER with the policy of trust.json unless NO_TRUST is set
  "$LAB_SOURCE/examples/make-bundle.sh" --image image --slot-class rootfs --version "$1" --release-id "r-$1" --security-version 1 --product gw:1 \
    --signer "$PKI/$2.pem" --key "$PKI/$2.key" --out strict.swu
  [ -z "${NO_TRUST:-}" ] || return 0
  rm -rf unpacked && mkdir unpacked
  (cd unpacked && cpio -i --quiet < ../strict.swu) && cp trust.json trust.json.sig unpacked/
  (cd unpacked && sed -i 's/profile = "1";/profile = "1"; trust-policy = "trust.json";/' sw-description &&
    openssl cms -sign -binary -nosmimecap -md sha256 -in sw-description -out sw-description.sig -outform DER -signer "$PKI/$2.pem" -inkey "$PKI/$2.key" &&
    printf '%s\n' sw-description sw-description.sig trust.json trust.json.sig rootfs.chunks rootfs.img | cpio -o -H crc --quiet > ../strict.swu)
}
fresh() { # keeps state/trust
  cp state/trust kept 2> /dev/null
  device
  [ ! -e kept ] || mv kept state/trust
}
old=(-signer "$PKI/signer.pem" -inkey "$PKI/signer.key") new=(-signer "$PKI/next.pem" -inkey "$PKI/next.key")
device
NO_TRUST=1 strict 1 next
like "the next signer is nobody yet" "$(probe strict.swu)" '^update.signer: '
trust_policy 1 "${old[@]}"
strict 2 signer
fresh
like "a change that the new one did not sign" "$(probe strict.swu)" '^update.signer: .*by those it names'
succeeds "  is not stored" test ! -e state/trust
trust_policy 1 "${new[@]}"
strict 3 signer
fresh
like "a change that the old one did not sign" "$(probe strict.swu)" '^update.signer: .*by those it replaces'
succeeds "  is not stored" test ! -e state/trust
trust_policy 1 "${old[@]}" "${new[@]}"
strict 4 signer
fresh
succeeds "a change that both signed, with a release" probe strict.swu
device_trust=$(cat state/trust)
fresh
NO_TRUST=1 strict 5 next
succeeds "the next signer's release installs" probe strict.swu
fresh
NO_TRUST=1 strict 6 signer
like "the old one's does not any more" "$(probe strict.swu)" '^update.signer: '
is "and it stays like that" "$(cat state/trust)" "$device_trust"
strict 7 next
fresh
succeeds "the very policy that is in force already is no change" probe strict.swu
sleep 1.1 # another time of issue, so another text
trust_policy 1 "${new[@]}"
strict 8 next
fresh
like "a policy of the same version is a replay" "$(probe strict.swu)" '^update.trust-version: '
done_testing
