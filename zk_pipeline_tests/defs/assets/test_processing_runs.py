"""Processing runs: one run for a range of work dates, with one materialization or failure per date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest

from zk_pipeline.attendance.evaluate import EvaluatedDays, evaluate_days
from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.instance.instance_health import failed_checks
from zk_pipeline.defs.partitions import DateRange
from zk_pipeline.operations import process as operation
from zk_pipeline.runs import actions
from zk_pipeline.runs.launcher import Launcher
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.run_fixtures import metadata_of, observe_dates, run_status, statuses, table_of
from zk_pipeline_tests.gates import MONDAY, NASTY, TUESDAY, WEDNESDAY, present
from zk_pipeline_tests.store.store_fixtures import device, execute, ingest, on, rows

SOUTH = "SELECT punch_count, revision, run_id FROM daily_attendance WHERE site = 'Yard'"
THURSDAY = WEDNESDAY + timedelta(days=1)
DATES = [MONDAY, TUESDAY, WEDNESDAY, THURSDAY]
RANGE = DateRange(MONDAY, THURSDAY)
COVERED = dg.AssetCheckKey(dg.AssetKey("daily_attendance"), "every_work_date_has_a_partition")


@dataclass
class LateDate:
    """Work date of late punches, the error of its evaluation, and how often a run evaluated days."""

    day: date
    error: Exception | None = None
    evaluated: int = 0


@pytest.fixture
def punched(home_store: Store) -> None:
    """Monday to Wednesday at one gate; on Tuesday also at another."""
    monday = [*present(MONDAY, "1001"), (NASTY, f"{MONDAY} 12:30:00")]
    for name, site in (("North", "Head office"), ("South", "Yard")):
        home_store.devices.add(device(name, site=site))
    ingest(home_store, "North", *monday, *present(TUESDAY), *present(WEDNESDAY))
    ingest(home_store, "South", *present(TUESDAY, "1002"))


@pytest.mark.usefixtures("punched")
def test_a_range_is_one_run_with_an_event_for_each_date(launcher: Launcher) -> None:
    result = launcher.process(RANGE)
    assert result.failure is None
    assert run_status(launcher, result) is dg.DagsterRunStatus.SUCCESS
    assert {key: values["dagster/partition_row_count"] for key, values in result.partitions.items()} == {
        str(MONDAY): 2,
        str(TUESDAY): 2,
        str(WEDNESDAY): 1,
        str(THURSDAY): 0,
    }
    assert statuses(launcher, "daily_attendance", DATES) == {str(day): "materialized" for day in DATES}
    assert launcher.instance.get_runs_count(dg.RunsFilter(job_name="process_attendance")) == 1


@pytest.mark.usefixtures("punched")
def test_one_bad_date_fails_only_its_own_and_is_made_once_it_is_good_again(
    launcher: Launcher, home_store: Store
) -> None:
    execute(home_store, "UPDATE devices SET timezone = 'Mars/Base' WHERE name = 'South'")
    result = launcher.process(RANGE)

    assert result.failure is not None
    assert result.failure.startswith("1 of 4 work dates failed: ")
    assert "Mars/Base" in result.failure
    assert run_status(launcher, result) is dg.DagsterRunStatus.FAILURE
    assert statuses(launcher, "daily_attendance", DATES) == {
        str(MONDAY): "materialized",
        str(TUESDAY): "failed",
        str(WEDNESDAY): "materialized",
        str(THURSDAY): "materialized",
    }
    assert [item.work_date for item in home_store.days.stale(first=MONDAY, last=THURSDAY)] == [TUESDAY]

    execute(home_store, "UPDATE devices SET timezone = 'UTC' WHERE name = 'South'")
    assert launcher.process(DateRange(TUESDAY, TUESDAY)).failure is None
    assert statuses(launcher, "daily_attendance", DATES) == {str(day): "materialized" for day in DATES}


@pytest.mark.usefixtures("punched")
def test_the_metadata_of_a_date_counts_its_rows_and_shows_some(launcher: Launcher) -> None:
    launcher.process(RANGE)
    made = metadata_of(launcher, "daily_attendance", str(MONDAY))
    assert made["admin_page"] == f"https://admin.example/attendance?start_date={MONDAY}&end_date={MONDAY}"
    assert {name: value for name, value in made.items() if isinstance(value, int | float)} == {
        "dagster/partition_row_count": 2,
        "incomplete": 1,
        "outlier_rows": 1,
        "source_punches": 3,
        "source_devices": 1,
    }, "what the UI plots over the work dates"
    assert made["changes"] == {"added": 2, "changed": 0, "unchanged": 0, "retracted": 0}
    for plot in ("punches_by_hour", "outliers_by_day"):
        assert "](data:image/svg+xml;base64," in str(made[plot])
    assert made["outliers"] == {"CLOCK_IN_TOO_LATE": 1, "MISSING_CLOCK_OUT": 1}
    outlier, usual = table_of(made["preview"])  # outliers come first
    assert str(outlier["outlier_reason"]).startswith("Clock-in 12:30, more than 2 h after 09:00")
    assert (outlier["clock_out_local"], usual["user_id"]) == ("–", "1001")
    empty = metadata_of(launcher, "daily_attendance", str(THURSDAY))
    assert not {"preview", "punches_by_hour", "outliers_by_day"} & set(empty)


@pytest.mark.usefixtures("punched")
def test_processing_again_changes_nothing_and_says_so(launcher: Launcher) -> None:
    launcher.process(RANGE)
    again = launcher.process(RANGE).partitions[str(MONDAY)]
    assert again["changes"] == {"added": 0, "changed": 0, "unchanged": 2, "retracted": 0}


@pytest.mark.usefixtures("punched")
def test_late_punches_process_their_site_and_a_request_for_the_date_all_sites(
    launcher: Launcher, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(home_store, "South", *on(TUESDAY, "12:00", "12:05", user_id="1002"))
    launcher.process(RANGE)
    before = rows(home_store, SOUTH)
    monkeypatch.setenv("DEBOUNCE_SECONDS", "600")
    changed = Launcher(load_settings(), launcher.instance)

    ingest(home_store, "North", *on(TUESDAY, "07:00"))
    (late,) = actions.process(changed, home_store, dates=None)
    assert late.partitions[str(TUESDAY)]["processed_sites"] == "Head office"
    assert rows(home_store, SOUTH) == before

    ingest(home_store, "North", *on(TUESDAY, "06:00"))
    (requested,) = actions.process(changed, home_store, dates=(TUESDAY, TUESDAY))
    assert "processed_sites" not in requested.partitions[str(TUESDAY)]
    assert [(count - 1, 2, requested.run_id) for count, *_ in before] == rows(home_store, SOUTH)


@pytest.fixture
def late_punch(home_store: Store, monkeypatch: pytest.MonkeyPatch) -> LateDate:
    """A date before the range, of which a punch arrives while a run evaluates its first date."""
    late = LateDate(MONDAY - timedelta(days=20))

    def evaluate(*arguments: Any) -> EvaluatedDays:
        if not late.evaluated:
            ingest(home_store, "South", *on(late.day, "08:00", user_id="1002"))
        late.evaluated += 1
        if late.error is not None and late.day in set(arguments[0]["work_date"].dt.date):
            raise late.error
        return evaluate_days(*arguments)

    monkeypatch.setattr(operation, "evaluate_days", evaluate)
    monkeypatch.setattr(operation, "_GROUP", 2)
    return late


@pytest.mark.usefixtures("punched")
def test_a_date_of_punches_that_arrive_during_a_long_run_is_materialized_by_it(
    launcher: Launcher, home_store: Store, late_punch: LateDate
) -> None:
    result = launcher.process(RANGE)
    day = late_punch.day
    assert (result.failure, home_store.days.stale(first=day, last=THURSDAY)) == (None, [])
    assert list(result.partitions) == [str(MONDAY), str(TUESDAY), str(day), str(WEDNESDAY), str(THURSDAY)]
    assert statuses(launcher, "daily_attendance", [day]) == {str(day): "materialized"}
    assert statuses(launcher, "work_dates", [day]) == {str(day): "materialized"}
    assert observe_dates(launcher)[0] == []  # the UI does not show it as stale
    assert home_store.deliveries.due_dates(SyncScope(first=day, last=day)) == {day: 1}  # sent by the next sync


@pytest.mark.usefixtures("punched")
@pytest.mark.parametrize(("error", "status"), [(ValueError("bad row"), "missing"), (StoreBusy("killed"), "failed")])
def test_a_date_of_late_punches_fails_its_own_run_and_is_red_if_the_run_ends_early(
    launcher: Launcher, home_store: Store, late_punch: LateDate, error: Exception, status: str
) -> None:
    late_punch.error = error
    result = launcher.process(RANGE)
    day = late_punch.day
    assert (result.failure is None) is (status == "missing")
    assert statuses(launcher, "daily_attendance", [day]) == {str(day): status}
    assert [one.work_date for one in home_store.days.stale(first=day, last=MONDAY)] == [day]

    own = launcher.process(DateRange(day, day))
    assert str(error) in str(own.failure)
    assert statuses(launcher, "daily_attendance", [day]) == {str(day): "failed"}


@pytest.mark.file_engine
@pytest.mark.usefixtures("punched")
def test_a_run_that_cannot_reach_the_store_fails_as_a_whole_in_one_line(launcher: Launcher, home_store: Store) -> None:
    home_store.database.path.write_bytes(b"no database")
    result = launcher.process(RANGE)
    assert result.partitions == {}
    assert str(home_store.database.path) in str(result.failure)
    assert "\n" not in str(result.failure)


def test_punches_that_no_partition_covers_fail_the_check_that_says_so(launcher: Launcher, home_store: Store) -> None:
    home_store.devices.add(device("Gate"))
    ingest(home_store, "Gate", *present(MONDAY), *present(date(2019, 12, 31)))
    assert launcher.process(RANGE).failure is None, "it is a warning"
    (failed,) = failed_checks(launcher.instance, [COVERED])
    assert (failed.name, failed.severity) == (COVERED.name, "WARN")
    execute(home_store, "DELETE FROM work_dates WHERE work_date = '2019-12-31'")
    assert launcher.process(RANGE).failure is None
    assert failed_checks(launcher.instance, [COVERED]) == []
