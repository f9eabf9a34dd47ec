#!/usr/bin/env bash
# shellcheck disable=SC2119
# The management API as a client on the LAN and on the device meets it: both doors, every limit that can be met in a minute.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto curl openssl python3
lab_up

JSON='Content-Type: application/json'
BIN='Content-Type: application/octet-stream'
host=gw-${LAB_SERIAL,,}.local
# as a user who is nobody here; without root there is only one user
stranger() { if [ "$(id -u)" = 0 ]; then setpriv --reuid nobody --clear-groups -- "$@"; else "$@"; fi; }
slug() { sed -n 's/.*"urn:agentd:problem:\([a-z-]*\)".*/\1/p' "$1"; }
problem() { # "what" STATUS SLUG of the last https
  is "$1" "$HTTPS_STATUS $(slug "$LAB/https.body")" "$2 $3"
}
# Strangers have a small budget; wait for it where the test is about something else.
rest() { sleep 2; }

# ---- TLS ------------------------------------------------------------------------------------------------------------
wait_for 20 https GET /v1/health
https GET /v1/health > /dev/null
is "HTTPS answers with a certificate of the device CA" "$HTTPS_STATUS" 200
fails "TLS 1.2 is refused" curl -s -o /dev/null --max-time 5 --cacert "$LAB/device-ca.crt" --tls-max 1.2 \
  --resolve "$host:$HTTPS_PORT:127.0.0.1" "https://$host:$HTTPS_PORT/v1/health"
fails "an unknown CA is not enough" curl -s -o /dev/null --max-time 5 --resolve "$host:$HTTPS_PORT:127.0.0.1" "https://$host:$HTTPS_PORT/v1/health"
tls() { openssl s_client -connect "127.0.0.1:$HTTPS_PORT" -servername "$host" "$@" < /dev/null 2>&1; }
like "the key is P-256 and not the device CA's" "$(tls -tls1_3 | openssl x509 -noout -text 2> /dev/null | tr -d '\n')" 'prime256v1'
like "the certificate has the address too" "$(tls -tls1_3 | openssl x509 -noout -ext subjectAltName 2> /dev/null)" '127\.0\.0\.1'
like "only http/1.1 by ALPN" "$(tls -tls1_3 -alpn h2)" 'no application protocol'
rest
like "finite field groups are refused" "$(tls -tls1_3 -groups ffdhe2048)" 'alert|handshake failure'
is "plain HTTP gets nothing" "$(curl -s --max-time 5 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$HTTPS_PORT/v1/health")" 000
# Clients that stop in the middle, all at once: how long each is kept, and what they cost meanwhile.
mgmt_pid=$(cat "$RUN/pids/agentd-mgmt")
python3 - "$HTTPS_PORT" "$LAB/device-ca.crt" "$host" > "$LAB/chatty" 2>&1 << 'PY' &
import http.client, socket, ssl, sys, time
context = ssl.create_default_context(cafile=sys.argv[2])
time.sleep(8) # what the others cost is measured before
connection, n_closed, end = None, 0, time.monotonic() + 12
while time.monotonic() < end:
    if connection is None:
        connection = http.client.HTTPSConnection(sys.argv[3], int(sys.argv[1]), timeout=30, context=context)
        connection.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30, ("127.0.0.3", 0)), server_hostname=sys.argv[3])
    connection.request("GET", "/v1/health")
    answer = connection.getresponse()
    answer.read()
    if answer.will_close:
        n_closed += 1
        connection = None
    time.sleep(0.4)
print(n_closed > 0)
PY
chatty=$!
python3 - "$HTTPS_PORT" "$host" "$LAB/device-ca.crt" "$mgmt_pid" > "$LAB/slow" << 'PY'
import select, socket, ssl, sys, time
port, host, ca, pid = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
context = ssl.create_default_context(cafile=ca)
def plain(data):
    s = socket.create_connection(("127.0.0.1", port))
    s.send(data)
    return s
def tls(data):
    s = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname=host)
    if data:
        s.sendall(data)
    return s
