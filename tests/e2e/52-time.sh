#!/usr/bin/env bash
# shellcheck disable=SC2119
# A gateway without a clock battery: it boots in 1970, reaches its broker by the rules of the time floor, refuses what has expired and says what the
# clock has to do with it; then a server that it trusts tells the time, and the stricter rules hold at once.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto mosquitto_sub openssl curl jq python3 patchelf
[ "$(id -u)" = 0 ] || { echo "SKIP: needs root, for programs of several users with one clock"; exit 77; }
if grep -q '^#define AGENT_SANITIZERS' "$BUILD/config.h"; then
  echo "SKIP: a program with a clock of its own cannot be one with sanitizers"
  exit 77
fi
make -s -C "$BUILD" libboot-clock.la > "$LAB/clock.out" 2>&1 || { not_ok "the clock library: $(cat "$LAB/clock.out")"; done_testing; }

# ---- programs whose clock we set: seconds since boot, and what is added to the time of day (boot_clock.c)
lab_users; lab_make; lab_pki; lab_slots; lab_tpm_start
mkdir -p "$LAB/bin" "$LAB/hawk"
chmod 755 "$LAB" "$LAB/bin" "$LAB/hawk"
cp "$AGENTD" "$PREFIX"/libexec/agentd/agentd-* "$BUILD/.libs/libboot-clock.so" "$LAB/bin/"
for program in agentd agentd-mgmt agentd-link agentd-fetch; do patchelf --add-needed "$LAB/bin/libboot-clock.so" "$LAB/bin/$program" || exit 1; done
head -c 16 /dev/zero > "$LAB/bin/clock"
chmod 644 "$LAB/bin/clock"
BOOT=1000
clock_shows() { # seconds since 1970
  python3 -c 'import struct, sys, time; open(sys.argv[1], "r+b").write(struct.pack("qq", int(sys.argv[3]), int(sys.argv[2]) - int(time.time())))' \
    "$LAB/bin/clock" "$1" "$BOOT"
}
NOW=$(date +%s)
Y2040=2208988800

# ---- servers with certificates of every time
broker_ca_register
# server NAME BEGIN END
server() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$1.key"
  openssl req -new -key "$PKI/$1.key" -subj "/CN=localhost" -out "$PKI/$1.csr" 2> /dev/null
  printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost\n' > "$PKI/$1.ext"
  openssl ca -batch -config "$LAB/ca/conf" -in "$PKI/$1.csr" -extfile "$PKI/$1.ext" -notext -startdate "$2" -enddate "$3" -out "$PKI/$1.pem" \
    2>> "$LAB/log/ca.err" || not_ok "certificate $1: $(tail -n 3 "$LAB/log/ca.err")"
}
server old 20200101000000Z 20210101000000Z
server coming 20800101000000Z 20900101000000Z
# broker NAME: the broker shows this certificate from now on
broker() {
  lab_broker_stop
  cp "$PKI/$1.pem" "$PKI/broker.pem"
  cp "$PKI/$1.key" "$PKI/broker.key"
  lab_broker_start
}
cp "$PKI/broker.pem" "$PKI/good.pem"
cp "$PKI/broker.key" "$PKI/good.key"

