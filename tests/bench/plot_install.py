#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""plot_install.py ROWS > install.svg: seconds of each size and codec, a bar for each program. ROWS as install.sh writes them."""
import sys

NAMES = [("floor", "#bbbbbb"), ("floor and read back", "#777777"), ("libagent", "#1f77b4"), ("swupdate", "#d62728")]
rows = [line.split() for line in open(sys.argv[1])]
top = max(float(v) for r in rows for v in r[2:6])
bar, gap, left, height = 16, 26, 50, 240
width = left + len(rows) * (4 * bar + gap) + 20
print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 90}" font-family="sans-serif" font-size="11">')
print(f'<rect width="{width}" height="{height + 90}" fill="white"/>')
for i in range(5):
    y = 20 + height - height * i / 4
    print(f'<line x1="{left}" y1="{y}" x2="{width - 10}" y2="{y}" stroke="#dddddd"/><text x="4" y="{y + 4}">{top * i / 4:.2f} s</text>')
for n, r in enumerate(rows):
    x = left + 10 + n * (4 * bar + gap)
    for k, (_, color) in enumerate(NAMES):
        h = height * float(r[2 + k]) / top
        print(f'<rect x="{x + k * bar}" y="{20 + height - h:.1f}" width="{bar - 2}" height="{h:.1f}" fill="{color}"/>')
    print(f'<text x="{x}" y="{height + 36}">{r[0]} MiB {r[1]}</text>')
for k, (name, color) in enumerate(NAMES):
    print(f'<rect x="{left + k * 130}" y="{height + 56}" width="10" height="10" fill="{color}"/>')
    print(f'<text x="{left + k * 130 + 14}" y="{height + 65}">{name}</text>')
print("</svg>")
