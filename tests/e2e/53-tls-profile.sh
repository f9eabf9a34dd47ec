#!/usr/bin/env bash
# shellcheck disable=SC2119,SC2034
# Whom agentd-link and agentd-fetch talk to: every fault of a server is refused by its own name, and a good one is taken with revocation lists,
# stapled answers and pins, also after its key was changed for the backup.
# A clock that was never set (1970) is in 52-time.sh; here nothing confirms a clock that is right.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl curl jq
lab_users; lab_make; lab_pki; lab_slots; lab_tpm_start

# ---- an authority with a register, for lists and answers ------------------------------------------------------------
broker_ca_register
ca() { openssl ca -batch -config "$LAB/ca/conf" "$@" 2>> "$LAB/log/ca.err" || not_ok "openssl ca $*: $(tail -n 3 "$LAB/log/ca.err")"; }
# server NAME "further extensions" DNS-NAME [openssl ca options]: NAME.pem, NAME.key
server() {
  local name=$1 ext=$2 dns=$3
  shift 3
  [ $# -gt 0 ] || set -- -days 30
  [ -s "$PKI/$name.key" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$name.key"
  openssl req -new -key "$PKI/$name.key" -subj "/CN=$name" -out "$PKI/$name.csr" 2> /dev/null
  printf 'basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:%s\n%s\n' "$dns" "$ext" > "$PKI/$name.ext"
  ca "$@" -in "$PKI/$name.csr" -extfile "$PKI/$name.ext" -notext -out "$PKI/$name.pem"
}
SERVER='extendedKeyUsage=serverAuth'
server good "$SERVER" localhost
server backup "$SERVER" localhost
server third "$SERVER" localhost
server fourth "$SERVER" localhost
server old "$SERVER" localhost -startdate 20200101000000Z -enddate 20210101000000Z
server elsewhere "$SERVER" elsewhere.test
server clientish 'extendedKeyUsage=clientAuth' localhost
server revoked "$SERVER" localhost
server strict "$SERVER"$'\ntlsfeature=status_request' localhost
openssl genrsa -out "$PKI/weak.key" 1024 2> /dev/null
server weak "$SERVER" localhost
for kind in "rsa3072 -algorithm RSA -pkeyopt rsa_keygen_bits:3072" "pss -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048" "p384 -algorithm EC -pkeyopt ec_paramgen_curve:P-384" \
  "ed25519 -algorithm ED25519" "ed448 -algorithm ED448"; do
  read -r name options <<< "$kind"
  # shellcheck disable=SC2086
  openssl genpkey $options -out "$PKI/$name.key" 2> /dev/null
  server "$name" "$SERVER" localhost
done
ca -revoke "$PKI/revoked.pem" -crl_reason keyCompromise
lab_leaf other-ca stranger-server "/CN=localhost" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost'
lab_leaf broker-ca unlisted "/CN=localhost" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost' # not in the register
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost -addext 'subjectAltName=DNS:localhost' \
  -addext 'basicConstraints=critical,CA:FALSE' -keyout "$PKI/self.key" -out "$PKI/self.pem" 2> /dev/null

# crl FILE [openssl ca options]: put in place as a tool would
crl() {
  local file=$1
  shift
  [ $# -gt 0 ] || set -- -crldays 30
  ca -gencrl "$@" -out "$file.new"
  chmod 644 "$file.new"
  mv "$file.new" "$file"
}
# answer NAME OF "SIGNER" [options]: a stapled answer in DER about certificate OF
answer() {
  local out=$1 of=$2 by=$3
  shift 3
  [ $# -gt 0 ] || set -- -ndays 1
  openssl ocsp -index "$LAB/ca/index" -CA "$PKI/broker-ca.pem" -issuer "$PKI/broker-ca.pem" -cert "$PKI/$of.pem" -no_nonce -rsigner "$PKI/$by.pem" \
    -rkey "$PKI/$by.key" -resp_no_certs "$@" -respout "$LAB/$out.der" > "$LAB/log/ocsp.out" 2>&1
  [ -s "$LAB/$out.der" ] || not_ok "no OCSP answer $out: $(cat "$LAB/log/ocsp.out")"
}
for name in good backup fourth revoked strict; do answer $name $name broker-ca; done
answer by-stranger good other-ca
answer unlisted unlisted broker-ca
pin() { echo "sha256/$(openssl pkey -in "$PKI/$1.key" -pubout -outform DER | openssl dgst -sha256 -binary | openssl base64 -A)"; }

# ---- servers --------------------------------------------------------------------------------------------------------
FILE_PORT=$(lab_free_port)
PLAIN_PORT=$(lab_free_port)
BROKER_PORT=$(lab_free_port)
stop() { # VARIABLE that holds a process id
  [ -n "${!1:-}" ] || return 0
  kill "${!1}" 2> /dev/null
  wait "${!1}" 2> /dev/null
  printf -v "$1" %s ''
}
trap 'stop FILES_PID; stop PROXY_PID; stop SERVER_PID; stop PLAIN_PID; e2e_end' EXIT
mkdir -p "$LAB/www"
printf 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' > "$LAB/www/none.swu"
listens() { bash -c "exec 3<> /dev/tcp/127.0.0.1/$1"; }
www() { # NAME [s_server options]: HTTPS files
  local name=$1
  shift
  stop FILES_PID
  cd "$LAB/www" || exit 1
  openssl s_server -accept "127.0.0.1:$FILE_PORT" -HTTP -naccept 100 -cert "$PKI/$name.pem" -key "$PKI/$name.key" "$@" < /dev/null \
    > "$LAB/log/s_server.out" 2>&1 &
  FILES_PID=$!
  cd "$LAB" || exit 1
  wait_for 20 listens "$FILE_PORT" || not_ok "s_server $name $*: $(tail -n 3 "$LAB/log/s_server.out")"
}
broker_stop() { lab_broker_stop; stop PROXY_PID; stop SERVER_PID; }
# broker NAME: mosquitto with this certificate; broker_raw NAME options: a TLS server that ends after the handshake
broker() {
  broker_stop
  cp "$PKI/$1.pem" "$PKI/broker.pem"
  cp "$PKI/$1.key" "$PKI/broker.key"
  lab_broker_start
}
broker_raw() {
  local name=$1
  shift
  broker_stop
  openssl s_server -accept "127.0.0.1:$BROKER_PORT" -quiet -cert "$PKI/$name.pem" -key "$PKI/$name.key" "$@" < /dev/null > "$LAB/log/raw.out" 2>&1 &
  SERVER_PID=$!
}
# broker_stapled NAME ANSWER: s_server in front of a mosquitto without TLS, which cannot staple: each connection gets one of its own
broker_stapled() {
  broker_stop
  if [ -z "${PLAIN_PID:-}" ]; then
    printf 'listener %s 127.0.0.1\nallow_anonymous true\nlog_dest file %s\nuser %s\n' "$PLAIN_PORT" "$LAB/log/plain.log" "$(id -un)" > "$LAB/etc/plain.conf"
    mosquitto -c "$LAB/etc/plain.conf" > "$LAB/log/plain.out" 2>&1 &
    PLAIN_PID=$!
    wait_for 20 listens "$PLAIN_PORT" || not_ok "mosquitto without TLS: $(cat "$LAB/log/plain.out")"
  fi
  (
    child=
    trap '[ -z "$child" ] || kill "$child" 2> /dev/null; exit 0' TERM
    while :; do
      exec 5<> "/dev/tcp/127.0.0.1/$PLAIN_PORT" || exit 1
      openssl s_server -accept "127.0.0.1:$BROKER_PORT" -naccept 1 -quiet -tls1_3 -cert "$PKI/$1.pem" -key "$PKI/$1.key" -status_file "$LAB/$2.der" \
        -Verify 2 -verify_return_error -CAfile "$PKI/device-ca.pem" <&5 >&5 2>> "$LAB/log/proxy.out" &
      child=$!
      wait "$child"
      exec 5>&-
    done
  ) &
  PROXY_PID=$!
}

link_state() { api GET /v1/status | jq -r '.link_state + " " + (.link_detail // "")'; }
link_is() { link_state | grep -qE -- "$1"; }
link_shows() { if wait_for 40 link_is "$2"; then ok "$1"; else not_ok "$1: $(link_state)"; fi; }
ended() { api GET /v1/update | jq -e --argjson id "$1" '.id == $id and ((.error_name // "") != "" or .stage == "trying")'; }
# fetch "what" PATTERN: of the error of a download; a good server has no such file
fetch() {
  local id
  id=$(api POST /v1/update/fetch -H 'Content-Type: application/json' -d "{\"url\":\"https://localhost:$FILE_PORT/none.swu\"}" | jq -r .id)
  if [ "$(cat "$LAB/api.status")" != 202 ]; then not_ok "$1: $(cat "$LAB/api.body")"; return; fi
  wait_for 40 ended "$id" || not_ok "$1: the download does not end"
  like "$1" "$(api GET /v1/update | jq -r '.error_name + " " + .error')" "$2"
}
TAKEN='^fetch\.http .*answers 404'

# ---- nothing required: lists and answers count where they are ------------------------------------------------------
touch "$LAB/synchronized"
TIMES="time: { network_file = \"$LAB/synchronized\"; };"
lab_config "$TIMES"
crl "$LAB/trust/broker/ca.crl"
cp -p "$LAB/trust/broker/ca.crl" "$LAB/trust/fetch/ca.crl"
lab_provision
broker good
lab_agent_start
set_password
link_shows "a good broker is taken" '^online'
PID=$(cat "$RUN/pids/agentd-link")
for row in "stranger-server|another authority|does not lead to our trust anchors.*tls\.issuer" "old|an expired certificate|expired on 2021-01-01.*tls\.expired" \
  "elsewhere|another name|is for elsewhere\.test, not for localhost.*tls\.name" "clientish|a certificate for clients|serverAuth.*tls\.purpose" \
  "self|a self-signed certificate|self-signed.*tls\.self-signed" "revoked|a revoked certificate|was revoked by its issuer.*tls\.revoked"; do
  IFS='|' read -r name what pattern <<< "$row"
  broker "$name"
  link_shows "mosquitto: $what is refused" "$pattern"
  www "$name" -tls1_3
  fetch "HTTPS: $what is refused" "^${pattern##*\*} .*${pattern%%\.\**}"
done
like "agentctl status shows why" "$(ctl status)" 'tls\.revoked'
broker_raw good -tls1_3 -Verify 2 -verify_return_error -CAfile "$PKI/other-ca.pem"
link_shows "a broker that refuses our certificate is quoted" 'refused our certificate: unknown CA.*tls\.alert'
www good -tls1_3 -Verify 2 -verify_return_error -CAfile "$PKI/device-ca.pem"
fetch "HTTPS: one that wants a certificate is quoted" '^tls\.alert .*demands a client certificate'
broker_raw good -tls1_2
link_shows "a broker with TLS 1.2 only is refused" 'tls\.version'
www good -tls1_2
fetch "HTTPS: TLS 1.2 is refused" '^tls\.version'
broker_raw good -tls1_3 -groups P-521
link_shows "a broker with other groups is refused" 'no cipher suite, group or signature algorithm in common.*tls\.parameters'
www good -tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256
fetch "HTTPS: other suites are refused" '^tls\.parameters'
broker_raw weak -tls1_3 -cipher DEFAULT@SECLEVEL=0
link_shows "a broker with a weak key is refused" 'RSA key of 1024 bits.*tls\.weak'
www weak -tls1_3 -cipher DEFAULT@SECLEVEL=0
fetch "HTTPS: a weak key is refused" '^tls\.weak .*RSA key of 1024 bits'
for name in rsa3072 pss p384 ed25519; do
  www $name -tls1_3
  fetch "HTTPS: a key of the kind $name is taken" "$TAKEN"
done
www ed448 -tls1_3
fetch "HTTPS: Ed448 is refused, and what is taken is told" '^tls\.parameters .*RSA of 2048 bits or more, P-256, P-384, P-521 and Ed25519'
broker ed25519
link_shows "a broker with Ed25519 is taken" '^online'
broker_raw good -tls1_3 -status_file "$LAB/revoked.der"
link_shows "an answer about another certificate is refused" 'about another certificate.*tls\.ocsp-other'
broker_raw strict -tls1_3
link_shows "must-staple without an answer is refused" 'its certificate says that it must.*tls\.ocsp-missing'
rm "$LAB/trust/fetch/ca.crl"
www revoked -tls1_3 -status_file "$LAB/revoked.der"
fetch "HTTPS: revoked says the answer, without a list" '^tls\.ocsp-revoked .*keyCompromise'
www unlisted -tls1_3 -status_file "$LAB/unlisted.der"
fetch "HTTPS: a certificate that its authority does not know is refused" '^tls\.ocsp-unknown'
www good -tls1_3 -status_file "$LAB/by-stranger.der"
fetch "HTTPS: an answer by somebody else is refused" '^tls\.ocsp-signer'
www good -tls1_3 -status_file "$LAB/good.der"
fetch "HTTPS: a good answer is taken" "$TAKEN"

# ---- a list that is out of date, and a clock that nobody confirms ---------------------------------------------------
crl "$LAB/trust/broker/ca.crl" -crl_lastupdate 20260101000000Z -crl_nextupdate 20260201000000Z
broker good
link_shows "a list that is out of date lets nobody in" 'revocation list of .* is out of date.*tls\.crl-expired'
rm "$LAB/synchronized"
link_shows "without a source of time the clock is named" 'is out of date.*our clock may be the cause.*tls\.crl-expired'
broker old
link_shows "also for an expired certificate" 'expired on 2021.*our clock may be the cause.*tls\.expired'
touch "$LAB/synchronized"
crl "$LAB/trust/broker/ca.crl"
broker good
link_shows "a fresh list counts without a restart" '^online'
broker third
link_shows "another good certificate is taken" '^online'
ca -revoke "$PKI/third.pem"
crl "$LAB/trust/broker/ca.crl"
link_shows "once it is on a new list the connection ends by itself" 'was revoked by its issuer.*tls\.revoked'
is "agentd-link was never restarted" "$(cat "$RUN/pids/agentd-link")" "$PID"

# ---- all of it required, with pins ----------------------------------------------------------------------------------
lab_agent_stop
broker_stop
POLICY="crl = \"required\"; ocsp = \"required\"; pins = [ \"$(pin good)\", \"$(pin backup)\" ];"
lab_config "$TIMES mqtt: { $POLICY }; fetch: { $POLICY };"
cp -p "$LAB/trust/broker/ca.crl" "$LAB/trust/fetch/ca.crl"
broker_stapled good good
lab_agent_start
link_shows "a broker with list, answer and pin is taken" '^online'
www good -tls1_3 -status_file "$LAB/good.der"
fetch "HTTPS: so is a server" "$TAKEN"
broker_stapled fourth fourth
link_shows "a key that is not pinned is refused" 'one of the 2 pinned ones.*tls\.pin'
www fourth -tls1_3 -status_file "$LAB/fourth.der"
fetch "HTTPS: also there" '^tls\.pin'
broker_stapled backup backup
link_shows "the backup key takes over" '^online'
www backup -tls1_3 -status_file "$LAB/backup.der"
fetch "HTTPS: also there" "$TAKEN"
broker good
link_shows "a broker without an answer is refused" 'one is required here.*tls\.ocsp-missing'
rm "$LAB/trust/broker/ca.crl" "$LAB/trust/fetch/ca.crl"
broker_stapled good good
link_shows "without a list nobody is taken" 'revocation lists are required.*tls\.crl-missing'
www good -tls1_3 -status_file "$LAB/good.der"
fetch "HTTPS: also there" '^tls\.crl-missing'
kill -9 "$(cat "$RUN/pids/agentd")"
wait_for 20 lab_healthy
gone() { ctl events --json --limit 1000 | jq -rs 'map(select(.name == "list.gone").file | sub(".*/trust/"; "")) | sort | join(" ")'; }
both_gone() { [ "$(gone)" = "broker/ca.crl fetch/ca.crl" ]; }
if wait_for 20 both_gone; then ok "core misses the lists that were there when it looked last"; else not_ok "gone: $(gone)"; fi
crl "$LAB/trust/broker/ca.crl"
link_shows "the list may come later" '^online'

# ---- settings that are refused --------------------------------------------------------------------------------------
for row in "pins = [ \"$(pin good)\" ]|a single pin|a backup pin" "pins = [ \"good\", \"bad\" ]|pins of another form|is not sha256/" "crl = \"sometimes\"|an unknown word|must be off, if-present or required"; do
  IFS='|' read -r setting what pattern <<< "$row"
  printf 'device: { product = "x"; serial = "x"; };\nmqtt: { %s; };\n' "$setting" > "$LAB/etc/bad.conf"
  fails "$what is refused" "$AGENTD" --config "$LAB/etc/bad.conf" --print-config
  like "  and told" "$(cat "$LAB/out")" "mqtt\..*$pattern"
done
done_testing
