#!/usr/bin/env bash
# Scripts of bundles: refused unless the device allows them; run in order and with the arguments of stock swupdate; and whatever one of them does, it
# is bounded, nothing of it stays, and a failure leaves the slot invalid and the running one in charge.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl cpio swupdate jq /usr/bin/python3
[ "$(id -u)" = 0 ] || { echo "SKIP: users of their own take root"; exit 77; }
LAB_USERS="$LAB_USERS agentd-script"
# All processes of the user agentd-script end with a script: one lab at a time.
exec 9> /tmp/libagent-scripts.lock
flock -w 1500 9 || { echo "another run of this script does not end"; exit 1; }
LAB_SLOT_MIB=1
lab_users
lab_make
lab_pki
lab_slots
mkdir "$LAB/may"
lab_own agentd-script: "$LAB/may"
lab_agent_settings() { # SCRIPTS TIMEOUT
  printf 'update: { boot_backend = "file"; boot_config = "%s"; allow_compat = true; scripts = "%s"; script_timeout_s = %s; script_paths = [ "%s" ];\n' \
    "$BOOT_ENV" "$1" "$2" "$LAB/may"
  printf '  selections = [ "a=stable,copy-1", "b=stable,copy-2" ];\n'
  printf '  slots = ( { class = "rootfs"; name = "a"; path = "%s"; }, { class = "rootfs"; name = "b"; path = "%s"; } ); };\n' "$SLOT_A" "$SLOT_B"
}
lab_agent_start() {
  setsid "$AGENTD" --config "$CONF" --supervise < /dev/null >> "$AGENT_LOG" 2>&1 9>&- &
  AGENT_PID=$!
  wait_for 60 lab_healthy || lab_fail "the agent did not start, see $AGENT_LOG: $(tail -n 5 "$AGENT_LOG")"
}
lab_up "$(lab_agent_settings refuse 60)" 9>&-
set_password
W=$LAB/peer
mkdir -p "$W" && cd "$W" || exit 1
head -c 300001 /dev/urandom > image

# ---- making bundles --------------------------------------------------------------------------------------------------
element() { printf '{ filename = "%s"; sha256 = "%s"; %s }' "$1" "$(sha256sum < "$1" | cut -c1-64)" "$2"; }
SCRIPTS='' ORDER=''
begin() { SCRIPTS='' ORDER=''; }
# script NAME TYPE < TEXT
script() {
  cat > "$1"
  SCRIPTS="$SCRIPTS${SCRIPTS:+, }$(element "$1" "type = \"$2\";")"
  ORDER="$ORDER $1"
}
N=0
describe() {
  N=$((N + 1))
  printf 'software = { version = "7.%s"; hardware-compatibility = [ "%s" ]; stable = {\n' "$N" "${LAB_PRODUCT#*:}"
  printf '  copy-1 = { images = ( %s ); scripts = ( %s ); };\n' "$(element image "device = \"$SLOT_A\"; installed-directly = true;")" "$SCRIPTS"
  printf '  copy-2 = { images = ( %s ); scripts = ( %s ); };\n' "$(element image "device = \"$SLOT_B\"; installed-directly = true;")" "$SCRIPTS"
  printf '}; };\n'
}
sign() { openssl cms -sign -in sw-description -out sw-description.sig -signer "$PKI/signer.pem" -inkey "$PKI/signer.key" -outform DER -nosmimecap -binary; }
pack() { # OUT MEMBER...
  local out=$1
  shift
  printf '%s\n' sw-description sw-description.sig "$@" | cpio -o -H crc --quiet > "$out"
}
# shellcheck disable=SC2086
bundle() { describe > sw-description; sign; pack b.swu $ORDER image; }

