#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Keys that people bring: the library against a software TPM, other tools, what an onlooker on the bus sees; then through
# agentctl on a running agent, with software keys as well.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need swtpm openssl xxd jq curl mosquitto tpm2_load tpm2_sign tpm2_getcap
LIVE=$BUILD/tests/tpm/test_tpm_live
FAULT=$BUILD/.libs/libtss2-tcti-fault.so
[ -e "$FAULT" ] || { echo "SKIP: $FAULT is not built (make check TESTS=)"; exit 77; }
# shellcheck source=tests/e2e/tpm.sh
. "$(dirname "${BASH_SOURCE[0]}")/tpm.sh"

K=$LAB/brought
mkdir -p "$K"
echo 'a message' > "$LAB/msg"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$K/ec-p256.pem" 2> /dev/null
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$K/ec-p384.pem" 2> /dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$K/rsa-2048.pem" 2> /dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out "$K/rsa-3072.pem" 2> /dev/null
# What must be refused.
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out "$K/p521.pem" 2> /dev/null
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out "$K/k1.pem" 2> /dev/null
openssl ecparam -name prime256v1 -genkey -noout -param_enc explicit -out "$K/explicit.pem" 2> /dev/null
openssl genpkey -algorithm ED25519 -out "$K/ed25519.pem" 2> /dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out "$K/rsa-1024.pem" 2> /dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 -out "$K/rsa-e3.pem" 2> /dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out "$K/rsa-4096.pem" 2> /dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3 -out "$K/rsa-3primes.pem" 2> /dev/null
openssl pkey -in "$K/ec-p256.pem" -aes256 -passout pass:x -out "$K/encrypted.pem"
openssl ec -in "$K/ec-p256.pem" -aes256 -passout pass:x -out "$K/encrypted-old.pem" 2> /dev/null
openssl pkey -in "$K/ec-p256.pem" -pubout -out "$K/public.pem"
openssl req -x509 -key "$K/ec-p256.pem" -subj /CN=x -out "$K/certificate.pem" 2> /dev/null
cat "$K/ec-p256.pem" "$K/ec-p384.pem" > "$K/two.pem"
head -c 150 "$K/ec-p256.pem" > "$K/short.pem"
: > "$K/empty.pem"
head -c 20000 /dev/zero | tr '\0' a > "$K/huge.pem"
# Another key's public point in it.
other=$(openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2> /dev/null | openssl pkey -pubout -outform DER | tail -c 65 | xxd -p -c 99)
hex=$(openssl ec -in "$K/ec-p256.pem" -outform DER 2> /dev/null | xxd -p -c 999)
{ echo '-----BEGIN EC PRIVATE KEY-----'; printf '%s' "${hex:0:$((${#hex} - 130))}$other" | xxd -r -p | base64; echo '-----END EC PRIVATE KEY-----'; } > "$K/halves.pem"
# The key with its certificate behind it, in the old form, and what "openssl ecparam -genkey" writes.
{ openssl ec -in "$K/ec-p256.pem" 2> /dev/null; cat "$K/certificate.pem"; } > "$K/old.pem"
openssl ecparam -name secp384r1 -genkey -out "$K/params.pem" 2> /dev/null

verify() { # KEY PEM: the last "sign" of KEY, with the public half of what was brought
  openssl pkey -in "$K/$2.pem" -pubout -out "$LAB/pub.pem" 2> /dev/null || return
  case $2 in
  rsa*) openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -verify "$LAB/pub.pem" -signature "$DIR/$1.sig" "$LAB/msg" ;;
  *) openssl dgst -sha256 -verify "$LAB/pub.pem" -signature "$DIR/$1.sig" "$LAB/msg" ;;
  esac
}
# The two OCTET STRINGs of a key file are what tpm2_create writes: $LAB/part.1 and .2.
take_apart() {
  local n=0 at head size
  sed '/^---/d' "$1" | base64 -d > "$LAB/key.der"
  openssl asn1parse -inform DER -in "$LAB/key.der" > "$LAB/key.txt"
  sed -n 's/^ *\([0-9]*\):d=1 *hl=\([0-9]*\) *l= *\([0-9]*\) .*OCTET STRING.*/\1 \2 \3/p' "$LAB/key.txt" |
    while read -r at head size; do
      n=$((n + 1))
      tail -c +$((at + head + 1)) "$LAB/key.der" | head -c "$size" > "$LAB/part.$n"
    done
}

