"""DEVICE_NETWORKS in every place that registers a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zk_pipeline.devices.models import Device
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.operations.bridge.bridge_fixtures import sqlite_bridge

OUTSIDE = "address 198.51.100.7 is outside DEVICE_NETWORKS (192.0.2.0/24)"


def test_commands_register_no_terminal_outside_the_networks(
    zk: CommandLine, home_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home_store.devices.add(Device(name="Gate", ip_address="198.51.100.7"))
    monkeypatch.setenv("DEVICE_NETWORKS", "192.0.2.0/24")
    file = tmp_path / "devices.yaml"
    file.write_text("devices:\n  - {name: Inside, ip: 192.0.2.7}\n  - {name: Outside, ip: 198.51.100.7}\n")
    bridge = sqlite_bridge(tmp_path)
    bridge.device(1, "Old gate", "198.51.100.7", timezone="UTC")
    before = home_store.devices.all()
    for arguments in (
        ("device", "add", "Outside", "198.51.100.7"),
        ("device", "update", "Gate", "--ip", "198.51.100.7"),
        ("device", "apply", str(file)),
        ("import", "django-bridge", bridge.dsn),
    ):
        refused = zk(*arguments)
        assert refused.is_refusal()
        assert OUTSIDE in refused.err
    assert home_store.devices.all() == before
    assert zk("device", "add", "Inside", "192.0.2.7").code == 0
    assert zk("device", "add", "By name", "localhost").code == 0
    assert zk("device", "add", "Unknown name", "gate.invalid").code == 0
    findings = json.loads(zk("doctor", "--json").out)["findings"]
    by_name, by_address = [(one["severity"], one["what"]) for one in findings if one["name"] == "device-network"]
    assert by_name[0] == "error"
    assert by_name[1].startswith("By name is not polled: its name leads to ")
    assert by_name[1].endswith(", and DEVICE_NETWORKS allows only 192.0.2.0/24")
    assert by_address == (
        "error",
        f"Gate is not polled: {OUTSIDE}: register an address inside, or add its network to DEVICE_NETWORKS",
    )
    polled = zk("test-device", "Gate", "--json")
    assert (polled.code, json.loads(polled.out)[0]["error_code"]) == (1, "address_not_allowed")
