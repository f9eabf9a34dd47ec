#!/usr/bin/env bash
# Install what is missing, build, run all tests. Last line: "N passed, N failed"; exit 0 only if nothing failed.
#
#   tests/run.sh                all of it
#   tests/run.sh unit           gcc build and make check        tests/run.sh e2e [SCRIPT...]   end to end, gcc build
#   tests/run.sh sanitizers     both again with ASan and UBSan   tests/run.sh clang             clang build and make check
#                               ("sanitizers all": all scripts, not only those of HOSTILE below)
#   tests/run.sh dist           make distcheck                  tests/run.sh static            shell scripts
#   tests/run.sh quickstart     examples/quickstart.sh
#
# E2E_JOBS: end-to-end scripts side by side, otherwise two for each processor: they wait for clocks, limits and each other nine tenths of their time.
# TEST_DIR: where to build. As root the tests use the agent's own users, who must be able to read what is built.
set -u
SOURCE=$(cd "$(dirname "$0")/.." && pwd)
cd "$SOURCE" || exit 1
N_PASSED=0
N_FAILED=0
SKIPPED=()
FAILED=()
UNSTEADY=()
E2E_JOBS=${E2E_JOBS:-$((2 * $(nproc)))}

readable_by_all() {
  local d=$1
  while [ "$d" != / ]; do
    [ $((0$(stat -c %a "$d") & 1)) = 1 ] || return 1
    d=$(dirname "$d")
  done
}
if [ -z "${TEST_DIR:-}" ]; then
  if [ "$(id -u)" = 0 ] && ! readable_by_all "$SOURCE"; then TEST_DIR=/var/tmp/libagent-tests; else TEST_DIR=$SOURCE/build; fi
fi
umask 022
mkdir -p "$TEST_DIR" || exit 1
if [ ! -O "$TEST_DIR" ] || [ -L "$TEST_DIR" ]; then echo "$TEST_DIR cannot be used: it belongs to somebody else" >&2; exit 1; fi
TEST_DIR=$(cd "$TEST_DIR" && pwd)

section() { printf '\n== %s (%s s since start)\n' "$*" "$SECONDS"; }
passed() { N_PASSED=$((N_PASSED + 1)); }
failed() { N_FAILED=$((N_FAILED + 1)); FAILED+=("$*"); echo "FAILED: $*"; }

# step "what" COMMAND...: one check; its output is shown only when it fails.
step() {
  local what=$1 log
  shift
  log=$(mktemp "$TEST_DIR/step-XXXXXX.log")
  if "$@" > "$log" 2>&1; then
    passed
    echo "ok - $what"
    rm -f "$log"
  else
    tail -n 40 "$log"
    failed "$what (whole output: $log)"
    return 1
  fi
}

