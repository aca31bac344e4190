"""The services: poll these devices, process these dates, deliver what is due. Store and gateways are handed in, so that
an asset, a command, a test and a REPL do the same. No dagster, no SQL.
"""
