"""A device whose terminal only pushes: no operation connects to its address."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from zk_pipeline.devices.errors import OnlyPushes
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device

GATEWAY = TerminalGateway(timeout=1, deadline=5, comm_keys=lambda _: 0)
GATE = Device(name="Main Gate", ip_address="127.0.0.1", port=1, polled=False, pushes=True)


@pytest.mark.parametrize(
    "operation",
    [
        GATEWAY.read,
        GATEWAY.probe,
        GATEWAY.users,
        GATEWAY.set_clock,
        lambda device: GATEWAY.clear_log(device, lambda _: True),
        lambda device: next(GATEWAY.live_punches(device, threading.Event())),
    ],
)
def test_no_operation_connects_to_a_terminal_that_only_pushes(operation: Callable[[Device], object]) -> None:
    with pytest.raises(OnlyPushes) as raised:
        operation(GATE)
    assert str(raised.value) == (
        "Main Gate only pushes: its terminal connects to the receiver, and nothing connects to it. If it can be "
        "reached, `zk-pipeline device update 'Main Gate' --ip ADDRESS --polled` makes it polled"
    )


def test_nor_to_a_device_whose_punches_come_from_files() -> None:
    with pytest.raises(OnlyPushes, match=r"^Main Gate is not polled: nothing connects to it\. "):
        GATEWAY.probe(replace(GATE, pushes=False))
