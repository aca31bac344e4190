"""`zk-pipeline punch`: requests, decisions and files of manual punches, in the attendance days that follow."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.gates import MONDAY, WEDNESDAY
from zk_pipeline_tests.store.store_fixtures import rows, stale

HEADER = "user_id,site,at,state,reason\n"


@pytest.fixture
def site(home_store: Store) -> str:
    return home_store.devices.all()[0].site


def request(zk: CommandLine, site: str, at: str = f"{MONDAY} 23:10") -> int:
    options = ("--user-id", "1001", "--site", site, "--at", at, "--state", "out", "--reason", "no power")
    made: int = zk("punch", "request", *options, "--json").json["id"]
    return made


@pytest.mark.usefixtures("processed")
def test_a_request_is_approved_processed_and_explained(zk: CommandLine, home_store: Store, site: str) -> None:
    assert stale(home_store) == []
    made = request(zk, site)
    (listed,) = zk("punch", "list", "--open", "--json").json
    by = f"cli:{getpass.getuser()}"
    assert (listed["id"], listed["state"], listed["requested_by"], listed["decision"]) == (made, "out", by, None)
    assert zk("punch", "approve", str(made)).out == f"approved {made}: 1001 out at {MONDAY} 23:10, {site}\n"
    assert "no requests" in zk("punch", "list", "--open").out
    assert stale(home_store) == [MONDAY]
    assert zk("process").code == 0
    out = (
        "SELECT strftime(clock_out_local, '%H:%M'), revision FROM daily_attendance WHERE user_id = ? AND work_date = ?"
    )
    assert rows(home_store, out, ["1001", MONDAY]) == [("23:10", 2)]
    explained = zk("explain", "--user-id", "1001", "--date", str(MONDAY)).out
    assert f"manual punch {made}: no power (requested by {by}, approved by {by})" in explained
    refused = zk("punch", "reject", str(made), "--reason", "late")
    assert (refused.code, refused.err) == (2, f"zk-pipeline: manual punch {made} was already approved by {by}\n")


@pytest.mark.usefixtures("processed")
def test_a_rejected_request_stays_listed_with_its_reason(zk: CommandLine, home_store: Store, site: str) -> None:
    made = request(zk, site)
    assert zk("punch", "reject", str(made), "--reason", "on leave").code == 0
    (listed,) = zk("punch", "list", "--json").json
    assert (listed["decision"], listed["decision_reason"]) == ("rejected", "on leave")
    assert stale(home_store) == []


@pytest.mark.usefixtures("processed")
def test_a_file_is_approved_as_a_whole_or_each_bad_line_is_named(
    zk: CommandLine, home_store: Store, site: str, tmp_path: Path
) -> None:
    file = tmp_path / "outage.csv"
    good = f"1001,{site},{MONDAY} 23:10,out,no power\n1002,{site},{WEDNESDAY} 23:20,out,no power\n"
    file.write_text(f"{HEADER}{good}1001,Nowhere,{MONDAY} 09:00,in,x\n1001,{site},{MONDAY} 23:10,out,twice\n")
    refused = zk("punch", "apply", str(file))
    assert (refused.code, refused.out) == (2, "")
    head, fourth, fifth = refused.err.splitlines()
    assert head == f"zk-pipeline: {file}: no punch was stored:"
    assert fourth.startswith("zk-pipeline: line 4: no site 'Nowhere'; there are: ")
    assert fifth.startswith("zk-pipeline: line 5: 1001 out at")
    assert zk("punch", "list", "--json").json == []
    lines = f"1001,{site},yesterday,inn,\n1001\n{good}1001,{site},2019-12-31 08:00,in,x\n,{site},{MONDAY} 09:00,in,x\n"
    file.write_text(HEADER + lines)
    refused = zk("punch", "apply", str(file))
    assert refused.err.splitlines()[1:] == [
        "zk-pipeline: line 2: 'yesterday' is not a time such as '2026-11-22 08:30'; the reason is empty; "
        "the state 'inn' is not in or out",
        "zk-pipeline: line 3: it must have 5 values",
        "zk-pipeline: line 6: work date 2019-12-31 is before ZK_PIPELINE_HISTORY_START: the first possible one is "
        "2020-01-01",
        "zk-pipeline: line 7: the user_id is empty",
    ]
    assert zk("punch", "list", "--json").json == []
    file.write_text(HEADER + good)
    assert zk("punch", "apply", str(file)).out == "approved: 2\n"
    assert stale(home_store) == [MONDAY, WEDNESDAY]
    assert zk("punch", "apply", str(file)).code == 2, "they are stored already"


@pytest.mark.usefixtures("processed")
@pytest.mark.parametrize(
    ("at", "words"),
    [
        (
            "2019-12-31 08:00",
            "work date 2019-12-31 is before ZK_PIPELINE_HISTORY_START: the first possible one is 2020",
        ),
        ("2999-01-01 08:00", "1001 in at 2999-01-01 08:00 is in the future"),
        (f"{MONDAY} 08:00:30", "is not a time such as '2026-11-22 08:30'"),
    ],
)
def test_a_request_at_an_impossible_time_is_refused_in_one_line(
    zk: CommandLine, site: str, at: str, words: str
) -> None:
    options = ("--user-id", "1001", "--site", site, "--at", at, "--state", "in", "--reason", "x")
    refused = zk("punch", "request", *options)
    assert (refused.code, words in refused.err, len(refused.err.splitlines())) == (2, True, 1)
    assert zk("punch", "list", "--json").json == []


@pytest.mark.usefixtures("processed")
def test_a_withdrawn_punch_stays_listed_and_is_explained(zk: CommandLine, home_store: Store, site: str) -> None:
    made = request(zk, site)
    early = zk("punch", "withdraw", str(made), "--reason", "x")
    assert (early.code, "waits for a decision" in early.err) == (2, True)
    assert zk("punch", "approve", str(made)).code == 0
    done = zk("punch", "withdraw", str(made), "--reason", "wrong user")
    assert (done.code, done.out) == (0, f"withdrawn {made}: 1001 out at {MONDAY} 23:10, {site}\n")
    assert stale(home_store) == [MONDAY]
    listed = zk("punch", "list").out
    assert ("withdrawn" in listed, "wrong user" in listed) == (True, True)
    explained = zk("explain", "--user-id", "1001", "--date", str(MONDAY)).out
    assert f"withdrawn: manual punch {made} at {MONDAY} 23:10: " in explained
