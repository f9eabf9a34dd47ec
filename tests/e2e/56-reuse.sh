#!/usr/bin/env bash
# shellcheck disable=SC2119,SC2317,SC2015
# What is on the device already is not downloaded: chunks of the running slot are copied, a download that broke off goes on, over
# connections and over restarts; what a server may get wrong about ranges is refused by name. The server's log counts the bytes.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl curl jq python3
lab_up
set_password

WWW=$LAB/www
SERVED=$LAB/log/served
mkdir -p "$WWW"
: > "$SERVED"
PORT=$(lab_free_port)
python3 "$(dirname "$0")/range_server.py" "$PORT" "$WWW" "$PKI/broker.pem" "$PKI/broker.key" "$SERVED" > "$LAB/log/range_server.out" 2>&1 &
SERVER_PID=$!
server_end() {
  local code=$?
  kill "$SERVER_PID" 2> /dev/null
  return "$code"
}
trap 'server_end; e2e_end' EXIT
wait_for 30 bash -c "exec 3<> /dev/tcp/127.0.0.1/$PORT" || not_ok "the server runs: $(cat "$LAB/log/range_server.out")"
URL=https://localhost:$PORT

served() { awk '{ n += $3 } END { print n + 0 }' "$SERVED"; }
begun() { ID=$(api POST /v1/update/fetch -H 'Content-Type: application/json' -d "{\"url\":\"$URL/$1\"}" | jq -r '.id // empty'); [ -n "$ID" ]; }
# The one before may still be ending.
start_fetch() { wait_for 30 begun "$1" || not_ok "the download of $1 begins"; }
ended() { api GET /v1/update | jq -e --argjson id "$ID" '.id == $id and ((.error_name // "") != "" or .stage == "trying")'; }
fetch() { # HOW/FILE: UPDATE holds the status, BYTES what the server sent
  : > "$SERVED"
  start_fetch "$1"
  wait_for 60 ended || not_ok "the download of $1 ends"
  UPDATE=$(api GET /v1/update)
  BYTES=$(served)
}
rolled_back() { [ "$(api GET /v1/update | jq -r .stage)" != trying ]; }
again() { # back to "nothing installed", with FILE in the inactive slot
  api POST /v1/update/rollback > "$LAB/out"
  wait_for 30 rolled_back || not_ok "the update before is taken back: $(cat "$LAB/out")"
  dd if="${1:-/dev/zero}" of="$SLOT_B" bs=1M count="$MIB" conv=notrunc status=none
}
installed() { # "what" IMAGE
  is "$1" "$(jq -r '.stage + (.error // "")' <<< "$UPDATE")" trying
  cmp -s -n "$(stat -c %s "$2")" "$2" "$SLOT_B" && ok "$1: the slot holds the image" || not_ok "$1: the slot does not hold the image"
}
at_most() { if [ "$2" -le "$3" ]; then ok "$1 ($2 of at most $3 bytes)"; else not_ok "$1: $2 bytes, at most $3"; fi; }
refused() { # "what" HOW PATTERN
  again
  fetch "$2"
  like "$1" "$(jq -r '(.error_name // "") + " " + (.error // "installed")' <<< "$UPDATE")" "$3"
}
bundle() { # NAME IMAGE, chunks of 64 KiB: what lab_bundle makes has larger ones
  n_bundles=$((${n_bundles:-1} + 1))
  lab_bundle_of "$WWW/$1" "$2" "$n_bundles.0" "$1" 2 signer --chunk-size 65536 || not_ok "bundle $1"
}
patch_image() { # FROM TO BLOCKS: as FROM, but random 4 KiB at each of these blocks of 4 KiB
  cp "$1" "$2"
  local block
  for block in $3; do dd if=/dev/urandom of="$2" bs=4096 seek="$block" count=1 conv=notrunc status=none; done
}

MIB=16
head -c ${MIB}M /dev/urandom > "$LAB/old"
dd if="$LAB/old" of="$SLOT_A" bs=1M conv=notrunc status=none

