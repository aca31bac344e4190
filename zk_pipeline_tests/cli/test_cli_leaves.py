"""`zk-pipeline leave`: add, import, list, remove; and the leave in explanations."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.gates import MONDAY
from zk_pipeline_tests.operations.files.test_holiday_calendar import calendar
from zk_pipeline_tests.store.store_fixtures import rows

BY = f"cli:{getpass.getuser()}"


@pytest.mark.usefixtures("processed")
def test_a_leave_is_added_explained_and_removed(zk: CommandLine, home_store: Store) -> None:
    dates = ("--start-date", str(MONDAY), "--end-date", "2024-03-20", "--note", "summer")
    added = zk("leave", "add", "--user-id", "1001", "--kind", "annual leave", *dates)
    assert (added.out, added.err) == ("1\n", "")
    (listed,) = zk("leave", "list", "--user-id", "1001", "--json").json
    assert (listed["kind"], listed["created_by"], listed["source"]) == ("annual leave", BY, None)
    sentence = f"annual leave, {MONDAY} to 2024-03-20, summer (entered by {BY})"
    with_punches = zk("explain", "--user-id", "1001", "--date", str(MONDAY)).out
    assert sentence in with_punches
    assert "revision 1" in with_punches
    without = zk("explain", "--user-id", "1001", "--date", "2024-03-20")
    assert (without.code, sentence in without.out, "no punches" in without.out) == (0, True, True)
    assert zk("explain", "--user-id", "1001", "--date", "2024-03-21").is_refusal()
    again = zk("leave", "add", "--user-id", "1001", "--kind", "annual leave", *dates)
    assert (again.code, "1001 has this leave already: it is leave 1" in again.err) == (2, True)
    assert zk("leave", "remove", "1").out == f"removed 1: 1001, {sentence}\n"
    assert "no leaves" in zk("leave", "list").out
    assert [one["removed_by"] for one in zk("leave", "list", "--removed", "--json").json] == [BY]
    assert zk("leave", "remove", "1").is_refusal()
    ((name, user_id),) = rows(
        home_store, "SELECT name, user_id FROM device_users WHERE name > 'A' ORDER BY ALL LIMIT 1"
    )
    day = ("--start-date", str(MONDAY), "--kind", "training")
    at = (
        "--site",
        home_store.devices.all()[0].site,
        "--at",
        f"{MONDAY} 23:10",
        "--state",
        "out",
        "--reason",
        "no power",
    )
    for command in (("leave", "add", *day), ("punch", "request", *at)):
        refused = zk(*command, "--user-id", name.upper())
        assert refused.is_refusal()
        assert f"enter the id of {name} ({user_id})" in refused.err


@pytest.mark.usefixtures("processed")
def test_a_file_is_imported_with_a_line_for_each_bad_row_and_a_warning_for_unknown_users(
    zk: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "leave.csv"
    file.write_text(f"user_id,first_date,kind\n1001,soon,sick leave\n,{MONDAY},sick leave\n")
    refused = zk("leave", "import", str(file))
    assert (refused.code, refused.err.splitlines()) == (
        2,
        [
            f"zk-pipeline: {file}: no leave was imported:",
            "zk-pipeline: line 2: first_date 'soon' is no date such as 2026-05-01",
            "zk-pipeline: line 3: the user_id is empty",
        ],
    )
    file.write_text(f"user_id,first_date,kind\n1001,{MONDAY},sick leave\n1O01,{MONDAY},sick leave\n")
    done = zk("leave", "import", str(file))
    assert done.out == "added: 2\nunchanged: 0\nremoved: 0\nskipped: 0\n"
    unknown = "zk-pipeline: warning: no terminal and no recorded punch has the user id '1O01': check it\n"
    assert (done.code, done.err) == (0, unknown)
    ics = tmp_path / "ada.ics"
    event = f"SUMMARY:training|DTSTART;VALUE=DATE:{MONDAY:%Y%m%d}"
    ics.write_bytes(calendar(event))
    skipped = zk("leave", "import", str(ics))
    assert (skipped.code, "training was skipped: its summary must be `USER: KIND`" in skipped.err) == (1, True)
    assert zk("leave", "import", str(ics), "--user-id", "1001", "--json").json["added"][0]["kind"] == "training"


@pytest.mark.usefixtures("processed")
def test_a_punch_of_an_unknown_user_is_requested_with_a_warning(zk: CommandLine) -> None:
    site = zk("device", "list", "--json").json[0]["site"]
    options = ("--site", site, "--at", f"{MONDAY} 23:10", "--state", "out", "--reason", "no power")
    made = zk("punch", "request", "--user-id", "1O01", *options)
    assert (made.code, made.out, "has the user id '1O01': check it" in made.err) == (0, "1\n", True)
    assert zk("punch", "request", "--user-id", "1001", *options).err == ""
