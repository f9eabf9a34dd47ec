# shellcheck shell=bash disable=SC2034,SC2015
# A private place with everything an agent needs: software TPM, broker that demands client certificates, demo
# certificate authorities, A/B slots, configuration. Sourced by quickstart.sh and by the end-to-end tests; on its own it
# does nothing. All of it lives below $LAB and everything it starts is stopped by lab_stop.
#
#   LAB      folder for this run                       PREFIX   where the agent is installed
#   LAB_USE_LOOP=1  slots on loop devices (root only)

# Debian keeps mosquitto and losetup where a plain user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin
LAB_SERIAL=${LAB_SERIAL:-GW-0001}
LAB_PRODUCT=${LAB_PRODUCT:-demo-gateway:1}
LAB_SLOT_MIB=${LAB_SLOT_MIB:-32}
LAB_PORTS=${LAB_PORTS:-/tmp/libagent-lab-ports-$(id -u)}
LAB_USERS="agentd agentd-mgmt agentd-link agentd-install"

lab_fail() { echo "lab: $*" >&2; exit 1; }

# Run a command as one of the agent's users; without root everything runs as the caller.
lab_as() {
  local user=$1
  shift
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid "$user" --regid "$user" --init-groups -- "$@"
  else
    "$@"
  fi
}

lab_own() { [ "$(id -u)" != 0 ] || chown "$@"; }

# The users of systemd/agentd.sysusers, made when they are missing (root only).
lab_users() {
  [ "$(id -u)" = 0 ] || return 0
  getent group tss > /dev/null || groupadd --system tss
  getent group agentd-admin > /dev/null || groupadd --system agentd-admin
  local u
  for u in $LAB_USERS; do
    getent passwd "$u" > /dev/null ||
      useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin "$u"
  done
  id -nG agentd | tr ' ' '\n' | grep -qx tss || usermod -a -G tss agentd
}

# A port below the range that the kernel gives to clients, so that no connection of the lab can sit on it between two
# starts of a server; LAB_PORTS remembers what this machine's labs were given, for servers that start later.
lab_free_port() {
  local p low high
  read -r low high < /proc/sys/net/ipv4/ip_local_port_range
  [ "$low" -gt 12000 ] || low=32768
  mkdir -p "$LAB_PORTS"
  find "$LAB_PORTS" -mindepth 1 -maxdepth 1 -mmin +120 -delete 2> /dev/null
  for _ in {1..2000}; do
    p=$((10000 + RANDOM % (low - 10000)))
    mkdir "$LAB_PORTS/$p" 2> /dev/null || continue
    (exec 3<> "/dev/tcp/127.0.0.1/$p") 2> /dev/null || { echo "$p"; return; }
  done
  lab_fail "no free TCP port between 10000 and $low"
}

# wait_for SECONDS COMMAND...: poll a condition that has no event to wait on.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" > /dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.05
  done
}

# Does somebody listen there? A socket file is there a moment earlier, and one call to it must not be lost to a probe.
lab_listens() { grep -q " 00010000 .* $1\$" /proc/net/unix; }

lab_paths() {
  export AGENTD=$PREFIX/sbin/agentd AGENTCTL=$PREFIX/bin/agentctl
  CONF=$LAB/etc/agentd.conf
  RUN=$LAB/sock
  SOCKET=$RUN/agentd.sock
  PKI=$LAB/pki
  TPM_SOCKET=$LAB/tpm/sock
  TCTI=swtpm:path=$TPM_SOCKET
  BOOT_ENV=$LAB/boot/env
  BROKER_LOG=$LAB/log/mosquitto.log
  AGENT_LOG=$LAB/log/agent.log
}

