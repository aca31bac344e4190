"""Generated company: properties of every size, and of the demo's size."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.company.workforce import TRUTH_COLUMNS, Workforce, generate

UNTIL = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)  # a Friday
KEY = ["device", "user_id", "punched_at_local"]


@pytest.fixture(scope="module")
def demo() -> Workforce:
    return generate(until=UNTIL)


@given(
    st.integers(1, 60),
    st.integers(1, 12),
    st.integers(1, 20),
    st.integers(0, 9),
    st.datetimes(datetime.fromisoformat("2024-01-01T00:00:00"), datetime.fromisoformat("2027-01-01T00:00:00")),
)
@settings(deadline=None, max_examples=8)
def test_a_company_of_any_size_is_sound(employees: int, devices: int, days: int, seed: int, at: datetime) -> None:
    until = at.replace(tzinfo=UTC)
    company = generate(employees=employees, devices=devices, days=days, seed=seed, until=until)
    assert (len(company.employees), len(company.terminals)) == (employees, devices)
    assert len({person.user_id for person in company.employees}) == employees
    assert len({one.name for one in company.terminals}) == devices
    assert len({one.serial_number for one in company.terminals}) == devices
    assert not company.punches.duplicated(KEY).any()
    for terminal, emulated in zip(company.terminals, company.emulated_terminals(), strict=True):
        log = company.log_of(terminal.name)
        now_local = until.astimezone(ZoneInfo(terminal.timezone)).replace(tzinfo=None)
        assert log["punched_at_local"].is_monotonic_increasing
        assert log.empty or log["punched_at_local"].max() <= now_local
        assert log.empty or log["punched_at_local"].min() >= now_local - timedelta(days=days)
        assert set(log["user_id"]) <= {user.user_id for user in terminal.users}
        assert emulated.record_count == len(log) <= terminal.record_capacity
        pd.testing.assert_frame_equal(emulated.punches(), log, check_dtype=len(log) > 0)


def test_the_same_seed_gives_the_same_company_and_another_one_another() -> None:
    first, second, other = (generate(days=10, seed=seed, until=UNTIL) for seed in (1, 1, 2))
    assert (first.terminals, first.employees) == (second.terminals, second.employees)
    pd.testing.assert_frame_equal(first.punches, second.punches)
    assert not first.punches.equals(other.punches)


@pytest.mark.parametrize("wrong", ["employees", "devices", "days"])
def test_a_company_of_nothing_is_a_usage_error(wrong: str) -> None:
    with pytest.raises(UsageError, match=f"{wrong} must be at least 1, not 0"):
        generate(**{wrong: 0}, until=UNTIL)


def test_a_naive_end_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        generate(until=UNTIL.replace(tzinfo=None))


def test_the_demo_has_one_terminal_per_layout_and_two_gates_of_one_site(demo: Workforce) -> None:
    assert [one.layout for one in demo.terminals] == [8, 16, 40]
    gate_1, gate_2, alone = demo.terminals
    assert gate_1.site == gate_2.site != alone.site
    assert {user.user_id for user in gate_1.users} == {user.user_id for user in gate_2.users}
    assert gate_1.users[0].user_id != gate_2.users[0].user_id  # uids differ between gates
    assert not {user.user_id for user in alone.users} & {user.user_id for user in gate_1.users}
    assert len({one.timezone for one in demo.terminals}) == 2
    assert [one.clock_offset_seconds for one in demo.terminals] == [0, 0, -420]


def test_the_demo_has_alphanumeric_ids_and_names_of_many_scripts(demo: Workforce) -> None:
    assert any(not user.user_id.isdigit() for user in demo.terminals[2].users)
    assert sum(not person.name.isascii() for person in demo.employees) > 60


def test_the_demo_shows_what_a_real_site_shows(demo: Workforce) -> None:
    days = demo.punches.assign(day=demo.punches["punched_at_local"].dt.normalize())
    hour = days["punched_at_local"].dt.hour
    by_person = days.groupby(["user_id", "day"])
    seconds_apart = days.groupby(["device", "user_id"])["punched_at_local"].diff().dt.total_seconds()
    night = {person.user_id for person in demo.employees if person.shift == "night"}
    at_day = ~days["user_id"].isin(night)

    assert (seconds_apart < 20).sum() > 100, "double punches"
    assert (by_person.size() == 1).sum() > 50, "missing outs"
    assert (by_person["device"].nunique() > 1).sum() > 100, "employees who use two gates"
    assert days.loc[days["user_id"].isin(night), "punched_at_local"].dt.hour.isin([21, 22, 5, 6]).mean() > 0.9
    assert (by_person["punched_at_local"].min()[lambda first: ~first.index.isin(night, level=0)].dt.hour >= 11).any()
    assert (days["day"].dt.dayofweek >= 5).sum() > 50, "weekend workers"
    assert days.loc[at_day & hour.isin([12, 13]), "punch_state"].isin([2, 3, 255]).mean() > 0.8, "lunch"
    assert set(days["verify_type"]) == {1, 2, 15}
    assert set(days.loc[days["device"] == demo.terminals[0].name, "punch_state"]) == {255}
    assert set(days.loc[days["device"] != demo.terminals[0].name, "punch_state"]) == {0, 1, 2, 3}


def test_the_truth_names_site_and_zone_of_every_punch(demo: Workforce) -> None:
    truth = demo.truth()
    assert list(truth.columns) == TRUTH_COLUMNS
    assert len(truth) == len(demo.punches)
    for terminal in demo.terminals:
        own = truth[truth["device"] == terminal.name]
        assert set(own["site"]) == {terminal.site}
        assert set(own["timezone"]) == {terminal.timezone}


def test_employees_continue_to_punch_at_gates_where_they_are_enrolled(demo: Workforce) -> None:
    rng = np.random.default_rng(3)
    enrolled = {one.name: {user.user_id for user in one.users} for one in demo.terminals}
    live = [punch for _ in range(50) for punch in demo.next_punches(rng, UNTIL, count=5)]
    assert len(live) == 250
    assert all(punch.user_id in enrolled[punch.terminal] for punch in live)
    assert {punch.terminal for punch in live} == set(enrolled)
    states = {(punch.terminal, punch.punch_state) for punch in live}
    assert states == {("head-office-gate-1", 255), ("head-office-gate-2", 1), ("warehouse", 1)}
    punches = demo.next_punches(rng, UNTIL - timedelta(hours=8), count=1_000)
    assert sorted(punch.user_id for punch in punches) == sorted(person.user_id for person in demo.employees)
    assert {punch.punch_state for punch in punches} == {0, 255}


@pytest.mark.stress
def test_two_hundred_terminals_of_five_thousand_records_take_seconds() -> None:
    begun = time.process_time()
    company = generate(employees=9_000, devices=200, days=60, until=UNTIL)
    emulated = company.emulated_terminals()
    assert time.process_time() - begun < 15
    assert sum(one.record_count for one in emulated) == len(company.punches) > 900_000
    assert not company.punches.duplicated(KEY).any()


@pytest.mark.parametrize("devices", [1, 2, 3, 4])
def test_pushing_terminals_are_further_ones_with_a_site_of_their_own(devices: int) -> None:
    company = generate(devices=devices, pushing=2, employees=24, days=3, until=UNTIL)
    polled, pushing = company.terminals[:devices], company.terminals[devices:]
    assert [one.pushes for one in company.terminals] == [False] * devices + [True] * 2
    assert polled[-1].clock_offset_seconds < 0
    assert {one.clock_offset_seconds for one in pushing} == {0}
    sites = [one.site for one in pushing]
    assert len({*sites, *(one.site for one in polled)}) == len({one.site for one in polled}) + 2
    assert {str(name) for name in company.punches["device"]} >= {one.name for one in pushing}
