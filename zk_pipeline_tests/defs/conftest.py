"""Launcher on the Dagster instance of a test's home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.runs.launcher import Launcher, open_launcher


@pytest.fixture
def launcher(
    request: pytest.FixtureRequest,
    home: Path,  # noqa: ARG001 (exports the home)
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Launcher]:
    """Its settings name the CRM of the fixture `crm`, if the test uses that."""
    if "crm" in request.fixturenames:
        request.getfixturevalue("crm")
    monkeypatch.setenv("ZKTECO_TIMEOUT", "1")  # emulated terminals respond at once or never
    monkeypatch.setenv("ZK_PIPELINE_ADMIN_URL", "https://admin.example")
    with open_launcher(load_settings()) as opened:
        yield opened
