"""Alerts of failed runs by a real HTTP request; failed runs leave no secret in files, logs and messages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus
from dagster_shared.error import SerializableErrorInfo

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.automation.alert_sensors import alert_sensors
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG
from zk_pipeline.defs.partitions import DateRange
from zk_pipeline.defs.resources import resources
from zk_pipeline.operations.alerting.messages import note
from zk_pipeline.operations.alerting.problems import FailedCheck, Links, check_problems
from zk_pipeline.runs.launcher import Launcher, open_launcher
from zk_pipeline.runtime.processes import process_identity
from zk_pipeline.simulator.crm.faults import refusal
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.store import Store
from zk_pipeline_tests.channel import CHANNEL_SECRET, Channel, listening
from zk_pipeline_tests.conftest import CRM_TOKEN, exported
from zk_pipeline_tests.defs.instigators import add_sensor, add_tick
from zk_pipeline_tests.defs.run_fixtures import poll_all, quality_tick
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact
from zk_pipeline_tests.store.store_fixtures import device, execute, ingest, rows

COMM_KEY = "918273645"


@pytest.fixture
def channel(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:  # noqa: ARG001 (clears the variables)
    with listening() as channel:
        monkeypatch.setenv("ALERT_URLS", channel.url)
        yield channel


def noted(launcher: Launcher, run_id: str) -> str:
    """Skip reason of `run_failure_alert_sensor` for a failed run, evaluated as by the daemon."""
    (sensor,) = (one for one in alert_sensors(load_settings()) if one.name == "run_failure_alert_sensor")
    run = launcher.instance.get_run_by_id(run_id)
    assert run is not None
    (failure,) = launcher.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_instance=launcher.instance,
        dagster_run=run,
        dagster_event=failure.get_dagster_event(),
        resources=resources(load_settings()),
    )
    said = sensor(context.for_run_failure())
    assert isinstance(said, dg.SkipReason)
    return str(said.skip_message)


def alert_tick(launcher: Launcher) -> str:
    """Skip reason of the first tick of `alert_sensor`."""
    return tick(launcher, None)[0]


def tick(launcher: Launcher, cursor: str | None) -> tuple[str, str | None]:
    """Skip reason and cursor of a tick of `alert_sensor`."""
    settings = load_settings()
    definitions = build_definitions(settings)
    (sensor,) = (one for one in alert_sensors(load_settings()) if one.name == "alert_sensor")
    with dg.build_sensor_context(
        instance=launcher.instance, resources=resources(settings), definitions=definitions, cursor=cursor
    ) as context:
        data = sensor.evaluate_tick(context)
    return str(data.skip_message), data.cursor


@pytest.fixture(scope="module")
def failed_home(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A home and its runs that failed: at a terminal with another comm key, at a CRM that repeats the token."""
    home = shutil.copytree(empty_home, tmp_path_factory.mktemp("failed") / "home")
    with exported(home) as patch, Fleet() as fleet, CrmReceiver(token=CRM_TOKEN) as crm:
        variables = {"CRM_API_URL": crm.url, "CRM_API_TOKEN": CRM_TOKEN, "GATE_KEY": COMM_KEY, "ZKTECO_TIMEOUT": "1"}
        for name, value in variables.items():
            patch.setenv(name, value)
        store = Store.at(home / "data" / "attendance.duckdb")
        switch_on(fleet, store, gate("Locked", comm_key=4711), comm_key_env="GATE_KEY")
        switch_on(fleet, store, gate("Gate", *present(MONDAY)))
        crm.fault_rule = lambda _: refusal(422, detail=f"who is Token {CRM_TOKEN}?")
        with open_launcher(load_settings()) as launcher:
            polled = poll_all(launcher, store)
            assert launcher.process(DateRange(MONDAY, MONDAY)).failure is None
            refused = launcher.sync(DateRange(MONDAY, MONDAY), {})
            crm.fault_rule = lambda _: refusal(401, detail=f"{CRM_TOKEN} is unknown")
            misconfigured = launcher.sync(DateRange(MONDAY, MONDAY), {"failed": True})
    results = [polled, refused, misconfigured]
    assert None not in [one.failure for one in results]
    return home, [one.run_id for one in results]


