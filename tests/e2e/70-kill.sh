#!/usr/bin/env bash
# SIGKILL of each program at each step of the main job: the step, run again, succeeds.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto cpio
lab_users
lab_make
lab_pki
lab_slots
lab_tpm_start
lab_config
head -c 12M /dev/urandom > "$LAB/bundles/image"

kill_program() { # NAME: the running one, if it runs
  local pid
  pid=$(cat "$RUN/pids/$1" 2> /dev/null) && kill -KILL "$pid" 2> /dev/null
}
all="agentd agentd-mgmt agentd-link agentd-fetch agentd-install"

# Provisioning, cut off after more and more time; the secret printed last is the one that counts.
for ms in 5 10 20 40 60 80 100 150 200 300; do
  lab_as agentd timeout -s KILL "0.$(printf %03d "$ms")" "$AGENTD" --config "$CONF" --provision --csr-subject "CN=$LAB_SERIAL" \
    --csr-out "$LAB/state/device.csr" > "$LAB/cut.out" 2>&1
  printed=$(sed -n 's/^factory-secret: //p' "$LAB/cut.out")
  [ -z "$printed" ] || last=$printed
done
lab_provision
[ -n "$FACTORY_SECRET" ] || FACTORY_SECRET=${last:-}
like "provisioning completes after being killed ten times" "$FACTORY_SECRET" '^[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}$'
lab_broker_start
lab_agent_start
lab_trust_device

settled() { lab_healthy && ctl --json status 2> /dev/null | jq -e '.tpm_state == "READY"' > /dev/null; }
refused_as_due() { ctl status > /dev/null 2>&1; [ $? = 4 ]; }
for p in $all; do
  kill_program "$p"
  succeeds "before activation, $p killed: the gate is up again" wait_for 15 refused_as_due
done

# The password change, with each program killed in the middle of it.
passwords=("$FACTORY_SECRET")
n=0
change_to() { printf '%s\n%s\n' "$1" "$2" | ctl passwd --stdin; }
for p in agentd agentd-mgmt agentd-link agentd-install; do
  n=$((n + 1))
  new="walnut ferry 93 lantern $n"
  old=${passwords[-1]}
  change_to "$old" "$new" > "$LAB/change.out" 2>&1 &
  job=$!
  sleep "0.0$((RANDOM % 9 + 1))"
  kill_program "$p"
  wait "$job"
  # Whatever happened, exactly one of the two is the password now, and the step can be repeated. A local login may be
  # tried every three seconds, and the wait begins anew with core.
  changed() {
    local code
    change_to "$old" "$new" > "$LAB/change2.out" 2>&1
    code=$?
    if [ "$code" = 3 ]; then
      sleep 4
      change_to "$new" "$new again" > "$LAB/change3.out" 2>&1
      code=$?
      [ "$code" != 0 ] || new="$new again"
    fi
    [ "$code" = 0 ] || { sleep 4; return 1; }
  }
  if wait_for 60 changed; then ok "password change with $p killed: the step succeeds again"; else not_ok "password change with $p killed: $(cat "$LAB/change2.out" "$LAB/change3.out" 2> /dev/null)"; fi
  passwords+=("$new")
  sleep 4
  succeeds "and the new password is the one that counts" sh -c "printf '%s\n' '$new' | XDG_RUNTIME_DIR='$LAB/xdg' '$AGENTCTL' --socket '$SOCKET' login --stdin"
done
is "the owner's password holds" "$(ctl --json status | jq -r .setup)" active

for p in $all; do
  kill_program "$p"
  succeeds "telemetry arrives after $p was killed" lab_subscribe "devices/$LAB_SERIAL/telemetry" 1 25
done

