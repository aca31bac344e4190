"""Simulated ZKTeco terminals that speak the protocol over TCP and UDP, with faults on demand."""
