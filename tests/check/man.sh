#!/bin/sh
# mandoc has nothing to say against the man pages, and the pages of ours that they refer to are there.
srcdir=${srcdir:-.}
command -v mandoc > /dev/null || { echo "SKIP: mandoc is not installed"; exit 77; }
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
status=0
for page in "$srcdir"/docs/man/*.[1-8]; do
  # Whether pages of others are installed here is not our affair.
  said=$(mandoc -T lint -W warning "$page" 2>&1 | grep -v 'mandoc\.db')
  [ -z "$said" ] || { echo "FAIL: $said"; status=1; }
done
for page in "$srcdir"/docs/man/*.[1-8]; do
  sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([^ ]*\).*/\1/p' "$page" | sed "s/\$/ ${page##*.}/"
done | sort -u > "$tmp/pages"
cat "$srcdir"/docs/man/*.[1-8] | sed -n 's/.*\.Xr \([a-z_.-]*agent[a-z0-9_.-]*\) \([1-8]\).*/\1 \2/p; s/^.*No in Xr \(agent[a-z0-9_.-]*\) \([1-8]\).*/\1 \2/p' | sort -u > "$tmp/refs"
for page in "$srcdir"/docs/man/*.[1-8]; do name=${page##*/}; echo "${name%.*} ${name##*.}"; done >> "$tmp/pages"
grep -vxFf "$tmp/pages" "$tmp/refs" > "$tmp/missing" && { echo "FAIL: no such page:"; cat "$tmp/missing"; status=1; }
[ -s "$tmp/refs" ] || status=1
exit $status
