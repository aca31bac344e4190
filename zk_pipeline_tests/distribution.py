"""Distribution of the tests over xdist workers: files that take long first, each file whole or by the case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

# Files of more than ten seconds, the longest first. WHOLE: its tests share a server, a daemon or a demo.
WHOLE, BY_CASE = True, False
SLOW = {
    "demo/test_control_room.py": WHOLE,
    "demo/test_demo_ui.py": WHOLE,
    "demo/test_demo.py": WHOLE,
}


class LongestFirst(LoadScopeScheduling):
    """Work units in the order of the collection, which `sort_items` has brought into that of `SLOW`."""

    def __init__(self, config: pytest.Config, log: Producer | None) -> None:
        config.option.loadscopereorder = False  # by the number of tests
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return file if SLOW.get(_inner(file), WHOLE) else nodeid


def sort_items(items: list[pytest.Item]) -> None:
    """Bring the tests of slow files to the front; others stay in the order of their collection."""
    rank = {file: number for number, file in enumerate(SLOW)}
    items.sort(key=lambda item: rank.get(_inner(item.nodeid.partition("::")[0]), len(rank)))


def is_slow(item: pytest.Item) -> bool:
    return _inner(item.nodeid.partition("::")[0]) in SLOW


def _inner(file: str) -> str:
    """A file's path below the folder of the tests, from whichever folder pytest was started."""
    return file.rpartition("zk_pipeline_tests/")[2]