env_is() { lab_as agentd-install cat "$BOOT_ENV"; }
slot_sum() { sha256sum < "$SLOT_B" | cut -c1-64; }
processes() { ps -o pid=,args= -u agentd-script 2> /dev/null | grep -v 'agentd-script$' | grep -v -- '--config' | grep -v defunct; }
nothing_left() { [ -z "$(processes)" ]; }
# refused "what" PATTERN: of b.swu, before anything is touched.
refused() {
  local env slot
  env=$(env_is) slot=$(slot_sum)
  fails "$1" ctl update install "${3:-b.swu}"
  like "  says why" "$(cat "$LAB/out")" "$2"
  if [ "$(env_is)" = "$env" ] && [ "$(slot_sum)" = "$slot" ]; then ok "  nothing has changed"; else not_ok "  $1: slot or boot environment changed"; fi
}
# A script after the images: b.swu fails, the slot is not bootable, slot a goes on.
breaks() {
  fails "$1" ctl update install b.swu
  like "  says why" "$(cat "$LAB/out")" "$2"
  if env_is | grep -q '^primary=a$' && ! env_is | grep -q '^slot.b.good=1' && ! env_is | grep -qE '^slot.b.tries_left=[1-9]'; then
    ok "  slot b does not boot, slot a does"
  else
    not_ok "  $1: $(env_is)"
  fi
  if nothing_left; then ok "  nothing of it runs"; else not_ok "  $1: left: $(processes)"; fi
}

# ---- refused by default ----------------------------------------------------------------------------------------------
begin
script hello.sh shellscript <<< 'echo hello'
bundle
refused "scripts are refused by default" 'hello\.sh.*update\.scripts'

# ---- too long: little time, and afterwards as much as any of the others may need --------------------------------------------
lab_agent_stop
lab_config "$(lab_agent_settings run 2)"
lab_agent_start
begin
script hang.sh postinstall <<< 'trap "" TERM; while :; do sleep 1000; done'
bundle
breaks "a script that hangs" 'hang\.sh took longer than'
begin
script loop.sh postinstall <<< 'while :; do :; done'
bundle
breaks "a script that spins" 'loop\.sh (took longer than|was ended by signal)'
lab_agent_stop
lab_config "$(lab_agent_settings run 60)"
lab_agent_start

begin
script evil.lua lua <<< 'os.execute("true")'
bundle
refused "Lua is refused also where scripts run" 'evil\.lua.*lua'

# ---- order and arguments, beside stock swupdate ------------------------------------------------------------------------
TRACE=$LAB/may/trace
begin
for n in one:shellscript two:preinstall three:postinstall four:shellscript; do
  script "${n%:*}.sh" "${n#*:}" << SH
#!/bin/sh
echo "${n%:*} \$# \$1" >> $TRACE
SH
done
bundle
own_tmpdir
cp "$SLOT_B" "$W/slot.before"
swupdate -k "$PKI/update-ca.pem" -H "${LAB_PRODUCT/:/:}" -e stable,copy-2 -M -m -i b.swu > swupdate.log 2>&1 9>&- || not_ok "swupdate: $(tail -n 5 swupdate.log)"
unset TMPDIR
mv "$TRACE" trace.stock
cat "$W/slot.before" > "$SLOT_B"
succeeds "a stock bundle with scripts installs" ctl update install b.swu
is "  order and arguments are those of swupdate" "$(cat "$TRACE")" "$(cat trace.stock)"
is "  which are" "$(tr '\n' ';' < "$TRACE")" 'one 1 preinst;two 0 ;four 1 preinst;one 1 postinst;three 0 ;four 1 postinst;'
succeeds "  equal bytes in the slot" cmp -n 300001 image "$SLOT_B"
like "  it is tried next" "$(env_is)" '^primary=b$'
succeeds "  taken back" ctl update rollback

# ---- the strict profile, made by our tool ---------------------------------------------------------------------------------------
mkdir strict && cp image strict/
echo "echo strict > $LAB/may/strict" > strict/s.sh
cat > strict/sw-description << D
software = { version = "7.strict"; stable = {
  copy-1 = { images = ( { filename = "image"; device = "$SLOT_A"; } ); scripts = ( { filename = "s.sh"; type = "postinstall"; } ); };
  copy-2 = { images = ( { filename = "image"; device = "$SLOT_B"; } ); scripts = ( { filename = "s.sh"; type = "postinstall"; } ); };
}; };
D
succeeds "a strict bundle with a script is made" "$AGENTCTL" bundle create strict --out strict.swu --signer "$PKI/signer.pem" --key "$PKI/signer.key" \
  --product "$LAB_PRODUCT" --security-version 1 --slot-class rootfs --scripts
