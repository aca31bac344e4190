"""`backup` and `restore` as an operator uses them."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.simulator.crm_receiver import CrmReceiver
from zk_pipeline.simulator.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline.supervisor import only_one
from zk_pipeline_tests.cli.command_bench import CommandLine
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on


@pytest.fixture
def gates(fleet: Fleet, home_store: Store) -> Fleet:
    switch_on(fleet, home_store, gate("North", *present(MONDAY, "1001")))
    return fleet


@pytest.mark.usefixtures("gates")
def test_a_backup_goes_to_the_homes_folder_and_says_what_it_holds(zk: CommandLine, home: Path) -> None:
    zk("poll")
    said = zk("backup")
    assert (said.code, said.err) == (0, "")
    (file,) = (home / "backups").iterdir()
    assert said.out.startswith(f"{file}: ")
    assert said.out.endswith(" MB, 2 punches, verified\n")
    again = zk("backup", str(home / "elsewhere.duckdb"), "--json").json
    assert (again["file"], again["rows"]["raw_punches"]) == (str(home / "elsewhere.duckdb"), 2)


@pytest.mark.usefixtures("gates")
def test_a_restored_store_is_polled_and_processed_without_the_crm_hearing_anything_twice(
    zk: CommandLine, home: Path, crm: CrmReceiver, home_store: Store
) -> None:
    file = zk("backup", "--json").json["file"]
    for command in ("poll", "process", "sync"):
        zk(command)
    posts = crm.posts
    restored = zk("restore", file, "--yes", "--json").json
    assert (restored["days_carried"], restored["first"]) == (1, str(MONDAY))
    assert home_store.punches.total() == 0
    for line in restored["next"]:
        command = line.partition("zk-pipeline ")[2].partition(" (")[0].split()
        assert zk(*command).code == 0
    assert home_store.punches.total() == 2
    assert zk("sync").code == 0
    assert crm.posts == posts
    assert zk("restore", file, "--yes").out.count("next: zk-pipeline poll") == 1
    assert len(list((home / "data").glob("*.replaced-*"))) == 2


def test_restore_asks_before_it_replaces(zk: CommandLine, home: Path) -> None:
    file = zk("backup", "--json").json["file"]
    said = zk("restore", file)
    assert said.is_refusal()
    assert "confirm with --yes" in said.err
    assert list((home / "data").glob("*.replaced-*")) == []


def test_restore_is_refused_while_the_pipeline_is_up(zk: CommandLine, home: Path) -> None:
    file = zk("backup", "--json").json["file"]
    with only_one(home):
        said = zk("restore", file, "--yes", "--force")
    assert said.is_refusal()
    assert "end it first" in said.err


@pytest.mark.usefixtures("home")
def test_restore_is_refused_while_a_run_is_under_way_unless_forced(zk: CommandLine) -> None:
    file = zk("backup", "--json").json["file"]
    with dg.DagsterInstance.get() as instance:
        instance.add_run(dg.DagsterRun(job_name="poll_devices", run_id="1" * 8, status=dg.DagsterRunStatus.STARTED))
    said = zk("restore", file, "--yes")
    assert said.is_refusal()
    assert "run 11111111 of poll_devices is started" in said.err
    assert zk("restore", file, "--yes", "--force").code == 0


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "arguments",
    [("backup", "nowhere/x.duckdb"), ("backup", "x.duckdb", "--keep", "2"), ("restore", "none.duckdb", "--yes")],
)
def test_a_wrong_request_is_one_line(arguments: tuple[str, ...], zk: CommandLine) -> None:
    assert zk(*arguments).is_refusal()
