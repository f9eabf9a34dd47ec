#!/usr/bin/env bash
# run.sh TIME [TARGET...]: each fuzz target for that long, one after the other, at the lowest priority; begins with the corpus in the
# tree. TIME is minutes, or seconds with an s behind: 30, 90s. Needs a build tree of its own:
#   CC=clang ./configure --enable-fuzzing --enable-sanitizers CFLAGS='-g -O1'  in a folder, BUILD names it.
#   BUILD       that folder; default .
#   FUZZ_WORK   where inputs, findings and logs go; default BUILD/fuzz-work. A second run goes on with the inputs of the first.
#   FUZZ_TABLE  a line is added for each target and run, and the sums over all runs are printed at the end; default FUZZ_WORK/runs
# Without targets: those of the update engine. "run.sh 0" runs nothing and prints the sums. Exit 1 if there was a finding in this run; it lies in
# FUZZ_WORK/TARGET.finding-*.
set -eu
usage() { echo "run.sh: \"$1\" is no time: minutes, or seconds with an s behind" >&2; exit 2; }
time=${1:?usage: run.sh TIME [TARGET...]}
shift
case $time in
  *[!0-9]*s | s) usage "$time" ;;
  *s) seconds=${time%s} ;;
  '' | *[!0-9]*) usage "$time" ;;
  *) seconds=$((time * 60)) ;;
esac
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-.}
work=${FUZZ_WORK:-$build/fuzz-work}
mkdir -p "$work"
table=${FUZZ_TABLE:-$work/runs}
[ $# -gt 0 ] || set -- container manifest cms chunks bootenv tar envelope ticket
status=0
TIMEFORMAT='%R %U %S'
for name; do
  [ "$seconds" -gt 0 ] || break
  target=$build/tests/fuzz/fuzz_$name
  make -s -C "$build" "tests/fuzz/fuzz_$name"
  # The replay driver does not know this option.
  "$target" -help=1 2>&1 | grep -q max_total_time ||
    { echo "run.sh: $target was built without --enable-fuzzing" >&2; exit 2; }
  mkdir -p "$work/$name"
  result=ok
  # libconfig loses memory at a syntax error, and a look for leaks after each such input takes 20 times as long as the input: one look at the end.
  leaks=1
  [ "$name" != manifest ] || leaks=0
  { time nice -n 19 "$target" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -detect_leaks=$leaks -artifact_prefix="$work/$name.finding-" \
    -print_final_stats=1 "$work/$name" "$source_dir/tests/fuzz/corpus/$name" > "$work/$name.log" 2>&1; } 2> "$work/$name.time" || result=finding
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log")
  read -r wall user system < "$work/$name.time"
  printf '%s %s %s %s %s %s %s\n' "$(date -u +%FT%TZ)" "$name" "$wall" "$(awk "BEGIN { printf \"%.1f\", $user + $system }")" "${executed:-0}" "$result" \
    "$(git -C "$source_dir" rev-parse --short HEAD 2> /dev/null || echo -)" >> "$table"
  if [ "$result" = ok ]; then
    echo "ok - $name: $wall s, ${executed:-0} inputs"
  else
    echo "FAIL: $name: $work/$name.log"
    status=1
  fi
done
if [ -s "$table" ]; then
  printf '| target | runs | s | CPU s | inputs | runs with a finding |\n|---|---|---|---|---|---|\n'
  awk '
    { runs[$2]++; wall[$2] += $3; cpu[$2] += $4; inputs[$2] += $5; findings[$2] += $6 != "ok" }
    END { for (n in runs) printf "| %s | %d | %d | %d | %.0f | %d |\n", n, runs[n], wall[n], cpu[n], inputs[n], findings[n] }' "$table" | sort
fi
exit $status