lab_make() {
  lab_paths
  mkdir -p "$LAB"/{etc,trust/update,trust/broker,trust/fetch,trust/est,state,link,install,boot,slots,pki,log,tpm,bundles}
  chmod 755 "$LAB"
  mkdir -p "$LAB/xdg"
  chmod 700 "$LAB"/{pki,state,link,install,xdg}
  lab_own agentd: "$LAB/state"
  lab_own agentd-link: "$LAB/link"
  lab_own agentd-install: "$LAB/install" "$LAB/boot" "$LAB/slots"
  [ "$(id -u)" != 0 ] || { chgrp tss "$LAB/tpm"; chmod 750 "$LAB/tpm"; }
}

# ---- certificates --------------------------------------------------------------------------------------------------
# lab_ca NAME "SUBJECT"; lab_leaf CA NAME "SUBJECT" "EXTENSIONS, one a line"
lab_ca() {
  [ -s "$PKI/$1.pem" ] && return 0
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "$2" \
    -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
    -keyout "$PKI/$1.key" -out "$PKI/$1.pem" 2> /dev/null || lab_fail "openssl could not make the CA $1"
}

lab_leaf() {
  [ -s "$PKI/$2.pem" ] && return 0
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$3" \
    -keyout "$PKI/$2.key" -out "$PKI/$2.csr" 2> /dev/null &&
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n%s\n' "$4" > "$PKI/$2.ext" &&
    openssl x509 -req -in "$PKI/$2.csr" -CA "$PKI/$1.pem" -CAkey "$PKI/$1.key" -CAcreateserial -days 825 \
      -extfile "$PKI/$2.ext" -out "$PKI/$2.pem" 2> /dev/null || lab_fail "openssl could not make the certificate $2"
}

