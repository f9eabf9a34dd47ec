#!/usr/bin/env bash
# Wrong configuration, missing parts, full disk, rubbish: a clear error that names file, value and remedy; documented
# exit codes; nothing half written.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto cpio
lab_users
lab_make
lab_pki
lab_slots
lab_tpm_start
lab_config

out() { cat "$LAB/out"; }
agentd_as() { lab_as agentd "$AGENTD" --config "$CONF" "$@"; }

# ---- configuration
bad_config() { # "what" "text of a drop-in" "pattern of the message"
  lab_config "$2"
  exits "$1: exit 78" 78 agentd_as
  like "$1: says where and what" "$(out)" "$3"
}
bad_config "unknown setting" 'mqtt: { hots = "x"; };' 'test.conf:1.*hots'
bad_config "unknown group" $'\nmqqt: { host = "x"; };' 'test.conf:2.*mqqt'
bad_config "number out of range" 'mqtt: { port = 70000; };' 'test.conf:1.*port.*65535'
bad_config "number where text belongs" 'mqtt: { host = 7; };' 'test.conf:1.*host'
bad_config "password rule below the lowest" 'password: { min_length = 8; };' 'test.conf:1.*min_length.*12'
bad_config "syntax error" 'mqtt: { host = ;' 'test.conf:1'
lab_config
exits "no configuration file: exit 78" 78 lab_as agentd "$AGENTD" --config "$LAB/etc/none.conf"
like "no configuration file: named" "$(out)" 'none.conf'
exits "unknown option: exit 64" 64 lab_as agentd "$AGENTD" --no-such-option
succeeds "--print-config prints what can be read back" sh -c "'$AGENTD' --config '$CONF' --print-config > '$LAB/etc/printed.conf' && '$AGENTD' --config '$LAB/etc/printed.conf' --print-config"

# ---- TPM
lab_tpm_stop
exits "provisioning without a TPM: exit 69" 69 agentd_as --provision
like "provisioning without a TPM: names it" "$(out)" "$TPM_SOCKET|swtpm"
lab_tpm_start
lab_provision
lab_broker_start
lab_agent_start
lab_trust_device
set_password
lab_agent_stop
lab_tpm_stop
lab_agent_start
wait_for 10 ctl --json status
exits "login without a TPM: refused as unavailable, not as wrong" 7 sh -c "printf '%s\n' '$OWNER_PASSWORD' | '$AGENTCTL' --socket '$SOCKET' login --stdin"
like "TPM absent: said in words" "$(out)" TPM
lab_tpm_start
ready() { [ "$(ctl --json status | jq -r .tpm_state)" = READY ]; }
succeeds "the TPM comes back: ready again without a restart" wait_for 40 ready

