#!/bin/sh
# Every public header is installed and compiles alone, as C and as C++.
srcdir=${srcdir:-.}
include=$srcdir/libagent/include
status=0
for h in "$include"/agent/*.h; do
  name=agent/${h##*/}
  # A header that is missing here is missing on the device only: this tree would still build.
  if ! grep -qw "%D%/${h##*/}" "$include/agent/module.am"; then
    echo "FAIL: $name is not in libagent/include/agent/module.am, so it is not installed"
    status=1
  fi
  for lang in c c++; do
    case $lang in c) cc=${CC:-cc} ;; *) cc=${CXX:-c++} ;; esac
    if ! printf '#include <%s>\nextern int unit;\n' "$name" | $cc -x $lang -Wall -Wextra -Werror -pedantic -I"$include" -fsyntax-only -; then
      echo "FAIL: $name as $lang"
      status=1
    fi
  done
done
# What vendors copy compiles as they compile: strict C, no extensions.
for app in "$srcdir"/examples/vendor-app/*.c; do
  ${CC:-cc} -std=c11 -Wall -Wextra -Werror -pedantic -I"$include" -fsyntax-only "$app" || { echo "FAIL: $app as strict C"; status=1; }
done
exit $status
