"""Small bar charts for metadata in the UI: SVG as a Markdown image, since the UI strips HTML.

matplotlib would cost half a second of CPU per run for its import, and 12 kB per chart: the UI shows Markdown of INLINE
or more characters behind a link only.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import dagster as dg

INLINE = 1000
_PITCH, _TOP, _BASELINE = 12, 12, 72


def bars(what: str, labels: Sequence[str], values: Sequence[int]) -> dg.MarkdownMetadataValue:
    """Bar chart of at most 31 values, with the highest value and the labels that are not empty.

    `what` is the alternative text. With more than four labels the chart may be too long for inline display.
    """
    svg = _svg(labels, values)
    return dg.MetadataValue.md(f"![{what}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})")


def _svg(labels: Sequence[str], values: Sequence[int]) -> str:
    most = max([1, *values])
    middles = [_PITCH * number + 16 for number in range(len(values))]
    tops = [_BASELINE - round((_BASELINE - _TOP) * value / most) for value in values]
    drawn = "".join(f"M{x} {_BASELINE}V{y}" for x, y in zip(middles, tops, strict=True) if y < _BASELINE)
    texts = [(x, _BASELINE + 11, label) for x, label in zip(middles, labels, strict=True) if label]
    texts += [(x, _TOP - 3, str(value)) for x, value in zip(middles, values, strict=True) if value == most][:1]
    width = _PITCH * len(values) + 32
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_BASELINE + 14}" font-size="9" '
        f'text-anchor="middle" fill="#777"><path d="M8 {_BASELINE}H{width - 8}" stroke="#aaa"/>'
        f'<path d="{drawn}" stroke="#46e" stroke-width="9"/>'
        + "".join(f'<text x="{x}" y="{y}">{text}</text>' for x, y, text in texts)
        + "</svg>"
    )
