#!/usr/bin/env bash
# The owner's own certificate for HTTPS: request, every reason to refuse one, switch under connections, restart, expiry, removal.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto curl openssl
lab_up "mgmt: { hosts = ( \"gw.owner.example\" ); };"
set_password
host=gw.owner.example
# shown CA [NAME]: which certificate a client that trusts CA is shown; its issuer, or nothing
shown() {
  (sleep 0.3) | openssl s_client -connect "127.0.0.1:$HTTPS_PORT" -servername "${2:-$host}" -CAfile "$1" -verify_return_error -verify_hostname "${2:-$host}" 2> /dev/null |
    openssl x509 -noout -issuer 2> /dev/null
}
# shellcheck disable=SC2317
shows() { shown "$1" | grep -q "$2"; }
field() { ctl --json https status | sed -n "s/.*\"$1\": *\"\{0,1\}\([^,\"}]*\).*/\1/p"; }
events() { api GET '/v1/events?limit=1000'; }

# ---- the owner's authority ------------------------------------------------------------------------------------------
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=Owner root" -addext 'basicConstraints=critical,CA:TRUE' \
  -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout "$PKI/root.key" -out "$PKI/root.pem" 2> /dev/null
# issue NAME CSR EXTENSIONS [openssl x509 options]: by the issuing CA of the owner
issue() {
  local name=$1 csr=$2 ext=$3
  shift 3
  printf '%b' "$ext" > "$PKI/$name.ext"
  openssl x509 -req -in "$csr" -CA "$PKI/issuing.pem" -CAkey "$PKI/issuing.key" -set_serial "0x$(openssl rand -hex 8)" -extfile "$PKI/$name.ext" \
    -out "$PKI/$name.leaf" "$@" 2> "$LAB/log/openssl.err" || not_ok "certificate $name: $(cat "$LAB/log/openssl.err")"
  cat "$PKI/$name.leaf" "$PKI/issuing.pem" > "$PKI/$name.pem"
}
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=Owner issuing" -keyout "$PKI/issuing.key" -out "$PKI/issuing.csr" 2> /dev/null
printf 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n' > "$PKI/issuing.ext"
openssl x509 -req -in "$PKI/issuing.csr" -CA "$PKI/root.pem" -CAkey "$PKI/root.key" -set_serial 7 -days 29 -extfile "$PKI/issuing.ext" -out "$PKI/issuing.pem" 2> /dev/null
base='basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n'
server='extendedKeyUsage=serverAuth\n'
names="subjectAltName=DNS:$host\n"

is "at first HTTPS shows the device's own" "$(field source)" device
exits "nothing is no certificate" 2 ctl https certificate < /dev/null
exits "no request, no certificate" 1 ctl https certificate < "$PKI/issuing.pem"
like "for its reason" "$(cat "$LAB/out")" 'there is no request to answer'
succeeds "a request" ctl https request --out "$LAB/first.csr"
succeeds "and another, which replaces it" ctl https request --out "$LAB/owner.csr"
fails "they are for two keys" cmp -s "$LAB/first.csr" "$LAB/owner.csr"
like "the request is signed and names the device" "$(openssl req -in "$LAB/owner.csr" -noout -text -verify 2>&1)" "DNS:gw-.*DNS:$host"
is "a request waits" "$(field pending)" true

# ---- refused, each for its reason -----------------------------------------------------------------------------------
# refused "what" NAME REASON
refused() {
  ctl https certificate < "$PKI/$2.pem" > "$LAB/out" 2>&1
  is "$1: refused" "$?" 1
  like "$1: the reason" "$(cat "$LAB/out")" "$3"
}
# dated NAME FROM TO: as "good", at other times
mkdir -p "$LAB/ca"
printf '[ca]\ndefault_ca=one\n[one]\ndatabase=%s/ca/index\nnew_certs_dir=%s/ca\nserial=%s/ca/serial\ndefault_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n' \
  "$LAB" "$LAB" "$LAB" > "$LAB/ca/conf"
