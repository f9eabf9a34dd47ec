#!/usr/bin/env bash
# Service tickets: the vendor lets one device go back to one release below its floor, once. Made, given, refused, used, and tried again.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl cpio jq
WWW=$LAB/www
SERVER_PID=
server_end() {
  local code=$?
  [ -z "$SERVER_PID" ] || kill "$SERVER_PID" 2> /dev/null
  return "$code"
}
trap 'server_end; e2e_end' EXIT
mkdir -p "$WWW"
lab_up
set_password
W=$LAB/peer
mkdir -p "$W" && cd "$W" || exit 1
now=$(date +%s)

release() { # NAME SECURITY-VERSION
  head -c 300001 /dev/urandom > "$1.img"
  lab_bundle_of "$1.swu" "$1.img" "$1" "r-$1" "$2" signer > "$LAB/out" 2>&1 || not_ok "bundle $1: $(cat "$LAB/out")"
}
shown() { ctl --json update ticket | jq -r ".$1"; }
field() { ctl --json update status | jq -r ".$1"; }
slot() { sha256sum < "$1"; }
vendor() { # BUNDLE OUT [more]
  local bundle=$1 out=$2
  shift 2
  rm -f "$out"
  "$AGENTCTL" bundle ticket "$bundle.swu" --device "$device" --used "$(shown used)" --not-after $((now + 3600)) --out "$out" \
    --signer "$PKI/signer.pem" --key "$PKI/signer.key" "$@"
}
# With openssl alone: BUNDLE OUT SIGNER [KEY=VALUE...]
by_hand() {
  local bundle=$1 out=$2 signer=$3 line
  shift 3
  cpio -i --quiet --to-stdout sw-description < "$bundle.swu" > sw-description
  printf '%s\n' 'agent service ticket 1' "device=$device" "counter=$(shown used)" "release=r-$bundle" 'security-version=3' \
    "manifest=$(sha256sum < sw-description | cut -d' ' -f1)" 'not-before=0' "not-after=$((now + 3600))" > lines
  for line; do sed -i "s/^${line%%=*}=.*/$line/" lines; done
  openssl cms -sign -binary -nosmimecap -md sha256 -in lines -outform PEM -out lines.sig -signer "$PKI/$signer.pem" -inkey "$PKI/$signer.key"
  cat lines lines.sig > "$out"
}
reason() { like "  and why is said" "$(cat "$LAB/out")" "$1"; }

release new 7
release old 3
release older 2
succeeds "a release with security version 7" ctl update install new.swu
lab_reboot
succeeds "runs and is confirmed" ctl update confirm
is "the floor is 7" "$(field floor)" 7
exits "an older one is refused" 9 ctl update install old.swu
device=$(shown device)
like "the device tells its name and how many tickets it used" "$device $(shown used) $(shown has_ticket)" '^[0-9a-f]{68} 0 false$'

# ---- the vendor's side
exits "a ticket has to end" 2 "$AGENTCTL" bundle ticket old.swu --device "$device" --used 0 --out t --signer "$PKI/signer.pem" --key "$PKI/signer.key"
exits "later than now" 2 "$AGENTCTL" bundle ticket old.swu --device "$device" --used 0 --not-after 5 --out t --signer "$PKI/signer.pem" --key "$PKI/signer.key"
fails "it is for a bundle" vendor lines t
succeeds "there is none after that" test ! -e t
succeeds "a ticket is made" vendor old good.ticket
like "  a person can read it" "$(head -n 9 good.ticket | tr '\n' ' ')" '^agent service ticket 1 device=[0-9a-f]* counter=0 release=r-old security-version=3 '

# ---- refused, when it is given
head -c 64 /dev/urandom | od -An -tx1 | tr -d ' \n' | head -c 68 > other-device
by_hand old t signer "device=$(cat other-device)"
exits "a ticket for another device" 8 ctl update ticket t
reason 'is for device'
by_hand old t signer "not-after=$((now - 60))"
exits "a ticket that is over" 9 ctl update ticket t
reason 'was valid until'
by_hand old t signer "not-before=$((now + 3000))"
exits "a ticket of tomorrow" 9 ctl update ticket t
by_hand old t signer "counter=1"
exits "a ticket for another use" 9 ctl update ticket t
by_hand old t stranger
exits "a ticket of a stranger" 8 ctl update ticket t
sed 's/release=r-old/release=r-new/' good.ticket > t
exits "a ticket that was changed" 8 ctl update ticket t
cpio -i --quiet --to-stdout sw-description < old.swu > t
cpio -i --quiet --to-stdout sw-description.sig < old.swu | openssl cms -cmsout -inform DER -outform PEM >> t
exits "the signature of a bundle is none of a ticket" 8 ctl update ticket t
exits "a bundle is no ticket" 1 ctl update ticket old.swu
is "none of them waits" "$(shown has_ticket)" false
exits "and the floor is what it was" 9 ctl update install old.swu
names=$(api GET '/v1/events?after=0&limit=500' | jq -r '.events[].name')
is "each refusal is in the events" "$(grep -c '^update.ticket_refused$' <<< "$names")" 7

