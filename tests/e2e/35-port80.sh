#!/usr/bin/env bash
# The door without TLS: one page, a way to HTTPS, nothing else; and what a stranger can do to it.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto curl openssl python3
HTTP_PORT=$(lab_free_port)
lab_up "mgmt: { http_listen = \"127.0.0.1:$HTTP_PORT\"; };"
host=gw-${LAB_SERIAL,,}.local
plain=http://127.0.0.1:$HTTP_PORT

# get_once PATH [curl options]: the answer in $LAB/head and $LAB/body, the status in CODE; get: and again after a pause that was asked for
get_once() {
  local path=$1
  shift
  rm -f "$LAB/head"
  CODE=$(curl -s --path-as-is --max-time 20 -D "$LAB/head" -o "$LAB/body" -w '%{http_code}' "$@" "$plain$path")
}
get() {
  for _ in {1..40}; do
    get_once "$@"
    [ "$CODE" = 429 ] || return 0
    sleep 0.5
  done
}
# shellcheck disable=SC2317
is_up() { get /; [ "$CODE" = 200 ]; }
field() { tr -d '\r' < "$LAB/head" | sed -n "s/^$1: //Ip"; }
succeeds "the page is there once there is a certificate" wait_for 20 is_up
spki=$(openssl x509 -in "$LAB/device-ca.crt" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1)
is "it shows the fingerprint of the device CA" "$(sed -n 's|^<p class="fp">\(.*\)</p>|\1|p' "$LAB/body" | tr -d ' ')" "$spki"
like "and leads to HTTPS" "$(cat "$LAB/body")" "href=\"https://127.0.0.1:$HTTPS_PORT/\""
fails "nothing is left to fill in" grep -q '@[A-Z]*@' "$LAB/body"
style=$(python3 -c 'import sys,base64,hashlib; p=sys.stdin.buffer.read(); print(base64.b64encode(hashlib.sha256(p[p.index(b"<style>")+7:p.index(b"</style>")]).digest()).decode())' < "$LAB/body")
is "its policy lets in this style sheet and nothing else" "$(field content-security-policy)" \
  "default-src 'none'; style-src 'sha256-$style'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
fails "no form, no script, nothing from elsewhere" grep -qiE '<form|<script|<img|<link|<input|src=' "$LAB/body"
fails "no cookie" grep -qi '^set-cookie' "$LAB/head"
is "not kept by browsers" "$(field cache-control)" no-store

# ---- the way to HTTPS ----------------------------------------------------------------------------------------------
for path in /v1/status /index.html //evil.example /%0d%0aX:y '/?x/../..' /../etc/passwd; do
  get "$path" -H "Host: $host"
  case $path in
    '/?x/../..') is "$path is the page" "$CODE" 200 ;;
    *) is "$path: sent on" "$CODE $(field location)" "302 https://$host:$HTTPS_PORT/" ;;
  esac
done
get /x -H "Host: ${host^^}:80"
is "whatever the name looks like, the way is ours" "$(field location)" "https://$host:$HTTPS_PORT/"
for foreign in evil.example "$host.evil.example" "evil.example:$HTTP_PORT" 127.0.0.2 '[::1]'; do
  get /x -H "Host: $foreign"
  is "no way to $foreign" "$CODE $(field location)" "421 "
done
for method in HEAD POST PUT DELETE OPTIONS TRACE PATCH; do
  how=(-X "$method")
  [ "$method" != HEAD ] || how=(-I)
  get / "${how[@]}"
  is "$method is not answered" "$CODE $(field allow)" "405 GET"
done
get / --data-binary 'user=admin' -X GET
is "nor a GET with a body" "$CODE" 400

# ---- bytes ----------------------------------------------------------------------------------------------------------
cat > "$LAB/raw.py" << 'PY'
import socket, sys, time
port = int(sys.argv[1])
HOST = b"Host: 127.0.0.1\r\n"

def talk(data, close=False, pause=0.0, limit=30):
    s = socket.create_connection(("127.0.0.1", port))
    s.settimeout(limit)
    got = b""
    try:
        for i in range(0, len(data), 700 if not pause else 1):
            s.sendall(data[i:i + (700 if not pause else 1)])
            if pause:
                time.sleep(pause)
        if close:
            s.shutdown(socket.SHUT_WR)
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            got += piece
    except (ConnectionResetError, BrokenPipeError):
        pass
    s.close()
    if data.startswith(b"HEAD") and not got.endswith(b"\r\n\r\n"):
        return "with content"
    return got.split(b" ")[1].decode() if got.startswith(b"HTTP/1.1 ") else "closed"

