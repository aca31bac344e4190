"""Payroll periods over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.store.payroll.payroll_fixtures import Day, put_days
from zk_pipeline_tests.store.store_fixtures import MONDAY, execute

PERIODS = "/api/payroll-periods/"


@pytest.fixture
def boss(served: Served, admin: httpx.Client) -> Iterator[httpx.Client]:
    """An admin; the shared store has no periods afterwards."""
    yield admin
    execute(served.services.store, "DELETE FROM payroll_days; DELETE FROM payroll_periods")


def test_a_period_is_opened_closed_adjusted_exported_and_reopened(served: Served, boss: httpx.Client) -> None:
    made = boss.post(PERIODS, json={"period": "2026-03"})
    assert (made.status_code, made.json()["last_date"], made.json()["opened_by"]) == (201, "2026-03-31", "test admin")
    for body, status, words in (
        (
            {"period": "w2", "first_date": "2026-03-31", "last_date": "2026-04-01"},
            409,
            "period w2 would overlap the period",
        ),
        ({"period": "w2"}, 400, "period w2 needs its first and its last date"),
        ({"period": "../x"}, 400, "period: "),
        ({"period": "2026-04", "state": "closed"}, 400, "state: "),
    ):
        refused = boss.post(PERIODS, json=body)
        assert (refused.status_code, refused.json()["detail"].startswith(words)) == (status, True), refused.text
    notice = boss.get(f"{PERIODS}2026-03/export/").headers["payroll-notice"]
    assert notice == "2026-03 is open: these figures are not final, and nothing is paid"
    refused = boss.post(f"{PERIODS}2026-03/close/")
    assert refused.status_code == 409
    assert "outliers to review" in refused.json()["detail"]
    assert boss.post(f"{PERIODS}2026-03/close/", json={"force": "yes"}).status_code == 400
    closed = boss.post(f"{PERIODS}2026-03/close/", json={"force": True}).json()
    assert (closed["state"], closed["closed_by"], closed["days"], closed["adjustments"]) == (
        "closed",
        "test admin",
        60,
        0,
    )
    assert "outliers to review" in closed["overridden"]
    assert boss.post(f"{PERIODS}2026-03/close/", json={"force": True}).status_code == 409

    put_days(served.services.store, [(("North", "1001", MONDAY), Day(500))])
    address = f"{PERIODS}2026-03/adjustments/"
    with served.client("read") as reader:
        execute(served.services.store, "UPDATE work_dates SET reprocess_after = now() WHERE work_date = ?", [MONDAY])
        answer = reader.get(address).json()
        execute(served.services.store, "UPDATE work_dates SET reprocess_after = NULL WHERE work_date = ?", [MONDAY])
        assert answer["unprocessed_dates"] == [str(MONDAY)]
        (one,) = answer["adjustments"]
        assert (one["period"], one["work_date"], one["pay_class"], one["minutes"]) == (
            "2026-03",
            str(MONDAY),
            "regular",
            -40,
        )
        assert reader.get(address, params={"paid": "true"}).json() == {"adjustments": [], "unprocessed_dates": []}
        assert [each["period"] for each in reader.get(PERIODS).json()] == ["2026-03"]
        file = reader.get(f"{PERIODS}2026-03/export/")
        assert file.headers["content-disposition"] == 'attachment; filename="payroll_2026-03.csv"'
        assert "payroll-notice" not in file.headers
        assert file.text.splitlines()[1].startswith("2026-03,,1001,,North,270.00,")
        excel = reader.get(f"{PERIODS}2026-03/export/?profile=xlsx")
        assert (excel.content[:2], "spreadsheetml" in excel.headers["content-type"]) == (b"PK", True)
        assert (
            reader.get(f"{PERIODS}2026-03/export/?profile=sap").json()["detail"].startswith("no payroll profile 'sap'")
        )
        for path in ("", "2026-03/close/", "2026-03/reopen/"):
            assert reader.post(f"{PERIODS}{path}", json={"period": "x"} if not path else None).status_code == 403, path
    with served.client("operate") as operator:
        assert operator.post(f"{PERIODS}2026-03/reopen/").status_code == 403
    assert boss.post(f"{PERIODS}2026-03/reopen/").json()["reopened_by"] == "test admin"
    for path in ("adjustments", "export"):
        assert boss.get(f"{PERIODS}2026-09/{path}/").status_code == 404
    for path in ("close", "reopen"):
        assert boss.post(f"{PERIODS}2026-09/{path}/").status_code == 404
    put_days(served.services.store, [(("North", "1001", MONDAY), Day(540))])
