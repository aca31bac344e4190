"""Quarantine, clock corrections, explanations of a day, and exports over HTTP."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import httpx
import openpyxl
import pyarrow.parquet
import pytest

from zk_pipeline.http import file_responses
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.store.store_fixtures import MONDAY, ingest, process, stale


@pytest.fixture
def boss(filled: Store, own: Served) -> Iterator[httpx.Client]:  # noqa: ARG001 (is served)
    with own.client() as client:
        yield client


def test_records_in_quarantine_are_listed_and_read_again(boss: httpx.Client, filled: Store) -> None:
    ingest(filled, "North", rejected=[b"\x01" * 40, b"\x02" * 40, b"\x03" * 40])
    page = boss.get("/api/quarantine/?page_size=2").json()
    assert (page["count"], len(page["results"])) == (3, 2)
    rest = boss.get(page["next"]).json()["results"]
    assert {one["raw"] for one in page["results"] + rest} == {"01" * 40, "02" * 40, "03" * 40}
    assert rest[0] | {"device_name": "North", "released_at": None} == rest[0]
    assert boss.get("/api/quarantine/?device=1&released=true").json()["count"] == 0
    released = boss.post("/api/quarantine/release/?device=1").json()
    assert (released[0]["device"], released[0]["records"] + released[0]["left"]) == ("North", 3)
    assert boss.get("/api/quarantine/").json()["count"] == released[0]["left"]
    assert boss.post("/api/quarantine/release/?device=900000").status_code == 400


def test_a_clock_is_corrected_and_the_correction_taken_back(boss: httpx.Client, filled: Store) -> None:
    wrong = {"device": 1, "from_local": "2026-03-02T08:00", "to_local": "2026-03-02T10:00:00", "add_seconds": -3600}
    made = boss.post("/api/clock-corrections/", json=wrong | {"reason": "an hour fast"})
    assert made.status_code == 201, made.text
    assert made.json() | {"device": "North", "punches": 1, "add_seconds": -3600} == made.json()
    assert stale(filled) == [MONDAY]
    process(filled, MONDAY)
    explained = boss.get(f"/api/explain/?user_id=1001&date={MONDAY}").json()
    assert [one["read_local"] for one in explained["punches"]] == ["2026-03-02T09:00:00", None]
    assert [one["clock_in_local"] for one in explained["revisions"]] == ["2026-03-02T09:00:00", "2026-03-02T08:00:00"]
    assert boss.post("/api/clock-corrections/", json=wrong).status_code == 400  # it overlaps
    assert boss.delete(f"/api/clock-corrections/{made.json()['id']}/").status_code == 204
    assert boss.delete(f"/api/clock-corrections/{made.json()['id']}/").status_code == 404
    (kept,) = boss.get("/api/clock-corrections/").json()
    assert kept["revoked_at"] is not None


def test_a_day_is_explained_with_its_punches_revisions_and_delivery(admin: httpx.Client) -> None:
    explained = admin.get(f"/api/explain/?user_id=1002&date={MONDAY}").json()
    assert [one["punched_at_local"] for one in explained["punches"]] == ["2026-03-02T05:00:00"]
    (said,) = explained["revisions"]
    assert said["outlier_codes"] == ["CLOCK_IN_TOO_EARLY", "MISSING_CLOCK_OUT"]
    assert (said["revision"], said["delivery"], said["run_id"]) == (1, "pending", "process run")
    assert admin.get("/api/explain/?user_id=1002&date=2020-01-01").status_code == 404
    assert admin.get(f"/api/explain/?user_id=1002&date={MONDAY}&as_of=2020-01-01T00:00:00Z").status_code == 404
    for query in ("user_id=1002", "date=2026-03-02", "user_id=1&date=2026-02-30", "user_id=1&date=2026-03-02&as_of=x"):
        assert admin.get(f"/api/explain/?{query}").status_code == 400, query


def test_days_and_punches_come_as_files(admin: httpx.Client) -> None:
    answer = admin.get("/api/export/attendance/?user_id=1001&end_date=2026-03-03")
    assert answer.headers["content-disposition"] == 'attachment; filename="attendance_2026-03-03.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["user_id"] for row in rows] == ["1001", "1001"]
    raw = admin.get("/api/export/raw/?format=parquet&device=1")
    assert pyarrow.parquet.read_table(io.BytesIO(raw.content)).num_rows == 120
    sheet = openpyxl.load_workbook(io.BytesIO(admin.get("/api/export/attendance/?format=xlsx").content)).active
    assert sheet is not None
    assert sheet.max_row == 81
    for query in ("format=doc", "site=Mars", "device=900000", "start_date=2026-03-02&end_date=2026-03-01"):
        assert admin.get(f"/api/export/raw/?{query}").status_code == 400, query
    assert admin.get("/api/export/everything/").status_code == 404


def test_only_so_many_files_are_made_at_a_time(admin: httpx.Client) -> None:
    for _ in range(file_responses.MAX_EXPORTS):
        assert file_responses.EXPORT_SLOTS.acquire(blocking=False)
    try:
        answer = admin.get("/api/export/raw/")
    finally:
        file_responses.EXPORT_SLOTS.release(file_responses.MAX_EXPORTS)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert admin.get("/api/export/raw/").status_code == 200
