#!/usr/bin/env bash
# agentctl bundle: ours made, looked at, verified, signed by several, installed by ours and by stock swupdate; stock bundles made ours.
. "$(dirname "$0")/lib.sh"
need openssl cpio gzip zstd jq swupdate swugenerator swtpm
PROBE=$BUILD/tests/e2e/update_probe
lab_make
lab_pki
lab_leaf update-ca second "/CN=Second release signer" 'extendedKeyUsage=codeSigning,emailProtection'
lab_leaf update-ca mailer "/CN=Only mail" 'extendedKeyUsage=emailProtection'
openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=RSA signer" -addext 'keyUsage=critical,digitalSignature' -addext 'basicConstraints=critical,CA:FALSE' \
  -addext 'extendedKeyUsage=codeSigning,emailProtection' -keyout "$PKI/rsa.key" -out "$PKI/rsa.pem" 2> /dev/null
W=$LAB/peer
own_tmpdir
mkdir -p "$W/src" "$W/other" && cd "$W" || exit 1
head -c 3000001 /dev/zero | tr '\0' 'x' > src/rootfs.img
head -c 1500000 /dev/urandom | dd of=src/rootfs.img conv=notrunc status=none
cp "$PKI/rsa.pem" "$LAB/trust/update/rsa.pem"
bundle() { "$AGENTCTL" bundle "$@"; } # no socket, no agent, no configuration
by() { printf '%s\n' --signer "$PKI/$1.pem" --key "$PKI/$1.key"; }
mapfile -t signer < <(by signer)
mapfile -t second < <(by second)
mapfile -t rsa < <(by rsa)
verify() { local f=$1; shift; bundle verify "$f" --trust "$LAB/trust/update" --product gw:1 "$@"; }
# refused "what" PATTERN OUT COMMAND...: it says so, and there is no file, and none half made.
refused() {
  local what=$1 pattern=$2 out=$3 text
  shift 3
  text=$("$@" 2>&1) && not_ok "$what: succeeded"
  like "$what" "$text" "$pattern"
  if [ ! -e "$out" ] && [ -z "$(find . -name '.*.swu.*')" ]; then ok "  and no file is left"; else not_ok "  $what: a file is left"; fi
}
# A device with slot a running.
device() {
  rm -rf state env slot.*
  mkdir state
  printf 'primary=a\nbooted=a\nslot.a.good=1\n' > "$W/env"
  truncate -s 4M slot.a slot.b
}
installs() { # "what" BUNDLE [options]
  local what=$1 b=$2
  shift 2
  device
  succeeds "$what installs" "$PROBE" --trust "$LAB/trust/update" --state "$W/state" --env "$W/env" --slot "rootfs:a:$W/slot.a" --slot "rootfs:b:$W/slot.b" "$@" < "$b"
  succeeds "  equal bytes" cmp -n 3000001 src/rootfs.img slot.b
}
peer() { # "what" BUNDLE [options]
  local what=$1 b=$2
  shift 2
  device
  succeeds "$what: stock swupdate installs it" swupdate -k "${TRUST:-$PKI/update-ca.pem}" -H gw:gw:1 -e stable,copy-2 -M -m "$@" -i "$b"
  succeeds "  equal bytes" cmp -n 3000001 src/rootfs.img slot.b
}
describe() { # MORE: into src/sw-description
  cat > src/sw-description << DESCRIPTION
software = {
  version = "1.2.3";
  stable = {
    copy-1 = { images = ( { filename = "rootfs.img"; device = "$W/slot.a"; $1 } ); };
    copy-2 = { images = ( { filename = "rootfs.img"; device = "$W/slot.b"; $1 } ); };
  };
};
agent = { release-id = "r-1.2.3"; security-version = 7; products = [ "gw:1" ]; };
DESCRIPTION
}

