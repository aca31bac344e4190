"""Stores of tests that stay open: reads cannot write, copies are complete, a replaced file is opened again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.kept_open import close_store, stores_kept_open
from zk_pipeline_tests.store.store_fixtures import copied, device

pytestmark = pytest.mark.file_engine


@pytest.fixture
def kept(store: Store) -> Iterator[Store]:
    """A store that is open."""
    with stores_kept_open():
        store.devices.add(device())
        assert is_open(store)
        yield store
    assert not is_open(store)


def is_open(store: Store) -> bool:
    """True while a write-ahead log next to the file has commits that the file itself does not have."""
    return store.database.path.with_name("store.duckdb.wal").exists()


def test_a_read_of_an_open_store_cannot_write_and_has_temporary_tables(kept: Store) -> None:
    with kept.database.read("test") as connection:
        connection.execute("CREATE TEMP TABLE one AS SELECT 1")
    with pytest.raises(duckdb.Error, match="read-only"), kept.database.read("test") as connection:
        connection.execute("DELETE FROM devices")


def test_a_store_is_closed_before_it_is_copied(kept: Store, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert [one.name for one in copied(kept.database.where, other).devices.all()] == ["Gate"]


def test_a_store_is_closed_after_an_error_and_has_what_was_committed(kept: Store) -> None:
    with pytest.raises(duckdb.Error, match="no_such"), kept.database.write("test") as connection:
        connection.execute("DELETE FROM devices; FROM no_such")
    assert not is_open(kept)
    assert [one.name for one in kept.devices.all()] == ["Gate"]
    kept.devices.add(device("Yard", ip="192.0.2.11"))


def test_a_file_that_takes_the_place_of_an_open_store_is_opened(kept: Store, empty_store_file: Where) -> None:
    assert isinstance(empty_store_file, Path)
    path = kept.database.path
    close_store(path)
    assert len(kept.devices.all()) == 1
    Path(shutil.copyfile(empty_store_file, path.with_name("new"))).replace(path)
    assert kept.devices.all() == []
    kept.devices.add(device())


def test_only_what_is_removed_with_the_test_is_closed_without_a_checkpoint(store: Store, tmp_path: Path) -> None:
    with stores_kept_open(temporary=tmp_path):
        store.devices.add(device())
    assert is_open(store)
    assert [one.name for one in store.devices.all()] == ["Gate"]
    store.devices.update("Gate", port=4371)
    assert not is_open(store)
