"""Small bar charts for metadata in the UI, which shows SVG inline as a Markdown image and strips HTML.

Written by hand: matplotlib would take half a second of CPU to import in each run, and 25 ms and 12 kB a chart.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import dagster as dg

_BAR, _HEIGHT, _TOP, _FOOT = 16, 80, 14, 14


def bars(what: str, labels: Sequence[str], values: Sequence[int]) -> dg.MarkdownMetadataValue:
    """One bar for each value, with its figure over the highest ones and each label as its tooltip.

    The first, the last and every sixth label are written out. `what` is the image's text where it cannot be shown.
    """
    svg = _svg(labels, values)
    return dg.MetadataValue.md(f"![{what}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})")


def _svg(labels: Sequence[str], values: Sequence[int]) -> str:
    most = max([1, *values])
    width = _BAR * len(values) + 24
    floor = _TOP + _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{floor + _FOOT}" '
        f'font-family="sans-serif" font-size="9" fill="#777">'
    ]
    for number, (label, value) in enumerate(zip(labels, values, strict=True)):
        left, height = _BAR * number + 12, round(_HEIGHT * value / most)
        if value:
            parts.append(
                f'<rect x="{left + 1}" y="{floor - height}" width="{_BAR - 2}" height="{max(height, 1)}" '
                f'fill="#4f6bed"><title>{label}: {value}</title></rect>'
            )
        if value == most:
            parts.append(f'<text x="{left + _BAR / 2}" y="{_TOP - 4}" text-anchor="middle">{value}</text>')
        if number % 6 == 0 or number == len(values) - 1:
            parts.append(f'<text x="{left + _BAR / 2}" y="{floor + 11}" text-anchor="middle">{label}</text>')
    return "".join([*parts, f'<path d="M12 {floor}.5h{_BAR * len(values)}" stroke="#aaa"/>', "</svg>"])
