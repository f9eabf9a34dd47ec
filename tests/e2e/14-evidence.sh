#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Evidence of a TPM: first the library against a software TPM with a maker's EK certificate, checked by openssl and
# tpm2-tools; then through agentctl on a running agent.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need swtpm openssl xxd jq tpm2_checkquote tpm2_getcap tpm2_pcrextend
LIVE=$BUILD/tests/tpm/test_attest_live
# shellcheck source=tests/e2e/tpm.sh
. "$(dirname "${BASH_SOURCE[0]}")/tpm.sh"
NONCE=000102030405060708090a0b0c0d0e0f
OTHER=f00102030405060708090a0b0c0d0e0f

spki() { openssl pkey -pubin -inform DER -in "$1" -outform PEM; }
# P-256 public area -> PEM: x and y are the last 32 + 2 + 32 bytes; in front goes what every P-256 SubjectPublicKeyInfo begins with.
area_pem() {
  { printf '3059301306072a8648ce3d020106082a8648ce3d03010703420004' | xxd -r -p; tail -c 66 "$1" | head -c 32; tail -c 32 "$1"; } > "$1.der"
  spki "$1.der" > "$1.pem"
}
# A Name is the algorithm and the digest of the public area without its size.
area_name() { printf '000b%s' "$(tail -c +3 "$1" | sha256sum | cut -d' ' -f1)"; }
checkquote() { # PREFIX PCRS NONCE
  tpm2_checkquote -u "$1.ak" -m "$1.msg" -s "$1.tpmsig" -f "$1.pcrs" -l "sha256:$2" -q "$3"
}

# ---- the library ---------------------------------------------------------------------
KEYS=$DIR
has_ek_cert=0
if command -v swtpm_setup > /dev/null; then
  # A CA of its own for the maker, in the lab: nothing is written outside.
  printf 'statedir = %s\nsigningkey = %s/k.pem\nissuercert = %s/c.pem\ncertserial = %s/serial\n' "$STATE" "$STATE" "$STATE" "$STATE" > "$STATE/localca.conf"
  printf -- '--platform-manufacturer Test\n' > "$STATE/localca.options"
  printf 'create_certs_tool = swtpm_localca\ncreate_certs_tool_config = %s\ncreate_certs_tool_options = %s\n' "$STATE/localca.conf" \
    "$STATE/localca.options" > "$STATE/setup.conf"
  swtpm_setup --tpm2 --tpmstate "$STATE" --create-ek-cert --config "$STATE/setup.conf" > "$LAB/setup.log" 2>&1 && has_ek_cert=1
fi
[ "$has_ek_cert" = 1 ] || rm -f "$STATE"/tpm2-00.*
tpm_up

live provision
live make device
like "a key is certified with two sessions and one command" "$(live quote 1 $NONCE "$LAB/x"; live certify device $NONCE "$LAB/c")" 'certified device, 3 commands'
area_pem "$LAB/c.ak"
succeeds "openssl verifies the certification with the attestation key" openssl dgst -sha256 -verify "$LAB/c.ak.pem" -signature "$LAB/c.sig" "$LAB/c.msg"
like "it holds the nonce" "$(xxd -p -c 9999 "$LAB/c.msg")" "$NONCE"
like "and the Name of the key, as computed from its public area" "$(xxd -p -c 9999 "$LAB/c.msg")" "0022$(area_name "$LAB/c.key")0022"
like "which is the Name that is shown" "$(live describe device)" "^name $(area_name "$LAB/c.key")$"
fails "it does not verify when a byte is changed" bash -c "printf tampered | dd of='$LAB/c.msg' bs=1 seek=60 conv=notrunc status=none; \
  openssl dgst -sha256 -verify '$LAB/c.ak.pem' -signature '$LAB/c.sig' '$LAB/c.msg'"
words=$(live describe device)
for word in 'made in this TPM' 'cannot leave this TPM' 'cannot get another parent' 'signs only' 'needs its authValue' 'exempt from lockout'; do
  like "in plain words: $word" "$words" "$word"
