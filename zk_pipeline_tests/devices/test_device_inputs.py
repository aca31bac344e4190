"""Validation of device fields, and its error messages."""

from __future__ import annotations

import pytest

from zk_pipeline.devices.addresses import check_encoding, check_host, check_name, check_port, check_timezone
from zk_pipeline.devices.gateway import comm_keys_from
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import UsageError


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("192.0.2.10", "192.0.2.10"),
        ("2001:DB8::0010", "2001:db8::10"),
        ("terminal-1.example.com", "terminal-1.example.com"),
        ("gate_2.local.", "gate_2.local."),
        ("localhost", "localhost"),
    ],
)
def test_addresses_and_host_names_are_accepted(text: str, kept: str) -> None:
    assert check_host(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 192.0.2.1",
        "192.0.2.300",
        "192.0.2",
        "192.0.2.01",
        "2001:db8::zz",
        "[::1]",
        "0.0.0.0",
        "224.0.0.1",
        "http://192.0.2.1",
        "192.0.2.1:4370",
        "gate 1",
        "-gate",
        "gate-",
        "gate..local",
        "a" * 64,
        "a." * 127,
        "gate;reboot",
        "gäte",
        "gate.1",
        "gate\n",
    ],
)
def test_other_hosts_are_refused_with_the_text_that_was_given(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        check_host(text)
    assert repr(text) in str(refusal.value) or "characters" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("port", [1, 4370, 65535, "4370"])
def test_ports_are_accepted(port: int | str) -> None:
    assert check_port(port) == int(port)


@pytest.mark.parametrize("port", [0, -1, 65536, "", "4370a", "４３７０", " 4370"])
def test_other_ports_are_refused(port: int | str) -> None:
    with pytest.raises(UsageError, match="1 to 65535"):
        check_port(port)


@pytest.mark.parametrize("name", ["Main gate", "Tor 2 (Süd)", "東門", "a.b", "x" * 100])
def test_names_are_accepted(name: str) -> None:
    assert check_name(name) == name


def test_two_spellings_of_one_name_are_one_name() -> None:
    assert check_name("Su\u0308d") == check_name("S\u00fcd")


@pytest.mark.parametrize(
    "name",
    [
        "",
        " gate",
        "gate ",
        "a,b",
        "a...b",
        "a/b",
        "a\\b",
        ".",
        "..",
        "a\nb",
        "a\0b",
        "x" * 101,
        "東" * 70,
        "--all",
        "\ud800",
    ],
)
def test_other_names_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(UsageError) as refusal:
        check_name(name)
    assert "\n" not in str(refusal.value)
    str(refusal.value).encode()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Istanbul", "Asia/Kolkata"])
def test_time_zones_are_accepted(zone: str) -> None:
    assert check_timezone(zone) == zone


@pytest.mark.parametrize("zone", ["", "Europe", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "UTC+3", "a\0b"])
def test_other_time_zones_are_refused(zone: str) -> None:
    with pytest.raises(UsageError, match="is not known"):
        check_timezone(zone)


def test_a_mistyped_time_zone_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean Europe/Istanbul"):
        check_timezone("Europe/Istambul")


@pytest.mark.parametrize("encoding", ["UTF-8", "gbk", "cp1256"])
def test_encodings_are_accepted(encoding: str) -> None:
    assert check_encoding(encoding) == encoding


@pytest.mark.parametrize("encoding", ["", "klingon", "base64", "rot13", "a\0b"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(UsageError, match="is not known"):
        check_encoding(encoding)


def device(comm_key_env: str | None) -> Device:
    return Device(name="Main gate", ip_address="192.0.2.10", comm_key_env=comm_key_env)


def test_comm_keys_come_from_the_variable_that_the_device_names() -> None:
    keys = comm_keys_from({"GATE_KEY": " 4294967295\n", "OTHER": "1"})
    assert keys(device("GATE_KEY")) == 2**32 - 1
    assert keys(device(None)) == 0


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_comm_key_variable_that_is_not_set_is_named(value: str | None) -> None:
    with pytest.raises(UsageError, match="GATE_KEY is not set"):
        comm_keys_from({} if value is None else {"GATE_KEY": value})(device("GATE_KEY"))


@pytest.mark.parametrize("value", ["hunter2", "-1", "4294967296", "1e3", "１２", "0x10", "9" * 5000])
def test_a_comm_key_that_is_no_number_is_never_shown(value: str) -> None:
    with pytest.raises(UsageError, match="GATE_KEY is not a number") as refusal:
        comm_keys_from({"GATE_KEY": value})(device("GATE_KEY"))
    assert value not in str(refusal.value).replace("from 0 to 4294967295", "")
    assert refusal.value.__context__ is None
