#!/usr/bin/env bash
# Every backend of struct agent_signer x type of key x use through OpenSSL; openssl itself is the judge of what comes out.
# The program, tests/tpm/signers.c, is built from the installed package alone; so is examples/vendor-app, for its tokens.
# shellcheck source=tests/e2e/lib.sh disable=SC2119,SC2120
. "$(dirname "$0")/lib.sh"
need swtpm curl openssl tpm2_getcap pkg-config make "${CC:-cc}"
pkg-config --exists libcurl libssl || { echo "SKIP: no development files of libcurl and OpenSSL"; exit 77; }

WORK=$LAB/signers
TYPES="ec-p256 ec-p384 rsa-2048 rsa-3072"
export PKG_CONFIG_PATH="$PREFIX/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}" LD_LIBRARY_PATH="$PREFIX/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# The Makefile is the vendor's: it knows the packages. A library with sanitizers wants programs that have them too.
build() {
  cp "$LAB_SOURCE"/examples/vendor-app/{Makefile,vendor-app.c} "$LAB_SOURCE/tests/tpm/signers.c" "$WORK" &&
    sed -i 's/^vendor-app: vendor-app.c/%: %.c/' "$WORK/Makefile" &&
    make -s -C "$WORK" signers vendor-app CC="$(sed -n 's/^CC = //p' "$BUILD/Makefile")" \
      CFLAGS="-g -O1 -Wall -Wextra -Werror $(sed -n 's/^SAN_CFLAGS = //p' "$BUILD/Makefile")"
}

# The application is somebody else than the agent; without root there is only one user.
if [ "$(id -u)" = 0 ]; then
  APP_UID=$(id -u nobody)
  as_app() { setpriv --reuid "$APP_UID" --regid "$APP_UID" --clear-groups -- "$@"; }
else
  APP_UID=$(id -u)
  as_app() { "$@"; }
fi

# use BACKEND TYPE USE OUT [ARGUMENT...]
use() {
  local backend=$1 type=$2 what=$3 out=$4
  shift 4
  case $backend in
  tpm) set -- tpm "$TCTI" "$WORK/tpm-keys" "$type" -- "$@" ;;
  agentd) set -- agentd "$RUN/vendor.sock" "$type" -- "$@" ;;
  software) set -- software "$WORK/$type.key" -- "$@" ;;
  esac
  set -- timeout 60 "$WORK/signers" "$what" "$out" "$@"
  if [ "$backend" = agentd ]; then as_app "$@"; else "$@"; fi
}

