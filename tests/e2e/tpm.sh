# shellcheck shell=bash
# A software TPM for the programs of tests/tpm, without an agent: sourced after lib.sh. Needs $LIVE, the program to drive,
# and sets STATE (of the TPM), SOCKET, TCTI, and DIR, where the program keeps its files.
#   tpm_up [FLAGS]   start it; FLAGS instead of ",startup-clear"
#   tpm_down         kill -9
#   live COMMAND...  run the program
#   handles          what is loaded in the TPM
[ -x "$LIVE" ] || { echo "SKIP: $LIVE is not built (make check_PROGRAMS)"; exit 77; }
STATE=$LAB/tpm-state
SOCKET=$LAB/tpm.sock
TCTI=swtpm:path=$SOCKET
DIR=$LAB/files
SWTPM=
mkdir -p "$STATE" "$DIR"
export TSS2_LOG=all+none TPM2TOOLS_TCTI=$TCTI TPM2OPENSSL_TCTI=$TCTI

tpm_up() {
  swtpm socket --tpm2 --tpmstate "dir=$STATE" --server "type=unixio,path=$SOCKET" --ctrl "type=unixio,path=$SOCKET.ctrl" \
    --flags "not-need-init${1-,startup-clear}" > "$LAB/swtpm.log" 2>&1 &
  SWTPM=$!
  { wait_for 20 lab_listens "$SOCKET.ctrl" && wait_for 20 lab_listens "$SOCKET"; } || lab_fail "swtpm did not start: $(cat "$LAB/swtpm.log")"
}
tpm_down() {
  [ -z "$SWTPM" ] || { kill -9 "$SWTPM"; wait "$SWTPM"; } 2> /dev/null
  SWTPM=
  rm -f "$SOCKET" "$SOCKET.ctrl"
}
tpm_end() {
  local code=$?
  tpm_down
  (exit "$code")
  e2e_end
}
trap tpm_end EXIT

live() { "$LIVE" "$TCTI" "$DIR" "$@" 2>> "$LAB/stderr"; }
handles() { tpm2_getcap handles-transient 2> /dev/null; tpm2_getcap handles-loaded-session 2> /dev/null; }