# ---- of a folder -----------------------------------------------------------------------------------------------------------
describe 'type = "raw"; properties = { slot-class = "rootfs"; };'
succeeds "a bundle of a folder" bundle create src --out plain.swu "${signer[@]}"
succeeds "  verifies" verify plain.swu
like "  and says what it is" "$(verify plain.swu)" 'release +r-1.2.3'
is "  members in order" "$(cpio -it --quiet < plain.swu | paste -sd' ')" "sw-description sw-description.sig rootfs.img.chunks rootfs.img"
installs "  it" plain.swu
peer "  it" plain.swu
for kind in zlib zstd; do
  succeeds "compressed with $kind" bundle create src --out "$kind.swu" "${signer[@]}" --compress "$kind" --chunk-size 65536
  installs "  it" "$kind.swu"
  peer "  it" "$kind.swu"
  [ "$(stat -c %s "$kind.swu")" -lt 2000000 ] && ok "  and it is smaller" || not_ok "$kind does not compress"
done
printf '%s %s\n' "$(openssl rand -hex 32)" "$(openssl rand -hex 16)" > aes.key
describe 'compressed = "zlib"; encrypted = true; properties = { slot-class = "rootfs"; };'
succeeds "compressed and encrypted" bundle create src --out enc.swu "${signer[@]}" --encryption-key aes.key
installs "  it" enc.swu --key aes.key
peer "  it" enc.swu -K aes.key
succeeds "  it verifies with the key" verify enc.swu --encryption-key aes.key
like "  and not without" "$(verify enc.swu 2>&1)" 'update.key: '
refused "no key to encrypt with" 'bundle.key: .*encrypted' x.swu bundle create src --out x.swu "${signer[@]}"
describe 'type = "raw"; properties = { slot-class = "rootfs"; };'
# JSON stays JSON.
cp src/sw-description other/description.libconfig
printf '{"software":{"version":"1.2.3","stable":{"copy-2":{"images":[{"filename":"rootfs.img","device":"%s"}]}}}}' "$W/slot.b" > other/description.json
succeeds "a description in JSON, the rest by options" bundle create src --description other/description.json --out json.swu "${signer[@]}" --release-id r-9 \
  --security-version 3 --product gw:1 --product gw:2 --slot-class rootfs --min-signers 1
installs "  it" json.swu
peer "  it" json.swu

# ---- the same bytes ---------------------------------------------------------------------------------------------------------
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(date +%s)
for i in 1 2; do
  bundle create src --out "same.$i.swu" "${rsa[@]}" --compress zstd
  bundle create src --out "ec.$i.swu" "${signer[@]}"
  sleep 1.1 # a clock that is looked at would show
done
succeeds "twice made with an RSA key and SOURCE_DATE_EPOCH: the same file" cmp same.1.swu same.2.swu
for i in 1 2; do (mkdir "ec.$i" && cd "ec.$i" && cpio -i --quiet < "../ec.$i.swu" && rm sw-description.sig); done
succeeds "with an ECDSA key the same but for the signature" diff -r ec.1 ec.2
unset SOURCE_DATE_EPOCH
TRUST=$PKI/rsa.pem peer "an RSA signer" same.1.swu

# ---- inspect ------------------------------------------------------------------------------------------------------------------
bundle inspect --json plain.swu > facts
is "inspect: release, floor, signer" "$(jq -r '[.release_id, .security_version, .signers[0].subject, .verified, .images[0].sha256_matches] | join(" ")' facts)" \
  "r-1.2.3 7 Demo release signer false true"
is "  hash of the image" "$(jq -r '.images[0].sha256' facts)" "$(sha256sum < src/rootfs.img | cut -c1-64)"
is "  key of the signer" "$(jq -r '.signers[0].key_sha256' facts)" "$(openssl x509 -in "$PKI/signer.pem" -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum | cut -c1-64)"
cp plain.swu bad.swu
printf y | dd of=bad.swu bs=1 seek=2000000 conv=notrunc status=none
exits "a damaged archive is shown, and told" 8 bundle inspect bad.swu
like "  with its name" "$(bundle inspect bad.swu 2>&1)" 'container.checksum: '

