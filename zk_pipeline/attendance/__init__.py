"""Attendance rules: time zones, work dates, shifts, outliers. No dagster, no SQL, no I/O."""
