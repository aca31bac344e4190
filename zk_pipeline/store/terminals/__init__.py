"""Registered terminals and what was read from them: punches, quarantine, users, slots, log positions."""
