#!/bin/sh
# demo-bootloader.sh ENV: what a boot loader does at power-on, on the text environment of the boot backend "file"
# (docs/design/update.md). Prints the slot that boots. Picks the primary slot if it is good or has tries left, counts a
# try down before it "jumps", otherwise falls back to the other slot if that one is good. Exit 1: nothing boots.
# A missing ENV is made as the factory would: slot a is good and runs. DEMO_SLOTS="a b" names the slots.
set -eu
[ $# = 1 ] || { echo "usage: $0 ENV" >&2; exit 2; }
env=$1
slots=${DEMO_SLOTS:-a b}

get() { sed -n "s/^$1=//p" "$env" | tail -n 1; }

# One write, like a redundant environment: the new file is whole before it takes the name of the old one.
replace() {
  tmp=$(dirname "$env")/.$(basename "$env").boot
  cat > "$tmp"
  sync "$tmp"
  mv "$tmp" "$env"
  sync "$(dirname "$env")"
}

if [ ! -e "$env" ]; then
  {
    first=1
    for s in $slots; do
      [ "$first" = 0 ] || printf 'primary=%s\nbooted=%s\n' "$s" "$s"
      printf 'slot.%s.good=%s\nslot.%s.tries_left=0\nslot.%s.security_version=0\n' "$s" "$first" "$s" "$s"
      first=0
    done
  } | replace
fi

primary=$(get primary)
choice=
for s in "$primary" $slots; do
  if [ "$(get "slot.$s.good")" = 1 ]; then
    choice=$s
    break
  fi
  tries=$(get "slot.$s.tries_left")
  if [ "$s" = "$primary" ] && [ "${tries:-0}" -gt 0 ]; then
    choice=$s
    sed "s/^slot\.$s\.tries_left=.*/slot.$s.tries_left=$((tries - 1))/" "$env" | replace
    break
  fi
done
[ -n "$choice" ] || { echo "no slot can be booted" >&2; exit 1; }
if [ "$(get booted)" != "$choice" ]; then
  { sed '/^booted=/d' "$env"; echo "booted=$choice"; } | replace
fi
echo "$choice"
