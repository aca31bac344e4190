"""A Dagster instance that another team uses as well: their runs, checks, schedules and sensors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus
from dagster_shared.error import SerializableErrorInfo

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.automation.alert_sensors import evaluate_alerts
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.instance.check_retention import delete_old_checks
from zk_pipeline.defs.instance.daemon_health import daemon_status
from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG
from zk_pipeline.defs.instance.ownership import owns_run
from zk_pipeline.defs.instance.run_retention import delete_runs, find_old_runs
from zk_pipeline.defs.instance.runs_in_progress import any_run_in_progress, polls_in_progress, run_in_progress
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import DateRange
from zk_pipeline.defs.resources import AlertsResource, resources
from zk_pipeline.runs.launcher import Launcher, open_launcher
from zk_pipeline.runs.run_status import RunReader
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store, utc_now
from zk_pipeline_tests.channel import Channel, listening
from zk_pipeline_tests.defs.instigators import add_sensor, add_tick
from zk_pipeline_tests.defs.run_fixtures import poll_all
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import StoppedClock, rows, store_at

NAMES = Names()
SALES = dg.AssetKey("sales")
BROKEN = SerializableErrorInfo("ValueError: broken at theirs", [], "ValueError")


@pytest.fixture
def channel(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:  # noqa: ARG001 (clears the variables)
    with listening() as channel:
        monkeypatch.setenv("ALERT_URLS", channel.url)
        yield channel


@pytest.fixture
def launcher(home: Path, channel: Channel) -> Iterator[Launcher]:  # noqa: ARG001 (exported)
    with open_launcher(load_settings()) as opened:
        yield opened


def of_another_team() -> dg.Definitions:
    @dg.op
    def fail() -> None:
        raise ValueError("broken at theirs")

    @dg.job(name="poll_devices")
    def poll() -> None:
        fail()

    @dg.job(name="daily_cleanup")
    def cleanup() -> None: ...

    @dg.asset(key=SALES, check_specs=[dg.AssetCheckSpec("no_gaps", asset=SALES)])
    def sales() -> Iterator[dg.MaterializeResult[None]]:
        yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=False)])

    @dg.asset
    def forecast() -> None:
        raise ValueError("broken at theirs")

    return dg.Definitions(assets=[sales, forecast], jobs=[poll, cleanup])


def work_of_another_team(instance: dg.DagsterInstance) -> set[str]:
    """Runs of jobs and assets, evaluations without a run, and a failing sensor of the same name. Returns the runs."""
    definitions = of_another_team()
    everything = definitions.resolve_implicit_global_asset_job_def()
    run_ids = set()
    for job, selection in (
        (definitions.resolve_job_def("poll_devices"), None),
        (definitions.resolve_job_def("daily_cleanup"), None),
        (everything, [SALES]),
        (everything, [SALES]),
        (everything, [dg.AssetKey("forecast")]),
    ):
        done = job.execute_in_process(instance=instance, asset_selection=selection, raise_on_error=False)
        run_ids.add(done.run_id)
    for passed in (True, False, False):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=SALES, check_name="no_gaps", passed=passed, metadata={})
        )
    for name, is_running in (("alert_sensor", True), ("new_sales_sensor", False)):
        state = add_sensor(instance, "theirs", name, is_running=is_running)
        add_tick(instance, state, TickStatus.FAILURE, 1000.0, BROKEN)
    return run_ids


def theirs(instance: dg.DagsterInstance, run_ids: set[str]) -> dict[str, object]:
    """All that an instance has of the other team."""
    storage = instance.event_log_storage
    check = dg.AssetCheckKey(SALES, "no_gaps")
    states = [one for one in instance.all_instigator_state() if "theirs" in str(one.origin)]
    with storage.run_connection("") as runless:  # type: ignore[attr-defined]
        evaluations = runless.exec_driver_sql("SELECT count(*) FROM event_logs WHERE event LIKE '%no_gaps%'").scalar()
    return {
        "runs": {run.run_id: (run.status, run.tags) for run in instance.get_runs() if run.run_id in run_ids},
        "events": {run_id: len(instance.all_logs(run_id)) for run_id in run_ids},
        "checks": len(storage.get_asset_check_execution_history(check, limit=100)),
        "evaluations without a run": evaluations,
        "materializations": len(instance.fetch_materializations(SALES, limit=100).records),
        "ticks": [len(instance.get_ticks(one.instigator_origin_id, one.selector_id)) for one in states],
    }


@pytest.fixture
def ours(launcher: Launcher, fleet: Fleet, home_store: Store) -> list[str]:
    """Two polls, two processings, a clean-up and a failed sync of this pipeline."""
    devices = switch_on(fleet, home_store, gate("North", *present(MONDAY)))
    monday = DateRange(MONDAY, MONDAY)
    runs = [launcher.poll(devices, devices)[0], poll_all(launcher, home_store)]
    runs += [launcher.process(monday), launcher.process(monday)]
    runs += [launcher.clean_up(dry_run=True), launcher.sync(monday, {})]
    assert runs.pop().failure, "there is no CRM"
    return [run.run_id for run in runs]


def test_a_hundred_days_of_clean_up_and_alerts_concern_nothing_of_another_team(
    launcher: Launcher, ours: list[str], channel: Channel
) -> None:
    instance, settings = launcher.instance, load_settings()
    run_ids = work_of_another_team(instance)
    before = theirs(instance, run_ids)
    assert (before["checks"], before["evaluations without a run"], before["ticks"]) == (5, 3, [1, 1])
    alerts = resources(settings)["alerts"]
    assert isinstance(alerts, AlertsResource)
    removed: list[str] = []
    for day in range(0, 101, 20):
        now = utc_now() + timedelta(days=day)
        store = store_at(settings.store, StoppedClock(now))
        evaluate_alerts(store, settings, instance, set(), alerts, location="zk_pipeline")
        old = find_old_runs(instance, NAMES, before=now - timedelta(days=90), limit=100)
        delete_old_checks(instance, NAMES, before=now - timedelta(days=90))
        delete_runs(instance, old.removable)
        removed += old.removable
    assert set(removed) == {ours[0], ours[2]}, "runs that a newer one of the pipeline has replaced"
    assert theirs(instance, run_ids) == before
    texts = [*channel.titles, *channel.bodies, *map(str, rows(store, "FROM alerts"))]
    assert any("CRM_API_URL" in text for text in texts)
    assert not [text for text in texts if "theirs" in text or "sales" in text or any(one in text for one in run_ids)]


def test_runs_of_another_team_neither_delay_ours_nor_are_listed(launcher: Launcher, ours: list[str]) -> None:
    instance = launcher.instance
    started = dg.DagsterRunStatus.STARTED
    for run in (
        dg.DagsterRun(job_name="poll_devices", status=started),
        dg.DagsterRun(job_name="poll_devices", status=started, tags=Names(("hr",)).run_tags),
        dg.DagsterRun(job_name="__ASSET_JOB", status=started, asset_selection=frozenset([SALES])),
        dg.DagsterRun(job_name="nightly", status=started),
    ):
        instance.add_run(run)
    work_of_another_team(instance)
    assert run_in_progress(instance, NAMES, *NAMES.jobs) is None
    assert any_run_in_progress(instance, NAMES) is None
    assert polls_in_progress(instance, NAMES) == {}
    assert set(ours) <= {run.run_id for run in RunReader(instance, NAMES).newest(10)}
    assert len(RunReader(instance, NAMES).newest(10)) == len(ours) + 1
    status = daemon_status(instance, NAMES, utc_now())
    assert (status.runs_in_progress, status.stopped) == (0, [])
    instance.add_run(dg.DagsterRun(job_name="poll_devices", status=started, tags=NAMES.run_tags))
    assert run_in_progress(instance, NAMES, NAMES.poll) is not None


@pytest.mark.parametrize(
    ("job", "assets", "tags", "is_ours"),
    [
        ("poll_devices", None, {}, False),
        ("poll_devices", None, NAMES.run_tags, True),
        ("poll_devices", None, {PROCESS_TAG: "host:1:2"}, True),  # started by a version without the tag
        ("poll_devices", None, {PROCESS_TAG: "host:1:2"} | Names(("hr",)).run_tags, False),
        ("hr_poll_devices", None, Names(("hr",)).run_tags, False),
        ("__ASSET_JOB", ["raw_punches", "daily_attendance"], {}, True),
        ("__ASSET_JOB", ["daily_attendance", "sales"], {}, False),
        ("__ASSET_JOB", None, {PROCESS_TAG: "host:1:2"}, False),
    ],
)
def test_a_run_is_ours_by_its_tag_or_by_its_assets(
    job: str, assets: list[str] | None, tags: dict[str, str], *, is_ours: bool
) -> None:
    selection = frozenset(map(dg.AssetKey, assets)) if assets else None
    assert owns_run(dg.DagsterRun(job_name=job, asset_selection=selection, tags=tags), NAMES) == is_ours


@pytest.mark.parametrize("prefix", [(), ("hr",)])
@pytest.mark.usefixtures("home")
def test_the_schedules_and_sensors_of_the_definitions_are_ours(prefix: tuple[str, ...]) -> None:
    definitions = build_definitions(load_settings().model_copy(update={"key_prefix": prefix}))
    names = {one.name for one in [*(definitions.schedules or ()), *(definitions.sensors or ())]}
    assert names == Names(prefix).instigators
