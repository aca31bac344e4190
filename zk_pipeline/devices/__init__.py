"""Terminals: transport, session, log layouts. No dagster, no SQL."""
