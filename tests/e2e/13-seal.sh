#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Sealing against a software TPM: each policy and its refusals, signed PCR policies across an update, damaged files, what an
# onlooker on the bus sees, and whether tpm2-tools agree about policies and open the sealed object.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need swtpm openssl xxd tpm2_pcrextend tpm2_getcap tpm2_policypcr tpm2_unseal tpm2_verifysignature
LIVE=$BUILD/tests/tpm/test_seal_live
# shellcheck source=tests/e2e/tpm.sh
. "$(dirname "${BASH_SOURCE[0]}")/tpm.sh"
D=$DIR

extend() { tpm2_pcrextend "$1:sha256=$(printf '%s' "$2" | sha256sum | cut -d' ' -f1)"; }
# unseals "what" PATH SECRET [option...]: the very bytes come back
unseals() {
  local what=$1 path=$2 secret=$3 out
  shift 3
  rm -f "$D/out"
  out=$(live unseal "$path" out "$@")
  if cmp -s "$D/out" "$D/$secret"; then ok "$what"; else not_ok "$what: $out"; fi
}
# The sealed object in a file, as tpm2_load wants it: $1.pub and $1.priv.
take_apart() {
  local n=0 at head size
  sed '/^-----END/q' "$D/$1" | sed '/^---/d' | base64 -d > "$LAB/blob.der"
  openssl asn1parse -inform DER -in "$LAB/blob.der" > "$LAB/blob.txt"
  sed -n 's/^ *\([0-9]*\):d=1 *hl=\([0-9]*\) *l= *\([0-9]*\) .*OCTET STRING.*/\1 \2 \3/p' "$LAB/blob.txt" |
    while read -r at head size; do
      n=$((n + 1))
      tail -c +$((at + head + 1)) "$LAB/blob.der" | head -c "$size" > "$LAB/blob.$n"
    done
}

printf 'the combination is 4711' > "$D/small"
printf x > "$D/one"
head -c 102400 /dev/urandom > "$D/large"
head -c 1024000 /dev/urandom > "$D/largest"
head -c 1024001 /dev/urandom > "$D/over"
: > "$D/nothing"
for k in maker thief; do
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$D/$k.pem" 2> /dev/null
  openssl pkey -in "$D/$k.pem" -pubout -outform DER -out "$D/$k.der"
done
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$D/rsa.pem" 2> /dev/null
openssl pkey -in "$D/rsa.pem" -pubout -outform DER -out "$D/rsa.der"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$D/p384.pem" 2> /dev/null
openssl pkey -in "$D/p384.pem" -pubout -outform DER -out "$D/p384.der"

# ---- without a policy ----------------------------------------------------------------
like "no TPM is tpm.absent" "$(live seal s small)" '^error tpm.absent: '
tpm_up
like "no SRK is tpm.no-srk" "$(live seal s small)" '^error tpm.no-srk: '
live provision > /dev/null
like "sealing costs two commands" "$(live seal s small)" '^sealed commands=2$'
like "unsealing costs four: load, session, unseal, flush" "$(live unseal s out)" '^unsealed 23 commands=[34]$'
unseals "what was sealed comes back" s small
is "sealed files are 0600" "$(stat -c %a "$D/s")" 600
for size in one large largest; do
  live seal "s.$size" "$size" > /dev/null
  unseals "$(stat -c %s "$D/$size") bytes come back" "s.$size" "$size"
