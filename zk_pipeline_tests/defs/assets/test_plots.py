"""Bar charts for the UI: well-formed SVG, to scale, small enough for inline display."""

from __future__ import annotations

from base64 import b64decode
from xml.etree import ElementTree

from zk_pipeline.defs.assets.plots import INLINE, bars

SVG = "{http://www.w3.org/2000/svg}"


def drawn(labels: list[str], values: list[int]) -> ElementTree.Element:
    text = str(bars("what it is", labels, values).value)
    head, _, image = text.partition("(data:image/svg+xml;base64,")
    assert head == "![what it is]"
    return ElementTree.fromstring(b64decode(image.removesuffix(")")))


def test_bars_are_to_scale_with_the_highest_figure_and_the_labels_given() -> None:
    chart = drawn(["a", "", "", "", "", "", "g", ""], [0, 10, 20, 1, 0, 0, 0, 5])
    _, path = chart.iter(f"{SVG}path")
    assert path.attrib["d"] == "M28 72V42M40 72V12M52 72V69M100 72V57"
    assert [text.text for text in chart.iter(f"{SVG}text")] == ["a", "g", "20"]


def test_nothing_at_all_is_an_empty_chart() -> None:
    chart = drawn(["a", "b"], [0, 0])
    assert [path.attrib["d"] for path in chart.iter(f"{SVG}path")][1] == ""


def test_the_largest_chart_is_small_enough_to_be_shown_beside_the_other_metadata() -> None:
    days = ["" if day % 10 else f"12-{day:02}" for day in range(31)]
    assert len(str(bars("outliers by work date", days, [1_000_000] * 31).value)) < INLINE
