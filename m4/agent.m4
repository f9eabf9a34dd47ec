# AGENT_PROBE_CFLAGS(VARIABLE, FLAGS): append to VARIABLE each of FLAGS that the compiler takes without a warning.
AC_DEFUN([AGENT_PROBE_CFLAGS], [
  for agent_flag in $2; do
    AS_VAR_PUSHDEF([agent_cv], [agent_cv_cflag_$agent_flag])
    AC_CACHE_CHECK([whether $CC takes $agent_flag], [agent_cv], [
      agent_save="$CFLAGS"
      CFLAGS="$CFLAGS -Werror $agent_flag"
      AC_COMPILE_IFELSE([AC_LANG_PROGRAM()], [AS_VAR_SET([agent_cv], [yes])], [AS_VAR_SET([agent_cv], [no])])
      CFLAGS="$agent_save"])
    AS_VAR_IF([agent_cv], [yes], [$1="$$1 $agent_flag"])
    AS_VAR_POPDEF([agent_cv])
  done
])

# AGENT_PROBE_LDFLAGS(VARIABLE, FLAGS): the same for the linker.
AC_DEFUN([AGENT_PROBE_LDFLAGS], [
  for agent_flag in $2; do
    AS_VAR_PUSHDEF([agent_cv], [agent_cv_ldflag_$agent_flag])
    AC_CACHE_CHECK([whether the linker takes $agent_flag], [agent_cv], [
      agent_save="$LDFLAGS"
      LDFLAGS="$LDFLAGS $agent_flag"
      AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AS_VAR_SET([agent_cv], [yes])], [AS_VAR_SET([agent_cv], [no])])
      LDFLAGS="$agent_save"])
    AS_VAR_IF([agent_cv], [yes], [$1="$$1 $agent_flag"])
    AS_VAR_POPDEF([agent_cv])
  done
])
