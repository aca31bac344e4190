"""Where the files of `deploy/` are, and what runs in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
PROGRAM = "/opt/zk-pipeline/.venv/bin/zk-pipeline"


def unit_commands() -> dict[str, list[str]]:
    """By unit, the arguments of the `zk-pipeline` command that it starts."""
    found = {}
    for unit in sorted((DEPLOY / "systemd").glob("*.service")):
        (line,) = re.findall(r"^ExecStart=(.+)$", unit.read_text(), re.MULTILINE)
        program, *arguments = shlex.split(line)
        assert program == PROGRAM
        found[unit.name] = arguments
    return found