@pytest.fixture
def home(request: pytest.FixtureRequest, home: Path) -> Path:
    """A copy of `failed_home` for tests that ask for `failing`, else an empty home."""
    if "failing" in request.fixturenames:
        shutil.copytree(request.getfixturevalue("failed_home")[0], home, dirs_exist_ok=True)
    return home


@pytest.fixture
def failing(
    failed_home: tuple[Path, list[str]],
    crm: CrmReceiver,  # noqa: ARG001 (exports its address)
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Ids of the runs that failed in this home: a poll and two syncs."""
    monkeypatch.setenv("GATE_KEY", COMM_KEY)
    return failed_home[1]


def test_what_failed_is_told_with_its_reason_and_its_run_in_one_message(
    launcher: Launcher, failing: list[str], channel: Channel
) -> None:
    polled, refused, misconfigured = failing
    assert noted(launcher, polled) == "only devices failed; alert_sensor has an alert for each"
    assert noted(launcher, refused) == "alert recorded: sync_to_crm failed"
    assert noted(launcher, misconfigured) == "alert recorded: the CRM is misconfigured"
    alert_tick(launcher)
    assert channel.titles == ["zk_pipeline: Locked is not read (and 2 more)"]
    (body,) = channel.bodies
    assert "[wrong_comm_key] Locked (127.0.0.1:" in body
    assert "sync_to_crm failed\ncrm_sync: 0 delivered, 0 to retry, 1 failed, 0 unsent" in body
    assert "the CRM is misconfigured" in body
    assert "401" in body
    assert "raw_punches: clocks are right" not in body
    assert {f"Run {run_id}" for run_id in failing} <= set(body.splitlines())
    for secret in (CRM_TOKEN, COMM_KEY, CHANNEL_SECRET):
        assert secret not in json.dumps(channel.alerts)
    assert "to notify" not in alert_tick(launcher)
    assert len(channel.alerts) == 1


@pytest.mark.usefixtures("channel")
def test_a_tick_between_two_readings_of_the_checks_names_their_open_alerts(
    launcher: Launcher, home_store: Store
) -> None:
    (problem,) = check_problems([FailedCheck("raw_punches", "punches_unique", "ERROR", "one twice")], Links())
    home_store.alerts.update(partial(note, problem=problem))
    reason, _ = tick(launcher, datetime.now(UTC).isoformat())
    assert reason.startswith(f"1 problem ({problem.title})")
    assert alert_tick(launcher).startswith("0 problems"), "the check does not fail: that is read by this tick"


@pytest.mark.usefixtures("channel")
def test_a_look_at_which_nothing_changed_opens_the_store_once(
    launcher: Launcher, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    home_store.devices.add(device())
    opened: list[str] = []
    for how in ("read", "write"):
        before = getattr(Database, how)

        def noted(self: Database, purpose: str, about: str = "", before: Any = before) -> Any:
            opened.append(purpose)
            return before(self, purpose, about)

        monkeypatch.setattr(Database, how, noted)
    assert alert_tick(launcher) == "0 problems"
    assert opened == ["inputs of the alert sensor"]


def test_links_lead_to_the_ui_where_its_address_is_known(
    launcher: Launcher, failing: list[str], channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZK_PIPELINE_UI_URL", "https://dagster.example.com/")
    alert_tick(launcher)
    assert f"https://dagster.example.com/runs/{failing[0]}" in channel.bodies[0].splitlines()


@pytest.mark.usefixtures("failing")
def test_a_good_run_of_the_same_job_ends_the_alert(launcher: Launcher, channel: Channel, crm: CrmReceiver) -> None:
    alert_tick(launcher)
    crm.fault_rule = lambda _: None
    assert launcher.sync(DateRange(MONDAY, MONDAY), {"failed": True}).failure is None
    alert_tick(launcher)
    (over,) = channel.bodies[1:]
    assert "- the CRM is misconfigured: resolved after" in over
    assert "Locked" not in over, "the state of that terminal has not changed"


def test_a_run_over_its_time_is_told_and_one_that_a_person_cancelled_is_not(
    launcher: Launcher, channel: Channel
) -> None:
    tags = {PROCESS_TAG: process_identity()}
    started = dg.DagsterRunStatus.STARTED
    over, cancelled = (
        launcher.instance.add_run(dg.DagsterRun(job_name="sync_to_crm", status=started, tags=tags)) for _ in range(2)
    )
    for run in (over, cancelled):
        launcher.instance.report_run_canceling(run)
    launcher.instance.report_run_failed(over, "Exceeded maximum runtime of 7200 seconds.")
    for run in (over, cancelled):  # last event of their own processes
        launcher.instance.report_run_canceled(run)
    alert_tick(launcher)
    assert channel.titles == ["zk_pipeline: sync_to_crm failed"]
    assert "Exceeded maximum runtime" in channel.bodies[0]


def test_dead_letters_are_told_once_with_the_words_of_the_crm_and_are_over_when_it_takes_them(
    launcher: Launcher, home_store: Store, crm: CrmReceiver, channel: Channel
) -> None:
    home_store.devices.add(device("Gate"))
    ingest(home_store, "Gate", *present(MONDAY))
    assert launcher.process(DateRange(MONDAY, MONDAY)).failure is None
    crm.fault_rule = lambda _: refusal(422, detail="unknown employee 1001")
    assert launcher.sync(DateRange(MONDAY, MONDAY), {}).failure is not None
    alert_tick(launcher)
    messages = "\n".join([*channel.titles, *channel.bodies])
    assert "1 dead letter; one of the errors: " in messages
    assert "unknown employee 1001" in messages
    assert "no dead letters" not in messages, "that check says the same"
    crm.fault_rule = lambda _: None
    assert launcher.sync(DateRange(MONDAY, MONDAY), {"failed": True}).failure is None
    alert_tick(launcher)
    assert "dead letters at the CRM: resolved after" in channel.bodies[-1]


def test_a_terminal_that_pushes_and_falls_silent_is_an_alert_that_ends_with_its_next_contact(
    launcher: Launcher, home_store: Store, channel: Channel
) -> None:
    adopt(home_store, "Quiet", "QUIET1")
    assert "silent" not in alert_tick(launcher)
    for table, column in (
        ("push_terminals", "last_seen_at"), ("push_terminals", "adopted_at"), ("devices", "updated_at"),
    ):  # fmt: skip
        execute(home_store, f"UPDATE {table} SET {column} = {column} - INTERVAL 1 HOUR")
    assert "Quiet is silent" in alert_tick(launcher)
    assert channel.titles[-1] == "zk_pipeline: Quiet is silent"
    assert channel.bodies[-1].startswith("no contact with the receiver since")
    contact(home_store, "QUIET1")
    assert "silent" not in alert_tick(launcher)
    assert channel.titles[-1] == "zk_pipeline: resolved: Quiet is silent"


@pytest.mark.usefixtures("failing")
def test_without_a_channel_the_tick_says_that_nobody_was_told(launcher: Launcher) -> None:
    assert alert_tick(launcher).endswith("ALERT_URLS is not set: no message was sent")


@pytest.mark.usefixtures("failing")
def test_a_channel_that_refuses_fails_no_tick_and_is_named_without_its_secret(
    launcher: Launcher, channel: Channel
) -> None:
    channel.status = 500
    said = alert_tick(launcher)
    assert said.endswith("ALERT_URLS: number 1 (json) did not accept the message")
    assert CHANNEL_SECRET not in said


@pytest.mark.usefixtures("failing")
def test_devices_wait_for_the_end_of_their_poll_to_be_told_together(launcher: Launcher, channel: Channel) -> None:
    tags = {PROCESS_TAG: process_identity()}
    unfinished = launcher.instance.add_run(
        dg.DagsterRun(job_name="poll_devices", status=dg.DagsterRunStatus.STARTED, tags=tags)
    )
    alert_tick(launcher)
    assert "Locked" not in channel.bodies[0]
    launcher.instance.delete_run(unfinished.run_id)
    alert_tick(launcher)
    assert channel.titles[1:] == ["zk_pipeline: Locked is not read"]


def test_a_failing_tick_is_told(launcher: Launcher, channel: Channel) -> None:
    error = SerializableErrorInfo("ValueError: no such thing\n", [], "ValueError")
    state = add_sensor(launcher.instance, "zk_pipeline", "new_punches_sensor")
    add_tick(launcher.instance, state, TickStatus.FAILURE, 1000.0, error)
    alert_tick(launcher)
    assert channel.titles == ["zk_pipeline: new_punches_sensor fails"]
    assert channel.bodies[0].startswith("ValueError: no such thing")
    add_tick(launcher.instance, state, TickStatus.SKIPPED, 2000.0)
    alert_tick(launcher)
    assert channel.titles[1:] == ["zk_pipeline: resolved: new_punches_sensor fails"]


def test_a_failed_check_is_told_by_its_severity_with_what_to_do(
    launcher: Launcher, home_store: Store, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    home_store.devices.add(device("Gate"))
    ingest(home_store, "Gate", *present(MONDAY), rejected=[b"odd"])
    quality_tick(launcher)
    monkeypatch.setenv("ALERT_URLS", f"warning={channel.at('low')} critical={channel.at('pager')}")
    alert_tick(launcher)
    assert channel.paths == ["/low"]
    assert channel.titles == ["zk_pipeline: raw_punches: check quarantine is not growing failed"]
    assert "Gate: 1 record" in channel.bodies[0]
    assert "See quarantined_records" in channel.bodies[0]


def test_checks_are_asked_after_every_two_minutes_and_stay_told_meanwhile(
    launcher: Launcher, home_store: Store, channel: Channel
) -> None:
    home_store.devices.add(device("Gate"))
    _, cursor = tick(launcher, None)
    ingest(home_store, "Gate", *present(MONDAY), rejected=[b"odd"])
    quality_tick(launcher)
    _, cursor = tick(launcher, cursor)
    assert channel.titles == []
    tick(launcher, str(datetime.fromisoformat(str(cursor)) - timedelta(minutes=2)))
    assert channel.titles == ["zk_pipeline: raw_punches: check quarantine is not growing failed"]
    tick(launcher, cursor)
    assert len(channel.titles) == 1, "an alert without an evaluation stays open"


@pytest.mark.usefixtures("failing", "channel")
def test_no_secret_is_in_any_file_of_the_instance_nor_in_the_store(home: Path, home_store: Store) -> None:
    secrets = (CRM_TOKEN, COMM_KEY, CHANNEL_SECRET)
    files = [path for path in home.rglob("*") if path.is_file()]
    contents = {str(path): path.read_bytes() for path in files if path.suffix != ".duckdb"}
    assert any(b"wrong_comm_key" in content for content in contents.values()), "the search finds text of the event log"
    found = {(name, secret) for name, content in contents.items() for secret in secrets if secret.encode() in content}
    assert found == set()

    # The database file is compressed: search its rows.
    tables = [name for (name,) in rows(home_store, "SELECT table_name FROM duckdb_tables()")]
    assert "crm_deliveries" in tables
    text = "\n".join(repr(row) for name in tables for row in rows(home_store, f"SELECT * FROM {name}"))
    assert "who is Token" in text, "the CRM's message is stored without the token"
    assert [secret for secret in secrets if secret in text] == []
