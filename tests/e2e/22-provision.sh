#!/usr/bin/env bash
# The factory line: a unit's secret and label, once; what a camera reads is what opens the device.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need swtpm jq curl zbarimg python3 script perl openssl
lab_users
lab_make
lab_pki
lab_slots
lab_tpm_start
LAB_COST=0 lab_config

LABELS=$LAB/labels
mkdir -m 700 "$LABELS"
bench() { LC_ALL=${BENCH_LC:-C.UTF-8} XDG_RUNTIME_DIR=$LAB/xdg "$AGENTCTL" --config "$CONF" provision "$@"; }
setup() { lab_as agentd "$AGENTD" --config "$CONF" --provision --keys-only 2> /dev/null | sed -n 's/^setup: //p'; }
field() { sed -n "s/^$1: //p" "$LABELS/text"; }
# scan FILE: what a camera reads
scan() { zbarimg --quiet --raw -Sdisable -Sqrcode.enable "$1" 2> /dev/null; }
# draw FILE: a photograph of the terminal: light modules are drawn, dark ones are not
draw() {
  python3 - "$1" << 'PY'
import re, sys
rows = []
text = re.sub(r"\x1b\[[0-9;]*m", "", open(sys.argv[1], encoding="utf-8").read()).replace("\r", "")
for line in text.split("\n"):
    if re.fullmatch(r"[# ]+", line) and "##" in line:
        rows.append([c == "#" for c in line[::2]])
    elif re.fullmatch("[█▀▄ ]+", line) and re.search("[█▀▄]", line):
        rows += [[c in "█▀" for c in line], [c in "█▄" for c in line]]
width = max(map(len, rows))
with open(sys.argv[1] + ".pgm", "wb") as out:
    out.write(b"P5 %d %d 255\n" % (width * 6, len(rows) * 6))
    for row in rows:
        line = b"".join((b"\xff" if light else b"\0") * 6 for light in row + [False] * (width - len(row)))
        out.write(line * 6)
PY
  scan "$1.pgm"
}

# ---- refused, and nothing made
exits "an unknown kind of QR code" 2 bench --qr braille
exits "an option too many" 2 bench --secret ABCD-EFGH-JKMN
: > "$LABELS/taken.png"
exits "a label file that is there already" 4 bench --png "$LABELS/taken.png"
like "and it says so" "$(cat "$LAB/out")" 'taken.png: a label is written once'
ln -s "$LABELS/elsewhere" "$LABELS/link.svg"
exits "a link in its place" 4 bench --svg "$LABELS/link.svg"
is "is not followed" "$(ls "$LABELS" | tr '\n' ' ')" "link.svg taken.png "
is "no key was made by all that" "$(lab_as agentd ls "$LAB/state" | wc -l)" 0
if [ "$(id -u)" = 0 ]; then
  exits "not for anybody" 4 setpriv --reuid agentd-mgmt --regid agentd-mgmt --clear-groups "$AGENTCTL" --config "$CONF" provision
  like "and why" "$(cat "$LAB/out")" 'only root at the device'
fi
printf 'AAAA-AAAA-AAAA\n' > "$LABELS/weak"
printf 'QWER-TYZX-CVB1\n' > "$LABELS/open"
printf 'QWER-TYZX-CV\n' > "$LABELS/short"
chmod 600 "$LABELS/weak" "$LABELS/short"
chmod 644 "$LABELS/open"
exits "a secret that is not random" 1 bench --secret-file "$LABELS/weak"
exits "one that is too short" 1 bench --secret-file "$LABELS/short"
exits "one that others may read" 4 bench --secret-file "$LABELS/open"
like "and it says what to do" "$(cat "$LAB/out")" 'mode 0600'
exits "none at all" 1 bench --secret-file "$LABELS/none"
lab_tpm_stop
exits "without a TPM" 7 bench
like "with the reason" "$(cat "$LAB/out")" 'TPM|tcti'
lab_tpm_start
exits "where the label cannot be written" 1 bench --svg "$LAB/nowhere/label.svg"
exits "where nobody would read the secret" 1 bash -c 'LC_ALL=C "$0" --config "$1" provision --svg "$2" > /dev/full' "$AGENTCTL" "$CONF" "$LABELS/full.svg"
fails "and then no label is left" test -e "$LABELS/full.svg"
is "after all that no secret is stored" "$(setup)" unprovisioned
is "and a secret that would come with the keys is none" "$(echo short | lab_as agentd "$AGENTD" --config "$CONF" --provision --secret-stdin 2>&1 | grep -c password.factory_secret)" 1

