"""Syncing the real store to the real CRM receiver over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import pytest

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.models import DeliverySummary
from zk_pipeline.operations.sync import crm_endpoint, crm_token, retry_failed, sync
from zk_pipeline.simulator.crm.faults import Fault, no_fault, refusal, whenever
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.locks.sync_lock import SyncAlreadyRunning
from zk_pipeline.store.store import Store
from zk_pipeline_tests.crm.raw_crm import raw_crm
from zk_pipeline_tests.crm.test_crm_lookup import LOOKUP, NaiveCrm
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    copied,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
    stale,
)

TOKEN = "s3cret-token"
RUNS = count()
STATES = "SELECT state, count(*), sum(attempts) FROM crm_deliveries GROUP BY 1 ORDER BY 1"


@pytest.fixture
def crm() -> Iterator[CrmReceiver]:
    with CrmReceiver(token=TOKEN) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def three_due_days(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("due"))
    store.devices.add(device("Gate", timezone="Europe/Istanbul"))
    ingest(store, "Gate", *on(MONDAY, "08:00", "18:00"), *on(MONDAY, "09:00", user_id="1002"), *on(TUESDAY, "08:00"))
    process(store, MONDAY, TUESDAY)
    return store.database.where


@pytest.fixture
def store(three_due_days: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    return copied(three_due_days, tmp_path, clock)


def settings(home: Path, **variables: str) -> Settings:
    return load_settings({"ZK_PIPELINE_HOME": str(home), "CRM_MAX_RETRIES": "1", **variables})


def run(
    store: Store,
    home: Path,
    crm: CrmReceiver,
    *,
    scope: SyncScope | None = None,
    mapping: str = "",
    patience: str = "600",
    **options: object,
) -> DeliverySummary:
    configured = settings(
        home, CRM_API_URL=crm.url, CRM_API_TOKEN=TOKEN, CRM_MAPPING_FILE=mapping, CRM_OUTAGE_PATIENCE=patience
    )
    return sync(store, configured, scope or SyncScope(), run_id=f"run {next(RUNS)}", **options)  # type: ignore[arg-type]


def test_every_due_day_arrives_once_with_its_content(store: Store, crm: CrmReceiver, tmp_path: Path) -> None:
    summary = run(store, tmp_path, crm)
    assert (summary.delivered, summary.total, summary.stopped) == (3, 3, None)
    held = crm.ledger.latest()
    assert set(held) == {("1001", MONDAY), ("1002", MONDAY), ("1001", TUESDAY)}
    assert held["1001", MONDAY] == {
        "user_id": "1001",
        "date": "2026-03-02",
        "clock_in": "2026-03-02T08:00:00+03:00",
        "clock_out": "2026-03-02T18:00:00+03:00",
        "is_outlier": False,
        "outlier_reason": "",
        "device_name": "Gate",
        "device_ip": "192.0.2.10",
        "revision": 1,
    }
    assert rows(store, STATES) == [("delivered", 3, 3)]
    assert run(store, tmp_path, crm).total == 0
    assert set(crm.ledger.attempts.values()) == {1}


def test_a_changed_day_is_sent_again_as_its_next_revision(store: Store, crm: CrmReceiver, tmp_path: Path) -> None:
    run(store, tmp_path, crm)
    ingest(store, "Gate", *on(MONDAY, "17:30", user_id="1002"))
    process(store, MONDAY, TUESDAY)
    assert run(store, tmp_path, crm).delivered == 1
    assert crm.ledger.revisions("1002", MONDAY) == [1, 2]
    assert crm.ledger.latest()["1002", MONDAY]["clock_out"] == "2026-03-02T17:30:00+03:00"
    assert crm.ledger.anomalies == []


def test_scope_and_limit_bound_what_is_sent(store: Store, crm: CrmReceiver, tmp_path: Path) -> None:
    assert run(store, tmp_path, crm, scope=SyncScope(first=TUESDAY)).delivered == 1
    assert run(store, tmp_path, crm, limit=1).delivered == 1
    assert set(crm.ledger.latest()) == {("1001", TUESDAY), ("1001", MONDAY)}


def test_a_forced_sync_sends_again_under_the_same_key_and_the_crm_applies_nothing(
    store: Store, crm: CrmReceiver, tmp_path: Path
) -> None:
    run(store, tmp_path, crm)
    assert run(store, tmp_path, crm, scope=SyncScope(states=("delivered",))).delivered == 3
    assert set(crm.ledger.attempts.values()) == {2}
    assert crm.ledger.revisions("1001", MONDAY) == [1]


def test_progress_is_told_and_logged_of_a_sync_that_lasts(
    store: Store, crm: CrmReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("zk_pipeline.operations.sync.PROGRESS_INTERVAL_SECONDS", 0.0)
    caplog.set_level("INFO", "zk_pipeline.operations.sync")
    reported: list[DeliverySummary] = []
    run(store, tmp_path, crm, progress=reported.append)
    assert reported[-1].delivered == 3
    assert "3 of 3 done" in caplog.text


def test_a_short_sync_says_nothing_on_its_way(
    store: Store, crm: CrmReceiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "zk_pipeline.operations.sync")
    reported: list[DeliverySummary] = []
    run(store, tmp_path, crm, progress=reported.append)
    assert (reported, caplog.text) == ([], "")


def test_the_file_in_the_home_says_how_the_crm_wants_its_records(
    store: Store, crm: CrmReceiver, tmp_path: Path
) -> None:
    (tmp_path / "crm_mapping.yaml").write_text("rename:\n  device_ip: ip_of_device\n")
    (tmp_path / "other.yaml").write_text("nonsense: 1\n")
    with pytest.raises(CrmMisconfigured, match=r"other.yaml, line 1: unknown section"):
        run(store, tmp_path, crm, mapping="other.yaml")
    assert crm.posts == 0
    summary = run(store, tmp_path, crm)
    assert (summary.failed, summary.delivered) == (3, 0)  # this CRM wants the contract's fields
    assert "unknown ip_of_device" in summary.errors[0].message
    (tmp_path / "crm_mapping.yaml").unlink()
    assert retry_failed(store, user_id="1002") == 1
    assert run(store, tmp_path, crm).delivered == 1
    assert retry_failed(store) == 2
    assert run(store, tmp_path, crm).delivered == 2
    assert crm.ledger.anomalies == []


def test_dead_letters_and_what_is_late_are_counted_with_their_age_and_words(
    store: Store, crm: CrmReceiver, tmp_path: Path, clock: StoppedClock
) -> None:
    crm.unknown_users = {"1002"}
    run(store, tmp_path, crm)
    dead = store.deliveries.dead_letters()
    assert (dead.count, dead.oldest, len(dead.examples)) == (1, clock(), 1)
    assert (dead.examples[0].user_id, dead.examples[0].last_error) == ("1002", "422: no employee 1002")
    assert store.deliveries.late(due_before=clock() + timedelta(hours=1)).count == 0
    retry_failed(store)
    assert store.deliveries.late(due_before=clock() + timedelta(hours=1)).count == 1
    assert store.deliveries.late(due_before=clock()).count == 0


def test_one_refused_record_is_a_dead_letter_with_the_crms_words_and_the_rest_arrives(
    store: Store, tmp_path: Path
) -> None:
    poison = whenever(lambda request: "1002" in request.user_ids, refusal(400, detail="no such person"))
    with CrmReceiver(token=TOKEN, fault_rule=poison) as crm:
        summary = run(store, tmp_path, crm)
    assert (summary.delivered, summary.failed) == (2, 1)
    ((user_id, status, words),) = rows(
        store, "SELECT user_id, last_status, last_error FROM crm_deliveries WHERE state = 'failed'"
    )
    assert (user_id, status) == ("1002", 400)
    assert "no such person" in words


def test_a_crm_that_is_down_spends_nothing_and_the_next_sync_delivers(store: Store, tmp_path: Path) -> None:
    down = whenever(lambda _: True, refusal(503))
    with CrmReceiver(token=TOKEN, fault_rule=down) as crm:
        configured = settings(tmp_path, CRM_API_URL=crm.url, CRM_API_TOKEN=TOKEN, CRM_OUTAGE_PATIENCE="0")
        ended = sync(store, configured, SyncScope(), run_id="in the outage")
        assert (ended.retry, ended.unsent) == (0, 3)
        assert str(ended.stopped).endswith(
            "3 still wait: the next sync sends them (sync_to_crm_schedule: every 30 minutes)"
        )
    assert rows(store, STATES) == [("pending", 3, 0)]
    with CrmReceiver(token=TOKEN) as crm:
        configured = settings(tmp_path, CRM_API_URL=crm.url, CRM_API_TOKEN=TOKEN)
        assert sync(store, configured, SyncScope(), run_id="the next sync").delivered == 3


def test_the_run_in_which_the_eighth_round_ends_says_what_became_a_dead_letter(store: Store, tmp_path: Path) -> None:
    execute(store, "UPDATE crm_deliveries SET retry_rounds = 7")
    poison = whenever(lambda received: "1002" in received.user_ids, refusal(500))
    with CrmReceiver(token=TOKEN, fault_rule=poison) as crm:
        summary = run(store, tmp_path, crm)
    assert (summary.delivered, summary.retry, summary.failed) == (2, 0, 1)
    assert summary.errors[0].message.startswith("failed after 8 retry rounds, last: 500: ")
    assert store.deliveries.states() == {"delivered": 2, "failed": 1}


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, "CRM_API_URL is not set"),
        ({"CRM_API_URL": "http://127.0.0.1:1/"}, "neither CRM_API_TOKEN nor"),
        ({"CRM_API_URL": "http://127.0.0.1:1/", "CRM_API_TOKEN": "s3cret", "CRM_API_TOKEN_FILE": "f"}, "both set"),
        ({"CRM_API_URL": "http://crm.example.com/", "CRM_API_TOKEN": "s3cret"}, "CRM_ALLOW_INSECURE_HTTP"),
        ({"CRM_API_URL": "crm", "CRM_API_TOKEN": "s3cret"}, "CRM_API_URL must be"),
        (
            {"CRM_API_URL": "https://127.0.0.1:1/", "CRM_API_TOKEN": "s3cret", "CRM_CA_BUNDLE": "/no/ca.pem"},
            "CRM_CA_BUNDLE",
        ),
    ],
)
def test_a_set_up_that_cannot_work_is_told_by_the_variable_and_counts_no_attempt(
    variables: dict[str, str], named: str, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(CrmMisconfigured, match=named) as refused:
        sync(store, settings(tmp_path, **variables), SyncScope(), run_id="run")
    assert "s3cret" not in str(refused.value)
    assert refused.value.summary is None
    assert rows(store, STATES) == [("pending", 3, 0)]
    with store.deliveries.acquire_sync_lock():
        pass  # the sender's lock was given back


def test_a_token_that_the_crm_refuses_stops_the_run_and_counts_no_attempt(
    store: Store, crm: CrmReceiver, tmp_path: Path
) -> None:
    configured = settings(tmp_path, CRM_API_URL=crm.url, CRM_API_TOKEN="s3cret-but-wrong")
    with pytest.raises(CrmMisconfigured) as refused:
        sync(store, configured, SyncScope(), run_id="run")
    assert "s3cret" not in str(refused.value)
    assert rows(store, STATES) == [("pending", 3, 0)]
    assert run(store, tmp_path, crm).delivered == 3


@pytest.mark.file_engine
@pytest.mark.parametrize("batch", [pytest.param("1", marks=pytest.mark.matrix), "10"])
def test_a_crm_without_keys_is_asked_for_what_a_store_restored_on_a_new_machine_may_have_sent(
    batch: str, store: Store, tmp_path: Path
) -> None:
    file = store.backups.make(tmp_path / "backup.duckdb").file
    naive = NaiveCrm()
    with raw_crm(naive) as server:
        configured = settings(
            tmp_path, CRM_API_URL=server.url, CRM_API_TOKEN=TOKEN, CRM_LOOKUP=LOOKUP, CRM_BATCH_SIZE=batch
        )
        assert sync(store, configured, SyncScope(user_id="1001"), run_id="before").delivered == 2
        new = Store.at(tmp_path / "new" / "attendance.duckdb")
        assert new.restore.run(file).in_doubt == 3
        ingest(new, "Gate", *on(MONDAY, "19:00"))
        process(new, MONDAY)
        summary = sync(new, configured, SyncScope(), run_id="after")
    assert (summary.delivered, summary.total) == (4, 4)
    delivered = [(one["user_id"], one["date"]) for one in naive.held]
    assert sorted(delivered[2:]) == [("1001", str(MONDAY)), ("1002", str(MONDAY))], "what is new, and what was not sent"
    assert len(naive.asked) == 3


@pytest.mark.file_engine
def test_the_cure_for_days_that_stay_different_after_a_restore_on_a_new_machine(
    store: Store, crm: CrmReceiver, tmp_path: Path
) -> None:
    """As docs/operating.md has it, the log of the terminal being cleared: 19:00 is lost."""
    run(store, tmp_path, crm)
    file = store.backups.make(tmp_path / "backup.duckdb").file
    ingest(store, "Gate", *on(MONDAY, "19:00"))
    process(store, MONDAY)
    run(store, tmp_path, crm)
    new = Store.at(tmp_path / "new" / "attendance.duckdb")
    new.restore.run(file)
    process(new, *stale(new))
    assert run(new, tmp_path, crm).total == 0, "the store knows of no difference"
    delivered = crm.ledger.latest()
    assert (delivered["1001", MONDAY]["revision"], str(delivered["1001", MONDAY]["clock_out"])[11:16]) == (2, "19:00")

    new.holidays.put([Holiday(day=MONDAY, name="tell the CRM again")])
    process(new, *stale(new))
    new.holidays.remove(MONDAY)
    process(new, *stale(new))
    before = rows(new, "SELECT count(*) FROM crm_deliveries WHERE state = 'pending'")
    assert (before, run(new, tmp_path, crm).delivered) == ([(2,)], 2), "each day of Monday once"
    held = crm.ledger.latest()
    assert (str(held["1001", MONDAY]["clock_out"])[11:16], held["1001", TUESDAY]) == (
        "18:00",
        delivered["1001", TUESDAY],
    )
    assert held["1002", MONDAY] == {**delivered["1002", MONDAY], "revision": held["1002", MONDAY]["revision"]}
    assert [int(str(held[who, MONDAY]["revision"])) > 100 for who in ("1001", "1002")] == [True, True]
    assert crm.ledger.anomalies == []


def test_a_pause_that_the_crm_asked_for_holds_for_its_address_until_it_is_lifted(
    store: Store, crm: CrmReceiver, tmp_path: Path
) -> None:
    crm.fault_rule = lambda *_: refusal(429, retry_after="7200")
    stopped = run(store, tmp_path, crm, scope=SyncScope(first=TUESDAY))
    assert (stopped.unsent, "; 1 still waits: " in str(stopped.stopped)) == (1, True)
    crm.fault_rule = no_fault
    posts = crm.posts
    paused = run(store, tmp_path, crm)
    assert (paused.unsent, "; 3 still wait: " in str(paused.stopped)) == (3, True)
    assert crm.posts == posts
    with CrmReceiver(token=TOKEN) as other:
        assert run(store, tmp_path, other, limit=1).delivered == 1
    assert run(store, tmp_path, crm, scope=SyncScope(states=("delivered",)), force=True).delivered == 3
    execute(store, "UPDATE crm_deliveries SET state = 'pending'")
    assert run(store, tmp_path, crm).delivered == 3, "it is lifted for later runs, too"


def test_a_second_sender_is_turned_away_and_touches_nothing(store: Store, crm: CrmReceiver, tmp_path: Path) -> None:
    with store.deliveries.acquire_sync_lock(), pytest.raises(SyncAlreadyRunning):
        run(store, tmp_path, crm)
    assert crm.ledger.attempts == {}
    assert rows(store, STATES) == [("pending", 3, 0)]


def test_a_token_file_is_read_when_it_is_needed(store: Store, crm: CrmReceiver, tmp_path: Path) -> None:
    path = tmp_path / "token"
    configured = settings(tmp_path, CRM_API_URL=crm.url, CRM_API_TOKEN_FILE=str(path))
    token = crm_token(configured)
    path.write_text(f"{TOKEN}\n")
    assert token() == TOKEN
    assert sync(store, configured, SyncScope(last=date(2026, 3, 2)), run_id="run").delivered == 2


def test_the_endpoint_is_that_of_the_settings(tmp_path: Path) -> None:
    endpoint = crm_endpoint(
        settings(
            tmp_path,
            CRM_API_URL="http://crm.example.com/api/",
            CRM_AUTH_SCHEME="Bearer",
            CRM_REQUEST_TIMEOUT="7",
            CRM_ALLOW_INSECURE_HTTP="true",
        )
    )
    assert (endpoint.url, endpoint.scheme, endpoint.timeout) == ("http://crm.example.com/api/", "Bearer", 7)


def test_a_mapping_changed_while_outcomes_are_unknown_changes_only_what_was_not_sent(
    store: Store, crm: CrmReceiver, tmp_path: Path
) -> None:
    crm.fault_rule = whenever(lambda _: True, Fault(drop="after"))
    assert run(store, tmp_path, crm, scope=SyncScope(first=TUESDAY), patience="0").delivered == 0
    crm.fault_rule = no_fault
    (tmp_path / "crm_mapping.yaml").write_text("instants: utc\n")
    ingest(store, "Gate", *on(TUESDAY, "18:00"))
    process(store, TUESDAY)
    assert run(store, tmp_path, crm, scope=SyncScope(first=TUESDAY)).delivered == 2
    assert crm.ledger.revisions("1001", TUESDAY) == [1, 2]
    assert crm.ledger.anomalies == [], "the same body under the same key"
    assert crm.ledger.latest()["1001", TUESDAY]["clock_out"] == "2026-03-03T15:00:00Z"
    assert rows(store, "SELECT count(*) FROM crm_deliveries WHERE sent_body IS NOT NULL") == [(0,)]
