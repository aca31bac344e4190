"""DEVICE_NETWORKS: addresses at which terminals are registered, and to which polls connect."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from zk_pipeline.devices.errors import AddressNotAllowed, Refused, TerminalError
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.networks import Network, check_host_in_networks, device_to_reach, is_in_networks
from zk_pipeline.errors import UsageError

TERMINALS: tuple[Network, ...] = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.1", True),
        ("192.0.3.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::ffff:192.0.2.1", True),
        ("::ffff:127.0.0.1", False),
        ("127.0.0.1", False),
    ],
)
def test_an_address_is_compared_with_networks_of_its_version(address: str, inside: bool) -> None:
    assert is_in_networks(address, TERMINALS) == inside


def test_an_address_outside_is_refused_with_the_networks_and_a_name_is_not_resolved() -> None:
    for host in ("192.0.2.7", "gate.example", "", None):
        check_host_in_networks(host, TERMINALS)
    check_host_in_networks("198.51.100.7", None)
    with pytest.raises(UsageError, match=r"address 198\.51\.100\.7 is outside DEVICE_NETWORKS \(192\.0\.2\.0/24, 2001"):
        check_host_in_networks("198.51.100.7", TERMINALS)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A program on a port of this machine, which is no terminal."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
    """Let each resolution of a name have the next of the answers; the last one repeats."""
    remaining = list(answers)

    def resolve(host: str, port: int, *_: object, **__: object) -> list[Any]:
        found = [host] if host[0].isdigit() else remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def gateway(networks: tuple[Network, ...] | None, locks: Path | None = None) -> TerminalGateway:
    return TerminalGateway(timeout=1, deadline=5, comm_keys=lambda _: 0, networks=networks, locks=locks)


@pytest.mark.parametrize("host", ["127.0.0.1", "gate.example"])
@pytest.mark.parametrize("with_lock", [False, True])
def test_no_connection_leaves_the_networks_whatever_a_name_leads_to(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, tmp_path: Path, *, host: str, with_lock: bool
) -> None:
    resolving(monkeypatch, ["127.0.0.1"])
    device = Device(name="Gate", ip_address=host, port=listener.getsockname()[1])
    with pytest.raises(AddressNotAllowed) as refused:
        gateway(TERMINALS, tmp_path if with_lock else None).probe(device)
    assert refused.value.code == "address_not_allowed"
    assert "DEVICE_NETWORKS allows only 192.0.2.0/24" in str(refused.value)
    assert ("its name leads to 127.0.0.1" in str(refused.value)) == (host == "gate.example")
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    resolving(monkeypatch, ["192.0.2.1"], ["127.0.0.1"])
    device = Device(name="Gate", ip_address="gate.example", port=listener.getsockname()[1])
    assert device_to_reach(device, TERMINALS).ip_address == "192.0.2.1"


def test_of_several_addresses_one_inside_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["198.51.100.1", "192.0.2.9"])
    device = Device(name="Gate", ip_address="gate.example")
    assert device_to_reach(device, TERMINALS).ip_address == "192.0.2.9"
    assert device_to_reach(device, None) is device


def test_a_terminal_inside_is_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    device = Device(name="Gate", ip_address="127.0.0.1", port=port, protocol="tcp")
    with pytest.raises(Refused):  # nothing listens there any more: the attempt was made
        gateway(LOOPBACK).probe(device)


def test_a_name_without_an_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(TerminalError, match=r"resolving its address failed: .*Name or service not known") as failed:
        gateway(TERMINALS).probe(Device(name="Gate", ip_address="gate.example"))
    assert failed.value.code == "unreachable"
