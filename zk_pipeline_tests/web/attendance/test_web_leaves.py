"""Page of leaves: form, import and removal; leave on the pages of days and months."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import httpx
import pytest

from zk_pipeline_tests.store.store_fixtures import execute, rows
from zk_pipeline_tests.web.attendance.attended import ABSENT, XSS
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import Web

WANTED = {"new_user": "1001", "first_date": str(ABSENT), "kind": "sick leave", "note": f"n {XSS}"}
DAY = f"/attendance/day?site=Head+office&user_id=1001&date={ABSENT}"


@pytest.fixture
def hr(web: Web) -> Iterator[httpx.Client]:
    with web.client("approve") as client:
        yield client
    execute(web.store, "DELETE FROM leaves")


def signed(client: httpx.Client) -> dict[str, str]:
    return {"csrf_token": drawn(client.get("/leaves")).fields["csrf_token"]}


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return " ".join(drawn(answer).text.split())


def test_a_leave_is_added_shown_with_the_absence_and_removed(hr: httpx.Client) -> None:
    added = hr.post("/leaves", data=signed(hr) | WANTED)
    assert f"Added: 1001, sick leave, {ABSENT}, n {XSS} (entered by test approve)." in text_of(added)
    assert "Warning" not in added.text
    assert f"Leave: sick leave, {ABSENT}, n {XSS} (entered by test approve)" in text_of(hr.get(DAY))
    assert "sick leave" in text_of(hr.get(f"/month?user_id=1001&month={ABSENT:%Y-%m}&site=Head+office"))
    assert "sick leave" in text_of(hr.get(f"/report?date={ABSENT}&site=Head+office"))
    again = hr.post("/leaves", data=signed(hr) | WANTED)
    assert (again.status_code, "has this leave already" in again.text) == (400, True)
    (number,) = re.findall(r'name="id" value="(\d+)"', hr.get("/leaves?user_id=1001").text)
    assert "No leaves for these filters" in text_of(hr.get("/leaves?user_id=1002"))
    removed = hr.post("/leaves/remove", data=signed(hr) | {"id": number})
    assert removed.headers["location"] == "/leaves"
    assert "Removed." in text_of(hr.get(removed.headers["location"]))
    assert hr.post("/leaves/remove", data=signed(hr) | {"id": number}).status_code == 404
    assert hr.post("/leaves/remove", data=signed(hr) | {"id": "x"}).status_code == 400
    for change in ({"first_date": "soon"}, {"first_date": ""}, {"kind": ""}, {"new_site": "Mars"}):
        assert hr.post("/leaves", data=signed(hr) | WANTED | change).status_code == 400


def test_a_file_is_imported_or_each_bad_row_is_named(hr: httpx.Client) -> None:
    def upload(content: bytes, name: str = "leave.csv") -> httpx.Response:
        return hr.post("/leaves/import", data=signed(hr), files={"file": (name, content, "text/csv")})

    bad = upload(b"user_id,first_date,kind\n1001,soon,x\n1001,2026-03-04,\n")
    assert (bad.status_code, bad.text.count("<li>line ")) == (400, 2)
    done = upload(b"user_id,first_date,kind\n1O01,2026-03-04,training\n")
    text = text_of(done)
    assert "Imported: 1 added, 0 unchanged, 0 removed, 0 skipped." in text
    assert "Warning: no terminal and no recorded punch has the user id '1O01'" in text
    assert upload(b"", "leave.csv").status_code == 400


def test_readers_see_leaves_and_cannot_change_them(reader: httpx.Client) -> None:
    page = reader.get("/leaves")
    assert (page.status_code, "Add a leave" in page.text) == (200, False)
    for path in ("/leaves", "/leaves/remove", "/leaves/import"):
        assert reader.post(path, data=WANTED).status_code == 403


def test_a_name_in_place_of_a_user_id_is_refused_with_the_ids_of_its_users(hr: httpx.Client, web: Web) -> None:
    ((user_id, name),) = rows(
        web.store,
        "SELECT user_id, name FROM device_users WHERE regexp_matches(name, '^[A-Za-z ]+$') ORDER BY 1 LIMIT 1",
    )
    typed = name.lower()
    refused = hr.post("/leaves", data=signed(hr) | WANTED | {"new_user": typed})
    assert refused.status_code == 400
    assert f"no user has the id '{typed}': enter the id of {name} ({user_id})" in html.unescape(refused.text)
    asked = {"user_id": typed, "site": "Head office", "date": f"{ABSENT}", "time": "09:00", "reason": "forgotten"}
    assert "enter the id of" in hr.post("/punch-requests/new", data=signed(hr) | asked).text