lab_pki() {
  lab_ca broker-ca "/CN=Demo broker CA"
  lab_ca device-ca "/CN=Demo device CA"
  lab_ca update-ca "/CN=Demo release CA"
  lab_ca other-ca "/CN=Somebody else"
  lab_leaf broker-ca broker "/CN=localhost" $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1'
  lab_leaf device-ca operator "/CN=operator" 'extendedKeyUsage=clientAuth'
  # codeSigning is what we ask for; emailProtection is what stock swupdate asks for by default.
  lab_leaf update-ca signer "/CN=Demo release signer" 'extendedKeyUsage=codeSigning,emailProtection'
  lab_leaf other-ca stranger "/CN=Not the release signer" 'extendedKeyUsage=codeSigning,emailProtection'
  cp "$PKI/update-ca.pem" "$LAB/trust/update/release-ca.pem"
  cp "$PKI/broker-ca.pem" "$LAB/trust/broker/ca.pem"
  cp "$PKI/broker-ca.pem" "$LAB/trust/fetch/ca.pem"
  chmod 644 "$LAB"/trust/*/*.pem
}

# ---- software TPM --------------------------------------------------------------------------------------------------
lab_tpm_start() {
  local mode=
  [ "$(id -u)" != 0 ] || mode=",mode=0660,gid=$(getent group tss | cut -d: -f3)"
  rm -f "$TPM_SOCKET" "$TPM_SOCKET.ctrl"
  mkdir -p "$LAB/tpm/state"
  swtpm socket --tpm2 --tpmstate "dir=$LAB/tpm/state" --server "type=unixio,path=$TPM_SOCKET$mode" \
    --ctrl "type=unixio,path=$TPM_SOCKET.ctrl$mode" --flags not-need-init,startup-clear \
    --log "file=$LAB/log/swtpm.log" > /dev/null 2>&1 &
  TPM_PID=$!
  { wait_for 20 lab_listens "$TPM_SOCKET.ctrl" && wait_for 20 lab_listens "$TPM_SOCKET"; } || lab_fail "swtpm did not start, see $LAB/log/swtpm.log"
}

lab_tpm_stop() {
  [ -n "${TPM_PID:-}" ] || return 0
  kill "$TPM_PID" 2> /dev/null
  wait "$TPM_PID" 2> /dev/null
  TPM_PID=
}

# ---- broker --------------------------------------------------------------------------------------------------------
lab_broker_start() {
  BROKER_PORT=${BROKER_PORT:-$(lab_free_port)}
  cat > "$LAB/etc/mosquitto.conf" << CONF
per_listener_settings false
listener $BROKER_PORT 127.0.0.1
cafile $PKI/device-ca.pem
certfile $PKI/broker.pem
keyfile $PKI/broker.key
require_certificate true
use_identity_as_username true
tls_version tlsv1.3
allow_anonymous false
set_tcp_nodelay true
log_dest file $BROKER_LOG
log_type all
connection_messages true
persistence false
user $(id -un)
${LAB_BROKER_EXTRA:-}
CONF
  mosquitto -c "$LAB/etc/mosquitto.conf" > "$LAB/log/mosquitto.out" 2>&1 &
  BROKER_PID=$!
  wait_for 10 bash -c "exec 3<> /dev/tcp/127.0.0.1/$BROKER_PORT" || lab_fail "mosquitto did not start: $(cat "$LAB/log/mosquitto.out" "$BROKER_LOG" 2> /dev/null)"
}

lab_broker_stop() {
  [ -n "${BROKER_PID:-}" ] || return 0
  kill "$BROKER_PID" 2> /dev/null
  wait "$BROKER_PID" 2> /dev/null
  BROKER_PID=
}

# Subscribe as the operator: lab_subscribe TOPIC COUNT SECONDS
lab_subscribe() {
  mosquitto_sub -h localhost -p "$BROKER_PORT" --cafile "$PKI/broker-ca.pem" --cert "$PKI/operator.pem" \
    --key "$PKI/operator.key" --tls-version tlsv1.3 -t "$1" -C "$2" -W "$3" -q 1 -v
}

# ---- slots ---------------------------------------------------------------------------------------------------------
lab_slots() {
  local s
  for s in a b; do
    SLOT_PATH=$LAB/slots/$s.img
    [ -e "$SLOT_PATH" ] || truncate -s "${LAB_SLOT_MIB}M" "$SLOT_PATH"
    if [ "${LAB_USE_LOOP:-0}" = 1 ]; then
      SLOT_PATH=$(losetup --find --show "$LAB/slots/$s.img" 2> /dev/null) || lab_fail "no loop device to be had for slot $s"
      LAB_LOOPS="${LAB_LOOPS:-} $SLOT_PATH"
      chmod 600 "$SLOT_PATH"
    fi
    lab_own agentd-install: "$SLOT_PATH"
    if [ "$s" = a ]; then SLOT_A=$SLOT_PATH; else SLOT_B=$SLOT_PATH; fi
  done
  [ -e "$BOOT_ENV" ] || lab_boot
}

# The boot loader at power-on; makes the environment when the device is new.
lab_boot() {
  lab_as agentd-install "$LAB_SOURCE/examples/demo-bootloader.sh" "$BOOT_ENV" > "$LAB/log/boot.out" 2>&1 ||
    lab_fail "the pretend boot loader failed: $(cat "$LAB/log/boot.out")"
}

lab_slots_stop() {
  local l
  for l in ${LAB_LOOPS:-}; do losetup -d "$l" 2> /dev/null; done
  LAB_LOOPS=
}

# ---- the agent -----------------------------------------------------------------------------------------------------
# lab_config ["more lines"]
lab_config() {
  HTTPS_PORT=${HTTPS_PORT:-$(lab_free_port)}
  BROKER_PORT=${BROKER_PORT:-$(lab_free_port)}
  mkdir -p "$LAB/etc/agentd.conf.d"
  cat > "$CONF" << CONF
device: { product = "$LAB_PRODUCT"; serial = "$LAB_SERIAL"; model = "Demo gateway"; };
paths: {
  state_dir = "$LAB/state"; link_dir = "$LAB/link"; install_dir = "$LAB/install";
  run_dir = "$RUN"; trust_dir = "$LAB/trust"; program_dir = "$PREFIX/libexec/agentd";
};
tpm: { tcti = "$TCTI"; };
password: { cost = ${LAB_COST:-5}; };
mgmt: { listen = "127.0.0.1:$HTTPS_PORT"; };
# The clock of the machine that runs the lab is right.
time: { network_file = "$CONF"; };
# Tests and quickstart play the health check themselves.
health: { at_start = false; };
mqtt: {
  enable = true; host = "localhost"; port = $BROKER_PORT; telemetry_s = 2;
  backoff_min_ms = 100; backoff_max_ms = 2000;
};
update: {
  boot_backend = "file"; boot_config = "$BOOT_ENV";
  slots = ( { class = "rootfs"; name = "a"; path = "$SLOT_A"; }, { class = "rootfs"; name = "b"; path = "$SLOT_B"; } );
};
CONF
  rm -f "$LAB/etc/agentd.conf.d/test.conf"
  [ -z "${1:-}" ] || printf '%s\n' "$1" > "$LAB/etc/agentd.conf.d/test.conf"
  chmod 644 "$CONF" "$LAB"/etc/agentd.conf.d/*.conf 2> /dev/null
  return 0
}

# What a factory line does; FACTORY_SECRET is what it would print on the label.
lab_provision() {
  lab_as agentd "$AGENTD" --config "$CONF" --provision --csr-subject "CN=$LAB_SERIAL,O=Demo" \
    --csr-out "$LAB/state/device.csr" > "$LAB/log/provision.out" 2> "$LAB/log/provision.err" ||
    lab_fail "provisioning failed: $(cat "$LAB/log/provision.err")"
  FACTORY_SECRET=$(sed -n 's/^factory-secret: //p' "$LAB/log/provision.out")
  printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n' > "$PKI/device.ext"
  openssl x509 -req -in "$LAB/state/device.csr" -CA "$PKI/device-ca.pem" -CAkey "$PKI/device-ca.key" -CAcreateserial \
    -days 825 -extfile "$PKI/device.ext" -out "$LAB/trust/broker/device.pem" 2> /dev/null ||
    lab_fail "the demo CA could not sign the device's CSR"
  chmod 644 "$LAB/trust/broker/device.pem"
}

lab_agent_start() {
  # stdin closed and a session of its own: the agent must not depend on a terminal.
  setsid "$AGENTD" --config "$CONF" --supervise < /dev/null >> "$AGENT_LOG" 2>&1 &
  AGENT_PID=$!
  wait_for 20 lab_healthy || lab_fail "the agent did not start, see $AGENT_LOG: $(tail -n 5 "$AGENT_LOG")"
}

lab_healthy() {
  [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 2 --unix-socket "$SOCKET" http://localhost/v1/health)" = 200 ]
}

lab_agent_stop() {
  [ -n "${AGENT_PID:-}" ] || return 0
  kill "$AGENT_PID" 2> /dev/null
  wait "$AGENT_PID" 2> /dev/null
  AGENT_PID=
}

# The boot loader's part of a reboot; LAB_BOOTED is the slot that runs afterwards.
lab_reboot() {
  lab_agent_stop
  lab_boot
  lab_agent_start
}

# agentctl as its user would call it.
ctl() { XDG_RUNTIME_DIR=$LAB/xdg "$AGENTCTL" --socket "$SOCKET" "$@"; }

# api METHOD PATH [curl options]: over the Unix socket; the body on stdout, the status in API_STATUS (file, for subshells).
api() {
  local method=$1 path=$2
  shift 2
  curl -s --max-time 30 --unix-socket "$SOCKET" -X "$method" -o "$LAB/api.body" -w '%{http_code}' "$@" "http://localhost$path" > "$LAB/api.status"
  API_STATUS=$(cat "$LAB/api.status")
  cat "$LAB/api.body" 2> /dev/null
}

# https METHOD PATH [curl options]: over the LAN door, pinned to the device CA.
https() {
  local method=$1 path=$2
  shift 2
  curl -s --max-time 30 --cacert "$LAB/device-ca.crt" --resolve "gw-${LAB_SERIAL,,}.local:$HTTPS_PORT:127.0.0.1" -X "$method" \
    -o "$LAB/https.body" -w '%{http_code}' "$@" "https://gw-${LAB_SERIAL,,}.local:$HTTPS_PORT$path" > "$LAB/https.status"
  HTTPS_STATUS=$(cat "$LAB/https.status")
  cat "$LAB/https.body" 2> /dev/null
}

# What the label shows, for a client that has to trust the device: the certificate of the device CA.
lab_trust_device() { lab_as agentd cat "$LAB/state/keys/device-ca.crt" > "$LAB/device-ca.crt"; }

# lab_bundle_of OUT IMAGE VERSION RELEASE SECURITY-VERSION SIGNER [options]: a bundle of one raw image for class rootfs, made by "agentctl bundle
# create", which gets the options. Ours: --kind K, --advisory TEXT; --device-a PATH, --device-b PATH are for stock swupdate, "-e stable,copy-1"
# and "-e stable,copy-2". LAB_BUNDLE_PRODUCT is the product if it is not that of the lab.
lab_bundle_of() {
  local out=$1 image=$2 version=$3 release=$4 security=$5 signer=$6 folder n r
  local device_a=/dev/slot-a device_b=/dev/slot-b more='' device product=${LAB_BUNDLE_PRODUCT:-$LAB_PRODUCT}
  local -a rest=()
  shift 6
  while [ $# -gt 0 ]; do
    case $1 in
      --device-a) device_a=$2 ;;
      --device-b) device_b=$2 ;;
      --kind | --advisory) more="$more ${1#--} = \"$2\";" ;;
      *) rest+=("$1" "$2") ;;
    esac
    shift 2
  done
  folder=$(mktemp -d "$LAB/bundle-XXXXXX")
  {
    printf 'software = { version = "%s"; hardware-compatibility = [ "%s" ]; stable = {\n' "$version" "$product"
    for n in 1 2; do
      if [ "$n" = 1 ]; then device=$device_a; else device=$device_b; fi
      printf 'copy-%s = { images = ( { filename = "rootfs.img"; type = "raw"; device = "%s"; installed-directly = true;\n' "$n" "$device"
      printf '  properties = { slot-class = "rootfs"; }; } ); };\n'
    done
    printf '}; };\nagent = { profile = "1"; release-id = "%s"; security-version = %sL; products = [ "%s" ];%s };\n' "$release" "$security" "$product" "$more"
  } > "$folder/sw-description"
  ln -s "$(realpath "$image")" "$folder/rootfs.img"
  rm -f "$out"
  "$AGENTCTL" bundle create "$folder" --out "$out" --signer "$PKI/$signer.pem" --key "$PKI/$signer.key" "${rest[@]}"
  r=$?
  rm -rf "$folder"
  return "$r"
}

# lab_bundle NAME IMAGE SECURITY-VERSION [SIGNER]: a signed bundle in $LAB/bundles/NAME.swu
lab_bundle() {
  lab_bundle_of "$LAB/bundles/$1.swu" "$2" "$1" "release-$1" "$3" "${4:-signer}" > "$LAB/log/bundle.out" 2>&1 ||
    lab_fail "agentctl could not make the bundle: $(cat "$LAB/log/bundle.out")"
}

lab_up() {
  lab_users
  lab_make
  lab_pki
  lab_slots
  lab_tpm_start
  lab_config "${1:-}"
  lab_provision
  lab_broker_start
  lab_agent_start
  lab_trust_device
}

lab_stop() {
  lab_agent_stop
  lab_broker_stop
  lab_tpm_stop
  lab_slots_stop
}
