"""Downloads: streamed exports and the month sheet; an incomplete file never looks complete."""

from __future__ import annotations

import csv
import io
import threading
from datetime import date
from typing import BinaryIO

import httpx
import openpyxl
import pyarrow.parquet as pq
import pytest

from zk_pipeline.errors import UsageError
from zk_pipeline.http import file_responses
from zk_pipeline.http.streaming import StreamedResponse
from zk_pipeline.operations.files.export import export
from zk_pipeline.store.queries.exports import ExportScope, What
from zk_pipeline_tests.store.store_fixtures import execute
from zk_pipeline_tests.waiting import until
from zk_pipeline_tests.web.attendance.attended import NASTY_SITE
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import Web


@pytest.mark.parametrize("what", ["raw", "attendance"])
def test_a_download_is_what_the_command_writes(reader: httpx.Client, web: Web, what: What) -> None:
    answer = reader.get(
        f"/exports/file?what={what}&format=csv&start_date=2026-03-02&end_date=2026-03-03&site=&user_id="
    )
    assert answer.status_code == 200, answer.text
    stream = io.BytesIO()
    export(web.store.exports, what, ExportScope(date(2026, 3, 2), date(2026, 3, 3)), kind="csv", stream=stream)
    assert answer.content == stream.getvalue()
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    named = f'attachment; filename="{what}_2026-03-02_2026-03-03.csv"'
    assert answer.headers["content-disposition"] == named


def test_each_format_is_readable_and_has_the_same_rows(reader: httpx.Client) -> None:
    def got(kind: str, **scope: str) -> bytes:
        answer = reader.get("/exports/file", params={"what": "attendance", "format": kind, **scope})
        assert answer.status_code == 200, answer.text
        return answer.content

    text = csv.DictReader(io.StringIO(got("csv").decode()))
    table = pq.read_table(io.BytesIO(got("parquet")))
    sheet = openpyxl.load_workbook(io.BytesIO(got("xlsx"))).worksheets[0]
    assert len(list(text)) == len(table) == sheet.max_row - 1 == 36
    assert pq.read_table(io.BytesIO(got("parquet", site=NASTY_SITE)))["site"].unique().to_pylist() == [NASTY_SITE]
    assert len(pq.read_table(io.BytesIO(got("parquet", device="South", user_id="1002")))) == 20
    assert len(pq.read_table(io.BytesIO(got("parquet", start_date="2030-01-01")))) == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("what=raw", "format: "),
        ("what=raw&format=pdf", "format: "),
        ("what=devices&format=csv", "what: "),
        ("what=raw&format=csv&start_date=2026-02-30", "start_date: 2026-02-30 is not a valid date"),
        ("what=raw&format=csv&start_date=2026-03-03&end_date=2026-03-02", "end_date: 2026-03-02 is before"),
        ("what=raw&format=csv&device=Nowhere", "no device 'Nowhere'; there are: "),
        ("what=raw&format=csv&site=Nowhere", "no site 'Nowhere'; there are: "),
        ("what=raw&format=csv&output=/etc/passwd", "output: "),
    ],
)
def test_an_invalid_export_is_reported_above_the_form(reader: httpx.Client, query: str, message: str) -> None:
    answer = reader.get(f"/exports/file?{query}")
    assert (answer.status_code, drawn(answer).alerts[0][: len(message)]) == (400, message)
    assert "content-disposition" not in answer.headers


def test_more_rows_than_an_excel_file_may_have_here_are_refused_before_any_work(
    reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_responses, "MAX_EXCEL_ROWS", 5)
    answer = reader.get("/exports/file?what=raw&format=xlsx")
    assert (answer.status_code, "exceed the limit of Excel files" in drawn(answer).alerts[0]) == (400, True)
    assert reader.get("/exports/file?what=raw&format=csv").status_code == 200


def test_two_exports_are_made_at_a_time(reader: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_responses, "EXPORT_SLOTS", threading.BoundedSemaphore(1))
    for _ in range(3):  # each releases its slot
        assert reader.get("/exports/file?what=raw&format=csv").status_code == 200
        until(lambda: file_responses.EXPORT_SLOTS.acquire(blocking=False))
        busy = reader.get("/exports/file?what=raw&format=csv")
        file_responses.EXPORT_SLOTS.release()
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "60")


def test_a_file_that_fails_half_way_does_not_look_whole(reader: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, stream: BinaryIO, **__: object) -> None:
        stream.write(b"x" * 1_000_000)
        raise RuntimeError("the store went away")

    monkeypatch.setattr("zk_pipeline.operations.files.export.export", fails)
    with pytest.raises(httpx.RemoteProtocolError):
        reader.get("/exports/file?what=raw&format=csv")
    assert reader.get("/exports").status_code == 200


