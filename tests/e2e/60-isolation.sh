#!/usr/bin/env bash
# Who may touch what: tried on the running programs and from inside each program's sandbox, not assumed.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto ss
lab_up
set_password
wait_for 20 grep -q "u'$LAB_SERIAL'" "$BROKER_LOG" || not_ok "the link came up"
# agentd-install runs on demand: a request for its status starts it.
ctl update status > "$LAB/out" 2>&1 || not_ok "update status: $(cat "$LAB/out")"

pid_of() { cat "$RUN/pids/$1"; }
inet_sockets() {
  local n=0 fd inode
  for fd in /proc/"$1"/fd/*; do
    inode=$(readlink "$fd" | sed -n 's/^socket:\[\([0-9]*\)\]$/\1/p')
    [ -n "$inode" ] || continue
    cat /proc/"$1"/net/{tcp,tcp6,udp,udp6,raw,raw6} 2> /dev/null | awk -v i="$inode" '$10 == i { found = 1 } END { exit !found }' && n=$((n + 1))
  done
  echo "$n"
}
is "agentd has no AF_INET socket" "$(inet_sockets "$(pid_of agentd)")" 0
is "agentd-install has no AF_INET socket" "$(inet_sockets "$(pid_of agentd-install)")" 0
like "agentd-link has one (so the count works)" "$(inet_sockets "$(pid_of agentd-link)")" '^[1-9]'
like "agentd-mgmt has the listener (so the count works)" "$(inet_sockets "$(pid_of agentd-mgmt)")" '^[1-9]'

for p in agentd agentd-mgmt agentd-link agentd-install; do
  status=$(cat "/proc/$(pid_of "$p")/status")
  like "$p: seccomp filter in force" "$status" '^Seccomp:[[:space:]]*2' 
  like "$p: no new privileges" "$status" '^NoNewPrivs:[[:space:]]*1'
  like "$p: no effective capability" "$status" '^CapEff:[[:space:]]*0+$'
  like "$p: no bounding capability that could come back" "$status" '^CapPrm:[[:space:]]*0+$'
  if [ "$(id -u)" = 0 ]; then
    is "$p runs as its own user" "$(awk '/^Uid:/ { print $3 }' <<< "$status")" "$(id -u "$p")"
  fi
done

# From inside: the same binary code path, the same user, then the attempt.
probe() { # PROGRAM USER ACTION -> result word(s)
  lab_as "$2" "$BUILD/tests/e2e/sandbox_probe" "$CONF" "$1" "$3" 2>&1 | sed "s|^$3 ||"
}
# Not "No such file": what is tried must be there, or its refusal would mean nothing.
# A build with sanitizers names the call and leaves instead of being killed.
denied='^(Permission denied|Operation not permitted|killed|sandbox: forbidden system call .*)$'
for f in "$LAB/tpm/state/tpm2-00.permall" "$TPM_SOCKET" "$LAB/state/accounts/current" "$LAB/state/keys/device.pem" "$SLOT_A" "$SLOT_B" "$BOOT_ENV"; do
  [ -e "$f" ] || not_ok "$f is there to be tried"
done
for who in "mgmt agentd-mgmt" "link agentd-link" "fetch agentd-link"; do
  # shellcheck disable=SC2086
  set -- $who
  like "$1 cannot reach the TPM" "$(probe "$1" "$2" "read:$LAB/tpm/state/tpm2-00.permall")" "$denied"
  [ "$(id -u)" != 0 ] || like "$1 cannot connect to the TPM" "$(probe "$1" "$2" "connect:$TPM_SOCKET")" "$denied"
  like "$1 cannot read the accounts" "$(probe "$1" "$2" "read:$LAB/state/accounts/current")" "$denied"
  like "$1 cannot read the key blobs" "$(probe "$1" "$2" "read:$LAB/state/keys/device.pem")" "$denied"
  like "$1 cannot read a slot" "$(probe "$1" "$2" "read:$SLOT_A")" "$denied"
  like "$1 cannot write a slot" "$(probe "$1" "$2" "write:$SLOT_B")" "$denied"
  like "$1 cannot start a program" "$(probe "$1" "$2" exec)" "$denied"
done
like "mgmt cannot open a network connection" "$(probe mgmt agentd-mgmt inet)" "$denied"
like "core cannot open a network socket" "$(probe core agentd inet)" "$denied"
like "install cannot open a network socket" "$(probe install agentd-install inet)" "$denied"
like "core cannot write a slot" "$(probe core agentd "write:$SLOT_B")" "$denied"
like "core cannot write the boot environment" "$(probe core agentd "write:$BOOT_ENV")" "$denied"
like "install cannot read the accounts" "$(probe install agentd-install "read:$LAB/state/accounts/current")" "$denied"
like "core reads its own accounts (so the probe works)" "$(probe core agentd "read:$LAB/state/accounts/current")" '^ok$'
like "link opens a socket (so the probe works)" "$(probe link agentd-link inet)" '^ok$'
done_testing
