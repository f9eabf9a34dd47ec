# A/B boot with the agent's boot backend "uboot" (docs/design/update.md): mkimage -T script -C none -d uboot.cmd boot.scr
# The environment must be redundant (CONFIG_ENV_REDUNDANT, or SYS_REDUNDAND_ENVIRONMENT in older trees), fw_env.config has
# two lines, and a device begins with saveenv and
#   BOOT_ORDER=a b   BOOT_a_GOOD=1   BOOT_a_LEFT=0   BOOT_b_GOOD=0   BOOT_b_LEFT=0
#
# The slots in BOOT_ORDER: one that is good boots; one with tries left boots if one could be counted down and saved.
slot=
for s in ${BOOT_ORDER}; do
  if test -n "${slot}"; then
    true
  elif test "${s}" = a; then
    if test "${BOOT_a_GOOD}" = 1; then
      slot=a
    elif test ${BOOT_a_LEFT} -gt 0; then
      setexpr BOOT_a_LEFT ${BOOT_a_LEFT} - 1
      if saveenv; then slot=a; fi
    fi
  elif test "${s}" = b; then
    if test "${BOOT_b_GOOD}" = 1; then
      slot=b
    elif test ${BOOT_b_LEFT} -gt 0; then
      setexpr BOOT_b_LEFT ${BOOT_b_LEFT} - 1
      if saveenv; then slot=b; fi
    fi
  fi
done
if test -z "${slot}"; then
  echo "no slot can be booted"
  reset
fi
if test "${slot}" = a; then part=2; else part=3; fi
setenv bootargs "root=PARTLABEL=root_${slot} ro rootwait agent.slot=${slot}"
load mmc 0:${part} ${kernel_addr_r} /boot/Image && load mmc 0:${part} ${fdt_addr_r} /boot/board.dtb && booti ${kernel_addr_r} - ${fdt_addr_r}
# What cannot be started counts as a try: begin again.
reset