# build NAME [configure arguments]: configure and compile in $TEST_DIR/NAME; a warning is an error.
build() {
  local name=$1
  shift
  mkdir -p "$TEST_DIR/$name"
  (
    cd "$TEST_DIR/$name" || exit 1
    # Another checkout's tree would go on building that one; other arguments want another configure.
    grep -qsx "abs_top_srcdir = $SOURCE" Makefile || rm -rf "${TEST_DIR:?}/$name"/*
    if [ ! -e Makefile ] || [ "$(cat arguments 2> /dev/null)" != "$*" ]; then
      "$SOURCE/configure" -q --prefix="$TEST_DIR/$name/inst" --enable-werror "$@" && printf '%s' "$*" > arguments || exit 1
    fi
    make -s -j"$(nproc)" && make -s -j"$(nproc)" check TESTS=
  )
}

# make check in a build tree; each of its tests counts.
unit() {
  local dir=$TEST_DIR/$1 name result
  # Some wait for a broker's delays for half a minute.
  make -s -C "$dir" -j$((2 * $(nproc))) check > "$dir/check.out" 2>&1
  while read -r result name; do
    case $result in
      PASS:) passed ;;
      SKIP:) SKIPPED+=("$1 $name") ;;
      *) failed "$1 $name"; tail -n 30 "$dir/${name%.sh}.log" ;;
    esac
  done < <(grep -E '^(PASS|FAIL|SKIP|XPASS|ERROR): ' "$dir/check.out")
  grep -q '^# TOTAL' "$dir/check.out" || { tail -n 20 "$dir/check.out"; failed "$1: make check did not finish"; }
  grep -E '^# (TOTAL|PASS|FAIL|SKIP|ERROR)' "$dir/check.out" | tr '\n' ' '
  echo
}

# one_e2e BUILD SCRIPT OUTPUT: run a script to its end; its exit code goes to OUTPUT.code.
one_e2e() {
  local begun=$SECONDS code
  BUILD=$1 timeout --kill-after=30 600 "$2" > "$3" 2>&1 < /dev/null
  code=$?
  echo "$code" > "$3.code"
  printf '%-28s%s passed, %s failed, exit code %s, %s s\n' "$(basename "$2" .sh)" "$(grep -c '^ok - ' "$3")" "$(grep -c '^not ok - ' "$3")" "$code" $((SECONDS - begun))
}

# read_e2e OUTPUT: sets CODE, GOOD and BAD; every "ok" and "not ok" line counts.
read_e2e() {
  CODE=$(cat "$1.code")
  GOOD=$(grep -c '^ok - ' "$1")
  BAD=$(grep -c '^not ok - ' "$1")
  # An end without a verdict is a failure, too.
  if [ "$CODE" != 77 ] && [ "$BAD" = 0 ] && { [ "$CODE" != 0 ] || [ "$GOOD" = 0 ]; }; then
    BAD=1
    echo "not ok - the script ended with $CODE after $GOOD checks" >> "$1"
  fi
}

# Scripts of some minutes that stand near the end of the list would keep the others waiting there.
LONG=" 62-systemd 70-kill "
is_long() { [[ $LONG == *" $(basename "$1" .sh) "* ]]; }

# e2e BUILD SCRIPT...: run end-to-end scripts, several side by side: they wait more than they compute. They drive real
# daemons against real clocks on a machine that others may load, so a script that fails is run once more, alone and from
# nothing: what fails twice is red, what fails once is named at the end as unsteady, with the checks that failed.
e2e() {
  local dir=$TEST_DIR/$1 script name out order=() again=()
  shift
  make -s -C "$dir" install > "$dir/install.out" 2>&1 || { tail -n 20 "$dir/install.out"; failed "make install"; return; }
  for script; do ! is_long "$script" || order+=("$script"); done
  for script; do is_long "$script" || order+=("$script"); done
  for script in "${order[@]}"; do
    while [ "$(jobs -r -p | wc -l)" -ge "$E2E_JOBS" ]; do wait -n; done
    one_e2e "$dir" "$script" "$dir/e2e-$(basename "$script" .sh).out" &
  done
  wait
  for script; do
    name=$(basename "$script" .sh)
    out=$dir/e2e-$name.out
    read_e2e "$out"
    if [ "$BAD" -gt 0 ]; then
      echo "$name failed:"
      grep -v '^ok - ' "$out" | tail -n 40
      UNSTEADY+=("$name in $dir: $(grep '^not ok - ' "$out" | head -n 3 | tr '\n' ' ')")
      mv "$out" "$out.first"
      again+=("$script")
    else
      N_PASSED=$((N_PASSED + GOOD))
      [ "$CODE" != 77 ] || SKIPPED+=("$name: $(grep '^SKIP' "$out" | head -n 1)")
    fi
  done
  [ "${#again[@]}" = 0 ] || echo "once more, alone:"
  for script in ${again[@]+"${again[@]}"}; do
    name=$(basename "$script" .sh)
    out=$dir/e2e-$name.out
    one_e2e "$dir" "$script" "$out"
    read_e2e "$out"
    N_PASSED=$((N_PASSED + GOOD))
    [ "$CODE" != 77 ] || SKIPPED+=("$name: $(grep '^SKIP' "$out" | head -n 1)")
    if [ "$BAD" -gt 0 ]; then
      N_FAILED=$((N_FAILED + BAD))
      FAILED+=("$name, twice")
      grep -v '^ok - ' "$out" | tail -n 40
    fi
  done
}

shell_scripts() {
  git -C "$SOURCE" ls-files '*.sh' .ci/run 2> /dev/null | grep . || find examples tests .ci -name '*.sh'
}

run_unit() { section "unit tests, gcc"; step "builds with gcc, no warnings" build gcc && unit gcc; }
run_e2e() {
  section "end to end"
  [ -e "$TEST_DIR/gcc/Makefile" ] || step "builds with gcc, no warnings" build gcc || return
  if [ $# -gt 0 ]; then e2e gcc "$@"; else e2e gcc "$SOURCE"/tests/e2e/[0-9]*.sh; fi
}
# Again with ASan and UBSan: where bytes of strangers come in over sockets. The other scripts (hundreds of starts, waits for clocks and limits,
# browsers, scanners, tools) would take most of the time of a run; their parsers meet the sanitizers in the unit tests and the corpora.
HOSTILE=" 15-core 20-password 30-mgmt 31-stream 35-port80 41-stock-bundles 48-ticket 49-recipients 50-link 51-queue-link 53-tls-profile 54-brokers 56-hawkbit
 56-index 58-commands 80-bad-input "
run_sanitizers() {
  local script scripts=() left_out=0
  section "unit tests and end to end with ASan and UBSan"
  step "builds with sanitizers" build asan --enable-sanitizers CFLAGS='-g -O1' || return
  export ASAN_OPTIONS=abort_on_error=1:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
  unit asan
  for script in "$SOURCE"/tests/e2e/[0-9]*.sh; do
    if [ "${1:-}" = all ] || [[ $HOSTILE == *[[:space:]]"$(basename "$script" .sh)"[[:space:]]* ]]; then
      scripts+=("$script")
    else
      left_out=$((left_out + 1))
    fi
  done
  [ "$left_out" = 0 ] || SKIPPED+=("$left_out end-to-end scripts with sanitizers: tests/run.sh sanitizers all")
  e2e asan "${scripts[@]}"
  unset ASAN_OPTIONS UBSAN_OPTIONS
}
run_clang() { section "unit tests, clang"; step "builds with clang, no warnings" build clang CC=clang CXX=clang++ && unit clang; }
run_dist() {
  section "distribution"
  [ -e "$TEST_DIR/gcc/Makefile" ] || step "builds with gcc, no warnings" build gcc || return
  # All of them are built from the tarball; run are those that read files of it. The others ran three times.
  step "make distcheck" make -s -C "$TEST_DIR/gcc" -j"$(nproc)" distcheck TESTS="$(cd "$SOURCE" && printf '%s ' tests/check/*.sh) tests/fuzz/replay.sh tests/unit/test_attest"
}
run_static() {
  section "static checks"
  # shellcheck disable=SC2317
  checked() { shell_scripts | xargs -P "$(nproc)" -n 4 shellcheck -S warning; }
  step "shellcheck" checked
}
run_quickstart() {
  section "quickstart"
  step "examples/quickstart.sh does the main job" "$SOURCE/examples/quickstart.sh" --dir "$TEST_DIR/quickstart" --build "$TEST_DIR/gcc"
  step "examples/quickstart.sh runs a second time" "$SOURCE/examples/quickstart.sh" --dir "$TEST_DIR/quickstart" --build "$TEST_DIR/gcc"
}

"$SOURCE/examples/install-packages.sh" test || exit 1
if [ ! -x configure ] || [ configure.ac -nt configure ] || [ -n "$(find . -name '*.am' -newer configure -not -path './build/*' -print -quit)" ]; then
  step "autoreconf" autoreconf -fi || exit 1
fi
case ${1:-all} in
  all) run_static; run_unit; run_e2e; run_quickstart; run_clang; run_sanitizers; run_dist ;;
  sanitizers) run_sanitizers "${2:-}" ;;
  unit | clang | dist | static | quickstart) "run_$1" ;;
  e2e) shift; run_e2e "$@" ;;
  *) sed -n '2,10p' "$0" >&2; exit 2 ;;
esac

echo
for s in ${SKIPPED[@]+"${SKIPPED[@]}"}; do echo "SKIPPED: $s"; done
for u in ${UNSTEADY[@]+"${UNSTEADY[@]}"}; do echo "UNSTEADY (failed once): $u"; done
for f in ${FAILED[@]+"${FAILED[@]}"}; do echo "FAILED: $f"; done
echo "$SECONDS s"
echo "$N_PASSED passed, $N_FAILED failed"
[ "$N_FAILED" = 0 ] && [ "$N_PASSED" -gt 0 ]
