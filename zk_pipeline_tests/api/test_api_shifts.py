"""Shifts, assignments, holidays and absences over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import httpx
import pytest

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.store.store_fixtures import MONDAY, process, stale

NIGHT = {"name": "night", "start": "22:00", "end": "06:00", "weekdays": ["mon", "tue"], "late_clock_in_hours": 0.5}


MARCH = {"valid_from": "2026-03-02", "valid_to": "2026-03-09"}


@pytest.fixture
def boss(filled: Store, own: Served) -> Iterator[httpx.Client]:  # noqa: ARG001 (is served)
    with own.client() as client:
        yield client


def test_hours_are_declared_assigned_and_taken_back_and_the_days_they_touch_are_stale(
    boss: httpx.Client, filled: Store
) -> None:
    made = boss.post("/api/shifts/", json=NIGHT)
    assert (made.status_code, made.json()) == (201, made.json() | NIGHT)
    assert boss.get("/api/shifts/").json() == [made.json()]
    assert boss.get("/api/shifts/night/").json()["workday_starts_at"] is None
    office = NIGHT | {"name": "office", "start": "09:00", "end": "18:00", "weekdays": ["mon", "tue", "wed", "sun"]}
    assert boss.post("/api/shifts/", json=office).status_code == 201
    assert boss.put("/api/shifts/office/", json=office | {"late_clock_in_hours": None}).status_code == 200
    assert boss.get("/api/shifts/office/").json()["late_clock_in_hours"] is None

    wanted = {"shift": "office", "user_id": "1001", "valid_from": "2026-03-02", "valid_to": "2026-03-31"}
    given = boss.post("/api/shift-assignments/", json=wanted)
    assert (given.status_code, given.json() | wanted) == (201, given.json())
    at_gate = boss.post("/api/shift-assignments/", json={"shift": "night", "device": 1}).json()
    assert (at_gate["device"], at_gate["device_name"]) == (1, "North")
    assert [one["id"] for one in boss.get("/api/shift-assignments/").json()] == [given.json()["id"], at_gate["id"]]
    assert boss.delete("/api/shifts/night/").status_code == 400  # it is assigned
    assert boss.delete(f"/api/shift-assignments/{at_gate['id']}/").status_code == 204
    assert boss.delete("/api/shifts/night/").status_code == 204

    new_year = {"date": "2026-03-02", "name": "Founders' Day", "site": None}
    assert boss.post("/api/holidays/", json=new_year).json() == new_year
    assert boss.get("/api/holidays/").json() == [new_year]
    both = {"date": "2026-05-01", "name": "Labour Day / Feast", "site": None}  # as imports name a date of two feasts
    filled.holidays.put([Holiday(day=date(2026, 5, 1), name="Labour Day / Feast")])
    assert boss.get("/api/holidays/").json() == [new_year, both]
    filled.holidays.remove(date(2026, 5, 1))
    assert MONDAY in stale(filled)
    assert boss.delete("/api/holidays/2026-03-02/?site=Elsewhere").status_code == 404
    assert boss.delete("/api/holidays/2026-03-02/").status_code == 204
    assert boss.get("/api/holidays/").json() == []


def test_a_rotation_is_expanded_again_without_a_change_and_replaced_on_request(
    boss: httpx.Client, filled: Store
) -> None:
    for name in ("early", "late"):
        assert boss.post("/api/shifts/", json=NIGHT | {"name": name}).status_code == 201
    off = boss.post("/api/shifts/", json={"name": "off", "weekdays": []}).json()
    assert (off["start"], off["weekdays"]) == ("00:00", [])
    wanted = MARCH | {"pattern": "early*2 late*2 off*2", "user_id": "1001"}
    tried = boss.post("/api/shift-assignments/rotate/", json=wanted | {"dry_run": True}).json()
    assert ({one["id"] for one in tried["added"]}, filled.shifts.assignments()) == ({None}, [])
    made = boss.post("/api/shift-assignments/rotate/", json=wanted).json()
    assert [(one["shift"], one["valid_from"][-2:], one["valid_to"][-2:]) for one in made["added"]] == [
        ("early", "02", "03"), ("late", "04", "05"), ("off", "06", "07"), ("early", "08", "09"),
    ]  # fmt: skip
    again = boss.post("/api/shift-assignments/rotate/", json=wanted).json()
    assert again == {"added": [], "removed": [], "unchanged": 4}
    shifted = wanted | {"start_at": 3}
    refused = boss.post("/api/shift-assignments/rotate/", json=shifted)
    assert (refused.status_code, "user '1001' has 'early' from" in refused.json()["detail"]) == (400, True)
    replaced = boss.post("/api/shift-assignments/rotate/", json=shifted | {"replace": True}).json()
    assert len(replaced["removed"]) == 4
    assert [one.shift for one in filled.shifts.assignments()] == ["late", "off", "early", "late"]

    one = {"shift": "early", "device": 1} | MARCH
    wrong = boss.post("/api/shift-assignments/bulk/", json={"assignments": [one, one | {"shift": "never"}]})
    assert (wrong.status_code, wrong.json()["detail"][:36]) == (400, "assignment 2: no shift 'never'; ther")
    done = boss.post("/api/shift-assignments/bulk/", json={"assignments": [one]}).json()
    assert (done["added"][0]["device_name"], done["unchanged"]) == ("North", 0)


def test_a_season_is_listed_and_removed(boss: httpx.Client) -> None:
    for name in ("office", "ramadan"):
        assert boss.post("/api/shifts/", json=NIGHT | {"name": name}).status_code == 201
    wanted = {"shift": "office", "use": "ramadan"} | MARCH
    made = boss.post("/api/shift-seasons/", json=wanted)
    assert (made.status_code, made.json()) == (201, {"id": 1} | wanted)
    assert boss.get("/api/shift-seasons/").json() == [made.json()]
    assert "has a season already: 'ramadan'" in boss.post("/api/shift-seasons/", json=wanted).json()["detail"]
    assert "it first" in boss.delete("/api/shifts/ramadan/").json()["detail"]
    assert boss.delete("/api/shift-seasons/1/").status_code == 204
    assert boss.get("/api/shift-seasons/").json() == []


def test_who_was_expected_and_did_not_come_is_listed_by_page(boss: httpx.Client, filled: Store) -> None:
    with filled.database.write("test") as connection:
        connection.execute("DELETE FROM raw_punches WHERE user_id = '1002' AND punched_at_local < '2026-03-09'")
        connection.execute("DELETE FROM daily_attendance WHERE user_id = '1001' AND work_date IN ('2026-03-04')")
    boss.post("/api/shifts/", json=NIGHT | {"name": "day", "start": "09:00", "end": "18:00", "weekdays": ["wed"]})
    boss.post("/api/shift-assignments/", json={"shift": "day", "user_id": "1001"})
    expected = {"site": "North", "user_id": "1001", "date": "2026-03-04", "shift": "day", "leave": None}
    assert boss.get("/api/absences/").json() == {"count": 1, "next": None, "previous": None, "results": [expected]}
    assert boss.get("/api/absences/?user_id=1002").json()["count"] == 0
    assert boss.get("/api/absences/?start_date=2026-03-05").json()["count"] == 0
    assert boss.get("/api/absences/?page=2").status_code == 404
    process(filled, MONDAY + timedelta(days=2))


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("shifts", NIGHT | {"start": "9"}, "start: a time of day such as 09:00 is expected"),
        ("shifts", NIGHT | {"end": None}, "a shift with working days needs a start and an end"),
        ("shifts", NIGHT | {"weekdays": ["never"]}, "weekdays: "),
        ("shifts", NIGHT | {"name": "a/b"}, "name: "),
        ("shifts", NIGHT | {"name": "\x00"}, "name: "),
        ("shifts", NIGHT | {"late_clock_in_hours": "1"}, "late_clock_in_hours: "),
        ("shifts", NIGHT | {"lunch": "12:00"}, "lunch: there is no such field"),
        ("shift-assignments", {"shift": "none", "user_id": "1"}, "no shift 'none'"),
        ("shift-assignments", {"shift": "none"}, "name one"),
        ("shift-assignments", {"shift": "none", "device": 900000}, "device: there is none with the id 900000"),
        ("shift-assignments", {"shift": "none", "user_id": "1", "valid_from": "2026-02-30"}, "valid_from: 2026-02-30"),
        ("shift-seasons", {"shift": "none", "use": "other"} | MARCH, "no shift 'none'"),
        ("shift-seasons", {"shift": "none", "use": "none"} | MARCH, "must use another shift"),
        ("holidays", {"date": "2026-13-01", "name": "x"}, "date: 2026-13-01 is not a valid date"),
        ("holidays", {"date": "2026-01-01", "name": "x", "site": "Mars"}, "no site 'Mars'"),
    ],
)
def test_what_is_wrong_with_hours_is_said(admin: httpx.Client, path: str, body: object, words: str) -> None:
    answer = admin.post(f"/api/{path}/", json=body)
    assert (answer.status_code, words in answer.json()["detail"]) == (400, True), answer.text
    assert admin.get(f"/api/{path}/").json() == []


def test_hours_that_there_are_not_are_not_found(admin: httpx.Client) -> None:
    for method, path in (
        ("GET", "shifts/none"), ("PUT", "shifts/none"), ("DELETE", "shifts/none"),
        ("DELETE", "shift-assignments/77"), ("DELETE", "shift-seasons/77"),
        ("DELETE", "holidays/2026-01-01"), ("DELETE", "holidays/never"),
    ):  # fmt: skip
        body = NIGHT | {"name": "none"} if method == "PUT" else None
        assert admin.request(method, f"/api/{path}/", json=body).status_code == 404, path


def test_hours_are_changed_by_admins_only(served: Served) -> None:
    with served.client("operate") as operator:
        for method, path in (
            ("POST", "shifts"), ("PUT", "shifts/x"), ("DELETE", "shifts/x"), ("POST", "shift-assignments"),
            ("DELETE", "shift-assignments/1"), ("POST", "holidays"), ("DELETE", "holidays/2026-01-01"),
            ("POST", "shift-assignments/bulk"), ("POST", "shift-assignments/rotate"), ("POST", "shift-seasons"),
            ("DELETE", "shift-seasons/1"), ("POST", "clock-corrections"), ("DELETE", "clock-corrections/1"),
        ):  # fmt: skip
            assert operator.request(method, f"/api/{path}/").status_code == 403, path
    with served.client("read") as reader:
        assert reader.post("/api/quarantine/release/").status_code == 403
        for path in (
            "shifts",
            "shift-assignments",
            "shift-seasons",
            "holidays",
            "absences",
            "clock-corrections",
            "quarantine",
        ):
            assert reader.get(f"/api/{path}/").status_code == 200, path