# ---- second instance, stale socket
exits "a second supervisor: exit 75" 75 timeout 20 "$AGENTD" --config "$CONF" --supervise
like "a second supervisor: says so" "$(out)" 'already|another'
lab_agent_stop
python_socket() { perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die' "$1"; }
rm -f "$SOCKET"
python_socket "$SOCKET"
lab_agent_start
ok "a stale socket file does not hinder the start"

# ---- broker
lab_broker_stop
link_says() { ctl --json status | jq -r '.link_state + " " + (.link_detail // "")'; }
down() { link_says | grep -qE '^(waiting|offline|connecting)'; }
succeeds "broker down: status says so" wait_for 15 down
lab_broker_start
up() { link_says | grep -q '^online'; }
succeeds "broker back: online again" wait_for 20 up

# ---- bundles
before=$(lab_as agentd-install sha256sum "$SLOT_A" "$SLOT_B")
untouched() { [ "$(lab_as agentd-install sha256sum "$SLOT_A" "$SLOT_B")" = "$before" ]; }
head -c 1M /dev/urandom > "$LAB/bundles/garbage"
exits "garbage: exit 8" 8 ctl update install "$LAB/bundles/garbage"
like "garbage: with the name that docs/troubleshooting.md has" "$(out)" '\(container\.magic\)$'
: > "$LAB/bundles/empty"
exits "empty file: exit 8" 8 ctl update install "$LAB/bundles/empty"
exits "no such file: exit 1 or 2" 1 ctl update install "$LAB/bundles/none"
head -c 8M /dev/urandom > "$LAB/bundles/image"
lab_bundle 2.0.0 "$LAB/bundles/image" 5
head -c 100000 "$LAB/bundles/2.0.0.swu" > "$LAB/bundles/cut.swu"
head -c 200 "$LAB/bundles/2.0.0.swu" > "$LAB/bundles/cut-head.swu"
exits "cut in the header: exit 8" 8 ctl update install "$LAB/bundles/cut-head.swu"
succeeds "slots untouched by all of these" untouched
exits "cut in the payload: exit 8" 8 ctl update install "$LAB/bundles/cut.swu"
head -c $((LAB_SLOT_MIB + 4))M /dev/zero > "$LAB/bundles/large"
before=$(lab_as agentd-install sha256sum "$SLOT_A" "$SLOT_B")
lab_bundle 2.1.0 "$LAB/bundles/large" 6
exits "larger than the slot: exit 8" 8 ctl update install "$LAB/bundles/2.1.0.swu"
like "larger than the slot: says so" "$(out)" 'slot|space|larger'
succeeds "slots untouched by it" untouched
LAB_PRODUCT_SAVED=$LAB_PRODUCT
LAB_PRODUCT=other:9 lab_bundle 2.2.0 "$LAB/bundles/image" 7
LAB_PRODUCT=$LAB_PRODUCT_SAVED
exits "for another product: exit 8" 8 ctl update install "$LAB/bundles/2.2.0.swu"
like "for another product: names both" "$(out)" 'other:9'
succeeds "slots untouched by it" untouched
rm -f "$SLOT_B"
exits "slot missing: refused" 1 ctl update install "$LAB/bundles/2.0.0.swu"
like "slot missing: names the path" "$(out)" "$SLOT_B"

# ---- requests
is "bad JSON" "$(api POST /v1/session -H 'Content-Type: application/json' -d '{"user":' > /dev/null; cat "$LAB/api.status")" 400
is "wrong content type" "$(api POST /v1/session -H 'Content-Type: text/plain' -d '{}' > /dev/null; cat "$LAB/api.status")" 415
exits "agentctl without an agent: exit 7" 7 "$AGENTCTL" --socket "$LAB/nothing.sock" status
like "agentctl without an agent: names the socket" "$(out)" 'nothing.sock'
exits "agentctl, unknown command: exit 2" 2 "$AGENTCTL" frobnicate
exits "agentctl, half a command: exit 2" 2 "$AGENTCTL" key
like "agentctl, half a command: says what to try" "$(out)" 'agentctl key --help'
exits "an argument that may be a password is not repeated" 2 "$AGENTCTL" login my-secret-word
is "an argument that may be a password is not repeated, indeed" "$(grep -c my-secret-word "$LAB/out")" 0

# ---- every command of the table: help, an unknown option, nobody there
commands() { "$AGENTCTL" --help | sed -n '/^  [a-z]/p' | cut -c3-21 | sed 's/ *$//'; }
each() { # CODES, a list of numbers between bars; COMMAND-LINE with @ for the command: those that end otherwise, or say nothing
  local codes=$1 line=$2 words code
  while read -r words; do
    case $words in provision | console | completion | 'update health' | bundle*) [ "$codes" != '7|2|3' ] || continue ;; esac
    # shellcheck disable=SC2086
    timeout 20 "$AGENTCTL" ${line//@/$words} < /dev/null > "$LAB/out" 2>&1
    code=$?
    { [[ $code =~ ^($codes)$ ]] && [ -s "$LAB/out" ]; } || echo "$words: $code"
  done < <(commands)
}
is "the table has its commands" "$(commands | grep -cE '^(status|key create|update install|bundle create|events)$')" 5
is "each has help" "$(each 0 '@ --help')" ""
is "each refuses an unknown option as wrong usage" "$(each 2 '@ --no-such-option')" ""
# 2: an argument is missing; 3: nobody to log out.
is "each says that nobody answers, or what it lacks" "$(each '7|2|3' "--socket $LAB/nothing.sock @")" ""
is "a full disk is told" "$(ctl status 2>&1 > /dev/full; echo $?)" "$(printf 'agentctl: cannot write the answer: No space left on device\n1')"
is "who follows leaves with his reader" "$(timeout 60 bash -c '"$@" events --follow | head -n 1 | wc -l; echo "${PIPESTATUS[0]}"' x "$AGENTCTL" --socket "$SOCKET" 2>&1)" $'1\n0'

# patiently COMMAND...: again while the answer is to wait (6)
patiently() {
  local code tries=60
  while "$@"; code=$?; [ "$code" = 6 ] && [ $((tries -= 1)) -gt 0 ]; do sleep 1; done
  return "$code"
}

# ---- a wait is told with its length
right_at_once() { printf 'not the password\n' | ctl login --stdin > /dev/null 2>&1; printf '%s\n' "$OWNER_PASSWORD" | ctl login --stdin; }
# On a machine that is slow enough the wait is over by then.
for _ in {1..10}; do
  right_at_once > "$LAB/out" 2>&1
  [ $? != 6 ] || break
done
like "a try that comes too soon is told how long to wait" "$(out)" '^agentctl: too many.*: again in [0-9]+ s$'

# ---- a slot that cannot be written: said before anything is marked. Kernels let a write-protected device be opened for writing, and fail the first write.
marks() { lab_as agentd-install cat "$BOOT_ENV"; lab_as agentd-install sha256sum "$LAB/install/journal"; }
protected() { # "what" PATH
  lab_config "update: { slots = ( { class = \"rootfs\"; name = \"a\"; path = \"$SLOT_A\"; }, { class = \"rootfs\"; name = \"b\"; path = \"$2\"; } ); };"
  lab_agent_start
  patiently ctl update status > /dev/null
  before=$(marks 2> /dev/null)
  exits "$1: refused" 1 patiently ctl update install "$LAB/bundles/2.0.0.swu"
  like "$1: says which and what to check" "$(out)" "$2 is read-only: .*\\(slot\\.read-only\\)\$"
  is "$1: nothing was marked" "$(marks 2> /dev/null)" "$before"
  lab_agent_stop
  lab_config
}
lab_agent_stop
truncate -s "${LAB_SLOT_MIB}M" "$LAB/slots/protected.img"
if [ "$(id -u)" = 0 ] && loop=$(losetup -r -f --show "$LAB/slots/protected.img" 2> /dev/null); then
  LAB_LOOPS=$loop # lab_slots_stop gives it back
  lab_own agentd-install: "$loop"
  protected "a write-protected device" "$loop"
else
  echo "# no loop device to be had: a write-protected device was not tried"
fi

# ---- full disk: docs/troubleshooting.md says what goes on and what does not
lab_agent_stop
trap 'code=$?; umount -l "$LAB/state" 2> /dev/null; (exit $code); e2e_end' EXIT
cp -a "$LAB/state" "$LAB/state.copy"
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=8M,mode=700,uid="$(id -u agentd)",gid="$(id -g agentd)" tmpfs "$LAB/state" 2> /dev/null; then
  cp -a "$LAB/state.copy/." "$LAB/state"
  lab_agent_start
  dd if=/dev/zero of="$LAB/state/fill" bs=4k 2> /dev/null
  NEW_PASSWORD='seven tins of green varnish'
  printf '%064d\n' 0 > "$LAB/aes"
  logs_in() { printf '%s\n' "$1" | ctl login --stdin; }
  changes() { printf '%s\n' "$OWNER_PASSWORD" "$NEW_PASSWORD" | ctl passwd --stdin; }
  succeeds "full disk: root still logs in" patiently logs_in "$OWNER_PASSWORD"
  exits "full disk: no password is changed" 1 patiently changes
  like "full disk: it says so, with a name" "$(out)" 'No space left on device \(file\.write\)'
  exits "full disk: a user who is not root cannot be counted, so he cannot log in" 1 patiently setpriv --reuid=nobody --clear-groups sh -c \
    'printf "%s\n" "$1" | "$2" --socket "$3" login --stdin' x "$OWNER_PASSWORD" "$AGENTCTL" "$SOCKET"
  like "full disk: that says so as well" "$(out)" 'cannot count a login.*No space left'
  nonce=00112233445566778899aabbccddeeff
  for words in 'key create full' 'https request' 'update policy approval' 'key rotate device --subject CN=full' 'update recipient' "update key $LAB/aes"; do
    # shellcheck disable=SC2086
    exits "full disk: $words fails" 1 ctl $words
    like "full disk: $words says why" "$(out)" 'No space left|no room'
  done
  is "full disk: no policy was chosen" "$(ctl --json update status | jq -r .policy)" automatic
  succeeds "full disk: evidence can be given" ctl key certify device --nonce "$nonce"
  rm "$LAB/state/fill"
  succeeds "room again: the password is changed, without a restart" patiently changes
  succeeds "and it is the new one" patiently logs_in "$NEW_PASSWORD"
  lab_agent_stop
  umount "$LAB/state"
else
  echo "# no tmpfs to be had: a full disk was not tried"
fi

# ---- completion
"$AGENTCTL" completion bash > "$LAB/completion"
complete_words() { bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _agentctl; echo "${COMPREPLY[*]}"' x "$LAB/completion" agentctl "$@"; }
is "completion of a command" "$(complete_words ke)" key
is "of its second word, behind options" "$(complete_words --json --socket /x key rot)" rotate
is "of an option" "$(complete_words update approve --so)" --source
is "where a file belongs, none of ours" "$(complete_words update install '')" ""
done_testing
