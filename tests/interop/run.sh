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

# drive NAME SECONDS [options]: schemathesis over HTTPS as the owner. No 5xx, no answer that the document does not name.
drive() (
  local name=$1 time=$2
  shift 2
  cd "$LAB/interop" && SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$LAB/interop AGENT_URL=https://127.0.0.1:$HTTPS_PORT AGENT_CA=$LAB/device-ca.crt \
    AGENT_PASSWORD=$OWNER_PASSWORD timeout $((time + 300)) "$INTEROP_DIR/schemathesis/bin/schemathesis" run "$DOC" --url "https://127.0.0.1:$HTTPS_PORT" \
    --tls-verify "$LAB/device-ca.crt" --max-time "$time" --rate-limit 8/s --request-timeout 60 --continue-on-failure --generation-database none \
    --suppress-health-check all --warnings off --phases examples,coverage,fuzzing --exclude-path /v1/events/stream \
    -c not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance \
    "$@" > "$LAB/log/schemathesis-$name.log" 2>&1
)

schemathesis() {
  venv schemathesis 'schemathesis>=4,<5' requests || { skip schemathesis "PyPI cannot be reached"; return; }
  agent_up
  mkdir -p "$LAB/interop"
  cat > "$LAB/interop/hooks.py" << 'PY'
import os, time, requests, schemathesis
@schemathesis.auth(refresh_interval=120)
class Owner:
    def get(self, case, context):
        for wait in (1, 2, 4, 8, 0):
            try:
                r = requests.post(os.environ["AGENT_URL"] + "/v1/session", json={"user": "admin", "password": os.environ["AGENT_PASSWORD"]},
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
  # Logging out and wrong passwords end what the others need: they come last, and shorter.
  if drive api "$SECONDS_EACH" --exclude-path /v1/session --exclude-path-regex '^/v1/credentials'; then
    ok "schemathesis, $SECONDS_EACH s: $(grep -Eo '[0-9]+ generated, .*' "$LAB/log/schemathesis-api.log" | tail -n 1)"
  else
    not_ok "schemathesis: $(grep -vE '^ *$' "$LAB/log/schemathesis-api.log" | tail -n 200)"
  fi
  if drive login $((SECONDS_EACH / 10 + 10)) --include-path-regex '^/v1/(session|credentials)'; then
    ok "schemathesis, login: $(grep -Eo '[0-9]+ generated, .*' "$LAB/log/schemathesis-login.log" | tail -n 1)"
  else
    not_ok "schemathesis, login: $(grep -vE '^ *$' "$LAB/log/schemathesis-login.log" | tail -n 120)"
  fi
  succeeds "the agent is healthy afterwards" lab_healthy
  is "no program was restarted" "$(grep -c program_restarted "$AGENT_LOG")" 0
}

# In a laboratory of its own: it has no agent, only the library.
swugenerator() {
  local log=$LAB/swugenerator.out code
  "$(dirname "$0")/swugenerator.sh" > "$log" 2>&1
  code=$?
  grep -E '^(not )?ok - ' "$log"
  N_OK=$((N_OK + $(grep -c '^ok - ' "$log")))
  N_FAILED=$((N_FAILED + $(grep -c '^not ok - ' "$log")))
  [ "$code" != 77 ] || skip swugenerator "PyPI cannot be reached"
}

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

need python3 curl swtpm mosquitto
for check in "${@:-openapi_validator swugenerator axe schemathesis}"; do
  for c in $check; do "$c"; done
done
echo
for s in ${SKIPPED[@]+"${SKIPPED[@]}"}; do echo "SKIPPED: $s"; done
[ "$N_OK" -gt 0 ] || [ "$N_FAILED" -gt 0 ] || exit 77
done_testing
