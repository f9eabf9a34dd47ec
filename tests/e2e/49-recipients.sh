#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bundles that bring the key of their images along, encrypted to devices: opened by a key in the TPM, through the whole agent. With what others
# make (openssl cms) and take (openssl cms, stock swupdate), and every way in which such a bundle is refused.
# shellcheck source=tests/e2e/lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl cpio jq xxd swupdate
own_tmpdir
lab_up 'tpm: { sign_timeout_s = 5; };'
set_password
W=$LAB/peer
mkdir -p "$W/src" && cd "$W" || exit 1
head -c 1200001 /dev/urandom > src/rootfs.img
head -c 800000 /dev/zero >> src/rootfs.img
size=$(stat -c %s src/rootfs.img)

# ---- the makers of bundles ----------------------------------------------------------------------------------------------
ID=0
describe() { # "MORE of the image" ["MORE of the agent group"]
  printf 'software = { version = "1.0"; images = ( { filename = "rootfs.img"; %s properties = { slot-class = "rootfs"; }; } ); };\n' "$1" > src/sw-description
  [ -z "${2:-}" ] || printf 'agent = { %s };\n' "$2" >> src/sw-description
}
create() { # NAME options: a bundle of what describe() said
  local name=$1
  shift
  ID=$((ID + 1))
  rm -f "$name.swu"
  "$AGENTCTL" bundle create src --out "$name.swu" --signer "$PKI/signer.pem" --key "$PKI/signer.key" --release-id "r-$ID" --security-version 1 \
    --product "$LAB_PRODUCT" "$@" > "$LAB/out" 2>&1
}
made() { create "$@" || not_ok "bundle $1: $(cat "$LAB/out")"; }
device() { # NAME [extensions]: another device, or a certificate that is none
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.pem" -days 30 -subj "/CN=$1" \
    -addext "${2:-keyUsage=critical,keyAgreement}" > "$LAB/out" 2>&1 || not_ok "a certificate: $(cat "$LAB/out")"
}
envelope() { # options: the key file, as others would encrypt it to the device, into src/key.cms
  openssl cms -encrypt -binary -aes-256-cbc -outform DER -in aes.key -out src/key.cms "$@" > "$LAB/out" 2>&1 || not_ok "openssl cms: $(cat "$LAB/out")"
}
slot() { sha256sum < "$SLOT_B"; }
error_name() { ctl --json update status | jq -r .error_name; }
taken_back() { ctl update rollback > "$LAB/out" 2>&1 || not_ok "taking it back: $(cat "$LAB/out")"; }
installs() { # "what" BUNDLE
  succeeds "$1 installs" ctl update install "$2"
  succeeds "  equal bytes" cmp -n "$size" src/rootfs.img "$SLOT_B"
  taken_back
}
refused() { # "what" BUNDLE NAME: before anything was touched
  local before
  before=$(slot)
  fails "$1 is refused" ctl update install "$2"
  like "  for its reason" "$(error_name)" "^$3\$"
  is "  the slot is as it was" "$(slot)" "$before"
}
device other
printf '%s %032d\n' "$(openssl rand -hex 32)" 0 > aes.key

# ---- the device's certificate --------------------------------------------------------------------------------------------
describe 'compressed = "zlib";'
made stranger --encrypt-to other.pem
refused "without a key of the device a bundle for others" stranger.swu update.recipient-key
succeeds "the device gives a certificate" ctl update recipient --out "$W/dev.pem"
succeeds "  the device CA issued it" openssl verify -partial_chain -CAfile <(lab_as agentd cat "$LAB/state/keys/device-ca.crt") dev.pem
like "  for key agreement and nothing else" "$(openssl x509 -in dev.pem -noout -ext keyUsage,extendedKeyUsage 2> /dev/null | tr -d '\n')" 'critical *Key Agreement$'
key_id=$(ctl --json update recipient | jq -r .key_id)
is "  its identifier is the key's, and stays" "$(openssl x509 -in dev.pem -noout -ext subjectKeyIdentifier | tail -n 1 | tr -d ' :\n' | tr A-F a-f)" "$key_id"
is "  nobody else reads the key's file" "$(stat -c %a "$LAB/state/keys/update-recipient.pem")" 600
exits "it signs nothing: no such key for a request" 5 ctl key csr update-recipient --subject CN=x
like "the TPM states that it has it" "$(ctl key certify update-recipient --nonce "$(openssl rand -hex 16)" 2>&1)" '"statement"'
like "once made, once told" "$(api GET '/v1/events?after=0&limit=500' | jq -r '[.events[].name | select(. == "update.recipient_made")] | length')" '^1$'

# ---- it works ------------------------------------------------------------------------------------------------------------
made both --encrypt-to other.pem --encrypt-to dev.pem
is "the envelope comes before the image" "$(cpio -t --quiet < both.swu | tr '\n' ' ')" \
  'sw-description sw-description.sig content-key.cms rootfs.img.chunks rootfs.img.gz.enc '
installs "a bundle for two devices" both.swu
describe 'encrypted = "aes-ctr-256"; compressed = "zstd";'
made ctr --encrypt-to dev.pem
installs "counter mode" ctr.swu
describe 'encrypted = false;'
fails "nothing to encrypt: not made" create none --encrypt-to dev.pem
like "  and it is said" "$(cat "$LAB/out")" 'no image is encrypted'

