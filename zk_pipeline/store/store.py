"""The store: one database and the repositories over it, which contain the queries.

A repository is imported with its first use: a command that lists devices does not import the queries of the CRM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.queries.keyset_pagination import BucketCache
from zk_pipeline.store.queries.metrics import PollHistory

if TYPE_CHECKING:
    from zk_pipeline.store.api_tokens import TokenStore
    from zk_pipeline.store.days.days import DayStore
    from zk_pipeline.store.days.muster import MusterStore
    from zk_pipeline.store.deliveries.deliveries import DeliveryStore
    from zk_pipeline.store.locks.lock_statistics import LockSummary
    from zk_pipeline.store.maintenance.backups import Backups
    from zk_pipeline.store.maintenance.restore import Restore
    from zk_pipeline.store.maintenance.retention import Retention
    from zk_pipeline.store.payroll.periods import PayrollStore
    from zk_pipeline.store.push.push import PushStore
    from zk_pipeline.store.quality.alerts import AlertStore
    from zk_pipeline.store.quality.quality import Quality
    from zk_pipeline.store.quality.repairs import Repairs
    from zk_pipeline.store.queries.absences import AbsenceStore
    from zk_pipeline.store.queries.audit import Audit
    from zk_pipeline.store.queries.daily_report import DailyReportStore
    from zk_pipeline.store.queries.day_details import DayDetailsStore
    from zk_pipeline.store.queries.delivery_lists import DeliveryLists
    from zk_pipeline.store.queries.enrolled_users import EnrolledUserStore
    from zk_pipeline.store.queries.explanations import Explanations
    from zk_pipeline.store.queries.exports import ExportStore
    from zk_pipeline.store.queries.lists import ListStore
    from zk_pipeline.store.queries.month_query import PersonMonthStore
    from zk_pipeline.store.queries.overview import Overview
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


def _imported(module: str, name: str) -> Any:
    return getattr(import_module(f"zk_pipeline.store.{module}"), name)


@dataclass(frozen=True)
class Store:
    """Repositories over one database. Construction is cheap and opens no connection."""

    database: Database
    clock: Callable[[], datetime] = utc_now
    page_cache: BucketCache = field(default_factory=BucketCache, repr=False, compare=False)
    poll_history: PollHistory = field(default_factory=PollHistory, repr=False, compare=False)

    @classmethod
    def at(cls, where: Where) -> Store:
        return cls(Database(where))

    def _repository(self, module: str, name: str) -> Any:
        return _imported(module, name)(self.database, self.clock)

    @property
    def devices(self) -> DeviceRegistry:
        made: DeviceRegistry = self._repository("terminals.devices", "DeviceRegistry")
        return made

    @property
    def keypad_locks(self) -> KeypadLockStore:
        made: KeypadLockStore = self._repository("terminals.keypad_locks", "KeypadLockStore")
        return made

    @property
    def punches(self) -> PunchStore:
        made: PunchStore = self._repository("terminals.punches", "PunchStore")
        return made

    @property
    def punch_files(self) -> PunchFileStore:
        made: PunchFileStore = self._repository("terminals.punch_files", "PunchFileStore")
        return made

    @property
    def push(self) -> PushStore:
        made: PushStore = self._repository("push.push", "PushStore")
        return made

    @property
    def bridge_history(self) -> BridgeHistoryStore:
        made: BridgeHistoryStore = self._repository("terminals.bridge_history", "BridgeHistoryStore")
        return made

    @property
    def days(self) -> DayStore:
        made: DayStore = self._repository("days.days", "DayStore")
        return made

    @property
    def deliveries(self) -> DeliveryStore:
        made: DeliveryStore = self._repository("deliveries.deliveries", "DeliveryStore")
        return made

    @property
    def overview(self) -> Overview:
        made: Overview = _imported("queries.overview", "Overview")(self.database)
        return made

    @property
    def exports(self) -> ExportStore:
        made: ExportStore = _imported("queries.exports", "ExportStore")(self.database)
        return made

    @property
    def person_months(self) -> PersonMonthStore:
        made: PersonMonthStore = _imported("queries.month_query", "PersonMonthStore")(self.database)
        return made

    @property
    def daily_reports(self) -> DailyReportStore:
        made: DailyReportStore = self._repository("queries.daily_report", "DailyReportStore")
        return made

    @property
    def muster(self) -> MusterStore:
        made: MusterStore = _imported("days.muster", "MusterStore")(self.database)
        return made

    @property
    def enrolled_users(self) -> EnrolledUserStore:
        made: EnrolledUserStore = _imported("queries.enrolled_users", "EnrolledUserStore")(self.database)
        return made

    @property
    def day_details(self) -> DayDetailsStore:
        made: DayDetailsStore = self._repository("queries.day_details", "DayDetailsStore")
        return made

    @property
    def delivery_lists(self) -> DeliveryLists:
        made: DeliveryLists = _imported("queries.delivery_lists", "DeliveryLists")(self.database)
        return made

    @property
    def shifts(self) -> ShiftStore:
        made: ShiftStore = self._repository("shifts.shifts", "ShiftStore")
        return made

    @property
    def holidays(self) -> HolidayStore:
        made: HolidayStore = self._repository("shifts.holidays", "HolidayStore")
        return made

    def apply_shifts(self, plan: ShiftPlan, *, prune: bool = False) -> PlanApplied:
        """Apply a declared plan of shifts, assignments, seasons and holidays, in one transaction."""
        applied: PlanApplied = _imported("shifts.shift_plan", "apply_plan")(
            self.database, self.clock, plan, prune=prune
        )
        return applied

    @property
    def leaves(self) -> LeaveStore:
        made: LeaveStore = self._repository("shifts.leaves", "LeaveStore")
        return made

    @property
    def absences(self) -> AbsenceStore:
        made: AbsenceStore = _imported("queries.absences", "AbsenceStore")(self.database)
        return made

    @property
    def clock_corrections(self) -> CorrectionStore:
        made: CorrectionStore = self._repository("terminals.clock_corrections", "CorrectionStore")
        return made

    @property
    def manual_punches(self) -> ManualPunchStore:
        made: ManualPunchStore = self._repository("work_dates.manual_punches", "ManualPunchStore")
        return made

    @property
    def payroll(self) -> PayrollStore:
        made: PayrollStore = self._repository("payroll.periods", "PayrollStore")
        return made

    @property
    def quarantine(self) -> QuarantineStore:
        made: QuarantineStore = self._repository("terminals.quarantine", "QuarantineStore")
        return made

    @property
    def repairs(self) -> Repairs:
        made: Repairs = self._repository("quality.repairs", "Repairs")
        return made

    @property
    def explanations(self) -> Explanations:
        made: Explanations = _imported("queries.explanations", "Explanations")(self.database)
        return made

    @property
    def reviews(self) -> ReviewStore:
        made: ReviewStore = self._repository("queries.reviews", "ReviewStore")
        return made

    @property
    def audit(self) -> Audit:
        made: Audit = _imported("queries.audit", "Audit")(self.database)
        return made

    def lock_statistics(self) -> LockSummary:
        """Wait and lock times of the store so far, by purpose; read without opening the database. Raises OSError."""
        return self.database.lock_statistics.read()

    @property
    def retention(self) -> Retention:
        made: Retention = self._repository("maintenance.retention", "Retention")
        return made

    @property
    def alerts(self) -> AlertStore:
        made: AlertStore = self._repository("quality.alerts", "AlertStore")
        return made

    @property
    def quality(self) -> Quality:
        made: Quality = self._repository("quality.quality", "Quality")
        return made

    @property
    def backups(self) -> Backups:
        made: Backups = self._repository("maintenance.backups", "Backups")
        return made

    @property
    def restore(self) -> Restore:
        made: Restore = self._repository("maintenance.restore", "Restore")
        return made

    @property
    def lists(self) -> ListStore:
        made: ListStore = _imported("queries.lists", "ListStore")(self.database, self.page_cache)
        return made

    @property
    def api_tokens(self) -> TokenStore:
        made: TokenStore = self._repository("api_tokens", "TokenStore")
        return made
