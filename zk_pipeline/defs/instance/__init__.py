"""The Dagster instance: run coordination, run and check retention, orphaned runs, daemon health."""
