#!/usr/bin/env bash
# What goes to the TPM, through a running agent: how many commands a start and a handshake take, none for a server that
# is refused; and, in a recording of the bus, no authValue and no secret, in any spelling.
# shellcheck source=tests/e2e/lib.sh disable=SC2119
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl jq xxd python3 tpm2_create tpm2_getcap
FAULT=$BUILD/.libs/libtss2-tcti-fault.so
BENCH=$BUILD/tests/bench/bench_handshake
LIVE=$BUILD/tests/tpm/test_tpm_live
for f in "$FAULT" "$BENCH" "$LIVE"; do [ -e "$f" ] || { echo "SKIP: $f is not built (make check TESTS=)"; exit 77; }; done
export TSS2_LOG=all+none

lab_users
lab_make
lab_pki
lab_slots
lab_tpm_start
RULES=$LAB/state/faults COUNTS=$LAB/state/faults.count
lab_config 'vendor: { calls_per_s = 1000; burst = 1000; };'
# The agent's own link stays silent and the idle TPM is left alone, so that what is counted was asked for here.
sed -i -e 's|enable = true; host|enable = false; host|' -e "s|^tpm: .*|tpm: { tcti = \"$FAULT:$RULES@$TCTI\"; probe_s = 3600; };|" "$CONF"
: > "$COUNTS"
: > "$RULES.bus" # recorded from here on, provisioning included
lab_own agentd: "$COUNTS" "$RULES.bus"
lab_provision
cp "$COUNTS" "$LAB/provision.count"
: > "$COUNTS" # each process counts from zero
lab_broker_start
lab_agent_start
set_password
ctl key allow device "uid:$(id -u)" > /dev/null
CERT=$LAB/trust/broker/device.pem CA=$PKI/broker-ca.pem

# "CODE+N ..." for the commands that came since mark
mark() { cp "$COUNTS" "$LAB/mark"; }
since() { awk 'NR == FNR { was[$1] = $2; next } $2 > was[$1] { printf "%s%s+%d", sep, $1, $2 - was[$1]; sep = " " }' "$LAB/mark" "$COUNTS"; }
connect() { timeout 60 "$BENCH" agentd "$RUN/vendor.sock" device "$CERT" "${CA_FILE:-$CA}" "$@" 1 > "$LAB/connect" 2>&1; }

# ---- commands: start ---------------------------------------------------------------------
# A program of its own, as a vendor's daemon without agentd would be: ReadPublic of the SRK, Load of the key.
KEYS=$LAB/keys
mkdir -p "$KEYS"
echo message > "$LAB/msg"
live() { "$LIVE" "$FAULT:$LAB/own@$TCTI" "$KEYS" "$@" 2> /dev/null; }
live provision > /dev/null
live create mine ec-p256 > /dev/null
rm -f "$LAB/own.count"
like "a start with an existing key: 2 commands, at most 3 allowed" "$(live sign mine "$LAB/msg")" '^signed start=2 '
like "which the counting TCTI confirms: one ReadPublic, one Load" "$(cat "$LAB/own.count")" '^173 1'
is "  one Load" "$(awk '$1 == "157" { print $2 }' "$LAB/own.count")" 1

# ---- commands: a handshake -----------------------------------------------------------------
connect localhost "$BROKER_PORT"
mark
succeeds "a TLS 1.3 handshake with mosquitto through agentd" connect localhost "$BROKER_PORT"
is "is one StartAuthSession and one Sign" "$(since)" '176+1 15d+1'
mark
for _ in 1 2 3 4 5; do connect localhost "$BROKER_PORT" || not_ok "handshake"; done
is "five are five" "$(since)" '176+5 15d+5'
# Other keys need slots too: a login has an HMAC key, others sign requests.
for key in other another; do
  ctl key create $key > /dev/null
  ctl key csr $key --subject CN=$key > /dev/null
done
connects() { mark; connect localhost "$BROKER_PORT" || not_ok "handshake"; }
connects
is "after a login and the use of other keys it is the same" "$(since)" '176+1 15d+1'

# ---- commands: a server that is refused ------------------------------------------------------
# The client knows who it talks to before it signs.
lab_leaf broker-ca elsewhere "/CN=elsewhere" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:elsewhere.test'
lab_leaf broker-ca clientish "/CN=localhost" $'extendedKeyUsage=clientAuth\nsubjectAltName=DNS:localhost'
openssl x509 -req -in "$PKI/broker.csr" -CA "$PKI/broker-ca.pem" -CAkey "$PKI/broker-ca.key" -CAcreateserial -days -1 \
  -extfile "$PKI/broker.ext" -out "$PKI/expired.pem" 2> /dev/null
cp "$PKI/broker.key" "$PKI/expired.key"
fails "the expired certificate has expired" openssl x509 -in "$PKI/expired.pem" -noout -checkend 0
serve() { # KIND CERTIFICATE
  PORT=$(lab_free_port)
  case $1 in
  mosquitto)
    sed -e "s|^listener .*|listener $PORT 127.0.0.1|" -e "s|^certfile .*|certfile $PKI/$2.pem|" -e "s|^keyfile .*|keyfile $PKI/$2.key|" \
      "$LAB/etc/mosquitto.conf" > "$LAB/etc/other.conf"
    mosquitto -c "$LAB/etc/other.conf" > /dev/null 2>&1 & ;;
  s_server)
    openssl s_server -accept "127.0.0.1:$PORT" -cert "$PKI/$2.pem" -key "$PKI/$2.key" -tls1_3 -quiet -Verify 1 -CAfile "$PKI/device-ca.pem" \
      < /dev/null > /dev/null 2>&1 & ;;
  esac
  SERVER=$!
  wait_for 10 bash -c "exec 3<> /dev/tcp/127.0.0.1/$PORT" || not_ok "$1 did not start"
}
stop_server() { kill "$SERVER" 2> /dev/null; wait "$SERVER" 2> /dev/null; }
refused() { # "what" KIND CERTIFICATE CA PATTERN
  serve "$2" "$3"
  mark
  if CA_FILE=$4 connect localhost "$PORT"; then not_ok "$1 ($2): accepted"; else like "$1 ($2) is refused" "$(cat "$LAB/connect")" "$5"; fi
  is "  and the TPM heard nothing" "$(since)" ''
  stop_server
}
for kind in mosquitto s_server; do
  refused "a server of another CA" "$kind" broker "$PKI/other-ca.pem" 'trust anchors'
  refused "a server of another name" "$kind" elsewhere "$CA" 'elsewhere\.test'
  refused "an expired server" "$kind" expired "$CA" 'expired|ended|valid'
  refused "a client's certificate as a server" "$kind" clientish "$CA" 'not meant for a TLS server'
