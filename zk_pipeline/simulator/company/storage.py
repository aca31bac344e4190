"""Persistence of a generated company: a demo that is killed and restarted finds its terminals unchanged.

A folder with `workforce.json` (terminals, employees) and one append-only CSV per terminal.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd

from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.company.schedules import Employee
from zk_pipeline.simulator.company.workforce import Workforce, with_sites
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import PUNCH_COLUMNS, Punch, TerminalUser
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal, utc_now

_WORKFORCE_FILE = "workforce.json"
_EMPLOYEES_KEY = "people"  # unchanged, so that existing demo folders load
_CSV_TYPES = {"user_id": "str", "punched_at_local": "str", "verify_type": "u1", "punch_state": "u1"}
_HEADER = (",".join(PUNCH_COLUMNS) + "\n").encode()


class WorkforceStorage:
    """The folder of one company, by `create` or `load`; `close` (or `with`) closes the files that `terminals` opened.

    Not persisted: a clock that a client has set, raw records, work codes, records that a full log has dropped.
    """

    def __init__(self, folder: Path, workforce: Workforce) -> None:
        self.folder = folder
        self.workforce = workforce
        self._files: list[_LogFile] = []

    @classmethod
    def create(cls, folder: Path, workforce: Workforce) -> WorkforceStorage:
        """Write a new folder, atomically even if killed. Raises UsageError if the folder is not empty."""
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty: a workforce needs a folder of its own")
        temporary = folder.with_name(f".{folder.name}.new")
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        for terminal in workforce.terminals:
            _log_path(temporary, terminal).write_bytes(_encoded(workforce.log_of(terminal.name)))
        content = {
            "terminals": [asdict(terminal) for terminal in workforce.terminals],
            _EMPLOYEES_KEY: [asdict(employee) for employee in workforce.employees],
        }
        (temporary / _WORKFORCE_FILE).write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")
        temporary.rename(folder)
        return cls(folder, workforce)

    @classmethod
    def load(cls, folder: Path) -> WorkforceStorage:
        """Read an existing folder without changing it. Raises UsageError if there is none."""
        if not cls.exists(folder):
            raise UsageError(f"{folder} contains no workforce")
        content = json.loads((folder / _WORKFORCE_FILE).read_text("utf-8"))
        terminals = tuple(_terminal(fields) for fields in content["terminals"])
        employees = tuple(Employee(**fields) for fields in content[_EMPLOYEES_KEY])
        return cls(folder, Workforce(terminals=terminals, employees=employees, punches=_on_disk(folder, terminals)))

    @staticmethod
    def exists(folder: Path) -> bool:
        return (folder / _WORKFORCE_FILE).is_file()

    def terminals(self, clock: Callable[[], datetime] = utc_now) -> list[EmulatedTerminal]:
        """The terminals with their logs; a new punch is on disk before a client can read it. Call once.

        An incomplete last line, left by a kill, is dropped.
        """
        definitions = self.workforce.terminals
        stores = {terminal.name: _LogFile(_log_path(self.folder, terminal)) for terminal in definitions}
        self._files += stores.values()
        return self.workforce.emulated_terminals(clock, stores)

    def truth(self) -> pd.DataFrame:
        """All punches on disk, columns TRUTH_COLUMNS, also while another process serves the terminals."""
        return with_sites(_on_disk(self.folder, self.workforce.terminals), self.workforce.terminals)

    def close(self) -> None:
        for file in self._files:
            file.close()
        self._files.clear()

    def __enter__(self) -> WorkforceStorage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _LogFile:
    """A terminal's CSV; each line is one unbuffered write, which survives SIGKILL."""

    def __init__(self, path: Path) -> None:
        size = len(_whole_lines(path))
        self._file = path.open("ab", buffering=0)
        self._file.truncate(size)

    def append(self, punch: Punch) -> None:
        line = io.StringIO()
        at_local = punch.punched_at_local.isoformat(timespec="seconds")
        csv.writer(line, lineterminator="\n").writerow((punch.user_id, at_local, punch.verify_type, punch.punch_state))
        self._file.write(line.getvalue().encode())

    def clear(self) -> None:
        self._file.truncate(len(_HEADER))

    def close(self) -> None:
        self._file.close()


def _log_path(folder: Path, terminal: TerminalDefinition) -> Path:
    return folder / f"{terminal.serial_number}.csv"


def _terminal(content: dict[str, Any]) -> TerminalDefinition:
    users = tuple(TerminalUser(**fields) for fields in content.pop("users"))
    return TerminalDefinition(users=users, **content)


def _whole_lines(path: Path) -> bytes:
    content = path.read_bytes()
    end_of_last_line = content.rindex(b"\n") + 1
    return content[:end_of_last_line]


def _encoded(log: pd.DataFrame) -> bytes:
    as_text = np.datetime_as_string(log["punched_at_local"].to_numpy("datetime64[s]"))
    text: str = log.assign(punched_at_local=as_text).to_csv(index=False, lineterminator="\n")
    return text.encode()


def _on_disk(folder: Path, terminals: Sequence[TerminalDefinition]) -> pd.DataFrame:
    logs = []
    for terminal in terminals:
        log = pd.read_csv(
            io.BytesIO(_whole_lines(_log_path(folder, terminal))),
            dtype=_CSV_TYPES,
            keep_default_na=False,  # "NA" and "null" are valid user ids
        )
        log["punched_at_local"] = log["punched_at_local"].to_numpy("datetime64[s]")
        log.insert(0, "device", terminal.name)
        logs.append(log)
    punches: pd.DataFrame = pd.concat(logs, ignore_index=True)
    return punches
