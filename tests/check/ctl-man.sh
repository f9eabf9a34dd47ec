#!/bin/sh
# agentctl(1) has every command of the table with its options, and no other.
srcdir=${srcdir:-.}
page=$srcdir/docs/man/agentctl.1
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
LC_ALL=C
export LC_ALL
[ -x ./agentctl ] || { echo "FAIL: ./agentctl is not built"; exit 1; }
# What bash completes: 'words '*) [[ ... ]] || list='--option ...'
./agentctl completion bash > "$tmp/bash" || exit 1
sed -n "s/^ *'\([a-z -]*\) '\*) .*list='\([^']*\)'.*/\1:\2/p" "$tmp/bash" > "$tmp/rows"
[ -s "$tmp/rows" ] || exit 1
sed 's/:.*//' "$tmp/rows" | sort > "$tmp/table"
# ".It Cm key create Ar ...": the words before the first macro.
sed -n 's/^\.It Cm //p' "$page" | sed -E 's/ (Ar|Fl|Oo|Op|Cm|\|) ?.*//; s/ (automatic|bash)$//' | sort -u > "$tmp/man"
status=0
if ! diff -u "$tmp/table" "$tmp/man" > "$tmp/diff"; then
  echo "FAIL: commands of agentctl (-) and of agentctl.1 (+)"
  sed -n '3,$p' "$tmp/diff" | grep '^[-+]'
  status=1
fi
while IFS=: read -r words options; do
  # All items of that command; those of bundles explain options once for all of them.
  awk -v words="$words" '/^\.It Cm / { on = index($0 " ", ".It Cm " words " ") == 1 || (words ~ /^bundle / && $3 == "bundle") } on' "$page" > "$tmp/item"
  for option in $options; do
    case $option in --json | --help) continue ;; esac
    grep -qE -- "Fl (Fl )?$(echo "$option" | sed 's/^--/-?/')( |$)|, -?$(echo "$option" | sed 's/^--//')( |\$)" "$tmp/item" ||
      { echo "FAIL: agentctl.1, $words: nothing of $option"; status=1; }
  done
done < "$tmp/rows"
exit $status
