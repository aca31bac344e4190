"""Pages of shifts, assignments and holidays: forms and imports."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import date, time
from pathlib import Path

import pytest

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.devices.models import Device
from zk_pipeline.http.middleware import MAX_BODY_BYTES
from zk_pipeline_tests.web.test_web_devices import csrf_of, press
from zk_pipeline_tests.web.web_fixtures import Visit, Web

Open = Callable[..., Visit]
FIELD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\na\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\na\r\n'
NESTED = b"".join(b"--%d\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n" % (n, n + 1) for n in range(1000))
CALENDAR = """BEGIN:VCALENDAR
BEGIN:VEVENT
DTSTART;VALUE=DATE:20260501
SUMMARY:Labour Day
END:VEVENT
END:VCALENDAR
"""


def test_a_shift_is_added_assigned_changed_and_removed(web: Web, open_page: Open) -> None:
    web.store.devices.add(Device(name="Gate", ip_address="192.0.2.1", site="Works / north"))
    page = open_page("/shifts").page
    page.get_by_role("link", name="Add a shift").click()
    page.get_by_label("Name").fill("night & day?")
    page.get_by_label("Start", exact=True).fill("22:00")
    page.get_by_label("End").fill("06:00")
    page.get_by_label("Sunday").uncheck()
    page.get_by_label("In late by more than").fill("0.5")
    press(page, "Add")
    page.get_by_role("status").wait_for()
    (made,) = web.store.shifts.all()
    assert (made.name, made.start, made.end, made.late_clock_in_hours) == ("night & day?", time(22), time(6), 0.5)
    assert made.weekdays == ("mon", "tue", "wed", "thu", "fri", "sat")

    page.get_by_label("Site").select_option("Works / north")
    page.get_by_label("First work date").fill("2026-01-01")
    press(page, "Assign")
    page.get_by_role("status").wait_for()
    press(page, "Assign")  # once more without a target
    page.get_by_role("alert").filter(has_text="name one").wait_for()
    page.get_by_role("button", name="Remove night & day?", exact=True).click()
    page.get_by_role("alert").filter(has_text="unassign it first").wait_for()

    page.get_by_role("link", name="Edit night & day?").click()
    assert not page.get_by_label("Sunday").is_checked()
    page.get_by_label("End").fill("07:00")
    press(page, "Save")
    page.get_by_role("status").wait_for()
    assert web.store.shifts.get("night & day?").end == time(7)
    page.get_by_role("button", name="Remove night & day? for").click()
    page.get_by_text("No shift is assigned.").wait_for()
    page.get_by_role("button", name="Remove night & day?", exact=True).click()
    page.get_by_text("No shifts: all users").wait_for()
    assert web.store.shifts.all() == []


def test_holidays_are_added_imported_from_a_file_and_removed(web: Web, open_page: Open, tmp_path: Path) -> None:
    page = open_page("/holidays").page
    page.get_by_label("Date").fill("2026-12-24")
    page.get_by_label("Name").fill("Half a day")
    press(page, "Add")
    page.get_by_role("status").wait_for()
    file = tmp_path / "public holidays.ics"
    file.write_text(CALENDAR)
    page.get_by_label("File").set_input_files(file)
    press(page, "Import")
    page.get_by_role("status").filter(has_text="1 added, 0 changed, 0 unchanged").wait_for()
    page.get_by_role("button", name="Remove 2026-12-24").click()
    page.get_by_role("status").filter(has_text="Removed.").wait_for()
    assert web.store.holidays.all() == [Holiday(day=date(2026, 5, 1), name="Labour Day")]
    web.store.holidays.remove(date(2026, 5, 1))


@pytest.mark.parametrize(
    ("name", "content", "status", "message"),
    [
        ("a.csv", b"date,name\n2026-02-30,Never\n", 400, "line 2"),
        ("a.csv", b"\xff\xfe\x00", 400, "cannot be read"),
        ("a.exe", b"MZ", 400, "must be a calendar"),
        ("a.ics", b"<html>", 400, "there is no event in it"),
        ("a.ics", CALENDAR.replace("0501", "0532").encode(), 200, "1 skipped. Skipped: line 2, Labour Day: DTSTART"),
        ("../../etc/a.csv", b"date;name\n2026-05-02;Feast\n", 200, "1 added"),
        ("..\\b.csv", b"date;name\r\n2026-05-02;Feast\r\n", 200, "1 unchanged"),
        ("a.csv", b"", 400, "choose a file"),
        ("a.csv", b"date,name\n" + b"2026-05-01,Feast\n" * 20_000, 413, "larger than"),
    ],
)
def test_a_file_is_imported_completely_or_refused_with_a_message(
    web: Web, name: str, content: bytes, status: int, message: str
) -> None:
    with web.client() as admin:
        sent = admin.post(
            "/holidays/import", data={"csrf_token": csrf_of(admin)}, files={"file": (name, content, "text/plain")}
        )
    assert (sent.status_code, message in sent.text) == (status, True), sent.text
    assert {one.name for one in web.store.holidays.all()} <= {"Feast"}


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"--x\r\n\r\n", 400),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n", 400),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\na', 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Type: message/rfc822\r\n\r\na\r\n--x--\r\n", 400),
        ("multipart/form-data; boundary=0", NESTED, 400),
        ("multipart/form-data; boundary=x", FIELD * 21 + b"--x--\r\n", 400),
        ("multipart/form-data; boundary=x", FILE * 6 + b"--x--\r\n", 400),
        ("multipart/form-data; boundary=x", FILE + FILE.replace(b"\r\n\r\na\r\n", b"\r\n\r\na"), 400),
        ("multipart/form-data; boundary=x; charset=idna", FIELD.replace(b"a", b"xn--" * 99) + b"--x--\r\n", 400),
        ("multipart/form-data; boundary=x", FILE.replace(b"\r\na\r\n", b"\r\n" + b"a" * MAX_BODY_BYTES), 413),
        ("application/json", b"{}", 415),
    ],
)
def test_a_broken_form_is_refused(web: Web, kind: str, body: bytes, status: int) -> None:
    with web.client() as admin:
        assert admin.post("/holidays/import", content=body, headers={"Content-Type": kind}).status_code == status


def test_a_file_without_a_declared_length_is_refused_at_the_limit_and_never_on_disk(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollovers: list[object] = []
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollovers.append)

    def chunks() -> Iterator[bytes]:
        yield FILE.removesuffix(b"a\r\n")
        for _ in range(5):
            yield b"a" * 65_536

    with web.client() as admin:
        answer = admin.post(
            "/holidays/import", content=chunks(), headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
    assert answer.status_code == 413
    assert "the body is larger than 262144 bytes" in answer.text
    assert rollovers == []
