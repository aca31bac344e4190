"""The command line, run in this process as a shell would."""

from __future__ import annotations

import pytest

from zk_pipeline_tests.cli.command_bench import CommandLine


@pytest.fixture
def zk(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)
