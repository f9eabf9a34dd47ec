#!/usr/bin/env bash
# shellcheck disable=SC2119,SC2317,SC2015
# A rollout over the real hawkBit server, of which Maven Central has the parts (tests/interop/hawkbit). Called by tests/interop/run.sh;
# 77: it could not be had.
#   BUILD=/build/tree INTEROP_DIR=/folder tests/interop/hawkbit.sh
. "$(dirname "$0")/../e2e/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
: "${INTEROP_DIR:=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/libagent-interop}"
skip() { echo "SKIP: $1"; exit 77; }
for tool in java mvn; do command -v "$tool" > /dev/null || skip "$tool is not installed"; done

JAR=$INTEROP_DIR/hawkbit/target/hawkbit-server-1.jar
server_build() {
  local dir=$INTEROP_DIR/hawkbit
  mkdir -p "$dir/src/main/java/interop"
  cmp -s "$here/hawkbit/pom.xml" "$dir/pom.xml" && cmp -s "$here/hawkbit/Server.java" "$dir/src/main/java/interop/Server.java" && [ -e "$JAR" ] && return
  cp "$here/hawkbit/pom.xml" "$dir/" && cp "$here/hawkbit/Server.java" "$dir/src/main/java/interop/" && (cd "$dir" && mvn -q -B clean package) > "$LAB/out" 2>&1
}
server_build || skip "Maven Central cannot be reached, or its parts do not build: $(tail -n 3 "$LAB/out")"

S=$LAB_SERIAL
TOKEN=Tk0123456789abcdefTARGET
SERVER_PORT=$(lab_free_port)
RELAY_PORT=$(lab_free_port)
PROXY_PORT=$(lab_free_port)
server_start() {
  mkdir -p "$LAB/hawkbit"
  openssl pkcs12 -export -in "$PKI/broker.pem" -inkey "$PKI/broker.key" -out "$LAB/hawkbit/server.p12" -passout pass:lab
  (cd "$LAB/hawkbit" && exec java -jar "$JAR" --server.address=127.0.0.1 --server.port="$SERVER_PORT" --server.ssl.key-store=server.p12 \
    --server.ssl.key-store-password=lab --server.ssl.key-store-type=PKCS12 '--spring.datasource.url=jdbc:h2:mem:lab;MODE=MySQL;DB_CLOSE_ON_EXIT=FALSE' \
    --spring.main.allow-bean-definition-overriding=true --org.eclipse.hawkbit.repository.file.path="$LAB/hawkbit/artifacts" \
    --hawkbit.server.ddi.security.authentication.targettoken.enabled=true --hawkbit.server.ddi.security.authentication.header.enabled=true \
    --hawkbit.server.ddi.security.authentication.header.authority=lab --hawkbit.controller.minPollingTime=00:00:01 \
    --hawkbit.controller.pollingTime=00:00:02 --hawkbit.artifact.url.protocols.download-http.protocol=https --hawkbit.artifact.url.protocols.download-http.rel=download) > "$LAB/log/hawkbit.log" 2>&1 &
  SERVER_PID=$!
  wait_for 600 hb targets || { not_ok "hawkBit does not start: $(tail -n 5 "$LAB/log/hawkbit.log")"; done_testing; }
}
relay_start() {
  : > "$LAB/cuts"
  python3 "$LAB_SOURCE/tests/e2e/relay.py" "$RELAY_PORT" "$SERVER_PORT" "$LAB/cuts" > "$LAB/log/relay.log" 2>&1 &
  RELAY_PID=$!
  wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$RELAY_PORT"
}
stop_all() {
  kill ${SERVER_PID:-} ${RELAY_PID:-} 2> /dev/null
  [ ! -s "$LAB/nginx.pid" ] || kill "$(cat "$LAB/nginx.pid")" 2> /dev/null
  wait ${SERVER_PID:-} ${RELAY_PID:-} 2> /dev/null
}
trap 'stop_all; e2e_end' EXIT

