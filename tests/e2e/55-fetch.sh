#!/usr/bin/env bash
# shellcheck disable=SC2119,SC2317,SC2015
# agentd-fetch: a bundle comes over HTTPS and is installed; every refusal says why and leaves the slot alone.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl curl jq
lab_up

activate() {
  local token
  token=$(api POST /v1/session -H 'Content-Type: application/json' -d "{\"user\":\"admin\",\"password\":\"$FACTORY_SECRET\"}" | jq -r .token)
  api PUT /v1/credentials/admin -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
    -d "{\"new\":\"$OWNER_PASSWORD\"}" > "$LAB/out"
  [ "$(cat "$LAB/api.status")" = 200 ] || not_ok "setting the password: $(cat "$LAB/out")"
}
activate

# A server of files that hold whole HTTP answers.
WWW=$LAB/www
mkdir -p "$WWW"
FILE_PORT=$(lab_free_port)
serve() { # s_server options
  stop_server
  # not in a subshell: SERVER_PID is what is killed later
  cd "$WWW" || exit 1
  openssl s_server -accept "127.0.0.1:$FILE_PORT" -HTTP -naccept 100 "$@" < /dev/null > "$LAB/log/s_server.out" 2>&1 &
  SERVER_PID=$!
  cd "$LAB" || exit 1
  wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$FILE_PORT"
}
stop_server() {
  [ -n "${SERVER_PID:-}" ] || return 0
  kill "$SERVER_PID" 2> /dev/null
  wait "$SERVER_PID" 2> /dev/null
  SERVER_PID=
}
trap 'stop_server; e2e_end' EXIT
answer() { # NAME "STATUS LINE" FILE "further header lines"
  {
    printf 'HTTP/1.1 %s\r\nContent-Length: %s\r\nConnection: close\r\n%s\r\n' "$2" "$(stat -c %s "$3")" "${4:-}"
    cat "$3"
  } > "$WWW/$1"
}
# Ask for a download and wait for its end: UPDATE holds the status.
fetch() {
  local id
  id=$(api POST /v1/update/fetch -H 'Content-Type: application/json' -d "{\"url\":\"$1\"}" | jq -r .id)
  if [ "$(cat "$LAB/api.status")" != 202 ]; then UPDATE=$(cat "$LAB/api.body"); return 1; fi
  wait_for 30 ended "$id" || not_ok "the download of $1 ends"
  UPDATE=$(api GET /v1/update)
}
ended() { api GET /v1/update | jq -e --argjson id "$1" '.id == $id and ((.error_name // "") != "" or .stage == "trying")'; }
refused() { # "what" URL NAME-PATTERN
  fetch "$2"
  like "$1" "$(jq -r '.error_name + " " + .error' <<< "$UPDATE")" "$3"
}

head -c 3M /dev/urandom > "$LAB/image"
lab_bundle 2.0 "$LAB/image" 2
answer good.swu '200 OK' "$LAB/bundles/2.0.swu"
answer gone.swu '404 Not Found' "$LAB/etc/agentd.conf"
answer moved.swu '302 Found' /dev/null $'Location: /good.swu\r\n'
answer away.swu '302 Found' /dev/null $'Location: https://127.0.0.1:1/good.swu\r\n'
answer plain.swu '302 Found' /dev/null $'Location: http://localhost/good.swu\r\n'
answer circle.swu '302 Found' /dev/null $'Location: /circle.swu\r\n'
answer junk.swu '200 OK' "$LAB/image"
head -c 1M "$WWW/good.swu" > "$WWW/short.swu"
URL=https://localhost:$FILE_PORT