done
like "a secret over the limit is seal.size" "$(live seal s.over over)" '^error seal.size: '
like "an empty one is seal.argument" "$(live seal s.over nothing)" '^error seal.argument: '
fails "neither leaves a file" [ -e "$D/s.over" ]
like "a small buffer is seal.buffer, with the size" "$(live unseal s out buffer=22)" '^error seal.buffer: .*23 bytes'
like "a buffer that just fits is enough" "$(live unseal s out buffer=23)" '^unsealed 23 '
like "a full disk is file.write" "$(ulimit -f 0; "$LIVE" "$TCTI" "$D" seal s.full small 2> /dev/null)" '^error file.write: '
fails "and leaves no file" [ -e "$D/s.full" ]
for step in $(seq 1 20); do # die before each command of sealing over an older file
  cp "$D/s.one" "$D/s.kill"
  KILL_AT=$step live seal s.kill small > "$LAB/out" 2>&1
  died=$?
  [ "$died" -gt 128 ] || break
  live unseal s.kill out > "$LAB/out"
  cmp -s "$D/out" "$D/one" || { not_ok "killed before command $step the old file is gone: $(cat "$LAB/out")"; break; }
done
tpm2_flushcontext -t; tpm2_flushcontext -l
is "killed before any command the old file stays, then the new one is there" "$died $(live unseal s.kill out > /dev/null; cat "$D/out")" \
  "0 $(cat "$D/small")"

# ---- a password ----------------------------------------------------------------------
live seal p small auth=open-sesame > /dev/null
unseals "with the password" p small auth=open-sesame
like "without it: seal.auth" "$(live unseal p out)" '^error seal.auth: .*none was given'
like "with another one: seal.auth" "$(live unseal p out auth=open-barley)" '^error seal.auth: .*wrong'
like "one that nobody asked for: seal.auth" "$(live unseal s out auth=open-sesame)" '^error seal.auth: '
like "one that is too long: seal.argument" "$(live seal q small auth=0123456789012345678901234567890123)" '^error seal.argument: '
for _ in $(seq 40); do live unseal p out auth=wrong > /dev/null; done
unseals "forty wrong ones do not lock the TPM" p small auth=open-sesame

# ---- PCRs ----------------------------------------------------------------------------
extend 16 "firmware 1"
like "PCRs are read" "$(live pcrs 0,16,23 v)" "^16 $(tpm2_pcrread sha256:16 | sed -n 's/^ *16: 0x//p' | tr 'A-F' 'a-f')$"
is "all 24 of them, in several commands" "$(live pcrs 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23 v24 | wc -l)" 24
live seal c small policy=pcr pcr=7,16,23 > /dev/null
unseals "PCRs as they were: unsealed" c small
live seal ca small policy=pcr pcr=7,16 auth=open-sesame > /dev/null
unseals "PCRs and password: unsealed" ca small auth=open-sesame
like "PCRs and a wrong password: seal.auth" "$(live unseal ca out auth=wrong)" '^error seal.auth: '
live seal c24 small policy=pcr pcr=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23 > /dev/null
unseals "all 24 PCRs: unsealed" c24 small
cp -a "$STATE" "$LAB/state-before"
live pcrs 16 v16.now > /dev/null

# The sealed object is what other tools understand.
take_apart c
tpm2_startauthsession -S "$LAB/trial.ctx"
tpm2_policypcr -Q -S "$LAB/trial.ctx" -l sha256:7,16,23 -L "$LAB/policy"
tpm2_flushcontext "$LAB/trial.ctx"
succeeds "its policy is the one of tpm2_policypcr" grep -qaF "$(xxd -p -c 64 "$LAB/policy")" <(xxd -p -c 9999 "$LAB/blob.1")
succeeds "tpm2_load takes it" tpm2_load -C 0x81000001 -u "$LAB/blob.1" -r "$LAB/blob.2" -c "$LAB/c.ctx"
tpm2_flushcontext -t
succeeds "tpm2_unseal with its policy opens it" tpm2_unseal -c "$LAB/c.ctx" -p pcr:sha256:7,16,23 -o "$LAB/c.key"
tpm2_flushcontext -t; tpm2_flushcontext -l
is "in it is a 256-bit key" "$(stat -c %s "$LAB/c.key")" 32
fails "the TPM does not give it without a policy" tpm2_unseal -c "$LAB/c.ctx"
tpm2_flushcontext -t; tpm2_flushcontext -l

