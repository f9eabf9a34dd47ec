#!/usr/bin/env bash
# A new release confirms itself when it is healthy and is rolled back when it is not: commands, broker connection, deadline.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto cpio jq
CHECKS=$LAB/checks

health_config() { # COMMANDS [more of the group]
  lab_agent_stop
  lab_config "health: { deadline_s = 5; command_timeout_s = 2; commands = [ $1 ]; ${2:-} };"
  lab_agent_start
}
# As root at boot, without anybody's session.
health() { XDG_RUNTIME_DIR=$LAB/nobody "$AGENTCTL" --config "$CONF" update health; }
field() { ctl --json update status | jq -r ".$1"; }
online() { [ "$(ctl --json status | jq -r .link_state)" = online ]; }
try_release() { # N: installed, rebooted into, agent up
  lab_bundle "$1.0" "$LAB/bundles/image" "$2"
  ctl update install "$LAB/bundles/$1.0.swu" > "$LAB/out" 2>&1 || not_ok "installing $1: $(cat "$LAB/out")"
  lab_reboot
}

lab_up
succeeds "before the owner has set a password there is nothing to try, and nothing to reboot for" health
set_password
mkdir -p "$CHECKS"
head -c 1M /dev/urandom > "$LAB/bundles/image"
printf '#!/bin/sh\ntest -e "%s/$1"\n' "$CHECKS" > "$CHECKS/has"
printf '#!/bin/sh\nsleep 600 & echo $! > "%s/sleeper"; wait\n' "$CHECKS" > "$CHECKS/hang"
chmod 755 "$CHECKS" "$CHECKS/has" "$CHECKS/hang"

health_config "\"$CHECKS/has up\""
succeeds "with no release under trial there is nothing to do" health
try_release 1 1
is "a release is tried" "$(field stage)" trying
(sleep 2; touch "$CHECKS/up") &
succeeds "it is confirmed once the check passes and the broker is reached" health
is "and good" "$(field stage) $(field booted_slot) $(field floor)" "idle b 1"
succeeds "again: nothing to do" health

try_release 2 2
rm "$CHECKS/up"
exits "a check that never passes: rolled back after the deadline" 10 health
is "the release is remembered" "$(field stage) $(field failed_release_id)" "failed release-2.0"
lab_reboot
is "and the old slot runs, with the floor as it was" "$(field booted_slot) $(field floor)" "b 1"
exits "the failed release is not installed again" 8 ctl update install "$LAB/bundles/2.0.swu"
succeeds "the old slot has nothing to confirm" health

health_config "\"$CHECKS/hang\""
try_release 3 2
exits "a check that hangs counts as failed" 10 health
sleeper=$(cat "$CHECKS/sleeper")
gone() { ! kill -0 "$sleeper" 2> /dev/null; }
succeeds "and what it started was killed" wait_for 20 gone
lab_reboot

health_config "\"relative/path\""
try_release 4 2
exits "a command without an absolute path is not run" 10 health
lab_reboot

health_config ""
lab_broker_stop
try_release 5 2
exits "no broker: rolled back" 10 health
lab_reboot
health_config "" "mqtt = false;"
try_release 6 2
succeeds "no broker, and none wanted: confirmed" health
is "the floor rose" "$(field floor)" 2

# A date is no security version: said before anything is written, not when the new slot runs and cannot be confirmed.
lab_bundle 7.0 "$LAB/bundles/image" 20261121
before=$(field target_slot)
exits "a jump of the security version that could never be confirmed is refused" 8 ctl update install "$LAB/bundles/7.0.swu"
like "by name" "$(cat "$LAB/out")" "more than 1000 above the floor"
is "before anything was touched" "$(field stage) $(field target_slot)" "idle $before"
# Without systemd the supervisor does it, and says with its own exit code that a reboot is needed.
at_start() { lab_config "health: { at_start = true; deadline_s = ${2:-60}; command_timeout_s = 2; commands = [ \"$1\" ]; mqtt = false; };"; }
lab_bundle 8.0 "$LAB/bundles/image" 2
succeeds "the next release is installed" ctl update install "$LAB/bundles/8.0.swu"
slot=$(field target_slot)
lab_agent_stop
lab_boot
touch "$CHECKS/up"
at_start "$CHECKS/has up"
lab_agent_start
confirmed() { [ "$(field stage) $(field booted_slot)" = "idle $slot" ]; }
succeeds "the supervisor has it confirmed" wait_for 40 confirmed
lab_bundle 9.0 "$LAB/bundles/image" 2
succeeds "one that is not healthy is installed" ctl update install "$LAB/bundles/9.0.swu"
lab_agent_stop
lab_boot
rm "$CHECKS/up"
at_start "$CHECKS/has up" 5
lab_agent_start
ended() { ! kill -0 "$AGENT_PID" 2> /dev/null; }
succeeds "the supervisor ends by itself" wait_for 40 ended
wait "$AGENT_PID"
is "with the code for a reboot" $? 10
AGENT_PID=
lab_boot
at_start "$CHECKS/has up" 5
lab_agent_start
is "the old slot runs, and the release is remembered" "$(field failed_release_id)" release-9.0

# A device that nobody can log in to: no reboot for ever, but a release that is being tried and may have broken it goes.
lab_bundle 10.0 "$LAB/bundles/image" 2
accounts=$LAB/state/accounts
health_config ""
lab_agent_stop
mv "$accounts" "$LAB/accounts"
mkdir -m 700 "$accounts"
lab_own agentd: "$accounts"
lab_agent_start
like "without its record the device is in recovery" "$(api GET /v1/bootstrap)" '"state":"recovery"'
succeeds "in recovery, with no release under trial, nothing is rebooted" health
lab_agent_stop
mv "$LAB/state" "$LAB/state.set-up"
mkdir -m 700 "$LAB/state"
lab_own agentd: "$LAB/state"
lab_agent_start
like "a device on the bench" "$(api GET /v1/bootstrap)" '"state":"unprovisioned"'
succeeds "nor there" health
lab_agent_stop
rm -rf "$LAB/state"
mv "$LAB/state.set-up" "$LAB/state"
rm -rf "$accounts"
mv "$LAB/accounts" "$accounts"
lab_agent_start
old=$(field booted_slot)
try_release 10 2
is "the next release is tried" "$(field stage)" trying
lab_agent_stop
mv "$accounts" "$LAB/accounts"
mkdir -m 700 "$accounts"
lab_own agentd: "$accounts"
lab_agent_start
exits "one that runs while the record is gone is not kept" 10 health
lab_agent_stop
rm -rf "$accounts"
mv "$LAB/accounts" "$accounts"
for _ in 1 2 3 4 5 6; do lab_boot; done
lab_agent_start
is "the boot loader went back to the old slot" "$(field booted_slot)" "$old"
is "and the release is remembered" "$(field failed_release_id)" release-10.0
done_testing
