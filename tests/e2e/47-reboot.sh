#!/usr/bin/env bash
# shellcheck disable=SC2317,SC2015
# The restart of the device into an update that nobody stood by for: announced, held back by a program, put off, asked for by a person; and once for each release.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl cpio jq pkg-config make
. "$(dirname "$0")/offers.sh"

# What stands after "agentd --supervise" in a start script: "[ $? != 10 ] || reboot".
mkdir -p "$LAB/bin"
printf '#!/bin/sh\necho restarted >> "%s/restarts"\n' "$LAB" > "$LAB/bin/reboot"
chmod 755 "$LAB/bin/reboot"
: > "$LAB/restarts"
n_restarts() { wc -l < "$LAB/restarts"; }
ended() { ! kill -0 "$AGENT_PID" 2> /dev/null; }
start_script_goes_on() {
  local code
  wait_for 100 ended || { not_ok "$1: the agent still runs: $(status | jq -c .)"; return; }
  wait "$AGENT_PID"
  code=$?
  AGENT_PID=
  is "$1" "$code" 10
  [ "$code" != 10 ] || "$LAB/bin/reboot"
}

HOLD=$LAB/hold
succeeds "the example builds from the installed package" example_make "$HOLD" hold-app
chmod 755 "$HOLD"
ROOT=; [ "$(id -u)" != 0 ] || ROOT=1
APP_UID=$(id -u); [ -z "$ROOT" ] || APP_UID=$(id -u nobody)
as_uid() { local u=$1; shift; if [ -n "$ROOT" ]; then setpriv --reuid "$u" --regid "$u" --clear-groups -- "$@"; else "$@"; fi; }
app() { as_uid "$APP_UID" timeout 60 "$HOLD/hold-app" -s "$RUN/vendor.sock" "$@"; }
said() { "$@" 2>&1; }

# A window that is closed for days, whatever the time of the test; the zone is UTC.
CLOSED="$(LC_ALL=C date -u -d '+3 days' +%a | tr 'A-Z' 'a-z') 02:00-04:00"
settings() { # REBOOT HOLD-SECONDS
  echo "update: { reboot = \"$1\"; reboot_notice_s = 2; reboot_holders = [ \"uid:$APP_UID\" ]; reboot_hold_s = $2; windows = [ \"$CLOSED\" ]; clock_file = \"\"; };"
}
restart() { lab_agent_stop; lab_config "$(settings "$@")"; lab_agent_start; }

head -c 1M /dev/urandom > "$LAB/image"
lab_up "$(settings at-once 600)"
set_password
serve

# ---- held back, put off
like "before anything is installed, a program hears so" "$(said app look)" '^nothing waits for a restart; it can be held back for 600 s$'
[ -z "$ROOT" ] || like "one that is not named may not hold a restart back" "$(said as_uid "$(id -u daemon)" "$HOLD/hold-app" -s "$RUN/vendor.sock" hold 60)" '\(update\.hold\)$'
[ -z "$ROOT" ] || succeeds "  but look" as_uid "$(id -u daemon)" "$HOLD/hold-app" -s "$RUN/vendor.sock" look
exits "there is nothing to restart for" 5 ctl update reboot
succeeds "a machine begins its work" app hold 500
publish one.swu 2.0 1
succeeds "an update is offered" ctl update offer "$URL/one.swu"
becomes "it is installed, and the machine works on" stage=trying reboot=at-once reboot_waits_for=held "reboot_held_by=uid:$APP_UID"
succeeds "which is recorded" has_event update.reboot_held by "uid:$APP_UID"
like "the program hears of it" "$(said app look)" '^the restart into release release-2\.0 waits for: held, 0 s; it can be held back for [0-9]+ s$'
succeeds "a person puts it off" ctl update postpone 1
succeeds "the work is done" app hold 0
becomes "it waits for the person" reboot_waits_for=postponed reboot_postpones_left=2
restart at-once 600
becomes "also when the agent was restarted" stage=trying reboot_waits_for=postponed reboot_postpones_left=2
is "nothing has restarted the device so far" "$(n_restarts)" 0

# ---- a person asks; nobody listens, then the supervisor does
mv "$RUN/reboot.sock" "$LAB/reboot.sock"
succeeds "a person asks for the restart, and nobody listens" ctl update reboot
becomes "which the status says" reboot_error_name=update.reboot stage=trying
succeeds "and the events" has_event update.reboot_failed release release-2.0
mv "$LAB/reboot.sock" "$RUN/reboot.sock"
succeeds "asked for once more" ctl update reboot
start_script_goes_on "the agent ends with the code for a reboot"
lab_boot
lab_agent_start
is "the new system runs" "$(field booted_slot) $(field stage) $(field reboot_waits_for)" "b trying null"
succeeds "who wanted it is recorded" has_event update.reboot release release-2.0
succeeds "it is kept" ctl update confirm

# ---- by itself, announced, once
publish two.swu 3.0 2
# Who cannot keep that he asked would ask after each restart.
chmod 500 "$LAB/state/update"
succeeds "the next one is offered" ctl update offer "$URL/two.swu"
becomes "a restart that cannot be kept is not asked for" stage=trying reboot_error_name=update.reboot reboot_waits_for=retry
succeeds "which is an event" has_event update.reboot_failed release release-3.0
is "the agent has stayed" "$(n_restarts)" 1
chmod 700 "$LAB/state/update"
kept() { grep -q '^reboot_release=release-3.0$' "$LAB/state/update/offer"; }
if wait_for 60 kept; then ok "it is kept as soon as it can be"; else not_ok "not kept: $(cat "$LAB/state/update/offer")"; fi
restart at-once 600
start_script_goes_on "nobody holds it back: the agent ends with the code for a reboot"
is "the device was restarted twice" "$(n_restarts)" 2
lab_agent_start
becomes "a boot loader that does not switch makes no loop: it was asked for once" stage=trying booted_slot=b reboot_waits_for=asked
succeeds "it was announced" has_event update.reboot_due in_s 2
fails "what was asked for is not put off" ctl update postpone 1
is "the agent stays" "$(n_restarts)" 2
lab_reboot
succeeds "once it switches, the release is kept" ctl update confirm

# ---- a hold has an end
restart at-once 4
succeeds "a program that never says it is done" app hold 500
publish three.swu 4.0 3
succeeds "another one is offered" ctl update offer "$URL/three.swu"
start_script_goes_on "the device restarts when the time to hold it back is used up"
lab_boot
lab_agent_start
succeeds "  and had been held back" has_event update.reboot_held release release-4.0
succeeds "kept" ctl update confirm
holds() { app hold 1 > /dev/null 2>&1; }
if wait_for 60 holds; then ok "for the next release there is as much time again"; else not_ok "no time is left for the next release: $(said app hold 1)"; fi

# ---- what a person installs; and a window
publish four.swu 5.0 3
succeeds "a person installs one himself" ctl update install "$LAB/bundles/5.0.swu"
becomes "it waits for a person" stage=trying reboot_waits_for=person
succeeds "taken back" ctl update rollback
restart window 600
head -c 1M /dev/urandom > "$LAB/image"
publish five.swu 6.0 3
succeeds "offered to a device that restarts in its window" ctl update offer "$URL/five.swu"
becomes "it waits for the window" stage=trying reboot=window reboot_waits_for=window
is "nobody has restarted it meanwhile" "$(n_restarts)" 3
done_testing
