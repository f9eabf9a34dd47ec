#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# libagent/tpm against a software TPM: keys, counters and MACs, what happens when the TPM changes, goes away or is full,
# what an onlooker on the bus sees, and whether tpm2-openssl and tpm2-tools read the same files.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need swtpm openssl tpm2_clear tpm2_getcap tpm2_createprimary
LIVE=$BUILD/tests/tpm/test_tpm_live
# shellcheck source=tests/e2e/tpm.sh
. "$(dirname "${BASH_SOURCE[0]}")/tpm.sh"
KEYS=$DIR
echo 'a message' > "$LAB/msg"

verify() { # KEY: the signature of its last "sign", by openssl alone
  openssl pkey -pubin -inform DER -in "$KEYS/$1.spki" -out "$LAB/pub.pem" 2> /dev/null || return
  case $1 in
  rsa*) openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -verify "$LAB/pub.pem" -signature "$KEYS/$1.sig" "$LAB/msg" ;;
  *) openssl dgst -sha256 -verify "$LAB/pub.pem" -signature "$KEYS/$1.sig" "$LAB/msg" ;;
  esac
}

# ---- absent, then provisioned --------------------------------------------------------
like "no TPM is tpm.absent" "$(live provision)" '^error tpm.absent: '
tpm_up
like "no SRK is tpm.no-srk" "$(live counter x 01800a50 '' 0)$(live create early ec-p256)" '^error tpm.no-counter.*error tpm.no-srk|no-srk'
like "provision makes an SRK" "$(live provision)" '^srk 000b[0-9a-f]{64}$'
cp "$KEYS/srk.name" "$LAB/srk.first"
like "provision again finds the same one" "$(live provision)" "^srk $(cat "$LAB/srk.first")$"
like "a look at it says who made it" "$(live probe)" '^maker IBM firmware [0-9a-f]{8} objects-free [1-9]'
like "the SRK is at 0x81000001" "$(tpm2_getcap handles-persistent)" 0x81000001

# ---- keys ----------------------------------------------------------------------------
for type in ec-p256 ec-p384 rsa-2048 rsa-3072; do
  key=${type%%-*}-${type##*-}
  like "create $type" "$(live create "$key" "$type")" "^created $key $type$"
  like "sign with $type: 2 commands to start, 2 per signature" "$(live sign "$key" "$LAB/msg")" '^signed start=2 sign=[23] again=2$'
  succeeds "openssl verifies the $type signature" verify "$key"
done
is "key files are 0600" "$(stat -c %a "$KEYS/ec-p256.pem" "$KEYS/ec-p256.auth" | tr '\n' ' ')" '600 600 '
like "a name that is taken is refused" "$(live create ec-p256 ec-p256)" '^error tpm.exists: '
like "a name with a slash is refused" "$(live create ../x ec-p256)" '^error tpm.name: '
like "a missing key is a missing file" "$(live sign nobody "$LAB/msg")" '^error file.open: '
echo left-over > "$KEYS/half.auth"
like "a left-over .auth without .pem is overwritten" "$(live create half ec-p256)$(live sign half "$LAB/msg")" 'created half ec-p256signed|signed'
cp "$KEYS/ec-p256.pem" "$KEYS/swapped.pem"
cp "$KEYS/half.auth" "$KEYS/swapped.auth"
like "another key's .auth is tpm.auth" "$(live sign swapped "$LAB/msg")" '^error tpm.auth: '
head -c 200 "$KEYS/ec-p256.pem" > "$KEYS/short.pem"
cp "$KEYS/ec-p256.auth" "$KEYS/short.auth"
like "a truncated key file is keyfile.format" "$(live sign short "$LAB/msg")" '^error keyfile.format: '
for step in $(seq 1 20); do # die before each command of the making; then make it
  KILL_AT=$step live create "kill$step" ec-p256 > "$LAB/out" 2>&1
  died=$?
  [ "$died" -gt 128 ] || break
  out=$(live create "kill$step" ec-p256)
  case $out in created*) ;; *) not_ok "a key whose making was killed before command $step: $out"; break ;; esac
