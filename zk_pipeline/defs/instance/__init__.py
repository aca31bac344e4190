"""Dagster instance: run coordinator, run launcher, retention of runs and checks, orphaned runs, daemon health."""
