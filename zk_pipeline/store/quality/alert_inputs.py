"""All that `alert_sensor` asks of the store, in one hold: it looks every 30 seconds, and opening the store costs more
than the questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.quality.alerts import KnownAlert, due_messages, known_alerts
from zk_pipeline.store.quality.quality import Freshness, freshness


@dataclass(frozen=True)
class AlertInputs:
    """What is late, what people were told of, and whether messages wait to be sent."""

    late: Freshness
    known: list[KnownAlert]
    is_message_due: bool


def read_alert_inputs(database: Database, now: datetime, *, first: date, last: date) -> AlertInputs:
    """The state at `now`; work dates are those from `first` to `last`. Raises StoreBusy."""
    with database.read("what people must be told of") as connection:
        late = freshness(connection, now, first=first, last=last)
        return AlertInputs(late, known_alerts(connection, now), bool(due_messages(connection, now)))
