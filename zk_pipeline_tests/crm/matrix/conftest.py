"""A case of the matrix: a store with DUE due days, the receiver over TLS, syncs here and in processes to kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zk_pipeline.simulator.crm.faults import no_fault
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.crm.crm_doubles import TOKEN, Certificate, make_certificate
from zk_pipeline_tests.crm.due_days import copied_store, dates_from, make_due
from zk_pipeline_tests.crm.matrix.crm_judge import CRM_OUTCOME, ONCE, outcome_of
from zk_pipeline_tests.crm.sync_children import Ended, SyncChild, run_sync, start_sync
from zk_pipeline_tests.matrix_sample import mark_unsampled
from zk_pipeline_tests.store.store_fixtures import rows

AGAIN = SyncScope(states=("retry",))  # what the six-hourly job sends
PEOPLE = 25  # more than have to get the same rejection before the address is taken for wrong
DUE = 2 * PEOPLE  # their days of two dates


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mark_unsampled(config, items, Path(__file__).parent)


@dataclass
class Case:
    store: Store
    receiver: CrmReceiver
    authority: Path
    record: Callable[[str, object], None]

    @property
    def home(self) -> Path:
        home = self.store.database.engine.side.parent
        home.mkdir(parents=True, exist_ok=True)
        return home

    def start(self, scope: SyncScope | None = None, *, clock_falls: bool = False, **variables: str) -> SyncChild:
        return start_sync(self.store, self._chosen(variables), scope, clock_falls=clock_falls)

    def sync(self, scope: SyncScope | None = None, **variables: str) -> Ended:
        """Run a sync to its end in this process."""
        return run_sync(self.store, self._chosen(variables), scope)

    def _chosen(self, variables: dict[str, str]) -> dict[str, str]:
        given = {
            "ZK_PIPELINE_HOME": str(self.home),
            "CRM_API_URL": self.receiver.url,
            "CRM_API_TOKEN": TOKEN,
            "CRM_CA_BUNDLE": str(self.authority),
            "CRM_CONCURRENCY": "4",
            "CRM_REQUEST_TIMEOUT": "20",
        }
        return {name: value for name, value in (given | variables).items() if value}

    def states(self) -> dict[str, tuple[int, int]]:
        """Per state: how many deliveries, and attempts."""
        sql = "SELECT state, count(*), sum(attempts)::INTEGER FROM crm_deliveries GROUP BY 1"
        return {state: (count, attempts) for state, count, attempts in rows(self.store, sql)}

    def replays(self) -> int:
        """Requests that the CRM had applied before."""
        return sum(self.receiver.ledger.attempts.values()) - self.applied()

    def applied(self) -> int:
        ledger = self.receiver.ledger
        return sum(len(ledger.revisions(user, day)) for user, day in ledger.latest())

    def settle(self, allowed: str = ONCE) -> None:
        """The CRM behaves again, the next round has been; then ledger and store must agree."""
        self.receiver.fault_rule = no_fault
        before = self.receiver.posts
        if self.sync(AGAIN, CRM_BATCH_SIZE="25").summary.total:
            before = self.receiver.posts
            assert self.sync(AGAIN).summary.total == 0
        assert self.receiver.posts == before, "a run with nothing due made requests"
        outcome = outcome_of(self.store, self.receiver)
        self.record(CRM_OUTCOME, outcome)
        assert outcome == allowed


@pytest.fixture(scope="session")
def days_due(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied_store(empty_store_file, tmp_path_factory.mktemp("due") / "store.duckdb")
    assert make_due(store, people=PEOPLE, dates=dates_from(2)) == DUE
    return store.database.where


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    ends = datetime.now(UTC) + timedelta(days=365)
    return make_certificate(tmp_path_factory.mktemp("certificate"), ends=ends)


@pytest.fixture
def case(
    days_due: Where, certificate: Certificate, tmp_path: Path, record_property: Callable[[str, object], None]
) -> Iterator[Case]:
    store = copied_store(days_due, tmp_path / "home" / "store.duckdb")
    with CrmReceiver(token=TOKEN, tls=certificate.tls) as receiver:
        yield Case(store, receiver, certificate.authority, record_property)
