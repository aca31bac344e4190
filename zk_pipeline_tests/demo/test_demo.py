"""The demo: its recount agrees, it continues after a kill, and it leaves the user's data alone."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.demo.demo_fixtures import (
    DEMO,
    SMALL,
    copy_of,
    demo,
    demo_in_process,
    environ,
    ledger_days,
    processes_of,
    summary,
)
from zk_pipeline_tests.store.store_fixtures import execute
from zk_pipeline_tests.waiting import until

USERS_ENV = "CRM_API_URL=http://crm.example/\nWORK_START_TIME=quarter past nine\n"
FIRST_NUMBERS = ("terminals", "employees", "agrees")


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings that a user has exported; with any of them the demo would fail or do harm."""
    folder = tmp_path_factory.mktemp("users")
    return {
        "CRM_API_URL": "http://127.0.0.1:1/",
        "CRM_API_TOKEN": "the-users-own",
        "DAGSTER_HOME": str(folder / "dagster"),
        "ZK_PIPELINE_DATABASE": str(folder / "store.duckdb"),
        "ZK_PIPELINE_HISTORY_START": "2099-01-01",
        "WORK_START_TIME": "quarter past nine",
    }


@pytest.fixture(scope="module")
def shown(
    tmp_path_factory: pytest.TempPathFactory, users: dict[str, str]
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A home in which the demo ran once, next to a user's own `.env`, and what it said."""
    home = tmp_path_factory.mktemp("home")
    (home / ".env").write_text(USERS_ENV)
    return home, demo(home, *SMALL, "--json", **users)


def test_the_demo_agrees_and_says_what_it_did(shown: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    home, done = shown
    said = summary(done)
    assert {name: said[name] for name in FIRST_NUMBERS} == {"terminals": 4, "employees": 12, "agrees": True}
    assert said["terminals_pushing"] == 1
    assert 0 < said["punches_pushed"] < said["punches_new"]
    assert [(check["expected"], check["wrong"]) for check in said["checks"]] == [
        (said["punches_new"], []),
        (said["days_made"], []),
        (said["delivered"], []),
    ]
    assert 0 < said["days_made"] < said["punches_new"]
    days = ledger_days(home / ".demo")
    assert len(days) == len(set(days)) == said["delivered"]
    assert processes_of(home) == {}


def test_nothing_of_the_users_is_used_or_touched(
    shown: tuple[Path, subprocess.CompletedProcess[str]], users: dict[str, str]
) -> None:
    home, _ = shown
    assert (home / ".env").read_text() == USERS_ENV
    assert {item.name for item in home.iterdir()} == {".env", ".demo"}
    assert not Path(users["DAGSTER_HOME"]).exists()
    assert not Path(users["ZK_PIPELINE_DATABASE"]).exists()
    assert (home / ".demo" / "data" / "attendance.duckdb").is_file()
    assert (home / ".demo" / "history" / "runs.db").is_file()


def test_a_second_demo_stores_and_delivers_nothing_and_people_can_read_it(
    shown: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = copy_of(shown[0], tmp_path)
    before = ledger_days(home / ".demo")
    done = demo_in_process(home, capsys, *SMALL)
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    numbers = {" ".join(words[:-1]): words[-1] for words in lines if words[0] not in ("ok", "NOT")}
    assert (numbers["new punches stored"], numbers["of them pushed"]) == ("0", "0")
    assert numbers["days delivered to the CRM"] == "0"
    assert [words[0] for words in lines].count("ok") == 3
    assert ledger_days(home / ".demo") == before


def test_other_numbers_begin_a_new_demo(
    shown: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = copy_of(shown[0], tmp_path)
    said = demo_in_process(home, capsys, "--employees", "5", "--days", "7", "--devices", "1", "--json").json
    assert {name: said[name] for name in FIRST_NUMBERS} == {"terminals": 2, "employees": 5, "agrees": True}
    assert said["delivered"] == len(ledger_days(home / ".demo")) > 0
    users = {user_id.removeprefix("EMP") for user_id, _, _ in ledger_days(home / ".demo")}
    assert users <= {f"{number}" for number in range(1001, 1006)}


def test_numbers_that_do_not_agree_fail_the_demo(
    shown: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = copy_of(shown[0], tmp_path)
    ledger = home / ".demo" / "crm-ledger.jsonl"
    lost, *kept = ledger.read_text().splitlines()
    ledger.write_text("\n".join(kept) + "\n")
    store = Store.at(home / ".demo" / "data" / "attendance.duckdb")
    execute(store, "UPDATE daily_attendance SET punch_count = 77 WHERE punch_count = 2")
    execute(store, "INSERT INTO raw_punches SELECT * REPLACE ('unknown' AS user_id) FROM raw_punches LIMIT 1")

    done = demo_in_process(home, capsys, *SMALL)
    assert done.code == 1
    last = done.err.splitlines()[-1]
    assert last == "zk-pipeline: the numbers of the demo do not agree: see the lines marked NOT above"
    verdicts = [line.split()[0] for line in done.out.splitlines() if " = " in line]
    assert verdicts == ["NOT", "NOT", "NOT"]
    assert "unknown" in done.out
    assert ", 77)" in done.out
    assert json.loads(lost)["record"]["user_id"] in done.out


def is_instance_begun(place: Path) -> bool:
    return (place / "history" / "runs.db").is_file()


def is_started(job: str, place: Path) -> bool:
    query = "SELECT count(*) FROM runs WHERE pipeline_name = ? AND status = 'STARTED'"
    try:
        with sqlite3.connect(f"file:{place / 'history' / 'runs.db'}?mode=ro", uri=True) as runs:
            return bool(runs.execute(query, [job]).fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return False


def has_delivered(place: Path) -> bool:
    ledger = place / "crm-ledger.jsonl"
    return ledger.is_file() and ledger.stat().st_size > 0


POLL, PROCESS = partial(is_started, "poll_devices"), partial(is_started, "process_attendance")
Instants = tuple[Callable[[Path], bool], ...]


@pytest.mark.parametrize(
    ("employees", "days", "instants"),
    [
        pytest.param(30, 6, (has_delivered,), id="in delivery"),
        pytest.param(
            60, 12, (is_instance_begun, POLL, PROCESS, has_delivered), id="everywhere", marks=pytest.mark.stress
        ),
    ],
)
def test_killed_anywhere_it_completes_and_agrees(tmp_path: Path, employees: int, days: int, instants: Instants) -> None:
    numbers = ("--employees", str(employees), "--days", str(days))
    for has_come in instants:
        with subprocess.Popen(
            [*DEMO, "--no-ui", *numbers],
            env=environ(tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                until(partial(has_come, tmp_path / ".demo"), seconds=60)
            finally:
                process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    said = summary(demo(tmp_path, *numbers, "--json"))
    assert said["agrees"]
    delivered = ledger_days(tmp_path / ".demo")
    assert len(delivered) == len(set(delivered)) == said["checks"][2]["found"]
    with sqlite3.connect(tmp_path / ".demo" / "history" / "runs.db") as runs:
        left = runs.execute("SELECT count(*) FROM runs WHERE status NOT IN ('SUCCESS', 'FAILURE')").fetchone()
    assert left == (0,)


def test_a_folder_that_is_no_demos_is_refused_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo" / "thesis.txt").write_text("ten years of work")
    done = demo_in_process(tmp_path, capsys, *SMALL)
    assert (done.code, done.out) == (2, "")
    assert done.err == (f"zk-pipeline: {tmp_path / '.demo'} is not a demo's home: it has no demo.json; move it away\n")
    assert (tmp_path / ".demo" / "thesis.txt").read_text() == "ten years of work"
