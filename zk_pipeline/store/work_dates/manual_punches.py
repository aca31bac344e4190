"""Manual punches: requests for punches that no terminal recorded, and the decisions on them.

An approved one counts as a punch of its site and user (`assignment.valid_punches`). It has the zone, the shifts and the
trust of a terminal of its site: its `device`, at first the site's oldest one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Literal

from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.data_libraries import pa, pd
from zk_pipeline.errors import UsageError, unknown_name
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.errors import (
    OwnPunchRequest,
    PunchesRefused,
    PunchesRequested,
    PunchNotApproved,
    PunchRequestDecided,
    UnknownPunchRequest,
)
from zk_pipeline.store.work_dates.assignment import assign_work_dates
from zk_pipeline.store.work_dates.sequence import mark_stale, next_seq
from zk_pipeline.time_text import wall_clock

_OLDEST = "(removed_at IS NOT NULL, id)"  # order of devices: registered ones first, by age
STATES = {"in": 0, "out": 1}
Decision = Literal["approved", "rejected"]
RequestState = Literal["waiting", "approved", "rejected", "withdrawn"]


@dataclass(frozen=True)
class PunchRequest:
    """A punch to be added; `punched_at_local` in the zone of the site's terminal, `state` as in STATES."""

    user_id: str
    site: str
    punched_at_local: datetime
    state: str
    reason: str


@dataclass(frozen=True)
class ManualPunch:
    """A row of `manual_punches`; without a decision it waits for one."""

    id: int
    site: str
    user_id: str
    punched_at: datetime
    punched_at_local: datetime
    punch_state: int
    reason: str
    requested_by: str
    requested_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decision: Literal["approved", "rejected", "withdrawn"] | None
    decision_reason: str | None
    withdrawn_by: str | None
    withdrawn_at: datetime | None
    withdrawal_reason: str | None

    @property
    def withdrawal(self) -> str:
        """The punch of a withdrawn request, with the operators and reasons."""
        return (
            f"manual punch {self.id} at {wall_clock(self.punched_at_local, 'minutes')}: {self.reason} (requested by "
            f"{self.requested_by}, approved by {self.decided_by}, withdrawn by {self.withdrawn_by}: "
            f"{self.withdrawal_reason})"
        )


