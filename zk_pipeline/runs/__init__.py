"""Dagster runs seen from outside: launch, submit, follow, supervise. Assets and jobs are defined in `defs`."""
