#!/bin/sh
# Run every fuzz target over its corpus. A target without a corpus is an error: it would test nothing.
srcdir=${srcdir:-.}
corpus=$srcdir/tests/fuzz/corpus
status=0
n=0
for target in ./tests/fuzz/fuzz_*; do
  [ -x "$target" ] && [ ! -d "$target" ] || continue
  case $target in *.o | *.c) continue ;; esac
  name=${target##*/fuzz_}
  if [ -z "$(ls -A "$corpus/$name" 2>/dev/null)" ]; then
    echo "FAIL: no corpus for $name"
    status=1
    continue
  fi
  if "$target" "$corpus/$name"/*; then
    echo "ok - $name"
  else
    echo "FAIL: $name"
    status=1
  fi
  n=$((n + 1))
done
[ "$n" -gt 0 ] || exit 77
exit $status