open_ones = {"nothing": plain(b""), "hello": plain(b"\x16\x03\x01\x01\x00\x01"), "idle": tls(b""), "head": tls(b"GET /v1/health HTTP/1.1\r\n"),
             "body": tls(b"POST /v1/session HTTP/1.1\r\nHost: " + host.encode() + b"\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")}
begin = time.monotonic()
for s in open_ones.values():
    s.setblocking(False)
def ticks():
    fields = open("/proc/%s/stat" % pid).read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
time.sleep(0.5)
before = ticks()
measured = False
while open_ones and time.monotonic() - begin < 25:
    ready, _, _ = select.select(list(open_ones.values()), [], [], 0.2)
    if not measured and time.monotonic() - begin > 3:
        measured = True
        print("ticks", ticks() - before)
    for name, s in list(open_ones.items()):
        if s in ready:
            try:
                data = s.recv(4096)
            except ssl.SSLWantReadError:
                continue
            except OSError:
                data = b""
            if not data:
                print(name, round(time.monotonic() - begin))
                del open_ones[name]
            elif name == "body":
                print("answer", data.split()[1].decode())
PY
wait "$chatty"
is "a stranger who goes on asking is told before his time is over, and never cut off" "$(cat "$LAB/chatty")" True
gone() { sed -n "s/^$1 //p" "$LAB/slow"; }
like "a connection without a byte is given up after 5 s" "$(gone nothing)" '^[45]$'
like "half a ClientHello too" "$(gone hello)" '^[45]$'
like "half a head after 10 s" "$(gone head)" '^(9|10|11)$'
is "half a body is answered with 408" "$(gone answer)" 408
like "and given up after 10 s and a moment" "$(gone body)" '^(9|1[0-3])$'
like "a stranger who does nothing after 15 s" "$(gone idle)" '^1[456]$'
like "and waiting costs no processor time" "$(gone ticks)" '^[0-3]$'
rest

# ---- before the password is set -------------------------------------------------------------------------------------
https GET /v1/bootstrap > "$LAB/out"
like "bootstrap says factory" "$(cat "$LAB/out")" '"state":"factory"'
for route in "GET /v1/status" "GET /v1/keys" "POST /v1/keys" "POST /v1/keys/device/csr" "POST /v1/update" "GET /v1/update" \
  "POST /v1/update/fetch" "POST /v1/update/confirm" "POST /v1/update/rollback" "GET /v1/events" "GET /v1/nothing" "DELETE /v1/session"; do
  sleep 0.3
  # shellcheck disable=SC2086
  https $route -d '' > /dev/null
  problem "no login: $route" 401 authentication-required
done
https POST /v1/session -H "$JSON" -d "{\"user\":\"admin\",\"password\":\"$FACTORY_SECRET\"}" > "$LAB/session"
is "the code on the label logs in" "$HTTPS_STATUS" 201
like "for the password only" "$(cat "$LAB/session")" '"scope":"password"'
token=$(sed -n 's/.*"token":"\([^"]*\)".*/\1/p' "$LAB/session")
for route in "GET /v1/status" "POST /v1/keys" "POST /v1/update" "GET /v1/events" "GET /v1/nothing"; do
  # shellcheck disable=SC2086
  https $route -H "Authorization: Bearer $token" -d '' > /dev/null
  problem "password not set: $route" 403 password-change-required