# ---- several signers ------------------------------------------------------------------------------------------------------------
succeeds "one signer more" bundle sign plain.swu --out two.swu "${second[@]}"
succeeds "  two signers verify" verify two.swu --min-signers 2
installs "  it" two.swu --signers 2
peer "  it" two.swu
like "one signer is not two" "$(verify plain.swu --min-signers 2 2>&1)" 'update.threshold: '
refused "the same signer again" 'bundle.signer: .*counts once' x.swu bundle sign two.swu --out x.swu "${signer[@]}"
refused "  also in one call" 'bundle.signer: .*counts once' x.swu bundle create src --out x.swu "${signer[@]}" "${signer[@]}"
succeeds "others sign in their place" bundle resign two.swu --out re.swu "${second[@]}"
is "  and only they" "$(bundle inspect --json re.swu | jq -r '[.signers[].subject] | join(",")')" "Second release signer"
installs "  it" re.swu

# ---- stock bundles become ours ----------------------------------------------------------------------------------------------------
mkdir gen && cp src/rootfs.img gen/image
cat > gen/sw-description << TEMPLATE
software =
{
  version = "@@VERSION@@";
  hardware-compatibility = [ "gw:1" ];
  stable: {
    copy-1: { images: ( { filename = "image"; device = "$W/slot.a"; installed-directly = true; compressed = "zlib"; } ); };
    copy-2: { images: ( { filename = "image"; device = "$W/slot.b"; installed-directly = true; compressed = "zlib"; } ); };
  };
}
TEMPLATE
printf 'variables = { VERSION = "3.1.4"; };\n' > gen/config
(cd gen && swugenerator -s sw-description -a . -c config -k "CMS,$PKI/stranger.key,$PKI/stranger.pem" -o ../stock.swu create) > "$LAB/out" 2>&1 ||
  not_ok "swugenerator: $(tail -n 3 "$LAB/out")"
like "a stock bundle of swugenerator is not for us" "$(verify stock.swu 2>&1)" 'update.signer: '
succeeds "  signed by us, it verifies as stock" sh -c '"$0" bundle resign stock.swu --out ours.swu "$@"' "$AGENTCTL" "${signer[@]}"
succeeds "  " verify ours.swu --compat --selection stable,copy-2
like "  and is no strict one" "$(verify ours.swu 2>&1)" 'manifest.missing: .*agent'
installs "  it" ours.swu --compat
refused "  made strict without a word on its security" 'manifest.missing: agent has no security-version' x.swu bundle create stock.swu --out x.swu "${signer[@]}" \
  --slot-class rootfs --product gw:1
succeeds "  made strict" bundle create stock.swu --out strict.swu "${signer[@]}" --slot-class rootfs --product gw:1 --security-version 2
is "  " "$(bundle inspect --json strict.swu | jq -r '[.profile, .release_id, .images[0].decompressed_size] | join(" ")')" "strict 3.1.4 3000001"
installs "  it" strict.swu
peer "  it" strict.swu

