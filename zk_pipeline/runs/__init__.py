"""Dagster runs from outside the daemon: launch, submit, wait, monitor. Assets and jobs are defined in `defs`."""
