"""The family of a pushing terminal follows from its requests, never from the version that it sends."""

from __future__ import annotations

import pytest

from zk_pipeline.devices.push.families import Family, family_of, observe
from zk_pipeline.devices.push.requests import parse_request


def family_after(*requests: tuple[str, str], known: Family | None = None) -> Family:
    for method, target in requests:
        path, _, query = target.partition("?")
        known = family_of(observe(parse_request(method, path, query.encode())), known=known)
    assert known is not None
    return known


HELLO = ("GET", "/iclock/cdata?SN=A1&options=all&pushver=2.4.1")


@pytest.mark.parametrize(
    ("method", "target", "family"),
    [
        (*HELLO, "A"),
        ("GET", "/iclock/cdata?SN=A1&options=all&pushver=3.1.2&DeviceType=att", "A"),
        ("GET", "/iclock/cdata?SN=A1&options=all&pushver=2.2.14&DeviceType=acc", "C"),
        ("GET", "/iclock/cdata?SN=A1&type=time", "B"),
        ("GET", "/iclock/rtdata?SN=A1&type=time", "C"),
        ("POST", "/iclock/cdata?SN=A1&table=ATTLOG&Stamp=9999", "A"),
        ("POST", "/iclock/cdata?SN=A1&table=ATTLOG&Stamp=2011-04-05T17:40:20", "B"),
        ("POST", "/iclock/cdata?SN=A1&table=rtlog", "C"),
        ("POST", "/iclock/cdata?SN=A1&table=rtstate", "C"),
        ("POST", "/iclock/cdata?SN=A1&table=tabledata&tablename=user", "C"),
        ("POST", "/iclock/querydata?SN=A1&tablename=user", "C"),
        ("POST", "/iclock/registry?SN=A1", "C"),
        ("GET", "/iclock/push?SN=A1", "C"),
        ("POST", "/iclock/exchange?SN=A1&type=publickey", "A"),
        ("GET", "/iclock/ping?SN=A1", "A"),
        ("POST", "/iclock/event?SN=A1", "A"),
    ],
)
def test_one_request_shows_the_family(method: str, target: str, family: Family) -> None:
    assert family_after((method, target)) == family


def test_a_known_family_stays_without_evidence_of_another_one() -> None:
    assert family_after(HELLO, known="B") == "B"
    assert family_after(HELLO, ("POST", "/iclock/registry?SN=A1"), HELLO) == "C"


@pytest.mark.parametrize(
    "right",
    [
        ("POST", "/iclock/cdata?SN=A1&table=ATTLOG&Stamp=9999"),
        ("POST", "/iclock/cdata?SN=A1&table=OPERLOG&Stamp=9999"),
        ("GET", "/iclock/cdata?SN=A1&options=all&pushver=3.1.2&DeviceType=att"),
    ],
)
def test_a_wrong_request_of_another_family_lasts_until_the_next_right_one(right: tuple[str, str]) -> None:
    wrong = ("POST", "/iclock/cdata?SN=A1&table=rtlog")
    assert family_after(HELLO, wrong) == "C"
    assert family_after(HELLO, wrong, right) == "A"
    assert family_after(right, known="B") == "B"


def test_a_request_for_the_time_on_its_own_is_no_proof_against_access_control() -> None:
    assert family_after(("GET", "/iclock/cdata?SN=A1&type=time"), known="C") == "C"