done
[ "$step" -gt 4 ] && [ "$died" = 0 ] && ok "a key whose making was killed before any of its $((step - 1)) commands is made by the next run"
like "a full disk is file.write" "$(ulimit -f 0; "$LIVE" "$TCTI" "$KEYS" create full ec-p256 2> /dev/null)" '^error file.write: '
fails "and leaves no key" [ -e "$KEYS/full.pem" ]
like "with room again the key is made" "$(live create full ec-p256)$(live sign full "$LAB/msg")" 'created full'
tpm2_flushcontext -t; tpm2_flushcontext -l
is "nothing stays loaded after all that" "$(handles)" ''

# ---- MAC -----------------------------------------------------------------------------
like "a MAC key that was not made is missing" "$(live mac pepper '' text)" '^error file.open: '
mac=$(live mac pepper c text)
like "HMAC in the TPM" "$mac" '^[0-9a-f]{64}$'
is "and again the same" "$(live mac pepper '' text)" "$mac"
fails "and another for another text" [ "$(live mac pepper '' texT)" = "$mac" ]
like "a MAC key is no signing key" "$(live sign pepper "$LAB/msg")" '^error tpm.key-type: '
like "a signing key is no MAC key" "$(live mac ec-p256 '' text)" '^error tpm.key-type: '

# ---- counters ------------------------------------------------------------------------
like "a counter that was not made is tpm.no-counter" "$(live counter gen 01800a10 '' 0)" '^error tpm.no-counter: '
first=$(live counter gen 01800a10 c 0)
is "a counter rises by one" "$(live counter gen 01800a10 '' 1)" $((first + 1))
is "and by three" "$(live counter gen 01800a10 '' 3)" $((first + 4))
is "a counter from zero begins at 0" "$(live counter floor 01800a20 cz 0)" 0
is "and rises" "$(live counter floor 01800a20 z 5)" 5
fails "its base cannot be written again" tpm2_nvwrite 0x01800a21 -C 0x01800a21 -P "file:$KEYS/floor.nvauth" -i "$LAB/msg"
like "opened as another kind it is refused" "$(live counter floor 01800a20 '' 0)" '^error tpm.pin-file: '
tpm2_nvdefine 0x01800a30 -C o -s 8 -a 'authwrite|authread' > /dev/null
like "an index of another program is not taken over" "$(live counter other 01800a30 c 0)" '^error tpm.counter-taken: '
for step in $(seq 1 40); do # die before each command of the making; then finish it
  KILL_AT=$step live counter "k$step" 01800a40 cz 0 > "$LAB/out" 2>&1
  died=$?
  out=$(live counter "k$step" 01800a40 cz 1)
  [ "$out" = 1 ] || { not_ok "a counter whose making was killed before command $step: $out"; break; }
  tpm2_nvundefine 0x01800a40 -C o > /dev/null && tpm2_nvundefine 0x01800a41 -C o > /dev/null
  [ "$died" -gt 128 ] || break
done
[ "$out" = 1 ] && ok "a counter whose making was killed before any of its $step commands is finished by the next run"
tpm2_flushcontext -t; tpm2_flushcontext -l
cp "$KEYS/floor.pin" "$LAB/floor.pin"
sed -i 's/^base 0/base 1/' "$KEYS/floor.pin"
like "a pin with another base is refused" "$(live counter floor 01800a20 z 0)" '^error tpm.counter-changed: '
echo >> "$KEYS/floor.pin"
like "a damaged pin is refused" "$(live counter floor 01800a20 z 0)" '^error tpm.pin-file: '
cp "$LAB/floor.pin" "$KEYS/floor.pin"
tpm2_nvundefine 0x01800a10 -C o
like "a removed counter is refused" "$(live counter gen 01800a10 '' 0)" '^error tpm.counter-changed: '
like "and not made again" "$(live counter gen 01800a10 c 0)" '^error tpm.counter-changed: '
tpm2_nvdefine 0x01800a10 -C o -a 'nt=counter|authwrite|authread|ownerread|no_da' -p guess > /dev/null
tpm2_nvincrement 0x01800a10 -C 0x01800a10 -P guess
like "a counter made again by somebody else is refused" "$(live counter gen 01800a10 c 0)" '^error tpm.counter-changed: '
tpm2_nvundefine 0x01800a21 -C o
tpm2_nvdefine 0x01800a21 -C o -s 8 -a 'authwrite|authread|ownerread|no_da|writedefine' -p "file:$KEYS/floor.nvauth" > /dev/null
printf '\0\0\0\0\0\0\0\7' | tpm2_nvwrite 0x01800a21 -C 0x01800a21 -P "file:$KEYS/floor.nvauth" -i-
like "a base made again with the stolen secret is refused" "$(live counter floor 01800a20 z 0)" '^error tpm.counter-changed: '
is "nothing stays loaded after the counters" "$(handles)" ''