done
like "and the answer says where to go" "$(cat "$LAB/https.body")" '"next":"/v1/credentials/admin"'
api GET /v1/status > /dev/null
is "root on the socket does not skip it either" "$API_STATUS" "$([ "$(id -u)" = 0 ] && echo 403 || echo "$API_STATUS")"
https PUT /v1/credentials/admin -H "Authorization: Bearer $token" -H "$JSON" -d '{"new":"short"}' > /dev/null
problem "a weak password is refused" 422 weak-password
like "with reasons" "$(cat "$LAB/https.body")" '"reasons":\["'
https PUT /v1/credentials/admin -H "Authorization: Bearer $token" -H "$JSON" -d "{\"new\":\"$OWNER_PASSWORD\"}" > "$LAB/session"
is "a good one is taken" "$HTTPS_STATUS" 200
old=$token
token=$(sed -n 's/.*"token":"\([^"]*\)".*/\1/p' "$LAB/session")
https GET /v1/status -H "Authorization: Bearer $old" > /dev/null
is "the token from before is dead" "$HTTPS_STATUS" 401
auth="Authorization: Bearer $token"
https GET /v1/status -H "$auth" > "$LAB/out"
is "the new one works" "$HTTPS_STATUS" 200
like "status says active" "$(cat "$LAB/out")" '"setup":"active"'
rest
https POST /v1/session -H "$JSON" -d "{\"user\":\"admin\",\"password\":\"$FACTORY_SECRET\"}" > /dev/null
problem "the code on the label is void" 401 wrong-credentials

# ---- requests that are wrong ----------------------------------------------------------------------------------------
https GET /v1/status -H "$auth" -H 'Host: evil.example' > /dev/null
problem "a foreign Host" 421 wrong-host
https GET /v1/nothing -H "$auth" > /dev/null
problem "unknown path, logged in" 404 not-found
https PUT /v1/status -H "$auth" -d '' > /dev/null
problem "wrong method" 405 method-not-allowed
https POST /v1/keys -H "$auth" -H "$JSON" -d "$(head -c 5000 /dev/zero | tr '\0' a)" > /dev/null
problem "a body that is too large" 413 too-large
https POST /v1/keys -H "$auth" -d '{}' > /dev/null
problem "a form is no JSON" 415 unsupported-media-type
https POST /v1/keys -H "$auth" -H "$JSON" -d '{"name":"a","name":"b","type":"ec-p256"}' > /dev/null
problem "a member twice" 400 bad-request
https GET /v1/status -H "$auth" -H 'Cookie: __Host-agentd=x' > /dev/null
problem "token and cookie" 400 bad-request
https POST /v1/session -H "$JSON" -H 'Origin: https://evil.example' -d '{}' > /dev/null
problem "a page of another site" 403 cross-origin
for path in '/v1/%2e%2e/status' '/v1/../v1/status' '//v1/status'; do
  https GET / -H "$auth" --path-as-is --request-target "$path" > /dev/null
  problem "path $path" 400 bad-request
done

# ---- the browser's way ----------------------------------------------------------------------------------------------
rest
https GET / -D "$LAB/head" > "$LAB/page"
is "the page is served" "$HTTPS_STATUS" 200
like "with a policy that runs nothing foreign" "$(cat "$LAB/head")" "Content-Security-Policy: default-src 'none'; script-src 'self'"
like "not kept" "$(cat "$LAB/head")" 'Cache-Control: no-store'
https POST /v1/session -c "$LAB/jar" -D "$LAB/head" -H "$JSON" -H 'X-Agentd: 1' -H "Origin: https://$host:$HTTPS_PORT" \
  -d "{\"user\":\"admin\",\"password\":\"$OWNER_PASSWORD\"}" > "$LAB/out"
is "login of a browser" "$HTTPS_STATUS" 201
like "the cookie is out of reach of scripts" "$(grep -i '^set-cookie: __Host-agentd=' "$LAB/head")" 'Secure; HttpOnly; SameSite=Strict'
like "and the token is not in the body" "$(grep -c token "$LAB/out")" '^0$'
https GET /v1/status -b "$LAB/jar" > /dev/null
is "the cookie works for reading" "$HTTPS_STATUS" 200
https DELETE /v1/session -b "$LAB/jar" > /dev/null
problem "but alone not for changing" 403 cross-origin
https DELETE /v1/session -b "$LAB/jar" -H 'X-Agentd: 1' -H "Origin: https://$host:$HTTPS_PORT" > /dev/null
is "logout" "$HTTPS_STATUS" 204
https GET /v1/status -b "$LAB/jar" > /dev/null
is "and the session is over" "$HTTPS_STATUS" 401

