"""The copy from which the API reads under load: what it contains, for how long, and for whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import duckdb
import pytest

from zk_pipeline.store.engine.read_copy import MAX_AGE_SECONDS, FairSlots, ReadCopy, Reader, _only_copier, reader
from zk_pipeline.store.locks.file_lock import StoreFileLock
from zk_pipeline.store.queries.keyset_pagination import Key, PageRequest
from zk_pipeline.store.queries.lists import Filter
from zk_pipeline.store.schema.file_copy import wal_path
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import Stopwatch
from zk_pipeline_tests.store.store_fixtures import MONDAY, TUESDAY, device, execute, ingest, on, process
from zk_pipeline_tests.waiting import until

pytestmark = pytest.mark.file_engine


class Api:
    """A store as the API reads it: every read is busy enough for a copy."""

    def __init__(self, store: Store) -> None:
        self.watch = Stopwatch()
        self.copy = ReadCopy(store.database.path, smallest_bytes=0, busy_reads=1, monotonic=self.watch)
        self.store = replace(store, database=replace(store.database, wait_seconds=0.01, read_copy=self.copy))

    @contextmanager
    def request(self, client: str | None = "reporting") -> Iterator[Reader]:
        """A request of an identified client that changes nothing."""
        token = reader.set(Reader(may_use_copy=True, name=client))
        try:
            yield reader.get() or pytest.fail("no reader")
        finally:
            reader.reset(token)

    def devices(self, client: str | None = "reporting") -> tuple[list[str], float | None]:
        """Names of the devices, and the age of the copy that was read."""
        with self.request(client) as request:
            return [one.name for one in self.store.devices.all()], request.age_seconds

    def make_copy(self) -> None:
        """Read often enough that the store is copied in its present state."""
        self.watch.now += 1000
        self.devices()
        until(lambda: self.copy._copying is None)
        assert self.devices()[1] == 0


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    api = Api(store)
    store.devices.add(device("North"))
    yield api
    api.copy.close()


@contextmanager
def writing(store: Store) -> Iterator[None]:
    with StoreFileLock(store.database.path).hold("exclusive", "a backfill", wait_seconds=1):
        yield


def test_reads_do_not_wait_for_a_writer_once_there_is_a_copy(api: Api, store: Store) -> None:
    assert api.devices() == (["North"], None)
    api.make_copy()
    with writing(store):
        assert api.devices() == (["North"], 0)


def test_a_copy_is_read_for_a_minute_after_the_store_has_changed(api: Api, store: Store) -> None:
    api.make_copy()
    store.devices.add(device("South"))
    api.copy._next_at = float("inf")
    api.watch.now += MAX_AGE_SECONDS - 1
    assert api.devices() == (["North"], MAX_AGE_SECONDS - 1)
    api.watch.now += 2
    assert api.devices() == (["North", "South"], None)


def test_a_changed_store_is_copied_again(api: Api, store: Store) -> None:
    api.make_copy()
    store.devices.add(device("South"))
    api.make_copy()
    assert api.devices() == (["North", "South"], 0)


def test_a_client_reads_its_own_changes(api: Api, store: Store) -> None:
    api.make_copy()
    store.devices.add(device("South"))
    api.copy._next_at = float("inf")
    api.watch.now += 1
    api.copy.note_change("admin")
    assert api.devices("admin") == (["North", "South"], None)
    assert api.devices("reporting") == (["North"], 1)


def test_requests_without_a_client_and_those_that_change_something_read_the_store(api: Api) -> None:
    api.make_copy()
    assert api.devices(None) == (["North"], None)
    token = reader.set(Reader(may_use_copy=False, name="admin"))
    try:
        with api.store.database.read("devices"):
            assert (reader.get() or pytest.fail("no reader")).age_seconds is None
    finally:
        reader.reset(token)


def test_equal_reads_are_executed_once_per_copy(api: Api, store: Store) -> None:
    api.make_copy()
    executed: list[int] = []
    started, may_end = threading.Event(), threading.Event()

    def read() -> int:
        executed.append(1)
        started.set()
        assert may_end.wait(20)
        return len(executed)

    results: list[int] = []

    def one() -> None:
        with api.request():
            results.append(api.store.database.once("count", read))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert started.wait(20)
    may_end.set()
    for thread in threads:
        thread.join(20)
    assert (results, executed) == ([1, 1, 1], [1])
    store.devices.add(device("South"))
    api.make_copy()
    one()
    assert results[-1] == 2


def test_equal_reads_at_the_same_time_are_executed_once_without_a_copy_as_well(api: Api) -> None:
    api.copy._next_at = float("inf")
    started, may_end = threading.Event(), threading.Event()

    def read() -> str:
        started.set()
        assert may_end.wait(20)
        return "first"

    def ask(client: str, read: Callable[[], str]) -> str:
        with api.request(client):
            return api.store.database.once("names", read)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(ask, "reporting", read)
        assert started.wait(20)
        api.copy.note_change("admin")  # may not get what was read before its change
        assert ask("admin", lambda: "own") == "own"
        equal = pool.submit(ask, "reporting", lambda: "second")
        with pytest.raises(TimeoutError):
            equal.result(0.05)
        may_end.set()
        assert (first.result(20), equal.result(20)) == ("first", "first")
    assert ask("reporting", lambda: "later") == "later"
    with pytest.raises(ZeroDivisionError):
        ask("reporting", lambda: str(1 / 0))
    assert ask("reporting", lambda: "last") == "last"


def test_reads_beyond_a_few_wait_for_one_of_them_or_for_a_copy(api: Api) -> None:
    api.copy.smallest_bytes = 10**9  # no copy
    may_end, reading = threading.Event(), threading.Semaphore(0)

    def read() -> None:
        with api.request(), api.store.database.read("devices"):
            reading.release()
            assert may_end.wait(20)

    def ask() -> float | None:
        return api.devices()[1]

    with ThreadPoolExecutor() as pool:
        few = [pool.submit(read) for _ in range(3)]
        assert all(reading.acquire(timeout=20) for _ in few)
        fifth = pool.submit(ask)
        with pytest.raises(TimeoutError):
            fifth.result(0.05)
        api.copy.smallest_bytes = 0
        api.copy._copy()
        assert fifth.result(20) == 0
        may_end.set()
        assert [one.result(20) for one in few] == [None] * 3


def test_writers_wait_for_copies_during_a_small_part_of_the_time_and_not_for_repeated_reads(api: Api) -> None:
    api.make_copy()

    def slow() -> int:
        api.watch.now += 20
        return 1

    with api.request():
        api.store.database.once("statistics", slow)
    api.copy._copy()
    assert api.copy._next_at - api.watch.now < MAX_AGE_SECONDS


def test_the_results_of_a_copy_are_bounded_and_the_requested_ones_are_kept(api: Api) -> None:
    api.make_copy()
    executed: list[int] = []

    def ask(number: int) -> None:
        with api.request():
            api.store.database.once(number, lambda: executed.append(number))

    for number in range(200):
        ask(number)
        ask(0)
    assert executed == list(range(200))
    ask(1)
    assert executed[-1] == 1


def test_punches_are_counted_by_user_once_per_copy(api: Api, store: Store) -> None:
    ingest(store, "North", *on(MONDAY, "08:00", "12:00", "17:00", user_id="1"), *on(MONDAY, "08:00", user_id="2"))
    execute(store, "UPDATE raw_punches SET voided_at = now() WHERE punched_at_local = TIMESTAMP '2026-03-02 12:00'")
    order = [Key("timestamp", "instant", descending=True)]

    def count(user_id: str, until: int | None = None, **more: object) -> int:
        with api.request():
            page = PageRequest(1, 1, until)
            return api.store.lists.punches(Filter(user_id=user_id, **more), order, page).count  # type: ignore[arg-type]

    expected = [count(user) for user in "123"]
    assert expected == [2, 1, 0]
    api.make_copy()
    assert [count(user) for user in "123"] == expected
    assert count("1", until=1) == 1
    assert count("1", first=MONDAY + timedelta(days=1)) == 0


def test_days_of_a_copy_are_counted_by_user_and_without_a_filter(api: Api, store: Store) -> None:
    ingest(store, "North", *on(MONDAY, "08:00", "17:00", user_id="1"), *on(MONDAY, "08:00", user_id="2"))
    ingest(store, "North", *on(TUESDAY, "08:00", "17:00", user_id="1"))
    process(store, MONDAY)
    process(store, TUESDAY)
    order = [Key("date", "date", descending=True)]

    def count(wanted: Filter, until: int | None = None) -> int:
        with api.request():
            return api.store.lists.days(wanted, order, PageRequest(1, 1, until)).count

    wanted = [Filter(user_id="1"), Filter(user_id="2"), Filter(user_id="3"), Filter(), Filter(synced_to_crm=False)]
    assert [count(one) for one in wanted] == [2, 1, 0, 3, 3]
    api.make_copy()
    assert [count(one) for one in wanted] == [2, 1, 0, 3, 3]
    assert [count(one, until=2) for one in wanted] == [1, 1, 0, 2, 2]
    assert count(Filter(user_id="1", last=MONDAY)) == 1


def test_slots_are_given_in_the_order_of_the_requests() -> None:
    slots, order = FairSlots(1), list[str]()

    def ask(name: str) -> None:
        with slots:
            order.append(name)

    with ThreadPoolExecutor(3) as threads:
        with slots:
            for number, name in enumerate("abc"):
                threads.submit(ask, name)
                until(lambda number=number: len(slots._waiting) > number)  # type: ignore[misc]
        ask("late")
    assert order == ["a", "b", "c", "late"]
    assert slots.free == 1


def test_reads_with_a_known_result_do_not_overtake_those_that_need_a_query(api: Api) -> None:
    api.make_copy()
    answered = list[str]()

    def ask(name: str, read: Callable[[], object]) -> None:
        with api.request():
            read()
        answered.append(name)

    def list_punches() -> None:
        api.store.lists.punches(Filter(), [Key("timestamp", "instant")], PageRequest(1, 5))

    def count_devices() -> None:  # inside a read, which has a slot
        with api.store.database.read("count") as connection:
            connection.execute("SELECT count(*) FROM devices").fetchone()

    reads = {"known": api.store.devices.all, "list": list_punches, "known again": api.store.devices.all}
    api.copy._slots.free = 1
    with ThreadPoolExecutor(4) as threads, api.copy._slots:
        for number, (name, read) in enumerate([*reads.items(), ("count", count_devices)]):
            threads.submit(ask, name, read)
            until(lambda number=number: len(api.copy._slots._waiting) > number)  # type: ignore[misc]
        assert answered == []  # all wait, in the order of their requests
    assert sorted(answered) == ["count", "known", "known again", "list"]
    assert api.copy._slots.free == 1


def test_a_slow_read_is_repeated_on_the_next_copy_before_a_request_needs_it(api: Api, store: Store) -> None:
    api.make_copy()

    def slow() -> list[str]:
        api.watch.now += 1
        return [one.name for one in api.store.devices.all()]

    def ask(read: Callable[[], list[str]]) -> list[str]:
        with api.request():
            return api.store.database.once("names", read)

    assert ask(slow) == ["North"]
    for name in ("South", "West"):  # again and again, while it is requested
        store.devices.add(device(name))
        api.make_copy()
        assert name in ask(lambda: pytest.fail("executed by a request"))
    for name in ("East", "Yard"):
        store.devices.add(device(name))
        api.make_copy()
    assert ask(lambda: ["executed"]) == ["executed"]


def test_a_read_that_fails_is_not_kept(api: Api) -> None:
    api.make_copy()
    with api.request():
        with pytest.raises(ZeroDivisionError):
            api.store.database.once("ratio", lambda: 1 / 0)
        assert api.store.database.once("ratio", lambda: 2.0) == 2.0


def test_an_open_copy_has_no_file_that_a_kill_could_leave(api: Api, store: Store) -> None:
    folder = store.database.path.parent
    left = folder / f".{store.database.path.name}.api-copy.1.part"
    left.write_bytes(b"of a killed process")
    api.make_copy()
    assert [one.name for one in folder.iterdir() if one.name.endswith(".part")] == []


def test_a_copy_has_what_a_killed_writer_has_committed(api: Api, store: Store) -> None:
    path = store.database.path
    with duckdb.connect(str(path)) as connection:
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        connection.execute("UPDATE devices SET name = 'Renamed'")
    assert wal_path(path).exists()
    api.make_copy()
    assert api.devices() == (["Renamed"], 0)


def test_a_commit_of_another_killed_writer_makes_a_copy_older_than_the_store(api: Api, store: Store) -> None:
    def die_after(change: str) -> None:
        with duckdb.connect(str(store.database.path)) as connection:
            connection.execute("PRAGMA disable_checkpoint_on_shutdown; SET checkpoint_threshold = '1TB'")
            connection.execute(change)

    die_after("UPDATE devices SET name = 'First'")
    api.make_copy()
    api.copy._next_at = float("inf")
    die_after("UPDATE devices SET name = 'Second'")
    api.watch.now += 1
    assert api.devices() == (["First"], 1)


def test_a_small_store_is_never_copied(store: Store) -> None:
    api = Api(store)
    api.copy.smallest_bytes = 10**9
    api.devices()
    until(lambda: api.copy._copying is None)
    assert api.devices()[1] is None


def test_only_one_process_copies_a_store_at_a_time(api: Api, store: Store) -> None:
    with _only_copier(store.database.path) as is_alone:
        assert is_alone
        assert api.copy._copied() is None
