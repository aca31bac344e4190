"""Many runs at one store through Dagster itself, with the shipped `dagster.yaml`: every one of them is green."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import DateRange, range_tags
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.conftest import CRM_TOKEN
from zk_pipeline_tests.demo.backfills import backfill
from zk_pipeline_tests.demo.dagster_ui import serving_ui
from zk_pipeline_tests.gates import gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import execute, ingest, process, rows
from zk_pipeline_tests.store.store_load import ask_on, end_all, start
from zk_pipeline_tests.waiting import until

FIRST = date(2024, 1, 1)
SPAN = 5  # dates of each backfill
PEOPLE = [str(number) for number in range(1001, 1021)]
OVER = ("SUCCESS", "FAILURE", "CANCELED")


def all_green(
    home: Path, store: Store, fleet: Fleet, crm: CrmReceiver, folder: Path, *, backfills: int, readers: int
) -> None:
    dates = [FIRST + timedelta(days=number) for number in range(backfills * SPAN)]
    held = [punch for day in dates for user in PEOPLE for punch in present(day, user)]
    added = dates[-1] + timedelta(days=7)
    switch_on(fleet, store, gate("Gate", *present(dates[0]), *present(added)))
    ingest(store, "Gate", *held)
    process(store, *dates)  # so that sensors have nothing to do but what the poll brings
    # So that every backfill has something to write. Days and history alike: where they differ, a sync that runs
    # before a backfill keeps these dates from the CRM and fails.
    for table in ("daily_attendance", "daily_attendance_revisions"):
        execute(store, f"UPDATE {table} SET payload_hash = 'other'")
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(Names().device_partitions_name, ["Gate"])
    settings = {
        "ZK_PIPELINE_HISTORY_START": str(FIRST),
        "CRM_API_URL": crm.url,
        "CRM_API_TOKEN": CRM_TOKEN,
    }
    path, stop = store.database.path, folder / "stop"
    with serving_ui(home, ["up"], folder / "up.log", **settings) as ui:
        asking = [start(ask_on, path, folder / f"reader-{number}", stop) for number in range(readers)]
        try:
            for number in range(backfills):
                part = dates[number * SPAN : (number + 1) * SPAN]
                backfill(ui, "daily_attendance", keys=[str(day) for day in part])
            ui.launch("poll_devices", range_tags("Gate", "Gate"))
            ui.launch("sync_to_crm", DateRange(dates[0], dates[-1]).tags)

            def are_over() -> bool:
                runs = ui.runs()
                asked = Counter(run.job for run in runs if "dagster/backfill" not in run.tags)
                ours = sum("dagster/backfill" in run.tags for run in runs)
                return (
                    ours == backfills
                    and asked["poll_devices"] >= 1
                    and asked["sync_to_crm"] >= 1
                    and all(run.status in OVER for run in runs)
                )

            until(are_over, seconds=600, every=1.0)
            runs = ui.runs()
        finally:
            stop.touch()
            ended = end_all(asking, seconds=150)
    assert [(run.job, run.status) for run in runs if run.status != "SUCCESS"] == [], step_failures()
    assert ended == [0] * readers
    asked_for = [len((folder / f"reader-{number}").read_text().splitlines()) for number in range(readers)]
    assert min(asked_for) > 0
    print("", Counter(run.job for run in runs), f"answers to each reader: {asked_for}", sep="\n")  # noqa: T201
    assert rows(store, "SELECT count(*), count(DISTINCT (user_id, work_date)), max(revision) FROM daily_attendance "
                "WHERE work_date <= ?", [dates[-1]]) == [(len(dates) * len(PEOPLE),) * 2 + (2,)]  # fmt: skip
    assert rows(store, "SELECT count(*) FROM raw_punches") == [(len(held) + 2,)]
    assert rows(store, "SELECT count(*) FROM crm_deliveries WHERE state = 'sending'") == [(0,)]
    assert rows(store, "SELECT count(*) FROM blocked_dates") == [(0,)]


def step_failures() -> str:
    """What the steps that failed said, of all runs."""
    with dg.DagsterInstance.get() as instance:
        lines = [
            f"{run.job_name} {run.run_id}: {event.step_failure_data.error_display_string}"
            for run in instance.get_runs()
            for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
            if (event := entry.dagster_event) is not None
        ]
    return "\n".join(lines)


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_ten_backfills_a_poll_a_sync_and_readers_at_once_are_all_green(
    home: Path, home_store: Store, fleet: Fleet, crm: CrmReceiver, tmp_path: Path
) -> None:
    all_green(home, home_store, fleet, crm, tmp_path, backfills=10, readers=6)