# ---- others ----------------------------------------------------------------------------------------------------------------
mkdir members && (cd members && cpio -i --quiet < ../both.swu) || not_ok "unpacking"
openssl cms -decrypt -inform DER -in members/content-key.cms -inkey other.key -recip other.pem -out both.key 2> "$LAB/out" || not_ok "openssl opens it: $(cat "$LAB/out")"
like "openssl opens the envelope: a key file as for swupdate -K" "$(cat both.key)" '^[0-9a-f]{64} [0-9a-f]{32}$'
mkdir -p "$W/stock" && truncate -s 4M "$W/stock/slot"
printf 'software = { version = "1.0"; hardware-compatibility = [ "1" ]; images = ( { filename = "rootfs.img"; device = "%s"; properties = { slot-class = "rootfs"; }; } ); };\n' \
  "$W/stock/slot" > src/sw-description
made stock --encrypt-to other.pem --encrypt-to dev.pem
mkdir opened && (cd opened && cpio -i --quiet < ../stock.swu) || not_ok "unpacking"
openssl cms -decrypt -inform DER -in opened/content-key.cms -inkey other.key -recip other.pem -out stock.key 2> "$LAB/out" || not_ok "opening"
succeeds "stock swupdate installs the same file with that key" swupdate -k "$PKI/update-ca.pem" -K stock.key -H gw:1 -M -m -i stock.swu
succeeds "  equal bytes" cmp -n "$size" src/rootfs.img stock/slot
installs "and so do we" stock.swu
for more in "" "-keyopt ecdh_kdf_md:sha384"; do
  # shellcheck disable=SC2086
  envelope -keyid -recip dev.pem ${more:--keyopt ecdh_kdf_md:sha256}
  describe 'encrypted = true;' 'content-key = "key.cms";'
  made openssl --encryption-key aes.key
  installs "an envelope by openssl alone (${more:-SHA-256})" openssl.swu
done

# ---- refused ----------------------------------------------------------------------------------------------------------------
describe 'encrypted = true;'
made stranger --encrypt-to other.pem
refused "a bundle for another device" stranger.swu update.recipient
like "  with the identifier to look for" "$(ctl --json update status | jq -r .error)" "$key_id"
describe 'encrypted = true;' 'content-key = "key.cms";'
envelope -keyid -recip dev.pem
made sha1 --encryption-key aes.key
refused "a key derived with SHA-1" sha1.swu update.recipient-algorithm
envelope -recip dev.pem -keyopt ecdh_kdf_md:sha256
made named --encryption-key aes.key
refused "an envelope that names certificates" named.swu update.recipient-algorithm
envelope -keyid -recip dev.pem -keyopt ecdh_kdf_md:sha256
at=$(($(openssl asn1parse -inform DER -in src/key.cms | sed -n 's/^ *\([0-9]*\):.*hl= *\([0-9]*\) l= *40 prim: *OCTET STRING.*/\1+\2/p' | head -n 1) + 7))
byte=$(xxd -s "$at" -l 1 -p src/key.cms)
printf '%02x' $((0x$byte ^ 1)) | xxd -r -p | dd of=src/key.cms bs=1 seek="$at" conv=notrunc status=none
made altered --encryption-key aes.key
refused "an altered wrapped key, signed" altered.swu update.unwrap
printf 'no key\n' > text && cp aes.key kept && cp text aes.key
envelope -keyid -recip dev.pem -keyopt ecdh_kdf_md:sha256
cp kept aes.key
made text --encryption-key aes.key
refused "an envelope without a key in it" text.swu update.envelope
head -c 200 /dev/urandom > src/key.cms
made junk --encryption-key aes.key
refused "an envelope that is none" junk.swu update.envelope
printf '%s %032d\n' "$(openssl rand -hex 32)" 0 > aes.key
envelope -keyid -recip dev.pem -keyopt ecdh_kdf_md:sha256
made wrong --encryption-key kept
fails "another key in it than the images have is refused" ctl update install wrong.swu
like "  when they are read" "$(error_name)" '^update\.(decryption|size|hash|chunk)$'
like "  the slot does not boot" "$(cat "$BOOT_ENV")" 'slot.b.good=0'
cp both.swu bent.swu
at=$(LC_ALL=C grep -obUa content-key.cms bent.swu | tail -n 1 | cut -d: -f1)
dd if=/dev/urandom of=bent.swu bs=1 seek=$((at + 200)) count=4 conv=notrunc status=none
refused "an envelope that was changed after it was signed" bent.swu 'update.hash|container.checksum'
for bad in "digital keyUsage=critical,digitalSignature" "nameless subjectKeyIdentifier=none"; do
  device "${bad% *}" "${bad#* }"
  describe ''
  fails "no bundle is made for a certificate that is ${bad% *}" create bad --encrypt-to "${bad% *}.pem"
  like "  and it is said" "$(cat "$LAB/out")" 'bundle.recipient'
done
fails "nor for one device twice" create bad --encrypt-to dev.pem --encrypt-to dev.pem

# ---- the TPM ----------------------------------------------------------------------------------------------------------------
kill -STOP "$TPM_PID"
refused "while the TPM hangs it" both.swu 'tpm\.(timeout|busy)'
kill -CONT "$TPM_PID"
succeeds "when it goes on the bundle installs" wait_for 60 ctl update install both.swu
taken_back
lab_tpm_stop
refused "without the TPM it" both.swu 'tpm\..*|update\.(trust-floor|floor|busy)'
lab_tpm_start
succeeds "with it the bundle installs" wait_for 60 ctl update install both.swu
taken_back
lab_agent_stop
lab_agent_start
succeeds "after a restart as well" wait_for 60 ctl update install both.swu
succeeds "  equal bytes" cmp -n "$size" src/rootfs.img "$SLOT_B"

lab_agent_stop
for secret in $(cut -d' ' -f1 both.key stock.key kept); do
  if grep -rqi "$secret" "$LAB/log" "$LAB/state" "$LAB/install" "$LAB/link"; then not_ok "a key is in a log or a file"; fi
done
ok "no key is in a log or a file of the agent"
done_testing