done
tpm2_pcrextend 16:sha256=1111111111111111111111111111111111111111111111111111111111111111
like "PCRs 0, 7 and 16 are quoted" "$(live quote 010081 $NONCE "$LAB/q")" '^quoted 010081$'
succeeds "tpm2_checkquote verifies the quote" checkquote "$LAB/q" 0,7,16 $NONCE
fails "but not with another nonce" checkquote "$LAB/q" 0,7,16 $OTHER
cp "$LAB/q.pcrs" "$LAB/q.true"
head -c 95 "$LAB/q.true" > "$LAB/q.pcrs"; printf 'x' >> "$LAB/q.pcrs"
fails "nor with another PCR value" checkquote "$LAB/q" 0,7,16 $NONCE
like "all 24 PCRs need three reads" "$(live quote ffffff $NONCE "$LAB/all")" '^quoted ffffff$'
like "and their digest is the end of the statement" "$(xxd -p -c 9999 "$LAB/all.msg")" "0020$(sha256sum < "$LAB/all.pcrs" | cut -d' ' -f1)\$"
like "no PCR is refused" "$(live quote 0 $NONCE "$LAB/x")" '^error attest.pcr: '
like "PCR 24 is refused" "$(live quote 1000000 $NONCE "$LAB/x")" '^error attest.pcr: '
like "a nonce of 7 bytes is refused" "$(live quote 1 00010203040506 "$LAB/x")" '^error attest.nonce-size: '
like "a nonce of 65 bytes is refused" "$(live quote 1 "$(printf '%0130d' 0)" "$LAB/x")" '^error attest.nonce-size: '
like "the attestation key signs nothing else" "$(live sign-with-ak)" '^error tpm.scheme: '
like "and is no key for others" "$(live describe ak)" '^error tpm.attributes: '
like "another key is no attestation key" "$(AK=device live quote 1 $NONCE "$LAB/x")" '^error tpm.attributes: '
head -c 200 "$KEYS/ak.pem" > "$KEYS/half.pem"
cp "$KEYS/ak.auth" "$KEYS/half.auth"
like "a damaged attestation key is refused" "$(AK=half live quote 1 $NONCE "$LAB/x")" '^error keyfile.format: '
like "a counter tells its writes" "$(live counter wear 01800a60 3)" '^index 0x01800a60 value 3 writes 4: counts upwards only'
like "also when opened again" "$(live counter wear 01800a60 2)" 'value 5 writes 6: '
tpm2_nvundefine 0x01800a60 -C o > /dev/null
tpm2_nvdefine 0x01800a60 -C o -a 'nt=counter|authwrite|authread|ownerread|no_da' -p "file:$KEYS/wear.nvauth" > /dev/null
tpm2_nvincrement 0x01800a60 -C 0x01800a60 -P "file:$KEYS/wear.nvauth"
like "the owner cannot lower one: made again it starts higher" "$(tpm2_nvread 0x01800a60 -C 0x01800a60 -P "file:$KEYS/wear.nvauth" 2> /dev/null | xxd -p)" '^000000000000000[7-9a-f]$'
like "an endorsement key is made, certificate or not" "$(live ek ec)" '^ek 91 bytes, certificate (yes|no)'
if [ "$has_ek_cert" = 1 ]; then
  live ek rsa > "$LAB/ek"
  like "the maker's certificate is read" "$(head -n 1 "$LAB/ek")" '^ek 294 bytes, certificate yes'
  succeeds "and openssl reads it" openssl x509 -in "$LAB/ek" -noout -subject
  tpm2_nvread 0x01c00002 -C o > "$LAB/ek.der" 2> /dev/null
  # Somebody else's certificate, a shorter one and no certificate at all in its place.
  replace() { tpm2_nvundefine -C p 0x01c00002 > /dev/null; tpm2_nvdefine 0x01c00002 -C p -s "$(stat -c %s "$1")" -a 'ppwrite|ppread|authread|ownerread|platformcreate|no_da' > /dev/null; tpm2_nvwrite 0x01c00002 -C p -i "$1"; }
  openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=x -outform DER -out "$LAB/wrong.der" 2> /dev/null
  replace "$LAB/wrong.der"
  like "the certificate of another key is refused" "$(live ek rsa)" '^error tpm.ek-certificate: '
  head -c 300 "$LAB/ek.der" > "$LAB/wrong.der"
  replace "$LAB/wrong.der"
  like "half a certificate is refused" "$(live ek rsa)" '^error tpm.ek-certificate: '
  { cat "$LAB/ek.der"; printf 'more'; } > "$LAB/wrong.der"
  replace "$LAB/wrong.der"
  like "something after the certificate is refused" "$(live ek rsa)" '^error tpm.ek-certificate: '
  { cat "$LAB/ek.der"; head -c 100 /dev/zero; } > "$LAB/wrong.der"
  replace "$LAB/wrong.der"
  like "a certificate in an index with room left is taken" "$(live ek rsa | head -n 1)" 'certificate yes'
  tpm2_changeauth -Q -c e secret
  like "an endorsement password is tpm.ek-auth" "$(live ek rsa)" '^error tpm.ek-auth: '
