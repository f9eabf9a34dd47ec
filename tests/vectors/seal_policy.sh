#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Writes seal_policy.h: policy digests computed by a software TPM through tpm2-tools, for tests/unit/test_policy.c.
#   tests/vectors/seal_policy.sh > tests/vectors/seal_policy.h
set -eu
LAB=$(mktemp -d)
cd "$LAB"
mkdir state
swtpm socket --tpm2 --tpmstate dir=state --server type=unixio,path=tpm.sock --ctrl type=unixio,path=tpm.sock.ctrl \
  --flags not-need-init,startup-clear > swtpm.log 2>&1 &
SWTPM=$!
trap 'kill $SWTPM; rm -rf "$LAB"' EXIT
until [ -S tpm.sock ] && [ -S tpm.sock.ctrl ]; do sleep 0.1; done
export TPM2TOOLS_TCTI=swtpm:path=$LAB/tpm.sock

bytes() { # NAME FILE
  printf 'static const uint8_t %s[] = {\n' "$1"
  xxd -p -c 16 "$2" | sed 's/../0x&, /g; s/^/\t/; s/ $//'
  printf '};\n'
}
# policy NAME COMMAND...: run policy commands in a trial session, write the digest
policy() {
  local name=$1 step
  shift
  tpm2_startauthsession -S s.ctx
  for step; do
    printf '/*   %s */\n' "$step"
    $step -S s.ctx -L digest > /dev/null
  done
  tpm2_flushcontext s.ctx
  bytes "$name" digest
}

echo '/* SPDX-License-Identifier: Apache-2.0 */'
echo "/* Made by tests/vectors/seal_policy.sh with tpm2-tools 5.4 on swtpm 0.7.1; each digest by the commands above it. */"
head -c 32 /dev/zero | tr '\0' '\125' > event
tpm2_pcrextend "16:sha256=$(xxd -p -c 32 event)"
echo
echo '/* tpm2_pcrextend 16:sha256=5555...; tpm2_pcrread sha256:16 */'
tpm2_pcrread -o pcr16 sha256:16 > /dev/null
bytes vector_pcr16 pcr16
echo '/* tpm2_pcrread sha256:23; 0 to 5 are zero as well */'
tpm2_pcrread -o pcr23 sha256:23 > /dev/null
bytes vector_pcr23 pcr23
echo
policy vector_policy_16 "tpm2_policypcr -l sha256:16"
policy vector_policy_eight "tpm2_policypcr -l sha256:0,1,2,3,4,5,16,23"
policy vector_policy_16_auth "tpm2_policypcr -l sha256:16" "tpm2_policyauthvalue"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem 2> /dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem 2> /dev/null
printf 'product-7' > ref
for key in ec rsa; do
  openssl pkey -in $key.pem -pubout -out $key.pub
  openssl pkey -in $key.pem -pubout -outform DER -out $key.spki
  [ $key = ec ] && alg=ecc || alg=rsa
  echo
  bytes vector_${key}_spki $key.spki
  echo "/* tpm2_loadexternal -C o -G $alg -u $key.pub -n $key.name */"
  tpm2_loadexternal -Q -C o -G $alg -u $key.pub -c $key.ctx -n $key.name
  tpm2_flushcontext -t
  bytes vector_${key}_name $key.name
  echo "/* ref: product-7 */"
  policy vector_${key}_authorize "tpm2_policyauthorize -n $key.name -q ref"
  policy vector_${key}_authorize_no_ref "tpm2_policyauthorize -n $key.name"
  policy vector_${key}_authorize_auth "tpm2_policyauthorize -n $key.name -q ref" "tpm2_policyauthvalue"
done
