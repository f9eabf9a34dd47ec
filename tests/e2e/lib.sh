# shellcheck shell=bash
# For the end-to-end tests: a lab of its own per script, counted checks, everything stopped at the end.
#   BUILD   top of a build tree configured with --prefix inside it, already installed there (tests/run.sh does both)
# A script says "ok" for each thing it checked and ends with "done_testing".
set -u
: "${BUILD:?BUILD must name the build tree; tests/run.sh sets it}"
LAB_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PREFIX=$(sed -n 's/^prefix = //p' "$BUILD/Makefile")
# shellcheck source=examples/lab.sh
. "$LAB_SOURCE/examples/lab.sh"

# Short: a Unix socket path has 107 characters.
LAB=$(mktemp -d /tmp/e2e-XXXXXX)
N_OK=0
N_FAILED=0

e2e_end() {
  local code=$?
  trap - EXIT
  # A trap of the script's own before this one may have lost the code.
  [ "$code" != 0 ] || [ "$N_FAILED" = 0 ] || code=1
  lab_stop
  if [ "$code" = 0 ] && [ "$N_FAILED" = 0 ]; then
    rm -rf "$LAB"
  else
    echo "# kept for a look: $LAB (log/agent.log)"
    tail -n 15 "$LAB/log/agent.log" 2> /dev/null | sed 's/^/# /'
  fi
  exit "$code"
}
trap e2e_end EXIT
trap 'exit 130' INT TERM

# Stock swupdate puts what it unpacks and its sockets into TMPDIR, under fixed names.
own_tmpdir() { mkdir "$LAB/tmp" && export TMPDIR=$LAB/tmp; }

need() {
  local tool
  for tool; do
    command -v "$tool" > /dev/null || { echo "SKIP: $tool is not installed"; exit 77; }
  done
}

# example_make FOLDER PROGRAM: examples/vendor-app/PROGRAM.c, made there from the installed package alone, without a warning; what is started from
# then on finds the library. A library with sanitizers wants programs that have them too.
example_make() {
  mkdir -p "$1" && cp "$LAB_SOURCE/examples/vendor-app/Makefile" "$LAB_SOURCE/examples/vendor-app/$2.c" "$1" || return 1
  export PKG_CONFIG_PATH="$PREFIX/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}" LD_LIBRARY_PATH="$PREFIX/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  make -s -C "$1" "$2" CC="$(sed -n 's/^CC = //p' "$BUILD/Makefile")" CFLAGS="-g -O1 -Wall -Wextra -Werror $(sed -n 's/^SAN_CFLAGS = //p' "$BUILD/Makefile")"
}

# The authority of the brokers gets a register, for dates of our choice, lists and answers: openssl ca -config "$LAB/ca/conf". After lab_pki.
broker_ca_register() {
  mkdir -p "$LAB/ca"
  cat > "$LAB/ca/conf" << CONF
[ca]
default_ca = broker
[broker]
database = $LAB/ca/index
serial = $LAB/ca/serial
new_certs_dir = $LAB/ca
certificate = $PKI/broker-ca.pem
private_key = $PKI/broker-ca.key
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
CONF
  touch "$LAB/ca/index"
  echo 1000 > "$LAB/ca/serial"
}

ok() { N_OK=$((N_OK + 1)); echo "ok - $*"; }
not_ok() { N_FAILED=$((N_FAILED + 1)); echo "not ok - $*"; }

# is "what" GOT WANTED; like "what" TEXT PATTERN; succeeds/fails "what" COMMAND...
is() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1: got '$2', wanted '$3'"; fi; }
like() { if printf '%s' "$2" | grep -qE -- "$3"; then ok "$1"; else not_ok "$1: '$2' does not match '$3'"; fi; }
succeeds() { local w=$1; shift; if "$@" > "$LAB/out" 2>&1; then ok "$w"; else not_ok "$w: $(tail -n 3 "$LAB/out")"; fi; }
fails() { local w=$1; shift; if "$@" > "$LAB/out" 2>&1; then not_ok "$w: succeeded"; else ok "$w"; fi; }
# exits "what" CODE COMMAND...
exits() {
  local w=$1 want=$2 got
  shift 2
  "$@" > "$LAB/out" 2>&1
  got=$?
  if [ "$got" = "$want" ]; then ok "$w"; else not_ok "$w: exit $got, wanted $want: $(tail -n 3 "$LAB/out")"; fi
}

done_testing() {
  # Every answer in every script must be one that the API's documents name.
  if grep -q 'is not documented' "${AGENT_LOG:-/dev/null}" 2> /dev/null; then
    not_ok "an answer is not in the API documents: $(grep 'is not documented' "$AGENT_LOG" | head -n 3)"
  fi
  echo "# $N_OK passed, $N_FAILED failed"
  [ "$N_FAILED" = 0 ] && [ "$N_OK" -gt 0 ]
  exit
}

OWNER_PASSWORD='walnut ferry 93 lantern'

# The owner's first step, through agentctl.
set_password() {
  printf '%s\n%s\n' "$FACTORY_SECRET" "$OWNER_PASSWORD" | ctl passwd --stdin > "$LAB/out" 2>&1 || not_ok "setting the password: $(cat "$LAB/out")"
}