else
  echo "# swtpm_setup is not installed or cannot make certificates: the checks of an EK certificate are left out"
fi
live faults device > "$LAB/faults"
code=$?
cat "$LAB/faults"
N_OK=$((N_OK + $(grep -c '^ok' "$LAB/faults")))
is "all faults are survived" "$code" 0
is "nothing stays loaded" "$(handles)" ''
tpm_down

# ---- through agentctl on a running agent ---------------------------------------------
[ -z "${LIBRARY_ONLY:-}" ] || done_testing # tests/coverage.sh
lab_up
export TPM2TOOLS_TCTI=$TCTI
exits "no evidence before the owner set a password: certify" 4 ctl key certify device --nonce $NONCE
exits "quote" 4 ctl tpm quote --nonce $NONCE --pcrs 0
exits "description" 4 ctl key show device
exits "counters" 4 ctl tpm counters
exits "endorsement key" 4 ctl tpm ek
set_password

show=$(ctl key show device)
like "key show: the Name" "$show" '^TPM Name +000b[0-9a-f]{64}$'
like "key show: plain words" "$show" '^  made in this TPM \(sensitiveDataOrigin\)$'
like "key show: of the attestation key" "$(ctl key show ak)" 'signs only what the TPM itself states'
fails "which is not in the list of keys" bash -c "'$AGENTCTL' --socket '$SOCKET' key list | grep -q '^ak '"
exits "and cannot be made again" 1 ctl key create ak
exits "nor sign a certificate request" 5 ctl key csr ak --subject CN=x
exits "a key that is not there is not found" 5 ctl key show nobody
exits "a name with a slash is refused" 1 ctl key show ../ak

# JSON of agentctl -> files of a verifier
unpack() { # FILE PREFIX
  local part
  for part in statement:msg signature:sig tpm_signature:tpmsig ak_public:ak key_public:key; do
    jq -r ".${part%:*} // empty" "$1" | xxd -r -p > "$2.${part#*:}"
  done
  jq -r '.pcrs // {} | to_entries | sort_by(.key | tonumber) | .[].value' "$1" | xxd -r -p > "$2.pcrs"
}
succeeds "key certify" ctl key certify device --nonce $NONCE --out "$LAB/certify.json"
unpack "$LAB/certify.json" "$LAB/cert"
area_pem "$LAB/cert.ak"
succeeds "openssl verifies the certification" openssl dgst -sha256 -verify "$LAB/cert.ak.pem" -signature "$LAB/cert.sig" "$LAB/cert.msg"
like "it answers the nonce and is about the key shown" "$(xxd -p -c 9999 "$LAB/cert.msg")" "0010$NONCE.*0022$(area_name "$LAB/cert.key")0022"
like "the key shown is the one certified" "$show" "$(area_name "$LAB/cert.key")"
area_pem "$LAB/cert.key"
is "and the one in the broker's certificate" "$(cat "$LAB/cert.key.pem")" "$(openssl x509 -in "$LAB/trust/broker/device.pem" -noout -pubkey)"
is "key show and certify agree on the fingerprint" "$(jq -r .fingerprint "$LAB/certify.json")" "$(ctl --json key show device | jq -r .fingerprint)"
succeeds "a key made now is certified too" bash -c "'$AGENTCTL' --socket '$SOCKET' key create app --type rsa-2048 && '$AGENTCTL' --socket '$SOCKET' key certify app --nonce $NONCE --out '$LAB/app.json'"
unpack "$LAB/app.json" "$LAB/app"
succeeds "by the same attestation key" cmp "$LAB/app.ak" "$LAB/cert.ak"
succeeds "which openssl verifies" openssl dgst -sha256 -verify "$LAB/cert.ak.pem" -signature "$LAB/app.sig" "$LAB/app.msg"

