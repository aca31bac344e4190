"""Charts and heat maps: structure, text alternatives, labels, extreme values."""

from __future__ import annotations

import re
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from zk_pipeline.web.charts import (
    Bar,
    CalendarDay,
    Cell,
    MatrixRow,
    Series,
    bar_chart,
    calendar_heat_map,
    compact,
    heat_matrix,
    legend,
    line_chart,
    sparkline,
    whole,
)
from zk_pipeline.web.formatting import percent

HOURS = [f"{hour:02}" for hour in range(24)]
NARROWEST = 280  # pixels of a plot in a window of 390
EVIL = "<script>alert(1)</script>\"'&"


def tree(markup: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


def heights(markup: Markup) -> list[float]:
    return [float(one.get("height", "")) for one in tree(markup).iter("rect") if "column" in one.get("class", "")]


def words(markup: Markup) -> list[str]:
    return [one.text or "" for one in tree(markup).iter("title")]


def test_a_bar_chart_has_a_bar_per_value_its_usual_values_and_its_figures_in_words() -> None:
    chart = bar_chart("Punches", [Bar("08", 50, 100, failed=25), Bar("09", 1200, 0), Bar("10", None, 300)])
    assert heights(chart) == [3.75, 1.88, 90.0]  # of 150 pixels for 2000
    assert [one.get("class") for one in tree(chart).iter("line")] == ["zero", "grid", "grid", "usual", "usual"]
    assert words(chart) == ["Punches", "08: 50, failed 25 (usual 100)", "09: 1,200 (usual 0)", "10 (usual 300)"]
    described = tree(chart).find("desc")
    assert described is not None
    assert described.text == "Total 1,250; highest 1,200 at 09; usual total until then 100; failed 25."
    assert [one.text for one in tree(chart).iter("text")] == ["0", "1k", "2k", "08", "09", "10"]


def test_charts_without_values_say_so_and_those_of_zeros_and_single_values_have_a_scale() -> None:
    for empty in (
        bar_chart("x", []),
        line_chart("x", [Series("a", [None, None])], ["1", "2"]),
        line_chart("x", [], []),
        heat_matrix("x", [], []),
        calendar_heat_map("x", []),
    ):
        assert "No data yet" in empty
    assert "–" in sparkline([None, None], "no punches")
    assert heights(bar_chart("x", [Bar("a", 0), Bar("b", 0)])) == [0, 0]
    assert heights(bar_chart("x", [Bar("a", 1)])) == [75]
    assert "No values yet." in bar_chart("x", [Bar("a", None)])
    assert 'cy="14"' in line_chart("x", [Series("a", [5])], ["one"])  # a dot at the top: a path needs two points
    assert "M3 3" in sparkline([4], "four")
    assert "M3 19L85 19" in sparkline([0, 0], "nothing")


@pytest.mark.parametrize("size", [1e-3, 1, 7, 10, 99, 1e6, 12e9, 9.9e12])
def test_every_value_fits_the_chart_and_fills_at_least_half_of_it(size: float) -> None:
    assert 75 <= max(heights(bar_chart("x", [Bar("a", size), Bar("b", size / 3)]))) <= 150
    path = re.search(r'd="M0 (\S+)L', line_chart("x", [Series("a", [size, size])], ["a", "b"]))
    assert path is not None
    assert 0 <= float(path.group(1)) <= 50


def test_lines_have_gaps_where_values_are_missing_and_dots_where_one_is_alone() -> None:
    chart = line_chart("Lag", [Series("p50", [1, 2, None, 4]), Series("p95", [None, 5, None, 4], "second")], HOURS[:4])
    first, second = (one.get("d", "") for one in tree(chart).iter("path"))
    assert (first.count("M"), first.count("L"), second.count("M")) == (2, 1, 2)
    assert [one.get("class") for one in tree(chart).iter("circle")] == ["first", "second", "second"]
    assert words(chart)[2:4] == ["01: p50 2, p95 5", "02: p50 –, p95 –"]
    assert "p95: latest 4, highest 5 at 01, 2 values." in chart


@pytest.mark.parametrize("labels", [HOURS, [f"{hour}:00" for hour in HOURS], [f"2026-{n:02}" for n in range(1, 61)]])
def test_labels_do_not_overlap_on_a_narrow_screen(labels: list[str]) -> None:
    for chart in (
        bar_chart("x", [Bar(label, 1) for label in labels]),
        line_chart("x", [Series("a", [1.0] * len(labels))], labels),
    ):
        texts = [one for one in tree(chart).iter("text") if "label" in one.get("class", "")]
        assert len(texts) >= 3
        right = -40.0  # the padding
        for one in texts:
            centre, size = float(one.get("x", "").rstrip("%")) / 100 * NARROWEST, 6.7 * len(one.text or "")
            left = centre - size / 2
            assert left >= right
            right = left + size
        assert right <= NARROWEST + 32  # the padding of chart and page


def test_no_text_becomes_markup() -> None:
    day = CalendarDay(date(2026, 3, 2), Cell("ok", EVIL), f"/x?{EVIL}")
    for markup in (
        bar_chart(EVIL, [Bar(EVIL, 1)], shown=lambda _: EVIL, axis=lambda _: EVIL),
        line_chart(EVIL, [Series(EVIL, [1, 2])], [EVIL, EVIL]),
        sparkline([1, 2], EVIL),
        heat_matrix(EVIL, [EVIL], [MatrixRow(EVIL, [Cell("ok", EVIL, EVIL)], EVIL)], EVIL),
        calendar_heat_map(EVIL, [day]),
        legend([("ok", EVIL)]),
    ):
        tree(markup)  # well-formed
        assert "<script" not in markup
        assert " style=" not in markup
        assert "&lt;script&gt;" in markup


def test_a_heat_matrix_names_each_cell_and_joins_unnamed_columns_under_the_name_to_their_left() -> None:
    rows = [
        MatrixRow("Gate", [Cell("ok", "4 polls"), Cell("bad", "failed", "×"), Cell("none", "no poll")], "/devices/1")
    ]
    table = tree(heat_matrix("Polls", ["00", "", "02"], rows, "Terminal"))
    assert [(one.text, one.get("colspan")) for one in table.iter("th")][:3] == [
        ("Terminal", None), ("00", "2"), ("02", "1")
    ]  # fmt: skip
    assert ["".join(one.itertext()) for one in table.iter("td")] == ["4 polls", "failed×", "no poll"]
    assert [one.get("href") for one in table.iter("a")] == ["/devices/1"]


def test_a_calendar_has_whole_months_in_weeks_from_monday() -> None:
    days = [CalendarDay(date(2026, 1, 31) + timedelta(days=n), Cell("level2", "8 h"), f"/{n}") for n in range(3)]
    months = list(tree(calendar_heat_map("Hours", days)))
    assert ["".join(one.find("caption").itertext()) for one in months] == [  # type: ignore[union-attr]
        "January 2026, Hours", "February 2026, Hours"
    ]  # fmt: skip
    weeks = [[["".join(td.itertext()) for td in tr.iter("td")] for tr in one.iter("tr")][1:] for one in months]
    assert weeks[0][0] == ["", "", "", "1", "2", "3", "4"]
    assert weeks[0][-1] == ["26", "27", "28", "29", "30", "31 8 h", ""]
    assert [len(one) for one in weeks] == [5, 5]
    assert weeks[1][0][-1] == "1 8 h"


def test_numbers_are_short_on_the_axis_and_exact_in_words() -> None:
    assert [compact(one) for one in (0, 0.5, 40, 250, 1000, 12_500, 2e6, 5e9)] == [
        "0", "0.5", "40", "250", "1k", "12.5k", "2M", "5G"
    ]  # fmt: skip
    assert [whole(one) for one in (0, 0.25, 1234, 123.4)] == ["0", "0.2", "1,234", "123"]


def test_values_below_zero_are_drawn_below_the_line_of_zero() -> None:
    chart = line_chart("Drift", [Series("drift", [-421, 30])], ["a", "b"])
    assert scale_of(chart) == ["-500", "0", "40"]
    assert "lowest -421 at a" in chart
    (start, end) = re.findall(r"[ML]\S+ ([\d.]+?)(?=L|\")", chart)
    zero = 100 * 40 / 540
    assert float(end) < zero < float(start)
    assert scale_of(line_chart("Drift", [Series("drift", [-3, -1])], ["a", "b"])) == ["-4", "-2", "0"]


def test_labels_of_an_axis_never_repeat() -> None:
    assert scale_of(line_chart("Filled", [Series("filled", [0.01])], ["a"], axis=percent)) == ["0%", "1%"]


def scale_of(chart: str) -> list[str]:
    return [label for label in re.findall(r'class="scale"[^>]*>([^<]*)<', chart) if label]
