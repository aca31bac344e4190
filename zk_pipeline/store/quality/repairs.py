"""Repair of punches that earlier versions stored incorrectly: at the instants of another zone, or for a second user.

Punches are never deleted: one of a wrong user is voided, and no longer part of a day. Affected work dates become stale,
so that their rows and deliveries follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.data_libraries import pd
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.quality.integrity_rules import WRONG_PERSON
from zk_pipeline.store.terminals.devices import apply_timezone
from zk_pipeline.store.work_dates.device_changes import invalidating_affected_dates

INSTANTS = """
    SELECT punch.device, device.timezone, punch.punched_at_local, punch.punched_at, count(*) AS punches
    FROM raw_punches AS punch JOIN devices AS device ON device.name = punch.device
    WHERE punch.punched_at_local >= $begin AND punch.punched_at_local < $end
    GROUP BY punch.device, device.timezone, punch.punched_at_local, punch.punched_at
"""

_EVER = {"begin": datetime(1, 1, 1), "end": datetime(9999, 1, 1)}  # noqa: DTZ001 (wall clocks)


@dataclass(frozen=True)
class Repaired:
    """Repairs of one device, or with a dry run the plan: `what` is `instants` or `users`."""

    device: str
    what: str
    punches: int


@dataclass(frozen=True)
class Repairs:
    database: Database
    clock: Callable[[], datetime]

    def run(self, *, dry_run: bool = False) -> list[Repaired]:
        """Repair all devices. Idempotent."""
        with self.database.read("find repairs") as connection:
            instants = connection.execute(INSTANTS, _EVER).to_arrow_table()
            misattributed = connection.execute(WRONG_PERSON, _EVER).fetchall()
        wrong = wrong_instants(instants.to_pandas())
        found = [
            Repaired(str(device), "instants", int(count))
            for device, count in wrong.groupby("device")["punches"].sum().items()
        ]
        voided = pd.Series([device for _, device, *_ in misattributed], dtype=object).value_counts().sort_index()
        found += [Repaired(str(device), "users", int(count)) for device, count in voided.items()]
        if found and not dry_run:
            with self.database.write("repair punches") as connection:
                self._repair(connection, sorted({one.device for one in found}))
        return found

    def _repair(self, connection: Connection, devices: list[str]) -> None:
        rows = connection.execute(
            "SELECT name, site, timezone FROM devices WHERE list_contains(?, name)", [devices]
        ).fetchall()
        with invalidating_affected_dates(connection, sorted({site for _, site, _ in rows})):
            connection.execute(
                f"UPDATE raw_punches SET voided_at = $now WHERE seq IN (SELECT seq FROM ({WRONG_PERSON}))",  # noqa: S608
                {**_EVER, "now": self.clock()},
            )
            connection.execute(
                "DELETE FROM corrected_punches WHERE seq IN (SELECT seq FROM raw_punches WHERE voided_at IS NOT NULL)"
            )
            for name, _, zone in rows:
                apply_timezone(connection, name, zone)


def wrong_instants(stored: pd.DataFrame) -> pd.DataFrame:
    """The rows of INSTANTS whose `punched_at` is not the instant of `punched_at_local` in the zone of the device."""
    wrong = [
        group[(to_instants(group["punched_at_local"].astype("datetime64[us]"), str(zone)) != group["punched_at"])]
        for zone, group in stored.groupby("timezone")
    ]
    found: pd.DataFrame = pd.concat(wrong) if wrong else stored
    return found
