"""Files of `deploy/` and the commands in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
PROGRAM = "/opt/zk-pipeline/.venv/bin/zk-pipeline"


def unit_commands() -> dict[str, list[str]]:
    """Arguments of the `zk-pipeline` command of each unit."""
    found = {}
    for unit in sorted((DEPLOY / "systemd").glob("*.service")):
        (line,) = re.findall(r"^ExecStart=(.+)$", unit.read_text(), re.MULTILINE)
        program, *arguments = shlex.split(line)
        assert program == PROGRAM
        found[unit.name] = arguments
    return found
