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
    return got.split(b" ")[1].decode() if got.startswith(b"HTTP/1.1 ") else "closed"

rows = [
    ("whole at once", b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", {}, "200"),
    ("byte by byte", b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", {"pause": 0.005}, "200"),
    ("with a goodbye behind it", b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", {"close": True}, "200"),
    ("two requests get one answer", (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 2, {}, "200"),
    ("half a head and a goodbye", b"GET / HTTP/1.1\r\n" + HOST, {"close": True}, "closed"),
    ("nothing and a goodbye", b"", {"close": True}, "closed"),
    ("half a head and silence", b"GET / HTTP/1.1\r\n" + HOST, {}, "closed"),
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
fails "a port that cannot be is refused at the start" "$AGENTD" --config <(sed 's/^mgmt: {/mgmt: { http_listen = "80";/' "$CONF") --print-config
done_testing
