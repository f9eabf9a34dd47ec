#!/usr/bin/env bash
# A vendor's program that updates without the daemons: examples/vendor-app/update-app, built from the installed package alone. And the
# program that measures agentd-install still speaks its language.
. "$(dirname "$0")/lib.sh"
need openssl make
lab_make
lab_pki
APP=$LAB/app
mkdir -p "$APP/state" "$APP/again"
cp "$LAB_SOURCE"/examples/vendor-app/{Makefile,update-app.c} "$APP"
make_app() {
  PKG_CONFIG_PATH=$PREFIX/lib/pkgconfig make -s -C "$APP" update-app CC="$(sed -n 's/^CC = //p' "$BUILD/Makefile")" \
    CFLAGS="-g -O1 -Wall -Wextra -Werror $(sed -n 's/^SAN_CFLAGS = //p' "$BUILD/Makefile")" LDFLAGS="-Wl,-rpath,$PREFIX/lib"
}
succeeds "it builds from the installed package" make_app
cd "$APP" || exit 1
for n in 1 2 3; do head -c 3000000 /dev/urandom > "image.$n"; done
for s in a b; do truncate -s 4M "slot.$s"; done
boot() { LAB_BOOTED=$("$LAB_SOURCE/examples/demo-bootloader.sh" boot.env); }
app() { timeout 120 ./update-app -t "$LAB/trust/update" -p "$LAB_PRODUCT" -d state -e "$PWD/boot.env" -a "$PWD/slot.a" -b "$PWD/slot.b" -f floor "$@"; }
said() { app "$@" 2>&1; }
holds() { cmp -s -n 3000000 "image.$2" "slot.$1"; }
boot
lab_bundle_of one.swu image.1 1.0 r-1 4 signer --kind feature --advisory 'a new colour' || not_ok "bundle"
lab_bundle_of two.swu image.2 2.0 r-2 5 signer --kind security || not_ok "bundle"
lab_bundle_of old.swu image.3 0.9 r-0 4 signer || not_ok "bundle"
lab_bundle_of strange.swu image.3 3.0 r-3 6 stranger || not_ok "bundle"
lab_bundle_of three.swu image.3 3.0 r-3 6 signer || not_ok "bundle"

succeeds "a new device says what runs" app status
like "  slot a" "$(said status)" '^slot a runs; idle; release -; failed before: -$'
like "it shows what is in a bundle" "$(said look one.swu)" '^release r-1, version 1\.0, security version 4, feature, 3000000 bytes: a new colour$'
like "  and that it would install it" "$(said look one.swu)" '^it would be installed$'
fails "a bundle of a stranger is refused before anybody is asked" app look strange.swu
like "  by name, and nothing is shown" "$(said look strange.swu)" '^update-app: .*\(update\.signer\)$'
fails "its own policy refuses what is no security release" app -s install one.swu
like "  with the words of the policy" "$(said -s install one.swu)" 'is no security release \(vendor\.not-now\)$'
is "  and the slot is as it was" "$(cmp slot.b <(head -c 4M /dev/zero) && echo zero)" zero
like "  and so is the state" "$(said status)" 'idle; release -'

exits "without a bundle it says so" 2 app install
exits "an unknown command" 2 app dance
fails "a bundle that is not there" app install none.swu

said install one.swu > progress
like "it installs" "$(tail -n 1 progress)" '^restart to try it$'
succeeds "  and tells how far it is" test "$(grep -c '^writing [0-9]*0 %$' progress)" -ge 5
is "  in order" "$(sed -n 's/^writing \([0-9]*\) %$/\1/p' progress)" "$(sed -n 's/^writing \([0-9]*\) %$/\1/p' progress | sort -n)"
is "  up to the end" "$(sed -n 's/^writing \([0-9]*\) %$/\1/p' progress | tail -n 1)" 100
succeeds "the bytes are in the slot" holds b 1
fails "what has not booted yet cannot be confirmed" app confirm
boot
is "the boot loader tries it" "$LAB_BOOTED" b
succeeds "it is confirmed" app confirm
is "and the floor rose" "$(cat floor)" 4
like "  to be what runs" "$(said status)" '^slot b runs; idle; release r-1'

# Killed in the middle of the second one: a pipe that stops.
mkfifo pipe
./update-app -t "$LAB/trust/update" -p "$LAB_PRODUCT" -d state -e "$PWD/boot.env" -a "$PWD/slot.a" -b "$PWD/slot.b" -f floor install pipe > killed.log 2>&1 &
app_pid=$!
exec 8> pipe
head -c 1500000 two.swu >&8
wait_for 60 grep -q '^writing' killed.log || not_ok "it does not begin: $(cat killed.log)"
kill -9 "$app_pid"
wait "$app_pid" 2> /dev/null
exec 8>&-
boot
is "killed while it writes: the old slot boots" "$LAB_BOOTED" b
like "  and the state says so" "$(said status)" '^slot b runs; (failed|idle)'
succeeds "a security release passes its policy" app -s install two.swu
boot
is "  and is tried" "$LAB_BOOTED" a
succeeds "  its bytes are in the slot" holds a 2
for _ in 1 2 3; do boot; done
is "never confirmed: the boot loader goes back" "$LAB_BOOTED" b
like "  which is remembered" "$(said status)" 'failed before: r-2$'
like "  and not tried again" "$(said install two.swu)" '\(update\.failed-before\)$'

succeeds "another release" app install three.swu
boot
succeeds "  is confirmed" app confirm
is "the floor follows" "$(cat floor)" 6
like "what is below it is refused" "$(said install old.swu)" '\(update\.stale\)$'
fails "and so is the way back" app rollback
echo nonsense > floor
like "a damaged floor is none to go on with" "$(said install three.swu)" 'holds no floor'

# ---- what tests/bench/install.sh runs -----------------------------------------------------------------------------------
if [ -x "$BUILD/tests/bench/bench_agentd" ]; then
  cat > bench.conf << CONF
device: { product = "$LAB_PRODUCT"; serial = "1"; model = "bench"; };
paths: { state_dir = "$APP/core"; link_dir = "$APP/link"; install_dir = "$APP/again"; run_dir = "$APP/run"; trust_dir = "$LAB/trust"; };
update: {
  boot_backend = "file"; boot_config = "$APP/bench.env"; booted_slot = "a";
  slots = ( { class = "rootfs"; name = "a"; path = "$APP/slot.a"; }, { class = "rootfs"; name = "b"; path = "$APP/slot.b"; } );
};
CONF
  [ "$(id -u)" != 0 ] || chmod 755 "$APP"
  like "bench_agentd installs through agentd-install" "$("$BUILD/tests/bench/bench_agentd" "$BUILD/agentd-install" bench.conf three.swu "$APP/s" 2>&1)" '^[0-9.]+ [0-9]+$'
  succeeds "  the bytes" holds b 3
  rm -rf state2 && mkdir state2
  like "bench_install installs" "$("$BUILD/tests/bench/bench_install" three.swu "$LAB/trust/update" "$LAB_PRODUCT" "$APP/slot.a" "$APP/slot.b" state2 "$APP/bench2.env" 2>&1)" '^seconds=.* read_back_s='
fi
done_testing
