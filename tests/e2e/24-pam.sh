#!/usr/bin/env bash
# pam_agentd in real PAM stacks: pamtester, login, su, sudo, sshd. The factory secret forces a password of one's own; the
# same limits as everywhere; every refusal for its own reason; agentd down, hung or talking nonsense holds nobody up.
# Runs in a mount namespace of its own: pam.d, passwd, shadow, group and sudoers of the machine are not touched.
if [ -z "${AGENT_E2E_NAMESPACE:-}" ] && [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null; then
  AGENT_E2E_NAMESPACE=1 exec unshare -m --propagation private "$0" "$@"
fi
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto jq curl pamtester python3 login su sudo ssh sshd sshpass
[ -n "${AGENT_E2E_NAMESPACE:-}" ] || { echo "SKIP: needs root and a mount namespace"; exit 77; }
# shellcheck disable=SC2016 # for make
MODULE=$(make -s -C "$BUILD" --eval='show-pamdir:;@echo $(pamdir)' show-pamdir)/pam_agentd.so
[ -e "$MODULE" ] || { echo "SKIP: built without libpam"; exit 77; }
HERE=$(dirname "$0")

# A sanitizer in the module needs its run time in the program, which set-user-id programs refuse.
PRELOAD=
if grep -q '^SAN_CFLAGS = .*address' "$BUILD/Makefile"; then
  PRELOAD=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)
  export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
fi

pam_end() {
  [ -z "${SSHD_PID:-}" ] || kill "$SSHD_PID" 2> /dev/null
  [ -z "${CORE_STOPPED:-}" ] || kill -CONT "$CORE_STOPPED" 2> /dev/null
  [ -z "${FAKE_PID:-}" ] || kill "$FAKE_PID" 2> /dev/null
  e2e_end
}
trap pam_end EXIT

OWNER=agtowner
OTHER=agtother
mkdir -p "$LAB/pam.d" "$LAB/nsetc" "$LAB/ssh"
chmod 755 "$LAB" "$LAB/pam.d" "$LAB/nsetc"
for f in passwd shadow group sudoers; do cp -p "/etc/$f" "$LAB/nsetc/$f"; done
printf '%s:x:23001:23001::/:/bin/sh\n%s:x:23002:23002::/:/bin/sh\n' $OWNER $OTHER >> "$LAB/nsetc/passwd"
printf '%s:x:23001:\n%s:x:23002:\n' $OWNER $OTHER >> "$LAB/nsetc/group"
printf '%s:!:20000::::::\n%s:!:20000::::::\n' $OWNER $OTHER >> "$LAB/nsetc/shadow"
echo "$OWNER ALL=(ALL) ALL" >> "$LAB/nsetc/sudoers"
lab_users
for f in passwd shadow group; do # the agent's users may have been made just now
  grep -v "^$OWNER:\|^$OTHER:" "$LAB/nsetc/$f" | cmp -s - "/etc/$f" || { grep "^$OWNER:\|^$OTHER:" "$LAB/nsetc/$f" > "$LAB/add"; cat "/etc/$f" "$LAB/add" > "$LAB/nsetc/$f"; }
  mount --bind "$LAB/nsetc/$f" "/etc/$f" || { echo "SKIP: no bind mounts"; exit 77; }
done
mount --bind "$LAB/nsetc/sudoers" /etc/sudoers && mount --bind "$LAB/pam.d" /etc/pam.d || { echo "SKIP: no bind mounts"; exit 77; }

# service NAME "options of pam_agentd"
lab_paths
service() {
  local kind
  for kind in auth account password session; do echo "$kind required $MODULE socket=$RUN/login.sock timeout=3 $2"; done > "/etc/pam.d/$1"
}
MAP="map=$OWNER:admin"
for s in main login su sudo agent-sshd passwd; do service $s "$MAP"; done
service viewer "$MAP role=viewer"
service typo "$MAP tiemout=3"
service default ''
printf 'auth required pam_deny.so\naccount required pam_deny.so\n' > /etc/pam.d/other