fails "  it has not run here" test -e "$LAB/may/strict"
succeeds "  it installs" ctl update install strict.swu
is "  it ran" "$(cat "$LAB/may/strict")" strict
succeeds "  taken back" ctl update rollback

# ---- when: before is before, after is after ----------------------------------------------------------------------------
begin
script no.sh preinstall << 'SH'
echo "this device is not fit"
exit 3
SH
bundle
refused "a script before the images ends with status 3" 'update\.script.*no\.sh ended with status 3.*not fit|no\.sh ended with status 3.*not fit'
begin
script no.sh postinstall << 'SH'
printf 'first\nthe last \303\251 \033[31mword\n'
exit 4
SH
bundle
breaks "a script after the images ends with status 4" 'no\.sh ended with status 4, last line: the last \?\? \?\[31mword'
begin
script tampered.sh postinstall <<< "echo ran > $LAB/may/tampered"
bundle
sed -i 's/echo ran > /echo Ran > /' tampered.sh
pack b.swu tampered.sh image
refused "a script with another hash than the signed one" 'tampered\.sh'
fails "  and did not run" test -e "$LAB/may/tampered"

# ---- ends ---------------------------------------------------------------------------------------------------------------
begin
script killed.sh postinstall <<< 'kill -9 $$'
bundle
breaks "a script that is killed" 'killed\.sh was ended by signal 9'
begin
script bomb.sh postinstall << 'SH'
bomb() { bomb | bomb & }
bomb
sleep 0.2
exit 3
SH
bundle
breaks "a fork bomb" 'bomb\.sh (ended with status|was ended by signal)'
begin
script flood.sh postinstall <<< 'yes "$(printf "%01000d" 7)" | head -n 20000; exit 5'
bundle
breaks "20 MB of output" 'flood\.sh ended with status 5'
is "  the log has its share of it" "$(grep -c 'flood\.sh: 0000' "$AGENT_LOG")" 200
begin
script full.sh postinstall << 'SH'
i=0
while :; do i=$((i + 1)); head -c 1000000 /dev/zero > "$TMPDIR/$i" || exit 9; done
SH
bundle
breaks "a script that fills its folder" 'full\.sh wrote more into its scratch folder'
is "  which is empty again" "$(ls -A "$RUN/script")" ''
begin
script hidden.sh postinstall << 'SH'
mkdir "$TMPDIR/shut" && chmod 300 "$TMPDIR/shut" && head -c 1000000 /dev/zero > "$TMPDIR/shut/file" || exit 9
chmod 300 "$TMPDIR"
sleep 1000
SH
bundle
breaks "a script that hides what it writes" 'hidden\.sh wrote more into its scratch folder than it may, or shut a part of it'
is "  which is gone as well" "$(ls -A "$RUN/script")" ''
is "  and the next script can write there" "$(stat -c %a "$RUN/script")" 700
begin
script big.sh postinstall <<< 'dd if=/dev/zero of=/dev/null bs=900M count=1'
bundle
breaks "a script that wants too much memory" 'big\.sh ended with status'

# Whoever goes into the background, with a session of its own and no parent, ends with the script that made him.
begin
script daemon.sh postinstall << SH
(setsid sh -c 'trap "" HUP TERM; while :; do sleep 0.1; echo alive >> $LAB/may/daemon; done' < /dev/null > /dev/null 2>&1 &) &
while [ ! -s $LAB/may/daemon ]; do sleep 0.1; done
SH
bundle
succeeds "a script that leaves a daemon behind" ctl update install b.swu
if nothing_left; then ok "  the daemon is gone"; else not_ok "  the daemon runs: $(processes)"; fi
succeeds "  (it did run)" test -s "$LAB/may/daemon"
succeeds "  taken back" ctl update rollback

