"""Dagster: partitions, resources, assets, jobs, schedules, sensors. Thin: the rules are in the domain packages, the
work in operations. The only package that imports dagster.
"""

import warnings

from dagster import BetaWarning

# `backfill_policy` and friends are used knowingly and held by tests; the warning would greet every command's user.
warnings.filterwarnings("ignore", category=BetaWarning, message="Parameter `backfill_policy`")
