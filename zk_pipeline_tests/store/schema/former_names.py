"""Names of store version 18, which migration 0019 replaced: reverses the renames in a current store."""

from __future__ import annotations

import re

import duckdb

from zk_pipeline.store.schema.catalog import TABLES
from zk_pipeline.store.schema.migrations_runner import migrations, script

_SCRIPT = script("0019_names.sql")
_RENAMES = re.findall(r"^ALTER TABLE (\w+) RENAME (?:COLUMN (\w+) )?TO (\w+);", _SCRIPT, re.MULTILINE)
_VALUES = re.findall(r"^UPDATE (\w+) SET (\w+) = '(\w+)' WHERE \w+ = '(\w+)';", _SCRIPT, re.MULTILINE)
ALERT_KEYS = dict(re.findall(r"\('(check:\w+:\w+)', '(check:\w+:\w+)'\)", _SCRIPT))  # former to new

FORMER_TABLE = {new: old for old, column, new in _RENAMES if not column}
_LATER = "\n".join(script(file) for number, file in migrations() if number > 20)
_LATER_COLUMNS = re.findall(r"^ALTER TABLE (\w+) ADD COLUMN (\w+)", _LATER, re.MULTILINE)
_TABLES_AFTER_20 = re.findall(r"^CREATE TABLE (\w+)", _LATER, re.MULTILINE)
_VIEWS_AFTER_20 = set(re.findall(r"^CREATE VIEW (\w+)", _LATER, re.MULTILINE)).difference(
    re.findall(r"^DROP VIEW (\w+)", _LATER, re.MULTILINE)  # views of before, made again
)
LATER_TABLES = ("device_poll_totals", *_TABLES_AFTER_20)  # of versions above 19
FORMER_TABLES = [FORMER_TABLE.get(table, table) for table in TABLES if table not in LATER_TABLES]
FORMER_VALUE = {new: old for _, _, new, old in _VALUES}


def former_column(table: str, column: str) -> str:
    """Name of the column `table.column`, both as they are today."""
    return next((old for name, old, new in _RENAMES if (name, new) == (table, column) and old), column)


def undo_columns(connection: duckdb.DuckDBPyConnection) -> None:
    """Remove what versions above 20 added to a file, before `undo_names`."""
    for view in _VIEWS_AFTER_20:
        connection.execute(f"DROP VIEW {view}")
    for table, column in _LATER_COLUMNS:
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    connection.execute("DROP VIEW absences")
    (former,) = re.findall(r"^CREATE VIEW absences.*?;$", script("0003_shifts.sql"), re.DOTALL | re.MULTILINE)
    connection.execute(former)
    for table in _TABLES_AFTER_20:
        connection.execute(f"DROP TABLE {table}")
    connection.execute("DELETE FROM schema_migrations WHERE version > 20")


def undo_names(connection: duckdb.DuckDBPyConnection) -> None:
    """Give tables, columns, values and alert keys their former names; the next use of the store migrates it again."""
    for table, column, new, old in _VALUES:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", [old, new])
    for old, new in ALERT_KEYS.items():
        connection.execute("UPDATE alerts SET key = ? WHERE key = ?", [old, new])
    for new, old in FORMER_TABLE.items():
        connection.execute(f"ALTER TABLE {new} RENAME TO {old}")
    for table, column, new in _RENAMES:
        if column:
            connection.execute(f"ALTER TABLE {FORMER_TABLE.get(table, table)} RENAME COLUMN {new} TO {column}")
    connection.execute("DROP TABLE device_poll_totals")
    connection.execute("DELETE FROM schema_migrations WHERE version IN (19, 20)")