# ---- what openssl says about each ----------------------------------------------------
unbase64url() { local t; t=$(tr -d '\n' | tr -- '-_' '+/'); while [ $((${#t} % 4)) != 0 ]; do t=$t=; done; printf '%s' "$t" | openssl base64 -d -A; }

# jwt_verify OUT ALGORITHM [TEXT]: the signature over TEXT, or over the exact bytes before it; r||s becomes DER by openssl asn1parse.
jwt_verify() {
  local token hex half
  token=$(cat "$1.$2") || return
  printf '%s' "${3-${token%.*}}" > "$WORK/signed"
  printf '%s' "${token##*.}" | unbase64url > "$WORK/sig"
  case $2 in
  ES*)
    half=64
    [ "$2" = ES256 ] || half=96
    hex=$(od -An -v -tx1 "$WORK/sig" | tr -d ' \n')
    [ "${#hex}" = $((2 * half)) ] || { echo "r||s is ${#hex} hex digits long"; return 1; }
    printf 'asn1=SEQUENCE:s\n[s]\nr=INTEGER:0x%s\ns=INTEGER:0x%s\n' "${hex:0:half}" "${hex:half}" > "$WORK/sig.conf"
    openssl asn1parse -genconf "$WORK/sig.conf" -noout -out "$WORK/sig" || return
    openssl dgst "-sha${2#ES}" -verify "$1.pub" -signature "$WORK/sig" "$WORK/signed"
    ;;
  RS256) openssl dgst -sha256 -verify "$1.pub" -signature "$WORK/sig" "$WORK/signed" ;;
  PS256) openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -verify "$1.pub" -signature "$WORK/sig" "$WORK/signed" ;;
  esac
}

# request_verify FILE PUB: self-signature, and the key that was meant
request_verify() { openssl req -in "$1" -noout -verify && openssl req -in "$1" -noout -pubkey | cmp - "$2"; }

cms_verify() { openssl cms -verify -binary -inform DER -in "$1" -content "$2" -CAfile "$PKI/device-ca.pem" -purpose any -out /dev/null; }

cms_algorithm() { openssl cms -cmsout -print -noout -inform DER -in "$1" | grep -A 1 'signatureAlgorithm:' | tail -n 1; }

# page_verify PAGE VERSION CERT SIGNATURE: what the server saw
page_verify() {
  grep -q "^ *Protocol *: TLSv$2$" "$1" && grep -q '^Client certificate' "$1" && grep -qx "Peer signature type: $4" "$1" &&
    [ "$(openssl x509 -in "$3" -outform DER | sha256sum)" = "$(openssl x509 -in "$1" -outform DER | sha256sum)" ]
}

# uses BACKEND TYPE
uses() {
  local b=$1 t=$2 o=$WORK/out/$1-$2 algorithms a cert=$WORK/$1-$2.pem what="$1 $2" version signature=RSA-PSS
  case $t in ec-*) signature=ECDSA ;; esac
  succeeds "$what: requests" use "$b" "$t" request "$o"
  succeeds "$what: openssl verifies that of X509_REQ_sign()" request_verify "$o.req" "$o.pub"
  succeeds "$what: and that of agent_csr_new()" request_verify "$o.csr" "$o.pub"
  use "$b" "$t" export "$o" > "$LAB/export" 2> "$LAB/out" && ok "$what: the private half is refused $(grep -c ^refused "$LAB/export") times, the public one given" ||
    not_ok "$what: export: $(cat "$LAB/out")"

  case $t in ec-p256) algorithms=ES256 ;; ec-p384) algorithms=ES384 ;; *) algorithms="RS256 PS256" ;; esac
  succeeds "$what: tokens" use "$b" "$t" jwt "$o"
  for a in $algorithms; do
    succeeds "$what: openssl verifies $a" jwt_verify "$o" "$a"
    fails "$what: not over other bytes" jwt_verify "$o" "$a" "$(sed 's/\..*//' "$o.$a").e30"
  done

  openssl x509 -req -in "$o.req" -CA "$PKI/device-ca.pem" -CAkey "$PKI/device-ca.key" -CAcreateserial -days 1 \
    -extfile "$WORK/device.ext" -out "$cert" 2> /dev/null || not_ok "$what: no certificate"
  chmod 644 "$cert"
  for a in plain pss; do
    [ "$a" = plain ] || case $t in ec-*) continue ;; esac
    succeeds "$what: CMS $a" use "$b" "$t" cms "$o.cms" "$cert" "$WORK/message" "$a"
    succeeds "$what: openssl verifies it" cms_verify "$o.cms" "$WORK/message"
    fails "$what: not over another message" cms_verify "$o.cms" "$WORK/other-message"
    like "$what: signed as asked for" "$(cms_algorithm "$o.cms")" "algorithm: $(case $t$a in ec-*) echo ecdsa-with-SHA256 ;; *pss) echo rsassaPss ;; *) echo rsaEncryption ;; esac) "
  done

  for version in 1.3 1.2; do
    succeeds "$what: TLS $version with a client certificate" use "$b" "$t" tls "$o.page" "$cert" "$WORK/ca.pem" "$PORT" "$version"
    succeeds "$what: which the server saw" page_verify "$o.page" "$version" "$cert" "$signature"
  done
  case $t in rsa-*)
    succeeds "$what: TLS 1.2 with PKCS#1 v1.5" use "$b" "$t" tls "$o.page" "$cert" "$WORK/ca.pem" "$PORT" 1.2 RSA+SHA256:ECDSA+SHA256
    succeeds "$what: which the server saw" page_verify "$o.page" 1.2 "$cert" RSA
    ;;
  esac
}

