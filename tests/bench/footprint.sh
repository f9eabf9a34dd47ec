#!/usr/bin/env bash
# Size of the binaries, idle memory of every program, TPM commands: BUILD=... tests/bench/footprint.sh
# PSS and private dirty of a process share out pages that several of them map (proc_pid_smaps_rollup).
. "$(dirname "$0")/../e2e/lib.sh"
need swtpm mosquitto strip
lab_up
set_password
wait_for 20 grep -q "u'$LAB_SERIAL'" "$BROKER_LOG" || { echo "the link did not come up"; exit 1; }
sleep 3
# Pages of freshly built files count as dirty until they are on the disk.
sync -f "$PREFIX"

echo "| program | stripped, KiB | idle PSS, KiB | private dirty, KiB |"
echo "|---|---|---|---|"
size() { strip -o "$LAB/stripped" "$1" && stat -c %s "$LAB/stripped"; }
total_size=0 total_pss=0
row() { # NAME BINARY [PID]
  local bytes pss=- dirty=-
  bytes=$(size "$2")
  total_size=$((total_size + bytes))
  if [ -n "${3:-}" ]; then
    pss=$(awk '/^Pss:/ { print $2 }' "/proc/$3/smaps_rollup")
    dirty=$(awk '/^Private_Dirty:/ { print $2 }' "/proc/$3/smaps_rollup")
    total_pss=$((total_pss + pss))
  fi
  echo "| $1 | $((bytes / 1024)) | $pss | $dirty |"
}
row agentd "$PREFIX/sbin/agentd" "$(cat "$RUN/pids/agentd")"
for p in agentd-mgmt agentd-link agentd-fetch agentd-install; do
  # The last two run on demand; idle means that they do not.
  row "$p" "$PREFIX/libexec/agentd/$p" "$(cat "$RUN/pids/$p" 2> /dev/null)"
done
row "agentd --supervise (without systemd)" "$PREFIX/sbin/agentd" "$AGENT_PID"
total_size=$((total_size - $(size "$PREFIX/sbin/agentd")))
row agentctl "$PREFIX/bin/agentctl"
row libagent.so "$PREFIX/lib/libagent.so.0"
echo "| **all** | $((total_size / 1024)) | $total_pss | |"
echo
echo "TPM commands since start, with one broker connection: $(ctl --json status | jq -r .tpm_commands)"
