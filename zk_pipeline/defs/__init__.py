"""Dagster definitions: partitions, resources, assets, checks, jobs, schedules, sensors. Only `definitions`, `defs` and
`runs` import dagster. The rules are in the domain packages, the work in `operations`.
"""

import warnings

from zk_pipeline.beta_warnings import SUPPRESSED_WARNINGS

for message in SUPPRESSED_WARNINGS:
    warnings.filterwarnings("ignore", message=message)