# ---- the Unix socket ------------------------------------------------------------------------------------------------
if [ "$(id -u)" = 0 ]; then
  api GET /v1/status > /dev/null
  is "root needs no token on the socket" "$API_STATUS" 200
  is "nobody does" "$(stranger curl -s -o /dev/null -w '%{http_code}' --unix-socket "$SOCKET" http://localhost/v1/status)" 401
fi
api GET '/v1/events?limit=5' -H "$auth" > "$LAB/out"
is "events" "$API_STATUS" 200
like "have a last number" "$(cat "$LAB/out")" '"last":[0-9]'

# ---- uploads --------------------------------------------------------------------------------------------------------
rss() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$mgmt_pid/status"; }
https POST /v1/update -H "$BIN" -H 'Expect: 100-continue' -D "$LAB/head" --data-binary @/dev/null > /dev/null
before=$(rss)
head -c 67108864 /dev/urandom > "$LAB/noise"
https POST /v1/update -H "$auth" -H "$BIN" -H 'Expect:' --data-binary "@$LAB/noise" > /dev/null
problem "64 MiB of noise" 422 update-refused
like "and the reason" "$(cat "$LAB/https.body")" '"error":"[a-z]'
head -c 4194304 /dev/urandom > "$LAB/image"
lab_bundle 1.0 "$LAB/image" 1
api POST /v1/update -H "$auth" -H "$BIN" -H 'Transfer-Encoding: chunked' -H 'Expect:' --data-binary "@$LAB/bundles/1.0.swu" > "$LAB/out"
is "a signed bundle, chunked, over the socket" "$API_STATUS" 200
like "is in the slot" "$(cat "$LAB/out")" '"stage":"(written|trying)"'
after=$(rss)
# 64 MiB went through. ASan keeps freed memory for a while.
room=4096
grep -q '^#define AGENT_SANITIZERS' "$BUILD/config.h" && room=16384
if [ $((after - before)) -lt "$room" ]; then ok "uploads are not kept in memory ($before -> $after kB)"; else not_ok "memory of agentd-mgmt: $before -> $after kB"; fi
python3 - "$HTTPS_PORT" "$host" "$token" "$LAB/device-ca.crt" << 'PY'
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[4])
s = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))), server_hostname=sys.argv[2])
s.sendall(("POST /v1/update HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/octet-stream\r\n"
           "Content-Length: 100000\r\n\r\n070702" % (sys.argv[2], sys.argv[3])).encode())
s.close()
PY
# shellcheck disable=SC2317
update_is_over() { api GET /v1/update -H "$auth" | grep -qv '"stage":"receiving"'; }
succeeds "a client that leaves frees the way for the next upload" wait_for 20 update_is_over

# An answer that does not wait for the body: a client that goes on sending, slowly and to the end, still gets it whole, and no reset.
cat > "$LAB/early.py" << 'PY'
import http.client, io, socket, ssl, sys, time
port, host, token, ca = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
context = ssl.create_default_context(cafile=ca)
class Reader(io.BytesIO):
    def makefile(self, *_):
        return self
