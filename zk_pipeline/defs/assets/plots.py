"""Small bar charts for metadata in the UI: SVG as a Markdown image, since HTML is stripped.

Written by hand: matplotlib would take half a second of CPU to import in each run, and its 12 kB a chart would not be
shown beside the other metadata but behind a link: the UI does that to Markdown from INLINE characters on.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import dagster as dg

INLINE = 1000
_PITCH, _TOP, _FLOOR = 12, 12, 72


def bars(what: str, labels: Sequence[str], values: Sequence[int]) -> dg.MarkdownMetadataValue:
    """One bar for each of at most 31 values, the highest with its figure, those that have a label with that.

    `what` is the image's text where it cannot be shown. At most four labels, or it may not be shown inline.
    """
    svg = _svg(labels, values)
    return dg.MetadataValue.md(f"![{what}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})")


def _svg(labels: Sequence[str], values: Sequence[int]) -> str:
    most = max([1, *values])
    middles = [_PITCH * number + 16 for number in range(len(values))]
    tops = [_FLOOR - round((_FLOOR - _TOP) * value / most) for value in values]
    drawn = "".join(f"M{x} {_FLOOR}V{y}" for x, y in zip(middles, tops, strict=True) if y < _FLOOR)
    texts = [(x, _FLOOR + 11, label) for x, label in zip(middles, labels, strict=True) if label]
    texts += [(x, _TOP - 3, str(value)) for x, value in zip(middles, values, strict=True) if value == most][:1]
    width = _PITCH * len(values) + 32
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_FLOOR + 14}" font-size="9" '
        f'text-anchor="middle" fill="#777"><path d="M8 {_FLOOR}H{width - 8}" stroke="#aaa"/>'
        f'<path d="{drawn}" stroke="#46e" stroke-width="9"/>'
        + "".join(f'<text x="{x}" y="{y}">{text}</text>' for x, y, text in texts)
        + "</svg>"
    )
