#!/usr/bin/env bash
# run.sh MINUTES [TARGET...]: each fuzz target for that long, one after the other, at the lowest priority; begins with the corpus in the
# tree. Needs a build tree of its own:  CC=clang ./configure --enable-fuzzing --enable-sanitizers CFLAGS='-g -O1'  in a folder, BUILD names it.
#   BUILD      that folder; default .
#   FUZZ_WORK  where inputs, findings and logs go; default BUILD/fuzz-work. A second run goes on with the inputs of the first.
# Without targets: those of the update engine. Exit 1 if there was a finding; it lies in FUZZ_WORK/TARGET.finding-*.
set -eu
minutes=${1:?usage: run.sh MINUTES [TARGET...]}
shift
case $minutes in '' | *[!0-9]*) echo "run.sh: \"$minutes\" is no number of minutes" >&2; exit 2 ;; esac
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-.}
work=${FUZZ_WORK:-$build/fuzz-work}
[ $# -gt 0 ] || set -- container manifest cms chunks bootenv tar
status=0
for name; do
  target=$build/tests/fuzz/fuzz_$name
  make -s -C "$build" "tests/fuzz/fuzz_$name"
  # The replay driver does not know this option.
  "$target" -help=1 2>&1 | grep -q max_total_time ||
    { echo "run.sh: $target was built without --enable-fuzzing" >&2; exit 2; }
  mkdir -p "$work/$name"
  if nice -n 19 "$target" -max_total_time=$((minutes * 60)) -timeout=25 -rss_limit_mb=2048 -artifact_prefix="$work/$name.finding-" \
    -print_final_stats=1 "$work/$name" "$source_dir/tests/fuzz/corpus/$name" > "$work/$name.log" 2>&1; then
    echo "ok - $name: $minutes minutes, $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log") inputs"
  else
    echo "FAIL: $name: $work/$name.log"
    status=1
  fi
done
exit $status
