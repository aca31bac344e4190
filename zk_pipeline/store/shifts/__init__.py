"""Shifts, assignments, holidays and their sources."""
