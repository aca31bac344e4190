"""The command line: words, tables, exit codes. The work itself is in operations and runs through Dagster."""
