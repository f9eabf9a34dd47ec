#!/usr/bin/env bash
# See the agent do its job, on one machine, with a software TPM, a broker that demands client certificates, and files or
# loop devices as A/B slots. Installs what is missing (Debian 12), builds, runs, stops everything it started.
#
#   examples/quickstart.sh [--dir FOLDER] [--build BUILD_TREE] [--keep]
#
#   --dir FOLDER   where to build and run; made if it is not there, and used again the next time
#   --build TREE   use this build tree (configured with a prefix of its own) instead of building in FOLDER
#   --keep         leave everything running at the end and say how to talk to it
set -u
LAB_SOURCE=$(cd "$(dirname "$0")/.." && pwd)
DIR=
BUILD=
KEEP=0
while [ $# -gt 0 ]; do
  case $1 in
    --dir) DIR=${2:?--dir needs a folder}; shift 2 ;;
    --build) BUILD=${2:?--build needs a build tree}; shift 2 ;;
    --keep) KEEP=1; shift ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "$0: unknown argument $1; see --help" >&2; exit 2 ;;
  esac
done
umask 022
START=$SECONDS
if [ -z "$DIR" ]; then
  # As root the daemons drop to users of their own, who must be able to reach the programs.
  if [ "$(id -u)" = 0 ]; then DIR=/var/tmp/libagent-quickstart; else DIR=$LAB_SOURCE/build/quickstart; fi
fi
mkdir -p "$DIR" || exit 1
if [ ! -O "$DIR" ] || [ -L "$DIR" ]; then echo "$DIR cannot be used: it belongs to somebody else; choose another with --dir" >&2; exit 1; fi
DIR=$(cd "$DIR" && pwd)

BOLD='' DIM='' RED='' GREEN='' PLAIN=''
if [ -t 1 ]; then BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'; fi
SUMMARY=()
N_BAD=0

