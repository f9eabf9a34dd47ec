#!/usr/bin/env bash
# make_tpm_corpus.sh FOLDER: inputs of fuzz_tpm from real answers of swtpm, one per scenario. Not part of any test: the
# result lies in corpus/tpm; run it again when a scenario of fuzz_tpm.c changes.
#   BUILD   top of a build tree after "make check TESTS="
set -eu
out=$(realpath "$1")
: "${BUILD:?BUILD must name the build tree}"
lab=$(mktemp -d /tmp/corpus-XXXXXX)
export TSS2_LOG=all+none
swtpm socket --tpm2 --tpmstate "dir=$lab" --server "type=unixio,path=$lab/sock" --ctrl "type=unixio,path=$lab/sock.ctrl" \
  --flags not-need-init,startup-clear > /dev/null 2>&1 &
swtpm=$!
trap 'kill $swtpm; rm -rf "$lab"' EXIT
while [ ! -S "$lab/sock.ctrl" ]; do sleep 0.05; done
tcti=$BUILD/.libs/libtss2-tcti-fault.so:$lab/r@swtpm:path=$lab/sock
mkdir "$lab/d"
echo message > "$lab/d/msg"
tool() { local t=$1; shift; "$BUILD/tests/tpm/test_${t}_live" "$tcti" "$lab/d" "$@" > "$lab/out" 2>&1 || { cat "$lab/out"; return 1; }; }
tool tpm provision
tool tpm create key ec-p256
tool tpm create rsa rsa-2048
tool tpm counter c 01800a10 c 1
tool attest make key2
# A certificate in the TPM, though of another key: it is read and parsed.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=EK -keyout "$lab/ek.key" -outform DER -out "$lab/ek.der" 2> "$lab/out"
tpm2_nvdefine -Q -T "swtpm:path=$lab/sock" 0x01c0000a -C o -s "$(stat -c %s "$lab/ek.der")" -a 'ownerread|ownerwrite|authread|ppread|ppwrite'
tpm2_nvwrite -Q -T "swtpm:path=$lab/sock" 0x01c0000a -C o -i "$lab/ek.der"
printf secret > "$lab/d/secret"
tool seal seal sealed secret

# record NUMBER NAME [EXTRA-FILE] -- TOOL ARGUMENTS...
record() {
  local number=$1 name=$2 extra=
  shift 2
  [ "$1" = -- ] || { extra=$1; shift; }
  shift
  : > "$lab/r.bus"
  tool "$@" || [ "$name" = ek ] # the certificate is refused at the end
  python3 - "$number" "$lab/r.bus" "$extra" > "$out/$name" << 'PY'
import struct, sys
number, bus, extra = int(sys.argv[1]), open(sys.argv[2], "rb").read(), sys.argv[3]
at, messages = 0, []
while at < len(bus):
    size = struct.unpack_from(">I", bus, at + 2)[0]
    messages.append(bus[at:at + size])
    at += size
commands, answers = messages[::2], messages[1::2]
areas = []
for c in commands:
    if struct.unpack_from(">I", c, 6)[0] == 0x157:  # Load: handle, authorisations, private, public
        at = 18 + struct.unpack_from(">I", c, 14)[0]
        at += 2 + struct.unpack_from(">H", c, at)[0]
        areas.append(c[at + 2:at + 2 + struct.unpack_from(">H", c, at)[0]])
extra = open(extra, "rb").read() if extra else areas[0] if len(areas) > 1 else b""
area = areas[-1] if areas else b""
put = lambda b: struct.pack(">H", len(b)) + b
out = bytes([number]) + put(area) + put(extra) + b"".join(map(put, answers))
if len(out) <= 512:  # driver.c tries thousands of changes of short inputs, and ESYS is slow
    out += put(bytes(513 - len(out)))
sys.stdout.buffer.write(out)
PY
}
record 0 probe -- tpm probe
record 1 sign -- tpm sign key "$lab/d/msg"
record 1 sign-rsa -- tpm sign rsa "$lab/d/msg"
record 2 counter "$lab/d/c.pin" -- tpm counter c 01800a10 '' 1
record 3 quote -- attest quote 65537 00112233445566778899aabbccddeeff "$lab/d/q"
record 4 certify -- attest certify key 00112233445566778899aabbccddeeff "$lab/d/q"
record 5 ek -- attest ek ec
record 6 unseal "$lab/d/sealed" -- seal unseal sealed out
record 7 create -- tpm create another ec-p256
record 8 pcrs -- seal pcrs 0,16 values
record 9 mac -- tpm mac m c text
ls -l "$out"
