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
FIXTURES = {"bare_home", "empty_home", "home", "postgres", "redis", "days_due"}
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
    if (inner and folder not in FOLDERS) or file in SLOW:
        return False
    if any(item.get_closest_marker(mark) for mark in MARKS):
        return False
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if FIXTURES & set(getattr(item, "fixturenames", ())) or parameters.get("engine") == "ducklake":
        return False
    module = item.getparent(pytest.Module)
    return module is not None and not PROCESSES & vars(module.obj).keys()
