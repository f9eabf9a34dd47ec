#!/bin/sh
# The example settings for brokers of others are taken by the program that reads them, and docs/endpoints.md shows the same ones.
srcdir=${srcdir:-.}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
status=0
n=0
fail() { echo "FAIL: $*"; status=1; }
for file in "$srcdir"/examples/endpoints/*.conf; do
  name=$(basename "$file")
  n=$((n + 1))
  host=$(sed -n 's/.* host = "\([^"]*\)".*/\1/p' "$file")
  agentd/core/agentd --config "$file" --print-config > "$tmp/out" 2> "$tmp/err" || fail "$name is refused: $(cat "$tmp/err")"
  [ -n "$host" ] && grep -qF "host = \"$host\";" "$tmp/out" || fail "$name: the host is not what the program read"
  # What it does not know it refuses, so that a setting that was renamed cannot stay here.
  sed 's/enable = true;/enable = true; no_such_setting = 1;/' "$file" > "$tmp/bad.conf"
  if agentd/core/agentd --config "$tmp/bad.conf" --print-config > "$tmp/out" 2>&1 || ! grep -q no_such_setting "$tmp/out"; then
    fail "$name: a setting that does not exist is taken"
  fi
  sed -n '/^mqtt/,$p' "$file" > "$tmp/file"
  awk -v mark="examples/endpoints/$name" 'index($0, mark) { on = 1; next } on && /^    / { print substr($0, 5); seen = 1; next } seen { exit }' \
    "$srcdir/docs/endpoints.md" > "$tmp/doc"
  cmp -s "$tmp/file" "$tmp/doc" || { fail "$name is not what docs/endpoints.md shows"; diff "$tmp/file" "$tmp/doc"; }
done
# The file that README.md begins with.
agentd/core/agentd --config "$srcdir/examples/agentd.conf" --print-config > "$tmp/out" 2>&1 && grep -qF 'path = "/dev/mmcblk0p3"' "$tmp/out" ||
  fail "examples/agentd.conf is refused: $(cat "$tmp/out")"
[ "$n" -ge 4 ] || fail "only $n example files"
exit $status
