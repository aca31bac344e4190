"""Plausibility of the host's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zk_pipeline.receiver.host_clock import EARLIEST, is_synchronized, seconds_since_boot
from zk_pipeline_tests.receiver.receiver_fixtures import NOON, Host


@pytest.mark.parametrize(
    ("contact", "problem"),
    [
        (NOON - timedelta(minutes=1), None),
        (NOON - timedelta(hours=11), None),
        (NOON - timedelta(days=1), "24 h 0 min after the newest contact"),
        (NOON + timedelta(minutes=9), None),
        (NOON + timedelta(days=1), "24 h 0 min behind the newest contact"),
    ],
)
def test_a_host_clock_a_day_off_at_the_start_is_not_plausible(contact: datetime, problem: str | None) -> None:
    host = Host()
    clock = host.clock()
    clock.note_contacts([contact, contact - timedelta(days=30)])
    found = clock.problem()
    assert (found is None) == (problem is None)
    assert (problem or "") in (found or "")
    host.has_ntp = True
    assert clock.problem() is None


def test_a_host_without_contacts_yet_is_trusted_unless_its_clock_was_never_set() -> None:
    assert Host().clock().problem() is None
    never_set = Host(now=datetime(1970, 1, 1, tzinfo=UTC), has_ntp=True)
    assert "before this program was written" in str(never_set.clock(is_trusted=True).problem())
    never_set.now = EARLIEST
    assert never_set.clock().problem() is None


@pytest.mark.parametrize("direction", [1, -1])
def test_a_clock_that_is_set_while_the_receiver_runs_is_refused_until_it_is_back(direction: int) -> None:
    host = Host()
    clock = host.clock()
    host.pass_time(days=3)
    assert clock.problem() is None
    host.now += direction * timedelta(days=1)
    assert "by 24 h 0 min while the receiver ran" in str(clock.problem())
    host.pass_time(hours=1)
    assert clock.problem() is not None
    host.now -= direction * timedelta(days=1)
    assert clock.problem() is None


def test_an_operator_may_vouch_for_the_clock_at_the_start() -> None:
    clock = Host().clock(is_trusted=True)
    clock.note_contacts([NOON - timedelta(days=9)])
    assert clock.problem() is None


def test_the_kernel_answers_about_its_clock() -> None:
    assert is_synchronized() in (True, False)
    assert seconds_since_boot() > 0
