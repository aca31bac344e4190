"""Injection attacks on pages about attendance: through text of terminals and the CRM, and through every parameter."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from zk_pipeline_tests.attacks import ATTACK
from zk_pipeline_tests.store.store_fixtures import execute, rows
from zk_pipeline_tests.web.attendance.attended import NASTY, NASTY_SITE, XSS
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import Web

INJECTIONS = [
    "x' UNION SELECT secret_sha256 FROM api_tokens; DROP TABLE devices; -- {{98765*4321}}\"><script>alert(1)</script>",
    "a\r\nSet-Cookie: x=1\u0000\u202e%00../../etc/passwd",
]
SCRIPTS = 2  # of every page
PARAMETERS = {
    "/attendance": [
        "user_id",
        "site",
        "is_outlier",
        "outlier_code",
        "sync_state",
        "ordering",
        "after",
        "until",
        "page_size",
    ],
    "/punches": ["user_id", "device", "start_date", "page"],
    "/deliveries": ["state", "user_id", "end_date", "after"],
    "/quarantine": ["name", "released", "after"],
    "/exports/file": ["what", "format", "start_date", "user_id", "site", "device"],
    "/presence": ["site"],
    "/payroll/adjustments": ["period"],
    "/payroll/file": ["period", "profile"],
    "/report": ["site", "date"],
    "/search": ["q"],
    "/month": ["user_id", "month", "site"],
    "/month/sheets": ["site", "month", "page"],
    "/people": ["q", "site", "after_name", "after_user", "after_site"],
    "/people/person": ["site", "user_id", "year"],
    "/sites/site": ["site"],
    "/runs": ["job", "state", "trigger", "start_date", "cursor"],
    "/attendance/day": ["site", "user_id", "date"],
    "/leaves": ["user_id", "site", "start_date", "page", "done"],
    "/punch-requests": ["decision", "user_id", "site", "start_date", "page", "done"],
}


@pytest.fixture(autouse=True)
def attack(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    record_property(ATTACK, request.node.originalname)


@pytest.mark.parametrize("path", PARAMETERS)
def test_sql_header_and_markup_injection_in_every_parameter(reader: httpx.Client, web: Web, path: str) -> None:
    before = rows(web.store, "SELECT count(*) FROM raw_punches")
    usual = {
        "/exports/file": {"what": "raw", "format": "csv"},
        "/attendance/day": {"site": "Head office", "user_id": "1003", "date": "2026-03-02"},
    }.get(path, {})
    for name in PARAMETERS[path]:
        for text in INJECTIONS:
            answer = reader.get(path, params=usual | {name: text})
            assert answer.status_code in (200, 400, 404), (path, name, text)
            assert "set-cookie" not in answer.headers
            if answer.headers["content-type"].startswith("text/html"):
                page = drawn(answer)
                assert answer.text.count("<script") == SCRIPTS, (name, text)
                assert str(98765 * 4321) not in page.text
    assert rows(web.store, "SELECT count(*) FROM raw_punches") == before
    databases = rows(web.store, "SELECT database_name FROM duckdb_databases() WHERE NOT internal ORDER BY 1")
    assert databases == [("memory",), ("store",)]


def test_what_terminals_and_the_crm_say_is_text_on_every_page(reader: httpx.Client, web: Web) -> None:
    execute(web.store, "UPDATE quarantined_records SET reason = ?", [XSS])
    nasty = httpx.QueryParams(site=NASTY_SITE, user_id=NASTY)
    for address, times in (
        (f"/attendance?{nasty}", 1),
        ("/punches?user_id=1001", 0),
        ("/punches?start_date=2026-03-02&end_date=2026-03-02", 2),
        ("/deliveries", 2),
        ("/quarantine", 1),
        ("/outliers", 0),
        ("/exports", 0),
        (f"/attendance/day?{nasty}&date=2026-03-02", 3),
        (f"/month?{nasty}&month=2026-03", 1),
        ("/report?date=2026-03-02", 2),
        ("/month?user_id=alert", 1),
        ("/attendance?user_id=alert", 1),
    ):
        answer = reader.get(address)
        assert answer.status_code in (200, 400), address
        page = drawn(answer)  # fails on attributes that run scripts
        assert answer.text.count("<script") == SCRIPTS
        assert page.text.count(XSS) >= times, address
        assert not page.tags & {"iframe", "object", "embed", "svg", "base"}
        assert "script-src 'self'" in answer.headers["content-security-policy"]
