"""Uploads that are stored together: groups, failures, times."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import pytest

from zk_pipeline.devices.push.records import ParsedUpload, PushedPunch, PushedUser, RejectedLine
from zk_pipeline.receiver.group_commit import MAX_GROUP_LINES, GroupCommit, NotStored, Received, store_each
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.push.uploads import PushUpload, StoredUpload

T = TypeVar("T")
AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
DONE = StoredUpload(batch_id=1, stored=1, duplicates=0, quarantined=0, other=0)


def received(serial: str, lines: int = 1, *, table: str = "ATTLOG", parsed: ParsedUpload | None = None) -> Received:
    punch = PushedPunch("1", AT.replace(tzinfo=None), 0, 1, None, None)
    parsed = parsed or ParsedUpload([punch], [], [], [], lines, f"OK: {lines}")
    upload = PushUpload(
        serial_number=serial, device=serial, timezone="UTC", table_name=table, stamp="1", parsed=parsed, received_at=AT
    )
    return Received(upload, b"1\t2026-06-01 12:00:00\r\n\n2\t2026-06-01 12:00:00\n")


class Recorder:
    """Stores nothing; remembers the serial numbers of each transaction. A gate can hold a transaction."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.poison = ""

    def __call__(self, uploads: Sequence[PushUpload]) -> list[StoredUpload | None]:
        self.groups.append([one.serial_number for one in uploads])
        self.gate.wait(20)
        if self.error is not None:
            raise self.error
        if any(one.serial_number == self.poison and not one.parsed.rejected for one in uploads):
            raise ValueError("poison")
        return [None if one.serial_number == "gone" else DONE for one in uploads]


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


def with_commits(store: Recorder, scenario: Callable[[GroupCommit], Awaitable[T]], *, answer_seconds: float = 20) -> T:
    async def run() -> T:
        commits = GroupCommit(store, _in_thread, max_gather_seconds=0, answer_seconds=answer_seconds)
        task = asyncio.create_task(commits.run())
        try:
            return await scenario(commits)
        finally:
            store.gate.set()
            task.cancel()

    return asyncio.run(run())


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def test_what_arrives_while_a_transaction_runs_is_stored_by_the_next_one() -> None:
    store = Recorder()
    store.gate.clear()

    async def scenario(commits: GroupCommit) -> list[StoredUpload | None]:
        first = asyncio.create_task(commits.submit(received("a")))
        await _until(lambda: store.groups)
        others = [asyncio.create_task(commits.submit(received(serial))) for serial in ("b", "gone", "c")]
        await _until(lambda: len(commits._queue) == 3)
        assert not first.done()  # not acknowledged before its transaction has ended
        store.gate.set()
        return list(await asyncio.gather(first, *others))

    assert with_commits(store, scenario) == [DONE, DONE, None, DONE]
    assert store.groups == [["a"], ["b", "gone", "c"]]