# ---- the library: import -------------------------------------------------------------
like "no TPM is tpm.absent" "$(live import early "$K/ec-p256.pem")" '^error tpm.absent: '
tpm_up
like "no SRK is tpm.no-srk" "$(live import early "$K/ec-p256.pem")" '^error tpm.no-srk: '
live provision > /dev/null
for type in ec-p256 ec-p384 rsa-2048 rsa-3072; do
  like "import $type" "$(live import "i-$type" "$K/$type.pem")" "^imported i-$type $type, "
  like "it signs with $type: 2 commands to start, 2 per signature" "$(live sign "i-$type" "$LAB/msg")" '^signed start=2 sign=2 again=2$'
  succeeds "the public half that was brought verifies it" verify "i-$type" "$type"
done
is "key files are 0600" "$(stat -c %a "$DIR/i-ec-p256.pem" "$DIR/i-ec-p256.auth" | tr '\n' ' ')" '600 600 '
like "an old PEM form with a certificate behind it" "$(live import old "$K/old.pem")" '^imported old ec-p256'
like "one with parameters before it" "$(live import params "$K/params.pem")" '^imported params ec-p384'
like "a name that is taken is refused" "$(live import old "$K/ec-p384.pem")" 'error tpm.exists: '
like "a name with a slash is refused" "$(live import ../x "$K/ec-p256.pem")" 'error tpm.name: '
for row in p521:import.type k1:import.type explicit:import.type ed25519:import.type rsa-1024:import.weak rsa-e3:import.weak \
  rsa-4096:import.type rsa-3primes:import.type encrypted:import.encrypted encrypted-old:import.encrypted public:import.public \
  certificate:import.public two:import.format short:import.format empty:import.format huge:import.size halves:import.weak; do
  [ -s "$K/${row%:*}.pem" ] || [ "${row%:*}" = empty ] || { not_ok "no ${row%:*}.pem was made"; continue; }
  like "${row%:*} is ${row#*:}" "$(live import refused "$K/${row%:*}.pem")" "^error ${row#*:}: "
done
like "a key of the TPM is import.tpm-key" "$(live import refused "$DIR/i-ec-p256.pem")" '^error import.tpm-key: '
is "nothing of a refused key is stored" "$(find "$DIR" -name "refused*" | wc -l)" 0
for code in 0x143 0x120 0x1c4; do # no such command; disabled; size of parameter 1
  printf '156 %s\n' "$code" > "$LAB/rules"
  like "a TPM that answers $code is import.tpm" "$(TCTI=$FAULT:$LAB/rules@$TCTI live import refused "$K/ec-p256.pem")" '^error import.tpm: '
done
printf '156 0x922 2\n' > "$LAB/rules"
like "one that asks for patience is asked again" "$(TCTI=$FAULT:$LAB/rules@$TCTI live import patient "$K/ec-p256.pem")" '^imported patient'
printf '156 noise\n' > "$LAB/rules"
like "an answer that was changed on the bus is refused" "$(TCTI=$FAULT:$LAB/rules@$TCTI live import refused "$K/ec-p256.pem")" '^error tpm.answer: '
is "and stores nothing" "$(find "$DIR" -name "refused*" | wc -l)" 0
for step in $(seq 1 20); do # die before each command; then again
  KILL_AT=$step live import "kill$step" "$K/ec-p384.pem" > "$LAB/out" 2>&1
  died=$?
  [ "$died" -gt 128 ] || break
  out=$(live import "kill$step" "$K/ec-p384.pem")
  case $out in
  imported*) ;;
  *tpm.exists*) case $(live sign "kill$step" "$LAB/msg") in signed*) ;; *) not_ok "killed before command $step: stored, and does not sign" ;; esac ;;
  *) not_ok "an import that was killed before command $step: $out"; break ;;
  esac
done
[ "$step" -gt 5 ] && [ "$died" = 0 ] && ok "an import killed before any of its $((step - 1)) commands is done by the next run"
tpm2_flushcontext -t 2> /dev/null; tpm2_flushcontext -l 2> /dev/null
live sign old "$LAB/msg" > /dev/null
is "nothing stays loaded" "$(handles)" ''

