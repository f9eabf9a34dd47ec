# shellcheck shell=bash disable=SC2034,SC2317,SC2015
# For scripts that offer updates to a device: a server of files over HTTPS, bundles on it, and what the device says. After lib.sh.
WWW=$LAB/www
mkdir -p "$WWW"
FILE_PORT=$(lab_free_port)
URL=https://localhost:$FILE_PORT
serve() {
  # not in a subshell: SERVER_PID is what is killed later
  cd "$WWW" || exit 1
  openssl s_server -accept "127.0.0.1:$FILE_PORT" -HTTP -naccept 1000 -cert "$PKI/broker.pem" -key "$PKI/broker.key" -tls1_3 \
    < /dev/null > "$LAB/log/s_server.out" 2>&1 &
  SERVER_PID=$!
  cd "$LAB" || exit 1
  wait_for 20 bash -c "exec 3<> /dev/tcp/127.0.0.1/$FILE_PORT"
}
SERVER_PID=
server_end() {
  local code=$?
  [ -z "$SERVER_PID" ] || kill "$SERVER_PID" 2> /dev/null
  return "$code"
}
trap 'server_end; e2e_end' EXIT
publish() { # NAME VERSION SECURITY-VERSION [SIGNER [more options of lab_bundle_of]]
  local name=$1 version=$2 security=$3 signer=${4:-signer}
  shift 3; [ $# = 0 ] || shift
  lab_bundle_of "$LAB/bundles/$version.swu" "$LAB/image" "$version" "release-$version" "$security" "$signer" "$@" || not_ok "making a bundle"
  {
    printf 'HTTP/1.1 200 OK\r\nContent-Length: %s\r\nConnection: close\r\n\r\n' "$(stat -c %s "$LAB/bundles/$version.swu")"
    cat "$LAB/bundles/$version.swu"
  } > "$WWW/.$name" && mv "$WWW/.$name" "$WWW/$name"
}
status() { ctl --json update status; }
field() { status | jq -r ".$1"; }
# FIELD=VALUE ...: trouble on the way is tried again after a minute
is_so() { local pair; for pair; do [ "$(field "${pair%%=*}")" = "${pair#*=}" ] || return 1; done; }
becomes() { local what=$1; shift; wait_for 100 is_so "$@" && ok "$what" || not_ok "$what: wanted $*, is $(status | jq -c .)"; }
has_event() { ctl --json events --limit 1000 | jq -es --arg e "$1" --arg k "$2" --arg v "$3" '[.. | objects | select((.event // .name) == $e) | (.fields // .)[$k]] | index($v) != null' > /dev/null; }
