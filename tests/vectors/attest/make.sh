#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Make the vectors anew, into the folder of this script. Needs swtpm and tpm2-tools.
set -eu
cd "$(dirname "$0")"
dir=$(mktemp -d)
swtpm socket --tpm2 --tpmstate "dir=$dir" --server "type=unixio,path=$dir/s" --ctrl "type=unixio,path=$dir/s.ctrl" \
  --flags not-need-init,startup-clear > /dev/null 2>&1 &
pid=$!
trap 'kill "$pid"; rm -rf "$dir"' EXIT
for _ in $(seq 100); do [ -S "$dir/s.ctrl" ] && break; sleep 0.05; done
export TPM2TOOLS_TCTI=swtpm:path=$dir/s
nonce=000102030405060708090a0b0c0d0e0f
flush() { tpm2_flushcontext -t; }
tpm2_pcrextend 16:sha256=1111111111111111111111111111111111111111111111111111111111111111
tpm2_createprimary -Q -C o -G ecc -c "$dir/srk"
flush
key() { # NAME ALG ATTRIBUTES
  tpm2_create -Q -C "$dir/srk" -G "$2" -a "$3" -u "$1.pub" -r "$dir/$1.priv" && flush
  tpm2_load -Q -C "$dir/srk" -u "$1.pub" -r "$dir/$1.priv" -c "$dir/$1" && flush
}
bound='fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda'
key ak ecc256:ecdsa-sha256:null "$bound|sign|restricted"
key other-ak ecc256:ecdsa-sha256:null "$bound|sign|restricted"
key key ecc256 "$bound|sign"
key soft ecc256 'sensitivedataorigin|userwithauth|noda|sign'
tpm2_quote -Q -c "$dir/ak" -l sha256:0,7,16 -q "$nonce" -m quote.msg -s quote.sig -f plain -o "$dir/p"
flush
tpm2_pcrread -Q sha256:0,7,16 -o pcrs
tpm2_gettime -Q -c "$dir/ak" -q "$nonce" --attestation time.msg -o time.sig -f plain
flush
# tpm2_certify has no option for the nonce, so the command goes out by hand: keys at persistent handles, empty passwords.
certify() { # NAME HANDLE OUT
  tpm2_evictcontrol -Q -C o -c "$dir/$1" "$2" && flush
  command=00000148${2#0x}81000010000000124000000900000100004000000900000100000010${nonce}0010
  printf '8002%08x%s' $((${#command} / 2 + 6)) "$command" | xxd -r -p | tpm2_send -o "$dir/answer"
  answer=$(xxd -p -c 9999 "$dir/answer")
  size=$((16#${answer:28:4}))
  printf '%s' "${answer:32:size*2}" | xxd -r -p > "$3.msg"
  rest=${answer:32+size*2}                  # 0018 000b 0020 r 0020 s
  printf 'asn1=SEQUENCE:s\n[s]\nr=INTEGER:0x%s\ns=INTEGER:0x%s\n' "${rest:12:64}" "${rest:80:64}" > "$dir/conf"
  openssl asn1parse -genconf "$dir/conf" -noout -out "$3.sig"
}
tpm2_evictcontrol -Q -C o -c "$dir/ak" 0x81000010 && flush
certify key 0x81000011 certify
certify soft 0x81000012 certify-soft
chmod 644 ./*.pub ./*.msg ./*.sig pcrs
