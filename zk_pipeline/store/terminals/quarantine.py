"""Quarantine of records that cannot be read as punches: rows of `quarantined_records`, and their release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.data_libraries import pa, pc, pd
from zk_pipeline.devices.models import Device
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.queries.keyset_pagination import Key, ListQuery, PageRequest, read_page
from zk_pipeline.store.queries.lists import Rows
from zk_pipeline.store.terminals.devices import registration
from zk_pipeline.store.terminals.ingest import (
    FetchedTable,
    Source,
    insert_punches,
    insert_rejected,
    mark_released,
    next_poll_id,
    punches_table,
)
from zk_pipeline.store.terminals.poll_results import attribute_slots


@dataclass(frozen=True)
class QuarantinedRecord:
    """A record with its bytes; `released_at`: when it was read as a punch; `record_format`: None for a record of a log,
    else the table of a pushed line, or `FILE:` and the format of an imported file.
    """

    device: str
    raw: bytes
    reason: str
    poll_id: int
    created_at: datetime
    released_at: datetime | None
    record_format: str | None = None

    @property
    def source(self) -> Source:
        """Source of its punch."""
        if self.record_format is None:
            return "poll"
        return "file" if self.record_format.startswith("FILE:") else "push"

    @property
    def text(self) -> str | None:
        """The line, with escaped bytes where it is not UTF-8; None for a record of a log, which is no text."""
        return None if self.record_format is None else self.raw.decode(errors="backslashreplace")


@dataclass(frozen=True)
class QuarantinedKind:
    """Number of records of a device in quarantine for one reason, and since when."""

    device: str
    reason: str
    count: int
    oldest: datetime
    newest: datetime


@dataclass(frozen=True)
class QuarantineStore:
    database: Database
    clock: Callable[[], datetime]

    def all(self) -> list[QuarantinedRecord]:
        """All records, released ones included, by device and time."""
        with self.database.read("quarantined records") as connection:
            rows = connection.execute(f"{_SELECT} ORDER BY device, created_at, raw").fetchall()
        return [QuarantinedRecord(*row) for row in rows]

    def kinds(self) -> list[QuarantinedKind]:
        """Records in quarantine now, by device and reason."""
        with self.database.read("count quarantined records") as connection:
            rows = connection.execute(
                """
                SELECT device, reason, count(*), min(created_at), max(created_at)
                FROM quarantined_records WHERE released_at IS NULL GROUP BY ALL ORDER BY ALL
                """
            ).fetchall()
        return [QuarantinedKind(*row) for row in rows]

    def page(self, place: PageRequest, *, device: str | None = None, released: bool = False) -> Rows[QuarantinedRecord]:
        """A page of records in quarantine, or of released ones, newest first."""
        conditions = ["released_at IS NOT NULL" if released else "released_at IS NULL"]
        conditions += ["device = $device"] if device is not None else []
        values = {} if device is None else {"device": device}
        with self.database.read("list quarantined records") as connection:
            page = read_page(
                connection,
                ListQuery(_NUMBERED, PAGE_ORDER, conditions, values),
                "device, raw, reason, first_poll_id, created_at, released_at, record_format",
                place,
            )
        return Rows(page.count, [QuarantinedRecord(*row) for row in page.rows], page.until, page.last, page.has_more)

    def of(self, device: str) -> list[QuarantinedRecord]:
        """Records of a device that are still in quarantine."""
        with self.database.read("quarantined records", device) as connection:
            rows = connection.execute(
                f"{_SELECT} WHERE device = ? AND released_at IS NULL ORDER BY created_at, raw", [device]
            ).fetchall()
        return [QuarantinedRecord(*row) for row in rows]

    def layout_of(self, device: str) -> str | None:
        """Record layout of the device's log, if known; needed to read its records again."""
        with self.database.read("record layout", device) as connection:
            layout = connection.execute("SELECT log_layout FROM devices WHERE name = ?", [device]).fetchone()
        return None if layout is None else layout[0]

    def release(self, device: Device, punches: pd.DataFrame, *, source: Source = "poll") -> tuple[int, int]:
        """Store punches decoded from quarantined records: as `Reading.punches`, each with its `raw`.

        Returns the numbers of released records and of new punches. A record that names only a slot with an unknown
        holder stays in quarantine.
        """
        if punches.empty:
            return 0, 0
        now = self.clock()
        with self.database.write("release quarantined records", device.name) as connection:
            registered = registration(connection, device.name)
            table = punches_table(punches, registered.timezone)
            by_slot, named = (table.filter(condition(table["uid"])) for condition in (pc.is_valid, pc.is_null))
            if len(by_slot):
                # The numbers of the user lists around each record are stored with it.
                attributed, left = attribute_slots(connection, device.name, by_slot, listed_before=0, listed_after=0)
                named = pa.concat_tables([named, attributed])
                insert_rejected(connection, [FetchedTable(device.name, 0, left)], now)  # the reason may have changed
            freed = set(punches["raw"][punches["uid"].isna()]) | set(named["raw"].to_pylist())
            if not freed:
                return 0, 0
            poll_id = next_poll_id(connection)
            done = insert_punches(connection, [FetchedTable(device.name, poll_id, named, source=source)], now)[0]
            connection.execute(
                """
                INSERT INTO device_polls (id, device, started_at, finished_at, status, mode, fetched, stored, "new")
                VALUES (?, ?, ?, ?, 'success', 'release', ?, ?, ?)
                """,
                [poll_id, device.name, now, now, len(freed), done.stored, done.new],
            )
            mark_released(connection, device.name, freed, now)
        return len(freed), done.new


PAGE_ORDER = [Key("created_at", "instant", descending=True)]
# Records are unique by device, bytes and reason, and have no id.
_NUMBERED = "SELECT *, (hash((device, raw, reason)) >> 2)::BIGINT AS id FROM quarantined_records"
_SELECT = "SELECT device, raw, reason, first_poll_id, created_at, released_at, record_format FROM quarantined_records"