done
serve mosquitto broker
mark
succeeds "the right server at the same place is accepted" connect localhost "$PORT"
is "with one signature: what was counted before could have been seen" "$(since)" '176+1 15d+1'
stop_server

# ---- the recording -----------------------------------------------------------------------------
# Is any 8 bytes of a value in a recording, as they are, backwards, as hexadecimal of either case or as base64 of it all?
cat > "$LAB/search.py" << 'PY'
import base64, sys
bus, value = (open(p, "rb").read() for p in sys.argv[1:3])
value = value.rstrip(b"\n")
assert len(value) >= 8, "too short to be looked for"
parts = [value[i:i + 8] for i in range(len(value) - 7)]
looks = [(f(p), n) for p in parts for n, f in (("plain", bytes), ("backwards", lambda b: b[::-1]), ("hex", lambda b: b.hex().encode()),
         ("HEX", lambda b: b.hex().upper().encode()), ("hex backwards", lambda b: b[::-1].hex().encode()))]
looks.append((base64.b64encode(value).rstrip(b"="), "base64"))
found = sorted({n for look, n in looks if look in bus})
print(" ".join(found))
PY
search() { python3 "$LAB/search.py" "$1" "$2"; }
cp "$RULES.bus" "$LAB/bus"
recorded() { [ "$(awk -v c="$1" '$1 == c { n += $2 } END { print n + 0 }' "$LAB/provision.count" "$COUNTS")" -ge "${2:-1}" ]; }
ctl key create recorded > /dev/null
ctl key csr recorded --subject CN=recorded > /dev/null
cp "$RULES.bus" "$LAB/bus"
succeeds "recorded: making of keys" recorded 153 5
succeeds "recorded: signatures" recorded 15d 5
succeeds "recorded: definition of NV indices" recorded 12a 3
succeeds "recorded: increments of NV counters" recorded 134 3
succeeds "recorded: a write to NV" recorded 137
succeeds "recorded: HMACs over the password" recorded 155 1
n=0
for f in "$LAB"/state/keys/*auth "$LAB"/state/accounts/*auth; do
  [ -s "$f" ] || continue
  n=$((n + 1))
  is "no part of $(basename "$f") is in it" "$(search "$LAB/bus" "$f")" ''
done
[ "$n" -ge 7 ] || not_ok "only $n authValues were looked for"
printf '%s' "$OWNER_PASSWORD" > "$LAB/value"
is "nor of the owner's password" "$(search "$LAB/bus" "$LAB/value")" ''
printf '%s' "$FACTORY_SECRET" > "$LAB/value"
is "nor of the label's secret" "$(search "$LAB/bus" "$LAB/value")" ''

# The search finds what is there: the same things done by tools that send passwords as they are.
export TCTI_PCAP_FILE=$LAB/clear.bus
printf 'found-in-the-clear' > "$LAB/value"
tpm2_create -Q -T "pcap:$TCTI" -C 0x81000001 -p "file:$LAB/value" -u "$LAB/t.pub" -r "$LAB/t.priv" 2> /dev/null
is "a password that tpm2_create sends is found" "$(search "$LAB/clear.bus" "$LAB/value")" plain
rm -f "$LAB/clear.bus"
tpm2_nvdefine -Q -T "pcap:$TCTI" 0x01800b10 -C o -s 40 -a 'authread|authwrite' -p "file:$LAB/value" 2> /dev/null
is "one that tpm2_nvdefine sends as well" "$(search "$LAB/clear.bus" "$LAB/value")" plain
rm -f "$LAB/clear.bus"
rev "$LAB/value" | tr -d '\n' | tpm2_nvwrite -Q -T "pcap:$TCTI" 0x01800b10 -C 0x01800b10 -P "file:$LAB/value" -i- 2> /dev/null
is "and what it writes backwards" "$(search "$LAB/clear.bus" "$LAB/value")" backwards
rm -f "$LAB/clear.bus"
xxd -p "$LAB/value" | tr -d '\n' | tpm2_nvwrite -Q -T "pcap:$TCTI" 0x01800b10 -C o -i- 2> /dev/null ||
  xxd -p "$LAB/value" | tr -d '\n' | tpm2_nvwrite -Q -T "pcap:$TCTI" 0x01800b10 -C 0x01800b10 -P "file:$LAB/value" -i- 2> /dev/null
like "or in hexadecimal" "$(search "$LAB/clear.bus" "$LAB/value")" 'hex'
unset TCTI_PCAP_FILE
tpm2_getcap -T "$TCTI" handles-nv-index | grep -q 0x1800B10 || not_ok "the tools did write"

lab_agent_stop
is "nothing is left in the TPM" "$(tpm2_getcap -T "$TCTI" handles-transient; tpm2_getcap -T "$TCTI" handles-loaded-session)" ''
done_testing
