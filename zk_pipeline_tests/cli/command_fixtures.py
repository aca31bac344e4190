"""Commands run in this process: exit code, stdout and stderr."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from zk_pipeline.cli.main import run


@dataclass(frozen=True)
class CommandResult:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)

    def is_refusal(self) -> bool:
        """Exit code 2, one line on stderr, nothing on stdout."""
        lines = self.err.splitlines()
        assert (self.code, self.out, len(lines)) == (2, "", 1), self
        assert lines[0].startswith("zk-pipeline: ")
        return True


@dataclass(frozen=True)
class CommandLine:
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> CommandResult:
        self.capsys.readouterr()
        code = run(list(arguments))
        printed = self.capsys.readouterr()
        return CommandResult(code, printed.out, printed.err)