touch "$LAB/ca/index"
echo 2000 > "$LAB/ca/serial"
dated() {
  openssl ca -batch -config "$LAB/ca/conf" -cert "$PKI/issuing.pem" -keyfile "$PKI/issuing.key" -in "$LAB/owner.csr" -extfile "$PKI/good.ext" -notext \
    -startdate "$(date -u -d "$2" +%y%m%d%H%M%SZ)" -enddate "$(date -u -d "$3" +%y%m%d%H%M%SZ)" -out "$PKI/$1.leaf" 2> "$LAB/log/openssl.err" ||
    not_ok "certificate $1: $(cat "$LAB/log/openssl.err")"
  cat "$PKI/$1.leaf" "$PKI/issuing.pem" > "$PKI/$1.pem"
}
issue first "$LAB/first.csr" "$base$server$names" -days 9
refused "for the key of an older request" first 'another key'
issue client "$LAB/owner.csr" "$base"'extendedKeyUsage=clientAuth\n'"$names" -days 9
refused "made for clients" client 'serverAuth'
issue anyuse "$LAB/owner.csr" "$base$names" -days 9
refused "made for nothing in particular" anyuse 'serverAuth'
issue nosign "$LAB/owner.csr" 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,keyAgreement\n'"$server$names" -days 9
refused "may not sign" nosign 'digitalSignature|TLS servers'
issue ca "$LAB/owner.csr" 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature,keyCertSign\n'"$server$names" -days 9
refused "an authority" ca 'authority'
issue foreign "$LAB/owner.csr" "$base$server"'subjectAltName=DNS:elsewhere.example\n' -days 9
refused "with names that lead elsewhere" foreign 'subjectAltName'
issue nameless "$LAB/owner.csr" "$base$server" -days 9
refused "without names" nameless 'subjectAltName'
issue sha1 "$LAB/owner.csr" "$base$server$names" -days 9 -sha1
refused "signed with SHA-1" sha1 'too weak'
issue good "$LAB/owner.csr" "$base$server$names" -days 9
cat "$PKI/good.leaf" "$PKI/root.pem" > "$PKI/gap.pem"
refused "with a gap in the chain" gap 'not issued by the one behind it'
cat "$PKI/issuing.pem" "$PKI/good.leaf" > "$PKI/order.pem"
refused "in the wrong order" order 'another key'
cat "$PKI/good.pem" "$PKI/issuing.key" > "$PKI/secret.pem"
refused "with a private key in it" secret 'private key'
head -c 300 "$PKI/good.pem" > "$PKI/cut.pem"
refused "cut off" cut 'no chain'
(cat "$PKI/good.leaf"; sed 's/^MII/!!!/' "$PKI/issuing.pem") > "$PKI/rubbish.pem"
refused "with rubbish behind it" rubbish 'no chain'
for _ in 1 2 3 4 5 6 7 8 9; do cat "$PKI/issuing.pem"; done > "$PKI/many.pem"
refused "too many" many 'more than'
dated expired '-2 days' '-1 day'
dated early '+1 day' '+9 days'
refused "expired" expired 'has expired'
refused "not valid yet" early 'not valid yet'
is "after all of this the device's own is shown" "$(field source)" device
like "to clients, too" "$(shown "$LAB/device-ca.crt")" 'Device CA'

