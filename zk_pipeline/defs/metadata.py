"""Metadata values for the Dagster UI: tables and column schemas. No queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import dagster as dg
import pandas as pd

from zk_pipeline.store.schema.catalog import TABLES
from zk_pipeline.store.schema.migrations_runner import column_types
from zk_pipeline.time_text import either


def preview(frame: pd.DataFrame) -> dg.TableMetadataValue:
    """Rows of a frame; nulls as a dash."""
    rows = (["–" if pd.isna(value) else value for value in row] for row in frame.itertuples(index=False))
    return table(list(frame.columns), rows)


def table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> dg.TableMetadataValue:
    """Rows as text. The UI shows a table in place, but long Markdown, and any in a run's log, behind a link."""
    records = [dg.TableRecord(dict(zip(columns, map(_text, row), strict=True))) for row in rows]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in columns]))


def _text(value: object) -> str:
    return either(value) if isinstance(value, datetime) else str(value)


def table_schema(table: str) -> dict[str, dg.TableSchemaMetadataValue]:
    """Column schema of a table of the store, as definition metadata."""
    types = column_types(table)
    columns = [dg.TableColumn(name, types[name], text) for name, text in TABLES[table][1].items()]
    return {"dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns=columns))}
