#!/usr/bin/env bash
# Guessing passwords on each way in, with a clock that can be put forward: the waits are those of docs/design/login-limits.md,
# and no way has more than 100 guesses between two logins of the owner, whatever is restarted, killed or set in between.
#   GUESSES_CURVE=N  measure the waits after N failures (6)
#   GUESSES_ALL=1  every one of the 100 is made (some minutes); otherwise the count starts at 95 after the first ones
#   --table        print the measured table for docs/design/login-limits.md (with GUESSES_ALL=1)
if [ -z "${AGENT_E2E_NAMESPACE:-}" ] && [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null; then
  AGENT_E2E_NAMESPACE=1 exec unshare -m --propagation private "$0" "$@"
fi
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto jq curl pamtester python3 patchelf
[ -n "${AGENT_E2E_NAMESPACE:-}" ] || { echo "SKIP: needs root and a mount namespace"; exit 77; }
if grep -q '^SAN_CFLAGS = .*address' "$BUILD/Makefile"; then echo "SKIP: the clock cannot be moved under a sanitizer's run time"; exit 77; fi
# shellcheck disable=SC2016 # for make
MODULE=$(make -s -C "$BUILD" --eval='show-pamdir:;@echo $(pamdir)' show-pamdir)/pam_agentd.so
[ -e "$MODULE" ] || { echo "SKIP: built without libpam"; exit 77; }
make -s -C "$BUILD" libboot-clock.la > /dev/null || { echo "SKIP: no libboot-clock.la"; exit 77; }
HERE=$(dirname "$0")
P1=$OWNER_PASSWORD
CURVE=${GUESSES_CURVE:-6} # failures whose waits are measured, from both sides

# ---- a copy of agentd whose clocks can be moved
lab_paths
mkdir -p "$LAB/bin" "$LAB/pam.d"
chmod 755 "$LAB" "$LAB/bin" "$LAB/pam.d"
cp "$AGENTD" "$LAB/bin/agentd"
cp "$BUILD/.libs/libboot-clock.so" "$LAB/bin/"
patchelf --add-needed "$LAB/bin/libboot-clock.so" "$LAB/bin/agentd" || exit 1
# In place, as the agent has it mapped; without a process, as this is done for each guess.
le64() { # NUMBER: its eight bytes for printf, to BYTES
  local v=$1 byte
  BYTES=
  for _ in 1 2 3 4 5 6 7 8; do
    printf -v byte '\\x%02x' $((v & 255))
    BYTES=$BYTES$byte
    v=$((v >> 8))
  done
}
clock() { # SECONDS SINCE BOOT, SECONDS ADDED TO THE TIME OF DAY
  local text
  le64 "$1"
  text=$BYTES
  le64 "$2"
  printf '%b' "$text$BYTES" 1<> "$LAB/bin/clock"
}
head -c 16 /dev/zero > "$LAB/bin/clock"
chmod 644 "$LAB/bin/clock"
BOOT=100
DAY=0
clock $BOOT 0
forward() { BOOT=$((BOOT + $1)); clock "$BOOT" "$DAY"; }

USER_UID=23007
for service in sshd sudo login; do
  for kind in auth account; do echo "$kind required $MODULE socket=$RUN/login.sock timeout=20 map=root:admin"; done > "$LAB/pam.d/$service"
done
mount --bind "$LAB/pam.d" /etc/pam.d || { echo "SKIP: no bind mounts"; exit 77; }
lab_up
lab_agent_stop
AGENTD=$LAB/bin/agentd
lab_agent_start
set_password

# ---- the ways in: NAME guess: RESULT is wrong, right or limited; WAIT the seconds said
of_http() { # STATUS HEAD
  case $1 in 401) RESULT=wrong ;; 201) RESULT=right ;; 429) RESULT=limited ;; *) RESULT="status $1" ;; esac
  WAIT=$(sed -n 's/^[Rr]etry-[Aa]fter: \([0-9]*\).*/\1/p' "$2" | tr -d '\r')
}
body() { jq -nc --arg p "$1" '{user: "admin", password: $p}'; }
way_https() {
  sleep 0.25 # requests of a stranger are counted as well, in real time
  https POST /v1/session -D "$LAB/head" -H 'Content-Type: application/json' -d "$(body "$1")" > /dev/null
  of_http "$HTTPS_STATUS" "$LAB/head"
}
way_socket() {
  sleep 0.25
  setpriv --reuid $USER_UID --regid $USER_UID --clear-groups curl -s --max-time 30 --unix-socket "$SOCKET" -X POST -H 'Content-Type: application/json' \
    -D - -o /dev/null -w '\n%{http_code}' -d "$(body "$1")" http://localhost/v1/session > "$LAB/head"
  of_http "$(tail -n 1 "$LAB/head")" "$LAB/head"
}
of_text() { # TEXT
  WAIT=$(sed -n 's/.*Wait \([0-9]*\) s\..*/\1/p' <<< "$1" | head -n 1)
  case $1 in *Wait*) RESULT=limited ;; *'uthentication failure'* | *'wrong user'*) RESULT=wrong ;; *'successfully auth'* | *'status, passwd'*) RESULT=right ;; *) RESULT="$1" ;; esac
}
# What sshd and sudo tell a module: the address of the client, and who called it.
way_ssh() { of_text "$(pamtester -I rhost=192.0.2.9 -I tty=ssh sshd root authenticate <<< "$1" 2>&1)"; }
way_sudo() { of_text "$(pamtester -I ruser=nobody -I tty=/dev/pts/7 sudo root authenticate <<< "$1" 2>&1)"; }
way_console() {
  of_text "$(TALK_TIMEOUT=30 "$HERE/talk.py" "$AGENTCTL" --config "$CONF" --socket "$SOCKET" console <<< $'expect User\nsend admin\nexpect Password:\nsend '"$1"$'\nexpect (wrong user|Wait [0-9]+ s|status, passwd)\nhangup')"
}
failures() { api GET /v1/status | jq -r .login_failures; }
killed() { # PROGRAM: SIGKILL, and it is back with another pid
  local before
  before=$(cat "$RUN/pids/$1")
  kill -KILL "$before"
  wait_for 30 is_back "$1" "$before" || not_ok "$1 did not come back after SIGKILL"
}
is_back() {
  [ "$(cat "$RUN/pids/$1" 2> /dev/null)" != "$2" ] && core_answers || return 1
  https GET /v1/health > /dev/null
  [ "$HTTPS_STATUS" = 200 ]
}
core_answers() { [ "$(api GET /v1/bootstrap | jq -r .state)" = active ]; }
# What the page says, so that it cannot say something else than what happens: the first N waits of its row.
DOC=$LAB_SOURCE/docs/design/login-limits.md
written() { sed -n "s/^| $1 | \([0-9 ]*\) | 100 |\$/\1/p" "$DOC" | cut -d ' ' -f "1-$2"; }

