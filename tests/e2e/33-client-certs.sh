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
# Connections that were made before: each line on stdin is a request on the same one.
cat > "$LAB/last.py" << 'PY'
import http.client, ssl, sys
port, ca, cert, key = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(cert, key)
c = http.client.HTTPSConnection("127.0.0.1", int(port), context=context, timeout=20)
c.connect()
c.auto_open = 0
for _ in sys.stdin:
    try:
        c.request("GET", "/v1/status")
        r = c.getresponse()
        print(r.status, r.getheader("Connection", ""), r.read().decode().replace("\n", " "), flush=True)
    except Exception as e:
        print("000", repr(e), flush=True)
PY
for who in revoked monitor; do
  mkfifo "$LAB/last.$who"
  python3 "$LAB/last.py" "$CLIENT_PORT" "$LAB/device-ca.crt" "$PKI/$who.pem" "$PKI/$who.key" < "$LAB/last.$who" > "$LAB/last.$who.out" &
done
exec 5> "$LAB/last.revoked" 6> "$LAB/last.monitor"
# lasts FD NAME COUNT: the answer to the COUNTth request on the connection of NAME
# shellcheck disable=SC2317
has_lines() { [ "$(wc -l < "$1")" -ge "$2" ]; }
lasts() { echo get >&"$1"; wait_for 20 has_lines "$LAB/last.$2.out" "$3"; sed -n "$3p" "$LAB/last.$2.out"; }
like "its connection may last" "$(lasts 5 revoked 1)" '^200 '
like "as that of another" "$(lasts 6 monitor 1)" '^200 '
curl -sN --cacert "$LAB/device-ca.crt" --resolve "$host:$CLIENT_PORT:127.0.0.1" --cert "$PKI/revoked.pem" --key "$PKI/revoked.key" \
  "https://$host:$CLIENT_PORT/v1/events/stream" > "$LAB/stream.out" &
stream=$!
wait_for 20 grep -q '^event: hello' "$LAB/stream.out"
ca -revoke "$PKI/revoked.pem"
ca -gencrl -out "$trust/clients.crl.new"
chmod 644 "$trust/clients.crl.new"
mv "$trust/clients.crl.new" "$trust/clients.crl"
like "revoked, and it is not good for one more request on the old connection" "$(lasts 5 revoked 2)" '^401 close .*does not count any more: revoked'
like "the event log says so" "$(refusals)" '"reason":"revoked"'
# shellcheck disable=SC2317
stream_is_over() { ! kill -0 "$stream" 2> /dev/null; }
succeeds "nor to go on following events" wait_for 20 stream_is_over
like "the old connection of the other goes on" "$(lasts 6 monitor 2)" '^200 '
exec 5>&- 6>&-
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
# A root, an authority below it, a client of that: who takes the authority away takes its clients away.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=Owner root" -addext 'basicConstraints=critical,CA:TRUE' \
  -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout "$PKI/root.key" -out "$PKI/root.pem" 2> /dev/null
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=Owner branch" -keyout "$PKI/branch.key" -out "$PKI/branch.csr" 2> /dev/null
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n' > "$PKI/branch.ext"
openssl x509 -req -in "$PKI/branch.csr" -CA "$PKI/root.pem" -CAkey "$PKI/root.key" -CAcreateserial -days 30 -extfile "$PKI/branch.ext" -out "$PKI/branch.pem" 2> /dev/null
lab_leaf branch member "/CN=monitor" "$auth"
cat "$PKI/branch.pem" >> "$PKI/member.pem"
cp "$PKI/root.pem" "$trust/clients.pem"
as member GET /v1/status
is "a client of an authority below the trusted one" "$CODE" 200
crl_of branch
cp "$trust/clients.crl" "$LAB/ca/branch.crl"
as member GET /v1/status
is "with the list of that authority, and none of the root" "$CODE" 200
crl_of root
refused "with a list of the root, and none of that authority" member 'alert' 'there is no revocation list of its authority'
: > "$LAB/ca/root"
sed "s,^database = .*,database = $LAB/ca/root," "$LAB/ca/conf" > "$LAB/ca/conf-root"
root() { openssl ca -batch -config "$LAB/ca/conf-root" -keyfile "$PKI/root.key" -cert "$PKI/root.pem" "$@" 2>> "$LAB/log/ca.err"; }
root -revoke "$PKI/branch.pem" && root -gencrl -out "$LAB/ca/root.crl"
cat "$LAB/ca/branch.crl" "$LAB/ca/root.crl" > "$trust/clients.crl"
refused "the root revoked its authority" member 'certificate revoked' '"reason":"revoked"'
rm "$trust/clients.crl"
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