# 1 % of the image, 41 blocks of 4 KiB, in one place, and two blocks elsewhere.
patch_image "$LAB/old" "$LAB/new" "$(seq 3000 3040) 17 4095"
bundle new "$LAB/new"
fetch good/new
installed "a small change" "$LAB/new"
at_most "a change of 1 % in one place, and two blocks" "$BYTES" $((MIB * 1048576 * 3 / 100))
dd if=/dev/urandom of="$LAB/more" bs=65536 count=2 status=none
{ cat "$LAB/more"; head -c 15M "$LAB/old"; } > "$LAB/shifted"
again
bundle shifted "$LAB/shifted"
fetch good/shifted
installed "an image that moved by two chunks" "$LAB/shifted"
at_most "chunks are found at other places of the running slot" "$BYTES" $((MIB * 1048576 * 3 / 100))
again "$LAB/new"
fetch good/new
installed "an inactive slot that holds the image already" "$LAB/new"
at_most "nothing but the head of the bundle is fetched" "$BYTES" 65536

# A running slot of other bytes: all is fetched.
head -c ${MIB}M /dev/urandom > "$LAB/other"
again
bundle other "$LAB/other"
fetch good/other
installed "nothing to reuse" "$LAB/other"
again
fetch whole/other
installed "a server without ranges" "$LAB/other"
is "is asked once" "$(wc -l < "$SERVED")" 1

# Connections that break are made again.
again
fetch drop/other
installed "a connection that breaks after each quarter" "$LAB/other"
at_most "and no byte is sent twice, but for what was on its way" "$BYTES" $((MIB * 1048576 * 104 / 100))
like "each part asks for the bundle it began with" "$(tail -n 1 "$SERVED")" '"[0-9]+-[0-9]+"$'
again
fetch busy/new
installed "a server that is busy every other time" "$LAB/new"
for how in date bare; do
  again
  fetch $how/new
  installed "a server that gives ${how/bare/nothing} to compare with" "$LAB/new"
done

# Half of it has come, then agentd-install dies; and the same with agentd-fetch. Asked again, the rest is fetched.
arrived() { cmp -s -i 7M -n 65536 "$LAB/other" "$SLOT_B"; }
given_up() { awk '$1 == "hold" && $3 > 6 * 1048576 { n++ } END { exit !n }' "$SERVED"; } # else its bytes count into what comes next
for p in agentd-install agentd-fetch; do
  again
  rm -f "$WWW/go"
  start_fetch hold/other
  wait_for 60 arrived || not_ok "seven of 16 MiB arrive: $(api GET /v1/update)"
  kill -KILL "$(cat "$RUN/pids/$p")"
  touch "$WWW/go"
  wait_for 60 ended || not_ok "the download ends with $p: $(api GET /v1/update)"
  wait_for 60 given_up || not_ok "the server notices: $(cat "$SERVED")"
  fetch good/other
  installed "a download with $p killed in the middle" "$LAB/other"
  at_most "goes on where it stopped" "$BYTES" $((9 * 1048576 + 65536))
done
# What is in the slot is not believed: two chunks of it rotted meanwhile.
again "$LAB/other"
dd if=/dev/urandom of="$SLOT_B" bs=4096 seek=100 count=1 conv=notrunc status=none
dd if=/dev/urandom of="$SLOT_B" bs=4096 seek=5000 count=1 conv=notrunc status=none
fetch good/other
installed "rotten chunks are fetched" "$LAB/other"
at_most "and nothing else" "$BYTES" $((2 * 65536 + 65536))

# The same bundle from a file: what is there already is looked at, not written.
again "$LAB/other"
succeeds "an upload of what is there" ctl update install "$WWW/other"
UPDATE=$(api GET /v1/update)
installed "an upload of what is there" "$LAB/other"

# Another bundle under the same address, and servers that get ranges wrong.
cp "$WWW/other" "$WWW/new.later"
refused "another bundle in the middle is noticed" later/new 'fetch\.changed .*start again'
refused "another ETag with the right size" etag/new 'fetch\.changed'
refused "another size" size/new 'fetch\.changed'
refused "a server that forgets about ranges" forget/new 'fetch\.changed'
refused "other bytes than asked for" wrong/new 'fetch\.range .*were asked for'
refused "fewer bytes than asked for" short/new 'fetch\.range .*were asked for'
refused "more bytes than asked for" long/new 'fetch\.range .*more than'
refused "a Content-Range that is none" junk/new 'fetch\.range .*not "bytes'
refused "no body at all" empty/new 'container\.short'
refused "two of them" twice/new 'fetch\.range .*2 Content-Range'
refused "several parts in one answer" multi/new 'fetch\.range .*0 Content-Range.*several parts'
# Bytes that differ from what was signed, whatever the headers say.
patch_image "$WWW/new" "$WWW/evil" 3020
refused "other bytes under right headers" good/evil 'update\.chunk '
again
fetch good/new
installed "and after all that the good one" "$LAB/new"
done_testing
