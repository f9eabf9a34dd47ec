#!/usr/bin/env bash
# What runs out: descriptors, memory, patience, time. The documented answer while it lasts, and afterwards agentd-mgmt is what it was before:
# the same process with as many descriptors and as much memory, or gone where it may go when idle.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto jq curl openssl python3 prlimit
[ "$(id -u)" = 0 ] || { echo "SKIP: needs root, to count descriptors and memory of other users' programs"; exit 77; }
SANITIZED=
grep -q '^#define AGENT_SANITIZERS' "$BUILD/config.h" && SANITIZED=1
JSON='Content-Type: application/json'

# ---- programs whose time of day can be moved, see boot_clock.c
lab_paths
CLOCK=
if [ -z "$SANITIZED" ] && command -v patchelf > /dev/null && make -s -C "$BUILD" libboot-clock.la > /dev/null; then
  CLOCK=$LAB/bin/clock
  mkdir -p "$LAB/bin"
  chmod 755 "$LAB" "$LAB/bin"
  cp "$AGENTD" "$PREFIX"/libexec/agentd/agentd-* "$BUILD/.libs/libboot-clock.so" "$LAB/bin/"
  for program in agentd agentd-mgmt; do patchelf --add-needed "$LAB/bin/libboot-clock.so" "$LAB/bin/$program" || exit 1; done
fi
day() { python3 -c 'import struct, sys; open(sys.argv[1], "r+b").write(struct.pack("qq", 1000, int(sys.argv[2])))' "$CLOCK" "$1"; }
if [ -n "$CLOCK" ]; then
  head -c 16 /dev/zero > "$CLOCK"
  chmod 644 "$CLOCK"
  day 0
fi
CLIENT_PORT=$(lab_free_port)
mkdir -p "$LAB/trust/mgmt"
PLAIN_PORT=$(lab_free_port)
lab_up "${CLOCK:+paths: { program_dir = \"$LAB/bin\"; \};} mgmt: { client_listen = \"127.0.0.1:$CLIENT_PORT\"; http_listen = \"127.0.0.1:$PLAIN_PORT\"; };"
if [ -n "$CLOCK" ]; then
  lab_agent_stop
  AGENTD=$LAB/bin/agentd
  lab_agent_start
fi
set_password
lab_ca clients "/CN=Owner CA"
install -m 644 "$PKI/clients.pem" "$LAB/trust/mgmt/clients.pem"
host=gw-${LAB_SERIAL,,}.local
wait_for 20 https GET /v1/health

login() {
  https POST /v1/session -D "$LAB/login.head" -H "$JSON" -d "$(jq -nc --arg p "${1:-$OWNER_PASSWORD}" '{user: "admin", password: $p}')" > /dev/null
  TOKEN=$(jq -r '.token // empty' "$LAB/https.body" 2> /dev/null)
}
logged_in() { login; [ "$HTTPS_STATUS" = 201 ]; }
slug() { sed -n 's/.*"urn:agentd:problem:\([a-z-]*\)".*/\1/p' "$LAB/https.body"; }
mgmt() { cat "$RUN/pids/agentd-mgmt"; }
core() { cat "$RUN/pids/agentd"; }
fds() { find "/proc/$1/fd" -mindepth 1 | wc -l; }
# limit USER PID WHAT=SOFT:HARD: as the user, who needs no capability for it
limit() { lab_as "$1" prlimit --pid "$2" "$3" || not_ok "no limit $3 for process $2"; }
field() { awk -v f="$2:" '$1 == f { print $2 }' "/proc/$1/status"; }
ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }
https_answers() { https GET /v1/health > /dev/null; [ "$HTTPS_STATUS" = 200 ]; }
status_with() { https GET /v1/status -H "Authorization: Bearer $1" > /dev/null; }
failures() { api GET /v1/status | jq -r .login_failures; }
succeeds "the owner logs in" wait_for 20 logged_in
OWNER=$TOKEN
MGMT=$(mgmt)
CORE=$(core)
idle_again() { [ "$(fds "$MGMT")" -le "$IDLE_FDS" ]; }
settled() { local n; n=$(fds "$MGMT"); sleep 0.5; [ "$(fds "$MGMT")" = "$n" ]; }
wait_for 40 settled
IDLE_FDS=$(fds "$MGMT")
IDLE_ANON=$(field "$MGMT" RssAnon)

