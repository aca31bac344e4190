"""Limits of the receiver without a server: rates, bytes, new contacts, networks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zk_pipeline.receiver.contacts import MAX_NEW_PER_RECORD, ContactBook
from zk_pipeline.receiver.limits import MAX_BYTES_IN_PROGRESS, MAX_KEYS, BytesInProgress, RateLimit, TooMuchInProgress
from zk_pipeline.receiver.registry import is_within
from zk_pipeline.store.push.terminals import Contact
from zk_pipeline_tests.store.store_fixtures import LONG_AFTER


def test_a_flood_from_many_addresses_is_bounded_between_two_records() -> None:
    book = ContactBook()
    noted = [
        book.note_new(Contact(serial_number=f"S{n}", address=f"10.0.{n // 256}.{n % 256}", seen_at=LONG_AFTER))
        for n in range(5000)
    ]
    assert sum(noted) == len(book.take()) == MAX_NEW_PER_RECORD
    assert book.take() == []


def test_contacts_that_could_not_be_recorded_are_kept_with_later_facts() -> None:
    book = ContactBook()
    first = Contact(serial_number="S", address="a", seen_at=LONG_AFTER, record_count=7, push_version="2")
    book.note(first)
    book.note(replace(first, record_count=None, push_version="3"))
    taken = book.take()
    book.note(replace(first, address="b", record_count=None, push_version=None))
    book.put_back(taken)
    assert book.take() == [replace(first, address="b", record_count=7, push_version="3")]


def test_a_rate_limit_refills_and_forgets_the_oldest_keys() -> None:
    times = [1000.0]
    limit = RateLimit(per_second=0.5, burst=2, clock=lambda: times[-1])
    assert [limit.allows("a") for _ in range(3)] == [True, True, False]
    assert limit.allows("b")
    times.append(1002.0)
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    for n in range(MAX_KEYS):
        limit.allows(str(n))
    assert len(limit._buckets) == MAX_KEYS


def test_a_copy_of_a_limit_counts_by_itself() -> None:
    limit = RateLimit(per_second=0.001, burst=1)
    assert limit.allows("a")
    assert [replace(limit).allows("a"), limit.allows("a")] == [True, False]


def test_bytes_in_progress_are_bounded() -> None:
    progress = BytesInProgress()
    progress.add(MAX_BYTES_IN_PROGRESS)
    with pytest.raises(TooMuchInProgress):
        progress.add(1)
    progress.remove(MAX_BYTES_IN_PROGRESS)
    progress.add(1)


@pytest.mark.parametrize(
    ("address", "networks", "is_inside"),
    [
        ("10.1.2.3", "10.1.0.0/16", True),
        ("10.2.2.3", "10.1.0.0/16,10.2.2.3", True),
        ("::ffff:10.1.2.3", "10.1.0.0/16", True),
        ("10.2.2.3", "10.1.0.0/16", False),
        ("2001:db8::7", "10.0.0.0/8, 2001:db8::/32", True),
        ("10.1.2.3", "not a network", False),
        ("", "0.0.0.0/0", False),
    ],
)
def test_source_networks_contain_addresses_of_both_families(address: str, networks: str, is_inside: bool) -> None:
    assert is_within(address, networks) is is_inside
