"""Payroll periods: opened, closed on final figures only, and changes of paid days as adjustments of the next one."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path

import pandas as pd
import pytest

from zk_pipeline.attendance.shifts import Assignment, Shift, Target
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.errors import PayrollPeriodConflict
from zk_pipeline.store.payroll.unpaid_minutes import Comparison, unpaid_minutes
from zk_pipeline.store.shifts.leaves import NewLeave
from zk_pipeline.store.store import Store
from zk_pipeline.store.work_dates.manual_punches import PunchRequest
from zk_pipeline_tests.store.payroll.payroll_fixtures import Day, paid, put_days, unpaid
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    copied,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
    stale,
)

SUNDAY = MONDAY + timedelta(6)
LEDGER = "FROM payroll_days ORDER BY ALL"


def open_weeks(store: Store, *names: str) -> None:
    for number, name in enumerate(names):
        first = MONDAY + timedelta(7 * number)
        store.payroll.open(name, "cli:ada", first=first, last=first + timedelta(6))


@pytest.fixture(scope="module")
def two_days(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("two days"))
    store.devices.add(device(site="HQ"))
    ingest(store, "Gate", *on(MONDAY, "09:00", "18:00"), *on(TUESDAY, "09:00", "18:00"))
    process(store, MONDAY, TUESDAY)
    open_weeks(store, "a", "b")
    return store.database.where


@pytest.fixture
def worked(two_days: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """Monday and Tuesday of user 1001 are processed, nine hours each; the weeks a and b are open."""
    return copied(two_days, tmp_path, clock)


def test_a_month_needs_no_dates_and_another_span_needs_both(store: Store) -> None:
    store.payroll.open("2028-02", "cli:ada")
    store.payroll.open("2028-03", "cli:ada", first=date(2028, 3, 1), last=date(2028, 3, 25))
    spans = [(one.period, str(one.first_date), str(one.last_date), one.state) for one in store.payroll.all()]
    assert spans == [("2028-02", "2028-02-01", "2028-02-29", "open"), ("2028-03", "2028-03-01", "2028-03-25", "open")]
    store.payroll.open("2028-03", "cli:ada", first=date(2028, 3, 1), last=date(2028, 3, 30))
    assert store.payroll.get("2028-03").last_date == date(2028, 3, 30)
    for name, first, last, problem in (
        (
            "2028-04",
            date(2028, 3, 30),
            date(2028, 4, 29),
            "would overlap the period 2028-03 (2028-03-01 to 2028-03-30)",
        ),
        ("2028-13", None, None, "needs its first and its last date"),
        ("2028-05", date(2028, 5, 1), None, "needs its first and its last date"),
        ("2028-05", date(2028, 5, 2), date(2028, 5, 1), "is before the first date"),
        ("Q1/2028", None, None, "is no month"),
    ):
        with pytest.raises(UsageError, match="period") as refused:
            store.payroll.open(name, "cli:ada", first=first, last=last)
        assert problem in str(refused.value)
    with pytest.raises(UsageError, match="no payroll period '2028-06'; there are: 2028-02, 2028-03"):
        store.payroll.close("2028-06", "cli:ada")


def test_a_late_punch_revises_the_paid_day_and_is_paid_once_as_an_adjustment(worked: Store) -> None:
    done = worked.payroll.close("a", "cli:ada")
    assert (done.days, done.adjustments, done.period.closed_by, done.period.overridden) == (2, 0, "cli:ada", None)
    assert [minutes["regular"] for minutes in paid(worked, "a").values()] == [540, 540]
    ledger = rows(worked, LEDGER)
    ingest(worked, "Gate", *on(MONDAY, "18:30"))
    process(worked, MONDAY)
    assert rows(worked, "SELECT worked_minutes, revision FROM daily_attendance ORDER BY work_date") == [
        (570, 2),
        (540, 1),
    ]
    due = "SELECT revision, state FROM crm_deliveries WHERE work_date = ? ORDER BY 1"
    assert rows(worked, due, [MONDAY]) == [(1, "superseded"), (2, "pending")], "the CRM gets the revision as always"
    assert rows(worked, LEDGER) == ledger
    (one,) = worked.payroll.unpaid_adjustments("a")
    assert worked.payroll.unpaid_adjustments("b") == [one]
    assert (one.period, one.work_date, one.pay_class, one.minutes) == ("a", MONDAY, "regular", 30)
    assert (one.former_revision, one.revision, one.reason) == (1, 2, "revision 1, now 2")
    done = worked.payroll.close("b", "cli:ada")
    assert (done.days, done.adjustments) == (0, 1)
    assert worked.payroll.unpaid_adjustments("a") == worked.payroll.unpaid_adjustments("b") == []
    assert worked.payroll.paid_adjustments("b") == [one]
    assert worked.payroll.paid_adjustments("a") == []


def test_a_retracted_day_of_a_removed_user_is_taken_back(worked: Store) -> None:
    worked.payroll.close("a", "cli:ada")
    worked.devices.remove("Gate")
    execute(worked, "DELETE FROM device_users")
    put_days(worked, [(("HQ", "1001", TUESDAY), None)])
    (one,) = worked.payroll.unpaid_adjustments("b")
    assert (one.minutes, one.reason) == (-540, "revision 1, retracted by revision 2")
    worked.payroll.close("b", "cli:ada")
    put_days(worked, [(("HQ", "1001", TUESDAY), Day(450))])
    assert unpaid(worked, "a") == {("HQ", "1001", TUESDAY): {"regular": 450}}


def test_a_reopened_period_has_paid_nothing_until_it_closes_again(worked: Store) -> None:
    worked.payroll.close("a", "cli:ada")
    put_days(worked, [(("HQ", "1001", MONDAY), Day(500))])
    worked.payroll.close("b", "cli:ada")
    reopened = worked.payroll.reopen("a", "cli:bob")
    assert (reopened.state, reopened.closed_by, reopened.reopened_by) == ("open", None, "cli:bob")
    assert unpaid(worked, "b") == {}
    assert rows(worked, "SELECT period, regular_minutes FROM payroll_days") == [("b", -40)]
    with pytest.raises(PayrollPeriodConflict, match=f"a keeps its dates {MONDAY} to {SUNDAY}: adjustments .* in b"):
        worked.payroll.open("a", "cli:ada", first=MONDAY, last=TUESDAY)
    with pytest.raises(PayrollPeriodConflict, match="period a is open"):
        worked.payroll.reopen("a", "cli:ada")
    late = ("HQ", "1001", SUNDAY + timedelta(1))
    put_days(worked, [(("HQ", "1001", TUESDAY), Day(400)), (late, Day(60))])
    worked.payroll.close("a", "cli:ada")
    assert [minutes["regular"] for minutes in paid(worked, "a").values()] == [540, 400], "b has taken back 40 of Monday"
    assert (unpaid(worked, "a"), unpaid(worked, "b")) == ({}, {late: {"regular": 60}}), (
        "an earlier period pays no later one"
    )
    with pytest.raises(PayrollPeriodConflict, match="closed already, by cli:ada"):
        worked.payroll.close("a", "cli:ada")


def test_a_reopened_period_gets_other_dates_and_pays_each_day_once(worked: Store, clock: StoppedClock) -> None:
    """A typo in the last date: refused while that date is in the future, closed once, and corrected."""
    worked.payroll.open("b", "cli:ada", first=date(2029, 1, 1), last=date(2029, 1, 7))
    worked.payroll.open("a", "cli:ada", first=MONDAY, last=SUNDAY + timedelta(1))
    clock.now = datetime(2026, 3, 8, 23, 59, tzinfo=clock.now.tzinfo)
    with pytest.raises(PayrollPeriodConflict, match="a cannot be closed: its last date 2026-03-09 is in the future"):
        worked.payroll.close("a", "cli:ada", force=True)
    clock.now = datetime(2026, 3, 9, tzinfo=clock.now.tzinfo)
    worked.payroll.close("a", "cli:ada", force=True)
    with pytest.raises(PayrollPeriodConflict, match="period a is closed: its dates stay"):
        worked.payroll.open("a", "cli:ada", first=MONDAY, last=MONDAY)
    worked.payroll.reopen("a", "cli:ada")
    worked.payroll.open("a", "cli:ada", first=MONDAY, last=MONDAY)
    worked.payroll.open("b", "cli:ada", first=TUESDAY, last=TUESDAY)
    assert [worked.payroll.close(name, "cli:ada", force=True).days for name in "ab"] == [1, 1]
    assert rows(worked, "SELECT period, work_date, regular_minutes FROM payroll_days ORDER BY 1") == [
        ("a", MONDAY, 540),
        ("b", TUESDAY, 540),
    ]


def test_a_week_over_two_periods_is_one_week_of_overtime(store: Store) -> None:
    """US Fair Labor Standards Act: 45 hours from Monday to Friday are five hours of overtime."""
    friday = MONDAY + timedelta(4)
    store.payroll.open("a", "cli:ada", first=MONDAY, last=MONDAY + timedelta(2))
    store.payroll.open("b", "cli:ada", first=MONDAY + timedelta(3), last=SUNDAY)
    put_days(store, [(("HQ", "1", MONDAY + timedelta(n)), Day(540, threshold=2400)) for n in range(5)])
    store.payroll.close("a", "cli:ada")
    store.payroll.close("b", "cli:ada")
    assert [dict(one) for one in paid(store, "a").values()] == [{"regular": 540}] * 3
    assert [dict(one) for one in paid(store, "b").values()] == [
        {"regular": 540},
        {"regular": 240, "weekly_overtime": 300},
    ]
    put_days(store, [(("HQ", "1", MONDAY), Day(300, threshold=2400))])
    found = {(one.work_date, one.pay_class): (one.minutes, one.reason) for one in store.payroll.unpaid_adjustments("b")}
    week = "weekly overtime of the week"
    assert found == {(friday, "regular"): (240, week), (friday, "weekly_overtime"): (-240, week)}
    assert unpaid(store, "a") == {("HQ", "1", MONDAY): {"regular": -240}}


def test_what_the_rules_of_a_shift_compute_is_paid_by_class(store: Store) -> None:
    store.devices.add(device(site="HQ"))
    office = Shift(
        name="office", start=time(9), end=time(18), weekdays=("mon", "tue", "wed", "thu", "fri"),
        overtime="after 10 h a day, after 40 h a week", night_hours="22:00-06:00",
    )  # fmt: skip
    store.shifts.add(office)
    store.shifts.assign(Assignment(shift="office", target=Target(site="HQ")))
    days = [MONDAY + timedelta(n) for n in range(6)]
    worked = [
        on(days[0], "08:00", "19:00"),
        *(on(day, "09:00", "18:00") for day in days[1:5]),
        on(days[5], "20:00", "23:00"),
    ]
    ingest(store, "Gate", *(punch for day in worked for punch in day))
    process(store, *days)
    open_weeks(store, "a")
    store.payroll.close("a", "cli:ada", force=True)
    assert [dict(one) for one in paid(store, "a").values()] == [
        {"regular": 600, "overtime_weekday": 60},
        *[{"regular": 540}] * 3,
        {"regular": 180, "weekly_overtime": 360},
        {"overtime_rest_day": 180, "night": 60},
    ]


def test_a_threshold_or_the_identity_of_a_user_divides_a_paid_week_again(store: Store) -> None:
    for name, site in (("Gate", "HQ"), ("Door", "Mill")):
        store.devices.add(device(name, site=site, ip=f"192.0.2.{len(name)}"))
    days = [(("HQ", "1", MONDAY + timedelta(n)), Day(480, threshold=2400)) for n in range(5)]
    both = ("Mill", "1", MONDAY + timedelta(4))
    other = [((site, "2", day), Day(492, threshold=2400)) for (site, _, day), _ in days]
    put_days(store, [*days, *other, (both, Day(60, threshold=2400))])
    open_weeks(store, "a")
    store.payroll.close("a", "cli:ada", force=True)
    assert paid(store, "a")[both] == {"weekly_overtime": 60}
    user = (
        "INSERT INTO device_users (device, user_id, uid, name, privilege, card, updated_at) "
        "VALUES (?, '1', 1, ?, 0, 0, now())"
    )
    execute(store, user, ["Gate", "Ali Kaya"])
    execute(store, user, ["Door", "Ben Stone"])
    assert unpaid(store, "a") == {both: {"regular": 60, "weekly_overtime": -60}}, "two employees"
    execute(store, "DELETE FROM device_users")
    assert unpaid(store, "a") == {}
    execute(store, "UPDATE daily_attendance SET weekly_overtime_after_minutes = 2430 WHERE work_date = ?", [both[2]])
    one = {"regular": 30, "weekly_overtime": -30}
    assert unpaid(store, "a") == {both: one, ("HQ", "2", both[2]): one}, "another threshold, without a revision"


def test_each_reason_not_to_close_is_named_and_stored_if_it_is_closed_all_the_same(
    store: Store, clock: StoppedClock
) -> None:
    clock.now = datetime(2026, 3, 8, 20, tzinfo=clock.now.tzinfo)
    for name, site in (("Gate", "HQ"), ("Door", "Mill")):
        store.devices.add(device(name, site=site, ip=f"192.0.2.{len(name)}"))
    ingest(store, "Gate", *on(MONDAY, "05:00", "18:00"), *on(TUESDAY, "09:00", "18:00"))
    process(store, MONDAY)
    store.shifts.add(Shift(name="night", start=time(22), end=time(6)))
    store.shifts.assign(Assignment(shift="night", target=Target(user_id="8", site="HQ")))
    late = datetime(2026, 3, 3, 18)  # noqa: DTZ001 (wall clock)
    before = datetime(2026, 3, 2, 5)  # noqa: DTZ001 (of the night shift of the date before)
    requests = [("1001", late), ("8", late), ("8", before)]
    store.manual_punches.request([PunchRequest(who, "HQ", at, "out", "no power") for who, at in requests], "cli:ada")
    store.payroll.open("before", "cli:ada", first=MONDAY - timedelta(9), last=MONDAY - timedelta(3))
    open_weeks(store, "a")
    put_days(store, [(("HQ", "7", MONDAY - timedelta(1)), Day())])
    execute(store, "INSERT INTO blocked_dates VALUES (?, 'test', now())", [MONDAY])
    with pytest.raises(PayrollPeriodConflict) as refused:
        store.payroll.close("a", "cli:ada")
    problems = (
        "earlier periods are open: before; attendance days since the period before it belong to no period: 2026-03-01; "
        "its last date 2026-03-08 is not over; terminals were not read since its last date: Door, Gate; "
        "1 work date not processed: 2026-03-03; work dates with inconsistent rows: 2026-03-02; "
        "2 punch requests without a decision; 1 outlier to review"
    )
    assert str(refused.value) == f"period a is not ready to be closed: {problems}"
    assert store.payroll.close("a", "cli:ada", force=True).period.overridden == problems


def test_dates_that_may_change_what_a_period_pays_are_processed_before_it_closes(worked: Store) -> None:
    """Those of closed periods, and the first days of its ISO week; days before the first period are history."""
    sunday_before, wednesday = MONDAY - timedelta(1), MONDAY + timedelta(2)
    worked.payroll.open("a", "cli:ada", first=wednesday, last=SUNDAY)
    ingest(worked, "Gate", *on(sunday_before, "09:00", "18:00"), *on(MONDAY, "18:30"))
    assert stale(worked) == [sunday_before, MONDAY]
    with pytest.raises(PayrollPeriodConflict, match=f"period a is not ready to be closed: 1 work date .*: {MONDAY}$"):
        worked.payroll.close("a", "cli:ada")
    process(worked, MONDAY)
    worked.payroll.close("a", "cli:ada")
    process(worked, sunday_before)
    ingest(worked, "Gate", *on(wednesday, "09:00", "18:00"), *on(TUESDAY, "18:30"))
    assert worked.payroll.unprocessed_dates("a") == worked.payroll.unprocessed_dates("b") == [TUESDAY, wednesday]
    with pytest.raises(PayrollPeriodConflict, match=f": 2 work dates not processed: {TUESDAY}, {wednesday}$"):
        worked.payroll.close("b", "cli:ada")
    execute(worked, "INSERT INTO blocked_dates VALUES (?, 'test', now())", [wednesday])
    process(worked, TUESDAY)
    with pytest.raises(PayrollPeriodConflict, match=f"; work dates with inconsistent rows: {wednesday}$"):
        worked.payroll.close("b", "cli:ada")
    execute(worked, "DELETE FROM blocked_dates")
    process(worked, wednesday)
    assert worked.payroll.unprocessed_dates("b") == []
    assert worked.payroll.close("b", "cli:ada").adjustments == 1


def test_a_period_with_final_figures_closes_without_force(worked: Store) -> None:
    ingest(worked, "Gate", *on(MONDAY, "03:00"))
    process(worked, *stale(worked))
    with pytest.raises(PayrollPeriodConflict, match="1 outlier to review"):
        worked.payroll.close("a", "cli:ada")
    ((day, revision),) = rows(worked, "SELECT id, revision FROM daily_attendance WHERE is_outlier")
    worked.reviews.mark({day: revision}, by="ada")
    assert worked.payroll.close("a", "cli:ada").days == 2


def test_absences_are_stored_without_minutes(worked: Store) -> None:
    worked.shifts.add(Shift(name="office", start=time(9), end=time(18)))
    worked.shifts.assign(Assignment(shift="office", target=Target(user_id="1001")))
    ingest(worked, "Gate", *on(MONDAY + timedelta(3), "09:00", "18:00"))
    process(worked, *stale(worked))
    wednesday = MONDAY + timedelta(2)
    worked.leaves.add(
        NewLeave(user_id="1001", first_date=wednesday, last_date=wednesday, kind="annual leave"), "cli:ada"
    )
    done = worked.payroll.close("a", "cli:ada")
    assert (done.days, done.absences, done.summary) == (3, 1, "3 days worked, 1 absence, 0 adjusted days")
    absent = "SELECT work_date, revision, regular_minutes, leave FROM payroll_days WHERE attendance_status = 'absent'"
    assert rows(worked, absent) == [(wednesday, None, 0, "annual leave")]
    ingest(worked, "Gate", *on(wednesday, "09:00", "18:00"))
    process(worked, *stale(worked))
    (one,) = worked.payroll.unpaid_adjustments("a")
    assert (one.minutes, one.former_revision, one.reason) == (540, None, "a day that was not paid, revision 1")


def test_a_close_that_would_pay_other_minutes_than_those_of_the_days_is_undone(
    worked: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zk_pipeline.store.payroll.periods.unpaid_minutes", _doubled)
    with pytest.raises(ZkPipelineError, match="a was not closed: the minutes to pay for 1001 on 2026-03-02 at HQ"):
        worked.payroll.close("a", "cli:ada")
    assert (worked.payroll.get("a").state, rows(worked, LEDGER)) == ("open", [])


def _doubled(compared: Comparison) -> pd.DataFrame:
    frame = unpaid_minutes(compared)
    frame["regular_minutes"] *= 2
    return frame


@pytest.mark.parametrize("changes", [1, 9])
def test_days_that_change_while_a_period_closes_are_compared_again(
    worked: Store, monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    minutes = iter(range(changes))

    def at_the_same_time(compared: Comparison) -> pd.DataFrame:
        if (more := next(minutes, None)) is not None:
            put_days(worked, [(("HQ", "1001", MONDAY), Day(541 + more))])
        return unpaid_minutes(compared)

    monkeypatch.setattr("zk_pipeline.store.payroll.periods.unpaid_minutes", at_the_same_time)
    if changes > 1:
        with pytest.raises(PayrollPeriodConflict, match="its days are being changed; try again later"):
            worked.payroll.close("a", "cli:ada")
        assert (worked.payroll.get("a").state, rows(worked, LEDGER)) == ("open", [])
    else:
        worked.payroll.close("a", "cli:ada")
        assert [minutes["regular"] for minutes in paid(worked, "a").values()] == [541, 540]


def test_days_whose_punches_retention_has_deleted_are_paid_and_stay_as_they_are(worked: Store) -> None:
    execute(worked, "UPDATE crm_deliveries SET state = 'delivered'")
    worked.retention.clean(retention_days=30)
    assert rows(worked, "SELECT count(*) FROM raw_punches") == [(0,)]
    worked.payroll.close("a", "cli:ada")
    ingest(worked, "Gate", *on(MONDAY, "19:00"))
    process(worked, *stale(worked))
    assert [minutes["regular"] for minutes in paid(worked, "a").values()] == [540, 540]
    assert unpaid(worked, "a") == {}
