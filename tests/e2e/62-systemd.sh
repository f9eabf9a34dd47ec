#!/usr/bin/env bash
# The units as they are shipped, under a real systemd as PID 1: a container of this machine's own files whose changes stay in memory.
# What happens in there is systemd-inside.sh. MemoryMax= and TasksMax= are not enforced there where the host has cgroup version 1.
. "$(dirname "$0")/lib.sh"
need systemd-nspawn systemctl swtpm mosquitto curl openssl jq ip
[ "$(id -u)" = 0 ] || { echo "SKIP: a container needs root"; exit 77; }
# The supervisor of systemd starts everything itself: LeakSanitizer would need ptrace, which no unit has.
! ldd "$PREFIX/sbin/agentd" | grep -q libasan || { echo "SKIP: the units leave no room for a sanitizer"; exit 77; }

units=$LAB/units
mkdir -p "$units/e2e.target.wants" "$LAB/out" "$LAB/etc" "$PREFIX/etc/agentd"
cp "$PREFIX"/lib/systemd/system/agentd* "$units/"
for unit in "$units"/agentd*.service; do
  mkdir -p "$unit.d"
  # A build tree may lie where units see nothing.
  printf '[Service]\nBindReadOnlyPaths=%s\n' "$PREFIX" > "$unit.d/tree.conf"
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' > "$units/e2e.target"
cat > "$units/e2e.service" << UNIT
[Unit]
After=basic.target
[Service]
Type=oneshot
Environment=PREFIX=$PREFIX SOURCE=$LAB_SOURCE
ExecStart=/bin/bash -c 'exec > /e2e/tap 2>&1; bash $LAB_SOURCE/tests/e2e/systemd-inside.sh || echo \$? > /e2e/code'
ExecStopPost=systemctl --no-block poweroff
UNIT
ln -s ../e2e.service "$units/e2e.target.wants/"

mkdir "$LAB/root"
# The machine's root is seen there only by the container, and read only: nothing that clears up here can reach it. nspawn's own filter of system
# calls hides Landlock.
timeout -k 10 500 unshare --mount --propagation private sh -c 'mount --bind / "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"' - "$LAB/root" systemd-nspawn -q -D "$LAB/root" --volatile=overlay -b --register=no --keep-unit --private-network --console=pipe --system-call-filter=@known \
  --bind-ro="$PREFIX" --bind-ro="$LAB_SOURCE" --bind="$LAB/etc:$PREFIX/etc/agentd" --bind="$LAB/out:/e2e" --bind-ro="$units:/usr/local/lib/systemd/system" \
  systemd.unit=e2e.target > "$LAB/console" 2>&1 < /dev/null
ended=$?
if [ ! -s "$LAB/out/tap" ]; then
  if grep -q 'Failed to\|not permitted' "$LAB/console" && ! grep -q 'Startup finished\|Reached target' "$LAB/console"; then
    echo "SKIP: no container can be started here: $(grep -m 1 'Failed to\|not permitted' "$LAB/console")"
    exit 77
  fi
  not_ok "systemd came up in the container: $(tail -n 5 "$LAB/console")"
  done_testing
fi
while IFS= read -r line; do
  case $line in
    "ok - "*) ok "${line#ok - }" ;;
    "not ok - "*) not_ok "${line#not ok - }" ;;
    *) echo "# $line" ;;
  esac
done < "$LAB/out/tap"
is "the script inside came to its end" "$(cat "$LAB/out/code" 2> /dev/null)" 0
is "the device restarts by itself into what was installed without a person" "$ended" 133
done_testing
