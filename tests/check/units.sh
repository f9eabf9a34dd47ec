#!/bin/sh
# Unit files: systemd finds nothing to say about them, and their exposure (systemd-analyze security) gets no worse.
command -v systemd-analyze > /dev/null || exit 77
systemd-analyze security --help 2> /dev/null | grep -q -- --offline || exit 77
srcdir=${srcdir:-.}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
status=0

# verify wants the programs to exist, so the units are given some; a missing man page is the installation's business.
mkdir "$tmp/units"
for u in "$srcdir"/systemd/*.socket "$srcdir"/systemd/*.service systemd/*.service; do
  sed -e 's|^ExecStart=.*|ExecStart=/bin/true|' -e '/^Documentation=/d' "$u" > "$tmp/units/${u##*/}"
done
cat > "$tmp/units/network-online.target" << 'UNIT'
[Unit]
Description=Network is online
UNIT
for u in "$tmp"/units/agentd*; do
  said=$(SYSTEMD_UNIT_PATH="$tmp/units:" systemd-analyze verify "$u" 2>&1)
  if [ -n "$said" ]; then
    echo "FAIL: systemd-analyze verify ${u##*/}:"
    echo "$said"
    status=1
  fi
done

# Unit and the highest exposure it may have, in tenths.
while read -r unit limit; do
  if ! out=$(systemd-analyze security --offline=true --no-pager --threshold="$limit" "systemd/$unit" 2>&1); then
    echo "FAIL: $unit is more exposed than $limit/10:"
    echo "$out" | grep -E '✗|Overall'
    status=1
  fi
done << 'LIMITS'
agentd.service 10
agentd-mgmt.service 17
agentd-link.service 19
agentd-fetch.service 17
agentd-install.service 10
agentd-script.service 10
agentd-health.service 66
LIMITS

if command -v systemd-sysusers > /dev/null; then
  said=$(systemd-sysusers --root="$tmp" --dry-run "$(cd "$srcdir" && pwd)/systemd/agentd.sysusers" 2>&1 | grep -v '^Creating\|^Would')
  if [ -n "$said" ]; then
    echo "FAIL: systemd-sysusers: $said"
    status=1
  fi
fi
grep -q '@[a-z]*dir@' systemd/*.service systemd/agentd.tmpfiles && { echo "FAIL: a folder was not filled in"; status=1; }
exit $status
