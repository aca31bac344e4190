"""Writer of uploads: the store stays open between them, until another user waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from zk_pipeline.devices.push.records import ParsedUpload, PushedPunch
from zk_pipeline.store.push import upload_writer
from zk_pipeline.store.push.upload_writer import UploadWriter
from zk_pipeline.store.push.uploads import PushUpload, store_uploads
from zk_pipeline.store.store import Store
from zk_pipeline_tests.receiver.receiver_fixtures import SERIAL, adopt, punches
from zk_pipeline_tests.waiting import until

AT = datetime(2026, 6, 1, 9, tzinfo=UTC)


def upload(minute: int, device: str = "Gate") -> PushUpload:
    punch = PushedPunch("1", AT.replace(tzinfo=None) + timedelta(minutes=minute), 0, 1, 0, None)
    parsed = ParsedUpload([punch], [], [], [], 1, "OK: 1")
    return PushUpload(
        serial_number=SERIAL, device=device, timezone="UTC", table_name="ATTLOG", stamp="1", parsed=parsed,
        received_at=AT,
    )  # fmt: skip


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but another user of the store makes a writer close it."""
    monkeypatch.setattr(upload_writer, "MAX_OPEN_SECONDS", float("inf"))


@contextmanager
def writing(store: Store) -> Iterator[tuple[UploadWriter, threading.Thread, list[int]]]:
    """A writer that stored one upload, a reader to be started, and the number of punches that the reader found."""
    adopt(store)
    writer = store.push.writer()
    found: list[int] = []
    try:
        writer.store([upload(0)])
        yield writer, threading.Thread(target=lambda: found.append(len(punches(store)))), found
    finally:
        writer.close()


@pytest.mark.file_engine
@pytest.mark.usefixtures("patient")
def test_who_waits_for_the_store_gets_it_between_two_uploads(store: Store) -> None:
    with writing(store) as (writer, reader, found):
        assert (writer.is_open, writer.must_close()) == (True, False)
        reader.start()
        until(writer.must_close)
        assert not found
        writer.close()
        reader.join(30)
        assert found == [1]
        writer.store([upload(1)])
    assert len(punches(store)) == 2


@pytest.mark.file_engine
@pytest.mark.usefixtures("patient")
def test_an_upload_gives_way_to_who_already_waits(store: Store) -> None:
    with writing(store) as (writer, reader, found):
        reader.start()
        until(writer.must_close)
        writer.store([upload(1)])  # closes the store first
        reader.join(30)
    assert found == [1]


@pytest.mark.file_engine
def test_the_store_is_closed_after_a_while_for_programs_without_its_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_writer, "MAX_OPEN_SECONDS", 0.0)
    adopt(store)
    writer = store.push.writer()
    try:
        writer.store([upload(0)])
        assert writer.must_close()
    finally:
        writer.close()


def test_a_failed_upload_closes_the_store_and_stores_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    adopt(store)
    writer = store.push.writer()

    def failing(*arguments: object) -> None:
        store_uploads(*arguments)  # type: ignore[arg-type]
        raise ValueError("too late")

    with monkeypatch.context() as patched:
        patched.setattr(upload_writer, "store_uploads", failing)
        with pytest.raises(ValueError, match="too late"):
            writer.store([upload(0)])
    assert not writer.is_open
    assert punches(store) == []
    assert writer.store([upload(0)])
    writer.close()
    assert len(punches(store)) == 1
