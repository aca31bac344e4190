"""Dagster instances with a `dagster.yaml` of another team: pools, run retries, and what the instance lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.storage.tags import WILL_RETRY_TAG

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.instance.requirements import unmet_requirements
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import DateRange, range_tags
from zk_pipeline.defs.pools import limit_pools
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.daemon_fixtures import Daemons, open_daemons
from zk_pipeline_tests.gates import MONDAY
from zk_pipeline_tests.store.store_fixtures import device

POOLS = Names().pools
GATE = range_tags("Gate", "Gate")
DAY = DateRange(MONDAY, MONDAY).tags


@pytest.fixture
def foreign(home: Path, home_store: Store, request: pytest.FixtureRequest) -> Iterator[Daemons]:
    """Daemons on an instance with another `dagster.yaml`, after the first iteration of the sensors."""
    (home / "dagster.yaml").write_text(getattr(request, "param", ""))
    home_store.devices.add(device("Gate"))
    with open_daemons(home) as opened:
        opened.instance.event_log_storage.set_concurrency_slots("theirs", 3)
        opened.instance.add_dynamic_partitions(Names().device_partitions_name, ["Gate"])
        opened.look_with_sensors()
        yield opened


def limits(instance: dg.DagsterInstance) -> dict[str, int]:
    return {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}


def unmet(instance: dg.DagsterInstance) -> dict[str, str]:
    return {one.name: one.advice for one in unmet_requirements(instance, load_settings())}


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param("", marks=pytest.mark.matrix),
        pytest.param("concurrency: {pools: {default_limit: 5}}", marks=pytest.mark.matrix),
        "concurrency: {pools: {granularity: run}}",
    ],
    indirect=True,
)
def test_runs_of_a_pool_wait_for_each_other_whatever_the_instance_does_with_other_pools(foreign: Daemons) -> None:
    assert limits(foreign.instance) == {"theirs": 3, **dict.fromkeys(POOLS, 1)}
    for job, tags, other in (
        ("poll_devices", GATE, "poll_devices"),
        ("sync_to_crm", DAY, "retry_failed_syncs"),
        ("process_attendance", DAY, "process_attendance"),
    ):
        first, second = foreign.ask_for(job, tags), foreign.ask_for(other, tags)
        assert foreign.dequeue() == foreign.dequeue() == [job]
        foreign.end(first)
        assert foreign.dequeue() == [other]
        foreign.end(second)


def test_the_slot_of_a_killed_run_is_free_again(foreign: Daemons) -> None:
    storage = foreign.instance.event_log_storage
    killed, waiting, alive = (foreign.ask_for("poll_devices", GATE) for _ in range(3))

    def claim(pool: str, run_id: str) -> bool:
        return storage.claim_concurrency_slot(pool, run_id, f"step in {pool}").is_claimed

    assert claim(POOLS[0], killed)
    assert claim("theirs", killed)
    assert not claim(POOLS[0], waiting)
    for run_id in (killed, waiting):
        foreign.end(run_id)
    assert not claim(POOLS[0], alive), "Dagster alone frees none"
    limit_pools(foreign.instance, POOLS)
    assert claim(POOLS[0], alive)
    limit_pools(foreign.instance, POOLS)
    assert [slot.run_id for slot in storage.get_concurrency_info(POOLS[0]).claimed_slots] == [alive]
    assert [slot.run_id for slot in storage.get_concurrency_info("theirs").claimed_slots] == [killed]


def test_a_limit_that_an_operator_has_set_for_a_pool_stays_and_a_default_does_not(home: Path) -> None:
    (home / "dagster.yaml").write_text("concurrency: {pools: {default_limit: 5}}")
    with dg.DagsterInstance.get() as instance:
        instance.event_log_storage.set_concurrency_slots(POOLS[0], 2)
        assert instance.event_log_storage.initialize_concurrency_limit_to_default(POOLS[1])
        limit_pools(instance, POOLS)
        assert limits(instance) == {**dict.fromkeys(POOLS, 1), POOLS[0]: 2}


def test_the_shipped_instance_meets_all_requirements(home: Path) -> None:
    assert home.exists()
    with dg.DagsterInstance.get() as instance:
        limit_pools(instance, POOLS)
        assert unmet(instance) == {}


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    nested = {key: merged(first[key], value) for key, value in second.items() if isinstance(first.get(key), dict)}
    return first | second | nested


@pytest.mark.parametrize("content", ["telemetry: {enabled: false}", "run_queue: {max_concurrent_runs: 3}"])
def test_following_the_advice_removes_each_finding(content: str, home: Path) -> None:
    config: dict[str, Any] = yaml.safe_load(content)
    (home / "dagster.yaml").write_text(content)
    with dg.DagsterInstance.get() as instance:
        advice = unmet(instance)
    assert set(advice) == {"dagster-pool-granularity", "dagster-run-monitoring", "dagster-run-retries"}
    for name in sorted(advice):
        (lines,) = re.findall(r"`(\w+: \{.*\})`", advice[name])
        config = merged(config, yaml.safe_load(lines))
        if "limits of run_queue then move to concurrency.runs" in advice[name] and "run_queue" in config:
            config["concurrency"]["runs"] = config.pop("run_queue")
        (home / "dagster.yaml").write_text(yaml.safe_dump(config))
        with dg.DagsterInstance.get() as instance:
            left, queue = unmet(instance), instance.get_concurrency_config().run_queue_config
        assert name not in left
    assert left == {}
    assert queue is not None
    assert queue.max_concurrent_runs == (3 if "3" in content else 10), "as before"


def test_a_queue_that_ignores_pools_and_another_limit_are_found(home: Path) -> None:
    pools = "concurrency: {pools: {granularity: run}}\n"
    coordinator = "run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}\n"
    (home / "dagster.yaml").write_text(pools + coordinator)
    with dg.DagsterInstance.get() as instance:
        instance.event_log_storage.set_concurrency_slots(POOLS[2], 4)
        found = unmet(instance)
        assert {"dagster-pools", "dagster-pool-granularity"} <= set(found)
        command, pool, limit = re.findall(r"`(.*) (\S+) (\d)`", found["dagster-pools"])[0]
        assert command == "dagster instance concurrency set"
        instance.event_log_storage.set_concurrency_slots(pool, int(limit))
        assert "dagster-pools" not in unmet(instance)
    (home / "dagster.yaml").write_text(pools)
    with dg.DagsterInstance.get() as instance:
        assert "dagster-pool-granularity" not in unmet(instance)


def test_the_tick_of_the_registry_sensor_names_what_the_instance_lacks(
    foreign: Daemons, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = foreign.repository.get_sensor("device_registry_sensor")
    (tick,) = foreign.instance.get_ticks(sensor.get_remote_origin_id(), sensor.selector_id)
    assert tick.skip_reason == (  # the run launcher of the fixture is a mock
        "the partitions match the registered devices; see `zk-pipeline doctor` about dagster-run-launcher, "
        "dagster-run-monitoring"
    )
    monkeypatch.setenv("POLL_QUEUES", "*=all")
    assert "dagster-run-coordinator" in unmet(foreign.instance)


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param("run_retries: {enabled: true}", marks=pytest.mark.matrix),
        "run_retries: {enabled: true, max_retries: 3}",
    ],
    indirect=True,
)
def test_a_run_that_lost_its_process_is_retried_once_and_one_that_failed_is_not(foreign: Daemons) -> None:
    failed = JobFailureData(error=None, failure_reason=RunFailureReason.STEP_FAILURE)
    for job in Names().jobs:
        tags = foreign.repository.get_full_job(job).run_tags  # which the UI, schedules and sensors add
        for failure, is_retried in ((None, "true"), (failed, "false")):
            run = foreign.instance.create_run_for_job(dg.GraphDefinition(job).to_job(), tags=tags)
            foreign.instance.report_run_failed(run, "lost", failure)
            ended = foreign.instance.get_run_by_id(run.run_id)
            assert ended is not None
            assert (ended.tags[WILL_RETRY_TAG], ended.tags["dagster/max_retries"]) == (is_retried, "1")
