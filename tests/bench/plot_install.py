#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""plot_install.py ROWS > install.svg: seconds and peak memory of each size and kind, a bar for each program. ROWS as install.sh writes them."""
import sys

TIMES = [("floor", "#bbbbbb", 2), ("floor and read back", "#777777", 3), ("libagent", "#1f77b4", 5), ("swupdate", "#d62728", 7), ("rauc", "#2ca02c", 8)]
MEMORY = [("libagent", "#1f77b4", 9), ("swupdate", "#d62728", 10), ("rauc", "#2ca02c", 11)]
rows = [line.split() for line in open(sys.argv[1])]
BAR, GAP, LEFT, HEIGHT = 12, 22, 60, 220
step = len(TIMES) * BAR + GAP
width = LEFT + len(rows) * step + 30


def chart(top_y, bars, unit, scale):
    most = max(float(r[c]) * scale for r in rows for _, _, c in bars) or 1
    for i in range(5):
        y = top_y + HEIGHT - HEIGHT * i / 4
        print(f'<line x1="{LEFT}" y1="{y}" x2="{width - 10}" y2="{y}" stroke="#dddddd"/><text x="4" y="{y + 4}">{most * i / 4:.1f} {unit}</text>')
    for n, r in enumerate(rows):
        x = LEFT + 10 + n * step
        for k, (_, color, c) in enumerate(bars):
            h = HEIGHT * float(r[c]) * scale / most
            print(f'<rect x="{x + k * BAR}" y="{top_y + HEIGHT - h:.1f}" width="{BAR - 2}" height="{h:.1f}" fill="{color}"/>')
        print(f'<text x="{x}" y="{top_y + HEIGHT + 14}">{r[0]} {r[1]}</text>')


print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{2 * HEIGHT + 130}" font-family="sans-serif" font-size="11">')
print(f'<rect width="{width}" height="{2 * HEIGHT + 130}" fill="white"/>')
print(f'<text x="{LEFT}" y="14">Seconds to install (MiB, how it is stored), data on the disk at the end</text>')
chart(24, TIMES, "s", 1)
print(f'<text x="{LEFT}" y="{HEIGHT + 64}">Peak RSS of the process that installs</text>')
chart(HEIGHT + 74, MEMORY, "MiB", 1 / 1024)
for k, (name, color, _) in enumerate(TIMES):
    print(f'<rect x="{LEFT + k * 130}" y="{2 * HEIGHT + 108}" width="10" height="10" fill="{color}"/>')
    print(f'<text x="{LEFT + k * 130 + 14}" y="{2 * HEIGHT + 117}">{name}</text>')
print("</svg>")
