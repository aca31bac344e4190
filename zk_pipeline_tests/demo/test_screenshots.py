"""Screenshots of the UI for the documentation: a company's year with one unreachable terminal.

`ZK_PIPELINE_SCREENSHOTS=folder pytest -n 0 -m stress zk_pipeline_tests/demo/test_screenshots.py` creates them again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.partitions import last_work_date, range_tags
from zk_pipeline.demo.walkthrough import comm_key_variable
from zk_pipeline.devices.models import Device
from zk_pipeline.simulator.company.workforce import generate
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store, utc_now
from zk_pipeline_tests.conftest import CRM_TOKEN
from zk_pipeline_tests.demo.backfills import backfill, runs_of
from zk_pipeline_tests.demo.control_room import QUICK, wait
from zk_pipeline_tests.demo.dagster_ui import Ui, serving_ui
from zk_pipeline_tests.demo.screenshots import chromium_page, folder_of_screenshots

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [
    pytest.mark.stress,
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium in PATH"),
]
YEAR = 366


@dataclass(frozen=True)
class Shown:
    ui: Ui
    page: Page
    folder: Path
    dates: list[str]

    def picture(self, name: str, path: str, *texts: str, pause: float = 2.0) -> None:
        """Go there, wait for the texts, and for what is drawn after them."""
        if path:
            self.page.goto(f"{self.ui.url}{path}")
        for text in texts:
            self.page.get_by_text(text, exact=False).first.wait_for(timeout=60_000)
        self.page.wait_for_timeout(pause * 1000)  # the UI animates what it draws
        self.page.screenshot(path=self.folder / f"{name}.png")


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
            names = [terminal.name for terminal in company.terminals]
            wait(lambda: len(partitions(ui)) == len(names), seconds=120)
            poll(ui, names)
            fleet.switch_off(names[-1])
            poll(ui, names)
            yield Shown(ui, page, folder_of_screenshots(tmp_path), dates)


def partitions(ui: Ui) -> list[str]:
    found = ui.ask("{ assetNodes { assetKey { path } partitionKeys } }")["assetNodes"]
    return [key for node in found if node["assetKey"]["path"] == ["raw_punches"] for key in node["partitionKeys"]]


def poll(ui: Ui, names: list[str]) -> None:
    before = ended(ui, "poll_devices")
    ui.launch("poll_devices", range_tags(names[0], names[-1]))
    wait(lambda: ended(ui, "poll_devices") > before, seconds=180)


def ended(ui: Ui, job: str) -> int:
    return len([run for run in ui.runs() if run.job == job and run.status in ("SUCCESS", "FAILURE")])


def test_pictures_of_a_year_with_a_dead_terminal(shown: Shown) -> None:
    ui = shown.ui
    wait(lambda: ended(ui, "process_attendance") >= 1, seconds=240)  # new_punches_sensor requests the year
    launched = backfill(ui, "daily_attendance", keys=shown.dates)
    shown.page.goto(f"{ui.url}/runs/b/{launched}")
    of_it: list[str] = []
    while of_it not in (["STARTED"], ["SUCCESS"]):  # it is short: how far it is on the picture is up to chance
        shown.page.wait_for_timeout(500)
        of_it = [run.status for run in ui.runs() if run.tags.get("dagster/backfill") == launched]
    shown.picture("backfill-in-progress", f"/runs/b/{launched}", "daily_attendance", pause=1)
    assert [run.status for run in runs_of(ui, launched)] == ["SUCCESS"]
    shown.picture("backfill-done", f"/runs/b/{launched}", "100% completed", pause=4)
    shown.picture("daily_attendance-partitions", "/assets/daily_attendance?view=partitions", "Materialized (")
    ui.launch("sync_to_crm", range_tags(shown.dates[0], shown.dates[-1]))
    wait(lambda: ended(ui, "sync_to_crm") >= 1, seconds=240)

    day = shown.dates[-3]
    shown.picture("daily_attendance-overview", "/assets/daily_attendance?view=overview", "clock_in")
    shown.page.get_by_text("outlier_codes").first.scroll_into_view_if_needed()
    shown.picture("daily_attendance-schema", "", "outlier_codes")
    shown.picture(
        "daily_attendance-partition", f"/assets/daily_attendance?view=partitions&partition={day}", "source_punches"
    )
    shown.picture("daily_attendance-checks", "/assets/daily_attendance?view=checks", "attendance_rows_consistent")
    shown.picture("daily_attendance-events", "/assets/daily_attendance?view=events", "Materialized")
    shown.picture("raw_punches-partitions", "/assets/raw_punches?view=partitions", "Failed")
    shown.picture("raw_punches-checks", "/assets/raw_punches?view=checks", "terminals_read_in_time")
    shown.picture("crm_sync-overview", "/assets/crm_sync?view=overview", "revision")
    shown.picture("automation", "/automation", "poll_devices_schedule", "alert_sensor")
    shown.picture("runs", "/runs", "poll_devices")
    shown.page.set_viewport_size({"width": 2400, "height": 1000})
    shown.page.goto(f"{ui.url}/asset-groups")
    shown.page.get_by_text("terminals", exact=True).last.wait_for()
    shown.page.keyboard.press("Alt+e")  # expands all groups
    shown.picture("lineage", "", "daily_attendance", "crm_sync", "filled", pause=4)
    pictures = sorted(path.name for path in shown.folder.glob("*.png"))
    assert len(pictures) == 14