# ---- other tools ---------------------------------------------------------------------
if openssl list -provider tpm2 -providers > /dev/null 2>&1; then
  p="-provider tpm2 -provider default -propquery ?provider=tpm2"
  # shellcheck disable=SC2086
  succeeds "tpm2-openssl signs with our key" openssl dgst $p -sha256 -sign "$KEYS/ec-p256.pem" -passin "file:$KEYS/ec-p256.auth" \
    -out "$KEYS/ec-p256.sig" "$LAB/msg"
  succeeds "and the signature is good" verify ec-p256
  # shellcheck disable=SC2086
  fails "not without the .auth" openssl dgst $p -sha256 -sign "$KEYS/ec-p256.pem" -passin pass:wrong -out "$LAB/none.sig" "$LAB/msg"
  # shellcheck disable=SC2086
  openssl genpkey $p -algorithm EC -pkeyopt group:P-256 -pkeyopt parent:0x81000001 -pkeyopt user-auth:abc -out "$KEYS/o1.pem" > /dev/null 2>&1
  printf abc > "$KEYS/o1.auth"
  like "we sign with a key of tpm2-openssl" "$(live sign o1 "$LAB/msg")" '^signed'
  succeeds "and the signature is good" verify o1
  # shellcheck disable=SC2086
  openssl genpkey $p -algorithm EC -pkeyopt group:P-256 -out "$KEYS/o2.pem" > /dev/null 2>&1
  like "also under 0x40000001 and without a password" "$(live sign o2 "$LAB/msg")" '^signed'
  succeeds "and the signature is good" verify o2
  tpm2_flushcontext -t; tpm2_flushcontext -l
else
  echo "# tpm2-openssl is not installed: its checks are left out"
fi
# The two OCTET STRINGs inside are what tpm2_create writes; tools before 5.6 do not read the PEM itself.
sed '/^---/d' "$KEYS/ec-p384.pem" | base64 -d > "$LAB/key.der"
n=0
openssl asn1parse -inform DER -in "$LAB/key.der" | sed -n 's/^ *\([0-9]*\):d=1 *hl=\([0-9]*\) *l= *\([0-9]*\) .*OCTET STRING.*/\1 \2 \3/p' |
  while read -r at head size; do
    n=$((n + 1))
    tail -c +$((at + head + 1)) "$LAB/key.der" | head -c "$size" > "$LAB/key.$n"
  done
succeeds "tpm2_load takes our key" tpm2_load -C 0x81000001 -u "$LAB/key.1" -r "$LAB/key.2" -c "$LAB/key.ctx"
tpm2_flushcontext -t
succeeds "tpm2_sign signs with it" tpm2_sign -c "$LAB/key.ctx" -g sha256 -s ecdsa -f plain -p "file:$KEYS/ec-p384.auth" \
  -o "$KEYS/ec-p384.sig" "$LAB/msg"
succeeds "and the signature is good" verify ec-p384
tpm2_flushcontext -t
if command -v tpm2_encodeobject > /dev/null; then
  tpm2_create -Q -C 0x81000001 -G ecc256 -p tools -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|noda' -u "$LAB/t.pub" -r "$LAB/t.priv"
  tpm2_encodeobject -C 0x81000001 -u "$LAB/t.pub" -r "$LAB/t.priv" -p -o "$KEYS/tools.pem" 2> "$LAB/out"
  printf tools > "$KEYS/tools.auth"
  tpm2_flushcontext -t
  like "we sign with a key of tpm2_encodeobject" "$(live sign tools "$LAB/msg")" '^signed'
  succeeds "and the signature is good" verify tools
