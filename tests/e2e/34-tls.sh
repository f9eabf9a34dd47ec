#!/usr/bin/env bash
# shellcheck disable=SC2119
# What scanners see of the TLS server: version 1.3 only, no renegotiation, no compression, no early data, no weak group or cipher.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl sslscan testssl
lab_up
host=gw-${LAB_SERIAL,,}.local
wait_for 20 https GET /v1/health

# A scanner opens dozens of connections, more than one stranger may: it goes through addresses of 127/8, a new one for each.
PORT=$(lab_free_port)
python3 "$(dirname "$0")/relay.py" "$PORT" "$HTTPS_PORT" 2> "$LAB/log/relay" &
RELAY_PID=$!
wait_for 10 bash -c "exec 3<> /dev/tcp/127.0.0.1/$PORT"

sslscan --no-colour --show-certificate "127.0.0.1:$PORT" > "$LAB/sslscan" 2>&1
seen() { grep -E "$1" "$LAB/sslscan" | tr -s ' ' | tr '\n' ';'; }
for version in SSLv2 SSLv3 TLSv1.0 TLSv1.1 TLSv1.2; do like "sslscan: $version is off" "$(seen "^$version ")" 'disabled'; done
like "sslscan: TLS 1.3 is on" "$(seen '^TLSv1.3 ')" 'enabled'
is "sslscan: no cipher but those of TLS 1.3" "$(grep -E '^(Preferred|Accepted)' "$LAB/sslscan" | grep -vc 'TLSv1.3')" 0
like "sslscan: and some of those" "$(seen '^(Preferred|Accepted)')" 'TLS_AES_256_GCM_SHA384|TLS_AES_128_GCM_SHA256'
like "sslscan: no renegotiation" "$(grep -A2 -i 'renegotiation:' "$LAB/sslscan" | tr '\n' ' ')" 'not supported'

testssl --quiet --color 0 --warnings off --openssl-timeout 10 --jsonfile "$LAB/testssl.json" -p -S --headers -U "127.0.0.1:$PORT" > "$LAB/testssl" 2>&1
row() { python3 -c 'import json,sys
for r in json.load(open(sys.argv[1])):
    if r["id"] == sys.argv[2]: print(r["finding"])' "$LAB/testssl.json" "$1"; }
for version in SSLv2 SSLv3 TLS1 TLS1_1 TLS1_2; do like "testssl: $version is not offered" "$(row "$version")" 'not offered'; done
like "testssl: TLS 1.3 is offered" "$(row TLS1_3)" '^offered'
like "testssl: no compression" "$(row CRIME_TLS)" '^not vulnerable'
like "testssl: no renegotiation by the client" "$(row secure_client_renego)" '^not vulnerable'
like "testssl: no heartbeat" "$(row heartbleed)" '^not vulnerable'
bad=$(python3 -c 'import json,sys
# The chain ends in the device CA, which no browser knows; a name of .local and seven days are what they are.
known = ("cert_chain_of_trust", "cert_trust", "cert_revocation", "cert_crlDistributionPoints", "OCSP", "cert_ocspURL", "cert_CA", "HSTS", "cert_expirationStatus", "DNS_CAArecord", "cert_notAfter")
rows = json.load(open(sys.argv[1]))
print("; ".join("%s %s: %s" % (r["severity"], r["id"], r["finding"]) for r in rows
      if r["severity"] in ("MEDIUM", "HIGH", "CRITICAL") and not r["id"].startswith(known)) or "nothing")
sys.exit(len(rows) < 20)' "$LAB/testssl.json") || not_ok "testssl said too little: $(tail -n 5 "$LAB/testssl")"
is "testssl finds nothing of medium or higher severity" "$bad" nothing

wait_for 20 test -s "$LAB/session" | openssl s_client -connect "127.0.0.1:$PORT" -servername "$host" -tls1_3 -sess_out "$LAB/session" > "$LAB/first" 2>&1
like "a ticket allows no early data" "$(grep -i 'max early data' "$LAB/first")" 'Max Early Data: 0$'
printf 'GET /v1/health HTTP/1.1\r\nHost: %s\r\n\r\n' "$host" > "$LAB/early"
like "and early data is not taken" "$(openssl s_client -connect "127.0.0.1:$PORT" -servername "$host" -sess_in "$LAB/session" -early_data "$LAB/early" < /dev/null 2>&1 | grep -i 'early data')" 'not sent|rejected|Early data was not'
kill "$RELAY_PID"
wait "$RELAY_PID" 2> /dev/null
done_testing
