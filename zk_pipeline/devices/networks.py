"""Networks in which terminals may be registered (DEVICE_NETWORKS), checked again for each connection.

Without them, a caller who may register a device could make this host connect to any address and port, and learn from
the error whether a program listens there.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from zk_pipeline.devices.errors import AddressNotAllowed, Unreachable
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import UsageError

Network = IPv4Network | IPv6Network


def is_in_networks(address: str, networks: Iterable[Network]) -> bool:
    """True if an IP address is in one of the networks. An IPv4 address in IPv6 form counts as the IPv4 address."""
    parsed: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed.version == network.version and parsed in network for network in networks)


def check_host_in_networks(host: str | None, networks: tuple[Network, ...] | None) -> None:
    """Refuse an IP address outside the networks; None or "" as networks or host: nothing to check.

    A host name is not resolved here: its address may change, and is checked for each connection. Raises UsageError.
    """
    if networks is None or not host:
        return
    try:
        allowed = is_in_networks(host, networks)
    except ValueError:
        return  # a host name
    if not allowed:
        raise UsageError(
            f"address {host} is outside DEVICE_NETWORKS ({_names(networks)}): register an address inside, or add its "
            "network to DEVICE_NETWORKS"
        )


def device_to_reach(device: Device, networks: tuple[Network, ...] | None) -> Device:
    """The device with the address to connect to: with `networks`, its host name is resolved to an address inside.

    The result has that address instead of the name, so that another resolution cannot lead elsewhere. Raises
    AddressNotAllowed if no address is inside, Unreachable if the name has none.
    """
    return device if networks is None else device_at(device, _addresses(device), networks)


def device_at(device: Device, addresses: Sequence[str], networks: tuple[Network, ...]) -> Device:
    """The device with the first of its resolved `addresses` that is inside. Raises AddressNotAllowed if none is."""
    inside = [address for address in addresses if is_in_networks(address, networks)]
    if not inside:
        found = "" if addresses == [device.ip_address] else f"its name leads to {', '.join(addresses)}, and "
        raise AddressNotAllowed(device, "connecting", f"{found}DEVICE_NETWORKS allows only {_names(networks)}")
    return device if device.ip_address in inside else replace(device, ip_address=inside[0])


def _addresses(device: Device) -> list[str]:
    """Addresses of the device's host, without scope ids, in the order of the resolver."""
    try:
        found = socket.getaddrinfo(device.ip_address, device.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(device, "resolving its address", str(error)) from None
    return list(dict.fromkeys(without_scope(str(address[0])) for *_, address in found))


def without_scope(address: str) -> str:
    """An IP address without its scope id: `fe80::1` of `fe80::1%eth0`."""
    return address.partition("%")[0]


def _names(networks: Iterable[Network]) -> str:
    return ", ".join(map(str, networks))
