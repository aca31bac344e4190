"""State of alerts and their messages: rows of `alerts` and `alert_messages`.

`operations.alerting` decides on problems and messages; each decision is stored here in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

from zk_pipeline.data_libraries import pa
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.quality.quality import Freshness, freshness

KEPT_ALERTS, KEPT_MESSAGES = timedelta(days=90), timedelta(days=30)
REMEMBERED = timedelta(hours=1)  # a problem that recurs within this time of its end continues its alert


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem of the pipeline. `key` identifies it and stays the same while it lasts.

    `kind` is run, device, push, lock, check, tick, crm or daemon, or health on the home page; `severity` critical or
    warning; `owner` the responsible team. `title` is the start of a sentence; `body` gives place, cause and remedy,
    without secrets.
    """

    key: str
    kind: str
    severity: str
    owner: str
    title: str
    body: str


@dataclass(frozen=True, kw_only=True)
class KnownAlert:
    """A row of `alerts`: a problem and when its messages were sent."""

    problem: Problem
    first_seen_at: datetime
    notified_at: datetime | None
    resolved_at: datetime | None


NotifyType = Literal["info", "success", "warning", "failure"]  # of Apprise: color and icon of a message


@dataclass(frozen=True)
class Message:
    """Message for one channel. `notify_type`: failure with a critical problem, success if all are resolved."""

    channel: str
    title: str
    body: str
    notify_type: NotifyType


@dataclass(frozen=True)
class DueMessage:
    """A message that its channel has not accepted yet."""

    id: int
    message: Message
    created_at: datetime
    attempts: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Changes: alerts that begin, whose text changed, that are notified (again), that end; and the messages.

    `notified` and `ended` are keys of alerts that are known or begin.
    """

    begun: Sequence[Problem] = ()
    updated: Sequence[Problem] = ()
    notified: Sequence[str] = ()
    ended: Sequence[str] = ()
    messages: Sequence[Message] = field(default=())

    def __bool__(self) -> bool:
        return any((self.begun, self.updated, self.notified, self.ended, self.messages))


@dataclass(frozen=True)
class AlertStore:
    database: Database
    clock: Callable[[], datetime]

    def known(self) -> list[KnownAlert]:
        """Open alerts, and those that ended within REMEMBERED, the oldest first."""
        with self.database.read("open alerts") as connection:
            return known_alerts(connection, self.clock())

    def update(self, decide: Callable[[Sequence[KnownAlert]], Decision]) -> Decision:
        """Apply the decision of `decide` about the known alerts, so that concurrent callers notify once.

        Only a read if nothing changes. `decide` may be called twice and must be fast.
        """
        decision = decide(self.known())
        if not decision:
            return decision
        with self.database.write("update alerts") as connection:
            now = self.clock()
            decision = decide(known_alerts(connection, now))
            _apply(connection, decision, now)
        return decision

    def claim(self, lease: timedelta) -> list[DueMessage]:
        """Claim the due messages, in order; for other processes they are due again after `lease`."""
        with self.database.read("due alert messages") as connection:
            if not due_messages(connection, self.clock()):
                return []
        with self.database.write("claim alert messages") as connection:
            due = due_messages(connection, self.clock())
            connection.execute(
                "UPDATE alert_messages SET next_attempt_at = ? WHERE list_contains(?, id)",
                [self.clock() + lease, [one.id for one in due]],
            )
        return due

    def waiting(self) -> int:
        """Number of messages that no channel has accepted yet."""
        with self.database.read("waiting alert messages") as connection:
            row = connection.execute("SELECT count(*) FROM alert_messages WHERE sent_at IS NULL").fetchone()
        assert row is not None
        return int(row[0])

    def settle(self, ids: Sequence[int], *, error: str | None, next_attempt_at: datetime) -> None:
        """Record the result for the messages `ids`: sent if `error` is None, otherwise due again."""
        with self.database.write("settle alert messages") as connection:
            connection.execute(
                """
                UPDATE alert_messages
                SET attempts = attempts + 1, last_error = $error, next_attempt_at = $next,
                    sent_at = CASE WHEN $error IS NULL THEN $now END
                WHERE list_contains($ids, id)
                """,
                {"error": error, "next": next_attempt_at, "now": self.clock(), "ids": list(ids)},
            )


@dataclass(frozen=True)
class AlertInputs:
    """Freshness, known alerts, and whether messages wait to be sent."""

    late: Freshness
    known: list[KnownAlert]
    is_message_due: bool


def read_alert_inputs(database: Database, now: datetime, *, first: date, last: date) -> AlertInputs:
    """Everything `alert_sensor` needs for the work dates from `first` to `last`, in one read transaction: it runs every
    30 seconds, and opening the store costs more than the queries. Raises StoreBusy.
    """
    with database.read("inputs of the alert sensor") as connection:
        late = freshness(connection, now, first=first, last=last)
        return AlertInputs(late, known_alerts(connection, now), bool(due_messages(connection, now)))


_COLUMNS = "key, kind, severity, owner, title, body"


def known_alerts(connection: Connection, now: datetime) -> list[KnownAlert]:
    """As `AlertStore.known`, on the caller's connection."""
    rows = connection.execute(
        f"""
        SELECT {_COLUMNS}, first_seen_at, notified_at, resolved_at FROM alerts
        WHERE resolved_at IS NULL OR resolved_at > ? ORDER BY first_seen_at, key
        """,  # noqa: S608 (constant names)
        [now - REMEMBERED],
    ).fetchall()
    return [
        KnownAlert(
            problem=Problem(**dict(zip(_COLUMNS.split(", "), row[:6], strict=True))),
            first_seen_at=row[6],
            notified_at=row[7],
            resolved_at=row[8],
        )
        for row in rows
    ]


