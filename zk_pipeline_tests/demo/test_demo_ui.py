"""The demo in a browser: the UI shows it, punches arrive in the CRM without user action, Ctrl-C ends all processes."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.chromium import chromium_page, needs_chromium
from zk_pipeline_tests.demo.backfills import backfill, final_status, materialize, runs_of
from zk_pipeline_tests.demo.control_room import QUICK, wait
from zk_pipeline_tests.demo.dagster_ui import Ui, serving_ui
from zk_pipeline_tests.demo.demo_fixtures import SMALL, ledger_days, processes_of
from zk_pipeline_tests.demo.screenshots import folder_of_screenshots
from zk_pipeline_tests.store.store_fixtures import execute

if TYPE_CHECKING:
    from playwright.sync_api import Page

ASSETS = ("devices", "raw_punches", "daily_attendance", "crm_sync")
GATES = ("head-office-gate-1", "head-office-gate-2", "warehouse")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    home = tmp_path_factory.mktemp("home")
    log = tmp_path_factory.mktemp("output") / "demo.log"
    with serving_ui(home, ["demo", *SMALL], log, **QUICK) as shown:
        yield shown


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    with chromium_page() as opened:
        yield opened


@pytest.fixture
def page(browser_page: Page) -> Iterator[Page]:
    """Blank after each test: a page of the UI asks for news, each second, for as long as it is open."""
    yield browser_page
    browser_page.goto("about:blank")


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_screenshots(tmp_path_factory.mktemp("demo"))


@pytest.mark.browser
@needs_chromium
def test_the_global_lineage_shows_the_four_assets_at_first_sight(ui: Ui, page: Page, screenshots: Path) -> None:
    page.set_viewport_size({"width": 2400, "height": 1000})
    (address,) = re.findall(r"lineage: (\S+)\)", ui.output.read_text())
    page.goto(address)
    for name in ASSETS:
        page.get_by_text(name, exact=True).first.wait_for()
    page.get_by_text("100% filled").first.wait_for()
    page.screenshot(path=screenshots / "lineage.png")


@pytest.mark.browser
@needs_chromium
def test_the_partitions_of_the_punches_are_the_terminals_all_materialized(
    ui: Ui, page: Page, screenshots: Path
) -> None:
    page.goto(f"{ui.url}/assets/raw_punches?view=partitions")
    page.get_by_text("Materialized (4)").wait_for()
    for name in GATES:
        page.get_by_text(name, exact=True).first.wait_for()
    page.get_by_text(GATES[0], exact=True).first.click()
    page.get_by_text("new_punches", exact=True).wait_for()
    page.screenshot(path=screenshots / "raw_punches-partitions.png")


def not_evaluated(ui: Ui) -> list[str]:
    """Checks of which the UI shows no evaluation."""
    query = """{ assetNodes { assetChecksOrError { ... on AssetChecks {
        checks { name executionForLatestMaterialization { status } } } } } }"""
    checks = [check for node in ui.ask(query)["assetNodes"] for check in node["assetChecksOrError"].get("checks", ())]
    assert len(checks) >= 18
    return [check["name"] for check in checks if check["executionForLatestMaterialization"] is None]


def test_soon_after_the_start_the_ui_shows_an_evaluation_of_every_check(ui: Ui) -> None:
    wait(lambda: not not_evaluated(ui), seconds=60)


@pytest.mark.browser
@needs_chromium
def test_a_work_date_shows_its_charts_and_rows_in_place_and_the_plots_are_of_numbers_that_compare_dates(
    ui: Ui, page: Page
) -> None:
    day = ledger_days(ui.home / ".demo")[0][1]
    page.goto(f"{ui.url}/assets/daily_attendance?view=partitions&partition={day}")
    for name in ("punches by hour (local time)", "outliers by work date"):
        page.get_by_role("img", name=name).wait_for()
    page.get_by_role("columnheader", name="clock_in_local").wait_for()  # of the preview
    assert page.get_by_text("[Show").count() == 0
    page.goto(f"{ui.url}/assets/daily_attendance?view=overview")
    page.get_by_role("button", name="Plots").click()
    for name in ("dagster/partition_row_count", "incomplete", "outlier_rows", "source_devices", "source_punches"):
        page.get_by_text(name, exact=True).wait_for()
    assert page.locator("canvas").count() == 5


def test_punches_made_meanwhile_reach_the_crm_by_schedules_and_sensors_alone(ui: Ui) -> None:
    place = ui.home / ".demo"
    by_command = [run for run in ui.runs() if "zk_pipeline/started_by" in run.tags]
    delivered_by_command = len([run for run in by_command if run.job == "sync_to_crm"])
    assert delivered_by_command > 0

    def has_arrived() -> bool:
        assert ui.process.poll() is None, ui.output.read_text()
        return any(run.job == "sync_to_crm" and run.status == "SUCCESS" and run not in by_command for run in ui.runs())

    wait(has_arrived, seconds=240)
    days = ledger_days(place)
    assert len(days) == len(set(days))
    asked_by = {run.job: run.tags for run in ui.runs() if run not in by_command}
    assert asked_by["poll_devices"]["dagster/schedule_name"] == "poll_devices_schedule"
    assert asked_by["process_attendance"]["dagster/sensor_name"] == "new_punches_sensor"
    assert asked_by["sync_to_crm"]["dagster/schedule_name"] == "sync_to_crm_schedule"
    ui.stop_schedules(and_sensors=True)
    assert not_evaluated(ui) == [], "although every asset was materialized since they were evaluated"


def test_all_partitions_are_materialized_but_for_a_tomorrow_that_has_not_begun(ui: Ui) -> None:
    query = "{ assetNodes { assetKey { path } partitionStats { numPartitions numMaterialized numFailed } } }"

    def missing() -> dict[str, int]:
        stats = {node["assetKey"]["path"][0]: node["partitionStats"] for node in ui.ask(query)["assetNodes"]}
        partitioned = (*ASSETS[1:], "work_dates")
        assert {name: one["numFailed"] for name, one in stats.items() if one} == dict.fromkeys(partitioned, 0)
        return {name: one["numPartitions"] - one["numMaterialized"] for name, one in stats.items() if one}

    # Partitions that a run in progress processes again count as missing until it is done.
    wait(lambda: all(count <= (name != "raw_punches") for name, count in missing().items()), seconds=60)


@pytest.mark.stress  # by default: `defs/assets/test_selections.py`, without processes of a daemon
def test_everything_is_polled_then_processed_then_delivered_but_for_a_date_that_cannot_be(ui: Ui) -> None:
    query = "{ assetNodes { assetKey { path } partitionKeys } }"
    keys = {node["assetKey"]["path"][0]: node["partitionKeys"] for node in ui.ask(query)["assetNodes"]}["crm_sync"]
    store = Store.at(ui.home / ".demo" / "data" / "attendance.duckdb")
    execute(store, "UPDATE work_dates SET raw_purged_at = now() WHERE work_date = ?", [keys[0]])
    launched = backfill(ui, *ASSETS)
    assert final_status(ui, launched) == "COMPLETED_FAILED"
    first, poll, chain = sorted(runs_of(ui, launched), key=lambda run: run.ended_at)
    assert [run.status for run in (first, poll, chain)] == ["SUCCESS", "SUCCESS", "FAILURE"]
    assert [sorted(run.assets) for run in (first, poll, chain)] == [[ASSETS[0]], [ASSETS[1]], sorted(ASSETS[2:])]
    statuses = "{ assetNodes { assetKey { path } partitionStats { numPartitions numMaterialized numFailed } } }"

    def has_one_failed_date(asset: str) -> bool:
        stats = {node["assetKey"]["path"][0]: node["partitionStats"] for node in ui.ask(statuses)["assetNodes"]}[asset]
        return bool(stats["numFailed"] == 1 and stats["numMaterialized"] == stats["numPartitions"] - 1)

    # Partitions that a run in progress processes again count as missing until it is done.
    wait(lambda: all(map(has_one_failed_date, ASSETS[2:])), seconds=60)
    execute(store, "UPDATE work_dates SET raw_purged_at = NULL")
    days = ledger_days(ui.home / ".demo")
    assert len(days) == len(set(days))


@pytest.mark.stress
@pytest.mark.browser
@needs_chromium
def test_backfills_from_the_dialog_and_by_the_api_are_one_run_each_and_tell_the_crm_nothing_again(
    ui: Ui, page: Page, screenshots: Path
) -> None:
    query = "{ assetNodes { assetKey { path } partitionKeys } }"
    keys = {node["assetKey"]["path"][0]: node["partitionKeys"] for node in ui.ask(query)["assetNodes"]}["crm_sync"]
    first, second, third = keys[:3]  # the first has punches and is over; on later ones users may still punch

    def deliveries() -> list[tuple[str, str, int]]:
        return [day for day in ledger_days(ui.home / ".demo") if day[1] == first]

    deliveries_before = deliveries()
    assert deliveries_before

    by_api = backfill(ui, "crm_sync", keys=[first, second, third])
    by_dialog = materialize(page, ui, "daily_attendance", first, third, partitions=3)
    for launched in (by_api, by_dialog):
        (run,) = runs_of(ui, launched)
        assert run.status == "SUCCESS"
        assert run.tags["dagster/asset_partition_range_start"] == first
        assert run.tags["dagster/asset_partition_range_end"] == third
    assert deliveries() == deliveries_before

    page.goto(f"{ui.url}/assets/daily_attendance?view=partitions&partition={first}")
    for name in ("punches by hour (local time)", "outliers by work date"):
        page.get_by_role("img", name=name).wait_for()
    page.screenshot(path=screenshots / "daily_attendance-partition.png")


def test_interrupted_it_ends_everything_it_started(ui: Ui) -> None:
    """The last test here: it ends what the others look at."""
    mine = processes_of(ui.home)
    assert len(mine) >= 4, mine  # the demo, code server, daemon, webserver
    ui.process.send_signal(signal.SIGINT)
    assert ui.process.wait(60) == 0
    wait(lambda: not processes_of(ui.home), seconds=20)
    assert "Traceback" not in ui.output.read_text()