# ---- once
bench --png "$LABELS/unit.png" --svg "$LABELS/unit.svg" > "$LABELS/text" 2> "$LABELS/err"
is "a unit gets its secret" "$?" 0
FACTORY_SECRET=$(field factory-secret)
like "twelve symbols" "$FACTORY_SECRET" '^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}$'
is "its serial number" "$(field serial)" "$LAB_SERIAL"
lab_trust_device
SPKI=$(openssl x509 -in "$LAB/device-ca.crt" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1)
is "and the fingerprint of its CA" "$(field device-ca)" "$SPKI"
URL="https://gw-${LAB_SERIAL,,}.local/#c=$FACTORY_SECRET&fp=$SPKI"
is "a camera reads the address from the terminal" "$(draw "$LABELS/text")" "$URL"
is "and from the PNG file" "$(scan "$LABELS/unit.png")" "$URL"
like "the SVG file shows the secret" "$(cat "$LABELS/unit.svg")" "<text[^>]*>$FACTORY_SECRET</text>"
succeeds "and is well-formed" python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$LABELS/unit.svg"
python3 - "$LABELS/unit.svg" << 'PY'
import re, sys
text = open(sys.argv[1]).read()
n = int(re.search(r'viewBox="0 0 (\d+)', text)[1])
rows = [[255] * n for _ in range(n)]
for x, y, w in re.findall(r"M(\d+) (\d+)h(\d+)v1H\d+z", text):
    rows[int(y)][int(x):int(x) + int(w)] = [0] * int(w)
with open(sys.argv[1] + ".pgm", "wb") as out:
    out.write(b"P5 %d %d 255\n" % (n * 6, n * 6))
    for row in rows:
        out.write(b"".join(bytes([v]) * 6 for v in row) * 6)
PY
is "its picture is the same" "$(scan "$LABELS/unit.svg.pgm")" "$URL"
is "label files are for their owner" "$(stat -c %a "$LABELS/unit.png" "$LABELS/unit.svg" | tr '\n' ' ')" "600 600 "
is "the state is factory" "$(setup)" factory
# cost FILE: 1 to 11, as crypt(5) writes it
cost() { sed -n 's/.*\$y\$\(j..\)\$.*/\1/p' "$LAB/state/accounts/$1" |
  awk 'BEGIN { n = split("j75 j85 j7T j8T j9T jAT jBT jCT jDT jET jFT", all) } { for (i = 1; i <= n; i++) if (all[i] == $1) print i }'; }
CHOSEN=$(cost label)
like "a cost was chosen for this device" "$CHOSEN" '^[3-7]$'
succeeds "the files of the device can be searched" grep -rqs "kind factory" "$LAB/state"
fails "no file of the device holds the secret" grep -rqs "$FACTORY_SECRET" "$LAB/state"
fails "nor without its dashes" grep -rqs "${FACTORY_SECRET//-/}" "$LAB/state"

# ---- closed behind itself
exits "a second time" 4 bench --png "$LABELS/again.png"
like "with the reason" "$(cat "$LAB/out")" 'has its factory secret already'
fails "no second label" test -e "$LABELS/again.png"
is "agentd itself takes no other secret" "$(echo QWER-TYZX-CVB1 | lab_as agentd "$AGENTD" --config "$CONF" --provision --secret-stdin 2>&1 | grep -c setup.provisioned)" 1
lab_agent_start
exits "while the agent runs" 6 bench
like "it says what to do" "$(cat "$LAB/out")" 'stop it first'
is "what the camera read opens the device" "$(https POST /v1/session -H 'Content-Type: application/json' \
  -d "$(jq -nc --arg p "$(scan "$LABELS/unit.png" | sed 's/.*#c=\([^&]*\)&.*/\1/')" '{user: "admin", password: $p}')" | jq -r .scope)" password
set_password
NAMES=$(api GET '/v1/events?after=0&limit=200' | jq -r '.events[].name' | tr '\n' ' ')
like "the audit log has it, with what was refused" "$NAMES" 'agent.provision_refused.*agent.provisioned.*agent.provision_refused'
is "and no secret" "$(api GET '/v1/events?after=0&limit=200' | grep -c -e "$FACTORY_SECRET" -e QWER-TYZX)" 0
lab_agent_stop
exits "with an owner's password" 4 bench
like "there is another reason" "$(cat "$LAB/out")" "owner's password"

# ---- another unit, with a secret of the line's own; as JSON, and in a plain terminal
rm -rf "$LAB/state" "$LAB/tpm/state"
lab_tpm_stop
lab_make
lab_tpm_start
echo 'qwer tyzx-cvbl' > "$LABELS/own"
chmod 600 "$LABELS/own"
bench --json --secret-file - < "$LABELS/own" > "$LABELS/json" 2> "$LABELS/err"
is "a secret that the line made" "$? $(jq -r .factory_secret "$LABELS/json")" "0 QWER-TYZX-CVB1"
like "its address is part of the answer" "$(jq -r .url "$LABELS/json")" '^https://gw-.*\.local/#c=QWER-TYZX-CVB1&fp=[0-9a-f]{64}$'
is "is the one that is stored" "$(setup)" factory