# ---- the ground ----------------------------------------------------------------------
lab_users
lab_make
lab_pki
mkdir -p "$WORK/out" "$WORK/tpm-keys"
[ "$(id -u)" != 0 ] || chown "$APP_UID" "$WORK/out"
echo 'meter 4711: 12.5 kWh' > "$WORK/message"
echo 'meter 4711: 00.5 kWh' > "$WORK/other-message"
echo '{"iss":"gateway","sub":"GW-0001"}' > "$WORK/claims"
printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n' > "$WORK/device.ext"
install -m 644 "$PKI/broker-ca.pem" "$WORK/ca.pem"
succeeds "the programs build from the installed package, without a warning" build
[ "$N_FAILED" = 0 ] || exit 1
PORT=$(lab_free_port)
openssl s_server -accept "127.0.0.1:$PORT" -cert "$PKI/broker.pem" -key "$PKI/broker.key" -CAfile "$PKI/device-ca.pem" -Verify 1 \
  -verify_return_error -www < /dev/null > "$LAB/log/s_server.out" 2>&1 &
SERVER=$!
wait_for 10 bash -c "exec 3<> /dev/tcp/127.0.0.1/$PORT"
without_certificate() { printf 'GET / HTTP/1.0\r\n\r\n' | timeout 10 openssl s_client -connect "localhost:$PORT" -CAfile "$WORK/ca.pem" -quiet -ign_eof | grep -q 'Client certificate'; }
fails "the server wants a certificate" without_certificate

# ---- software: a file, because somebody decided so ------------------------------------
for t in $TYPES; do
  case $t in
  ec-*) openssl genpkey -algorithm EC -pkeyopt "ec_paramgen_curve:P-${t#ec-p}" -out "$WORK/$t.key" 2> /dev/null ;;
  *) openssl genpkey -algorithm RSA -pkeyopt "rsa_keygen_bits:${t#rsa-}" -out "$WORK/$t.key" 2> /dev/null ;;
  esac
  uses software "$t"
done

# ---- TPM in this process -------------------------------------------------------------
# RSA-3072 is imported: swtpm takes seconds to make one. It is then another key in the TPM like the others.
lab_tpm_start
for t in $TYPES; do
  case $t in
  rsa-3072) succeeds "tpm $t: imported" "$WORK/signers" create "$t" "$TCTI" "$WORK/tpm-keys" "$t" "$WORK/$t.key" ;;
  *) succeeds "tpm $t: made" "$WORK/signers" create "$t" "$TCTI" "$WORK/tpm-keys" "$t" ;;
  esac
  uses tpm "$t"
done
is "nothing is left in the TPM" "$(tpm2_getcap -T "$TCTI" handles-transient; tpm2_getcap -T "$TCTI" handles-loaded-session)" ""
lab_tpm_stop

# ---- agentd, asked by another user ----------------------------------------------------
lab_up 'vendor: { calls_per_s = 1000; burst = 1000; };'
set_password
import_key() { ctl key import "$1" --purposes tls-client,csr --callers "uid:$APP_UID" < "$WORK/$1.key"; }
for t in $TYPES; do
  if [ "$t" = rsa-3072 ]; then
    succeeds "agentd $t: imported" import_key "$t"
  else
    succeeds "agentd $t: made" ctl key create "$t" --type "$t" --purposes tls-client,csr --callers "uid:$APP_UID"
  fi
  uses agentd "$t"
  case $t in ec-p256) a=ES256 ;; ec-p384) a=ES384 ;; *) a=PS256 ;; esac
  as_app "$WORK/vendor-app" -s "$RUN/vendor.sock" jwt "$t" "$WORK/claims" > "$WORK/example-$t.$a" 2> "$LAB/out" || not_ok "the example makes no token: $(cat "$LAB/out")"
  cp "$WORK/out/agentd-$t.pub" "$WORK/example-$t.pub"
  succeeds "agentd $t: the token of examples/vendor-app is $a" jwt_verify "$WORK/example-$t" "$a"
  is "agentd $t: over the claims" "$(cut -d. -f2 "$WORK/example-$t.$a" | unbase64url)" "$(cat "$WORK/claims")"
done
lab_agent_stop
is "nothing is left in the TPM by agentd" "$(tpm2_getcap -T "$TCTI" handles-transient; tpm2_getcap -T "$TCTI" handles-loaded-session)" ""
kill "$SERVER" 2> /dev/null
wait "$SERVER" 2> /dev/null
done_testing