# ---- the server's side, through its management API
hb() { # PATH [options of curl]
  local path=$1
  shift
  curl -sSf --cacert "$PKI/broker-ca.pem" -u admin:admin "$@" "https://localhost:$SERVER_PORT/rest/v1/$path" 2>> "$LAB/log/hb.log"
}
post() { hb "$1" -H 'Content-Type: application/json' -d "$2"; } # PATH BODY
release() { # VERSION FILE: prints the id of its distribution set
  local module
  module=$(post softwaremodules "[{\"name\": \"gateway\", \"version\": \"$1\", \"type\": \"os\"}]" | jq '.[0].id')
  hb "softwaremodules/$module/artifacts" -F "file=@$2" > /dev/null
  post distributionsets "[{\"name\": \"gateway\", \"version\": \"$1\", \"type\": \"os\", \"modules\": [{\"id\": $module}]}]" | jq '.[0].id'
}
action_latest() { hb "targets/$S/actions?sort=ID:DESC&limit=1" | jq '.content[0].id'; }
assign() { # DISTRIBUTION: prints the id of the action
  post "distributionsets/$1/assignedTargets" "[{\"id\": \"$S\", \"type\": \"forced\"}]" > /dev/null && action_latest
}
cancel() { hb "targets/$S/actions/$1$2" -X DELETE > /dev/null; } # ACTION [?force=true]
steps() { hb "targets/$S/actions/$1/status?sort=ID:ASC&limit=200" | jq -r '.content[] | .type + ": " + (.messages | join(" / "))'; } # ACTION
last_step_is() { [ "$(steps "$1" | grep -v '^download' | tail -n 1 | cut -d: -f1)" = "$2" ]; } # ACTION TYPE
step_says() { steps "$1" | grep -qE -- "$2"; }
action_is() { [ "$(hb "targets/$S/actions/$1" | jq -r .status)" = "$2" ]; }
installed_is() { [ "$(hb "targets/$S/installedDS" | jq -r .version)" = "$1" ]; }
attribute_is() { [ "$(hb "targets/$S/attributes" | jq -r ".$1")" = "$2" ]; }
rollout_is() { [ "$(hb "rollouts/$1" | jq -r .status)" = "$2" ]; }

# ---- the device's
update() { api GET /v1/update | jq -r "$1"; }
stage_is() { [ "$(update .stage)" = "$1" ]; }
source_says() { api GET /v1/status | jq -r '.source_state + " " + (.source_detail // "")'; }
source_is() { source_says | grep -qE -- "$1"; }
comes() { # "what" COMMAND...
  local w=$1
  shift
  if wait_for 60 "$@"; then ok "$w"; else not_ok "$w: $(source_says), $(update -c), $(steps "$(action_latest)" | tail -n 5)"; fi
}
fall_back() { lab_agent_stop; lab_boot; lab_boot; lab_boot; lab_boot; lab_agent_start; }

