#!/bin/sh
# Every installed header compiles alone, as C and as C++.
srcdir=${srcdir:-.}
include=$srcdir/libagent/include
status=0
for h in "$include"/agent/*.h; do
  name=agent/${h##*/}
  for lang in c c++; do
    case $lang in c) cc=${CC:-cc} ;; *) cc=${CXX:-c++} ;; esac
    if ! printf '#include <%s>\nextern int unit;\n' "$name" | $cc -x $lang -Wall -Wextra -Werror -pedantic -I"$include" -fsyntax-only -; then
      echo "FAIL: $name as $lang"
      status=1
    fi
  done
done
exit $status
