"""Leaves over HTTP, and the leave of an absence."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.store.store_fixtures import execute

PATH = "/api/leaves/"
WANTED = {"user_id": "1001", "first_date": "2026-03-04", "last_date": "2026-03-06", "kind": "annual leave"}


@pytest.fixture
def hr(filled: Store, own: Served) -> Iterator[httpx.Client]:  # noqa: ARG001 (is served)
    with own.client("approve") as client:
        yield client


def test_a_leave_is_the_reason_of_an_absence_until_it_is_removed(hr: httpx.Client, filled: Store, own: Served) -> None:
    with filled.database.write("test") as connection:
        connection.execute("DELETE FROM daily_attendance WHERE user_id = '1001' AND work_date IN ('2026-03-04')")
    with own.client() as boss:
        shift = {"name": "day", "start": "09:00", "end": "18:00"}
        assert boss.post("/api/shifts/", json=shift).status_code == 201
        assert boss.post("/api/shift-assignments/", json={"shift": "day", "user_id": "1001"}).status_code == 201
    made = hr.post(PATH, json=WANTED | {"note": "summer"})
    assert (made.status_code, made.json()["created_by"], made.json()["warning"]) == (201, "test approve", None)
    assert [one["leave"] for one in hr.get("/api/absences/").json()["results"]] == ["annual leave"]
    explained = hr.get("/api/explain/?user_id=1001&date=2026-03-05").json()
    assert ([one["note"] for one in explained["leaves"]], len(explained["punches"])) == (["summer"], 2)
    assert hr.get("/api/explain/?user_id=1001&date=2026-03-03").json()["leaves"] == []
    assert hr.delete(f"{PATH}1/").status_code == 204
    assert [one["leave"] for one in hr.get("/api/absences/").json()["results"]] == [None]
    (gone,) = hr.get(f"{PATH}?removed=true").json()["results"]
    assert (gone["id"], gone["removed_by"]) == (1, "test approve")
    assert hr.get(PATH).json()["results"] == []


def test_each_refusal_has_its_status_and_one_line(hr: httpx.Client, filled: Store) -> None:
    execute(filled, "INSERT INTO device_users SELECT name, '1001', 1, 'Zoë', 0, 0, now() FROM devices LIMIT 1")
    named = "no user has the id 'zoe': enter the id of Zoë (1001)"
    asked = {"user_id": "zoe", "site": "North", "at": "2026-03-02T09:00", "state": "in", "reason": "no power"}
    hr.post(PATH, json=WANTED)
    refused = [
        (hr.post(PATH, json=WANTED), 409, "1001 has this leave already: it is leave 1"),
        (hr.delete(f"{PATH}9/"), 404, "there is no leave 9"),
        (hr.post(PATH, json=WANTED | {"last_date": "2026-03-01"}), 400, "last_date 2026-03-01 is before first_date"),
        (hr.post(PATH, json=WANTED | {"first_date": "2026-02-30"}), 400, "first_date: 2026-02-30 is not a valid date"),
        (hr.post(PATH, json=WANTED | {"day_part": "noon"}), 400, "day_part: "),
        (hr.post(PATH, json=WANTED | {"site": "Mars"}), 400, "no site 'Mars'; there are: North"),
        (hr.post(PATH, json=WANTED | {"user_id": " "}), 400, "the user_id is empty"),
        (hr.post(PATH, json=WANTED | {"user_id": "zoe"}), 400, named),
        (hr.post("/api/punch-requests/", json=asked), 400, named),
        (hr.get(f"{PATH}?kind=sick"), 400, "kind: there is no such parameter"),
    ]
    for answer, status, words in refused:
        assert (answer.status_code, answer.json()["detail"].startswith(words)) == (status, True), answer.text
    unknown = hr.post(PATH, json={"user_id": "1O01", "first_date": "2026-03-04", "kind": "sick leave"})
    assert unknown.json()["last_date"] == "2026-03-04"
    assert "has the user id '1O01'" in unknown.json()["warning"]
