"""Totals of deleted uploads: retention adds to `push_totals`, a restore that brings rows back subtracts."""

from __future__ import annotations

from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.queries.metrics import UPLOAD_COUNTS, count_uploads


def add_upload_totals(connection: Connection, condition: str, values: dict[str, object]) -> None:
    """Count uploads that the caller deletes in the same transaction."""
    connection.execute(f"CREATE TEMP TABLE deleted_uploads AS {count_uploads(condition)}", values)
    _change(connection, "deleted_uploads", "+")
    connection.execute("INSERT INTO push_totals BY NAME FROM deleted_uploads ANTI JOIN push_totals USING (device)")
    connection.execute("DROP TABLE deleted_uploads")


def subtract_upload_totals(connection: Connection, source: str) -> None:
    """Uploads that a restore brings back have rows again: do not count them twice. `source`: their rows, as a query."""
    connection.execute(f"CREATE TEMP TABLE restored_uploads AS {count_uploads(source=source)}")
    _change(connection, "restored_uploads", "-")
    connection.execute("DROP TABLE restored_uploads")


def _change(connection: Connection, counted: str, sign: str) -> None:
    changes = ", ".join(f"{name} = push_totals.{name} {sign} {counted}.{name}" for name in UPLOAD_COUNTS)
    connection.execute(
        f"UPDATE push_totals SET {changes} FROM {counted} WHERE {counted}.device = push_totals.device"  # noqa: S608
    )