extend 16 "something else"
like "PCR 16 changed: seal.pcr names it" "$(live unseal c out)" '^error seal.pcr: .*PCR 16:'
like "with a password too" "$(live unseal ca out auth=open-sesame)" '^error seal.pcr: .*PCR 16:'
fails "tpm2_unseal does not open it either" tpm2_unseal -c "$LAB/c.ctx" -p pcr:sha256:7,16,23
tpm2_flushcontext -t; tpm2_flushcontext -l
extend 23 "and more"
like "two changed: both are named" "$(live unseal c out)" '^error seal.pcr: .*PCR 16,23:'
is "nothing stays loaded after the refusals" "$(handles)" ''

# Sealed for what will be: 16 as it is now, seen from before.
live pcrs 16,23 v.after > /dev/null
tpm_down; tpm_up
like "PCRs that a restart reset: seal.pcr" "$(live unseal c out)" '^error seal.pcr: .*PCR 16:'
extend 16 "firmware 1"
unseals "firmware 1 again: unsealed" c small
live seal next small policy=pcr pcr=16,23 values=v.after > /dev/null
like "sealed to values to come: not yet" "$(live unseal next out)" '^error seal.pcr: '
like "values of other PCRs are refused" "$(live seal x small policy=pcr pcr=16 values=v.after)" '^error seal.argument: '
live seal r small policy=pcr pcr=16,23 > /dev/null
like "re-sealed to values to come" "$(live reseal r -- policy=pcr pcr=16,23 values=v.after)" '^resealed$'
like "it no longer opens now" "$(live unseal r out)" '^error seal.pcr: .*PCR 16,23:'
extend 16 "something else"
extend 23 "and more"
unseals "then it does" next small
unseals "re-sealed as well" r small
cp "$D/c" "$D/c.copy"
like "what cannot be unsealed is not re-sealed" "$(live reseal c -- )" '^error seal.pcr: '
succeeds "and stays as it was" cmp "$D/c" "$D/c.copy"

# ---- signed PCR policies -------------------------------------------------------------
tpm_down; tpm_up
extend 16 "release 1"
live pcrs 7,16 v1 > /dev/null
live sign maker.pem pol1 values=v1 ref=disk > /dev/null
for k in maker rsa; do
  live seal "u.$k" small policy=signed pcr=7,16 "signer=$k.der" ref=disk > /dev/null
  live sign "$k.pem" "pol1.$k" values=v1 ref=disk > /dev/null
  unseals "signed policy, $k: unsealed" "u.$k" small "sig=pol1.$k"
done
live seal ua large policy=signed pcr=7,16 signer=maker.der ref=disk auth=open-sesame > /dev/null
unseals "signed policy, password, 100 KiB: unsealed" ua large sig=pol1 auth=open-sesame
like "with a wrong password: seal.auth" "$(live unseal ua out sig=pol1 auth=wrong)" '^error seal.auth: '
like "without a signature: seal.policy" "$(live unseal u.maker out)" '^error seal.policy: .*PCR 7,16'
like "a signer of another kind of key: seal.signer" "$(live seal x small policy=signed pcr=7 signer=p384.der)" '^error seal.signer: '
like "nor does it sign" "$(live sign p384.pem x values=v1)" '^error seal.signer: '
like "no signer: seal.argument" "$(live seal x small policy=signed pcr=7)" '^error seal.argument: '
like "no PCR: seal.argument" "$(live seal x small policy=signed signer=maker.der)" '^error seal.argument: '
live sign thief.pem pol.thief values=v1 ref=disk > /dev/null
like "another key's signature: seal.signature" "$(live unseal u.maker out sig=pol.thief)" '^error seal.signature: '
sed "s/^signer: .*/$(grep '^signer: ' "$D/pol1")/" "$D/pol.thief" > "$D/pol.forged"
like "under the maker's name: seal.signature" "$(live unseal u.maker out sig=pol.forged)" '^error seal.signature: '
live sign maker.pem pol.ref values=v1 ref=other > /dev/null
like "for another reference: seal.policy" "$(live unseal u.maker out sig=pol.ref)" '^error seal.policy: '
live pcrs 16 v16 > /dev/null
live sign maker.pem pol.16 values=v16 ref=disk > /dev/null
like "over fewer PCRs: seal.policy" "$(live unseal u.maker out sig=pol.16)" '^error seal.policy: '
head -c 300 "$D/pol1" > "$D/pol.short"
like "a cut signature file: seal.policy" "$(live unseal u.maker out sig=pol.short)" '^error seal.policy: '
sed 's/^signature: \(.\)/signature: 0\1/' "$D/pol1" > "$D/pol.bad"
like "a damaged one: seal.policy" "$(live unseal u.maker out sig=pol.bad)" '^error seal.policy: '