# pam SERVICE USER OPERATION... < answers, one line each
pam() {
  local name=$1 user=$2
  shift 2
  SECONDS_BEFORE=$SECONDS
  timeout 60 env LD_PRELOAD="$PRELOAD" pamtester "${PAM_ITEMS[@]}" "$name" "$user" "$@" > "$LAB/pam.out" 2>&1
  PAM_SAID="$? $(tr '\r\n' '  ' < "$LAB/pam.out")"
}
PAM_ITEMS=(-I tty=/dev/ttyS7)
# talk PROGRAM... < script of talk.py; TALK_SAID on one line
talk() { TALK_SAID=$(env LD_PRELOAD="$PRELOAD" "$HERE/talk.py" "$@" | tr '\r\n' '  '); }
lines() { printf '%s\n' "$@"; }
setup() { api GET /v1/bootstrap | jq -r .state; }
setup_is() { [ "$(setup)" = "$1" ]; }
failures() { api GET /v1/status | jq -r .login_failures; }
login_http() {
  https POST /v1/session -H 'Content-Type: application/json' -d "$(jq -nc --arg p "$1" '{user: "admin", password: $p}')" > /dev/null
  TOKEN=$(jq -r '.token // empty' "$LAB/https.body" 2> /dev/null)
}
P1=$OWNER_PASSWORD
P2='otter biscuit 41 harbour'
P3='gravel sonnet 17 walrus'
lab_up

# ---- factory state: the change is forced
is "the door belongs to root alone" "$(stat -c '%U %a' "$RUN/login.sock")" "root 600"
fails "nobody else can knock" setpriv --reuid 23002 --regid 23002 --clear-groups python3 -c "import socket; socket.socket(socket.AF_UNIX).connect('$RUN/login.sock')"
pam main $OWNER authenticate <<< 'not the code'
like "a fresh device asks for the code on the label; a wrong one is refused" "$PAM_SAID" '^1 Code on the label: .*Authentication failure'
sleep 3
pam main $OWNER authenticate acct_mgmt <<< "$FACTORY_SECRET"
like "the right one is no login yet: a new password is demanded" "$PAM_SAID" '^1 .*new one required'
pam main $OWNER acct_mgmt < /dev/null
like "who came in by another way (an SSH key) must set one as well" "$PAM_SAID" '^1 .*new one required'
pam main $OWNER authenticate 'chauthtok(PAM_CHANGE_EXPIRED_AUTHTOK)' < <(lines "$FACTORY_SECRET" short short 'Password Letmein 2026' 'Password Letmein 2026' "$P1 x" "$P1 y")
like "a short password is refused with its rule, a well-known one with its, two that differ as well" "$PAM_SAID" \
  '^1 .*at least 15 characters.*well-known.*(do not match|manipulation error)'
