#!/usr/bin/env bash
# shellcheck disable=SC2317,SC2015
# When an offered update is installed: at once, in a window, when somebody approves it; put off, opted out of, over restarts.
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto openssl cpio jq

. "$(dirname "$0")/offers.sh"
untouched() { is "$1" "$(sha256sum < "$SLOT_B")" "$before"; }

# A window that is closed for days, whatever the time of the test; the zone is UTC.
CLOSED="$(LC_ALL=C date -u -d '+3 days' +%a | tr 'A-Z' 'a-z') 02:00-04:00"
config() { # WINDOW
  lab_config "update: { reboot = \"never\"; windows = [ \"$1\" ]; clock_file = \"$LAB/clock\"; postpone_max = 2; postpone_total_h = 30; };"
}
restart() { lab_agent_stop; config "$1"; lab_agent_start; }

head -c 2M /dev/urandom > "$LAB/image"
lab_up "update: { reboot = \"never\"; windows = [ \"$CLOSED\" ]; clock_file = \"$LAB/clock\"; postpone_max = 2; postpone_total_h = 30; };"
set_password
serve
before=$(sha256sum < "$SLOT_B")

# ---- on approval
is "automatic is the policy of a device that nobody asked" "$(field policy) $(field offer_state)" "automatic none"
succeeds "the owner turns automatic updates off" ctl update policy approval
succeeds "that is recorded" has_event update.opt_out to approval
publish one.swu 2.0 2 signer --kind security --advisory 'CVE-2026-0001: mends a hole in the parser'
succeeds "an update is offered" ctl update offer "$URL/one.swu"
becomes "it is looked into and waits for approval" offer_state=waiting offer_waits_for=approval offer_release_id=release-2.0
is "what it is stands in the status" "$(status | jq -r '.offer_kind + " " + .offer_advisory')" "security CVE-2026-0001: mends a hole in the parser"
succeeds "and in the events" has_event update.offered advisory 'CVE-2026-0001: mends a hole in the parser'
like "a person is told as well" "$(ctl update status)" 'advisory +CVE-2026-0001'
untouched "looking changed nothing in the slot"
fails "it cannot be put off for longer than the device allows" ctl update postpone 31
succeeds "it is put off" ctl update postpone 10
fails "not by more hours than are left" ctl update postpone 21
succeeds "but once more" ctl update postpone 1
fails "and not a third time" ctl update postpone 1
is "it waits" "$(field offer_waits_for) $(field offer_postpones_left)" "postponed 0"
succeeds "that is recorded" has_event update.postponed hours 10
restart "$CLOSED"
becomes "policy, offer and postponement outlive a restart" policy=approval offer_state=waiting offer_waits_for=postponed offer_postpones_left=0
exits "approving a release that is not the one that waits" 8 ctl update approve release-9.9
exits "or another bundle of that release" 8 ctl update approve release-2.0 "$(printf 'x' | sha256sum | cut -d ' ' -f 1)"
api POST /v1/update/approve -H 'Content-Type: application/json' -d '{"release_id": "release-2.0"}' > "$LAB/out"
is "a bundle has to be named" "$(cat "$LAB/api.status")" 400
succeeds "approved" ctl update approve
becomes "it is installed" stage=trying offer_state=installed version=2.0
is "the slot holds it" "$(head -c 2M "$SLOT_B" | sha256sum)" "$(sha256sum < "$LAB/image")"
succeeds "who approved it is recorded" has_event update.approved release release-2.0
succeeds "and the bundle" has_event update.approved manifest "$(field offer_manifest_sha256)"
succeeds "offered once more" ctl update offer "$URL/one.swu"
becomes "it is not installed again" stage=trying offer_state=installed
succeeds "taken back" ctl update rollback
becomes "so it is not installed any more, and waits for a person again" stage=idle offer_state=waiting offer_waits_for=approval offer_approved_by=null

# ---- the bundle changes between the look and the approval
head -c 2M /dev/urandom > "$LAB/image"
before=$(sha256sum < "$SLOT_B")
publish two.swu 3.0 2
succeeds "the next one is offered" ctl update offer "$URL/two.swu"
becomes "and waits" offer_state=waiting offer_release_id=release-3.0
# the right signer, the same release id, and another description
publish two.swu 3.0 2 signer --advisory 'nothing to see here'
succeeds "approved, but the server has another bundle of that release now" ctl update approve
becomes "which is refused" offer_state=refused offer_error_name=update.policy
untouched "and touches nothing"

# ---- signed by nobody we know
publish three.swu 4.0 2 stranger
succeeds "offered: a bundle of a stranger" ctl update offer "$URL/three.swu"
becomes "it is refused when it is looked into" offer_state=refused offer_error_name=update.signer
untouched "and touches nothing"
printf 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' > "$WWW/missing.swu"
succeeds "a server without that file" ctl update offer "$URL/missing.swu"
becomes "is tried again later" offer_state=announced offer_error_name=fetch.http

# ---- maintenance window
succeeds "in the window from now on" ctl update policy window
publish four.swu 5.0 2
succeeds "offered" ctl update offer "$URL/four.swu"
becomes "without a clock that somebody set, no window opens" offer_state=waiting offer_waits_for=clock
touch "$LAB/clock"
becomes "with one, it waits for the window" offer_state=waiting offer_waits_for=window
untouched "and nothing was written"
lab_agent_stop
sed -i 's/^seen_s=.*/seen_s=99999999999/' "$LAB/state/update/offer"
config 'daily 00:00-24:00'
lab_agent_start
becomes "the window is open, but the clock went back since it was last believed" offer_state=waiting offer_waits_for=clock
succeeds "an administrator chooses the policy anew" ctl update policy window
becomes "and the update is installed in the window" stage=trying offer_state=installed version=5.0
succeeds "taken back" ctl update rollback

# ---- automatic, with core killed on the way
head -c 24M /dev/urandom > "$LAB/image"
publish five.swu 6.0 2
succeeds "automatic again" ctl update policy automatic
succeeds "which is recorded" has_event update.policy to automatic
succeeds "offered" ctl update offer "$URL/five.swu"
under_way() { is_so offer_state=installing || is_so offer_state=installed; }
wait_for 30 under_way || not_ok "it is installed: $(status | jq -c .)"
kill -KILL "$(cat "$RUN/pids/agentd")" 2> /dev/null
wait_for 30 lab_healthy
becomes "core was killed while it was installed: it is installed all the same" stage=trying offer_state=installed version=6.0
is "the slot holds it" "$(head -c 24M "$SLOT_B" | sha256sum)" "$(sha256sum < "$LAB/image")"

# ---- automatic, and somebody does not want it
succeeds "taken back before it ran" ctl update rollback
becomes "it is in a slot, but not what is installed" stage=idle offer_state=waiting offer_waits_for=approval failed_release_id=null
is "the other slot is named" "$(field target_slot)" b
succeeds "offered once more, under another address" sh -c 'cp "$0/five.swu" "$0/six.swu"' "$WWW"
succeeds "  which is looked into" ctl update offer "$URL/six.swu"
becomes "  an automatic policy does not bring it back" offer_state=waiting offer_waits_for=approval offer_release_id=release-6.0 stage=idle
restart "daily 00:00-24:00"
becomes "  nor after a restart" offer_state=waiting offer_waits_for=approval stage=idle
succeeds "a person does" ctl update approve
becomes "  it is installed again" stage=trying offer_state=installed version=6.0
done_testing
