#!/usr/bin/env bash
# shellcheck disable=SC2119,SC2317,SC2015
# The other source of updates, a file on any HTTPS server: the newest release for the product is installed, an older one never, one that did not
# last not again; a damaged or hostile index and server change nothing, and no other server is shown who we are.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl curl jq python3

W=$LAB/www
mkdir -p "$W"
chmod 755 "$W"
PORT=$(lab_free_port)
OTHER_PORT=$(lab_free_port)
trap 'kill "${SERVER_PID:-}" 2> /dev/null; e2e_end' EXIT
put() { cat > "$W/.$1" && mv "$W/.$1" "$W/$1"; } # FILE: replaced as a whole
# index URL VERSION RELEASE SECURITY-VERSION PRODUCT, any number of times
index() {
  local rows=''
  while [ $# -gt 0 ]; do
    rows="$rows${rows:+, }{\"url\": \"$1\", \"version\": \"$2\", \"release-id\": \"$3\", \"security-version\": $4, \"products\": [\"$5\"]}"
    shift 5
  done
  printf '{"profile": "agent-index-1", "bundles": [%s]}' "$rows" | put index.json
}
control() { printf '%s' "$1" | put control; }
update() { api GET /v1/update | jq -r "$1"; }
stage_is() { [ "$(update .stage)" = "$1" ]; }
source_says() { api GET /v1/status | jq -r '.source_state + " " + (.source_detail // "")'; }
source_is() { source_says | grep -qE -- "$1"; }
events_have() { ctl events --limit 200 | grep -qE -- "$1"; }
comes() { # "what" COMMAND...
  local w=$1
  shift
  if wait_for 40 "$@"; then ok "$w"; else not_ok "$w: $(source_says), $(update -c)"; fi
}
n_asked() { grep -c "\"artifact\": \"$1\"" "$W/log" || true; }
n_looks() { grep -c '"request": "GET /files/index.json", "other": false' "$W/log" || true; }
looked_past() { [ "$(n_looks)" -gt "$1" ]; }
looks() { wait_for 40 looked_past $(($(n_looks) + $1)) || not_ok "it looks no more"; } # N times more
confirm_boot() { lab_reboot && api POST /v1/update/confirm > "$LAB/out" && [ "$(cat "$LAB/api.status")" = 200 ]; }
fall_back() { lab_agent_stop; lab_boot; lab_boot; lab_boot; lab_boot; lab_agent_start; }

lab_users; lab_make; lab_pki; lab_slots; lab_tpm_start
lab_config "source: { kind = \"index\"; index_url = \"https://localhost:$PORT/files/index.json\"; poll_s = 1; poll_min_s = 1; poll_max_s = 2; };"
lab_provision
cp "$LAB/trust/broker/device.pem" "$LAB/trust/fetch/device.pem"
lab_broker_start
control '{}'
index
python3 "$LAB_SOURCE/tests/hawkbit_double.py" --dir "$W" --port "$PORT" --other-port "$OTHER_PORT" --cert "$PKI/broker.pem" --key "$PKI/broker.key" \
  --client-ca "$PKI/device-ca.pem" --controller "$LAB_SERIAL" > "$LAB/log/files.out" 2>&1 &
SERVER_PID=$!
wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$OTHER_PORT" || lab_fail "the server of files did not start: $(cat "$LAB/log/files.out")"
lab_agent_start
fails "a device without an owner does not look" grep -q . "$W/log"
set_password
make_bundle() { # FILE VERSION SECURITY-VERSION
  head -c 2M /dev/urandom > "$LAB/image$1"
  lab_bundle "$2" "$LAB/image$1" "$3"
  cp "$LAB/bundles/$2.swu" "$W/$1.swu"
}
make_bundle old 1.0 1
make_bundle two 2.0 2
make_bundle three 3.0 2
make_bundle four 3.2 2
comes "an empty index offers nothing" source_is '^idle .*nothing for'

# ---- the newest for this product
index old.swu 1.9 release-1.9 2 "$LAB_PRODUCT" two.swu 2.0 release-2.0 2 "$LAB_PRODUCT" four.swu 10.0 release-10 2 other-product:1
control '{"cut": [700000]}'
comes "the newest for this product is installed, over a download that was cut" stage_is trying
is "it is that one" "$(head -c 2M "$SLOT_B" | sha256sum)" "$(sha256sum < "$LAB/imagetwo")"
is "and nothing else was asked for" "$(n_asked old.swu) $(n_asked four.swu)" "0 0"
comes "it waits for the boot" source_is '^installed .*2\.0'
succeeds "booted and confirmed" confirm_boot
comes "a success is an event" events_have 'source\.reported.*success'
comes "there is nothing newer" source_is '^idle .*nothing newer than 2\.0'

# ---- never back
index old.swu 1.0 release-1.0 1 "$LAB_PRODUCT"
comes "a release below the floor is passed over" source_is '^idle .*nothing for'
index old.swu 1.99 release-1.99 9 "$LAB_PRODUCT"
comes "an older one is not offered, whatever it says of its security" source_is '^idle .*nothing newer than 2\.0'
is "nor asked for" "$(n_asked old.swu)" 0
index old.swu 99.0 release-99 99 "$LAB_PRODUCT"
comes "an old bundle under a new number is refused" source_is '^refused .*(rollback|floor|security)'
N=$(n_asked old.swu)
looks 3
is "and not fetched again" "$(n_asked old.swu)" "$N"
is "the system stays" "$(update '.stage + " " + .version')" "idle 2.0"

# ---- one that does not last
index three.swu 3.0 release-3.0 2 "$LAB_PRODUCT"
comes "the next one is installed" stage_is trying
fall_back
comes "a fall-back is told" events_have 'source\.reported.*failure'
comes "it is not taken again" source_is '^refused .*release-3\.0'
N=$(n_asked three.swu)
looks 3
is "nor asked for" "$(n_asked three.swu)" "$N"
fails "nor tried" stage_is trying
kill -9 "$(cat "$RUN/pids/agentd")"
wait_for 30 lab_healthy
looks 2
is "also after a restart of core" "$(n_asked three.swu)" "$N"

# ---- an index and a server that are no good
bad() { # PATTERN "what"
  comes "$2" source_is "^failed .*$1"
}
printf '{"profile": "agent-index-1", "bundles": [' | put index.json
bad 'source\.json' "an index that was cut off"
printf '{"profile": "agent-index-2", "bundles": []}' | put index.json
bad 'agent-index-1' "one of another profile"
index four.swu 3.1 '' 2 "$LAB_PRODUCT"
bad 'release-id' "one without the name of a release"
{ printf '{"profile": "agent-index-1", "bundles": [], "x": "'; head -c 300000 /dev/zero | tr '\0' x; printf '"}'; } | put index.json
bad '262144 bytes' "one that is too long"
{ printf '%0.s[' {1..200}; printf '%0.s]' {1..200}; } | put index.json
bad 'nested' "one that is nested deeply"
index "http://localhost:$PORT/files/four.swu" 3.1 release-3.1 2 "$LAB_PRODUCT"
comes "a bundle over http is refused" source_is '^refused .*release-3\.1.*https://'
control '{"status": 503, "retry_after": 1}'
bad 'answers 503' "a server that has no time"
control '{"redirect_index": 1}'
bad 'answers 302' "a server that sends us elsewhere for the index"
is "which was not asked" "$(grep -c '"other": true' "$W/log")" 0
is "nothing of this was fetched" "$(n_asked four.swu)" 0
is "the system stays" "$(update .booted_slot)" b

# ---- the bundle may be elsewhere
control '{"redirect_artifact": 1}'
index four.swu 3.2 release-3.2 2 "$LAB_PRODUCT"
comes "a newer one than the one that failed is installed, from another server" stage_is trying
is "it is that one" "$(head -c 2M "$SLOT_A" | sha256sum)" "$(sha256sum < "$LAB/imagefour")"
is "the other server saw no certificate and no token" \
  "$(jq -r 'select(.other) | "\(.certificate) \(.headers.Authorization // "none")"' "$W/log" | sort -u)" "false none"
is "ours saw the certificate, each time" "$(jq -r 'select(.request and .other == false) | .certificate' "$W/log" | sort -u)" true
succeeds "booted and confirmed" confirm_boot
comes "there is nothing newer" source_is '^idle .*nothing newer than 3\.2'
is "no promise was broken" "$(grep -c '"broken"' "$W/log")" 0
done_testing
