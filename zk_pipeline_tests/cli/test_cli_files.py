"""Files of shifts, devices and holidays: exact names, and validation messages with lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.operations.files.test_holiday_calendar import calendar

IDS = ("00042", "0x1F", "12_34", "12:30", "1e3", "on", "No", "2026-05-01", "1001", "'~'")
SHIFT = "shifts: [{name: early, start: 6:00, end: 14:00, late_clock_in_hours: 0.5}]\n"


def test_a_shift_is_for_exactly_the_user_in_the_file(zk: CommandLine, home_store: Store, tmp_path: Path) -> None:
    file = tmp_path / "shifts.yaml"
    entries = "".join(f"  - {{shift: early, user: {one}, valid_from: 2026-01-01}}\n" for one in IDS)
    file.write_text(f"{SHIFT}assignments:\n{entries}")
    assert zk("shift", "apply", str(file)).code == 0
    assert {one.target.user_id for one in home_store.shifts.assignments()} == {one.strip("'") for one in IDS}
    (shift,) = home_store.shifts.all()
    assert (f"{shift.start:%H:%M}", shift.late_clock_in_hours) == ("06:00", 0.5)
    assert zk("shift", "apply", str(file)).out.splitlines() == [f"unchanged: {len(IDS) + 1}"]


def test_each_command_that_assigns_a_shift_warns_of_an_unknown_user(
    zk: CommandLine, home_store: Store, tmp_path: Path
) -> None:
    plan, table = tmp_path / "shifts.yaml", tmp_path / "assignments.csv"
    plan.write_text(f"{SHIFT}assignments: [{{shift: early, user: 7, valid_from: 2026-01-01}}]\n")
    table.write_text("user_id,shift,from\n8,early,2026-01-01\n")
    dates = ("--from", "2026-01-01", "--to", "2026-01-02")
    for user, command in {
        "7": ("apply", str(plan)),
        "8": ("assign-file", str(table)),
        "9": ("assign", "early", "--user", "9"),
        "10": ("rotate", "--pattern", "early", "--user", "10", *dates),
    }.items():
        done = zk("shift", *command)
        warning = f"zk-pipeline: warning: no terminal and no recorded punch has the user id '{user}': check it\n"
        assert (done.code, done.err.startswith(warning)) == (0, True), done.err
    assert len(home_store.shifts.assignments()) == 4


WRONG: dict[str, tuple[str | bytes, str]] = {
    "nothing for a user": ("assignments:\n- {shift: a, site: HQ, user: }", "line 2, assignments entry 1: user: it has"),
    "~ for a user": ("assignments:\n- shift: a\n  site: HQ\n  user: ~", "line 4, assignments entry 1: user: it has no"),
    "an empty user": ("assignments:\n- {shift: a, site: HQ, user: ''}", "line 2, assignments entry 1: user: it has no"),
    "a user twice": ("assignments:\n- {shift: a, user: 1, user: 2}", "line 2: duplicate key 'user'"),
    "an alias": ("assignments:\n- &a {shift: a, user: 1}\n- *a", "line 2: the anchor &a is not supported"),
    "a tag": ("assignments:\n- {shift: a, user: !!int 1}", "line 2: the tag tag:yaml.org,2002:int is not supported"),
    "no date": ("assignments:\n- shift: a\n  user: 1\n  valid_from: 2026-02-30", "line 4, assignments entry 1: valid_"),
    "seconds as a date": ("holidays:\n- {date: 86400, name: x}", "line 2, holidays entry 1: date: '86400' is"),
    "a shift and a rotation": ("assignments:\n- {shift: a, rotation: a*2, user: 1}", "needs either `shift` or `rot"),
    "a start without rotation": ("assignments:\n- {shift: a, start_at: 2, user: 1}", "`start_at` belongs to a `rotat"),
    "an endless rotation": ("assignments:\n- {rotation: a*2, user: 1, valid_from: 2026-01-01}", "and `valid_to`"),
    "no hours": ("shifts:\n- {name: a, start: 6:00}", "line 2, shifts entry 1: shift 'a': a shift with working days"),
    "no country": ("shifts:\n- {name: a, start: 6:00, end: 9:00, weekdays: country:XX}", "weekdays: 'XX' is not the"),
    "a season of its own": (
        "seasons:\n- {shift: a, use: a, valid_from: 2026-01-01, valid_to: 2026-01-02}", "must use another shift"
    ),
    "a number of another base": ("shifts:\n- {name: a, start: 6:00, end: 9:00, late_clock_in_hours: 010}", "'010' is"),
    "another section": ("shifts: []\nshift: []", "line 2: 'shift' is unknown: the file must consist of the"),
    "no text": (b"shifts: []\n# \xe9", "line 2: cannot be read as YAML: it is not UTF-8 text"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_of_shifts_is_refused_by_its_line(
    zk: CommandLine, home_store: Store, tmp_path: Path, case: str
) -> None:
    content, message = WRONG[case]
    file = tmp_path / "shifts.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = zk("shift", "apply", str(file))
    assert result.is_refusal()
    assert str(file) in result.err
    assert message in result.err
    assert home_store.shifts.assignments() == []


def test_a_device_has_exactly_the_name_that_the_file_gives_it(
    zk: CommandLine, home_store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text("devices:\n- {name: 00042, ip: 192.0.2.1, site: no, enabled: off, port: 4371}\n")
    assert zk("device", "apply", str(file)).code == 0
    (device,) = home_store.devices.all()
    assert (device.name, device.site, device.enabled, device.port) == ("00042", "no", False, 4371)


def test_an_import_of_holidays_reports_skipped_events_and_exits_with_1_for_unreadable_ones(
    zk: CommandLine, home_store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "holidays.ics"
    good, meeting = "UID:1|SUMMARY:Feast|DTSTART:20260501", "UID:2|SUMMARY:Meeting|DTSTART:20260501T090000"
    file.write_bytes(calendar(good, meeting))
    result = zk("holiday", "import", str(file))
    assert result.code == 0
    assert result.out.splitlines() == ["added: 1", "changed: 0", "unchanged: 0", "removed: 0", "skipped: 1"]
    assert result.err.startswith(f"zk-pipeline: {file}, line 9: Meeting was skipped: it is an appointment")
    file.write_bytes(calendar(good, meeting, "UID:3|SUMMARY:Broken|DTSTART:20260532"))
    result = zk("holiday", "import", str(file), "--json")
    done = json.loads(result.out)
    assert (result.code, len(result.err.splitlines())) == (1, 2)
    named = [(one["line"], one["summary"], one["is_failure"]) for one in done["skipped"]]
    assert named == [(9, "Meeting", False), (14, "Broken", True)]
    assert done["unchanged"] == [{"day": "2026-05-01", "name": "Feast", "site": None}]
    assert len(home_store.holidays.all()) == 1
    file.write_text("<html>404</html>")
    assert zk("holiday", "import", str(file)).is_refusal()


PLAN = """
shifts:
  - {name: early, start: 6:00, end: 14:00}
  - {name: short, start: 6:00, end: 12:00}
  - {name: off, weekdays: none}
