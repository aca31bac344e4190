"""Runs: filters, pages, and the effects of one."""

from __future__ import annotations

import dagster as dg
import pytest

from zk_pipeline.defs.names import Names
from zk_pipeline.runs.run_list import API, BACKFILL, COMMAND, UI, RunFilter
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, ingest, on, process
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import Web

NAMES = Names()
SCHEDULE, SENSOR = "poll_devices_schedule", "new_punches_sensor"
TAGS = {
    SCHEDULE: {"dagster/schedule_name": SCHEDULE},
    SENSOR: {"dagster/sensor_name": SENSOR},
    BACKFILL: {"dagster/backfill": "nightly", "zk_pipeline/started_by": "zk-pipeline"},
    COMMAND: {"zk_pipeline/started_by": "zk-pipeline"},
    API: {"zk_pipeline/started_by": "api", "zk_pipeline/requested_by": "anna"},
    UI: {},
}


@pytest.fixture(scope="module")
def run_ids(web: Web) -> dict[str, str]:
    """A run of each trigger, of which that of the sensor failed; runs of another team. By trigger, oldest first."""
    instance, ids = web.served.services.watch.instance, {}
    for trigger, tags in TAGS.items():
        run = dg.DagsterRun(
            job_name=NAMES.poll if trigger == SCHEDULE else NAMES.process,
            status=dg.DagsterRunStatus.FAILURE if trigger == SENSOR else dg.DagsterRunStatus.SUCCESS,
            tags=NAMES.run_tags | tags,
        )
        ids[trigger] = instance.add_run(run).run_id
        instance.add_run(dg.DagsterRun(job_name="nightly", tags=tags))
    return ids


def found(web: Web, wanted: RunFilter) -> list[str]:
    return [one.trigger for one in web.served.services.watch.page(wanted, limit=9).runs]


def test_runs_are_found_by_trigger_job_and_state(web: Web, run_ids: dict[str, str]) -> None:
    assert found(web, RunFilter()) == [*reversed(run_ids)]
    assert {trigger: found(web, RunFilter(trigger=trigger)) for trigger in run_ids} == {one: [one] for one in run_ids}
    assert found(web, RunFilter(job=NAMES.poll)) == [SCHEDULE]
    assert (found(web, RunFilter(state="failed")), found(web, RunFilter(state="in_progress"))) == ([SENSOR], [])


def test_each_page_of_runs_begins_after_the_one_before(web: Web, run_ids: dict[str, str]) -> None:
    watch, pages, cursor = web.served.services.watch, [], None
    while True:
        page = watch.page(RunFilter(), limit=4, cursor=cursor)
        pages.append(page.runs)
        cursor = page.cursor
        if cursor is None:
            break
    assert [len(one) for one in pages] == [4, 2]
    assert [run.run_id for runs in pages for run in runs] == [*reversed(run_ids.values())]


def test_a_search_reads_a_bounded_number_of_runs_and_goes_on_where_it_ended(
    web: Web, run_ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zk_pipeline.runs.run_status.MAX_SEARCHED", 2)
    wanted = RunFilter(trigger=SCHEDULE, job=None)
    watch, cursor, cuts = web.served.services.watch, None, 0
    monkeypatch.setattr("zk_pipeline.runs.run_status._dagster_filter", lambda _: dg.RunsFilter())
    while not (page := watch.page(wanted, limit=1, cursor=cursor)).runs:
        assert page.is_cut
        cuts, cursor = cuts + 1, page.cursor
    assert [one.run_id for one in page.runs] == [run_ids[SCHEDULE]]
    assert cuts > 1


def test_the_page_of_runs_filters_by_its_fields(web: Web, run_ids: dict[str, str]) -> None:
    with web.client("read") as reader:
        page = drawn(reader.get("/runs?state=failed"))
        assert [row[:4] for row in page.cells[1:]] == [
            [run_ids[SENSOR][:8], "process_attendance", "failed", SENSOR],
        ]
        backfill = drawn(reader.get(f"/runs?trigger={BACKFILL}"))
        assert [row[3] for row in backfill.cells[1:]] == ["a backfill nightly"]
        api = drawn(reader.get(f"/runs?trigger={API}"))
        assert [row[3] for row in api.cells[1:]] == ["API or these pages anna"]
        assert "No run matches" in reader.get("/runs?start_date=2001-01-01&end_date=2001-01-02").text
        for query in ("state=well", "cursor=x", "start_date=2026-03-02&end_date=2026-03-01", "first=1"):
            assert reader.get(f"/runs?{query}").status_code == 400, query


def test_the_page_of_a_run_has_the_dates_that_it_processed(web: Web, run_ids: dict[str, str]) -> None:
    run_id = run_ids[API]
    store, instance = web.store, web.served.services.watch.instance
    instance.report_dagster_event(
        dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=NAMES.process), run_id=run_id
    )
    store.devices.add(device("Gate"))
    ingest(store, "Gate", *on(MONDAY, "09:00", "18:00"), *on(MONDAY, "09:00", user_id="1002"))
    process(store, MONDAY, run_id=run_id)
    with web.client("read") as reader:
        page = drawn(reader.get(f"/runs/{run_id}"))
    assert [str(MONDAY), "2", "0"] in page.cells
    assert page.links[str(MONDAY)] == f"/report?date={MONDAY}"
