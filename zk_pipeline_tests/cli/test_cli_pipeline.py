"""`poll`, `process`, `sync`, `cleanup`, `status`, `test-crm`: effects, output and Dagster runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, time, timedelta
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.defs.names import Names
from zk_pipeline.simulator.crm.faults import refusal
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.conftest import CRM_TOKEN
from zk_pipeline_tests.gates import MONDAY, TUESDAY, WEDNESDAY, gate, present, switch_on

WEDNESDAY_2099 = datetime.fromisoformat("2099-12-30 09:00:00")
Runs = Callable[[], list[tuple[str, str]]]


@pytest.fixture
def runs(home: Path) -> Runs:  # noqa: ARG001 (exports the home)
    """Job and status of all Dagster runs, oldest first."""

    def found() -> list[tuple[str, str]]:
        with dg.DagsterInstance.get() as instance:
            return [(run.job_name, run.status.value) for run in reversed(instance.get_runs())]

    return found


@pytest.fixture
def gates(fleet: Fleet, home_store: Store) -> Fleet:
    switch_on(fleet, home_store, gate("North", *present(MONDAY, "1001"), *present(WEDNESDAY, "1001")))
    switch_on(fleet, home_store, gate("South", *present(MONDAY, "1002")))
    return fleet


@pytest.mark.usefixtures("gates")
def test_from_punch_to_crm_by_three_commands_of_dagster_runs_and_a_second_time_there_is_nothing_to_do(
    zk: CommandLine, crm: CrmReceiver, runs: Runs
) -> None:
    polled = zk("poll", "--json").json
    assert [(one["device"], one["status"], one["new"]) for one in polled["devices"]] == [
        ("North", "success", 4),
        ("South", "success", 2),
    ]
    made = zk("process", "--json").json
    assert [(one["work_date"], one["rows"], one["added"]) for one in made["work_dates"]] == [
        (str(MONDAY), 2, 2),
        (str(WEDNESDAY), 1, 1),
    ]
    sent = zk("sync", "--json").json
    assert {name: sent[name] for name in ("delivered", "retry", "failed", "unsent")} == {
        "delivered": 3,
        "retry": 0,
        "failed": 0,
        "unsent": 0,
    }
    assert len(crm.ledger.latest()) == 3
    states = runs()
    assert states == [
        ("poll_devices", "SUCCESS"),
        *[("process_attendance", "SUCCESS")] * 2,
        ("sync_to_crm", "SUCCESS"),
    ]
    assert len(polled["run_ids"] + made["run_ids"] + sent["run_ids"]) == len(states)

    posts = crm.posts
    assert [one["new"] for one in zk("poll", "--json").json["devices"]] == [0, 0]
    for command in ("process", "sync"):
        result = zk(command)
        assert (result.code, result.out, result.err) == (0, "", "")
    assert zk("process", "--json").json == {"run_ids": [], "work_dates": []}
    assert zk("sync", "--json").json["delivered"] == 0
    assert crm.posts == posts
    assert len(runs()) == len(states) + 1


def test_without_a_device_there_is_nothing_to_poll(zk: CommandLine, runs: Runs) -> None:
    result = zk("poll")
    assert (result.code, result.out, len(result.err.splitlines())) == (1, "", 1)
    assert "device add NAME IP" in result.err
    assert runs() == []


@pytest.mark.usefixtures("processed")
def test_a_range_processes_every_date_including_those_without_punches(zk: CommandLine, runs: Runs) -> None:
    before = len(runs())
    span = ["--start-date", str(MONDAY), "--end-date", str(WEDNESDAY)]
    made = zk("process", *span, "--json").json
    assert [(one["work_date"], one["rows"]) for one in made["work_dates"]] == [
        (str(MONDAY), 2),
        (str(TUESDAY), 0),
        (str(WEDNESDAY), 1),
    ]
    assert zk("process", "--date", str(MONDAY)).out.splitlines()[1].split() == [str(MONDAY), "2", "0", "0", "2", "0"]
    assert [job for job, _ in runs()[before:]] == ["process_attendance", "process_attendance"]


@pytest.mark.usefixtures("processed")
def test_without_a_crm_a_sync_says_so_and_counts_no_attempt(zk: CommandLine, home_store: Store, runs: Runs) -> None:
    before = runs()
    result = zk("sync")
    assert (result.code, result.out) == (2, "")
    assert result.err == ("zk-pipeline: CRM_API_URL is not set: there is no CRM to deliver to; no request was sent\n")
    tested = zk("test-crm")
    assert (tested.code, tested.out, tested.err) == (2, "", result.err)
    assert runs() == before
    assert home_store.deliveries.states() == {"pending": 3}


@pytest.mark.usefixtures("processed")
def test_a_dry_run_prints_the_requests_without_the_token_and_sends_nothing(
    zk: CommandLine, crm: CrmReceiver, home_store: Store
) -> None:
    result = zk("sync", "--dry-run", "--user-id", "1001")
    asked = result.json
    assert asked["url"] == crm.url
    assert [(one["body"]["user_id"], one["body"]["date"]) for one in asked["requests"]] == [
        ("1001", str(MONDAY)),
        ("1001", str(WEDNESDAY)),
    ]
    assert all(one["idempotency_key"] for one in asked["requests"])
    assert CRM_TOKEN not in result.out
    assert crm.posts == 0
    assert home_store.deliveries.states() == {"pending": 3}
    nothing = zk("sync", "--dry-run", "--user-id", "9999")
    assert nothing.json["requests"] == []
    assert len(nothing.out.splitlines()) == 1


@pytest.mark.usefixtures("processed")
def test_a_sync_is_restricted_to_its_limit_user_and_dates(zk: CommandLine, crm: CrmReceiver) -> None:
    assert zk("sync", "--limit", "1", "--json").json["delivered"] == 1
    assert zk("sync", "--start-date", str(TUESDAY), "--user-id", "1002", "--json").json["delivered"] == 0
    assert zk("sync", "--start-date", str(TUESDAY), "--json").json["delivered"] == 1
    assert zk("sync", "--force", "--end-date", str(MONDAY), "--json").json["delivered"] == 2
    assert crm.posts == 4
    assert len(crm.ledger.latest()) == 3


@pytest.mark.usefixtures("processed")
def test_a_dead_letter_is_shown_and_repaired(zk: CommandLine, crm: CrmReceiver) -> None:
    crm.unknown_users = {"1002"}
    result = zk("sync")
    assert result.code == 1
    assert "1 failed" in result.err
    assert dict(line.split() for line in result.out.splitlines())["failed"] == "1"
    assert zk("test-crm", "--stats", "--json").json == {"total": 3, "synced": 2, "unsynced": 1, "failed": 1}
    status = zk("status", "--json").json
    assert (status["failed"], status["deliveries"]) == (1, {"delivered": 2, "failed": 1})

    crm.unknown_users = set()
    assert zk("sync", "--json").json["delivered"] == 0
    assert zk("sync", "--retry-failed", "--json").json["delivered"] == 1
    assert zk("test-crm", "--stats", "--json").json == {"total": 3, "synced": 3, "unsynced": 0, "failed": 0}


@pytest.mark.usefixtures("processed")
def test_a_cleanup_is_a_run_too_and_its_dry_run_deletes_nothing(
    zk: CommandLine, crm: CrmReceiver, home_store: Store, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    zk("sync")
    assert crm.posts == 3
    monkeypatch.setenv("RAW_RETENTION_DAYS", "30")
    assert zk("cleanup", "--dry-run", "--json").json["punches"] == 6
    assert home_store.punches.total() == 6
    assert "6" in zk("cleanup").out
    assert home_store.punches.total() == 0
    assert zk("test-crm", "--stats", "--json").json["total"] == 3, "days stay"
    assert runs()[-2:] == [("daily_cleanup", "SUCCESS")] * 2


def test_the_crm_is_tested_without_creating_a_record(zk: CommandLine, crm: CrmReceiver) -> None:
    tested = zk("test-crm", "--json").json
    assert tested["ok"] is True
    assert [step["name"] for step in tested["steps"]] == ["dns", "tcp", "authentication", "endpoint", "idempotency"]
    assert zk("test-crm").out.splitlines()[0].split() == ["name", "is_ok", "detail"]
    assert crm.posts == 0


def test_a_wrong_token_is_reported_without_printing_it(zk: CommandLine, crm: CrmReceiver) -> None:
    crm.token = "another"
    result = zk("test-crm", "--json")
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith(f"zk-pipeline: CRM at {crm.url}: ")
    assert CRM_TOKEN not in result.out + result.err


@pytest.mark.usefixtures("processed")
def test_a_crm_that_repeats_the_token_does_not_make_a_command_print_it(zk: CommandLine, crm: CrmReceiver) -> None:
    crm.fault_rule = lambda _: refusal(401, detail=f"{CRM_TOKEN} is unknown")
    result = zk("sync")
    assert result.code == 1
    assert CRM_TOKEN not in result.out + result.err


@pytest.mark.usefixtures("bare_home")
def test_the_status_of_a_fresh_home_has_empty_counts(zk: CommandLine) -> None:
    result = zk("status")
    assert (result.code, result.err) == (0, "")
    hint, _, *lines = result.out.splitlines()
    assert hint == "no device is registered; add one with `zk-pipeline device add NAME IP`"
    summary = dict(line.split("  ", 1) for line in lines)
    assert {name: value.strip() for name, value in summary.items()} == {
        "punches": "0",
        "days": "0",
        "stale dates": "none",
        "dates without partition": "none",
        "quarantined records": "0",
        "punches with an implausible clock": "0",
        "deliveries": "none",
        "dead letters": "0",
        "daemon": "no heartbeat yet; start it with `zk-pipeline up`",
        "schedules and sensors": "0 running; 0 runs in progress",
    }
    with dg.DagsterInstance.get() as instance:
        started = dg.DagsterRunStatus.STARTED
        instance.add_run(dg.DagsterRun("poll_devices", "1" * 8, status=started, tags=Names().run_tags))
    assert zk("status").out.endswith("0 running; 1 run in progress\n")


@pytest.mark.usefixtures("processed")
def test_a_pause_that_the_crm_asked_for_is_shown_and_lifted(
    zk: CommandLine, crm: CrmReceiver, home_store: Store
) -> None:
    assert "pause of the CRM" not in zk("status").out
    until = (home_store.clock() + timedelta(hours=20)).replace(microsecond=0)
    home_store.deliveries.save_pause(until, crm.url)
    assert zk("status", "--json").json["crm_paused_until"] == until.isoformat()
    assert f"the CRM asked for a pause until {until:%Y-%m-%d %H:%M:%S} UTC" in zk("status").out
    result = zk("sync", "--json")
    assert (result.code, json.loads(result.out)["unsent"], "; 3 still wait: " in result.err) == (1, 3, True)
    assert crm.posts == 0
    assert zk("sync", "--force", "--json").json["delivered"] == 3
    assert zk("status", "--json").json["crm_paused_until"] is None


def test_a_dead_terminal_fails_the_command_and_the_status_shows_it_and_the_stale_dates(
    zk: CommandLine, gates: Fleet, runs: Runs
) -> None:
    zk("poll")
    gates.punch("North", "1003", WEDNESDAY_2099)
    gates.switch_off("South")
    result = zk("poll")
    assert result.code == 1
    assert [line.split()[:2] for line in result.out.splitlines()[1:]] == [["North", "success"], ["South", "failed"]]
    assert len(result.err.splitlines()) == 1
    assert result.err.endswith(": 1 of 2 devices failed\n")
    assert "no program listens on that port" in result.out
    assert runs()[-1] == ("poll_devices", "FAILURE")

    status = zk("status", "--json").json
    assert status["stale"] == [str(MONDAY), str(WEDNESDAY)]
    assert status["stale_sites"] == [{"work_date": str(day), "sites": None} for day in (MONDAY, WEDNESDAY)]
    assert (status["unpartitioned"], status["clock_suspects"]) == ([], 1)
    assert status["punches"] == 7
    devices = {one["name"]: (one["last_poll_status"], one["records"]) for one in status["devices"]}
    assert devices == {"North": ("success", 5), "South": ("failed", 2)}
    assert status["orchestration"]["runs_in_progress"] == 0
    shown = zk("status").out
    assert f"{MONDAY}, {WEDNESDAY}" in shown
    assert "no program listens on that port" in shown

    zk("process")
    status = zk("status", "--json").json
    assert (status["stale"], status["days"], status["deliveries"]) == ([], 3, {"pending": 3})
    assert "3 pending; oldest due for 0 min" in zk("status").out
    gates.punch("North", "1003", datetime.combine(MONDAY, time(12)))
    zk("poll", "North")
    assert f"{MONDAY} (Head office)" in zk("status").out