# ---- given; never for what nobody asked for in person
succeeds "the ticket is given" ctl update ticket good.ticket
is "it waits" "$(shown has_ticket) $(shown release_id) $(shown security_version)" "true r-old 3"
succeeds "it can be taken back" ctl update ticket --remove
is "  it is gone" "$(shown has_ticket)" false
succeeds "it is given again" ctl update ticket good.ticket
FILE_PORT=$(lab_free_port)
{
  printf 'HTTP/1.1 200 OK\r\nContent-Length: %s\r\nConnection: close\r\n\r\n' "$(stat -c %s old.swu)"
  cat old.swu
} > "$WWW/old.swu"
cd "$WWW" || exit 1
openssl s_server -accept "127.0.0.1:$FILE_PORT" -HTTP -naccept 1000 -cert "$PKI/broker.pem" -key "$PKI/broker.key" -tls1_3 < /dev/null > "$LAB/log/s_server.out" 2>&1 &
SERVER_PID=$!
cd "$W" || exit 1
wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$FILE_PORT" || not_ok "the file server does not listen"
succeeds "an old release is offered" ctl update offer "https://localhost:$FILE_PORT/old.swu"
refused_offer() { [ "$(field offer_state)" = refused ]; }
succeeds "what is offered uses no ticket" wait_for 100 refused_offer
like "  it is below the floor" "$(field offer_error_name)" '^update.stale$'
is "  the ticket waits still" "$(shown has_ticket)" true

# ---- taken back while the bundle is on its way
mkfifo half
ctl update install - < half > "$LAB/half.out" 2>&1 &
half_pid=$!
exec 7> half
head -c 100000 old.swu >&7
is_under_way() { [[ $(field stage) =~ ^(receiving|writing)$ ]]; }
succeeds "a bundle is on its way" wait_for 60 is_under_way
succeeds "  and its ticket is taken back" ctl update ticket --remove
tail -c +100001 old.swu >&7
exec 7>&-
exits "it is refused at its end" 8 wait "$half_pid"
is "  the status says so" "$(field stage) $(field error_name)" "failed update.ticket"
is "  no ticket was used" "$(shown used) $(shown has_ticket)" "0 false"
like "  and the slot does not boot" "$(grep -c 'slot.a.good=0' "$BOOT_ENV")$(grep -c 'primary=a' "$BOOT_ENV")" '^10$'
succeeds "it is given once more" ctl update ticket good.ticket

# ---- another release, then this one
before=$(slot "$SLOT_A")
exits "it lets no other release in" 8 ctl update install older.swu
reason 'is for release r-old'
is "  the slot is as it was" "$(slot "$SLOT_A")" "$before"
is "  the ticket was not used" "$(shown used) $(shown has_ticket)" "0 true"
cp -a "$LAB/state" "$LAB/state.kept"
cp -a "$LAB/install" "$LAB/install.kept"
succeeds "it lets its release in" ctl update install old.swu
succeeds "  equal bytes" cmp -n 300001 old.img "$SLOT_A"
is "  the TPM counted it" "$(shown used) $(shown has_ticket)" "1 false"
lab_reboot
is "the old release runs" "$(field release_id)" r-old
succeeds "  and is confirmed" ctl update confirm
is "  the floor stays" "$(field floor)" 7
exits "the same ticket again" 9 ctl update ticket good.ticket
reason 'was used'
lab_agent_stop
rm -rf "$LAB/state" "$LAB/install"
mv "$LAB/state.kept" "$LAB/state"
mv "$LAB/install.kept" "$LAB/install"
lab_agent_start
is_known() { [ "$(shown used)" = 1 ]; }
succeeds "with all files of before the TPM says the same" wait_for 30 is_known
exits "  and the ticket is refused" 9 ctl update ticket good.ticket
reason 'was used'

# ---- the TPM is gone in the middle: nothing boots by a ticket that was not counted
vendor older second.ticket > "$LAB/out" 2>&1 || not_ok "second ticket: $(cat "$LAB/out")"
by_hand older t signer counter=1 security-version=2
succeeds "a ticket that openssl made" ctl update ticket t
succeeds "one that our tool made takes its place" ctl update ticket second.ticket
lab_tpm_stop
fails "without the TPM no ticket is used" ctl update install older.swu
like "  and the slot does not boot" "$(grep -c 'slot.b.good=0' "$BOOT_ENV")$(grep -c 'primary=b' "$BOOT_ENV")" '^10$'
lab_tpm_start
try_again() { ctl update install older.swu || { [ "$(shown has_ticket)" = true ] && return 1; }; }
succeeds "with it the same ticket lets it in" wait_for 60 try_again
is "  and was used" "$(shown used) $(shown has_ticket)" "2 false"
succeeds "that is taken back" ctl update rollback
succeeds "a new release goes in without a ticket" ctl update install new.swu
lab_reboot
succeeds "  and is confirmed" ctl update confirm
fails "there is no way back below the floor" ctl update rollback
names=$(api GET '/v1/events?after=0&limit=1000' | jq -r '.events[].name' | tr '\n' ' ')
like "events tell of it" "$names" 'update.ticket_given.*update.ticket_used.*update.confirmed'

# ---- a device of before has no counter
lab_agent_stop
rm -f "$LAB"/state/keys/tickets.*
lab_agent_start
like "without a counter there is nothing to make a ticket for" "$(shown used)" '^null$'
fails "and none is taken" ctl update ticket second.ticket
reason 'no counter of service tickets'
succeeds "all else works" ctl update status
done_testing
