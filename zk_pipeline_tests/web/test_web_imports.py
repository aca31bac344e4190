"""Import of holidays from a file, and broken forms."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from zk_pipeline.http.middleware import MAX_BODY_BYTES
from zk_pipeline_tests.web.test_web_forms import CALENDAR, csrf_of
from zk_pipeline_tests.web.web_fixtures import Web

FIELD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\na\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\na\r\n'
NESTED = b"".join(b"--%d\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n" % (n, n + 1) for n in range(1000))


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
