"""Polls by queue: run requests, concurrency, and the queue tags of runs of every origin."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.automation.sensors import out_of_order
from zk_pipeline.defs.instance.instance_health import failed_runs
from zk_pipeline.defs.instance.runs_in_progress import QUEUE_TAG
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import range_tags
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.operations.alerting.problems import Links, run_problem
from zk_pipeline.runs.launcher import Launcher, open_launcher
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store, utc_now
from zk_pipeline_tests.defs.automation.test_schedules import END, START, evaluated, make_partitions, tick
from zk_pipeline_tests.defs.automation.test_sensors import follow_registry
from zk_pipeline_tests.defs.daemon_fixtures import Daemons, open_daemons
from zk_pipeline_tests.defs.run_fixtures import poll_all, statuses
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.many_hosts import routed_yaml
from zk_pipeline_tests.store.store_fixtures import device

CELERY_TAG = "dagster-celery/queue"
SITES = {"A": "Izmir", "B": "Ankara", "C": "Izmir", "D": "Ankara"}


@pytest.fixture
def routed_home(home: Path, home_store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four terminals of two sites, alternating, and the queues of the shipped file."""
    (home / "dagster.yaml").write_text(routed_yaml())
    monkeypatch.setenv("POLL_QUEUES", "*=site-{site}")
    for name, site in SITES.items():
        home_store.devices.add(device(name, site=site))
    return home


@pytest.fixture
def launcher(routed_home: Path) -> Iterator[Launcher]:  # noqa: ARG001 (exported)
    with open_launcher(load_settings()) as opened:
        yield opened


@pytest.fixture
def daemons(routed_home: Path) -> Iterator[Daemons]:
    with open_daemons(routed_home) as opened:
        opened.instance.add_dynamic_partitions(Names().device_partitions_name, ["B", "D", "A", "C"])
        yield opened


def add_unfinished_run(launcher: Launcher, **tags: str) -> str:
    run = dg.DagsterRun(job_name="poll_devices", status=dg.DagsterRunStatus.STARTED, tags={**Names().run_tags, **tags})
    return launcher.instance.add_run(run).run_id


def queues_asked(launcher: Launcher) -> list[tuple[str, str, str]]:
    """Queue, first and last device of each run request of the schedule; asserts that the run keys differ."""
    requests = evaluated(launcher, "poll_devices").run_requests or ()
    assert len({one.run_key for one in requests}) == len(requests)
    return [(one.tags[QUEUE_TAG], one.tags[START], one.tags[END]) for one in requests]


def tags_of(daemons: Daemons, run_id: str) -> dict[str, str]:
    run = daemons.instance.get_run_by_id(run_id)
    assert run is not None
    return {tag: run.tags[tag] for tag in (QUEUE_TAG, CELERY_TAG) if tag in run.tags}


def test_partitions_of_a_queue_are_put_together_so_that_one_run_polls_them(launcher: Launcher) -> None:
    assert follow_registry(launcher) == ["A", "B", "C", "D"]
    assert queues_asked(launcher) == [
        ("site-ankara", "B", "B"),
        ("site-ankara", "D", "D"),
        ("site-izmir", "A", "A"),
        ("site-izmir", "C", "C"),
    ]
    assert follow_registry(launcher) == ["B", "D", "A", "C"]
    assert queues_asked(launcher) == [("site-ankara", "B", "D"), ("site-izmir", "A", "C")]
    assert follow_registry(launcher) == ["B", "D", "A", "C"]


def test_disabled_terminals_stand_behind_the_others_of_their_queue(launcher: Launcher, home_store: Store) -> None:
    follow_registry(launcher)
    home_store.devices.update("B", enabled=False)
    assert follow_registry(launcher) == ["D", "B", "A", "C"]
    assert queues_asked(launcher) == [("site-ankara", "D", "D"), ("site-izmir", "A", "C")]


def test_partitions_are_not_moved_under_a_poll(launcher: Launcher) -> None:
    follow_registry(launcher)
    run_id = add_unfinished_run(launcher)
    assert follow_registry(launcher) == ["A", "B", "C", "D"]
    launcher.instance.delete_run(run_id)
    assert follow_registry(launcher) == ["B", "D", "A", "C"]


@pytest.mark.parametrize(
    ("wanted", "there", "moved"),
    [
        ("ABC", "ABC", ""),
        ("ABC", "ACB", "BC"),
        ("BAC", "ABC", "BAC"),
        ("ABCD", "AC", ""),  # B and D have no partitions yet
        ("AB", "AXB", ""),  # X is no longer a device
        ("", "AB", ""),
    ],
)
def test_only_partitions_behind_the_first_one_out_of_order_are_moved(wanted: str, there: str, moved: str) -> None:
    assert out_of_order(list(wanted), list(there)) == list(moved)


def test_a_queue_whose_poll_is_under_way_waits_and_the_others_do_not(launcher: Launcher) -> None:
    make_partitions(launcher, "B", "D", "A", "C")
    izmir = add_unfinished_run(launcher, **{QUEUE_TAG: "site-izmir"})
    assert queues_asked(launcher) == [("site-ankara", "B", "D")]
    ankara = add_unfinished_run(launcher, **{QUEUE_TAG: "site-ankara"})
    assert tick(launcher, "poll_devices") == (
        f"site-ankara: run {ankara} of poll_devices is still started; "
        f"site-izmir: run {izmir} of poll_devices is still started"
    )


def test_a_poll_from_before_there_were_queues_holds_up_all(launcher: Launcher) -> None:
    make_partitions(launcher, "B", "D", "A", "C")
    run_id = add_unfinished_run(launcher)
    assert str(tick(launcher, "poll_devices")).count(run_id) == 2