rm -rf "$LAB/state" "$LAB/tpm/state"
lab_tpm_stop
lab_make
lab_tpm_start
LC_ALL=C script -qec "'$AGENTCTL' --config '$CONF' provision" "$LABELS/tty" > /dev/null 2>&1 < /dev/null
like "a plain terminal is drawn with ASCII" "$(draw "$LABELS/tty")" '^https://gw-.*#c='
is "and sets its colours" "$(grep -c $'\e\[0;97;40m' "$LABELS/tty" | awk '{ print ($1 > 20) }')" 1

# ---- the first password of a fleet, from a signed file
PW='otter biscuit 41 harbour'
HASH=$(perl -e 'print crypt($ARGV[0], q($y$j9T$abcdefghijklmnopqrstu.))' "$PW")
mkdir -p "$LAB/trust/provision"
FILE=$LAB/order.json
# order SERIAL NOT_AFTER [SIGNER]: $FILE and its signature
order() {
  jq -nc --arg s "$1" --argjson t "$2" --arg h "$HASH" \
    '{profile: "agent-provisioning-1", id: "order-4711", not_after: $t, units: [{serial: "GW-0000", hash: $h}, {serial: $s, hash: $h, must_change: false}]}' > "$FILE"
  openssl cms -sign -binary -in "$FILE" -signer "$PKI/${3:-signer}.pem" -inkey "$PKI/${3:-signer}.key" -md sha256 -outform DER -out "$FILE.p7s"
}
LATER=$(($(date +%s) + 86400))
signed() { XDG_RUNTIME_DIR=$LAB/xdg "$AGENTCTL" --config "$CONF" provision --signed "$FILE" "$@"; }
refused() { # what WHY EXIT
  exits "$1" "$3" signed
  like "for its reason" "$(cat "$LAB/out")" "$2"
}
order "$LAB_SERIAL" "$LATER"
refused "nobody is pinned" 'provision.trust' 1
cp "$PKI/update-ca.pem" "$LAB/trust/provision/fleet-ca.pem"
order "$LAB_SERIAL" "$LATER" stranger
refused "a stranger's signature" 'provision.signer' 4
order "GW-0007" "$LATER"
refused "a file for other units" 'provision.serial' 4
order "$LAB_SERIAL" "$(($(date +%s) - 60))"
refused "a file whose time is over" 'provision.expired' 4
order "$LAB_SERIAL" "$LATER"
sed -i 's/GW-0000/GW-0009/' "$FILE"
refused "a file that was changed" 'provision.signature' 4
mv "$FILE.p7s" "$FILE.sig"
exits "no signature beside it" 5 signed
exits "a signature without a file" 2 bench --signature "$FILE.sig"
exits "other options beside it" 2 signed --qr none
is "after all that the state is factory" "$(setup)" factory
order "$LAB_SERIAL" "$LATER"
mv "$FILE.p7s" "$FILE.sig"
is "the right file makes the unit active" "$(signed --signature "$FILE.sig" --json | jq -r .activated) $(setup)" "order-4711 active"
mv "$FILE.sig" "$FILE.p7s"
refused "once" 'setup.activated' 4
lab_agent_start
FACTORY_SECRET=$(sed -n 's/^factory-secret: \([0-9A-Z-]*\).*/\1/p' "$LABELS/tty")
is "the label's secret is over" "$(api POST /v1/session -H 'Content-Type: application/json' -d "$(jq -nc --arg p "$FACTORY_SECRET" '{user: "admin", password: $p}')" > /dev/null; echo "$API_STATUS")" 401
is "as the signer hashed it" "$(cost current)" 5
owner_logs_in() { printf '%s\n' "$PW" | ctl login --stdin; }
succeeds "the owner's password opens the device" wait_for 30 owner_logs_in # the failure just now has a wait
WANTED=$(cost label)
[ "$WANTED" -gt 5 ] || WANTED=5
is "and is hashed again if this device can bear more" "$(cost current)" "$WANTED"
succeeds "which logs nobody out" ctl status
EVENTS=$(api GET '/v1/events?after=0&limit=200')
like "the audit log has it, with what was refused" "$(jq -r '.events[].name' <<< "$EVENTS" | tr '\n' ' ')" 'agent.activation_refused.*agent.activated.*agent.activation_refused'
like "by its id" "$(jq -c '.events[] | select(.name == "agent.activated")' <<< "$EVENTS")" 'order-4711'
is "and no hash" "$(grep -c 'j9T' <<< "$EVENTS")" 0
lab_agent_stop
lab_as agentd "$AGENTD" --config "$CONF" --factory-reset > /dev/null 2>&1
refused "after a factory reset the same file" 'provision.replayed' 4
is "the label counts again" "$(setup)" factory
like "under another generation, which is shown" "$(lab_as agentd "$AGENTD" --config "$CONF" --provision --keys-only 2> /dev/null)" 'generation: [34]$' # 4 where the hash was made again
done_testing