fi

# ---- on the bus ----------------------------------------------------------------------
TCTI_PCAP_FILE=$LAB/bus.pcap
export TCTI_PCAP_FILE
bus=$("$LIVE" "pcap:$TCTI" "$KEYS" create watched ec-p256 2>&1; "$LIVE" "pcap:$TCTI" "$KEYS" sign watched "$LAB/msg" 2>&1)
like "keys are made and used over the recorded bus" "$bus" 'signed'
succeeds "the recording has the commands" test "$(stat -c %s "$TCTI_PCAP_FILE")" -gt 2000
fails "the authValue of a key is not in it" grep -qaF -f "$KEYS/watched.auth" "$TCTI_PCAP_FILE"
rm -f "$TCTI_PCAP_FILE"
"$LIVE" "pcap:$TCTI" "$KEYS" counter seen 01800a70 c 2 > /dev/null 2>&1
"$LIVE" "pcap:$TCTI" "$KEYS" mac seenmac c 'do not show this text' > /dev/null 2>&1
succeeds "the recording has the commands of counter and MAC" test "$(stat -c %s "$TCTI_PCAP_FILE")" -gt 2000
fails "the authValue of a counter is not in it" grep -qaF -f "$KEYS/seen.nvauth" "$TCTI_PCAP_FILE"
fails "nor that of a MAC key" grep -qaF -f "$KEYS/seenmac.auth" "$TCTI_PCAP_FILE"
fails "nor the text that was authenticated" grep -qaF 'do not show this text' "$TCTI_PCAP_FILE"
unset TCTI_PCAP_FILE

# ---- faults --------------------------------------------------------------------------
live faults ec-p256 > "$LAB/faults"
code=$?
cat "$LAB/faults"
N_OK=$((N_OK + $(grep -c '^ok' "$LAB/faults")))
is "all faults are survived" "$code" 0
is "nothing stays loaded after the faults" "$(handles)" ''
for _ in 1 2 3; do tpm2_createprimary -Q -C n -c "$LAB/fill.ctx" 2> /dev/null; done
like "slots left full by somebody who died are freed" "$(live sign ec-p256 "$LAB/msg")" '^signed'
is "and none are left" "$(handles)" ''

# ---- the TPM goes away and comes back under a running process ------------------------
coproc TALK { "$LIVE" "$TCTI" "$KEYS" talk ec-p256 2> "$LAB/talk.err"; }
talk_pid=$TALK_PID talk_in=${TALK[1]} talk_out=${TALK[0]}
say() { echo sign >&"$talk_in"; read -r -t 20 a <&"$talk_out"; read -r -t 20 b <&"$talk_out"; echo "$a; $b"; }
read -r -t 20 line <&"$talk_out"
is "a process signs" "$line $(say)" 'ready signed; state READY'
tpm_down
like "without the TPM: tpm.absent" "$(say)" '^error tpm.absent: .*; state ABSENT$'
tpm_up
sleep 0.6
is "the TPM is back: signs again" "$(say)" 'signed; state READY'
tpm_down
tpm_up
is "killed and restarted between two signatures: not noticed" "$(say)" 'signed; state READY'
tpm_down
tpm_up ''
is "restarted and not started up: started by us" "$(say)" 'signed; state READY'
kill -STOP "$SWTPM"
(sleep 1; kill -CONT "$SWTPM") &
is "a TPM that hangs for a second is waited for" "$(say)" 'signed; state READY'

# ---- lockout -------------------------------------------------------------------------
tpm2_dictionarylockout -s -n 1 -t 1000 -l 1000
tpm2_create -Q -C 0x81000001 -G ecc256 -p right -u "$LAB/d.pub" -r "$LAB/d.priv" 2> /dev/null
tpm2_load -Q -C 0x81000001 -u "$LAB/d.pub" -r "$LAB/d.priv" -c "$LAB/d.ctx" 2> /dev/null
tpm2_flushcontext -t
tpm2_sign -Q -c "$LAB/d.ctx" -p wrong -o "$LAB/d.sig" "$LAB/msg" 2> /dev/null
tpm2_flushcontext -t
like "the TPM is in lockout" "$(tpm2_sign -c "$LAB/d.ctx" -p right -o "$LAB/d.sig" "$LAB/msg" 2>&1)" 'lockout|0x921|DA'
tpm2_flushcontext -t
like "our noDA keys sign in lockout" "$(say)" '^signed; '
like "a look at it counts the wrong passwords and adds none" "$(live probe; live probe)" '^maker .* lockout 1 of 1$'
tpm2_dictionarylockout -c
exec {talk_in}>&-
wait "$talk_pid"
is "the process ends well" $? 0

