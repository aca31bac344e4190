"""Reviews of outliers, from their list and from the page of a day."""

from __future__ import annotations

import re

import httpx

from zk_pipeline_tests.store.store_fixtures import execute
from zk_pipeline_tests.web.attendance.attended import MARCH, XSS
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import Web

LIST = "/outliers?site=Head+office"


def user_ids(client: httpx.Client, address: str) -> list[str]:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return re.findall(r'aria-label="(\w+), ', answer.text)


def test_days_are_reviewed_on_their_list_and_opened_again_on_their_page(approver: httpx.Client, web: Web) -> None:
    assert user_ids(approver, LIST) == user_ids(approver, f"{LIST}&reviewed=all") == ["1002", "1002", "1003"]
    page = approver.get(LIST)
    token = drawn(page).fields["csrf_token"]
    (box,) = re.findall(r'name="(day-\d+-\d+)" value="yes" aria-label="1003,', page.text)
    form = {"csrf_token": token, "back": LIST, "note": f"doctor {XSS}"}
    nothing = approver.post("/outliers/review", data=form)
    assert (nothing.status_code, nothing.headers["location"]) == (303, LIST)
    assert "No day is selected" in approver.get(LIST).text
    done = approver.post("/outliers/review", data=form | {box: "yes"})
    assert (done.status_code, done.headers["location"]) == (303, LIST)
    assert user_ids(approver, LIST) == ["1002", "1002"]
    reviewed = drawn(approver.get(f"{LIST}&reviewed=yes"))
    assert f": doctor {XSS}" in reviewed.text

    address = f"/attendance/day?site=Head+office&user_id=1003&date={MARCH}"
    day = approver.get(address)
    assert "Reopen the review" in day.text
    again = approver.post(
        "/outliers/review",
        data={"csrf_token": token, "back": address, box: "yes", "again": "yes", "note": "not agreed"},
    )
    assert again.headers["location"] == address
    day = approver.get(address)
    assert "Mark as reviewed" in day.text
    assert "review reopened by" in day.text
    assert user_ids(approver, LIST) == ["1002", "1002", "1003"]

    shown = re.findall(r'name="shown" value="([^"]*)"', approver.get(LIST).text)[0]
    everything = approver.post(
        "/outliers/review", data={"csrf_token": token, "back": LIST, "all": "yes", "shown": shown}
    )
    assert everything.status_code == 303
    assert user_ids(approver, LIST) == []
    execute(web.store, "DELETE FROM day_reviews")


def test_a_day_that_changed_since_it_was_shown_is_not_marked(approver: httpx.Client) -> None:
    token = drawn(approver.get(LIST)).fields["csrf_token"]
    answer = approver.post("/outliers/review", data={"csrf_token": token, "back": LIST, "day-1-99": "yes"})
    assert answer.status_code == 409
    assert "1 day changed since this page was shown" in answer.text


def test_who_may_only_read_sees_no_boxes_and_a_forged_form_does_nothing(
    reader: httpx.Client, approver: httpx.Client
) -> None:
    assert user_ids(reader, LIST) == []
    token = drawn(reader.get("/")).fields.get("csrf_token", "")
    assert reader.post("/outliers/review", data={"csrf_token": token, "day-1-1": "yes"}).status_code == 403
    assert approver.post("/outliers/review", data={"csrf_token": "guess", "day-1-1": "yes"}).status_code == 403
    token = drawn(approver.get(LIST)).fields["csrf_token"]
    for bad in ("day-1", "day-1-1-1", "day-x-1", "day-"):
        assert approver.post("/outliers/review", data={"csrf_token": token, bad: "yes"}).status_code == 400
    # The rows of the longest page, which a form may have; more are refused.
    for count, detail in ((1_000, "changed since this page was shown"), (1_100, "the form cannot be read")):
        many = {"csrf_token": token} | {f"day-{10**6 + number}-1": "yes" for number in range(count)}
        assert detail in approver.post("/outliers/review", data=many).text
    long = {"csrf_token": token, "day-1-1": "yes", "note": "x" * 501}
    assert approver.post("/outliers/review", data=long).status_code == 400


def test_undo_leaves_the_review_of_another_person(approver: httpx.Client, web: Web) -> None:
    page = approver.get(LIST)
    (box,) = re.findall(r'name="(day-\d+-\d+)" value="yes" aria-label="1003,', page.text)
    with web.client("admin") as other:
        mine = {"csrf_token": drawn(page).fields["csrf_token"], "back": LIST, box: "yes"}
        theirs = {"csrf_token": drawn(other.get(LIST)).fields["csrf_token"], "back": LIST, box: "yes"}
        approver.post("/outliers/review", data=mine)
        other.post("/outliers/review", data=theirs)
        shown = other.get(LIST).text
        assert "0 days marked as reviewed; 1 already reviewed by test approve." in shown
        assert ">Undo<" not in shown
        for state in ({"again": "yes"}, {}):
            other.post("/outliers/review", data=theirs | state)
    assert ">Undo<" in approver.get(LIST).text
    approver.post("/outliers/review", data=mine | {"undo": "yes", "again": "yes"})
    assert "0 days marked as to be reviewed again; 1 not undone: the latest review is by test admin." in (
        approver.get(LIST).text
    )
    assert user_ids(approver, LIST) == ["1002", "1002"]
    execute(web.store, "DELETE FROM day_reviews")
