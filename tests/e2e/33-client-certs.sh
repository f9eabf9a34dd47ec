#!/usr/bin/env bash
# shellcheck disable=SC2119
# The door for client certificates: who gets in with which role, and that each of the others is refused for the right reason.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto curl openssl
CLIENT_PORT=$(lab_free_port)
# The key of one is chosen before the configuration is written.
PKI=$LAB/pki
mkdir -p "$PKI" "$LAB/trust/mgmt"
openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/by-key.key"
spki=$(openssl pkey -in "$PKI/by-key.key" -pubout -outform DER | sha256sum | cut -d' ' -f1)
lab_up "mgmt: { client_listen = \"127.0.0.1:$CLIENT_PORT\"; client_roles = ( \"viewer cn:monitor\", \"admin spki:$spki\", \"operator dns:service.example\" ); };"
trust=$LAB/trust/mgmt


# ---- authorities and certificates -----------------------------------------------------------------------------------
mkdir -p "$LAB/ca"
cat > "$LAB/ca/conf" << CONF
[ca]
default_ca = one
[one]
dir = $LAB/ca
database = $LAB/ca/index
new_certs_dir = $LAB/ca
serial = $LAB/ca/serial
certificate = $PKI/clients.pem
private_key = $PKI/clients.key
default_md = sha256
default_crl_days = 30
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = supplied
CONF
touch "$LAB/ca/index"
echo 1000 > "$LAB/ca/serial"
lab_ca clients "/CN=Owner CA"
lab_ca strangers "/CN=Owner CA" # the same name, another key
ca() { openssl ca -batch -config "$LAB/ca/conf" "$@" 2>> "$LAB/log/ca.err"; }
# cert NAME CN "EXTENSIONS" [openssl ca options]
cert() {
  local name=$1 cn=$2 ext=$3
  shift 3
  [ -s "$PKI/$name.key" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$name.key"
  openssl req -new -key "$PKI/$name.key" -subj "/CN=$cn" -out "$PKI/$name.csr" 2> /dev/null
  printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n%s\n' "$ext" > "$PKI/$name.ext"
  if [ $# -gt 0 ]; then ca "$@" -in "$PKI/$name.csr" -extfile "$PKI/$name.ext" -notext -out "$PKI/$name.pem"
  else ca -days 30 -in "$PKI/$name.csr" -extfile "$PKI/$name.ext" -notext -out "$PKI/$name.pem"; fi || not_ok "certificate $name: $(tail -n 3 "$LAB/log/ca.err")"
}
auth='extendedKeyUsage=clientAuth'
day() { date -u -d "$1" +%y%m%d%H%M%SZ; }
cert monitor monitor "$auth"
cert by-key anything "$auth"
cert service someone "$auth"$'\nsubjectAltName=DNS:service.example'
cert nobody nobody "$auth"
cert expired monitor "$auth" -startdate "$(day '-10 days')" -enddate "$(day '-1 day')"
cert early monitor "$auth" -startdate "$(day '+1 day')" -enddate "$(day '+9 days')"
cert server monitor 'extendedKeyUsage=serverAuth'
cert anyuse monitor ''
cert revoked monitor "$auth"
lab_leaf strangers foreign "/CN=monitor" "$auth"
openssl req -x509 -key "$PKI/monitor.key" -days 30 -subj /CN=monitor -addext "$auth" -out "$PKI/self.pem" 2> /dev/null
cp "$PKI/monitor.key" "$PKI/self.key"

host=gw-${LAB_SERIAL,,}.local
# as CERTIFICATE METHOD PATH [curl options]: CODE is the status, ALERT what TLS said
as() {
  local name=$1 method=$2 path=$3 args=()
  shift 3
  [ "$name" = - ] || args=(--cert "$PKI/$name.pem" --key "$PKI/$name.key")
  CODE=$(curl -sS --max-time 20 --cacert "$LAB/device-ca.crt" --resolve "$host:$CLIENT_PORT:127.0.0.1" "${args[@]}" -X "$method" "$@" \
    -o "$LAB/as.body" -w '%{http_code}' "https://$host:$CLIENT_PORT$path" 2> "$LAB/as.err")
}
refusals() { api GET '/v1/events?limit=1000' | tr '{' '\n' | grep '"client.refused"' | tail -n 1; }
# refused "what" CERTIFICATE ALERT REASON
refused() {
  sleep 0.4 # a budget for log lines of strangers, and the places of one source
  as "$2" GET /v1/status
  is "$1: not let in" "$CODE" 000
  like "$1: the client hears why" "$(cat "$LAB/as.err")" "$3"
  like "$1: the event log says why" "$(refusals)" "$4"
}

wait_for 20 https GET /v1/health
as monitor GET /v1/health
is "without authorities nobody gets in" "$CODE" 000
cp "$PKI/clients.pem" "$trust/clients.pem"
chmod 755 "$trust"
chmod 644 "$trust/clients.pem"
as monitor GET /v1/status
is "before the password is set a certificate opens nothing" "$CODE" 403
like "and says what is missing" "$(cat "$LAB/as.body")" 'password-change-required'
set_password

as monitor GET /v1/status
is "a viewer by common name reads" "$CODE" 200
as monitor POST /v1/update/confirm
is "but does not change anything" "$CODE" 403
as by-key GET /v1/tpm/ek/ec-p256
is "an administrator by key does what only he may" "$CODE" 200
as service GET /v1/status
is "an operator by DNS name" "$CODE" 200
like "the list of accounts has the rows, in their order" "$(api GET /v1/accounts)" "\"certificates\":\[\"viewer cn:monitor\",\"admin spki:$spki\",\"operator dns:service.example\"\]"
like "the event log has the logins" "$(api GET '/v1/events?limit=1000')" '"user":"cert:monitor"'
as nobody GET /v1/status
is "a good certificate that no row names may do nothing" "$CODE" 403
like "and the event log says why" "$(refusals)" 'no row of mgmt.client_roles'
as nobody GET /v1/health
is "but see what anybody sees" "$CODE" 200

refused "no certificate" - 'certificate required' 'no certificate was shown'
refused "expired" expired 'certificate expired' '"reason":"expired"'
refused "not valid yet" early 'bad certificate|certificate expired' '"reason":"not valid yet"'
refused "made for servers" server 'unsupported certificate' 'not made for client authentication'
refused "made for nothing in particular" anyuse 'unsupported certificate' 'not made for client authentication'
refused "another CA of the same name" foreign 'unknown ca|decrypt error|bad certificate' 'authority that is not trusted|signature'
refused "self-signed" self 'unknown ca' 'authority that is not trusted'
like "with the name that was shown" "$(refusals)" '"subject":"/CN=monitor"'

# ---- revocation -----------------------------------------------------------------------------------------------------
as revoked GET /v1/status
is "a certificate that is going to be revoked" "$CODE" 200
ca -revoke "$PKI/revoked.pem"
ca -gencrl -out "$trust/clients.crl.new"
chmod 644 "$trust/clients.crl.new"
mv "$trust/clients.crl.new" "$trust/clients.crl"
refused "revoked, without a restart" revoked 'certificate revoked' '"reason":"revoked"'
as monitor GET /v1/status
is "the others still get in" "$CODE" 200
ca -gencrl -crl_lastupdate "$(day '-9 days')" -crl_nextupdate "$(day '-1 day')" -out "$trust/clients.crl"
refused "a list that is out of date" monitor 'alert' 'revocation list is out of date'
# crl_of CA [openssl ca options]: of another authority, from its own empty list
: > "$LAB/ca/none"
sed "s,^database = .*,database = $LAB/ca/none," "$LAB/ca/conf" > "$LAB/ca/conf-none"
crl_of() {
  local name=$1
  shift
  openssl ca -batch -config "$LAB/ca/conf-none" -gencrl -keyfile "$PKI/$name.key" -cert "$PKI/$name.pem" "$@" -out "$trust/clients.crl" 2>> "$LAB/log/ca.err" ||
    not_ok "no list of $name: $(tail -n 3 "$LAB/log/ca.err")"
}
lab_ca strangers2 "/CN=Other owner CA"
crl_of strangers2
refused "a list of another authority" monitor 'alert' 'there is no revocation list of its authority'
crl_of strangers
refused "a list by somebody with the name of the authority" monitor 'alert' 'not signed by its authority'
ca -gencrl -crl_lastupdate "$(day '-1 hour')" -crl_nextupdate "$(day '+9 days')" -out "$LAB/ca/good.crl"
cat "$LAB/ca/good.crl" "$trust/clients.crl" > "$trust/clients.crl.new"
chmod 644 "$trust/clients.crl.new"
mv "$trust/clients.crl.new" "$trust/clients.crl"
as monitor GET /v1/status
is "which is newer than the good one beside it: that one counts" "$CODE" 200
refused "and revokes" revoked 'certificate revoked' '"reason":"revoked"'
crl_of clients -crl_lastupdate "$(day '+1 day')" -crl_nextupdate "$(day '+9 days')"
refused "a list that is not valid yet" monitor 'alert' 'revocation list is not valid yet'
echo rubbish > "$trust/clients.crl"
sleep 0.4
as monitor GET /v1/status
is "a list that cannot be read closes the door" "$CODE" 000
rm "$trust/clients.crl"
as monitor GET /v1/status
is "without a list it is open again" "$CODE" 200
cp "$PKI/strangers2.pem" "$trust/clients.pem"
refused "after the authority was replaced" monitor 'unknown ca' 'authority that is not trusted'
cp "$PKI/clients.pem" "$trust/clients.pem"

# ---- no way round ---------------------------------------------------------------------------------------------------
sleep 0.5
out=$( (sleep 1) | openssl s_client -connect "127.0.0.1:$CLIENT_PORT" -servername "$host" -cert "$PKI/monitor.pem" -key "$PKI/monitor.key" -sess_out "$LAB/ticket" 2>&1)
like "the handshake works with openssl too" "$out" 'TLSv1.3'
fails "and gives no ticket that would skip the check next time" test -s "$LAB/ticket"
is "the certificate counts at its own door only" \
  "$(curl -s -o /dev/null -w '%{http_code}' --cacert "$LAB/device-ca.crt" --cert "$PKI/by-key.pem" --key "$PKI/by-key.key" --resolve "$host:$HTTPS_PORT:127.0.0.1" "https://$host:$HTTPS_PORT/v1/status")" 401
kill -9 "$(cat "$RUN/pids/agentd")"
# shellcheck disable=SC2317
gets_in() { as monitor GET /v1/status; [ "$CODE" = 200 ]; }
succeeds "after a restart of core the certificate still speaks for itself" wait_for 20 gets_in
cp "$LAB/etc/agentd.conf.d/test.conf" "$LAB/good.conf"
sed -i 's/viewer cn:monitor/root cn:monitor/' "$LAB/etc/agentd.conf.d/test.conf"
exits "a row that cannot be is refused at the start" 78 "$AGENTD" --config "$CONF" --print-config
like "for its reason" "$(cat "$LAB/out")" 'mgmt\.client_roles'
cat "$LAB/good.conf" > "$LAB/etc/agentd.conf.d/test.conf"
done_testing
