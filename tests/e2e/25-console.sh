#!/usr/bin/env bash
# agentctl console on a real terminal: first boot with the rules shown, what comes after a login by role, and nothing that
# can be typed, or pulled, leads past the password.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto jq curl python3
[ "$(id -u)" = 0 ] || { echo "SKIP: a getty starts the console as root"; exit 77; }
HERE=$(dirname "$0")
P1=$OWNER_PASSWORD
P2='otter biscuit 41 harbour'
setup() { api GET /v1/bootstrap | jq -r .state; }
failures() { api GET /v1/status | jq -r .login_failures; }
# console < script of talk.py; SAID is all on one line
console() { SAID=$("$HERE/talk.py" env -i TERM=vt102 PATH="$PATH" ${ASAN_OPTIONS:+"ASAN_OPTIONS=$ASAN_OPTIONS"} "$AGENTCTL" --config "$CONF" --socket "$SOCKET" console | tr '\r\n' '  '); }
# The last login as the audit log has it.
logged() { api GET '/v1/events?after=0&limit=1000' | jq -r '.events // . | map(select(.event == "login.accepted" or .name == "login.accepted")) | length' 2> /dev/null; }
lab_up

# ---- who may run it, and where
exits "without a terminal it says so" 2 "$AGENTCTL" --config "$CONF" console
SAID=$(setpriv --reuid 65534 --regid 65534 --clear-groups "$HERE/talk.py" "$AGENTCTL" --config "$CONF" --socket "$SOCKET" console <<< end | tr '\r\n' '  ')
like "started by somebody else than root it can ask nobody" "$SAID" 'only programs of root.*exit 7'

