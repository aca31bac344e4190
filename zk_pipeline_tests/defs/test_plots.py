"""Charts for the UI: well-formed, to scale, small."""

from __future__ import annotations

from base64 import b64decode
from xml.etree import ElementTree

from zk_pipeline.defs.plots import bars

SVG = "{http://www.w3.org/2000/svg}"


def drawn(labels: list[str], values: list[int]) -> ElementTree.Element:
    text = str(bars("what it is", labels, values).value)
    head, _, image = text.partition("(data:image/svg+xml;base64,")
    assert head == "![what it is]"
    return ElementTree.fromstring(b64decode(image.removesuffix(")")))


def test_bars_are_to_scale_and_say_what_they_are() -> None:
    chart = drawn(["a", "b", "c", "d"], [0, 10, 20, 1])
    found = {bar.findtext(f"{SVG}title"): float(bar.attrib["height"]) for bar in chart.iter(f"{SVG}rect")}
    assert found == {"b: 10": 40, "c: 20": 80, "d: 1": 4}
    assert [text.text for text in chart.iter(f"{SVG}text")] == ["a", "20", "d"]


def test_nothing_at_all_is_an_empty_chart() -> None:
    chart = drawn(["a", "b"], [0, 0])
    assert list(chart.iter(f"{SVG}rect")) == []


def test_a_chart_of_a_month_is_a_few_kilobytes() -> None:
    assert len(str(bars("what", [f"{day:02}" for day in range(30)], list(range(1000, 1030))).value)) < 7000
