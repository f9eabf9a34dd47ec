#!/usr/bin/env bash
# Inside the container of 62-systemd.sh, as root under systemd: an image's first boot with the units as they are.
#   PREFIX where the agent is installed, SOURCE its sources
set -u
LAB=/srv/lab
LAB_SOURCE=$SOURCE
# shellcheck source=examples/lab.sh
. "$SOURCE/examples/lab.sh"
ok() { echo "ok - $*"; }
not_ok() { echo "not ok - $*"; }
is() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1: got '$2', wanted '$3'"; fi; }
like() { if printf '%s' "$2" | grep -qE -- "$3"; then ok "$1"; else not_ok "$1: '$2' does not match '$3'"; fi; }
succeeds() { local w=$1; shift; if "$@" > "$LAB/said" 2>&1; then ok "$w"; else not_ok "$w: $(tail -n 5 "$LAB/said")"; fi; }
fails() { local w=$1; shift; if "$@" > "$LAB/said" 2>&1; then not_ok "$w: succeeded"; else ok "$w"; fi; }

# ---- the image: users, folders, configuration, provisioning ------------------------------------------------------------
mkdir -p "$LAB"
LAB_USERS="$LAB_USERS agentd-script"
succeeds "the users are made" systemd-sysusers "$PREFIX/lib/sysusers.d/agentd.conf"
succeeds "the folders are made" systemd-tmpfiles --create "$PREFIX/lib/tmpfiles.d/agentd.conf"
lab_make
# Slots and boot environment where the unit of the installer may write; a real device names its partitions in a drop-in.
mkdir -p /var/lib/agentd-install/{slots,boot}
rmdir "$LAB/slots"
ln -s /var/lib/agentd-install/slots "$LAB/slots"
chown -R agentd-install: /var/lib/agentd-install
BOOT_ENV=/var/lib/agentd-install/boot/env
RUN=/run/agentd
SOCKET=$RUN/agentd.sock
lab_pki
lab_slots
lab_tpm_start
ip link set lo up
# The two ends of a technician's cable, and of the LAN.
ip netns add outside
ip link add usb0 type veth peer name far0 netns outside
ip link add lan0 type veth peer name far1 netns outside
ip address add 192.0.2.1/24 dev usb0
ip address add 198.51.100.1/24 dev lan0
ip link set usb0 up
ip link set lan0 up
ip -n outside address add 192.0.2.2/24 dev far0
ip -n outside address add 198.51.100.2/24 dev far1
ip -n outside link set far0 up
ip -n outside link set far1 up
HTTPS_PORT=443
CONF=$LAB/etc/agentd.conf
lab_config 'mgmt: { setup_interface = "usb0"; };'
# Paths are the defaults of the package.
sed '/^paths:/,/^};/d; /^mgmt:/d' "$CONF" > "$PREFIX/etc/agentd/agentd.conf"
mkdir "$PREFIX/etc/agentd/agentd.conf.d"
echo 'mgmt: { setup_interface = "usb0"; };' > "$PREFIX/etc/agentd/agentd.conf.d/test.conf"
CONF=$PREFIX/etc/agentd/agentd.conf
cp -r "$LAB/trust" "$PREFIX/etc/agentd/"
rm -rf "$LAB/trust" "$LAB/state"
ln -s "$PREFIX/etc/agentd/trust" "$LAB/trust"
ln -s /var/lib/agentd "$LAB/state"
chmod -R a+rX "$PREFIX/etc/agentd"
lab_provision
lab_trust_device
lab_broker_start