# ---- cleared, replaced ---------------------------------------------------------------
tpm2_evictcontrol -Q -C o -c 0x81000001
like "an SRK that is gone is tpm.changed" "$(live sign ec-p256 "$LAB/msg")" '^error tpm.changed: '
like "and is not silently made again" "$(live provision)" '^error tpm.changed: '
tpm2_createprimary -Q -C o -G ecc -c "$LAB/other.ctx"
tpm2_evictcontrol -Q -C o -c "$LAB/other.ctx" 0x81000001
tpm2_flushcontext -t
like "another SRK is tpm.changed" "$(live sign ec-p256 "$LAB/msg")" '^error tpm.changed: '
mv "$KEYS/srk.name" "$LAB/srk.name"
like "without a pin, a key of the old SRK is tpm.foreign" "$(live sign ec-p256 "$LAB/msg")" '^error tpm.foreign: '
mv "$LAB/srk.name" "$KEYS/srk.name"
tpm2_clear -c p
like "a cleared TPM is tpm.changed" "$(live sign ec-p256 "$LAB/msg")" '^error tpm.changed: '
like "also for a counter" "$(live counter floor 01800a20 z 0)" '^error tpm.changed: '
rm "$KEYS/srk.name"
like "provisioned again there is another SRK" "$(live provision)" '^srk '
fails "with another Name" cmp "$KEYS/srk.name" "$LAB/srk.first"
like "and old keys stay refused" "$(live sign ec-p256 "$LAB/msg")" '^error tpm.foreign: '
# Somebody else's SRK: RSA, and under dictionary-attack protection, as tpm2_createprimary makes it.
tpm2_evictcontrol -Q -C o -c 0x81000001
tpm2_createprimary -Q -C o -G rsa -c "$LAB/rsa.ctx"
tpm2_evictcontrol -Q -C o -c "$LAB/rsa.ctx" 0x81000001
tpm2_flushcontext -t
rm "$KEYS/srk.name"
like "an RSA SRK that is there is taken" "$(live provision)" '^srk '
like "and keys are made under it" "$(live create under-rsa ec-p256)" '^created'
like "and sign" "$(live sign under-rsa "$LAB/msg")" '^signed'
tpm2_dictionarylockout -s -n 1 -t 1000 -l 1000
tpm2_create -Q -C 0x81000001 -G ecc256 -p right -u "$LAB/d.pub" -r "$LAB/d.priv" 2> /dev/null
tpm2_flushcontext -t
tpm2_load -Q -C 0x81000001 -u "$LAB/d.pub" -r "$LAB/d.priv" -c "$LAB/d.ctx" 2> /dev/null
tpm2_flushcontext -t
tpm2_sign -Q -c "$LAB/d.ctx" -p wrong -o "$LAB/d.sig" "$LAB/msg" 2> /dev/null
tpm2_flushcontext -t
like "in lockout an SRK that is not exempt cannot be used: tpm.locked-out, with the wait" "$(live sign under-rsa "$LAB/msg")" \
  '^error tpm.locked-out: .*for (9|10)[0-9]* s'
tpm2_dictionarylockout -c
like "and after it can" "$(live sign under-rsa "$LAB/msg")" '^signed'

tpm2_changeauth -Q -c owner secret
like "an owner password is tpm.owner-auth" "$(live counter late 01800a80 c 0)" '^error tpm.owner-auth: '
is "nothing stays loaded at the end" "$(handles)" ''
cat "$LAB/talk.err" >> "$LAB/stderr"
fails "no sanitizer reported anything" grep -E 'Sanitizer|runtime error' "$LAB/stderr"
done_testing
