"""Syntax of POLL_QUEUES, and the assignment of terminals to queues."""

from __future__ import annotations

import pytest

from zk_pipeline.config.poll_queues import queue_slug, split_poll_queues
from zk_pipeline.devices.models import Device
from zk_pipeline.operations.alerting.routing import group_by_queue, order_by_queue, queue_for_site


def terminal(name: str, site: str, *, enabled: bool = True) -> Device:
    return Device(name=name, ip_address="192.0.2.1", site=site, enabled=enabled)


def test_a_site_has_the_queue_that_is_named_for_it_or_that_of_every_other_or_the_one_for_all_else() -> None:
    rules = split_poll_queues("Head office = hq, *=site-{site}")
    assert rules == {"Head office": "hq", "*": "site-{site}"}
    assert [queue_for_site(site, rules) for site in ("Head office", "İzmir", "Depot")] == [
        "hq",
        "site-izmir",
        "site-depot",
    ]
    assert queue_for_site("Izmir", split_poll_queues("Ankara=ankara")) == "dagster"


@pytest.mark.parametrize(
    ("site", "slug"),
    [
        ("Head office", "head-office"),
        ("İZMİR", "izmir"),
        ("Kadıköy", "kadikoy"),
        ("Łódź / Süd", "lodz-sud"),
        ("A_1", "a-1"),
    ],
)
def test_the_name_of_a_site_becomes_small_letters(site: str, slug: str) -> None:
    assert queue_slug(site) == slug


def test_names_that_lose_letters_stay_different() -> None:
    slugs = [queue_slug(site) for site in ("Москва", "Минск", "東京", "!", "x" * 50, "x" * 51)]
    assert len(set(slugs)) == len(slugs)
    assert all(slug.isascii() and len(slug) < 60 for slug in slugs)


def test_devices_of_a_queue_are_told_together_and_stand_side_by_side_enabled_ones_first() -> None:
    devices = [
        terminal("A", "Izmir", enabled=False),
        terminal("B", "Ankara"),
        terminal("C", "Izmir"),
        terminal("D", "Bursa"),
    ]
    rules = split_poll_queues("Bursa=ankara, *={site}")
    assert {queue: [one.name for one in ours] for queue, ours in group_by_queue(devices, rules).items()} == {
        "ankara": ["B", "D"],
        "izmir": ["A", "C"],
    }
    assert order_by_queue(devices, rules) == ["B", "D", "C", "A"]
