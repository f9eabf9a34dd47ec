#!/bin/sh
# Symbol map = headers = shared library = man pages.
srcdir=${srcdir:-.}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
lib=./.libs/libagent.so
[ -e "$lib" ] || { echo "FAIL: $lib is not built"; exit 1; }

sed -n 's/^[[:space:]]\{1,\}\(agent_[a-z0-9_]*\);.*/\1/p' "$srcdir/libagent/libagent.sym" | LC_ALL=C sort > "$tmp/map"
LC_ALL=C nm -D --defined-only "$lib" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | LC_ALL=C sort -u > "$tmp/lib"
# A declaration may span lines: join each up to its semicolon, then take the name before the first parenthesis.
cat "$srcdir"/libagent/include/agent/*.h | sed 's@/\*.*\*/@@' | tr '\n\t' '  ' | sed 's@AGENT_EXPORT@\n&@g' |
  sed -n 's@^AGENT_EXPORT[^(;]*[ *]\(agent_[a-z0-9_]*\) *(.*@\1@p' | LC_ALL=C sort -u > "$tmp/headers"
# The NAME section of a page lists what the page documents.
for page in "$srcdir"/docs/man/agent_*.3; do
  awk '/^\.S[Hh] NAME/ { on = 1; next } /^\.S[Hh]/ { on = 0 } on' "$page" | grep -o 'agent_[a-z0-9_]*'
done | LC_ALL=C sort -u > "$tmp/man"

status=0
differ() { # what a b
  if ! diff -u "$2" "$3" > "$tmp/diff"; then
    echo "FAIL: $1"
    sed -n '3,$p' "$tmp/diff" | grep '^[-+]'
    status=1
  fi
}
differ "map (-) and library (+)" "$tmp/map" "$tmp/lib"
differ "map (-) and headers (+)" "$tmp/map" "$tmp/headers"
LC_ALL=C comm -23 "$tmp/map" "$tmp/man" > "$tmp/undocumented"
if [ -s "$tmp/undocumented" ]; then
  echo "FAIL: without a man page:"
  cat "$tmp/undocumented"
  status=1
fi
LC_ALL=C sort -c "$tmp/map" || status=1
[ -s "$tmp/map" ] || status=1
exit $status
