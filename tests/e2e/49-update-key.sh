#!/usr/bin/env bash
# Encrypted updates through the agent: the key is sealed by the TPM, goes to agentd-install for one installation, and shows up nowhere else.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl jq
lab_up
set_password
W=$LAB/peer
mkdir -p "$W/src" && cd "$W" || exit 1
head -c 1500001 /dev/urandom > src/rootfs.img
head -c 1500000 /dev/zero >> src/rootfs.img
size=$(stat -c %s src/rootfs.img)
key=$(openssl rand -hex 32)
iv=$(openssl rand -hex 16)
printf '%s %s\n' "$key" "$iv" > aes.key
printf '%s\n' "$(openssl rand -hex 32)" > other.key
bundle() { # NAME SECURITY-VERSION "MORE"
  printf 'software = { version = "%s"; images = ( { filename = "rootfs.img"; %s properties = { slot-class = "rootfs"; }; } ); };\n' "$1" "$3" > src/sw-description
  "$AGENTCTL" bundle create src --out "$1.swu" --signer "$PKI/signer.pem" --key "$PKI/signer.key" --release-id "r-$1" --security-version "$2" \
    --product "$LAB_PRODUCT" --encryption-key aes.key > "$LAB/out" 2>&1 || not_ok "bundle $1: $(cat "$LAB/out")"
}
has_key() { ctl --json update status | jq -r .has_key; }
slot() { sha256sum < "$SLOT_B"; }
taken_back() { ctl update rollback > "$LAB/out" 2>&1 || not_ok "taking it back: $(cat "$LAB/out")"; }
as_hex() { od -An -v -tx1 "$1" | tr -d ' \n'; }
bundle zlib 1 'compressed = "zlib"; encrypted = true;'
bundle plain 1 'encrypted = "aes-cbc-256";'

is "there is no key" "$(has_key)" false
before=$(slot)
exits "an encrypted bundle is refused without one" 8 ctl update install zlib.swu
like "  and it is said" "$(cat "$LAB/out")" 'no key for updates'
is "  the slot is as it was" "$(slot)" "$before"

for bad in '' 'xyz' "${key}00" "$key 00" "${key%?}" "${key%?}g"; do
  if printf '%s\n' "$bad" | ctl update key - > "$LAB/out" 2>&1; then not_ok "a malformed key is taken: '$bad'"; fi
done
is "malformed keys are refused" "$(has_key)" false
exits "which key?" 2 ctl update key
succeeds "the key is set" ctl update key aes.key
is "  and the status says so" "$(has_key)" true
is "  nobody else reads the file" "$(stat -c %a "$LAB/state/keys/update.key")" 600
if as_hex "$LAB/state/keys/update.key" | grep -q "$key"; then not_ok "the key is in its file"; else ok "  it is sealed"; fi
for b in zlib plain; do
  succeeds "$b: the bundle installs" ctl update install "$b.swu"
  succeeds "  equal bytes" cmp -n "$size" src/rootfs.img "$SLOT_B"
  taken_back
done

# Another key: found out before the slot can be booted.
succeeds "another key" sh -c "'$AGENTCTL' --socket '$SOCKET' update key - < other.key"
for b in zlib plain; do
  exits "$b: with another key it is refused" 8 ctl update install "$b.swu"
  like "  and it is said" "$(ctl --json update status | jq -r .error_name)" '^update\.(decryption|compression|hash|chunk|size)$' # one padding of 256 is right by chance
  like "  the slot does not boot" "$(cat "$BOOT_ENV")" 'slot.b.good=0'
done
# The right one again, by a restart of everything.
succeeds "the key is set again" ctl update key aes.key
lab_agent_stop
lab_agent_start
succeeds "after a restart the bundle installs" wait_for 30 ctl update install zlib.swu
succeeds "  equal bytes" cmp -n "$size" src/rootfs.img "$SLOT_B"
taken_back

# A TPM that is gone: refused, and nothing was touched.
before=$(slot)
lab_tpm_stop
fails "without the TPM the bundle is refused" ctl update install plain.swu
is "  the slot is as it was" "$(slot)" "$before"
lab_tpm_start
succeeds "with it the bundle installs" wait_for 60 ctl update install plain.swu
taken_back

succeeds "the key is removed" ctl update key --remove
succeeds "  once more is no error" ctl update key --remove
succeeds "  and gone" test ! -e "$LAB/state/keys/update.key"
exits "  so the bundle is refused" 8 ctl update install plain.swu
names=$(api GET '/v1/events?after=0&limit=500' | jq -r '.events[].name' | tr '\n' ' ')
like "events tell of it" "$names" 'update.key_set.*update.key_removed'
is "once for each" "$(tr ' ' '\n' <<< "$names" | grep -c update.key_removed)" 1
lab_agent_stop
if grep -rqiE "$key|$iv" "$LAB/log" "$LAB/state" "$LAB/install" "$LAB/link"; then not_ok "the key is in a log or a file"; else ok "the key is in no log and no file"; fi
done_testing
