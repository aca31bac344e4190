"""Dagster beta warnings that are suppressed because the features are used deliberately.

`defs` filters them for the commands, `conftest` for the tests. Each entry is the beginning of a warning's message.
"""

from __future__ import annotations

SUPPRESSED_WARNINGS = (
    "Parameter `backfill_policy`",  # one run per range of dates; covered by tests on a real instance
    "Class `LocalFileCodeReference`",  # links from an asset to its code; only the links depend on it
    "Class `CodeReferencesMetadataValue`",
)
