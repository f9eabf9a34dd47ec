#!/bin/sh
# Every setting of config.def is in agentd.conf(5), with its default, and nothing else is.
srcdir=${srcdir:-.}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
LC_ALL=C
export LC_ALL
sed -n 's/^CFG_[A-Z]*(\([a-z]*\), \([a-z0-9_]*\),.*/\1.\2/p' "$srcdir/agentd/common/config.def" | sort > "$tmp/rows"
sed -n 's/^\.It Va \([a-z]*\.[a-z0-9_]*\).*/\1/p' "$srcdir/docs/man/agentd.conf.5" | sort > "$tmp/man"
status=0
if ! diff -u "$tmp/rows" "$tmp/man" > "$tmp/diff"; then
  echo "FAIL: config.def (-) and agentd.conf.5 (+)"
  sed -n '3,$p' "$tmp/diff" | grep '^[-+]'
  status=1
fi
# CFG_INT(group, name, default, min, max, meaning): "Default D, MIN to MAX" must follow its .It
sed -n 's/^CFG_INT(\([a-z]*\), \([a-z0-9_]*\), \([^,]*\), \([^,]*\), \([^,]*\),.*/\1.\2 Default \3, \4 to \5\./p' \
  "$srcdir/agentd/common/config.def" > "$tmp/ints"
while read -r name text; do
  sed -n "/^\.It Va $name\$/,/^\.It /p" "$srcdir/docs/man/agentd.conf.5" | grep -qF -- "$text" || { echo "FAIL: $name: agentd.conf.5 should say: $text"; status=1; }
done < "$tmp/ints"
[ -s "$tmp/rows" ] && [ -s "$tmp/ints" ] || status=1
exit $status
