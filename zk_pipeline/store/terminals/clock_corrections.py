"""Clock corrections: declared offsets for times recorded by a wrong clock. The recorded times stay stored."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.work_dates.assignment import assign_work_dates
from zk_pipeline.store.work_dates.device_changes import invalidating_affected_dates
from zk_pipeline.time_text import wall_clock


@dataclass(frozen=True)
class Correction:
    """Adds `add_seconds` to every recorded time of `device` from `from_local` to `to_local`, both inclusive."""

    id: int
    device: str
    from_local: datetime
    to_local: datetime
    add_seconds: int
    only_in_doubt: bool  # applies only to punches with a suspect clock
    reason: str
    created_at: datetime
    revoked_at: datetime | None
    punches: int  # corrected by it now


@dataclass(frozen=True)
class SuggestedCorrection:
    """A correction by the drift that was measured when these punches with a suspect clock were read from `device`."""

    device: str
    from_local: datetime
    to_local: datetime
    add_seconds: int
    punches: int

    @property
    def command(self) -> str:
        """Command that applies the correction."""
        return (
            f"zk-pipeline device correct-clock {shlex.quote(self.device)} --from '{wall_clock(self.from_local)}' "
            f"--to '{wall_clock(self.to_local)}' --add-seconds {self.add_seconds} --only-in-doubt"
        )


@dataclass(frozen=True)
class CorrectionStore:
    database: Database
    clock: Callable[[], datetime]

    def all(self) -> list[Correction]:
        """All corrections, revoked ones included, in order."""
        with self.database.read("clock corrections") as connection:
            return _read(connection, "true", [])

    def suggested(self) -> list[SuggestedCorrection]:
        """Suggested corrections for suspect punches without one, by device and poll."""
        with self.database.read("suggest clock corrections") as connection:
            return suggested(connection)

    def add(
        self,
        device: str,
        *,
        from_local: datetime,
        to_local: datetime,
        add_seconds: int,
        reason: str = "",
        only_in_doubt: bool = False,
    ) -> Correction:
        """Correct the recorded times, also of later polls; the work dates before and after become stale.

        `only_in_doubt` excludes punches with the same wall-clock time from after the clock was set.

        Raises UsageError for an unknown device, an empty span, and an overlap with an active correction.
        """
        if to_local < from_local:
            raise UsageError(f"the span ends at {wall_clock(to_local)}, before it begins at {wall_clock(from_local)}")
        with self.database.write("correct a clock", device) as connection:
            site = _site_of(connection, device)
            for held in _read(connection, "revoked_at IS NULL AND device = ?", [device]):
                if held.from_local <= to_local and from_local <= held.to_local:
                    raise UsageError(f"correction {held.id} covers part of that span: revoke it first")
            with invalidating_affected_dates(connection, (site,)):
                taken = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM clock_corrections").fetchall()[0][0]
                connection.execute(
                    """
                    INSERT INTO clock_corrections
                        (id, device, from_local, to_local, add_seconds, only_in_doubt, reason, created_at)
                    VALUES ($id, $device, $from_local, $to_local, $add_seconds, $only_in_doubt, $reason, $now)
                    """,
                    {
                        "id": taken,
                        "device": device,
                        "from_local": from_local,
                        "to_local": to_local,
                        "add_seconds": add_seconds,
                        "only_in_doubt": only_in_doubt,
                        "reason": reason,
                        "now": self.clock(),
                    },
                )
                correct(connection, device)
            return _read(connection, "correction.id = ?", [taken])[0]

    def revoke(self, correction_id: int) -> Correction:
        """Revoke a correction: the recorded times count again. Raises UsageError if it is not active."""
        with self.database.write("revoke a clock correction", str(correction_id)) as connection:
            held = _read(connection, "correction.id = ? AND revoked_at IS NULL", [correction_id])
            if not held:
                raise UsageError(f"there is no active clock correction {correction_id}")
            with invalidating_affected_dates(connection, (_site_of(connection, held[0].device),)):
                connection.execute(
                    "UPDATE clock_corrections SET revoked_at = ? WHERE id = ?", [self.clock(), correction_id]
                )
                correct(connection, held[0].device)
            return _read(connection, "correction.id = ?", [correction_id])[0]


# Seconds; measured drifts this close to each other have one cause.
_SAME_DRIFT = 60


def suggested(connection: Connection) -> list[SuggestedCorrection]:
    """As `CorrectionStore.suggested`. Punches of a clock that lost its date, without a drift, have no suggestion."""
    rows = connection.execute(
        """
        SELECT punch.device, poll.id, min(punch.punched_at_local), max(punch.punched_at_local),
               -round(poll.doubted_drift_seconds)::BIGINT, count(*)
        FROM raw_punches AS punch JOIN device_polls AS poll ON poll.id = punch.first_poll_id
        WHERE punch.is_clock_suspect AND punch.voided_at IS NULL AND poll.doubted_drift_seconds IS NOT NULL
          AND punch.seq NOT IN (SELECT seq FROM corrected_punches)
        GROUP BY punch.device, poll.id, poll.doubted_drift_seconds ORDER BY punch.device, poll.id
        """
    ).fetchall()
    found: list[SuggestedCorrection] = []
    for device, _, first, last, add_seconds, punches in rows:
        one = SuggestedCorrection(device, first, last, add_seconds, punches)
        before = found[-1] if found else None
        if before and before.device == device and abs(before.add_seconds - add_seconds) <= _SAME_DRIFT:
            found[-1] = replace(
                before,
                from_local=min(before.from_local, first),
                to_local=max(before.to_local, last),
                punches=before.punches + punches,
            )
        else:
            found.append(one)
    return found


def correct(connection: Connection, device: str) -> None:
    """Recompute the corrected punches of a device from its punches, zone and active corrections."""
    connection.execute("DELETE FROM corrected_punches WHERE device = ?", [device])
    zone = connection.execute("SELECT timezone FROM devices WHERE name = ?", [device]).fetchall()[0][0]
    _insert(connection, "SELECT * FROM raw_punches WHERE device = $device", device, zone)


def correct_fresh(connection: Connection) -> None:
    """Apply corrections to the new punches in the temporary table `fresh`."""
    if not connection.execute("SELECT EXISTS (SELECT 1 FROM clock_corrections)").fetchall()[0][0]:
        return
    zones = connection.execute(
        """
        SELECT name, timezone FROM devices
        WHERE name IN (SELECT device FROM clock_corrections WHERE revoked_at IS NULL)
          AND name IN (SELECT device FROM fresh)
        ORDER BY name
        """
    ).fetchall()
    if not zones:
        return
    for device, zone in zones:
        fresh = "SELECT raw_punches.* FROM raw_punches WHERE device = $device AND seq IN (SELECT seq FROM fresh)"
        _insert(connection, fresh, device, zone)
    placing = assign_work_dates(connection)
    connection.execute(
        f"""
        CREATE TEMP TABLE placed_fresh AS
        SELECT punch.seq, {placing.work_date} AS work_date
        FROM corrected_punches AS punch {placing.join} WHERE punch.seq IN (SELECT seq FROM fresh)
        """  # noqa: S608 (constant SQL)
    )
    connection.execute(
        """
        UPDATE fresh SET work_date = placed_fresh.work_date, is_clock_suspect = false
        FROM placed_fresh WHERE placed_fresh.seq = fresh.seq
        """
    )
    connection.execute("DROP TABLE placed_fresh")


def _insert(connection: Connection, readings: str, device: str, zone: str) -> None:
    found = connection.execute(
        f"""
        SELECT reading.seq, reading.device, reading.user_id,
               reading.punched_at_local + to_seconds(correction.add_seconds) AS punched_at_local,
               reading.punch_state, reading.first_poll_id, correction.id AS correction_id
        FROM (FROM ({readings}) WHERE voided_at IS NULL) AS reading
        JOIN clock_corrections AS correction ON correction.device = reading.device AND correction.revoked_at IS NULL
            AND reading.punched_at_local BETWEEN correction.from_local AND correction.to_local
            AND (reading.is_clock_suspect OR NOT correction.only_in_doubt)
        """,  # noqa: S608 (constant SQL)
        {"device": device},
    ).df()
    if found.empty:
        return
    found["punched_at"] = to_instants(found["punched_at_local"].astype("datetime64[us]"), zone)
    connection.register("newly_corrected", found)
    connection.execute("INSERT INTO corrected_punches BY NAME SELECT * FROM newly_corrected")
    connection.unregister("newly_corrected")


def _site_of(connection: Connection, device: str) -> str:
    row = connection.execute("SELECT site FROM devices WHERE name = ?", [device]).fetchone()
    if row is None:
        raise UsageError(f"no device {device!r}; `zk-pipeline device list` shows them")
    return str(row[0])


def _read(connection: Connection, where: str, values: list[object]) -> list[Correction]:
    rows = connection.execute(
        f"""
        SELECT id, device, from_local, to_local, add_seconds, only_in_doubt, reason, created_at, revoked_at,
               (SELECT count(*) FROM corrected_punches WHERE correction_id = correction.id)
        FROM clock_corrections AS correction WHERE {where} ORDER BY id
        """,  # noqa: S608 (constant SQL)
        values,
    ).fetchall()
    return [Correction(*row) for row in rows]
