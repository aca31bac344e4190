"""Punches to days: zones, work dates, shifts and outlier rules. No dagster, no SQL, no I/O."""