# ---- taken, in place, without a break -------------------------------------------------------------------------------
token=$(https POST /v1/session -H 'Content-Type: application/json' -d "{\"user\":\"admin\",\"password\":\"$OWNER_PASSWORD\"}" | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
curl -sN --max-time 60 --cacert "$LAB/device-ca.crt" --resolve "gw-${LAB_SERIAL,,}.local:$HTTPS_PORT:127.0.0.1" -H "Authorization: Bearer $token" \
  "https://gw-${LAB_SERIAL,,}.local:$HTTPS_PORT/v1/events/stream" > "$LAB/stream" 2> /dev/null &
stream=$!
wait_for 20 grep -q '^event: hello' "$LAB/stream"
succeeds "the owner's certificate is taken" ctl https certificate < "$PKI/good.pem"
succeeds "and shown, with its chain" wait_for 20 shows "$PKI/root.pem" 'Owner issuing'
wait_for 20 grep -q 'https.installed' "$LAB/stream"
like "who was connected hears of it on the old connection" "$(cat "$LAB/stream")" '"name":"https.installed"'
kill "$stream" 2> /dev/null
is "the status says so" "$(field source) $(field pending) $(field names)" "owner false $host"
is "with the fingerprint that browsers show" "$(field fingerprint)" "$(openssl x509 -in "$PKI/good.leaf" -noout -fingerprint -sha256 | sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')"
owner() { curl -s --max-time 20 --cacert "$PKI/root.pem" --resolve "$host:$HTTPS_PORT:127.0.0.1" "$@"; }
like "browsers are told to come by HTTPS only" "$(owner -D - -o /dev/null "https://$host:$HTTPS_PORT/")" '[Ss]trict-[Tt]ransport-[Ss]ecurity: max-age=86400'
fails "no private key lies on the disk" sh -c "grep -l 'PRIVATE KEY' '$LAB'/state/keys/https*"
like "it is sealed by the TPM" "$(head -n 1 "$LAB/state/keys/https.owner")" '^-----BEGIN AGENTD SEALED KEY-----$'
kill -9 "$(cat "$RUN/pids/agentd-mgmt")"
succeeds "it is there after agentd-mgmt died" wait_for 20 shows "$PKI/root.pem" 'Owner issuing'
lab_agent_stop
lab_agent_start
succeeds "and after a restart" wait_for 20 shows "$PKI/root.pem" 'Owner issuing'
issue renewed "$LAB/owner.csr" "$base$server$names" -days 8
succeeds "a renewal for the key in use" ctl https certificate < "$PKI/renewed.pem"
is "is the one in use" "$(field fingerprint)" "$(openssl x509 -in "$PKI/renewed.leaf" -noout -fingerprint -sha256 | sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')"
ctl https request > /dev/null
ctl https certificate < "$PKI/good.pem" > /dev/null
succeeds "a request that waits does not stand in the way of one" shows "$PKI/root.pem" 'Owner issuing'

# ---- its end --------------------------------------------------------------------------------------------------------
dated short '-1 day' '+15 seconds'
succeeds "one that ends in some seconds is taken" ctl https certificate < "$PKI/short.pem"
succeeds "at its end HTTPS shows the device's own again" wait_for 60 shows "$LAB/device-ca.crt" 'Device CA'
succeeds "and the event log says why" wait_for 20 sh -c "curl -s --unix-socket '$SOCKET' 'http://localhost/v1/events?limit=1000' | grep -q '\"https.expired\"'"
is "the status, too" "$(field source) $(field expired)" "device true"
succeeds "a new one" ctl https certificate < "$PKI/good.pem"
succeeds "is shown" wait_for 20 shows "$PKI/root.pem" 'Owner issuing'
succeeds "removed" ctl https remove
succeeds "the device's own is shown" wait_for 20 shows "$LAB/device-ca.crt" 'Device CA'
fails "the key went with it" ls "$LAB/state/keys/https.owner"
fails "so the certificate is of no use any more" ctl https certificate < "$PKI/good.pem"
ctl https request --out "$LAB/owner.csr" > /dev/null
issue last "$LAB/owner.csr" "$base$server$names" -days 9
succeeds "once more" ctl https certificate < "$PKI/last.pem"
printf '%s\n' "$OWNER_PASSWORD" | ctl factory-reset --yes --stdin > "$LAB/out" 2>&1 || not_ok "factory reset: $(cat "$LAB/out")"
succeeds "a factory reset removes it" wait_for 20 shows "$LAB/device-ca.crt" 'Device CA'
fails "with its key" ls "$LAB/state/keys/https.owner"
done_testing
