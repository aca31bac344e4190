"""Dagster: partitions, resources, assets, jobs, schedules, sensors. Thin: the rules are in the domain packages, the
work in operations. The only package that imports dagster.
"""

import warnings

from dagster import BetaWarning

# Used knowingly and held by tests; the warnings would greet every command's user.
for words in ("Parameter `backfill_policy`", "Class `LocalFileCodeReference`", "Class `CodeReferencesMetadataValue`"):
    warnings.filterwarnings("ignore", category=BetaWarning, message=words)