documented_wait() { # WAY N: the table of docs/design/login-limits.md
  local w=$((1 << ($2 > 3 ? ($2 > 15 ? 12 : $2 - 3) : 0)))
  case $1 in
    https | ssh) if [ "$2" -lt 3 ]; then w=0; elif [ "$w" -gt 900 ]; then w=900; fi ;;
    *) if [ "$w" -lt 3 ]; then w=3; elif [ "$w" -gt 60 ]; then w=60; fi ;;
  esac
  echo "$w"
}

# ---- one way: the curve, then everything an attacker may try to get more
guess_all() {
  local way=$1 n=0 want measured='' right=1 tries=0
  while [ "$n" -lt "$CURVE" ]; do
    "way_$way" "guess $n of $way"
    [ "$RESULT" = wrong ] || { right="failure $((n + 1)): $RESULT"; break; }
    n=$((n + 1))
    want=$(documented_wait "$way" "$n")
    if [ "$want" = 0 ]; then
      measured="$measured 0" # the next guess is wrong and not refused, or this ends above
      continue
    fi
    "way_$way" "at once after $n"
    measured="$measured $WAIT"
    [ "$RESULT $WAIT" = "limited $want" ] || { right="after failure $n: $RESULT $WAIT"; break; }
    forward $((want - 1))
    "way_$way" "a second early after $n"
    [ "$RESULT $WAIT" = "limited 1" ] || { right="$((want - 1)) s after failure $n: $RESULT $WAIT"; break; }
    forward 1
  done
  is "$way: the waits are the documented ones:$measured s" "$right" 1
  is "$way: and those of the table in docs/design/login-limits.md" "${measured# }" "$(written "$way" "$CURVE")"
  if [ -z "${GUESSES_ALL:-}" ]; then
    lab_agent_stop
    BOOT=100
    clock $BOOT "$DAY" # the time since boot begins anew, here instead of at 97
    sed -i -e 's/^all .*/all 95/' -e 's/^\(stranger\|user\|console\) [1-9].*/\1 95/' "$LAB/state/accounts/failures"
    lab_agent_start
    n=95
  fi
  while [ "$tries" -lt 250 ]; do
    tries=$((tries + 1))
    case $n in
      95) killed agentd-mgmt ;;
      96) killed agentd ;;
      97) if [ -n "${GUESSES_ALL:-}" ]; then lab_agent_stop; BOOT=100; clock $BOOT "$DAY"; lab_agent_start; fi ;; # the time since boot begins anew
      98) DAY=31536000; clock "$BOOT" $DAY ;;
      99) DAY=-31536000; clock "$BOOT" $DAY ;;
    esac
    forward 901
    "way_$way" "guess $tries of $way"
    if [ "$RESULT" = wrong ]; then n=$((n + 1)); else break; fi
  done
  is "$way: after 100 guesses it is over" "$n $RESULT" "100 limited"
  # The supervisor waits longer each time, so the short run does this once.
  if [ "$way" = https ] || [ -n "${GUESSES_ALL:-}" ]; then
    killed agentd
    killed agentd-mgmt
  fi
  forward 2592000
  "way_$way" "$P1"
  is "$way: a month and the right password do not open it, nor do more crashes" "$RESULT" limited
  DAY=0
  clock "$BOOT" 0
  MEASURED="$MEASURED$way |$measured | $n