def test_a_failure_before_the_first_piece_is_an_error_response(
    reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, stream: BinaryIO, **__: object) -> None:
        stream.write(b"a header")
        raise UsageError("there is less than was counted")

    monkeypatch.setattr("zk_pipeline.operations.files.export.export", fails)
    answer = reader.get("/exports/file?what=raw&format=csv")
    assert (answer.status_code, drawn(answer).alerts) == (400, ["there is less than was counted"])


def test_the_writer_waits_for_the_client_and_ends_with_its_connection(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, ended = [0], threading.Event()

    def endless(*_: object, stream: BinaryIO, **__: object) -> None:
        try:
            while True:
                written[0] += stream.write(b"x" * 100_000)
        finally:
            ended.set()

    monkeypatch.setattr("zk_pipeline.operations.files.export.export", endless)
    with web.client("read") as client, client.stream("GET", "/exports/file?what=raw&format=csv") as answer:
        pieces = answer.iter_raw(1_000_000)
        next(pieces)
        ahead = written[0]
        assert ahead < 50_000_000  # socket buffers and a few pieces
        assert not ended.is_set()
    assert ended.wait(30)


def test_a_client_that_never_reads_is_not_awaited_indefinitely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zk_pipeline.http.streaming._CLIENT_TIMEOUT_SECONDS", 1)
    done = threading.Event()
    StreamedResponse(
        lambda stream: stream.write(b"x" * 10_000_000), media_type="text/csv", filename="a.csv", done=done.set
    )
    assert done.wait(30)


def test_the_month_sheet_is_a_page_and_an_excel_file(reader: httpx.Client) -> None:
    page = drawn(reader.get("/month?user_id=1001&month=2026-03&site=Head+office"))
    assert "Zoë Yılmaz (1001), Head office, March 2026" in page.text
    assert len(page.cells) == 32
    assert page.cells[2] == [
        "2026-03-02", "Mon", "office", "08:55", "18:05", "9:10", "0:00", "0:00", "2", "present", "",
    ]  # fmt: skip
    assert page.cells[5][9] == "absent"
    assert "month=2026-02" in page.links["← Month before"]
    assert "month=2026-04" in page.links["Month after →"]
    answer = reader.get(page.links["Excel file"])
    assert answer.headers["content-disposition"] == 'attachment; filename="month_2026-03.xlsx"'
    sheet = openpyxl.load_workbook(io.BytesIO(answer.content)).worksheets[0]
    assert sheet["A1"].value == "Zoë Yılmaz (1001), Head office, March 2026"


def test_a_user_with_days_at_several_sites_has_one_sheet(reader: httpx.Client) -> None:
    page = drawn(reader.get("/month?user_id=1001&month=2026-03"))
    assert f"Zoë Yılmaz (1001), Head office, {NASTY_SITE}, March 2026" in page.text
    assert [one[2] for one in page.cells if one[0] == "2026-03-02"] == ["Head office", NASTY_SITE]
    assert "site=" not in page.links["← Month before"]
    sheet = openpyxl.load_workbook(io.BytesIO(reader.get(page.links["Excel file"]).content)).worksheets[0]
    assert [sheet["C3"].value, sheet["C4"].value] == ["Head office", "Head office"]
    assert "February 2026" in drawn(reader.get("/month?user_id=1002&month=2026-02")).text
    assert reader.get("/month").status_code == 200


def test_an_id_of_different_employees_needs_a_site(reader: httpx.Client, web: Web) -> None:
    rename = "UPDATE device_users SET name = ? WHERE user_id = '1001' AND device = 'Quay gate'"
    execute(web.store, rename, ["Mehmet Kaya"])
    page = drawn(reader.get("/month?user_id=1001&month=2026-03"))
    assert {"Head office", NASTY_SITE} <= page.links.keys()
    assert f"Mehmet Kaya (1001), {NASTY_SITE}, March 2026" in drawn(reader.get(page.links[NASTY_SITE])).text
    assert reader.get("/month/file?user_id=1001&month=2026-03").status_code == 400
    execute(web.store, rename, ["Zoë Yılmaz"])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("user_id=1001&month=2026-13", "month: must be a month such as 2026-11"),
        ("user_id=1001&month=9999-12", "month: must be a month"),
        ("user_id=unknown", "no user 'unknown'"),
        ("user_id=1003&site=Nowhere", "user '1003' is unknown at 'Nowhere'"),
        ("user_id=1003&day=1", "day: "),
    ],
)
def test_an_invalid_month_is_reported(reader: httpx.Client, query: str, message: str) -> None:
    for address in (f"/month?{query}", f"/month/file?{query}"):
        answer = reader.get(address)
        assert (answer.status_code, drawn(answer).alerts[0][: len(message)]) == (400, message), address
    assert reader.get("/month/file").status_code == 400