# An update: other PCRs, and a signature of the maker for them.
tpm_down; tpm_up
extend 16 "release 2"
like "after an update, with the old signature: seal.pcr names PCR 16" "$(live unseal u.maker out sig=pol1)" '^error seal.pcr: .*PCR 16:'
live pcrs 7,16 v2 > /dev/null
sed "s/^pcr-16: .*/pcr-16: $(live pcrs 16 v | cut -d' ' -f2)/" "$D/pol1" > "$D/pol.replay"
like "the old signature replayed for the new values: seal.signature" "$(live unseal u.maker out sig=pol.replay)" '^error seal.signature: '
live sign maker.pem pol2 values=v2 ref=disk > /dev/null
sed "s/^signature: .*/$(grep '^signature: ' "$D/pol1")/" "$D/pol2" > "$D/pol.replay"
like "the old signature under the new policy: seal.signature" "$(live unseal u.maker out sig=pol.replay)" '^error seal.signature: '
cat "$D/pol.thief" "$D/pol1" "$D/pol2" > "$D/pol.all"
unseals "with a new signature beside the old: unsealed" u.maker small sig=pol.all
live sign rsa.pem pol2.rsa values=v2 ref=disk > /dev/null
unseals "also by RSA" u.rsa small sig=pol2.rsa
like "re-sealed to one signer and another reference" "$(live reseal u.maker sig=pol2 -- policy=signed pcr=7,16 signer=rsa.der ref=new)" '^resealed$'
like "the old signature no longer opens it" "$(live unseal u.maker out sig=pol2)" '^error seal.policy: '
live sign rsa.pem pol3 values=v2 ref=new > /dev/null
unseals "the new signer's does" u.maker small sig=pol3