# ---- other tools use it ----------------------------------------------------------------
if openssl list -provider tpm2 -providers > /dev/null 2>&1; then
  for type in ec-p256 ec-p384 rsa-2048; do
    pss=; case $type in rsa*) pss='-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest' ;; esac
    # shellcheck disable=SC2086
    succeeds "tpm2-openssl signs with the imported $type" openssl dgst -provider tpm2 -provider default -propquery '?provider=tpm2' -sha256 $pss \
      -sign "$DIR/i-$type.pem" -passin "file:$DIR/i-$type.auth" -out "$DIR/i-$type.sig" "$LAB/msg"
    succeeds "and the signature is good" verify "i-$type" "$type"
  done
  tpm2_flushcontext -t; tpm2_flushcontext -l
else
  echo "# tpm2-openssl is not installed: its checks are left out"
fi
for type in ec-p256 ec-p384 rsa-2048 rsa-3072; do
  scheme=ecdsa; case $type in rsa*) scheme=rsapss ;; esac
  take_apart "$DIR/i-$type.pem"
  succeeds "tpm2_load takes the imported $type" tpm2_load -C 0x81000001 -u "$LAB/part.1" -r "$LAB/part.2" -c "$LAB/key.ctx"
  tpm2_flushcontext -t
  succeeds "tpm2_sign signs with it" tpm2_sign -c "$LAB/key.ctx" -g sha256 -s $scheme -f plain -p "file:$DIR/i-$type.auth" -o "$DIR/i-$type.sig" "$LAB/msg"
  succeeds "and the signature is good" verify "i-$type" "$type"
  tpm2_flushcontext -t
done
tpm2_startauthsession -Q --policy-session -S "$LAB/dup.ctx" && tpm2_policycommandcode -Q -S "$LAB/dup.ctx" TPM2_CC_Duplicate
take_apart "$DIR/i-ec-p256.pem"
tpm2_load -Q -C 0x81000001 -u "$LAB/part.1" -r "$LAB/part.2" -c "$LAB/key.ctx"
fails "the TPM does not give it out again (TPM2_Duplicate)" tpm2_duplicate -C null -c "$LAB/key.ctx" -G null -p "session:$LAB/dup.ctx" -r "$LAB/dup.priv" -s "$LAB/dup.seed"
like "because its policy is empty" "$(cat "$LAB/out")" 'policy|0x9[0-9a-f]*9d|authValue|0x99d'
tpm2_flushcontext -t; tpm2_flushcontext -l; tpm2_flushcontext -s
# A key that tpm2-tools imported: fixedTPM and the like are clear, too.
if tpm2_import -Q -C 0x81000001 -G ecc -i "$K/ec-p256.pem" -u "$LAB/ti.pub" -r "$LAB/ti.priv" -p tools -a 'userwithauth|sign|noda' 2> "$LAB/out"; then
  tpm2_flushcontext -t
  tpm2_encodeobject -C 0x81000001 -u "$LAB/ti.pub" -r "$LAB/ti.priv" -p -o "$DIR/ti.pem" 2> "$LAB/out"
  printf tools > "$DIR/ti.auth"
  tpm2_flushcontext -t
  like "we sign with a key that tpm2_import brought" "$(live sign ti "$LAB/msg")" '^signed'
  succeeds "and the signature is good" verify ti ec-p256
else
  not_ok "tpm2_import: $(cat "$LAB/out")"
fi

