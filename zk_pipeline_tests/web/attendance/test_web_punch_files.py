"""Upload of a punch file: a check that stores nothing, then the import of the same file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from zk_pipeline_tests.store.store_fixtures import device, rows
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import Visit, Web

NAME, FILE = "Loading bay", "1_attlog.dat"
LOG = b"        7\t2026-03-02 08:00:00\t1\t0\t1\t0\r\n        7\t2026-03-02 17:00:00\t1\t1\t1\t0\r\n"
STORED = "SELECT count(*) FROM raw_punches WHERE device = 'Loading bay'"


@pytest.fixture
def page(web: Web) -> Iterator[str]:
    """Address of the import of a terminal that is there for this test."""
    added = web.store.devices.add(device(NAME))
    yield f"/devices/{added.id}/import"
    with web.store.database.write("test") as connection:
        for table in ("raw_punches", "device_polls", "quarantined_records"):
            connection.execute(f"DELETE FROM {table} WHERE device = ?", [NAME])
        connection.execute("DELETE FROM devices WHERE name = ?", [NAME])
        connection.execute("UPDATE work_dates SET latest_punch_seq = processed_seq, stale_sites = NULL")


@pytest.fixture
def admin(web: Web) -> Iterator[httpx.Client]:
    with web.client("admin") as client:
        yield client


def upload(client: httpx.Client, page: str, content: bytes = LOG, name: str = FILE, **fields: str) -> httpx.Response:
    token = drawn(client.get(page)).fields["csrf_token"]
    return client.post(page, data={"csrf_token": token, **fields}, files={"file": (name, content)})


def digest_of(answer: httpx.Response) -> str:
    return re.findall(r'name="checked" value="(\w+)"', answer.text)[0]


def text_of(answer: httpx.Response) -> str:
    return " ".join(re.sub("<[^>]+>", " ", answer.text).split())


def test_a_file_is_checked_and_then_imported_once(web: Web, admin: httpx.Client, page: str) -> None:
    checked = upload(admin, page)
    assert checked.status_code == 200, checked.text
    assert "Nothing is stored yet." in text_of(checked)
    assert "New 2 Stored before 0" in text_of(checked)
    assert "Users not enrolled 1 7" in text_of(checked)
    assert rows(web.store, STORED) == [(0,)]
    done = upload(admin, page, checked=digest_of(checked))
    assert "Stored. The next processing run computes their days." in text_of(done)
    assert rows(web.store, STORED) == [(2,)]
    again = upload(admin, page, checked=digest_of(checked), check="yes")
    assert "Nothing new: all of them were stored before." in text_of(again)
    assert 'name="checked"' not in again.text
    details = text_of(admin.get(page.removesuffix("/import")))
    assert "stored imported from 1_attlog.dat" in details
    assert "Last successful poll never" in details


def test_another_file_than_the_checked_one_is_refused(web: Web, admin: httpx.Client, page: str) -> None:
    digest = digest_of(upload(admin, page))
    for answer in (
        upload(admin, page, LOG.replace(b"08:00", b"07:00"), checked=digest),
        upload(admin, page, order="usb", checked=digest),
    ):
        assert (answer.status_code, drawn(answer).alerts) == (
            400,
            ["this is not the file that was checked, or other columns: check it first"],
        )
    assert rows(web.store, STORED) == [(0,)]


@pytest.mark.parametrize(
    ("file", "fields", "problem"),
    [
        ((FILE, b""), {}, "choose a file: a log"),
        ((FILE, LOG + b"garbage\n"), {}, "line 3: it has no time"),
        ((FILE, LOG + b"garbage\n"), {}, "no punch was stored (“Import the other lines” stores the others)"),
        (("november.txt", LOG), {}, "name the right one with “Columns of a USB log after the time”"),
        (("raw.csv", b"user_id,punched_at_local\n1,soon\n"), {}, "“Form of its times” names another form"),
        ((FILE, LOG), {"format": "pdf"}, "format: 'pdf' is none of attlog"),
        ((FILE, LOG), {"order": "sideways"}, "order: 'sideways' is none of usb"),
        (("raw.csv", b"a,b\n1,2\n"), {"columns": "user=a"}, "'user=a' does not name the column"),
        (("raw.xlsx", b"PK\3\4"), {}, "cannot be read as an Excel file"),
    ],
)
def test_a_file_that_cannot_be_imported_is_reported_above_the_form(
    admin: httpx.Client, page: str, file: tuple[str, bytes], fields: dict[str, str], problem: str
) -> None:
    name, content = file
    answer = upload(admin, page, content, name, **fields)
    assert answer.status_code == 400
    assert problem in " ".join(drawn(answer).alerts)
    assert not re.search("--[a-z]", " ".join(drawn(answer).alerts))
    assert 'name="checked"' not in answer.text


def test_a_log_of_more_than_250_kb_is_accepted_here_only(admin: httpx.Client, page: str) -> None:
    lines = b"".join(b"%d\t2026-03-02 08:00:00\t1\t0\t1\t0\r\n" % number for number in range(1000, 11000))
    assert len(lines) > 300_000
    assert "New 10,000" in text_of(upload(admin, page, lines))
    too_large = admin.post(page, content=b"x" * (4 * 2**20 + 1), headers={"content-type": "multipart/form-data"})
    assert "the file is larger than 4 MB: import it with the command `zk-pipeline import punches`" in text_of(too_large)
    elsewhere = admin.post("/leaves/import", content=lines, headers={"content-type": "multipart/form-data"})
    assert (too_large.status_code, elsewhere.status_code) == (413, 413)


@pytest.mark.parametrize("script", [True, False])
def test_too_large_a_file_is_refused_on_a_page_with_the_command_that_imports_it(
    page: str, open_page: Callable[..., Visit], tmp_path: Path, script: bool
) -> None:
    file = tmp_path / FILE
    file.write_bytes(LOG + b"\n" * (4 * 2**20))
    shown = open_page(page, script=script).page
    shown.get_by_label("File", exact=True).set_input_files(file)
    shown.get_by_role("button", name="Check").click()
    shown.get_by_text("the file is larger than 4 MB").wait_for()


def test_only_an_admin_may_import_punches(web: Web, page: str) -> None:
    with web.client("operate") as operator:
        assert operator.get(page).status_code == 403
        assert "/import" not in operator.get(page.removesuffix("/import")).text
        refused = operator.post(page, data={"csrf_token": "x"}, files={"file": (FILE, LOG)})
    assert refused.status_code == 403


@pytest.mark.parametrize("script", [True, False])
def test_a_file_is_checked_and_imported_in_a_browser(
    web: Web, page: str, open_page: Callable[..., Visit], tmp_path: Path, script: bool
) -> None:
    """With scripts the chosen file stays chosen; without them it is chosen again for the import."""
    file = tmp_path / FILE
    file.write_bytes(LOG)
    visit = open_page(page, script=script)
    shown = visit.page
    shown.get_by_label("File", exact=True).set_input_files(file)
    shown.get_by_role("button", name="Check").click()
    confirm = shown.get_by_role("button", name="Import 2 punches")
    confirm.wait_for()
    if not script:
        shown.get_by_label("File", exact=True).set_input_files(file)
    confirm.click()
    shown.get_by_text("Stored. The next processing run computes their days.").wait_for()
    assert rows(web.store, STORED) == [(2,)]
    visit.look(width=390, dark=True)
    assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
