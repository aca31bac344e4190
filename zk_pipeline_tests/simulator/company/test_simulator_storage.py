"""Persistence of a generated company: acknowledged punches survive a kill, incomplete lines do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.company.storage import WorkforceStorage
from zk_pipeline.simulator.company.workforce import Workforce, generate
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline_tests.simulator import raw_terminal_client as raw
from zk_pipeline_tests.simulator.raw_terminal_client import RawClient

UNTIL = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)

PUNCH_FOR_EVER = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from zk_pipeline.simulator.company.storage import WorkforceStorage

with WorkforceStorage.load(Path(sys.argv[1])) as storage:
    terminal = storage.terminals()[2]
    user_id, at_local = terminal.definition.users[0].user_id, datetime.fromisoformat("2030-01-01T00:00:00")
    while True:
        at_local += timedelta(seconds=1)
        terminal.punch(user_id, at_local)
        print(at_local.isoformat(), flush=True)
"""


@pytest.fixture(scope="module")
def workforce() -> Workforce:
    return generate(employees=24, days=10, until=UNTIL)


def log_file(folder: Path, workforce: Workforce) -> Path:
    return folder / f"{workforce.terminals[2].serial_number}.csv"


def test_what_is_created_is_loaded_again(tmp_path: Path, workforce: Workforce) -> None:
    WorkforceStorage.create(tmp_path / "demo", workforce).close()
    loaded = WorkforceStorage.load(tmp_path / "demo")
    assert loaded.workforce.terminals == workforce.terminals
    assert loaded.workforce.employees == workforce.employees
    pd.testing.assert_frame_equal(loaded.workforce.punches, workforce.punches.reset_index(drop=True), check_dtype=True)
    pd.testing.assert_frame_equal(loaded.truth(), workforce.truth())


def test_punches_made_while_served_are_there_after_a_restart(tmp_path: Path, workforce: Workforce) -> None:
    name = workforce.terminals[1].name
    user_id = workforce.terminals[1].users[0].user_id
    with WorkforceStorage.create(tmp_path / "demo", workforce) as storage, Fleet.serve(storage.terminals()) as fleet:
        punch = fleet.punch(name, user_id, verify_type=15, punch_state=1)
        assert len(storage.truth()) == len(workforce.punches) + 1
    with WorkforceStorage.load(tmp_path / "demo") as storage:
        terminal = storage.terminals()[1]
        assert terminal.record_count == len(workforce.log_of(name)) + 1
        assert terminal.punches().iloc[-1].tolist() == [user_id, pd.Timestamp(punch.punched_at_local), 15, 1]


def test_a_punch_is_on_disk_before_listeners_hear_of_it(tmp_path: Path, workforce: Workforce) -> None:
    with WorkforceStorage.create(tmp_path / "demo", workforce) as storage:
        terminal = storage.terminals()[2]
        lines: list[bytes] = []
        terminal.listen(lambda _: lines.append(log_file(tmp_path / "demo", workforce).read_bytes()))
        terminal.punch(terminal.definition.users[0].user_id, datetime.fromisoformat("2030-01-01T09:00:00"))
    assert lines[0].endswith(b",2030-01-01T09:00:00,1,0\n")


def test_a_killed_process_loses_no_acknowledged_punch(tmp_path: Path, workforce: Workforce) -> None:
    folder = tmp_path / "demo"
    WorkforceStorage.create(folder, workforce).close()
    with subprocess.Popen(
        [sys.executable, "-c", PUNCH_FOR_EVER, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(300)]
        os.kill(process.pid, signal.SIGKILL)
    recent = WorkforceStorage.load(folder).truth()["punched_at_local"].loc[lambda at: at.dt.year == 2030]
    assert acknowledged == [at.isoformat() for at in recent][:300]


@pytest.mark.parametrize("torn", [b"1", b"EMP1003,2030-01-01T09:00:00,1", b"EMP1003,2030-01-01T09:00:00,1,0"])
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path, workforce: Workforce, torn: bytes) -> None:
    folder = tmp_path / "demo"
    WorkforceStorage.create(folder, workforce).close()
    log = log_file(folder, workforce)
    whole = log.read_bytes()
    log.write_bytes(whole + torn)
    assert len(WorkforceStorage.load(folder).truth()) == len(workforce.punches)
    assert log.read_bytes() == whole + torn  # loading does not change the file
    with WorkforceStorage.load(folder) as storage:
        terminal = storage.terminals()[2]
        user_id = terminal.definition.users[0].user_id
        terminal.punch(user_id, datetime.fromisoformat("2030-01-01T09:00:05"))
    assert log.read_bytes() == whole + f"{user_id},2030-01-01T09:00:05,1,0\n".encode()


def test_a_cleared_log_stays_cleared(tmp_path: Path, workforce: Workforce) -> None:
    name = workforce.terminals[2].name
    user_id = workforce.terminals[2].users[0].user_id
    with (
        WorkforceStorage.create(tmp_path / "demo", workforce) as storage,
        Fleet.serve(storage.terminals()) as fleet,
        RawClient(fleet.port_of(name)) as client,
    ):
        client.connect()
        assert client.request(raw.CLEAR_LOG).command == raw.OK
        fleet.punch(name, user_id)
    with WorkforceStorage.load(tmp_path / "demo") as storage:
        assert storage.terminals()[2].punches()["user_id"].tolist() == [user_id]


def test_a_kill_while_creating_leaves_nothing_and_does_not_stand_in_the_way(
    tmp_path: Path, workforce: Workforce, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "demo"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            WorkforceStorage.create(folder, workforce)
    assert not folder.exists()
    assert not WorkforceStorage.exists(folder)
    WorkforceStorage.create(folder, workforce).close()
    assert WorkforceStorage.exists(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_folder_in_use_is_not_overwritten_and_an_empty_one_is_taken(tmp_path: Path, workforce: Workforce) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    WorkforceStorage.create(folder, workforce).close()
    with pytest.raises(UsageError, match="not empty"):
        WorkforceStorage.create(folder, workforce)


def test_a_folder_without_a_company_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contains no workforce"):
        WorkforceStorage.load(tmp_path)