# ---- on the bus ------------------------------------------------------------------------
TCTI_PCAP_FILE=$LAB/bus.pcap
export TCTI_PCAP_FILE
"$LIVE" "pcap:$TCTI" "$DIR" import w-ec "$K/ec-p256.pem" > "$LAB/bus.out" 2>&1
"$LIVE" "pcap:$TCTI" "$DIR" import w-rsa "$K/rsa-2048.pem" >> "$LAB/bus.out" 2>&1
unset TCTI_PCAP_FILE
is "two imports are recorded" "$(grep -c '^imported' "$LAB/bus.out")" 2
bus=$(xxd -p -c 99999999 "$LAB/bus.pcap")
d=$(openssl ec -in "$K/ec-p256.pem" -outform DER 2> /dev/null | tail -c +8 | head -c 32 | xxd -p -c 99)
prime() { openssl rsa -in "$K/rsa-2048.pem" -noout -text 2> /dev/null | sed -n "/^prime$1:/,/^[a-z]*[0-9]*:/p" | sed '1d;$d' | tr -d ' :\n' | sed 's/^00//'; }
point=$(openssl pkey -in "$K/ec-p256.pem" -pubout -outform DER | tail -c 64 | xxd -p -c 99)
case $bus in *"${point:0:64}"*) ok "the public point is in the recording" ;; *) not_ok "the public point is not in the recording: it is the wrong one" ;; esac
is "the secrets are of the right length" "${#d} $(prime 1 | wc -c) $(prime 2 | wc -c)" '64 256 256'
case $bus in *"$d"*) not_ok "the private number of the EC key is on the bus" ;; *) ok "the private number of the EC key is not in it" ;; esac
case $bus in *"$(prime 1)"* | *"$(prime 2)"*) not_ok "a prime of the RSA key is on the bus" ;; *) ok "nor are the primes of the RSA key" ;; esac
fails "nor are the authValues" grep -qaF -f "$DIR/w-ec.auth" -f "$DIR/w-rsa.auth" "$LAB/bus.pcap"
tpm_down

# ---- through agentctl on a running agent -------------------------------------------------
[ -z "${LIBRARY_ONLY:-}" ] || done_testing # tests/coverage.sh
lab_up
events() { ctl events --json | jq -cs "map(select(.name == \"$1\"))"; }
exits "no import before the owner set a password" 4 ctl key import early < "$K/ec-p256.pem"
set_password
key() { ctl --json key list | jq -c ".keys[] | select(.name == \"$1\")"; }
succeeds "the owner imports an EC key" ctl key import mine < "$K/ec-p256.pem"
succeeds "and an RSA key for application signatures" ctl key import rsa --purposes sign-app,csr < "$K/rsa-2048.pem"
is "the list says where it is and where it comes from" "$(key mine | jq -r '.backend, .origin' | tr '\n' ' ')" 'tpm imported '
is "a key made in the TPM says so, too" "$(key device | jq -r '.backend, .origin' | tr '\n' ' ')" 'tpm tpm '
like "so does the table" "$(ctl key list | grep '^mine ')" '^mine +ec-p256 +tpm +imported '
like "and its description in the file" "$(lab_as agentd cat "$LAB/state/keys/mine.meta")" '^origin imported$'
fails "no file holds the private key" lab_as agentd grep -rlqF "$(sed -n 2p "$K/ec-p256.pem")" "$LAB/state"
words=$(ctl key show mine)
for word in '^origin +imported' 'made outside and imported, so copies may exist' 'can leave this TPM' 'gives it to nobody'; do
  like "its description: $word" "$words" "$word"
done
like "the event names it" "$(events key.imported)" '"key":"mine".*"origin":"imported"'
succeeds "a request is made with it" ctl key csr mine --subject CN=mine --out "$LAB/mine.csr"
is "which carries the public key that was brought" "$(openssl req -in "$LAB/mine.csr" -noout -pubkey -verify 2> /dev/null)" "$(cat "$K/public.pem")"
like "a certification says that it was imported" "$(ctl key certify mine --nonce 000102030405060708090a0b0c0d0e0f --out "$LAB/cert.json"; jq -r .origin "$LAB/cert.json")" '^imported$'
exits "a name that is taken: mine" 1 ctl key import mine < "$K/ec-p384.pem"
for row in encrypted:passphrase public:'public key' two:'more than one' p521:'EC P-256' rsa-1024:1024 rsa-e3:65537 short:damaged; do
  like "${row%%:*} is refused in words" "$(ctl key import refused < "$K/${row%%:*}.pem" 2>&1)" "${row#*:}"
