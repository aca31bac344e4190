"""Descriptions of the codes of events, and validation of networks."""

from __future__ import annotations

import pytest

from zk_pipeline.devices.addresses import check_networks
from zk_pipeline.devices.push.event_texts import event_text
from zk_pipeline.errors import UsageError


@pytest.mark.parametrize(
    ("code", "is_operation", "text"),
    [
        (21, True, "clock set"),
        (23, True, "records deleted"),
        (82, True, "server address changed"),
        (77, True, "operation 77"),
        (-1, True, "operation -1"),
        (23, False, "refused: no access"),
        (25, False, "refused, event 25"),
        (20, False, "refused, event 20"),
        (99, False, "refused, event 99"),
        (100, False, "alarm, event 100"),
        (202, False, "exit button"),
        (4000, False, "event 4000"),
        (5000, False, "error, event 5000"),
        (6999, False, "warning, event 6999"),
        (7000, False, "event 7000"),
    ],
)
def test_a_code_is_described_as_far_as_it_is_known(code: int, is_operation: bool, text: str) -> None:
    assert event_text(code, is_operation=is_operation) == text


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        (" 192.0.2.7 , 2001:DB8::/32,192.0.2.7/32", "192.0.2.7/32,2001:db8::/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_networks_are_stored_in_canonical_form(text: str, networks: str) -> None:
    assert check_networks(text) == networks


@pytest.mark.parametrize(
    "text", ["", ",", "192.0.2.0/24,", "192.0.2.1/24", "192.0.2.0/33", "gate.example", "10.0.0.0/8;"]
)
def test_other_texts_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^networks .* are not valid: ") as raised:
        check_networks(text)
    assert "\n" not in str(raised.value)
