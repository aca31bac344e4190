"""Pages of payroll periods: open, close on confirmation, adjustments, download, reopen."""

from __future__ import annotations

import httpx
import pytest

from zk_pipeline_tests.store.payroll.payroll_fixtures import Day, put_days
from zk_pipeline_tests.store.store_fixtures import execute
from zk_pipeline_tests.web.attendance.attended import MARCH, NASTY, NASTY_SITE
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import Web


@pytest.fixture
def admin(web: Web) -> httpx.Client:
    return web.client("admin")


def test_a_period_goes_through_its_states(web: Web, admin: httpx.Client, reader: httpx.Client) -> None:
    with admin:
        token = {"csrf_token": drawn(admin.get("/payroll")).fields["csrf_token"]}
        wrong = admin.post("/payroll", data=token | {"period": "march", "first_date": "2026-03-01"})
        assert (wrong.status_code, drawn(wrong).alerts) == (
            400,
            ["period march needs its first and its last date, as it is no month"],
        )
        assert admin.post("/payroll", data=token | {"period": "2026-03"}).headers["location"] == "/payroll?done=opened"
        refused = admin.post("/payroll/close", data=token | {"period": "2026-03"})
        assert (refused.status_code, "outliers to review" in drawn(refused).alerts[0]) == (409, True)
        assert "Close all the same" in refused.text
        admin.post("/payroll", data=token | {"period": "2099-01"})
        future = admin.post("/payroll/close", data=token | {"period": "2099-01"})
        assert (future.status_code, "Close all the same" in future.text) == (409, False)
        execute(web.store, "DELETE FROM payroll_periods WHERE period = '2099-01'")
        closed = admin.post("/payroll/close", data=token | {"period": "2026-03", "force": "yes"})
        assert "Closed 2026-03. Paid: " in closed.text
        assert "outliers to review" in drawn(closed).cells[1][3]
        put_days(web.store, [((NASTY_SITE, NASTY, MARCH), Day(30))])
        page = drawn(reader.get("/payroll/adjustments?period=2026-03"))
        assert page.cells[1][1:] == [
            "2026-03",
            NASTY_SITE,
            NASTY,
            page.cells[1][4],
            "regular",
            "-510",
            "revision 1, now 2",
        ]
        execute(web.store, "UPDATE work_dates SET reprocess_after = now() WHERE work_date = ?", [MARCH])
        waiting = reader.get("/payroll/adjustments?period=2026-03")
        execute(web.store, "UPDATE work_dates SET reprocess_after = NULL WHERE work_date = ?", [MARCH])
        assert f"Adjustments may be missing: 1 work date not processed: {MARCH}." in waiting.text
        listed = reader.get("/payroll")
        assert "Reopen" not in listed.text
        file = reader.get("/payroll/file?period=2026-03&profile=csv")
        assert file.headers["content-type"].startswith("text/csv")
        assert file.text.startswith("period,adjustment_of,user_id,")
        unknown = reader.get("/payroll/file?period=2026-03&profile=sap")
        assert (unknown.status_code, drawn(unknown).alerts[0][:25]) == (400, "no payroll profile 'sap';")
        assert reader.get("/payroll/adjustments?period=2026-05").status_code == 404
        asked = admin.get("/payroll").text.partition("<details><summary")[2].partition("</details>")[0]
        assert asked.index("Use it before the money is paid, not after.") < asked.index('action="/payroll/reopen"')
        assert admin.post("/payroll/reopen", data=token | {"period": "2026-03"}).status_code == 303
        again = admin.post("/payroll/reopen", data=token | {"period": "2026-03"})
        assert drawn(again).alerts == ["period 2026-03 is open"]
    execute(web.store, "DELETE FROM payroll_days; DELETE FROM payroll_periods")
