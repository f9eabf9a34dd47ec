#!/usr/bin/env bash
# The web page in headless Chromium: first boot, update, sessions, wrong passwords; pictures, accessibility, console.
#   32-browser.sh --update-shots   takes the pictures in docs/screenshots anew
. "$(dirname "$0")/lib.sh"
need swtpm mosquitto curl python3 chromium chromedriver certutil
lab_up
wait_for 20 https GET /v1/health
shots=$LAB_SOURCE/docs/screenshots
head -c 16777216 /dev/urandom > "$LAB/image"
lab_bundle 1.0 "$LAB/image" 1
head -c 65536 /dev/urandom > "$LAB/small"
lab_bundle 2.0 "$LAB/small" 2 stranger
python3 "$(dirname "$0")/browser.py" "$LAB" "https://gw-${LAB_SERIAL,,}.local:$HTTPS_PORT/" "$FACTORY_SECRET" "$OWNER_PASSWORD" \
  "$LAB/bundles/1.0.swu" "$LAB/bundles/2.0.swu" "$shots" "$@" > "$LAB/browser.out" 2> "$LAB/browser.err"
code=$?
cat "$LAB/browser.out"
N_OK=$((N_OK + $(grep -c '^ok - ' "$LAB/browser.out")))
N_FAILED=$((N_FAILED + $(grep -c '^not ok - ' "$LAB/browser.out")))
if [ -s "$LAB/browser.err" ]; then not_ok "the browser test broke off: $(tail -n 4 "$LAB/browser.err")"; fi
[ "$code" = 0 ] || [ "$N_FAILED" != 0 ] || not_ok "browser.py ended with $code"
done_testing
