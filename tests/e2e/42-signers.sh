#!/usr/bin/env bash
# Changing the signers: a policy that old and new signed, carried by a bundle.
. "$(dirname "$0")/lib.sh"
need openssl cpio swtpm jq
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
probe() { # BUNDLE [OPTIONS]
  local b=$1
  shift
  "$PROBE" --trust "$LAB/trust/update" --state "$W/state" --env "$W/env" --slot "rootfs:a:$W/slot.a" --slot "rootfs:b:$W/slot.b" "$@" < "$b"
}
lab_leaf other-ca next "/CN=Next release signer" 'extendedKeyUsage=codeSigning,emailProtection'
trust_policy() { # VERSION
  printf '{"profile":"agent-trust-1","version":%s,"issued":%s,"min-signers":1,"certificates":["%s"]}' "$1" "$(date +%s)" \
    "$(awk '{ printf "%s\\n", $0 }' "$PKI/next.pem")" > trust.json
  shift
  openssl cms -sign -binary -nosmimecap -md sha256 -in trust.json -out trust.json.sig -outform DER "$@"
}
strict() { # RELEASE SIGNER with the policy of trust.json unless NO_TRUST is set
  LAB_BUNDLE_PRODUCT=${PRODUCT:-gw:1} lab_bundle_of strict.swu image "$1" "r-$1" 1 "$2"
  [ -z "${NO_TRUST:-}" ] || return 0
  rm -rf unpacked && mkdir unpacked
  (cd unpacked && cpio -i --quiet < ../strict.swu) && cp trust.json trust.json.sig unpacked/
  (cd unpacked && sed -i 's/profile = "1";/profile = "1"; trust-policy = "trust.json";/' sw-description &&
    openssl cms -sign -binary -nosmimecap -md sha256 -in sw-description -out sw-description.sig -outform DER -signer "$PKI/$2.pem" -inkey "$PKI/$2.key" &&
    printf '%s\n' sw-description sw-description.sig trust.json trust.json.sig rootfs.img.chunks rootfs.img | cpio -o -H crc --quiet > ../strict.swu)
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

# ---- revocation lists: of the right CA, valid, or refused ----------------------------------------------------------------
crl() { # NAME CA DAYS [REVOKED]: DAYS below 0 for one that is over
  rm -rf ca && mkdir ca && : > ca/index.txt && echo 1000 > ca/crlnumber
  printf '[ca]\ndefault_ca=d\n[d]\ndatabase=ca/index.txt\ncrlnumber=ca/crlnumber\ndefault_md=sha256\ndefault_crl_days=30\n' > ca/conf
  [ -z "${4:-}" ] || openssl ca -config ca/conf -cert "$PKI/$2.pem" -keyfile "$PKI/$2.key" -revoke "$PKI/$4.pem" 2> /dev/null
  if [ "$3" -gt 0 ]; then set -- "$1" "$2" -crldays "$3"; else set -- "$1" "$2" -crl_lastupdate 20250101000000Z -crl_nextupdate 20250201000000Z; fi
  local to=$LAB/trust/update/$1.crl ca=$2
  shift 2
  openssl ca -config ca/conf -gencrl -cert "$PKI/$ca.pem" -keyfile "$PKI/$ca.key" "$@" -out "$to" 2> /dev/null || not_ok "openssl made no revocation list"
}
device
NO_TRUST=1 strict 20 signer
like "no revocation list where one is demanded" "$(probe strict.swu --require-crl)" '^update.signer: .*no revocation list of the issuer of "Demo release signer"'
crl other other-ca 30
device
like "a list of another CA is none" "$(probe strict.swu --require-crl)" '^update.signer: .*no revocation list'
crl release update-ca -1
device
like "a list that is over, also where none is demanded" "$(probe strict.swu)" '^update.signer: .*install a fresh one'
crl release update-ca 30 signer
device
like "a revoked signer" "$(probe strict.swu)" '^update.signer: .*is revoked'
crl release update-ca 30
device
succeeds "a valid list of the right CA" probe strict.swu --require-crl
rm "$LAB"/trust/update/*.crl
device
like "a clock that begins in 1970" "$(probe strict.swu --now 100)" '^update.signer: .*not yet valid.*the clock says 1970-01-01'
device
like "a clock after 2038" "$(probe strict.swu --now 2209032000)" '^update.signer: .*expired on 20.*the clock says 2040-01-01'
device
like "no clock at all" "$(probe strict.swu --now 0)" '^update.signer: .*the time is not known'

# ---- through the agent: the TPM knows which signers there were -------------------------------------------------------------
cd "$W" || exit 1
export LAB_PRODUCT=gw:1
lab_users
lab_make
lab_slots
lab_tpm_start
lab_config
lab_provision
lab_broker_start
lab_agent_start
set_password
version() { ctl --json update status | jq -r .signers_version; }
has_version() { [ "$(version)" = "$1" ]; }
back() { ctl update rollback > "$LAB/out" 2>&1 || not_ok "rollback: $(cat "$LAB/out")"; }
is "the signers are those of the folder" "$(version)" 0
trust_policy 2 "${old[@]}" "${new[@]}"
strict 30 signer
succeeds "a release that changes the signers installs" ctl update install strict.swu
succeeds "and the TPM knows it" wait_for 30 has_version 2
succeeds "an event tells of it" sh -c "grep -rq update.signers '$LAB/state/events'"
key_of() { openssl x509 -in "$PKI/$1.pem" -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum | cut -d ' ' -f 1; }
is "the status says whose key signed it" "$(ctl --json update status | jq -r '.signers[]')" "$(key_of signer)"
is "and whose may sign from now on" "$(ctl --json update status | jq -r '.trusted_keys[]')" "$(key_of next)"
succeeds "the first is among the events" sh -c "grep -rq '$(key_of signer)' '$LAB/state/events'"
back
cp "$LAB/install/trust" chain.2
NO_TRUST=1 strict 31 signer
exits "the old signer is out" 8 ctl update install strict.swu
rm "$LAB/install/trust"
exits "who removes the stored policies does not bring the old signer back" 9 ctl update install strict.swu
like "  and it is said" "$(cat "$LAB/out")" 'removed or restored'
is "  and the version stays" "$(version)" 2
install_back() { install -m 600 "$1" "$LAB/install/trust" && lab_own agentd-install: "$LAB/install/trust"; }
install_back chain.2
lab_leaf other-ca third "/CN=Third release signer" 'extendedKeyUsage=codeSigning,emailProtection'
printf '{"profile":"agent-trust-1","version":3,"issued":%s,"min-signers":1,"certificates":["%s"]}' "$(date +%s)" \
  "$(awk '{ printf "%s\\n", $0 }' "$PKI/third.pem")" > trust.json
openssl cms -sign -binary -nosmimecap -md sha256 -in trust.json -out trust.json.sig -outform DER "${new[@]}" -signer "$PKI/third.pem" -inkey "$PKI/third.key"
strict 32 next
succeeds "the next change" ctl update install strict.swu
succeeds "is known to the TPM" wait_for 30 has_version 3
back
install_back chain.2
NO_TRUST=1 strict 33 next
exits "an older copy of the stored policies brings the signer of then not back" 9 ctl update install strict.swu
like "  and it is said" "$(cat "$LAB/out")" 'removed or restored'
done_testing
