#!/bin/sh
# docs/troubleshooting.md has a row for every name that an error can have, and names none that there is not.
srcdir=${srcdir:-.}
page=$srcdir/docs/troubleshooting.md
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
LC_ALL=C
export LC_ALL
# Names are whole literals; those of files and sockets, which are left out here, have the same shape.
find "$srcdir/libagent" "$srcdir/agentd" -name '*.[ch]' -exec grep -hoE '"[a-z]+\.[a-z0-9-]+"' {} + | tr -d '"' |
  grep -vxE '[a-z]+\.(sock|log|h)|(agentctl\.token|cert\.pem|cpu\.max|est\.csr|srk\.name|update\.looked)' | sort -u > "$tmp/source"
sed -n '/^## By name/,$p' "$page" | sed -n 's/^| \(`[^|]*\) |.*/\1/p' | grep -oE '`[a-z]+\.[a-z0-9*-]+`' | tr -d '`' > "$tmp/rows"
grep -v '\*$' "$tmp/rows" | sort > "$tmp/names"
sed -n 's/\.\*$//p' "$tmp/rows" | sort > "$tmp/groups"
status=0
[ -s "$tmp/source" ] && [ -s "$tmp/names" ] && [ -s "$tmp/groups" ] || exit 1
grep -vxFf "$tmp/names" "$tmp/source" | while read -r name; do grep -qx "${name%%.*}" "$tmp/groups" || echo "$name"; done > "$tmp/missing"
comm -23 "$tmp/names" "$tmp/source" > "$tmp/gone"
# What happens to a bundle is the same on each device and not left to a row for the rest.
grep -E '^(update|slot|boot)\.' "$tmp/source" | grep -vxFf "$tmp/names" | grep -vxE 'update\.(answer|argument|failed|hash-engine|id|memory|offer-move|options|report|start)' > "$tmp/own"
sort "$tmp/rows" | uniq -d > "$tmp/twice"
for what in missing:"no row in docs/troubleshooting.md" gone:"in docs/troubleshooting.md, but nothing has this name" own:"needs a row of its own in docs/troubleshooting.md" \
  twice:"twice in docs/troubleshooting.md"; do
  [ ! -s "$tmp/${what%%:*}" ] || { echo "FAIL: ${what#*:}:"; cat "$tmp/${what%%:*}"; status=1; }
done
exit $status
