"""Rows of `device_polls` that are readings of a terminal, as SQL conditions."""

from __future__ import annotations

# A failed poll has no mode. Live capture, releases from quarantine and imported files have rows for their punches, but
# say nothing about the terminal: neither that it answers, nor that its log is complete.
IS_READING = "coalesce(mode, '') NOT IN ('live', 'release', 'file')"
