"""Backfills from the UI's dialog, and through GraphQL as an API client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zk_pipeline_tests.demo.dagster_ui import Run, Ui
from zk_pipeline_tests.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Page

_LAUNCH = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}
"""
_STATUS = (
    "query Status($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
)
_ALL = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { id } } } }"


def backfill(ui: Ui, *assets: str, keys: Sequence[str] | None = None) -> str:
    """Ask for it through GraphQL, for all partitions without `keys`; its id."""
    which = {"allPartitions": True} if keys is None else {"partitionNames": list(keys)}
    params = {"assetSelection": [{"path": [asset]} for asset in assets], **which}
    launched = ui.ask(_LAUNCH, params=params)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return str(launched["backfillId"])


def materialize(page: Page, ui: Ui, asset: str, first: str, last: str, *, partitions: int) -> str:
    """Ask for it in the dialog of the asset's own page, as a person would; its id."""
    before = backfills(ui)
    page.goto(f"{ui.url}/assets/{asset}?view=partitions")
    page.get_by_role("button", name="Materialize").first.click()
    warning = page.get_by_role("button", name="Confirm")  # where something upstream has not been materialized
    selection = page.get_by_text("Partition selection")
    warning.or_(selection).first.wait_for()
    if warning.is_visible():
        warning.click()
    selection.wait_for()
    everything = page.get_by_text("Show all partitions").last  # a long history begins with its last 90 days
    if everything.is_visible():
        everything.click()
    page.get_by_role("button", name="All", exact=True).last.click()
    chosen = page.locator("input[type=text]").last
    chosen.fill(f"[{first}...{last}]")
    chosen.press("Enter")
    page.get_by_text(f"{partitions} partitions", exact=True).wait_for()
    page.get_by_text("Backfills all partitions in a single run.").wait_for()
    page.get_by_role("button", name="Launch backfill").click()
    until(lambda: bool(backfills(ui) - before), seconds=20)
    (launched,) = backfills(ui) - before
    return launched


def final_status(ui: Ui, launched: str) -> str:
    """Status of a backfill once it has ended."""

    def status() -> str:
        return str(ui.ask(_STATUS, id=launched)["partitionBackfillOrError"]["status"])

    until(lambda: status() != "REQUESTED", seconds=240, every=1.0)
    return status()


def backfills(ui: Ui) -> set[str]:
    return {one["id"] for one in ui.ask(_ALL)["partitionBackfillsOrError"]["results"]}


def runs_of(ui: Ui, launched: str) -> list[Run]:
    """The runs of a backfill, once there are any and all have ended."""

    def have_ended() -> bool:
        held = _runs(ui, launched)
        return bool(held) and all(run.status in ("SUCCESS", "FAILURE", "CANCELED") for run in held)

    until(have_ended, seconds=120, every=0.5)
    return _runs(ui, launched)


def _runs(ui: Ui, launched: str) -> list[Run]:
    return [run for run in ui.runs() if run.tags.get("dagster/backfill") == launched]