chapter() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
say() { printf '  %s\n' "$*"; }
# show COMMAND...: print it as a reader could type it, run it, show what it said.
show() {
  printf '  %s$ %s%s\n' "$DIM" "$(shown "$@")" "$PLAIN"
  "$@" > "$LAB/shown" 2>&1
  SHOWN_CODE=$?
  head -n "${SHOW_LINES:-6}" "$LAB/shown" | cut -c1-150 | sed 's/^/      /'
}
# A step that needs a pipe is a function; SHOWN_AS is what a reader would type for it.
shown() {
  local text="${SHOWN_AS:-$*}"
  text=${text//"$AGENTCTL"/agentctl}
  text=${text/#ctl /agentctl }
  text=${text//"$LAB/"/}
  printf '%s' "$text"
}
# claim "what" CONDITION...: one row of the summary.
claim() {
  local what=$1
  shift
  if "$@"; then
    printf '  %sok%s  %s\n' "$GREEN" "$PLAIN" "$what"
    SUMMARY+=("ok    $what")
  else
    printf '  %sFAILED%s  %s\n' "$RED" "$PLAIN" "$what"
    SUMMARY+=("FAIL  $what")
    N_BAD=$((N_BAD + 1))
  fi
}
code_is() { [ "$SHOWN_CODE" = "$1" ]; }
said() { grep -qE -- "$1" "$LAB/shown"; }
slot_hash() { lab_as agentd-install sha256sum "$1" | cut -d' ' -f1; }
field() { ctl --json "$1" ${3:+"$3"} | jq -r "$2"; }

# ---- install, build ------------------------------------------------------------------------------------------------
chapter "1. Packages and build"
"$LAB_SOURCE/examples/install-packages.sh" demo || exit 1
if [ -z "$BUILD" ]; then
  BUILD=$DIR/build
  mkdir -p "$BUILD"
  say "building into $BUILD (log: $DIR/build.log)"
  (
    set -e
    cd "$LAB_SOURCE"
    if [ ! -x configure ] || [ configure.ac -nt configure ]; then autoreconf -fi; fi
    cd "$BUILD"
    # What another checkout left would go on building that one.
    grep -qsx "abs_top_srcdir = $LAB_SOURCE" Makefile || rm -rf "${BUILD:?}"/*
    [ -e Makefile ] || "$LAB_SOURCE/configure" -q --prefix="$BUILD/inst"
    make -s -j"$(nproc)"
    make -s install
  ) > "$DIR/build.log" 2>&1 || { tail -n 20 "$DIR/build.log"; echo "the build failed; the whole log is $DIR/build.log" >&2; exit 1; }
else
  make -s -C "$BUILD" install > "$DIR/build.log" 2>&1 || { tail -n 20 "$DIR/build.log"; exit 1; }
fi
PREFIX=$(sed -n 's/^prefix = //p' "$BUILD/Makefile")
say "$("$PREFIX/bin/agentctl" --version 2> /dev/null | head -n 1), installed in $PREFIX"

# ---- the lab -------------------------------------------------------------------------------------------------------
# shellcheck source=examples/lab.sh
. "$LAB_SOURCE/examples/lab.sh"
LAB=$DIR/lab
finish() {
  local code=$?
  trap - EXIT
  if [ "$KEEP" = 1 ] && [ -n "${AGENT_PID:-}" ]; then
    echo
    echo "Left running (stop with: kill $AGENT_PID $BROKER_PID $TPM_PID):"
    echo "  $AGENTCTL --socket $SOCKET status"
    echo "  https://127.0.0.1:$HTTPS_PORT/   user admin, password: $PASSWORD"
    echo "  logs: $LAB/log, configuration: $CONF"
  else
    lab_stop
  fi
  exit "$code"
}
# What an earlier run left running with --keep, or was killed over, would hold the sockets.
if [ -e "$LAB/pids" ]; then
  # shellcheck disable=SC2046
  kill $(cat "$LAB/pids") 2> /dev/null
  sleep 1
fi
if [ -e "$LAB/loops" ]; then xargs -r -n 1 losetup -d < "$LAB/loops" 2> /dev/null; fi
rm -rf "$LAB"
trap finish EXIT
trap 'exit 130' INT TERM
PASSWORD='walnut ferry 93 lantern'

chapter "2. A gateway leaves the factory"
lab_users
lab_make
lab_pki
if [ "$(id -u)" = 0 ] && losetup --find > /dev/null 2>&1; then LAB_USE_LOOP=1; fi
lab_slots
[ -z "${LAB_LOOPS:-}" ] || echo "$LAB_LOOPS" | tr ' ' '\n' | sed '/^$/d' > "$LAB/loops"
if [ "$(id -u)" = 0 ]; then
  say "running as root: each program drops to its own user (agentd, agentd-mgmt, agentd-link, agentd-install)"
else
  say "not root: all programs run as $(id -un); their sandboxes stay on"
fi
say "slots: a = $SLOT_A, b = $SLOT_B"
lab_tpm_start
say "software TPM (swtpm) at $TCTI"
lab_config
lab_provision
say "provisioned: device key made in the TPM, CSR signed by a demo CA, factory secret for the label: $FACTORY_SECRET"
SHOW_LINES=3 show head -n 2 "$LAB/state/keys/device.pem"
claim "the device key is a TSS2 key file: its private half is readable by this TPM only" said 'BEGIN TSS2 PRIVATE KEY'
lab_broker_start
lab_agent_start
lab_trust_device
echo "$AGENT_PID $BROKER_PID $TPM_PID" > "$LAB/pids"
say "broker (mosquitto, TLS 1.3, client certificates required) on port $BROKER_PORT; agent running"
for p in agentd agentd-mgmt agentd-link; do
  # shellcheck disable=SC2009
  ps -o user:16=,pid=,args= -C "$p" | grep -F -- "$CONF" | sed "s|$PREFIX/||g; s|--config.*||" | sed 's/^/      /'
done

# ---- the job -------------------------------------------------------------------------------------------------------
chapter "3. Nothing works before the owner has set a password"
show ctl status
claim "agentctl status is refused, even for root: exit code 4" code_is 4
show curl -s -o /dev/null -w '%{http_code}\n' --cacert "$LAB/device-ca.crt" --resolve "gw-${LAB_SERIAL,,}.local:$HTTPS_PORT:127.0.0.1" "https://gw-${LAB_SERIAL,,}.local:$HTTPS_PORT/v1/status"
claim "HTTPS without login: 401" said '^401$'
head -c 100000 /dev/zero > "$LAB/bundles/nothing.swu"
show ctl update install "$LAB/bundles/nothing.swu"
claim "an update is refused before its first byte is read: exit code 4" code_is 4
SHOWN_AS="mosquitto_sub --cafile ... --cert operator.pem --key operator.key -t devices/$LAB_SERIAL/telemetry -C 1 -W 2" show lab_subscribe "devices/$LAB_SERIAL/telemetry" 1 2
claim "the device has not connected to the broker" [ "$SHOWN_CODE" != 0 ]

chapter "4. The owner sets the password"
weak() { printf '%s\n%s\n' "$FACTORY_SECRET" 'password1234567' | ctl passwd --stdin; }
change() { printf '%s\n%s\n' "$FACTORY_SECRET" "$PASSWORD" | ctl passwd --stdin; }
old() { printf '%s\n' "$FACTORY_SECRET" | ctl login --stdin; }
SHOWN_AS="printf '%s\n%s\n' $FACTORY_SECRET password1234567 | agentctl passwd --stdin" show weak
claim "a weak password is refused, with the reason" code_is 1
SHOWN_AS="printf '%s\n%s\n' $FACTORY_SECRET '$PASSWORD' | agentctl passwd --stdin" show change
claim "factory secret replaced: the agent is active" [ "$(field status .setup)" = active ]
SHOWN_AS="echo $FACTORY_SECRET | agentctl login --stdin" show old
claim "the factory secret is dead: exit code 3" code_is 3

chapter "5. Telemetry over mTLS with the TPM's key"
SHOWN_AS="mosquitto_sub --cafile ... --cert operator.pem --key operator.key -t devices/$LAB_SERIAL/telemetry -C 1 -W 20" show lab_subscribe "devices/$LAB_SERIAL/telemetry" 1 20
claim "a message arrives at a subscriber" said '"serial":'
SHOW_LINES=2 show grep -m 1 "u'$LAB_SERIAL'" "$BROKER_LOG"
claim "the broker logs the client certificate's name" said "$LAB_SERIAL"
show ctl key list
claim "the key's backend is the TPM" said 'tpm'

chapter "6. A signed update goes into the inactive slot"
head -c 20M /dev/urandom > "$LAB/bundles/rootfs-1.img"
head -c 20M /dev/urandom > "$LAB/bundles/rootfs-2.img"
lab_bundle 1.1.0 "$LAB/bundles/rootfs-1.img" 11
SHOW_LINES=16 show ctl update install "$LAB/bundles/1.1.0.swu"
claim "installed" code_is 0
target=$(field update .target_slot status)
target_path=$SLOT_A
[ "$target" = a ] || target_path=$SLOT_B
claim "slot $target holds exactly the signed bytes" cmp -s -n $((20 * 1024 * 1024)) "$LAB/bundles/rootfs-1.img" "$target_path"
SHOW_LINES=20 show cat "$BOOT_ENV"
say "reboot (a stand-in boot loader reads that file, as U-Boot reads its environment):"
lab_reboot
echo "$AGENT_PID $BROKER_PID $TPM_PID" > "$LAB/pids"
claim "slot $target is running, on trial" [ "$(field update .booted_slot status) $(field update .stage status)" = "$target trying" ]
show ctl update confirm
claim "confirmed" code_is 0
claim "the floor in the TPM rose to 11" [ "$(field status .floor)" = 11 ]

chapter "7. Bad bundles are refused and touch nothing"
other_path=$SLOT_A
[ "$target" = b ] || other_path=$SLOT_B
before=$(slot_hash "$other_path")
boot_before=$(sha256sum < "$BOOT_ENV")
untouched() { [ "$(slot_hash "$other_path")" = "$before" ] && [ "$(sha256sum < "$BOOT_ENV")" = "$boot_before" ]; }
lab_bundle 1.2.0 "$LAB/bundles/rootfs-2.img" 12 stranger
show ctl update install "$LAB/bundles/1.2.0.swu"
claim "signed by somebody else: refused (exit code 8)" code_is 8
claim "slot and boot choice untouched" untouched
lab_bundle 1.0.0 "$LAB/bundles/rootfs-2.img" 10
show ctl update install "$LAB/bundles/1.0.0.swu"
claim "older than the floor: refused (exit code 9)" code_is 9
claim "slot and boot choice untouched" untouched
lab_bundle 1.3.0 "$LAB/bundles/rootfs-2.img" 13
cp "$LAB/bundles/1.3.0.swu" "$LAB/bundles/tampered-manifest.swu"
# "se" becomes "rf": the archive's own checksum, a plain sum, does not notice; the signature does.
offset=$(grep -abo 'security-version' "$LAB/bundles/tampered-manifest.swu" | head -n 1 | cut -d: -f1)
printf 'rf' | dd of="$LAB/bundles/tampered-manifest.swu" bs=1 seek="$offset" conv=notrunc status=none
show ctl update install "$LAB/bundles/tampered-manifest.swu"
refused_by_signature() { code_is 8 && said "signed other bytes"; }
claim "manifest changed: refused by its signature (exit code 8)" refused_by_signature
claim "slot and boot choice untouched" untouched
cp "$LAB/bundles/1.3.0.swu" "$LAB/bundles/tampered-payload.swu"
printf 'TAMPERED' | dd of="$LAB/bundles/tampered-payload.swu" bs=1 seek=$((10 * 1024 * 1024)) conv=notrunc status=none
SHOW_LINES=16 show ctl update install "$LAB/bundles/tampered-payload.swu"
claim "payload changed in the middle: refused" code_is 8
spared() { ! lab_as agentd-install grep -q TAMPERED "$other_path"; }
claim "not one byte of the tampered chunk reached the slot" spared
claim "the running slot is still the one that boots" [ "$(field update .booted_slot status)" = "$target" ]

chapter "8. Guessing passwords"
guess() {
  local i code
  for i in $(seq 15); do
    code=$(curl -s -o /dev/null -w '%{http_code}' --cacert "$LAB/device-ca.crt" --resolve "gw-${LAB_SERIAL,,}.local:$HTTPS_PORT:127.0.0.1" \
      -H 'Content-Type: application/json' -d "{\"user\":\"admin\",\"password\":\"guess number $i\"}" "https://gw-${LAB_SERIAL,,}.local:$HTTPS_PORT/v1/session")
    echo "$code"
  done | sort | uniq -c
}
SHOWN_AS="for i in \$(seq 15); do curl -d '{\"user\":\"admin\",\"password\":\"guess number \$i\"}' https://.../v1/session; done | sort | uniq -c" show guess
claim "after a few 401s a guesser gets 429" said ' 429$'
owner() { printf '%s\n' "$PASSWORD" | ctl login --stdin; }
sleep 3 # after a restart with failures on the count, local logins too wait three seconds
SHOWN_AS="echo '$PASSWORD' | agentctl login --stdin" show owner
claim "the owner still logs in" code_is 0
SHOW_LINES=5 show ctl events --limit 5
seen() { ctl events --limit 200 | grep -q session.failed; }
claim "and finds the attempts in the event log" seen

chapter "Summary ($((SECONDS - START)) s)"
for row in "${SUMMARY[@]}"; do printf '  %s\n' "$row"; done
echo
if [ "$N_BAD" -gt 0 ]; then
  echo "$N_BAD of ${#SUMMARY[@]} steps failed; logs are in $LAB/log" >&2
  exit 1
fi
echo "All ${#SUMMARY[@]} steps did what they should. Everything is in $DIR; logs in $LAB/log."
