"""Several pipelines in one code location, next to definitions of another team."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value

from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.names import Names
from zk_pipeline.runs.launcher import Launcher
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.run_fixtures import tick
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import rows

TOKEN = "token-of-{name}-that-must-stay-secret"


@dataclass(frozen=True)
class Company:
    settings: Settings
    crm: CrmReceiver

    @property
    def names(self) -> Names:
        return Names(self.settings.key_prefix)

    @property
    def store(self) -> Store:
        return Store.at(self.settings.store)


@pytest.fixture
def companies(fleet: Fleet, tmp_path: Path) -> Iterator[list[Company]]:
    """Two companies, each with a home, a terminal and a CRM; user ids are the same."""
    with ExitStack() as stack:
        made = []
        for prefix, gate_name in (("hr", "North"), ("it/berlin", "Berlin")):
            place = tmp_path / prefix.replace("/", "-")
            token = TOKEN.format(name=place.name)
            crm = stack.enter_context(CrmReceiver(token=token))
            environ = {
                "ZK_PIPELINE_HOME": str(place),
                "ZK_PIPELINE_KEY_PREFIX": prefix,
                "ZKTECO_TIMEOUT": "1",
                "CRM_API_URL": crm.url,
                "CRM_API_TOKEN": token,
            }
            made.append(Company(load_settings(environ), crm))
            switch_on(fleet, made[-1].store, gate(gate_name, *present(MONDAY)))
        yield made


def of_another_team() -> dg.Definitions:
    """Names that a pipeline without a key prefix has, an executor and a logger."""

    @dg.asset(key="daily_attendance", required_resource_keys={"store"})
    def attendance() -> None: ...

    @dg.op
    def clean_up() -> None: ...

    @dg.job(name="daily_cleanup")
    def cleanup() -> None:
        clean_up()

    return dg.Definitions(
        assets=[attendance],
        jobs=[cleanup],
        resources={"store": dg.ResourceDefinition.hardcoded_resource("theirs")},
        executor=dg.multiprocess_executor,
        loggers={"console": dg.colored_console_logger},
    )


def merged(companies: list[Company]) -> dg.Definitions:
    return dg.Definitions.merge(*(build_definitions(one.settings) for one in companies), of_another_team())


@pytest.mark.usefixtures("home")
def test_two_pipelines_poll_process_and_sync_in_one_instance_each_into_its_own_store_and_crm(
    companies: list[Company],
) -> None:
    definitions = merged(companies)
    with dg.DagsterInstance.get() as instance:
        for trigger in (
            "device_registry_sensor",
            "poll_devices_schedule",
            "new_punches_sensor",
            "pushed_punches_sensor",
            "sync_to_crm_schedule",
            "quality_check_sensor",
            "alert_sensor",
        ):
            skipped = [tick(definitions, instance, one.names.unique(trigger)) for one in companies]
        hr, berlin = companies
        assert skipped == ["0 problems", "0 problems"]
        assert (hr.crm.posts, berlin.crm.posts) == (1, 1)
        for one, device in ((hr, "North"), (berlin, "Berlin")):
            assert instance.get_dynamic_partitions(one.names.device_partitions_name) == [device]
            assert rows(one.store, "SELECT DISTINCT device FROM raw_punches") == [(device,)]
            assert rows(one.store, "SELECT device FROM daily_attendance") == [(device,)]
            assert rows(one.store, "SELECT state FROM crm_deliveries") == [("delivered",)]
            assert [record["device_name"] for record in one.crm.ledger.latest().values()] == [device]
            made = instance.get_latest_materialization_events(one.names.assets)
            assert all(made.values()), made
        assert instance.get_dynamic_partitions("devices") == []
        assert {key.to_user_string() for key in instance.all_asset_keys()} == {
            f"{prefix}/{asset}"
            for prefix in ("hr", "it/berlin")
            for asset in ("devices", "raw_punches", "work_dates", "daily_attendance", "crm_sync")
        }
        pools = {limit.name for limit in instance.event_log_storage.get_pool_limits()}
        assert pools >= {"zk_pipeline_hr_terminals", "zk_pipeline_it_berlin_terminals", "zk_pipeline_hr_crm"}

        command = Launcher(hr.settings, instance)
        (polled,) = command.poll(["North"], ["North"], full=True)
        assert (polled.failure, list(polled.partitions)) == (None, ["North"])
        assert command.clean_up(dry_run=True).failure is None


@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`")  # Dagster's own use
def test_resources_and_everything_else_that_the_ui_is_sent_have_no_secret(companies: list[Company]) -> None:
    snapshot = serialize_value(RepositorySnap.from_def(merged(companies).get_repository_def()))
    assert str(companies[0].settings.store) in snapshot, "as the configuration of the resource"
    assert "hr_store" in snapshot
    assert "must-stay" not in snapshot


def test_groups_schedules_and_automation_are_arguments(companies: list[Company]) -> None:
    settings = companies[0].settings
    definitions = build_definitions(
        settings,
        group_name="people",
        schedule_crons={"poll_devices": "*/5 6-20 * * *", "daily_cleanup": None},
        automation=False,
    )
    repository = definitions.get_repository_def()
    specs = definitions.resolve_all_asset_specs()
    assert {spec.group_name for spec in specs} == {"people"}
    crons = {one.name: one.cron_schedule for one in repository.schedule_defs}
    assert crons == {
        "hr_poll_devices_schedule": "*/5 6-20 * * *",
        "hr_process_attendance_schedule": "5 * * * *",
        "hr_sync_to_crm_schedule": "*/30 * * * *",
        "hr_retry_failed_syncs_schedule": "0 */6 * * *",
    }
    assert {one.default_status for one in repository.schedule_defs} == {dg.DefaultScheduleStatus.STOPPED}
    assert {one.default_status for one in repository.sensor_defs} == {dg.DefaultSensorStatus.STOPPED}
