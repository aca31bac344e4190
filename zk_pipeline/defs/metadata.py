"""Metadata values for the Dagster UI: Markdown previews and column schemas. No queries."""

from __future__ import annotations

import dagster as dg
import pandas as pd

from zk_pipeline.store.schema.catalog import TABLES
from zk_pipeline.store.schema.migrations_runner import column_types


def preview(frame: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table; nulls as a dash."""
    if frame.empty:
        return dg.MetadataValue.md("*no rows*")
    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    for row in frame.itertuples(index=False):
        lines.append("| " + " | ".join("–" if pd.isna(value) else cell(value) for value in row) + " |")
    return dg.MetadataValue.md("\n".join(lines))


def cell(value: object) -> str:
    """Text escaped for a Markdown table cell: names and ids from terminals may contain pipes and line breaks."""
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("\r", " ")


def table_schema(table: str) -> dict[str, dg.TableSchemaMetadataValue]:
    """Column schema of a table of the store, as definition metadata."""
    types = column_types(table)
    columns = [dg.TableColumn(name, types[name], text) for name, text in TABLES[table][1].items()]
    return {"dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns=columns))}