# ---- first boot ----------------------------------------------------------------------------------------------------------
systemctl daemon-reload
systemctl preset-all 2> /dev/null
is "nothing of the agent runs unless the image says so" "$(systemctl is-active agentd agentd-mgmt agentd-link agentd-mgmt-https.socket | sort -u)" inactive
succeeds "enabled, with the doors of the setup" systemctl enable agentd agentd-mgmt agentd-link agentd-mgmt-setup.socket agentd-mgmt-setup-http.socket
succeeds "started" systemctl start agentd agentd-mgmt agentd-link agentd-mgmt-setup.socket agentd-mgmt-setup-http.socket
answers() { [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 --unix-socket "$SOCKET" http://localhost/v1/health)" = 200 ]; }
succeeds "the agent answers on its socket" wait_for 60 answers
is "as its own users" "$(ps -o user:20= -p "$(systemctl show -P MainPID agentd),$(systemctl show -P MainPID agentd-mgmt),$(systemctl show -P MainPID agentd-link)" | xargs)" \
  "agentd agentd-mgmt agentd-link"
for unit in agentd agentd-mgmt agentd-link; do
  read -r _ inheritable permitted effective bounding < <(awk '/^Cap(Inh|Prm|Eff|Bnd)/ { printf " %s", $2 }' "/proc/$(systemctl show -P MainPID "$unit")/status" | sed 's/^/x/')
  is "$unit has no capability" "$inheritable$permitted$effective$bounding" "$(printf '0%.0s' {1..64})"
done
from() { # INTERFACE'S FAR ADDRESS, OURS, PATH: the status
  ip netns exec outside curl -s -o "$LAB/from" -w '%{http_code}' --max-time 10 --interface "$1" --cacert "$LAB/device-ca.crt" --connect-to "::$2:" "https://gw-${LAB_SERIAL,,}.local$3"
}
cable() { [ "$(from 192.0.2.2 192.0.2.1 /v1/bootstrap)" = 200 ]; }
lan() { [ "$(from 198.51.100.2 198.51.100.1 /v1/bootstrap)" = 200 ]; }
succeeds "before the password is set the technician's cable leads in" wait_for 60 cable
fails "the LAN does not" lan
is "port 80 on the cable shows the page" "$(ip netns exec outside curl -s -o /dev/null -w '%{http_code}' --max-time 10 http://192.0.2.1/)" 200
is "systemd has given up no socket" "$(systemctl list-units --state=failed --plain --no-legend 'agentd*')" ""
fails "and not on the LAN" ip netns exec outside curl -s --max-time 5 http://198.51.100.1/
fails "a wrong label secret does not set a password" sh -c "printf 'AAAAA-AAAAA-AAAAA\nwalnut ferry 93 lantern\n' | XDG_RUNTIME_DIR=$LAB/xdg $AGENTCTL passwd --stdin"
# One more try each moment would itself be held up by the limit of requests.
set_owner() { printf '%s\n%s\n' "$FACTORY_SECRET" 'walnut ferry 93 lantern' | ctl passwd --stdin || { sleep 2; return 1; }; }
succeeds "the owner sets his password" wait_for 60 set_owner
succeeds "now the LAN leads in, too" wait_for 60 lan
succeeds "and the cable as before" wait_for 60 cable

# ---- the work ------------------------------------------------------------------------------------------------------------
online() { [ "$(ctl --json status | jq -r .link_state)" = online ]; }
succeeds "the broker is reached over mTLS with the key in the TPM" wait_for 60 online
succeeds "and has telemetry" lab_subscribe '#' 1 30
head -c 8M /dev/urandom > "$LAB/image"
lab_bundle 1.0 "$LAB/image" 1
succeeds "an update goes into the other slot" ctl update install "$LAB/bundles/1.0.swu"
succeeds "byte for byte" cmp -n "$(stat -c %s "$LAB/image")" "$LAB/image" "$LAB/slots/b.img"
is "the installer was started by its socket" "$(systemctl show -P TriggeredBy agentd-install)" agentd-install.socket
lab_boot
systemctl restart agentd
succeeds "after the boot loader's part the agent is back" wait_for 60 answers
in_b() { [ "$(ctl --json update status | jq -r '.booted_slot + " " + .stage')" = "b trying" ]; }
succeeds "in the new slot, on trial" wait_for 60 in_b
succeeds "the unit of health confirms it" systemctl start agentd-health
is "the floor is raised" "$(ctl --json update status | jq -r '"\(.stage) \(.floor)"')" "idle 1"

lab_bundle 2.0 "$LAB/image" 1 stranger
fails "a stranger's update is refused" ctl update install "$LAB/bundles/2.0.swu"
like "for its signature" "$(cat "$LAB/said")" 'sign'

# ---- a script of a bundle ------------------------------------------------------------------------------------------------
# settings MGMT UPDATE: other settings than at the first boot, and everybody started anew with them
settings() {
  printf 'mgmt: { setup_interface = "usb0"; %s };\nupdate: { %s };\n' "$1" "$2" > "$PREFIX/etc/agentd/agentd.conf.d/test.conf"
  systemctl restart agentd agentd-mgmt
  systemctl stop agentd-install agentd-fetch 2> /dev/null
  wait_for 60 answers || not_ok "the agent takes other settings: $(journalctl -b --no-pager -u agentd -n 3 -o cat)"
}
UPDATE="boot_backend = \"file\"; boot_config = \"$BOOT_ENV\"; reboot = \"at-once\"; reboot_notice_s = 0; reboot_hold_s = 0;
  slots = ( { class = \"rootfs\"; name = \"a\"; path = \"$SLOT_A\"; }, { class = \"rootfs\"; name = \"b\"; path = \"$SLOT_B\"; } );"
# Slots in the first file would be a second definition.
sed -i '/^update:/,/^};/d' "$CONF"
mkdir -p /srv/vendor "$LAB/scripted" /run/systemd/system/agentd-script.service.d
chown agentd-script: /srv/vendor
printf '[Service]\nReadWritePaths=/srv/vendor\n' > /run/systemd/system/agentd-script.service.d/paths.conf
systemctl daemon-reload
succeeds "the door of scripts is opened" systemctl enable --now agentd-script.socket
settings '' "$UPDATE scripts = \"run\"; script_paths = [ \"/srv/vendor\" ];"
printf '#!/bin/sh\n{ id -un; grep CapEff /proc/self/status; } >> /srv/vendor/ran\n' > "$LAB/scripted/s.sh"
ln -s "$LAB/image" "$LAB/scripted/rootfs.img"
{
  printf 'software = { version = "2.0"; hardware-compatibility = [ "%s" ]; stable = {\n' "$LAB_PRODUCT"
  for n in 1 2; do
    printf 'copy-%s = { images = ( { filename = "rootfs.img"; type = "raw"; device = "/dev/slot-%s"; installed-directly = true;\n' "$n" "$n"
    printf '  properties = { slot-class = "rootfs"; }; } ); scripts = ( { filename = "s.sh"; type = "shellscript"; } ); };\n'
  done
  printf '}; };\nagent = { profile = "1"; release-id = "release-2.0"; security-version = 1L; products = [ "%s" ]; };\n' "$LAB_PRODUCT"
} > "$LAB/scripted/sw-description"
rm -f "$LAB/bundles/2.0.swu"
succeeds "a bundle with a script" "$AGENTCTL" bundle create "$LAB/scripted" --out "$LAB/bundles/2.0.swu" --signer "$PKI/signer.pem" --key "$PKI/signer.key" --scripts
succeeds "is installed" ctl update install "$LAB/bundles/2.0.swu"
is "its script ran as its own user, without rights" "$(sort -u /srv/vendor/ran | paste -sd' ' | tr -d '\t')" "CapEff:0000000000000000 agentd-script"
succeeds "it is taken back" ctl update rollback

# ---- what goes wrong -----------------------------------------------------------------------------------------------------
for unit in agentd agentd-mgmt agentd-link; do
  before=$(systemctl show -P MainPID "$unit")
  systemctl kill -s KILL --kill-who=main "$unit"
  # shellcheck disable=SC2317
  another() { local now; now=$(systemctl show -P MainPID "$unit"); [ "$now" != 0 ] && [ "$now" != "$before" ] && answers; }
  succeeds "$unit, killed, is back" wait_for 60 another
done
mkdir -p /run/systemd/system/agentd.service.d
printf '[Service]\nWatchdogSec=4\n' > /run/systemd/system/agentd.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart agentd
wait_for 60 answers
before=$(systemctl show -P MainPID agentd)
unit=agentd
kill -STOP "$before"
succeeds "a core that hangs is replaced by the watchdog" wait_for 120 another
succeeds "the broker is reached again" wait_for 60 online
is "and the LAN, with the password as it was set" "$(from 198.51.100.2 198.51.100.1 /v1/bootstrap; jq -r .state < "$LAB/from")" "200active"
settings 'idle_exit_s = 2;' "$UPDATE"
rests() { [ "$(systemctl is-active agentd-mgmt)" = inactive ]; }
succeeds "agentd-mgmt leaves when nobody asks" wait_for 60 rests
succeeds "and is started by who comes from the LAN" wait_for 60 lan
succeeds "leaves again" wait_for 60 rests
succeeds "and is started by who comes to the socket" wait_for 60 answers
# As docs/troubleshooting.md says: a socket that stays would start its program again.
systemctl stop 'agentd*' 2> /dev/null
is "all of it stops with one command" "$(systemctl list-units --state=active --plain --no-legend 'agentd*')" ""
is "stopped, no unit has failed" "$(systemctl list-units --state=failed --plain --no-legend 'agentd*')" ""
fails "no unit met a system call that its filter forbids, or a path that it may not use" \
  sh -c "journalctl -b --no-pager -u 'agentd*' | grep -iE 'SIGSYS|status=31|permission denied|operation not permitted'"

# ---- the last thing: the device restarts by itself -----------------------------------------------------------------------
mkdir "$LAB/www"
lab_bundle 3.0 "$LAB/image" 1
{ printf 'HTTP/1.1 200 OK\r\nContent-Length: %s\r\nConnection: close\r\n\r\n' "$(stat -c %s "$LAB/bundles/3.0.swu")"; cat "$LAB/bundles/3.0.swu"; } > "$LAB/www/3.swu"
(cd "$LAB/www" && exec openssl s_server -accept 127.0.0.1:4433 -HTTP -cert "$PKI/broker.pem" -key "$PKI/broker.key" -tls1_3 < /dev/null > /dev/null 2>&1) &
systemctl start agentd agentd-mgmt agentd-link
wait_for 60 answers
succeeds "an update is offered" ctl update offer https://localhost:4433/3.swu
journalctl -b --no-pager -u 'agentd*' > /e2e/journal
echo 0 > /e2e/code
sync
# The container ends with the code of a restart. Whoever is still here after that is a failure.
sleep 120
ctl update status
journalctl -b --no-pager -u 'agentd*' > /e2e/journal
not_ok "the device did not restart"
