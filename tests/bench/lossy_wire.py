#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A bad line between two network namespaces: two TUN interfaces, and this program passes packets between them or loses them.

usage: lossy_wire.py NETNS ADDRESS NETNS ADDRESS LOSS-PERCENT CUT-SECONDS EVERY-SECONDS

LOSS-PERCENT counts in each direction. For CUT-SECONDS of every EVERY-SECONDS nothing passes; 0 of 0 never cuts. SIGUSR1 cuts the line until
SIGUSR2; SIGHUP ends the regular cuts. At the end it says how many packets passed and how many did not. Needs no kernel module but TUN.
"""
import ctypes
import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 1, 0x1000

libc = ctypes.CDLL(None, use_errno=True)
held = False
regular = True


def tun(namespace, address):
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open("/run/netns/" + namespace, os.O_RDONLY)
    if libc.setns(there, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns " + namespace)
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"wire0", IFF_TUN | IFF_NO_PI))
    libc.setns(here, CLONE_NEWNET)
    for args in (["addr", "add", address, "dev", "wire0"], ["link", "set", "wire0", "mtu", "1400", "up"]):
        subprocess.run(["ip", "-n", namespace] + args, check=True)
    return fd


def on_signal(number, _frame):
    global held, regular
    if number == signal.SIGHUP:
        regular = False
    elif number == signal.SIGTERM:
        raise SystemExit
    else:
        held = number == signal.SIGUSR1


def main():
    a, b = tun(sys.argv[1], sys.argv[2]), tun(sys.argv[3], sys.argv[4])
    loss, cut_s, every_s = float(sys.argv[5]) / 100, float(sys.argv[6]), float(sys.argv[7])
    passed = lost = 0
    start = time.monotonic()
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, on_signal)
    print("up", flush=True)
    try:
        while True:
            for fd in select.select([a, b], [], [])[0]:
                packet = os.read(fd, 65536)
                is_cut = regular and every_s > 0 and (time.monotonic() - start) % every_s >= every_s - cut_s
                if held or is_cut or random.random() < loss:
                    lost += 1
                    continue
                passed += 1
                os.write(b if fd == a else a, packet)
    except SystemExit:
        print("packets passed", passed, "lost", lost, flush=True)


main()
