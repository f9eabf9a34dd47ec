#!/usr/bin/env bash
# Software of others against the running agent, as far as no distribution packages it:
#   BUILD=build/gcc tests/interop/run.sh [check...]      all checks if none is named; SECONDS_EACH=600
# What it needs is fetched into $INTEROP_DIR (default: ~/.cache/libagent-interop), never into the checkout. Without a network the checks
# are skipped, and the last lines say so. One function per check; its name is the name of the check.
# shellcheck disable=SC2119
. "$(dirname "$0")/../e2e/lib.sh"
: "${SECONDS_EACH:=600}"
: "${INTEROP_DIR:=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/libagent-interop}"
SKIPPED=()
skip() { SKIPPED+=("$1: $2"); echo "SKIPPED - $1: $2"; }

# venv NAME PACKAGE...: Python packages from PyPI in a folder of their own
venv() {
  local dir=$INTEROP_DIR/$1
  shift
  [ -x "$dir/bin/python" ] || python3 -m venv "$dir" > "$LAB/out" 2>&1 || return 1
  "$dir/bin/python" -m pip install -q --disable-pip-version-check "$@" > "$LAB/out" 2>&1
}

DOC=$PREFIX/share/agentd/openapi.json

openapi_validator() {
  venv openapi openapi-spec-validator || { skip openapi_validator "PyPI cannot be reached"; return; }
  succeeds "openapi-spec-validator accepts the OpenAPI document" "$INTEROP_DIR/openapi/bin/openapi-spec-validator" "$DOC"
}

agent_up() { [ -n "${AGENT_PID:-}" ] || { lab_up; set_password; }; }

# Not with the name in it: that is refused.
new_password() { if [ "$1" = viewer ]; then echo 'copper sailboat 26 orchard'; else echo 'brass umbrella 17 harvest'; fi; }

# drive CALLER SECONDS [options]: schemathesis over HTTPS with the document that the agent itself serves, as an account or as "nobody".
# Fails on a 5xx and on an answer that the document does not name: status, content type, header fields, schema.
drive() (
  local caller=$1 time=$2 password=$OWNER_PASSWORD
  shift 2
  case $caller in nobody) password= ;; operator | viewer) password=$(new_password "$caller") ;; esac
  cd "$LAB/interop" && SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$LAB/interop AGENT_URL=https://127.0.0.1:$HTTPS_PORT AGENT_CA=$LAB/device-ca.crt \
    AGENT_USER=$caller AGENT_PASSWORD=$password timeout $((time + 300)) "$INTEROP_DIR/schemathesis/bin/schemathesis" run "$LAB/interop/served.json" \
    --url "https://127.0.0.1:$HTTPS_PORT" --tls-verify "$LAB/device-ca.crt" --max-time "$time" --rate-limit 16/s --request-timeout 60 \
    --continue-on-failure --generation-database none --suppress-health-check all --warnings off --phases examples,coverage,fuzzing \
    -c not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance \
    "$@" > "$LAB/log/schemathesis-$caller.log" 2>&1
)

# driven "what" CALLER SECONDS [options]
driven() {
  local what=$1 caller=$2
  shift
  if drive "$@"; then
    ok "schemathesis, $what, $2 s: $(grep -Eo '[0-9]+ generated, .*' "$LAB/log/schemathesis-$caller.log" | tail -n 1), \
$(grep -Eo 'Tested: [0-9]+' "$LAB/log/schemathesis-$caller.log" | tail -n 1 | tr -dc 0-9) operations"
  else
    not_ok "schemathesis, $what: $(grep -vE '^ *$' "$LAB/log/schemathesis-$caller.log" | tail -n 200)"
  fi
  mv "$LAB/log/schemathesis-$caller.log" "$LAB/log/schemathesis-$what.done"
}

