#!/bin/sh
# House rules a reader should not have to check: licence line, length, unfinished marks, file endings.
srcdir=${srcdir:-.}
cd "$srcdir" || exit 99
status=0
list=$(mktemp)
trap 'rm -f "$list"' EXIT
find libagent agentd tests examples \( -name '*.c' -o -name '*.h' -o -name '*.def' \) ! -path '*/.*' ! -name 'www_*.c' > "$list"
while read -r f; do
  head -n 2 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || { echo "FAIL: $f has no SPDX line"; status=1; }
  n=$(wc -l < "$f")
  [ "$n" -le 800 ] || { echo "FAIL: $f has $n lines: does it hold two ideas?"; status=1; }
done < "$list"
marks='TO''DO|FIX''ME|XX''X'
if grep -rnE "$marks" libagent agentd tests examples docs --include='*.[ch]' --include='*.sh' --include='*.md' --include='*.def' | grep -v 'XXXX'; then
  echo "FAIL: unfinished marks"
  status=1
fi
exit $status
