"""Fixtures of the tests of emulated pushing terminals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zk_pipeline_tests.simulator.push.recording_receiver import RecordingReceiver


@pytest.fixture
def receiver() -> Iterator[RecordingReceiver]:
    with RecordingReceiver() as running:
        yield running