# crowd N MODE SECONDS [PORT]: N connections from loopback addresses, six of each, that stay. MODE: silent, head (in TLS) or plain (a head without)
crowd() {
  python3 - "${4:-$HTTPS_PORT}" "$host" "$LAB/device-ca.crt" "$@" << 'PY'
import socket, ssl, sys, time
port, host, ca, n, mode, seconds = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5], float(sys.argv[6])
context = ssl.create_default_context(cafile=ca)
kept = []
for i in range(n):
    try:
        s = socket.create_connection(("127.0.0.1", port), 20, ("127.0.%d.%d" % (1 + i // 600, 2 + i // 6 % 100), 0))
        if mode == "head":
            s = context.wrap_socket(s, server_hostname=host)
        if mode != "silent":
            s.sendall(b"GET /v1/health HTTP/1.1\r\n")
        kept.append(s)
    except OSError:
        pass
print(len(kept), flush=True)
time.sleep(seconds)
PY
}

# ---- descriptors
limit agentd-mgmt "$MGMT" --nofile=$((IDLE_FDS + 12)):4096
before=$(ticks "$MGMT")
crowd 60 silent 3 > "$LAB/crowd" &
CROWD=$!
# shellcheck disable=SC2317
paused() { grep -q 'accept: Too many open files; no new connections' "$AGENT_LOG"; }
succeeds "no descriptor is left: accepting pauses" wait_for 20 paused
wait "$CROWD"
spent=$(($(ticks "$MGMT") - before))
if [ "$spent" -lt 100 ]; then ok "and nobody spins meanwhile ($spent ticks)"; else not_ok "$spent ticks of processor time with no descriptor left"; fi
limit agentd-mgmt "$MGMT" --nofile=4096:4096
succeeds "descriptors are there again: so are the answers" wait_for 30 https_answers
succeeds "and as few are in use as before" wait_for 40 idle_again
is "in the same process" "$(mgmt)" "$MGMT"

limit agentd "$CORE" --nofile="$(fds "$CORE")":4096
login
is "core has no descriptor left for the TPM or a file: not wrong, but unavailable" "$HTTPS_STATUS" 503
like "and says when to come again" "$(cat "$LAB/login.head")" '[Rr]etry-[Aa]fter: [0-9]'
limit agentd "$CORE" --nofile=4096:4096
succeeds "it has: logged in" wait_for 30 logged_in
is "in the same process" "$(core)" "$CORE"
is "no failure was counted" "$(failures)" 0

# ---- memory
if [ -n "$SANITIZED" ]; then
  echo "# shortage of memory: not under a sanitizer, which reserves terabytes of addresses"
else
  limit agentd "$CORE" --as=$((($(field "$CORE" VmSize) + 4096) * 1024)):
  login
  is "no memory for a hash: not wrong, but unavailable" "$HTTPS_STATUS" 503
  login 'not the password at all'
  is "nor is a wrong password called wrong" "$HTTPS_STATUS" 503
  limit agentd "$CORE" --as=unlimited:
  succeeds "there is: logged in" wait_for 30 logged_in
  is "in the same process" "$(core)" "$CORE"
  is "no failure was counted" "$(failures)" 0
  limit agentd-mgmt "$MGMT" --as=$((($(field "$MGMT" VmSize) + 128) * 1024)):
  crowd 60 head 1 > "$LAB/crowd"
  limit agentd-mgmt "$MGMT" --as=unlimited:
  succeeds "agentd-mgmt without memory for new connections answers again when it has some" wait_for 30 https_answers
  is "in the same process" "$(mgmt)" "$MGMT"
fi

# ---- after a flood
crowd 300 head 1 > "$LAB/crowd"
succeeds "after 300 connections that stop in a head the descriptors are back" wait_for 40 idle_again
grown=$(($(field "$MGMT" RssAnon) - IDLE_ANON))
# shellcheck disable=SC2015
[ -n "$SANITIZED" ] || { [ "$grown" -lt 1024 ] && ok "and the memory ($grown KiB more)" || not_ok "$grown KiB more than when idle"; }
# The other doors: one that asks for a certificate, one without TLS.
for door in "client certificates head $CLIENT_PORT" "client certificates silent $CLIENT_PORT" "the page plain $PLAIN_PORT" "the page silent $PLAIN_PORT"; do
  read -r what what2 mode port <<< "$door"
  crowd 300 "$mode" 1 "$port" > "$LAB/crowd"
  succeeds "after 300 connections at the door of $what $what2 ($mode) the descriptors are back" wait_for 40 idle_again
done
grown=$(($(field "$MGMT" RssAnon) - IDLE_ANON))
# shellcheck disable=SC2015
[ -n "$SANITIZED" ] || { [ "$grown" -lt 1024 ] && ok "and the memory ($grown KiB more)" || not_ok "$grown KiB more than when idle"; }
is "still the same process" "$(mgmt)" "$MGMT"
status_with "$OWNER"
is "the owner's session went through all of it" "$HTTPS_STATUS" 200

# ---- an upload that is too slow
head -c 4194304 /dev/urandom > "$LAB/image"
lab_bundle 1.0 "$LAB/image" 1
python3 - "$HTTPS_PORT" "$host" "$LAB/device-ca.crt" "$OWNER" "$LAB/bundles/1.0.swu" > "$LAB/slow" << 'PY'
import socket, ssl, sys, time
port, host, ca, token = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
context = ssl.create_default_context(cafile=ca)
s = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 60), server_hostname=host)
s.sendall(("POST /v1/update HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/octet-stream\r\n"
           "Content-Length: 100000000\r\n\r\n" % (host, token)).encode())