# ---- with a script: only where it is said, and only where the device says so ---------------------------------------------------------
mkdir scripted && cp src/rootfs.img scripted/
printf '#!/bin/sh\necho "$1" >> "%s/ran"\n' "$W" > scripted/s.sh
describe 'type = "raw"; properties = { slot-class = "rootfs"; };'
sed -E 's/(copy-[12] = \{)/\1 scripts = ( { filename = "s.sh"; type = "shellscript"; } );/' src/sw-description > scripted/sw-description
refused "a script that nobody named" 'manifest.unsupported: .*s\.sh is not named in agent\.scripts' x.swu bundle create scripted --out x.swu "${signer[@]}"
succeeds "a bundle with a script" bundle create scripted --out scripted.swu "${signer[@]}" --scripts
is "  which comes before the image" "$(cpio -it --quiet < scripted.swu | paste -sd' ')" "sw-description sw-description.sig s.sh rootfs.img.chunks rootfs.img"
like "  inspect shows it" "$(bundle inspect scripted.swu | paste -sd' ')" 'scripts to run +s\.sh.*scripts +s\.sh.*found +yes'
is "  in JSON too" "$(bundle inspect --json scripted.swu | jq -c '[.scripts, (.images[] | select(.section == "scripts") | .sha256_matches)]')" '[["s.sh"],true,true]'
like "  a device that runs none refuses it" "$(verify scripted.swu 2>&1)" 'manifest.unsupported: .*s\.sh.*update\.scripts'
like "  another one takes it" "$(verify scripted.swu --scripts | paste -sd' ')" 'scripts +1 the device needs +update\.scripts = "run"'
is "  in JSON too" "$(verify scripted.swu --scripts --json | jq -c '[.n_scripts, .needs]')" '[1,"update.scripts = \"run\""]'
device
fails "  our engine without anybody who runs scripts refuses it" "$PROBE" --trust "$LAB/trust/update" --state "$W/state" --env "$W/env" --slot "rootfs:a:$W/slot.a" \
  --slot "rootfs:b:$W/slot.b" < scripted.swu
succeeds "  and leaves the slot alone" cmp -n 4194304 slot.b /dev/zero
peer "  it" scripted.swu
is "  which runs the script" "$(paste -sd' ' ran)" "preinst postinst"
succeeds "out of a bundle" bundle create scripted.swu --out again.swu "${signer[@]}" --scripts
succeeds "  it is the same" sh -c 'cpio -i --quiet --to-stdout sw-description < scripted.swu > one && cpio -i --quiet --to-stdout sw-description < again.swu | cmp one -'
cpio -i --quiet --to-stdout s.sh < scripted.swu | sed 's/echo/Echo/' > scripted/s.sh
mkdir parts && (cd parts && cpio -i --quiet < ../scripted.swu && cp ../scripted/s.sh . &&
  printf '%s\n' sw-description sw-description.sig s.sh rootfs.img.chunks rootfs.img | cpio -o -H crc --quiet > ../changed.swu)
like "  with another script it is refused" "$(verify changed.swu --scripts 2>&1)" 'update.hash: s\.sh is not the script that was signed'

# ---- mistakes -----------------------------------------------------------------------------------------------------------------------
refused "a key of somebody else" 'bundle.signer: the key given does not belong' x.swu bundle create src --out x.swu --signer "$PKI/signer.pem" --key "$PKI/second.key"
refused "a certificate that may not sign code" 'bundle.signer: .*codeSigning' x.swu bundle create src --out x.swu --signer "$PKI/mailer.pem" --key "$PKI/mailer.key"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp256k1 -nodes -days 30 -subj "/CN=Another curve" -addext 'extendedKeyUsage=codeSigning' -keyout k1.key -out k1.pem 2> /dev/null
refused "a curve that no device takes" 'bundle.signer: .*P-256' x.swu bundle create src --out x.swu --signer k1.pem --key k1.key
mkdir attached && (cd attached && cpio -i --quiet < ../plain.swu &&
  openssl cms -sign -binary -nosmimecap -nodetach -in sw-description -out sw-description.sig -outform DER -signer "$PKI/signer.pem" -inkey "$PKI/signer.key" &&
  printf '%s\n' sw-description sw-description.sig rootfs.img.chunks rootfs.img | cpio -o -H crc --quiet > ../attached.swu)
