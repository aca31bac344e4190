"""Sync runs: deliveries, and the materialization of each work date's partition."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import date

import dagster as dg
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.automation.jobs import sync_config
from zk_pipeline.defs.partitions import DateRange
from zk_pipeline.operations.sync import retry_failed
from zk_pipeline.runs.launcher import Launcher, RunResult, open_launcher
from zk_pipeline.simulator.crm.faults import first, refusal
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.run_fixtures import deliver, metadata_of, poll_all, run_status, statuses
from zk_pipeline_tests.gates import MONDAY, TUESDAY, WEDNESDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import execute, rows

DATES = [MONDAY, TUESDAY, WEDNESDAY]


def states(store: Store) -> dict[tuple[str, date], tuple[str, int]]:
    found = rows(store, "SELECT user_id, work_date, state, attempts FROM crm_deliveries")
    return {(user_id, day): (state, attempts) for user_id, day, state, attempts in found}


@pytest.mark.usefixtures("processed")
def test_without_a_crm_the_run_fails_with_a_line_that_says_so_and_counts_no_attempt(
    launcher: Launcher, home_store: Store
) -> None:
    result = deliver(launcher, MONDAY, WEDNESDAY)
    assert result.failure == "CRM_API_URL is not set: there is no CRM to deliver to; no request was sent"
    assert run_status(launcher, result) is dg.DagsterRunStatus.FAILURE
    assert set(states(home_store).values()) == {("pending", 0)}


@pytest.mark.usefixtures("processed")
def test_what_is_delivered_is_materialized_date_by_date_and_is_not_sent_again(
    launcher: Launcher, crm: CrmReceiver, home_store: Store
) -> None:
    result = deliver(launcher, MONDAY, WEDNESDAY)
    assert result.failure is None
    assert result.observed == {"delivered": 3, "retry": 0, "failed": 0, "unsent": 0}
    assert statuses(launcher, "crm_sync", DATES) == {str(day): "materialized" for day in DATES}
    for day, count in ((MONDAY, 2), (TUESDAY, 0)):
        page = f"https://admin.example/deliveries?state=delivered&start_date={day}&end_date={day}"
        assert metadata_of(launcher, "crm_sync", str(day)) == {"dagster/partition_row_count": count, "admin_page": page}
    assert set(crm.ledger.latest()) == {("1001", MONDAY), ("1002", MONDAY), ("1001", WEDNESDAY)}
    assert set(states(home_store).values()) == {("delivered", 1)}
    assert crm.posts == 3

    assert launcher.process(DateRange(MONDAY, WEDNESDAY)).failure is None
    assert deliver(launcher, MONDAY, WEDNESDAY).failure is None
    assert crm.posts == 3


@pytest.fixture
def two_sites(fleet: Fleet, home_store: Store) -> Store:
    """1001 is at both on Monday."""
    switch_on(fleet, home_store, gate("A", *present(MONDAY)), site="A")
    switch_on(fleet, home_store, gate("B", ("1001", f"{MONDAY} 20:00:00")), site="B")
    return home_store


@pytest.mark.parametrize(
    ("record_per", "expected"), [("person", {"": "20:00:00"}), ("site", {"A": "18:00:00", "B": None})]
)
def test_a_person_at_two_sites_is_one_record_or_one_per_site(
    record_per: str,
    expected: dict[str, str | None],
    two_sites: Store,
    crm: CrmReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRM_RECORD_PER", record_per)
    monkeypatch.setenv("ZKTECO_TIMEOUT", "1")
    with open_launcher(load_settings()) as launcher:
        assert poll_all(launcher, two_sites).failure is None
        assert launcher.process(DateRange(MONDAY, MONDAY)).failure is None
        assert deliver(launcher, MONDAY, MONDAY).failure is None
    clock_outs = {site: crm.ledger.latest(site)["1001", MONDAY]["clock_out"] for site in expected}
    assert clock_outs == {site: out and f"{MONDAY}T{out}+00:00" for site, out in expected.items()}
    assert len(crm.ledger) == len(expected)


@pytest.mark.usefixtures("processed")
def test_one_run_is_about_all_that_is_due_and_about_no_date_between(
    launcher: Launcher, crm: CrmReceiver, home_store: Store
) -> None:
    crm.unknown_users = {"1002"}
    result = launcher.sync(DateRange(WEDNESDAY, WEDNESDAY), {"all_due": True})
    assert result.observed == {"delivered": 2, "retry": 0, "failed": 1, "unsent": 0}
    assert statuses(launcher, "crm_sync", DATES) == {
        str(MONDAY): "failed",
        str(TUESDAY): "missing",
        str(WEDNESDAY): "materialized",
    }
    assert states(home_store)["1002", MONDAY] == ("failed", 1)
    crm.unknown_users = set()
    again = {"all_due": True, "failed": True, "last": str(TUESDAY)}
    assert launcher.sync(DateRange(MONDAY, MONDAY), again).observed["delivered"] == 1
    assert statuses(launcher, "crm_sync", [MONDAY]) == {str(MONDAY): "materialized"}


@pytest.mark.usefixtures("processed")
def test_beside_another_sender_and_without_the_senders_lock_nothing_is_sent_and_a_line_says_so(
    launcher: Launcher, crm: CrmReceiver, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home_store.deliveries.acquire_sync_lock():
        second = deliver(launcher, MONDAY, WEDNESDAY)
    assert second.failure == "another sync run is sending to the CRM; wait for it to end"
    monkeypatch.setattr("zk_pipeline.store.engine.duckdb_file.acquire_sync_lock", lambda _: nullcontext(lambda: False))
    lost = deliver(launcher, MONDAY, WEDNESDAY)
    assert str(lost.failure).startswith("the sync lock was lost")
    assert statuses(launcher, "crm_sync", DATES)[str(TUESDAY)] == "materialized", "nothing is due there"
    assert crm.posts == 0
    assert set(states(home_store).values()) == {("pending", 0)}


@pytest.mark.usefixtures("processed")
def test_a_dead_letter_fails_the_run_and_keeps_only_its_own_date_from_being_materialized(
    launcher: Launcher, crm: CrmReceiver, home_store: Store
) -> None:
    crm.unknown_users = {"1002"}
    result = deliver(launcher, MONDAY, WEDNESDAY)
    assert result.failure == f"2 delivered, 0 to retry, 1 failed, 0 unsent; {MONDAY} 1002: 422: no employee 1002"
    assert result.observed == {"delivered": 2, "retry": 0, "failed": 1, "unsent": 0}
    assert statuses(launcher, "crm_sync", [MONDAY, WEDNESDAY]) == {
        str(MONDAY): "failed",
        str(WEDNESDAY): "materialized",
    }
    assert states(home_store)["1002", MONDAY] == ("failed", 1)

    crm.unknown_users = set()
    assert deliver(launcher, MONDAY, MONDAY).failure is None, "a dead letter is not due without `failed`"
    assert crm.posts == 3
    assert statuses(launcher, "crm_sync", [MONDAY]) == {str(MONDAY): "failed"}
    assert deliver(launcher, MONDAY, MONDAY, failed=True).observed["delivered"] == 1
    assert statuses(launcher, "crm_sync", [MONDAY]) == {str(MONDAY): "materialized"}


@pytest.mark.usefixtures("processed", "crm")
def test_a_date_that_was_delivered_before_the_token_was_refused_is_materialized(
    launcher: Launcher, crm: CrmReceiver, monkeypatch: pytest.MonkeyPatch, home_store: Store
) -> None:
    launcher = Launcher(launcher.settings.model_copy(update={"crm_concurrency": 1}), launcher.instance)
    monkeypatch.setattr(crm, "fault_rule", lambda received: refusal(401) if received.number == 3 else None)
    result = deliver(launcher, MONDAY, WEDNESDAY)
    assert result.failure is not None
    assert result.failure.startswith("2 delivered, 0 to retry, 0 failed, 1 unsent; stopped: ")
    assert "401" in result.failure
    assert statuses(launcher, "crm_sync", [MONDAY, WEDNESDAY]) == {
        str(MONDAY): "materialized",
        str(WEDNESDAY): "failed",
    }
    assert states(home_store)["1001", WEDNESDAY] == ("pending", 0)


@pytest.mark.usefixtures("processed")
def test_a_limited_run_is_green_and_leaves_the_rest_pending(
    launcher: Launcher, crm: CrmReceiver, home_store: Store
) -> None:
    assert deliver(launcher, MONDAY, WEDNESDAY, limit=1).failure is None
    assert crm.posts == 1
    assert sorted(states(home_store).values()) == [("delivered", 1), ("pending", 0), ("pending", 0)]
    assert deliver(launcher, MONDAY, WEDNESDAY, user_id="1002").observed["delivered"] == 1
    assert states(home_store)["1002", MONDAY] == ("delivered", 1)


@pytest.mark.usefixtures("processed")
def test_force_sends_again_under_the_same_keys_and_the_crm_applies_nothing_twice(
    launcher: Launcher, crm: CrmReceiver
) -> None:
    deliver(launcher, MONDAY, WEDNESDAY)
    assert deliver(launcher, MONDAY, WEDNESDAY, force=True).observed["delivered"] == 3
    assert crm.posts == 6
    assert all(crm.ledger.revisions(user_id, day) == [1] for user_id, day in crm.ledger.latest())


@pytest.mark.usefixtures("processed")
def test_the_retry_job_gives_a_new_round_to_what_the_sync_job_gave_up(
    launcher: Launcher, crm: CrmReceiver, monkeypatch: pytest.MonkeyPatch, home_store: Store
) -> None:
    launcher = Launcher(launcher.settings.model_copy(update={"crm_max_retries": 1}), launcher.instance)
    monkeypatch.setattr(crm, "fault_rule", first(1, refusal(500)))
    span = DateRange(MONDAY, WEDNESDAY)
    assert "1 to retry" in str(launcher.sync(span, {}).failure)
    assert launcher.sync(span, {}).observed["delivered"] == 0
    retry = sync_config(launcher.names, {"retry": True})
    assert launcher.run("retry_failed_syncs", tags=span.tags, config=retry).observed["delivered"] == 1
    assert {state for state, _ in states(home_store).values()} == {"delivered"}


@pytest.mark.usefixtures("processed")
def test_dead_letters_and_lateness_are_checks_with_counts_and_the_crms_words(
    launcher: Launcher, crm: CrmReceiver, home_store: Store
) -> None:
    crm.unknown_users = {"1002"}
    result = deliver(launcher, MONDAY, WEDNESDAY)
    checks = checks_of(launcher, result)
    assert {name: check.passed for name, check in checks.items()} == {
        "no_dead_letters": False,
        "no_overdue_deliveries": True,
    }
    dead = checks["no_dead_letters"]
    assert dead.metadata["failing"].value == 1
    assert "422: no employee 1002" in str(dead.description)

    crm.unknown_users = set()
    assert retry_failed(home_store) == 1
    assert all(check.passed for check in checks_of(launcher, deliver(launcher, MONDAY, WEDNESDAY)).values())


@pytest.mark.usefixtures("processed")
def test_what_waits_for_a_day_is_late_also_where_the_crm_turns_the_run_away(
    launcher: Launcher, crm: CrmReceiver, home_store: Store
) -> None:
    execute(home_store, "UPDATE crm_deliveries SET created_at = now() - INTERVAL 30 HOUR")
    crm.token = "another"
    late = checks_of(launcher, deliver(launcher, MONDAY, WEDNESDAY))["no_overdue_deliveries"]
    assert (late.passed, late.metadata["failing"].value, late.metadata["oldest_age_hours"].value) == (False, 3, 30.0)


def checks_of(launcher: Launcher, result: RunResult) -> dict[str, dg.AssetCheckEvaluation]:
    entries = launcher.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [e.dagster_event.event_specific_data for e in entries if e.dagster_event is not None]
    return {check.check_name: check for check in found if isinstance(check, dg.AssetCheckEvaluation)}
