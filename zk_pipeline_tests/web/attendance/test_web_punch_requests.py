"""Pages of punch requests: form, upload and decisions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import pytest

from zk_pipeline_tests.store.store_fixtures import execute, rows
from zk_pipeline_tests.web.attendance.attended import MARCH, NASTY_SITE, XSS
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import Web

LIST = "/punch-requests"
DAY = f"/attendance/day?site=Head+office&user_id=1001&date={MARCH}"
WANTED = {
    "user_id": "1001", "site": "Head office", "date": "2026-03-02", "time": "18:20", "state": "out",
    "reason": f"r {XSS}",
}  # fmt: skip
HEADER = b"user_id,site,at,state,reason\n"


@pytest.fixture
def asking(web: Web) -> Iterator[httpx.Client]:
    with web.client("request") as client:
        yield client
    execute(web.store, "DELETE FROM manual_punches")
    execute(web.store, "UPDATE work_dates SET latest_punch_seq = processed_seq WHERE work_date = ?", [MARCH])


@pytest.fixture
def deciding(web: Web) -> Iterator[httpx.Client]:
    with web.client("approve") as client:
        yield client


def signed(client: httpx.Client) -> dict[str, str]:
    return {"csrf_token": drawn(client.get(LIST)).fields["csrf_token"]}


def value(answer: httpx.Response, name: str) -> str:
    """Value of a field of the form."""
    (found,) = re.findall(f'name="{name}"[^>]* value="([^"]*)"', answer.text)
    return str(found)


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return " ".join(drawn(answer).text.split())


def test_a_missing_clock_out_is_requested_from_the_page_of_the_day_and_approved_by_another(
    asking: httpx.Client, deciding: httpx.Client
) -> None:
    alone = drawn(asking.get(f"/attendance/day?{urlencode({'site': NASTY_SITE, 'user_id': '1001', 'date': MARCH})}"))
    form = asking.get(alone.links["Request the missing clock-out"])
    assert (value(form, "user_id"), value(form, "date")) == ("1001", "2026-03-02")
    assert '<option value="out" selected>' in form.text
    form = asking.get(drawn(asking.get(DAY)).links["Request a punch"])
    assert (value(form, "user_id"), 'value="out" selected' in form.text) == ("1001", False)
    done = asking.post("/punch-requests/new", data=signed(asking) | WANTED)
    assert "1 request stored. Another operator must approve." in text_of(done)
    assert "unknown" not in done.text
    assert "Warning" not in done.text
    assert f"waiting A punch is requested: 2026-03-02 18:20:00 out, r {XSS}." in text_of(asking.get(DAY))
    assert 'name="decision"' in asking.get(LIST).text, "the filter"
    assert "Approve selected" not in asking.get(LIST).text
    assert "1 punch request waits for a decision" in text_of(deciding.get("/"))
    page = deciding.get(LIST).text
    (box,) = re.findall(r'name="(punch-\d+)"', page)
    decision = signed(deciding) | {"decision": "approved", "decision_reason": "seen"}
    nothing = deciding.post("/punch-requests/decide", data=decision)
    assert (nothing.status_code, "choose at least one request" in nothing.text) == (400, True)
    assert asking.post("/punch-requests/decide", data=signed(asking) | decision | {box: "yes"}).status_code == 403
    approved = deciding.post("/punch-requests/decide", data=decision | {box: "yes"})
    assert (approved.status_code, approved.headers["location"]) == (303, "/punch-requests?done=approved")
    assert "Approved. The next processing run" in text_of(deciding.get(approved.headers["location"]))
    again = deciding.post("/punch-requests/decide", data=decision | {box: "yes"})
    assert (again.status_code, "was already approved by test approve" in again.text) == (409, True)
    assert "for a decision" not in deciding.get("/").text
    assert "This date is stale" in deciding.get(DAY).text
    assert "(requested by test request, approved by test approve)" in text_of(deciding.get(DAY))


def test_a_rejection_needs_a_reason_and_an_own_request_is_not_decided(
    deciding: httpx.Client, asking: httpx.Client
) -> None:
    asking.post("/punch-requests/new", data=signed(asking) | WANTED)
    own = deciding.post("/punch-requests/new", data=signed(deciding) | WANTED | {"time": "18:30"})
    assert "own request" in text_of(own)
    boxes = re.findall(r'name="(punch-\d+)"', own.text)
    assert len(boxes) == 1
    decision = signed(deciding) | {"decision": "rejected", boxes[0]: "yes"}
    refused = deciding.post("/punch-requests/decide", data=decision)
    assert (refused.status_code, "a rejection needs a reason" in refused.text) == (400, True)
    number = int(boxes[0].removeprefix("punch-"))
    both = deciding.post("/punch-requests/decide", data=decision | {f"punch-{number + 1}": "y", "decision_reason": "x"})
    assert (both.status_code, "another must decide" in both.text) == (403, True)
    done = deciding.post("/punch-requests/decide", data=decision | {"decision_reason": "on leave"})
    assert "by test approve" in text_of(deciding.get(done.headers["location"]))
    assert ": on leave" in text_of(deciding.get(f"{LIST}?decision=rejected"))
    assert "on leave" not in deciding.get(f"{LIST}?decision=waiting").text


def test_an_approved_punch_is_withdrawn_with_a_reason(asking: httpx.Client, deciding: httpx.Client) -> None:
    asking.post("/punch-requests/new", data=signed(asking) | WANTED)
    assert "Withdraw selected" not in deciding.get(LIST).text
    (box,) = re.findall(r'name="(punch-\d+)"', deciding.get(LIST).text)
    chosen = signed(deciding) | {box: "yes"}
    deciding.post("/punch-requests/decide", data=chosen | {"decision": "approved"})
    page = deciding.get(LIST).text
    assert (f'name="{box}"' in page, "Withdraw selected" in page, "Approve selected" in page) == (True, True, False)
    withdrawal = chosen | {"decision": "withdrawn"}
    refused = deciding.post("/punch-requests/decide", data=withdrawal)
    assert (refused.status_code, "a withdrawal needs a reason" in refused.text) == (400, True)
    done = deciding.post("/punch-requests/decide", data=withdrawal | {"decision_reason": f"wrong {XSS}"})
    assert "Withdrawn. The next processing run" in text_of(deciding.get(done.headers["location"]))
    text = text_of(deciding.get(f"{LIST}?decision=withdrawn"))
    assert "withdrawn approved by test approve" in text
    assert "; withdrawn by test approve" in text
    assert box not in deciding.get(LIST).text
    assert f"withdrawn by test approve: wrong {XSS})." in text_of(deciding.get(DAY))
    assert "(requested by test request, approved by test approve)" not in text_of(deciding.get(DAY))
    assert deciding.post("/punch-requests/decide", data=withdrawal | {"decision_reason": "x"}).status_code == 409


def test_a_table_is_requested_as_a_whole_and_approved_at_once(
    asking: httpx.Client, deciding: httpx.Client, web: Web
) -> None:
    def upload(content: bytes) -> httpx.Response:
        return asking.post(
            "/punch-requests/upload", data=signed(asking), files={"file": ("out.csv", HEADER + content, "text/csv")}
        )

    early = upload(b"1001,Head office,2019-12-31 18:20,out,x\n")
    assert "line 2: work date 2019-12-31 is before" in early.text
    bad = upload(b"1001,Head office,2026-03-02 18:20,out,x\n1001,Mars,2026-03-02 18:20,out,x\n")
    assert (bad.status_code, "out.csv: no punch was stored:</p><ul><li>line 3: no site" in bad.text) == (400, True)
    lines = "".join(f"1001,Head office,2026-03-02 19:{minute:02},out,x\n" for minute in range(60))
    made = upload(f"{lines}1O01,Head office,2026-03-02 18:20,out,x\n".encode())
    text = text_of(made)
    assert "61 requests stored." in text
    assert "Warning: no terminal and no recorded punch has the user id '1O01': check it" in text
    assert drawn(made).links["Next page →"] == "/punch-requests?page=2"
    shown = re.findall(r'name="shown" value="([^"]*)"', deciding.get(LIST).text)[0]
    done = deciding.post("/punch-requests/decide", data=signed(deciding) | {"decision": "all", "shown": shown})
    assert done.status_code == 303
    counts = "SELECT decision, count(*) FROM manual_punches GROUP BY 1 ORDER BY 1"
    assert rows(web.store, counts) == [("approved", 50), (None, 11)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"date": "2026-02-30"}, "is not a time such as"),
        ({"time": ""}, "is not a time such as"),
        ({"site": "Mars"}, "no site"),
        ({"reason": " "}, "the reason is empty"),
        ({"reason": "x" * 501}, "reason: at most 500 characters"),
        ({"date": "2999-01-01"}, "is in the future"),
        ({"date": "2019-12-31"}, "work date 2019-12-31 is before ZK_PIPELINE_HISTORY_START"),
        ({"time": "08:00:30"}, "is not a time such as"),
    ],
)
def test_a_bad_request_is_named_and_the_input_kept(asking: httpx.Client, change: dict[str, str], words: str) -> None:
    answer = asking.post("/punch-requests/new", data=signed(asking) | WANTED | change)
    assert (answer.status_code, words in answer.text) == (400, True)
    assert value(answer, "user_id") == "1001"


def test_readers_see_requests_and_cannot_make_them(reader: httpx.Client, operator: httpx.Client) -> None:
    for client in (reader, operator):
        assert "Request a punch" not in client.get(LIST).text
        assert client.get("/punch-requests/new").status_code == 403
        assert client.post("/punch-requests/new", data=WANTED).status_code == 403
    wrong = reader.get(f"{LIST}?decision=open")
    assert (wrong.status_code, 'role="alert"' in wrong.text) == (400, True)
