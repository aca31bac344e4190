"""Formats of instants, durations and percentages on pages; links into the Dagster UI."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zk_pipeline.web.devices.advice import with_commands
from zk_pipeline.web.formatting import ago, duration, elapsed, instant, percent, seconds
from zk_pipeline.web.rendering import DagsterUi

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("formatted", "expected"),
    [
        (instant(NOON, "Europe/Istanbul"), "2026-03-02 15:00 Europe/Istanbul"),
        (instant(None, nothing="never"), "never"),
        (ago(NOON - timedelta(seconds=59), NOON), "just now"),
        (ago(NOON - timedelta(minutes=119), NOON), "1 h ago"),
        (ago(NOON - timedelta(hours=50), NOON), "2 days ago"),
        (ago(NOON + timedelta(minutes=5), NOON), "in 5 min"),
        (ago(None, NOON), "never"),
        (duration(485), "8 h 05 min"),
        (duration(None), "–"),
        (elapsed(4.21), "4.2 s"),
        (elapsed(59.4), "59 s"),
        (elapsed(725), "12 min 05 s"),
        (elapsed(7500), "2 h 05 min"),
        (seconds(-0.72), "−0.7 s"),
        (seconds(420), "+7 min"),
        (seconds(7199.6), "+2 h 00 min"),
        (seconds(-19800.2), "−5 h 30 min"),
        (seconds(259_230), "+3 days"),
        (percent(0.804), "80%"),
    ],
)
def test_formats(formatted: str, expected: str) -> None:
    assert formatted == expected


def test_commands_in_a_remedy_are_code_with_the_quoted_name_of_the_device() -> None:
    remedy = "`poll NAME --full` reads <all> of NAME. Otherwise `device clear-log`."
    assert with_commands(remedy, "Gate & yard") == (
        "<code>poll &#39;Gate &amp; yard&#39; --full</code> reads &lt;all&gt; of NAME. "
        "Otherwise <code>device clear-log</code>."
    )


def test_links_into_the_dagster_ui_quote_names_and_are_none_where_its_address_is_not_known() -> None:
    ui = DagsterUi("https://dagster.example")
    assert ui.partition("raw_punches", "a b&c/?") == (
        "https://dagster.example/assets/raw_punches?view=partitions&partition=a%20b%26c%2F%3F"
    )
    assert ui.run("1-2") == "https://dagster.example/runs/1-2"
    unknown = DagsterUi(None)
    assert (unknown.run("1"), unknown.runs(), unknown.partition("devices", 1)) == (None, None, None)