assignments:
  - {rotation: early*5 off*2, user: 1001, valid_from: 2026-01-05, valid_to: 2026-01-18, start_at: 3}
seasons:
  - {shift: early, use: short, valid_from: 2026-01-06, valid_to: 2026-01-07}
"""


def test_rotations_and_seasons_of_a_file_are_applied_once(zk: CommandLine, home_store: Store, tmp_path: Path) -> None:
    file = tmp_path / "shifts.yaml"
    file.write_text(PLAN)
    applied = zk("shift", "apply", str(file), "--json").json
    assert "season 'short' in place of 'early' from 2026-01-06 to 2026-01-07" in applied["added"]
    assert [(one.shift, one.span) for one in home_store.shifts.assignments()] == [
        ("early", "2026-01-05 to 2026-01-07"),
        ("off", "2026-01-08 to 2026-01-09"),
        ("early", "2026-01-10 to 2026-01-14"),
        ("off", "2026-01-15 to 2026-01-16"),
        ("early", "2026-01-17 to 2026-01-18"),
    ]
    assert zk("shift", "apply", str(file)).out == "unchanged: 9\n"
    file.write_text(PLAN.replace("2026-01-07}", "2026-01-09}"))
    changed = zk("shift", "apply", str(file), "--json").json
    assert (len(changed["added"]), len(changed["removed"]), changed["unchanged"]) == (1, 1, 8)
    file.write_text("shifts: [{name: early, start: 6:00, end: 14:00}]\n")
    assert zk("shift", "apply", str(file), "--prune").code == 0
    assert (home_store.shifts.seasons(), [one.name for one in home_store.shifts.all()]) == ([], ["early"])


def test_a_rotation_is_shown_stored_repeated_and_replaced(zk: CommandLine, home_store: Store, tmp_path: Path) -> None:
    assert zk("shift", "add", "early", "--start", "06:00", "--end", "14:00", "--days", "country:SA").code == 0
    assert zk("shift", "add", "off", "--days", "none").code == 0
    refused = zk("shift", "update", "off", "--days", "mon-fri")
    assert (refused.code, "needs a start and an end" in refused.err) == (2, True)
    assert home_store.shifts.get("early").weekdays == ("mon", "tue", "wed", "thu", "sun")
    rotate = ["shift", "rotate", "--pattern", "early*4 off*2", "--user", "1001", "--from", "2026-01-01"]
    tried = zk(*rotate, "--to", "2026-01-12", "--dry-run")
    assert (tried.code, tried.out.splitlines()[-1]) == (
        0,
        "dry run, nothing is stored; added: 4, removed: 0, unchanged: 0",
    )
    assert home_store.shifts.assignments() == []
    assert len(zk(*rotate, "--to", "2026-01-12", "--json").json["added"]) == 4
    assert zk(*rotate, "--to", "2026-01-12").out == "added: 0, removed: 0, unchanged: 4\n"
    table = tmp_path / "leave.csv"
    table.write_text("shift,user_id,from,to\noff,1001,2026-01-02,2026-01-03\n")
    assert zk("shift", "assign-file", str(table)).code == 2
    assert (
        zk("shift", "assign-file", str(table), "--replace").out.splitlines()[-1] == "added: 3, removed: 1, unchanged: 0"
    )
    assert zk("shift", "assign-file", str(table), "--replace").out == "added: 0, removed: 0, unchanged: 1\n"
    season = ["shift", "season", "add", "early", "--use", "off", "--from", "2026-01-01", "--to", "2026-01-01"]
    assert zk(*season).out == "season 1: 'off' in place of 'early' from 2026-01-01 to 2026-01-01\n"
    assert zk(*season).is_refusal()
    assert [one["use"] for one in zk("shift", "list", "--json").json["seasons"]] == ["off"]
    assert zk("shift", "season", "remove", "1").code == 0
    assert "no seasons" in zk("shift", "season", "list").out
