"""Stores that stay open between the operations of a test: opening and closing one is half of the CPU time of most.

Locks, transactions and commits are those of the product, and a read cannot write. For tests of what operations make of
rows; not for those of the file itself (marked `file_engine`) or with other processes, which wait for the file (marked
`closed_stores`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

import duckdb
import pytest
from duckdb import DuckDBPyConnection

from zk_pipeline.store.engine import duckdb_file
from zk_pipeline.store.engine.attached_file import _attached, attached_file
from zk_pipeline_tests.distribution import file_of

PLACES = (
    "api/test_api_attacks.py",
    "api/test_api_auth.py",
    "api/test_api_bodies.py",
    "api/test_api_bridge.py",
    "api/test_api_contract.py",
    "api/test_api_devices.py",
    "api/test_api_leaves.py",
    "api/test_api_lists.py",
    "api/test_api_metrics.py",
    "api/test_api_payroll.py",
    "api/test_api_presence.py",
    "api/test_api_punch_requests.py",
    "api/test_api_push.py",
    "api/test_api_quarantine.py",
    "api/test_api_reference.py",
    "api/test_api_reviews.py",
    "api/test_api_schema.py",
    "api/test_api_shifts.py",
    "attendance/test_golden_days.py",
    "cli/test_cli_alerting.py",
    "cli/test_cli_bad_input.py",
    "cli/test_cli_clear_log.py",
    "cli/test_cli_device_networks.py",
    "cli/test_cli_devices.py",
    "cli/test_cli_doctor.py",
    "cli/test_cli_exit_codes.py",
    "cli/test_cli_help.py",
    "cli/test_cli_host_zone.py",
    "cli/test_cli_imports.py",
    "cli/test_cli_leaves.py",
    "cli/test_cli_manual_punches.py",
    "cli/test_cli_payroll.py",
    "cli/test_cli_pipeline.py",
    "cli/test_cli_progress.py",
    "cli/test_cli_push.py",
    "cli/test_cli_rejudge.py",
    "cli/test_cli_reports.py",
    "cli/test_cli_tables.py",
    "cli/test_cli_who.py",
    "crm/matrix/test_crm_matrix_answers.py",
    "crm/matrix/test_crm_matrix_outages.py",
    "crm/test_crm_records.py",
    "defs",
    "operations",
    "receiver/test_receiver_clocks.py",
    "receiver/test_receiver_commands.py",
    "receiver/test_receiver_faults.py",
    "receiver/test_receiver_mistakes.py",
    "receiver/test_receiver_security.py",
    "receiver/test_reconciliation.py",
    "simulator/push/test_independent_terminal.py",
    "store/days",
    "store/deliveries",
    "store/engine/test_store_together.py",
    "store/maintenance/test_poll_totals.py",
    "store/maintenance/test_site_split.py",
    "store/maintenance/test_store_retention.py",
    "store/payroll",
    "store/push",
    "store/quality",
    "store/queries",
    "store/shifts",
    "store/terminals",
    "store/work_dates",
    "web/",
)


def keeps_open(item: pytest.Item | pytest.Collector) -> bool:
    """True for a test or module in PLACES in which stores stay open between operations."""
    if item.config.getoption("--closed-stores"):
        return False
    is_marked = any(item.get_closest_marker(mark) for mark in ("file_engine", "closed_stores"))
    return not is_marked and file_of(item.nodeid).startswith(PLACES)


@dataclass
class KeptOpen:
    """In the place of `attached_file`: the first use of a file attaches it, and further ones share that."""

    temporary: Path | None = None  # a folder that is removed with the test: its files need no checkpoint at the end
    _attached: dict[Path, tuple[int, ExitStack]] = field(default_factory=dict)  # with the number of the inode
    _guard: RLock = field(default_factory=RLock)

    @contextmanager
    def open(self, path: Path, *, read_only: bool) -> Iterator[DuckDBPyConnection]:
        self._attach(path)
        try:
            with attached_file(path, read_only=False) as connection:
                if read_only:
                    connection.execute("BEGIN TRANSACTION READ ONLY")
                yield connection
        except BaseException:
            self.close(path)  # as the product does: not used again after an error
            raise

    def close(self, path: Path) -> None:
        with self._guard:
            _, attached = self._attached.pop(path, (0, ExitStack()))
            attached.close()

    def close_all(self) -> None:
        for path in list(self._attached):
            with no_checkpoint(path) if self._is_temporary(path) else nullcontext():
                self.close(path)

    def _is_temporary(self, path: Path) -> bool:
        return self.temporary is not None and self.temporary in path.parents

    def _attach(self, path: Path) -> None:
        """Attach the file, also if another one has taken its place since."""
        with self._guard:
            if path in self._attached and (not path.exists() or path.stat().st_ino != self._attached[path][0]):
                self.close(path)
            if path not in self._attached:
                attached = ExitStack()
                attached.enter_context(attached_file(path, read_only=False))
                self._attached[path] = path.stat().st_ino, attached


@contextmanager
def no_checkpoint(path: Path) -> Iterator[None]:
    """Leave what was written in the `.wal` when the file is closed inside the context: half of the time of closing."""
    instance = _attached[path].instance
    instance.execute("PRAGMA disable_checkpoint_on_shutdown")
    yield
    with suppress(duckdb.ConnectionException):  # it was closed, too
        instance.execute("PRAGMA enable_checkpoint_on_shutdown")


_kept: list[KeptOpen] = []


@contextmanager
def stores_kept_open(temporary: Path | None = None) -> Iterator[None]:
    """Keep the stores of this process open that are used inside the context; see `KeptOpen.temporary`."""
    kept = KeptOpen(temporary)
    _kept.append(kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb_file, "attached_file", kept.open)
        try:
            yield
        finally:
            _kept.remove(kept)
            kept.close_all()


def close_store(path: Path) -> None:
    """Close a store that is kept open, so that its file has all of it."""
    for kept in _kept:
        kept.close(path)