"
}
MEASURED=

# Who goes from way to way gets no more: one count for strangers and users.
guess_in_turn() {
  local ways=(https sudo ssh socket) n=0 tries=0
  while [ "$tries" -lt 250 ]; do
    if [ "$n" = 4 ] && [ -z "${GUESSES_ALL:-}" ]; then
      lab_agent_stop
      sed -i 's/^all .*/all 95/' "$LAB/state/accounts/failures"
      lab_agent_start
      n=95
    fi
    forward 901
    "way_${ways[tries % 4]}" "guess $tries"
    tries=$((tries + 1))
    if [ "$RESULT" = wrong ]; then n=$((n + 1)); else break; fi
  done
  is "all four in turn: after 100 guesses it is over" "$n $RESULT" "100 limited"
  for way in "${ways[@]}"; do
    forward 901
    "way_$way" "$P1"
    is "$way is closed by what came on the others" "$RESULT" limited
  done
}

login_known() {
  https POST /v1/session -H 'Content-Type: application/json' -H "Cookie: __Host-agentd-device=$COOKIE" -d "$(body "$P1")" > /dev/null
}
way_https "$P1"
is "the owner logs in" "$RESULT" right
COOKIE=$(sed -n 's/^[Ss]et-[Cc]ookie: __Host-agentd-device=\([^;]*\);.*/\1/p' "$LAB/head" | tr -d '\r')
for way in https ssh sudo socket; do
  guess_all $way
  if [ $way = https ]; then
    way_socket "$P1"
    is "and so is another user of the machine: one count" "$RESULT" limited
    api GET /v1/status > /dev/null
    is "root on the socket is not shut out" "$API_STATUS" 200
    way_console "$P1"
    is "nor the console" "$RESULT" right
    is "whose login opens everything" "$(failures)" 0
    way_https "$P1"
    is "also for strangers" "$RESULT" right
  else
    sleep 1
    login_known
    is "the owner's browser is not shut out, and opens everything" "$HTTPS_STATUS $(failures)" "201 0"
  fi
done
guess_in_turn
sleep 1
login_known
is "the owner's browser is not shut out by that either" "$HTTPS_STATUS $(failures)" "201 0"
guess_all console
sleep 1
login_known
is "the owner's browser opens the console again" "$HTTPS_STATUS $(failures)" "201 0"
way_console "$P1"
is "for the right password" "$RESULT" right
succeeds "an old password of the owner opens nothing: changed by agentctl" ctl passwd --stdin < <(printf '%s\n%s\n' "$P1" 'otter biscuit 41 harbour')
for way in https ssh sudo socket console; do
  forward 1000
  "way_$way" "$P1"
  is "$way: the old password is dead" "$RESULT" wrong
done
if [ "${1:-}" = --table ]; then
  echo "| way | measured wait after failure 1, 2, 3 ... (s) | guesses until it was closed |"
  echo "|---|---|---|"
  printf '%s' "$MEASURED" | sed 's/^/| /; s/$/ |/'
fi
done_testing
