"""The page about terminals lists every error class."""

from __future__ import annotations

import re
from pathlib import Path

from zk_pipeline.devices.errors import TerminalError
from zk_pipeline.store.terminals.devices import REGISTERED_TWICE, REGISTRATION_CHANGED

PAGE = Path(__file__).parents[2] / "docs" / "terminals.md"


def test_every_class_of_failure_has_its_row_and_no_other_has_one() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    of_terminals = [one.code for one in TerminalError.__subclasses__()]
    assert sorted(documented) == sorted([*of_terminals, REGISTRATION_CHANGED, REGISTERED_TWICE])
