"""Upgrades of a home that processes of an older version use, and the way back to that version."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest
import requests
from psycopg2.extensions import make_dsn

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.config.settings import load_settings
from zk_pipeline.operations.sync import sync
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.schema import migrations_runner
from zk_pipeline.store.schema.migrations_runner import copies_before_migration
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.engines import argument, with_password
from zk_pipeline_tests.store.store_fixtures import device, rows, store_at
from zk_pipeline_tests.waiting import child, until

OLDER_USER = """
    import sys
    from zk_pipeline.store.store import Store
    from zk_pipeline_tests.engines import where
    Store.at(where(sys.argv[1])).devices.all()
    print("ready", flush=True)
    sys.stdin.readline()
"""
OLDER = [sys.executable, "-m", "zk_pipeline"]  # this version; the newer one is this process, see `newer`
PENDING = "SELECT count(*) FROM push_terminals"
ADDED = 9001


@pytest.fixture
def zk(home: Path, capsys: pytest.CaptureFixture[str]) -> CommandLine:  # noqa: ARG001 (never in the checkout)
    return CommandLine(capsys)


@pytest.fixture
def path(home: Path, home_store: Store) -> Path:
    home_store.devices.add(device("Gate"))
    return home / "data" / "attendance.duckdb"


@pytest.fixture
def newer(path: Path, _later_version: None) -> Path:
    """The store of this version in a process of a later version."""
    return path


@pytest.fixture
def _later_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is of a later version, which has one more migration."""
    known, script = migrations_runner.migrations(), migrations_runner.script
    monkeypatch.setattr(migrations_runner, "migrations", lambda: (*known, (ADDED, "9001_later.sql")))
    monkeypatch.setattr(
        migrations_runner,
        "script",
        lambda name: "CREATE TABLE later (x INTEGER);" if name == "9001_later.sql" else script(name),
    )


def is_upgraded(path: Path) -> bool:
    return bool(copies_before_migration(path))


