"""`zk-pipeline period` and `payroll`: a month is closed, changed, adjusted and exported."""

from __future__ import annotations

import csv
import getpass
from pathlib import Path

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.gates import MONDAY
from zk_pipeline_tests.store.payroll.payroll_fixtures import Day, put_days
from zk_pipeline_tests.store.store_fixtures import execute


@pytest.mark.usefixtures("processed")
def test_a_month_is_closed_changed_and_adjusted_in_the_next(zk: CommandLine, home_store: Store, tmp_path: Path) -> None:
    assert zk("period", "open", "2024-03").out == "open 2024-03: 2024-03-01 to 2024-03-31\n"
    assert (
        zk("period", "close", "2024-03").out
        == "closed 2024-03: 2024-03-01 to 2024-03-31\npaid: 3 days worked, 0 absences, 0 adjusted days\n"
    )
    again = zk("period", "close", "2024-03")
    by = f"cli:{getpass.getuser()}"
    assert (again.is_refusal(), again.err) == (True, f"zk-pipeline: period 2024-03 is closed already, by {by}\n")
    put_days(home_store, [(("Head office", "1001", MONDAY), Day(600))])
    (one,) = zk("period", "diff", "2024-03", "--json").json
    assert (one["pay_class"], one["minutes"], one["reason"]) == ("regular", 60, "revision 1, now 2")
    assert "revision 1, now 2" in zk("period", "diff", "2024-03").out
    assert zk("period", "open", "2024-04", "--json").json["last_date"] == "2024-04-30"
    assert zk("period", "diff", "2024-04", "--json").json == [one]
    closed = zk("period", "close", "2024-04", "--json").json
    assert (closed["state"], closed["closed_by"], closed["days"], closed["adjustments"]) == ("closed", by, 0, 1)
    assert zk("period", "diff", "2024-04").out == "no adjustments\n"
    execute(home_store, "UPDATE work_dates SET reprocess_after = now() WHERE work_date = ?", [MONDAY])
    waiting = zk("period", "diff", "2024-03")
    execute(home_store, "UPDATE work_dates SET reprocess_after = NULL WHERE work_date = ?", [MONDAY])
    assert (waiting.out, waiting.err) == (
        "no adjustments so far\n",
        f"zk-pipeline: warning: adjustments may be missing: 1 work date not processed: {MONDAY}\n",
    )
    assert zk("period", "diff", "2024-04", "--paid", "--json").json == [one]
    assert [(line["period"], line["state"]) for line in zk("period", "list", "--json").json] == [
        ("2024-03", "closed"),
        ("2024-04", "closed"),
    ]
    file = tmp_path / "april.csv"
    done = zk("payroll", "export", "--period", "2024-04", "--profile", "csv", "-o", str(file), "--json").json
    assert (done["rows"], done["state"], done["minutes"]["regular"]) == (1, "closed", 60)
    (line, total) = csv.DictReader(file.open(newline=""))
    assert (line["adjustment_of"], line["user_id"], line["regular"], total["regular"]) == (
        "2024-03",
        "1001",
        "1.00",
        "1.00",
    )
    assert zk("period", "reopen", "2024-04").out == "open 2024-04: 2024-04-01 to 2024-04-30\n"
    provisional = zk("payroll", "export", "--period", "2024-04", "--profile", "csv", "-o", "-")
    assert provisional.out == file.read_text()
    assert provisional.err.startswith("zk-pipeline: warning: 2024-04 is open: these figures are not final")


@pytest.mark.usefixtures("processed")
def test_what_cannot_be_exported_is_one_line_and_leaves_the_file(zk: CommandLine, home: Path, tmp_path: Path) -> None:
    zk("period", "open", "2024-03")
    file = tmp_path / "march.csv"
    file.write_text("before")

    def refused(period: str, profile: str) -> str:
        result = zk("payroll", "export", "--period", period, "--profile", profile, "-o", str(file))
        assert result.is_refusal()
        assert file.read_text() == "before"
        return result.err

    assert "no payroll profile 'sap'; there are: csv, xlsx" in refused("2024-03", "sap")
    assert "no payroll period '2024-05'; there are: 2024-03" in refused("2024-05", "csv")
    profiles = home / "payroll_profiles.yaml"
    profiles.write_text("profiles:\n- {name: sap, format: csv, columns: [{field: userid}]}\n")
    assert "payroll_profiles.yaml, line 2, profile sap: columns.0.field: unknown field 'userid'" in refused(
        "2024-03", "csv"
    )
    profiles.write_text("profiles:\n- {name: sap, format: csv, columns: [{classes: [night]}]}\n")
    assert "the profile sap has no amount for regular, with 1620 minutes" in refused("2024-03", "sap")
    assert zk("period", "close", "2024-03", "--force").code == 0
    assert "period 2024-03 is closed: its dates stay as they are" in zk("period", "open", "2024-03").err
