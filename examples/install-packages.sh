#!/usr/bin/env bash
# Install from Debian what is missing: examples/install-packages.sh build|demo|test
# build: compile; demo: and run quickstart; test: and run all tests. Needs root or sudo only if something is missing.
set -eu

build="autoconf automake libtool pkg-config gcc g++ make libssl-dev libtss2-dev libmosquitto-dev libsystemd-dev
  libseccomp-dev libcmocka-dev libconfig-dev libjansson-dev libmicrohttpd-dev libcurl4-openssl-dev zlib1g-dev libzstd-dev
  libutf8proc-dev libcrypt-dev libubootenv-dev libpam0g-dev libqrencode-dev libpng-dev
  python3-zxcvbn"
demo="$build swtpm tpm2-tools mosquitto mosquitto-clients openssl curl jq cpio util-linux procps iproute2"
test="$demo swtpm-tools python3 xxd zstd clang libclang-rt-14-dev llvm tpm2-openssl swupdate swugenerator strace shellcheck systemd systemd-container mandoc xz-utils git
  libubootenv-tool u-boot-tools grub-common grub-emu e2fsprogs efibootmgr fdisk
  pamtester openssh-server openssh-client sudo sshpass login patchelf
  chromium chromium-driver libnss3-tools fonts-inter fonts-dejavu-core sslscan testssl.sh bsdextrautils
  zbar-tools softhsm2 libengine-pkcs11-openssl"

case ${1:-} in
  build) wanted=$build ;;
  demo) wanted=$demo ;;
  test) wanted=$test ;;
  *) echo "usage: $0 build|demo|test" >&2; exit 2 ;;
esac

missing=
for p in $wanted; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2> /dev/null)" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  sudo=
elif command -v sudo > /dev/null; then
  sudo=sudo
else
  echo "These packages are missing, and neither root nor sudo is there to install them:$missing" >&2
  exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086
if ! { $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing; } > "$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "apt-get could not install them; the whole output is in $log" >&2
  exit 1
fi
rm -f "$log"