refused "nobody signs beside a signature with the content in it" 'update.signature: .*contains the content' x.swu bundle sign attached.swu --out x.swu "${second[@]}"
succeeds "  it can be replaced" bundle resign attached.swu --out replaced.swu "${second[@]}"
refused "a key that is not there" 'bundle.key: cannot read the key' x.swu bundle create src --out x.swu --signer "$PKI/signer.pem" --key /nowhere.key
refused "a key with a pass phrase" 'bundle.key: .*encrypted' x.swu sh -c 'openssl ec -in "$1" -aes256 -passout pass:secret -out "$2/locked.key" 2> /dev/null
  "$0" bundle create src --out x.swu --signer "$3" --key "$2/locked.key"' "$AGENTCTL" "$PKI/signer.key" "$W" "$PKI/signer.pem"
refused "a PIN among the arguments" 'bundle.key: .*pin-source' x.swu bundle create src --out x.swu --signer "$PKI/signer.pem" --key 'pkcs11:token=t;object=o?pin-value=1234'
refused "no signer at all" 'needs its --key' x.swu bundle create src --out x.swu
many=()
for ((i = 0; i < 100; i++)); do many+=(--signer "$PKI/signer.pem" --key "$PKI/signer.key"); done
refused "more signers than a bundle may have" 'at most 8' x.swu bundle create src --out x.swu "${many[@]}"
refused "a folder that nobody can write" 'bundle.write: ' x.swu bundle create src --out /proc/x.swu "${signer[@]}"
refused "an image that is missing" 'bundle.source: .*no-such' x.swu sh -c 'mkdir empty && sed s/rootfs.img/no-such/ src/sw-description > empty/sw-description
  "$0" bundle create empty --out x.swu "$@"' "$AGENTCTL" "${signer[@]}"
refused "no description" 'bundle.source: the description' x.swu bundle create gen/../state --out x.swu "${signer[@]}"
cp plain.swu taken.swu
like "a file that is there is not overwritten" "$(bundle create src --out taken.swu "${signer[@]}" 2>&1)" 'bundle.exists: '
succeeds "  and stays as it was" cmp plain.swu taken.swu
ln -s /nowhere/at/all dangling.swu
like "  nor a link" "$(bundle create src --out dangling.swu "${signer[@]}" 2>&1)" 'bundle.exists: '
refused "a script that is not there" 'bundle.source: cannot open s\.sh' x.swu bundle create src --description scripted/sw-description --out x.swu "${signer[@]}" --scripts
refused "no script where there should be some" 'bundle.options: .*no scripts' x.swu bundle create src --out x.swu "${signer[@]}" --scripts
sed 's/shellscript/lua/' scripted/sw-description > with-lua
refused "Lua" 'manifest.unsupported: .*lua' x.swu bundle create scripted --description with-lua --out x.swu "${signer[@]}" --scripts
refused "an include" 'manifest.include: ' x.swu sh -c 'echo "@include \"/etc/passwd\"" > including; "$0" bundle create src --description including --out x.swu "$@"' "$AGENTCTL" "${signer[@]}"
refused "no signer at all is no threshold" '--min-signers must be a number from 1 to 8' x.swu bundle create src --out x.swu "${signer[@]}" --min-signers 0
refused "an end before the beginning" 'manifest.value: agent: not-after' x.swu bundle create src --out x.swu "${signer[@]}" --not-before 2000 --not-after 1000
refused "a chunk size that is none" 'bundle' x.swu bundle create src --out x.swu "${signer[@]}" --chunk-size 100000
pack() { local out=$1; shift; (cd ec.1 && cp ../sig sw-description.sig && for m; do echo "$m"; done | cpio -o -H crc --quiet > "../$out"); }
cpio -i --quiet --to-stdout sw-description.sig < plain.swu > sig
pack order.swu sw-description rootfs.img.chunks sw-description.sig rootfs.img
refused "members in another order" 'container.order: ' x.swu bundle sign order.swu --out x.swu "${second[@]}"
like "  do not verify either" "$(verify order.swu 2>&1)" 'container.order: '
pack twice.swu sw-description sw-description.sig rootfs.img.chunks rootfs.img rootfs.img.chunks
refused "a member that comes twice" 'container.duplicate: ' x.swu bundle resign twice.swu --out x.swu "${second[@]}"
head -c 300000 src/rootfs.img > ec.1/sw-description
pack huge.swu sw-description sw-description.sig rootfs.img
refused "a description that is too long" 'container.size: ' x.swu bundle resign huge.swu --out x.swu "${second[@]}"
head -c 2000000 plain.swu > short.swu
refused "a bundle that is cut short" 'container.short: ' x.swu bundle sign short.swu --out x.swu "${second[@]}"
exits "a tampered payload" 8 verify bad.swu
like "  with the device's error" "$(verify bad.swu 2>&1)" 'update.chunk: |container.checksum: '
exits "below the floor" 9 verify plain.swu --floor 8
like "another product" "$(bundle verify plain.swu --trust "$LAB/trust/update" --product gw:2 2>&1)" 'update.product: '

