"""The muster from stored punches, and the daily report of a site."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from zk_pipeline.attendance.shifts import Assignment, Holiday, Shift, Target
from zk_pipeline.store.queries.daily_report import DailyReport
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    device,
    execute,
    ingest,
    on,
    process,
)


def who(store: Store, site: str | None = None) -> dict[str, tuple[list[str], list[str], bool]]:
    """Names of those who are in and who left, and whether the list is safe, by site."""
    muster = store.muster.read(store.clock(), debounce_seconds=60, site=site)
    if site is None:
        for one in muster.sites:  # read for one site or one user, it is the same
            assert store.muster.read(store.clock(), debounce_seconds=60, site=one.site).sites == [one]
            for user in one.present:
                alone = store.muster.read(store.clock(), debounce_seconds=60, site=one.site, user_id=user.user_id)
                assert [*alone.people()] == [user]
        present = {one.site: len(one.present) for one in muster.sites if one.present}
        assert store.muster.present(store.clock(), debounce_seconds=60) == present
    return {
        one.site: ([who.name or who.user_id for who in one.present], [who.user_id for who in one.left], one.is_safe)
        for one in muster.sites
    }


def test_the_muster_has_names_in_order_and_says_when_it_is_not_safe(store: Store, clock: StoppedClock) -> None:
    clock.now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    store.devices.add(device("North", site="Works"))
    store.devices.add(device("South", site="Works"))
    store.devices.add(replace(device("Off", site="Works"), enabled=False))
    store.devices.add(device("Depot"))
    users = [("1", 1, "zoë", 0, 0), ("2", 2, "Ali", 0, 0), ("3", 3, "Cem", 0, 0)]
    ingest(
        store, "North", *on(MONDAY, "08:00", user_id="1"), *on(MONDAY, "08:00", "11:00", user_id="3"),
        *on(MONDAY, "08:05", user_id="2"), *on(MONDAY, "08:10", user_id="9"), users=users,
    )  # fmt: skip
    assert who(store) == {"Depot": ([], [], False), "Works": (["9", "Ali", "zoë"], ["3"], False)}
    ingest(store, "South", users=users)
    assert who(store, "Works") == {"Works": (["9", "Ali", "zoë"], ["3"], True)}
    clock.now += timedelta(hours=1)
    assert who(store)["Works"][2]
    clock.now += timedelta(seconds=1)
    works = store.muster.read(clock.now, debounce_seconds=60, site="Works").sites[0]
    assert [one.device for one in works.outdated] == ["North", "South"]
    ingest(store, "Depot", *on(MONDAY, "12:30", user_id="1"))
    assert who(store)["Depot"] == (["1"], [], True)
    assert who(store)["Works"][0] == ["9", "Ali"]
    assert who(store, "Nowhere") == {}


def test_suspect_and_voided_punches_do_not_count_and_corrected_ones_count_corrected(
    store: Store, clock: StoppedClock
) -> None:
    clock.now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    store.devices.add(device("Gate"))
    ingest(store, "Gate", *on(MONDAY, "08:00", user_id="1"), *on(MONDAY, "08:00", "11:00", user_id="2"))
    assert who(store)["Gate"][:2] == (["1"], ["2"])
    execute(store, "UPDATE raw_punches SET is_clock_suspect = true WHERE user_id = '1'")
    execute(store, "UPDATE raw_punches SET voided_at = now() WHERE punched_at_local = TIMESTAMP '2026-03-02 11:00'")
    assert who(store)["Gate"][:2] == (["2"], [])
    execute(
        store,
        """
        INSERT INTO corrected_punches
        SELECT seq, device, user_id, punched_at - INTERVAL 1 DAY, punched_at_local - INTERVAL 1 DAY, punch_state,
               first_poll_id, 1
        FROM raw_punches WHERE user_id = '2' AND voided_at IS NULL
        """,
    )
    assert who(store)["Gate"][:2] == ([], [])


def test_namesakes_are_different_employees(store: Store, clock: StoppedClock) -> None:
    clock.now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    for name, person in (("Here", "Anna Bergmann"), ("There", "Kwame Mensah")):
        store.devices.add(device(name))
        ingest(store, name, ("1", "2026-03-02 08:00"), users=[("1", 1, person, 0, 0)])
    assert who(store) == {"Here": (["Anna Bergmann"], [], True), "There": (["Kwame Mensah"], [], True)}


def lines(report: DailyReport) -> dict[str, str]:
    return {one.user_id: one.status for one in report.lines}


def test_the_daily_report_has_every_user_of_the_site(store: Store) -> None:
    store.devices.add(device("Gate", site="Plant"))
    store.devices.add(device("Other"))
    store.shifts.add(Shift(name="office", start=time(9), end=time(18), weekdays=("mon", "tue")))
    for user in ("1", "2", "7"):
        store.shifts.assign(Assignment(shift="office", target=Target(user_id=user, site="Plant")))
    users = [(str(number), number, f"Name {number}", 0, 0) for number in range(1, 7)]
    ingest(
        store, "Gate", *on(MONDAY, "09:00", "18:00", user_id="1"), *on(TUESDAY, "09:30", "17:00", user_id="1"),
        *on(MONDAY, "09:00", "18:00", user_id="2"), *on(TUESDAY, "09:00", user_id="3"),
        *on(TUESDAY + timedelta(days=1), "09:00", user_id="3"), users=users,
    )  # fmt: skip
    ingest(store, "Other", *on(TUESDAY, "09:00", user_id="8"))
    process(store, MONDAY, TUESDAY, TUESDAY + timedelta(days=1))
    ingest(store, "Gate", *on(TUESDAY, "10:00", user_id="9"))
    report = store.daily_reports.read(TUESDAY, site="Plant")
    assert lines(report) == {
        "1": "present", "2": "absent", "3": "present", "4": "no_punches", "5": "no_punches", "6": "no_punches",
        "7": "no_punches", "9": "not_processed",
    }  # fmt: skip
    assert [one.user_id for one in report.lines][:2] == ["7", "9"]  # by name, else by id
    assert report.counts | {"present": 2, "late": 1, "left early": 1, "incomplete": 1, "absent": 1} == report.counts
    assert (report.counts["users"], report.worked_minutes, report.is_stale) == (8, 450, True)
    wednesday = store.daily_reports.read(TUESDAY + timedelta(days=1), site="Plant")
    assert lines(wednesday) | {"2": "day_off", "3": "present", "7": "day_off"} == lines(wednesday)
    assert not wednesday.is_stale
    store.holidays.put([Holiday(day=TUESDAY, name="Feast")])
    off = {one.user_id: (one.status, one.remark) for one in store.daily_reports.read(TUESDAY).lines}
    assert (off["2"], off["8"][0]) == (("holiday", "Feast"), "present")


def test_a_night_shift_is_in_until_its_own_work_date_ends(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device("Gate", timezone="Europe/Istanbul"))
    store.shifts.add(Shift(name="night", start=time(22), end=time(6)))
    store.shifts.assign(Assignment(shift="night", target=Target(user_id="1")))
    ingest(store, "Gate", *on(MONDAY, "21:55", user_id="1"), *on(MONDAY, "21:55", user_id="2"))
    for at, present in (("20:59", ["1", "2"]), ("21:00", ["1"]), ("10:59", ["1"]), ("11:00", [])):
        day = MONDAY if at >= "20" else TUESDAY  # work dates end at 24:00 and at 14:00 in Istanbul, three hours ahead
        clock.now = datetime.combine(day, time.fromisoformat(at), UTC)
        assert who(store)["Gate"][0] == present, at
