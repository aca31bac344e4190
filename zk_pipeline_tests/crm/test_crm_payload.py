"""Request bodies and idempotency keys."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import combinations

import pytest

from zk_pipeline.crm.mapping import FieldMapping
from zk_pipeline.crm.payload import batch_key, crm_record, encode_batch, encode_one, idempotency_key
from zk_pipeline_tests.crm.crm_doubles import DAY, ZONE, deliveries, delivery


def test_a_record_is_the_json_of_the_contract_in_its_order() -> None:
    assert encode_one(delivery()) == (
        b'{"user_id":"EMP001","date":"2026-11-11","clock_in":"2026-11-11T08:15:30+03:00","clock_out":null,'
        b'"is_outlier":false,"outlier_reason":"","device_name":"Main Office","device_ip":"192.0.2.10",'
        b'"revision":1}'
    )


def test_a_record_per_site_names_its_site_and_a_merged_one_that_of_its_clock_in() -> None:
    per_site = replace(delivery(), record_per="site")
    assert crm_record(per_site) == crm_record(delivery()) | {"site": "Main Office"}
    constant = FieldMapping(constant={"site": "all"})
    assert (crm_record(per_site, constant)["site"], crm_record(delivery(), constant)["site"]) == ("Main Office", "all")
    merged = replace(delivery(), clock_in_site="Depot")
    assert crm_record(merged, FieldMapping(add={"site": "plant"}))["plant"] == "Depot"


def test_instants_lose_their_fraction_and_keep_their_offset() -> None:
    day = replace(
        delivery(),
        clock_in=datetime(2026, 11, 11, 8, 0, 0, 999_999, tzinfo=ZONE),
        clock_out=datetime(2026, 11, 11, 17, 30, tzinfo=UTC),
    )
    sent = json.loads(encode_one(day))
    assert (sent["clock_in"], sent["clock_out"]) == ("2026-11-11T08:00:00+03:00", "2026-11-11T17:30:00+00:00")


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="no UTC offset"):
        encode_one(replace(delivery(), clock_in=datetime(2026, 11, 11, 8, 0)))  # noqa: DTZ001 - the point of it


def test_names_outside_ascii_survive() -> None:
    assert json.loads(encode_one(replace(delivery(), device_name="Büro 東京")))["device_name"] == "Büro 東京"


def test_a_batch_is_an_array_whose_records_carry_their_own_keys() -> None:
    due = deliveries(2)
    sent = json.loads(encode_batch(due))
    assert [r.pop("idempotency_key") for r in sent] == [d.idempotency_key for d in due]
    assert sent == [json.loads(encode_one(d)) for d in due]


def test_a_key_is_the_same_in_every_release() -> None:
    assert idempotency_key("Main Office", "EMP001", DAY, 1, "hash") == "d472029c-fb7c-5258-b592-6f4514a264c8"


def test_no_two_days_revisions_or_contents_share_a_key() -> None:
    parts = [
        ("a", "b", DAY, 1, "x"),
        ("a", "b", DAY, 1, "y"),
        ("a", "b", DAY, 2, "x"),
        ("a", "b", date(2026, 11, 12), 1, "x"),
        ("ab", "", DAY, 1, "x"),
        ("", "ab", DAY, 1, "x"),
        ('a", "b', "", DAY, 1, "x"),
        ("a", '", "b', DAY, 1, "x"),
        ("a", "b", DAY, 11, "x"),
        ("a", "b", DAY, 1, "1x"),
    ]
    for one, other in combinations(parts, 2):
        assert idempotency_key(*one) != idempotency_key(*other), (one, other)


def test_a_batch_has_one_key_for_the_same_records_and_another_for_others() -> None:
    due = deliveries(3)
    assert batch_key(due) == batch_key(list(due))
    assert len({batch_key(due), batch_key(due[:2]), batch_key(due[::-1])}) == 3
