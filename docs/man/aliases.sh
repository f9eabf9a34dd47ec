#!/bin/sh
# aliases.sh install|uninstall MANDIR PAGE...: one ".so" file for each further function in a page's NAME section, so that
# "man agent_key_load" finds agent_key(3).
set -eu
action=$1
dir=$2/man3
shift 2
for page; do
  base=$(basename "$page")
  case $base in *.3) ;; *) continue ;; esac
  for name in $(awk '/^\.S[Hh] NAME/ { on = 1; next } /^\.S[Hh]/ { on = 0 } on' "$page" | grep -o 'agent_[a-z0-9_]*' | sort -u); do
    [ "$name.3" != "$base" ] || continue
    case $action in
      install) printf '.so man3/%s\n' "$base" > "$dir/$name.3" && chmod 644 "$dir/$name.3" ;;
      uninstall) rm -f "$dir/$name.3" ;;
    esac
  done
done
