"""People: the list by name with its search and pages, and the profile of one user."""

from __future__ import annotations

from datetime import date, time

import pytest

from zk_pipeline.attendance.shifts import Assignment, Season, Shift, Target
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.queries.people import PersonRow
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, TUESDAY, copied, device, ingest, on, process

USERS = [("1001", 1, "Zoë", 0, 0), ("1002", 2, "anna", 0, 0), ("1003", 3, "", 0, 0)]


@pytest.fixture(scope="module")
def known(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three users at Plant, of whom 1001 is known at Depot as well; 77 has a day and is enrolled nowhere."""
    store = copied(empty_store_file, tmp_path_factory.mktemp("people"))
    store.devices.add(device("Gate", site="Plant", timezone="Europe/Istanbul"))
    store.devices.add(device("Yard", site="Depot"))
    ingest(store, "Gate", *on(MONDAY, "09:00", "17:30"), *on(TUESDAY, "09:00"), users=USERS)
    ingest(store, "Yard", *on(MONDAY, "20:00", user_id="77"), users=[("1001", 1, "Zoë", 0, 0)])
    process(store, MONDAY, TUESDAY)
    store.shifts.add(Shift(name="office", start=time(9), end=time(18), weekdays=("mon", "tue")))
    store.shifts.add(Shift(name="summer", start=time(9), end=time(18)))
    store.shifts.add(Shift.of("off", {"weekdays": ()}))
    store.shifts.assign(Assignment(shift="office", target=Target(site="Plant")))
    store.shifts.assign(Assignment(shift="off", target=Target(user_id="1001", site="Plant"), valid_from=MONDAY))
    store.shifts.assign(Assignment(shift="off", target=Target(user_id="1002")))
    store.shifts.assign(Assignment(shift="summer", target=Target(device="Yard")))
    store.shifts.add_season(
        Season(shift="office", use="summer", valid_from=date(2026, 7, 1), valid_to=date(2026, 8, 1))
    )
    return store


def test_people_are_listed_by_name_with_their_last_day(known: Store) -> None:
    page = known.people.page(limit=10)
    assert page.rows == [
        PersonRow("1003", "Plant", "1003", "", None),
        PersonRow("77", "Depot", "77", "", MONDAY),
        PersonRow("anna", "Plant", "1002", "anna", None),
        PersonRow("zoë", "Depot", "1001", "Zoë", None),
        PersonRow("zoë", "Plant", "1001", "Zoë", TUESDAY),
    ]
    assert (page.count, page.has_more) == (5, False)


def test_each_page_begins_after_the_last_row_of_the_page_before(known: Store) -> None:
    pages, after = [], None
    while True:
        page = known.people.page(limit=2, after=after)
        assert page.count == 5
        pages.append([(one.user_id, one.site) for one in page.rows])
        if not page.has_more:
            break
        after = page.rows[-1].place
    assert pages == [[("1003", "Plant"), ("77", "Depot")], [("1002", "Plant"), ("1001", "Depot")], [("1001", "Plant")]]
    assert known.people.page(limit=2, after=("zz", "", "")).rows == []


def test_a_search_finds_parts_of_names_and_ids_at_a_site(known: Store) -> None:
    found = {text: [one.user_id for one in known.people.page(text=text, limit=9).rows] for text in ("ANN", "ZO", "00")}
    assert found == {"ANN": ["1002"], "ZO": ["1001", "1001"], "00": ["1003", "1002", "1001", "1001"]}
    assert [one.user_id for one in known.people.page(site="Depot", limit=9).rows] == ["77", "1001"]
    nothing = known.people.page(text="%", limit=9)
    assert (nothing.count, nothing.rows, nothing.has_more) == (0, [], False)


def test_a_profile_has_all_sites_and_the_shifts_of_one_by_precedence(known: Store) -> None:
    profile = known.people.profile("Plant", "1001")
    assert [(one.site, one.name, one.timezone, one.last_date, one.days) for one in profile.sites] == [
        ("Depot", "Zoë", "UTC", None, 0),
        ("Plant", "Zoë", "Europe/Istanbul", TUESDAY, 2),
    ]
    assert [(one.shift, one.assigned_to, one.hours) for one in profile.shifts][:2] == [
        ("off", "this user at Plant", "off"),
        ("office", "site Plant", "09:00–18:00"),
    ]
    shifts = [profile.shift_on(day) for day in (date(2026, 3, 1), MONDAY)]
    assert [one and one.shift for one in shifts] == ["office", "off"]
    seasonal = known.people.profile("Plant", "1003").shift_on(date(2026, 7, 15))
    assert seasonal is not None
    assert (seasonal.shift, seasonal.assigned_shift) == ("summer", "office")
    assert [one.shift for one in known.people.profile("Depot", "77").shifts] == ["summer"]
    assert known.people.profile("Plant", "4711").sites == []