rows = [
    ("whole at once", b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", {}, "200"),
    ("byte by byte", b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", {"pause": 0.005}, "200"),
    ("with a goodbye behind it", b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", {"close": True}, "200"),
    ("two requests get one answer", (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 2, {}, "200"),
    ("HEAD has no content", b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n", {}, "405"),
    ("half a head and a goodbye", b"GET / HTTP/1.1\r\n" + HOST, {"close": True}, "closed"),
    ("nothing and a goodbye", b"", {"close": True}, "closed"),
    ("bare line feeds", b"GET / HTTP/1.1\n\n", {}, "400"),
    ("a head without end", b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 9000, {}, "431"),
    ("a TLS hello", bytes.fromhex("1603010200010001fc0303") + b"\x0a" * 400, {}, "400"),
]
bad = 0
for claim, data, options, want in rows:
    for _ in range(40):
        got = talk(data, **options)
        if got != "429":
            break
        time.sleep(0.5)
    print(("ok - " if got == want else "not ok - ") + claim + ": " + got)
    bad += got != want
# Places: those who only hold one are put out by who comes later, and by the clock.
held = []
for i in range(40):
    try:
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(b"GET / HT")
        held.append(s)
    except OSError:
        pass
end = time.monotonic() + 40
while held and time.monotonic() < end:
    s = held.pop()
    s.settimeout(max(0.1, end - time.monotonic()))
    try:
        if s.recv(1) != b"":
            bad += 1
    except ConnectionResetError:
        pass
    except OSError:
        held.append(s)
        break
print(("not ok" if held else "ok") + " - who sends half a line is put out")
sys.exit(bool(bad or held))
PY
mgmt=$(cat "$RUN/pids/agentd-mgmt")
fds_before=$(find "/proc/$mgmt/fd" -mindepth 1 | wc -l)
if python3 "$LAB/raw.py" "$HTTP_PORT" > "$LAB/raw.out" 2>&1; then ok "odd bytes: $(grep -c '^ok' "$LAB/raw.out") checks"; else not_ok "odd bytes: $(grep -v '^ok' "$LAB/raw.out")"; fi
wait_for 20 is_up
CODE=
for _ in {1..30}; do get_once /; [ "$CODE" = 200 ] || break; done
like "a source that asks too often is told to wait, or is not let in" "$CODE" '^(429|000)$'
https GET /v1/health > /dev/null
wait_for 20 https GET /v1/health
is "and HTTPS answers all the same" "$HTTPS_STATUS" 200
# shellcheck disable=SC2317
is_idle() { [ "$(find "/proc/$mgmt/fd" -mindepth 1 | wc -l)" -le "$fds_before" ]; }
succeeds "afterwards no descriptor is left open" wait_for 40 is_idle
is "the same process" "$(cat "$RUN/pids/agentd-mgmt")" "$mgmt"

# ---- off unless asked for -------------------------------------------------------------------------------------------
lab_agent_stop
lab_config
lab_agent_start
get /
is "without mgmt.http_listen there is no such door" "$CODE" 000
lab_agent_stop
lab_config "mgmt: { https = false; http_listen = \"127.0.0.1:$HTTP_PORT\"; };"
lab_agent_start
get /
is "nor without the door it leads to" "$CODE" 000
sed 's/^mgmt: {/mgmt: { http_listen = "80";/' "$CONF" > "$LAB/etc/bad.conf"
exits "a port that cannot be is refused at the start" 78 "$AGENTD" --config "$LAB/etc/bad.conf" --print-config
like "for its reason" "$(cat "$LAB/out")" 'mgmt\.http_listen'

# ---- mgmt.setup_interface: two interfaces, one before activation, both after it ---------------------------------------
sed 's|^mgmt: {|mgmt: { setup_interface = "../../etc";|' "$CONF" > "$LAB/etc/bad.conf"
exits "an interface that cannot be is refused at the start" 78 "$AGENTD" --config "$LAB/etc/bad.conf" --print-config
like "for its reason" "$(cat "$LAB/out")" 'mgmt\.setup_interface'

tag=$((BASHPID % 30000))
lan=$((tag % 250 + 1))
nets_stop() {
  local n
  for n in s o; do ip netns del "e2e$tag$n"; ip link del "e2e$tag$n"; done 2> /dev/null
  return 0 # the second may have gone with the first
}
trap 'nets_stop; e2e_end' EXIT
# net NAME THIRD: a host of its own behind a cable, which also routes to our address on the other cable
net() {
  ip netns add "e2e$tag$1" && ip link add "e2e$tag$1" type veth peer name eth0 netns "e2e$tag$1" && ip link set "e2e$tag$1" up &&
    ip addr add "198.18.$2.1/24" dev "e2e$tag$1" && ip addr add "fd12:$lan:$2::1/64" dev "e2e$tag$1" nodad &&
    ip -n "e2e$tag$1" link set lo up && ip -n "e2e$tag$1" addr add "198.18.$2.2/24" dev eth0 &&
    ip -n "e2e$tag$1" addr add "fd12:$lan:$2::2/64" dev eth0 nodad && ip -n "e2e$tag$1" link set eth0 up &&
    ip -n "e2e$tag$1" route add 198.18.0.0/16 via "198.18.$2.1"
}
if [ "$(id -u)" != 0 ] || ! net s "$lan" 2> "$LAB/net.err" || ! net o "$((lan + 1))" 2>> "$LAB/net.err"; then
  echo "# SKIPPED: mgmt.setup_interface was not tried, as no network namespaces can be made here: $(cat "$LAB/net.err" 2> /dev/null)"
  done_testing
fi
setup_ip=198.18.$lan.1 other_ip=198.18.$((lan + 1)).1
# from WHERE SECONDS URL [curl options]: the status; 000 without an answer
from() {
  local where=$1 seconds=$2 url=$3
  shift 3
  ip netns exec "e2e$tag$where" curl -sk -o "$LAB/from.body" -D "$LAB/from.head" --connect-timeout "$seconds" --max-time 20 -w '%{http_code}' "$@" "$url"
}
# shellcheck disable=SC2317
answers() { [ "$(from "$@")" = 200 ]; }
lab_agent_stop
lab_config "mgmt: { listen = \"[::]:$HTTPS_PORT\"; http_listen = \"[::]:$HTTP_PORT\"; setup_interface = \"e2e${tag}s\"; };"
lab_agent_start
https=:$HTTPS_PORT/v1/health http=:$HTTP_PORT/
succeeds "before activation: HTTPS answers on the setup interface" wait_for 20 answers s 5 "https://$setup_ip$https"
succeeds "over IPv6, too" answers s 5 "https://[fd12:$lan:$lan::1]$https"
succeeds "the page as well" wait_for 20 answers s 5 "http://$setup_ip$http"
is "a phone that looks for the internet is led to the page" "$(from s 5 "http://$setup_ip:$HTTP_PORT/generate_204" -H 'Host: connectivity.example') $(tr -d '\r' < "$LAB/from.head" | sed -n 's/^Location: //p')" \
  "302 http://$setup_ip:$HTTP_PORT/"
is "the other interface does not answer" "$(from o 1 "https://$other_ip$https")" 000
is "not over IPv6 either" "$(from o 1 "https://[fd12:$lan:$((lan + 1))::1]$https")" 000
is "nor under the address of the setup interface: what counts is the cable" "$(from o 1 "https://$setup_ip$https")" 000
is "nor with the page" "$(from o 1 "http://$other_ip$http")" 000
is "nor this machine itself" "$(curl -sk -o /dev/null --connect-timeout 1 -w '%{http_code}' "https://127.0.0.1$https")" 000
mgmt=$(cat "$RUN/pids/agentd-mgmt")
kill -9 "$mgmt"
# shellcheck disable=SC2317
is_new() { [ "$(cat "$RUN/pids/agentd-mgmt")" != "$mgmt" ]; }
wait_for 20 is_new
succeeds "after a restart of agentd-mgmt the setup interface answers again" wait_for 20 answers s 5 "https://$setup_ip$https"
is "and the other still does not" "$(from o 1 "https://$other_ip$https")" 000
set_password
succeeds "after activation the other interface answers" wait_for 20 answers o 5 "https://$other_ip$https"
succeeds "with the page" answers o 5 "http://$other_ip$http"
succeeds "and the setup interface still does" answers s 5 "https://$setup_ip$https"
is "foreign names are refused from then on" "$(from s 5 "http://$setup_ip:$HTTP_PORT/generate_204" -H 'Host: connectivity.example')" 421
kill -9 "$(cat "$RUN/pids/agentd-mgmt")"
succeeds "also when agentd-mgmt starts again" wait_for 20 answers o 5 "https://$other_ip$https"
printf '%s\n' "$OWNER_PASSWORD" | ctl factory-reset --yes --stdin > "$LAB/out" 2>&1 || not_ok "factory reset: $(cat "$LAB/out")"
# shellcheck disable=SC2317
is_closed() { [ "$(from o 1 "https://$other_ip$https")" = 000 ]; }
succeeds "after a factory reset the other interface is closed again" wait_for 30 is_closed
succeeds "and the setup interface is open" wait_for 30 answers s 5 "https://$setup_ip$https"
lab_agent_stop
ip link del "e2e${tag}s"
lab_agent_start
is "without the interface the network has no way in" "$(from o 1 "https://$other_ip$https")" 000
like "and the log says so" "$(cat "$AGENT_LOG")" "no socket on e2e${tag}s \\(mgmt.setup_interface\\)"
done_testing