TLS="-cert $PKI/broker.pem -key $PKI/broker.key"
# shellcheck disable=SC2086
serve $TLS -tls1_3
# The chunks that did arrive are good ones, so this one does write.
refused "a short answer is named" "$URL/short.swu" 'fetch\.short|container\.'
before=$(sha256sum < "$SLOT_B")
refused "a missing file is a missing file" "$URL/gone.swu" 'fetch\.http .*answers 404'
refused "another server is not followed" "$URL/away.swu" 'fetch\.redirect .*another server'
refused "a redirection to http is not followed" "$URL/plain.swu" 'fetch\.url'
refused "a circle ends" "$URL/circle.swu" 'fetch\.redirect .*more than 3'
refused "what is no bundle is refused by agentd-install" "$URL/junk.swu" 'container\.'
refused "a name the certificate lacks is refused" "https://127.0.0.2:$FILE_PORT/good.swu" '(tls\.name|fetch\.connect)'
api POST /v1/update/fetch -H 'Content-Type: application/json' -d '{"url":"http://localhost/x"}' > "$LAB/out"
like "plain http is not even tried" "$(cat "$LAB/api.status")" '^4'
refused "nobody there is named" "https://localhost:1/x.swu" 'fetch\.connect'
# shellcheck disable=SC2086
serve $TLS -tls1_2
refused "TLS 1.2 is refused" "$URL/good.swu" 'tls\.version'
lab_leaf broker-ca elsewhere "/CN=elsewhere" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:elsewhere.test'
serve -cert "$PKI/elsewhere.pem" -key "$PKI/elsewhere.key" -tls1_3
refused "another name is refused" "$URL/good.swu" 'tls\.name .*elsewhere\.test'
lab_leaf other-ca impostor "/CN=localhost" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost'
serve -cert "$PKI/impostor.pem" -key "$PKI/impostor.key" -tls1_3
refused "another CA is refused" "$URL/good.swu" 'tls\.issuer'
# shellcheck disable=SC2086
serve $TLS -tls1_3 -Verify 2 -verify_return_error -CAfile "$PKI/device-ca.pem"
refused "a server that wants a certificate is quoted" "$URL/good.swu" 'tls\.alert .*demands a client certificate'
is "the slot was not touched by any of these" "$(sha256sum < "$SLOT_B")" "$before"

# With a certificate for it the device shows its TPM key here too, and a redirection on the same server is followed.
cp "$LAB/trust/broker/device.pem" "$LAB/trust/fetch/device.pem"
fetch "$URL/moved.swu"
is "the bundle is fetched with the device's certificate and installed" "$(jq -r '.stage + " " + .version' <<< "$UPDATE")" "trying 2.0"
is "the slot holds the image" "$(head -c 3M "$SLOT_B" | sha256sum)" "$(sha256sum < "$LAB/image")"

# SIGKILL of each program while a larger bundle is on its way: asked for again, it installs.
head -c 24M /dev/urandom > "$LAB/image"
lab_bundle 3.0 "$LAB/image" 3
answer large.swu '200 OK' "$LAB/bundles/3.0.swu"
settled() { [ "$(api GET /v1/update | jq -r .stage)" != trying ] && lab_healthy; }
for p in agentd-fetch agentd-install agentd agentd-mgmt; do
  api POST /v1/update/rollback > "$LAB/out"
  wait_for 15 settled || not_ok "the update before is taken back: $(cat "$LAB/out")"
  api POST /v1/update/fetch -H 'Content-Type: application/json' -d "{\"url\":\"$URL/large.swu\"}" > "$LAB/out"
  sleep 0.05
  pid=$(cat "$RUN/pids/$p" 2> /dev/null) && kill -KILL "$pid" 2> /dev/null || not_ok "$p was running"
  installed_again() {
    [ "$(api GET /v1/update | jq -r .stage)" = trying ] || fetch "$URL/large.swu"
    [ "$(api GET /v1/update | jq -r '.stage + " " + .version')" = "trying 3.0" ]
  }
  succeeds "a download with $p killed: installs when asked for again" wait_for 40 installed_again
  is "and the slot holds the image" "$(head -c 24M "$SLOT_B" | sha256sum)" "$(sha256sum < "$LAB/image")"
done
done_testing
