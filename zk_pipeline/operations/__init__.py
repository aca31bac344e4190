"""Operations: poll devices, process work dates, sync deliveries, live capture, alerts, files.

Store and terminal gateway are parameters, so that assets, commands, tests and a REPL share them. No dagster, no SQL.
"""
