"""Punches that came while a clock was measured wrong: part of no day until they are corrected."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from zk_pipeline.cli.terminals.device_clock import correct_clock
from zk_pipeline.devices.protocol.events import LivePunch
from zk_pipeline.store.quality.doctor import Doctor
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import LONG_AFTER, StoppedClock, device, execute, reading, rows, stale

NOW = LONG_AFTER.replace(tzinfo=None)  # 2026-06-01 12:00, in the zone of the device, too
DAYS, HOURS = 86_400.0, 3600.0
EARLIER = NOW - timedelta(hours=3)


@pytest.fixture(autouse=True)
def gate(store: Store) -> None:
    store.devices.add(device())


def poll(store: Store, *punches: datetime, drift: float | None = 0.0) -> int:
    """A poll now, of a log that holds these wall clocks; how many were new."""
    fetched = reading([("1001", f"{one:%Y-%m-%d %H:%M:%S}") for one in punches], serial="SN Gate")
    fetched = replace(fetched, info=replace(fetched.info, clock_drift_seconds=drift))
    now = store.clock()
    gate = store.devices.get("Gate")
    return store.punches.ingest(gate, fetched, started_at=now, finished_at=now, run_id=None).new


def suspects(store: Store) -> list[datetime]:
    found = rows(store, "SELECT punched_at_local FROM raw_punches WHERE is_clock_suspect ORDER BY seq")
    return [wall_clock for (wall_clock,) in found]


@pytest.mark.parametrize("drift", [-40 * DAYS, 22 * HOURS, -HOURS, 901.0, -901.0])
def test_punches_that_came_since_the_last_good_poll_are_in_doubt(
    store: Store, clock: StoppedClock, drift: float
) -> None:
    poll(store, EARLIER)
    known = stale(store)
    clock.go(hours=1)
    wrong = NOW + timedelta(minutes=30, seconds=drift)
    poll(store, EARLIER, wrong, drift=drift)
    assert suspects(store) == [wrong]
    assert stale(store) == known  # no date becomes stale, old or new
    warnings = rows(store, "SELECT warnings FROM device_polls ORDER BY id")
    assert warnings[0] == (None,)
    assert f"1 new punches came while its clock was {drift:+,.0f} s off: they are part of no day" in warnings[1][0]


@pytest.mark.parametrize("drift", [0.0, 420.0, -900.0, 900.0, None])
def test_a_clock_within_a_quarter_of_an_hour_or_without_a_date_puts_nothing_in_doubt(
    store: Store, clock: StoppedClock, drift: float | None
) -> None:
    poll(store, EARLIER)
    clock.go(hours=1)
    poll(store, NOW + timedelta(minutes=30), drift=drift)
    assert suspects(store) == []


def test_a_clock_that_was_never_measured_right_puts_nothing_in_doubt(store: Store, clock: StoppedClock) -> None:
    for hours in (1, 2):
        poll(store, NOW - timedelta(hours=hours), drift=3 * HOURS)  # most likely the zone is not set right
        clock.go(hours=1)
    assert suspects(store) == []


def test_a_zone_set_right_afterwards_takes_the_doubt_away(store: Store, clock: StoppedClock) -> None:
    poll(store, EARLIER)
    clock.go(hours=1)
    poll(store, EARLIER, NOW + timedelta(minutes=10), drift=-3 * HOURS)  # the zone was left, the clock was not
    assert suspects(store) == [NOW + timedelta(minutes=10)]
    store.devices.update("Gate", timezone="Europe/Berlin")  # five hours wrong, as that zone is in summer
    assert suspects(store) == [NOW + timedelta(minutes=10)]
    store.devices.update("Gate", timezone="America/Sao_Paulo")
    assert suspects(store) == []
    assert rows(store, "SELECT clock_drift_seconds, clock_right_at IS NOT NULL FROM devices") == [(0.0, True)]


def test_a_zone_that_the_clock_does_not_fit_says_nothing_of_the_clock(store: Store, clock: StoppedClock) -> None:
    poll(store, EARLIER)
    clock.go(hours=1)
    store.devices.update("Gate", timezone="Europe/Istanbul")
    poll(store, EARLIER, NOW + timedelta(minutes=10), drift=-3 * HOURS)
    assert suspects(store) == []


def test_punches_from_before_the_clock_was_set_are_in_doubt_and_those_after_it_are_not(
    store: Store, clock: StoppedClock
) -> None:
    poll(store, EARLIER)
    clock.go(hours=1)
    store.devices.record_clock("Gate", drift_before=-40 * DAYS, drift_after=0.0)
    clock.go(hours=1)
    wrong, right = NOW + timedelta(minutes=30) - timedelta(days=40), NOW + timedelta(minutes=90)
    poll(store, EARLIER, wrong, right)
    assert suspects(store) == [wrong]
    clock.go(hours=1)
    poll(store, EARLIER, wrong, right, NOW + timedelta(minutes=150), NOW - timedelta(days=5))
    assert suspects(store) == [wrong]  # one reading with a good clock later, nothing is known to be wrong


def test_a_clock_set_right_at_its_own_menu_leaves_in_doubt_what_both_clocks_explain(
    store: Store, clock: StoppedClock
) -> None:
    poll(store, EARLIER)
    clock.go(hours=1)
    poll(store, EARLIER, drift=2 * HOURS)
    clock.go(hours=8)
    both, right = NOW + timedelta(hours=5), NOW + timedelta(hours=2)
    poll(store, EARLIER, both, right)
    assert suspects(store) == [both]


def test_a_live_punch_that_bears_another_time_than_now_is_in_doubt(store: Store) -> None:
    def live(wall_clock: datetime) -> None:
        punch = LivePunch(
            user_id="1001",
            punched_at_local=wall_clock,
            verify_type=1,
            punch_state=0,
            received_at=NOW.replace(tzinfo=UTC),
        )
        store.punches.ingest_live(store.devices.get("Gate"), [punch], poll_id=store.punches.begin_live("Gate"))

    poll(store, EARLIER)
    live(NOW - timedelta(days=40))
    live(NOW - timedelta(minutes=14))
    assert suspects(store) == [NOW - timedelta(days=40)]


def findings(store: Store) -> dict[str, str]:
    return {one.name: one.advice for one in Doctor(store.database).examine(store.clock())}


def test_doctor_offers_the_correction_and_it_is_safe_to_follow(store: Store, clock: StoppedClock) -> None:
    poll(store, EARLIER)
    clock.go(hours=1)
    wrong = [NOW + timedelta(minutes=minutes) + timedelta(hours=22) for minutes in (10, 40)]
    poll(store, EARLIER, *wrong, drift=22 * HOURS + 1.4)
    advice = findings(store)["clock-correction"]
    asked = correct_clock.make_context("correct-clock", shlex.split(advice.split("`")[1])[3:]).params
    asked["device"] = asked.pop("name")
    for name in ("correction_id", "as_json"):
        asked.pop(name)
    store.clock_corrections.add(**asked)
    corrected = rows(store, "SELECT punched_at_local FROM corrected_punches ORDER BY 1")
    assert [one for (one,) in corrected] == [NOW + timedelta(minutes=minutes, seconds=-1) for minutes in (10, 40)]
    assert "clock-correction" not in findings(store)
    # The clock is right again, and shows the same times once more on the next day.
    store.devices.record_clock("Gate", drift_before=22 * HOURS, drift_after=0.0)
    poll(store, EARLIER, *wrong)
    clock.go(days=1)
    right = wrong[0] + timedelta(minutes=5)
    poll(store, EARLIER, *wrong, right)
    assert right not in suspects(store)
    assert rows(store, "SELECT count(*) FROM corrected_punches") == [(2,)]


def test_doctor_finds_punches_that_were_stored_as_true_in_spite_of_a_measured_drift(
    store: Store, clock: StoppedClock
) -> None:
    poll(store, EARLIER)
    clock.go(hours=1)
    poll(store, EARLIER, NOW + timedelta(minutes=30) - timedelta(days=40), drift=-40 * DAYS)
    assert "clocks-unmarked" not in findings(store)
    execute(store, "UPDATE raw_punches SET is_clock_suspect = false")
    assert "clocks-unmarked" in findings(store)
    assert date(2026, 4, 22) not in stale(store)
