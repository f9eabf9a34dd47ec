#!/bin/sh
# Who may include whom: the table of the house style, checked on quoted includes.
srcdir=${srcdir:-.}
status=0
# crypto/verify_dates.h: dates of certificates without a time_t, compiled into core and mgmt; nobody may have a second way to compare them.
# crypto/verify_issuers.h: of which of several anchors with one name a certificate is, likewise.
# crypto/verify_lists.h, list_file.h: which revocation lists count, likewise; mgmt has a store of its own.
# client/handshake.h: how either end of a connection between programs begins, likewise.
# folder, then what its sources may include besides <agent/...> and system headers (regular expression of quoted paths)
check() {
  dir=$1
  allowed=$2
  forbidden_system=$3
  for f in "$srcdir/$dir"/*.c "$srcdir/$dir"/*.h; do
    [ -e "$f" ] || continue
    bad=$(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$f" | grep -vE "\"(config\\.h|$allowed)")
    if [ -n "$bad" ]; then
      echo "FAIL: $f may not include:"
      echo "$bad"
      status=1
    fi
    if [ -n "$forbidden_system" ]; then
      bad=$(grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*<($forbidden_system)" "$f")
      if [ -n "$bad" ]; then
        echo "FAIL: $f may not include:"
        echo "$bad"
        status=1
      fi
    fi
  done
}
third_party='openssl/|tss2/|mosquitto|systemd/|seccomp|libconfig|jansson|microhttpd|curl/'
check libagent/base 'base/' "$third_party"
check libagent/crypto 'base/|crypto/|context\.h' 'tss2/|mosquitto|systemd/|microhttpd|curl/'
check libagent/tpm 'base/|crypto/|tpm/|context\.h' 'mosquitto|systemd/|microhttpd|curl/'
check libagent/password 'base/|crypto/|password/|context\.h' 'tss2/|mosquitto|systemd/|microhttpd|curl/'
check libagent/update 'base/|crypto/|update/|context\.h' 'tss2/|mosquitto|systemd/|microhttpd|curl/'
check libagent/client 'base/|client/|context\.h' 'tss2/|mosquitto|microhttpd|curl/|openssl/'
check libagent/net 'base/|crypto/|net/|context\.h' 'tss2/|systemd/|microhttpd|curl/'
check agentd/common 'base/|client/handshake\.h|agentd/common/' 'tss2/|mosquitto|microhttpd|curl/'
check agentd/core 'base/|crypto/verify_(dates|issuers)\.h|agentd/common/|agentd/core/' 'mosquitto|microhttpd|curl/|jansson'
check agentd/mgmt 'base/|crypto/(verify_(dates|issuers|lists)|list_file)\.h|agentd/common/|agentd/mgmt/' 'tss2/|mosquitto|curl/'
check agentd/link 'base/|agentd/common/|agentd/link/' 'tss2/|microhttpd|curl/'
check agentd/fetch 'base/|agentd/common/|agentd/fetch/' 'tss2/|mosquitto|microhttpd'
check agentd/install 'base/|agentd/common/|agentd/install/' 'tss2/|mosquitto|microhttpd|curl/|openssl/'
check agentd/script 'base/|agentd/common/|agentd/script/' 'tss2/|mosquitto|microhttpd|curl/|openssl/|jansson|agent/update'
check agentd/ctl 'base/|agentd/common/|agentd/ctl/' 'tss2/|mosquitto|microhttpd|openssl/'
check agentd/pam 'agentd/common/login_door\.h' "$third_party"
# Installed headers know libc and each other; only openssl.h mentions OpenSSL.
for f in "$srcdir"/libagent/include/agent/*.h; do
  case $f in */openssl.h) continue ;; esac
  if grep -nE '#[[:space:]]*include' "$f" | grep -vE '<(agent/[a-z_]+|std[a-z]+|sys/types)\.h>'; then
    echo "FAIL: $f includes more than libc and agent/"
    status=1
  fi
done
exit $status
