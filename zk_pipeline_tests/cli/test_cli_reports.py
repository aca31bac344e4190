"""`export`, `month` and `explain`: files, standard output, usage errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from zk_pipeline.cli.main import run
from zk_pipeline.operations.files import table_writers
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.forkserver import processes
from zk_pipeline_tests.store.push.push_fixtures import adopt, push
from zk_pipeline_tests.store.store_fixtures import MONDAY, TUESDAY, device, ingest, on, process

SPAN = ("--start-date", str(MONDAY), "--end-date", str(TUESDAY))


@pytest.fixture
def worked(home_store: Store) -> None:
    home_store.devices.add(device("Gate", site="Plant"))
    ingest(home_store, "Gate", *on(MONDAY, "09:00", "17:30"), users=[("1001", 1, "Zoë", 0, 0)])
    process(home_store, MONDAY)


@pytest.mark.usefixtures("worked")
def test_the_format_is_the_suffix_and_an_old_file_is_replaced(zk: CommandLine, tmp_path: Path) -> None:
    target = tmp_path / "days.parquet"
    target.write_text("before")
    result = zk("export", "attendance", *SPAN, "-o", str(target))
    assert (result.code, result.out, result.err) == (0, f"1 row in {target}\n", "")
    assert pq.read_table(target)["user_id"].to_pylist() == ["1001"]
    assert zk("export", "raw", *SPAN, "-o", str(target), "--json").json == {
        "file": str(target),
        "format": "parquet",
        "rows": 2,
    }


@pytest.mark.closed_stores
@pytest.mark.usefixtures("worked")
def test_an_export_to_standard_output_is_nothing_but_the_file(zk: CommandLine, home: Path) -> None:
    assert zk("export", "raw", "-o", "-").is_refusal()
    done = subprocess.run(
        [sys.executable, "-m", "zk_pipeline", "export", "raw", "--format", "csv", "-o", "-"],
        env={**os.environ, "ZK_PIPELINE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    header, first, second = done.stdout.splitlines()
    assert header.startswith('"device","site","user_id"')
    assert '"1001","Zoë","2026-03-02 09:00:00Z",2026-03-02 09:00:00' in first
    assert "17:30:00Z" in second


@pytest.mark.usefixtures("worked")
def test_wrong_usage_is_refused_in_one_line(zk: CommandLine, tmp_path: Path) -> None:
    target = str(tmp_path / "out")
    for wrong in (
        ("export", "raw", "-o", target),  # no format
        ("export", "raw", "--format", "json", "-o", target),
        ("export", "everything", "--format", "csv", "-o", target),
        ("export", "raw", "--start-date", "2026-03-05", "--end-date", "2026-03-01", "-o", f"{target}.csv"),
        ("export", "raw", "--site", "Moon", "-o", f"{target}.csv"),
        ("export", "raw", "-o", str(tmp_path / "missing" / "out.csv")),
        ("export", "raw", "--format", "csv", "--json", "-o", "-"),
        ("month", "--user-id", "Unknown"),
        ("month", "--user-id", "1001", "--month", "March"),
        ("month", "--user-id", "1001", "--format", "xlsx"),
    ):
        assert zk(*wrong).is_refusal(), wrong
    assert list(tmp_path.glob("out*")) == []


def export_and_die(home: Path, target: Path) -> None:
    """In a process of its own: an export that is killed when it begins to write."""

    def killed(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    os.environ["ZK_PIPELINE_HOME"] = str(home)
    table_writers.CsvFile.write_table = killed  # type: ignore[method-assign, assignment]
    run(["export", "raw", "-o", str(target)])


@pytest.mark.closed_stores
@pytest.mark.usefixtures("worked")
def test_a_killed_export_leaves_no_file_under_the_name(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    process = processes.Process(target=export_and_die, args=(home, target))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not target.exists()


@pytest.mark.usefixtures("worked")
def test_the_month_sheet_is_shown_and_written(zk: CommandLine, tmp_path: Path) -> None:
    asked = ("month", "--user-id", "1001", "--month", "2026-03")
    result = zk(*asked)
    assert result.out.startswith("Zoë (1001), Plant, March 2026\n")
    assert "2026-03-02  Mon         09:00  17:30  8:30    0:00  0:30        2        present" in result.out
    assert "outliers             0\n" in result.out
    plain = zk(*asked, "--json").json
    assert plain["outliers"] == 0
    assert (plain["present"], plain["worked_minutes"], len(plain["days"])) == (1, 510, 31)
    assert (plain["site"], plain["sites"], plain["absent"], plain["early_leave_minutes"]) == ("Plant", ["Plant"], 0, 30)
    assert plain["days"][1]["status"] == "present"
    for kind in ("text", "html", "xlsx"):
        target = tmp_path / f"sheet.{kind}"
        assert zk(*asked, "--format", kind, "-o", str(target)).code == 0
        assert target.stat().st_size > 500
    assert "Zoë (1001)" in zk(*asked, "--format", "html").out


@pytest.mark.usefixtures("worked")
def test_an_explanation_has_wall_clocks_without_a_zone_and_instants_with_one(zk: CommandLine) -> None:
    result = zk("explain", "--user-id", "1001", "--date", str(MONDAY))
    assert result.code == 0
    assert "in, out               2026-03-02 09:00:00, 2026-03-02 17:30:00\n" in result.out
    assert "hours                 09:00-18:00 (settings)\n" in result.out
    assert "left early (minutes)  30\n" in result.out
    assert "status                present: Came to work on a working day\n" in result.out
    (punch,) = (line for line in result.out.splitlines() if line.startswith("Plant  Gate    2026-03-02 17:30:00 "))
    assert punch.count(" UTC") == 1, "only stored_at is an instant"
    (revision,) = (line for line in result.out.splitlines() if line.startswith("Plant  1 "))
    assert "2026-03-02 09:00:00  2026-03-02 17:30:00  510" in revision


def test_a_day_of_only_records_that_do_not_count_is_explained(zk: CommandLine, home_store: Store) -> None:
    adopt(home_store, "Gate", "SN1")
    push(home_store, serial="SN1", rejected=[b"1001\t2026-03-02 25:00:00"])
    out = zk("explain", "--user-id", "1001", "--date", "2026-03-02").out
    assert "attendance day  no punches that count\n" in out
    assert r"not counted: line in quarantine of Gate: '1001\t2026-03-02 25:00:00' (impossible date)" in out
    (left_out,) = zk("explain", "--user-id", "1001", "--date", "2026-03-02", "--json").json["left_out"]
    assert (left_out["device"], left_out["recorded_local"], left_out["reason"]) == ("Gate", None, "impossible date")


@pytest.mark.usefixtures("worked")
def test_an_explanation_of_another_site_names_the_sites_with_data(zk: CommandLine) -> None:
    result = zk("explain", "--user-id", "1001", "--date", str(MONDAY), "--site", "Foo")
    assert result.is_refusal()
    assert f"no punches or days of '1001' at 'Foo' on {MONDAY}; there are some at: Plant\n" in result.err
    elsewhere = zk("explain", "--user-id", "1001", "--date", str(TUESDAY), "--site", "Foo")
    assert elsewhere.err == f"zk-pipeline: no punches or days of '1001' at 'Foo' on {TUESDAY}\n"