def test_queues_without_anything_that_takes_runs_there_fail_the_tick_in_words(launcher: Launcher) -> None:
    plain = {"run_coordinator": {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}}
    with dg.instance_for_test(overrides=plain) as instance:
        elsewhere = Launcher(launcher.settings, instance)
        with pytest.raises(dg.DagsterUserCodeExecutionError) as failed:
            evaluated(elsewhere, "poll_devices")
        assert "is not SiteQueueRunCoordinator" in str(failed.value.user_exception)
        with pytest.raises(UsageError, match="is not SiteQueueRunCoordinator"):
            elsewhere.poll(["A"], list(SITES))


def test_a_command_says_that_nobody_would_do_its_poll(launcher: Launcher) -> None:
    with pytest.raises(ZkPipelineError, match="no heartbeat yet"):
        launcher.poll(["A"], list(SITES))
    assert launcher.instance.get_runs_count() == 0


def test_a_run_started_in_the_ui_goes_to_the_queue_of_its_terminals_site(daemons: Daemons) -> None:
    izmir = {QUEUE_TAG: "site-izmir", CELERY_TAG: "site-izmir"}
    assert tags_of(daemons, daemons.ask_for("poll_devices", range_tags("A", "C"))) == izmir
    assert tags_of(daemons, daemons.ask_for("poll_devices", {"dagster/partition": "C"})) == izmir
    assert tags_of(daemons, daemons.ask_for("daily_cleanup", {})) == {}


def test_a_run_over_terminals_of_two_sites_is_refused_with_who_reaches_which(daemons: Daemons) -> None:
    with pytest.raises(AssertionError, match="site-ankara: D; site-izmir: A"):
        daemons.ask_for("poll_devices", range_tags("D", "A"))
    with pytest.raises(AssertionError, match="needs the partitions of registered devices"):
        daemons.ask_for("poll_devices", {})


def test_what_a_schedule_asked_for_is_not_looked_up_again_and_a_retry_is(daemons: Daemons, home_store: Store) -> None:
    home_store.devices.update("C", site="Bursa")
    as_asked = daemons.ask_for("poll_devices", {**range_tags("C", "C"), QUEUE_TAG: "site-izmir"})
    assert tags_of(daemons, as_asked) == {QUEUE_TAG: "site-izmir", CELERY_TAG: "site-izmir"}
    location = RegisteredCodeLocationOrigin("zk_pipeline")
    failed = daemons.instance.get_run_by_id(as_asked)
    assert failed is not None
    retry = daemons.instance.add_run(
        dg.DagsterRun(
            job_name="poll_devices",
            tags=failed.tags,
            root_run_id=as_asked,
            parent_run_id=as_asked,
            remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "poll_devices"),
            job_code_origin=failed.job_code_origin,
        )
    )
    daemons.instance.submit_run(retry.run_id, daemons.context.create_request_context())
    assert tags_of(daemons, retry.run_id) == {QUEUE_TAG: "site-bursa", CELERY_TAG: "site-bursa"}


def test_a_queue_has_one_poll_at_a_time_and_queues_run_side_by_side(daemons: Daemons) -> None:
    first = daemons.ask_for("poll_devices", range_tags("A", "C"))
    daemons.ask_for("poll_devices", range_tags("A", "A"))
    daemons.ask_for("poll_devices", range_tags("B", "D"))
    assert daemons.dequeue() == daemons.dequeue() == ["poll_devices", "poll_devices"]
    daemons.end(first)
    assert daemons.dequeue() == ["poll_devices", "poll_devices"]


def test_a_failed_poll_is_told_by_its_queue_and_another_queues_success_does_not_cover_it(launcher: Launcher) -> None:
    for queue, ended in (("site-izmir", dg.DagsterRunStatus.FAILURE), ("site-ankara", dg.DagsterRunStatus.SUCCESS)):
        launcher.instance.add_run(
            dg.DagsterRun(job_name="poll_devices", status=ended, tags={**Names().run_tags, QUEUE_TAG: queue})
        )
    (failed,) = failed_runs(launcher.instance, launcher.names, utc_now())
    problem = run_problem(failed, Links())
    assert (problem.title, problem.owner) == ("poll_devices (site-izmir) failed", "terminals")


def test_a_partition_that_was_moved_keeps_its_colour(
    home: Path,  # noqa: ARG001 (exported)
    home_store: Store,
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZKTECO_TIMEOUT", "1")
    for name, site in SITES.items():
        switch_on(fleet, home_store, gate(name, *present(MONDAY)), site=site)
    with open_launcher(load_settings()) as alone:
        assert poll_all(alone, home_store).failure is None
        monkeypatch.setenv("POLL_QUEUES", "*=site-{site}")
        assert list(alone.instance.get_dynamic_partitions("devices")) == ["A", "B", "C", "D"]
        assert follow_registry(Launcher(load_settings(), alone.instance)) == ["B", "D", "A", "C"]
        assert statuses(alone, "raw_punches", list(SITES)) == dict.fromkeys(SITES, "materialized")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("routing", "RoutedRunCoordinator"),
        ("instance.run_coordinator", "RoutedRunCoordinator"),
        ("celery_launcher", "WorkerLauncher"),
    ],
)
def test_a_dagster_yaml_of_before_the_move_still_finds_its_classes(module: str, name: str) -> None:
    found = getattr(import_module(f"zk_pipeline.defs.{module}"), name)
    assert found.__module__.startswith("zk_pipeline.defs.instance.")
