"""The command line in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from zk_pipeline_tests.cli.command_fixtures import CommandLine


@pytest.fixture
def zk(bare_home: Path, capsys: pytest.CaptureFixture[str]) -> CommandLine:  # noqa: ARG001 (never in the checkout)
    return CommandLine(capsys)
