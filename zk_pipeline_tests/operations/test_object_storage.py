"""A shared store whose files are in object storage: polled, processed, delivered, cleaned up and read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from zk_pipeline.config.ducklake_address import PREFIX, parse_lake
from zk_pipeline.config.settings import load_settings
from zk_pipeline.devices.clock import Clock
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.records import TerminalUser
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.engine.ducklake import LakeEngine
from zk_pipeline.store.engine.ducklake_connection import INLINED_ROWS
from zk_pipeline.store.maintenance.space_reclaim import LakeSpaceReclaimer
from zk_pipeline.store.store import Store
from zk_pipeline_tests.object_storage import BUCKET, CREDENTIALS, ObjectStorage, object_storage
from zk_pipeline_tests.operations.history_world import RunningClock
from zk_pipeline_tests.operations.restored_pipeline import Pipeline
from zk_pipeline_tests.postgres import Postgres
from zk_pipeline_tests.store.store_fixtures import rows

USERS = INLINED_ROWS + 10  # so that their punches are not kept in PostgreSQL


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStorage]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with object_storage() as found:
        yield found


def test_a_store_in_object_storage_polls_processes_delivers_and_is_read(
    storage: ObjectStorage, postgres: Postgres, tmp_path: Path
) -> None:
    data = f"s3://{BUCKET}/store?endpoint={storage.endpoint}"
    address = parse_lake(f"{PREFIX}{postgres.fresh_database()};data={data}").below(tmp_path)
    clock = RunningClock()
    settings = {
        "ZK_PIPELINE_HOME": f"{tmp_path}",
        "ZK_PIPELINE_HISTORY_START": "2000-01-01",
        "CRM_API_TOKEN": "secret",
    }
    users = tuple(TerminalUser(uid=uid, user_id=f"{1000 + uid}", name=f"P{uid}") for uid in range(1, USERS + 1))
    try:
        with Fleet() as fleet, CrmReceiver(token="secret") as crm:
            terminal = EmulatedTerminal(TerminalDefinition(name="Gate", users=users), clock=clock)
            port = fleet.add(terminal)
            for user in users:
                at = clock().replace(tzinfo=None, microsecond=0) - timedelta(minutes=5)
                fleet.punch("Gate", user.user_id, at)
            gateway = TerminalGateway(timeout=5, deadline=30, comm_keys=lambda _: 0, clock=Clock(now=clock))
            store = Store(Database(address, wait_seconds=20), clock)
            pipeline = Pipeline(store, crm, gateway, load_settings(settings | {"CRM_API_URL": crm.url}))
            store.devices.add(Device(name="Gate", ip_address=fleet.host, port=port, protocol="tcp"))
            for step in (pipeline.poll, pipeline.process, pipeline.sync):
                step()
            assert len(crm.ledger.latest()) == USERS
        assert any(name.startswith("store/main/raw_punches/") for name in storage.names())
        LakeEngine(address).forget()  # and attach it again, as another process
        assert rows(store, "SELECT count(*), count(DISTINCT user_id) FROM raw_punches") == [(USERS, USERS)]
        assert rows(store, "SELECT count(*) FROM daily_attendance") == [(USERS,)]
        LakeSpaceReclaimer(store.database, states_kept=timedelta(0)).run()
        assert store.punches.total() == USERS
    finally:
        LakeEngine(address).forget()