def ask(i, head, size):
    s = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 30, ("127.0.8.%d" % i, 0)), server_hostname=host)
    s.sendall(("%s\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (head, host, size)).encode())
    answer = s.recv(1) # it is there before the body is
    for _ in range(30):
        s.sendall(bytes(size // 30))
        time.sleep(0.1)
    s.sendall(bytes(size % 30))
    while data := s.recv(65536): # ends with a close_notify, anything else raises
        answer += data
    response = http.client.HTTPResponse(Reader(answer))
    response.begin()
    body = response.read()
    assert len(body) == int(response.headers["Content-Length"]) and body.endswith(b"}\n"), answer
    return "%d after %d bytes" % (response.status, size)
owner = "\r\nAuthorization: Bearer " + token
json, binary = "\r\nContent-Type: application/json", "\r\nContent-Type: application/octet-stream"
for i, (name, head, size) in enumerate([
        ("nobody", "POST /v1/update HTTP/1.1" + binary, 900000),
        ("nobody", "PUT /v1/https/certificate HTTP/1.1" + json, 24576),
        ("owner", "PUT /v1/https/certificate HTTP/1.1" + json + owner, 4194304),
        ("owner", "POST /v1/keys HTTP/1.1" + owner, 4096),
        ("owner", "PUT /v1/status HTTP/1.1" + json + owner, 65536)]):
    for _ in range(3):
        begin = time.monotonic()
        try:
            said = ask(i + 1, head, size)
            break
        except (OSError, AssertionError) as error:
            said = repr(error)
            if time.monotonic() - begin < 9: # a stranger has 10 s; a client that did not get the processor in time proves nothing
                break
    print(name, said)
PY
is "an early answer reaches who goes on sending" "$(python3 "$LAB/early.py" "$HTTPS_PORT" "$host" "$token" "$LAB/device-ca.crt" 2>&1 | tr '\n' ';')" \
  "nobody 401 after 900000 bytes;nobody 401 after 24576 bytes;owner 413 after 4194304 bytes;owner 415 after 4096 bytes;owner 405 after 65536 bytes;"

# ---- what stays in memory -------------------------------------------------------------------------------------------
cat > "$LAB/static.py" << 'PY'
import sys
# The program's own variables: its writable mappings, and the nameless one behind them. Prints how many of the words are in there.
pid, program, words = sys.argv[1], sys.argv[2], [w.encode() for w in sys.argv[3:]]
found, was_own, n = set(), False, 0
with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
    for line in maps:
        part = line.split(None, 5)
        name = part[5].strip() if len(part) > 5 else ""
        was_own = program in name or (was_own and name == "")
        begin, end = (int(x, 16) for x in part[0].split("-"))
        if was_own and part[1].startswith("rw") and end - begin < 1 << 26:
            memory.seek(begin)
            data = memory.read(end - begin)
            n += len(data)
            found |= {i for i, w in enumerate(words) if w in data}
print(f"{len(found)} of {len(words)}, {n > 32768}")
PY
https POST /v1/session -H 'Content-Type: application/json' -d '{"user":"admin","password":"this one is wrong, it says"}' > /dev/null
https GET /v1/status -H "$auth" > /dev/null
seen=$(python3 "$LAB/static.py" "$(cat "$RUN/pids/agentd-mgmt")" agentd-mgmt "$OWNER_PASSWORD" "this one is wrong" "${token:0:20}" 2>&1)
case $seen in
  *PermissionError*) echo "# who may not trace agentd-mgmt cannot look into its memory" ;;
  *) if ldd "$PREFIX/sbin/agentd" | grep -q libasan; then echo "# AddressSanitizer keeps what was freed, beside the variables of the program"; else is "neither a password nor a token stays where bytes pass through" "$seen" "0 of 3, True"; fi ;;
esac

# ---- limits ---------------------------------------------------------------------------------------------------------
# in one go and on few connections, so that a slow machine does not give the budget time to come back
codes=$(curl -s --max-time 60 --cacert "$LAB/device-ca.crt" --resolve "$host:$HTTPS_PORT:127.0.0.1" -o /dev/null -w '%{http_code} %{num_connects}\n' \
  "https://$host:$HTTPS_PORT/v1/bootstrap#[1-60]")
is "who met 429 has to make a new connection for the next answer" "$(echo "$codes" | awk 'was == 429 && $1 != "000" && $2 == 0 { bad++ } { was = $1 } END { print bad + 0 }')" 0
codes=$(echo "$codes" | cut -d ' ' -f 1 | sort | uniq -c | tr -s ' \n' ' ')
like "a stranger who asks too often meets 429 (or is not let in)" "$codes" '(429|000)'
# shellcheck disable=SC2317
owner_gets_in() { https GET /v1/status -H "$auth" > /dev/null; [ "$HTTPS_STATUS" = 200 ]; }
succeeds "the owner at the same address still gets in" wait_for 20 owner_gets_in
kill -9 "$(cat "$RUN/pids/agentd")"
seen=$(api GET /v1/health)
like "health tells when core is gone" "$API_STATUS $seen" '^(503 .*core-unreachable|200)'
succeeds "and when it is back" wait_for 20 lab_healthy

done_testing