# account NAME ROLE: with a password of its own, as after its first login
account() {
  local first='quarry teapot 58 meridian' token body
  printf '%s\n%s\n' "$OWNER_PASSWORD" "$first" | ctl account add "$1" --role "$2" --stdin > "$LAB/out" 2>&1 || { not_ok "account $1: $(cat "$LAB/out")"; return; }
  body=$(printf '{"user":"%s","password":"%s"}' "$1" "$first")
  token=$(https POST /v1/session -H 'Content-Type: application/json' -d "$body" | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
  https PUT "/v1/credentials/$1" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' -d "{\"new\":\"$(new_password "$1")\"}" > /dev/null
  is "account $1 has a password" "$HTTPS_STATUS" 200
}

# SECONDS_EACH is the time of all callers together. The stream of events has no end that a tester could wait for: it is left to nobody, who may
# not have it, and to tests/e2e/31-stream.sh.
schemathesis() {
  local fifth=$(((SECONDS_EACH + 4) / 5)) token
  venv schemathesis 'schemathesis>=4,<5' requests || { skip schemathesis "PyPI cannot be reached"; return; }
  agent_up
  account operator operator
  account viewer viewer
  mkdir -p "$LAB/interop"
  # Its own list, 413 and 414: a text that is longer than its maxLength may be longer than the whole body or target may be.
  cat > "$LAB/interop/schemathesis.toml" << 'TOML'
[checks]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 414, 415, 422, 428, 429]
TOML
  cat > "$LAB/interop/hooks.py" << 'PY'
import os, random, time, requests, schemathesis, urllib3.connection
# From many addresses, or the limits of a single one would be all there is to see. Not random.randint(): Hypothesis seeds that
# anew for each case, and then they all come from 127.0.7.195 and meet the limit of new connections of one source.
connect = urllib3.connection.HTTPSConnection.connect
dice = random.SystemRandom()
def from_somewhere(self):
    self.source_address = ("127.0.%d.%d" % (dice.randint(1, 9), dice.randint(1, 250)), 0)
    connect(self)
urllib3.connection.HTTPSConnection.connect = from_somewhere
if os.environ["AGENT_USER"] != "nobody":
    @schemathesis.auth(refresh_interval=120)
    class Account:
        def get(self, case, context):
            for wait in (1, 2, 4, 8, 0):
                try:
                    r = requests.post(os.environ["AGENT_URL"] + "/v1/session", json={"user": os.environ["AGENT_USER"], "password": os.environ["AGENT_PASSWORD"]},
                                      verify=os.environ["AGENT_CA"], timeout=60)
                    break
                except requests.exceptions.ConnectionError:    # more connections a second than one source may have
                    time.sleep(wait)
            if r.status_code == 429:    # the wrong passwords of this very test: as somebody whose token is not good
                return "none"
            r.raise_for_status()
            return r.json()["token"]
        def set(self, case, data, context):
            case.headers = case.headers or {}
            case.headers["Authorization"] = "Bearer " + data
PY
  token=$(https POST /v1/session -H 'Content-Type: application/json' -d "{\"user\":\"admin\",\"password\":\"$OWNER_PASSWORD\"}" | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
  https GET /v1/openapi.json -H "Authorization: Bearer $token" > "$LAB/interop/served.json"
  succeeds "the agent serves the document that is installed" cmp "$LAB/interop/served.json" "$DOC"
  # Logging out and wrong passwords end what the others need: they come last, and shorter.
  local others=(--exclude-path /v1/session --exclude-path-regex '^/v1/credentials' --exclude-path /v1/events/stream)
  driven "nobody" nobody "$fifth"
  driven "viewer" viewer "$fifth" "${others[@]}"
  driven "operator" operator "$fifth" "${others[@]}"
  driven "admin" admin "$((SECONDS_EACH - 3 * fifth))" "${others[@]}"
  driven "login" admin $((SECONDS_EACH / 10 + 10)) --include-path-regex '^/v1/(session|credentials)'
  succeeds "the agent is healthy afterwards" lab_healthy
  is "no program was restarted" "$(grep -c program_restarted "$AGENT_LOG")" 0
}

# script NAME: a check with a laboratory of its own. What it prints as "SKIP: reason" was not tried.
script() {
  local log=$LAB/$1.out code reason
  INTEROP_DIR=$INTEROP_DIR "$(dirname "$0")/$1.sh" > "$log" 2>&1
  code=$?
  grep -E '^(not )?ok - |^# [A-Za-z]+ [0-9][0-9A-Za-z.]*$' "$log"
  N_OK=$((N_OK + $(grep -c '^ok - ' "$log")))
  N_FAILED=$((N_FAILED + $(grep -c '^not ok - ' "$log")))
  while read -r reason; do skip "$1" "$reason"; done < <(sed -n 's/^SKIP: //p' "$log")
  [ "$code" = 0 ] || [ "$code" = 77 ] || grep -q '^not ok - ' "$log" || not_ok "$1.sh ends with $code: $(tail -n 3 "$log")"
}
swugenerator() { script swugenerator; }
hawkbit() { script hawkbit; }

# axe-core of npm in every view of the web page, in both colour schemes, wide and narrow: all its rules. Each script has a laboratory of its own.
axe() {
  local dir=$INTEROP_DIR/axe log=$LAB/axe.out tool script
  for tool in npm chromium chromedriver certutil; do
    command -v "$tool" > /dev/null || { skip axe "$tool is not installed"; return; }
  done
  mkdir -p "$dir"
  (cd "$dir" && npm pack --silent axe-core@4 && tar -xzf "$(ls -t axe-core-*.tgz | head -n 1)" package/axe.min.js) > "$LAB/out" 2>&1 ||
    { skip axe "npm's registry cannot be reached"; return; }
  for script in 32-browser 32-browser-roles; do
    AXE=$dir/package/axe.min.js "$(dirname "$0")/../e2e/$script.sh" > "$log" 2>&1 || not_ok "$script.sh with axe-core: $(grep '^not ok' "$log" | head -n 5)"
    grep -E '^ok - .*axe-core' "$log"
    if grep -q '^ok - .*axe-core' "$log"; then N_OK=$((N_OK + $(grep -c '^ok - .*axe-core' "$log"))); else not_ok "axe-core did not run in $script.sh"; fi
  done
}

# The scripts of tlsfuzzer for TLS 1.3. It is on GitHub only: TLSFUZZER names a copy of https://github.com/tlsfuzzer/tlsfuzzer.
tlsfuzzer() {
  local port reference log=$LAB/tls13.out
  [ -e "${TLSFUZZER:-}/scripts/test-tls13-conversation.py" ] || { skip tlsfuzzer "TLSFUZZER does not name a copy of it"; return; }
  venv tlsfuzzer tlslite-ng==0.9.0b2 || { skip tlsfuzzer "PyPI cannot be reached"; return; }
  agent_up
  wait_for 20 https GET /v1/health
  port=$(lab_free_port)
  python3 "$(dirname "$0")/../e2e/relay.py" "$port" "$HTTPS_PORT" 2> "$LAB/log/relay" &
  TLS_PIDS=$!
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$LAB/reference.key" -out "$LAB/reference.pem" -days 3 -subj /CN=reference 2> "$LAB/out"
  reference=$(lab_free_port)
  openssl s_server -accept "127.0.0.1:$reference" -www -tls1_3 -groups X25519:P-256 -num_tickets 1 -cert "$LAB/reference.pem" -key "$LAB/reference.key" \
    < /dev/null > "$LAB/log/s_server.out" 2>&1 &
  TLS_PIDS="$TLS_PIDS $!"
  # shellcheck disable=SC2086,SC2154
  trap 'kill $TLS_PIDS ${EST_PID:-} 2> /dev/null; e2e_end' EXIT
  for p in "$port" "$reference"; do wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$p" || not_ok "tlsfuzzer: nobody listens on $p"; done
  "$INTEROP_DIR/tlsfuzzer/bin/python" "$(dirname "$0")/tls13.py" "$TLSFUZZER" "$port" "$reference" > "$log" 2>&1 || not_ok "tls13.py broke off: $(tail -n 2 "$log")"
  cat "$log"
  N_OK=$((N_OK + $(grep -c '^ok - ' "$log")))
  N_FAILED=$((N_FAILED + $(grep -c '^not ok - ' "$log")))
  # shellcheck disable=SC2086
  kill $TLS_PIDS
  TLS_PIDS=
  succeeds "the agent is healthy afterwards" lab_healthy
}

# GlobalSign's EST server from the Go module proxy: cacerts, csrattrs, simplereenroll for a certificate that is due.
# In a laboratory of its own, as its configuration differs.
est_server_build() {
  local dir=$INTEROP_DIR/est
  [ ! -x "$dir/estserver" ] || return 0
  command -v go > /dev/null || return 1
  mkdir -p "$dir"
  (cd "$dir" && export GOFLAGS=-mod=mod GOPATH=$dir/go GOCACHE=$dir/cache && { [ -e go.mod ] || go mod init interop; } &&
    go get github.com/globalsign/est@v1.0.6 && go build -o estserver github.com/globalsign/est/cmd/estserver) > "$LAB/out" 2>&1
}

est() {
  local before port now fp
  est_server_build || { skip est "no go, or its module proxy cannot be reached"; return; }
  lab_stop
  rm -rf "$LAB"
  mkdir -p "$LAB"
  AGENT_PID=
  lab_users; lab_make; lab_pki
  lab_ca est-ca "/CN=Demo EST CA"
  lab_leaf est-ca est "/CN=localhost" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost'
  lab_slots; lab_tpm_start
  port=$(lab_free_port)
  jq -n --arg p "$PKI" --arg a "127.0.0.1:$port" '{mock_ca: {certificates: ($p + "/device-ca.pem"), private_key: ($p + "/device-ca.key")},
    tls: {listen_address: $a, certificates: ($p + "/est.pem"), private_key: ($p + "/est.key"), client_cas: [$p + "/device-ca.pem"]},
    allowed_hosts: ["localhost"], rate_limit: 150, timeout: 30}' > "$LAB/est.json"
  "$INTEROP_DIR/est/estserver" -config "$LAB/est.json" > "$LAB/log/estserver.log" 2>&1 &
  EST_PID=$!
  trap 'kill "$EST_PID" 2> /dev/null; e2e_end' EXIT
  lab_config "est: { url = \"https://localhost:$port\"; retry_min_s = 1; retry_max_s = 5; };"
  lab_provision
  # 77 % of its life are over.
  now=$(date +%s)
  : > "$LAB/index"
  printf '[ca]\ndefault_ca=x\n[x]\ndatabase=%s\nnew_certs_dir=%s\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\norganizationName=optional\n' \
    "$LAB/index" "$LAB" > "$LAB/ca.conf"
  openssl ca -batch -notext -config "$LAB/ca.conf" -cert "$PKI/device-ca.pem" -keyfile "$PKI/device-ca.key" -in "$LAB/state/device.csr" -preserveDN -extfile "$PKI/device.ext" \
    -startdate "$(date -u -d "@$((now - 77 * 86400))" +%Y%m%d%H%M%SZ)" -enddate "$(date -u -d "@$((now + 23 * 86400))" +%Y%m%d%H%M%SZ)" \
    -out "$LAB/trust/broker/device.pem" 2> "$LAB/out" || { not_ok "est: no certificate: $(cat "$LAB/out")"; return; }
  chmod 644 "$LAB/trust/broker/device.pem"
  lab_broker_start; lab_agent_start; lab_trust_device; set_password
  before=$(ctl --json enrol status | jq .not_after)
  fp=$(openssl x509 -in "$PKI/est-ca.pem" -noout -fingerprint -sha256 | cut -d= -f2)
  # Its cacerts are those of the CA that issues for devices, so an authority of the server's own is not among them.
  like "est: a server that does not name this authority" "$(ctl enrol trust "$fp" 2>&1)" 'no authority of the EST server'
  cp "$PKI/est-ca.pem" "$LAB/trust/est/ca.pem" && chmod -R a+rX "$LAB/trust/est"
  lab_agent_stop; lab_agent_start # a folder that was not there at the start is outside of the sandbox
  est_is_newer() { ctl --json enrol status | jq -e --argjson b "$before" '.not_after > $b and .state == "idle"'; }
  if wait_for 60 est_is_newer; then ok "est: renewed by GlobalSign's server, in use after the broker took it"; else not_ok "est: $(ctl --json enrol status) $(tail -n 5 "$LAB/log/estserver.log")"; fi
  before=$(ctl --json enrol status | jq .not_after)
  wait_for 20 ctl enrol renew --new-key || not_ok "est: $(ctl enrol renew --new-key 2>&1)"
  if wait_for 60 est_is_newer; then ok "est: and once more, with a new key"; else not_ok "est: $(ctl --json enrol status) $(tail -n 5 "$LAB/log/estserver.log")"; fi
}

need python3 curl swtpm mosquitto
for check in "${@:-openapi_validator swugenerator axe schemathesis tlsfuzzer est hawkbit}"; do
  for c in $check; do "$c"; done
done
echo
for s in ${SKIPPED[@]+"${SKIPPED[@]}"}; do echo "SKIPPED: $s"; done
[ "$N_OK" -gt 0 ] || [ "$N_FAILED" -gt 0 ] || exit 77
done_testing