@dataclass(frozen=True, kw_only=True)
class PunchRequestFilter:
    """Filter of requests; None takes all. Dates are those of the wall clock, inclusive."""

    state: RequestState | None = None
    user_id: str | None = None
    site: str | None = None
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True)
class ManualPunchStore:
    database: Database
    clock: Callable[[], datetime]

    def all(self) -> list[ManualPunch]:
        """All requests, decided ones included, in order."""
        with self.database.read("list manual punches") as connection:
            return _read(connection, "true", [])

    def page(self, wanted: PunchRequestFilter, *, limit: int, offset: int = 0) -> tuple[int, list[ManualPunch]]:
        """Count and one page of requests: those that wait for a decision first, each by id, the newest first."""
        values = asdict(wanted)
        with self.database.read("list manual punches") as connection:
            count = connection.execute(f"SELECT count(*) FROM manual_punches WHERE {_WANTED}", values).fetchall()[0][0]  # noqa: S608
            order = f"decision IS NOT NULL, id DESC LIMIT {int(limit)} OFFSET {int(offset)}"
            return count, _read(connection, _WANTED, values, order=order)

    def request(
        self,
        requests: Sequence[PunchRequest],
        requested_by: str,
        *,
        approve: bool = False,
        history_start: date = date.min,
        refused: Mapping[int, str] | None = None,
    ) -> list[ManualPunch]:
        """Store requests, all or none; with `approve` they are approved at once by the same operator.

        `history_start`: the first work date that is processed. `refused`: what is already wrong with requests, by
        index; their times are not examined. Raises PunchesRefused with all that is wrong: a site without terminals, a
        future time, an empty text, a work date before `history_start` or that retention has purged; PunchesRequested
        if they are only already stored, and neither rejected nor withdrawn.
        """
        with self.database.write("request manual punches", f"{len(requests)} of them") as connection:
            first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM manual_punches").fetchall()[0][0]
            ids = list(range(first, first + len(requests)))
            now = self.clock()
            zones = _zones(connection)
            problems = _problems(requests, zones, now, refused or {})
            stored = _stored(connection, requests, problems)
            if stored and not problems:
                raise PunchesRequested(stored)
            problems |= stored
            rows = [
                {
                    "id": id_,
                    "site": one.site,
                    "user_id": one.user_id,
                    "punched_at": _instant(one.punched_at_local, zones[one.site][1]),
                    "punched_at_local": one.punched_at_local,
                    "punch_state": STATES[one.state],
                    "reason": one.reason,
                    "requested_by": requested_by,
                    "requested_at": now,
                    "device": zones[one.site][0],
                }
                for id_, one in zip(ids, requests, strict=True)
                if id_ - first not in problems
            ]
            if rows:
                connection.register("requested", pa.Table.from_pylist(rows, _REQUESTED()))
                connection.execute("INSERT INTO manual_punches BY NAME SELECT * FROM requested")
                connection.unregister("requested")
                inserted = [id_ for id_ in ids if id_ - first not in problems]
                problems |= {
                    id_ - first: text for id_, text in _closed_dates(connection, inserted, history_start).items()
                }
            if problems:
                raise PunchesRefused(dict(sorted(problems.items())))
            if approve:
                _approve(connection, ids, requested_by, now)
            return _read(connection, "list_contains(?, id)", [ids])

    def decide(
        self,
        punch_ids: Sequence[int],
        decision: Decision,
        decided_by: str,
        *,
        reason: str | None = None,
        may_be_own: bool = True,
    ) -> list[ManualPunch]:
        """Approve or reject requests, all or none; an approval makes its work date stale.

        Raises UnknownPunchRequest, PunchRequestDecided, OwnPunchRequest for a request by `decided_by` unless
        `may_be_own`, and UsageError for the approval of a punch on a work date that retention has purged.
        """
        ids = list(dict.fromkeys(punch_ids))
        with self.database.write("decide on manual punches", ", ".join(map(str, ids[:10]))) as connection:
            for id_, one in _found(connection, ids).items():
                if one.decision:
                    by = one.withdrawn_by or one.decided_by
                    raise PunchRequestDecided(f"manual punch {id_} was already {one.decision} by {by}")
                if not may_be_own and one.requested_by == decided_by:
                    raise OwnPunchRequest(
                        f"manual punch {id_} was requested by {decided_by}: another must decide on it"
                    )
            if decision == "approved":
                if problems := _closed_dates(connection, ids):
                    raise UsageError(next(iter(problems.values())))
                _approve(connection, ids, decided_by, self.clock(), reason)
            else:
                connection.execute(
                    "UPDATE manual_punches SET decision = 'rejected', decided_by = ?, decided_at = ?, "
                    "decision_reason = ? WHERE list_contains(?, id)",
                    [decided_by, self.clock(), reason, ids],
                )
            return _read(connection, "list_contains(?, id)", [ids])

    def withdraw(self, punch_ids: Sequence[int], withdrawn_by: str, reason: str) -> list[ManualPunch]:
        """Withdraw approved punches, all or none: they count no more, and their work dates become stale.

        Raises UnknownPunchRequest, PunchNotApproved, and UsageError without a reason or for a work date that retention
        has purged.
        """
        ids = list(dict.fromkeys(punch_ids))
        if not reason.strip():
            raise UsageError("a withdrawal needs a reason")
        with self.database.write("withdraw manual punches", ", ".join(map(str, ids[:10]))) as connection:
            for id_, one in _found(connection, ids).items():
                if one.decision != "approved":
                    state = f"was {one.decision}" if one.decision else "waits for a decision"
                    raise PunchNotApproved(f"manual punch {id_} {state}: only an approved one can be withdrawn")
            if problems := _closed_dates(connection, ids):
                raise UsageError(next(iter(problems.values())))
            _mark_stale(connection, ids, next_seq(connection, len(ids)))
            connection.execute(
                "UPDATE manual_punches SET decision = 'withdrawn', withdrawn_by = ?, withdrawn_at = ?, "
                "withdrawal_reason = ? WHERE list_contains(?, id)",
                [withdrawn_by, self.clock(), reason.strip(), ids],
            )
            return _read(connection, "list_contains(?, id)", [ids])