PORT=$(lab_free_port)
OTHER_PORT=$(lab_free_port)
double_stop() {
  [ -n "${DOUBLE_PID:-}" ] || return 0
  kill "$DOUBLE_PID" 2> /dev/null
  wait "$DOUBLE_PID" 2> /dev/null
  DOUBLE_PID=
}
trap 'double_stop; e2e_end' EXIT
lab_config "paths: { program_dir = \"$LAB/bin\"; };
time: { network_file = \"$LAB/synchronized\"; authenticated_file = \"$LAB/authenticated\"; };
source: { kind = \"hawkbit\"; poll_min_s = 1; poll_max_s = 2; };
hawkbit: { url = \"https://localhost:$PORT/\"; token_file = \"$LAB/token\"; };"
echo Tk0123456789 > "$LAB/token"
chmod 600 "$LAB/token"
lab_own agentd-link: "$LAB/token"
lab_provision
lab_broker_start

link_state() { api GET /v1/status | jq -r '.link_state + " " + (.link_detail // "")'; }
link_is() { link_state | grep -qE -- "$1"; }
link_shows() { if wait_for 40 link_is "$2"; then ok "$1"; else not_ok "$1: $(link_state)"; fi; }
value() { api GET /v1/time | jq -r ".$1"; }
value_is() { [ "$(value "$1")" = "$2" ]; }
comes() { if wait_for 40 value_is "$2" "$3"; then ok "$1"; else not_ok "$1: $(api GET /v1/time)"; fi; }
events_have() { ctl events --limit 200 | grep -qE -- "$1"; }
event_comes() { if wait_for 40 events_have "$2"; then ok "$1"; else not_ok "$1: $(ctl events --limit 20)"; fi; }
link_pid() { cat "$RUN/pids/agentd-link"; }

# ---- 1970
AGENTD=$LAB/bin/agentd
clock_shows 60
lab_agent_start
set_password
link_shows "at 1970 the link comes up" '^online'
comes "by the rules of the floor" time_state floor
is "the system clock is what it was" "$(($(value system_clock_s) < 100000))" 1
is "what certificates are checked against is later than the build" "$(($(value time_s) >= 1793491200))" 1
is "the broker's certificate raised the floor" "$(($(value time_floor_s) > NOW - 7200))" 1
like "status says so" "$(ctl status)" 'time +floor'
like "agentctl time is for people" "$(ctl time)" 'system clock +1970-01-01 00:'
PID=$(link_pid)
broker old
link_shows "what expired is refused, and the clock is named" 'certificate .* expired on 2021-01-01 00:00:00 UTC, it is now 20[2-9].*our clock is the likely cause: it shows 1970-01-01 .*tls\.expired'
broker coming
link_shows "what begins later than the floor is let in: nobody can say that it is too early" '^online'

# ---- a server that was checked tells the time
printf '{"actions": []}' > "$LAB/hawk/control"
python3 "$LAB_SOURCE/tests/hawkbit_double.py" --dir "$LAB/hawk" --port "$PORT" --other-port "$OTHER_PORT" --cert "$PKI/good.pem" --key "$PKI/good.key" \
  --controller "$LAB_SERIAL" --token Tk0123456789 > "$LAB/log/double.out" 2>&1 &
DOUBLE_PID=$!
comes "then the source of updates tells the time" time_state authenticated
is "by its Date" "$(value time_source)" https_date
told=$(value time_s)
is "and it is right" "$((told > NOW - 3600 && told < NOW + 3600))" 1
is "while the system clock is left alone" "$(($(value system_clock_s) < 100000))" 1
link_shows "the connection that is too early is given up, and the next refused" 'valid from 2080-01-01 00:00:00 UTC on, it is now .*tls\.not-yet-valid'
broker good
link_shows "a certificate of today is good" '^online'
is "all of it without a restart" "$(link_pid)" "$PID"
event_comes "an event says that the time is known" 'time\.state.*authenticated'
double_stop

# ---- saved, over a boot
lab_agent_stop
like "the time is saved at the end" "$(cat "$LAB/state/time/saved")" '^libagent-time 2 [0-9]+ [0-9]+ [0-9]+ 1 '
is "for the agent alone" "$(stat -c '%U %a' "$LAB/state/time/saved")" "agentd 600"
cp -p "$LAB/state/time/saved" "$LAB/saved.old"
BOOT=50
clock_shows 60
lab_agent_start
comes "after a boot in 1970 it is the floor" time_state floor
is "as it was left" "$(($(value time_floor_s) >= told - 60))" 1
lab_agent_stop
# A file from before loses what the TPM did not see run, not more than that.
cp -p "$LAB/saved.old" "$LAB/state/time/saved"
lab_agent_start
comes "an old file that was put back is no trouble" time_state floor
is "and no way back" "$(($(value time_floor_s) >= told - 60))" 1
lab_agent_stop
sed -i 's/time 2 \([0-9]\)/time 2 9\1/' "$LAB/state/time/saved"
lab_agent_start
event_comes "a forged file is seen" 'time\.saved_bad.*damaged'
is "and not believed" "$(($(value time_s) < told + 86400))" 1
link_shows "nothing else is lost by it" '^online'

# ---- a clock in 2040, and one that goes back
clock_shows "$Y2040"
lab_broker_stop
lab_broker_start
link_shows "a clock in 2040 that nobody confirms: refused, and the clock is named" 'expired on .*it is now 2040-01-01 .*our clock may be the cause.*tls\.expired'
event_comes "the step is written down" 'time\.stepped'
touch "$LAB/synchronized"
clock_shows "$(date +%s)"
comes "with a source in the network" time_state network
link_shows "the link is back" '^online'
clock_shows 60
comes "a clock that goes back is not believed" time_state floor
clock_shows "$(date +%s)"
comes "one that comes back is" time_state network
install -m 666 /dev/null "$LAB/authenticated"
wait_for 40 grep -q 'does not count: others than root can write it' "$AGENT_LOG" && ok "anybody's file authenticates nothing" || not_ok "anybody's file authenticates nothing"
chmod 644 "$LAB/authenticated"
comes "root's file does" time_state authenticated
is "by the file" "$(value time_source)" authenticated_file

# ---- where nothing can be written, or the TPM is gone
chmod 500 "$LAB/state/time"
before=$(sha256sum < "$LAB/state/time/saved")
lab_agent_stop
like "a folder that cannot be written is named" "$(cat "$AGENT_LOG")" 'the time cannot be saved'
is "and the old file is whole" "$(sha256sum < "$LAB/state/time/saved")" "$before"
chmod 700 "$LAB/state/time"
lab_agent_start
comes "the next start is as good" time_state authenticated
before=$(cat "$LAB/state/time/saved")
lab_tpm_stop
sleep 2 # whole seconds are saved
lab_agent_stop
is "without the TPM the time is saved too" "$([ "$(cat "$LAB/state/time/saved")" != "$before" ] && echo 1)" 1
lab_tpm_start

# ---- a floor that is too high for good, and what a bundle says
lab_broker_stop
clock_shows $((NOW + 400 * 86400))
lab_agent_start
floor_from() { local floor; floor=$(value time_floor_s) && [ "${floor:-0}" -ge "$1" ]; }
rises() { if wait_for 40 floor_from "$2"; then ok "$1"; else not_ok "$1: $(api GET /v1/time)"; fi; }
rises "root's file raises the floor as far as it says" $((NOW + 399 * 86400))
period_is() { [ "$(ctl --json link | jq -r '.usage[0].period')" = "$1" ] && ctl --json link | jq -e '.usage[1].period | test("^20[0-9][0-9]-")'; }
succeeds "the traffic of another month is counted anew, and the last one kept" wait_for 60 period_is "$(date -u -d "@$(value time_s)" +%Y-%m)"
rm "$LAB/authenticated" "$LAB/synchronized"
clock_shows 60
comes "it stays when the file is gone" time_state floor
is "for good" "$(($(value time_floor_s) >= NOW + 399 * 86400))" 1
sleep 3.2 # one login of a source in three seconds
succeeds "a factory reset" eval "printf '%s\n' \"\$OWNER_PASSWORD\" | ctl factory-reset --yes --stdin"
sleep 3.2
set_password
is "forgets it" "$(($(value time_floor_s) < NOW + 300 * 86400))" 1
is "and what was saved" "$(($(cut -d ' ' -f 3 "$LAB/state/time/saved") < NOW + 300 * 86400))" 1
# The clock is right, and nobody says so: a signer's certificate that begins later than the build is good then.
signed=$(date +%s)
clock_shows "$signed"
head -c 100000 /dev/urandom > "$LAB/image"
lab_bundle 2.0 "$LAB/image" 1
succeeds "a bundle is taken" ctl update install "$LAB/bundles/2.0.swu"
clock_shows 60
rises "when it was signed raises the floor, and that stays" "$signed"
done_testing
