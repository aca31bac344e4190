"""A year of dates processed in one run, requested by the UI's dialog, the command, or GraphQL."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.chromium import chromium_page, needs_chromium
from zk_pipeline_tests.demo.backfills import backfill, materialize, runs_of
from zk_pipeline_tests.demo.dagster_ui import serving_ui
from zk_pipeline_tests.demo.demo_fixtures import environ
from zk_pipeline_tests.store.store_fixtures import device, execute, ingest, on, process, rows

FIRST = date(2024, 1, 1)
YEAR = [FIRST + timedelta(days=number) for number in range(366)]
KEYS = [day.isoformat() for day in YEAR]
_STATS = "{ assetNodes { assetKey { path } partitionStats { numMaterialized numFailed } } }"


@pytest.mark.stress
@pytest.mark.browser
@needs_chromium
@pytest.mark.timeout(600)
def test_a_year_is_one_run_from_the_dialog_the_command_and_the_api(
    home: Path, home_store: Store, tmp_path: Path
) -> None:
    home_store.devices.add(device())
    ingest(home_store, "Gate", *(punch for day in YEAR for punch in on(day, "09:00", "18:00")))
    process(home_store, *YEAR)  # nothing stale is left to the sensors, which would make these dates by themselves
    settings = {"ZK_PIPELINE_HISTORY_START": str(FIRST)}
    with serving_ui(home, ["up"], tmp_path / "up.log", **settings) as ui, chromium_page() as page:
        launched = materialize(page, ui, "daily_attendance", KEYS[0], KEYS[-1], partitions=len(KEYS))
        assert [run.status for run in runs_of(ui, launched)] == ["SUCCESS"]
        page.get_by_text(f"Materialized ({len(KEYS)})").wait_for()

        execute(home_store, "UPDATE daily_attendance SET payload_hash = 'other' WHERE work_date = ?", [YEAR[100]])
        launched = backfill(ui, "daily_attendance", keys=KEYS)
        assert [run.status for run in runs_of(ui, launched)] == ["SUCCESS"]
        stats = {node["assetKey"]["path"][0]: node["partitionStats"] for node in ui.ask(_STATS)["assetNodes"]}
        assert stats["daily_attendance"] == {"numMaterialized": len(KEYS), "numFailed": 0}
    assert rows(home_store, "SELECT work_date FROM daily_attendance WHERE revision > 1") == [(YEAR[100],)]

    done = subprocess.run(
        [sys.executable, "-m", "zk_pipeline", "process", "--start-date", KEYS[0], "--end-date", KEYS[-1], "--json"],
        env=environ(home, **settings),
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    assert len(said["run_ids"]) == 1
    assert [one["work_date"] for one in said["work_dates"]] == KEYS
    assert {(one["rows"], one["unchanged"]) for one in said["work_dates"]} == {(1, 1)}
