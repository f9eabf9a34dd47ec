#!/bin/sh
# The web page has words for every event of events.def, and for no other. Each event has an id of its own.
srcdir=${srcdir:-.}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
LC_ALL=C
export LC_ALL
sed -n 's/^EVENT([A-Z0-9_]*, *"\([^"]*\)".*/\1/p' "$srcdir/agentd/common/events.def" | sort > "$tmp/events"
sed -n '/^const eventWords/,/^};/p' "$srcdir/agentd/mgmt/www/words.js" | grep -o '"[a-z0-9_]*[.][a-z0-9_]*":' | tr -d '":' | sort > "$tmp/words"
if ! diff -u "$tmp/events" "$tmp/words" > "$tmp/diff"; then
  echo "FAIL: events.def (-) and eventWords of www/words.js (+)"
  sed -n '3,$p' "$tmp/diff" | grep '^[-+]'
  exit 1
fi
sed -n 's/^EVENT([^,]*, *"[^"]*", *"\([0-9a-f]*\)".*/\1/p' "$srcdir/agentd/common/events.def" | sort > "$tmp/ids"
twice=$(uniq -d "$tmp/ids")
if [ -n "$twice" ]; then
  echo "FAIL: ids of more than one event in events.def:"
  echo "$twice"
  exit 1
fi
[ -s "$tmp/events" ] && [ "$(wc -l < "$tmp/ids")" = "$(wc -l < "$tmp/events")" ]
