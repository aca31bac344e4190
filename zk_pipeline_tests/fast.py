"""Selection of `pytest -m fast`: tests of logic and of the store that start no process and no Dagster."""

from __future__ import annotations

from pathlib import Path

import pytest

from zk_pipeline_tests.distribution import SLOW, file_of

HERE = Path(__file__).parent
# Folders that have such tests. Others are not even imported with `-m fast`: importing Dagster takes two seconds.
FOLDERS = ("attendance", "config", "crm", "deploy", "devices", "docs", "receiver", "runtime", "simulator", "store")
# Names that a module imports which starts processes.
PROCESSES = {"subprocess", "multiprocessing", "child", "Child", "start", "start_sync", "killed"}
FIXTURES = {"bare_home", "empty_home", "home", "postgres", "redis", "hundred_due"}
# Measured: more than a seventh of a second per case, mostly waits for timeouts and copies of stores.
LONG = {
    "attendance/test_any_rules.py",
    "attendance/test_attendance_zones.py",
    "crm/test_crm_lookup.py",
    "crm/test_crm_signal_safe.py",
    "devices/test_incomplete_readings.py",
    "devices/test_live_punches.py",
    "devices/test_locked_reading.py",
    "devices/test_reading_again.py",
    "devices/test_terminal_failures.py",
    "receiver/test_receiver_clocks.py",
    "receiver/test_receiver_faults.py",
    "receiver/test_receiver_mistakes.py",
    "receiver/test_receiver_process.py",
    "receiver/test_receiver_security.py",
    "simulator/company/test_simulator_workforce.py",
    "store/maintenance/test_poll_totals.py",
    "store/maintenance/test_store_retention.py",
    "store/quality/test_store_repairs.py",
    "store/push/test_push_checks.py",
    "store/queries/test_store_metrics.py",
    "store/queries/test_store_reviews.py",
    "store/schema/test_names_migration.py",
    "store/terminals/test_store_devices.py",
    "store/terminals/test_store_punches.py",
    "store/terminals/test_store_registrations.py",
}
MARKS = ("stress", "matrix", "browser")


def is_ignored(path: Path, config: pytest.Config) -> bool:
    """Whether `-m fast` has nothing to find there."""
    if config.option.markexpr != "fast" or HERE not in path.parents:
        return False
    return path.is_dir() and path.relative_to(HERE).parts[0] not in FOLDERS


def mark_fast(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_fast(item):
            item.add_marker("fast")


def _is_fast(item: pytest.Item) -> bool:
    file = file_of(item.nodeid)
    folder, _, inner = file.partition("/")
    if (inner and folder not in FOLDERS) or file in LONG or file in SLOW:
        return False
    if any(item.get_closest_marker(mark) for mark in MARKS):
        return False
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if FIXTURES & set(getattr(item, "fixturenames", ())) or parameters.get("engine") == "ducklake":
        return False
    module = item.getparent(pytest.Module)
    return module is not None and not PROCESSES & vars(module.obj).keys()
