"""Dagster: partitions, resources, assets, jobs, schedules, sensors. Thin: the rules are in the domain packages, the
work in operations. The only package that imports dagster.
"""

import warnings

from dagster import BetaWarning

from zk_pipeline.beta import USED_KNOWINGLY

for words in USED_KNOWINGLY:
    warnings.filterwarnings("ignore", category=BetaWarning, message=words)