# ---- what it may not -------------------------------------------------------------------------------------------------------
begin
script spy.sh preinstall << SH
# A door is shut when the kernel says so, and not when there is no such program.
try() {
  what=\$1; shift
  if "\$@" > /dev/null 2> \$TMPDIR/err; then echo "OPEN \$what"
  elif grep -qiE 'permission denied|not permitted|superuser' \$TMPDIR/err; then echo "shut \$what"
  else echo "ODD \$what: \$(head -n 3 \$TMPDIR/err)"; fi >> $LAB/may/spy
}
try state ls $LAB/state
try keys cat $LAB/state/keys/device-ca.crt
try install ls $LAB/install
try journal cat $LAB/install/journal
try environment cat $BOOT_ENV
try slot dd if=$SLOT_B of=/dev/null count=1
try pki cat $PKI/signer.key
try config ls $LAB/etc
try shadow cat /etc/shadow
try tpm /usr/bin/python3 -c "import socket; socket.socket(socket.AF_UNIX).connect('$TPM_SOCKET')"
try api /usr/bin/python3 -c "import socket; socket.socket(socket.AF_UNIX).connect('$SOCKET')"
try inet /usr/bin/python3 -c "import socket; socket.socket(socket.AF_INET)"
try packet /usr/bin/python3 -c "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"
try tmp touch /tmp/agentd-script-was-here-$$
try shm touch /dev/shm/agentd-script-was-here-$$
try vartmp touch /var/tmp/agentd-script-was-here-$$
try execute sh -c 'cp /bin/true \$TMPDIR/own && \$TMPDIR/own'
try mount mount -t tmpfs none /mnt
try namespace unshare -U true
try su setpriv --reuid 0 true
try supervisor kill -9 $AGENT_PID
try parent kill -9 \$PPID
try everybody sh -c 'kill -9 -1'
try group kill -9 -\$PPID
try owner /usr/bin/python3 -c "import fcntl, os; fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())"
try "owner of a socket" /usr/bin/python3 -c "import fcntl, os, socket, struct; fcntl.ioctl(socket.socketpair()[0], 0x8901, struct.pack('i', os.getppid()))"
try environ cat /proc/\$PPID/environ
try memory cat /proc/\$PPID/mem
{ echo "stdin \$(wc -c)"; echo "env \$(env | cut -d= -f1 | sort | tr '\n' ' ')"; echo "fds \$(ls /proc/self/fd | tr '\n' ' ')"; id -un; pwd; } > $LAB/may/around
try own sh -c 'echo x > \$TMPDIR/x && cat \$TMPDIR/x'
SH
bundle
succeeds "a script that looks around is run to its end" ctl update install b.swu
is "  28 doors are shut" "$(grep -c '^shut' "$LAB/may/spy")" 28
is "  one is open, its own folder" "$(grep -v '^shut' "$LAB/may/spy" | tr '\n' ';')" 'OPEN own;'
like "  the environment is the documented one" "$(grep ^env "$LAB/may/around")" '^env AGENT_PHASE HOME LC_ALL (OLDPWD )?PATH PWD (SHLVL )?TMPDIR (_ )?$'
is "  standard input is empty" "$(grep ^stdin "$LAB/may/around")" 'stdin 0'
like "  its own user, in its own folder" "$(tail -n 2 "$LAB/may/around" | tr '\n' ' ')" "^agentd-script $RUN/script"
succeeds "  the agent is there as before" lab_healthy
succeeds "  taken back" ctl update rollback

# ---- who may ask for it -----------------------------------------------------------------------------------------------------
cat > ask.py << 'PY'
import array, fcntl, os, socket, struct, sys
path, sealed, text = sys.argv[1], sys.argv[2] == "sealed", sys.argv[3].encode()
fd = os.memfd_create("script", os.MFD_ALLOW_SEALING)
os.write(fd, text)
os.fchmod(fd, 0o555)
if sealed:
    fcntl.fcntl(fd, 1033, 15)
