#!/usr/bin/env bash
# coverage.sh [PERCENT] [tpm|update]: line coverage of one part by its unit tests and the replay of its fuzz corpora. Prints a table; exit 1
# below PERCENT (90).
#   tpm      libagent/tpm, the key-file parser among it, with its tests against a software TPM that need no agent (a program in its
#            sandbox cannot write down what it ran, so tests/e2e/11, 12, 15 and most of 16 do not count here): the key file and the rest
#   update   what reads bundles and boot environments: archive, manifest in both syntaxes, CMS and its policy, envelopes, chunk tables, environments,
#            service tickets, tar archives: each of these eight
#   TEST_DIR   where to build, as for tests/run.sh; the build is in TEST_DIR/coverage
set -u
SOURCE=$(cd "$(dirname "$0")/.." && pwd)
TEST_DIR=${TEST_DIR:-$SOURCE/build}
limit=${1:-90}
part=${2:-tpm}
build=$TEST_DIR/coverage
mkdir -p "$build" && cd "$build" || exit 1
[ -e Makefile ] || "$SOURCE/configure" -q --enable-coverage --disable-hardening CFLAGS='-g -O0' --prefix="$build/inst" || exit 1

case $part in
  tpm)
    live="tests/tpm/test_tpm_live tests/tpm/test_seal_live tests/tpm/test_attest_live libtss2-tcti-fault.la"
    unit="test_attest test_connection test_keyfile test_policy test_rc test_sealfile"
    fuzz="keyfile sealfile statement tpm"
    scripts="10-tpm 13-seal 14-evidence 16-keys"
    files=$(cd "$SOURCE" && for f in libagent/tpm/*.c; do g=libagent/tpm; [ "$f" != libagent/tpm/keyfile.c ] || g=keyfile; echo "$f:$g"; done)
    ;;
  update)
    live=
    unit="test_container test_manifest test_manifest_stock test_cms test_cms_trust test_cms_command test_cms_raw test_trust test_update test_update_cuts test_update_faults test_boot test_boot_loaders test_mutations test_envelope test_ticket test_tar test_ubivol"
    fuzz="container manifest cms chunks bootenv envelope ticket tar"
    scripts=
    files="libagent/update/container.c:container libagent/update/syntax.c:manifest libagent/update/fields.c:manifest libagent/update/lookup.c:manifest
      libagent/update/manifest.c:manifest libagent/update/manifest_stock.c:manifest libagent/crypto/cms.c:CMS libagent/crypto/cms_trust.c:CMS
      libagent/crypto/cms_raw.c:CMS libagent/crypto/envelope.c:envelope libagent/crypto/envelope_key.c:envelope libagent/update/content_key.c:envelope libagent/update/trust.c:CMS libagent/update/verify.c:CMS libagent/update/stream.c:chunks libagent/update/cipher.c:chunks libagent/update/filter.c:chunks
      libagent/update/boot.c:environment libagent/update/boot_efi.c:environment libagent/update/boot_file.c:environment libagent/update/boot_grub.c:environment
      libagent/update/boot_script.c:environment libagent/update/boot_systemd.c:environment libagent/update/boot_uboot.c:environment libagent/update/lines.c:environment
      libagent/update/ticket.c:ticket libagent/update/tar.c:tar"
    ;;
  *) echo "usage: coverage.sh [PERCENT] [tpm|update]" >&2; exit 2 ;;
esac
targets="libagent-internal.la $live"
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
for t in $scripts; do run "tests/e2e/$t.sh" env LIBRARY_ONLY=1 BUILD="$build" bash "$SOURCE/tests/e2e/$t.sh"; done

printf '\n%-34s %8s %8s %9s\n' "file" lines run percent
for pair in $files; do
  f=${pair%%:*}
  notes=$(find libagent -name "*-$(basename "$f" .c).gcno" -path "*$(dirname "$f")/*" | head -n 1)
  [ -n "$notes" ] || { echo "no notes for $f"; bad=1; continue; }
  gcov -n -o "$(dirname "$notes")" "$notes" 2> /dev/null |
    awk -v n="$f" -v g="${pair#*:}" 'index($0, "File '\''") && index($0, n) { hit = 1; next }
      hit && /^Lines executed/ { sub("Lines executed:", ""); split($0, a, "% of "); printf "%s %d %.0f %.1f %s\n", n, a[2], a[1] * a[2] / 100, a[1], g; exit }'
done > table
awk -v limit="$limit" '{ printf "%-34s %8d %8d %8.1f%%\n", $1, $2, $3, $4; lines[$5] += $2; ran[$5] += $3 }
  END { print ""; for (g in lines) { all = 100 * ran[g] / lines[g]; printf "%-34s %8d %8d %8.1f%%\n", g, lines[g], ran[g], all; if (all < limit) low = 1 }
        if (low || NR == 0) { print "below " limit " %"; exit 1 } }' table || bad=1
exit "$bad"