done
exits "huge input is not even sent" 2 ctl key import refused < "$K/huge.pem"
exits "nor is nothing" 2 ctl key import refused < /dev/null
exits "nor what is no text" 2 ctl key import refused < /bin/true
api POST /v1/keys/refused/import -H 'Content-Type: application/json' -d "{\"pem\":\"\"}" > /dev/null
is "an empty key over the API is 422" "$(cat "$LAB/api.status")" 422
api POST /v1/keys/refused/import -H 'Content-Type: application/json' -d "{\"pem\":\"$(head -c 17000 /dev/zero | tr '\0' a)\"}" > /dev/null
like "a huge one 413 or 422" "$(cat "$LAB/api.status")" '^4(13|22)$'
api POST /v1/keys/Bad_Name/import -H 'Content-Type: application/json' -d "$(jq -Rs '{pem: .}' < "$K/ec-p256.pem")" > /dev/null
is "a bad name is 404" "$(cat "$LAB/api.status")" 404
is "nothing of them is listed" "$(key refused)" ''
# A power cut between NAME.pem and NAME.meta: of no use to anybody, and the same command again finishes it.
lab_as agentd rm "$LAB/state/keys/mine.meta"
exits "without its description it is of no use" 5 ctl key csr mine --subject CN=x
succeeds "importing it again finishes it" ctl key import mine < "$K/ec-p256.pem"
is "and nothing else" "$(openssl req -in "$LAB/mine.csr" -noout -pubkey)" "$(ctl key csr mine --subject CN=mine 2> /dev/null | openssl req -noout -pubkey)"
# Names are compared: an imported key that poses as one made in the TPM.
lab_as agentd sed -i '/^origin/d' "$LAB/state/keys/mine.meta"
like "a description that hides the import is refused" "$(ctl key csr mine --subject CN=x 2>&1)" 'not the key that'
lab_as agentd sed -i 's/^purposes/origin imported\npurposes/' "$LAB/state/keys/mine.meta"
succeeds "put right, it works" ctl key csr mine --subject CN=x

# ---- software keys: only where the configuration says so ----------------------------------
like "not allowed: none is made" "$(ctl key create soft --software 2>&1)" 'keys.allow_software'
like "and none imported" "$(ctl key import soft --software < "$K/ec-p256.pem" 2>&1)" 'keys.allow_software'
is "nothing is listed" "$(key soft)" ''
fails "the log does not speak of software keys" grep -q 'software key' "$AGENT_LOG"
lab_agent_stop
lab_config 'keys: { allow_software = true; };'
lab_agent_start
like "allowed: a warning at start" "$(cat "$AGENT_LOG")" 'keys.allow_software'
for type in ec-p256 rsa-2048; do succeeds "a software key is made: $type" ctl key create "soft-$type" --software --type "$type"; done
succeeds "and one imported" ctl key import brought --software < "$K/ec-p384.pem"
is "the list says so" "$(for k in soft-ec-p256 soft-rsa-2048 brought; do key $k | jq -r '.backend, .origin'; done | sort | uniq -c | tr -s ' \n' ' ')" ' 6 software '
is "its file is 0600" "$(lab_as agentd stat -c %a "$LAB/state/keys/brought.pem")" 600
like "the event says so" "$(events key.created)" '"key":"soft-ec-p256".*"origin":"software"'
like "the TPM's status counts them" "$(ctl --json tpm status | jq -r .software_keys)" '^3$'
like "its description warns" "$(ctl key show brought)" 'whoever copies the file has it'
like "nothing can be certified" "$(ctl key certify brought --nonce 000102030405060708090a0b0c0d0e0f 2>&1)" 'nothing that a TPM could certify'
succeeds "it makes a request" ctl key csr brought --subject CN=brought --out "$LAB/brought.csr"
succeeds "which verifies" openssl req -in "$LAB/brought.csr" -noout -verify
is "a key that is not asked for as software is none" "$(ctl key create normal > /dev/null; key normal | jq -r '.backend, .origin' | tr '\n' ' ')" 'tpm tpm '
lab_agent_stop
lab_config
lab_agent_start
like "no longer allowed: the list still works and says why the key does not" "$(key brought)" '"problem":".*keys.allow_software'
like "it signs nothing" "$(ctl key csr brought --subject CN=x 2>&1)" 'keys.allow_software'
succeeds "the others do" ctl key csr device --subject CN=x
lab_tpm_stop
like "without a TPM there is no way around it" "$(ctl key create fallback 2>&1; ctl key csr device --subject CN=x 2>&1)" '[Tt][Pp][Mm]'
is "and no file" "$(lab_as agentd ls "$LAB/state/keys" | grep -c fallback)" 0
done_testing