def follow_devices(connection: Connection) -> None:
    """Adapt manual punches to changed registrations, in the transaction that changes them.

    A punch whose device has left its site gets the oldest remaining device of the site; the last device of a site takes
    its manual punches along. Instants follow the zones.
    """
    connection.execute(
        f"""
        UPDATE manual_punches SET device = moved.device, site = moved.site
        FROM (
            SELECT manual.id, coalesce(oldest.name, device.name) AS device, coalesce(oldest.site, device.site) AS site
            FROM manual_punches AS manual JOIN devices AS device ON device.name = manual.device
            LEFT JOIN (
                SELECT site, arg_min(name, {_OLDEST}) AS name FROM devices GROUP BY site
            ) AS oldest ON oldest.site = manual.site
            WHERE device.site <> manual.site
        ) AS moved
        WHERE moved.id = manual_punches.id
        """  # noqa: S608 (constant SQL)
    )
    rows = connection.execute(
        """
        SELECT manual.id, manual.punched_at_local, manual.punched_at, device.timezone
        FROM manual_punches AS manual JOIN devices AS device ON device.name = manual.device
        """
    ).fetchall()
    for id_, local, stored, zone in rows:
        instant = _instant(local, zone)
        if instant != stored:
            connection.execute("UPDATE manual_punches SET punched_at = ? WHERE id = ?", [instant, id_])


def _instant(local: datetime, zone: str) -> datetime:
    found: datetime = to_instants(pd.Series([local], dtype="datetime64[us]"), zone).iloc[0].to_pydatetime()
    return found


def _zones(connection: Connection) -> dict[str, tuple[str, str]]:
    """Oldest device and its zone, by site."""
    rows = connection.execute(
        f"SELECT site, arg_min(name, {_OLDEST}), arg_min(timezone, {_OLDEST}) FROM devices GROUP BY site"  # noqa: S608
    )
    return {site: (device, zone) for site, device, zone in rows.fetchall()}


def _problems(
    requests: Sequence[PunchRequest], zones: Mapping[str, tuple[str, str]], now: datetime, refused: Mapping[int, str]
) -> dict[int, str]:
    """`refused` and all that is wrong with the fields of each request."""
    problems = {index: [text] for index, text in refused.items()}
    for index, one in enumerate(requests):
        found = [f"the {name} is empty" for name in ("user_id", "reason") if not asdict(one)[name].strip()]
        if one.state not in STATES:
            found.append(f"the state {one.state!r} is not in or out")
        if one.site not in zones:
            found.append(unknown_name("site", one.site, sorted(zones)))
        elif index not in refused and _instant(one.punched_at_local, zones[one.site][1]) > now:
            found.append(f"{_named(one)} is in the future")
        if found:
            problems.setdefault(index, []).extend(found)
    return {index: "; ".join(texts) for index, texts in problems.items()}


def _stored(connection: Connection, requests: Sequence[PunchRequest], problems: Mapping[int, str]) -> dict[int, str]:
    """Problems of the requests that are stored and neither rejected nor withdrawn, or that repeat one before them."""
    held: dict[tuple[Any, ...], str] = {
        key: f"is manual punch {id_}"
        for id_, *key_values in connection.execute(
            "SELECT id, site, user_id, punched_at_local, punch_state FROM manual_punches "
            "WHERE decision IS NULL OR decision = 'approved'"
        ).fetchall()
        for key in [tuple(key_values)]
    }
    stored = {}
    for index, one in enumerate(requests):
        if index in problems:
            continue
        key = (one.site, one.user_id, one.punched_at_local, STATES.get(one.state))
        if key in held:
            stored[index] = f"{_named(one)} {held[key]} already"
        held.setdefault(key, "is requested")
    return stored


def _found(connection: Connection, ids: Sequence[int]) -> dict[int, ManualPunch]:
    """The manual punches of these ids, in their order. Raises UnknownPunchRequest."""
    found = {one.id: one for one in _read(connection, "list_contains(?, id)", [list(ids)])}
    if missing := [id_ for id_ in ids if id_ not in found]:
        raise UnknownPunchRequest(f"there is no manual punch {missing[0]}; `zk-pipeline punch list` shows them")
    return {id_: found[id_] for id_ in ids}