def test_a_group_has_a_bounded_number_of_lines() -> None:
    store = Recorder()
    store.gate.clear()

    async def scenario(commits: GroupCommit) -> None:
        tasks = [asyncio.create_task(commits.submit(received("first")))]
        await _until(lambda: store.groups)
        sizes = {"a": MAX_GROUP_LINES + 1, "b": MAX_GROUP_LINES - 1, "c": 1, "d": 1}
        tasks += [asyncio.create_task(commits.submit(received(one, lines))) for one, lines in sizes.items()]
        await _until(lambda: len(commits._queue) == 4)
        store.gate.set()
        await asyncio.gather(*tasks)

    with_commits(store, scenario)
    assert store.groups == [["first"], ["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize("error", [StoreBusy("busy"), OSError("disk full")])
def test_a_failure_of_the_store_acknowledges_nothing_and_the_next_group_is_tried(error: Exception) -> None:
    store = Recorder()
    store.error = error

    async def scenario(commits: GroupCommit) -> StoredUpload | None:
        for _ in range(2):
            with pytest.raises(NotStored):
                await commits.submit(received("a"))
        store.error = None
        return await commits.submit(received("a"))

    assert with_commits(store, scenario) == DONE
    assert store.groups == [["a"]] * 3  # a failing store is not asked for each upload alone


def test_an_upload_that_is_not_waited_for_any_more_is_left_out() -> None:
    store = Recorder()
    store.gate.clear()

    async def scenario(commits: GroupCommit) -> None:
        first = asyncio.create_task(commits.submit(received("a")))
        await _until(lambda: store.groups)
        with pytest.raises(NotStored, match="did not finish within"):
            await commits.submit(received("late"))
        store.gate.set()
        with pytest.raises(NotStored):
            await first
        assert await commits.submit(received("b")) == DONE

    with_commits(store, scenario, answer_seconds=0.3)
    assert store.groups == [["a"], ["b"]]


def test_one_poison_record_fails_neither_its_own_queue_nor_other_uploads() -> None:
    store = Recorder()
    store.poison = "bad"
    results = store_each(store, [received("a"), received("bad"), received("gone")])
    assert results == [DONE, DONE, None]
    assert store.groups == [["a", "bad", "gone"], ["a"], ["bad"], ["bad"], ["gone"]]


@pytest.mark.parametrize("table", ["ATTLOG", "OPERLOG"])
def test_lines_that_cannot_be_stored_are_quarantined_without_passwords(table: str) -> None:
    kept: list[PushUpload] = []

    def store(uploads: Sequence[PushUpload]) -> list[StoredUpload | None]:
        if not all(one.parsed.rejected and not one.parsed.users for one in uploads):
            raise ValueError("poison")
        kept.extend(uploads)
        return [DONE for _ in uploads]

    user = PushedUser("1", "Ada", 0, 0, None)
    parsed = ParsedUpload([], [RejectedLine(b"old", "why")], [user], [], 2, "OK: 2")
    body = b"USER PIN=1\tPasswd=hunter2\n"
    one = Received(received("a", table=table, parsed=parsed).upload, body)
    assert store_each(store, [one]) == [DONE]
    (upload,) = kept
    raw = [line for line, _ in upload.parsed.rejected]
    assert raw == ([body.rstrip()] if table == "ATTLOG" else [b"1\tAda\t0\t0\t", b"old"])
    assert upload.parsed.acknowledged == "OK: 2"


def test_an_upload_that_cannot_even_be_quarantined_is_not_acknowledged() -> None:
    def store(uploads: Sequence[PushUpload]) -> list[StoredUpload | None]:
        raise ValueError(f"{len(uploads)} uploads are refused")

    (result,) = store_each(store, [received("a")])
    assert isinstance(result, NotStored)


def test_the_next_transaction_waits_for_the_terminals_that_were_answered() -> None:
    store = Recorder()

    async def scenario(commits: GroupCommit) -> None:
        commits.max_gather_seconds = 20
        store.gate.clear()
        tasks = [asyncio.create_task(commits.submit(received("first")))]
        await _until(lambda: store.groups)
        tasks += [asyncio.create_task(commits.submit(received(serial))) for serial in ("a", "b")]
        await _until(lambda: len(commits._queue) == 2)
        store.gate.set()
        await asyncio.gather(*tasks)
        again = [asyncio.create_task(commits.submit(received("b")))]
        await _until(lambda: commits._queue)
        again.append(asyncio.create_task(commits.submit(received("a"))))
        await asyncio.gather(*again)

    with_commits(store, scenario)
    assert store.groups == [["first"], ["a", "b"], ["b", "a"]]


def test_the_store_is_closed_when_another_user_waits_and_when_no_upload_follows() -> None:
    store = Recorder()
    closed: list[str] = []

    async def scenario(commits: GroupCommit) -> None:
        commits.max_gather_seconds = 20
        commits.must_close = lambda: not closed
        commits.close = lambda: closed.append("closed")
        await commits.submit(received("a"))
        await _until(lambda: len(closed) == 2)  # the first for the other user, the second at the end of the uploads
        assert await commits.submit(received("a")) == DONE

    with_commits(store, scenario)
