"""Screenshots of the UI: a company's year in which something is wrong, as an engineer on call sees it.

`ZK_PIPELINE_SCREENSHOTS=folder pytest -n 0 -m stress zk_pipeline_tests/demo/test_screenshots.py` creates them again.

One terminal is unreachable, another has a slow clock, the CRM rejects one employee, one work date fails, another is
late because a sensor and a schedule were stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.partitions import range_tags
from zk_pipeline.demo.walkthrough import comm_key_variable
from zk_pipeline.devices.models import Device
from zk_pipeline.operations.work_dates import last_work_date
from zk_pipeline.simulator.company.workforce import generate
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store, utc_now
from zk_pipeline_tests.chromium import chromium_page, needs_chromium
from zk_pipeline_tests.conftest import CRM_TOKEN
from zk_pipeline_tests.demo.backfills import backfill, final_status
from zk_pipeline_tests.demo.control_room import QUICK, wait
from zk_pipeline_tests.demo.dagster_ui import Run, Ui, serving_ui
from zk_pipeline_tests.demo.screenshots import folder_of_screenshots
from zk_pipeline_tests.store.store_fixtures import execute

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [
    pytest.mark.stress,
    pytest.mark.browser,
    pytest.mark.timeout(900),
    needs_chromium,
]
YEAR = 366
GATE, UNREACHABLE, SLOW = "head-office-gate-1", "head-office-gate-2", "warehouse"
_CHECKS = """{ assetNodes { assetChecksOrError { ... on AssetChecks { checks { name
    executionForLatestMaterialization { evaluation { success } } } } } } }"""
_IDS = """{ REPOSITORY { schedules { name scheduleState { id } } sensors { name sensorState { id } } } }"""


@dataclass(frozen=True)
class Shown:
    ui: Ui
    page: Page
    folder: Path
    dates: list[str]
    store: Store
    fleet: Fleet
    crm: CrmReceiver
    missing: list[str] = field(default_factory=list)

    def picture(self, name: str, path: str, *texts: str, pause: float = 2.0) -> None:
        """Go there, wait for the texts, or add them to `missing`, and for what is drawn after them."""
        from playwright.sync_api import TimeoutError as NotThere

        if path:
            self.page.goto(f"{self.ui.url}{path}")
        for text in texts:
            try:
                self.page.get_by_text(text, exact=False).first.wait_for(timeout=20_000)
            except NotThere:
                self.missing.append(f"{name}: {text}")
        self.page.wait_for_timeout(pause * 1000)  # the UI animates what it draws
        self.page.screenshot(path=self.folder / f"{name}.png")

    def late_punch(self, day: date, user: str) -> None:
        """A punch of a past date that the terminal has kept until now."""
        self.fleet.punch(GATE, user, datetime.combine(day, time(21, 37)))


@pytest.fixture
def shown(
    home: Path, home_store: Store, crm: CrmReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shown]:
    first = utc_now().date() - timedelta(days=YEAR - 1)
    company = generate(devices=3, employees=30, days=YEAR, until=utc_now())
    monkeypatch.setenv("ZK_PIPELINE_HISTORY_START", first.isoformat())
    settings = {
        "ZK_PIPELINE_HISTORY_START": first.isoformat(),
        "CRM_API_URL": crm.url,
        "CRM_API_TOKEN": CRM_TOKEN,
        "CRM_BATCH_SIZE": "200",
        "ZK_PIPELINE_DOCS_URL": "https://docs.example.com",
        "ZK_PIPELINE_ADMIN_URL": "https://admin.example.com",
    } | {comm_key_variable(one.name): str(one.comm_key) for one in company.terminals if one.comm_key}
    last = last_work_date(load_settings(), utc_now())
    dates = [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]
    with Fleet.serve(company.emulated_terminals()) as fleet, chromium_page() as page:
        for one in company.terminals:
            key = comm_key_variable(one.name) if one.comm_key else None
            home_store.devices.add(
                Device(
                    name=one.name,
                    ip_address=fleet.host,
                    port=fleet.port_of(one.name),
                    timezone=one.timezone,
                    site=one.site,
                    comm_key_env=key,
                )
            )
        with serving_ui(home, ["up"], tmp_path / "up.log", **settings, **QUICK) as ui:
            assert [one.name for one in company.terminals] == [GATE, UNREACHABLE, SLOW]
            wait(lambda: len(partitions(ui)) == 3, seconds=120)
            yield Shown(ui, page, folder_of_screenshots(tmp_path), dates, home_store, fleet, crm)


def partitions(ui: Ui) -> list[str]:
    found = ui.ask("{ assetNodes { assetKey { path } partitionKeys } }")["assetNodes"]
    return [key for node in found if node["assetKey"]["path"] == ["raw_punches"] for key in node["partitionKeys"]]


def ended(ui: Ui, job: str) -> list[Run]:
    return [run for run in ui.runs() if run.job == job and run.status in ("SUCCESS", "FAILURE")]


def run_to_end(ui: Ui, job: str, first: str, last: str) -> str:
    """Status of a run of the job over a range."""
    before = len(ended(ui, job))
    ui.launch(job, range_tags(first, last))
    wait(lambda: len(ended(ui, job)) > before, seconds=240)
    return ended(ui, job)[0].status


def stop(ui: Ui, *names: str) -> None:
    """Stop schedules and sensors, as a click on their switches does."""
    asked = (
        _IDS.replace(
            "REPOSITORY",
            'repositoryOrError(repositorySelector: {repositoryLocationName: "zk_pipeline", '
            'repositoryName: "__repository__"}) { ... on Repository',
        )
        + " }"
    )
    found = ui.ask(asked)["repositoryOrError"]
    ids = {one["name"]: ("stopSensor", one["sensorState"]["id"]) for one in found["sensors"]}
    ids |= {one["name"]: ("stopRunningSchedule", one["scheduleState"]["id"]) for one in found["schedules"]}
    for name in names:
        mutation, number = ids[name]
        ui.ask(f'mutation {{ {mutation}(id: "{number}") {{ __typename }} }}')


def failing_checks(ui: Ui) -> set[str]:
    checks = [one for node in ui.ask(_CHECKS)["assetNodes"] for one in node["assetChecksOrError"].get("checks", ())]
    evaluations = {one["name"]: (one["executionForLatestMaterialization"] or {}).get("evaluation") for one in checks}
    return {name for name, evaluation in evaluations.items() if evaluation and not evaluation["success"]}


def test_pictures_of_a_year_in_which_something_is_wrong(shown: Shown) -> None:
    ui, store, all_dates = shown.ui, shown.store, (shown.dates[0], shown.dates[-1])
    assert run_to_end(ui, "poll_devices", GATE, SLOW) == "SUCCESS"
    first, last = date.fromisoformat(shown.dates[0]), date.fromisoformat(shown.dates[-1])
    wait(lambda: not store.days.stale(first=first, last=last), seconds=240)  # new_punches_sensor requests the year
    assert run_to_end(ui, "sync_to_crm", *all_dates) == "SUCCESS"
    refused_on, failed, late = pick_dates(store)
    colleague, refused = pick_users(store, refused_on, failed, late)

    # The terminal cannot be reached for three hours, and a punch that it has is lost in the store.
    shown.fleet.switch_off(UNREACHABLE)
    shown.crm.unknown_users = {refused}
    execute(
        store, "DELETE FROM raw_punches WHERE device = ? AND CAST(punched_at_local AS DATE) = ?", [UNREACHABLE, failed]
    )
    execute(
        store,
        "UPDATE devices SET created_at = created_at - INTERVAL 4 HOUR, "
        "updated_at = updated_at - INTERVAL 3 HOUR, last_sync = last_sync - INTERVAL 3 HOUR WHERE name = ?",
        [UNREACHABLE],
    )
    shown.late_punch(refused_on, refused)
    shown.late_punch(failed, colleague)
    before = len(ended(ui, "process_attendance"))
    assert run_to_end(ui, "poll_devices", GATE, SLOW) == "FAILURE"
    wait(lambda: len(ended(ui, "process_attendance")) >= before + 2, seconds=120)
    assert run_to_end(ui, "sync_to_crm", *all_dates) == "FAILURE"
    month = backfill(ui, "daily_attendance", "crm_sync", keys=shown.dates[-32:-2])
    assert final_status(ui, month) == "COMPLETED_FAILED"
    stop(ui, "new_punches_sensor", "process_attendance_schedule")
    shown.late_punch(late, colleague)
    assert run_to_end(ui, "poll_devices", GATE, SLOW) == "FAILURE"
    execute(
        store,
        "UPDATE raw_punches SET created_at = created_at - INTERVAL 3 HOUR WHERE user_id = ? "
        "AND CAST(punched_at_local AS DATE) IN (?, ?)",
        [colleague, failed, late],
    )
    wrong = {"terminals_read_in_time", "clock_drift_within_limit", "every_record_accounted_for",
             "dates_processed_in_time", "no_dead_letters"}  # fmt: skip
    wait(lambda: wrong <= failing_checks(ui), seconds=120)

    take_pictures(
        shown, month, {"failed": failed.isoformat(), "late": late.isoformat(), "refused": refused_on.isoformat()}
    )


def pick_dates(store: Store) -> list[date]:
    """Three recent work dates on which both gates have many punches."""
    with store.database.read("test") as connection:
        rows = connection.execute(
            "SELECT work_date FROM daily_attendance WHERE work_date < current_date - 3 GROUP BY 1 "
            "HAVING count(*) FILTER (device = ?) > 3 AND count(*) FILTER (device = ?) > 3 ORDER BY 1 DESC LIMIT 8",
            [GATE, UNREACHABLE],
        ).fetchall()
    return [rows[number][0] for number in (1, 4, 7)]


def pick_users(store: Store, *dates: date) -> list[str]:
    """Two employees who punched at the gate on all these dates."""
    with store.database.read("test") as connection:
        rows = connection.execute(
            "SELECT user_id FROM daily_attendance WHERE device = ? AND work_date IN (SELECT unnest(?)) GROUP BY 1 "
            "HAVING count(*) = ? ORDER BY 1 LIMIT 2",
            [GATE, list(dates), len(dates)],
        ).fetchall()
    return [row[0] for row in rows]


def take_pictures(shown: Shown, month: str, days: dict[str, str]) -> None:
    """Pictures of all pages, with the texts that an engineer on call looks for there."""
    ui, page = shown.ui, shown.page
    page.set_viewport_size({"width": 2000, "height": 700})
    page.goto(f"{ui.url}/asset-groups")
    page.get_by_text("terminals", exact=True).last.wait_for()
    page.keyboard.press("Alt+e")  # expands all groups
    shown.picture("lineage", "", "daily_attendance", "crm_sync", "filled", pause=4)
    page.set_viewport_size({"width": 1600, "height": 1000})
    shown.picture("backfill-failed", f"/runs/b/{month}", "Failed", "100% completed", pause=4)
    shown.picture("runs", "/runs", "poll_devices", f"zk_pipeline/work_dates: {days['failed']}")
    for asset, name, key, text in (
        ("raw_punches", "partition", UNREACHABLE, "[refused]"),
        ("raw_punches", "partition-slow", SLOW, "clock_drift_seconds"),
        ("daily_attendance", "partition-failed", days["failed"], "punches are missing in the store"),
        ("daily_attendance", "partition-late", days["late"], "Unsynced"),
        ("crm_sync", "partition-failed", days["refused"], "422: no employee"),
        ("work_dates", "partition-late", days["late"], "newer than its attendance days"),
    ):
        shown.picture(f"{asset}-{name}", f"/assets/{asset}?view=partitions&partition={key}", text)
    for asset, check in (
        ("raw_punches", "terminals_read_in_time"),
        ("raw_punches", "clock_drift_within_limit"),
        ("daily_attendance", "dates_processed_in_time"),
        ("crm_sync", "no_dead_letters"),
    ):
        shown.picture(f"check-{check}", f"/assets/{asset}?view=checks&checkDetail={check}", "Remedy", "Runbook")
    shown.picture("automation", "/automation", "poll_devices_schedule", "alert_sensor", pause=3)
    for job in ("poll_devices", "process_attendance", "sync_to_crm"):
        shown.picture(f"schedule-{job}", f"/locations/zk_pipeline/schedules/{job}_schedule", "Execution timezone")
    for sensor, reason in (
        ("device_registry_sensor", "the partitions match"),
        ("new_punches_sensor", "requested before"),
        ("quality_check_sensor", "failing"),
        ("alert_sensor", "is not read"),
    ):
        shown.picture(f"sensor-{sensor}", f"/locations/zk_pipeline/sensors/{sensor}", "Cursor")
        # After the latest tick above the table, the status and the result of the newest one in it.
        page.get_by_text("0 runs requested", exact=True).nth(2).click()
        shown.picture(f"sensor-{sensor}-tick", "", reason)
    query = "{ runsOrError(filter: {statuses: [FAILURE]}) { ... on Runs { results { runId jobName } } } }"
    failed_runs = {run["jobName"]: run["runId"] for run in reversed(ui.ask(query)["runsOrError"]["results"])}
    for job, run_id in failed_runs.items():
        shown.picture(f"run-{job}", f"/runs/{run_id}", "RUN_FAILURE")
    for asset in ("devices", "raw_punches", "work_dates", "daily_attendance", "crm_sync"):
        for view in ("overview", "partitions", "events", "checks"):
            shown.picture(f"{asset}-{view}", f"/assets/{asset}?view={view}", asset)
    assert shown.missing == []
