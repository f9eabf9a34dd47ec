#!/bin/sh
# Make an update bundle of the strict profile (docs/design/update.md) with openssl, cpio and coreutils. Same input, same
# bytes, but for the time and the randomness inside the signatures. Stock swupdate installs it too: see the same page.
set -eu
usage() {
  cat >&2 << 'USAGE'
usage: make-bundle.sh --image FILE --slot-class CLASS --version V --release-id R --security-version N
         --product BOARD:REVISION [--product ...] --signer CERT --key KEY [--signer CERT --key KEY ...] --out FILE.swu
         [--chunk-size BYTES]     power of two, 65536 to 1048576, default 262144
         [--compress zlib|zstd]   store the image compressed
         [--min-signers N] [--not-before UNIX] [--not-after UNIX]
         [--kind security|feature] [--advisory TEXT]   what the owner is told; TEXT without quotes and backslashes
         [--device-a PATH] [--device-b PATH]   for stock swupdate: targets of "-e stable,copy-1" and "-e stable,copy-2"
USAGE
  exit 2
}
die() { echo "make-bundle.sh: $*" >&2; exit 1; }

image='' class='' version='' release='' security='' products='' out='' chunk=262144 compress='' min='' before='' after='' kind='' advisory=''
device_a=/dev/slot-a device_b=/dev/slot-b n_certs=0 n_keys=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case $1 in
    --image) image=$2 ;;
    --slot-class) class=$2 ;;
    --version) version=$2 ;;
    --release-id) release=$2 ;;
    --security-version) security=$2 ;;
    --product) products="$products${products:+, }\"$2\"" ;;
    --signer) n_certs=$((n_certs + 1)); printf '%s' "$2" > "$work/cert.$n_certs" ;;
    --key) n_keys=$((n_keys + 1)); printf '%s' "$2" > "$work/key.$n_keys" ;;
    --out) out=$2 ;;
    --chunk-size) chunk=$2 ;;
    --compress) compress=$2 ;;
    --min-signers) min=$2 ;;
    --not-before) before=$2 ;;
    --not-after) after=$2 ;;
    --kind) kind=$2 ;;
    --advisory) advisory=$2 ;;
    --device-a) device_a=$2 ;;
    --device-b) device_b=$2 ;;
    *) usage ;;
  esac
  shift 2
done
for v in "$image" "$class" "$version" "$release" "$security" "$products" "$out"; do [ -n "$v" ] || usage; done
if [ "$n_certs" = 0 ] || [ "$n_certs" != "$n_keys" ]; then die "each --signer needs its --key"; fi
case $advisory in *[\"\\]*) die "an advisory has no quotes and backslashes" ;; esac
[ -s "$image" ] || die "$image is missing or empty"
case $chunk in 65536 | 131072 | 262144 | 524288 | 1048576) ;; *) die "chunk size $chunk is not a power of two from 65536 to 1048576" ;; esac

# ---- the stored image ----------------------------------------------------------------------------------------------
member=$class.img
plain=$(stat -L -c %s "$image")
case $compress in
  '') ln -s "$(realpath "$image")" "$work/$member" ;;
  zlib) member=$member.gz; gzip -9 -n -c "$image" > "$work/$member" ;;
  zstd) member=$member.zst; zstd -q -9 --zstd=wlog=20 -c "$image" > "$work/$member" ;; # the window is memory of the device; 4 MiB is what it takes at most
  *) die "unknown compression $compress" ;;
esac
stored=$(stat -L -c %s "$work/$member")
[ "$stored" -lt 4294967296 ] || die "a CPIO member ends below 4 GiB: compress the image"
sha256=$(sha256sum < "$work/$member" | cut -c1-64)

# ---- the chunk table: 32 bytes of SHA-256 per chunk ----------------------------------------------------------------
table=$class.chunks
split -b "$chunk" --filter='sha256sum | cut -c1-64' "$work/$member" | tr 'a-f\n' 'A-F ' | tr -d ' ' | basenc --base16 -d > "$work/$table"
n=$(((stored + chunk - 1) / chunk))
[ "$(stat -c %s "$work/$table")" = $((n * 32)) ] || die "the chunk table came out wrong"
table_sha256=$(sha256sum < "$work/$table" | cut -c1-64)

notice=''
[ -z "$kind" ] || notice="  kind = \"$kind\";
"
[ -z "$advisory" ] || notice="$notice  advisory = \"$advisory\";
"
compressed=''
[ -z "$compress" ] || compressed=" compressed = \"$compress\";"

# ---- the manifest --------------------------------------------------------------------------------------------------
selection() { # NAME DEVICE
  cat << SELECTION
    $1 = {
      images = ( {
        filename = "$member"; type = "raw"; device = "$2"; installed-directly = true;$compressed
        sha256 = "$sha256"; size = ${stored}L;
        properties = {
          slot-class = "$class"; decompressed-size = "$plain";
          chunk-table = "$table"; chunk-table-sha256 = "$table_sha256"; chunk-size = "$chunk";
        };
      } );
    };
SELECTION
}
{
  cat << HEAD
software = {
  version = "$version";
  hardware-compatibility = [ $products ];
  stable = {
HEAD
  selection copy-1 "$device_a"
  selection copy-2 "$device_b"
  cat << TAIL
  };
};
agent = {
  profile = "1"; release-id = "$release"; security-version = ${security}L;
  products = [ $products ];${min:+
  min-signers = $min;}${before:+
  not-before = ${before}L;}${after:+
  not-after = ${after}L;}
$notice};
TAIL
} > "$work/sw-description"

# ---- signatures over exactly these bytes ---------------------------------------------------------------------------
set --
i=1
while [ "$i" -le "$n_certs" ]; do
  set -- "$@" -signer "$(cat "$work/cert.$i")" -inkey "$(cat "$work/key.$i")"
  i=$((i + 1))
done
openssl cms -sign -binary -nosmimecap -md sha256 -in "$work/sw-description" -out "$work/sw-description.sig" -outform DER "$@" ||
  die "openssl could not sign"

# ---- the archive: fixed owner, time and inode numbers --------------------------------------------------------------
touch -h -d @0 "$work/sw-description" "$work/sw-description.sig" "$work/$table"
# A relative --out is the caller's; cpio runs inside the work folder.
case $out in /*) ;; *) out=$PWD/$out ;; esac
(cd "$work" && printf '%s\n' sw-description sw-description.sig "$table" "$member" |
  cpio -o -L -H crc --reproducible --owner=0:0 --quiet > "$work/out.swu") || die "cpio failed"
mv "$work/out.swu" "$out"
