"""Freshness policies of the assets, which the catalog shows: the longest time between two materializations that is no
fault.

Dagster looks at the latest materialization of any partition of an asset: a backfill of an old date counts, and
one terminal of many that is silent does not. The checks of delays (`LATENESS`) look at each terminal, work date and
delivery.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.operations.alerting.quality_results import max_silence

# Work dates are processed and delivered when there are punches: not at night, on weekends and holidays. A shorter time
# would report a company holiday as a fault; `dates_processed_in_time` and `days_delivered_in_time` report a delay of
# two hours once there is something to do.
WITHOUT_PUNCHES = timedelta(days=31)


def freshness_policies(settings: Settings, own_crons: Collection[str] = ()) -> Mapping[str, dg.FreshnessPolicy]:
    """Policies by asset; `own_crons`: jobs with a schedule other than that of the settings."""
    found = {name: dg.FreshnessPolicy.time_window(WITHOUT_PUNCHES) for name in ("daily_attendance", "crm_sync")}
    if "poll_devices" not in own_crons:
        # Polls go on day and night. Each materializes the registry and all terminals that it has read; without an
        # enabled terminal there are none.
        polled = dg.FreshnessPolicy.time_window(max_silence(settings.polling_interval_minutes))
        found |= {"devices": polled, "raw_punches": polled}
    return found