def due_messages(connection: Connection, now: datetime) -> list[DueMessage]:
    """Messages whose next attempt is due, in order."""
    rows = connection.execute(
        """
        SELECT id, channel, title, body, coalesce(notify_type, 'warning'), created_at, attempts FROM alert_messages
        WHERE sent_at IS NULL AND next_attempt_at <= ? ORDER BY id
        """,
        [now],
    ).fetchall()
    return [DueMessage(row[0], Message(*row[1:5]), *row[5:]) for row in rows]


def _apply(connection: Connection, decision: Decision, now: datetime) -> None:
    _insert(connection, "alerts", [vars(one) | {"first_seen_at": now} for one in decision.begun])
    for one in decision.updated:
        connection.execute(
            """
            UPDATE alerts SET severity = $severity, owner = $owner, title = $title, body = $body
            WHERE key = $key AND resolved_at IS NULL
            """,
            {name: value for name, value in vars(one).items() if name != "kind"},
        )
    for column, keys in (("notified_at", decision.notified), ("resolved_at", decision.ended)):
        if keys:
            connection.execute(
                f"UPDATE alerts SET {column} = ? WHERE resolved_at IS NULL AND list_contains(?, key)",  # noqa: S608
                [now, list(keys)],
            )
    first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM alert_messages").fetchone()
    assert first is not None
    made = {"created_at": now, "next_attempt_at": now, "attempts": 0}
    numbered = enumerate(decision.messages, start=first[0])
    _insert(connection, "alert_messages", [{"id": number, **vars(one), **made} for number, one in numbered])
    connection.execute("DELETE FROM alerts WHERE resolved_at < ?", [now - KEPT_ALERTS])
    connection.execute("DELETE FROM alert_messages WHERE sent_at < ?", [now - KEPT_MESSAGES])


def _insert(connection: Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    connection.register("incoming", pa.Table.from_pylist(list(rows)))
    names = ", ".join(rows[0])
    connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM incoming")  # noqa: S608 (constant names)
    connection.unregister("incoming")