tpm2_pcrextend 7:sha256=2222222222222222222222222222222222222222222222222222222222222222
succeeds "tpm quote" ctl tpm quote --nonce $NONCE --pcrs 0,7,16 --out "$LAB/quote.json"
unpack "$LAB/quote.json" "$LAB/quote"
succeeds "by the same attestation key, too" cmp "$LAB/quote.ak" "$LAB/cert.ak"
succeeds "tpm2_checkquote verifies it" checkquote "$LAB/quote" 0,7,16 $NONCE
fails "but not with another nonce" checkquote "$LAB/quote" 0,7,16 $OTHER
is "the values are those of the TPM" "$(jq -r '.pcrs["7"]' "$LAB/quote.json")" "$(tpm2_pcrread sha256:7 | sed -n 's/.*7 *: 0x//p' | tr 'A-F' 'a-f')"
ctl tpm quote --nonce $OTHER --pcrs 0 > "$LAB/quote2.json"
unpack "$LAB/quote2.json" "$LAB/quote2"
succeeds "a second quote, on standard output" checkquote "$LAB/quote2" 0 $OTHER

for pcrs in '' ',' '0,' 24 0,0 -1 0x7 ' 0' 0-7 100; do
  exits "PCRs '$pcrs' are refused" 1 ctl tpm quote --nonce $NONCE --pcrs "$pcrs"
done
for nonce in '' 00 0001020304050 zz01020304050607 "$(printf '%0130d' 0)"; do
  fails "nonce '${nonce:0:20}' is refused" ctl key certify device --nonce "$nonce"
done
exits "a forgotten nonce is a usage error" 2 ctl key certify device
exits "so are forgotten PCRs" 2 ctl tpm quote --nonce $NONCE
exits "a key that is not there is not certified" 5 ctl key certify nobody --nonce $NONCE
is "the attestation key is not certified as if it were a key of ours" "$(api POST /v1/keys/ak/certify -H 'Content-Type: application/json' -d "{\"nonce\":\"$NONCE\"}" > /dev/null; echo "$(cat "$LAB/api.status")")" 404

counters=$(ctl --json tpm counters)
is "all counters are shown" "$(printf '%s' "$counters" | jq -r '[.counters[].name] | sort | join(" ")')" 'floor generation tickets trust'
before=$(printf '%s' "$counters" | jq '.counters[] | select(.name == "generation") | .writes')
like "with the budget of the configuration" "$(ctl tpm counters)" '^write budget +100000$'
printf '%s\n%s\n' "$OWNER_PASSWORD" 'another walnut ferry 94' | ctl passwd --stdin > /dev/null 2>&1
is "a change of the password is one write" "$(ctl --json tpm counters | jq '.counters[] | select(.name == "generation") | .writes')" $((before + 1))
like "the endorsement key without a certificate" "$(ctl tpm ek --type ec-p256)" 'no certificate in the TPM'
exits "which then cannot be written" 5 ctl tpm ek --type ec-p256 --out "$LAB/ek.pem"
exits "an unknown type of it is not found" 5 ctl tpm ek --type dsa
events=$(ctl events --limit 200)
like "evidence is in the audit log" "$events" 'evidence.given'
lab_agent_stop
is "no handle stays in the TPM" "$(handles)" ''

# Provisioned by an older version: there is no attestation key yet. It is made when first asked for, and that is an event.
rm "$LAB/state/keys/ak.pem" "$LAB/state/keys/ak.auth"
lab_config 'tpm: { nv_write_budget = 1; };'
lab_agent_start
succeeds "without an attestation key one is made" ctl tpm quote --nonce $NONCE --pcrs 0,7 --out "$LAB/quote3.json"
unpack "$LAB/quote3.json" "$LAB/quote3"
succeeds "whose quote verifies" checkquote "$LAB/quote3" 0,7 $NONCE
fails "a verifier sees that it is another one" cmp "$LAB/quote3.ak" "$LAB/cert.ak"
fails "whose statements the known key does not verify" openssl dgst -sha256 -verify "$LAB/cert.ak.pem" -signature "$LAB/quote3.sig" "$LAB/quote3.msg"
like "and the audit log has it" "$(ctl --json events --limit 20)" '"key.created".*"ak"|"ak".*"key.created"'
like "a counter over its budget says so" "$(ctl tpm counters)" '^over budget +yes$'
lab_agent_stop
is "again no handle stays" "$(handles)" ''
fails "no sanitizer reported anything" grep -E 'Sanitizer|runtime error' "$LAB/stderr" "$LAB/log/agent.log"

done_testing
