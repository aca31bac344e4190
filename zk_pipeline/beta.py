"""What Dagster calls beta and we use knowingly: the beginnings of its warnings, which would greet every command's user.

Silenced in `defs` for the product and in the tests' configuration for them; nothing else is.
"""

from __future__ import annotations

USED_KNOWINGLY = (
    "Parameter `backfill_policy`",  # a range of dates is one run; held by tests on a real instance
    "Class `LocalFileCodeReference`",  # links from an asset to its code: were they to go, a link is missing
    "Class `CodeReferencesMetadataValue`",
)