# ---- first boot
console << TALK
expect serial number +$LAB_SERIAL
expect device CA +[0-9A-Fa-f:]{40}
expect setup +factory
expect no owner yet
expect Code on the label:
send not the code
expect wrong user or password
expect Code on the label:
raw \x03
expect Given up
expect Code on the label:
hangup
TALK
like "a new device: which one it is, and the code is asked for; ^C asks again" "$SAID" 'Code on the label.*wrong user.*Given up.*Code on the label.*hung up'
sleep 3
console << TALK
expect Code on the label:
send $FACTORY_SECRET
expect set a password of your own
expect at least 15 characters
expect New password \\(0 of at least 15
raw walnut
expect 6 of at least 15 characters\\)
raw \x15
expect 0 of at least 15
raw short
raw \r
expect again
send short
expect at least 15 characters
expect New password \\(0
send Password Letmein 2026
expect again
send Password Letmein 2026
expect well-known
expect New password \\(0
send $P1
expect again
send $P1 x
expect not the same
expect New password \\(0
raw \x04
end
TALK
like "the rules are shown, the length is counted, each refusal has its reason" "$SAID" 'not the same.*exit 4'
is "^D at the end of that: nothing was set" "$(setup)" factory
api GET /v1/status > /dev/null
is "and nothing is open" "$API_STATUS" 403
console << TALK
expect Code on the label:
send $FACTORY_SECRET
expect New password \\(0
raw walnut ferry 93 lantern
expect 23 of at least 15 characters, long enough
raw \r
expect again
send $P1
expect password is set
expect setup +active
expect status, passwd or logout\?\s+\w+:
send logout
end
TALK
like "first boot from beginning to end" "$SAID" 'status, passwd or logout.*exit 0'
is "the device is active" "$(setup)" active
https POST /v1/session -H 'Content-Type: application/json' -d "$(jq -nc --arg p "$P1" '{user: "admin", password: $p}')" > /dev/null
is "the password is that of every door" "$HTTPS_STATUS" 201
OLD=$(jq -r .token "$LAB/https.body")

# ---- a login, a change
console << TALK
expect User \\[admin\\]:
send
expect Password:
send $P1
expect TPM +READY
expect status, passwd or logout\?\s+\w+:
send rm -rf /
expect no such command[^:]*\w+:
send passwd
expect Current password:
send $P1
expect New password \\(0
send $P2
expect again
send $P2
expect password is set
expect status, passwd or logout\?\s+\w+:
send logout
end
TALK
like "login, status, a change, logout" "$SAID" 'exit 0'
https GET /v1/status -H "Authorization: Bearer $OLD" > /dev/null
is "sessions from before are over" "$HTTPS_STATUS" 401
console << TALK
expect User
send admin
expect Password:
send $P1
expect wrong user or password
expect User
send admin
expect Password:
send $P2
expect too many tries
expect Wait [123] s
expect User
send admin
expect Password:
send $P2
expect status, passwd or logout\?\s+\w+:
hangup
TALK
like "the old password is dead, the waiting time counts, then the new one works" "$SAID" 'hung up, '
is "and the count is clear" "$(failures)" 0
console << TALK
expect User
send nobody-here
expect Password:
send $P2
expect wrong user or password
hangup
TALK
like "an account that is none fails the same way" "$SAID" 'wrong user or password'
sleep 3
is "no password is in the log" "$(cat "$AGENT_LOG" "$LAB"/state/events/* | grep -cF -e "$P1" -e "$P2" -e "$FACTORY_SECRET")" 0

# ---- nothing that is typed leads past the password; none of it is a try
before=$(failures)
# name / what is typed at the password
while IFS='|' read -r what typed; do
  console << TALK
expect User
send admin
expect Password:
$typed
idle 1
hangup
TALK
  if printf '%s' "$SAID" | grep -qE 'TPM +READY|status, passwd|[#$] $'; then not_ok "$what: led past: $SAID"; else ok "$what: no way in"; fi
done << CASES
^C again and again|raw \x03\x03\x03\x03\x03\x03\x03\x03
^Z|raw \x1a\x1a\x1a\r
^\\\\|raw \x1c\x1c\r
^D|raw \x04
^S, ^Q, ^V, ^R, ^O|raw \x13\x11\x16\x12\x0f\r
NUL and every control character|raw \x00\x01\x02\x05\x06\x07\x0b\x0c\x0e\x0f\x10\x11\x12\x14\x17\x18\x19\x1b\x1d\x1e\x1f\r
cursor keys and an escape sequence|raw \x1b[A\x1b[B\x1b]0;x\x07\x1b[21~\r
2,000 characters|size 2000
bytes that are no UTF-8|raw \x80\xff\xfe\xc3\x28\x03
an empty line|raw \r
CASES
console << TALK
expect User
send admin
expect Password:
size 3000
raw \r
expect longer than any password
expect User
send admin
expect Password:
raw \x1b[A\r
expect control characters
hangup
TALK
like "too long, or a cursor key: said so, and asked again" "$SAID" 'hung up'
is "none of that was a try" "$(failures)" "$before"
for when in 'expect User' $'expect User\nsend admin\nexpect Password:\nraw walnut fe'; do
  console <<< "$when"$'\nhangup'
  like "a hang-up ends it" "$SAID" 'hung up, (signal 1|exit [1-9])'
done
is "nothing is left behind" "$(pgrep -fc "[a]gentctl --config $CONF" || true)" 0
console << TALK
expect User
raw \xff\xfe\x80|\$(id)|;sh|../../\r
expect (Password:|control)
raw \r
idle 1
hangup
TALK
if printf '%s' "$SAID" | grep -q 'uid='; then not_ok "a user name ran"; else ok "a user name is a name and nothing else"; fi

# ---- what comes after, by role
cat > "$LAB/role.sh" << 'SH'
#!/bin/sh
echo "ROLE $AGENTD_ROLE USER $AGENTD_USER ARG $1 ENV $(env | sort | cut -d= -f1 | tr '\n' ,)"
SH
chmod 755 "$LAB/role.sh"
lab_agent_stop
printf 'console: { admin = "%s/role.sh one"; };\n' "$LAB" > "$LAB/etc/agentd.conf.d/console.conf"
chmod 644 "$LAB/etc/agentd.conf.d/console.conf"
lab_agent_start
sleep 3
console << TALK
expect User
send
expect Password:
send $P2
end
TALK
like "the program of the settings starts, with its argument" "$SAID" 'ROLE admin USER admin ARG one .*exit 0'
like "and an environment of five words" "$SAID" 'ENV AGENTD_ROLE,AGENTD_USER,HOME,PATH,(PWD,)?(SHLVL,)?TERM,(_,)?'
console << TALK
expect User
send
expect Password:
send wrong wrong wrong
expect wrong user or password
hangup
TALK
like "not after a wrong one" "$SAID" 'wrong user or password'
printf 'console: { admin = "sh"; };\n' > "$LAB/etc/agentd.conf.d/console.conf"
exits "a program without a path is refused" 78 "$AGENTD" --config "$CONF" --print-config
rm "$LAB/etc/agentd.conf.d/console.conf"

# ---- agentd is down
lab_agent_stop
console <<< end
like "agentd is down: it says so and ends; nothing is asked" "$SAID" 'agentd is not running.*exit 7'
if command -v agetty > /dev/null; then
  lab_agent_start
  SAID=$("$HERE/talk.py" python3 -c "
import os, pty, sys
os.execvp('agetty', ['agetty', '--skip-login', '--noissue', '--nonewline', '--noclear', '--login-program', sys.argv[1], '--login-options', '--config ' + sys.argv[2] + ' console', '-', 'vt102'])" "$AGENTCTL" "$CONF" << TALK | tr '\r\n' '  '
expect serial number +$LAB_SERIAL
expect User
hangup
TALK
  )
  like "agetty starts it as its login program" "$SAID" 'serial number +GW-0001.*hung up'
fi
done_testing