# tpm2-tools with our signature, on the TPM: TPM2_PolicyAuthorize has the last word.
live seal t small policy=signed pcr=7,16 signer=maker.der ref=disk > /dev/null
take_apart t
openssl pkey -pubin -inform DER -in "$D/maker.der" -out "$LAB/maker.pub"
sed -n 's/^policy: //p' "$D/pol2" | xxd -r -p > "$LAB/approved"
sed -n 's/^signature: //p' "$D/pol2" | xxd -r -p > "$LAB/sig"
printf disk > "$LAB/ref"
cat "$LAB/approved" "$LAB/ref" > "$LAB/signed"
succeeds "openssl verifies a policy signature" openssl dgst -sha256 -verify "$LAB/maker.pub" -signature "$LAB/sig" "$LAB/signed"
tools_unseal() { # APPROVED: as its author would do it by hand
  tpm2_loadexternal -Q -C o -G ecc -u "$LAB/maker.pub" -c "$LAB/maker.ctx" -n "$LAB/maker.name" &&
    tpm2_verifysignature -c "$LAB/maker.ctx" -g sha256 -f ecdsa -m "$LAB/signed" -s "$LAB/sig" -t "$LAB/ticket" || return
  tpm2_flushcontext -t
  tpm2_startauthsession --policy-session -S "$LAB/s.ctx" &&
    tpm2_policypcr -Q -S "$LAB/s.ctx" -l sha256:7,16 &&
    tpm2_policyauthorize -Q -S "$LAB/s.ctx" -i "$1" -q "$LAB/ref" -n "$LAB/maker.name" -t "$LAB/ticket" &&
    tpm2_load -Q -C 0x81000001 -u "$LAB/blob.1" -r "$LAB/blob.2" -c "$LAB/t.ctx" &&
    tpm2_unseal -c "$LAB/t.ctx" -p "session:$LAB/s.ctx" -o "$LAB/t.key"
  local code=$?
  tpm2_flushcontext -t; tpm2_flushcontext -l
  return $code
}
succeeds "tpm2-tools unseal with it" tools_unseal "$LAB/approved"
sed -n 's/^policy: //p' "$D/pol1" | xxd -r -p > "$LAB/approved1"
fails "not with a policy that was not signed" tools_unseal "$LAB/approved1"
extend 16 "malware"
fails "nor with other PCRs: the TPM itself refuses" tools_unseal "$LAB/approved"
is "nothing stays loaded after the signed policies" "$(handles)" ''

# ---- damaged files -------------------------------------------------------------------
tpm_down; tpm_up
live seal f small > /dev/null
like "one bit of any byte changed: refused, each" "$(live flip f)" '^flipped [0-9]+ given 0 otherwise refused 0 asked yes$'
sed '3s/\(.\)/\1\1/;3s/.$//' "$D/f" > "$D/f.blob"
like "a damaged object is seal.file, not another TPM's" "$(live unseal f.blob out)" '^error seal.file: '
live seal fp small policy=pcr pcr=7 > /dev/null
like "also with PCRs in it" "$(live flip fp)" '^flipped [0-9]+ given 0 otherwise refused 0 asked yes$'
head -c 500 "$D/f" > "$D/f.short"
like "a cut file is seal.file" "$(live unseal f.short out)" '^error seal.file: '
{ cat "$D/f"; printf x; } > "$D/f.long"
like "a longer one is seal.file" "$(live unseal f.long out)" '^error seal.file: '
head -c 2000000 /dev/zero > "$D/f.huge"
like "a huge one is file.size" "$(live unseal f.huge out)" '^error file.size: '
{ sed '/^agent-sealed/,$d' "$D/f"; sed -n '/^agent-sealed/,$p' "$D/s"; } > "$D/f.mixed"
like "the object of one file in another is seal.file" "$(live unseal f.mixed out)" '^error seal.file: .*authenticate'
like "a policy taken out is seal.file" "$(sed '/^policy: /s/pcr/always/; /^pcr/d' "$D/fp" > "$D/fp.none"; live unseal fp.none out)" '^error seal.file: '
mkdir "$D/folder"
like "a folder is refused" "$(live unseal folder out)" '^error file.read: '
like "a missing file is file.open" "$(live unseal nowhere out)" '^error file.open: '

# ---- on the bus ----------------------------------------------------------------------
# The secret is not on the bus at all; what is, is the key it is encrypted with: get it with the tools, then look for it.
TCTI_PCAP_FILE=$LAB/bus.pcap
export TCTI_PCAP_FILE
bus() { "$LIVE" "pcap:$TCTI" "$D" "$@" >> "$LAB/bus.out" 2>> "$LAB/stderr"; }
extend 16 "release 3"
live pcrs 7,16 v3 > /dev/null
live sign maker.pem pol3 values=v3 ref=disk > /dev/null
# in_bus FILE HEX: is it in any recording?
in_bus() { cat "$LAB"/bus.pcap* | xxd -p | tr -d '\n' | grep -q "$1"; }
n=0
for how in "-" "auth=open-sesame" "policy=pcr pcr=7,16" "policy=signed pcr=7,16 signer=maker.der ref=disk"; do
  n=$((n + 1))
  [ "$how" = - ] && how=
  # shellcheck disable=SC2086
  bus seal "b$n" small $how
  case $how in *signed*) show=sig=pol3 ;; *auth*) show=$how ;; *) show= ;; esac
  mv "$LAB/bus.pcap" "$LAB/bus.pcap.seal$n"
  # shellcheck disable=SC2086
  bus unseal "b$n" out $show
  mv "$LAB/bus.pcap" "$LAB/bus.pcap.unseal$n"
  succeeds "unsealed over the recorded bus: ${how:-no policy}" cmp "$D/out" "$D/small"
