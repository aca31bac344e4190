"""Search of users, devices and sites, and the numbers of what waits, on a store."""

from __future__ import annotations

import pytest

from zk_pipeline.store.queries.search import search
from zk_pipeline.store.queries.waiting import MAX_COUNTED, Waiting, waiting
from zk_pipeline.store.store import Store
from zk_pipeline.store.work_dates.manual_punches import PunchRequest
from zk_pipeline_tests.store.push.push_fixtures import contact
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, execute, ingest, on, process, rows

USERS = [
    ("1001", 1, "Zoë Yılmaz", 0, 0),
    ("1002", 2, "Ali Zoeller", 0, 0),
    ("zoe", 3, "Someone else", 0, 0),
    ("7", 4, "", 0, 0),
    ("8", 5, "Łukasz Strauß", 0, 0),
]


@pytest.fixture
def staffed(store: Store) -> Store:
    store.devices.add(device("Main gate", site="Zoetermeer"))
    store.devices.add(device("Yard", site="Zoetermeer"))
    ingest(store, "Main gate", *on(MONDAY, "09:00", "18:00", user_id="2002"), users=USERS)
    process(store, MONDAY)
    return store


def names(store: Store, text: str, limit: int = 9) -> list[str]:
    return [one.name or one.user_id for one in search(store.database, text, limit=limit).users]


def test_words_of_a_name_are_found_in_any_order_case_and_accents(staffed: Store) -> None:
    assert names(staffed, "yılmaz ZOE") == names(staffed, "1001") == ["Zoë Yılmaz"]
    for text in ("lukasz", "ŁUKASZ", "strauss", "Łukasz strauß"):
        assert names(staffed, text) == ["Łukasz Strauß"]
        assert [one.name for one in staffed.enrolled_users.find(text.split()[0])] == ["Łukasz Strauß"]
        assert [one.name for one in staffed.people.page(text=text.split()[0], limit=2).rows] == ["Łukasz Strauß"]
    assert names(staffed, "ali 1003") == names(staffed, "  ") == []


def test_an_exact_id_is_first_then_names_that_begin_with_the_text(staffed: Store) -> None:
    assert names(staffed, "zoe") == ["Someone else", "Zoë Yılmaz", "Ali Zoeller"]
    assert names(staffed, "zoe", limit=2) == ["Someone else", "Zoë Yılmaz"]


def test_users_without_a_name_and_those_with_days_only_are_found_by_their_id(staffed: Store) -> None:
    assert names(staffed, "7") == ["7"]
    assert names(staffed, "2002") == ["2002"]
    assert names(staffed, "200") == []


def test_devices_and_sites_are_found_until_they_are_removed(staffed: Store) -> None:
    found = search(staffed.database, "zoeter", limit=9)
    assert ([one.name for one in found.devices], found.sites) == (["Main gate", "Yard"], ["Zoetermeer"])
    assert [one.name for one in search(staffed.database, "gate main", limit=9).devices] == ["Main gate"]
    staffed.devices.remove("Main gate")
    assert [one.name for one in search(staffed.database, "zoeter", limit=9).devices] == ["Yard"]


def test_each_number_of_what_waits_is_that_of_its_list(staffed: Store) -> None:
    assert waiting(staffed.database) == Waiting()
    execute(staffed, "UPDATE daily_attendance SET is_outlier = true, outlier_codes = ['NO_CLOCK_OUT']")
    execute(staffed, "UPDATE crm_deliveries SET state = 'failed'")
    contact(staffed, "CJ0V2", family="A")
    staffed.manual_punches.request(
        [PunchRequest("2002", "Zoetermeer", staffed.clock().replace(tzinfo=None), "in", "forgot")],
        "cli:ada",
        history_start=MONDAY,
    )
    assert waiting(staffed.database) == Waiting(1, 1, 1, 1)
    (day,) = rows(staffed, "SELECT id, revision FROM daily_attendance")
    staffed.reviews.mark({day[0]: day[1]}, by="cli:ada")
    assert waiting(staffed.database) == Waiting(0, 1, 1, 1)


def test_what_waits_is_counted_up_to_a_limit(staffed: Store) -> None:
    contact(staffed, "CJ0V2", family="A")
    execute(
        staffed,
        "INSERT INTO push_terminals BY NAME (SELECT known.* REPLACE ('S' || n AS serial_number) "
        "FROM push_terminals AS known, range(200) AS numbers(n))",
    )
    assert waiting(staffed.database).pending_terminals == MAX_COUNTED