is "and nothing was changed by that" "$(setup)" factory
pam main $OWNER authenticate 'chauthtok(PAM_CHANGE_EXPIRED_AUTHTOK)' < <(lines "$FACTORY_SECRET" "my code $FACTORY_SECRET !" "my code $FACTORY_SECRET !" 'x' 'x' 'y' 'y')
like "the label code cannot be part of it" "$PAM_SAID" '^1 .*label'
talk login $OWNER << TALK
expect Code on the label:
send $FACTORY_SECRET
expect must be set
expect [Nn]ew password:
send $P1
expect [Nn]ew password:
send $P1
expect [\$#] ?
send echo in as \$(id -un)
expect in as $OWNER
send exit
end
TALK
like "login(1): code, then a password of one's own, then the shell" "$TALK_SAID" "in as $OWNER.*exit 0"
is "the device is active" "$(setup)" active

# ---- one password for all doors
login_http "$P1"
is "the password set at the terminal opens HTTPS" "$HTTPS_STATUS" 201
pam main $OWNER authenticate acct_mgmt open_session close_session setcred <<< "$P1"
like "and PAM: all that PAM asks of a module" "$PAM_SAID" '^0 Password: .*authenticated.*account management done.*successfully opened a session.*successfully been closed'
sleep 1
pam main $OWNER authenticate <<< "$FACTORY_SECRET"
like "the label code is void here, too" "$PAM_SAID" '^1 Password: .*Authentication failure'
pam main $OWNER authenticate <<< "$P1"
like "one try in three seconds at a terminal, and it says so" "$PAM_SAID" '^1 .*too many tries.*Wait [123] s.*maximum number of (tries|retries)'
sleep 3
pam main $OWNER authenticate <<< ''
like "an empty password is refused" "$PAM_SAID" '^1 .*Authentication failure'
is "and is no try: it says nothing" "$(failures)" 1
pam main $OWNER authenticate <<< "$P1"
like "the right one goes through" "$PAM_SAID" '^0 '
is "and clears the count" "$(failures)" 0
pam main $OWNER authenticate <<< "${P1:0:20}"
like "a part of the password is refused" "$PAM_SAID" '^1 .*Authentication failure'
sleep 3
pam main $OTHER authenticate <<< "$P1"
like "a Linux user who is not on the map is not ours" "$PAM_SAID" '^1 .*(User not known|No account)'
pam default $OWNER authenticate <<< "$P1"
like "without a map only the user admin is" "$PAM_SAID" '^1 .*(User not known|No account)'
pam typo $OWNER authenticate <<< "$P1"
like "an option nobody knows lets nobody in" "$PAM_SAID" '^1 .*(Error in service module|service)'
pam viewer $OWNER authenticate acct_mgmt <<< "$P1"
like "a role that is high enough is let in" "$PAM_SAID" '^0 '
service low "map=$OWNER:vera role=operator"
api POST /v1/accounts -H 'Content-Type: application/json' -d "$(jq -nc --arg p "$P1" '{current: $p, name: "vera", role: "viewer", new: "kettle 88 orchard plume"}')" > /dev/null
is "a viewer whose first password somebody else chose" "$API_STATUS" 201
pam low $OWNER authenticate acct_mgmt 'chauthtok(PAM_CHANGE_EXPIRED_AUTHTOK)' < <(lines 'kettle 88 orchard plume' 'marble 17 lagoon tweed' 'marble 17 lagoon tweed')
like "does not get past a role that is too low by having to change it" "$PAM_SAID" '^1 Password: .*Permission denied'
pam main $OWNER authenticate < <(printf '\xff\xfe\xfd not text at all\n')
like "bytes that are no text are a wrong password" "$PAM_SAID" '^1 .*Authentication failure'
pam main $OWNER authenticate < <(head -c 400 /dev/zero | tr '\0' x; echo)
like "so is one longer than any" "$PAM_SAID" '^1 .*(Authentication failure|Conversation|maximum)'
sleep 3
pam main $OWNER authenticate <<< "$P1"

PAM_ITEMS=(-I tty=ssh -I rhost=localhost)
pam main $OWNER authenticate <<< 'not the password'
like "an sshd that looks names up: a wrong password by a user of this machine" "$PAM_SAID" '^1 .*Authentication failure'
PAM_ITEMS=(-I tty=/dev/ttyS7)
pam main $OWNER authenticate <<< "$P1"
like "does not make the console wait" "$PAM_SAID" '^0 '

# ---- a change from here ends everything from before, everywhere
login_http "$P1"
is "a session over HTTPS" "$HTTPS_STATUS" 201
OLD=$TOKEN
pam passwd $OWNER chauthtok < <(lines 'not the password' )
like "a change needs the current password" "$PAM_SAID" '^1 Current password: .*Authentication failure'
sleep 3
pam passwd $OWNER chauthtok < <(lines "$P1" "$P2" "$P2")
like "with it, it is changed" "$PAM_SAID" '^0 '
https GET /v1/status -H "Authorization: Bearer $OLD" > /dev/null
is "the session from before is over" "$HTTPS_STATUS" 401
api GET /v1/status -H "Authorization: Bearer $OLD" > /dev/null
is "on the socket as well" "$API_STATUS" 401
login_http "$P1"
is "the old password is dead over HTTPS" "$HTTPS_STATUS" 401
api POST /v1/session -H 'Content-Type: application/json' -d "$(jq -nc --arg p "$P1" '{user: "admin", password: $p}')" > /dev/null
is "on the socket" "$API_STATUS" 401
pam main $OWNER authenticate <<< "$P1"
like "and in PAM" "$PAM_SAID" '^1 .*Authentication failure'
sleep 3
pam main $OWNER authenticate <<< "$P2"
like "where the new one works" "$PAM_SAID" '^0 '
lines "$P2" "$P3" | ctl passwd --stdin > /dev/null 2>&1
pam main $OWNER authenticate <<< "$P2"
like "a change by agentctl counts in PAM at once" "$PAM_SAID" '^1 .*Authentication failure'
sleep 3
pam main $OWNER authenticate <<< "$P3"
like "with the new one" "$PAM_SAID" '^0 '
is "no password is in the log" "$(cat "$AGENT_LOG" "$LAB"/state/events/* | grep -cF -e "$P1" -e "$P2" -e "$P3" -e "$FACTORY_SECRET")" 0

# ---- who asks: su and sudo by the user's own budget, SSH by its address
if [ -z "$PRELOAD" ]; then
  talk setpriv --reuid 23002 --regid 23002 --clear-groups su $OWNER -c 'echo now $(id -un)' <<< $'expect Password:\nsend wrong wrong wrong\nend'
  like "su: a wrong password is refused" "$TALK_SAID" 'Authentication failure.*exit 1'
  like "and counted for the user who typed it" "$(api GET '/v1/events?after=0&limit=1000')" 'session.failed[^}]*unix:23002|unix:23002[^}]*session.failed'
  pam main $OWNER authenticate <<< "$P3"
  like "not for the person at the terminal" "$PAM_SAID" '^0 '
  sleep 3
  talk setpriv --reuid 23002 --regid 23002 --clear-groups su $OWNER -c 'echo now $(id -un)' <<< $'expect Password:\nsend '"$P3"$'\nend'
  like "su: the right one" "$TALK_SAID" "now $OWNER.*exit 0"
  talk setpriv --reuid 23001 --regid 23001 --clear-groups sudo -k -p 'Password: ' id -u <<< $'expect Password:\nsend '"$P3"$'\nend'
  like "sudo asks for the same password" "$TALK_SAID" 'Password:.* 0 +exit 0'
  talk setpriv --reuid 23001 --regid 23001 --clear-groups sudo -k -p 'Password: ' id -u <<< $'expect Password:\nsend nope nope nope\nexpect (try again|Wait)\nhangup'
  like "and the wrong one is refused" "$TALK_SAID" '(try again|Wait)'

  SSH_PORT=$(lab_free_port)
  ssh-keygen -q -t ed25519 -N '' -f "$LAB/ssh/host" && ssh-keygen -q -t ed25519 -N '' -f "$LAB/ssh/user"
  ln -s "$(command -v sshd)" "$LAB/ssh/agent-sshd"
  mkdir -p /run/sshd
  cat > "$LAB/ssh/config" << CONF
Port $SSH_PORT
ListenAddress 127.0.0.1
HostKey $LAB/ssh/host
PidFile none
UsePAM yes
KbdInteractiveAuthentication yes
PasswordAuthentication yes
AuthorizedKeysFile $LAB/ssh/user.pub
StrictModes no
CONF
  "$LAB/ssh/agent-sshd" -D -f "$LAB/ssh/config" -E "$LAB/log/sshd.log" &
  SSHD_PID=$!
  wait_for 10 bash -c "exec 3<> /dev/tcp/127.0.0.1/$SSH_PORT"
  remote() { # METHOD PASSWORD COMMAND
    sshpass -p "$2" ssh -p "$SSH_PORT" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o NumberOfPasswordPrompts=1 \
      -o PreferredAuthentications="$1" -o PubkeyAuthentication=no "$OWNER@127.0.0.1" "$3" 2>&1 | tr '\r\n' '  '
  }
  like "SSH, password" "$(remote password "$P3" 'echo over ssh $(id -un)')" "over ssh $OWNER"
  like "SSH, keyboard-interactive" "$(remote keyboard-interactive "$P3" 'echo over ssh $(id -un)')" "over ssh $OWNER"
  like "SSH: a wrong password" "$(remote password 'wrong wrong wrong' 'echo in')" 'Permission denied'
  # What three wrong ones of one address bring is over in a second; what ten of all strangers bring lasts for half a minute.
  n=0 end=$((SECONDS + 60))
  until [[ $PAM_SAID =~ Wait\ ([0-9]+)\ s && ${BASH_REMATCH[1]} -ge 12 ]] || [ "$SECONDS" -ge "$end" ]; do
    n=$(((n + 1) % 250))
    PAM_ITEMS=(-I tty=ssh -I "rhost=192.0.2.$n")
    pam main $OWNER authenticate <<< 'wrong wrong wrong'
  done
  PAM_ITEMS=(-I tty=/dev/ttyS7)
  like "many wrong ones from outside and everybody outside waits" "$PAM_SAID" '^1 .*Wait [123][0-9] s'
  like "the right one does not help over SSH" "$(remote password "$P3" 'echo in')" '(Permission denied|Too many)'
  login_http "$P3"
  is "nor at HTTPS: one budget" "$HTTPS_STATUS" 429
  like "which is counted for the address" "$(api GET '/v1/events?after=0&limit=1000')" 'session.failed[^}]*ip:127.0.0.1|ip:127.0.0.1[^}]*session.failed'
  pam main $OWNER authenticate <<< "$P3"
  like "the terminal is open" "$PAM_SAID" '^0 '
else
  echo "# su, sudo and sshd: not with a sanitizer in the module, which set-user-id programs do not load"
fi

# ---- agentd hung, talking nonsense, gone: an answer in time, and it is no
CORE_STOPPED=$(cat "$RUN/pids/agentd")
kill -STOP "$CORE_STOPPED"
pam main $OWNER authenticate <<< "$P3"
like "agentd hangs: refused" "$PAM_SAID" '^1 .*does not answer in time.*(retrieve authentication info|Authentication service)'
[ $((SECONDS - SECONDS_BEFORE)) -le 30 ] && ok "and nobody waits longer than the time-out" || not_ok "waited $((SECONDS - SECONDS_BEFORE)) s"
pam main $OWNER acct_mgmt < /dev/null
like "nor is who came by key let in" "$PAM_SAID" '^1 .*does not answer in time'
kill -CONT "$CORE_STOPPED"
CORE_STOPPED=
pam main $OWNER authenticate <<< "$P3"
like "it goes on: accepted again" "$PAM_SAID" '^0 '
lab_agent_stop
pam main $OWNER authenticate <<< "$P3"
like "agentd is down: refused, with the reason, before anything is asked" "$PAM_SAID" '^1 agentd is not running.*(retrieve authentication info|Authentication service)'
pam main $OWNER acct_mgmt < /dev/null
like "by key as well" "$PAM_SAID" '^1 agentd is not running'
for nonsense in 'b""' 'b"x" * 100000' 'b"OK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n" + b"l\x02" * 5000' 'b"\0" * 64'; do
  rm -f "$LAB/fake.sock"
  python3 - "$LAB/fake.sock" "$nonsense" << 'PY' &
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(8)
while True:
    c, _ = s.accept()
    try:
        c.sendall(eval(sys.argv[2]))
    except OSError:
        pass
    if not eval(sys.argv[2]):
        c.close()
    else:
        globals().setdefault("kept", []).append(c)
PY
  FAKE_PID=$!
  wait_for 20 lab_listens "$LAB/fake.sock"
  sed "s|$RUN/login.sock|$LAB/fake.sock|; s/timeout=3/timeout=1/" /etc/pam.d/main > /etc/pam.d/fake
  pam fake $OWNER authenticate <<< "$P3"
  like "somebody else answers with ${nonsense:0:24}...: refused, not crashed" "$PAM_SAID" '^1 .*(retrieve authentication info|Authentication service)'
  kill "$FAKE_PID"
  wait "$FAKE_PID" 2> /dev/null
  FAKE_PID=
done

# ---- recovery, and a TPM that is away
cp -a "$LAB/state/accounts" "$LAB/today"
rm -rf "${LAB:?}"/state/accounts/*
lab_agent_start
is "the password record is lost: recovery" "$(setup)" recovery
pam main $OWNER authenticate <<< "$P3"
like "nobody gets in, and hears what it needs" "$PAM_SAID" '^1 .*factory reset.*(retrieve authentication info|Authentication service)'
pam main $OWNER authenticate <<< "$FACTORY_SECRET"
like "the label code does not work either" "$PAM_SAID" '^1 .*factory reset'
pam main $OWNER acct_mgmt < /dev/null
like "nor a key" "$PAM_SAID" '^1 .*recovery.*expired'
lab_agent_stop
rm -rf "$LAB/state/accounts"
cp -a "$LAB/today" "$LAB/state/accounts"
lab_tpm_stop
lab_agent_start
pam main $OWNER authenticate <<< "$P3"
like "the TPM is away: refused for that" "$PAM_SAID" '^1 .*TPM.*(retrieve authentication info|Authentication service)'
done_testing