s = socket.socket(socket.AF_UNIX)
s.connect(path)
s.sendmsg([struct.pack("=III256s", 1, 0, 0, b"asked.sh")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
answer = s.recv(4096)
if len(answer) < 12:
    sys.exit("no answer")
version, end, value = struct.unpack("=IIi", answer[:12])
print(end, value, answer[12:].split(b"\0")[0].decode())
PY
chmod 755 "$W" && chmod 644 ask.py
ask() { local user=$1; shift; lab_as "$user" /usr/bin/python3 "$W/ask.py" "$RUN/script.sock" "$@" 9>&- 2>&1; }
like "agentd-install may ask" "$(ask agentd-install sealed 'echo fine')" '^0 0 fine'
like "a script that is not sealed is refused" "$(ask agentd-install open 'echo fine')" '^4 0 the script is not sealed'
like "another user cannot connect" "$(ask agentd-link sealed 'echo fine')" 'Permission|denied'
like "root is not agentd-install" "$(/usr/bin/python3 ask.py "$RUN/script.sock" sealed 'echo fine' 2>&1 9>&-)" 'no answer|reset|Broken pipe'

# A program that gives up must not leave its caller waiting: systemd would start it for him without end.
cat > door.py << 'PY'
import os, socket, sys
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1] + "/door.sock")
door.listen()
caller = socket.socket(socket.AF_UNIX)
caller.connect(sys.argv[1] + "/door.sock")
child = os.fork()
if child == 0:
    os.dup2(door.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="script")
    os.execve(sys.argv[2], sys.argv[2:], os.environ)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
caller.settimeout(0)
try:
    print(code, "hung up" if caller.recv(1) == b"" else "answered")
except BlockingIOError:
    print(code, "left waiting")
PY
sed 's#^\(.*run_dir *= *"\)[^"]*#\1'"$LAB/door"'#' "$CONF" > door.conf
mkdir "$LAB/door"
door() { rm -f "$LAB/door/door.sock"; /usr/bin/python3 door.py "$LAB/door" "$PREFIX/libexec/agentd/agentd-script" --config "$W/door.conf" 2> door.err 9>&-; }
is "where scripts are not run it gives up, and hangs up" "$(door)" '78 hung up'
mkdir door.conf.d
echo 'update: { scripts = "run"; };' > door.conf.d/run.conf
is "as another user as well" "$(door)" '77 hung up'

# ---- killed --------------------------------------------------------------------------------------------------------------------
begin
script long.sh postinstall <<< "echo 1 > $LAB/may/started; sleep 1000"
bundle
for program in agentd-script agentd-install; do
  rm -f "$LAB/may/started"
  ctl update install b.swu > "$LAB/killed.out" 2>&1 9>&- &
  asked=$!
  wait_for 60 test -s "$LAB/may/started" || not_ok "the script did not start"
  kill -9 "$(cat "$RUN/pids/$program")"
  if wait "$asked"; then not_ok "$program killed: it was installed"; else ok "$program killed while a script runs: the installation failed"; fi
  if wait_for 60 nothing_left; then ok "  nothing of the script runs"; else not_ok "  left: $(processes)"; fi
  status_is_back() { ctl --json update status 2> /dev/null 9>&- | jq -r .stage | grep -qE '^(failed|idle)$'; }
  if wait_for 60 status_is_back; then ok "  and it says so"; else not_ok "  stage: $(ctl --json update status 2>&1)"; fi
  like "  slot a is in charge" "$(env_is)" '^primary=a$'
done
rm -f "$LAB/may/started"
ctl update install b.swu > "$LAB/stopped.out" 2>&1 9>&- &
asked=$!
wait_for 60 test -s "$LAB/may/started" || not_ok "the script did not start"
kill "$(cat "$RUN/pids/agentd-script")"
if wait "$asked"; then not_ok "agentd-script stopped: it was installed"; else like "agentd-script stopped while a script runs: it ends the script first" "$(cat "$LAB/stopped.out")" 'long\.sh was ended, as agentd-script was told to stop'; fi
if nothing_left; then ok "  nothing of it runs"; else not_ok "  left: $(processes)"; fi
begin
script good.sh postinstall <<< 'true'
bundle
again() { ctl update install b.swu > "$LAB/out" 2>&1; }
if wait_for 60 again; then ok "the next one installs"; else not_ok "the next one: $(cat "$LAB/out")"; fi
done_testing