s.settimeout(1)
bundle = open(sys.argv[5], "rb")
got = b""
for _ in range(60):
    try:
        s.sendall(bundle.read(256))
    except OSError:
        pass
    try:
        data = s.recv(4096)
    except TimeoutError:
        continue
    except OSError:
        break
    if not data:
        break
    got += data
print(got.decode(errors="replace"))
PY
like "an upload of 256 bytes a second is answered" "$(head -n 1 "$LAB/slow")" '^HTTP/1.1 408'
like "with the reason" "$(cat "$LAB/slow")" 'urn:agentd:problem:request-timeout.*4 KiB/s'
update_is_over() { ! api GET /v1/update -H "Authorization: Bearer $OWNER" | grep -q '"stage":"receiving"'; }
succeeds "and makes room for the next" wait_for 30 update_is_over

# ---- time
serial() { openssl s_client -connect "127.0.0.1:$HTTPS_PORT" -servername "$host" < /dev/null 2> /dev/null | openssl x509 -noout -serial -startdate 2> /dev/null; }
# shellcheck disable=SC2317
renewed() { local now; now=$(serial); [ -n "$now" ] && [ "$now" != "$LEAF" ]; }
starts() { date -u -d "$(serial | sed -n 's/^notBefore=//p')" +%s; }
if [ -n "$CLOCK" ]; then
  login
  for jump in 30 -30; do
    LEAF=$(serial)
    day $((jump * 86400))
    succeeds "the time of day jumps by $jump days: another certificate" wait_for 40 renewed
    # The broker's certificate was good at the time of before, so a clock that goes back is not believed (docs/design/time.md).
    off=$(($(starts) - $(date +%s) - (jump > 0 ? jump * 86400 : 0)))
    if [ "${off#-}" -lt 90000 ]; then ok "of the time that is known then"; else not_ok "certificate begins $off s beside it"; fi
    api GET /v1/status -H "Authorization: Bearer $TOKEN" > /dev/null
    is "a session neither ends by that nor lives longer" "$API_STATUS" 200
  done
  day 0
else
  echo "# clock: needs patchelf, and no sanitizer"
fi

# ---- tokens that were good once
login
USED=$TOKEN
https DELETE /v1/session -H "Authorization: Bearer $USED" > /dev/null
is "logged out" "$HTTPS_STATUS" 204
status_with "$USED"
is "the token is not good a second time" "$HTTPS_STATUS $(slug)" "401 authentication-required"
login
USED=$TOKEN
kill -KILL "$CORE"
answers() { api GET /v1/bootstrap | grep -q '"state":"active"'; }
wait_for 30 answers
status_with "$USED"
is "nor one from before a crash of core" "$HTTPS_STATUS $(slug)" "401 authentication-required"

# ---- what an attacker who can make agentd-mgmt crash does not gain
succeeds "the owner logs in again" wait_for 40 logged_in
is "no program is told of anybody before somebody logged in" "$(grep -c 'core knows of' "$AGENT_LOG")" 0
kill -KILL "$(mgmt)"
told() { grep -q 'core knows of 1 sources that somebody has logged in from' "$AGENT_LOG"; }
succeeds "the owner's address is known again after a crash of agentd-mgmt" wait_for 30 told

# ---- leaving when idle
CRASHES=$(grep -c 'program.restarted: .*agentd-mgmt' "$AGENT_LOG")
lab_agent_stop
lab_config "mgmt: { idle_exit_s = 1; }; ${CLOCK:+paths: { program_dir = \"$LAB/bin\"; \};}"
lab_agent_start
# shellcheck disable=SC2317
gone() { [ ! -e "$RUN/pids/agentd-mgmt" ]; }
succeeds "without a connection agentd-mgmt leaves" wait_for 30 gone
api GET /v1/bootstrap > /dev/null
is "and comes back for one" "$API_STATUS" 200
succeeds "then leaves again" wait_for 30 gone
succeeds "and comes back for one over HTTPS" wait_for 30 https_answers
is "leaving was no crash" "$(grep -c 'program.restarted: .*agentd-mgmt' "$AGENT_LOG")" "$CRASHES"
done_testing