# Updates, with one program killed at one stage. The bundle is held back where the stage is, so that the kill hits it and not chance.
#   KILL_STAGES=all   each of agentd, agentd-mgmt, agentd-install at each stage (18); else a sample with every stage
case ${KILL_STAGES:-} in
  all) cases=$(for p in agentd agentd-mgmt agentd-install; do for s in upload verify write readback switch confirm; do echo "$p:$s"; done; done) ;;
  *) cases=${KILL_STAGES:-agentd:upload agentd-mgmt:verify agentd-install:write agentd:readback agentd-install:switch agentd-mgmt:confirm agentd:confirm} ;;
esac
status_of() { ctl --json update status 2> /dev/null | jq -r "$1"; }
journal_says() { lab_as agentd-install grep -qE "^stage=($1)$" "$LAB/install/journal" 2> /dev/null; }
# feed FILE BYTES: so much of it, and the rest when $LAB/go is there.
feed() {
  head -c "$2" "$1"
  : > "$LAB/held"
  until [ -e "$LAB/go" ]; do sleep 0.05; done
  tail -c "+$(($2 + 1))" "$1"
}
is_held() { [ -e "$LAB/held" ]; }
receives() { is_held && [ "$(status_of .stage)" = receiving ]; }
writes() { status_of '.stage == "writing" and .done_bytes > 0' | grep -q true; }
has_all() { status_of '.stage == "writing" and .done_bytes == .total_bytes' | grep -q true; }
switches() { journal_says 'written|trying'; }
reached() { # STAGE
  case $1 in
    upload | verify) wait_for 30 receives ;;
    write) wait_for 30 writes ;;
    readback) wait_for 30 has_all ;;
    switch | confirm) wait_for 30 switches ;;
  esac
}

v=10
for each in $cases; do
  p=${each%:*} stage=${each#*:}
  v=$((v + 1))
  lab_bundle "1.$v.0" "$LAB/bundles/image" "$v"
  bundle=$LAB/bundles/1.$v.0.swu
  # The image is the last member, the end of the archive follows.
  mapfile -t headers < <(LC_ALL=C grep -abo '07070[12]0' "$bundle" | cut -d: -f1)
  image=${headers[-2]} trailer=${headers[-1]}
  case $stage in
    upload) held=50 ;;
    verify) held=$image ;;
    write) held=$((image + (trailer - image) / 2)) ;;
    readback) held=$trailer ;;
    switch | confirm) held=$(stat -c %s "$bundle") ;;
  esac
  succeeds "the agent is up" wait_for 30 settled
  rm -f "$LAB/go" "$LAB/held"
  case $stage in switch | confirm) : > "$LAB/go" ;; esac # the end of the bundle is what switches
  ctl update install - < <(feed "$bundle" "$held") > "$LAB/install.out" 2>&1 &
  job=$!
  succeeds "$stage is reached" reached "$stage"
  [ "$stage" = confirm ] || kill_program "$p"
  : > "$LAB/go"
  wait "$job"
  again() {
    [ "$(status_of .stage)" = trying ] || ctl update install "$bundle" > "$LAB/install2.out" 2>&1
    [ "$(status_of .stage)" = trying ]
  }
  if wait_for 40 again; then ok "$p killed at $stage: installs when run again"; else not_ok "$p killed at $stage: $(cat "$LAB/install2.out")"; fi
  slot=$SLOT_A
  [ "$(status_of .target_slot)" = a ] || slot=$SLOT_B
  succeeds "  and the slot holds the image" cmp -s -n $((12 * 1024 * 1024)) "$LAB/bundles/image" "$slot"
  lab_reboot
  if [ "$stage" = confirm ]; then
    ctl update confirm > "$LAB/confirm.out" 2>&1 &
    job=$!
    sleep "0.0$((RANDOM % 9 + 1))" # anywhere in it
    kill_program "$p"
    wait "$job"
  fi
  confirmed() {
    ctl update confirm > "$LAB/confirm2.out" 2>&1
    [ "$(ctl --json status 2> /dev/null | jq -r .floor)" = "$v" ]
  }
  succeeds "  confirmed, floor $v in the end" wait_for 40 confirmed
done
done_testing