# ---- a full disk ---------------------------------------------------------------------------------------------------------------------
refused "no room for the file" 'bundle.write: .*(large|space)' x.swu sh -c 'ulimit -f 1000; trap "" XFSZ; "$0" bundle create src --out x.swu "$@"' "$AGENTCTL" "${signer[@]}"

# ---- keys in a token and in a TPM ------------------------------------------------------------------------------------------------------
if command -v softhsm2-util > /dev/null && [ -e "$(openssl version -e | sed 's/.*"\(.*\)"/\1/')/pkcs11.so" ]; then
  mkdir tokens
  echo "directories.tokendir = $W/tokens" > softhsm.conf
  export SOFTHSM2_CONF=$W/softhsm.conf PKCS11_MODULE_PATH=/usr/lib/softhsm/libsofthsm2.so
  softhsm2-util --init-token --free --label release --pin 123456 --so-pin 12345678 > "$LAB/out" 2>&1
  printf 123456 > pin
  for kind in signer rsa; do
    openssl pkcs8 -topk8 -nocrypt -in "$PKI/$kind.key" -out "token-$kind.key"
    softhsm2-util --import "token-$kind.key" --token release --label "$kind" --id "$([ $kind = rsa ] && echo a1 || echo b2)" --pin 123456 > "$LAB/out" 2>&1
    succeeds "a key in a PKCS#11 token ($kind)" bundle create src --out "token-$kind.swu" --signer "$PKI/$kind.pem" --key "pkcs11:token=release;object=$kind;type=private?pin-source=file:$W/pin"
    succeeds "  verifies" verify "token-$kind.swu"
  done
  refused "a token without that key" 'bundle.key: ' x.swu bundle create src --out x.swu --signer "$PKI/rsa.pem" --key "pkcs11:token=release;object=nothing;type=private?pin-source=file:$W/pin"
else
  echo "# SKIP: no softhsm2 or libengine-pkcs11-openssl: keys in tokens are not tested"
fi

# The key that a device's factory made: its request becomes the certificate of a signer.
lab_users
lab_slots
lab_tpm_start
lab_config
lab_provision
printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning,emailProtection\n' > tpm.ext
openssl x509 -req -in "$LAB/state/device.csr" -CA "$PKI/update-ca.pem" -CAkey "$PKI/update-ca.key" -CAcreateserial -days 10 -extfile tpm.ext -out tpm.pem 2> /dev/null
key=$LAB/state/keys/device.pem
succeeds "a key in a TPM" bundle create src --out tpm.swu --signer tpm.pem --key "tpm:$key" --tcti "$TCTI"
succeeds "  verifies" verify tpm.swu
peer "  it" tpm.swu
lab_tpm_stop
refused "a TPM that is not there" 'tpm.absent: ' x.swu bundle create src --out x.swu --signer tpm.pem --key "tpm:$key" --tcti "$TCTI"
done_testing
