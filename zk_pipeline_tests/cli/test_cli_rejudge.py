"""`process` and `process --rejudge` after the hours of the settings were changed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.gates import MONDAY, WEDNESDAY
from zk_pipeline_tests.store.store_fixtures import rows

JUDGED = (
    "SELECT work_date, user_id, late_minutes, judged_by, revision FROM daily_attendance ORDER BY work_date, user_id"
)
BY_NINE, BY_SEVEN = "09:00-18:00 (settings)", "07:00-15:00 (settings)"
WEEK = ("--start-date", str(MONDAY), "--end-date", str(WEDNESDAY))


@pytest.fixture
def changed_hours(processed: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 (the home)
    """Monday and Wednesday were processed by nine to six; the settings are seven to three now."""
    monkeypatch.setenv("WORK_START_TIME", "07:00")
    monkeypatch.setenv("WORK_END_TIME", "15:00")


@pytest.mark.usefixtures("changed_hours")
def test_processing_past_dates_again_names_their_hours_and_how_to_apply_the_current_ones(
    zk: CommandLine, home_store: Store
) -> None:
    before = rows(home_store, JUDGED)
    assert {row[3] for row in before} == {BY_NINE}
    done = zk("process", *WEEK)
    assert done.code == 0
    assert "evaluated by the earlier WORK_START_TIME and WORK_END_TIME 09:00-18:00" in done.err
    assert "--rejudge applies the current ones, 07:00-15:00" in done.err
    assert rows(home_store, JUDGED) == before


@pytest.mark.usefixtures("changed_hours")
def test_a_dry_run_shows_each_change_and_changes_nothing_and_without_it_all_are_made(
    zk: CommandLine, home_store: Store
) -> None:
    before = rows(home_store, JUDGED)
    shown = zk("process", *WEEK, "--rejudge", "--dry-run", "--json").json
    assert shown["days"] == len(before) == 3
    late = [
        (one["user_id"], one["now"], one["by current hours"])
        for one in shown["changes"]
        if one["column"] == "late_minutes"
    ]
    assert late == [("1001", 0, 120), ("1002", 0, 120), ("1001", 0, 120)]
    assert rows(home_store, JUDGED) == before
    assert "would change; nothing was changed" in zk("process", *WEEK, "--rejudge", "--dry-run").out

    assert zk("process", *WEEK, "--rejudge").code == 0
    assert [row[2:] for row in rows(home_store, JUDGED)] == [(120, BY_SEVEN, 2)] * 3
    assert zk("process", *WEEK, "--rejudge", "--dry-run", "--json").json == {"days": 0, "changes": []}
    assert "--rejudge" not in zk("process", *WEEK).err


@pytest.mark.usefixtures("processed")
def test_the_status_lists_the_dates_that_another_start_of_work_dates_makes_stale(
    zk: CommandLine, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (zk("status", "--json").json["stale"], "changed settings" in zk("status").out) == ([], False)
    monkeypatch.setenv("WORKDAY_STARTS_AT", "10:00")  # punches at nine are those of the date before
    dates = [str(MONDAY - timedelta(days=1)), str(MONDAY), str(MONDAY + timedelta(days=1)), str(WEDNESDAY)]
    before = rows(home_store, JUDGED)
    shown = zk("status", "--json").json
    assert shown["stale"] == shown["stale_by_settings"] == dates
    text = zk("status").out
    assert f"make 4 dates stale, from {dates[0]} to {WEDNESDAY}: the next processing" in text
    assert rows(home_store, JUDGED) == before
    assert zk("process", "--json").json["work_dates"][0]["work_date"] == dates[0]
    assert zk("status", "--json").json["stale_by_settings"] == []


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (("--rejudge",), "--rejudge needs the dates: give --date, or --start-date and --end-date"),
        ((*WEEK, "--dry-run"), "--dry-run is for --rejudge only"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    zk: CommandLine,
    options: tuple[str, ...],
    advice: str,
) -> None:
    done = zk("process", *options)
    assert (done.code, done.out, done.err) == (2, "", f"zk-pipeline: {advice}\n")