done
unset TCTI_PCAP_FILE
succeeds "the recordings have the commands" test "$(cat "$LAB"/bus.pcap.* | wc -c)" -gt 8000
succeeds "a sealed blob is found in them" in_bus "$(take_apart b1; xxd -p -c 999 "$LAB/blob.2" | cut -c 60-120)"
fails "the secret is not" in_bus "$(xxd -p -c 99 "$D/small")"
fails "nor the password" in_bus "$(printf open-sesame | xxd -p)"
found=
for n in 1 2 3; do
  take_apart "b$n"
  case $n in 1) auth=() ;; 2) auth=(-p open-sesame) ;; 3) auth=(-p "pcr:sha256:7,16") ;; esac
  tpm2_load -Q -C 0x81000001 -u "$LAB/blob.1" -r "$LAB/blob.2" -c "$LAB/b.ctx"
  tpm2_flushcontext -t
  tpm2_unseal -c "$LAB/b.ctx" "${auth[@]}" -o "$LAB/b.key" || not_ok "tpm2_unseal of b$n"
  tpm2_flushcontext -t; tpm2_flushcontext -l
  [ "$(stat -c %s "$LAB/b.key")" = 32 ] || not_ok "b$n has no key"
  in_bus "$(xxd -p -c 99 "$LAB/b.key")" && found="$found b$n"
done
is "nor the keys the secrets are encrypted with, of three policies" "$found" ''

# ---- faults, other TPMs --------------------------------------------------------------
live seal fault small policy=signed pcr=7,16 signer=maker.der ref=disk > /dev/null
live faults fault policy=signed pcr=7,16 signer=maker.der ref=disk sig=pol3 > "$LAB/faults"
code=$?
cat "$LAB/faults"
N_OK=$((N_OK + $(grep -c '^ok' "$LAB/faults")))
is "all faults are survived" "$code" 0
# A raw TPM keeps the key of the LoadExternal whose answer got lost: its handle was never known. Nothing else.
is "nothing else stays loaded after the faults" "$(handles)" '- 0x80000000'
tpm2_flushcontext -t
tpm2_createprimary -Q -C n -c "$LAB/fill.ctx"; tpm2_createprimary -Q -C n -c "$LAB/fill.ctx"
unseals "with one free slot: unsealed" fault small sig=pol3
tpm2_flushcontext -t
tpm2_clear -c p
like "a cleared TPM: no SRK" "$(live unseal f out)" '^error tpm.no-srk: '
live provision > /dev/null
like "another SRK: tpm.foreign" "$(live unseal f out)" '^error tpm.foreign: '
tpm2_pcrallocate -Q sha1:all+sha256:none 2> /dev/null
tpm_down; tpm_up
like "no SHA-256 bank: tpm.pcr-bank" "$(live seal x small policy=pcr pcr=7)" '^error tpm.pcr-bank: '
unseals_none=$(live seal s small; live unseal s out)
like "sealing without PCRs still works" "$unseals_none" 'unsealed 23'
is "nothing stays loaded at the end" "$(handles)" ''
fails "no sanitizer reported anything" grep -E 'Sanitizer|runtime error' "$LAB/stderr"
done_testing
