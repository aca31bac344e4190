"""A small company in a store with one example of each state on pages about attendance, created by the real steps."""

from __future__ import annotations

from datetime import date, time, timedelta

import numpy as np
import pandas as pd

from zk_pipeline.attendance.shifts import Assignment, Holiday, Shift, Target
from zk_pipeline.config.settings import Settings
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.record_layouts import LOG_40, encode_time
from zk_pipeline.operations.process import process_dates
from zk_pipeline.operations.sync import sync
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.simulator.crm.faults import Fault, ReceivedRequest, no_fault, refusal
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import ingest, on

MARCH = date(2026, 3, 2)  # a Monday
ABSENT = MARCH + timedelta(days=3)  # of 1001, who has a shift
HOLIDAY = MARCH + timedelta(days=8)
RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"
XSS = "<script>alert(1)</script>"
NASTY = f'a/b"{XSS}'  # user ids are any text that terminals store
NASTY_SITE = 'Quay/1 & <b>"co"</b>'
CRM_MESSAGE = f"no employee {XSS} here"
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri")


def enrol(store: Store) -> None:
    """Two gates of one site, and one of another with names that need escaping; users with names."""
    store.devices.add(Device(name="North", ip_address="192.0.2.10", timezone="Europe/Istanbul", site="Head office"))
    store.devices.add(Device(name="South", ip_address="192.0.2.11", timezone="Europe/Istanbul", site="Head office"))
    store.devices.add(Device(name="Quay gate", ip_address="192.0.2.12", timezone="Asia/Kolkata", site=NASTY_SITE))
    store.shifts.add(Shift(name="office", start=time(9), end=time(18), weekdays=_WEEKDAYS))
    store.shifts.assign(Assignment(shift="office", target=Target(user_id="1001", site="Head office")))
    store.holidays.put([Holiday(day=HOLIDAY, name="Foundation Day", site="Head office")])
    users = [("1001", 1, "Zoë Yılmaz", 0, 0), ("1002", 2, "Ali Öztürk", 0, 0), ("1003", 3, "Dead Letter", 0, 0)]
    ingest(store, "North", users=users)
    ingest(store, "Quay gate", users=[("1001", 1, "Zoë Yılmaz", 0, 0), (NASTY, 9, f"<b>{XSS}</b>", 0, 0)])


def punch(store: Store, days: int = 20) -> list[date]:
    """Punches of `days` dates from MARCH; returns the work dates."""
    dates = [MARCH + timedelta(days=number) for number in range(days)]
    north, south = on(MARCH, "11:30", user_id="1003"), []
    for day in dates:
        if day.weekday() < 5 and day not in (ABSENT, HOLIDAY + timedelta(days=1)):
            north += on(day, "08:55")
            south += on(day, "18:05")
        south += on(day, "05:00" if day.weekday() == 1 else "09:10", "17:45", user_id="1002")
    ingest(store, "North", *north)
    ingest(store, "South", *south)
    wrong = np.zeros(1, LOG_40.dtype)
    wrong["time"] = encode_time(pd.Timestamp("2026-03-02 07:00").to_pydatetime())
    wrong["user_id"] = "Çağrı".encode("cp1254")
    ingest(
        store,
        "Quay gate",
        *on(MARCH, "09:00", "18:00", user_id=NASTY),
        *on(MARCH, "20:00"),
        rejected=[wrong.tobytes(), b"\xff" * 40],
    )
    return dates


def make(store: Store, settings: Settings, dates: list[date], run_id: str = RUN) -> None:
    done = process_dates(store, dates, work_rules(settings), run_id=run_id)
    assert not done.failed


def refuse_1003(received: ReceivedRequest) -> Fault | None:
    return refusal(422, detail=CRM_MESSAGE) if received.user_ids & {"1003", NASTY} else None


def deliver(store: Store, settings: Settings, crm: CrmReceiver) -> None:
    """Sync due deliveries to a CRM that rejects two of the users."""
    crm.fault_rule = refuse_1003
    sync(store, settings, SyncScope(), run_id=RUN)
    crm.fault_rule = no_fault


def company(store: Store, settings: Settings, crm: CrmReceiver) -> None:
    """Punches, days, a correction of one, deliveries of which two are dead letters; one date is not processed yet."""
    enrol(store)
    dates = punch(store)
    make(store, settings, dates)
    deliver(store, settings, crm)
    ingest(store, "South", *on(MARCH, "19:00", user_id="1003"))
    make(store, settings, [MARCH])
    deliver(store, settings, crm)
    ingest(store, "North", *on(MARCH + timedelta(days=30), "09:00"))
