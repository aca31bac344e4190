"""The store: one database and the repositories over it, which contain the queries.

A repository is imported with its first use: a command that lists devices does not import the queries of the CRM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.queries.delivery_counts import DeliveryCounts
from zk_pipeline.store.queries.keyset_pagination import BucketCache
from zk_pipeline.store.queries.metrics import PollHistory

if TYPE_CHECKING:
    from zk_pipeline.store.api_tokens import TokenStore
    from zk_pipeline.store.days.days import DayStore
    from zk_pipeline.store.days.muster import MusterStore
    from zk_pipeline.store.deliveries.deliveries import DeliveryStore
    from zk_pipeline.store.enrolled_users import EnrolledUserStore
    from zk_pipeline.store.locks.lock_statistics import LockSummary
    from zk_pipeline.store.maintenance.backups import Backups
    from zk_pipeline.store.maintenance.restore import Restore
    from zk_pipeline.store.maintenance.retention import Retention
    from zk_pipeline.store.payroll.periods import PayrollStore
    from zk_pipeline.store.push.push import PushStore
    from zk_pipeline.store.quality.alerts import AlertStore
    from zk_pipeline.store.quality.home import HomeQueries
    from zk_pipeline.store.quality.quality import Quality
    from zk_pipeline.store.quality.repairs import Repairs
    from zk_pipeline.store.queries.absences import AbsenceStore
    from zk_pipeline.store.queries.audit import Audit
    from zk_pipeline.store.queries.daily_report import DailyReportStore
    from zk_pipeline.store.queries.day_details import DayDetailsStore
    from zk_pipeline.store.queries.delivery_lists import DeliveryLists
    from zk_pipeline.store.queries.explanations import Explanations
    from zk_pipeline.store.queries.exports import ExportStore
    from zk_pipeline.store.queries.lists import ListStore
    from zk_pipeline.store.queries.month_query import PersonMonthStore
    from zk_pipeline.store.queries.overview import Overview
    from zk_pipeline.store.queries.people import PeopleStore
    from zk_pipeline.store.queries.reviews import ReviewStore
    from zk_pipeline.store.shifts.holidays import HolidayStore
    from zk_pipeline.store.shifts.leaves import LeaveStore
    from zk_pipeline.store.shifts.shift_plan import PlanApplied, ShiftPlan
    from zk_pipeline.store.shifts.shifts import ShiftStore
    from zk_pipeline.store.terminals.bridge_history import BridgeHistoryStore
    from zk_pipeline.store.terminals.clock_corrections import CorrectionStore
    from zk_pipeline.store.terminals.devices import DeviceRegistry
    from zk_pipeline.store.terminals.keypad_locks import KeypadLockStore
    from zk_pipeline.store.terminals.punch_files import PunchFileStore
    from zk_pipeline.store.terminals.punches import PunchStore
    from zk_pipeline.store.terminals.quarantine import QuarantineStore
    from zk_pipeline.store.work_dates.manual_punches import ManualPunchStore


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Store:
    """Repositories over one database. Construction is cheap and opens no connection."""

    database: Database
    clock: Callable[[], datetime] = utc_now
    page_cache: BucketCache = field(default_factory=BucketCache, repr=False, compare=False)
    delivery_counts: DeliveryCounts = field(default_factory=DeliveryCounts, repr=False, compare=False)
    poll_history: PollHistory = field(default_factory=PollHistory, repr=False, compare=False)

    @classmethod
    def at(cls, where: Where) -> Store:
        return cls(Database(where))

    @property
    def devices(self) -> DeviceRegistry:
        from zk_pipeline.store.terminals.devices import DeviceRegistry

        return DeviceRegistry(self.database, self.clock)

    @property
    def keypad_locks(self) -> KeypadLockStore:
        from zk_pipeline.store.terminals.keypad_locks import KeypadLockStore

        return KeypadLockStore(self.database, self.clock)

    @property
    def punches(self) -> PunchStore:
        from zk_pipeline.store.terminals.punches import PunchStore

        return PunchStore(self.database, self.clock)

    @property
    def punch_files(self) -> PunchFileStore:
        from zk_pipeline.store.terminals.punch_files import PunchFileStore

        return PunchFileStore(self.database, self.clock)

    @property
    def push(self) -> PushStore:
        from zk_pipeline.store.push.push import PushStore

        return PushStore(self.database, self.clock)

    @property
    def bridge_history(self) -> BridgeHistoryStore:
        from zk_pipeline.store.terminals.bridge_history import BridgeHistoryStore

        return BridgeHistoryStore(self.database, self.clock)

    @property
    def days(self) -> DayStore:
        from zk_pipeline.store.days.days import DayStore

        return DayStore(self.database, self.clock)

    @property
    def deliveries(self) -> DeliveryStore:
        from zk_pipeline.store.deliveries.deliveries import DeliveryStore

        return DeliveryStore(self.database, self.clock, self.delivery_counts)

    @property
    def overview(self) -> Overview:
        from zk_pipeline.store.queries.overview import Overview

        return Overview(self.database)

    @property
    def home(self) -> HomeQueries:
        from zk_pipeline.store.quality.home import HomeQueries

        return HomeQueries(self.database)

    @property
    def exports(self) -> ExportStore:
        from zk_pipeline.store.queries.exports import ExportStore

        return ExportStore(self.database)

    @property
    def person_months(self) -> PersonMonthStore:
        from zk_pipeline.store.queries.month_query import PersonMonthStore

        return PersonMonthStore(self.database)

    @property
    def people(self) -> PeopleStore:
        from zk_pipeline.store.queries.people import PeopleStore

        return PeopleStore(self.database)

    @property
    def daily_reports(self) -> DailyReportStore:
        from zk_pipeline.store.queries.daily_report import DailyReportStore

        return DailyReportStore(self.database, self.clock)

    @property
    def muster(self) -> MusterStore:
        from zk_pipeline.store.days.muster import MusterStore

        return MusterStore(self.database)

    @property
    def enrolled_users(self) -> EnrolledUserStore:
        from zk_pipeline.store.enrolled_users import EnrolledUserStore

        return EnrolledUserStore(self.database)

    @property
    def day_details(self) -> DayDetailsStore:
        from zk_pipeline.store.queries.day_details import DayDetailsStore

        return DayDetailsStore(self.database, self.clock)

    @property
    def delivery_lists(self) -> DeliveryLists:
        from zk_pipeline.store.queries.delivery_lists import DeliveryLists

        return DeliveryLists(self.database)

    @property
    def shifts(self) -> ShiftStore:
        from zk_pipeline.store.shifts.shifts import ShiftStore

        return ShiftStore(self.database, self.clock)

    @property
    def holidays(self) -> HolidayStore:
        from zk_pipeline.store.shifts.holidays import HolidayStore

        return HolidayStore(self.database, self.clock)

    def apply_shifts(self, plan: ShiftPlan, *, prune: bool = False) -> PlanApplied:
        """Apply a declared plan of shifts, assignments, seasons and holidays, in one transaction."""
        from zk_pipeline.store.shifts.shift_plan import apply_plan

        return apply_plan(self.database, self.clock, plan, prune=prune)

    @property
    def leaves(self) -> LeaveStore:
        from zk_pipeline.store.shifts.leaves import LeaveStore

        return LeaveStore(self.database, self.clock)

    @property
    def absences(self) -> AbsenceStore:
        from zk_pipeline.store.queries.absences import AbsenceStore

        return AbsenceStore(self.database)

    @property
    def clock_corrections(self) -> CorrectionStore:
        from zk_pipeline.store.terminals.clock_corrections import CorrectionStore

        return CorrectionStore(self.database, self.clock)

    @property
    def manual_punches(self) -> ManualPunchStore:
        from zk_pipeline.store.work_dates.manual_punches import ManualPunchStore

        return ManualPunchStore(self.database, self.clock)

    @property
    def payroll(self) -> PayrollStore:
        from zk_pipeline.store.payroll.periods import PayrollStore

        return PayrollStore(self.database, self.clock)

    @property
    def quarantine(self) -> QuarantineStore:
        from zk_pipeline.store.terminals.quarantine import QuarantineStore

        return QuarantineStore(self.database, self.clock)

    @property
    def repairs(self) -> Repairs:
        from zk_pipeline.store.quality.repairs import Repairs

        return Repairs(self.database, self.clock)

    @property
    def explanations(self) -> Explanations:
        from zk_pipeline.store.queries.explanations import Explanations

        return Explanations(self.database)

    @property
    def reviews(self) -> ReviewStore:
        from zk_pipeline.store.queries.reviews import ReviewStore

        return ReviewStore(self.database, self.clock)

    @property
    def audit(self) -> Audit:
        from zk_pipeline.store.queries.audit import Audit

        return Audit(self.database)

    def lock_statistics(self) -> LockSummary:
        """Wait and lock times of the store so far, by purpose; read without opening the database. Raises OSError."""
        return self.database.lock_statistics.read()

    @property
    def retention(self) -> Retention:
        from zk_pipeline.store.maintenance.retention import Retention

        return Retention(self.database, self.clock)

    @property
    def alerts(self) -> AlertStore:
        from zk_pipeline.store.quality.alerts import AlertStore

        return AlertStore(self.database, self.clock)

    @property
    def quality(self) -> Quality:
        from zk_pipeline.store.quality.quality import Quality

        return Quality(self.database, self.clock)

    @property
    def backups(self) -> Backups:
        from zk_pipeline.store.maintenance.backups import Backups

        return Backups(self.database, self.clock)

    @property
    def restore(self) -> Restore:
        from zk_pipeline.store.maintenance.restore import Restore

        return Restore(self.database, self.clock)

    @property
    def lists(self) -> ListStore:
        from zk_pipeline.store.queries.lists import ListStore

        return ListStore(self.database, self.page_cache, self.delivery_counts)

    @property
    def api_tokens(self) -> TokenStore:
        from zk_pipeline.store.api_tokens import TokenStore

        return TokenStore(self.database, self.clock)
