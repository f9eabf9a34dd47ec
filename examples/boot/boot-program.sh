#!/bin/sh
# The vendor's side of boot backend "script", as an example: it keeps the state in the file BOOT_STATE, which the boot loader
# reads (examples/demo-bootloader.sh). Run once per request with the connection as standard input and output, see
# examples/boot/agentd-boot.socket and agentd-boot@.service. docs/design/update.md has the protocol.
set -eu
: "${BOOT_STATE:?BOOT_STATE must name the file}"
fail() { printf 'error %s\nend\n' "$1"; exit 0; }

read -r verb || exit 0
lines=
whole=
while IFS= read -r line; do
  if [ "$line" = end ]; then whole=1; break; fi
  lines="$lines$line
"
done
# A request that was cut short changes nothing.
[ -n "$whole" ] || exit 0

case $verb in
  load)
    if [ -e "$BOOT_STATE" ]; then cat "$BOOT_STATE"; else echo missing; fi
    echo end
    ;;
  store)
    # All or nothing, and on the disk before "ok".
    { printf '%s' "$lines" > "$BOOT_STATE.new" && sync "$BOOT_STATE.new" && mv "$BOOT_STATE.new" "$BOOT_STATE" && sync "$(dirname "$BOOT_STATE")"; } 2> /dev/null ||
      fail "cannot write $BOOT_STATE"
    printf 'ok\nend\n'
    ;;
  *) fail "there is no request $verb" ;;
esac
