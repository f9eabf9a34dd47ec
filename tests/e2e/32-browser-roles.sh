#!/usr/bin/env bash
# The web page for everybody else than its first owner: accounts and roles, forced changes, an update that is offered.
#   32-browser-roles.sh --update-shots   takes its pictures in docs/screenshots anew
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto curl python3 openssl cpio chromium chromedriver certutil
spki=$(printf 'a key' | sha256sum | cut -d ' ' -f 1)
FILE_PORT=$(lab_free_port)
lab_up "mgmt: { client_listen = \"127.0.0.1:$(lab_free_port)\"; client_roles = ( \"operator cn:fleet-tool\", \"viewer spki:$spki\" ); };
  source: { kind = \"index\"; index_url = \"https://localhost:$FILE_PORT/index.json\"; poll_s = 3600; poll_min_s = 1; poll_max_s = 3600; };"
wait_for 20 https GET /v1/health

WWW=$LAB/www
mkdir -p "$WWW"
SERVER_PID=
server_end() {
  local code=$?
  [ -z "$SERVER_PID" ] || kill "$SERVER_PID" 2> /dev/null
  return "$code"
}
trap 'server_end; e2e_end' EXIT
head -c 4194304 /dev/urandom > "$LAB/image"
lab_bundle_of "$LAB/bundles/2.0.swu" "$LAB/image" 2.0 release-2.0 2 signer --kind security \
  --advisory 'CVE-2026-0001: mends a hole in the parser' > "$LAB/log/bundle.out" 2>&1 || not_ok "making a bundle: $(cat "$LAB/log/bundle.out")"
publish() { # FILE NAME: for a server that sends what lies there, head and all
  {
    printf 'HTTP/1.1 200 OK\r\nContent-Length: %s\r\nConnection: close\r\n\r\n' "$(stat -c %s "$1")"
    cat "$1"
  } > "$WWW/$2"
}
publish "$LAB/bundles/2.0.swu" two.swu
lab_bundle 3.0 "$LAB/image" 2
publish "$LAB/bundles/3.0.swu" three.swu
printf '{"profile": "agent-index-1", "bundles": [{"url": "three.swu", "version": "3.0", "release-id": "release-3.0", "security-version": 2, "products": ["%s"]}]}' \
  "$LAB_PRODUCT" > "$LAB/index"
publish "$LAB/index" index.full
echo '{"profile": "agent-index-1", "bundles": []}' > "$LAB/index"
publish "$LAB/index" index.json
cd "$WWW" || exit 1
openssl s_server -accept "127.0.0.1:$FILE_PORT" -HTTP -naccept 1000 -cert "$PKI/broker.pem" -key "$PKI/broker.key" -tls1_3 \
  < /dev/null > "$LAB/log/s_server.out" 2>&1 &
SERVER_PID=$!
cd "$LAB_SOURCE" || exit 1
wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$FILE_PORT" || not_ok "the file server did not start"

XDG_RUNTIME_DIR=$LAB/xdg python3 "$(dirname "$0")/browser_roles.py" "$LAB" "https://gw-${LAB_SERIAL,,}.local:$HTTPS_PORT/" "$FACTORY_SECRET" \
  "$OWNER_PASSWORD" "$AGENTCTL --socket $SOCKET" "https://localhost:$FILE_PORT/two.swu" "$LAB_SOURCE/docs/screenshots" "$@" \
  > "$LAB/browser.out" 2> "$LAB/browser.err"
code=$?
cat "$LAB/browser.out"
N_OK=$((N_OK + $(grep -c '^ok - ' "$LAB/browser.out")))
N_FAILED=$((N_FAILED + $(grep -c '^not ok - ' "$LAB/browser.out")))
if [ -s "$LAB/browser.err" ]; then not_ok "the browser test broke off: $(tail -n 4 "$LAB/browser.err")"; fi
[ "$code" = 0 ] || [ "$N_FAILED" != 0 ] || not_ok "browser_roles.py ended with $code"
is "the slot holds the update that was approved in the page" "$(head -c 4194304 "$SLOT_B" | sha256sum)" "$(sha256sum < "$LAB/image")"
done_testing