def _named(one: PunchRequest) -> str:
    return f"{one.user_id} {one.state} at {wall_clock(one.punched_at_local, 'minutes')}"


def _approve(
    connection: Connection, ids: Sequence[int], decided_by: str, now: datetime, reason: str | None = None
) -> None:
    if not ids:
        return
    first = next_seq(connection, len(ids))
    connection.execute(
        """
        UPDATE manual_punches SET decision = 'approved', decided_by = $by, decided_at = $now,
            decision_reason = $reason, seq = $first - 1 + list_position($ids, id)
        WHERE list_contains($ids, id)
        """,
        {"by": decided_by, "now": now, "reason": reason, "first": first, "ids": list(ids)},
    )
    _mark_stale(connection, ids, first)


def _mark_stale(connection: Connection, ids: Sequence[int], first: int) -> None:
    """Make the work dates of manual punches stale at their sites, by the sequence numbers from `first` on."""
    dates = work_dates_of(connection, ids)
    table = pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "work_date": pa.array([dates[id_] for id_ in ids], pa.date32()),
            "changed_seq": pa.array(range(first, first + len(ids)), pa.int64()),
        }
    )
    connection.register("changed_dates", table)
    changed = "(SELECT work_date, site, changed_seq AS seq FROM changed_dates JOIN manual_punches USING (id))"
    mark_stale(connection, changed, site="site")
    connection.unregister("changed_dates")


def work_dates_of(connection: Connection, ids: Sequence[int]) -> dict[int, date]:
    """Work date of each manual punch, by the shift of its user."""
    values = {"ids": list(ids)}
    punches = "(FROM manual_punches WHERE list_contains($ids, id))"
    placing = assign_work_dates(connection, punches=punches, values=values)
    return dict(
        connection.execute(
            f"SELECT punch.id, {placing.work_date} FROM manual_punches AS punch {placing.join} "  # noqa: S608
            "WHERE list_contains($ids, punch.id)",
            values,
        ).fetchall()
    )


def _closed_dates(connection: Connection, ids: Sequence[int], history_start: date = date.min) -> dict[int, str]:
    """Problems of the manual punches on work dates that are purged, or before the first one."""
    rows = connection.execute("SELECT work_date FROM work_dates WHERE raw_purged_at IS NOT NULL").fetchall()
    purged = {row[0] for row in rows}
    problems = {}
    for id_, day in work_dates_of(connection, ids).items() if purged or history_start > date.min else ():
        if day < history_start:
            problems[id_] = (
                f"work date {day} is before ZK_PIPELINE_HISTORY_START: the first possible one is {history_start}"
            )
        elif day in purged:
            problems[id_] = f"the punches of work date {day} are deleted by retention: its rows are final"
    return problems


_REQUESTED = cache(
    lambda: pa.schema(
        {
            "id": pa.int64(),
            "site": pa.string(),
            "user_id": pa.string(),
            "punched_at": pa.timestamp("us", "UTC"),
            "punched_at_local": pa.timestamp("us"),
            "punch_state": pa.uint8(),
            "reason": pa.string(),
            "requested_by": pa.string(),
            "requested_at": pa.timestamp("us", "UTC"),
            "device": pa.string(),
        }
    )
)


_WANTED = """
    ($state::VARCHAR IS NULL OR coalesce(decision, 'waiting') = $state)
    AND ($user_id::VARCHAR IS NULL OR user_id = $user_id) AND ($site::VARCHAR IS NULL OR site = $site)
    AND ($first::DATE IS NULL OR punched_at_local >= $first)
    AND ($last::DATE IS NULL OR punched_at_local < $last::DATE + 1)
"""


def read_withdrawn(connection: Connection, where: str, values: dict[str, object]) -> list[ManualPunch]:
    """Withdrawn punches of a condition, in order."""
    return _read(connection, f"decision = 'withdrawn' AND {where}", values)


def _read(
    connection: Connection, where: str, values: list[object] | dict[str, object], *, order: str = "id"
) -> list[ManualPunch]:
    rows = connection.execute(
        f"SELECT {', '.join(ManualPunch.__dataclass_fields__)} FROM manual_punches WHERE {where} ORDER BY {order}",  # noqa: S608
        values,
    ).fetchall()
    return [ManualPunch(*row) for row in rows]