def is_live(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/live", timeout=30).ok
    except requests.ConnectionError:
        return False


@contextmanager
def older_receiver() -> Iterator[tuple[int, str]]:
    """Process number and address of a running `zk-pipeline receive`."""
    with subprocess.Popen([*OLDER, "receive", "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"receiver at (http://\S+);", process.stderr.readline())
            assert found is not None
            until(lambda: is_live(found[1]), seconds=60)
            yield process.pid, found[1]
        finally:
            process.kill()


def test_a_command_does_not_upgrade_under_an_older_process_which_records_nothing_after_an_upgrade(
    zk: CommandLine, home: Path, newer: Path
) -> None:
    with older_receiver() as (pid, url):
        for command in (["device", "list"], ["device", "add", "Back", "192.0.2.11"], ["up"]):
            refused = zk(*command)
            assert refused.is_refusal()
            assert refused.err == (
                f"zk-pipeline: {home} is in use by an older zk_pipeline, under which this version does not upgrade the "
                f"store: end process {pid} (zk-pipeline receive), then try again\n"
            )
        (finding,) = [one for one in json.loads(zk("doctor", "--json").out)["findings"] if one["name"] == "old-store"]
        assert finding["what"] == f"{newer} is of an earlier version, and was not examined"
        assert not is_upgraded(newer)
        # As a process would that is no command, such as another Dagster deployment with this code location.
        assert rows(store_at(newer), PENDING) == [(0,)]
        assert is_upgraded(newer)
        answer = requests.get(f"{url}/iclock/cdata", params={"SN": "A1", "options": "all"}, timeout=30)
        assert answer.status_code == 503, answer.text
        assert zk("device", "list").code == 0  # there is nothing to upgrade any more
    assert rows(store_at(newer), PENDING) == [(0,)]


@pytest.mark.parametrize("command", [["device", "list"], ["status"]])
def test_an_up_from_before_processes_registered_is_found_by_its_lock(
    command: list[str], zk: CommandLine, home: Path, newer: Path
) -> None:
    script = """
        import sys
        from pathlib import Path
        from zk_pipeline.runtime.supervisor import single_instance
        with single_instance(Path(sys.argv[1])):
            print("ready", flush=True)
            sys.stdin.readline()
    """
    with child(script, home) as older:
        assert older.hear() == "ready"
        refused = zk(*command)
        assert refused.is_refusal()
        assert f"end process {older.pid}, then try again" in refused.err
        assert not is_upgraded(newer)
        older.go_on()
        assert older.end() == 0
    assert zk("device", "list").code == 0
    assert is_upgraded(newer)


def test_a_store_is_not_upgraded_while_a_sync_of_an_older_version_sends(newer: Path) -> None:
    store = store_at(newer)
    with (
        store.database.engine.acquire_sync_lock(),
        pytest.raises(StoreBusy, match=r"not upgraded, because a sync of an older zk_pipeline is sending to the CRM"),
    ):
        store.punches.total()
    assert not is_upgraded(newer)


@pytest.mark.usefixtures("home", "_later_version")
def test_a_shared_store_is_not_upgraded_while_a_process_of_an_older_version_on_any_host_is_connected(
    lake: LakeAddress, zk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZK_PIPELINE_DATABASE", with_password(lake))
    host = os.uname().nodename
    with child(OLDER_USER, argument(lake)) as older, connected(lake, "zk_pipeline 12@gate-2"):  # of version 34
        assert older.hear() == "ready"
        for command in (["device", "list"], ["up"]):
            refused = zk(*command)
            assert (refused.code, refused.out) == (1, "")
            (line,) = refused.err.splitlines()
            assert line.startswith("zk-pipeline: ducklake:postgres:")
            assert line.endswith(
                " was not upgraded, because an older zk_pipeline uses it: end process 12 on gate-2 and process "
                f"{older.pid} on {host}, then try again"
            )
        assert Database(lake).needs_upgrade()
    with connected(lake, f"zk_pipeline/{ADDED} 13@gate-3"):
        until(lambda: zk("device", "list").code == 0)  # PostgreSQL notices the end of the connections
    assert not Database(lake).needs_upgrade()


@contextmanager
def connected(lake: LakeAddress, name: str) -> Iterator[None]:
    """A connection to PostgreSQL as a process of another host keeps it."""
    dsn = make_dsn(**dict(lake.parameters), password=lake.password, application_name=name)
    with closing(psycopg2.connect(dsn)):
        yield


def test_a_sync_as_first_use_of_a_store_upgrades_it(crm: CrmReceiver, newer: Path) -> None:
    assert sync(store_at(newer), load_settings(), SyncScope(), run_id="run").failed == 0
    assert is_upgraded(newer)
    assert crm.posts == 0


def test_an_older_version_names_the_copy_to_restore_and_restores_it(zk: CommandLine, newer: Path) -> None:
    assert zk("device", "list").code == 0

    def older(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*OLDER, *arguments], capture_output=True, text=True, check=False)

    refused = older("device", "add", "Back", "192.0.2.11")
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert f"is at store version {ADDED}, written by a newer zk_pipeline" in line
    restore = re.search(r"upgrade zk_pipeline, or go back to the copy from before the upgrade: `(.*)`$", line)
    assert restore is not None
    assert shlex.split(restore[1]) == ["zk-pipeline", "restore", str(copies_before_migration(newer)[0])]
    done = older(*shlex.split(restore[1])[1:], "--yes")
    assert done.returncode == 0, done.stderr
    assert "Gate" in older("device", "list").stdout


def test_an_older_version_names_the_kind_of_backup_where_there_is_no_copy(zk: CommandLine, newer: Path) -> None:
    assert zk("device", "list").code == 0
    copies_before_migration(newer)[0].unlink()
    of_older = migrations_runner.migrations()[:-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations_runner, "migrations", lambda: of_older)
        refused = zk("device", "list")
    assert refused.is_refusal()
    assert "or go back to a backup from before the upgrade with `zk-pipeline restore`" in refused.err
