"""Attendance punches from ZKTeco terminals into DuckDB, days by pandas rules, exactly-once delivery to a CRM."""

__version__ = "0.1.0"
