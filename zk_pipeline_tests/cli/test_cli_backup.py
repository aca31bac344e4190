"""`backup` and `restore` as an operator uses them."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.config.home import TEMPLATES
from zk_pipeline.config.settings import load_settings
from zk_pipeline.crm.models import DeliverySummary
from zk_pipeline.defs.names import Names
from zk_pipeline.operations.sync import sync
from zk_pipeline.runtime.home_users import FILE
from zk_pipeline.runtime.supervisor import single_instance
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import process, stale


@pytest.fixture
def gates(fleet: Fleet, home_store: Store) -> Fleet:
    switch_on(fleet, home_store, gate("North", *present(MONDAY, "1001")))
    return fleet


def work(store: Store) -> DeliverySummary:
    """Process what is stale and deliver what is due, without runs of Dagster."""
    process(store, *stale(store))
    return sync(store, load_settings(), SyncScope(), run_id="sync")


@pytest.mark.usefixtures("processed")
def test_a_backup_is_written_to_the_home_with_counts_of_its_rows(zk: CommandLine, home: Path) -> None:
    result = zk("backup")
    assert (result.code, result.err) == (0, "")
    (file,) = (home / "backups").iterdir()
    assert result.out.startswith(f"{file}: ")
    assert result.out.endswith(" MB, 6 punches, verified\n")
    again = zk("backup", str(home / "elsewhere.duckdb"), "--json").json
    assert (again["file"], again["rows"]["raw_punches"]) == (str(home / "elsewhere.duckdb"), 6)


def advised(lines: list[str]) -> list[list[str]]:
    """The commands that a restore suggests, as arguments."""
    return [line.partition("zk-pipeline ")[2].partition(" (")[0].split() for line in lines]


@pytest.mark.usefixtures("gates")
def test_after_a_restore_and_its_advice_all_days_are_there_and_none_is_delivered_again(
    zk: CommandLine, home: Path, fleet: Fleet, crm: CrmReceiver, home_store: Store
) -> None:
    """Also those of a terminal that was registered since the backup."""
    file = zk("backup", "--json").json["file"]
    switch_on(fleet, home_store, gate("Dock", *present(MONDAY, "1002")))
    zk("api-token", "create", "later")
    zk("poll")
    assert work(home_store).delivered == 2
    posts, days = crm.posts, zk("export", "attendance", "-o", "-", "--format", "csv").out
    shown = zk("restore", file, "--dry-run")
    assert shown.code == 0
    printed = " ".join(shown.out.split())
    for expected in (
        "terminals registered since Dock",
        "API tokens created since, still valid later",
        "work dates with changed days 0",
        "due at the CRM after restore and process 0 records, 0 retractions",
        "nothing was changed",
    ):
        assert expected in printed
    restored = zk("restore", file, "--yes", "--json").json
    assert (restored["carried"]["days"], restored["carried"]["first"]) == (2, str(MONDAY))
    assert home_store.punches.total() == 4
    for line in advised(restored["next"]):
        assert zk(*line).code == 0
    assert zk("process", "--start-date", str(MONDAY), "--end-date", str(MONDAY)).code == 0
    assert zk("sync").code == 0
    assert crm.posts == posts
    assert zk("export", "attendance", "-o", "-", "--format", "csv").out == days
    assert zk("restore", file, "--yes").out.count("next: zk-pipeline poll") == 1
    assert len(list((home / "data").glob("*.replaced-*"))) == 2


@pytest.mark.usefixtures("processed")
def test_a_preview_names_the_deliveries_that_would_become_due(
    zk: CommandLine, crm: CrmReceiver, home_store: Store
) -> None:
    assert work(home_store).delivered == crm.posts > 0
    file = zk("backup", "--json").json["file"]
    zk("shift", "add", "night", "--start", "20:00", "--end", "04:00")
    zk("shift", "assign", "night", "--user", "1001")
    work(home_store)
    seen = zk("restore", file, "--dry-run", "--json").json
    assert seen["restored"]["carried"]["undone"] == {"shifts": [1, 0], "shift_assignments": [1, 0]}
    assert seen["dates_changed"]
    assert seen["due_before"] == {"records": 0, "retractions": 0}
    assert seen["due_after"]["records"] >= 1
    zk("restore", file, "--yes")
    assert work(home_store).delivered == seen["due_after"]["records"] + seen["due_after"]["retractions"]


@pytest.mark.usefixtures("processed")
def test_the_losses_from_an_unreadable_store_are_listed(zk: CommandLine, home_store: Store) -> None:
    file = zk("backup", "--json").json["file"]
    home_store.database.path.write_bytes(b"broken" * 1000)
    result = zk("restore", file, "--yes")
    assert result.code == 0
    assert "nothing was carried over from a replaced store: the store that is replaced is damaged" in result.out
    assert "revoke such tokens again" in result.out


@pytest.mark.usefixtures("processed")
def test_a_preview_on_a_new_machine_writes_nothing_and_names_deliveries_of_unknown_outcome(
    zk: CommandLine, tmp_path: Path, crm: CrmReceiver, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = zk("backup", "--json").json["file"]
    work(home_store)
    new = tmp_path / "new"
    for name in ("ZK_PIPELINE_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(new))
    shown = zk("restore", file, "--dry-run")
    assert (shown.code, shown.err) == (0, "")
    assert "due at the CRM without the restore 0 records, 0 retractions" in " ".join(shown.out.split())
    assert sorted(path.name for path in new.iterdir()) == sorted([FILE, *TEMPLATES]), "what every command puts there"
    assert "3 undelivered records of the backup may have arrived since: `sync` sends those that wait again" in shown.out
    monkeypatch.setenv("CRM_LOOKUP", "/lookup/?user={user_id}&date={date}")
    done = zk("restore", file, "--yes")
    assert (
        "3 undelivered records of the backup may have arrived since: "
        "the CRM is asked (CRM_LOOKUP) before one is sent again" in done.out
    )
    advice = [line.strip() for line in done.out.splitlines() if "zk-pipeline" in line][-3:]
    assert advised(advice) == [["poll"], ["process"], ["sync"]]
    assert crm.posts == 3


def test_restore_asks_before_it_replaces(zk: CommandLine, home: Path) -> None:
    file = zk("backup", "--json").json["file"]
    result = zk("restore", file)
    assert result.is_refusal()
    assert "confirm with --yes" in result.err
    assert list((home / "data").glob("*.replaced-*")) == []


def test_restore_is_refused_while_the_pipeline_is_up(zk: CommandLine, home: Path) -> None:
    file = zk("backup", "--json").json["file"]
    with single_instance(home):
        result = zk("restore", file, "--yes", "--force")
    assert result.is_refusal()
    assert "end it first" in result.err


@pytest.mark.usefixtures("home")
def test_restore_is_refused_while_a_run_is_in_progress_unless_forced(zk: CommandLine) -> None:
    file = zk("backup", "--json").json["file"]
    with dg.DagsterInstance.get() as instance:
        started = dg.DagsterRunStatus.STARTED
        instance.add_run(dg.DagsterRun("poll_devices", "1" * 8, status=started, tags=Names().run_tags))
    result = zk("restore", file, "--yes")
    assert result.is_refusal()
    assert "run 11111111 of poll_devices is started" in result.err
    assert zk("restore", file, "--yes", "--force").code == 0


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "arguments",
    [("backup", "nowhere/x.duckdb"), ("backup", "x.duckdb", "--keep", "2"), ("restore", "none.duckdb", "--yes")],
)
def test_a_wrong_request_is_one_line(arguments: tuple[str, ...], zk: CommandLine) -> None:
    assert zk(*arguments).is_refusal()


def test_a_missing_folder_is_named(zk: CommandLine, home: Path) -> None:
    message = f"there is no folder {home / 'nowhere'}: create it first"
    assert zk("backup", str(home / "nowhere" / "x.duckdb")).err == f"zk-pipeline: {message}\n"


@pytest.mark.usefixtures("home")
def test_a_missing_file_is_reported_before_the_question(zk: CommandLine) -> None:
    assert zk("restore", "none.duckdb").err == "zk-pipeline: there is no file none.duckdb\n"


@pytest.mark.parametrize("mode", ["--yes", "--dry-run"])
def test_the_message_about_a_file_that_is_no_store_has_no_other_path(mode: str, zk: CommandLine, home: Path) -> None:
    file = home / "notes.txt"
    file.write_text("no store " * 1000)
    result = zk("restore", str(file), mode)
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert result.err.startswith(f"zk-pipeline: {file} is damaged or no store: ")
    assert str(home) not in result.err.replace(str(file), "")
