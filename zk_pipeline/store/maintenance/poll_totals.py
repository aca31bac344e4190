"""Totals of deleted polls: retention adds to `device_poll_totals`, a restore that brings rows back subtracts."""

from __future__ import annotations

from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.queries.metrics import count_polls


def add_to_totals(connection: Connection, condition: str, values: dict[str, object]) -> None:
    """Count polls that the caller deletes in the same transaction."""
    connection.execute(f"CREATE TEMP TABLE deleted_polls AS {count_polls(condition)}", values)
    connection.execute(
        """
        UPDATE device_poll_totals SET
            polls = device_poll_totals.polls + deleted_polls.polls,
            duration_microseconds = device_poll_totals.duration_microseconds + deleted_polls.duration_microseconds,
            new_punches = device_poll_totals.new_punches + deleted_polls.new_punches
        FROM deleted_polls
        WHERE deleted_polls.device = device_poll_totals.device AND deleted_polls.status = device_poll_totals.status
        """
    )
    connection.execute(
        "INSERT INTO device_poll_totals BY NAME FROM deleted_polls ANTI JOIN device_poll_totals USING (device, status)"
    )
    connection.execute("DROP TABLE deleted_polls")


def subtract_from_totals(connection: Connection, source: str) -> None:
    """Polls that a restore brings back have rows again: do not count them twice. `source`: their rows, as a query."""
    connection.execute(f"CREATE TEMP TABLE restored_polls AS {count_polls(source=source)}")
    connection.execute(
        """
        UPDATE device_poll_totals SET
            polls = device_poll_totals.polls - restored_polls.polls,
            duration_microseconds = device_poll_totals.duration_microseconds - restored_polls.duration_microseconds,
            new_punches = device_poll_totals.new_punches - restored_polls.new_punches
        FROM restored_polls
        WHERE restored_polls.device = device_poll_totals.device AND restored_polls.status = device_poll_totals.status
        """
    )
    connection.execute("DROP TABLE restored_polls")
