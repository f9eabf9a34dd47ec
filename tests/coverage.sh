#!/usr/bin/env bash
# coverage.sh [PERCENT]: line coverage of libagent/tpm, the key-file parser among it, by its unit tests, the replay of its
# fuzz corpora and its tests against a software TPM that need no agent (a program in its sandbox cannot write down what it
# ran, so tests/e2e/11, 12, 15 and most of 16 do not count here). Prints a table; exit 1 below PERCENT (90) in all or for the key file.
#   TEST_DIR   where to build, as for tests/run.sh; the build is in TEST_DIR/coverage
set -u
SOURCE=$(cd "$(dirname "$0")/.." && pwd)
TEST_DIR=${TEST_DIR:-$SOURCE/build}
limit=${1:-90}
build=$TEST_DIR/coverage
mkdir -p "$build" && cd "$build" || exit 1
[ -e Makefile ] || "$SOURCE/configure" -q --enable-coverage --disable-hardening CFLAGS='-g -O0' --prefix="$build/inst" || exit 1

live="tests/tpm/test_tpm_live tests/tpm/test_seal_live tests/tpm/test_attest_live"
unit="test_attest test_connection test_keyfile test_policy test_rc test_sealfile"
fuzz="keyfile sealfile statement tpm"
targets="libagent-internal.la $live libtss2-tcti-fault.la"
for t in $unit; do targets="$targets tests/unit/$t"; done
for t in $fuzz; do targets="$targets tests/fuzz/fuzz_$t"; done
# shellcheck disable=SC2086
make -s -j"$(nproc)" $targets > build.log 2>&1 || { tail -n 20 build.log; exit 1; }
find libagent -name '*.gcda' -delete
bad=0
run() { # "what" COMMAND...
  local what=$1 code
  shift
  "$@" > run.log 2>&1
  code=$?
  if [ "$code" = 0 ]; then echo "ok - $what"; else echo "not ok - $what: exit $code"; grep -E '^not ok|SKIP' run.log; bad=1; fi
}
for t in $unit; do run "tests/unit/$t" env srcdir="$SOURCE" "tests/unit/$t"; done
for t in $fuzz; do run "corpus of $t" "tests/fuzz/fuzz_$t" "$SOURCE/tests/fuzz/corpus/$t"/*; done
for t in 10-tpm 13-seal 14-evidence 16-keys; do run "tests/e2e/$t.sh" env LIBRARY_ONLY=1 BUILD="$build" bash "$SOURCE/tests/e2e/$t.sh"; done

printf '\n%-34s %8s %8s %9s\n' "file" lines run percent
for f in "$SOURCE"/libagent/tpm/*.c; do
  name=$(basename "$f" .c)
  notes=$(find libagent/tpm -name "*-$name.gcno" | head -n 1)
  [ -n "$notes" ] || continue
  gcov -n -o "$(dirname "$notes")" "$notes" 2> /dev/null |
    awk -v n="libagent/tpm/$name.c" 'index($0, "File '\''") && index($0, n) { hit = 1; next }
      hit && /^Lines executed/ { sub("Lines executed:", ""); split($0, a, "% of "); printf "%s %d %.0f %.1f\n", n, a[2], a[1] * a[2] / 100, a[1]; exit }'
done > table
awk -v limit="$limit" '{ printf "%-34s %8d %8d %8.1f%%\n", $1, $2, $3, $4; lines += $2; ran += $3; if ($1 ~ /keyfile/) key = $4 }
  END { all = lines > 0 ? 100 * ran / lines : 0; printf "%-34s %8d %8d %8.1f%%\n", "all", lines, ran, all
        if (all < limit || key < limit) { print "below " limit " %"; exit 1 } }' table || bad=1
exit "$bad"
