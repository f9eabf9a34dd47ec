#!/usr/bin/env bash
# Bundles of the newest swugenerator (PyPI; Debian 12 has 0.2) install here. Called by tests/interop/run.sh; 77: it could not be had.
#   BUILD=/build/tree tests/interop/swugenerator.sh
. "$(dirname "$0")/../e2e/lib.sh"
PROBE=$BUILD/tests/e2e/update_probe
lab_make
lab_pki

# A device with slot a running, as in tests/e2e/41-stock-bundles.sh.
device() {
  rm -rf state env slot.*
  mkdir state
  printf 'primary=a\nbooted=a\nslot.a.good=1\n' > "$PWD/env"
  truncate -s 4M slot.a slot.b
}
probe() { # BUNDLE [options]
  local bundle=$1
  shift
  "$PROBE" --trust "$LAB/trust/update" --state "$PWD/state" --env "$PWD/env" --slot "rootfs:a:$PWD/slot.a" --slot "rootfs:b:$PWD/slot.b" --compat "$@" < "$bundle"
}
installs() { # "what" BUNDLE [options]
  local what=$1
  shift
  device
  succeeds "$what" probe "$@"
  if cmp -s -n 3000001 image slot.b && grep -q '^primary=b$' env; then ok "  equal bytes, tried at the next boot"; else not_ok "  $what: other bytes"; fi
}

# swugenerator of PyPI; Debian 12 has 0.2.
check_swugenerator() {
  local generator=$LAB/venv/bin/swugenerator version key iv codec sign
  mkdir -p "$LAB/swugenerator/gen" && cd "$LAB/swugenerator" || return
  if ! python3 -m venv "$LAB/venv" > "$LAB/out" 2>&1 || ! "$LAB/venv/bin/pip" install -q swugenerator > "$LAB/out" 2>&1; then
    echo "SKIP: swugenerator of PyPI: $(tail -n 1 "$LAB/out")"
    exit 77
  fi
  version=$("$LAB/venv/bin/pip" list 2> /dev/null | awk '$1 == "swugenerator" { print $2 }')
  echo "# swugenerator $version"
  head -c 3000001 /dev/urandom > image
  cp image gen/
  printf 'variables = { VERSION = "3.1.4"; };\n' > gen/config
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out raw.key 2> /dev/null
  openssl pkey -in raw.key -pubout -out "$LAB/trust/update/raw.pub"
  key=$(openssl rand -hex 32) iv=$(openssl rand -hex 16)
  printf 'key=%s\niv=%s\n' "$key" "$iv" > generator.key
  echo "$key $iv" > aes.key
  for codec in '' 'compressed = "zlib";' 'compressed = "zstd";' 'encrypted = true;' 'compressed = "zlib"; encrypted = true;'; do
    for sign in "CMS,$PKI/signer.key,$PKI/signer.pem" "RSA,$PWD/raw.key"; do
      cat > gen/sw-description << TEMPLATE
software =
{
  version = "@@VERSION@@";
  hardware-compatibility = [ "1" ];
  stable: {
    copy-1: { images: ( { filename = "image"; device = "$PWD/slot.a"; installed-directly = true; $codec } ); };
    copy-2: { images: ( { filename = "image"; device = "$PWD/slot.b"; installed-directly = true; $codec } ); };
  };
}
TEMPLATE
      rm -f out.swu
      if (cd gen && "$generator" -s sw-description -a . -c config -k "$sign" -K ../generator.key -o ../out.swu create) > "$LAB/out" 2>&1; then
        installs "swugenerator $version: ${sign%%,*} ${codec:-plain}" out.swu --raw rsa --key aes.key
      else
        not_ok "swugenerator $version does not make ${sign%%,*} ${codec:-plain}: $(tail -n 1 "$LAB/out")"
      fi
    done
  done
}

check_swugenerator
done_testing