lab_users; lab_make; lab_pki; lab_slots; lab_tpm_start
printf '%s\n' "$TOKEN" > "$LAB/token"
chmod 600 "$LAB/token"
lab_own agentd-link: "$LAB/token"
server_start
relay_start
version=$(unzip -l "$JAR" 2> /dev/null | sed -n 's/.*hawkbit-ddi-resource-\(.*\)\.jar/\1/p')
echo "# hawkBit ${version:-of $here/hawkbit/pom.xml}"
lab_config "source: { kind = \"hawkbit\"; poll_min_s = 1; poll_max_s = 2; };
hawkbit: { url = \"https://localhost:$RELAY_PORT/\"; token_file = \"$LAB/token\"; distribution = \"gateway\"; };"
lab_provision
lab_broker_start
lab_agent_start
set_password
comes "a device that hawkBit does not know is told so" source_is '^failed .*401: it does not know this device'
post targets "[{\"controllerId\": \"$S\", \"name\": \"$S\", \"securityToken\": \"$TOKEN\"}]" > /dev/null
comes "known, it polls" source_is '^idle'
comes "and sends its attributes" attribute_is serial "$S"

for v in 2 3 4 5; do
  head -c 3M /dev/urandom > "$LAB/image$v"
  lab_bundle "$v.0" "$LAB/image$v" "$v"
done
lab_bundle 9.0 "$LAB/image2" 9 stranger
SIZE=$(stat -c %s "$LAB/bundles/2.0.swu")

# ---- a rollout, its download cut twice, at last within the last chunk
set2=$(release 2.0 "$LAB/bundles/2.0.swu")
rollout=$(post rollouts "{\"name\": \"first\", \"distributionSetId\": $set2, \"targetFilterQuery\": \"id==$S\", \"amountGroups\": 1, \"type\": \"forced\"}" | jq .id)
comes "a rollout over one device is ready" rollout_is "$rollout" ready
printf '%s\n' 1000000 $((SIZE - 1000000)) > "$LAB/cuts"
hb "rollouts/$rollout/start" -X POST > /dev/null
comes "its bundle is installed" stage_is trying
is "over a line that was cut twice" "$(cat "$LAB/cuts")" ""
is "and the slot holds the image" "$(head -c 3M "$SLOT_B" | sha256sum)" "$(sha256sum < "$LAB/image2")"
action=$(action_latest)
comes "hawkBit hears that it is installed" step_says "$action" '^running: .*installed, awaiting the boot'
succeeds "which is no success" action_is "$action" pending
lab_reboot
comes "it hears of the boot" step_says "$action" '^running: .*booted, awaiting the health checks'
succeeds "which is no success either" action_is "$action" pending
api POST /v1/update/confirm > "$LAB/out"
comes "after the confirmation the action is finished" action_is "$action" finished
comes "the device has this distribution set" installed_is 2.0
comes "and the rollout is over" rollout_is "$rollout" finished

# ---- failure after a fall-back
action=$(assign "$(release 3.0 "$LAB/bundles/3.0.swu")")
comes "the next one is installed" stage_is trying
fall_back
comes "after a fall-back hawkBit has an error" last_step_is "$action" error
like "with the reason" "$(steps "$action")" 'fell-back: release release-3.0'
succeeds "and the distribution set that runs" installed_is 2.0

# ---- a bundle of a stranger
action=$(assign "$(release 9.0 "$LAB/bundles/9.0.swu")")
comes "a bundle of a stranger is an error" last_step_is "$action" error
like "that names the reason" "$(steps "$action")" '(signature|signer|untrusted|cms)'

# ---- cancel
lab_agent_stop
set4=$(release 4.0 "$LAB/bundles/4.0.swu")
action=$(assign "$set4")
cancel "$action" ''
lab_agent_start
comes "an action that was canceled before it began is confirmed as canceled" last_step_is "$action" canceled
action=$(assign "$set4")
comes "assigned once more, it is installed" stage_is trying
cancel "$action" ''
comes "canceled after the switch, that is refused" step_says "$action" '^cancel_rejected'
stage_is trying && ok "and the release stays" || not_ok "and the release stays: $(update -c)"

# ---- the server closes the action
cancel "$action" ''
cancel "$action" '?force=true'
lab_reboot
api POST /v1/update/confirm > "$LAB/out"
comes "a result of an action that was closed is dropped" grep -q '"is_told": true' "$LAB/link/source.json"
is "and the new system runs" "$(update '.stage + " " + .version')" "idle 4.0"

# ---- the certificate alone, behind a proxy
if command -v nginx > /dev/null; then
  lab_agent_stop
  cat > "$LAB/nginx.conf" <<EOF
pid $LAB/nginx.pid; error_log $LAB/log/nginx.log; daemon on;
events {}
http {
  access_log $LAB/log/nginx-access.log; client_body_temp_path $LAB/nginx-body; proxy_temp_path $LAB/nginx-proxy;
  fastcgi_temp_path $LAB/nginx-f; uwsgi_temp_path $LAB/nginx-u; scgi_temp_path $LAB/nginx-s;
  map \$ssl_client_s_dn \$cn { ~CN=(?<name>[^,]+) \$name; }
  server {
    listen 127.0.0.1:$PROXY_PORT ssl;
    ssl_certificate $PKI/broker.pem; ssl_certificate_key $PKI/broker.key; ssl_protocols TLSv1.3;
    ssl_client_certificate $PKI/device-ca.pem; ssl_verify_client on;
    location / {
      proxy_pass https://127.0.0.1:$SERVER_PORT; proxy_set_header Host \$http_host; proxy_set_header Authorization "";
      proxy_set_header X-Ssl-Issuer-Hash-1 lab; proxy_set_header X-Ssl-Client-Cn \$cn;
    }
  }
}
EOF
  nginx -c "$LAB/nginx.conf" > "$LAB/out" 2>&1 || not_ok "nginx: $(cat "$LAB/out")"
  cp "$LAB/trust/broker/device.pem" "$LAB/trust/fetch/device.pem"
  lab_config "source: { kind = \"hawkbit\"; poll_min_s = 1; poll_max_s = 2; }; hawkbit: { url = \"https://localhost:$PROXY_PORT/\"; };"
  lab_agent_start
  comes "behind a proxy the certificate alone says who we are" source_is '^idle'
  action=$(assign "$(release 5.0 "$LAB/bundles/5.0.swu")")
  comes "an action comes that way as well" stage_is trying
  lab_reboot
  api POST /v1/update/confirm > "$LAB/out"
  comes "and is finished" action_is "$action" finished
else
  echo "SKIP: nginx is not installed: nothing was tried behind a proxy (apt-get install nginx-light)"
fi
fails "the token is in no log" grep -q "$TOKEN" "$AGENT_LOG"
done_testing
